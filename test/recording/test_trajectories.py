"""Truth from recordings, against motion in closed form."""

from types import SimpleNamespace

import numpy as np
from numpy.testing import assert_allclose
import pytest

from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.motion import Circle
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.files.deployment import BodySettings
from nf_isac_ros.recording.reader import BagMessage
from nf_isac_ros.recording.trajectories import (
    MAX_GAP,
    Trajectory,
    read_trajectories,
    set_stamps,
)

POSE_STAMPED = 'geometry_msgs/msg/PoseStamped'
MOTION = Circle([1.0, 2.0, 0.5], 1.5, 8.0)   # 1.18 m/s


def sampled(times):
    times = np.asarray(times)
    return Trajectory(times, np.array([MOTION.at(t)[0] for t in times]),
                      np.full((len(times), 4), np.nan))


@pytest.fixture(scope='module')
def irregular():
    """About 60 Hz, unsynchronised, for 10 s."""
    rng = np.random.default_rng(5)
    return sampled(1000 + np.cumsum(rng.uniform(0.002, 0.03, 600)))


@pytest.mark.parametrize('time', [1001.0, 1002.345, 1004.4, 1007.89])
def test_truth_between_samples_is_near_the_motion(irregular, time):
    position, velocity = irregular.at(time)
    true_position, true_velocity = MOTION.at(time)
    # A chord of 30 ms is off by a dt^2 / 8 = 0.1 mm; the difference over 0.1 s by w^2 h^2 v / 6.
    assert_allclose(position, true_position, atol=2e-4)
    assert_allclose(velocity, true_velocity, atol=0.01)


def test_ends_have_one_sided_velocities(irregular):
    for time in (irregular.times[0], irregular.times[-1]):
        position, velocity = irregular.at(time)
        assert_allclose(position, MOTION.at(time)[0], atol=1e-9)
        assert_allclose(velocity, MOTION.at(time)[1], atol=0.05)


@pytest.mark.parametrize('offset', [-0.01, 0.01])
def test_nothing_is_known_outside(irregular, offset):
    end = irregular.times[0] if offset < 0 else irregular.times[-1]
    assert irregular.at(end + offset) is None


def test_nothing_is_known_in_a_long_gap():
    trajectory = sampled([*np.arange(0, 2, 0.02), *np.arange(2 + MAX_GAP + 0.5, 6, 0.02)])
    assert trajectory.at(2.5) is None
    for time in (1.97, 1.98, 2 + MAX_GAP + 0.5, 2 + MAX_GAP + 0.51):
        position, velocity = trajectory.at(time)
        assert_allclose(position, MOTION.at(time)[0], atol=1e-4)
        assert_allclose(velocity, MOTION.at(time)[1], atol=0.05)


def test_short_gaps_are_bridged():
    trajectory = sampled([*np.arange(0, 2, 0.02), *np.arange(2.17, 4, 0.02)])
    position, _ = trajectory.at(2.08)
    assert_allclose(position, MOTION.at(2.08)[0], atol=6e-3)


def test_single_pose_has_no_speed():
    assert_allclose(sampled([5.0]).at(5.0), ([*MOTION.at(5.0)[0]], [0, 0, 0]))


def stamp(time):
    return SimpleNamespace(sec=time // 10 ** 9, nanosec=time % 10 ** 9)


def pose(topic, log_time, time, x, frame='map', w=1.0):
    xyz = SimpleNamespace(x=x, y=0.0, z=0.0)
    quaternion = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=w)
    return BagMessage(topic, 'geometry_msgs/msg/PoseStamped', log_time, SimpleNamespace(
        header=SimpleNamespace(stamp=stamp(time), frame_id=frame),
        pose=SimpleNamespace(position=xyz, orientation=quaternion)))


def test_messages_become_trajectories_with_offset():
    body = BodySettings('u1', 'user', '/a', POSE_STAMPED, offset=np.array([0, 0, 0.5]))
    report = read_trajectories(
        [pose('/a', 10 + k, 10 ** 9 + k * 10 ** 7, 0.1 * k) for k in range(10)],
        PoseReader([body], 'map'))
    trajectory = report.trajectories[Role.USER, 'u1']
    assert_allclose(trajectory.at(1.045)[0], [0.45, 0.0, 0.5])
    assert trajectory.orientation(1.045) == (0.0, 0.0, 0.0, 1.0)
    assert not report.rejected
    assert report.lags[0] == pytest.approx(-1.0)


def test_unusable_poses_are_counted():
    reader = PoseReader([BodySettings('u1', 'user', '/a', POSE_STAMPED)], 'map')
    messages = [pose('/a', 1, 10 ** 9, 0.0), pose('/a', 2, 10 ** 9, 0.0),
                pose('/a', 3, 2 * 10 ** 9, float('nan')), pose('/a', 4, 3 * 10 ** 9, 0.0, 'odom'),
                pose('/a', 5, 4 * 10 ** 9, 0.0, w=0.3), pose('/a', 6, 5 * 10 ** 9, 1.0)]
    report = read_trajectories(messages, reader)
    assert report.rejected == {'stamp-regression': 1, 'not-finite': 1, 'unknown-frame': 1,
                               'bad-quaternion': 1}
    assert list(report.trajectories[Role.USER, 'u1'].times) == [1.0, 5.0]


def twisted(time, speed):
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp(time)),
        twist=SimpleNamespace(twist=SimpleNamespace(
            linear=SimpleNamespace(x=speed, y=0.0, z=0.0),
            angular=SimpleNamespace(x=0.0, y=0.0, z=0.5))))


def test_stamps_move_and_velocities_scale_with_the_pace():
    message = twisted(1_000_000_000, 1.0)
    message.tracks = [twisted(1_500_000_001, 2.0)]
    set_stamps(message, shift=70_000_000_000, pace=2.0, origin=500_000_000)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (70, 250_000_000)
    (track,) = message.tracks
    assert (track.header.stamp.sec, track.header.stamp.nanosec) == (70, 500_000_000)
    assert (message.twist.twist.linear.x, track.twist.twist.linear.x) == (2.0, 4.0)
    assert message.twist.twist.angular.z == 1.0


def test_stamps_at_the_recorded_pace_keep_their_distances_exactly():
    message = twisted(1_248_446_242_131_000_003, 1.0)
    set_stamps(message, shift=1_700_000_000_000_000_000, pace=1.0,
               origin=1_248_446_242_131_000_000)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 3)
    assert message.twist.twist.linear.x == 1.0
