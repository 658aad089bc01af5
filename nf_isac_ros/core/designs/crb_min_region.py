"""Least sum of position bounds, averaged over where uncertain targets may be."""

from __future__ import annotations

from collections.abc import Sequence
import time

import numpy as np

from nf_isac_ros.core.beams import ReducedBeams, recovered
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs import crb_min
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.region import region_problem
from nf_isac_ros.core.solution import TargetReport, UserReport
from nf_isac_ros.core.solvers.clarabel_ import CompactPoint, solve_crb
from nf_isac_ros.core.solvers.interior_point import InteriorPoint, minimise_crb
from nf_isac_ros.core.starting_point import even_covariance

# Sigma points that are close together light nearly the same: the solver works on the directions
# that stand out from the others by this much, on more of them if the certificate, which knows all
# of them, is not content.
TOLERANCES = (0.1, 0.01, 1e-4)


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Minimise the bounds averaged over the targets' sigma points, subject to power and SINRs.

    Parameters
    ----------
    problem : Problem
        With at least one target; those with a position covariance are uncertain. If there is none
        this is `crb-min`.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome
        With the problem of the region, see `region.region_problem`.

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.
    SceneError
        If a target at a sigma point cannot be.
    SolverError
        If the solver gives no usable point.

    """
    deadline = None if budget is None else time.perf_counter() + budget
    region = region_problem(problem)
    if not region.sigma_points:
        return crb_min.solve(problem, gap, budget)
    best: Outcome | None = None
    achieved = np.inf
    for tolerance in TOLERANCES:
        left = None if deadline is None else deadline - time.perf_counter()
        if best is not None and left is not None and left <= 0:
            break
        small, inclusion = region.truncated(tolerance)
        point = _point(small, gap, left)
        beams = recovered(small, point.covariance, point.parts)
        beams = ReducedBeams(inclusion @ beams.communication, inclusion @ beams.sensing)
        objective = region.objective(beams.covariance)
        bound = max(crb_bound(region, weights, point.multipliers) for weights in (
            point.weights, tangent_weights(region, beams.covariance)) if weights is not None)
        if best is not None:
            bound = max(bound, best.bound)
            if objective >= achieved:
                beams, objective = best.beams, achieved
        best = Outcome(beams, bound, point.iterations + (best.iterations if best else 0),
                       problem=region)
        achieved = objective
        if achieved - bound <= gap * achieved:
            break
    assert best is not None
    return best


def _point(problem: Problem, gap: float,
           budget: float | None) -> InteriorPoint | CompactPoint:
    try:
        return minimise_crb(problem, crb_min.SOLVER_SHARE * gap, budget)
    except SolverError:
        # Users with one and the same channel, thresholds at the edge of infeasibility.
        return solve_crb(problem, even_covariance(problem), gap, budget)


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport], power: float) -> float:
    """Weighted sum of the averaged bounds on the coordinates [m^2]; NaN without targets."""
    if not problem.sigma_points:
        return crb_min.objective(problem, targets, users, power)
    points = problem.scene.targets
    extended = crb_min.extended_objective(problem, targets)
    return extended + float(sum(
        target.weights @ np.diag(report.region_crb)
        for target, report in zip(points, targets[:len(points)], strict=True)
        if report.region_crb is not None))


DESIGN = Design('crb-min-region', True, True, solve, objective)
