"""Subscriptions that are asked for the newest message."""

from __future__ import annotations

import time

import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

from nf_isac_msgs.msg import TrackArray  # noqa: E402
from nf_isac_ros.nodes.polled import Polled  # noqa: E402
from nf_isac_ros.nodes.qos import TRACKS  # noqa: E402


def test_the_newest_message_is_given_once(probe):
    polled = Polled(probe.node, TrackArray, 'truth', TRACKS)
    heard = probe.collect(TrackArray, 'truth')
    publisher = probe.publisher(TrackArray, 'truth', subscribers=2)
    assert polled.newest() is None
    for name in ('first', 'second'):
        message = TrackArray()
        message.header.frame_id = name
        publisher.publish(message)
    heard.wait(lambda message: message.header.frame_id == 'second')
    found, deadline = [], time.monotonic() + 5.0
    while not (found and found[-1].header.frame_id == 'second') and time.monotonic() < deadline:
        message = polled.newest()
        if message is not None:
            found.append(message)
    assert found[-1].header.frame_id == 'second'
    assert polled.newest() is None
    polled.destroy()
