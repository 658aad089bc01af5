"""One design cycle: a scene in, the best beams that can be had in time out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
import logging
from math import inf
import time

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements
from nf_isac_ros.core.beams import ReducedBeams, repair, split, user_shares
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs import DESIGNS, Design, Outcome, Solve, extended_zero_forcing
from nf_isac_ros.core.designs.zero_forcing import ZeroForcing
from nf_isac_ros.core.evaluation import evaluate
from nf_isac_ros.core.exceptions import InfeasibleError, NfIsacError, SceneError, SolverError
from nf_isac_ros.core.extended import sections
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.problem import sections_apart
from nf_isac_ros.core.feasibility import largest_common_scale
from nf_isac_ros.core.problem import Problem, build_problem
from nf_isac_ros.core.scene import (
    ExtendedTarget,
    PointTarget,
    Radio,
    Scene,
    SensingNoise,
    User,
)
from nf_isac_ros.core.solution import Quality, Solution
from nf_isac_ros.core.solvers import interior_point
from nf_isac_ros.core.starting_point import even_covariance

# Arrays up to this size publish a full-rank isotropic covariance; larger ones only the part of it
# that reaches targets and users (the beams would be N x N).
MAX_FULL_RANK_ELEMENTS = 64
# A required SINR is met if it is missed by no more than this.
SINR_TOLERANCE_DB = 1e-6

# Names of rungs: the design that is always there in time, and the last beams once more.
ZERO_FORCING, EXTENDED_ZERO_FORCING = 'zero-forcing', 'extended-zero-forcing'
USERS_FIRST = 'users-first'
PREVIOUS = 'previous-beams'
# Designs that end early when the time is up.
INTERRUPTED = ('crb-min', 'extended-crb-min')
# An early design with a wider gap than this is compared with the one that is always there in time;
# for points that is zero forcing, which loses about two per cent.
EARLY_GAP = 1e-2
# One with a wider gap than this has used up its time for nothing.
HOPELESS_GAP = 0.3
# Zero forcing for extended targets that stands in for another design need not come closer to what
# it can reach: it loses more than this by itself.
QUICK_GAP = 5e-3
# Largest part of the budget that is kept back for what comes after the solver in scenes with
# points and extended targets, whose iterations and certificates take milliseconds.
MAX_FINISH = 0.5
# Time kept back for the quick design [s], until it is known what it takes, and the largest part of
# the budget that may be, while all of the latest designs were hopeless.
INITIAL_RESERVE = 0.5e-3
MAX_RESERVE = 0.25
# Less than this part of the time of a design that is not hopeless is not worth beginning it.
WORTHWHILE = 0.5
# Hopeless designs in a row after which none is begun: one that begins where the scene before ended
# may need one iteration where its first one had to be cut short. It is tried again after so many
# cycles, in two of them, the second of which goes on from where the first was cut short; and after
# twice as many each time that it was in vain: what it takes to begin at all is more than such a
# budget.
RECENT = 3
TRIES = 2
RETRY_AFTER = 4
LONGEST_RETRY = 80
# Beams that are older than this are not used again: a body that walks has left their focus [s].
MAX_PREVIOUS_AGE = 0.25

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DesignSettings:
    """
    What a cycle is to design.

    Attributes
    ----------
    name : str
        A key of `core.designs.DESIGNS`.
    gap : float
        Certified relative gap that counts as optimal.
    budget : float or None
        Time for one step [s]; None: as long as it takes.
    rate : float
        Designs per second that the caller aims for [Hz].
    deadline_fallback : bool
        Go over to zero forcing where the budget is too short for the design.

    """

    name: str = 'crb-min'
    gap: float = 1e-3
    budget: float | None = None
    rate: float = 50.0
    deadline_fallback: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        if self.name not in DESIGNS:
            raise SceneError(f'design.name is {self.name!r}, must be one of {sorted(DESIGNS)}',
                             'unknown-design')
        if not 0 < self.gap < 1:
            raise SceneError(f'design.gap is {self.gap}, must lie between 0 and 1', 'bad-design')
        if self.budget is not None and not self.budget > 0:
            raise SceneError(f'design.budget is {self.budget} s, must be positive', 'bad-design')
        if not 0 < self.rate <= 1000:
            raise SceneError(f'design.rate is {self.rate} Hz, must lie between 0 and 1000',
                             'bad-design')


def warm_up() -> float:
    """
    Load or compile what the first cycle would otherwise wait for.

    Returns
    -------
    float
        What it took [s]: a fraction of a second from the cache, most of a minute without.

    """
    started = time.perf_counter()
    interior_point.warm_up()
    sections.warm_up()
    warm_up_fallbacks()
    step_twice('crb-min', _small_scene())
    _warm_up_repairs()
    return time.perf_counter() - started


def warm_up_fallbacks() -> None:
    """Do the half of zero forcing, which a set-up compiles beside the interior-point method."""
    scene = _small_scene()
    body = ExtendedTarget('body', Contour((1.0,), (0.5,)), Pose(np.array([0.0, 2.0, 9.0])),
                          sections=2, model='near-field')
    both = replace(scene, extended=(body,))
    DesignCycle(DesignSettings(EXTENDED_ZERO_FORCING)).step(replace(both, targets=()))
    problem = build_problem(both)
    sections_apart(problem)
    problem.truncation(0.1)
    step_twice(ZERO_FORCING, scene)


def _warm_up_repairs() -> None:
    """What is called by itself only where a design misses an SINR, or none can meet them."""
    problem = build_problem(_small_scene())
    covariance = even_covariance(problem)
    received = problem.user_channels.conj().T @ covariance @ problem.user_channels
    repair(problem, split(
        problem, covariance, user_shares(problem, covariance, received[np.newaxis])))
    largest_common_scale(problem.unit_noise_channels, problem.sinr)


def step_twice(design: str, scene: Scene) -> None:
    """Design for a scene; the second time there is something to remember."""
    cycle = DesignCycle(DesignSettings(design))
    for _ in range(2):
        cycle.step(scene)


def _small_scene() -> Scene:
    array = AntennaArray(planar_elements(4, 4, 0.5))
    radio = Radio(wavelength=1.0, power=1.0, symbols=1, user_noise=1e-4,
                  sensing_noise=SensingNoise(power=1e-4))
    return Scene(
        array, array, radio, (PointTarget('t', np.array([1.0, 2.0, 5.0])),),
        (User('u', 0.0, np.array([-2.0, 1.0, 5.0])),))


@dataclass(frozen=True)
class _Previous:
    """Beams that went out, for whom, and for which time [s]."""

    bodies: tuple[object, ...]
    stamp: float
    solution: Solution


class DesignCycle:
    """
    Designs for one scene after the other and falls back in a stated order.

    The rungs: the design that was asked for, which may end early; zero forcing; least power for
    the users and sensing in their null space; the previous beams, rescaled, if they are for the
    same bodies and for a time that is no further away than `MAX_PREVIOUS_AGE`; no beams. Zero
    forcing is no rung where there are points and extended targets. If the required SINRs cannot be
    met at all: the largest common scale of them. What a step falls back to, and why, is in the
    solution.
    """

    def __init__(self, settings: DesignSettings) -> None:
        self.settings = settings
        self._solvers: dict[str, Solve] = {}
        self._previous: _Previous | None = None
        # By numbers of bodies: how long the latest designs took; infinity if they were hopeless.
        self._recent: dict[tuple[int, int], deque[float]] = {}
        self._skipped = 0
        self._retry_after = RETRY_AFTER
        self._reserve = INITIAL_RESERVE
        # By how much the latest designs with extended targets overran [s].
        self._overruns: deque[float] = deque(maxlen=RECENT)

    def reset(self) -> None:
        """Forget earlier scenes, after a jump of the clock."""
        self._solvers.clear()
        self._previous = None
        self._recent.clear()
        self._skipped = 0
        self._retry_after = RETRY_AFTER
        self._reserve = INITIAL_RESERVE
        self._overruns.clear()

    def step(self, scene: Scene, budget: float | None = None,
             now: Callable[[], float] = time.perf_counter) -> Solution:
        """
        Design beams for a scene.

        Parameters
        ----------
        scene : Scene
        budget : float or None
            Time for this step [s]; None: that of the settings.
        now : callable
            Clock to measure with [s].

        Returns
        -------
        Solution
            Of quality MUTE, without beams, if there is no body to design for, or if every rung
            gave way.

        Raises
        ------
        SceneError
            If no channel or bound exists for the scene; `body` names the culprit where there is
            one.

        """
        started = now()
        if not scene.senses and not scene.users:
            return mute(scene, self.settings.name, 'no-bodies')
        problem = build_problem(scene)
        built = now()
        budget = self.settings.budget if budget is None else budget
        deadline = None if budget is None else started + budget
        solution = _labelled(problem, self._descend(problem, deadline, now))
        if solution.design == 'isotropic' and len(scene.transmit_array) <= MAX_FULL_RANK_ELEMENTS:
            solution = full_rank_isotropic(solution)
        if solution.quality is not Quality.MUTE and solution.design != PREVIOUS:
            self._previous = _Previous(_bodies(scene), scene.stamp, solution)
        return replace(
            solution, times_ms={'channels': 1e3 * (built - started), **solution.times_ms})

    def prepare(self, scene: Scene, budget: float,
                now: Callable[[], float] = time.perf_counter) -> bool:
        """
        Solve a predicted scene in idle time: the step for it then begins close to its end.

        Parameters
        ----------
        scene : Scene
            As the next one is expected to be.
        budget : float
            Idle time [s].
        now : callable
            Clock to measure with [s].

        Returns
        -------
        bool
            Whether it was of use; it is not for designs that remember nothing.

        """
        started = now()
        design = DESIGNS[self.settings.name]
        if (design.name not in INTERRUPTED or design.remembering is None
                or not scene.senses):
            return False
        try:
            problem = build_problem(scene)
            self._solver(design)(problem, self.settings.gap, budget - (now() - started))
        except NfIsacError:
            # What is wrong with the scene comes up again, and is labelled, if it comes true.
            return False
        return True

    def _descend(self, problem: Problem, deadline: float | None,
                 now: Callable[[], float]) -> Solution:
        """Climb down the rungs until one bears."""
        wanted = DESIGNS[self.settings.name]
        if wanted.needs_targets and not problem.scene.senses:
            wanted = DESIGNS['sinr-max']
        rungs = [lesser for lesser in _lesser_designs(problem.scene, wanted)
                 if problem.scene.senses and lesser.name != wanted.name]
        reason = ''
        if self._too_short(wanted, problem, deadline, now):
            reason = 'short-budget'
        else:
            rungs.insert(0, wanted)
        while rungs:
            rung = rungs.pop(0)
            try:
                if rung is wanted:
                    return self._wanted(problem, wanted, deadline, now)
                left = None if deadline is None else max(deadline - now(), 0.0)
                solution, _ = self._run(problem, rung, left, now)
                return replace(solution, quality=Quality.FALLBACK, reason=reason)
            except SceneError:
                raise
            except InfeasibleError as error:
                reason = error.reason
                rungs = [] if rung.name == 'sinr-max' else [DESIGNS['sinr-max']]
            except Exception as error:
                # A defect of a solver must not cost the users their beams.
                reason = reason or _reason(error, rung.name)
        try:
            previous = self._rescaled(problem)
        except Exception as error:
            reason, previous = reason or _reason(error, PREVIOUS), None
        if previous is None:
            return mute(problem.scene, self.settings.name, reason)
        return replace(previous, quality=Quality.FALLBACK, reason=reason)

    def _wanted(self, problem: Problem, design: Design, deadline: float | None,
                now: Callable[[], float]) -> Solution:
        """Design as asked for; where it ended too early, the better of that and a quick one."""
        left = None if deadline is None else max(deadline - now(), 0.0)
        switching = design.name in INTERRUPTED and self.settings.deadline_fallback
        quick = _quick(problem.scene, design)
        if left is not None and quick.name == USERS_FIRST:
            left -= min(max(self._overruns, default=0.0), MAX_FINISH * left)
        elif left is not None and switching and self._usual(problem) == inf:
            left -= min(self._reserve, MAX_RESERVE * left)
        started = now()
        solution, outcome = self._run(problem, design, left, now)
        if design.name not in INTERRUPTED:
            return solution
        took = now() - started
        useful = left is None or solution.gap <= max(self.settings.gap, EARLY_GAP)
        # One that was cut short close enough to its end fits into the budget: the next one goes on
        # from there.
        hopeless = not useful and not solution.gap <= HOPELESS_GAP
        self._recent.setdefault(_size(problem), deque(maxlen=RECENT)).append(
            inf if hopeless else took if left is None else min(took, left))
        if left is not None and quick.name == USERS_FIRST:
            self._overruns.append(max(took - left, 0.0))
        if useful:
            self._skipped, self._retry_after = 0, RETRY_AFTER
            zero_forcing = self._solver(DESIGNS[ZERO_FORCING])
            if isinstance(zero_forcing, ZeroForcing):
                zero_forcing.remember(problem, outcome.beams)
            return solution
        if not switching or solution.warm and (problem.extended or not hopeless):
            # One step from the optimum of the scene before is as good as what is quick, for points
            # within a per cent, and is there already.
            return solution
        try:
            lesser, _ = self._run(problem, replace(quick, objective=design.objective),
                                  max((deadline or 0.0) - now(), 0.0), now)
        except NfIsacError:
            # It cannot serve these users; the early design does.
            return solution
        if lesser.coverage_ratio > max(solution.coverage_limit, solution.coverage_ratio):
            return solution
        bound = solution.bound
        if quick.objective is design.objective:
            bound = float(np.fmax(bound, lesser.bound))
        better = min(solution, lesser, key=lambda either: either.objective)
        # The time of both, whichever is taken.
        times = {stage: solution.times_ms[stage] + lesser.times_ms[stage]
                 for stage in solution.times_ms}
        better = replace(better, bound=bound, times_ms=times,
                         gap=abs(better.objective - bound) / better.objective)
        if better.design == design.name:
            return better
        return replace(better, quality=Quality.FALLBACK, reason='budget-exhausted')

    def _too_short(self, design: Design, problem: Problem, deadline: float | None,
                   now: Callable[[], float]) -> bool:
        """Whether the time left would be wasted on a design that can be interrupted."""
        if (deadline is None or design.name not in INTERRUPTED
                or not self.settings.deadline_fallback):
            return False
        recent = self._recent.get(_size(problem))
        if (recent is None or len(recent) < RECENT
                or deadline - now() >= WORTHWHILE * self._usual(problem)):
            return False
        self._skipped += 1
        if self._skipped < self._retry_after:
            return True
        self._skipped, self._retry_after = 0, min(2 * self._retry_after, LONGEST_RETRY)
        while len(recent) > RECENT - TRIES:
            recent.popleft()
        return False

    def _usual(self, problem: Problem) -> float:
        """Shortest time of the latest designs that were not hopeless [s]; infinity: all were."""
        return min(self._recent.get(_size(problem), ()), default=inf)

    def _solver(self, design: Design) -> Solve:
        """Solver of a design, with its memory of earlier scenes if it has one."""
        if design.remembering is None:
            return design.solve
        if design.name not in self._solvers:
            self._solvers[design.name] = design.remembering()
        return self._solvers[design.name]

    def _run(self, problem: Problem, design: Design, budget: float | None,
             now: Callable[[], float]) -> tuple[Solution, Outcome]:
        started = now()
        aim = self.settings.gap
        if design.name == EXTENDED_ZERO_FORCING != self.settings.name:
            aim = max(aim, QUICK_GAP)
        outcome = self._solver(design)(problem, aim, budget)
        solution = _evaluated(problem, design, outcome, self.settings.gap, started, now)
        if design.name in (ZERO_FORCING, EXTENDED_ZERO_FORCING):
            self._reserve = now() - started
        return solution, outcome

    def _rescaled(self, problem: Problem) -> Solution | None:
        """
        Previous beams on the new channels, with full power.

        None if there are none for these bodies, or none that are young enough. What reaches nobody
        is left out. What they still do for users and targets is recomputed.
        """
        previous = self._previous
        if (previous is None or previous.bodies != _bodies(problem.scene)
                or not abs(problem.scene.stamp - previous.stamp) <= MAX_PREVIOUS_AGE):
            return None
        lower = problem.basis.conj().T
        beams = ReducedBeams(
            lower @ previous.solution.communication, lower @ previous.solution.sensing)
        if not 0.0 < beams.power < np.inf:
            return None
        beams = beams.with_full_power()
        weights = tangent_weights(problem, beams.covariance) if problem.scene.senses else None
        bound = np.nan if weights is None else crb_bound(
            problem, weights, np.zeros(len(problem.sinr)))
        design = replace(DESIGNS['crb-min'], name=PREVIOUS)
        return evaluate(problem, design, Outcome(beams, bound), self.settings.gap)


def _bodies(scene: Scene) -> tuple[object, ...]:
    """What has to be the same for beams to be used again."""
    return (scene.transmit_array.layout_hash,
            (*(target.id for target in scene.targets), *(body.id for body in scene.extended)),
            tuple(user.id for user in scene.users))


def _size(problem: Problem) -> tuple[int, int]:
    return len(problem.scene.targets) + len(problem.extended), len(problem.sinr)


def _quick(scene: Scene, wanted: Design) -> Design:
    """Design that is always there in time, instead of another."""
    if not scene.extended:
        return DESIGNS[ZERO_FORCING]
    if scene.targets:
        return DESIGNS[USERS_FIRST]
    alone = wanted.name.startswith('extended')
    return DESIGNS[EXTENDED_ZERO_FORCING] if alone else extended_zero_forcing.FOR_CENTRES


def _lesser_designs(scene: Scene, wanted: Design) -> tuple[Design, ...]:
    """Designs to fall back to, the best one first."""
    quick, last = _quick(scene, wanted), DESIGNS[USERS_FIRST]
    return (quick,) if quick is last else (quick, last)


def _reason(error: Exception, rung: str) -> str:
    """How a failure is labelled; one that nobody foresaw goes into the log, too."""
    if isinstance(error, NfIsacError):
        return error.reason
    if not isinstance(error, np.linalg.LinAlgError):
        _LOG.error('%s failed', rung, exc_info=error)
    return SolverError.reason


def _labelled(problem: Problem, solution: Solution) -> Solution:
    """Make a design that misses a required SINR say so, whatever it was asked to be."""
    missed = max((user.violation_db for user in solution.users), default=0.0) > SINR_TOLERANCE_DB
    if not missed or solution.quality is Quality.FALLBACK:
        return solution
    reason = (InfeasibleError.reason if problem.max_common_sinr_scale_db < 0
              else 'users-not-served')
    return replace(solution, quality=Quality.FALLBACK, reason=reason)


def solve(problem: Problem, design: Design, gap: float, budget: float | None,
          now: Callable[[], float] = time.perf_counter) -> Solution:
    """
    Run one design on a problem and recompute what its beams achieve.

    Parameters
    ----------
    problem : Problem
    design : Design
    gap : float
        Certified relative gap that counts as optimal.
    budget : float or None
        Time limit [s].
    now : callable
        Clock to measure with [s].

    Returns
    -------
    Solution

    Raises
    ------
    InfeasibleError, SolverError
        As the design says.

    """
    started = now()
    return _evaluated(problem, design, design.solve(problem, gap, budget), gap, started, now)


def _evaluated(problem: Problem, design: Design, outcome: Outcome, gap: float, started: float,
               now: Callable[[], float]) -> Solution:
    solved = now()
    times = {'solve': 1e3 * (solved - started)}
    solution = evaluate(problem, design, outcome, gap, times)
    times['beams'] = 1e3 * (now() - solved)
    return solution


def mute(scene: Scene, design: str, reason: str) -> Solution:
    """Solution without beams."""
    none = np.zeros((len(scene.transmit_array), 0), dtype=complex)
    return Solution(
        design=design, quality=Quality.MUTE, reason=reason, communication=none, sensing=none,
        targets=(), users=(), objective=np.nan, bound=np.nan, gap=np.nan, sum_crb=np.nan,
        isotropic_sum_crb=np.nan, power=0.0, power_limit=scene.radio.power,
        subspace_dimension=0)


def full_rank_isotropic(solution: Solution) -> Solution:
    """Give an isotropic solution all of its N sensing beams and the whole power."""
    n = len(solution.sensing)
    sensing = np.eye(n, dtype=complex) * np.sqrt(solution.power_limit / n)
    return replace(
        solution, sensing=sensing, power=float(np.linalg.norm(sensing) ** 2))
