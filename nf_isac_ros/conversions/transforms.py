"""Poses of the arrays as transforms from the world frame."""

from __future__ import annotations

from collections.abc import Sequence

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3

from nf_isac_ros.conversions.messages import header
from nf_isac_ros.core.arrays import AntennaArray


def array_transforms(arrays: Sequence[AntennaArray], world_frame: str,
                     stamp: float) -> list[TransformStamped]:
    """
    Static transforms of antenna arrays, each array once.

    Parameters
    ----------
    arrays : sequence of AntennaArray
        Their names become the child frames.
    world_frame : str
        Parent frame.
    stamp : float
        [s].

    """
    transforms = []
    for array in {array.name: array for array in arrays}.values():
        x, y, z = (float(value) for value in array.pose.position)
        qx, qy, qz, qw = array.pose.orientation_xyzw
        transforms.append(TransformStamped(
            header=header(stamp, world_frame), child_frame_id=array.name,
            transform=Transform(translation=Vector3(x=x, y=y, z=z),
                                rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))))
    return transforms
