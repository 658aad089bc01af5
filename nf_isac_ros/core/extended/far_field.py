"""
Extended targets in the far field of an array: plane waves, sections by range and direction.

Notes
-----
Theorem 1 and Eqs. (10)-(28), (46)-(68) of Wang, Tao, Sun, "Cramér-Rao bound analysis and
beamforming design for integrated sensing and communication with extended targets", arXiv
2406.01937. docs/maths.md derives what is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin, tan

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.gram import (
    ExtendedFisher,
    Nuisance,
    section_blocks,
    shape_names,
)
from nf_isac_ros.core.extended.plane import PlanarPose, planar_pose
from nf_isac_ros.core.extended.sections import Sections, split_sections
from nf_isac_ros.core.fisher import whiten
from nf_isac_ros.core.scene import ExtendedTarget, Geometry, Radio

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

SPEED_OF_LIGHT = 299792458.0

# The model knows directions in one plane only: a body may stand this far out of it [rad].
MAX_ELEVATION = np.deg2rad(10.0)
# Sections so near to the plane of the array, or behind it, do not count [rad].
ENDFIRE = pi / 2 - 1e-3


@dataclass(frozen=True)
class SectionGeometry:
    """
    Where the sections are and how they move with the target.

    Attributes
    ----------
    distance, direction : ndarray, shape (K,)
        d_k [m] and phi_k [rad].
    across, along : ndarray, shape (K,)
        Offsets of a section from the centre, across (z_k) and along (r_k) its line of sight [m].
    range_slopes, direction_slopes : ndarray, shape (K, w)
        Derivatives of d_k and phi_k by the wanted parameters.

    """

    distance: Real
    direction: Real
    across: Real
    along: Real
    range_slopes: Real
    direction_slopes: Real


def section_geometry(plane: PlanarPose, sections: Sections, geometry: Geometry,
                     shape_harmonics: int = 0) -> SectionGeometry:
    """
    Ranges and directions of sections, and their derivatives.

    Parameters
    ----------
    plane : PlanarPose
        Of the target.
    sections : Sections
    geometry : str
        'exact', or 'far': d_k = d_o + .., phi_k = phi_o as far as derivatives go.
    shape_harmonics : int
        Harmonics Q of an unknown contour: the columns by A_1..A_Q and B_1..B_Q follow.

    Returns
    -------
    SectionGeometry
        Wanted parameters are range, direction, orientation and the shape.

    Notes
    -----
    Eqs. (8), (9), (51), (52) of Wang, Tao, Sun.

    """
    c, s = cos(plane.orientation), sin(plane.orientation)
    turn = np.array([[c, -s], [s, c]])
    offset = sections.points @ turn.T
    position = offset + plane.range * np.array([cos(plane.direction), sin(plane.direction)])
    distance = np.hypot(position[:, 0], position[:, 1])
    direction = np.arctan2(position[:, 1], position[:, 0])
    sight = np.stack([np.cos(direction), np.sin(direction)], axis=1)
    normal = np.stack([-sight[:, 1], sight[:, 0]], axis=1)
    across = np.einsum('ki,ki->k', normal, offset)
    # Rounding must not make up a lever by which an orientation could be seen.
    across = np.where(np.abs(across) < 1e-12 * distance, 0.0, across)
    along = np.einsum('ki,ki->k', sight, offset)
    if geometry == 'far':
        by_range = np.stack([np.ones_like(across), across, -across], axis=1)
        by_direction = np.tile([0.0, 1.0, 0.0], (len(across), 1))
    else:
        by_range = np.stack([np.cos(direction - plane.direction), across, -across], axis=1)
        by_direction = np.stack([-across / (plane.range * distance), 1 - along / distance,
                                 along / distance], axis=1)
    if shape_harmonics:
        angle = np.multiply.outer(sections.parameter, np.arange(1, shape_harmonics + 1))
        moves = np.concatenate([np.cos(angle)[..., None] * turn[:, 0],
                                np.sin(angle)[..., None] * turn[:, 1]], axis=1)
        by_range = np.hstack([by_range, np.einsum('kqi,ki->kq', moves, sight)])
        by_direction = np.hstack(
            [by_direction, np.einsum('kqi,ki->kq', moves, normal) / distance[:, None]])
    return SectionGeometry(distance, direction, across, along, by_range, by_direction)


def plane_wave_responses(array: AntennaArray, axes: Real, direction: Real,
                         wavelength: float) -> tuple[Complex, Complex]:
    """
    Responses of an array to plane waves, and their derivatives by the direction.

    Parameters
    ----------
    array : AntennaArray
    axes : ndarray, shape (3, 2)
        Orthonormal x and y of the plane that the directions lie in, in the scene frame.
    direction : ndarray, shape (K,)
        From x towards y [rad].
    wavelength : float
        [m].

    Returns
    -------
    response, derivative : ndarray, shape (N, K)
        a, with a^H x the field in that direction; and da / d phi [1/rad]. The phase is that at the
        centre of the elements. A receive array answers with the conjugate.

    """
    positions = array.positions - array.positions.mean(axis=0)
    turns = -2j * pi / wavelength
    x, y = (turns * (positions @ axes)).T
    c, s = np.cos(direction), np.sin(direction)
    response = np.exp(np.outer(x, c) + np.outer(y, s))
    return response, response * (np.outer(y, c) - np.outer(x, s))


def visible_sections(target: ExtendedTarget, plane: PlanarPose) -> Sections:
    """
    Cut what an array sees of a target into sections.

    Parameters
    ----------
    target : ExtendedTarget
    plane : PlanarPose
        Where the array sees it.

    Raises
    ------
    SceneError
        'inside-contour', 'invisible-target'.

    """
    viewpoint = target.pose.to_inner(plane.origin)[:2]
    try:
        return split_sections(target.contour, viewpoint, target.sections, target.split,
                              target.lengths)
    except SceneError as error:
        raise SceneError(f'target {target.id!r}: {error}', error.reason, target.id) from error


def far_field_fisher(transmit: AntennaArray, receive: AntennaArray, radio: Radio,
                     target: ExtendedTarget, geometry: Geometry = 'exact',
                     nuisance: Nuisance = 'common') -> ExtendedFisher:
    """
    Fisher information of range, direction and orientation by plane waves.

    Both arrays count as standing at the centre of the transmit elements.

    Parameters
    ----------
    transmit, receive : AntennaArray
    radio : Radio
        Its bandwidth is the effective one; without it ranges leave no trace in the echo.
    target : ExtendedTarget
    geometry : str
        Derivatives of the sections: 'exact', or 'far' as in the paper.
    nuisance : str
        What is unknown of the path: see `section_blocks`.

    Returns
    -------
    ExtendedFisher
        Sections at endfire or behind the array do not count.

    Raises
    ------
    SceneError
        'behind-array': the centre, or every section, is at endfire or behind the array;
        'out-of-plane': the contour does not lie in the plane of the boresight;
        'inside-contour', 'invisible-target'.

    """
    plane = planar_pose(transmit, target.pose)
    _check_plane(target, plane)
    sections = visible_sections(target, plane)
    harmonics = target.contour.harmonics if target.shape == 'unknown' else 0
    where = section_geometry(plane, sections, geometry, harmonics)
    front = np.abs(where.direction) < ENDFIRE
    if not front.all():
        sections = sections.take(front)
        if not len(sections):
            raise SceneError(f'all of target {target.id!r} is at endfire or behind the array, '
                             'must be in front of it', 'behind-array', target.id)
        where = section_geometry(plane, sections, geometry, harmonics)
    return fisher_of_sections(transmit, receive, radio, target, plane, sections, where, nuisance)


def _check_plane(target: ExtendedTarget, plane: PlanarPose) -> None:
    if plane.tilt > MAX_ELEVATION or abs(plane.height) > tan(MAX_ELEVATION) * plane.range:
        raise SceneError(
            f'target {target.id!r} stands {plane.height:.3g} m over the array at '
            f'{plane.range:.3g} m, its plane {np.rad2deg(plane.tilt):.3g} deg from the boresight; '
            f'for the far-field model both must be within {np.rad2deg(MAX_ELEVATION):.3g} deg: '
            'use the near-field model', 'out-of-plane', target.id)
    if not abs(plane.direction) < ENDFIRE:
        raise SceneError(
            f'direction of target {target.id!r} is {np.rad2deg(plane.direction):.4g} deg, must be '
            'in front of the array, between -90 and 90 deg', 'behind-array', target.id)


def fisher_of_sections(transmit: AntennaArray, receive: AntennaArray, radio: Radio,
                       target: ExtendedTarget, plane: PlanarPose, sections: Sections,
                       where: SectionGeometry, nuisance: Nuisance) -> ExtendedFisher:
    """Fisher information of given sections; see `far_field_fisher`."""
    axes = plane.axes[:, :2]
    sent, sent_slope = plane_wave_responses(transmit, axes, where.direction, radio.wavelength)
    seen = np.stack(plane_wave_responses(receive, axes, where.direction, radio.wavelength))
    white = np.stack([whiten(radio.sensing_noise, part.conj()) for part in seen])
    receive_gram = np.einsum('imk,jmk->kij', white.conj(), white)

    # The orientation of a circle is nothing that could be estimated.
    circle = target.contour.near_circular
    kept = np.array([i for i in range(where.range_slopes.shape[1]) if i != 2 or not circle])
    names = ['range', 'direction', 'orientation']
    q = (where.range_slopes.shape[1] - 3) // 2
    names += shape_names(q)
    bandwidth = radio.bandwidth or 0.0
    energy = 2 * radio.symbols * target.path_power_at(
        plane.range, radio.wavelength) * sections.length
    blocks, nuisance_names = section_blocks(
        receive_gram, where.direction_slopes[:, kept, None], where.range_slopes[:, kept], energy,
        (4 * pi * bandwidth / SPEED_OF_LIGHT) ** 2 * receive_gram[:, 0, 0].real, nuisance)
    report = np.eye(len(kept))[:, :2 if circle else 3]
    centre = np.zeros((len(kept), 3))
    centre[0], centre[1] = plane.radial, plane.range * plane.transverse
    return ExtendedFisher(
        target.id, sections, plane, np.hstack([sent, sent_slope]), blocks,
        tuple(names[i] for i in kept) + nuisance_names, len(kept), report, centre)


@dataclass(frozen=True)
class SectionTerms:
    """
    What a covariance does to the sections, the only place where it enters.

    Attributes
    ----------
    illumination : ndarray, shape (K,)
        P_k = a_k^H R a_k [W].
    slope : ndarray, shape (K,)
        Q_k = a'_k^H R a'_k [W/rad^2].
    mixed : ndarray, shape (K,)
        S_k = a'_k^H R a_k [W/rad].

    """

    illumination: Real
    slope: Real
    mixed: Complex


def section_terms(fisher: ExtendedFisher, factor: Complex) -> SectionTerms:
    """P_k, Q_k, S_k of a far-field target for R = W W^H, W of shape (N, s) [sqrt(W)]."""
    seen = (factor.conj().T @ fisher.columns).reshape(factor.shape[1], 2, -1)
    value, slope = seen[:, 0], seen[:, 1]
    return SectionTerms(np.einsum('sk,sk->k', value.conj(), value).real,
                        np.einsum('sk,sk->k', slope.conj(), slope).real,
                        np.einsum('sk,sk->k', slope.conj(), value))


@dataclass(frozen=True)
class ClosedFormBounds:
    """
    Bounds of Theorem 1.

    Attributes
    ----------
    range, direction, orientation : float
        [m^2], [rad^2], [rad^2]; infinite if all sections are equally far across.
    range_decoupled, orientation_decoupled : float
        The same without the coupling of range and angle through the mean of z_k: another reading
        of the paper, never larger.

    """

    range: float
    direction: float
    orientation: float
    range_decoupled: float
    orientation_decoupled: float


def closed_form_bounds(terms: SectionTerms, where: SectionGeometry, length: Real, n_receive: int,
                       spread: Real, energy: float, bandwidth: float,
                       complex_coupling: bool = False) -> ClosedFormBounds:
    """
    Bounds of Theorem 1, for white noise and the geometry 'far'.

    Parameters
    ----------
    terms : SectionTerms
    where : SectionGeometry
    length : ndarray, shape (K,)
        l_k [m].
    n_receive : int
        Receive elements.
    spread : ndarray, shape (K,)
        |b'(phi_k)|^2 of the receive array about its centre [1/rad^2].
    energy : float
        2 L beta^2 / sigma_s^2 [1/W].
    bandwidth : float
        Effective [Hz].
    complex_coupling : bool
        The common gain is complex.

    Notes
    -----
    Theorem 1 of Wang, Tao, Sun, as the inverse of the equivalent Fisher matrix; docs/maths.md.

    """
    weight = length * terms.illumination
    delay = n_receive * (4 * pi * bandwidth / SPEED_OF_LIGHT) ** 2
    zeroth, first, second = (float(weight @ where.across ** i) for i in range(3))
    mixed = complex(length @ terms.mixed)
    coupled = abs(mixed) ** 2 if complex_coupling else mixed.real ** 2
    information = float(length @ (spread * terms.illumination + n_receive * terms.slope))
    if zeroth > 0:
        information -= n_receive * coupled / zeroth
    direction = _reciprocal(energy * information)
    determinant = zeroth * second - first ** 2
    if determinant <= 1e-13 * zeroth * second:
        # Of range and orientation only a combination is seen, unless all z_k vanish.
        along = _reciprocal(energy * delay * zeroth) if second == 0 else np.inf
        return ClosedFormBounds(along, direction, np.inf, _reciprocal(energy * delay * zeroth),
                                direction + _reciprocal(energy * delay * second))
    common = energy * delay * determinant
    return ClosedFormBounds(
        second * _reciprocal(common), direction, direction + zeroth * _reciprocal(common),
        _reciprocal(energy * delay * zeroth), direction + _reciprocal(energy * delay * second))


def point_target_bounds(terms: SectionTerms, n_receive: int, spread: float, energy: float,
                        bandwidth: float, complex_coupling: bool = False) -> tuple[float, float]:
    """
    Bounds of range [m^2] and direction [rad^2] of a point in the far field.

    Parameters
    ----------
    terms : SectionTerms
        Of the one point.
    n_receive, spread, energy, bandwidth, complex_coupling
        As for `closed_form_bounds`.

    Notes
    -----
    Eqs. (27), (28) of Wang, Tao, Sun.

    """
    power, slope = float(terms.illumination[0]), float(terms.slope[0])
    mixed = complex(terms.mixed[0])
    coupled = abs(mixed) ** 2 if complex_coupling else mixed.real ** 2
    delay = n_receive * (4 * pi * bandwidth / SPEED_OF_LIGHT) ** 2
    information = energy * (spread * power ** 2 + n_receive * (power * slope - coupled))
    return (_reciprocal(energy * delay * power),
            power * _reciprocal(information) if power > 0 else np.inf)


def _reciprocal(value: float) -> float:
    return 1.0 / value if value > 0 else np.inf
