"""A recording that waits until it is told to begin."""

import time

import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from small_bag import write_bag, write_deployment  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from nf_isac_msgs.msg import TrackArray  # noqa: E402

LISTEN = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)


def test_a_recording_started_paused_begins_at_its_beginning_when_resumed(probe, graph, tmp_path):
    poses = probe.collect(PoseStamped, '/u1/pose', LISTEN)
    truth = probe.collect(TrackArray, 'truth/users', LISTEN)
    node = graph.start('bag_player', {
        'deployment_file': write_deployment(tmp_path), 'bag': write_bag(tmp_path / 'bag'),
        'start_paused': True, 'start_delay_s': 0.0})
    resume = probe.node.create_client(Trigger, 'bag_player/resume')
    probe.wait_until(resume.service_is_ready, 'the service')
    time.sleep(0.5)
    assert poses.messages == truth.messages == []
    before = probe.now()
    for expected in ('playing', 'playing already'):
        answer = resume.call_async(Trigger.Request())
        probe.wait_until(answer.done, 'an answer')
        assert answer.result().success
        assert answer.result().message == expected
    first = poses.wait()[0].header.stamp
    assert 0.0 <= first.sec + 1e-9 * first.nanosec - before < 1.0
    assert node.stop() == 0


def test_a_paused_player_can_be_ended(probe, graph, tmp_path):
    node = graph.start('bag_player', {
        'deployment_file': write_deployment(tmp_path), 'bag': write_bag(tmp_path / 'bag'),
        'start_paused': True})
    resume = probe.node.create_client(Trigger, 'bag_player/resume')
    probe.wait_until(resume.service_is_ready, 'the service')
    assert node.stop() == 0
