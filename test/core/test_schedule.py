"""When cycles begin, played through on clocks that the test owns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nf_isac_ros.core.schedule import BURST, LONGEST, PATIENCE, QUIET, CycleSchedule

PERIOD = 0.01
START = 1000.0
# The steady clock counts from somewhere else.
STEADY = 50.0


def play(schedule, arrivals=(), until=1.0, work=0.0, together=True, step=1e-4):
    """Begin cycles when they are due; times since the start of each, and what they said."""
    begun, arrivals, free = [], sorted(arrivals), 0.0
    for tick in range(round(until / step)):
        now = tick * step
        while arrivals and arrivals[0] <= now + 1e-9:
            schedule.arrived(START + now, STEADY + now, together)
            arrivals.pop(0)
        if now >= free - 1e-9 and schedule.wait(START + now, STEADY + now) <= 1e-9:
            if begun:
                schedule.ended(START + free)
            begun.append((now, schedule.begin(START + now, STEADY + now)))
            free = now + work
    return begun


def times(begun):
    return np.array([now for now, _ in begun])


@pytest.mark.parametrize('on_poses', [True, False], ids=['pose', 'timer'])
def test_without_poses_a_cycle_begins_every_period(on_poses):
    begun = play(CycleSchedule(PERIOD, on_poses, START))
    np.testing.assert_allclose(times(begun), np.arange(1, len(begun) + 1) * PERIOD, atol=2e-4)
    assert len(begun) in (99, 100)
    assert all(b.waited == 0 and b.lost == 0 for _, b in begun)


def test_the_clock_alone_takes_no_notice_of_poses():
    arrivals = np.arange(0.003, 1.0, 0.007)
    np.testing.assert_array_equal(
        times(play(CycleSchedule(PERIOD, False, START), arrivals)),
        times(play(CycleSchedule(PERIOD, False, START))))


@pytest.mark.parametrize('interval', [0.0101, 0.012, 0.0149])
def test_poses_a_little_slower_than_the_rate_begin_all_cycles_but_a_few(interval):
    arrivals = np.arange(0.003, 2.0, interval)
    begun = times(play(CycleSchedule(PERIOD, True, START), arrivals, until=2.0))
    waits = [begun[begun >= at - 1e-9][0] - at for at in arrivals[:-1]]
    assert max(waits) < 3e-4
    # Those that the clock begins in between are at least as far from it as the rate allows.
    assert len(begun) <= 2.0 / PERIOD + 1


def test_slow_poses_begin_cycles_and_the_clock_fills_in():
    arrivals = np.arange(0.005, 2.0, 0.0667)
    begun = times(play(CycleSchedule(PERIOD, True, START), arrivals, until=2.0))
    for at in arrivals[:-1]:
        assert np.min(np.abs(begun - at)) < 3e-4
    assert np.max(np.diff(begun)) <= LONGEST * PERIOD + 3e-4


def test_poses_in_clumps_begin_cycles_at_once_but_no_more_than_the_rate_on_the_mean():
    # Two clumps 2 ms apart every 21 ms: the second must not wait for its turn.
    arrivals = np.sort(np.concatenate([np.arange(0.005, 3.0, 0.021),
                                       np.arange(0.007, 3.0, 0.021)]))
    begun = times(play(CycleSchedule(PERIOD, True, START), arrivals, until=3.0))
    for at in arrivals[:-1]:
        assert np.min(np.abs(begun - at)) < 3e-4
    # Ten times as many poses as cycles: held to the rate, but for the first burst.
    begun = times(play(CycleSchedule(PERIOD, True, START), np.arange(0.0, 3.0, 0.001), until=3.0))
    assert len(begun) <= 3.0 / PERIOD + BURST + 1
    for window in (0.1, 0.5):
        most = max(np.sum((begun >= at) & (begun < at + window)) for at in begun)
        assert most <= window / PERIOD + BURST + 1
    assert np.max(np.diff(begun)) <= LONGEST * PERIOD + 3e-4


def test_poses_that_belong_together_are_waited_for():
    alone = play(CycleSchedule(1.0, True, START), [0.1], 0.2, together=False)
    assert alone[0][0] - 0.1 == pytest.approx(QUIET, abs=2e-4)
    clump = 0.1 + np.arange(5) * 0.5 * QUIET
    (began, beginning), = play(CycleSchedule(1.0, True, START), clump, 0.2, together=False,
                               step=2e-5)
    assert began - clump[-1] == pytest.approx(QUIET, abs=1e-4)
    assert beginning.waited == pytest.approx(began - clump[0], abs=1e-4)
    # A stream without a pause does not hold the cycle up for ever.
    began, _ = play(CycleSchedule(1.0, True, START), 0.1 + np.arange(100) * 0.5 * QUIET, 0.2,
                    together=False, step=2e-5)[0]
    assert began - 0.1 == pytest.approx(PATIENCE, abs=1e-4)
    # The poses of all bodies are of one time: nothing to wait for.
    assert play(CycleSchedule(1.0, True, START), [0.1], 0.2, together=True)[0][0] == (
        pytest.approx(0.1, abs=2e-4))


@pytest.mark.parametrize('on_poses', [True, False], ids=['pose', 'timer'])
def test_slow_cycles_lose_periods_and_tell_how_many(on_poses):
    arrivals = np.arange(0.0, 1.0, 0.005)
    begun = play(CycleSchedule(PERIOD, on_poses, START), arrivals, work=0.047)
    starts = times(begun)
    assert np.all(np.diff(starts) >= 0.047 - 1e-6)
    lost = sum(beginning.lost for _, beginning in begun)
    # About as many as there were periods without a beginning.
    assert lost == pytest.approx(1.0 / PERIOD - len(begun), rel=0.15)
    quick = play(CycleSchedule(PERIOD, on_poses, START), arrivals, work=0.004)
    assert sum(beginning.lost for _, beginning in quick) == 0


@pytest.mark.parametrize('on_poses', [True, False], ids=['pose', 'timer'])
def test_a_clock_that_goes_back_begins_anew_and_one_that_goes_ahead_begins_once(on_poses):
    schedule = CycleSchedule(PERIOD, on_poses, START)
    schedule.arrived(START, STEADY, True)
    assert schedule.wait(START - 100.0, STEADY) == pytest.approx(PERIOD)
    assert schedule.wait(START - 100.0 + PERIOD, STEADY) <= 1e-9
    schedule.begin(START - 100.0 + PERIOD, STEADY)
    assert schedule.wait(START + 100.0, STEADY) <= 0
    assert schedule.begin(START + 100.0, STEADY).lost == 0   # nobody was at work
    assert schedule.wait(START + 100.0, STEADY) > 0


def test_a_clock_that_stands_still_begins_no_more_than_the_burst():
    schedule = CycleSchedule(PERIOD, True, START)
    begun = 0
    for i in range(100):
        steady = STEADY + i * PERIOD
        schedule.arrived(START, steady, True)
        if schedule.wait(START, steady) <= 0:
            schedule.begin(START, steady)
            begun += 1
    assert 0 < begun <= BURST + 1


def test_jitter_of_the_poses_does_not_make_the_clock_cut_in():
    rng = np.random.default_rng(1)
    arrivals = np.arange(0.005, 5.0, PERIOD * 1.001)
    arrivals = np.sort(arrivals + rng.normal(0.0, 0.1 * PERIOD, len(arrivals)))
    begun = times(play(CycleSchedule(PERIOD, True, START), arrivals, until=5.0))
    delays = np.array([begun[begun >= at - 1e-9][0] - at for at in arrivals[:-1]])
    assert np.mean(delays < 3e-4) > 0.98
    assert all(b - a > 0 for a, b in pairwise(begun))
