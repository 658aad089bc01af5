"""Bringing lifecycle nodes up, with services that lose requests and answers."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from nf_isac_ros.demo.monitor import BringUp  # noqa: E402

NEXT = {
    (State.PRIMARY_STATE_UNCONFIGURED, Transition.TRANSITION_CONFIGURE):
        State.PRIMARY_STATE_INACTIVE,
    (State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_ACTIVATE): State.PRIMARY_STATE_ACTIVE,
}


class Answer:
    """A future."""

    def __init__(self, response=None) -> None:
        self._response = response

    def done(self) -> bool:
        return self._response is not None

    def result(self):
        return self._response


class Node:
    """A lifecycle node of which the first few requests or answers get lost."""

    def __init__(self, lost_requests: int = 0, lost_answers: int = 0,
                 refuses: int | None = None) -> None:
        self.state = State.PRIMARY_STATE_UNCONFIGURED
        self.lost_requests = lost_requests
        self.lost_answers = lost_answers
        self.refuses = refuses
        self.requests: list[int] = []

    def change(self, request: ChangeState.Request) -> Answer:
        self.requests.append(request.transition.id)
        if self.lost_requests:
            self.lost_requests -= 1
            return Answer()
        wanted = NEXT.get((self.state, request.transition.id))
        allowed = wanted is not None and request.transition.id != self.refuses
        if allowed:
            self.state = wanted
        if self.lost_answers:
            self.lost_answers -= 1
            return Answer()
        return Answer(ChangeState.Response(success=allowed))

    def query(self, request: GetState.Request) -> Answer:
        return Answer(GetState.Response(current_state=State(id=self.state)))


class Client:
    def __init__(self, call, ready: bool = True) -> None:
        self.call_async = call
        self.ready = ready

    def service_is_ready(self) -> bool:
        return self.ready


def bring_up(node: Node, seconds: float) -> str:
    way = BringUp(Client(node.change), Client(node.query))
    for step in range(int(20 * seconds)):
        way.advance(0.05 * step)
    return way.state


def test_a_node_becomes_active_at_once():
    node = Node()
    assert bring_up(node, 0.4) == 'active'
    assert node.requests == [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE]


def test_a_lost_answer_costs_little_time():
    node = Node(lost_answers=2)
    assert bring_up(node, 1.0) == 'active'
    assert node.state == State.PRIMARY_STATE_ACTIVE


def test_a_lost_request_is_repeated():
    assert bring_up(Node(lost_requests=1), 2.0) == 'configuring'
    assert bring_up(Node(lost_requests=1), 5.0) == 'active'


@pytest.mark.parametrize('step', [
    Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE],
    ids=['configure', 'activate'])
def test_a_refusal_is_final(step):
    node = Node(refuses=step)
    assert bring_up(node, 2.0) == 'failed'
    assert node.requests.count(step) == 1


def test_a_node_without_services_is_waited_for():
    node = Node()
    client = Client(node.query, ready=False)
    way = BringUp(Client(node.change), client)
    for step in range(100):
        way.advance(0.05 * step)
    assert way.state == 'waiting'
    assert node.requests == []
    client.ready = True
    for step in range(100, 110):
        way.advance(0.05 * step)
    assert way.state == 'active'


def test_the_radio_is_armed_once_it_is_active():
    node, requests, lost = Node(), [], [Answer(), Answer()]

    def arm(request: SetBool.Request) -> Answer:
        assert node.state == State.PRIMARY_STATE_ACTIVE
        requests.append(request.data)
        return lost.pop() if lost else Answer(SetBool.Response(success=True))

    way = BringUp(Client(node.change), Client(node.query), Client(arm))
    for step in range(100):
        way.advance(0.05 * step)
    assert (way.state, requests) == ('arming', [True, True]), 'a lost answer: asked again'
    for step in range(100, 200):
        way.advance(0.05 * step)
    assert (way.state, requests) == ('active', [True] * 3)
