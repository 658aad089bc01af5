"""The bag recorder as a process: every message, as it was, whatever ends the process."""

import signal
import time

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from small_bag import write_deployment  # noqa: E402

from nf_isac_msgs.msg import Beamformer, RadioStatus, TrackArray  # noqa: E402
from nf_isac_ros.nodes.qos import RADIO_STATUS  # noqa: E402
from nf_isac_ros.recording.reader import Recording  # noqa: E402

# Deep, so that what the test sends at once is not overwritten before it is on its way.
BEAMS = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)


def beams(sequence):
    message = Beamformer(sequence=sequence, n_elements=2304, n_users=2, user_ids=['a', 'b'])
    message.weights.frombytes(np.full(2 * 2304 * 2, sequence, np.float32).tobytes())
    return message


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_every_message_is_recorded_as_it_was(graph, probe, tmp_path, number):
    node = graph.start('bag_recorder', {'output': tmp_path / 'bag'})
    publisher = probe.publisher(Beamformer, 'beamformer', BEAMS)
    sent = [beams(sequence) for sequence in range(1, 301)]
    for message in sent:
        publisher.publish(message)
        time.sleep(0.005)   # all at once would be more than the depth of 200
    # A topic that appears late is no topic that is lost.
    status = probe.publisher(RadioStatus, 'radio/status', RADIO_STATUS)
    status.publish(RadioStatus(last_sequence=42))
    health = probe.collect(DiagnosticArray, '/diagnostics')
    health.wait(lambda m: any(v.key == 'written' and int(v.value) >= 301
                              for s in m.status if 'bag_recorder' in s.name for v in s.values))
    assert node.stop(number) == 0
    assert 'messages in' in node.log
    with Recording(tmp_path / 'bag') as recording:
        assert not recording.notes
        raw = [m.data for m in recording.raw_messages(['/beamformer'])]
        # Not byte by byte: CDR has padding, in which anything may stand.
        assert [deserialize_message(data, Beamformer) for data in raw] == sent
        (found,) = recording.messages(['/radio/status'])
        assert found.message.last_sequence == 42
        assert abs(1e-9 * found.log_time - probe.now()) < 60


def test_killed_recorder_leaves_what_was_flushed(graph, probe, tmp_path):
    node = graph.start('bag_recorder', {'output': tmp_path / 'bag'})
    publisher = probe.publisher(Beamformer, 'beamformer', BEAMS)
    for sequence in range(1, 51):
        publisher.publish(beams(sequence))
    health = probe.collect(DiagnosticArray, '/diagnostics')
    seen = [m for m in health.wait(lambda m: any(
        v.key == 'written' and int(v.value) >= 50
        for s in m.status if 'bag_recorder' in s.name for v in s.values), count=3)]
    assert len(seen) == 3, 'a flush comes once a second, as diagnostics do'
    node.stop(signal.SIGKILL)
    with Recording(tmp_path / 'bag') as recording:
        assert [m.message.sequence for m in recording.messages(['/beamformer'])] == list(
            range(1, 51))
        assert recording.notes


def test_namespace_and_poses_of_a_deployment(graph, probe, tmp_path):
    node = graph.start(
        'bag_recorder', {'output': tmp_path / 'bag', 'topics': "['truth/users']",
                         'deployment_file': write_deployment(tmp_path)},
        ['-r', '__ns:=/hall'])
    publishers = [probe.publisher(TrackArray, '/hall/truth/users'),
                  probe.publisher(PoseStamped, '/u1/pose')]
    health = probe.collect(DiagnosticArray, '/diagnostics')

    def written():
        """Topics of which something was written, as the newest diagnostics say."""
        values = [value.key for message in health.messages[-3:] for status in message.status
                  if status.name == '/hall/bag_recorder' for value in status.values]
        return {'written /hall/truth/users', 'written /u1/pose'} <= set(values)

    # Best effort: what is sent before the recorder knows the publisher is lost.
    for _ in range(200):
        for publisher in publishers:
            publisher.publish(publisher.msg_type())
        time.sleep(0.05)
        if written():
            break
    assert node.stop() == 0
    with Recording(tmp_path / 'bag') as recording:
        counts = {topic.name: topic.count for topic in recording.topics}
    assert counts.keys() == {'/hall/truth/users', '/u1/pose', '/t1/odom'}
    assert counts['/hall/truth/users'] > 0
    assert counts['/u1/pose'] > 0
    assert counts['/t1/odom'] == 0


@pytest.mark.parametrize(('parameters', 'words'), [
    ({}, 'output'),
    ({'output': '/proc/bag'}, '/proc/bag'),
    ({'output': 'BAG', 'topics': "['beams']"}, "'beams'"),
    ({'output': 'BAG', 'topics': "['/a:alien_msgs/msg/Ray']"}, 'alien_msgs/msg/Ray'),
    ({'output': 'BAG', 'storage': 'tape'}, 'storage'),
], ids=['no output', 'impossible output', 'unknown topic', 'unknown type', 'storage'])
def test_wrong_parameter_ends_the_node_with_one_line(graph, tmp_path, parameters, words):
    node = graph.start('bag_recorder', {
        key: tmp_path / 'bag' if value == 'BAG' else value for key, value in parameters.items()})
    assert node.wait() == 1
    (fatal,) = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert words in fatal
    assert 'Traceback' not in node.log
