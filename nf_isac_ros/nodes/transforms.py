"""Memory of transforms of a live node: tf2's, where it is installed."""

from __future__ import annotations

from math import inf
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time

from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.conversions.messages import header
from nf_isac_ros.conversions.transform_buffer import KEEP, TransformBuffer, Transforms
from nf_isac_ros.core.arrays import Pose

try:
    import tf2_py
except ImportError:   # with ROS 2 from wheels
    tf2_py = None


def transform_buffer() -> Transforms:
    """Make a memory of transforms."""
    return TransformBuffer() if tf2_py is None else Tf2Buffer()


class Tf2Buffer:
    """
    What `TransformBuffer` does, by tf2.

    tf2 finds circles only when it is asked, and knows no list of links: those are kept here.
    """

    def __init__(self) -> None:
        self._core: Any = tf2_py.BufferCore(Duration(seconds=KEEP))
        # The same tree without its history.
        self._tree = TransformBuffer(keep=0.0)

    def put(self, parent: str, child: str, stamp: float, pose: Pose, static: bool) -> None:
        """Take in where a frame is in its parent; as `TransformBuffer.put`."""
        self._tree.put(parent, child, stamp, pose, static)
        message = TransformStamped(header=header(stamp, parent), child_frame_id=child)
        place, turn = message.transform.translation, message.transform.rotation
        place.x, place.y, place.z = (float(value) for value in pose.position)
        turn.x, turn.y, turn.z, turn.w = pose.orientation_xyzw
        if static:
            self._core.set_transform_static(message, 'nf_isac')
        else:
            self._core.set_transform(message, 'nf_isac')

    def chain(self, target: str, source: str) -> list[str] | None:
        """Links between two frames; as `TransformBuffer.chain`."""
        return self._tree.chain(target, source)

    def latest(self, target: str, source: str) -> float:
        """Newest time at which all links between two frames are known [s]; inf: all static."""
        if self._tree.latest(target, source) == inf:
            return inf
        return float(self._core.get_latest_common_time(target, source).nanoseconds * 1e-9)

    def lookup(self, target: str, source: str, time: float, slack: float = 0.0) -> Pose:
        """Pose of the source frame in the target frame; as `TransformBuffer.lookup`."""
        latest = self.latest(target, source)
        if latest < time <= latest + slack:
            time = latest
        try:
            found = self._core.lookup_transform_core(
                target, source, Time(nanoseconds=0 if latest == inf else round(time * 1e9)))
        except tf2_py.ExtrapolationException as error:
            raise MessageError(f'transform of {source!r}: {error}', 'extrapolation') from error
        except tf2_py.TransformException as error:
            raise MessageError(f'transform of {source!r}: {error}', 'unknown-frame') from error
        place, turn = found.transform.translation, found.transform.rotation
        return Pose((place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w))
