"""Antenna arrays: element positions in the array frame, and the pose of the array in the scene."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from dataclasses import dataclass, field
from functools import cached_property
import hashlib
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transforms3d.quaternions import quat2mat

from nf_isac_ros.core.exceptions import ArrayError

Vector = NDArray[np.float64]

# How far the norm of a quaternion may be from one before it is taken for a mistake; messages
# carry float64, files are typed by people with five digits.
QUATERNION_TOLERANCE = 1e-3


def unit_quaternion(quaternion: ArrayLike) -> tuple[float, float, float, float]:
    """Quaternion x, y, z, w as floats; ArrayError if it is not finite or its norm is not one."""
    x, y, z, w = np.asarray(quaternion, dtype=float).tolist()
    norm = sqrt(x * x + y * y + z * z + w * w)
    if not abs(norm - 1.0) <= QUATERNION_TOLERANCE:
        raise ArrayError(
            f'quaternion {[x, y, z, w]} (x, y, z, w) has norm {norm:g}, must be 1')
    return x, y, z, w


def rotation_from_xyzw(quaternion: ArrayLike) -> Vector:
    """
    Turn a ROS quaternion into a rotation matrix.

    The one place where the two orders meet: ROS writes xyzw, transforms3d wxyz.

    Parameters
    ----------
    quaternion : array_like, shape (4,)
        x, y, z, w.

    Returns
    -------
    ndarray, shape (3, 3)
        Rotation from the body's frame to the frame that the pose is given in.

    Raises
    ------
    ArrayError
        If the quaternion is not finite or its norm is not one.

    """
    x, y, z, w = unit_quaternion(quaternion)
    matrix: Vector = quat2mat([w, x, y, z])
    return matrix


@dataclass(frozen=True)
class Pose:
    """
    Position and orientation of a frame in another.

    Attributes
    ----------
    position : ndarray, shape (3,)
        Origin [m].
    orientation_xyzw : tuple of float
        Unit quaternion x, y, z, w.

    """

    position: Vector = field(default_factory=lambda: np.zeros(3))
    orientation_xyzw: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        """Check and freeze the position."""
        position = np.array(self.position, dtype=float)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ArrayError(f'position {self.position} must be three finite numbers [m]')
        position.setflags(write=False)
        object.__setattr__(self, 'position', position)
        self.rotation  # noqa: B018  raises on a bad quaternion

    @cached_property
    def rotation(self) -> Vector:
        """Rotation matrix, shape (3, 3), from this frame to the outer one."""
        return rotation_from_xyzw(self.orientation_xyzw)

    def to_outer(self, points: Vector) -> Vector:
        """Coordinates in the outer frame of points (..., 3) given in this frame [m]."""
        return points @ self.rotation.T + self.position

    def to_inner(self, points: Vector) -> Vector:
        """Coordinates in this frame of points (..., 3) given in the outer frame [m]."""
        return (points - self.position) @ self.rotation


@dataclass(frozen=True)
class AntennaArray:
    """
    Isotropic elements at known places.

    Attributes
    ----------
    elements : ndarray, shape (N, 3)
        Element positions in the array frame (x and y in the aperture plane, +z boresight) [m].
    pose : Pose
        Pose of the array frame in the scene (world) frame.
    name : str
        Identifies the array in messages.

    """

    elements: Vector
    pose: Pose = field(default_factory=Pose)
    name: str = 'array'

    def __post_init__(self) -> None:
        """Check and freeze the positions."""
        elements = np.array(self.elements, dtype=float)
        if elements.ndim != 2 or elements.shape[1] != 3 or elements.shape[0] == 0:
            raise ArrayError(
                f'array {self.name!r}: element positions have shape {elements.shape}, '
                'must be (N, 3) with N >= 1')
        if not np.isfinite(elements).all():
            raise ArrayError(f'array {self.name!r}: an element position is not finite')
        elements.setflags(write=False)
        object.__setattr__(self, 'elements', elements)

    def __len__(self) -> int:
        """Return the number of elements."""
        return len(self.elements)

    @cached_property
    def positions(self) -> Vector:
        """Element positions in the scene frame, shape (N, 3) [m]."""
        positions = self.pose.to_outer(self.elements)
        positions.setflags(write=False)
        return positions

    @cached_property
    def axes(self) -> Vector:
        """`positions` by coordinate, shape (3, N) [m]: what loops over the elements like best."""
        axes = np.ascontiguousarray(self.positions.T)
        axes.setflags(write=False)
        return axes

    @cached_property
    def centre(self) -> Vector:
        """Mean position of the elements in the scene frame, shape (3,) [m]."""
        return self.positions.mean(axis=0)

    @cached_property
    def middle(self) -> int:
        """Element nearest to the mean of all."""
        away = np.linalg.norm(self.elements - self.elements.mean(axis=0), axis=1)
        return int(np.argmin(away))

    @cached_property
    def aperture(self) -> float:
        """Largest extent of the array [m]: the diagonal of its bounding box."""
        return float(np.linalg.norm(np.ptp(self.elements, axis=0)))

    @cached_property
    def layout_hash(self) -> str:
        """
        Hash of the element positions in the array frame.

        Two arrays whose elements agree to a nanometre, in the same order, have the same hash.
        """
        nanometres = np.round(self.elements * 1e9).astype('<i8')
        return hashlib.blake2b(nanometres.tobytes(), digest_size=8).hexdigest()

    def same_elements(self, other: AntennaArray) -> bool:
        """Tell whether both arrays have the same elements at the same places of the scene."""
        return self is other or (
            len(self) == len(other) and bool(np.array_equal(self.positions, other.positions)))


def rayleigh_distance(aperture: float, wavelength: float) -> float:
    """Distance beyond which the wavefront is as good as plane, 2 D^2 / lambda [m]."""
    return 2.0 * aperture ** 2 / wavelength


def planar_elements(
        n_x: int, n_y: int, spacing: float, centre: ArrayLike = (0.0, 0.0, 0.0)) -> Vector:
    """
    Element positions of a uniform planar array.

    Parameters
    ----------
    n_x, n_y : int
        Elements along x and y.
    spacing : float
        Distance of neighbours [m].
    centre : array_like, shape (3,)
        Centre of the array [m].

    Returns
    -------
    ndarray, shape (n_x * n_y, 3)
        Positions [m]; the x index is the slowest: element n = ix * n_y + iy.

    Raises
    ------
    ArrayError
        If there is no element or the spacing is not positive.

    """
    if n_x < 1 or n_y < 1:
        raise ArrayError(f'elements [{n_x}, {n_y}]: both counts must be at least 1')
    if not (np.isfinite(spacing) and spacing > 0):
        raise ArrayError(f'spacing {spacing} m must be positive and finite')
    x, y = np.meshgrid(
        (np.arange(n_x) - (n_x - 1) / 2) * spacing,
        (np.arange(n_y) - (n_y - 1) / 2) * spacing, indexing='ij')
    elements: Vector = np.stack([x.ravel(), y.ravel(), np.zeros(n_x * n_y)], axis=1)
    return elements + np.asarray(centre, dtype=float)


def linear_elements(n: int, spacing: float, centre: ArrayLike = (0.0, 0.0, 0.0)) -> Vector:
    """Element positions of a uniform linear array along y, shape (n, 3) [m]."""
    return planar_elements(1, n, spacing, centre)


def modular_elements(panels: Sequence[AntennaArray]) -> Vector:
    """
    Element positions of an array that is made of several panels.

    Parameters
    ----------
    panels : sequence of AntennaArray
        At least one; the pose of each is that of the panel in the frame of the whole array.

    Returns
    -------
    ndarray, shape (N, 3)
        Positions in the frame of the whole array [m], one panel after the other.

    Raises
    ------
    ArrayError
        If there is no panel.

    """
    if not panels:
        raise ArrayError('panels: there is none, must be at least one')
    return np.concatenate([panel.positions for panel in panels])


def elements_from_csv(path: Path) -> Vector:
    """
    Read element positions from a CSV file.

    Parameters
    ----------
    path : Path
        Three columns x, y, z [m]; a first line that is no number is a header.

    Returns
    -------
    ndarray, shape (N, 3)
        Positions in the array frame [m].

    Raises
    ------
    ArrayError
        If the file cannot be read, is empty, or a line is not three numbers.

    """
    try:
        with open(path, newline='', encoding='utf-8') as stream:
            lines = [line for line in csv.reader(stream) if line]
    except OSError as error:
        raise ArrayError(f'csv {path}: {error.strerror}') from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ArrayError(f'csv {path}: is no CSV text: {error}') from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = [float(cell) for cell in line]
        except ValueError:
            if number == 1:
                continue
            raise ArrayError(
                f'csv {path}: line {number} is {line}, must be three numbers x, y, z') from None
        if len(row) != 3:
            raise ArrayError(
                f'csv {path}: line {number} has {len(row)} columns, must be x, y, z')
        rows.append(row)
    if not rows:
        raise ArrayError(f'csv {path}: holds no element')
    return np.array(rows)
