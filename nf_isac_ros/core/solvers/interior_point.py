"""Designs by a primal-dual interior-point method of our own; docs/solver.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.certificate import tangent_weights
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.feasibility import largest_common_scale, least_power
from nf_isac_ros.core.information import BlockMap
from nf_isac_ros.core.problem import Problem, Rows, build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.core.solvers.kernels import (
    Evidence,
    Form,
    State,
    degree,
    iterate,
    split_powers,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

MAX_ITERATIONS = 60
# Steps shorter than this, twice in a row, no longer lead anywhere.
STALLED = 1e-3
# An objective below the bound by more than this means that rounding has left the feasible set.
ROUNDING = -1e-9
# Gaps below this need the Newton system solved more accurately.
ACCURATE_GAP = 1e-5
# A warm start that needs more than this is worse than a cold one.
MAX_WARM_ITERATIONS = 10
# Where on an earlier path to start: decimal logarithm of the promised gap, against the decimal
# logarithm of how many wavelengths bodies moved. Nearer the end there is no room for the mismatch.
LEVEL_DISTANCES = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.25)
LEVELS = (-3.0, -2.5, -2.0, -1.5, -1.0, -0.3)

# Starting point: shares of what the users' least power leaves. Margin bought with least-power
# beams alone costs a dozen iterations; beams at 40 % of the power cure it.
MARGIN_SHARE = 0.5
USER_SHARE = 0.3
SENSING_SHARE = 0.8
INITIAL_GAP = 5.0
# At least this much of the sensing power is spread evenly; steps of the rule that splits the rest.
EVEN_SHARE = 0.3
SPLIT_STEPS = 3
# Without a Fisher matrix the rest goes to the points.
POINT_SHARE = 0.7
# Slack that a further row which the starting point does not meet is taken to have, in units of
# the mean of what points receive.
ASSUMED_SLACK = 0.3
# Level of a max-min problem at the start, in units of the least that points receive.
FIRST_LEVEL = 0.5


@dataclass(frozen=True)
class Mark:
    """A point of the central path, and the gap in units of -f_0 / f that it promises."""

    state: State
    promised: float


@dataclass(frozen=True)
class Path:
    """
    Points on the way to an optimum, for a similar scene to start from.

    Attributes
    ----------
    problem : Problem
        What was solved.
    ratio : float
        f_0 / f at the end.
    marks : tuple of Mark
        From the start to the end.

    """

    problem: Problem
    ratio: float
    marks: tuple[Mark, ...]


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
    point, _ = _iterated(problem, form, state, gap, deadline, now, MAX_ITERATIONS)
    points = [one for one in (point, begun) if one is not None]
    if not points:
        raise SolverError('the interior-point method broke down at its starting point')
    # Cut short by the deadline, the cold start may be the worse one.
    return min(points, key=lambda one: one.objective)


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
        responses=np.zeros((0, problem.dimension, 1), dtype=complex), selection=np.zeros((0, 0)),
        blocks=np.zeros((1, 3), dtype=np.int64),
        points=np.ascontiguousarray(points), signs=rows.signs, levels=rows.levels,
        aim=np.ones(1))
    form, state = starting_state(problem, form)
    # In units in which tau is 1 at the start.
    form = form._replace(aim=1.0 / state.levels)
    point, _ = _iterated(problem, form, state, gap, deadline, now, MAX_ITERATIONS)
    if point is None:
        raise SolverError('the interior-point method broke down at its starting point')
    return MaxMinPoint(point.covariance, point.parts, point.row_multipliers,
                       point.multipliers / form.aim[0], point.iterations)


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
    minimise_crb(build_problem(scene), ACCURATE_GAP / 2)
    return time.perf_counter() - started


def _iterated(problem: Problem, form: Form, state: State, gap: float, deadline: float | None,
              now: Callable[[], float],
              max_iterations: int) -> tuple[InteriorPoint | None, bool]:
    """Iterate to the gap; the best iterate, and whether it reached the gap or the deadline."""
    evidence = Evidence(np.zeros_like(form.selection), np.zeros_like(form.noise),
                        np.zeros_like(form.signs), np.zeros(1))
    best, late, stalled = None, False, 0
    marks: list[Mark] = []
    refinements = 1 if gap > ACCURATE_GAP else 2
    for iteration in range(max_iterations):
        before = _copied(state)
        try:
            objective, promised, length = iterate(form, state, evidence, refinements, gap)
        except np.linalg.LinAlgError:
            break
        marks.append(Mark(before, promised))
        if objective < evidence.bound[0] * (1.0 + ROUNDING):
            # Rounding has left the feasible set.
            break
        if objective < np.inf and (best is None or objective <= best.objective):
            path = Path(problem, form.scale / objective, tuple(marks))
            best = InteriorPoint(
                before.covariance, before.parts[1:], evidence.weights,
                evidence.multipliers, evidence.row_multipliers, objective, iteration, path)
        stalled = stalled + 1 if length < STALLED else 0
        late = deadline is not None and now() >= deadline
        if length == 0.0 or stalled > 1 or late:
            break
    reached = best is not None and best.objective <= evidence.bound[0] * (1.0 + gap)
    return best, reached or late


def _copied(state: State) -> State:
    return State(state.covariance.copy(), state.covariance_dual.copy(), state.parts.copy(),
                 state.parts_dual.copy(), state.slacks.copy(), state.slacks_dual.copy(),
                 state.levels.copy(), state.weights.copy())


def transported(path: Path, problem: Problem, form: Form) -> tuple[Form, State] | None:
    """
    Carry a point of an earlier central path over to a new scene.

    Parameters
    ----------
    path : Path
        Of a scene with the same bodies.
    problem : Problem
        The new scene.
    form : Form
        Its compact form.

    Returns
    -------
    tuple of Form and State, or None
        A strictly feasible starting point, and the form with its scale; None if the scenes are
        too different.

    Notes
    -----
    A millimetre turns the phases between bodies, but hardly anything else: in a frame that turns
    with them the users receive the same, exactly, after S has been zero-forced again; what is left
    of the mismatch grows with the distance that bodies moved, and a point further back on the path
    has more room for it.

    """
    old = path.problem
    moved = displacement(old, problem)
    if moved is None:
        return None
    level = float(np.interp(np.log10(max(moved, 1e-9)), LEVEL_DISTANCES, LEVELS))
    if level >= LEVELS[-1]:
        return None
    mark = min(path.marks, key=lambda mark: abs(np.log10(mark.promised / path.ratio) - level))
    state = mark.state

    turn, phases = _frame(old, problem)
    d, n = form.channels.shape
    root = turn @ np.linalg.cholesky(state.covariance)
    parts, parts_dual = state.parts.copy(), state.parts_dual.copy()
    if n:
        received = phases.conj()[:, None] * (old.user_channels.conj().T @ (
            np.linalg.cholesky(state.covariance)))
        root += form.dual_channels @ (received - form.channels.conj().T @ root)
        both = phases.conj()[:, None] * phases
        parts, parts_dual = parts * both, parts_dual * both
    covariance = root @ root.conj().T
    shrink = (1.0 - state.slacks[n]) / np.trace(covariance).real
    covariance *= shrink
    parts *= shrink
    slacks = state.slacks.copy()
    total = parts.sum(axis=0)
    for u in range(n):
        slacks[u] = parts[u + 1, u, u].real - form.share[u] * (total[u, u].real + form.noise[u])
        lacking = 0.5 * state.slacks[u] - slacks[u]
        if lacking > 0:
            more = lacking / (1.0 - form.share[u])
            dual = form.dual_channels[:, u]
            covariance += more * np.outer(dual, dual.conj())
            parts[u + 1, u, u] += more
            slacks[u] += lacking
    slacks[n] = 1.0 - np.trace(covariance).real
    if slacks.min() <= 0:
        return None
    try:
        weights, objective = _weights(problem, covariance)
    except SolverError:
        return None
    return form._replace(scale=path.ratio * objective), State(
        np.ascontiguousarray(covariance),
        np.ascontiguousarray(turn @ state.covariance_dual @ turn.conj().T),
        np.ascontiguousarray(parts), np.ascontiguousarray(parts_dual), slacks,
        state.slacks_dual.copy(), state.levels.copy(), weights)


def displacement(old: Problem, new: Problem) -> float | None:
    """Largest distance that a body moved, in wavelengths; None if the bodies are not the same."""
    if old.user_channels.shape != new.user_channels.shape:
        return None
    before, after = _places(old.scene), _places(new.scene)
    if before is None or after is None or list(before) != list(after):
        return None
    largest = max(float(np.linalg.norm(after[body] - place)) for body, place in before.items())
    return largest / new.scene.radio.wavelength


def _places(scene: Scene) -> dict[tuple[str, str], Real] | None:
    """Positions by role and id, in order; None if a user is known by its channel only."""
    places = {('target', target.id): target.position for target in scene.targets}
    for user in scene.users:
        if user.position is None:
            return None
        places['user', user.id] = user.position
    return places


def _frame(old: Problem, new: Problem) -> tuple[Complex, Complex]:
    """Unitary map of the old coordinates to the new, and how the users' phases turned, (U,)."""
    before, after = _aligned(old), _aligned(new)
    left, _, right = np.linalg.svd(after[0] @ before[0].conj().T)
    return left @ right, after[1] / before[1]


def _aligned(problem: Problem) -> tuple[Complex, Complex]:
    """Unit columns of all bodies with the phase of the array's middle taken off; the users'."""
    array = problem.scene.transmit_array
    middle = int(np.argmin(np.linalg.norm(
        array.elements - array.elements.mean(axis=0), axis=1)))
    targets = np.exp(1j * np.angle(problem.steering[middle]))
    users = np.exp(1j * np.angle(problem.channels[middle]))
    columns = problem.fisher.transmit / np.linalg.norm(problem.fisher.transmit, axis=0)
    return np.hstack([columns / np.tile(targets, 4), problem.user_channels / users]), users


def compact_form(problem: Problem) -> Form:
    """Arrays of a problem in the form that the kernels take; the scale is still open."""
    channels = np.ascontiguousarray(problem.user_channels)
    rows = problem.rows
    if rows is None:
        rows = Rows(np.zeros((problem.dimension, 0), dtype=complex), np.zeros(0),
                    np.zeros((0, 0)))
    return Form(
        responses=np.ascontiguousarray(problem.fisher.responses),
        selection=np.ascontiguousarray(problem.selection), blocks=_blocks(problem),
        channels=channels,
        dual_channels=np.ascontiguousarray(np.linalg.pinv(channels).conj().T),
        noise=problem.user_noise, sinr=problem.sinr, share=problem.sinr / (1 + problem.sinr),
        points=np.ascontiguousarray(rows.points), signs=np.ascontiguousarray(rows.signs),
        levels=np.ascontiguousarray(rows.levels), aim=np.zeros(rows.levels.shape[1]), scale=1.0)


def _blocks(problem: Problem) -> NDArray[np.int64]:
    """Where the diagonal blocks of the Fisher matrix begin and end; as in `Form`."""
    fisher = problem.fisher
    blocks = fisher.blocks if isinstance(fisher, BlockMap) else (fisher,)
    ends = np.cumsum([(0, 0)] + [
        (block.n_parameters, block.patterns.shape[2]) for block in blocks], axis=0)
    # The columns of E are ordered like the parameters they choose from.
    chosen = [int(np.count_nonzero(problem.selection[:end].any(axis=0))) for end in ends[:, 0]]
    return np.column_stack([ends[:, 0], chosen, ends[:, 1]]).astype(np.int64)


def starting_state(problem: Problem, form: Form) -> tuple[Form, State]:
    """
    Build a well-centred starting point, strictly feasible but for further rows.

    Returns
    -------
    Form
        With its scale.
    State

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.

    """
    d, n = form.channels.shape
    rank = int(np.count_nonzero(np.abs(form.channels).sum(axis=1)))
    if rank < n:
        raise SolverError('users with the same channel: the X_u have no interior')
    parts = np.zeros((n + 1 if n else 0, n, n), dtype=complex)
    factor: Complex = np.zeros((d, 0), dtype=complex)
    if n:
        beams = _user_beams(problem)
        received = form.channels.conj().T @ beams
        powers = np.abs(received) ** 2
        slack = np.diag(powers) - form.share * (powers.sum(axis=1) + form.noise)
        # A little of everything in the users' space, so that no X_k is singular.
        gram = form.channels.conj().T @ form.channels
        spread = min(0.4 * float(slack.min()),
                     SENSING_SHARE * (1.0 - np.linalg.norm(beams) ** 2) / d)
        if spread <= 0:
            raise SolverError('no strictly feasible starting point: the SINRs take all power')
        factor = np.hstack([beams, np.sqrt(spread) * np.eye(d, rank)])
        parts[:] = spread / (n + 1) * gram
        for u in range(n):
            parts[u + 1] += np.outer(received[:, u], received[:, u].conj())
    covariance = factor @ factor.conj().T
    if rank < d:
        left = SENSING_SHARE * (1.0 - np.trace(covariance).real)
        covariance += left * _sensing(problem, form, factor, rank, left)

    slacks = np.empty(n + 1 + len(form.signs))
    slacks[n] = 1.0 - np.trace(covariance).real
    total = parts.sum(axis=0)
    for u in range(n):
        slacks[u] = parts[u + 1, u, u].real - form.share[u] * (total[u, u].real + form.noise[u])
    slacks[n + 1:], levels = _first_levels(form, covariance)
    if slacks.min() <= 0:
        raise SolverError('no strictly feasible starting point: the SINRs take all of the power')
    level = INITIAL_GAP / degree(form)
    weights: Real = np.zeros((0, 0))
    if len(form.responses):
        weights, scale = _weights(problem, covariance)
        form = form._replace(scale=scale)
    return form, State(
        covariance, level * np.linalg.inv(covariance), parts, level * np.linalg.inv(parts),
        slacks, level / slacks, levels, weights)


def _sensing(problem: Problem, form: Form, factor: Complex, rank: int, power: float) -> Complex:
    """Covariance of trace one where no user receives it, most of it where it is worth most."""
    d = len(form.channels)
    columns = problem.fisher.transmit if len(form.responses) else form.points
    seen = columns[rank:]
    norms = np.linalg.norm(seen, axis=0)
    directions = np.zeros((d, np.count_nonzero(norms)), dtype=complex)
    directions[rank:] = seen[:, norms > 0] / norms[norms > 0]
    even = np.eye(d, d - rank, -rank, dtype=complex)
    count = directions.shape[1]
    shares = np.full(count + 1, POINT_SHARE / max(count, 1))
    if len(form.responses):
        try:
            shares = (1.0 - EVEN_SHARE) * split_powers(
                form, factor, directions, even, power, SPLIT_STEPS)
        except np.linalg.LinAlgError:
            # Nothing to choose by; the solver will say what is wrong with the Fisher matrix.
            pass
    shares[count] = 1.0 - shares[:count].sum()
    return (directions * shares[:count]) @ directions.conj().T + (
        shares[count] / (d - rank)) * (even @ even.conj().T)


def _first_levels(form: Form, covariance: Complex) -> tuple[Real, Real]:
    """Slacks that the further rows are taken to have, and the free scalars."""
    received = np.einsum(
        'ik,ij,jk->k', form.points.conj(), covariance, form.points).real
    n_free = form.levels.shape[1]
    levels, slacks = np.zeros(n_free), form.signs * received
    for t, level in enumerate(form.levels.T):
        lower, upper = level > 0, level < 0
        reached = received / np.where(level == 0, 1.0, np.abs(level))
        if upper.any():
            # Between what the weakest gets and what the strongest asks for.
            levels[t] = np.sqrt(reached[lower].min() * reached[upper].max())
        else:
            levels[t] = FIRST_LEVEL * reached[lower].min()
    slacks -= form.levels @ levels
    assumed = ASSUMED_SLACK * received.mean() if len(received) else 0.0
    return np.where(slacks > 0, slacks, assumed), levels


def _weights(problem: Problem, covariance: Complex) -> tuple[Real, float]:
    """F(S)^-1 E / f(S), shape (n, w), and f(S)."""
    weights = tangent_weights(problem, covariance)
    if weights is None:
        raise SolverError('the starting point has no finite bound')
    value = float(np.sum(problem.selection * weights))
    return np.ascontiguousarray(weights / value), value


def _user_beams(problem: Problem) -> Complex:
    """Beams for the users with some SINR to spare and some power left."""
    channels, sinr = problem.unit_noise_channels, problem.sinr
    least = problem.least_power
    if least is None:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    ample = least.power + MARGIN_SHARE * (1.0 - least.power)
    users = least_power(channels * np.sqrt(ample), 2.0 * sinr)
    if users is None:
        users = largest_common_scale(channels * np.sqrt(ample), sinr)[1]
    beams = users.beams * np.sqrt(ample)
    power = float(np.linalg.norm(beams) ** 2)
    wanted = least.power + USER_SHARE * (1.0 - least.power)
    return beams * np.sqrt(max(1.0, wanted / power))
