"""The beamformer from start to end, with faults put in."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS environment')
pytest.importorskip('nf_isac_msgs.msg', reason='nf_isac_msgs is not built')

from beamformer_setup import (  # noqa: E402
    DEPLOYMENT,
    NODE,
    T1,
    U1,
    Tracker,
    counted,
    sample,
    seconds,
)
from rosgraph_msgs.msg import Clock  # noqa: E402

from nf_isac_msgs.msg import Beamformer, DesignStatus, TrackArray  # noqa: E402
from nf_isac_ros.conversions import messages  # noqa: E402
from nf_isac_ros.core.tracking import Role  # noqa: E402


@pytest.fixture
def deployment_file(tmp_path):
    path = tmp_path / 'small.yaml'
    path.write_text(DEPLOYMENT)
    return path


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'active'])
def test_shutdown_from(state, graph, probe, deployment_file):
    process = graph.start('beamformer', {'deployment_file': deployment_file})
    if state != 'unconfigured':
        assert probe.change_state(NODE, 'configure', 60.0)
    if state == 'active':
        assert probe.change_state(NODE, 'activate')
    assert probe.change_state(NODE, 'shutdown')
    assert probe.state(NODE) == 'finalized'
    assert process.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_an_active_node_cleanly(number, graph, probe, deployment_file):
    process = graph.start('beamformer', {'deployment_file': deployment_file})
    probe.activate(NODE)
    time.sleep(0.2)
    assert process.stop(number, 10.0) == 0
    assert 'Traceback' not in process.log


def test_broken_deployment_fails_to_configure_and_can_be_mended(graph, probe, tmp_path):
    path = tmp_path / 'broken.yaml'
    path.write_text(DEPLOYMENT.replace('power_w: 2.0', 'power_w: -2.0'))
    process = graph.start('beamformer', {'deployment_file': path})
    assert not probe.change_state(NODE, 'configure', 60.0)
    assert probe.state(NODE) == 'unconfigured'
    line = next(line for line in process.log.splitlines() if 'cannot configure' in line)
    assert 'radio.power_w' in line
    assert '-2' in line
    path.write_text(DEPLOYMENT.replace('geometry_msgs/', 'absent_msgs/'))
    assert not probe.change_state(NODE, 'configure')
    assert "'absent_msgs/msg/PoseStamped' is not installed" in process.log
    path.write_text(DEPLOYMENT)
    assert probe.change_state(NODE, 'configure')
    assert process.stop() == 0


@pytest.mark.parametrize(('parameters', 'named'), [
    ({'rate_hz': -3.0}, ['rate_hz', '-3.0', '0.1']),
    ({'design': 'best'}, ['design', "'best'", 'crb-min']),
])
def test_wrong_parameter_ends_the_process_with_one_line(graph, parameters, named):
    process = graph.start('beamformer', parameters)
    assert process.wait(30.0) == 1
    line, = process.log.strip().splitlines()
    assert all(word in line for word in named)


def test_missing_deployment_file_says_so(graph, probe):
    process = graph.start('beamformer', {})
    assert not probe.change_state(NODE, 'configure', 60.0)
    assert 'deployment_file' in process.log


SLOW = """
import time
from nf_isac_ros.core.cycle import DesignCycle
step = DesignCycle.step
def slow(self, scene, *rest):
    # Not while it warms up.
    if {slow} and any(body.id in ('t1', 'u1') for body in (*scene.targets, *scene.users)):
        time.sleep({seconds})
    return step(self, scene, *rest)
DesignCycle.step = slow
"""


def test_messages_are_handled_during_a_slow_design(graph, probe, deployment_file):
    graph.start('beamformer', {'deployment_file': deployment_file}, before=SLOW.format(
        slow=True, seconds=1.0))
    probe.activate(NODE)
    tracker = Tracker(probe)
    try:
        tracker.follow({'t1': T1}, {'u1': U1})
        tracker.status.wait(lambda m: m.outcome != DesignStatus.OUTCOME_MUTE)
        durations = []
        for rate in (15.0, 16.0, 17.0, 18.0):
            start = time.monotonic()
            assert probe.set_parameters(NODE, rate_hz=rate).successful
            durations.append(time.monotonic() - start)
        assert max(durations) < 0.5
        # Designed for the newest scene: its poses were young when the design began.
        beams = tracker.beams.wait(count=3)[-1]
        assert seconds(beams.cycle_stamp) - seconds(beams.oldest_track_stamp) < 0.2
        status, = tracker.status.wait(lambda m: m.sequence == beams.sequence)
        assert status.overruns >= 10
        assert status.cycle_ms >= 1000
    finally:
        tracker.close()


def test_users_keep_their_beams_where_a_design_is_held_up(graph, probe, deployment_file):
    # Every tenth design takes longer than a lease, as on a machine that was held up.
    graph.start('beamformer', {'deployment_file': deployment_file}, before="""
import itertools
import time
from nf_isac_ros.core.cycle import DesignCycle
step, calls = DesignCycle.step, itertools.count(1)
def slow(self, scene, *rest):
    if scene.users and next(calls) % 10 == 0:
        time.sleep(1.5)
    return step(self, scene, *rest)
DesignCycle.step = slow
""")
    probe.activate(NODE)
    tracker = Tracker(probe)
    try:
        tracker.follow({'t1': T1}, {'u1': U1})
        held_up = tracker.beams.wait(lambda m: m.fallback_reason == 'too-late', count=3)
        for message in held_up:
            assert message.quality == Beamformer.QUALITY_FALLBACK
            assert seconds(message.publish_stamp) < seconds(message.valid_until)
            # For the poses that came during the design, not for those it began with.
            assert seconds(message.publish_stamp) - seconds(message.design_stamp) < 1.3
        assert all(m.outcome != DesignStatus.OUTCOME_MUTE for m in tracker.status.messages
                   if any(body.role == 1 and body.state == 0 for body in m.tracks))
    finally:
        tracker.close()


def test_hanging_design_does_not_hold_up_the_node(graph, probe, deployment_file):
    graph.start('beamformer', {'deployment_file': deployment_file}, before=SLOW.format(
        slow='scene.targets', seconds=6.0))
    probe.activate(NODE)
    tracker = Tracker(probe)
    try:
        tracker.follow({'t1': T1}, {'u1': U1})
        time.sleep(1.0)
        start = time.monotonic()
        assert probe.change_state(NODE, 'deactivate')
        assert time.monotonic() - start < 4.0
        tracker.beams.clear()
        tracker.follow(users={'u1': U1})
        time.sleep(1.0)   # the target is dropped meanwhile
        assert probe.change_state(NODE, 'activate')
        tracker.beams.wait(count=20)
        time.sleep(5.0)   # the hanging design comes back meanwhile
        sequences = [message.sequence for message in tracker.beams.messages]
        assert sequences == list(range(1, len(sequences) + 1))
        assert {message.n_users for message in tracker.beams.messages} == {1}
    finally:
        tracker.close()


def test_unexpected_error_mutes_is_counted_and_passes(graph, probe, deployment_file):
    process = graph.start('beamformer', {'deployment_file': deployment_file}, before="""
from nf_isac_ros.core.cycle import DesignCycle
step = DesignCycle.step
def faulty(self, scene, *rest):
    if not scene.users:
        raise ZeroDivisionError('a fault')
    return step(self, scene, *rest)
DesignCycle.step = faulty
""")
    probe.activate(NODE)
    tracker = Tracker(probe)
    try:
        tracker.follow({'t1': T1})
        status = tracker.status.wait(lambda m: m.fallback_reason == 'internal-error', count=30)[-1]
        assert status.outcome == DesignStatus.OUTCOME_MUTE
        assert counted(status.fallbacks)['internal-error'] >= 29
        assert tracker.beams.messages == []
        assert 'ZeroDivisionError: a fault' in process.log
        assert process.log.count('Traceback') <= 5   # at 20 Hz: once a second only
        tracker.follow({'t1': T1}, {'u1': U1})
        tracker.beams.wait()
    finally:
        tracker.close()


def test_clock_that_jumps_back_or_stops(graph, probe, deployment_file):
    graph.start('beamformer', {'deployment_file': deployment_file, 'use_sim_time': True})
    probe.activate(NODE)
    clock = probe.publisher(Clock, '/clock')
    tracks = probe.publisher(TrackArray, 'users')
    status = probe.collect(DesignStatus, 'status')
    beams = probe.collect(Beamformer, 'beamformer')

    def play(start, duration):
        for now in np.arange(start, start + duration, 0.01):
            clock.publish(Clock(clock=messages.time_message(now)))
            tracks.publish(messages.track_array_message(
                [sample('u1', Role.USER, now, U1)], now, 'map'))
            time.sleep(0.01)

    play(1000.0, 2.0)
    assert beams.wait(count=10)[-1].header.stamp.sec in (1000, 1001, 1002)
    time.sleep(0.3)
    count = len(status.messages)
    time.sleep(0.5)   # the clock stands still
    assert len(status.messages) == count
    beams.clear()
    play(500.0, 2.0)
    after = beams.wait(count=10)
    assert all(500 <= message.header.stamp.sec <= 503 for message in after)
    assert all(message.valid_until.sec <= 503 for message in after)
    found = status.wait(lambda m: 'clock-jump' in counted(m.fallbacks))[0]
    assert counted(found.fallbacks)['clock-jump'] >= 1
    assert 500 <= found.header.stamp.sec <= 503
