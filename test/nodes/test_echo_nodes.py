"""Localizer and tracker in this process, fed with messages; no radio."""

from __future__ import annotations

import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('nf_isac_msgs.msg', reason='nf_isac_msgs is not built')

from nf_isac_msgs.msg import EchoEstimate, EchoEstimateArray, EchoSamples, TrackArray  # noqa: E402
from nf_isac_ros.conversions.messages import (  # noqa: E402
    echo_estimate_array_message,
    echo_samples_message,
    track_array_message,
)
from nf_isac_ros.core.localisation.echoes import (  # noqa: E402
    Sensor,
    qpsk_symbols,
    simulate_echo_samples,
)
from nf_isac_ros.core.localisation.localiser import EchoState, LocatedTarget  # noqa: E402
from nf_isac_ros.core.propagation import responses  # noqa: E402
from nf_isac_ros.core.tracking import PoseSample, Role  # noqa: E402
from nf_isac_ros.files.deployment import load_deployment  # noqa: E402
from nf_isac_ros.nodes.localizer import Localizer  # noqa: E402
from nf_isac_ros.nodes.qos import TRACKS  # noqa: E402
from nf_isac_ros.nodes.tracker import Tracker  # noqa: E402

DEPLOYMENT = """
world_frame: map
array: {upa: {elements: [8, 8], spacing_wavelengths: 0.5}}
radio: {wavelength_m: 0.0107, power_w: 1.0, symbols: 100, user_noise_w: 1.0e-8,
        sensing_noise: {power_w: 1.0e-13}}
bodies:
  - {id: t1, role: target, reflection: [1.0, 0.0], offset_m: [0.0, 0.1, 0.0]}
search: {lower_m: [-1.0, -1.0, 0.7], upper_m: [1.0, 1.0, 1.6]}
"""
OFFSET = np.array([0.0, 0.1, 0.0])
PLACE, OTHER = np.array([0.2, 0.1, 1.1]), np.array([-0.5, -0.2, 1.3])
PATIENCE = 10.0


class Bench:
    """A node under test, and one that talks to it."""

    def __init__(self, kind, path, **parameters):
        arguments = ['--ros-args', '-p', f'deployment_file:={path}']
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        self.context = rclpy.Context()
        rclpy.init(args=arguments, context=self.context)
        default = rclpy.utilities.get_default_context()
        self.own_default = not default.ok()
        if self.own_default:
            rclpy.init(args=arguments)
        self.deployment = load_deployment(path)
        self.node = kind()
        self.peer = rclpy.create_node('peer')
        self.executor = rclpy.executors.SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self.heard = []

    def close(self):
        self.executor.shutdown()
        self.peer.destroy_node()
        self.node.destroy_node()
        if self.own_default:
            rclpy.shutdown()
        self.context.try_shutdown()

    def talk(self, kind, topic):
        publisher = self.peer.create_publisher(kind, topic, TRACKS)
        self.until(lambda: publisher.get_subscription_count() > 0)
        return publisher

    def listen(self, kind, topic):
        self.peer.create_subscription(kind, topic, self.heard.append, TRACKS)
        self.until(lambda: self.peer.count_publishers(topic) > 0)
        self.spin(0.2)

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)
        assert condition()

    def now(self):
        return 1e-9 * self.peer.get_clock().now().nanoseconds


@pytest.fixture
def bench(tmp_path):
    path = tmp_path / 'deployment.yaml'
    path.write_text(DEPLOYMENT)
    benches = []

    def make(kind, **parameters):
        benches.append(Bench(kind, path, **parameters))
        return benches[-1]
    yield make
    for each in benches:
        each.close()


def echoes(bench, stamp, places=(PLACE,), seed=1, **changes):
    rng, deployment = np.random.default_rng(seed), bench.deployment
    sensor = Sensor(deployment.transmit_array, deployment.receive_array,
                    deployment.radio.wavelength, deployment.radio.sensing_noise)
    points = np.vstack([PLACE, OTHER])
    beams = responses(sensor.transmit_array.positions, points, sensor.wavelength).conj()
    beams = beams / np.linalg.norm(beams, axis=0) * np.sqrt(0.5)
    samples = simulate_echo_samples(
        sensor, np.array(places).reshape(-1, 3), np.ones(len(places)),
        beams, qpsk_symbols(rng, 2, 100), rng)
    message = echo_samples_message(samples, stamp, 7, sensor)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def tracks(stamp, place=PLACE):
    return track_array_message([PoseSample(
        't1', Role.TARGET, stamp, place - OFFSET + 0.01, np.zeros(3), 1e-4 * np.eye(3))], stamp,
        'map')


def test_localizer_finds_the_track_and_a_new_target(bench):
    run = bench(Localizer, search_points=100000)
    out, tell = run.talk(EchoSamples, 'echo/samples'), run.talk(TrackArray, 'targets')
    run.listen(EchoEstimateArray, 'echo/estimates')
    tell.publish(tracks(run.now()))
    run.spin(0.1)
    stamp = run.now()
    out.publish(echoes(run, stamp, (PLACE, OTHER)))
    run.until(lambda: run.heard)
    found = run.heard[0]
    assert found.sequence == 7
    assert found.header.frame_id == 'map'
    assert [(entry.id, entry.state) for entry in found.estimates] == [
        ('t1', EchoEstimate.STATE_DETECTED), ('', EchoEstimate.STATE_NEW)]
    for entry, place in zip(found.estimates, (PLACE, OTHER), strict=True):
        error = np.array([entry.position.x, entry.position.y, entry.position.z]) - place
        covariance = np.reshape(entry.covariance, (3, 3))
        assert error @ np.linalg.solve(covariance, error) < 25.0


def test_localizer_says_that_a_target_is_lost_and_survives_bad_samples(bench):
    run = bench(Localizer, search_points=0, max_age_s=5.0)
    out, tell = run.talk(EchoSamples, 'echo/samples'), run.talk(TrackArray, 'targets')
    run.listen(EchoEstimateArray, 'echo/estimates')
    tell.publish(tracks(run.now()))
    run.spin(0.1)
    bad = [('late', {}, -10.0), ('future-stamp', {}, 10.0),
           ('layout-mismatch', {'transmit_layout_hash': 'x'}, 0.0),
           ('bad-shape', {'n_streams': 5}, 0.0),
           ('not-finite', {'samples': [np.nan] * 256}, 0.0)]
    for i, (reason, changes, shift) in enumerate(bad):
        out.publish(echoes(run, run.now() + shift, **changes))
        run.until(lambda i=i: run.node._rejected.total == i + 1)
        assert run.node._rejected.snapshot()[reason] == 1
    assert not run.heard
    stamp = run.now()
    out.publish(echoes(run, stamp, ()))
    run.until(lambda: run.heard)
    assert [entry.state for entry in run.heard[0].estimates] == [EchoEstimate.STATE_LOST]
    out.publish(echoes(run, stamp))
    run.until(lambda: run.node._rejected.snapshot().get('stamp-regression') == 1)


def located(place, state=EchoState.DETECTED, name='t1'):
    return LocatedTarget(name, state, np.asarray(place, dtype=float), 1e-6 * np.eye(3), 1 + 0j,
                         100.0, 10.0)


def test_tracker_starts_by_the_truth_and_then_follows_the_echoes_alone(bench):
    run = bench(Tracker, start_error_m=0.02)
    out, tell = run.talk(EchoEstimateArray, 'echo/estimates'), run.talk(
        TrackArray, 'truth/targets')
    run.listen(TrackArray, 'targets')
    truth = PoseSample('t1', Role.TARGET, run.now(), PLACE, np.zeros(3))
    tell.publish(track_array_message([truth], truth.stamp, 'map'))
    run.until(lambda: run.heard)
    pose = run.heard[0].tracks[0].pose.pose.position
    # The pose of the body: without the offset that whoever listens adds.
    start = np.array([pose.x, pose.y, pose.z]) + OFFSET
    assert 0.0 < np.linalg.norm(start - PLACE) < 0.15
    run.heard.clear()
    elsewhere = start + [0.01, 0.0, 0.0]
    for _ in range(3):
        out.publish(echo_estimate_array_message([located(elsewhere)], run.now(), 'map', 1))
        run.spin(0.1)
    # The truth goes on, and nobody listens.
    far = PoseSample('t1', Role.TARGET, run.now(), PLACE + 1.0, np.zeros(3))
    tell.publish(track_array_message([far], far.stamp, 'map'))
    run.spin(0.3)
    pose = run.heard[-1].tracks[0].pose.pose.position
    np.testing.assert_allclose([pose.x, pose.y, pose.z], elsewhere - OFFSET, atol=0.01)
    stamps = [message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
              for message in run.heard]
    assert stamps == sorted(stamps)


def test_tracker_confirms_new_targets_and_survives_bad_estimates(bench):
    run = bench(Tracker, start='search', coast_s=20.0)
    out = run.talk(EchoEstimateArray, 'echo/estimates')
    run.listen(TrackArray, 'targets')
    out.publish(echo_estimate_array_message([located(OTHER, EchoState.NEW, '')], run.now(), 'map',
                                            1))
    run.spin(0.2)
    assert not run.heard
    for i, (reason, message) in enumerate((
            ('unknown-frame', echo_estimate_array_message([], run.now(), 'mars', 1)),
            ('future-stamp', echo_estimate_array_message([], run.now() + 5.0, 'map', 1)),
            ('stamp-regression', echo_estimate_array_message([], run.now() - 5.0, 'map', 1)),
            ('not-finite', echo_estimate_array_message(
                [located([np.nan, 0.0, 0.0], name='new-1')], run.now() + 0.01, 'map', 1)))):
        out.publish(message)
        run.until(lambda i=i: run.node._rejected.total == i + 1)
        assert run.node._rejected.snapshot()[reason] == 1
    for _ in range(2):
        out.publish(echo_estimate_array_message([located(OTHER, name='new-1')], run.now(), 'map',
                                                1))
        run.spin(0.1)
    run.until(lambda: run.heard)
    assert [track.id for track in run.heard[-1].tracks] == ['new-1']
    # An unconfigured target comes with the reflection that its echo has.
    assert run.heard[-1].tracks[0].reflection_re == pytest.approx(1.0)
