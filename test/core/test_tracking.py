"""Track store: prediction, ageing, the filter, and poses that cannot be right."""

from __future__ import annotations

import math
from pathlib import Path
import time

import numpy as np
import pytest

from nf_isac_ros.core import tracking
from nf_isac_ros.core.tracking import (
    ChannelSample,
    ChannelStore,
    PoseSample,
    Role,
    TrackError,
    TrackingSettings,
    TrackState,
    TrackStore,
)

RECORDINGS = Path(__file__).parents[3] / 'shared' / 'data' / 'recordings'


def sample(stamp, position, velocity=None, body='a', role=Role.TARGET, **rest):
    return PoseSample(body, role, stamp, np.asarray(position, dtype=float),
                      None if velocity is None else np.asarray(velocity, dtype=float), **rest)


def feed(store, stamps, positions, **rest):
    for stamp, position in zip(stamps, positions, strict=True):
        store.update([sample(stamp, position, **rest)], stamp)


def batch_estimate(stamps, measured, q, r, first_velocity_variance, velocities=None,
                   velocity_variance=math.nan):
    """
    Position and velocity at the last stamp, by one weighted least-squares problem.

    The states of all stamps are the unknowns; each measurement and each step of the motion model
    is a residual with its covariance. No recursion, hence a second method for the filter.
    """
    n = len(stamps)
    rows, values = [], []

    def add(block, value, covariance):
        root = np.linalg.inv(np.linalg.cholesky(covariance))
        rows.append(root @ block)
        values.append(root @ value)

    for i in range(n):
        block = np.zeros((1, 2 * n))
        block[0, 2 * i] = 1
        add(block, np.array([measured[i]]), np.array([[r]]))
    block = np.zeros((1, 2 * n))
    block[0, 1] = 1
    if velocities is None:
        add(block, np.zeros(1), np.array([[first_velocity_variance]]))
    else:
        for i in range(n):
            block = np.zeros((1, 2 * n))
            block[0, 2 * i + 1] = 1
            add(block, np.array([velocities[i]]), np.array([[velocity_variance]]))
    for i in range(1, n):
        dt = stamps[i] - stamps[i - 1]
        block = np.zeros((2, 2 * n))
        block[:, 2 * i:2 * i + 2] = np.eye(2)
        block[:, 2 * i - 2:2 * i] = -np.array([[1, dt], [0, 1]])
        add(block, np.zeros(2), q * np.array([[dt ** 3 / 3, dt ** 2 / 2], [dt ** 2 / 2, dt]]))
    matrix = np.vstack(rows)
    states = np.linalg.lstsq(matrix, np.concatenate(values), rcond=None)[0]
    covariance = np.linalg.inv(matrix.T @ matrix)[-2:, -2:]
    return states[-2:], covariance


def test_given_velocity_predicts_along_a_straight_line():
    store = TrackStore()
    store.update([sample(10.0, [1, 2, 3], [0.5, -1, 2])], 10.0)
    body, = store.predict(10.2)
    np.testing.assert_allclose(body.position, [1.1, 1.8, 3.4], atol=1e-12)
    assert body.state is TrackState.FRESH
    assert body.age == pytest.approx(0.2)


@pytest.mark.parametrize(('age', 'state', 'travelled'), [
    (-0.03, TrackState.FRESH, -0.03), (0.0, TrackState.FRESH, 0.0), (0.24, TrackState.FRESH, 0.24),
    (0.26, TrackState.HELD, 0.25), (0.49, TrackState.HELD, 0.25),
    (0.51, TrackState.DROPPED, 0.25), (12.0, TrackState.DROPPED, 0.25)])
def test_ageing(age, state, travelled):
    store = TrackStore(TrackingSettings(predict=0.25, drop=0.5))
    store.update([sample(5.0, [0, 0, 0], [1, 0, 0])], 5.0)
    body, = store.predict(5.0 + age)
    assert body.state is state
    np.testing.assert_allclose(body.position, [travelled, 0, 0], atol=1e-12)


def test_filter_equals_batch_least_squares_on_irregular_stamps():
    rng = np.random.default_rng(1)
    stamps = np.cumsum(rng.choice([0.002, 0.016, 0.05, 0.19], size=25))
    measured = 0.3 * stamps[:, None] * [1, -2, 0.5] + rng.normal(scale=0.004, size=(25, 3))
    store = TrackStore()
    feed(store, stamps, measured)
    body, = store.predict(stamps[-1] + 0.1)
    for axis in range(3):
        (position, velocity), covariance = batch_estimate(
            stamps, measured[:, axis], tracking.ACCELERATION_DENSITY,
            tracking.MEASUREMENT_VARIANCE, tracking.INITIAL_VELOCITY_VARIANCE)
        assert body.velocity[axis] == pytest.approx(velocity, abs=1e-9)
        assert body.position[axis] == pytest.approx(position + 0.1 * velocity, abs=1e-9)
        variance = (covariance[0, 0] + 0.2 * covariance[0, 1] + 0.01 * covariance[1, 1]
                    + tracking.ACCELERATION_DENSITY * 0.1 ** 3 / 3)
        assert body.position_covariance[axis, axis] == pytest.approx(variance, rel=1e-6)


def test_given_velocities_are_measurements_of_the_filter():
    rng = np.random.default_rng(4)
    stamps = np.cumsum(rng.choice([0.01, 0.033, 0.1], size=15))
    measured = 0.3 * stamps[:, None] * [1, -2, 0.5] + rng.normal(scale=0.004, size=(15, 3))
    given = [0.3, -0.6, 0.15] + rng.normal(scale=0.5, size=(15, 3))
    store = TrackStore()
    for stamp, position, velocity in zip(stamps, measured, given, strict=True):
        store.update([sample(stamp, position, velocity)], stamp)
    body, = store.predict(stamps[-1])
    for axis in range(3):
        (position, velocity), covariance = batch_estimate(
            stamps, measured[:, axis], tracking.ACCELERATION_DENSITY,
            tracking.MEASUREMENT_VARIANCE, math.nan, given[:, axis],
            tracking.GIVEN_VELOCITY_VARIANCE)
        assert body.velocity[axis] == pytest.approx(velocity, abs=1e-9)
        assert body.position[axis] == pytest.approx(position, abs=1e-9)
        assert body.position_covariance[axis, axis] == pytest.approx(covariance[0, 0], rel=1e-6)


def test_wrong_given_velocity_does_not_win_over_the_poses():
    store = TrackStore()
    for stamp in np.arange(0, 3, 1 / 30):
        store.update([sample(stamp, [2.4 * stamp, 0, 0], [1.4, 0, 0])], stamp)
    body, = store.predict(3.0)
    assert body.velocity[0] == pytest.approx(2.4, abs=0.1)
    assert store.jumps == 0


def test_velocity_of_uniform_motion_is_found():
    store = TrackStore()
    stamps = np.arange(0, 2, 1 / 60)
    feed(store, stamps, stamps[:, None] * [1.5, -0.2, 0.0])
    body, = store.predict(stamps[-1] + 0.2)
    np.testing.assert_allclose(body.velocity, [1.5, -0.2, 0], atol=1e-3)
    np.testing.assert_allclose(body.position, (stamps[-1] + 0.2) * np.array([1.5, -0.2, 0]),
                               atol=1e-3)


def test_stationary_body_with_millimetre_noise_stays_where_it_is():
    rng = np.random.default_rng(2)
    store = TrackStore()
    errors = []
    for stamp in np.arange(0, 60, 0.01):
        store.update([sample(stamp, [2, 3, 0.5] + rng.normal(scale=1e-3, size=3))], stamp)
        body, = store.predict(stamp + 0.25)
        errors.append(np.linalg.norm(body.position - [2, 3, 0.5]))
        assert np.linalg.eigvalsh(body.position_covariance).min() > 0
    assert np.quantile(errors[100:], 0.99) < 15e-3
    assert store.jumps == 0


def test_gap_of_190_ms_is_bridged():
    store = TrackStore()
    stamps = np.concatenate([np.arange(0, 1, 1 / 60), np.arange(1.19, 1.3, 1 / 60)])
    for stamp in stamps:
        store.update([sample(stamp, [0.4 * stamp, 0, 0])], stamp)
        body, = store.predict(stamp + 0.05)
        if stamp > 0.2:
            assert body.state is TrackState.FRESH
            assert abs(body.position[0] - 0.4 * (stamp + 0.05)) < 2e-3


def test_unsynchronised_bodies_are_predicted_to_one_time():
    store = TrackStore()
    store.update([sample(1.000, [0, 0, 0], [1, 0, 0], 'a')], 1.0)
    store.update([sample(1.013, [0, 0, 0], [1, 0, 0], 'b', Role.USER)], 1.013)
    store.update([sample(1.007, [0, 0, 0], [1, 0, 0], 'c')], 1.014)
    found = {body.id: body.position[0] for body in store.predict(1.1)}
    assert found == pytest.approx({'a': 0.1, 'b': 0.087, 'c': 0.093})


def test_order_is_targets_then_users_by_id_whatever_came_first():
    store = TrackStore()
    for body, role in (('b', Role.USER), ('z', Role.TARGET), ('a', Role.USER), ('b', Role.TARGET)):
        store.update([sample(1.0, [0, 0, 0], body=body, role=role)], 1.0)
    assert [(body.role, body.id) for body in store.predict(1.0)] == [
        (Role.TARGET, 'b'), (Role.TARGET, 'z'), (Role.USER, 'a'), (Role.USER, 'b')]


def test_attributes_of_the_newest_pose_are_passed_on():
    store = TrackStore()
    store.update([sample(1.0, [0, 0, 0], reflection=1 + 2j, min_sinr_db=7.0, kind='extended',
                         contour='car', size_scale=1.5, orientation_xyzw=(0, 0, 0, 1))], 1.0)
    body, = store.predict(1.1)
    assert (body.reflection, body.min_sinr_db, body.kind, body.contour, body.size_scale) == (
        1 + 2j, 7.0, 'extended', 'car', 1.5)
    assert body.orientation_xyzw == (0, 0, 0, 1)


def test_given_covariance_is_kept_and_grows_with_age():
    covariance = np.diag([0.01, 0.04, 0.09])
    store = TrackStore()
    store.update([sample(1.0, [0, 0, 0], [0, 0, 0], position_covariance=covariance)], 1.0)
    now, later = store.predict(1.0)[0], store.predict(1.2)[0]
    np.testing.assert_allclose(now.position_covariance, covariance, atol=1e-12)
    growth = (tracking.GIVEN_VELOCITY_VARIANCE * 0.2 ** 2
              + tracking.ACCELERATION_DENSITY * 0.2 ** 3 / 3)
    np.testing.assert_allclose(later.position_covariance, covariance + growth * np.eye(3),
                               atol=1e-12)


def test_jump_of_a_metre_restarts_the_filter_and_is_counted():
    store = TrackStore()
    stamps = np.arange(0, 1, 1 / 60)
    feed(store, stamps, stamps[:, None] * [0.5, 0, 0])
    feed(store, stamps + 1, [0, 1, 0] + (stamps + 1)[:, None] * [0.5, 0, 0])
    assert store.jumps == 1
    body, = store.predict(2.1)
    np.testing.assert_allclose(body.position, [1.05, 1, 0], atol=2e-3)


def test_jump_is_not_taken_for_speed():
    store = TrackStore()
    feed(store, [0, 0.016, 0.032], [[0, 0, 0]] * 3)
    store.update([sample(0.048, [1, 0, 0])], 0.048)
    np.testing.assert_allclose(store.predict(0.248)[0].position, [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize('rate', [10, 30, 60])
def test_fast_body_is_not_taken_for_a_jump(rate):
    store = TrackStore()
    stamps = np.arange(0, 1, 1 / rate)
    feed(store, stamps, stamps[:, None] * [25, 0, 0])
    assert store.jumps == 0
    np.testing.assert_allclose(store.predict(1.0)[0].position, [25, 0, 0], atol=0.05)


def test_long_gap_restarts_without_a_jump():
    store = TrackStore()
    feed(store, [0, 0.1, 0.2], [[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]])
    store.update([sample(12.2, [5, 5, 0])], 12.2)
    body, = store.predict(12.3)
    np.testing.assert_array_equal(body.position, [5, 5, 0])
    assert body.state is TrackState.FRESH
    assert store.jumps == 0


def test_repeated_pose_is_passed_over():
    store = TrackStore()
    feed(store, [0, 0.1, 0.2], [[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]])
    before = store.predict(0.3)
    assert store.update([sample(0.2, [0.2, 0, 0])], 0.25) == 0
    after = store.predict(0.3)
    np.testing.assert_array_equal(before[0].position, after[0].position)
    np.testing.assert_array_equal(before[0].velocity, after[0].velocity)


@pytest.mark.parametrize(('samples', 'reason'), [
    ([sample(1.0, [1, 0, 0], body='b')] * 2, 'duplicate-id'),
    ([sample(1.1, [1, 0, 0], body='b'), sample(1.2, [1, 0, 0], body='b')], 'duplicate-id'),
    ([sample(1.1, [1, 0, 0], body='b'), sample(1.5, [0, 0, 0])], 'future-stamp'),
    ([sample(1.1, [1, 0, 0], body='b'), sample(0.9, [0, 0, 0])], 'stamp-regression'),
    ([sample(1.1, [1, 0, 0], body='b'), sample(1.0, [0, 0, 1])], 'stamp-conflict'),
    ([sample(1.1, [1, 0, 0], body=str(i)) for i in range(tracking.MAX_BODIES)],
     'too-many-bodies'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_impossible_message_is_rejected_whole(samples, reason):
    store = TrackStore()
    store.update([sample(1.0, [0, 0, 0], [1, 0, 0])], 1.0)
    with pytest.raises(TrackError) as caught:
        store.update(samples, 1.2)
    assert caught.value.reason == reason
    body, = store.predict(1.1)
    np.testing.assert_allclose(body.position, [0.1, 0, 0], atol=1e-12)


def test_one_id_may_be_a_target_and_a_user():
    store = TrackStore()
    store.update([sample(1.0, [0, 0, 0]), sample(1.0, [1, 0, 0], role=Role.USER)], 1.0)
    assert [body.role for body in store.predict(1.0)] == [Role.TARGET, Role.USER]


@pytest.mark.parametrize(('change', 'reason'), [
    ({'position': [0, math.nan, 0]}, 'not-finite'),
    ({'position': [0, math.inf, 0]}, 'not-finite'),
    ({'position': [0, 0]}, 'not-finite'),
    ({'velocity': [0, math.nan, 0]}, 'not-finite'),
    ({'stamp': math.nan}, 'not-finite'),
    ({'position_covariance': np.full((3, 3), math.nan)}, 'not-finite'),
    ({'position_covariance': -np.eye(3)}, 'bad-covariance'),
    ({'orientation_xyzw': (0, 0, 0, math.nan)}, 'not-finite'),
    ({'reflection': complex(math.nan, 0)}, 'not-finite'),
    ({'min_sinr_db': math.inf}, 'not-finite'),
    ({'size_scale': 0.0}, 'bad-size'),
    ({'size_scale': math.nan}, 'not-finite'),
    ({'kind': 'cloud'}, 'bad-kind'),
    ({'body': ''}, 'empty-id'),
])
def test_value_that_cannot_be(change, reason):
    with pytest.raises(TrackError) as caught:
        sample(**({'stamp': 1.0, 'position': [0, 0, 0]} | change))
    assert caught.value.reason == reason


@pytest.mark.parametrize(('predict', 'drop', 'skew'), [
    (0.5, 0.25, 0.05), (-0.1, 0.5, 0.05), (math.nan, 0.5, 0.05), (0.2, math.inf, 0.05),
    (0.2, 0.5, -1.0)])
def test_settings_that_cannot_be(predict, drop, skew):
    with pytest.raises(TrackError):
        TrackingSettings(predict, drop, skew)


def test_clock_that_jumps_back_forgets_everything():
    store = TrackStore()
    store.update([sample(100.0, [0, 0, 0])], 100.0)
    assert store.advance(99.0)
    assert store.predict(99.0) == ()
    store.update([sample(99.1, [1, 0, 0])], 99.1)
    np.testing.assert_array_equal(store.predict(99.1)[0].position, [1, 0, 0])
    assert store.clock_jumps == 1
    store.update([sample(50.0, [2, 0, 0])], 50.0)   # a message may be the first to tell
    assert store.clock_jumps == 2
    assert store.predict(50.0)[0].stamp == 50.0


def test_clock_that_goes_back_a_little_forgets_nothing():
    store = TrackStore()
    store.update([sample(100.0, [0, 0, 0])], 100.0)
    assert not store.advance(99.96)
    assert len(store.predict(100.0)) == 1


def test_dropped_body_is_reported_for_a_while_and_then_forgotten():
    store = TrackStore()
    store.update([sample(0.0, [0, 0, 0])], 0.0)
    store.advance(0.9 * tracking.FORGET_AFTER)
    assert [body.state for body in store.predict(54.0)] == [TrackState.DROPPED]
    store.advance(1.1 * tracking.FORGET_AFTER)
    assert store.predict(66.0) == ()


def test_source_that_repeats_an_old_pose_stays_reported():
    store = TrackStore()
    for now in (0.0, 50.0, 100.0, 150.0):
        store.update([sample(0.0, [0, 0, 0])], now)
    assert [body.state for body in store.predict(160.0)] == [TrackState.DROPPED]


def test_channels_age_like_poses():
    store = ChannelStore(TrackingSettings(predict=0.2, drop=0.5))
    for user, stamp in (('c', 1.0), ('b', 1.4), ('a', 1.59)):
        store.update([ChannelSample(user, stamp, np.ones(3, complex))], stamp)
    assert [(known.sample.id, known.state) for known in store.at(1.65)] == [
        ('a', TrackState.FRESH), ('b', TrackState.HELD), ('c', TrackState.DROPPED)]


@pytest.mark.parametrize(('samples', 'reason'), [
    ([('b', 1.1), ('b', 1.1)], 'duplicate-id'),
    ([('b', 1.1), ('a', 9.0)], 'future-stamp'),
    ([('b', 1.1), ('a', 0.9)], 'stamp-regression'),
    ([(str(i), 1.1) for i in range(tracking.MAX_BODIES)], 'too-many-bodies'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_impossible_channels_are_rejected_whole(samples, reason):
    store = ChannelStore()
    store.update([ChannelSample('a', 1.0, np.ones(3, complex))], 1.0)
    with pytest.raises(TrackError) as caught:
        store.update([ChannelSample(user, stamp, np.ones(3, complex))
                      for user, stamp in samples], 1.2)
    assert caught.value.reason == reason
    assert [known.sample.id for known in store.at(1.2)] == ['a']


@pytest.mark.parametrize(('channel', 'reason'), [
    (np.zeros(3), 'no-channel'), (np.array([1, math.nan]), 'not-finite')])
def test_channel_that_cannot_be(channel, reason):
    with pytest.raises(TrackError) as caught:
        ChannelSample('a', 1.0, channel)
    assert caught.value.reason == reason


def test_bodies_are_in_step_when_their_newest_poses_are_of_one_time():
    store = TrackStore(TrackingSettings(predict=0.2, drop=0.5))
    assert not store.in_step
    store.update([sample(1.0, [0, 0, 0], body='a'), sample(1.0, [1, 0, 0], body='b')], 1.0)
    assert store.in_step
    store.update([sample(1.1, [0, 0, 0], body='a')], 1.1)
    assert not store.in_step
    store.update([sample(1.1, [0, 1, 0], body='b')], 1.1)
    assert store.in_step
    # A body that is not designed for any more is not waited for.
    store.update([sample(1.7, [0, 0, 0], body='a')], 1.7)
    assert store.in_step


def test_channels_that_are_known_already_are_no_news():
    store, channel = ChannelStore(), np.ones(4)
    assert store.update([ChannelSample('a', 1.0, channel)], 1.0) == 1
    assert store.update([ChannelSample('a', 1.0, channel)], 1.1) == 0
    assert store.update(
        [ChannelSample('a', 1.2, channel), ChannelSample('b', 1.0, channel)], 1.2) == 2



def test_prediction_of_ten_bodies_is_fast():
    store = TrackStore()
    for stamp in (0.0, 0.1, 0.2):
        store.update([sample(stamp, [stamp, 0, 0], body=str(i)) for i in range(10)], stamp)
    durations = []
    for _ in range(50):
        start = time.perf_counter()
        store.predict(0.3)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.3e-3


@pytest.mark.parametrize(('recording', 'seconds', 'bounds'), [
    # Ahead [s]: largest 50 % and 90 % quantile of the error [m], and the part of the error of
    # the last pose that the 50 % quantile may reach.
    ('mrclam7_5robots_vicon', 30.0,
     {0.05: (2e-3, 4e-3, 0.6), 0.1: (3e-3, 6e-3, 0.5), 0.2: (5e-3, 10e-3, 0.4)}),
    ('citr_bidirection_normal_driving_01', 12.0,
     {0.05: (8e-3, 15e-3, 0.15), 0.1: (16e-3, 30e-3, 0.15), 0.2: (35e-3, 60e-3, 0.15)}),
])
def test_prediction_of_recorded_motion(recording, seconds, bounds):
    folder = RECORDINGS / recording
    if not folder.is_dir():
        pytest.skip(f'no recording at {folder}')
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    poses = {}
    with AnyReader([folder], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        stop = reader.start_time + int(seconds * 1e9)
        for connection, _, raw in reader.messages(stop=stop):
            message = reader.deserialize(raw, connection.msgtype)
            pose = getattr(message.pose, 'pose', message.pose)
            stamp = message.header.stamp
            poses.setdefault(connection.topic, []).append((
                stamp.sec - reader.start_time // 10 ** 9 + stamp.nanosec * 1e-9,
                pose.position.x, pose.position.y, pose.position.z))
    predicted = {ahead: [] for ahead in bounds}
    held = {ahead: [] for ahead in bounds}
    for rows in poses.values():
        table = np.array(rows)
        stamps, positions = table[:, 0], table[:, 1:]
        store = TrackStore()
        for index, stamp in enumerate(stamps):
            store.update([sample(stamp, positions[index])], stamp)
            for ahead in bounds:
                after = np.searchsorted(stamps, stamp + ahead)
                # The truth in between two poses is known only where they are close together.
                if (index < 10 or after == len(stamps)
                        or stamps[after] - stamps[after - 1] > 0.04):
                    continue
                truth = [np.interp(stamp + ahead, stamps[after - 1:after + 1],
                                   positions[after - 1:after + 1, axis]) for axis in range(3)]
                body, = store.predict(stamp + ahead)
                predicted[ahead].append(np.linalg.norm(body.position - truth))
                held[ahead].append(np.linalg.norm(positions[index] - truth))
        assert store.jumps == 0
    for ahead, (half, most, share) in bounds.items():
        assert len(predicted[ahead]) > 1000
        assert np.quantile(predicted[ahead], 0.5) < half
        assert np.quantile(predicted[ahead], 0.9) < most
        assert np.quantile(predicted[ahead], 0.5) < share * np.quantile(held[ahead], 0.5)
