"""The thread with a single slot."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

from nf_isac_ros.nodes.newest import NewestOnly  # noqa: E402


def test_newest_item_wins_and_others_are_told():
    begun, go, done = threading.Event(), threading.Event(), []

    def work(item):
        begun.set()
        assert go.wait(5.0)
        done.append(item)

    worker = NewestOnly(work, 'test')
    assert not worker.put(1)
    assert begun.wait(5.0)
    assert [worker.put(item) for item in (2, 3, 4)] == [False, True, True]
    go.set()
    deadline = time.monotonic() + 5.0
    while len(done) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert worker.stop(5.0)
    assert done == [1, 4]


def test_stop_does_not_wait_for_ever():
    begun, go, done = threading.Event(), threading.Event(), []

    def work(item):
        begun.set()
        go.wait(5.0)
        done.append(item)

    worker = NewestOnly(work, 'test')
    worker.put(1)
    assert begun.wait(5.0)
    worker.put(2)
    start = time.monotonic()
    assert not worker.stop(0.05)
    assert time.monotonic() - start < 1.0
    go.set()
    assert worker.stop(5.0)
    assert done == [1]   # what was waiting is not begun
