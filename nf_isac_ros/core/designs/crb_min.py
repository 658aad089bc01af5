"""Problem (P1): least sum of position bounds, every SINR met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nf_isac_ros.core.beams import ReducedBeams, recovered, trimmed
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.exceptions import SolverError, UnsuitableDesignError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.single_target import closed_form
from nf_isac_ros.core.solution import TargetReport, UserReport
from nf_isac_ros.core.solvers.clarabel_ import CompactPoint, solve_crb
from nf_isac_ros.core.solvers.interior_point import InteriorPoint, minimise_crb
from nf_isac_ros.core.solvers.warm_start import Path
from nf_isac_ros.core.starting_point import even_covariance

# The solver aims for this much of the gap; repair and recomputation may cost some of the rest,
# and the bound in the whole space where it works in a subspace.
POINT_SHARE, SOLVER_SHARE = 0.95, 0.8
# With extended targets, whose responses are close to dependent: singular values that are left out
# at first, and by how much less where that has cost too much.
TRUNCATION, FINER = 3e-3, 0.1


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Minimise the weighted sum of position bounds subject to power and SINRs.

    Parameters
    ----------
    problem : Problem
        With at least one target.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If the solver gives no usable point.

    Notes
    -----
    (P1) and (SDR1.3) of Hua, Xu, Zhang; rank-one beams by Proposition 3.

    """
    return WarmStarted()(problem, gap, budget)


class WarmStarted:
    """The same, begun where the problem before ended, unless bodies have moved too far."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._tolerance = TRUNCATION

    def __call__(self, problem: Problem, gap: float, budget: float | None = None) -> Outcome:
        """Solve a problem; arguments, result and errors as for `solve`."""
        problem.require_bounds()
        if problem.unlocated:
            raise UnsuitableDesignError(
                f'targets: the centre of {list(problem.unlocated)} cannot be estimated; must be '
                'for crb-min', 'not-localisable')
        outcome = by_closed_form(problem)
        if outcome is not None and _gap(problem, outcome) <= gap:
            return outcome
        attempts: list[tuple[float, Outcome]] = []
        truncated = (self._in_subspace,) if problem.extended else ()
        for method in (*truncated, self._by_interior_point, _by_clarabel):
            try:
                attempts.append(method(problem, gap, budget))
            except SolverError:
                # Users with one and the same channel, thresholds at the edge of infeasibility.
                continue
            if budget is not None or attempts[-1][0] <= gap:
                break
        if not attempts:
            raise SolverError('neither the interior-point method nor Clarabel gave a usable point')
        return min(attempts, key=lambda attempt: attempt[0])[1]

    def _in_subspace(self, problem: Problem, gap: float,
                     budget: float | None) -> tuple[float, Outcome]:
        """Design in the better part of the subspace, with a bound for all of it."""
        usual = None if self._path is None else self._path.problem.dimension
        narrow, basis = problem.truncated(self._tolerance, usual)
        point = minimise_crb(narrow, SOLVER_SHARE * gap, budget, earlier=self._path)
        self._path = point.path
        found, achieved = _beams(narrow, point)
        beams = ReducedBeams(basis @ found.communication, basis @ found.sensing)
        reached, bound = _certified(
            problem, point, beams, problem.objective(beams.covariance), gap)
        if reached > gap >= _certified(narrow, point, found, achieved, gap)[0]:
            self._tolerance *= FINER
        return reached, Outcome(beams, bound, point.iterations, point.warm,
                                subspace_dimension=narrow.dimension)

    def _by_interior_point(self, problem: Problem, gap: float,
                           budget: float | None) -> tuple[float, Outcome]:
        point = minimise_crb(problem, POINT_SHARE * gap, budget, earlier=self._path)
        self._path = point.path
        reached, outcome = finished(problem, point, gap)
        return reached, replace(outcome, warm=point.warm)


def _gap(problem: Problem, outcome: Outcome) -> float:
    achieved = problem.objective(outcome.beams.covariance)
    return (achieved - outcome.bound) / achieved if np.isfinite(achieved) else np.inf


def by_closed_form(problem: Problem) -> Outcome | None:
    """Closed form for a single target, certified like any other point; None if there is none."""
    candidate = closed_form(problem)
    if candidate is None:
        return None
    beams, multipliers = candidate
    weights = tangent_weights(problem, beams.covariance)
    return None if weights is None else Outcome(beams, crb_bound(problem, weights, multipliers))


def _by_clarabel(problem: Problem, gap: float,
                 budget: float | None) -> tuple[float, Outcome]:
    return finished(problem, solve_crb(problem, even_covariance(problem), gap, budget), gap)


def finished(problem: Problem, point: InteriorPoint | CompactPoint,
             gap: float) -> tuple[float, Outcome]:
    """
    Beams of a solver's point, repaired, and a bound.

    Parameters
    ----------
    problem : Problem
    point : InteriorPoint or CompactPoint
        With multipliers that a bound can be made from.
    gap : float
        Relative gap at which the first bound will do.

    Returns
    -------
    float
        Relative gap.
    Outcome

    """
    beams, achieved = _beams(problem, point)
    reached, bound = _certified(problem, point, beams, achieved, gap)
    return reached, Outcome(beams, bound, point.iterations)


def _beams(problem: Problem, point: InteriorPoint | CompactPoint) -> tuple[ReducedBeams, float]:
    """Beams of a solver's point, without the weak ones, and their objective."""
    beams = recovered(problem, point.covariance, point.parts)
    # The same covariance at full power, where nothing had to be repaired.
    limit = point.objective * point.power if isinstance(point, InteriorPoint) else None
    return trimmed(problem, beams, limit)


def _certified(problem: Problem, point: InteriorPoint | CompactPoint, beams: ReducedBeams,
               achieved: float, gap: float) -> tuple[float, float]:
    """Gap, and bound by the solver's weights; by those of the beams where that is not enough."""
    bound = 0.0 if point.weights is None else crb_bound(
        problem, point.weights, point.multipliers)
    if not achieved - bound <= gap * achieved:
        weights = tangent_weights(problem, beams.covariance)
        if weights is not None:
            bound = max(bound, crb_bound(problem, weights, point.multipliers))
    return ((achieved - bound) / achieved if np.isfinite(achieved) else np.inf), bound


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport], power: float) -> float:
    """
    Weighted sum of the bounds on the coordinates [m^2]; NaN without targets.

    Those of extended targets are the coordinates of their centres.
    """
    if not targets:
        return float('nan')
    points = problem.scene.targets
    return extended_objective(problem, targets) + float(sum(
        target.weights @ np.diag(report.crb)
        for target, report in zip(points, targets[:len(points)], strict=True)))


def extended_objective(problem: Problem, targets: Sequence[TargetReport]) -> float:
    """Weighted sum of the traces of the bounds on the centres of extended targets [m^2]."""
    scene = problem.scene
    return float(sum(
        target.weight * np.trace(report.crb)
        for target, report in zip(scene.extended, targets[len(scene.targets):], strict=True)))


DESIGN = Design('crb-min', True, True, solve, objective, remembering=WarmStarted)
