"""Maximum-likelihood localisation of point targets from compressed echoes, begun at tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.localisation.detection import SearchGrid, detection_threshold
from nf_isac_ros.core.localisation.echoes import EchoError
from nf_isac_ros.core.localisation.likelihood import Hypothesis, Likelihood

Real = NDArray[np.float64]

# A track is looked for within so many standard deviations of its covariance.
GATE = 3.0
# In coordinates in which the echo changes at unit speed: a search that reaches no further than
# this begins at the track; beyond, it begins at the best of a grid with this spacing.
_CELL = 1.0
# Points of the grid around one track, some 40 ms for 2304 elements; for a track that is more
# uncertain the grid is wider, and may miss in one period what it finds in the next.
_MOST_POINTS = 400
# Targets explain the echoes if no more is left than so many standard deviations of noise, or such
# a share of the weakest of them: on a side lobe much more than that is left of its main lobe.
_NOISE_LEFT = 5.0
_SHARE_LEFT = 0.05
# The ascent ends when a step is this small against the standard deviations, squared.
_STILL = 1e-4
_MOST_STEPS = 40
_MOST_DAMPING = 1e8


class EchoState(Enum):
    """What became of a target."""

    DETECTED = 'detected'
    LOST = 'lost'
    NEW = 'new'


@dataclass(frozen=True)
class ExpectedTarget:
    """
    Where a target should be.

    Attributes
    ----------
    id : str
    position : ndarray, shape (3,)
        [m].
    covariance : ndarray, shape (3, 3)
        [m^2].

    """

    id: str
    position: Real
    covariance: Real


@dataclass(frozen=True)
class LocatedTarget:
    """
    Where a target is, by its echo.

    Attributes
    ----------
    id : str
        Empty: a new one.
    state : EchoState
        LOST: its echo does not stand out of the noise; the position is where it was expected and
        the covariance is not known (NaN).
    position : ndarray, shape (3,)
        [m].
    covariance : ndarray, shape (3, 3)
        Inverse of the Fisher information at the estimate [m^2]; infinite if the echo does not
        tell all three coordinates.
    reflection : complex
        Estimated reflection coefficient.
    log_likelihood_ratio, threshold : float
        Of target present against absent; what it must exceed.

    """

    id: str
    state: EchoState
    position: Real
    covariance: Real
    reflection: complex
    log_likelihood_ratio: float
    threshold: float


def ascend(likelihood: Likelihood, start: Hypothesis,
           names: Sequence[str] = ()) -> Hypothesis:
    """
    Climb to the next maximum of the likelihood of all positions together.

    Parameters
    ----------
    likelihood : Likelihood
    start : Hypothesis
    names : sequence of str
        Of the targets.

    Returns
    -------
    Hypothesis
        At the maximum; or where `_MOST_STEPS` steps lead.

    Notes
    -----
    Levenberg-Marquardt on the concentrated likelihood, in coordinates that the likelihood itself
    gives: the damping is the block of each target in the information matrix, so that range, which
    an array sees a hundred times worse than direction, is damped no more than direction is. No
    target moves further in one step than its echo stays similar.

    """
    here, damping = start, 0.0
    n = len(start.positions)
    for _ in range(_MOST_STEPS):
        information = here.information
        blocks = _blocks(information, n)
        step = np.linalg.solve(information + damping * blocks + 1e-9 * _ridge(blocks),
                               here.gradient)
        if step @ (information + damping * blocks) @ step < _STILL:
            break
        moves = step.reshape(3, n).T
        reach = max(float(moves[k] @ here.metric(k) @ moves[k]) for k in range(n))
        moves = moves / max(np.sqrt(reach) / _CELL, 1.0)
        try:
            there = likelihood.at(here.positions + moves, names)
        except (EchoError, SceneError):
            there = None   # two targets at one place, or one on the antenna
        if there is not None and there.log_likelihood > here.log_likelihood:
            here, damping = there, 0.1 * damping if damping > 1e-2 else 0.0
        else:
            damping = max(10.0 * damping, 0.1)
            if damping > _MOST_DAMPING:
                break
    return here


def _blocks(information: Real, n: int) -> Real:
    """Blocks of each target alone, the rest zero, shape (3 K, 3 K)."""
    same = np.arange(3 * n) % n
    return np.where(same[:, None] == same, information, 0.0)


def _ridge(blocks: Real) -> Real:
    """Diagonal matrix as large as the best known direction of each target."""
    n = len(blocks) // 3
    return np.diag(np.tile(np.diag(blocks).reshape(3, n).sum(axis=0), 3))


def locate(likelihood: Likelihood, expected: Sequence[ExpectedTarget],
           false_alarms: float = 1e-3) -> tuple[LocatedTarget, ...]:
    """
    Locate targets together, each begun where it is expected.

    Parameters
    ----------
    likelihood : Likelihood
        Of the echoes of one period.
    expected : sequence of ExpectedTarget
    false_alarms : float
        How often a target that is not there may be found, for each target and period.

    Returns
    -------
    tuple of LocatedTarget
        DETECTED or LOST, in the order of the expected ones.

    """
    located, _ = locate_with_fit(likelihood, expected, false_alarms)
    return located


def locate_with_fit(
        likelihood: Likelihood, expected: Sequence[ExpectedTarget], false_alarms: float = 1e-3
        ) -> tuple[tuple[LocatedTarget, ...], Hypothesis | None]:
    """As `locate`; also the hypothesis of all targets that were detected, None without any."""
    found: dict[str, LocatedTarget] = {target.id: _lost(target) for target in expected}
    left, fit = list(expected), None
    while left:
        try:
            start, fit = _fit(likelihood, left)
        except (EchoError, SceneError) as error:
            # Which of them it is that cannot be told apart does not matter; without the least
            # certain one the others have a chance.
            left.remove(_culprit(left, error))
            fit = None
            continue
        ratios, thresholds = fit.ratios, []
        # Where the search may lead: as far as the track is uncertain, and its echo is similar.
        ratios[[k for k in range(len(left)) if _is_astray(left, start, fit, k)]] = 0.0
        for k, target in enumerate(left):
            thresholds.append(detection_threshold(
                false_alarms, np.maximum(2 * GATE * _spread(target, fit.metric(k))[0], _CELL)))
        weakest = int(np.argmin(ratios - thresholds))
        if ratios[weakest] > thresholds[weakest]:
            covariances = fit.covariances
            for k, target in enumerate(left):
                found[target.id] = LocatedTarget(
                    target.id, EchoState.DETECTED, fit.positions[k], covariances[k],
                    complex(fit.reflections[k]), float(ratios[k]), thresholds[k])
            break
        found[left[weakest].id] = _lost(left[weakest], float(ratios[weakest]),
                                        thresholds[weakest])
        del left[weakest]
        fit = None
    return tuple(found[target.id] for target in expected), fit


def _lost(target: ExpectedTarget, ratio: float = np.nan,
          threshold: float = np.nan) -> LocatedTarget:
    return LocatedTarget(target.id, EchoState.LOST, target.position, np.full((3, 3), np.nan),
                         complex(np.nan), ratio, threshold)


def _culprit(expected: Sequence[ExpectedTarget], error: EchoError | SceneError) -> ExpectedTarget:
    if isinstance(error, SceneError):
        for target in expected:
            if target.id == error.body:
                return target
    return max(expected, key=lambda target: float(np.trace(target.covariance)))


def _spread(target: ExpectedTarget, metric: Real) -> tuple[Real, Real]:
    """
    Standard deviations of a track in coordinates in which its echo changes at unit speed.

    Returns them, shape (3,), and the vectors along which they lie, as columns of shape (3, 3) [m].
    """
    values, vectors = np.linalg.eigh(target.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    spread, turn = np.linalg.eigh(root.T @ metric @ root)
    return np.sqrt(np.maximum(spread, 0.0)), root @ turn


def _distance(target: ExpectedTarget, metric: Real, position: Real) -> float:
    """Squared distance from a track, in its deviations and the widths of its echo together."""
    off = position - target.position
    # inv(P + inv(M)) = M - M inv(inv(P) + M) M, without inverting what may be singular.
    size = len(off)
    return float(off @ metric @ np.linalg.solve(
        np.eye(size) + target.covariance @ metric, off))


def _is_astray(expected: Sequence[ExpectedTarget], start: Hypothesis, fit: Hypothesis,
               k: int) -> bool:
    """Whether a target was found outside of its gate."""
    return _distance(expected[k], start.metric(k), fit.positions[k]) > GATE ** 2


def _fit(likelihood: Likelihood, expected: Sequence[ExpectedTarget]
         ) -> tuple[Hypothesis, Hypothesis]:
    """At the tracks; and the best joint fit, from there and from where a search leads."""
    names = [target.id for target in expected]
    positions = np.array([target.position for target in expected])
    start = likelihood.at(positions, names)
    best = ascend(likelihood, start, names)
    doubtful = _doubtful(likelihood, expected, start, best)
    searched, found = best.positions.copy(), False
    searched[doubtful] = positions[doubtful]
    for k in doubtful:
        spread, axes = _spread(expected[k], start.metric(k))
        points = _gate_points(expected[k].position, spread, axes)
        if len(points) > 1:
            others = np.delete(searched, k, axis=0)
            known = likelihood.at(others) if len(others) else None
            searched[k] = points[int(np.argmax(likelihood.scan(points, known)))]
            found = True
    if not found:
        return start, best
    other = ascend(likelihood, likelihood.at(searched, names), names)
    return start, max(best, other, key=lambda fit: fit.log_likelihood)


def _doubtful(likelihood: Likelihood, expected: Sequence[ExpectedTarget], start: Hypothesis,
              fit: Hypothesis) -> list[int]:
    """Targets that may have their echo elsewhere in their gate."""
    excess, deviation = likelihood.excess(fit)
    ratios = fit.ratios
    if excess > max(_NOISE_LEFT * deviation, _SHARE_LEFT * float(ratios.min())):
        return list(range(len(expected)))
    # An echo that is weaker than what noise alone may leave would not be missed.
    return [k for k in range(len(expected))
            if ratios[k] < 2 * _NOISE_LEFT * deviation or _is_astray(expected, start, fit, k)]


def _gate_points(centre: Real, spread: Real, axes: Real) -> Real:
    """Points of a grid in the gate of a track, shape (P, 3); the track alone if that will do."""
    reach = GATE * spread
    counts = np.where(reach <= _CELL, 0, np.ceil(reach / _CELL)).astype(int)
    if np.prod(2.0 * counts + 1) > _MOST_POINTS:
        counts = np.minimum(counts, int(_MOST_POINTS ** (1 / 3) / 2))
    steps = np.meshgrid(*(np.linspace(-GATE, GATE, 2 * count + 1) if count else np.zeros(1)
                          for count in counts), indexing='ij')
    offsets = np.stack([step.ravel() for step in steps], axis=1)
    offsets = offsets[(offsets ** 2).sum(axis=1) <= GATE ** 2 * (1 + 1e-9)]
    points: Real = centre + offsets @ axes.T
    return points


def search_new(likelihood: Likelihood, known: Hypothesis | None, grid: SearchGrid,
               part: slice = slice(None), false_alarms: float = 1e-3) -> LocatedTarget | None:
    """
    Look for one more target on a grid.

    Parameters
    ----------
    likelihood : Likelihood
    known : Hypothesis or None
        The targets that were located.
    grid : SearchGrid
    part : slice
        Points of the grid that are looked at this time.
    false_alarms : float
        Expected number each time that the whole grid was looked at.

    Returns
    -------
    LocatedTarget or None
        The strongest one, refined together with the known ones, if it exceeds the threshold.

    """
    points = grid.points[part]
    threshold = detection_threshold(false_alarms, grid.sides)
    ratios = likelihood.scan(points, known)
    best = int(np.argmax(ratios))
    # On the grid up to half of the ratio is missing.
    if ratios[best] < 0.5 * threshold:
        return None
    positions = np.vstack([points[best:best + 1]] + (
        [] if known is None else [known.positions]))
    try:
        fit = ascend(likelihood, likelihood.at(positions))
    except (EchoError, SceneError):
        return None
    ratio = float(fit.ratios[0])
    if not ratio > threshold:
        return None
    return LocatedTarget('', EchoState.NEW, fit.positions[0], fit.covariances[0],
                         complex(fit.reflections[0]), ratio, threshold)
