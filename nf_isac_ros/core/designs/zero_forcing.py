"""Zero forcing: no user hears another's beam nor the sensing; certified against the optimum."""

from __future__ import annotations

from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, repair
from nf_isac_ros.core.designs.base import Design, Outcome, require_point_targets
from nf_isac_ros.core.designs.crb_min import objective
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.fisher import FisherMap
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers import zero_forcing_kernels as kernels
from nf_isac_ros.core.solvers.osqp_ import PowerProgram
from nf_isac_ros.core.solvers.zero_forcing_kernels import Beams, Conclusion, Evidence, Task

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Directions of a user in a program: pseudo-inverse, present, best to add.
GROUPS = 3
# Programs in a row, and steps towards a better bound, with and without an earlier scene.
COLD_ROUNDS, WARM_ROUNDS = 3, 1
COLD_STEPS, WARM_STEPS = 8, 2
# Steps where the beams come from another design, so that the multipliers are not known.
OTHER_STEPS = 4
# First step of the bound's covariance, and smoothing of the largest eigenvalue.
COLD_PACE = (0.08, 0.04)
WARM_PACE = (0.05, 0.04)
# Where the search for the bound begins: so much of the present covariance, the rest carried over.
PRESENT_SHARE = 0.3
# A gap this many times that of the scene before, and this much more, has lost its way.
LOST, LOST_MORE = 2.0, 0.05
# Solvers kept for problems of other sizes.
MAX_PROGRAMS = 8


class ZeroForcingError(SolverError):
    """
    Zero forcing cannot serve these users.

    Attributes
    ----------
    reason : str
        'dependent-users': a user's channel is a mixture of the others'. 'zero-forcing-power':
        without any interference the SINRs take more power than there is. 'zero-forcing-blind':
        what it leaves for the targets does not locate them.

    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Past:
    """
    What is carried over from an earlier scene.

    Attributes
    ----------
    bodies : tuple
        Who was there.
    frame : ndarray, shape (d, 4 K + U)
        Directions that move with the bodies.
    communication, sensing : ndarray, shape (d, U), (d, r)
    covariance : ndarray, shape (d, d)
        At which the bound was found.
    prices : ndarray, shape (U,), or None
        Its multipliers, in the unit of the kernels; None: not known.
    gap : float
        Certified; infinite: not known.

    """

    bodies: tuple[object, ...]
    frame: Complex
    communication: Complex
    sensing: Complex
    received: Real
    covariance: Complex
    prices: Real | None
    gap: float


@dataclass(frozen=True)
class _Attempt:
    """Beams, what their bound rests on, and iterations that the solver spent."""

    conclusion: Conclusion
    evidence: Evidence
    iterations: int

    @property
    def gap(self) -> float:
        """Certified relative gap."""
        return 1.0 - self.evidence.bound / self.conclusion.objective


class ZeroForcing:
    """
    Zero-forcing designs for one scene after the other.

    Beams and bound of a scene are carried over to the next one if its bodies are the same.
    """

    def __init__(self) -> None:
        self._programs: dict[tuple[int, int], PowerProgram] = {}
        self._past: _Past | None = None

    def reset(self) -> None:
        """Forget earlier scenes, and what the solvers have learnt of them."""
        self._past = None
        self._programs.clear()

    def remember(self, problem: Problem, beams: ReducedBeams) -> None:
        """Begin the next design from these beams, of whatever design they are."""
        if problem.extended:
            return
        received = np.abs((problem.user_channels.conj() * beams.communication).sum(axis=0)) ** 2
        self._past = _Past(
            _bodies(problem), _frame(problem), np.ascontiguousarray(beams.communication),
            np.ascontiguousarray(beams.sensing), received, beams.covariance, None, np.inf)

    def __call__(self, problem: Problem, gap: float, budget: float | None = None) -> Outcome:
        """
        Design for a problem.

        Parameters
        ----------
        problem : Problem
            With at least one target.
        gap : float
            Not used: the loss of zero forcing is what it is.
        budget : float or None
            Time limit [s], looked at between programs.

        Returns
        -------
        Outcome

        Raises
        ------
        InfeasibleError
            If the SINRs cannot be met by any beams.
        ZeroForcingError
            If they cannot be met by zero forcing.

        """
        problem.require_bounds()
        deadline = np.inf if budget is None else time.perf_counter() + budget
        task, bodies, frame = make_task(problem), _bodies(problem), _frame(problem)
        past = self._past
        warm = past is not None and past.bodies == bodies
        if past is None or not warm:
            best = self._cold(task, deadline)
        else:
            best = self._warm(task, frame, past, deadline)
            if best.gap > LOST * past.gap + LOST_MORE and time.perf_counter() < deadline:
                # The bodies have jumped.
                fresh = self._cold(task, deadline)
                best = _Attempt(
                    min(best.conclusion, fresh.conclusion, key=lambda end: end.objective),
                    max(best.evidence, fresh.evidence, key=lambda known: known.bound),
                    best.iterations + fresh.iterations)
        reduced = _reduced(problem, best.conclusion)
        end, evidence = best.conclusion, best.evidence
        self._past = _Past(
            bodies, frame, end.beams.communication, end.factor, end.received,
            evidence.covariance, evidence.prices, best.gap)
        return Outcome(reduced, evidence.bound, best.iterations, warm)

    def _cold(self, task: Task, deadline: float) -> _Attempt:
        conclusion, spent = self._rounds(task, kernels.first_beams(task), COLD_ROUNDS, deadline)
        beams = conclusion.beams
        steps = COLD_STEPS if time.perf_counter() < deadline else WARM_STEPS
        return _Attempt(conclusion, kernels.tighten(
            task, kernels.covariance_of(beams), kernels.first_prices(task, beams), steps,
            *COLD_PACE), spent)

    def _warm(self, task: Task, frame: Complex, past: _Past, deadline: float) -> _Attempt:
        carry = kernels.turn(frame, past.frame)
        beams = kernels.carried_beams(
            task, carry, past.communication, past.sensing, past.received)
        conclusion, spent = self._rounds(task, beams, WARM_ROUNDS, deadline)
        prices, steps = past.prices, WARM_STEPS
        if prices is None:
            prices, steps = kernels.first_prices(task, conclusion.beams), OTHER_STEPS
        covariance = kernels.carried_covariance(
            carry, past.covariance, conclusion.beams, PRESENT_SHARE)
        return _Attempt(
            conclusion, kernels.tighten(task, covariance, prices, steps, *WARM_PACE), spent)

    def _rounds(self, task: Task, beams: Beams, rounds: int,
                deadline: float) -> tuple[Conclusion, int]:
        """Improve beams by so many programs, by one at least."""
        conclusion, iterations = self._improve(task, beams)
        for _ in range(rounds - 1):
            if time.perf_counter() >= deadline:
                break
            conclusion, spent = self._improve(task, conclusion.beams)
            iterations += spent
        return conclusion, iterations

    def _improve(self, task: Task, beams: Beams) -> tuple[Conclusion, int]:
        """Solve one program."""
        model = kernels.build_model(task, beams)
        if not np.isfinite(model.objective):
            raise ZeroForcingError(
                'what zero forcing leaves for the targets does not locate them',
                'zero-forcing-blind')
        n_users, n = len(task.least), len(model.powers)
        program = self._programs.get((n_users, n))
        if program is None:
            if len(self._programs) >= MAX_PROGRAMS:
                self._programs.clear()
            program = self._programs[n_users, n] = PowerProgram(n_users, GROUPS, n)
        proposed, iterations = program.solve(
            model.gradient, model.hessian, model.powers, model.gains, task.least)
        return kernels.conclude(task, model, proposed), iterations


def make_task(problem: Problem) -> Task:
    """
    Arrays of a problem as the kernels take them.

    Raises
    ------
    UnsuitableDesignError
        If a target is extended.
    InfeasibleError, ZeroForcingError
        If zero forcing cannot serve the users.

    """
    fisher = problem.fisher
    require_point_targets(problem, DESIGN.name)
    assert isinstance(fisher, FisherMap)
    channels = np.ascontiguousarray(problem.user_channels)
    n_users = channels.shape[1]
    rank = int(np.count_nonzero(channels.any(axis=1)))
    if rank < n_users:
        if problem.max_common_sinr_scale_db < 0:
            raise InfeasibleError(problem.max_common_sinr_scale_db)
        raise ZeroForcingError(f'{n_users} users have {rank} independent channels',
                               'dependent-users')
    served, least = kernels.served_beams(channels, problem.sinr, problem.user_noise)
    # Some is needed beyond that, so that the program has an interior.
    if not least.sum() * (1.0 + 10.0 * kernels.MARGIN) < 1.0:
        if problem.max_common_sinr_scale_db < 0:
            raise InfeasibleError(problem.max_common_sinr_scale_db)
        raise ZeroForcingError(
            f'zero forcing takes {least.sum():.6g} times the power that there is',
            'zero-forcing-power')
    return Task(
        transmit=np.ascontiguousarray(fisher.transmit),
        receive_gram=np.ascontiguousarray(fisher.receive_gram),
        reflections=np.ascontiguousarray(fisher.reflections, dtype=complex),
        scale=np.sqrt(2.0 * fisher.symbols) * fisher.scale,
        selection=np.ascontiguousarray(problem.selection), channels=channels,
        noise=np.ascontiguousarray(problem.user_noise), sinr=np.ascontiguousarray(problem.sinr),
        served=served, least=least)


def _reduced(problem: Problem, conclusion: Conclusion) -> ReducedBeams:
    """Beams with the whole budget used and every SINR met."""
    reduced = ReducedBeams(conclusion.beams.communication, conclusion.factor)
    # Channels so much alike that rounding shows.
    return repair(problem, reduced) if conclusion.slack < 0.0 else reduced


def _bodies(problem: Problem) -> tuple[object, ...]:
    """What has to be the same for beams to be carried over."""
    scene = problem.scene
    return (problem.dimension, len(problem.channels), *[target.id for target in scene.targets],
            *[user.id for user in scene.users])


def _frame(problem: Problem) -> Complex:
    """Directions that move with the bodies; the element is about the middle of a regular array."""
    n = len(problem.channels)
    middle = (n + int(np.sqrt(n))) // 2 % n
    return kernels.moving_frame(
        np.ascontiguousarray(problem.fisher.transmit), np.ascontiguousarray(problem.user_channels),
        problem.steering[middle].copy(), problem.channels[middle].copy())


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Design for one scene alone; see `ZeroForcing`.

    Raises
    ------
    InfeasibleError, ZeroForcingError
        If the users cannot be served.

    """
    return ZeroForcing()(problem, gap, budget)


DESIGN = Design('zero-forcing', True, True, solve, objective, remembering=ZeroForcing)
