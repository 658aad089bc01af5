"""
What was published during a run, message by message.

Messages are read by their fields alone, so that live rclpy messages and messages that rosbags
read from a recording give the same log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.tracking import PoseSample, Role

Vector = NDArray[np.float64]
ComplexMatrix = NDArray[np.complex128]

TARGET, USER = 'target', 'user'

# DesignStatus.OUTCOME_*
OUTCOMES = ('optimal', 'early', 'fallback', 'mute')
# TrackStatus.STATE_* and ROLE_*
STATES = ('fresh', 'held', 'dropped')
ROLES = (TARGET, USER)
# Track.KIND_EXTENDED
KIND_EXTENDED = 1
# EchoEstimate.STATE_*
ECHO_STATES = ('detected', 'lost', 'new')
# CrbEntry.FIELD_*
FIELDS = ('unknown', 'near', 'far')


@dataclass(frozen=True, slots=True)
class UserSinr:
    """
    Required and achieved SINR of one user.

    Attributes
    ----------
    id : str
    required_db, sinr_db : float
        [dB]; NaN: not known.

    """

    id: str
    required_db: float
    sinr_db: float


@dataclass(frozen=True, slots=True)
class BodyState:
    """
    How old the pose of a body was in one cycle.

    Attributes
    ----------
    id : str
    role : str
        `target` or `user`.
    state : str
        `fresh`, `held` or `dropped`.
    age : float
        Transmit time minus stamp of the newest pose [s].

    """

    id: str
    role: str
    state: str
    age: float


@dataclass(frozen=True, slots=True)
class DesignRecord:
    """
    One DesignStatus message.

    Attributes
    ----------
    time : float
        Receipt, or log time of a recording [s].
    stamp : float
        Transmit time [s].
    sequence, cycle : int
    design : str
        Design that was asked for.
    outcome : str
        One of OUTCOMES.
    reason : str
        Why the outcome is a fallback or mute.
    users : tuple of UserSinr
        On the predicted channels.
    bodies : tuple of BodyState
    objective, bound, gap : float
        NaN: none.
    power : float
        [W].
    iterations : int
    warm : bool
    cycle_ms, pose_to_beam_ms : float
        [ms].
    stages : mapping of str to float
        Duration of each stage [ms].
    overruns : int
        Cumulative.
    rejected : mapping of str to int
        Rejected input messages by reason, cumulative.

    """

    time: float
    stamp: float
    sequence: int
    cycle: int
    design: str
    outcome: str
    reason: str
    users: tuple[UserSinr, ...]
    bodies: tuple[BodyState, ...]
    objective: float
    bound: float
    gap: float
    power: float
    iterations: int
    warm: bool
    cycle_ms: float
    pose_to_beam_ms: float
    stages: Mapping[str, float]
    overruns: int
    rejected: Mapping[str, int]

    @property
    def published(self) -> bool:
        """Tell whether the cycle ended with beams."""
        return self.outcome != 'mute'


@dataclass(frozen=True, slots=True)
class TargetBound:
    """
    Bound of one target in one cycle.

    Attributes
    ----------
    id : str
    position : ndarray, shape (3,)
        Predicted, in the world frame [m].
    parameters : tuple of str
        Names of the rows of `covariance`: x, y, z for a point.
    covariance : ndarray, shape (n, n)
        Bound on the covariance of the parameters; infinite where not identifiable.
    crb, isotropic_crb : float
        Trace of the position part [m^2]: of the beams, and of isotropic transmission.
    illumination : float
        Power at the target [W].
    field : str
        One of FIELDS.

    """

    id: str
    position: Vector
    parameters: tuple[str, ...]
    covariance: Vector
    crb: float
    isotropic_crb: float
    illumination: float
    field: str

    def deviation(self, name: str) -> float:
        """Root of the bound on one of the parameters; NaN if it is not among them."""
        if name not in self.parameters:
            return math.nan
        place = self.parameters.index(name)
        variance = float(self.covariance[place, place])
        return math.sqrt(variance) if variance >= 0 else math.nan

    @property
    def root_crb(self) -> float:
        """Bound on the root-mean-square position error [m]."""
        return math.sqrt(self.crb) if self.crb >= 0 else math.nan

    @property
    def isotropic_root_crb(self) -> float:
        """The same for isotropic transmission [m]."""
        return math.sqrt(self.isotropic_crb) if self.isotropic_crb >= 0 else math.nan


@dataclass(frozen=True, slots=True)
class BoundRecord:
    """
    One CrbArray message.

    Attributes
    ----------
    time, stamp : float
        Receipt and transmit time [s].
    sequence : int
    targets : tuple of TargetBound
    sum_crb, isotropic_sum_crb : float
        [m^2].
    objective, bound, gap : float
        NaN: no certificate.

    """

    time: float
    stamp: float
    sequence: int
    targets: tuple[TargetBound, ...]
    sum_crb: float
    isotropic_sum_crb: float
    objective: float
    bound: float
    gap: float


@dataclass(frozen=True, slots=True)
class BeamRecord:
    """
    One Beamformer message without its weights.

    Attributes
    ----------
    time, stamp : float
        Receipt and transmit time [s].
    sequence : int
    publish_stamp, valid_until : float
        [s].
    design_stamp, cycle_stamp : float
        Of the newest pose that was used, and of the beginning of the cycle [s].
    quality : str
        One of OUTCOMES.
    reason : str
    user_ids : tuple of str
    n_sensing : int
    power : float
        As the message says [W].
    weights_power : float
        Recomputed from the weights of the message [W].
    power_limit : float
        [W].

    """

    time: float
    stamp: float
    sequence: int
    publish_stamp: float
    valid_until: float
    quality: str
    reason: str
    user_ids: tuple[str, ...]
    n_sensing: int
    power: float
    weights_power: float
    power_limit: float
    design_stamp: float = math.nan
    cycle_stamp: float = math.nan


@dataclass(frozen=True, slots=True)
class RadioRecord:
    """
    One RadioStatus message.

    Attributes
    ----------
    time, stamp : float
        Receipt and stamp [s].
    armed, muted : bool
    mute_reason : str
    last_sequence, applied, late, dropped : int
        Cumulative counters.
    rejected : mapping of str to int
        Refused beams by reason, cumulative.
    power, power_limit, max_element_power, eirp : float
        [W].
    muted_duration : float
        Cumulative [s].
    users : tuple of UserSinr
        On the true channels.
    apply_stamp : float
        When the beams of last_sequence went on the air [s]; NaN: not told.

    """

    time: float
    stamp: float
    armed: bool
    muted: bool
    mute_reason: str
    last_sequence: int
    applied: int
    late: int
    dropped: int
    rejected: Mapping[str, int]
    power: float
    power_limit: float
    max_element_power: float
    eirp: float
    muted_duration: float
    users: tuple[UserSinr, ...]
    apply_stamp: float = math.nan


@dataclass(frozen=True, slots=True)
class EchoTarget:
    """
    What the echoes of one period told of one target.

    Attributes
    ----------
    id : str
        Empty: a new one.
    state : str
        One of ECHO_STATES.
    position : ndarray, shape (3,)
        [m].
    deviation : float
        Root of the trace of the covariance that came along [m].

    """

    id: str
    state: str
    position: Vector
    deviation: float


@dataclass(frozen=True, slots=True)
class EchoRecord:
    """
    One EchoEstimateArray message.

    Attributes
    ----------
    time, stamp : float
        Receipt, and middle of the sensing period [s].
    publish_stamp : float
        [s].
    sequence : int
        Of the beams that lit the targets.
    targets : tuple of EchoTarget

    """

    time: float
    stamp: float
    publish_stamp: float
    sequence: int
    targets: tuple[EchoTarget, ...]


@dataclass(frozen=True, slots=True)
class PathPoint:
    """
    Where a body was.

    Attributes
    ----------
    time, stamp : float
        Receipt and stamp of the pose [s].
    position : tuple of float
        x, y, z in the world frame [m].
    extended : PoseSample or None
        The pose of an extended target; None for points and users.

    """

    time: float
    stamp: float
    position: tuple[float, float, float]
    extended: PoseSample | None = None


@dataclass
class RunLog:
    """
    Everything that was heard of a run, in the order of arrival.

    The window is what a summary is about; what arrived before it is kept as well, because
    counters that go on from there need their first value.

    Attributes
    ----------
    begin, end : float
        Window [s], on the axis of the `time` of the records; open until set.
    designs, bounds, beams, radio : list
        Records.
    echoes : list of EchoRecord
    weights : ndarray, shape (N, U + r), or None
        Of the newest Beamformer message [sqrt(W)].
    truth, tracks : dict
        Paths of the bodies by (role, id): as they were, and as the designer was told.
    ignored : int
        Messages whose fields could not be read.

    """

    begin: float = -math.inf
    end: float = math.inf
    designs: list[DesignRecord] = field(default_factory=list)
    bounds: list[BoundRecord] = field(default_factory=list)
    beams: list[BeamRecord] = field(default_factory=list)
    radio: list[RadioRecord] = field(default_factory=list)
    echoes: list[EchoRecord] = field(default_factory=list)
    weights: ComplexMatrix | None = None
    truth: dict[tuple[str, str], list[PathPoint]] = field(default_factory=dict)
    tracks: dict[tuple[str, str], list[PathPoint]] = field(default_factory=dict)
    ignored: int = 0

    def add(self, topic: str, message: Any, time: float) -> None:
        """
        Add one message.

        Parameters
        ----------
        topic : str
            Relative name, one of TOPICS; others are passed over.
        message : object
            With the fields of the message type that TOPICS names.
        time : float
            Receipt, or log time of a recording [s].

        """
        reader = _READERS.get(topic)
        if reader is None:
            return
        try:
            reader(self, message, time)
        except (AttributeError, IndexError, TypeError, ValueError):
            self.ignored += 1

    def inside(self, time: float) -> bool:
        """Tell whether a time is in the window."""
        return self.begin <= time <= self.end

    def in_window(self, records: Iterable[Any]) -> list[Any]:
        """Return those of the records whose time is in the window."""
        return [record for record in records if self.begin <= record.time <= self.end]

    @property
    def target_ids(self) -> list[str]:
        """Ids of the targets that a design, a bound or a pose named, sorted."""
        return self._ids(TARGET, (entry.id for record in self.bounds for entry in record.targets))

    @property
    def user_ids(self) -> list[str]:
        """Ids of the users that a design or a pose named, sorted."""
        return self._ids(USER, (entry.id for record in self.designs for entry in record.users))

    def _ids(self, role: str, named: Iterable[str]) -> list[str]:
        ids = set(named)
        ids.update(body.id for record in self.designs for body in record.bodies
                   if body.role == role)
        ids.update(key[1] for paths in (self.truth, self.tracks) for key in list(paths)
                   if key[0] == role)
        return sorted(ids)


def matrix_from_floats(values: Any, rows: int, columns: int) -> ComplexMatrix:
    """
    Turn an interleaved, column-major float32 sequence into a complex matrix.

    Parameters
    ----------
    values : sequence of float
        2 * rows * columns numbers: re, im, re, im, ...
    rows, columns : int
        Shape of the matrix.

    Returns
    -------
    ndarray, shape (rows, columns)

    Raises
    ------
    ValueError
        If the sequence has another length.

    """
    flat = np.asarray(values, dtype=np.float32)
    if flat.size != 2 * rows * columns:
        raise ValueError(f'{flat.size} values, must be 2 x {rows} x {columns}')
    return flat.view(np.complex64).astype(np.complex128).reshape((rows, columns), order='F')


def _seconds(stamp: Any) -> float:
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def _name(names: tuple[str, ...], value: Any) -> str:
    return names[int(value)]


def _counts(entries: Any) -> dict[str, int]:
    return {entry.reason: int(entry.count) for entry in entries}


def _sinrs(entries: Any) -> tuple[UserSinr, ...]:
    return tuple(UserSinr(entry.id, float(entry.required_sinr_db), float(entry.sinr_db))
                 for entry in entries)


def _add_design(log: RunLog, message: Any, time: float) -> None:
    log.designs.append(DesignRecord(
        time=time,
        stamp=_seconds(message.header.stamp),
        sequence=int(message.sequence),
        cycle=int(message.cycle),
        design=message.design,
        outcome=_name(OUTCOMES, message.outcome),
        reason=message.fallback_reason,
        users=_sinrs(message.users),
        bodies=tuple(BodyState(track.id, _name(ROLES, track.role), _name(STATES, track.state),
                               float(track.age)) for track in message.tracks),
        objective=float(message.objective),
        bound=float(message.bound),
        gap=float(message.gap),
        power=float(message.power),
        iterations=int(message.iterations),
        warm=bool(message.warm),
        cycle_ms=float(message.cycle_ms),
        pose_to_beam_ms=float(message.pose_to_beam_ms),
        stages={stage.stage: float(stage.duration_ms) for stage in message.stages},
        overruns=int(message.overruns),
        rejected=_counts(message.rejected)))


def _add_bounds(log: RunLog, message: Any, time: float) -> None:
    targets = []
    for entry in message.entries:
        size = len(entry.parameters)
        targets.append(TargetBound(
            id=entry.id,
            position=np.array([entry.position.x, entry.position.y, entry.position.z]),
            parameters=tuple(entry.parameters),
            covariance=np.array(entry.covariance, dtype=float).reshape(size, size),
            crb=float(entry.crb),
            isotropic_crb=float(entry.isotropic_crb),
            illumination=float(entry.illumination),
            field=_name(FIELDS, entry.field)))
    log.bounds.append(BoundRecord(
        time=time,
        stamp=_seconds(message.header.stamp),
        sequence=int(message.sequence),
        targets=tuple(targets),
        sum_crb=float(message.sum_crb),
        isotropic_sum_crb=float(message.isotropic_sum_crb),
        objective=float(message.objective),
        bound=float(message.bound),
        gap=float(message.gap)))


def _add_beams(log: RunLog, message: Any, time: float) -> None:
    weights = matrix_from_floats(message.weights, int(message.n_elements),
                                 int(message.n_users) + int(message.n_sensing))
    log.weights = weights
    log.beams.append(BeamRecord(
        time=time,
        stamp=_seconds(message.header.stamp),
        sequence=int(message.sequence),
        publish_stamp=_seconds(message.publish_stamp),
        valid_until=_seconds(message.valid_until),
        quality=_name(OUTCOMES, message.quality),
        reason=message.fallback_reason,
        user_ids=tuple(message.user_ids),
        n_sensing=int(message.n_sensing),
        power=float(message.power),
        weights_power=float(np.vdot(weights, weights).real),
        power_limit=float(message.power_limit),
        design_stamp=_seconds(message.design_stamp),
        cycle_stamp=_seconds(message.cycle_stamp)))


def _add_radio(log: RunLog, message: Any, time: float) -> None:
    log.radio.append(RadioRecord(
        time=time,
        stamp=_seconds(message.header.stamp),
        armed=bool(message.armed),
        muted=bool(message.muted),
        mute_reason=message.mute_reason,
        last_sequence=int(message.last_sequence),
        applied=int(message.applied),
        late=int(message.late),
        dropped=int(message.dropped),
        rejected=_counts(message.rejected),
        power=float(message.power),
        power_limit=float(message.power_limit),
        max_element_power=float(message.max_element_power),
        eirp=float(message.eirp),
        muted_duration=float(message.muted_duration),
        users=_sinrs(message.users),
        # Recordings that were made before there was this field have none.
        apply_stamp=_seconds(message.apply_stamp) or math.nan
        if hasattr(message, 'apply_stamp') else math.nan))


def _add_echoes(log: RunLog, message: Any, time: float) -> None:
    log.echoes.append(EchoRecord(
        time=time,
        stamp=_seconds(message.header.stamp),
        publish_stamp=_seconds(message.publish_stamp),
        sequence=int(message.sequence),
        targets=tuple(EchoTarget(
            entry.id, _name(ECHO_STATES, entry.state),
            np.array([entry.position.x, entry.position.y, entry.position.z]),
            math.sqrt(max(float(np.trace(np.reshape(entry.covariance, (3, 3)))), 0.0)))
            for entry in message.estimates)))


def _extended_pose(track: Any) -> PoseSample:
    place, turn = track.pose.pose.position, track.pose.pose.orientation
    return PoseSample(
        track.id, Role.TARGET, _seconds(track.header.stamp),
        np.array([place.x, place.y, place.z], dtype=float),
        orientation_xyzw=(float(turn.x), float(turn.y), float(turn.z), float(turn.w)),
        kind='extended', contour=track.contour, size_scale=float(track.size_scale))


def _path_reader(paths: str, role: str) -> Callable[[RunLog, Any, float], None]:
    def add(log: RunLog, message: Any, time: float) -> None:
        for track in message.tracks:
            position = track.pose.pose.position
            getattr(log, paths).setdefault((role, track.id), []).append(PathPoint(
                time, _seconds(track.header.stamp), (position.x, position.y, position.z),
                _extended_pose(track) if track.kind == KIND_EXTENDED else None))
    return add


_READERS: dict[str, Callable[[RunLog, Any, float], None]] = {
    'status': _add_design,
    'crb': _add_bounds,
    'beamformer': _add_beams,
    'radio/status': _add_radio,
    'echo/estimates': _add_echoes,
    'truth/targets': _path_reader('truth', TARGET),
    'truth/users': _path_reader('truth', USER),
    'targets': _path_reader('tracks', TARGET),
    'users': _path_reader('tracks', USER),
}

# Relative topic name -> message type, of all topics that a log can be made of.
TOPICS: dict[str, str] = {
    'status': 'nf_isac_msgs/msg/DesignStatus',
    'crb': 'nf_isac_msgs/msg/CrbArray',
    'beamformer': 'nf_isac_msgs/msg/Beamformer',
    'radio/status': 'nf_isac_msgs/msg/RadioStatus',
    'echo/estimates': 'nf_isac_msgs/msg/EchoEstimateArray',
    'truth/targets': 'nf_isac_msgs/msg/TrackArray',
    'truth/users': 'nf_isac_msgs/msg/TrackArray',
    'targets': 'nf_isac_msgs/msg/TrackArray',
    'users': 'nf_isac_msgs/msg/TrackArray',
}
# Those with the paths of the bodies: frequent, and of use only once a run is over.
PATH_TOPICS = ('echo/estimates', 'truth/targets', 'truth/users', 'targets', 'users')
LIVE_TOPICS = tuple(topic for topic in TOPICS if topic not in PATH_TOPICS)
