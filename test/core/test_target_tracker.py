import numpy as np
import pytest

from nf_isac_ros.core.localisation.localiser import EchoState
from nf_isac_ros.core.localisation.tracker import (
    Detection,
    TargetTracker,
    TrackerError,
    TrackerSettings,
)

DETECTED, LOST, NEW = EchoState.DETECTED, EchoState.LOST, EchoState.NEW
STEP = 0.02
COVARIANCE = np.diag([1e-6, 1e-4, 1e-6])


def started(**settings) -> TargetTracker:
    tracker = TargetTracker(TrackerSettings(**settings))
    tracker.advance(0.0)
    tracker.start(Detection('t1', np.zeros(3), 1e-4 * np.eye(3)), 0.0)
    return tracker


def look(tracker, time, *looks):
    tracker.advance(time)
    tracker.update(time, looks)


def detection(position, name='t1', covariance=COVARIANCE):
    return Detection(name, np.asarray(position, dtype=float), covariance)


def test_estimate_is_that_of_weighted_least_squares():
    """Without acceleration a constant-velocity filter is a straight line through the estimates."""
    tracker = started(acceleration_density=1e-12, initial_speed=1e3)
    rng, velocity = np.random.default_rng(1), np.array([1.0, -2.0, 0.5])
    times = STEP * np.arange(1, 11)
    rows, right, weights = [np.array([1.0, 0.0])], [np.zeros(3)], [1e-4]
    for i, time in enumerate(times):
        variance = 1e-6 * (1 + i)
        place = velocity * time + np.sqrt(variance) * rng.standard_normal(3)
        look(tracker, time, (DETECTED, detection(place, covariance=variance * np.eye(3))))
        rows.append(np.array([1.0, time]))
        right.append(place)
        weights.append(variance)
    root = 1 / np.sqrt(weights)
    line = np.linalg.lstsq(np.array(rows) * root[:, None], np.array(right) * root[:, None],
                           rcond=None)[0]
    found = tracker.tracks(times[-1])[0]
    np.testing.assert_allclose(found.velocity, line[1], atol=1e-4)
    np.testing.assert_allclose(found.position, line[0] + line[1] * times[-1], atol=1e-6)


def test_errors_fit_the_covariance():
    """Monte Carlo along random accelerations of the density that the filter believes in."""
    rng, scores = np.random.default_rng(2), []
    for _ in range(40):
        tracker = started(acceleration_density=2.0, initial_speed=1.0)
        state = np.concatenate([0.01 * rng.standard_normal(3), rng.standard_normal(3)])
        for i in range(1, 31):
            noise = np.sqrt(2.0) * np.linalg.cholesky(
                [[STEP ** 3 / 3, STEP ** 2 / 2], [STEP ** 2 / 2, STEP]]) @ rng.standard_normal(
                    (2, 3))
            state = np.concatenate([state[:3] + STEP * state[3:] + noise[0], state[3:] + noise[1]])
            look(tracker, i * STEP, (DETECTED, detection(
                state[:3] + np.sqrt(np.diag(COVARIANCE)) * rng.standard_normal(3))))
        found = tracker.tracks(30 * STEP)[0]
        error = np.concatenate([found.position, found.velocity]) - state
        scores.append(error @ np.linalg.solve(found.covariance, error))
    # Chi-square of six degrees of freedom, 40 times: standard deviation of the mean 0.55.
    assert np.mean(scores) == pytest.approx(6.0, abs=2.2)


def test_uncertain_direction_moves_the_track_less():
    tracker = started()
    look(tracker, STEP, (DETECTED, detection(
        [0.01, 0.01, 0.01], covariance=np.diag([1e-8, 1.0, 1e-8]))))
    position = tracker.tracks(STEP)[0].position
    assert position[0] == pytest.approx(0.01, abs=1e-4)
    assert abs(position[1]) < 1e-4


def test_estimate_outside_the_gate_does_not_count():
    tracker = started()
    look(tracker, STEP, (DETECTED, detection([0.0, 0.0, 0.0])))
    look(tracker, 2 * STEP, (DETECTED, detection([1.0, 0.0, 0.0])))
    assert tracker.counts['outside-gate'] == 1
    assert np.linalg.norm(tracker.tracks(2 * STEP)[0].position) < 0.01


def test_track_begins_anew_where_the_estimates_insist():
    tracker = started(restart_after=3)
    for i in range(1, 5):
        look(tracker, i * STEP, (DETECTED, detection([1.0, 0.0, 0.0])))
    assert tracker.counts['restarted'] == 1
    np.testing.assert_allclose(tracker.tracks(4 * STEP)[0].position, [1.0, 0.0, 0.0], atol=0.02)


def test_track_coasts_and_is_dropped():
    tracker = started(coast=0.5)
    for i in range(1, 5):
        look(tracker, i * STEP, (DETECTED, detection([i * STEP, 0.0, 0.0])))
    look(tracker, 0.4, (LOST, detection([np.nan] * 3)))
    found = tracker.tracks(0.4)[0]
    assert found.position[0] == pytest.approx(0.4, abs=0.05)
    assert found.covariance[0, 0] > 100 * tracker.tracks(4 * STEP)[0].covariance[0, 0]
    assert tracker.advance(0.7) == ('t1',)
    assert not tracker.tracks(0.7)
    assert tracker.counts['dropped'] == 1


def test_new_target_is_confirmed_by_hits():
    tracker = TargetTracker(TrackerSettings(confirm_hits=3, confirm_looks=5))
    look(tracker, STEP, (NEW, detection([1.0, 2.0, 3.0], '')))
    track = tracker.tracks(STEP)[0]
    assert (track.id, track.confirmed) == ('new-1', False)
    look(tracker, 2 * STEP, (DETECTED, detection([1.0, 2.0, 3.0], 'new-1')))
    assert not tracker.tracks(2 * STEP)[0].confirmed
    look(tracker, 3 * STEP, (DETECTED, detection([1.0, 2.0, 3.0], 'new-1')))
    assert tracker.tracks(3 * STEP)[0].confirmed


def test_new_target_that_is_not_seen_again_is_forgotten():
    tracker = TargetTracker(TrackerSettings(confirm_hits=3, confirm_looks=5))
    look(tracker, STEP, (NEW, detection([1.0, 2.0, 3.0], '')))
    for i in range(2, 6):
        look(tracker, i * STEP, (LOST, detection([0.0] * 3, 'new-1')))
    tracker.advance(6 * STEP)
    assert not tracker.tracks(6 * STEP)
    assert tracker.counts['not-confirmed'] == 1


def test_lost_target_that_is_found_again_keeps_its_id():
    tracker = started()
    look(tracker, STEP, (LOST, detection([0.0] * 3)), (NEW, detection([0.02, 0.0, 0.0], '')))
    assert [track.id for track in tracker.tracks(STEP)] == ['t1']
    assert tracker.counts['found-again'] == 1


def test_new_target_where_a_known_one_is_started_is_that_one():
    tracker = TargetTracker()
    tracker.advance(3 * STEP)
    look(tracker, STEP, (NEW, detection([1.0, 2.0, 3.0], '')), (NEW, detection([9.0] * 3, '')))
    for i in (2, 3):
        look(tracker, i * STEP, *((DETECTED, detection(place, name)) for name, place in (
            ('new-1', [1.0, 2.0, 3.0]), ('new-2', [9.0] * 3))))
    sure = tracker.tracks(3 * STEP)[0].covariance
    start = Detection('t1', np.array([1.0, 2.05, 3.0]), 0.05 ** 2 * np.eye(3))
    assert tracker.start(start, 3 * STEP)
    found = {track.id: track for track in tracker.tracks(3 * STEP)}
    assert sorted(found) == ['new-2', 't1']
    # What its echoes said is worth more than the start.
    np.testing.assert_allclose(found['t1'].position, [1.0, 2.0, 3.0], atol=1e-3)
    np.testing.assert_allclose(found['t1'].covariance, sure)
    assert not tracker.start(Detection('t2', np.full(3, 5.0), 0.05 ** 2 * np.eye(3)), 3 * STEP)
    assert len(tracker.tracks(3 * STEP)) == 3


def test_echoes_from_before_the_start_count():
    """A track that was started after the echo: least squares over both, in whatever order."""
    tracker = TargetTracker(TrackerSettings(acceleration_density=1e-9))
    tracker.advance(1.0)
    tracker.start(Detection('t1', np.array([1.0, 0.0, 0.0]), 1e-4 * np.eye(3),
                            velocity=np.array([2.0, 0.0, 0.0])), 1.0)
    tracker.update(0.8, [(DETECTED, detection([0.61, 0.01, 0.0], covariance=1e-4 * np.eye(3)))])
    found, = tracker.tracks(1.0)
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -0.2]])   # of position and velocity at 1 s
    root = np.array([1e2, 1 / TrackerSettings().start_speed_error, 1e2])
    right = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.61, 0.01, 0.0]])
    state = np.linalg.lstsq(rows * root[:, None], right * root[:, None], rcond=None)[0]
    np.testing.assert_allclose([found.position, found.velocity], state, atol=1e-6)
    covariance = np.linalg.inv((rows * root[:, None]).T @ (rows * root[:, None]))
    np.testing.assert_allclose(found.covariance, np.kron(covariance, np.eye(3)), atol=1e-7)


def test_noise_of_the_past_is_that_of_the_future():
    """Before its own time a track is as uncertain as after it."""
    tracker = started(acceleration_density=2.0)
    past, future = tracker.tracks(-0.5)[0].covariance, tracker.tracks(0.5)[0].covariance
    np.testing.assert_allclose(past[:3, :3], future[:3, :3])
    np.testing.assert_allclose(past[:3, 3:], -future[:3, 3:])
    assert np.linalg.eigvalsh(past)[0] > 0


def test_echo_that_does_not_tell_the_range_is_no_look():
    tracker = started()
    look(tracker, STEP, (DETECTED, detection([0.0] * 3, covariance=np.full((3, 3), np.inf))))
    assert tracker.counts['not-localisable'] == 1
    assert tracker.tracks(STEP)[0].seen == 0.0


@pytest.mark.parametrize(('stamp', 'bad', 'reason'), [
    (1.0, detection([0.0] * 3), 'future-stamp'), (-0.1, detection([0.0] * 3), 'stamp-regression'),
    (np.nan, detection([0.0] * 3), 'future-stamp'),
    (2 * STEP, detection([np.nan, 0.0, 0.0]), 'not-finite'),
    (2 * STEP, detection([0.0] * 3, covariance=np.full((3, 3), np.nan)), 'not-finite'),
    (2 * STEP, detection([0.0] * 3, covariance=np.diag([-1.0, 1.0, 1.0])), 'bad-covariance'),
    (2 * STEP, detection([0.0] * 3, covariance=np.triu(np.ones((3, 3)))), 'bad-covariance')],
    ids=['future', 'past', 'nan-stamp', 'nan', 'nan-covariance', 'negative', 'asymmetric'])
def test_message_that_cannot_be_changes_nothing(stamp, bad, reason):
    tracker = started()
    look(tracker, STEP, (DETECTED, detection([0.0] * 3)))
    before = tracker.tracks(2 * STEP)[0]
    tracker.advance(2 * STEP)
    with pytest.raises(TrackerError) as caught:
        tracker.update(stamp, [(DETECTED, detection([0.001, 0.0, 0.0])), (NEW, bad)])
    assert caught.value.reason == reason
    after = tracker.tracks(2 * STEP)
    assert len(after) == 1
    np.testing.assert_array_equal(after[0].position, before.position)


def test_clock_that_goes_back_makes_tracks_void():
    tracker = started()
    tracker.advance(10.0)
    tracker.start(detection([0.0] * 3), 10.0)
    assert tracker.advance(5.0) == ('t1',)
    assert tracker.counts['clock-jump'] == 1
    look(tracker, 5.0 + STEP, (NEW, detection([0.0] * 3, '')))
    assert len(tracker.tracks(5.0 + STEP)) == 1


def test_noise_does_not_fill_the_memory():
    tracker = TargetTracker()
    rng = np.random.default_rng(3)
    look(tracker, STEP, *[(NEW, detection(rng.uniform(-100, 100, 3), '')) for _ in range(100)])
    assert len(tracker.tracks(STEP)) == 64
    assert tracker.counts['too-many-tracks'] == 36


@pytest.mark.parametrize('changes', [
    {'acceleration_density': 0.0}, {'coast': np.inf}, {'gate_probability': 1.0},
    {'confirm_hits': 6}, {'restart_after': 0}], ids=lambda changes: next(iter(changes)))
def test_settings_that_cannot_be(changes):
    with pytest.raises(TrackerError):
        TrackerSettings(**changes)
