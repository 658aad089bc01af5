"""What went wrong how often, and /diagnostics once a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
import threading

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from nf_isac_ros.nodes.unlocked import publish

PERIOD = 1.0   # [s]


class Level(IntEnum):
    """Severity, as in diagnostic_msgs."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Health:
    """
    State of a node at one instant.

    Attributes
    ----------
    level : Level
        Severity.
    summary : str
        One line.
    values : mapping
        Anything that helps to find the cause; shown as text.

    """

    level: Level
    summary: str
    values: Mapping[str, object] = field(default_factory=dict)


class Counts:
    """
    Counts of events by reason, with a warning at most once a second.

    May be used from several threads.

    Parameters
    ----------
    node : Node
        Whose log gets the warnings.
    what : str
        Start of each warning, such as 'message rejected'.

    """

    def __init__(self, node: Node, what: str) -> None:
        self._node = node
        self._what = what
        self._lock = threading.Lock()
        self._counter: Counter[str] = Counter()

    def add(self, reason: str, message: str = '', quiet: bool = False) -> None:
        """
        Count one event.

        Parameters
        ----------
        reason : str
            A few lower-case words joined by hyphens.
        message : str
            Details for the log; empty: the reason alone is logged.
        quiet : bool
            Do not warn.

        """
        with self._lock:
            self._counter[reason] += 1
        if quiet:
            return
        self._node.get_logger().warning(
            f'{self._what} ({reason}): {message}' if message else f'{self._what}: {reason}',
            throttle_duration_sec=1.0)

    def reset(self) -> None:
        """Start again from zero."""
        with self._lock:
            self._counter.clear()

    def snapshot(self) -> dict[str, int]:
        """Counts so far, by reason."""
        with self._lock:
            return dict(self._counter)

    @property
    def total(self) -> int:
        """Events so far."""
        with self._lock:
            return sum(self._counter.values())


class Diagnostics:
    """
    Publishes the state of a node on /diagnostics once a second.

    Parameters
    ----------
    node : Node
        The node; its full name is the name of the status.
    collect : callable
        Returns the present Health; called from the node's executor.

    """

    def __init__(self, node: Node, collect: Callable[[], Health]) -> None:
        self._node = node
        self._collect = collect
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # On the steady clock: a stopped /clock is one of the things to report.
        self._timer = node.create_timer(
            PERIOD, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish now."""
        health = self._collect()
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [DiagnosticStatus(
            level=bytes([health.level]), name=self._node.get_fully_qualified_name(),
            message=health.summary, hardware_id='nf_isac',
            values=[KeyValue(key=str(key), value=_text(value))
                    for key, value in health.values.items()])]
        publish(self._publisher, message)


def _text(value: object) -> str:
    return f'{value:.6g}' if isinstance(value, float) else str(value)
