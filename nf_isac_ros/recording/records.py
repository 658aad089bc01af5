"""What a recording consists of, however it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class BagMessage(NamedTuple):
    """One message of a recording, deserialised."""

    topic: str
    type_name: str
    log_time: int   # [ns]
    message: Any


class RawMessage(NamedTuple):
    """One message of a recording, as it was on the wire."""

    topic: str
    type_name: str
    log_time: int   # [ns]
    data: bytes


@dataclass(frozen=True)
class Topic:
    """
    What a recording says about a topic.

    Attributes
    ----------
    name : str
        Topic.
    type_name : str
        Such as 'geometry_msgs/msg/PoseStamped'.
    count : int
        Messages.
    definition : str
        Message definition as text (.msg or IDL); empty: not in the recording.

    """

    name: str
    type_name: str
    count: int
    definition: str = ''
