"""The executor of nodes: what rclpy's own executes is executed, by one thread."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

import rclpy  # noqa: E402
from rclpy.callback_groups import ReentrantCallbackGroup  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402
from std_msgs.msg import Int32  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from nf_isac_ros.nodes.executor import LeanExecutor  # noqa: E402
from nf_isac_ros.nodes.polled import OnDemand  # noqa: E402

PATIENCE = 20.0


class Spun:
    """A node that spins in a thread, and another one that nothing spins."""

    def __init__(self, context):
        self.context = context
        self.node = rclpy.create_node('spun', context=context)
        self.other = rclpy.create_node('other', context=context)
        self.executor = LeanExecutor(context=context)
        self.executor.add_node(self.node)
        self.failed = None
        self.thread = threading.Thread(target=self._spin, daemon=True)

    def _spin(self):
        try:
            self.executor.spin()
        except Exception as error:  # noqa: BLE001  looked at by the test
            self.failed = error

    def start(self):
        self.thread.start()
        return self

    def publisher(self, topic):
        publisher = self.other.create_publisher(Int32, topic, 10)
        until(lambda: publisher.get_subscription_count() > 0)
        return publisher

    def ended(self):
        self.thread.join(PATIENCE)
        return not self.thread.is_alive()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, 'did not happen'
        time.sleep(0.01)


@pytest.fixture
def spun(domain):
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    spun = Spun(context)
    yield spun
    spun.executor.shutdown()
    if spun.thread.ident is not None:
        assert spun.ended()
    spun.node.destroy_node()
    spun.other.destroy_node()
    context.try_shutdown()


def test_messages_come_in_order_and_once(spun):
    heard, threads = [], set()

    def callback(message):
        heard.append(message.data)
        threads.add(threading.get_ident())

    spun.node.create_subscription(Int32, 'numbers', callback, 10)
    spun.start()
    publisher = spun.publisher('numbers')
    for number in range(200):
        publisher.publish(Int32(data=number))
        until(lambda number=number: len(heard) >= number - 5)
    until(lambda: len(heard) == 200)
    assert heard == list(range(200))
    assert threads == {spun.thread.ident}


def test_callbacks_of_every_kind_are_executed(spun):
    plain, informed, awaited, raw, never, ticks = [], [], [], [], [], []

    async def coroutine(message):
        awaited.append(message.data)

    node, group = spun.node, OnDemand()
    for callback, options in (
            (lambda message: plain.append(message.data), {}),
            (lambda message, info: informed.append((message.data, info)), {}),
            (coroutine, {'callback_group': ReentrantCallbackGroup()}),
            (raw.append, {'raw': True}),
            (never.append, {'callback_group': group})):
        node.create_subscription(Int32, 'numbers', callback, 10, **options)
    node.create_timer(0.02, lambda: ticks.append(time.monotonic()))

    def answer(request, response):
        response.success = True
        return response

    node.create_service(Trigger, 'trigger', answer)
    client = spun.other.create_client(Trigger, 'trigger')
    spun.start()
    publisher = spun.publisher('numbers')
    until(lambda: publisher.get_subscription_count() == 5)
    publisher.publish(Int32(data=7))
    until(lambda: plain and informed and awaited and raw and len(ticks) > 5)
    assert plain == [7]
    assert awaited == [7]
    assert informed[0][0] == 7
    assert isinstance(raw[0], bytes)
    assert never == []
    assert client.wait_for_service(PATIENCE)
    future = client.call_async(Trigger.Request())
    deadline = time.monotonic() + PATIENCE
    while not future.done() and time.monotonic() < deadline:
        rclpy.spin_once(spun.other, timeout_sec=0.1,
                        executor=rclpy.executors.SingleThreadedExecutor(context=spun.context))
    assert future.result().success


def test_what_comes_and_goes_while_it_waits(spun):
    heard, called = [], []
    spun.start()
    time.sleep(0.1)
    # From another thread, as a node does that is configured.
    subscription = spun.node.create_subscription(
        Int32, 'late', lambda message: heard.append(message.data), 10)
    publisher = spun.publisher('late')
    publisher.publish(Int32(data=1))
    until(lambda: heard == [1])
    spun.node.destroy_subscription(subscription)
    until(lambda: publisher.get_subscription_count() == 0)
    guard = spun.node.create_guard_condition(lambda: called.append('guard'))
    guard.trigger()
    until(lambda: called == ['guard'])
    spun.executor.create_task(lambda: called.append('task'))
    until(lambda: called == ['guard', 'task'])
    timer = spun.node.create_timer(0.01, lambda: called.append('timer'))
    until(lambda: called.count('timer') > 3)
    timer.cancel()
    time.sleep(0.05)
    count = called.count('timer')
    time.sleep(0.1)
    assert called.count('timer') == count
    assert spun.failed is None


def test_an_exception_of_a_callback_leaves_spin_and_the_next_spin_goes_on(spun):
    heard = []

    def callback(message):
        if message.data == 0:
            raise ValueError('zero')
        heard.append(message.data)

    spun.node.create_subscription(Int32, 'numbers', callback, 10)
    spun.start()
    publisher = spun.publisher('numbers')
    publisher.publish(Int32(data=0))
    assert spun.ended()
    assert isinstance(spun.failed, ValueError)
    spun.thread = threading.Thread(target=spun._spin, daemon=True)
    spun.start()
    publisher.publish(Int32(data=1))
    until(lambda: heard == [1])


@pytest.mark.parametrize('end', [
    lambda spun: spun.executor.shutdown(), lambda spun: spun.context.try_shutdown()],
    ids=['executor', 'context'])
def test_spin_ends_when_executor_or_context_do(spun, end):
    spun.node.create_timer(10.0, lambda: None)
    spun.start()
    time.sleep(0.1)
    end(spun)
    assert spun.ended()
    assert spun.failed is None
