"""What latches: faults that keep the radio muted until an operator resets them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

REPEATED_EXCESS = 'repeated-excess'
MALFORMED_STREAM = 'malformed-stream'
REGRESSING_STREAM = 'regressing-stream'
CLOCK_JUMP = 'clock-jump'
BACKEND_ERROR = 'backend-error'
BACKEND_SILENT = 'backend-silent'
INTERNAL_ERROR = 'internal-error'


@dataclass(frozen=True)
class Fault:
    """
    A fault that has latched.

    Attributes
    ----------
    name : str
        One of the names above.
    detail : str
        What happened, for people.

    """

    name: str
    detail: str


@dataclass(frozen=True)
class Repetition:
    """
    How often something has to happen, in which time, to be a fault.

    Attributes
    ----------
    count : int
        0: it never is.
    within : int
        [ns].

    """

    count: int = 10
    within: int = 5_000_000_000


class Repeats:
    """
    Counts what happens again and again.

    Parameters
    ----------
    repetition : Repetition
        When it is too often.

    """

    def __init__(self, repetition: Repetition) -> None:
        self._repetition = repetition
        self._times: deque[int] = deque(maxlen=max(1, repetition.count))

    def note(self, steady_now: int) -> bool:
        """Note one event at a time of the steady clock [ns]; tell whether it is a fault."""
        if self._repetition.count == 0:
            return False
        self._times.append(steady_now)
        return len(self._times) == self._repetition.count and (
            steady_now - self._times[0] <= self._repetition.within)

    def forget(self) -> None:
        """Start to count anew."""
        self._times.clear()


class LossWindow:
    """
    Share of the latest messages that never came.

    Parameters
    ----------
    length : int
        How many messages are looked back upon.
    allowed : float
        Largest share that may be lost.

    """

    def __init__(self, length: int, allowed: float) -> None:
        self._arrived: deque[bool] = deque(maxlen=length)
        self._allowed = allowed

    def note(self, missing: int) -> None:
        """Note a message that arrived, and how many before it did not."""
        self._arrived.extend([False] * min(missing, self._arrived.maxlen or 0))
        self._arrived.append(True)

    def forget(self) -> None:
        """Start anew: a new stream."""
        self._arrived.clear()

    @property
    def share(self) -> float:
        """Lost share of a full window; what has not been sent yet counts as arrived."""
        return self._arrived.count(False) / (self._arrived.maxlen or 1)

    @property
    def too_much(self) -> bool:
        """Whether more is lost than is allowed."""
        return self.share > self._allowed
