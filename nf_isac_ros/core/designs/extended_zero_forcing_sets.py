"""Zero forcing with one section for each user: the best of all sets of sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, no_beams
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.designs.extended_crb_min import (
    NoBeamsError,
    objective,
    require_feasible,
    with_relaxed_coverage,
)
from nf_isac_ros.core.designs.extended_zero_forcing import (
    ZeroForcingSpace,
    loss_bound,
    zero_forcing_space,
)
from nf_isac_ros.core.exceptions import SolverError, UnsuitableDesignError
from nf_isac_ros.core.extended.problem import (
    distinct_sections,
    extended_problem,
    require_extended,
)
from nf_isac_ros.core.extended.restoration import restored
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_blocks import BlockPoint, solve_blocks
from nf_isac_ros.core.solvers.conic import InfeasibleProgramError

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# More sets than this take hours.
MAX_SETS = 20000
# A block whose second eigenvalue has a larger share is no beam.
TIGHT = 1e-3
# Sections whose responses all users hear are no directions for zero forcing.
SHORTEST = 1e-6


@dataclass(frozen=True)
class SetPoint:
    """
    Zero forcing with given sections.

    Attributes
    ----------
    sections : tuple of int
        One for each user.
    objective : float
        Of the relaxation.
    looseness : float
        Largest share of a second eigenvalue; zero if the relaxation is exact.
    point : BlockPoint
    bases : tuple of ndarray, shape (d, 2)

    """

    sections: tuple[int, ...]
    objective: float
    looseness: float
    point: BlockPoint
    bases: tuple[Complex, ...]


def set_points(problem: Problem, space: ZeroForcingSpace, gap: float) -> Iterator[SetPoint]:
    """
    Solve the program of every set of sections that is feasible.

    Parameters
    ----------
    problem : Problem
        Of `extended_problem`, with users.
    space : ZeroForcingSpace
    gap : float
        Relative gap to aim for in each.

    """
    sections = np.hstack(distinct_sections(problem))
    towards = space.free @ (space.free.conj().T @ sections)
    lengths = np.linalg.norm(towards, axis=0)
    usable = np.flatnonzero(lengths > SHORTEST * np.linalg.norm(sections, axis=0))
    for chosen in product(usable.tolist(), repeat=len(problem.sinr)):
        bases = tuple(np.stack([space.served[:, u], towards[:, k] / lengths[k]], axis=1)
                      for u, k in enumerate(chosen))
        try:
            point = solve_blocks(problem, bases, gap)
        except SolverError:
            continue
        spectra = [np.linalg.eigvalsh(block) for block in point.blocks]
        looseness = max(float(max(spectrum[0], 0.0) / spectrum[1]) for spectrum in spectra)
        covariance = sum((basis @ block @ basis.conj().T for basis, block in zip(
            bases, point.blocks, strict=True)), start=np.zeros((problem.dimension,) * 2, complex))
        yield SetPoint(tuple(chosen), problem.objective(covariance), looseness, point, bases)


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Find the best zero forcing in which each user's beam lights one section.

    Parameters
    ----------
    problem : Problem
        With extended targets, and no others, and users.
    gap : float
        Relative gap to aim for in each program.
    budget : float or None
        Time limit [s]; the best set until then is taken.

    Returns
    -------
    Outcome

    Raises
    ------
    UnsuitableDesignError
        'too-many-sets', 'no-users', or the scene is not one for this design.
    InfeasibleError, ZeroForcingError, SolverError
        As `extended_zero_forcing.solve`.

    Notes
    -----
    (P40)-(P43) of the extended-target paper: one program for each of the K^C sets. The exact
    replacement of the search is the design extended-zero-forcing.

    """
    require_extended(problem)
    require_feasible(problem)
    n_sections = sum(len(fisher.sections) for fisher in problem.extended)
    n_users = len(problem.sinr)
    if not n_users:
        raise UnsuitableDesignError(
            'users: is empty; must hold a user for this design', 'no-users')
    if n_sections ** n_users > MAX_SETS:
        raise UnsuitableDesignError(
            f'{n_sections} sections for each of {n_users} users make {n_sections ** n_users} '
            f'sets; must be at most {MAX_SETS}', 'too-many-sets')
    deadline = None if budget is None else time.perf_counter() + budget
    return with_relaxed_coverage(
        problem, lambda ratio: _solve(extended_problem(problem, ratio), gap, deadline))


def _solve(problem: Problem, gap: float, deadline: float | None) -> Outcome:
    space = zero_forcing_space(problem)
    best: Outcome | None = None
    lowest, found, iterations = np.inf, False, 0
    for candidate in set_points(problem, space, gap):
        found = True
        iterations += candidate.point.iterations
        if candidate.looseness <= TIGHT and candidate.objective < lowest:
            columns = []
            for basis, block in zip(candidate.bases, candidate.point.blocks, strict=True):
                values, vectors = np.linalg.eigh(block)
                columns.append(basis @ vectors[:, -1] * np.sqrt(values[-1]))
            beams = restored(
                problem, ReducedBeams(np.stack(columns, axis=1), no_beams(problem)),
                space.projectors(0))
            value = np.inf if beams is None else problem.objective(beams.covariance)
            if beams is not None and value < lowest:
                best, lowest = Outcome(beams, loss_bound(problem, candidate.point, beams)), value
        if deadline is not None and time.perf_counter() >= deadline:
            break
    if best is None:
        if not found:
            raise InfeasibleProgramError('no set of sections meets the constraints')
        raise NoBeamsError('no set of sections gave feasible beams')
    return Outcome(best.beams, best.bound, iterations)


DESIGN = Design('extended-zero-forcing-sets', True, True, solve, objective)
