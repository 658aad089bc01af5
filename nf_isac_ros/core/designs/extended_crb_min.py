"""Least bounds of extended targets, every SINR met and the sections lit evenly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, split, user_shares
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.extended.extraction import data_beams
from nf_isac_ros.core.extended.problem import LEAST_RATIO, extended_problem, require_extended
from nf_isac_ros.core.extended.restoration import restored
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.scene import BoundWeights
from nf_isac_ros.core.solution import TargetReport, UserReport
from nf_isac_ros.core.solvers.clarabel_ import CompactPoint, solve_crb
from nf_isac_ros.core.solvers.conic import InfeasibleProgramError
from nf_isac_ros.core.solvers.interior_point import InteriorPoint, minimise_crb
from nf_isac_ros.core.solvers.warm_start import Path
from nf_isac_ros.core.starting_point import even_covariance

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Singular values of the responses that are left out: at first up to the root of the gap, then up
# to a hundredth of that, then none. The bound is for all of them.
TRUNCATIONS = (1.0, 1e-2, 0.0)
LARGEST_TRUNCATION = 0.1
# The solver aims for this much of the gap; beams and recomputation may cost some of the rest.
# Without a sensing stream what the relaxation still sends besides data is lost, too.
SOLVER_SHARE, DATA_SHARE = 0.3, 0.1
# Where the coverage cannot be met at all, the allowed ratio is raised by this until it can.
RELAXED = 10 ** 0.1
MAX_RELAXATIONS = 40


class NoBeamsError(SolverError):
    """A relaxed optimum that no feasible beams come close to."""


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Minimise the bounds of the extended targets subject to power, SINRs and coverage.

    Parameters
    ----------
    problem : Problem
        With extended targets, and no others.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome
        If the coverage alone cannot be met, the least ratio that can, to 1 dB, takes its place,
        and the outcome says so.

    Raises
    ------
    SceneError
        If the scene is not one for this design.
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If no feasible beams are found.

    Notes
    -----
    (P29)-(P33) of the extended-target paper. A sensing covariance never changes the relaxed
    optimum: it can be added to any user's part. So the compact form of the point targets' design
    gives it, and its certificate bounds what any beams can reach, with a sensing stream or not.

    """
    return WarmStarted()(problem, gap, budget)


class WarmStarted:
    """The same, begun where the problem before ended, unless bodies have moved too far."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def __call__(self, problem: Problem, gap: float, budget: float | None = None) -> Outcome:
        """Solve a problem; arguments, result and errors as for `solve`."""
        require_extended(problem)
        require_feasible(problem)
        return with_relaxed_coverage(
            problem, lambda ratio: self._solve(extended_problem(problem, ratio), gap, budget))

    def _solve(self, problem: Problem, gap: float, budget: float | None) -> Outcome:
        """Design with given coverage; in a larger subspace if the certificate wants it."""
        deadline = None if budget is None else time.perf_counter() + budget
        best: Outcome | None = None
        lowest, bound = np.inf, 0.0
        dimension = 0
        usual = None if self._path is None else self._path.problem.dimension
        for part in TRUNCATIONS:
            narrow, basis = problem.truncated(
                part * min(np.sqrt(gap), LARGEST_TRUNCATION), usual if part == 1.0 else None)
            if narrow.dimension == dimension:
                continue
            dimension = narrow.dimension
            share = SOLVER_SHARE if problem.scene.options.sensing_stream else DATA_SHARE
            earlier = self._path if part == 1.0 and _alike(self._path, narrow) else None
            point = _relaxed(narrow, share * gap, budget, earlier)
            if part == 1.0:
                self._path = point.path if isinstance(point, InteriorPoint) else None
            bound = max(bound, best_bound(
                problem, point, basis @ point.covariance @ basis.conj().T))
            beams = _beams(narrow, point, bound / (1.0 - gap), deadline)
            value = np.inf if beams is None else narrow.objective(beams.covariance)
            if beams is not None and value < lowest:
                lifted = ReducedBeams(basis @ beams.communication, basis @ beams.sensing)
                warm = isinstance(point, InteriorPoint) and point.warm
                best = Outcome(lifted, bound, point.iterations, warm, dimension)
                lowest = value
            # A larger subspace cannot mend what the beams lose on the relaxed optimum.
            if budget is not None or narrow.objective(point.covariance) * (1.0 - gap) <= bound:
                break
        if best is None:
            raise NoBeamsError('no feasible beams were found')
        return replace(best, bound=bound)


def _alike(path: Path | None, problem: Problem) -> bool:
    """Whether a problem has as many further rows as that of a path."""
    if path is None:
        return False
    before, now = path.problem.rows, problem.rows
    if before is None or now is None:
        return before is now
    return before.levels.shape == now.levels.shape


def require_feasible(problem: Problem) -> None:
    """Raise InfeasibleError if no beams can meet the SINRs."""
    if len(problem.sinr) and problem.max_common_sinr_scale_db < 0:
        raise InfeasibleError(problem.max_common_sinr_scale_db)


def with_relaxed_coverage(problem: Problem,
                          method: Callable[[float | None], Outcome]) -> Outcome:
    """
    Run a method with the coverage that is asked for, or else with the next that is feasible.

    Parameters
    ----------
    problem : Problem
    method : callable
        (coverage ratio) -> Outcome; raises InfeasibleProgramError or NoBeamsError if that coverage
        cannot be met.

    Raises
    ------
    SceneError, SolverError

    """
    wanted = problem.scene.options.coverage_ratio
    ratio = None if wanted is None else max(wanted, LEAST_RATIO)
    reason = ''
    for _ in range(MAX_RELAXATIONS):
        try:
            outcome = method(ratio)
        except (InfeasibleProgramError, NoBeamsError):
            if ratio is None:
                raise
            ratio, reason = ratio * RELAXED, 'coverage-relaxed'
            continue
        return replace(
            outcome, coverage_limit=np.inf if ratio is None else ratio, reason=reason)
    raise SolverError(f'no coverage up to a ratio of {ratio:.3g} can be met')


def _relaxed(problem: Problem, gap: float, budget: float | None,
             earlier: Path | None) -> InteriorPoint | CompactPoint:
    """Relaxed optimum: by our own solver, or by Clarabel, which can prove that there is none."""
    try:
        return minimise_crb(problem, gap, budget, earlier=earlier)
    except SolverError:
        return solve_crb(problem, even_covariance(problem), gap, budget)


def _beams(problem: Problem, point: InteriorPoint | CompactPoint, enough: float,
           deadline: float | None) -> ReducedBeams | None:
    """Feasible beams of a relaxed optimum."""
    if problem.scene.options.sensing_stream or not len(problem.sinr):
        shares = user_shares(problem, point.covariance, point.parts)
        return restored(problem, split(problem, point.covariance, shares))
    found = data_beams(
        problem, point.covariance, point.parts, enough, np.random.default_rng(0), deadline)
    return None if found is None else found[0]


def best_bound(problem: Problem, point: InteriorPoint | CompactPoint,
               covariance: Complex) -> float:
    """Bound from the solver's weights or from those of a covariance: any weights will do."""
    return max((crb_bound(problem, weights, point.multipliers, point.row_multipliers)
                for weights in candidate_weights(problem, point.weights, covariance)),
               default=0.0)


def candidate_weights(problem: Problem, weights: Real | None, covariance: Complex) -> list[Real]:
    """Weights of a solver, and those of a covariance on the scale of its multipliers."""
    tangent = tangent_weights(problem, covariance)
    if weights is None or tangent is None:
        return [one for one in (weights, tangent) if one is not None]
    scale = np.sum(problem.selection * weights) / np.sum(problem.selection * tangent)
    return [weights, tangent * scale]


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport], power: float) -> float:
    """Bounds of the extended targets as `ExtendedOptions` weighs them; NaN without any."""
    scene = problem.scene
    if not scene.extended:
        return float('nan')
    return float(sum(
        target.weight * _weighed(scene.options.objective, report)
        for target, report in zip(scene.extended, targets[len(scene.targets):], strict=True)))


def _weighed(wanted: str | BoundWeights, report: TargetReport) -> float:
    bounds = report.bounds
    assert bounds is not None
    if wanted == 'direction':
        return bounds.direction
    if wanted == 'centre':
        return float(bounds.centre.trace())
    assert isinstance(wanted, BoundWeights)
    weights = (wanted.range, wanted.direction, wanted.orientation)
    values = (bounds.range, bounds.direction, bounds.orientation)
    return sum(weight * value for weight, value in zip(weights, values, strict=True) if weight)


DESIGN = Design('extended-crb-min', True, True, solve, objective, remembering=WarmStarted)
