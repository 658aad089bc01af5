"""The room that recordings of the tests are made in, and messages to put into them."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin
from pathlib import Path

from nf_isac_ros.recording.types import standard_store

POSE = 'geometry_msgs/msg/PoseStamped'
STORE = standard_store()

# A deployment file up to its bodies; the design is the first thing that tests differ in.
ROOM = """
world_frame: map
array:
  upa: {elements: [8, 8], spacing_wavelengths: 0.5}
  position_m: [0.0, 0.0, 1.0]
  orientation_xyzw: [-0.7071068, 0.0, 0.0, 0.7071068]
radio:
  carrier_hz: 2.8e+10
  power_w: 1.0
  symbols: 1000
  user_noise_w: 1.0e-9
  sensing_noise: {power_w: 1.0e-12}
"""


def write_text(folder: Path, text: str) -> Path:
    """Write a deployment file."""
    path = folder / 'deployment.yaml'
    path.write_text(text)
    return path


def header(stamp: int, frame: str = 'map') -> object:
    """Header of a stamp [ns]."""
    types = STORE.types
    return types['std_msgs/msg/Header'](
        types['builtin_interfaces/msg/Time'](stamp // 10 ** 9, stamp % 10 ** 9), frame)


def bare_pose(position: Sequence[float], yaw: float = 0.0) -> object:
    """Pose at a position [m], turned about z [rad]."""
    types = STORE.types
    return types['geometry_msgs/msg/Pose'](
        types['geometry_msgs/msg/Point'](*(float(value) for value in position)),
        types['geometry_msgs/msg/Quaternion'](0.0, 0.0, sin(yaw / 2), cos(yaw / 2)))


def pose(stamp: int, position: Sequence[float], frame: str = 'map') -> object:
    """PoseStamped at a position [m]."""
    return STORE.types[POSE](header(stamp, frame), bare_pose(position))


def cdr(message: object, type_name: str = POSE) -> bytes:
    """Bytes of a message."""
    return bytes(STORE.serialize_cdr(message, type_name))
