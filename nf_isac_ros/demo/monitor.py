"""The demo's ear: subscribes to what the graph publishes, and brings lifecycle nodes up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import math
import time
from types import TracebackType
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
import rclpy
from rclpy.client import Client
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from nf_isac_ros.demo.graph import RADIO
from nf_isac_ros.demo.runlog import LIVE_TOPICS, TOPICS, RunLog
from nf_isac_ros.nodes.executor import LeanExecutor

NODE_NAME = 'demo_monitor'

# An answer can get lost while two sides are still discovering each other. So the state is asked
# for as well, so often [s], and a request that shows no effect is repeated after a while [s].
POLL_PERIOD = 0.2
POLL_PATIENCE = 2.0
REQUEST_PATIENCE = 3.0
# How often a service that is not there yet is looked for [s].
SERVICE_PERIOD = 0.02

_STEPS = {
    State.PRIMARY_STATE_UNCONFIGURED: (Transition.TRANSITION_CONFIGURE, 'configuring'),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, 'activating'),
}


def message_class(type_name: str) -> Any:
    """
    Import the class of a message.

    Parameters
    ----------
    type_name : str
        Such as `nf_isac_msgs/msg/CrbArray`.

    Raises
    ------
    ImportError
        If the package of the message is not built or not sourced.

    """
    package, _, name = type_name.split('/')
    module = __import__(f'{package}.msg', fromlist=[name])
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImportError(f'{type_name} is not known') from None


def _quality_of_service(topic: str) -> QoSProfile:
    """Compatible with what each topic offers, and deep enough for a pause to draw a table."""
    if topic == 'radio/status':
        return QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE,
                          durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


@dataclass
class BringUp:
    """
    The way of one lifecycle node to its active state.

    Attributes
    ----------
    change, query : Client
        Of its services change_state and get_state.
    arm : Client or None
        Of the service that arms it once it is active; None: it has none.
    state : str
        'waiting', 'configuring', 'activating', 'arming', 'active' or 'failed'.
    step : int or None
        Transition that was asked for last.
    answer, report : Future or None
        Answers of the two services that are still to come.
    requested, polled : float
        When they were last called, monotonic [s].
    refused : bool
        The transition was refused; so it is as well when a repeated request comes second.

    """

    change: Client
    query: Client
    arm: Client | None = None
    state: str = 'waiting'
    step: int | None = None
    answer: Future | None = None
    report: Future | None = None
    requested: float = -math.inf
    polled: float = -math.inf
    refused: bool = False

    def advance(self, now: float) -> None:
        """Look at what was answered, and ask for the next step; never waits."""
        if self.state in ('active', 'failed'):
            return
        if self.state == 'arming':
            self._arm(now)
        elif self.answer is not None and self.answer.done():
            self._take_answer(bool(self.answer.result().success), now)
        elif self.report is not None and self.report.done():
            found = self.report.result().current_state.id
            self.report = None
            self._take_report(found, now)
        elif now - self.polled > (POLL_PERIOD if self.report is None else POLL_PATIENCE) and (
                self.query.service_is_ready() and self.change.service_is_ready()):
            self.report = self.query.call_async(GetState.Request())
            self.polled = now

    def _take_answer(self, success: bool, now: float) -> None:
        self.answer = None
        if not success:
            self.refused = True
        elif self.step == Transition.TRANSITION_ACTIVATE:
            self._activated()
        else:
            self._ask(Transition.TRANSITION_ACTIVATE, 'activating', now)

    def _take_report(self, found: int, now: float) -> None:
        if found == State.PRIMARY_STATE_ACTIVE:
            self._activated()
        elif found == State.PRIMARY_STATE_FINALIZED:
            self.state = 'failed'
        elif found in _STEPS:
            step, name = _STEPS[found]
            if step != self.step or (
                    self.answer is not None and now - self.requested > REQUEST_PATIENCE):
                self._ask(step, name, now)
            elif self.refused:
                self.state = 'failed'

    def _activated(self) -> None:
        self.state, self.answer = 'active' if self.arm is None else 'arming', None

    def _arm(self, now: float) -> None:
        assert self.arm is not None
        if self.answer is not None and self.answer.done():
            self.state = 'active' if self.answer.result().success else 'failed'
        elif self.arm.service_is_ready() and (
                self.answer is None or now - self.requested > REQUEST_PATIENCE):
            self.requested = now
            self.answer = self.arm.call_async(SetBool.Request(data=True))

    def _ask(self, step: int, state: str, now: float) -> None:
        self.step, self.state, self.requested, self.refused = step, state, now, False
        self.answer = self.change.call_async(
            ChangeState.Request(transition=Transition(id=step)))


class Monitor:
    """
    Listens to a graph.

    A context manager; used from one thread, in which `spin` takes the messages.

    Parameters
    ----------
    log : RunLog
        Where messages go.
    lifecycle_nodes : iterable of str
        Names of the nodes that `bring_up` cares for.

    Notes
    -----
    The paths of the bodies are left to the recording: hundreds of messages a second would take
    from the nodes what they need to be measured fairly.

    """

    def __init__(self, log: RunLog, lifecycle_nodes: Iterable[str] = ()) -> None:
        self._log = log
        self._context = rclpy.Context()
        # Ctrl-C is the command's matter, which ends the nodes first.
        rclpy.init(args=[], context=self._context,
                   signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(NODE_NAME, context=self._context,
                                       start_parameter_services=False, enable_rosout=False)
        self._executor = LeanExecutor(context=self._context)
        self._executor.add_node(self._node)
        for topic in LIVE_TOPICS:
            self._node.create_subscription(
                message_class(TOPICS[topic]), topic, self._receiver(topic),
                _quality_of_service(topic))
        self._bring_ups = {
            name: BringUp(self._node.create_client(ChangeState, f'{name}/change_state'),
                          self._node.create_client(GetState, f'{name}/get_state'),
                          self._node.create_client(SetBool, 'radio/arm') if name == RADIO
                          else None)
            for name in lifecycle_nodes}

    def __enter__(self) -> Monitor:
        """Give itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _receiver(self, topic: str) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            self._log.add(topic, message, time.time())
        return receive

    def spin(self, seconds: float) -> None:
        """Take messages for a while."""
        self._executor.spin_for(seconds)

    def publishers(self, topic: str) -> int:
        """Count the publishers of a topic."""
        return self._node.count_publishers(topic)

    def hears(self, node: str, topics: Iterable[str]) -> bool:
        """Tell whether a node has subscribed to all of the topics."""
        return all(
            any(info.node_name == node for info in
                self._node.get_subscriptions_info_by_topic(topic)) for topic in topics)

    def node_names(self) -> list[str]:
        """Return the names of the nodes that were discovered."""
        return self._node.get_node_names()

    def advance_bring_up(self) -> dict[str, str]:
        """
        Take lifecycle nodes a step further to being active, without waiting.

        Returns
        -------
        dict
            Name -> 'waiting' (not there yet), 'configuring', 'activating', 'arming' (the radio),
            'active', 'failed'.

        """
        now = time.monotonic()
        for bring_up in self._bring_ups.values():
            bring_up.advance(now)
        return {name: bring_up.state for name, bring_up in self._bring_ups.items()}

    def begin_again(self, name: str) -> None:
        """Bring a node up once more: its process was started again."""
        if name in self._bring_ups:
            before = self._bring_ups[name]
            self._bring_ups[name] = BringUp(before.change, before.query, before.arm)

    def deactivate(self, name: str, patience: float) -> bool:
        """
        Ask an active lifecycle node to become inactive, and wait for it.

        Parameters
        ----------
        name : str
            One of the lifecycle nodes.
        patience : float
            How long to wait [s].

        Returns
        -------
        bool
            It did so.

        """
        response = self._call(self._bring_ups[name].change, ChangeState.Request(
            transition=Transition(id=Transition.TRANSITION_DEACTIVATE)), patience)
        return response is not None and bool(response.success)

    def trigger(self, service: str, patience: float) -> bool:
        """
        Call a service of type std_srvs/Trigger, again if the answer gets lost.

        Parameters
        ----------
        service : str
            Name; the second call must do no harm.
        patience : float
            How long to wait [s].

        Returns
        -------
        bool
            It answered, with success.

        """
        client = self._node.create_client(Trigger, service)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            response = self._call(client, Trigger.Request(), POLL_PERIOD)
            if response is not None:
                return bool(response.success)
        return False

    def _call(self, client: Client, request: Any, patience: float) -> Any:
        """Return the response of a service; None if there is none in time."""
        deadline = time.monotonic() + patience
        while not client.service_is_ready():
            if time.monotonic() > deadline:
                return None
            self._executor.spin_for(SERVICE_PERIOD)
        answer = client.call_async(request)
        self._executor.spin_for(deadline - time.monotonic(), until=answer.done)
        return answer.result() if answer.done() else None
