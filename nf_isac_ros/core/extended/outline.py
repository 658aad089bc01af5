"""Outline of an extended target in the scene frame, and which parts of it an array sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.far_field import visible_sections
from nf_isac_ros.core.extended.plane import planar_pose
from nf_isac_ros.core.scene import ExtendedTarget

Vector = NDArray[np.float64]

# Points of a closed outline, and of each section.
LOOP_POINTS, SECTION_POINTS = 120, 7


@dataclass(frozen=True)
class Outline:
    """
    What there is to draw of an extended target, about its centre.

    Attributes
    ----------
    loop : ndarray, shape (n, 3)
        Closed: the last point is the first [m].
    sections : ndarray, shape (K, m, 3)
        The sections that are seen, as lines [m]; none if nothing is.

    """

    loop: Vector
    sections: Vector


def outline(target: ExtendedTarget, array: AntennaArray) -> Outline:
    """
    Draw a target as an array sees it.

    Parameters
    ----------
    target : ExtendedTarget
    array : AntennaArray
        Transmit array.

    """
    axes = target.pose.rotation[:, :2].T
    loop = target.contour.points(np.linspace(0.0, 2 * np.pi, LOOP_POINTS + 1)) @ axes
    try:
        seen = visible_sections(target, planar_pose(array, target.pose))
    except SceneError:
        return Outline(loop, np.zeros((0, SECTION_POINTS, 3)))
    along = np.linspace(-0.5, 0.5, SECTION_POINTS)
    parameters = seen.parameter[:, None] + seen.width[:, None] * along
    return Outline(loop, target.contour.points(parameters) @ axes)
