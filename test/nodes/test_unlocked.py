"""Messages in and out without the interpreter lock: the same messages, and other threads run."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

import rclpy  # noqa: E402
from rclpy.impl.implementation_singleton import rclpy_implementation  # noqa: E402
from rclpy.lifecycle import LifecycleNode  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from std_msgs.msg import Int32, UInt8MultiArray  # noqa: E402

from nf_isac_msgs.msg import Beamformer  # noqa: E402
from nf_isac_ros.nodes import unlocked  # noqa: E402

PATIENCE = 20.0
QUEUE = 10


@pytest.fixture
def node(domain):
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = LifecycleNode('unlocked', context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


def wait_for(wanted):
    """Return the first result that is not None."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (found := wanted()) is not None:
            return found
        time.sleep(0.005)
    raise AssertionError(f'nothing within {PATIENCE} s')


def connected(node, kind, **options):
    """Publisher and subscription of a topic that have found each other."""
    subscription = node.create_subscription(kind, 'topic', lambda message: None, QUEUE, **options)
    publisher = node.create_publisher(kind, 'topic', QUEUE)
    wait_for(lambda: publisher.get_subscription_count() or None)
    return publisher, subscription


def beams():
    rng = np.random.default_rng(5)
    message = Beamformer(sequence=7, user_ids=['u1', 'ü2'], n_users=2, power=0.25)
    message.weights.frombytes(rng.standard_normal(100_000, np.float32).tobytes())
    return message


def test_what_is_published_is_what_rclpy_takes(node):
    publisher, subscription = connected(node, Beamformer)
    unlocked.publish(publisher, beams())
    message, _ = wait_for(lambda: subscription.handle.take_message(Beamformer, False))
    assert message == beams()


def test_what_rclpy_publishes_is_taken(node):
    publisher, subscription = connected(node, Beamformer)
    publisher.publish(beams())
    assert wait_for(lambda: unlocked.take(subscription)) == beams()


def test_bytes_are_taken_from_a_raw_subscription(node):
    publisher, subscription = connected(node, Beamformer, raw=True)
    unlocked.publish(publisher, beams())
    data = wait_for(lambda: unlocked.take(subscription))
    assert deserialize_message(data, Beamformer) == beams()


def test_messages_are_taken_in_order_and_then_none(node):
    publisher, subscription = connected(node, Int32)
    for number in range(QUEUE):
        unlocked.publish(publisher, Int32(data=number))
    taken = [wait_for(lambda: unlocked.take(subscription)).data for _ in range(QUEUE)]
    assert taken == list(range(QUEUE))
    assert unlocked.take(subscription) is None


def test_message_of_another_type_is_refused(node):
    publisher, _ = connected(node, Int32)
    with pytest.raises(TypeError, match='message is a Beamformer, must be a Int32'):
        unlocked.publish(publisher, beams())


def test_nothing_is_published_by_a_node_that_is_not_active(node):
    subscription = node.create_subscription(Int32, 'topic', lambda message: None, QUEUE)
    publisher = node.create_lifecycle_publisher(Int32, 'topic', QUEUE)
    wait_for(lambda: publisher.get_subscription_count() or None)
    unlocked.publish(publisher, Int32(data=1))
    publisher.on_activate(None)
    unlocked.publish(publisher, Int32(data=2))
    assert wait_for(lambda: unlocked.take(subscription)).data == 2


def test_what_was_destroyed_is_refused(node):
    publisher, subscription = connected(node, Int32)
    node.destroy_publisher(publisher)
    node.destroy_subscription(subscription)
    with pytest.raises(rclpy_implementation.InvalidHandle):
        unlocked.publish(publisher, Int32())
    with pytest.raises(rclpy_implementation.InvalidHandle):
        unlocked.take(subscription)


def test_what_the_middleware_refuses_is_an_error_that_says_why(node):
    with pytest.raises(rclpy_implementation.RCLError, match='failed to publish: .+'):
        unlocked._check(unlocked._publish(None, unlocked._Bytes(), None), 'publish')
    # Told once.
    assert not unlocked._error().text or b'not set' in unlocked._error().text


def test_other_threads_run_while_a_message_is_handed_over(node, monkeypatch):
    publisher, _ = connected(node, UInt8MultiArray)
    message = UInt8MultiArray()
    message.data.frombytes(bytes(32 << 20))
    steps, ended = [0], threading.Event()

    def count():
        while not ended.is_set():
            steps[0] += 1

    during, hand_over = [], unlocked._publish

    def observed(*arguments):
        before = steps[0]
        try:
            return hand_over(*arguments)
        finally:
            during.append(steps[0] - before)

    monkeypatch.setattr(unlocked, '_publish', observed)
    # Threads take turns around the call as well: short ones.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(5):
            unlocked.publish(publisher, message)
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
    # The middleware needs the time of 100,000 steps for half a thousand packets. If the call kept
    # the lock, there would be those of a turn or two: some hundreds.
    assert max(during) > 10_000
