"""Designs by a primal-dual interior-point method of our own; docs/solver.md."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import Problem, Rows, build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.core.solvers.kernels import (
    Evidence,
    Form,
    State,
    conclude,
    descend,
    empty_history,
    point,
)
from nf_isac_ros.core.solvers.starting_state import compact_form, starting_state
from nf_isac_ros.core.solvers.warm_start import Path, transported

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

MAX_ITERATIONS = 60
# Gaps below this need the Newton system solved more accurately.
ACCURATE_GAP = 1e-5
# A warm start that needs more than this is worse than a cold one.
MAX_WARM_ITERATIONS = 10


@dataclass(frozen=True)
class InteriorPoint:
    """
    Where the method ended.

    Attributes
    ----------
    covariance : ndarray, shape (d, d)
        S.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G.
    weights : ndarray, shape (n, w)
    multipliers : ndarray, shape (U,)
    row_multipliers : ndarray, shape (R,)
        What the certificate needs for the best bound that was found.
    objective : float
        f(S), in the unit of the squared selection.
    bound : float
        The bound, in the same unit.
    power : float
        tr S.
    iterations : int
    path : Path
        How the method got here.
    warm : bool
        It started from an earlier path.

    """

    covariance: Complex
    parts: Complex
    weights: Real
    multipliers: Real
    row_multipliers: Real
    objective: float
    bound: float
    power: float
    iterations: int
    path: Path
    warm: bool = False


@dataclass(frozen=True)
class MaxMinPoint:
    """
    Where `maximise_least` ended.

    Attributes
    ----------
    covariance : ndarray, shape (d, d)
        S.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G.
    shares : ndarray, shape (K,)
    multipliers : ndarray, shape (U,)
        What `certificate.max_min_bound` needs for the best bound that was found.
    iterations : int

    """

    covariance: Complex
    parts: Complex
    shares: Real
    multipliers: Real
    iterations: int


def minimise_crb(problem: Problem, gap: float, budget: float | None = None,
                 now: Callable[[], float] = time.perf_counter,
                 earlier: Path | None = None) -> InteriorPoint:
    """
    Minimise tr(E^T F(S)^-1 E) subject to power, SINRs and the problem's further rows.

    Parameters
    ----------
    problem : Problem
        With something to estimate.
    gap : float
        Certified relative gap to reach.
    budget : float or None
        Time limit [s], looked at between iterations.
    now : callable
        Clock to measure with [s].
    earlier : Path or None
        Central path of a similar scene to start from, where it helps.

    Returns
    -------
    InteriorPoint
        The best iterate; every iterate is strictly feasible, but for further rows.

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If the method breaks down before any iterate has a certificate, or meets the rows.

    """
    deadline = None if budget is None else now() + budget
    form = compact_form(problem)
    warm = None if earlier is None else transported(earlier, problem, form)
    begun = None
    if warm is not None:
        begun, enough = _iterated(problem, *warm, gap, deadline, now, MAX_WARM_ITERATIONS)
        if begun is not None:
            begun = replace(begun, warm=True)
            if enough:
                return begun
    form, state = starting_state(problem, form)
    found, _ = _iterated(problem, form, state, gap, deadline, now, MAX_ITERATIONS)
    points = [one for one in (found, begun) if one is not None]
    if not points:
        raise SolverError('the interior-point method broke down at its starting point')
    # Cut short by the deadline, the cold start may be the worse one; a bound is one for both.
    best = min(points, key=lambda one: one.objective)
    tightest = max(points, key=lambda one: one.bound)
    if tightest is best:
        return best
    return replace(best, weights=tightest.weights, multipliers=tightest.multipliers,
                   row_multipliers=tightest.row_multipliers, bound=tightest.bound)


def maximise_least(problem: Problem, points: Complex, gap: float, budget: float | None = None,
                   now: Callable[[], float] = time.perf_counter) -> MaxMinPoint:
    """
    Maximise the least p_k^H S p_k subject to power and SINRs.

    Parameters
    ----------
    problem : Problem
        Its Fisher map and further rows are not looked at.
    points : ndarray, shape (d, K)
        p_k.
    gap : float
        Certified relative gap to reach.
    budget : float or None
        Time limit [s], looked at between iterations.
    now : callable
        Clock to measure with [s].

    Returns
    -------
    MaxMinPoint

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If the method breaks down before any iterate has a certificate.

    Notes
    -----
    With one scalar tau <= p_k^H S p_k for all k, which is free: the multipliers of these rows
    have the sum one.

    """
    deadline = None if budget is None else now() + budget
    count = points.shape[1]
    rows = Rows(points, np.ones(count), np.ones((count, 1)))
    form = compact_form(problem)._replace(
        adjoints=np.zeros((0, 1, problem.dimension), dtype=complex), selection=np.zeros((0, 0)),
        blocks=np.zeros((1, 3), dtype=np.int64),
        points=np.ascontiguousarray(points), signs=rows.signs, levels=rows.levels,
        aim=np.ones(1))
    form, state = starting_state(problem, form)
    # In units in which tau is 1 at the start.
    form = form._replace(aim=1.0 / state.levels)
    found, _ = _iterated(problem, form, state, gap, deadline, now, MAX_ITERATIONS)
    if found is None:
        raise SolverError('the interior-point method broke down at its starting point')
    return MaxMinPoint(found.covariance, found.parts, found.row_multipliers,
                       found.multipliers / form.aim[0], found.iterations)


def warm_up() -> float:
    """
    Load or compile the kernels, so that the first cycle does not.

    Returns
    -------
    float
        What it took [s]: a fraction of a second from the cache, most of a minute without.

    """
    started = time.perf_counter()
    array = AntennaArray(planar_elements(4, 4, 0.5))
    radio = Radio(wavelength=1.0, power=1.0, symbols=1, user_noise=1e-4,
                  sensing_noise=SensingNoise(power=1e-4))
    scene = Scene(array, array, radio, (PointTarget('t', np.array([1.0, 2.0, 5.0])),),
                  (User('u', 0.0, np.array([-2.0, 1.0, 5.0])),))
    problem = build_problem(scene)
    # To the end, and cut short after one iteration.
    minimise_crb(problem, ACCURATE_GAP / 2)
    minimise_crb(problem, ACCURATE_GAP / 2, budget=0.0)
    return time.perf_counter() - started


def _iterated(problem: Problem, form: Form, state: State, gap: float, deadline: float | None,
              now: Callable[[], float],
              max_iterations: int) -> tuple[InteriorPoint | None, bool]:
    """Iterate to the gap; the best iterate, and whether it reached the gap or the deadline."""
    evidence = Evidence(np.zeros_like(form.selection), np.zeros_like(form.noise),
                        np.zeros_like(form.signs), np.zeros(1))
    history = empty_history(form, max_iterations + 1)
    refinements = 1 if gap > ACCURATE_GAP else 2
    # All at once, unless there is a clock to look at in between.
    turn, late, ended = max_iterations if deadline is None else 1, False, False
    while history.counts[0] < max_iterations and not (ended or late):
        try:
            ended = descend(form, state, evidence, history, refinements, gap, turn)
        except np.linalg.LinAlgError:
            ended = True
        late = deadline is not None and now() >= deadline
    cut_short = late and not history.counts[4]
    if cut_short:
        with suppress(np.linalg.LinAlgError):
            conclude(form, state, evidence, history)
    points, steps, best, _, done = history.counts.tolist()
    if best < 0:
        return None, late
    count = points if cut_short else best + 1
    found, objective = point(history, best), float(history.values[best])
    return InteriorPoint(
        found.covariance, found.parts[1:], evidence.weights, evidence.multipliers,
        evidence.row_multipliers, objective, float(evidence.bound[0]),
        1.0 - float(found.slacks[len(form.noise)]), steps,
        Path(problem, form.scale / objective, history, count)), bool(done) or late
