"""The thread of the design cycles."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

from rclpy.clock import ClockType, ROSClock  # noqa: E402
from rclpy.time import Time  # noqa: E402

from nf_isac_ros.core.schedule import CycleSchedule  # noqa: E402
from nf_isac_ros.nodes.cycle_thread import CycleThread  # noqa: E402

LONG = 3600.0


def seconds(clock):
    return clock.now().nanoseconds * 1e-9


def wait_until(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def test_poses_that_come_during_a_cycle_begin_one_more():
    clock = ROSClock()
    begun, go, done = threading.Event(), threading.Event(), []

    def work(beginning):
        begun.set()
        assert go.wait(5.0)
        done.append(beginning)

    thread = CycleThread(clock, CycleSchedule(LONG, True, seconds(clock)), work, 'test')
    thread.arrived(together=True)
    assert begun.wait(5.0)
    for _ in range(3):
        thread.arrived(together=True)
    go.set()
    wait_until(lambda: len(done) == 2)
    assert thread.stop(5.0)
    assert len(done) == 2
    # The first began for poses that were there at once; the second waited for the first.
    assert done[1].waited > 0


def test_a_new_schedule_counts_at_once():
    clock, done = ROSClock(), []
    thread = CycleThread(clock, CycleSchedule(LONG, False, seconds(clock)), done.append, 'test')
    thread.arrived(together=True)
    time.sleep(0.05)
    assert not done   # the clock alone
    thread.reschedule(CycleSchedule(0.01, False, seconds(clock)))
    wait_until(lambda: len(done) >= 3)
    assert thread.stop(5.0)


def test_a_simulated_clock_that_stands_still_begins_nothing():
    clock, done = ROSClock(), []
    clock._set_ros_time_is_active(True)

    def set_time(value):
        clock.set_ros_time_override(
            Time(nanoseconds=round(value * 1e9), clock_type=ClockType.ROS_TIME))

    set_time(100.0)
    thread = CycleThread(clock, CycleSchedule(0.1, True, 100.0), done.append, 'test')
    time.sleep(0.3)
    assert not done
    set_time(100.1)
    wait_until(lambda: len(done) == 1)
    time.sleep(0.1)
    assert len(done) == 1
    # Back by far: by the clock as it is now.
    set_time(50.0)
    time.sleep(0.05)
    set_time(50.15)
    wait_until(lambda: len(done) == 2)
    assert thread.stop(5.0)


def test_stop_does_not_wait_for_ever():
    clock = ROSClock()
    begun, go, done = threading.Event(), threading.Event(), []

    def work(beginning):
        begun.set()
        go.wait(5.0)
        done.append(beginning)

    thread = CycleThread(clock, CycleSchedule(LONG, True, seconds(clock)), work, 'test')
    thread.arrived(together=True)
    assert begun.wait(5.0)
    thread.arrived(together=True)
    start = time.monotonic()
    assert not thread.stop(0.05)
    assert time.monotonic() - start < 1.0
    go.set()
    assert thread.stop(5.0)
    assert len(done) == 1   # what was waiting is not begun
