"""Motions in closed form: where a body of a made-up scene is at a given time, and how fast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nf_isac_ros.core.exceptions import NfIsacError

Vector = NDArray[np.float64]


class MotionError(NfIsacError, ValueError):
    """A motion that cannot be: not finite, no length, no speed."""

    reason = 'bad-motion'


def _point(value: ArrayLike, key: str) -> Vector:
    point = np.array(value, dtype=float)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise MotionError(f'{key} is {value!r}, must be three finite numbers [m]')
    point.setflags(write=False)
    return point


def _positive(value: float, key: str, unit: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise MotionError(f'{key} is {value}, must be positive and finite [{unit}]')
    return float(value)


class Motion(ABC):
    """Motion of one body."""

    @abstractmethod
    def at(self, time: float) -> tuple[Vector, Vector]:
        """
        Position and velocity at a time.

        Parameters
        ----------
        time : float
            Since the start of the scene [s]; any finite number.

        Returns
        -------
        position : ndarray, shape (3,)
            In the world frame [m].
        velocity : ndarray, shape (3,)
            In the world frame [m/s].

        """


@dataclass(frozen=True)
class Fixed(Motion):
    """
    No motion at all.

    Attributes
    ----------
    position : ndarray, shape (3,)
        In the world frame [m].

    """

    position: Vector

    def __post_init__(self) -> None:
        """Check and freeze the position."""
        object.__setattr__(self, 'position', _point(self.position, 'position'))

    def at(self, time: float) -> tuple[Vector, Vector]:
        """Position and velocity (zero) at a time; see `Motion.at`."""
        return self.position, np.zeros(3)


@dataclass(frozen=True)
class Circle(Motion):
    """
    A circle at constant speed in a horizontal plane, anticlockwise seen from above.

    Attributes
    ----------
    centre : ndarray, shape (3,)
        In the world frame [m].
    radius : float
        [m].
    period : float
        Time of one round [s].
    phase : float
        Angle from the world's x axis at time zero [rad].

    """

    centre: Vector
    radius: float
    period: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, 'centre', _point(self.centre, 'centre'))
        object.__setattr__(self, 'radius', _positive(self.radius, 'radius', 'm'))
        object.__setattr__(self, 'period', _positive(self.period, 'period', 's'))
        if not math.isfinite(self.phase):
            raise MotionError(f'phase is {self.phase}, must be finite [rad]')

    def at(self, time: float) -> tuple[Vector, Vector]:
        """Position and velocity at a time; see `Motion.at`."""
        rate = 2.0 * math.pi / self.period
        # Whole rounds are dropped first: the angle stays exact after days.
        angle = rate * math.fmod(time, self.period) + self.phase
        outward = np.array([math.cos(angle), math.sin(angle), 0.0])
        along = np.array([-math.sin(angle), math.cos(angle), 0.0])
        return self.centre + self.radius * outward, self.radius * rate * along


@dataclass(frozen=True)
class Waypoints(Motion):
    """
    A closed polygon at constant speed: from the last point on to the first, again and again.

    A way there and back is written as its points and then those in between in reverse.

    Attributes
    ----------
    points : ndarray, shape (P, 3)
        P >= 2 corners in the world frame, neighbours apart [m]; reached at time zero: the first.
    speed : float
        [m/s].

    """

    points: Vector
    speed: float

    def __post_init__(self) -> None:
        """Check and freeze the points."""
        points = np.array(self.points, dtype=float)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
            raise MotionError(
                f'points have shape {points.shape}, must be at least two rows x, y, z [m]')
        if not np.isfinite(points).all():
            raise MotionError('points must be finite [m]')
        points.setflags(write=False)
        object.__setattr__(self, 'points', points)
        object.__setattr__(self, 'speed', _positive(self.speed, 'speed', 'm/s'))
        if not (self._lengths > 0).all():
            raise MotionError('points: two neighbours (the last and the first are) coincide')

    @cached_property
    def _sides(self) -> Vector:
        return np.roll(self.points, -1, axis=0) - self.points

    @cached_property
    def _lengths(self) -> Vector:
        lengths: Vector = np.linalg.norm(self._sides, axis=1)
        return lengths

    @cached_property
    def _ends(self) -> Vector:
        return np.cumsum(self._lengths)

    def at(self, time: float) -> tuple[Vector, Vector]:
        """Position and velocity at a time; see `Motion.at`. At a corner: the way ahead."""
        walked = float(np.mod(self.speed * time, self._ends[-1]))
        side = min(int(np.searchsorted(self._ends, walked, side='right')), len(self._ends) - 1)
        direction = self._sides[side] / self._lengths[side]
        start = self._ends[side] - self._lengths[side]
        return self.points[side] + (walked - start) * direction, self.speed * direction
