"""
Power density where people are.

The density of beams at a point is that of exact spherical waves,
S = 4 pi / lambda^2 sum_b |sum_n w_nb v_n|^2, v_n = lambda / (4 pi r_n) exp(-j 2 pi r_n / lambda),
for isotropic elements. It is looked for in a whole volume: a near-field focus may lie anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
import math

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.beampattern import power_density
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.radio.caps import ROUNDING
from nf_isac_ros.radio.command import Beams, largest_eigenvalue

Vector = NDArray[np.float64]
# Role and id of a body -> where it is now [m]; None: not known, or too old to be believed.
Bodies = Mapping[tuple[str, str], Vector | None]

UNKNOWN = 'keep-out-unknown'
TOO_CLOSE = 'keep-out-too-close'

# Below this factor on the power the radio mutes instead.
LEAST_FACTOR = 1e-4
# Finest spacing of the points, in spots: half the width of the main lobe of a focus. Coarser ones
# are taken where the points would be too many, up to the coarsest one; see `between_points`.
FINEST, COARSEST = 0.75, 1.6


@dataclass(frozen=True)
class KeepOutVolume:
    """
    A volume in which the power density is limited.

    Attributes
    ----------
    name : str
        For people.
    density : float
        Largest power density in it [W/m^2].
    radius : float
        Of the sphere or of the upright cylinder [m].
    height : float
        Of the cylinder, along z of the world frame [m]; 0: a sphere.
    centre : ndarray, shape (3,), or None
        Of a fixed volume, in the world frame [m]; None: it goes with bodies.
    role, body : str
        Which bodies it goes with: all of a role ('target', 'user', empty: both), or of one id.
    offset : ndarray, shape (3,)
        From the tracked point to the centre, in the world frame [m].

    """

    name: str
    density: float
    radius: float
    height: float = 0.0
    centre: Vector | None = None
    role: str = ''
    body: str = ''
    offset: Vector = field(default_factory=lambda: np.zeros(3))

    def concerns(self, role: str, body: str) -> bool:
        """Tell whether the volume goes with a body."""
        return self.centre is None and self.role in ('', role) and self.body in ('', body)

    def half_extents(self, axes: Vector) -> Vector:
        """Half of a box along three axes (rows of a matrix) that holds the volume [m]."""
        if not self.height:
            return np.full(3, self.radius)
        half: Vector = np.abs(axes) @ np.array([self.radius, self.radius, self.height / 2])
        return half


@dataclass(frozen=True)
class KeepOutReport:
    """
    Exposure of one volume at one place.

    Attributes
    ----------
    name : str
        Of the volume, with the id of the body that it goes with.
    density, limit : float
        Upper estimate of the largest power density in it, and what is allowed [W/m^2]; the
        density is NaN where the body is not known.

    """

    name: str
    density: float
    limit: float

    def times(self, factor: float) -> KeepOutReport:
        """Report for beams of so many times the power."""
        return replace(self, density=self.density * factor)

    @property
    def margin(self) -> float:
        """What the limit is above the density, as a power ratio; below 1: exceeded."""
        return math.inf if self.density == 0.0 else self.limit / self.density


@dataclass(frozen=True)
class KeepOutFinding:
    """
    What all volumes ask for.

    Attributes
    ----------
    reports : tuple of KeepOutReport
    factor : float
        Largest factor on the power that meets all limits, at most 1.
    blocked : str
        Reason for not emitting at all; empty: none.

    """

    reports: tuple[KeepOutReport, ...] = ()
    factor: float = 1.0
    blocked: str = ''


def between_points(spots: float) -> float:
    """
    How much higher the density may be between points than at the points.

    Parameters
    ----------
    spots : float
        Spacing of the points in spots, lambda d / (2 D) for an aperture of the diagonal D.

    Returns
    -------
    float

    Notes
    -----
    Across the line of sight the field is band-limited to D / (2 lambda d) cycles a metre to
    either side, so that a quarter of a spot from its maximum a part of at least
    cos(pi spots / 4) of the amplitude is left (a sine wave of the highest frequency falls fastest
    from its maximum). D is the diagonal: two directions together lose no more than this. Along
    the line of sight the points are as close as the focus is long; 5 % are added for that.

    """
    return 1.05 / math.cos(math.pi * spots / 4.0) ** 2


class KeepOut:
    """
    Watches volumes in which the power density is limited.

    Parameters
    ----------
    volumes : sequence of KeepOutVolume
    array : AntennaArray
        Transmit array with its pose in the world frame.
    wavelength : float
        [m].
    bodies : callable
        Where the bodies that volumes go with are now. A body that it does not name is not there.
    max_points : int
        Most points at which the density in one volume is evaluated.

    """

    def __init__(self, volumes: tuple[KeepOutVolume, ...], array: AntennaArray,
                 wavelength: float, bodies: Callable[[], Bodies] = dict,
                 max_points: int = 400) -> None:
        self.volumes = volumes
        self._array = array
        self._wavelength = wavelength
        self._bodies = bodies
        self._max_points = max_points

    def look(self, beams: Beams, power: float) -> KeepOutFinding:
        """
        Evaluate all volumes where they are now.

        Parameters
        ----------
        beams : ndarray, shape (N, B)
            [sqrt(W)].
        power : float
            Of the beams [W].

        """
        strongest = largest_eigenvalue(beams.conj().T.astype(np.complex128) @ beams)
        reports, factor, blocked = [], 1.0, ''
        for volume, name, centre in self._places():
            if centre is None:
                reports.append(KeepOutReport(name, math.nan, volume.density))
                blocked = UNKNOWN
                continue
            report = KeepOutReport(
                name, self._density(volume, centre, beams, strongest), volume.density)
            reports.append(report)
            factor = min(factor, (1.0 - ROUNDING) * report.margin) if report.margin < 1 else factor
        if not blocked and factor < LEAST_FACTOR:
            blocked = TOO_CLOSE
        return KeepOutFinding(tuple(reports), factor, blocked)

    def _places(self) -> list[tuple[KeepOutVolume, str, Vector | None]]:
        """Return every volume wherever it is: with its name, and None where that is not known."""
        found: list[tuple[KeepOutVolume, str, Vector | None]] = []
        bodies: Bodies | None = None
        for volume in self.volumes:
            if volume.centre is not None:
                found.append((volume, volume.name, volume.centre))
                continue
            bodies = self._bodies() if bodies is None else bodies
            found += [
                (volume, f'{volume.name} ({body})',
                 None if place is None else place + volume.offset)
                for (role, body), place in bodies.items() if volume.concerns(role, body)]
        return found

    def _density(self, volume: KeepOutVolume, centre: Vector, beams: Beams,
                 strongest: float) -> float:
        """Upper estimate of the largest power density in a volume [W/m^2]."""
        bound = self._coherent_bound(volume, centre, strongest)
        if bound <= volume.density or math.isinf(bound):
            return bound
        lattice = self._lattice(volume, centre)
        if lattice is None:
            return bound
        try:
            sampled = power_density(
                self._array.positions, self._wavelength, beams, lattice.points)
        except SceneError:
            # A point beside the volume lies on the antenna.
            return bound
        return min(bound, float((sampled * lattice.margins).max())
                   * 4 * math.pi / self._wavelength ** 2)

    def _coherent_bound(self, volume: KeepOutVolume, centre: Vector, strongest: float) -> float:
        """
        Bound on the density anywhere in a volume: all elements in phase.

        |v^T B|^2 is at most |v|^2 times the largest eigenvalue of B B^H, and |v| is largest at
        the point of the volume that is nearest to each element.
        """
        offset = np.abs(self._array.positions - centre)
        across = np.hypot(offset[:, 0], offset[:, 1])
        if volume.height:
            away = np.hypot(np.maximum(across - volume.radius, 0.0),
                            np.maximum(offset[:, 2] - volume.height / 2, 0.0))
        else:
            away = np.maximum(np.hypot(across, offset[:, 2]) - volume.radius, 0.0)
        if away.min() < self._wavelength:
            return math.inf if strongest > 0.0 else 0.0
        return strongest * float((away ** -2).sum()) / (4 * math.pi)

    def _lattice(self, volume: KeepOutVolume, centre: Vector) -> _Lattice | None:
        """Points that fill a volume; None: they would be too many, or too far apart."""
        sight = centre - self._array.centre
        distance = float(np.linalg.norm(sight))
        nearest = distance - math.hypot(volume.radius, volume.height / 2)
        if nearest < self._wavelength:
            return None
        aperture = max(self._array.aperture, self._wavelength)
        spot = self._wavelength * nearest / (2.0 * aperture)
        long = 2.0 * self._wavelength * (nearest / aperture) ** 2
        along = sight / distance
        side = np.cross(along, (0.0, 0.0, 1.0) if abs(along[2]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        axes = np.stack([along, side, np.cross(along, side)])
        half = volume.half_extents(axes)
        spots = FINEST
        while spots <= COARSEST:
            counts = np.ceil(2 * half / [long, spots * spot, spots * spot])
            spacing = 2 * half / counts
            points = _filled(volume, centre, axes, counts, spacing, self._max_points)
            if points is not None:
                # Half a spacing nearer to the array, waves are stronger.
                away = np.linalg.norm(points - self._array.centre, axis=1)
                nearer = np.maximum(away - spacing[0] / 2, nearest)
                return _Lattice(points, between_points(spots) * np.maximum(away / nearer, 1) ** 2)
            spots *= 1.2
        return None


@dataclass(frozen=True)
class _Lattice:
    """Points, shape (K, 3) [m], and how much higher the density may be around each, shape (K,)."""

    points: Vector
    margins: Vector


def _filled(volume: KeepOutVolume, centre: Vector, axes: Vector, counts: Vector, spacing: Vector,
            max_points: int) -> Vector | None:
    """
    Centres of the cells of a box that reach into a volume, shape (K, 3); None: too many.

    The box is divided into so many cells of that size along each of three axes (rows).
    """
    # An upright cylinder or a sphere fills about half of its box, or more.
    if np.prod(counts) > 2.5 * max_points:
        return None
    steps = [size * (np.arange(count) - (count - 1) / 2)
             for size, count in zip(spacing, counts.astype(int), strict=True)]
    offsets = np.stack(np.meshgrid(*steps, indexing='ij'), axis=-1).reshape(-1, 3) @ axes
    # So far a cell reaches from its centre.
    reach = 0.5 * float(np.linalg.norm(spacing))
    across = np.hypot(offsets[:, 0], offsets[:, 1])
    if volume.height:
        inside = (across <= volume.radius + reach) & (
            np.abs(offsets[:, 2]) <= volume.height / 2 + reach)
    else:
        inside = np.hypot(across, offsets[:, 2]) <= volume.radius + reach
    points: Vector = centre + offsets[inside]
    return points if len(points) <= max_points else None
