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
    """A node that the executor spins in a thread."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node('spun', context=self.context)
        self.executor = LeanExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.failed = None
        self.thread = None

    def start(self):
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        try:
            self.executor.spin()
        except Exception as error:  # noqa: BLE001  looked at by the test
            self.failed = error

    def ended(self):
        self.thread.join(PATIENCE)
        return not self.thread.is_alive()

    def close(self):
        self.executor.shutdown()
        if self.thread is not None:
            assert self.ended()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def spun(domain):
    spun = Spun()
    yield spun
    spun.close()


def test_messages_come_in_order_and_once(spun, probe):
    heard, threads = [], set()

    def callback(message):
        heard.append(message.data)
        threads.add(threading.get_ident())

    spun.node.create_subscription(Int32, 'numbers', callback, 10)
    spun.start()
    publisher = probe.publisher(Int32, 'numbers')
    for number in range(200):
        publisher.publish(Int32(data=number))
        probe.wait_until(lambda number=number: len(heard) >= number - 5, f'message {number}')
    probe.wait_until(lambda: len(heard) == 200, 'all messages')
    assert heard == list(range(200))
    assert threads == {spun.thread.ident}


def test_callbacks_of_every_kind_are_executed(spun, probe):
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
    spun.start()
    publisher = probe.publisher(Int32, 'numbers', subscribers=5)
    publisher.publish(Int32(data=7))
    probe.wait_until(lambda: plain and informed and awaited and raw and len(ticks) > 5,
                     'every callback')
    assert plain == [7]
    assert awaited == [7]
    assert informed[0][0] == 7
    assert isinstance(raw[0], bytes)
    assert never == []
    assert probe.call(Trigger, 'trigger', Trigger.Request()).success


def test_what_follows_on_an_answer_is_executed(spun, probe):
    def answer(request, response):
        response.success = True
        return response

    probe.node.create_service(Trigger, 'trigger', answer)
    client = spun.node.create_client(Trigger, 'trigger')
    spun.start()
    assert client.wait_for_service(PATIENCE)
    followed = []
    future = client.call_async(Trigger.Request())
    for number in range(3):
        future.add_done_callback(lambda future, number=number: followed.append(
            (number, future.result().success, threading.current_thread())))
    probe.wait_until(lambda: len(followed) == 3, 'all that follows')
    assert sorted(number for number, *_ in followed) == [0, 1, 2]
    assert {(success, thread) for _, success, thread in followed} == {(True, spun.thread)}


def test_what_comes_and_goes_while_it_waits(spun, probe):
    heard, called = [], []
    spun.start()
    time.sleep(0.1)
    # From another thread, as a node does that is configured.
    subscription = spun.node.create_subscription(
        Int32, 'late', lambda message: heard.append(message.data), 10)
    publisher = probe.publisher(Int32, 'late')
    publisher.publish(Int32(data=1))
    probe.wait_until(lambda: heard == [1], 'the message')
    spun.node.destroy_subscription(subscription)
    probe.wait_until(lambda: publisher.get_subscription_count() == 0, 'no subscriber')
    guard = spun.node.create_guard_condition(lambda: called.append('guard'))
    guard.trigger()
    probe.wait_until(lambda: called == ['guard'], 'the guard condition')
    spun.executor.create_task(lambda: called.append('task'))
    probe.wait_until(lambda: called == ['guard', 'task'], 'the task')
    timer = spun.node.create_timer(0.01, lambda: called.append('timer'))
    probe.wait_until(lambda: called.count('timer') > 3, 'the timer')
    timer.cancel()
    time.sleep(0.05)
    count = called.count('timer')
    time.sleep(0.1)
    assert called.count('timer') == count
    assert spun.failed is None


def test_an_exception_of_a_callback_leaves_spin_and_the_next_spin_goes_on(spun, probe):
    heard = []

    def callback(message):
        if message.data == 0:
            raise ValueError('zero')
        heard.append(message.data)

    spun.node.create_subscription(Int32, 'numbers', callback, 10)
    spun.start()
    publisher = probe.publisher(Int32, 'numbers')
    publisher.publish(Int32(data=0))
    assert spun.ended()
    assert isinstance(spun.failed, ValueError)
    spun.start()
    publisher.publish(Int32(data=1))
    probe.wait_until(lambda: heard == [1], 'the message')


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
