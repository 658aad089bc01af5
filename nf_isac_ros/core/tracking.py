"""
Track store: where every body will be at the time of transmission.

Poses come in unsynchronised, with gaps; beams are designed for one instant that lies ahead. Each
body is predicted to that instant with its velocity, which a Kalman filter estimates from the poses
and, where the source gives them, from velocities.

Notes
-----
The filter is the nearly-constant-velocity model with white acceleration (Bar-Shalom, Li,
Kirubarajan, Estimation with Applications to Tracking and Navigation, Wiley 2001, section 6.2.2),
the same for each axis:

    x' = x + v dt,     Q = q [[dt^3 / 3, dt^2 / 2], [dt^2 / 2, dt]]

where q is `ACCELERATION_DENSITY` and the measurement has the variance `MEASUREMENT_VARIANCE`.
The two were chosen on recorded motion, slow robots under a motion-capture system (56-62 Hz, gaps
up to 190 ms) and pedestrians seen from above (30 Hz); distance between the predicted and the true
position, 50 % and 90 % quantile over all bodies [mm]:

    ahead            50 ms        100 ms         200 ms
    robots
      predicted      1.0,  2.4    1.6,   3.5     2.4,   5.4
      last pose      2.6,  4.1    5.5,   7.6    10.9,  14.4
    pedestrians, golf cart
      predicted      5.4, 10.0   10.8,  19.6    24.7,  44.0
      last pose     61.4, 73.1  122.5, 146.4   244.8, 291.0

A smaller q suits the robots better still and the pedestrians worse: at q = 0.03 and 200 ms ahead
1.6, 3.7 and 29.3, 51.6.

A velocity that comes with a pose is one more measurement, with the variance
`GIVEN_VELOCITY_VARIANCE`. It counts most while a body has few poses. It is not simply believed:
the speed that the recorded golf cart states is wrong by up to 40 %, and 200 ms ahead its position
is found within 111, 210 mm with that speed, 28, 45 mm with both, 24, 39 mm from the poses alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import NfIsacError

Vector = NDArray[np.float64]

# Power spectral density of the acceleration [m^2/s^3].
ACCELERATION_DENSITY = 0.3
# Variance of one coordinate of a pose [m^2]: 5 mm. More than the noise of motion capture, because
# it has to cover the jitter of the stamps too; also the least variance that a source can claim.
MEASUREMENT_VARIANCE = 2.5e-5
# Variance of one velocity component before the second pose [m^2/s^2].
INITIAL_VELOCITY_VARIANCE = 25.0
# Variance of one component of a velocity that the source gives [m^2/s^2]: 0.5 m/s, see above.
GIVEN_VELOCITY_VARIANCE = 0.25

# A pose further than this from where it was expected [m], and further than so many standard
# deviations, is a jump: another body under the same id, or a relocalisation.
JUMP_DISTANCE = 0.3
JUMP_DEVIATIONS = 5.0
# While a body has one pose only, it may have moved at this speed [m/s].
MAX_SPEED = 30.0

# How long after its last message a body is still reported as dropped [s].
FORGET_AFTER = 60.0
# More bodies are refused: a source that makes up ids must not fill the memory.
MAX_BODIES = 256

_IDENTITY = np.eye(3)


class TrackError(NfIsacError, ValueError):
    """
    A pose that cannot be right; the message that brought it is rejected whole.

    Parameters
    ----------
    message : str
        Names the body, the value and what is allowed.
    reason : str
        How diagnostics count it.
    body : str
        Id of the body at fault, or empty.

    """

    def __init__(self, message: str, reason: str, body: str = '') -> None:
        super().__init__(message)
        self.reason = reason
        self.body = body


class Role(Enum):
    """What a body is there for."""

    TARGET = 'target'
    USER = 'user'


class TrackState(IntEnum):
    """How far the pose of a body can be relied on; the values are those of TrackStatus.msg."""

    FRESH = 0
    HELD = 1
    DROPPED = 2


@dataclass(frozen=True)
class TrackingSettings:
    """
    Ages that matter.

    Attributes
    ----------
    predict : float
        A body is predicted with its velocity for this long after its newest pose [s].
    drop : float
        From `predict` to this age a body is held where the prediction ended; older bodies are
        not designed for [s].
    max_clock_skew : float
        A stamp may be this far in the future [s]; the clock may go back this far unnoticed.

    """

    predict: float = 0.25
    drop: float = 0.5
    max_clock_skew: float = 0.05

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.predict <= self.drop < inf:
            raise TrackError(
                f'tracking: predict is {self.predict} s and drop {self.drop} s, must be '
                '0 <= predict <= drop', 'bad-tracking')
        if not 0 <= self.max_clock_skew < inf:
            raise TrackError(
                f'tracking: max_clock_skew is {self.max_clock_skew} s, must be at least 0',
                'bad-tracking')


@dataclass(frozen=True)
class PoseSample:
    """
    One pose of one body.

    Attributes
    ----------
    id : str
        Unique among the targets and among the users.
    role : Role
        Target or user.
    stamp : float
        Time of the pose [s].
    position : ndarray, shape (3,)
        In the world frame [m].
    velocity : ndarray, shape (3,), or None
        In the world frame [m/s]; None: the source does not tell.
    position_covariance : ndarray, shape (3, 3), or None
        [m^2]; None: not known.
    orientation_xyzw : tuple of float or None
        Of the body in the world frame.
    reflection : complex or None
        Complex reflection coefficient; None: the configured one.
    min_sinr_db : float or None
        Required SINR [dB]; None: the configured one.
    kind : str
        'point' or 'extended'.
    contour : str
        Name of the contour; empty: the configured one.
    size_scale : float
        Factor on the size of the contour.

    Raises
    ------
    TrackError
        If a value is not finite or has the wrong shape.

    """

    id: str
    role: Role
    stamp: float
    position: Vector
    velocity: Vector | None = None
    position_covariance: Vector | None = None
    orientation_xyzw: tuple[float, float, float, float] | None = None
    reflection: complex | None = None
    min_sinr_db: float | None = None
    kind: str = 'point'
    contour: str = ''
    size_scale: float = 1.0

    def __post_init__(self) -> None:
        """Check and freeze the values."""
        if not self.id:
            raise TrackError(f'a {self.role.value} has an empty id', 'empty-id')
        self._freeze('position', self.position, (3,))
        if self.velocity is not None:
            self._freeze('velocity', self.velocity, (3,))
        if self.position_covariance is not None:
            covariance = self._freeze('position_covariance', self.position_covariance, (3, 3))
            if (covariance.diagonal() < 0).any():
                raise self._error('position_covariance', covariance.tolist(),
                                  'have no negative variance', 'bad-covariance')
        if self.orientation_xyzw is not None and not all(
                isfinite(value) for value in self.orientation_xyzw):
            raise self._error('orientation', self.orientation_xyzw, 'be finite', 'not-finite')
        numbers = {'stamp': self.stamp, 'min_sinr_db': self.min_sinr_db,
                   'size_scale': self.size_scale}
        for key, number in numbers.items():
            if number is not None and not isfinite(number):
                raise self._error(key, number, 'be finite', 'not-finite')
        if self.reflection is not None and not np.isfinite(self.reflection):
            raise self._error('reflection', self.reflection, 'be finite', 'not-finite')
        if not self.size_scale > 0:
            raise self._error('size_scale', self.size_scale, 'be positive', 'bad-size')
        if self.kind not in ('point', 'extended'):
            raise self._error('kind', self.kind, "be 'point' or 'extended'", 'bad-kind')

    def _freeze(self, key: str, value: Vector, shape: tuple[int, ...]) -> Vector:
        array = np.array(value, dtype=float)
        if array.shape != shape or not np.isfinite(array).all():
            raise self._error(key, array.tolist(), f'be finite, of shape {shape}', 'not-finite')
        array.setflags(write=False)
        object.__setattr__(self, key, array)
        return array

    def _error(self, key: str, value: object, must: str, reason: str) -> TrackError:
        return TrackError(
            f'{key} of {self.role.value} {self.id!r} is {value}, must {must}', reason, self.id)


@dataclass(frozen=True)
class PredictedBody:
    """
    A body at the time that was asked for.

    Attributes
    ----------
    id, role
        As in `PoseSample`.
    state : TrackState
        Whether the position may be relied on.
    age : float
        Time asked for minus stamp of the newest pose [s].
    stamp : float
        Of the newest pose [s].
    position : ndarray, shape (3,)
        Predicted, in the world frame [m].
    velocity : ndarray, shape (3,)
        Estimated [m/s].
    position_covariance : ndarray, shape (3, 3)
        Of the predicted position; grows with the age [m^2].
    orientation_xyzw, reflection, min_sinr_db, kind, contour, size_scale
        As in the newest `PoseSample`.

    """

    id: str
    role: Role
    state: TrackState
    age: float
    stamp: float
    position: Vector
    velocity: Vector
    position_covariance: Vector
    orientation_xyzw: tuple[float, float, float, float] | None
    reflection: complex | None
    min_sinr_db: float | None
    kind: str
    contour: str
    size_scale: float


class _Track:
    """
    Filter of one body: position and velocity, and one covariance that serves all three axes.

    Attributes
    ----------
    sample : PoseSample
        The newest pose.
    received : float
        When a message last named the body [s].

    """

    def __init__(self, sample: PoseSample, now: float) -> None:
        self.sample = sample
        self.received = now
        self._restart(sample)

    def _restart(self, sample: PoseSample) -> None:
        self.position: Vector = sample.position
        self._pp = _measurement_variance(sample)
        self._pv = 0.0
        if sample.velocity is None:
            self.velocity: Vector = np.zeros(3)
            self._vv = INITIAL_VELOCITY_VARIANCE
        else:
            self.velocity = sample.velocity
            self._vv = GIVEN_VELOCITY_VARIANCE
        self._single = True

    def update(self, sample: PoseSample, drop: float) -> bool:
        """Take a newer pose in; tell whether it was a jump."""
        step = sample.stamp - self.sample.stamp
        self.sample = sample
        if step > drop:
            self._restart(sample)
            return False
        expected = self.position + self.velocity * step
        pp, pv, vv = self._propagated(step)
        innovation = sample.position - expected
        distance = sqrt(float(innovation @ innovation))
        noise = _measurement_variance(sample)
        total = pp + noise
        if self._single:
            limit = JUMP_DISTANCE + MAX_SPEED * step
        else:
            limit = max(JUMP_DISTANCE, JUMP_DEVIATIONS * sqrt(total))
        if distance > limit:
            self._restart(sample)
            return True
        gain, gain_v = pp / total, pv / total
        self.position = expected + gain * innovation
        self.velocity = self.velocity + gain_v * innovation
        # 1 - gain as noise / total: stays positive however sure the filter is.
        self._pp, self._pv = noise * gain, pv * noise / total
        self._vv = vv - gain_v * pv
        self._single = False
        if sample.velocity is not None:
            self._take_velocity(sample.velocity)
        return False

    def _take_velocity(self, velocity: Vector) -> None:
        total = self._vv + GIVEN_VELOCITY_VARIANCE
        gain, gain_v = self._pv / total, self._vv / total
        innovation = velocity - self.velocity
        self.position = self.position + gain * innovation
        self.velocity = self.velocity + gain_v * innovation
        self._pp -= gain * self._pv
        self._pv *= GIVEN_VELOCITY_VARIANCE / total
        self._vv *= GIVEN_VELOCITY_VARIANCE / total

    def _propagated(self, step: float) -> tuple[float, float, float]:
        """Variance of position, covariance, variance of velocity after a time [s]."""
        q = ACCELERATION_DENSITY
        return (self._pp + step * (2 * self._pv + step * (self._vv + q * step / 3)),
                self._pv + step * (self._vv + q * step / 2),
                self._vv + q * step)

    def predict(self, time: float, settings: TrackingSettings) -> PredictedBody:
        """Body at a time [s]."""
        sample = self.sample
        age = time - sample.stamp
        ahead = max(min(age, settings.predict), -settings.max_clock_skew)
        variance = self._propagated(max(age, 0.0))[0]
        if sample.position_covariance is None:
            covariance = variance * _IDENTITY
        else:
            covariance = sample.position_covariance + (variance - self._pp) * _IDENTITY
        return PredictedBody(
            sample.id, sample.role, _state(age, settings), age, sample.stamp,
            self.position + self.velocity * ahead, self.velocity, covariance,
            sample.orientation_xyzw, sample.reflection, sample.min_sinr_db, sample.kind,
            sample.contour, sample.size_scale)



def _state(age: float, settings: TrackingSettings) -> TrackState:
    if age <= settings.predict:
        return TrackState.FRESH
    if age <= settings.drop:
        return TrackState.HELD
    return TrackState.DROPPED


def _measurement_variance(sample: PoseSample) -> float:
    """Variance of one coordinate of a pose [m^2]."""
    if sample.position_covariance is None:
        return MEASUREMENT_VARIANCE
    return max(float(np.trace(sample.position_covariance)) / 3, MEASUREMENT_VARIANCE)


class TrackStore:
    """
    Newest pose and velocity of every body.

    Parameters
    ----------
    settings : TrackingSettings
        Ages that matter.

    """

    def __init__(self, settings: TrackingSettings | None = None) -> None:
        self.settings = settings or TrackingSettings()
        self._tracks: dict[tuple[Role, str], _Track] = {}
        self._now = -inf
        self._jumps = 0
        self._clock_jumps = 0

    @property
    def clock_jumps(self) -> int:
        """How often the clock went back so far."""
        return self._clock_jumps

    @property
    def jumps(self) -> int:
        """Poses so far that were no continuation of their track; each restarted its filter."""
        return self._jumps

    def reset(self) -> None:
        """Forget all bodies and the time."""
        self._tracks.clear()
        self._now = -inf

    def advance(self, now: float) -> bool:
        """
        Tell the store the time.

        Parameters
        ----------
        now : float
            Present time in the clock of the stamps [s].

        Returns
        -------
        bool
            True if the clock went back by more than `max_clock_skew`; all bodies were forgotten
            then, because their stamps mean nothing any more. Less is left to the check of the
            stamps, which refuses a few poses and recovers by itself.

        """
        jumped_back = now < self._now - self.settings.max_clock_skew
        if jumped_back:
            self.reset()
            self._clock_jumps += 1
        self._now = max(self._now, now)
        forgotten = [key for key, track in self._tracks.items()
                     if now - track.received > FORGET_AFTER]
        for key in forgotten:
            del self._tracks[key]
        return jumped_back

    def update(self, samples: Sequence[PoseSample], now: float) -> int:
        """
        Take the poses of one message in: all of them, or none.

        A pose that is already known (same stamp, same position) is passed over; latching and
        repeating sources send such poses all the time.

        Parameters
        ----------
        samples : sequence of PoseSample
            Poses of different bodies.
        now : float
            Present time in the clock of the stamps [s].

        Returns
        -------
        int
            How many poses were new.

        Raises
        ------
        TrackError
            'duplicate-id': a body is there twice; 'future-stamp': a stamp is more than
            `max_clock_skew` ahead; 'stamp-regression': a stamp is older than the one before;
            'stamp-conflict': the same stamp with another position; 'too-many-bodies'. Nothing
            was taken in.

        """
        self.advance(now)
        fresh: dict[tuple[Role, str], PoseSample] = {}
        repeated = []
        for sample in samples:
            key = (sample.role, sample.id)
            if key in fresh or key in repeated:
                raise TrackError(
                    f'{sample.role.value} {sample.id!r} is there twice, ids must be unique',
                    'duplicate-id', sample.id)
            if self._is_new(sample, now):
                fresh[key] = sample
            else:
                repeated.append(key)
        if len(self._tracks.keys() | fresh.keys()) > MAX_BODIES:
            raise TrackError(
                f'{len(self._tracks.keys() | fresh.keys())} bodies, must be at most {MAX_BODIES}',
                'too-many-bodies')
        for key in repeated:
            self._tracks[key].received = now
        for key, sample in fresh.items():
            track = self._tracks.get(key)
            if track is None:
                self._tracks[key] = _Track(sample, now)
            else:
                track.received = now
                self._jumps += track.update(sample, self.settings.drop)
        return len(fresh)

    def _is_new(self, sample: PoseSample, now: float) -> bool:
        who = f'{sample.role.value} {sample.id!r}'
        ahead = sample.stamp - now
        if ahead > self.settings.max_clock_skew:
            raise TrackError(
                f'stamp of {who} is {ahead:.3f} s in the future, must be at most '
                f'{self.settings.max_clock_skew} s', 'future-stamp', sample.id)
        track = self._tracks.get((sample.role, sample.id))
        if track is None:
            return True
        step = sample.stamp - track.sample.stamp
        if step < 0:
            raise TrackError(
                f'stamp of {who} is {-step:.6f} s older than the one before, must not go back',
                'stamp-regression', sample.id)
        if step == 0:
            if not np.array_equal(sample.position, track.sample.position):
                raise TrackError(
                    f'{who} has two positions at the stamp {sample.stamp:.6f} s, must have one '
                    '(two publishers?)', 'stamp-conflict', sample.id)
            return False
        return True

    @property
    def in_step(self) -> bool:
        """Whether the newest poses of all bodies that may be designed for are of one time."""
        stamps = {track.sample.stamp for track in self._tracks.values()}
        return sum(self._now - stamp <= self.settings.drop for stamp in stamps) == 1

    def predict(self, time: float) -> tuple[PredictedBody, ...]:
        """
        All known bodies at a time, targets first, each role by id.

        Parameters
        ----------
        time : float
            Transmit time in the clock of the stamps [s].

        Returns
        -------
        tuple of PredictedBody
            Including those to drop, for `FORGET_AFTER` seconds after their last message.

        """
        keys = sorted(self._tracks, key=lambda key: (key[0].value, key[1]))
        return tuple(self._tracks[key].predict(time, self.settings) for key in keys)


@dataclass(frozen=True)
class ChannelSample:
    """
    Channel estimate of a user that is known by its channel.

    Attributes
    ----------
    id : str
        User id.
    stamp : float
        Time of the estimate [s].
    channel : ndarray, shape (N,)
        Channel h; the user receives h^H x.
    min_sinr_db : float or None
        Required SINR [dB]; None: the configured one.

    Raises
    ------
    TrackError
        If a value is not finite or the channel is zero.

    """

    id: str
    stamp: float
    channel: NDArray[np.complex128]
    min_sinr_db: float | None = None

    def __post_init__(self) -> None:
        """Check and freeze the values."""
        if not self.id:
            raise TrackError('a user channel has an empty id', 'empty-id')
        channel = np.array(self.channel, dtype=complex)
        numbers = [self.stamp, 0.0 if self.min_sinr_db is None else self.min_sinr_db]
        if not (np.isfinite(channel).all() and np.isfinite(numbers).all()):
            raise TrackError(
                f'channel, stamp or min_sinr_db of user {self.id!r} is not finite', 'not-finite',
                self.id)
        if not channel.any():
            raise TrackError(f'channel of user {self.id!r} is zero', 'no-channel', self.id)
        channel.setflags(write=False)
        object.__setattr__(self, 'channel', channel)


@dataclass(frozen=True)
class KnownChannel:
    """
    Channel of a user at the time that was asked for.

    Attributes
    ----------
    sample : ChannelSample
        The newest estimate; it is not predicted.
    state : TrackState
        By the same ages as poses.
    age : float
        Time asked for minus stamp [s].

    """

    sample: ChannelSample
    state: TrackState
    age: float


class ChannelStore:
    """
    Newest channel estimate of every user that is known by its channel.

    Parameters
    ----------
    settings : TrackingSettings
        Ages that matter.

    """

    def __init__(self, settings: TrackingSettings | None = None) -> None:
        self.settings = settings or TrackingSettings()
        self._samples: dict[str, ChannelSample] = {}

    def reset(self) -> None:
        """Forget all channels."""
        self._samples.clear()

    def update(self, samples: Sequence[ChannelSample], now: float) -> int:
        """
        Take the channels of one message in: all of them, or none.

        Parameters
        ----------
        samples : sequence of ChannelSample
            Channels of different users.
        now : float
            Present time in the clock of the stamps [s].

        Returns
        -------
        int
            How many channels were new.

        Raises
        ------
        TrackError
            'duplicate-id', 'future-stamp', 'stamp-regression' or 'too-many-bodies', as in
            `TrackStore.update`.

        """
        fresh = {sample.id: sample for sample in samples}
        if len(fresh) < len(samples):
            raise TrackError('a user is there twice, ids must be unique', 'duplicate-id')
        for sample in samples:
            if sample.stamp - now > self.settings.max_clock_skew:
                raise TrackError(
                    f'channel stamp of user {sample.id!r} is {sample.stamp - now:.3f} s in the '
                    f'future, must be at most {self.settings.max_clock_skew} s', 'future-stamp',
                    sample.id)
            if sample.id in self._samples and sample.stamp < self._samples[sample.id].stamp:
                raise TrackError(
                    f'channel stamp of user {sample.id!r} is older than the one before, must not '
                    'go back', 'stamp-regression', sample.id)
        kept = {body: sample for body, sample in self._samples.items()
                if now - sample.stamp <= FORGET_AFTER}
        if len(kept.keys() | fresh.keys()) > MAX_BODIES:
            raise TrackError(
                f'{len(kept.keys() | fresh.keys())} users, must be at most {MAX_BODIES}',
                'too-many-bodies')
        news = sum(body not in kept or kept[body].stamp < sample.stamp
                   for body, sample in fresh.items())
        self._samples = kept | fresh
        return news

    def at(self, time: float) -> tuple[KnownChannel, ...]:
        """All known channels and how old they are at a time [s], by user id."""
        return tuple(
            KnownChannel(self._samples[body], _state(time - self._samples[body].stamp,
                                                     self.settings),
                         time - self._samples[body].stamp)
            for body in sorted(self._samples))
