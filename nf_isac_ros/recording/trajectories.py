"""Where recorded bodies truly were at any time, and how fast: the recording is known ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import PoseSample, Role
from nf_isac_ros.recording.reader import BagMessage

Vector = NDArray[np.float64]

# A velocity is the difference quotient over this time to either side [s]: shorter, and the jitter
# of the stamps makes noise of it; longer, and turns are cut.
VELOCITY_REACH = 0.05
# Nobody knows where a body was in a gap longer than this [s].
MAX_GAP = 1.0
# Stamps that differ more than this from the time of recording come from another clock [s].
SAME_CLOCK = 1.0


@dataclass(frozen=True)
class Trajectory:
    """
    Positions of one body over time.

    Attributes
    ----------
    times : ndarray, shape (T,)
        Rising stamps [s].
    positions : ndarray, shape (T, 3)
        Of the point that counts, in the world frame [m].
    orientations : ndarray, shape (T, 4)
        Quaternions x, y, z, w; NaN where the source has none.

    """

    times: Vector
    positions: Vector
    orientations: Vector

    def at(self, time: float) -> tuple[Vector, Vector] | None:
        """
        Position and velocity at a time.

        Parameters
        ----------
        time : float
            [s].

        Returns
        -------
        position : ndarray, shape (3,)
            Between the neighbours on a straight line [m].
        velocity : ndarray, shape (3,)
            Central difference; at the ends and beside gaps from the inner side [m/s].
            None instead of both where the recording does not tell.

        """
        window = self._window(time)
        if window is None:
            return None
        times, positions = self.times[window], self.positions[window]
        low = max(time - VELOCITY_REACH, float(times[0]))
        high = min(time + VELOCITY_REACH, float(times[-1]))
        here, behind, ahead = np.stack(
            [np.interp([time, low, high], times, axis) for axis in positions.T], axis=1)
        velocity = (ahead - behind) / (high - low) if high > low else np.zeros(3)
        return here, velocity

    def _window(self, time: float) -> slice | None:
        """Poses around a time, as far as a velocity needs them, without a long gap."""
        first = max(0, int(np.searchsorted(self.times, time - VELOCITY_REACH, side='right')) - 1)
        last = int(np.searchsorted(self.times, time + VELOCITY_REACH, side='left'))
        near = self.times[first:last + 1]
        gaps = np.flatnonzero(np.diff(near) > MAX_GAP)
        ended = [g for g in gaps if near[g + 1] <= time]
        ahead = [g for g in gaps if near[g + 1] > time]
        low, high = ended[-1] + 1 if ended else 0, ahead[0] if ahead else len(near) - 1
        if low > high or not near[low] <= time <= near[high]:
            return None
        return slice(first + low, first + high + 1)

    def orientation(self, time: float) -> tuple[float, float, float, float] | None:
        """Quaternion x, y, z, w of the newest pose up to a time; None: not known."""
        index = max(0, int(np.searchsorted(self.times, time, side='right')) - 1)
        if not np.isfinite(self.orientations[index]).all():
            return None
        x, y, z, w = (float(value) for value in self.orientations[index])
        return (x, y, z, w)


@dataclass
class TrajectoryReport:
    """
    What was read for trajectories.

    Attributes
    ----------
    trajectories : dict
        By role and id.
    rejected : Counter
        Messages that could not be used, by reason.
    lags : list of float
        Log time minus stamp of every pose [s].

    """

    trajectories: dict[tuple[Role, str], Trajectory] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)


def read_trajectories(messages: Iterable[BagMessage], reader: PoseReader) -> TrajectoryReport:
    """
    Trajectories of all bodies, from the messages of a recording.

    Parameters
    ----------
    messages : iterable of BagMessage
        On the topics of the reader, in the order of time.
    reader : PoseReader
        Knows the bodies.

    Returns
    -------
    TrajectoryReport
        A pose whose stamp does not rise is left out.

    """
    report = TrajectoryReport()
    samples: dict[tuple[Role, str], list[PoseSample]] = {}
    for message in messages:
        try:
            poses = reader.read(message.topic, message.message)
        except NfIsacError as error:
            report.rejected[error.reason] += 1
            continue
        for pose in poses:
            report.lags.append(1e-9 * message.log_time - pose.stamp)
            known = samples.setdefault((pose.role, pose.id), [])
            if known and pose.stamp <= known[-1].stamp:
                report.rejected['stamp-regression'] += 1
            else:
                known.append(pose)
    for key, poses in samples.items():
        report.trajectories[key] = Trajectory(
            np.array([pose.stamp for pose in poses]),
            np.array([pose.position for pose in poses]),
            np.array([pose.orientation_xyzw or (np.nan,) * 4 for pose in poses]))
    return report


def set_stamps(message: Any, shift: int, pace: float, origin: int) -> None:
    """
    Move the stamps of a message, those of its parts included, from the recording to the present.

    Parameters
    ----------
    message : object
        Live message; a stamp t becomes shift + (t - origin) / pace.
    shift, origin : int
        [ns].
    pace : float
        How much faster than it was recorded the time runs. Bodies then move faster as well, and
        so velocities in the message are scaled too.

    """
    for part in (message, *_parts(message)):
        header = getattr(part, 'header', None)
        if header is not None:
            stamp = header.stamp
            moved = shift + round((stamp.sec * 10 ** 9 + stamp.nanosec - origin) / pace)
            stamp.sec, stamp.nanosec = divmod(moved, 10 ** 9)
        if pace != 1.0:
            _scale_velocity(part, pace)


# Fields of arrays whose elements have headers or velocities of their own.
_ARRAYS = ('tracks', 'transforms', 'detections')


def _parts(message: Any) -> Collection[Any]:
    return [part for name in _ARRAYS for part in getattr(message, name, ())]


def _scale_velocity(part: Any, pace: float) -> None:
    twist = getattr(part, 'twist', None)   # of an Odometry or a Track: with covariance
    vectors = [] if twist is None else [twist.twist.linear, twist.twist.angular]
    velocity = getattr(part, 'velocity', None)   # of a RadarTrack
    for vector in (*vectors, *([] if velocity is None else [velocity])):
        vector.x, vector.y, vector.z = vector.x * pace, vector.y * pace, vector.z * pace
