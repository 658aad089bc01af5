"""The scenario node as a process: what it tells the designer, and the truth."""

import math

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

from pathlib import Path  # noqa: E402

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402

from nf_isac_msgs.msg import TrackArray  # noqa: E402
from nf_isac_ros.core.motion import Circle  # noqa: E402
from nf_isac_ros.files.deployment import load_deployment  # noqa: E402
from nf_isac_ros.nodes.qos import TRACKS  # noqa: E402
from nf_isac_ros.nodes.scenario import VELOCITY_NOISE, true_pose, with_noise  # noqa: E402

LISTEN = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
SCENES = Path(__file__).parents[2] / 'config' / 'scenarios'

SCENE = """
world_frame: hall
array: {upa: {elements: [4, 4], spacing_wavelengths: 0.5}}
radio: {carrier_hz: 2.8e+10, power_w: 1.0, symbols: 100, user_noise_w: 1.0e-8,
        sensing_noise: {power_w: 1.0e-12}}
bodies:
  - {id: u1, role: user, min_sinr_db: 12, offset_m: [0.1, 0, 0.5], track_noise_m: 0.02,
     motion: {circle: {centre_m: [1, 2, 3], radius_m: 2.0, period_s: 12.0}}}
  - {id: u2, role: user, min_sinr_db: 12}
  - {id: t1, role: target, reflection: [0.0, 0.5], motion: {fixed: {position_m: [4, 5, 6]}}}
"""

CIRCLE = Circle([1, 2, 3], 2.0, 12.0)


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / 'scene.yaml'
    path.write_text(SCENE)
    return path


def place(track):
    point = track.pose.pose.position
    return np.array([point.x, point.y, point.z])


def speed(track):
    vector = track.twist.twist.linear
    return np.array([vector.x, vector.y, vector.z])


def seconds(stamp):
    return stamp.sec + 1e-9 * stamp.nanosec


def test_tracks_are_noisy_and_the_truth_is_not(graph, probe, scene):
    names = ('users', 'targets', 'truth/users', 'truth/targets')
    topics = {name: probe.collect(TrackArray, name, LISTEN) for name in names}
    node = graph.start('scenario', {'deployment_file': scene, 'rate_hz': 100})
    truth = topics['truth/users'].wait(count=80)
    tracks = topics['users'].wait(count=80)
    # The motion, at the unknown time since the start, is on its circle; the offset of 0.1 m ahead
    # and 0.5 m up makes the circle of the antenna a little larger, and higher.
    for message in truth:
        (track,) = message.tracks
        assert message.header.frame_id == track.header.frame_id == 'hall'
        from_centre = place(track) - [1, 2, 3.5]
        assert np.linalg.norm(from_centre[:2]) == pytest.approx(math.hypot(2.0, 0.1))
        assert from_centre[2] == pytest.approx(0, abs=1e-12)
        assert np.linalg.norm(speed(track)) == pytest.approx(2 * math.pi * 2 / 12)
        assert (track.id, track.min_sinr_db) == ('u1', 12)
    # Tracks are without the offset (the designer adds it), and 2 cm off in each coordinate.
    true = {seconds(m.header.stamp): place(m.tracks[0]) for m in truth}
    errors = [place(m.tracks[0])[2] - 3 for m in tracks]
    assert 0.012 < np.std(errors) < 0.03
    assert tracks[0].tracks[0].pose.covariance[0] == pytest.approx(4e-4)
    assert len(true) == 80, 'each message has its own stamp'
    (target,) = topics['truth/targets'].wait()[0].tracks
    assert list(place(target)) == [4, 5, 6]
    assert (target.reflection_re, target.reflection_im) == (0.0, 0.5)
    (track,) = topics['targets'].wait()[0].tracks
    assert list(place(track)) == [4, 5, 6], 'no noise was asked for'
    assert node.stop() == 0


def test_truth_moves_with_the_clock(graph, probe, scene):
    truth = probe.collect(TrackArray, 'truth/users', LISTEN)
    graph.start('scenario', {'deployment_file': scene})
    messages = truth.wait(count=60)
    first, last = messages[0], messages[-1]

    def angle(message):
        x, y, _ = place(message.tracks[0]) - [1, 2, 3]
        return math.atan2(y, x)

    turned = (angle(last) - angle(first)) % (2 * math.pi)
    elapsed = seconds(last.header.stamp) - seconds(first.header.stamp)
    assert turned == pytest.approx(2 * math.pi * elapsed / 12, abs=1e-4)
    assert abs(probe.now() - seconds(truth.messages[-1].header.stamp)) < 1.0


def test_velocities_can_be_kept_back(graph, probe, scene):
    tracks = probe.collect(TrackArray, 'users', LISTEN)
    graph.start('scenario', {'deployment_file': scene, 'velocities': False})
    assert np.isnan(speed(tracks.wait()[0].tracks[0])).all()


def test_noise_follows_the_seed(scene):
    (body, *_) = load_deployment(scene).bodies
    pose = true_pose(body, CIRCLE, 1.0)

    def draw(seed, velocities=True):
        rng = np.random.default_rng(seed)
        return [with_noise(pose, body, rng, velocities) for _ in range(400)]

    first, again, other = draw(1), draw(1), draw(2)
    np.testing.assert_array_equal([p.position for p in first], [p.position for p in again])
    assert not np.array_equal(first[0].position, other[0].position)
    np.testing.assert_array_equal([p.position for p in first],
                                  [p.position for p in draw(1, velocities=False)])
    velocity_errors = np.array([p.velocity for p in first]) - pose.velocity
    assert np.std(velocity_errors) == pytest.approx(VELOCITY_NOISE * 0.02, rel=0.1)


@pytest.mark.parametrize(('parameters', 'words'), [
    ({}, 'deployment_file'),
    ({'deployment_file': '/nowhere.yaml'}, '/nowhere.yaml'),
    ({'deployment_file': SCENES / 'crossing.yaml', 'rate_hz': 0.0}, 'rate_hz'),
    ({'deployment_file': SCENES.parent / 'recordings' / 'mrclam7_5robots_vicon.yaml'}, 'motion'),
], ids=['no file', 'missing file', 'rate', 'no motion'])
def test_wrong_parameter_ends_the_node_with_one_line(graph, parameters, words):
    node = graph.start('scenario', parameters)
    assert node.wait() == 1
    fatal = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert len(fatal) == 1
    assert words in fatal[0]
    assert 'Traceback' not in node.log


@pytest.mark.parametrize('name', sorted(path.stem for path in SCENES.glob('*.yaml')))
def test_built_in_scenes_stay_in_front_of_the_array(name):
    deployment = load_deployment(SCENES / f'{name}.yaml')
    array = deployment.transmit_array
    assert len(array) == {'vehicle': 16, 'closed_loop': 32}.get(name, 48) ** 2
    for body in deployment.bodies:
        for time in np.arange(0, 30, 0.1):
            position, velocity = body.motion.at(time)
            distance = np.linalg.norm(position - array.pose.position)
            depth = array.pose.to_inner(position[None])[0, 2]
            assert 2.0 < distance < (16.0 if name == 'vehicle' else 6.5)
            assert depth > 0.5 * distance, 'within 60 degrees of the boresight'
            assert np.linalg.norm(velocity) < 2.0


def test_qos_is_what_subscribers_of_both_kinds_can_take():
    assert TRACKS.reliability == ReliabilityPolicy.BEST_EFFORT
    assert TRACKS.depth == 1
