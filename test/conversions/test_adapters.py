"""Foreign pose messages, known by their fields alone."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
from types import SimpleNamespace as Fields

import numpy as np
import pytest

from nf_isac_ros.conversions.adapters import SUPPORTED, adapter_for, read_track_array
from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.files.deployment import BodySettings

RECORDINGS = Path(__file__).parents[3] / 'shared' / 'data' / 'recordings'

WORLD = 'map'
HALF = math.sqrt(0.5)
QUARTER_TURN = (0.0, 0.0, HALF, HALF)   # about z: body x points along world y
ZEROS = [0.0] * 36


def body(body_id='a', role='target', offset=(0.0, 0.0, 0.0)):
    return BodySettings(body_id, role, offset=np.array(offset, dtype=float))


def header(frame=WORLD, sec=100, nanosec=250_000_000):
    return Fields(frame_id=frame, stamp=Fields(sec=sec, nanosec=nanosec))


def xyz(x, y, z):
    return Fields(x=x, y=y, z=z)


def pose(position=(1.0, 2.0, 3.0), orientation=(0.0, 0.0, 0.0, 1.0)):
    x, y, z, w = orientation
    return Fields(position=xyz(*position), orientation=Fields(x=x, y=y, z=z, w=w))


def twist(linear=(0.0, 0.0, 0.0), angular=(0.0, 0.0, 0.0), covariance=ZEROS):
    return Fields(twist=Fields(linear=xyz(*linear), angular=xyz(*angular)), covariance=covariance)


def transform(child, position=(1.0, 2.0, 3.0), orientation=(0.0, 0.0, 0.0, 1.0), **head):
    x, y, z, w = orientation
    return Fields(header=header(**head), child_frame_id=child, transform=Fields(
        translation=xyz(*position), rotation=Fields(x=x, y=y, z=z, w=w)))


def track(body_id='a', kind=0, frame='', reflection=(math.nan, math.nan), min_sinr_db=math.nan,
          size_scale=math.nan, contour='', speed=(0.0, 0.0, 0.0), covariance=ZEROS, **where):
    return Fields(
        header=header(frame), id=body_id, kind=kind, twist=twist(speed),
        pose=Fields(pose=pose(**where), covariance=covariance), reflection_re=reflection[0],
        reflection_im=reflection[1], contour=contour, size_scale=size_scale,
        min_sinr_db=min_sinr_db)


def array_of(*tracks, frame=WORLD):
    return Fields(header=header(frame), tracks=list(tracks))


# One message of each type that puts a body 'a' at (1, 2, 3), turned by a quarter about z.
def messages_with_orientation(**head):
    turned = pose(orientation=QUARTER_TURN)
    return {
        'geometry_msgs/msg/PoseStamped': Fields(header=header(**head), pose=turned),
        'geometry_msgs/msg/PoseWithCovarianceStamped': Fields(
            header=header(**head), pose=Fields(pose=turned, covariance=ZEROS)),
        'nav_msgs/msg/Odometry': Fields(
            header=header(**head), child_frame_id='a', pose=Fields(pose=turned, covariance=ZEROS),
            twist=twist()),
        'geometry_msgs/msg/PoseArray': Fields(header=header(**head), poses=[turned]),
        'motion_capture_tracking_interfaces/msg/NamedPoseArray': Fields(
            header=header(**head), poses=[Fields(name='other', pose=pose()),
                                          Fields(name='a', pose=turned)]),
        'mocap4r2_msgs/msg/RigidBodies': Fields(
            header=header(**head), frame_number=1,
            rigidbodies=[Fields(rigid_body_name='a', markers=[], pose=turned)]),
        'vision_msgs/msg/Detection3DArray': Fields(header=header(**head), detections=[Fields(
            header=header(**head), id='a', results=[], bbox=Fields(center=turned))]),
        'tf2_msgs/msg/TFMessage': Fields(transforms=[
            transform('elsewhere', frame='odd'),
            transform('a', orientation=QUARTER_TURN, **head)]),
        'nf_isac_msgs/msg/TrackArray': Fields(header=header(**head), tracks=[
            track(orientation=QUARTER_TURN), track('b')]),
    }


TYPES = tuple(messages_with_orientation())


def read(type_name, message, *bodies):
    """Read as the nodes do, all bodies on one topic."""
    on_topic = [replace(one, topic='/poses', type=type_name) for one in bodies]
    return PoseReader(on_topic, WORLD).read('/poses', message)


@pytest.mark.parametrize('type_name', TYPES)
def test_pose_with_offset(type_name):
    message = messages_with_orientation()[type_name]
    sample, = read(type_name, message, body(offset=(0.5, 0.0, 0.25)))
    assert (sample.id, sample.role, sample.stamp) == ('a', Role.TARGET, 100.25)
    np.testing.assert_allclose(sample.position, [1.0, 2.5, 3.25], atol=1e-12)
    assert sample.velocity is None
    assert sample.position_covariance is None
    assert sample.orientation_xyzw == QUARTER_TURN


@pytest.mark.parametrize('type_name', TYPES)
def test_unknown_frame_is_refused(type_name):
    message = messages_with_orientation(frame='odom')[type_name]
    with pytest.raises(NfIsacError, match="'odom'") as caught:
        read(type_name, message, body())
    assert caught.value.reason == 'unknown-frame'


@pytest.mark.parametrize('type_name', TYPES)
def test_missing_stamp_is_refused(type_name):
    message = messages_with_orientation(sec=0, nanosec=0)[type_name]
    if type_name.endswith('TrackArray'):
        message.tracks[0].header.stamp = Fields(sec=0, nanosec=0)
    with pytest.raises(NfIsacError) as caught:
        read(type_name, message, body())
    assert caught.value.reason == 'no-stamp'


@pytest.mark.parametrize(('change', 'reason'), [
    ({'position': (math.nan, 0.0, 0.0)}, 'not-finite'),
    ({'position': (0.0, math.inf, 0.0)}, 'not-finite'),
    ({'orientation': (0.0, 0.0, 0.0, 0.0)}, 'bad-quaternion'),
    ({'orientation': (0.0, 0.0, 0.5, 0.5)}, 'bad-quaternion'),
    ({'orientation': (0.0, 0.0, math.nan, 1.0)}, 'not-finite'),
])
def test_pose_that_cannot_be(change, reason):
    with pytest.raises(NfIsacError) as caught:
        adapter_for('PoseStamped')(Fields(header=header(), pose=pose(**change)), [body()], WORLD)
    assert caught.value.reason == reason


def test_ros_1_slash_in_front_of_a_frame_is_passed_over():
    message = Fields(header=header('/map'), pose=pose())
    assert len(adapter_for('PoseStamped')(message, [body()], WORLD)) == 1


def test_odometry_twist_is_turned_into_the_world_frame():
    message = Fields(
        header=header(), child_frame_id='base', twist=twist((2.0, 0.0, 0.0), (0.0, 0.0, 3.0)),
        pose=Fields(pose=pose(orientation=QUARTER_TURN), covariance=ZEROS))
    sample, = adapter_for('nav_msgs/msg/Odometry')(message, [body(offset=(0.5, 0, 0))], WORLD)
    # Forward is world y; the offset point, half a metre ahead, also turns: towards world -x.
    np.testing.assert_allclose(sample.velocity, [-1.5, 2.0, 0.0], atol=1e-12)


@pytest.mark.parametrize(('speed', 'covariance', 'known'), [
    ((0.0, 0.0, 0.0), ZEROS, False),
    ((0.0, 0.0, 0.0), [0.1] + ZEROS[1:], True),
    ((math.nan, 0.0, 0.0), ZEROS, False),
    ((0.1, 0.0, 0.0), ZEROS, True),
])
def test_unknown_velocity(speed, covariance, known):
    message = Fields(header=header(), pose=Fields(pose=pose(), covariance=ZEROS),
                     twist=twist(speed, covariance=covariance))
    sample, = adapter_for('Odometry')(message, [body()], WORLD)
    assert (sample.velocity is not None) == known


def test_covariance_of_the_position_is_its_block():
    full = np.arange(36.0).reshape(6, 6)
    full = full + full.T
    message = Fields(header=header(), pose=Fields(pose=pose(), covariance=full.ravel()))
    sample, = adapter_for('PoseWithCovarianceStamped')(message, [body()], WORLD)
    np.testing.assert_array_equal(
        sample.position_covariance, [[0, 7, 14], [7, 14, 21], [14, 21, 28]])


def test_pose_array_goes_by_the_order_of_the_configuration():
    message = Fields(header=header(), poses=[pose((1.0, 0.0, 0.0)), pose((2.0, 0.0, 0.0))])
    bodies = [body('z', 'user'), body('a')]
    samples = adapter_for('geometry_msgs/msg/PoseArray')(message, bodies, WORLD)
    assert [(s.id, s.role, s.position[0]) for s in samples] == [
        ('z', Role.USER, 1.0), ('a', Role.TARGET, 2.0)]
    with pytest.raises(NfIsacError, match='has 2 poses, must have 1') as caught:
        adapter_for('PoseArray')(message, bodies[:1], WORLD)
    assert caught.value.reason == 'wrong-count'


def test_pose_array_goes_by_the_index_of_the_bodies():
    message = Fields(header=header(), poses=[pose((float(k), 0.0, 0.0)) for k in range(4)])
    bodies = [replace(body('z', 'user'), index=3), replace(body('a'), index=1)]
    samples = read('geometry_msgs/msg/PoseArray', message, *bodies)
    assert [(s.id, s.position[0]) for s in samples] == [('z', 3.0), ('a', 1.0)]
    message.poses = message.poses[:3]
    with pytest.raises(NfIsacError, match='has 3 poses, must have at least 4') as caught:
        read('geometry_msgs/msg/PoseArray', message, *bodies)
    assert caught.value.reason == 'wrong-count'


def test_radar_track_goes_by_its_uuid():
    uuid = bytes(range(16))
    message = Fields(header=header(), tracks=[Fields(
        uuid=Fields(uuid=np.frombuffer(uuid, np.uint8)), position=xyz(1.0, 2.0, 3.0),
        velocity=xyz(4.0, 5.0, 6.0), position_covariance=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
    sample, = adapter_for('radar_msgs/msg/RadarTracks')(
        message, [body('000102030405060708090a0b0c0d0e0f')], WORLD)
    np.testing.assert_array_equal(sample.velocity, [4, 5, 6])
    np.testing.assert_array_equal(sample.position_covariance, [[1, 2, 3], [2, 4, 5], [3, 5, 6]])
    with pytest.raises(NfIsacError) as caught:
        adapter_for('RadarTracks')(
            message, [body('000102030405060708090a0b0c0d0e0f', offset=(1, 0, 0))], WORLD)
    assert caught.value.reason == 'no-orientation'


NAMED = {
    'NamedPoseArray': lambda *names: Fields(
        header=header(), poses=[Fields(name=name, pose=pose()) for name in names]),
    'RigidBodies': lambda *names: Fields(header=header(), rigidbodies=[
        Fields(rigid_body_name=name, pose=pose()) for name in names]),
    'Detection3DArray': lambda *names: Fields(header=header(), detections=[
        Fields(id=name, results=[], bbox=Fields(center=pose())) for name in names]),
    'TFMessage': lambda *names: Fields(transforms=[transform(name) for name in names]),
}


@pytest.mark.parametrize('type_name', NAMED)
def test_body_named_twice_is_refused(type_name):
    with pytest.raises(NfIsacError) as caught:
        read(type_name, NAMED[type_name]('a', 'a'), body())
    assert caught.value.reason == 'duplicate-id'


@pytest.mark.parametrize('type_name', NAMED)
def test_message_may_call_a_body_otherwise_and_it_may_have_both_roles(type_name):
    message = NAMED[type_name]('other', 'cart_7')
    samples = read(type_name, message, replace(body('t', 'target'), source_id='cart_7'),
                   replace(body('u', 'user'), source_id='cart_7'), body('elsewhere'))
    assert [(sample.id, sample.role) for sample in samples] == [
        ('t', Role.TARGET), ('u', Role.USER)]


EMPTY = {
    'geometry_msgs/msg/PoseArray': Fields(header=header(), poses=[]),
    'motion_capture_tracking_interfaces/msg/NamedPoseArray': Fields(header=header(), poses=[]),
    'mocap4r2_msgs/msg/RigidBodies': Fields(header=header(), rigidbodies=[]),
    'vision_msgs/msg/Detection3DArray': Fields(header=header(), detections=[]),
    'radar_msgs/msg/RadarTracks': Fields(header=header(), tracks=[]),
    'tf2_msgs/msg/TFMessage': Fields(transforms=[]),
    'nf_isac_msgs/msg/TrackArray': array_of(),
}


@pytest.mark.parametrize('type_name', EMPTY)
def test_empty_message_tells_of_nobody_but_a_pose_array_must_be_full(type_name):
    if type_name.endswith('PoseArray') and 'Named' not in type_name:
        with pytest.raises(NfIsacError, match='has 0 poses, must have 1') as caught:
            read(type_name, EMPTY[type_name], body())
        assert caught.value.reason == 'wrong-count'
    else:
        assert read(type_name, EMPTY[type_name], body()) == []


@pytest.mark.parametrize('type_name', TYPES)
def test_position_that_is_not_finite_is_refused_in_every_type(type_name):
    message = messages_with_orientation()[type_name]

    def spoil(part):
        """Make every coordinate of the message NaN."""
        for value in vars(part).values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Fields):
                    if set(vars(item)) == {'x', 'y', 'z'}:
                        item.x = math.nan
                    spoil(item)
    spoil(message)
    with pytest.raises(NfIsacError) as caught:
        read(type_name, message, body())
    assert caught.value.reason == 'not-finite'


def test_unsupported_type_names_those_that_are():
    with pytest.raises(NfIsacError, match='Odometry') as caught:
        adapter_for('sensor_msgs/msg/Imu')
    assert caught.value.reason == 'unknown-type'
    assert len(SUPPORTED) == 10


def test_track_array_attributes():
    message = array_of(
        track('a', kind=1, reflection=(1.0, -2.0), contour='car', size_scale=1.5,
              speed=(1.0, 2.0, 3.0)),
        track('b', min_sinr_db=12.0))
    first, second = read_track_array(message, Role.TARGET, [], WORLD)
    assert (first.kind, first.reflection, first.contour, first.size_scale) == (
        'extended', 1 - 2j, 'car', 1.5)
    assert first.min_sinr_db is None
    np.testing.assert_array_equal(first.velocity, [1, 2, 3])
    assert (second.kind, second.reflection, second.contour, second.size_scale) == (
        'point', None, '', 1.0)
    assert second.min_sinr_db == 12.0


def test_fields_that_nobody_filled_in_leave_the_configured_values():
    message = array_of(track(reflection=(0.0, 0.0), size_scale=0.0))
    configured = BodySettings('a', 'target', size_scale=2.0, contour='van')
    sample, = read_track_array(message, Role.TARGET, [configured], WORLD)
    assert (sample.reflection, sample.size_scale, sample.contour) == (None, 2.0, 'van')


def test_track_array_applies_the_offset_of_its_role_only():
    configured = [body('a', 'user', (0, 0, 1)), body('a', 'target', (0, 0, 2))]
    message = array_of(track('a'))
    for role, height in ((Role.USER, 4.0), (Role.TARGET, 5.0)):
        sample, = read_track_array(message, role, configured, WORLD)
        assert sample.position[2] == height


@pytest.mark.parametrize(('tracks', 'reason'), [
    ([track('a'), track('a')], 'duplicate-id'),
    ([track('a'), track('b', kind=7)], 'bad-kind'),
    ([track('a'), track('')], 'empty-id'),
    ([track('a'), track('b', frame='odom')], 'unknown-frame'),
    ([track('a'), track('b', position=(math.nan, 0.0, 0.0))], 'not-finite'),
    ([track('a'), track('b', reflection=(1.0, math.nan))], 'not-finite'),
    ([track('a'), track('b', min_sinr_db=math.inf)], 'not-finite'),
    ([track('a'), track('b', size_scale=-1.0)], 'bad-size'),
])
def test_track_array_with_one_bad_track_is_refused_whole(tracks, reason):
    with pytest.raises(NfIsacError) as caught:
        read_track_array(array_of(*tracks), Role.TARGET, [], WORLD)
    assert caught.value.reason == reason


def test_recorded_odometry_velocities_point_along_the_motion():
    folder = RECORDINGS / 'citr_bidirection_normal_driving_01'
    if not folder.is_dir():
        pytest.skip(f'no recording at {folder}')
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    samples = {}
    with AnyReader([folder], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, _, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            name = connection.topic.split('/')[-2]
            samples.setdefault(name, []).extend(
                adapter_for(connection.msgtype)(message, [body(name)], 'map'))
    assert len(samples) == 9
    for name, track_samples in samples.items():
        stamps = np.array([s.stamp for s in track_samples])
        positions = np.array([s.position for s in track_samples])
        given = np.array([s.velocity for s in track_samples])
        # Differences over a second: the recorded positions carry noise of their own.
        derived = (positions[30:] - positions[:-30]) / (stamps[30:] - stamps[:-30])[:, None]
        given = given[15:-15]
        cosine = (derived * given).sum(axis=1) / (
            np.linalg.norm(derived, axis=1) * np.linalg.norm(given, axis=1))
        assert np.median(cosine) > 0.99, name
