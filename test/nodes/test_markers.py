"""The markers node as a process, fed with beams made by hand."""

import signal
import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import Point, PoseStamped  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from nf_isac_msgs.msg import (  # noqa: E402
    Beamformer,
    CrbArray,
    CrbEntry,
    DesignStatus,
    RadioStatus,
    Track,
    TrackArray,
    UserStatus,
)
from nf_isac_ros.conversions.matrices import pack  # noqa: E402
from nf_isac_ros.files.deployment import load_deployment  # noqa: E402

DEPLOYMENT = """
world_frame: room
array: {upa: {elements: [8, 8], spacing_m: 0.05}}
radio: {wavelength_m: 0.1, power_w: 1.0, symbols: 100, user_noise_w: 1.0e-6,
        sensing_noise: {power_w: 1.0e-9}}
bodies:
  - {id: u1, role: user, min_sinr_db: 10}
  - {id: u2, role: user, min_sinr_db: 10, topic: cart/pose, type: geometry_msgs/msg/PoseStamped,
     offset_m: [0, 0, 1]}
  - {id: t1, role: target}
markers:
  planes: [{centre_m: [0, 0, 4], u_m: [4, 0, 0], v_m: [0, 4, 0], cells: [5, 5]}]
  rate_hz: 10
  bound_scale: 20
"""
# Centre of the cell in column 3, row 1 of the plane.
FOCUS = np.array([0.8, -0.8, 4.0])
LEASE = 0.5
PATIENCE = 60.0   # for a process to start on a busy machine [s]


class Designer:
    """Publishes beams that are focused on FOCUS, with all that belongs to them."""

    def __init__(self, probe, file, lease=LEASE):
        probe.wait_until(lambda: probe.node.count_subscribers('beamformer') > 0,
                         'a node that draws', PATIENCE)
        self.lease = lease
        self.array = load_deployment(file).transmit_array
        self.probe = probe
        self.layout = self.array.layout_hash
        self.beams = probe.publisher(Beamformer, 'beamformer')
        self.bounds = probe.publisher(CrbArray, 'crb')
        self.status = probe.publisher(DesignStatus, 'status')
        self.radio = probe.publisher(
            RadioStatus, 'radio/status',
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.users = probe.publisher(TrackArray, 'users')
        self.carts = probe.publisher(PoseStamped, 'cart/pose')
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _stamp(self, ahead=0.0):
        now = self.probe.now() + ahead
        return Time(sec=int(now), nanosec=int(now % 1 * 1e9))

    def publish(self):
        distance = np.linalg.norm(self.array.positions - FOCUS, axis=1)
        # Conjugate of the response: by reciprocity, focused.
        weights = np.exp(2j * np.pi * distance / 0.1) / distance
        weights /= np.linalg.norm(weights)
        now = self._stamp()
        self.beams.publish(Beamformer(
            design_stamp=Time(sec=7), publish_stamp=now, valid_until=self._stamp(self.lease),
            user_ids=['u1'], n_elements=64, n_users=1, weights=pack(weights[:, None]),
            layout_hash=self.layout, power=1.0, power_limit=1.0))
        self.bounds.publish(CrbArray(entries=[CrbEntry(
            id='t1', position=Point(x=1.0, y=2.0, z=3.0), parameters=['x', 'y', 'z'],
            covariance=np.diag([1e-4, 1e-4, 4e-4]).ravel().tolist(), crb=6e-4,
            isotropic_crb=1.0)]))
        self.status.publish(DesignStatus(
            users=[UserStatus(id='u1', required_sinr_db=10.0, sinr_db=11.0)]))
        self.radio.publish(RadioStatus(armed=True, power=1.0, power_limit=1.0))
        track = Track(id='u1')
        track.header.stamp = now
        track.pose.pose.position = Point(x=FOCUS[0], y=FOCUS[1], z=FOCUS[2])
        message = TrackArray(tracks=[track])
        message.header.frame_id = 'room'
        self.users.publish(message)
        cart = PoseStamped()
        cart.header.stamp, cart.header.frame_id = now, 'room'
        cart.pose.position = Point(x=-1.0, y=0.0, z=2.0)
        self.carts.publish(cart)

    def _run(self):
        while not self._stop.wait(0.05):
            self.publish()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'room.yaml'
    path.write_text(DEPLOYMENT)
    return path


def named(message, namespace, action=Marker.ADD):
    return [marker for marker in message.markers
            if marker.ns == namespace and marker.action == action]


def intensities(cloud):
    return np.frombuffer(cloud.data, '<f4').reshape(-1, 4)


def test_markers_and_pattern_follow_the_beams_and_go_with_them(graph, probe, file):
    graph.start('markers', {'deployment_file': file, 'ceiling_db': 15.0})
    markers = probe.collect(MarkerArray, 'markers')
    clouds = probe.collect(PointCloud2, 'beampattern')
    with Designer(probe, file) as designer:
        message = markers.wait(lambda m: named(m, 'beams') and named(m, 'crb')
                               and len(named(m, 'users')) == 2, timeout=PATIENCE)[0]
        # Design time, not the time of drawing.
        assert {marker.header.stamp.sec for marker in message.markers} == {7}
        assert {marker.header.frame_id for marker in message.markers} == {'room'}
        end = named(message, 'beams')[0].points[1]
        assert (end.x, end.y, end.z) == pytest.approx(tuple(FOCUS))
        places = {label.text.partition('\n')[0]: label.pose.position
                  for label in named(message, 'users/labels')}
        assert (places['u2'].x, places['u2'].y) == (-1.0, 0.0)
        body = max(named(message, 'users'), key=lambda marker: -marker.pose.position.x)
        assert body.pose.position.z == 3.0   # with its offset of 1 m
        scale = named(message, 'crb')[0].scale
        assert sorted([scale.x, scale.y, scale.z]) == pytest.approx([0.4, 0.4, 0.8])
        markers.wait(lambda m: named(m, 'array/outline'))
        markers.wait(lambda m: named(m, 'radio') and 'of 1 W' in named(m, 'radio')[0].text)

        cloud = clouds.wait(lambda c: c.width == 25)[0]
        assert cloud.header.stamp.sec == 7
        values = intensities(cloud)
        strongest = values[values[:, 3].argmax()]
        np.testing.assert_allclose(strongest[:3], FOCUS, atol=1e-6)
        # All 64 elements add up there; the parameter cuts it at 15 dB.
        assert strongest[3] == 15.0
        assert probe.set_parameters('/markers', ceiling_db=30.0).successful
        cloud = clouds.wait(lambda c: intensities(c)[:, 3].max() > 15.5)[0]
        assert intensities(cloud)[:, 3].max() == pytest.approx(10 * np.log10(64), abs=0.01)

        # A radio with another array: nothing is drawn that would not be true.
        designer.layout = 'another'
        time.sleep(0.5)
        clouds.clear()
        time.sleep(0.5)
        assert not clouds.messages
        designer.layout = designer.array.layout_hash
        clouds.wait(lambda c: c.width == 25)
        markers.clear()
    markers.wait(lambda m: named(m, 'beams', Marker.DELETE) and named(m, 'crb', Marker.DELETE))
    gone = markers.wait(lambda m: not named(m, 'beams'))[0]
    assert not named(gone, 'crb')
    clouds.wait(lambda c: c.width == 0)
    # Bodies, too, go when nothing is heard of them.
    probe.wait_until(lambda: sum(len(named(m, 'users', Marker.DELETE))
                                 for m in list(markers.messages)) >= 2, 'both users are gone')


def test_no_marker_flickers(graph, probe, file):
    graph.start('markers', {'deployment_file': file, 'rate_hz': 20.0, 'lifetime_s': 1.0})
    markers = probe.collect(MarkerArray, 'markers')
    # A lease that outlives every moment in which a busy machine forgets the test process.
    with Designer(probe, file, lease=30.0):
        markers.wait(lambda m: named(m, 'beams') and named(m, 'crb'), timeout=PATIENCE)
        markers.clear()
        messages = markers.wait(count=40, timeout=PATIENCE)
    moving = {'targets', 'targets/labels', 'users', 'users/labels', 'crb', 'beams', 'radio'}
    for message in messages:
        assert {marker.action for marker in message.markers} == {Marker.ADD}
        assert moving <= {marker.ns for marker in message.markers}
    # The array is sent often enough to outlive the loss of one message.
    with_array = [i for i, message in enumerate(messages) if named(message, 'array/outline')]
    assert max(np.diff(with_array)) * 0.05 <= 0.5


def test_nothing_is_received_while_nobody_looks(graph, probe, file):
    graph.start('markers', {'deployment_file': file})
    diagnostics = probe.collect(DiagnosticArray, '/diagnostics')
    diagnostics.wait(timeout=PATIENCE)
    topics = ('/beamformer', '/crb', '/users', '/cart/pose', '/radio/status')
    assert [probe.node.count_subscribers(topic) for topic in topics] == [0] * 5
    for _ in range(2):
        looking = probe.node.create_subscription(
            MarkerArray, 'markers', lambda message: None, QoSProfile(depth=1))
        probe.wait_until(lambda: [probe.node.count_subscribers(topic) for topic in topics]
                         == [1] * 5, 'subscriptions')
        probe.node.destroy_subscription(looking)
        probe.wait_until(lambda: [probe.node.count_subscribers(topic) for topic in topics]
                         == [0] * 5, 'no subscriptions')


def test_bad_messages_are_counted_and_the_rest_is_drawn(graph, probe, file):
    process = graph.start('markers', {'deployment_file': file})
    markers = probe.collect(MarkerArray, 'markers')
    diagnostics = probe.collect(DiagnosticArray, '/diagnostics')
    with Designer(probe, file) as designer:
        markers.wait(lambda m: named(m, 'users'))
        bad = Track(id='u9')
        bad.header.stamp = Time(sec=1)
        bad.pose.pose.position.x = float('nan')
        message = TrackArray(tracks=[bad])
        message.header.frame_id = 'room'
        designer.users.publish(message)
        message.tracks[0].pose.pose.position.x = 0.0
        message.header.frame_id = 'elsewhere'
        designer.users.publish(message)

        def counted(array):
            values = {value.key: value.value for status in array.status
                      for value in status.values if status.name == '/markers'}
            return values.get('not-finite') == '1' and values.get('unknown-frame') == '1'
        diagnostics.wait(counted)
        markers.clear()
        labels = named(markers.wait()[0], 'users/labels')
        assert [label.text.partition('\n')[0] for label in labels] == ['u1', 'u2']
    assert process.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['ctrl_c', 'sigterm'])
def test_ends_cleanly_while_drawing(graph, probe, file, number):
    process = graph.start('markers', {'deployment_file': file})
    clouds = probe.collect(PointCloud2, 'beampattern')
    with Designer(probe, file):
        clouds.wait(timeout=PATIENCE)
        assert process.stop(number) == 0
    assert 'Traceback' not in process.log


@pytest.mark.parametrize(('parameters', 'words'), [
    ({'deployment_file': "''"}, ['deployment_file', 'empty']),
    ({'deployment_file': '/nowhere.yaml'}, ['/nowhere.yaml']),
    ({'floor_db': 50.0}, ['floor_db', '50', 'ceiling_db']),
    ({'rate_hz': -1.0}, ['rate_hz', '-1', '0.1']),
], ids=['no_file', 'missing_file', 'empty_range', 'negative_rate'])
def test_wrong_parameters_are_named(graph, file, parameters, words):
    process = graph.start('markers', {'deployment_file': file, **parameters})
    assert process.wait(PATIENCE) == 1
    assert all(word in process.log for word in words), process.log
    assert 'Traceback' not in process.log
