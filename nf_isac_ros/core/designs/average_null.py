"""Benchmark Average-Null: an even main lobe about an extended target, and nothing beside it."""

from __future__ import annotations

import numpy as np

from nf_isac_ros.core.beams import recovered
from nf_isac_ros.core.designs.average import pattern_problem
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.designs.extended_crb_min import objective
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_ import solve_pattern
from nf_isac_ros.core.starting_point import even_covariance


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Fit the beam pattern to a level within 5 degrees of the target, and to zero elsewhere.

    Parameters
    ----------
    problem : Problem
        With one extended target.
    gap : float
        Accuracy to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome
        Without a bound on its objective, which is not what it optimises.

    Raises
    ------
    UnsuitableDesignError, InfeasibleError
        As `average.pattern_problem`.
    SolverError
        If the solver gives no usable point.

    Notes
    -----
    Benchmark of the extended-target paper, Section V: least squares over all directions with the
    whole power, the level free, subject to the SINRs.

    """
    pattern = pattern_problem(problem)
    wide = pattern.problem
    point = solve_pattern(wide, pattern.points, pattern.wanted.astype(float),
                          even_covariance(wide), gap, budget)
    return Outcome(recovered(wide, point.covariance, point.parts), np.nan, point.iterations,
                   problem=wide)


DESIGN = Design('average-null', True, True, solve, objective)
