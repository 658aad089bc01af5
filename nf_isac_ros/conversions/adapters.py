"""
Poses of many message types as `PoseSample`.

Nothing is imported from message packages: a message is known by its fields, so that the same code
serves live messages, and those that `rosbags` reads where there is no ROS. An adapter is for one
message of one topic; `pose_reader.PoseReader` is for all topics of a deployment, and for TF.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.conversions.frames import require_frame
from nf_isac_ros.core.arrays import Pose, rotation_from_xyzw, unit_quaternion
from nf_isac_ros.core.exceptions import ArrayError
from nf_isac_ros.core.tracking import PoseSample, Role

Vector = NDArray[np.float64]


class Body(Protocol):
    """What an adapter has to know of a configured body; `files.BodySettings` has it."""

    @property
    def id(self) -> str:
        """Unique within its role."""

    @property
    def role(self) -> str:
        """Either 'target' or 'user'."""

    @property
    def topic(self) -> str | None:
        """Where its poses come from; None: from the topics of TrackArrays."""

    @property
    def type(self) -> str | None:
        """Message type of that topic."""

    @property
    def source_id(self) -> str:
        """What messages with names call it; empty: its id."""

    @property
    def index(self) -> int | None:
        """Place in a PoseArray; None: by the order of the bodies."""

    @property
    def offset(self) -> Any:
        """Point that counts, in the body's frame, shape (3,) [m]."""

    @property
    def kind(self) -> str:
        """Either 'point' or 'extended'."""

    @property
    def contour(self) -> str:
        """Name of the contour, or empty."""

    @property
    def size_scale(self) -> float:
        """Factor on the size of the contour."""


Adapter = Callable[[Any, Sequence[Body], str], list[PoseSample]]


def seconds(stamp: Any) -> float:
    """Time of a builtin_interfaces/Time [s]."""
    return float(stamp.sec) + float(stamp.nanosec) * 1e-9


def check_stamp(header: Any, what: str) -> float:
    """Time of a header [s]; MessageError ('no-stamp') if it has none."""
    if header.stamp.sec == 0 and header.stamp.nanosec == 0:
        raise MessageError(f'{what} has no stamp (0)', 'no-stamp')
    return seconds(header.stamp)


def _xyz(value: Any) -> Vector:
    return np.array([value.x, value.y, value.z], dtype=float)


def _xyzw(value: Any) -> tuple[float, float, float, float]:
    return (float(value.x), float(value.y), float(value.z), float(value.w))


def _covariance(entries: Any) -> Vector | None:
    """Position block of a 6 x 6 covariance; None if all zero or all NaN: unknown."""
    block = np.asarray(entries, dtype=float).reshape(6, 6)[:3, :3]
    if not block.any() or np.isnan(block).all():
        return None
    return block


def make_sample(
        body: Body, stamp: float, position: Vector,
        orientation: tuple[float, float, float, float] | None = None,
        velocity: Vector | None = None, angular_velocity: Vector | None = None,
        covariance: Vector | None = None, **attributes: Any) -> PoseSample:
    """
    Pose of the point of a body that counts.

    Parameters
    ----------
    body : Body
        Whose offset is applied, in the frame of the body.
    stamp : float
        [s].
    position : ndarray, shape (3,)
        Origin of the body in the world frame [m].
    orientation : tuple of float or None
        x, y, z, w; None: the source has none.
    velocity, angular_velocity : ndarray, shape (3,), or None
        In the world frame [m/s, rad/s].
    covariance : ndarray, shape (3, 3), or None
        Of the position [m^2].
    **attributes
        Further fields of `PoseSample` that the message gives itself.

    Raises
    ------
    MessageError
        If the orientation is no unit quaternion ('bad-quaternion'), or is missing where there is
        an offset ('no-orientation').
    TrackError
        If a value is not finite.

    """
    if orientation is not None:
        if not np.isfinite(orientation).all():
            raise MessageError(
                f'orientation of {body.role} {body.id!r} is {orientation}, must be finite',
                'not-finite')
        try:
            unit_quaternion(orientation)
        except ArrayError as error:
            raise MessageError(f'{body.role} {body.id!r}: {error}', 'bad-quaternion') from error
    if any(body.offset):
        if orientation is None:
            raise MessageError(
                f'{body.role} {body.id!r} has the offset {[float(x) for x in body.offset]}, but '
                'its messages have no orientation', 'no-orientation')
        arm = rotation_from_xyzw(orientation) @ np.asarray(body.offset, dtype=float)
        position = position + arm
        if velocity is not None and angular_velocity is not None:
            velocity = velocity + np.cross(angular_velocity, arm)
    fields = {'kind': body.kind, 'contour': body.contour, 'size_scale': body.size_scale}
    return PoseSample(body.id, Role(body.role), stamp, position, velocity, covariance,
                      orientation, **(fields | attributes))


def _only(bodies: Sequence[Body], what: str) -> Body:
    if len(bodies) != 1:
        raise MessageError(f'{what} is the pose of one body, {len(bodies)} are configured on its '
                           'topic', 'wrong-count')
    return bodies[0]


def _pose_stamped(message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    body = _only(bodies, 'a PoseStamped')
    require_frame(message.header.frame_id, world_frame, f'pose of {body.id!r}')
    return [make_sample(body, check_stamp(message.header, f'pose of {body.id!r}'),
                        _xyz(message.pose.position), _xyzw(message.pose.orientation))]


def _pose_with_covariance_stamped(
        message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    body = _only(bodies, 'a PoseWithCovarianceStamped')
    require_frame(message.header.frame_id, world_frame, f'pose of {body.id!r}')
    pose = message.pose.pose
    return [make_sample(body, check_stamp(message.header, f'pose of {body.id!r}'),
                        _xyz(pose.position), _xyzw(pose.orientation),
                        covariance=_covariance(message.pose.covariance))]


def _twist(twist: Any) -> tuple[Vector, Vector] | tuple[None, None]:
    """Linear and angular part; None if NaN, or all zero with an all-zero covariance: unknown."""
    linear, angular = _xyz(twist.twist.linear), _xyz(twist.twist.angular)
    if np.isnan(linear).any():
        return None, None
    known = linear.any() or angular.any() or np.asarray(twist.covariance, dtype=float).any()
    if not known:
        return None, None
    return linear, np.where(np.isnan(angular), 0.0, angular)


def _odometry(message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    body = _only(bodies, 'an Odometry')
    require_frame(message.header.frame_id, world_frame, f'pose of {body.id!r}')
    pose = message.pose.pose
    orientation = _xyzw(pose.orientation)
    linear, angular = _twist(message.twist)
    if linear is not None and angular is not None:
        # The twist of an Odometry is in child_frame_id, the frame of the body.
        try:
            rotation = rotation_from_xyzw(orientation)
        except ArrayError as error:
            raise MessageError(f'{body.role} {body.id!r}: {error}', 'bad-quaternion') from error
        linear, angular = rotation @ linear, rotation @ angular
    return [make_sample(body, check_stamp(message.header, f'pose of {body.id!r}'),
                        _xyz(pose.position), orientation, linear, angular,
                        _covariance(message.pose.covariance))]


def _pose_array(message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    """Poses by the index of the bodies, or in the order in which they are configured."""
    require_frame(message.header.frame_id, world_frame, 'a PoseArray')
    count = len(message.poses)
    indices = [body.index for body in bodies if body.index is not None]
    if not indices:
        indices = list(range(len(bodies)))
        if count != len(bodies):
            raise MessageError(
                f'a PoseArray has {count} poses, must have {len(bodies)}, as many as bodies are '
                'configured on its topic', 'wrong-count')
    elif len(indices) != len(bodies):
        raise MessageError(
            f'{len(indices)} of {len(bodies)} bodies of a PoseArray have an index, must be all or '
            'none', 'wrong-count')
    elif max(indices) >= count:
        raise MessageError(
            f'a PoseArray has {count} poses, must have at least {max(indices) + 1}: that is how '
            'far the configured indices go', 'wrong-count')
    stamp = check_stamp(message.header, 'a PoseArray')
    poses = [message.poses[index] for index in indices]
    return [make_sample(body, stamp, _xyz(pose.position), _xyzw(pose.orientation))
            for body, pose in zip(bodies, poses, strict=True)]


def name_of(body: Body) -> str:
    """Return what messages with names call a body."""
    return body.source_id or body.id


def _by_name(items: Sequence[Any], name: Callable[[Any], str], bodies: Sequence[Body],
             what: str) -> list[tuple[Body, Any]]:
    """Pair the configured bodies with their items; other items are somebody else's."""
    wanted = {name_of(body) for body in bodies}
    found: dict[str, Any] = {}
    for item in items:
        key = name(item)
        if key in found:
            raise MessageError(f'{what} names {key!r} twice, ids must be unique', 'duplicate-id')
        if key in wanted:
            found[key] = item
    # One item may be a user and a target at once.
    return [(body, found[name_of(body)]) for body in bodies if name_of(body) in found]


def _named_pose_array(
        message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    require_frame(message.header.frame_id, world_frame, 'a NamedPoseArray')
    stamp = check_stamp(message.header, 'a NamedPoseArray')
    return [make_sample(body, stamp, _xyz(item.pose.position), _xyzw(item.pose.orientation))
            for body, item in _by_name(message.poses, lambda item: str(item.name), bodies,
                                       'a NamedPoseArray')]


def _rigid_bodies(message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    require_frame(message.header.frame_id, world_frame, 'a RigidBodies')
    stamp = check_stamp(message.header, 'a RigidBodies')
    return [make_sample(body, stamp, _xyz(item.pose.position), _xyzw(item.pose.orientation))
            for body, item in _by_name(
                message.rigidbodies, lambda item: str(item.rigid_body_name), bodies,
                'a RigidBodies')]


def _detections(message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    """Centres of the boxes of a Detection3DArray, by tracking id."""
    require_frame(message.header.frame_id, world_frame, 'a Detection3DArray')
    stamp = check_stamp(message.header, 'a Detection3DArray')
    samples = []
    for body, item in _by_name(message.detections, lambda item: str(item.id), bodies,
                               'a Detection3DArray'):
        covariance = _covariance(item.results[0].pose.covariance) if item.results else None
        samples.append(make_sample(
            body, stamp, _xyz(item.bbox.center.position), _xyzw(item.bbox.center.orientation),
            covariance=covariance))
    return samples


def _radar_tracks(message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    """Tracks by UUID, as 32 hexadecimal digits; covariances are upper triangles."""
    require_frame(message.header.frame_id, world_frame, 'a RadarTracks')
    stamp = check_stamp(message.header, 'a RadarTracks')
    samples = []
    for body, item in _by_name(message.tracks,
                               lambda item: bytes(bytearray(item.uuid.uuid)).hex(), bodies,
                               'a RadarTracks'):
        xx, xy, xz, yy, yz, zz = (float(value) for value in item.position_covariance)
        block = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        samples.append(make_sample(
            body, stamp, _xyz(item.position), velocity=_xyz(item.velocity),
            covariance=block if block.any() else None))
    return samples


def pose_of_transform(item: Any) -> Pose:
    """
    Pose of the child frame of a TransformStamped in its parent.

    Raises
    ------
    MessageError
        If it is not finite ('not-finite'), or turns by no unit quaternion ('bad-quaternion').

    """
    child = str(item.child_frame_id)
    position, turn = _xyz(item.transform.translation), _xyzw(item.transform.rotation)
    if not (np.isfinite(position).all() and np.isfinite(turn).all()):
        raise MessageError(f'transform of {child!r} is {position.tolist()}, {turn}, must be '
                           'finite', 'not-finite')
    try:
        return Pose(position, turn)
    except ArrayError as error:
        raise MessageError(f'transform of {child!r}: {error}', 'bad-quaternion') from error


def _track_array_of(message: Any, bodies: Sequence[Body], world_frame: str) -> list[PoseSample]:
    samples: list[PoseSample] = []
    for role in Role:
        known = {name_of(body): body for body in bodies if body.role == role.value}
        named = [track for track in message.tracks if track.id in known]
        samples += _tracks(message, named, role, known, world_frame)
    return samples


class _Unconfigured:
    """A body that only its messages name."""

    topic = None
    type = None
    source_id = ''
    index = None
    kind = 'point'
    contour = ''
    size_scale = 1.0
    offset = (0.0, 0.0, 0.0)

    def __init__(self, body_id: str, role: str) -> None:
        self.id = body_id
        self.role = role


KINDS = ('point', 'extended')   # Track.KIND_POINT, Track.KIND_EXTENDED


def read_track_array(message: Any, role: Role, bodies: Sequence[Body],
                     world_frame: str) -> list[PoseSample]:
    """
    Poses of a TrackArray.

    Parameters
    ----------
    message : nf_isac_msgs/msg/TrackArray
        Live or read from a bag.
    role : Role
        Of all its bodies.
    bodies : sequence of Body
        The configured ones; others in the message are taken as they are.
    world_frame : str
        Frame that poses must be in.

    Raises
    ------
    MessageError, TrackError
        If any track cannot be right; the reason says how.

    """
    known = {body.id: body for body in bodies if body.role == role.value}
    return _tracks(message, message.tracks, role, known, world_frame)


def _tracks(message: Any, tracks: Sequence[Any], role: Role, known: Mapping[str, Body],
            world_frame: str) -> list[PoseSample]:
    samples = []
    seen: set[str] = set()
    for track in tracks:
        what = f'track of {role.value} {track.id!r}'
        if track.id in seen:
            raise MessageError(f'{what} is there twice, ids must be unique', 'duplicate-id')
        seen.add(track.id)
        require_frame(track.header.frame_id or message.header.frame_id, world_frame, what)
        if not 0 <= track.kind < len(KINDS):
            raise MessageError(f'{what} has the kind {track.kind}, must be 0 or 1', 'bad-kind')
        attributes: dict[str, Any] = {'kind': KINDS[track.kind]}
        if track.contour:
            attributes['contour'] = str(track.contour)
        # NaN, and the 0 of a field that nobody filled in, leave the configured size.
        if not isnan(track.size_scale) and track.size_scale != 0.0:
            attributes['size_scale'] = float(track.size_scale)
        if isnan(track.reflection_re) != isnan(track.reflection_im):
            raise MessageError(f'{what} has half a reflection coefficient: '
                               f'{track.reflection_re}, {track.reflection_im}', 'not-finite')
        # NaN, and the 0 of fields that nobody filled in, leave the configured coefficient: a
        # target that reflects nothing has no bound.
        if not isnan(track.reflection_re) and (track.reflection_re or track.reflection_im):
            attributes['reflection'] = complex(track.reflection_re, track.reflection_im)
        if not isnan(track.min_sinr_db):
            attributes['min_sinr_db'] = float(track.min_sinr_db)
        linear, angular = _twist(track.twist)
        pose = track.pose.pose
        samples.append(make_sample(
            known.get(track.id, _Unconfigured(track.id, role.value)),
            check_stamp(track.header, what), _xyz(pose.position), _xyzw(pose.orientation),
            linear, angular, _covariance(track.pose.covariance), **attributes))
    return samples


_ADAPTERS: dict[str, Adapter] = {
    'PoseStamped': _pose_stamped,
    'PoseWithCovarianceStamped': _pose_with_covariance_stamped,
    'Odometry': _odometry,
    'PoseArray': _pose_array,
    'TrackArray': _track_array_of,
    'NamedPoseArray': _named_pose_array,
    'RigidBodies': _rigid_bodies,
    'Detection3DArray': _detections,
    'RadarTracks': _radar_tracks,
}

# Has no adapter: one message is not enough. See `pose_reader`.
TRANSFORM_MESSAGE = 'TFMessage'

SUPPORTED = (*_ADAPTERS, TRANSFORM_MESSAGE)


def adapter_for(type_name: str) -> Adapter:
    """
    Adapter for a message type.

    Parameters
    ----------
    type_name : str
        Such as 'geometry_msgs/msg/PoseStamped'; the last part decides.

    Returns
    -------
    callable
        Takes the message, the bodies that are configured on its topic, and the world frame;
        returns the samples, or raises MessageError or TrackError for the message as a whole.

    Raises
    ------
    MessageError
        If there is none ('unknown-type'); so it is for TFMessages, which `PoseReader` reads.

    """
    name = type_name.rsplit('/', maxsplit=1)[-1]
    if name not in _ADAPTERS:
        raise MessageError(
            f'message type {type_name!r} is not supported, must be one of {", ".join(SUPPORTED)}',
            'unknown-type')
    return _ADAPTERS[name]
