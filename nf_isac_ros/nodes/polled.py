"""Subscriptions that nothing wakes up for: whoever needs the newest message takes it."""

from __future__ import annotations

from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile

from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.nodes.qos import NO_EVENTS_IN, overridable
from nf_isac_ros.nodes.unlocked import take


class OnDemand(CallbackGroup):
    """
    Subscriptions that no executor wakes up for: their messages are taken when somebody looks.

    Taken at once, the middleware's queues hold the newest messages, however late somebody is.
    """

    def can_execute(self, entity: object) -> bool:
        """Never, as far as executors are concerned."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Refuse, likewise."""
        return False

    def ending_execution(self, entity: object) -> None:
        """Do nothing: nothing was begun."""


class Polled:
    """
    Newest message of a topic, when it is asked for.

    Whatever wakes an executor up costs a tenth of a millisecond and more, and of what is not
    looked at no message need be made.

    Parameters
    ----------
    node : Node
    message_type : type
    topic : str
    qos : QoSProfile
        Of depth 1: what is older is not wanted.

    """

    def __init__(self, node: Node, message_type: type, topic: str, qos: QoSProfile) -> None:
        self._node = node
        self._subscription = node.create_subscription(
            message_type, topic, _unused, qos, callback_group=OnDemand(),
            event_callbacks=NO_EVENTS_IN, qos_overriding_options=overridable())

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def newest(self) -> Any | None:
        """
        Take the newest message that has come since the last call; None: there is none.

        Raises
        ------
        MessageError
            'unreadable' if the middleware cannot make a message of what came.

        """
        newest = None
        try:
            # Several, where the depth is overridden.
            while (message := take(self._subscription)) is not None:
                newest = message
        except Exception as error:  # noqa: BLE001  rclpy raises several kinds
            raise MessageError(f'{self._subscription.topic_name}: {error}',
                               'unreadable') from error
        return newest


def _unused(message: object) -> None:
    raise AssertionError('nothing is executed')
