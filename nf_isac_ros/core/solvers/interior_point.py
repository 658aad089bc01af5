"""Sum-CRB minimisation by a primal-dual interior-point method of our own; docs/solver.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.feasibility import largest_common_scale, least_power
from nf_isac_ros.core.problem import Problem, build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.core.solvers.kernels import Evidence, Form, State, degree, iterate

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

MAX_ITERATIONS = 60
# Steps shorter than this, twice in a row, no longer lead anywhere.
STALLED = 1e-3
# An objective below the bound by more than this means that rounding has left the feasible set.
ROUNDING = -1e-9
# Gaps below this need the Newton system solved more accurately.
ACCURATE_GAP = 1e-5

# Starting point: shares of what the users' least power leaves. Margin bought with least-power
# beams alone costs a dozen iterations; beams at 40 % of the power cure it.
MARGIN_SHARE = 0.5
USER_SHARE = 0.4
SENSING_SHARE = 0.8
FOCUSED = 0.7
INITIAL_GAP = 10.0


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
    weights : ndarray, shape (5 K, 3 K)
    multipliers : ndarray, shape (U,)
        What `certificate.crb_bound` needs for the best bound that was found.
    objective : float
        f(S) [m^2].
    iterations : int

    """

    covariance: Complex
    parts: Complex
    weights: Real
    multipliers: Real
    objective: float
    iterations: int


def minimise_crb(problem: Problem, gap: float, budget: float | None = None,
                 now: Callable[[], float] = time.perf_counter) -> InteriorPoint:
    """
    Minimise tr(E^T F(S)^-1 E) subject to power and SINRs.

    Parameters
    ----------
    problem : Problem
        With at least one target.
    gap : float
        Certified relative gap to reach.
    budget : float or None
        Time limit [s], looked at between iterations.
    now : callable
        Clock to measure with [s].

    Returns
    -------
    InteriorPoint
        The best iterate; every iterate is strictly feasible.

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If the method breaks down before any iterate has a certificate.

    """
    started = now()
    form = compact_form(problem)
    state = starting_state(problem, form)
    form = form._replace(scale=problem.objective(state.covariance))
    if not np.isfinite(form.scale):
        raise SolverError('the starting point has no finite bound')
    return _iterated(form, state, gap, None if budget is None else started + budget, now)


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


def _iterated(form: Form, state: State, gap: float, deadline: float | None,
              now: Callable[[], float]) -> InteriorPoint:
    evidence = Evidence(
        np.zeros_like(form.selection), np.zeros_like(form.noise), np.zeros(1))
    best, stalled = None, 0
    refinements = 1 if gap > ACCURATE_GAP else 2
    for iteration in range(MAX_ITERATIONS):
        covariance, parts = state.covariance.copy(), state.parts[1:].copy()
        try:
            objective, length = iterate(form, state, evidence, refinements, gap)
        except np.linalg.LinAlgError:
            break
        if objective < evidence.bound[0] * (1.0 + ROUNDING):
            # Rounding has left the feasible set.
            break
        if best is None or objective <= best.objective:
            best = InteriorPoint(covariance, parts, evidence.weights, evidence.multipliers,
                                 objective, iteration)
        stalled = stalled + 1 if length < STALLED else 0
        if length == 0.0 or stalled > 1 or (deadline is not None and now() >= deadline):
            break
    if best is None:
        raise SolverError('the interior-point method broke down at its starting point')
    return best


def compact_form(problem: Problem) -> Form:
    """Arrays of a problem in the form that the kernels take; the scale is still open."""
    fisher = problem.fisher
    values, vectors = np.linalg.eigh(fisher.receive_gram)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T
    responses = fisher.transmit @ (root @ fisher.selectors).conj().swapaxes(-1, -2)
    channels = np.ascontiguousarray(problem.user_channels)
    return Form(
        responses=np.ascontiguousarray(responses),
        selection=np.ascontiguousarray(problem.selection), channels=channels,
        dual_channels=np.ascontiguousarray(np.linalg.pinv(channels).conj().T),
        noise=problem.user_noise, sinr=problem.sinr, share=problem.sinr / (1 + problem.sinr),
        scale=1.0)


def starting_state(problem: Problem, form: Form) -> State:
    """
    Build a strictly feasible, well-centred starting point.

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.

    """
    d, n = form.channels.shape
    rank = int(np.count_nonzero(np.abs(form.channels).sum(axis=1)))
    covariance = np.zeros((d, d), dtype=complex)
    parts = np.zeros((n + 1 if n else 0, n, n), dtype=complex)
    if n:
        beams = _user_beams(problem)
        received = form.channels.conj().T @ beams
        powers = np.abs(received) ** 2
        slack = np.diag(powers) - form.share * (powers.sum(axis=1) + form.noise)
        # A little of everything in the users' space, so that no X_k is singular.
        gram = form.channels.conj().T @ form.channels
        spread = min(0.4 * float(slack.min()),
                     SENSING_SHARE * (1.0 - np.linalg.norm(beams) ** 2) / d)
        covariance += beams @ beams.conj().T
        covariance[:rank, :rank] += spread * np.eye(rank)
        parts[:] = spread / (n + 1) * gram
        for u in range(n):
            parts[u + 1] += np.outer(received[:, u], received[:, u].conj())
    left = SENSING_SHARE * (1.0 - np.trace(covariance).real)
    covariance += left * _sensing_covariance(problem, rank)

    slacks = np.empty(n + 1)
    slacks[n] = 1.0 - np.trace(covariance).real
    total = parts.sum(axis=0)
    for u in range(n):
        slacks[u] = parts[u + 1, u, u].real - form.share[u] * (total[u, u].real + form.noise[u])
    if rank < n:
        raise SolverError('users with the same channel: the X_u have no interior')
    if slacks.min() <= 0:
        raise SolverError('no strictly feasible starting point: the SINRs take all of the power')
    level = INITIAL_GAP / degree(form)
    return State(
        covariance, level * np.linalg.inv(covariance), parts, level * np.linalg.inv(parts),
        slacks, level / slacks)


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


def _sensing_covariance(problem: Problem, rank: int) -> Complex:
    """Covariance of trace one outside the users' space; zero if there is nothing outside."""
    d = problem.dimension
    covariance = np.zeros((d, d), dtype=complex)
    if rank == d:
        return covariance
    seen = problem.fisher.transmit[rank:]
    norms = np.linalg.norm(seen, axis=0)
    seen = seen[:, norms > 0] / norms[norms > 0]
    inner = FOCUSED * seen @ seen.conj().T + (1 - FOCUSED) * np.eye(d - rank)
    covariance[rank:, rank:] = inner / np.trace(inner).real
    return covariance
