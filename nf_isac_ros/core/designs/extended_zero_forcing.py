"""Zero forcing for extended targets: all directions at once, certified against the optimum."""

from __future__ import annotations

from dataclasses import dataclass, replace
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, factor, no_beams, split, user_shares
from nf_isac_ros.core.certificate import crb_bound
from nf_isac_ros.core.designs import crb_min
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.designs.extended_crb_min import (
    NoBeamsError,
    candidate_weights,
    objective,
    require_feasible,
    with_relaxed_coverage,
)
from nf_isac_ros.core.designs.zero_forcing import ZeroForcingError
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError, UnsuitableDesignError
from nf_isac_ros.core.extended.extraction import data_beams
from nf_isac_ros.core.extended.problem import coverage_rows, extended_problem, require_extended
from nf_isac_ros.core.extended.restoration import restored
from nf_isac_ros.core.extended.sectioned import forced_beams, sectioned_task
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers import extended_kernels as kernels
from nf_isac_ros.core.solvers.clarabel_blocks import BlockPoint, solve_zero_forcing
from nf_isac_ros.core.solvers.conic import InfeasibleProgramError
from nf_isac_ros.core.solvers.interior_point import InteriorPoint, minimise_crb

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Singular values of the responses that are left out: up to the root of the gap, or this.
LARGEST_TRUNCATION = 0.1
# Shares of the SINRs' multipliers that bounds are tried with: what a user's requirement costs zero
# forcing, and what it costs at all, may differ much.
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1)
# The solvers aim for this much of the gap, the compiled one and the others; what they still send
# besides data is lost, where there is no sensing stream.
SECTIONED_SHARE, SOLVER_SHARE = 0.9, 0.5
# How many times interference counts where none is to be heard.
STIFFNESS = 1e4


@dataclass(frozen=True)
class ZeroForcingSpace:
    """
    What zero-forcing beams are made of.

    Attributes
    ----------
    served : ndarray, shape (d, U)
        F with G^H F = I.
    free : ndarray, shape (d, n)
        Orthonormal, unseen by every user.

    """

    served: Complex
    free: Complex

    def projectors(self, n_sensing: int) -> Complex:
        """Onto what beams may change by, (U + n_sensing, d, d): the user's own, and the free."""
        unseen = self.free @ self.free.conj().T
        own = [unseen + np.outer(beam, beam.conj()) / np.linalg.norm(beam) ** 2
               for beam in self.served.T]
        return np.array([*own, *[unseen] * n_sensing])


def zero_forcing_space(problem: Problem) -> ZeroForcingSpace:
    """
    Find what zero-forcing beams are made of.

    Raises
    ------
    InfeasibleError
        If no beams can meet the SINRs.
    ZeroForcingError
        'dependent-users', 'zero-forcing-power'.

    """
    g = problem.user_channels
    d, n_users = g.shape
    if n_users > d or n_users and not np.linalg.cond(g) < kernels.MAX_CONDITION:
        require_feasible(problem)
        raise ZeroForcingError(
            f'a channel of the {n_users} users is a mixture of the others', 'dependent-users')
    served = np.asarray(np.linalg.pinv(g).conj().T, dtype=np.complex128)
    least = float(np.sum(problem.sinr * problem.user_noise * np.sum(np.abs(served) ** 2, axis=0)))
    if least >= 1.0:
        require_feasible(problem)
        raise ZeroForcingError(
            f'zero forcing takes {least:.6g} times the power that there is', 'zero-forcing-power')
    # The users' directions come first in the basis.
    free = np.zeros((d, d - n_users), dtype=complex)
    free[n_users:] = np.eye(d - n_users)
    return ZeroForcingSpace(served, free)


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Minimise the bounds of the extended targets by beams that no other user hears.

    Parameters
    ----------
    problem : Problem
        With extended targets, and no others.
    gap : float
        Relative gap to aim for within zero forcing; the bound is that of all beams, so that the
        loss of zero forcing shows.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome
        With relaxed coverage, and labelled, as `extended_crb_min.solve`.

    Raises
    ------
    SceneError
        If the scene is not one for this design.
    InfeasibleError
        If the SINRs cannot be met.
    ZeroForcingError
        If zero forcing cannot meet them.
    SolverError
        If no feasible beams are found.

    Notes
    -----
    (P34)-(P44) of the extended-target paper. Instead of its search over one section for each user
    the relaxation over all of them and all mixtures, `clarabel_blocks.solve_zero_forcing`; its
    optimum is a zero-forcing design whenever it has the rank of the users.

    """
    require_extended(problem)
    deadline = None if budget is None else time.perf_counter() + budget

    def method(ratio: float | None) -> Outcome:
        return _by_sections(problem, ratio, gap) or _by_programs(problem, ratio, gap, deadline)

    return with_relaxed_coverage(problem, method)


def _by_sections(problem: Problem, ratio: float | None, gap: float) -> Outcome | None:
    """
    Zero forcing by the compiled solver; None where it does not settle, or beams are not enough.

    Without a sensing stream these are the beams of the users, if they are almost all of it.
    """
    data_only = bool(len(problem.sinr)) and not problem.scene.options.sensing_stream
    try:
        found = forced_beams(problem, ratio, min(np.sqrt(gap), LARGEST_TRUNCATION), gap,
                             SECTIONED_SHARE, data_only)
    except np.linalg.LinAlgError:
        return None
    if not found.gap <= gap:
        return None
    beams, value = ReducedBeams(found.communication, found.sensing), found.value
    if found.slack < 0.0 or ratio is not None and found.unevenness > ratio:
        mended = restored(
            replace(problem, rows=None if ratio is None else coverage_rows(problem, ratio)), beams,
            zero_forcing_space(problem).projectors(beams.sensing.shape[1]))
        if mended is None:
            return None
        beams, task = mended, sectioned_task(problem, ratio)
        received = task.columns.conj().T @ np.hstack([beams.communication, beams.sensing])
        value = kernels.evaluated(task, received @ received.conj().T).value
    if not value * (1.0 - gap) <= found.lowest:
        return None
    return Outcome(beams, found.bound, found.iterations, subspace_dimension=found.dimension)


def _by_programs(problem: Problem, ratio: float | None, gap: float,
                 deadline: float | None) -> Outcome:
    """Zero forcing by the solvers of the optimal design, with all the ways to beams."""
    problem = extended_problem(problem, ratio)
    narrow, basis = problem.truncated(min(np.sqrt(gap), LARGEST_TRUNCATION))
    space = zero_forcing_space(narrow)
    for method in (_by_interior_point, _by_clarabel):
        left = None if deadline is None else max(deadline - time.perf_counter(), 0.0)
        try:
            point, beams = method(narrow, space, gap, left)
        except InfeasibleProgramError:
            raise
        except (InfeasibleError, SolverError):
            # Channels so much alike that the stiff program has no interior, in rounding.
            continue
        if beams is not None:
            lifted = ReducedBeams(basis @ beams.communication, basis @ beams.sensing)
            return Outcome(lifted, loss_bound(problem, point, lifted), point.iterations,
                           subspace_dimension=narrow.dimension)
    raise NoBeamsError('no feasible zero-forcing beams were found')


def _by_interior_point(problem: Problem, space: ZeroForcingSpace, gap: float,
                       budget: float | None) -> tuple[InteriorPoint, ReducedBeams | None]:
    """
    Zero forcing by the solver of the optimal design.

    An SINR of k Gamma over a noise of n / k is one of Gamma over n in which what is heard of other
    beams counts k times: for a large k nothing must be heard.
    """
    stiff = replace(problem, sinr=problem.sinr * STIFFNESS,
                    user_noise=problem.user_noise / STIFFNESS)
    point = minimise_crb(stiff, SOLVER_SHARE * gap, budget)
    # Of the same requirement, over the noise that there is.
    point = replace(point, multipliers=point.multipliers / STIFFNESS)
    found = split(problem, point.covariance, user_shares(problem, point.covariance, point.parts))
    projectors = space.projectors(found.sensing.shape[1])
    users = np.einsum('uij,ju->iu', projectors[:len(problem.sinr)], found.communication)
    sensing = space.free @ (space.free.conj().T @ found.sensing)
    if not problem.scene.options.sensing_stream and len(problem.sinr):
        sensing, projectors = no_beams(problem), projectors[:len(problem.sinr)]
    beams = restored(problem, ReducedBeams(users, sensing), projectors)
    if beams is None or (problem.objective(beams.covariance) * (1.0 - gap)
                         > problem.objective(point.covariance)):
        # More of it is needed than may be sent, or than rounding leaves.
        return point, None
    return point, beams


def _by_clarabel(problem: Problem, space: ZeroForcingSpace, gap: float,
                 budget: float | None) -> tuple[BlockPoint, ReducedBeams | None]:
    """Zero forcing by a program of its own, with all the ways to beams."""
    deadline = None if budget is None else time.perf_counter() + budget
    point = solve_zero_forcing(problem, space.served, space.free, SOLVER_SHARE * gap, budget)
    return point, _beams(problem, space, point, gap, deadline)


def loss_bound(problem: Problem, point: BlockPoint | InteriorPoint,
               beams: ReducedBeams) -> float:
    """Bound on what any beams can reach, from the multipliers of zero forcing."""
    return max(
        (crb_bound(problem, weights, share * point.multipliers, point.row_multipliers)
         for weights in candidate_weights(problem, point.weights, beams.covariance)
         for share in SHARES), default=0.0)


def _beams(problem: Problem, space: ZeroForcingSpace, point: BlockPoint, gap: float,
           deadline: float | None) -> ReducedBeams | None:
    """
    Beams of the relaxation.

    With M = [[diag(p), X], [X^H, Y]] the users' are [diag(p)^1/2, X^H diag(p)^-1/2]; what is left
    of Y reaches no user. Where it may not be sent, and is more than rounding, other beams are
    looked for: with one user there is nothing to force to zero anyway.
    """
    block = point.blocks[0]
    n_users = len(problem.sinr)
    powers = np.maximum(np.diag(block).real[:n_users], 0.0)
    cross = block[:n_users, n_users:]
    communication = (space.served * np.sqrt(powers)
                     + space.free @ (cross.conj().T / np.sqrt(powers)))
    rest = block[n_users:, n_users:] - (cross.conj().T / powers) @ cross
    sensing = space.free @ factor(rest)
    if problem.scene.options.sensing_stream or not n_users:
        return restored(problem, ReducedBeams(communication, sensing),
                        space.projectors(sensing.shape[1]))
    beams = restored(problem, ReducedBeams(communication, no_beams(problem)), space.projectors(0))
    columns = np.hstack([space.served, space.free])
    covariance = columns @ block @ columns.conj().T
    relaxed = problem.objective(covariance)
    if beams is not None and problem.objective(beams.covariance) <= relaxed / (1.0 - gap):
        return beams
    parts = np.zeros((n_users,) * 3, dtype=complex)
    parts[np.arange(n_users), np.arange(n_users), np.arange(n_users)] = powers
    found = data_beams(problem, covariance, parts, relaxed / (1.0 - gap),
                       np.random.default_rng(0), deadline)
    candidates = [one for one in (beams, found[0] if found else None) if one is not None]
    return min(candidates, default=None,
               key=lambda one: problem.objective(one.covariance))


def _solve_for_centres(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """Zero forcing for the objective of `crb-min`, which has no coverage."""
    if problem.unlocated:
        raise UnsuitableDesignError(
            f'targets: the centre of {list(problem.unlocated)} cannot be estimated; must be for '
            'this objective', 'not-localisable')
    options = replace(problem.scene.options, objective='centre', coverage_ratio=None,
                      sensing_stream=True)
    return solve(replace(problem, scene=replace(problem.scene, options=options)), gap, budget)


DESIGN = Design('extended-zero-forcing', True, True, solve, objective)
FOR_CENTRES = Design('extended-zero-forcing', True, True, _solve_for_centres, crb_min.objective)
