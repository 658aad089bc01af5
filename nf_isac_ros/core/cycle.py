"""One design cycle: a scene in, the best beams that can be had in time out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import time

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.designs import DESIGNS, Design
from nf_isac_ros.core.evaluation import evaluate
from nf_isac_ros.core.exceptions import InfeasibleError, SceneError, SolverError
from nf_isac_ros.core.problem import Problem, build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.core.solution import Quality, Solution
from nf_isac_ros.core.solvers import interior_point

# Arrays up to this size publish a full-rank isotropic covariance; larger ones only the part of it
# that reaches targets and users (the beams would be N x N).
MAX_FULL_RANK_ELEMENTS = 64
# A required SINR is met if it is missed by no more than this.
SINR_TOLERANCE_DB = 1e-6


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

    """

    name: str = 'crb-min'
    gap: float = 1e-3
    budget: float | None = None
    rate: float = 50.0

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
    array = AntennaArray(planar_elements(4, 4, 0.5))
    radio = Radio(wavelength=1.0, power=1.0, symbols=1, user_noise=1e-4,
                  sensing_noise=SensingNoise(power=1e-4))
    DesignCycle(DesignSettings()).step(Scene(
        array, array, radio, (PointTarget('t', np.array([1.0, 2.0, 5.0])),),
        (User('u', 0.0, np.array([-2.0, 1.0, 5.0])),)))
    return time.perf_counter() - started


class DesignCycle:
    """
    Designs for one scene after the other and falls back in a stated order.

    The order: the design that was asked for; if its solver fails, least power for the users and
    sensing in their null space; if the required SINRs cannot be met, the largest common scale of
    them; without any body, no beams. What a step falls back to, and why, is in the solution.
    """

    def __init__(self, settings: DesignSettings) -> None:
        self.settings = settings

    def reset(self) -> None:
        """Forget earlier scenes, after a jump of the clock."""

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
            Of quality MUTE, without beams, if there is no body to design for.

        Raises
        ------
        SceneError
            If no channel or bound exists for the scene; `body` names the culprit where there is
            one.

        """
        started = now()
        if not scene.targets and not scene.users:
            return mute(scene, self.settings.name, 'no-bodies')
        problem = build_problem(scene)
        built = now()
        budget = self.settings.budget if budget is None else budget
        left = None if budget is None else max(budget - (built - started), 0.0)
        solution = _labelled(problem, self._design(problem, left))
        if solution.design == 'isotropic' and len(scene.transmit_array) <= MAX_FULL_RANK_ELEMENTS:
            solution = full_rank_isotropic(solution)
        return replace(
            solution, times_ms={'channels': 1e3 * (built - started), **solution.times_ms})

    def _design(self, problem: Problem, budget: float | None) -> Solution:
        design = DESIGNS[self.settings.name]
        if design.needs_targets and not problem.scene.targets:
            design = DESIGNS['sinr-max']
        try:
            return solve(problem, design, self.settings.gap, budget)
        except InfeasibleError as error:
            return self._fallback(problem, 'sinr-max', error.reason)
        except SolverError as error:
            return self._fallback(problem, 'users-first', error.reason)

    def _fallback(self, problem: Problem, name: str, reason: str) -> Solution:
        solution = solve(problem, DESIGNS[name], self.settings.gap, None)
        return replace(solution, quality=Quality.FALLBACK, reason=reason)


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
    outcome = design.solve(problem, gap, budget)
    solved = now()
    solution = evaluate(problem, design, outcome, gap)
    return replace(solution, times_ms={
        'solve': 1e3 * (solved - started), 'beams': 1e3 * (now() - solved)})


def mute(scene: Scene, design: str, reason: str) -> Solution:
    """Solution without beams."""
    none = np.zeros((len(scene.transmit_array), 0), dtype=complex)
    return Solution(
        design=design, quality=Quality.MUTE, reason=reason, communication=none, sensing=none,
        targets=(), users=(), objective=np.nan, bound=np.nan, gap=np.nan, sum_crb=np.nan,
        isotropic_sum_crb=np.nan, power=0.0, power_limit=scene.radio.power,
        covariance_eigenvalues=np.zeros(0), subspace_dimension=0)


def full_rank_isotropic(solution: Solution) -> Solution:
    """Give an isotropic solution all of its N sensing beams and the whole power."""
    n = len(solution.sensing)
    sensing = np.eye(n, dtype=complex) * np.sqrt(solution.power_limit / n)
    return replace(
        solution, sensing=sensing, power=float(np.linalg.norm(sensing) ** 2),
        covariance_eigenvalues=np.full(n, solution.power_limit / n))
