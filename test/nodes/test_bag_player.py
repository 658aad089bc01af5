"""The bag player as a process: stamps, pace, laps, cuts, and the truth."""

import time

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

from geometry_msgs.msg import PoseStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from small_bag import (  # noqa: E402
    DEPLOYMENT,
    LENGTH,
    RATE,
    START,
    TARGET,
    USER,
    write_bag,
    write_deployment,
)
from std_srvs.srv import Trigger  # noqa: E402

from nf_isac_msgs.msg import TrackArray  # noqa: E402
from nf_isac_ros.nodes.bag_player import CLOCK_PERIOD  # noqa: E402

LISTEN = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
POSES_IN = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)
POSES = int(LENGTH * RATE)
PATIENCE = 60.0   # for a process to start on a busy machine [s]


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp('bag'))


@pytest.fixture
def play(graph, probe, tmp_path, bag):
    """Play the small recording, once the player and its listener have found each other."""
    def start(**parameters):
        node = graph.start('bag_player', {
            'deployment_file': write_deployment(tmp_path), 'bag': bag, 'start_paused': True,
            **parameters})
        for topic in ('/u1/pose', '/t1/odom', 'truth/users', 'truth/targets'):
            probe.wait_until(lambda topic=topic: probe.node.count_publishers(topic) > 0,
                             f'a publisher of {topic}', PATIENCE)
        time.sleep(0.5)   # each side finds the other in its own time
        assert probe.call(Trigger, 'bag_player/resume', Trigger.Request()).success
        return node
    return start


def nanoseconds(stamp):
    return stamp.sec * 10 ** 9 + stamp.nanosec


def stamps(messages):
    return np.array([nanoseconds(message.header.stamp) for message in messages])


def place(point):
    return np.array([point.x, point.y, point.z])


def test_poses_come_as_recorded_with_stamps_of_the_present(probe, play):
    poses = probe.collect(PoseStamped, '/u1/pose', POSES_IN)
    odometry = probe.collect(Odometry, '/t1/odom', POSES_IN)
    node = play()
    messages = poses.wait(count=POSES, timeout=PATIENCE)
    found = stamps(messages)
    np.testing.assert_array_equal(np.diff(found), round(1e9 / RATE))
    # Half a step lies between the two topics, in the recording as well as now.
    assert stamps(odometry.wait(count=1))[0] - found[0] == round(0.5e9 / RATE)
    assert abs(probe.now() - 1e-9 * found[-1]) < 2.0
    for index in (0, 70, 149):
        pose = messages[index].pose.position
        np.testing.assert_allclose(place(pose), USER.at(index / RATE)[0], atol=1e-12)
    assert odometry.messages[0].twist.twist.linear.x == pytest.approx(2 * np.pi * 0.5 / 3.0)
    time.sleep(0.5)
    assert len(poses.messages) == POSES, 'nothing comes after the end'
    assert node.process.poll() is None, 'the graph can drain'
    assert 'the recording has ended: 300 poses' in node.log
    assert node.stop() == 0


def test_messages_come_at_the_recorded_pace(probe, play):
    arrivals = []
    probe.node.create_subscription(
        PoseStamped, '/u1/pose', lambda m: arrivals.append(
            (time.monotonic(), 1e-9 * nanoseconds(m.header.stamp))), POSES_IN)
    play()
    probe.wait_until(lambda: len(arrivals) == POSES, 'all poses', PATIENCE)
    arrived, stamped = np.array(arrivals).T
    lag = (arrived - arrived[0]) - (stamped - stamped[0])
    # On a quiet machine within a millisecond; a busy one may hold either process up.
    assert np.median(np.abs(lag - np.median(lag))) < 0.1
    assert np.ptp(lag) < 2.0


def test_truth_is_that_of_the_recording_with_offset_and_velocity(probe, play):
    poses = probe.collect(PoseStamped, '/u1/pose', POSES_IN)
    users = probe.collect(TrackArray, 'truth/users', LISTEN)
    targets = probe.collect(TrackArray, 'truth/targets', LISTEN)
    play()
    start = 1e-9 * stamps(poses.wait(count=POSES, timeout=PATIENCE))[0]
    assert len(users.messages) > 0.8 * 60 * LENGTH
    for collector, motion, offset in ((users, USER, 0.5), (targets, TARGET, 0.0)):
        for message in collector.messages[10:-10:10]:
            (track,) = message.tracks
            assert message.header.frame_id == track.header.frame_id == 'map'
            since = 1e-9 * nanoseconds(track.header.stamp) - start
            position, velocity = motion.at(since)
            np.testing.assert_allclose(
                place(track.pose.pose.position), position + [0, 0, offset], atol=1e-3)
            np.testing.assert_allclose(place(track.twist.twist.linear), velocity, atol=0.02)
    assert users.messages[0].tracks[0].min_sinr_db == 10
    assert targets.messages[0].tracks[0].reflection_im == 0.5


def test_double_pace_halves_times_and_doubles_velocities(probe, play):
    odometry = probe.collect(Odometry, '/t1/odom', POSES_IN)
    truth = probe.collect(TrackArray, 'truth/targets', LISTEN)
    play(rate=2.0)
    found = stamps(odometry.wait(count=POSES, timeout=PATIENCE))
    np.testing.assert_allclose(np.diff(found), 0.5e9 / RATE, atol=1)
    assert odometry.messages[0].twist.twist.linear.x == pytest.approx(2 * 2 * np.pi * 0.5 / 3.0)
    middle = truth.messages[len(truth.messages) // 2].tracks[0].twist.twist.linear
    assert np.linalg.norm(place(middle)) == pytest.approx(2 * 2 * np.pi * 0.5 / 3.0, rel=0.02)


def test_cut_silences_the_topic_but_not_the_truth(probe, play):
    poses = probe.collect(PoseStamped, '/u1/pose', POSES_IN)
    odometry = probe.collect(Odometry, '/t1/odom', POSES_IN)
    truth = probe.collect(TrackArray, 'truth/users', LISTEN)
    node = play(cut="['/u1/pose:1.0:0.5']")
    odometry.wait(count=POSES, timeout=PATIENCE)
    found = stamps(poses.messages)
    assert len(found) == POSES - 25
    steps = np.diff(found)
    assert steps.max() == round(1e9 / RATE) * 26
    assert np.count_nonzero(steps > round(1e9 / RATE)) == 1
    assert np.diff(stamps(truth.messages)).max() < 0.4e9
    probe.wait_until(lambda: 'has ended: 275 poses published, 25 cut' in node.log, 'the end')


def test_laps_go_on_upwards_after_a_pause_longer_than_drop(probe, play):
    poses = probe.collect(PoseStamped, '/u1/pose', POSES_IN)
    truth = probe.collect(TrackArray, 'truth/users', LISTEN)
    play(loop=True, rate=4.0)
    messages = poses.wait(count=2 * POSES + 20, timeout=PATIENCE)
    found = stamps(messages)
    assert (np.diff(found) > 0).all()
    seams = np.flatnonzero(np.diff(found) > 0.1e9)
    assert list(seams) == [POSES - 1, 2 * POSES - 1]
    assert (np.diff(found)[seams] > 0.5e9).all(), 'tracking.drop_s'
    np.testing.assert_allclose(place(messages[POSES].pose.position),
                               place(messages[0].pose.position))
    # The truth pauses as well, and never says that the body flew from end to start.
    for message in truth.messages:
        speed = np.linalg.norm(place(message.tracks[0].twist.twist.linear))
        assert speed == pytest.approx(4 * 2 * np.pi / 6, rel=0.05)


def test_kept_stamps_come_with_a_clock(probe, play):
    clock = probe.collect(Clock, '/clock', LISTEN)
    poses = probe.collect(PoseStamped, '/u1/pose', POSES_IN)
    truth = probe.collect(TrackArray, 'truth/users', LISTEN)
    play(restamp=False)
    found = stamps(poses.wait(count=POSES, timeout=PATIENCE))
    np.testing.assert_array_equal(found, START + np.arange(POSES) * round(1e9 / RATE))
    times = np.array([nanoseconds(message.clock) for message in clock.messages])
    assert (np.diff(times) >= 0).all()
    playing = times[(times > START) & (times < START + LENGTH * 1e9)]
    # At 200 Hz or more; a busy machine lets some naps last longer.
    assert CLOCK_PERIOD <= 0.005
    assert np.diff(playing).min() < 10e6
    assert START <= stamps(truth.messages)[0] <= START + LENGTH * 1e9
    before = clock.messages[-1]
    probe.wait_until(lambda: nanoseconds(clock.messages[-1].clock) > nanoseconds(before.clock),
                     'time goes on after the end')


@pytest.mark.parametrize(('changes', 'text', 'words'), [
    ({'bag': "''"}, DEPLOYMENT, ['bag is empty']),
    ({'bag': '/nowhere/bag'}, DEPLOYMENT, ['/nowhere/bag', 'does not exist']),
    ({}, DEPLOYMENT.replace('/u1/pose', '/u9/pose'),
     ['/u9/pose', "'u1'", '/u1/pose (geometry_msgs/msg/PoseStamped)', '/t1/odom']),
    ({}, DEPLOYMENT.replace('geometry_msgs/msg/PoseStamped',
                            'geometry_msgs/msg/PoseWithCovarianceStamped'),
     ['/u1/pose', 'type geometry_msgs/msg/PoseStamped in the recording']),
    ({'cut': "['/u1/pose:1']"}, DEPLOYMENT, ['/u1/pose:1', 'TOPIC:START:LENGTH']),
    ({'rate': 0.0}, DEPLOYMENT, ['rate']),
], ids=['no bag', 'missing bag', 'missing topic', 'wrong type', 'bad cut', 'bad rate'])
def test_what_cannot_be_played_ends_with_one_line(graph, tmp_path, bag, changes, text, words):
    node = graph.start('bag_player', {
        'deployment_file': write_deployment(tmp_path, text), 'bag': bag, **changes})
    assert node.wait(PATIENCE) == 1
    (fatal,) = [line for line in node.log.splitlines() if 'FATAL' in line]
    for word in words:
        assert word in fatal
    assert 'Traceback' not in node.log


@pytest.mark.parametrize('start', ['', 'import time\nfrom nf_isac_ros.nodes import spin\n'
                                   'spin.spare_the_collector = lambda: time.sleep(1.0)\n'],
                         ids=['at-once', 'before-it-spins'])
def test_a_player_that_breaks_down_ends_and_says_so(graph, tmp_path, bag, start):
    node = graph.start(
        'bag_player', {'deployment_file': write_deployment(tmp_path), 'bag': bag},
        before=start + 'from nf_isac_ros.nodes.bag_player import BagPlayer\n'
               'def broken(self, entries, lap):\n    raise OSError("the disk is gone")\n'
               'BagPlayer._ready = broken')
    assert node.wait(PATIENCE) == 1
    assert 'the disk is gone' in node.log
