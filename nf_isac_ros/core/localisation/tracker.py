"""
Tracks of point targets from position estimates that know their own covariance.

Each track is a Kalman filter (FilterPy) of position and velocity with white acceleration, as in
`core.tracking`, but with the full covariance of each estimate: an array sees range a hundred times
worse than direction, and which way that lies changes as the target moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite

from filterpy.common import Q_continuous_white_noise
from filterpy.kalman import KalmanFilter
import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from nf_isac_ros.core.exceptions import RejectedError
from nf_isac_ros.core.localisation.localiser import EchoState, ExpectedTarget

Real = NDArray[np.float64]

# More tracks are refused: noise must not fill the memory.
MAX_TRACKS = 64


class TrackerError(RejectedError):
    """Estimates that cannot be used, or settings that cannot be."""


@dataclass(frozen=True)
class TrackerSettings:
    """
    How targets move, and when a track is believed.

    Attributes
    ----------
    acceleration_density : float
        Power spectral density of the acceleration [m^2/s^3]. A target that turns at an
        acceleration a for times T needs about a^2 T.
    initial_speed : float
        Standard deviation of each velocity component of a new track [m/s].
    start_speed_error : float
        The same of a track that starts with a velocity [m/s].
    gate_probability : float
        Share of right estimates that pass the gate.
    confirm_hits, confirm_looks : int
        A new track is confirmed once it was seen in so many of so many looks; it is dropped if
        that cannot be any more.
    restart_after : int
        Estimates in a row outside the gate, all seen clearly, after which the track begins anew
        where they are: the target turned faster than the model allows.
    coast : float
        A confirmed track goes on without estimates for so long; then it is dropped [s].

    """

    acceleration_density: float = 1.0
    initial_speed: float = 2.0
    gate_probability: float = 0.9999
    confirm_hits: int = 3
    confirm_looks: int = 5
    restart_after: int = 3
    coast: float = 2.0
    start_speed_error: float = 0.5

    def __post_init__(self) -> None:
        """Check the values."""
        if not (0 < self.acceleration_density < inf and 0 < self.initial_speed < inf
                and 0 < self.start_speed_error < inf
                and 0 < self.gate_probability < 1 and 0 < self.coast < inf
                and 1 <= self.confirm_hits <= self.confirm_looks and self.restart_after >= 1):
            raise TrackerError(f'{self}: densities, speeds and times must be positive, '
                               'confirm_hits at most confirm_looks', 'bad-tracking')

    @cached_property
    def gate(self) -> float:
        """Largest squared Mahalanobis distance of an estimate from its prediction."""
        return float(chi2.ppf(self.gate_probability, 3))


@dataclass(frozen=True)
class Detection:
    """
    One target as an estimate tells it.

    Attributes
    ----------
    id : str
        Track that it was looked for as; empty: none.
    position : ndarray, shape (3,)
        [m].
    covariance : ndarray, shape (3, 3)
        [m^2].
    reflection : complex
        NaN: not known.
    velocity : ndarray, shape (3,), or None
        For the start of a track, good to `TrackerSettings.start_speed_error` [m/s]; None: not
        known.

    """

    id: str
    position: Real
    covariance: Real
    reflection: complex = complex(np.nan, np.nan)
    velocity: Real | None = None


@dataclass(frozen=True)
class TargetTrack:
    """
    A track at the time that was asked for.

    Attributes
    ----------
    id : str
    confirmed : bool
    position, velocity : ndarray, shape (3,)
        [m], [m/s].
    covariance : ndarray, shape (6, 6)
        Of position and velocity [m^2, m^2/s, m^2/s^2].
    reflection : complex
        Of the latest estimate that had one; NaN: none had.
    seen : float
        Stamp of the latest estimate [s].

    """

    id: str
    confirmed: bool
    position: Real
    velocity: Real
    covariance: Real
    reflection: complex
    seen: float


class _Track:
    def __init__(self, detection: Detection, stamp: float, confirmed: bool,
                 settings: TrackerSettings) -> None:
        self.settings = settings
        self.confirmed = confirmed
        # By the search: nobody told that it is there.
        self.found = not confirmed
        self.reflection = detection.reflection
        self.hits, self.looks = 1, 1
        self.seen = stamp
        self._filter = KalmanFilter(dim_x=6, dim_z=3)
        self._filter.H = np.eye(3, 6)
        self._begin(detection, stamp)

    def _begin(self, detection: Detection, stamp: float) -> None:
        self.stamp, self.outside = stamp, 0
        known = detection.velocity is not None
        speed = self.settings.start_speed_error if known else self.settings.initial_speed
        self._filter.x = np.concatenate([
            detection.position, detection.velocity if known else np.zeros(3)])
        self._filter.P = np.zeros((6, 6))
        self._filter.P[:3, :3] = detection.covariance
        self._filter.P[3:, 3:] = speed ** 2 * np.eye(3)

    def at(self, stamp: float) -> tuple[Real, Real]:
        """State and its covariance at a time [s], before its own too, shapes (6,), (6, 6)."""
        step = stamp - self.stamp
        transition = np.eye(6)
        transition[:3, 3:] = step * np.eye(3)
        noise = Q_continuous_white_noise(
            2, abs(step), self.settings.acceleration_density, 3, order_by_dim=False)
        if step < 0:
            # Backwards in time position and velocity of the noise are of opposite sign.
            noise[:3, 3:] *= -1.0
            noise[3:, :3] *= -1.0
        return (transition @ self._filter.x,
                transition @ self._filter.P @ transition.T + noise)

    def distance(self, detection: Detection, stamp: float) -> float:
        """Squared Mahalanobis distance of a detection from its prediction."""
        state, covariance = self.at(stamp)
        off = detection.position - state[:3]
        return float(off @ np.linalg.solve(covariance[:3, :3] + detection.covariance, off))

    def take(self, detection: Detection, stamp: float) -> str:
        """Take a detection in; returns '' or why it was not used as it is."""
        self.looks += 1
        if self.distance(detection, stamp) > self.settings.gate:
            self.outside += 1
            if self.outside < self.settings.restart_after:
                return 'outside-gate'
            self._begin(detection, stamp)
            self.seen = stamp
            return 'restarted'
        # A track that was started from elsewhere may be younger than the first echoes of it.
        self._filter.x, self._filter.P = self.at(stamp)
        self._filter.update(detection.position, R=detection.covariance)
        self.stamp = self.seen = stamp
        self.outside = 0
        self.hits += 1
        if np.isfinite(detection.reflection):
            self.reflection = detection.reflection
        self.confirmed |= self.hits >= self.settings.confirm_hits
        return ''

    def miss(self) -> None:
        """Count a look that did not see the target."""
        self.looks += 1

    def over(self, stamp: float) -> bool:
        """Tell whether the track is to be dropped."""
        if self.confirmed:
            return stamp - self.seen > self.settings.coast
        left = self.settings.confirm_looks - self.looks
        return (self.hits + left < self.settings.confirm_hits
                or stamp - self.seen > self.settings.coast)


class TargetTracker:
    """
    Initiates, confirms, coasts and drops tracks; asks nobody for the truth.

    Which estimate belongs to which track is known where the localiser looked for the track; an
    estimate of a new target goes to the nearest track that was not seen this time and whose gate
    it passes, or begins a track.

    Parameters
    ----------
    settings : TrackerSettings
    max_clock_skew : float
        Stamps may be this far in the future; the clock may go back this far unnoticed [s].

    Attributes
    ----------
    counts : Counter
        What happened, by a few words joined by hyphens.

    """

    def __init__(self, settings: TrackerSettings | None = None,
                 max_clock_skew: float = 0.05) -> None:
        self.settings = settings or TrackerSettings()
        self.counts: Counter[str] = Counter()
        self._skew = max_clock_skew
        self._tracks: dict[str, _Track] = {}
        self._latest = -inf
        self._now = -inf
        self._made = 0

    def reset(self) -> None:
        """Forget all tracks and the time."""
        self._tracks.clear()
        self._latest = self._now = -inf

    def start(self, detection: Detection, stamp: float) -> bool:
        """
        Begin a confirmed track of a target that is known to be there.

        If a new target was found there meanwhile, it is that one: its track goes on by this name,
        and there are not two tracks of one target.

        Returns
        -------
        bool
            Whether it had been found already.

        """
        _check(detection)
        found = {name: track.distance(detection, stamp) for name, track in self._tracks.items()
                 if track.found}
        nearest = min(found, key=lambda name: found[name], default=None)
        if nearest is not None and found[nearest] <= self.settings.gate:
            track = self._tracks.pop(nearest)
            track.confirmed, track.found = True, False
            self._tracks[detection.id] = track
            self.counts['named'] += 1
            return True
        self._tracks[detection.id] = _Track(detection, stamp, True, self.settings)
        return False

    def advance(self, now: float) -> tuple[str, ...]:
        """
        Tell the tracker the time [s]; returns the ids of the tracks that were dropped.

        A clock that goes back by more than the skew makes all tracks void.
        """
        if now < self._now - self._skew:
            gone = tuple(self._tracks)
            self.reset()
            self.counts['clock-jump'] += 1
            self._now = now
            return gone
        self._now = max(self._now, now)
        gone = tuple(name for name, track in self._tracks.items() if track.over(now))
        for name in gone:
            kind = 'dropped' if self._tracks[name].confirmed else 'not-confirmed'
            self.counts[kind] += 1
            del self._tracks[name]
        return gone

    def update(self, stamp: float, looks: Sequence[tuple[EchoState, Detection]]) -> None:
        """
        Take the estimates of one sensing period in: all of them, or none.

        Parameters
        ----------
        stamp : float
            Middle of the period [s].
        looks : sequence of (EchoState, Detection)
            Targets of the state LOST were looked for and not seen; their positions do not count.

        Raises
        ------
        TrackerError
            'stamp-regression' or 'future-stamp'; 'not-finite' or 'bad-covariance' for a detection
            that was seen. Nothing was taken in.

        """
        if not isfinite(stamp) or stamp - self._now > self._skew:
            raise TrackerError(f'estimates of {stamp} s, must be at most {self._skew} s after the '
                               f'present time, {self._now} s', 'future-stamp')
        if stamp <= self._latest:
            raise TrackerError(f'estimates of {stamp} s, must be later than those of '
                               f'{self._latest} s', 'stamp-regression')
        # An echo that does not tell all three coordinates is none for a track.
        useless = [i for i, (state, detection) in enumerate(looks)
                   if state is not EchoState.LOST and np.isinf(detection.covariance).any()]
        self.counts['not-localisable'] += len(useless)
        looks = [(EchoState.LOST if i in useless else state, detection)
                 for i, (state, detection) in enumerate(looks)]
        for state, detection in looks:
            if state is not EchoState.LOST:
                _check(detection)
        self._latest = stamp
        unseen = set(self._tracks)
        for state, detection in looks:
            track = self._tracks.get(detection.id)
            if state is EchoState.NEW or track is None:
                continue
            if state is EchoState.LOST:
                track.miss()
                self.counts['missed'] += 1
            else:
                unseen.discard(detection.id)
                self._count(track.take(detection, stamp))
        for state, detection in looks:
            if state is EchoState.NEW:
                self._take_new(detection, stamp, unseen)

    def _take_new(self, detection: Detection, stamp: float, unseen: set[str]) -> None:
        distances = {name: self._tracks[name].distance(detection, stamp) for name in unseen}
        nearest = min(distances, key=lambda name: distances[name], default=None)
        if nearest is not None and distances[nearest] <= self.settings.gate:
            unseen.discard(nearest)
            self._count(self._tracks[nearest].take(detection, stamp))
            self.counts['found-again'] += 1
        elif len(self._tracks) < MAX_TRACKS:
            self._made += 1
            self._tracks[f'new-{self._made}'] = _Track(detection, stamp, False, self.settings)
            self.counts['initiated'] += 1
        else:
            self.counts['too-many-tracks'] += 1

    def _count(self, what: str) -> None:
        if what:
            self.counts[what] += 1

    def tracks(self, stamp: float) -> tuple[TargetTrack, ...]:
        """All tracks at a time [s], by id."""
        out = []
        for name, track in sorted(self._tracks.items()):
            state, covariance = track.at(stamp)
            out.append(TargetTrack(name, track.confirmed, state[:3], state[3:], covariance,
                                   track.reflection, track.seen))
        return tuple(out)

    def expected(self, stamp: float) -> tuple[ExpectedTarget, ...]:
        """Where the localiser should look for all tracks at a time [s]."""
        return tuple(ExpectedTarget(track.id, track.position, track.covariance[:3, :3])
                     for track in self.tracks(stamp))


def _check(detection: Detection) -> None:
    covariance = detection.covariance
    if not (np.isfinite(detection.position).all() and np.isfinite(covariance).all()):
        raise TrackerError(f'position or covariance of {detection.id!r} is not finite',
                           'not-finite')
    scale = np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > 1e-6 * scale or (
            np.linalg.eigvalsh(covariance)[0] < -1e-9 * scale):
        raise TrackerError(f'covariance of {detection.id!r} is {covariance.tolist()}, must be '
                           'symmetric and positive semidefinite [m^2]', 'bad-covariance')
