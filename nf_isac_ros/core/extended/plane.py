"""The plane of an extended target's contour: range, direction and orientation as an array sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transforms3d.quaternions import mat2quat

from nf_isac_ros.core.arrays import AntennaArray, Pose

Vector = NDArray[np.float64]

# A boresight whose part in the plane of the contour is shorter does not define a direction in it.
LEAST_BORESIGHT = 0.17


@dataclass(frozen=True)
class PlanarPose:
    """
    Pose of a body within the plane of its contour, as seen from an array.

    The plane has the body's z axis as its normal; x is the array's boresight, projected on it, and
    y completes the right-handed frame. For a body whose z axis is the array's -x axis, that is:
    x is the array's z axis and y the array's y axis.

    Attributes
    ----------
    origin : ndarray, shape (3,)
        Centre of the elements in the scene frame [m].
    axes : ndarray, shape (3, 3)
        Columns: x, y and normal of the plane in the scene frame.
    range : float
        Of the body's centre, within the plane [m].
    direction : float
        Of the body's centre, from x towards y [rad].
    orientation : float
        Of the body's x axis, from x towards y [rad].
    height : float
        Of the body's centre over the origin, along the normal [m].
    tilt : float
        Angle between the boresight and the plane [rad].

    """

    origin: Vector
    axes: Vector
    range: float
    direction: float
    orientation: float
    height: float
    tilt: float

    @property
    def radial(self) -> Vector:
        """Unit vector of growing range in the scene frame, shape (3,)."""
        return self.axes[:, :2] @ [np.cos(self.direction), np.sin(self.direction)]

    @property
    def transverse(self) -> Vector:
        """Unit vector of growing direction in the scene frame, shape (3,)."""
        return self.axes[:, :2] @ [-np.sin(self.direction), np.cos(self.direction)]


def planar_pose(array: AntennaArray, pose: Pose) -> PlanarPose:
    """
    Range, direction and orientation of a body.

    Parameters
    ----------
    array : AntennaArray
        That looks at it.
    pose : Pose
        Of the body in the scene frame.

    Returns
    -------
    PlanarPose
        Where the boresight is all but normal to the plane, its x is the array's x axis instead.

    """
    normal, heading = pose.rotation[:, 2], pose.rotation[:, 0]
    boresight = array.pose.rotation[:, 2]
    out = float(boresight @ normal)
    forward = boresight - out * normal
    if np.linalg.norm(forward) < LEAST_BORESIGHT:
        forward = array.pose.rotation[:, 0]
        forward = forward - (forward @ normal) * normal
    forward = forward / np.linalg.norm(forward)
    axes = np.column_stack([forward, np.cross(normal, forward), normal])
    origin = array.positions.mean(axis=0)
    x, y, height = (pose.position - origin) @ axes
    return PlanarPose(
        origin, axes, float(np.hypot(x, y)), float(np.arctan2(y, x)),
        float(np.arctan2(heading @ axes[:, 1], heading @ axes[:, 0])), float(height),
        float(np.arcsin(min(abs(out), 1.0))))


def pose_in_plane(array: AntennaArray, distance: float, direction: float,
                  orientation: float) -> Pose:
    """
    Pose of a body in the z-y plane of an array.

    Parameters
    ----------
    array : AntennaArray
    distance : float
        From the centre of the elements to the body's centre [m].
    direction, orientation : float
        From the array's z axis towards its y axis, of the body's centre and of its heading [rad].

    Returns
    -------
    Pose
        In the scene frame; the body's z axis is the array's -x axis.

    """
    rotation = array.pose.rotation
    axes = np.column_stack([rotation[:, 2], rotation[:, 1], -rotation[:, 0]])
    return pose_of(PlanarPose(array.positions.mean(axis=0), axes, distance, direction,
                              orientation, 0.0, 0.0))


def pose_of(plane: PlanarPose) -> Pose:
    """Pose in the scene frame; the inverse of `planar_pose`."""
    cos, sin = np.cos(plane.orientation), np.sin(plane.orientation)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    w, x, y, z = (float(part) for part in mat2quat(plane.axes @ turn))
    centre = np.array([plane.range * np.cos(plane.direction),
                       plane.range * np.sin(plane.direction), plane.height])
    return Pose(plane.origin + plane.axes @ centre, (x, y, z, w))
