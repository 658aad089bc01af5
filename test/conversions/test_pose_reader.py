"""Bodies of a deployment from all their topics: TF chains, frames, and recordings of any type."""

from dataclasses import replace
import math
from types import SimpleNamespace as Fields

import numpy as np
from numpy.testing import assert_allclose
import pytest
from scipy.spatial.transform import Rotation

from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.files.deployment import BodySettings

TF = 'tf2_msgs/msg/TFMessage'
HALF = math.sqrt(0.5)
TURN = (0.0, 0.0, HALF, HALF)   # a quarter about z
NONE = (0.0, 0.0, 0.0, 1.0)


def header(stamp, frame):
    sec = int(stamp)
    return Fields(stamp=Fields(sec=sec, nanosec=round((stamp - sec) * 1e9)), frame_id=frame)


def link(parent, child, stamp, place=(0.0, 0.0, 0.0), turn=NONE):
    return Fields(header=header(stamp, parent), child_frame_id=child, transform=Fields(
        translation=Fields(x=place[0], y=place[1], z=place[2]),
        rotation=Fields(x=turn[0], y=turn[1], z=turn[2], w=turn[3])))


def tf(*links):
    return Fields(transforms=list(links))


def framed(body_id='t1', role='target', topic='/tf', source_id='', **more):
    return BodySettings(body_id, role, topic, TF, source_id=source_id, **more)


def test_body_at_the_end_of_a_chain_is_told_at_the_newest_common_time():
    reader = PoseReader([framed(source_id='robot/mast', offset=np.array([0.0, 0.0, 0.5]))], 'map')
    assert reader.topics == {'/tf': TF, '/tf_static': TF}
    assert reader.read('/tf_static', tf(link('robot/base', 'robot/mast', 3.0, (1.0, 0, 0)))) == []
    # Not connected yet: somebody else's frames, so far.
    assert reader.read('/tf', tf(link('map', 'odom', 10.0, (0.0, 0.0, 0.0)))) == []
    assert reader.read('/tf', tf(link('map', 'odom', 11.0, (2.0, 0.0, 0.0)))) == []
    sample, = reader.read('/tf', tf(link('odom', 'robot/base', 10.5, (0.0, 5.0, 0.0), TURN)))
    # map -> odom is half way, the mast stands a metre ahead, which is along y, 0.5 m up.
    assert (sample.id, sample.role, sample.stamp) == ('t1', Role.TARGET, 10.5)
    assert_allclose(sample.position, [1.0, 6.0, 0.5], atol=1e-12)
    assert_allclose(sample.orientation_xyzw, TURN, atol=1e-12)
    # Nothing new of it: the newest common time stays.
    assert reader.read('/tf', tf(link('map', 'odom', 12.0, (4.0, 0.0, 0.0)))) == []
    later, = reader.read('/tf', tf(link('odom', 'robot/base', 11.0, (0.0, 5.0, 0.0), TURN)))
    assert later.stamp == 11.0


def test_leading_slashes_of_ros_1_are_passed_over():
    sample, = PoseReader([framed(source_id='base')], '/map').read(
        '/tf', tf(link('/map', '/base', 5.0, (1.0, 2.0, 3.0))))
    assert_allclose(sample.position, [1.0, 2.0, 3.0])


def test_body_that_is_fixed_to_the_world_keeps_the_time_of_those_that_move():
    reader = PoseReader([framed('post', source_id='post'), framed('cart', 'user')], 'map')
    reader.read('/tf_static', tf(link('map', 'post', 1.0, (7.0, 0.0, 0.0))))
    samples = reader.read('/tf', tf(link('map', 'cart', 20.0)))
    assert {(sample.id, sample.stamp) for sample in samples} == {('post', 20.0), ('cart', 20.0)}
    # A localisation that is published for the future does not take the post along.
    assert reader.read('/tf', tf(link('map', 'odom', 21.0))) == []


def test_robots_with_a_topic_each_may_call_their_frames_alike():
    reader = PoseReader([framed('a', topic='/one/tf', source_id='base'),
                         framed('b', topic='/two/tf', source_id='base')], 'map')
    first, = reader.read('/one/tf', tf(link('map', 'base', 5.0, (1.0, 0.0, 0.0))))
    second, = reader.read('/two/tf', tf(link('map', 'base', 5.0, (2.0, 0.0, 0.0))))
    assert [(s.id, s.position[0]) for s in (first, second)] == [('a', 1.0), ('b', 2.0)]


@pytest.mark.parametrize(('links', 'reason'), [
    ([link('base', 'odom', 6.0), link('odom', 'base', 6.0)], 'tf-cycle'),
    ([link('map', 'base', 6.0, (math.nan, 0.0, 0.0))], 'not-finite'),
    ([link('map', 'base', 6.0, turn=(0.0, 0.0, 0.0, 0.0))], 'bad-quaternion'),
    ([link('map', 'base', 6.0, turn=(0.0, 0.0, math.nan, 1.0))], 'not-finite'),
    ([link('map', 'base', 0.0)], 'no-stamp'),
    ([link('base', 'base', 6.0)], 'bad-transform'),
    ([link('map', 'base', 6.0), link('map', 'base', 6.0)], 'duplicate-id'),
    ([link('elsewhere', 'base', 6.0)], 'unknown-frame'),
])
def test_transform_of_a_body_that_cannot_be_right_is_refused(links, reason):
    with pytest.raises(NfIsacError) as caught:
        PoseReader([framed(source_id='base')], 'map').read('/tf', tf(*links))
    assert caught.value.reason == reason


def test_wrong_transforms_of_others_are_nobodys_concern():
    sample, = PoseReader([framed(source_id='base')], 'map').read('/tf', tf(
        link('map', 'camera', 6.0, (math.nan, 0.0, 0.0)), link('x', 'x', 6.0),
        link('map', 'base', 6.0, (1.0, 0.0, 0.0)), link('', 'lost', 0.0)))
    assert sample.position[0] == 1.0


def test_pose_in_another_frame_follows_the_transforms():
    turned = Rotation.from_euler('xyz', [0.3, -0.2, 1.1])
    body = BodySettings('u', 'user', '/odom', 'nav_msgs/msg/Odometry')
    covariance = np.diag([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]).ravel()
    odometry = Fields(
        header=header(8.0, 'lab'), pose=Fields(covariance=covariance, pose=Fields(
            position=Fields(x=1.0, y=2.0, z=3.0), orientation=Fields(x=0.0, y=0.0, z=0.0, w=1.0))),
        twist=Fields(covariance=[0.0] * 36, twist=Fields(
            linear=Fields(x=1.0, y=0.0, z=0.0), angular=Fields(x=0.0, y=0.0, z=0.0))))
    with pytest.raises(NfIsacError) as caught:
        PoseReader([body], 'map').read('/odom', odometry)
    assert caught.value.reason == 'unknown-frame'

    reader = PoseReader([body], 'map', transforms_topic='/tf')
    assert reader.topics == {'/odom': 'nav_msgs/msg/Odometry', '/tf': TF, '/tf_static': TF}
    with pytest.raises(NfIsacError, match='no transform connects') as caught:
        reader.read('/odom', odometry)
    assert caught.value.reason == 'unknown-frame'
    still = link('map', 'lab', 1.0, (10.0, 0.0, 0.0), tuple(turned.as_quat()))
    assert reader.read('/tf_static', tf(still)) == []
    sample, = reader.read('/odom', odometry)
    assert_allclose(sample.position, [10.0, 0.0, 0.0] + turned.apply([1.0, 2.0, 3.0]))
    assert_allclose(sample.velocity, turned.apply([1.0, 0.0, 0.0]))
    rotation = turned.as_matrix()
    assert_allclose(sample.position_covariance, rotation @ np.diag([1.0, 2.0, 3.0]) @ rotation.T)
    assert_allclose(Rotation.from_quat(sample.orientation_xyzw).as_matrix(), rotation)

    moving = PoseReader([body], 'map', transforms_topic='/tf')
    moving.read('/tf', tf(link('map', 'lab', 7.95)))
    sample, = moving.read('/odom', odometry)
    assert sample.velocity is None   # the lab has a velocity of its own
    odometry.header.stamp.sec = 9
    with pytest.raises(NfIsacError) as caught:
        moving.read('/odom', odometry)
    assert caught.value.reason == 'extrapolation'


def test_topic_with_two_types_is_refused():
    bodies = [framed('a', topic='/x'), BodySettings('b', 'user', '/x', 'nav_msgs/msg/Odometry')]
    with pytest.raises(NfIsacError, match='must have one') as caught:
        PoseReader(bodies, 'map')
    assert caught.value.reason == 'several-types'
    with pytest.raises(NfIsacError, match='must have one'):
        PoseReader(bodies[1:], 'map', transforms_topic='/x')


DEFINITIONS = {
    'motion_capture_tracking_interfaces/msg/NamedPoseArray': {
        'NamedPoseArray': 'std_msgs/Header header\nNamedPose[] poses\n',
        'NamedPose': 'string name\ngeometry_msgs/Pose pose\n'},
    'mocap4r2_msgs/msg/RigidBodies': {
        'RigidBodies': 'std_msgs/Header header\nuint32 frame_number\nRigidBody[] rigidbodies\n',
        'RigidBody': 'string rigid_body_name\ngeometry_msgs/Pose pose\n'},
    'vision_msgs/msg/Detection3DArray': {
        'Detection3DArray': 'std_msgs/Header header\nDetection3D[] detections\n',
        'Detection3D': 'std_msgs/Header header\nObjectHypothesisWithPose[] results\n'
                       'BoundingBox3D bbox\nstring id\n',
        'ObjectHypothesisWithPose': 'string kind\ngeometry_msgs/PoseWithCovariance pose\n',
        'BoundingBox3D': 'geometry_msgs/Pose center\ngeometry_msgs/Vector3 size\n'},
    'radar_msgs/msg/RadarTracks': {
        'RadarTracks': 'std_msgs/Header header\nRadarTrack[] tracks\n',
        'RadarTrack': 'unique_identifier_msgs/UUID uuid\ngeometry_msgs/Point position\n'
                      'geometry_msgs/Vector3 velocity\nfloat32[6] position_covariance\n'},
}
COMMON = ('geometry_msgs/msg/PoseStamped', 'geometry_msgs/msg/PoseWithCovarianceStamped',
          'nav_msgs/msg/Odometry', 'geometry_msgs/msg/PoseArray', TF)
UUID = bytes(range(16))


class Maker:
    """Makes messages of a store, in which one body 'cart' is at (k, 2, 3) at 100 + 0.1 k."""

    def __init__(self, store):
        self.types = store.types

    def new(self, type_name, /, **fields):
        return self.types[type_name](**fields)

    def header(self, k):
        return self.new('std_msgs/msg/Header', frame_id='map', stamp=self.new(
            'builtin_interfaces/msg/Time', sec=100, nanosec=100_000_000 * k))

    def xyz(self, kind, x, y, z):
        return self.new(f'geometry_msgs/msg/{kind}', x=float(x), y=float(y), z=float(z))

    def turn(self):
        return self.new('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=HALF, w=HALF)

    def pose(self, k):
        return self.new('geometry_msgs/msg/Pose', position=self.xyz('Point', k, 2, 3),
                        orientation=self.turn())

    def pose_with_covariance(self, k):
        return self.new('geometry_msgs/msg/PoseWithCovariance', pose=self.pose(k),
                        covariance=np.diag([1.0, 2, 3, 0, 0, 0]).ravel())

    def message(self, type_name, k):
        head, package = self.header(k), type_name.split('/')[0]
        if type_name == 'geometry_msgs/msg/PoseStamped':
            return self.new(type_name, header=head, pose=self.pose(k))
        if type_name == 'geometry_msgs/msg/PoseWithCovarianceStamped':
            return self.new(type_name, header=head, pose=self.pose_with_covariance(k))
        if type_name == 'nav_msgs/msg/Odometry':
            zero = self.xyz('Vector3', 0, 0, 0)
            twist = self.new('geometry_msgs/msg/Twist', linear=self.xyz('Vector3', 1, 0, 0),
                             angular=zero)
            return self.new(
                type_name, header=head, child_frame_id='cart', pose=self.pose_with_covariance(k),
                twist=self.new('geometry_msgs/msg/TwistWithCovariance', twist=twist,
                               covariance=np.zeros(36)))
        if type_name == 'geometry_msgs/msg/PoseArray':
            return self.new(type_name, header=head, poses=[self.pose(k)])
        if type_name == TF:
            transform = self.new('geometry_msgs/msg/Transform', rotation=self.turn(),
                                 translation=self.xyz('Vector3', k, 2, 3))
            return self.new(type_name, transforms=[self.new(
                'geometry_msgs/msg/TransformStamped', header=head, child_frame_id='cart',
                transform=transform)])
        if type_name.endswith('NamedPoseArray'):
            return self.new(type_name, header=head, poses=[self.new(
                f'{package}/msg/NamedPose', name='cart', pose=self.pose(k))])
        if type_name.endswith('RigidBodies'):
            return self.new(type_name, header=head, frame_number=k, rigidbodies=[self.new(
                f'{package}/msg/RigidBody', rigid_body_name='cart', pose=self.pose(k))])
        if type_name.endswith('Detection3DArray'):
            box = self.new(f'{package}/msg/BoundingBox3D', center=self.pose(k),
                           size=self.xyz('Vector3', 1, 1, 1))
            guess = self.new(f'{package}/msg/ObjectHypothesisWithPose', kind='cart',
                             pose=self.pose_with_covariance(k))
            return self.new(type_name, header=head, detections=[self.new(
                f'{package}/msg/Detection3D', header=head, results=[guess], bbox=box, id='cart')])
        uuid = self.new('unique_identifier_msgs/msg/UUID', uuid=np.frombuffer(UUID, np.uint8))
        return self.new(type_name, header=head, tracks=[self.new(
            f'{package}/msg/RadarTrack', uuid=uuid, position=self.xyz('Point', k, 2, 3),
            velocity=self.xyz('Vector3', 10, 0, 0),
            position_covariance=np.array([1, 0, 0, 2, 0, 3], np.float32))])


@pytest.mark.parametrize('type_name', [*COMMON, *DEFINITIONS])
def test_recording_of_any_type_is_read_by_the_definitions_that_it_brings(tmp_path, type_name):
    pytest.importorskip('rosbags')
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    from nf_isac_ros.recording.reader import Recording

    store = get_typestore(Stores.ROS2_JAZZY)
    package = type_name.split('/')[0]
    for name, text in DEFINITIONS.get(type_name, {}).items():
        full = f'{package}/msg/{name}'
        if full not in store.fielddefs:
            store.register(get_types_from_msg(text, full))
    maker = Maker(store)
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/poses', type_name, typestore=store)
        for k in range(3):
            writer.write(connection, 100_000_000_000 + 100_000_000 * k,
                         store.serialize_cdr(maker.message(type_name, k), type_name))

    radar = type_name.endswith('RadarTracks')
    body = BodySettings('t1', 'target', '/poses', type_name,
                        source_id=UUID.hex() if radar else 'cart')
    # An offset ahead, along the y axis of the world; radar tracks have no heading.
    body = replace(body, offset=np.zeros(3) if radar else np.array([0.5, 0.0, 0.0]))
    reader = PoseReader([body], 'map')
    with Recording(tmp_path / 'bag') as recording:
        samples = [sample for topic, _, _, message in recording.messages()
                   for sample in reader.read(topic, message)]
    assert_allclose([sample.stamp for sample in samples], [100.0, 100.1, 100.2], atol=1e-9)
    assert_allclose([sample.position for sample in samples],
                    [[k, 2.0 if radar else 2.5, 3.0] for k in range(3)], atol=1e-9)
    covariance = samples[0].position_covariance
    if any(word in type_name for word in ('Covariance', 'Odometry', 'Detection', 'Radar')):
        assert_allclose(covariance, np.diag([1.0, 2.0, 3.0]))
    else:
        assert covariance is None
    velocity = {'nav_msgs/msg/Odometry': [0.0, 1.0, 0.0],
                'radar_msgs/msg/RadarTracks': [10.0, 0.0, 0.0]}.get(type_name)
    if velocity is None:
        assert samples[0].velocity is None
    else:
        assert_allclose(samples[0].velocity, velocity, atol=1e-12)
