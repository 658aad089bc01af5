"""The tradeoff between bounds and SINRs: its end points for one target and user, and sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
import math
import time

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nf_isac_ros.core.beams import ReducedBeams, no_beams
from nf_isac_ros.core.designs import DESIGNS, Design, Outcome
from nf_isac_ros.core.evaluation import evaluate
from nf_isac_ros.core.exceptions import (
    InfeasibleError,
    SceneError,
    SolverError,
    UnsuitableDesignError,
)
from nf_isac_ros.core.problem import Problem, build_problem
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.single_target import focusing_ratio
from nf_isac_ros.core.solution import Quality, Solution

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# How close to the optimum the sensing-optimal covariance is computed, of which the end point is
# made: the SINR it allows is off by about the root of that.
END_POINT_GAP = 1e-9
# Eigenvalues of that covariance below this fraction of the power are the solver's.
RANK_TOLERANCE = 1e-6
# Thresholds so close to the largest feasible ones, in dB, leave one set of beams only.
AT_THE_LIMIT_DB = 1e-7


@dataclass(frozen=True)
class EndPoints:
    """
    Corners of the tradeoff between one target and one user.

    The SINR of each is that of its solution's user, the bound its `sum_crb`; its certificate
    compares with the least objective of any beams, whatever they give the user.

    Attributes
    ----------
    sensing : Solution
        Least bound, and the largest SINR that leaves it at that, Gamma_s. The user's beam is
        R_s h / sqrt(h^H R_s h), and no sensing beam reaches it.
    illumination : Solution
        All power on the conjugate response of the target: most light on the target.
    communication : Solution
        Maximum-ratio transmission: the largest SINR of all, Gamma_c.
    line_search_sinr_db : float
        What the paper takes for Gamma_s [dB]: with the beam along the projection of h on the range
        of R_s, as strong as R_s allows. It is never more than Gamma_s.
    focusing_ratio : float
        See `single_target.focusing_ratio`: from 1 on the first two are one design.

    """

    sensing: Solution
    illumination: Solution
    communication: Solution
    line_search_sinr_db: float
    focusing_ratio: float

    @property
    def line_search_loss_db(self) -> float:
        """By how much the paper's beam misses Gamma_s [dB]."""
        return self.sensing.users[0].sinr_db - self.line_search_sinr_db


def end_points(scene: Scene, gap: float = END_POINT_GAP) -> EndPoints:
    """
    Corner designs of a scene with one target and one user.

    Parameters
    ----------
    scene : Scene
        The user's threshold plays no role.
    gap : float
        Certified relative gap to aim for in the sensing-optimal design.

    Returns
    -------
    EndPoints

    Raises
    ------
    SceneError
        If there is not exactly one target and one user.
    SolverError
        If the solver gives no usable point.

    Notes
    -----
    Section V-A of Hua, Xu, Zhang. Below their (49) they take the beam along U^H h; maximising
    |g^H x|^2 with g = U^H h over x^H Sigma^-1 x <= 1 gives x along Sigma g instead.

    """
    if len(scene.targets) != 1 or len(scene.users) != 1:
        raise SceneError(
            f'scene has {len(scene.targets)} targets and {len(scene.users)} users, must have one '
            'of each for the end points of the tradeoff', 'not-single')
    problem = build_problem(scene)
    alone = build_problem(replace(scene, users=()))
    optimum = DESIGNS['crb-min'].solve(alone, gap, None)
    beams = problem.basis.conj().T @ (alone.basis @ optimum.beams.sensing)
    channel = problem.user_channels[:, 0]
    focus = problem.fisher.transmit[:, :1] / np.linalg.norm(problem.fisher.transmit[:, 0])

    def corner(name: str, reduced: ReducedBeams) -> Solution:
        return evaluate(problem, replace(DESIGNS['crb-min'], name=name),
                        Outcome(reduced, optimum.bound), gap)

    nothing = no_beams(problem)
    line_search = _line_search_sinr(beams, channel, float(problem.user_noise[0]))
    return EndPoints(
        sensing=corner('sensing-optimal', largest_sinr_split(beams, channel)),
        illumination=corner('illumination-optimal', ReducedBeams(focus, nothing)),
        communication=corner('communication-optimal', ReducedBeams(channel[:, None], nothing)),
        line_search_sinr_db=10 * math.log10(line_search) if line_search > 0 else -math.inf,
        focusing_ratio=focusing_ratio(problem))


def largest_sinr_split(beams: Complex, channel: Complex) -> ReducedBeams:
    """
    Split a covariance so that one user gets the largest SINR.

    Parameters
    ----------
    beams : ndarray, shape (d, r)
        B with R = B B^H.
    channel : ndarray, shape (d,)
        h.

    Returns
    -------
    ReducedBeams
        w = R h / sqrt(h^H R h), and a factor of R - w w^H, which is zero on h. A user that
        receives nothing of R gets a beam of zeros.

    """
    heard = beams.conj().T @ channel
    norm = np.linalg.norm(heard)
    if norm == 0:
        return ReducedBeams(np.zeros((len(beams), 1), dtype=complex), beams)
    # B turned so that its first column is all that the user hears.
    turn = np.linalg.qr(np.hstack([heard[:, None] / norm, np.eye(len(heard))]))[0]
    turned = beams @ turn
    return ReducedBeams(turned[:, :1], turned[:, 1:])


def _line_search_sinr(beams: Complex, channel: Complex, noise: float) -> float:
    """
    SINR of the largest beam along the projection of h on the range of R = B B^H.

    The paper raises |alpha|^2 until Sigma - |alpha|^2 g g^H / |g|^2 is singular, g = U^H h: at
    |g|^2 / (g^H Sigma^-1 g).
    """
    left, roots, _ = np.linalg.svd(beams, full_matrices=False)
    values = roots ** 2
    kept = values > RANK_TOLERANCE * values.max()
    seen = left[:, kept].conj().T @ channel
    gain = float(np.linalg.norm(seen) ** 2)
    if gain == 0:
        return 0.0
    power = gain / float(np.sum(np.abs(seen) ** 2 / values[kept]))
    interference = float(np.sum(np.abs(seen) ** 2 * values[kept])) - power * gain
    return power * gain / (max(interference, 0.0) + noise)


class PointStatus(Enum):
    """What came of one point of a sweep."""

    OPTIMAL = 'optimal'
    """Certified within the gap that was asked for."""
    EARLY = 'early'
    """Feasible; the gap says how far from optimal it can be."""
    LIMIT = 'limit'
    """The thresholds are the largest feasible ones: no other beams meet them."""
    INFEASIBLE = 'infeasible'
    """No beams meet the thresholds."""
    FAILED = 'failed'
    """The solver gave no usable point."""


@dataclass(frozen=True)
class TradeoffPoint:
    """
    One point of a sweep.

    Attributes
    ----------
    thresholds_db : ndarray, shape (U,)
        Required SINRs [dB].
    status : PointStatus
    solution : Solution or None
        None if infeasible or failed.
    least_power : float
        Power that the users need by themselves [W]; NaN if it is more than there is.
    solve_time : float
        [s].

    """

    thresholds_db: Real
    status: PointStatus
    solution: Solution | None
    least_power: float
    solve_time: float


def common_thresholds(scene: Scene, values_db: ArrayLike) -> Real:
    """Thresholds (n, U) for `sweep` [dB]: every user wants the same SINR."""
    values = np.asarray(values_db, dtype=float).reshape(-1, 1)
    return np.tile(values, len(scene.users))


def scaled_thresholds(scene: Scene, offsets_db: ArrayLike) -> Real:
    """Thresholds (n, U) for `sweep` [dB]: those of the scene, raised together."""
    given = np.array([user.min_sinr_db for user in scene.users])
    return np.asarray(offsets_db, dtype=float).reshape(-1, 1) + given


def largest_feasible_offset_db(scene: Scene, thresholds_db: ArrayLike) -> float:
    """By how much thresholds (U,) [dB] can be raised together; negative if they are too high."""
    return with_thresholds(
        build_problem(scene), np.asarray(thresholds_db, dtype=float)).max_common_sinr_scale_db


def with_thresholds(problem: Problem, thresholds_db: Real) -> Problem:
    """Same problem with other required SINRs, (U,) [dB]: the channels stay as they are."""
    users = tuple(
        replace(user, min_sinr_db=float(threshold))
        for user, threshold in zip(problem.scene.users, thresholds_db, strict=True))
    return replace(problem, scene=replace(problem.scene, users=users),
                   sinr=10 ** (np.asarray(thresholds_db, dtype=float) / 10))


def sweep(scene: Scene, design: Design, thresholds_db: ArrayLike | Sequence[Sequence[float]],
          gap: float = 1e-6, budget: float | None = None) -> Iterator[TradeoffPoint]:
    """
    Design for one set of thresholds after the other.

    Parameters
    ----------
    scene : Scene
        With targets and users.
    design : Design
    thresholds_db : array_like, shape (n, U)
        Required SINRs of each point [dB]; see `common_thresholds` and `scaled_thresholds`.
    gap : float
        Certified relative gap to aim for.
    budget : float or None
        Time limit of each point [s].

    Returns
    -------
    iterator of TradeoffPoint
        In the order of the thresholds. A design that remembers begins each point where the one
        before ended: falling thresholds are the quickest, because beams for one point are then
        feasible for the next.

    Raises
    ------
    SceneError
        If there is no threshold, no target or no user, or the thresholds do not fit the users.
    UnsuitableDesignError
        At the first point, if the design cannot take the scene.

    """
    thresholds = np.asarray(thresholds_db, dtype=float)
    for role, bodies in (('targets', (*scene.targets, *scene.extended)), ('users', scene.users)):
        if not bodies:
            raise SceneError(f'{role}: are empty, must hold at least one for a sweep',
                             f'no-{role}')
    if thresholds.ndim != 2 or thresholds.shape[1] != len(scene.users):
        raise SceneError(f'thresholds of the sweep have shape {thresholds.shape}, must have one '
                         f'column for each of {len(scene.users)} users', 'bad-sweep')
    if not len(thresholds):
        raise SceneError('sweep has no threshold, must have at least one', 'empty-sweep')
    if not np.isfinite(thresholds).all():
        raise SceneError('thresholds of the sweep must be finite', 'bad-sweep')
    return _points(build_problem(scene), design, thresholds, gap, budget)


def _points(problem: Problem, design: Design, thresholds: Real, gap: float,
            budget: float | None) -> Iterator[TradeoffPoint]:
    solver = design.solve if design.remembering is None else design.remembering()
    for row in thresholds:
        at = with_thresholds(problem, row)
        least = at.least_power
        started = time.perf_counter()
        solution = None
        try:
            if design.meets_sinr and abs(at.max_common_sinr_scale_db) <= AT_THE_LIMIT_DB:
                # Nothing is left to optimise, and solvers want an interior.
                outcome, status = Outcome(
                    ReducedBeams(at.balanced[1].beams, no_beams(at)), math.nan), PointStatus.LIMIT
            else:
                outcome, status = solver(at, gap, budget), PointStatus.EARLY
            solution = evaluate(at, design, outcome, gap)
            if solution.quality is Quality.OPTIMAL:
                status = PointStatus.OPTIMAL
            elif design.name == 'isotropic':
                # Nothing to optimise; what reaches neither target nor user costs power, too.
                solution, status = replace(
                    solution, power=solution.power_limit), PointStatus.OPTIMAL
        except UnsuitableDesignError:
            # At no point of the sweep will it do better.
            raise
        except InfeasibleError:
            status = PointStatus.INFEASIBLE
        except SolverError:
            status = PointStatus.FAILED
        yield TradeoffPoint(
            row, status, solution,
            math.nan if least is None else least.power * problem.scene.radio.power,
            time.perf_counter() - started)
