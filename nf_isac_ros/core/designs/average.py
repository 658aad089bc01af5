"""Benchmark Average: as much power as can be over all directions about an extended target."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import recovered
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.designs.extended_crb_min import objective
from nf_isac_ros.core.exceptions import InfeasibleError, UnsuitableDesignError
from nf_isac_ros.core.extended.far_field import plane_wave_responses
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_ import solve_max_min
from nf_isac_ros.core.starting_point import even_covariance
from nf_isac_ros.core.subspace import reduced_basis

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# The paper's numbers are lost; these are ours.
GRID = np.deg2rad(np.arange(-90.0, 91.0))
# With its ends, whatever rounding makes of them.
HALF_WIDTH = np.deg2rad(5.0) + 1e-9
# The programs grow with the square of the dimensions.
MAX_DIMENSION = 40


@dataclass(frozen=True)
class PatternProblem:
    """
    A beam pattern about the one extended target of a scene.

    Attributes
    ----------
    problem : Problem
        In coordinates of a basis that all directions of the grid can be lit from.
    points : ndarray, shape (d, 181)
        a / sqrt(N) of the directions: the beam pattern is P = p^H S p.
    wanted : ndarray of bool, shape (181,)
        Directions about the target.

    """

    problem: Problem
    points: Complex
    wanted: NDArray[np.bool_]


def pattern_problem(problem: Problem) -> PatternProblem:
    """
    Set up the beam pattern about the one extended target of a scene.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    PatternProblem

    Raises
    ------
    UnsuitableDesignError
        'not-one-extended-target', 'too-many-elements'.
    InfeasibleError
        If the SINRs cannot be met.

    """
    scene = problem.scene
    if len(problem.extended) != 1 or scene.targets:
        raise UnsuitableDesignError(
            f'targets: {len(scene.extended)} are extended and {len(scene.targets)} points; must '
            'be one extended target for a beam pattern', 'not-one-extended-target')
    if len(problem.sinr) and problem.max_common_sinr_scale_db < 0:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    plane = problem.extended[0].plane
    grid, _ = plane_wave_responses(
        scene.transmit_array, plane.axes[:, :2], GRID, scene.radio.wavelength)
    basis, rank = reduced_basis(problem.channels, grid)
    if basis.shape[1] > MAX_DIMENSION:
        raise UnsuitableDesignError(
            f'transmit_array: a pattern of {len(grid)} elements has {basis.shape[1]} dimensions; '
            f'must be at most {MAX_DIMENSION} for this design', 'too-many-elements')
    left = basis.conj().T
    powers = np.linalg.norm(problem.channels, axis=0)
    channels = left @ problem.channels / powers
    channels[rank:] = 0.0
    # What lies outside the new basis is seen from no direction of the grid, to rounding.
    wide = replace(
        problem, basis=np.asfortranarray(basis), user_channels=channels,
        fisher=problem.fisher.with_transmit(
            left @ (problem.basis @ problem.fisher.transmit)), rows=None)
    return PatternProblem(
        wide, left @ grid / np.sqrt(len(grid)), np.abs(GRID - plane.direction) <= HALF_WIDTH)


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Maximise the least of the beam pattern within 5 degrees of the target.

    Parameters
    ----------
    problem : Problem
        With one extended target.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome
        Without a bound on its objective, which is not what it optimises.

    Raises
    ------
    UnsuitableDesignError, InfeasibleError
        As `pattern_problem`.
    SolverError
        If the solver gives no usable point.

    Notes
    -----
    Benchmark of the extended-target paper, Section V: maximise tau subject to P(theta_m) >= tau
    on the region and the SINRs.

    """
    pattern = pattern_problem(problem)
    wide = pattern.problem
    point = solve_max_min(wide, pattern.points[:, pattern.wanted], even_covariance(wide),
                          gap, budget)
    return Outcome(recovered(wide, point.covariance, point.parts), np.nan, point.iterations,
                   problem=wide)


DESIGN = Design('average', True, True, solve, objective)
