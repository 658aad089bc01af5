"""
Extended targets in the near field: every section at its place, by spherical waves.

Notes
-----
Beyond the paper on extended targets. Section k scatters with a coefficient of its own; its
response is that of a point target of Hua, Xu, Zhang, "Near-field integrated sensing and
communication with extremely large-scale antenna array", whose position moves with the body.
docs/maths.md has the derivation.
"""

from __future__ import annotations

from math import pi

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.extended.far_field import SPEED_OF_LIGHT, visible_sections
from nf_isac_ros.core.extended.gram import ExtendedFisher, section_blocks, shape_names
from nf_isac_ros.core.extended.plane import planar_pose
from nf_isac_ros.core.fisher import decorrelate, whiten
from nf_isac_ros.core.propagation import response_derivatives, write_decorrelated
from nf_isac_ros.core.scene import ExtendedTarget, Radio

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


def near_field_fisher(transmit: AntennaArray, receive: AntennaArray, radio: Radio,
                      target: ExtendedTarget) -> ExtendedFisher:
    """
    Fisher information of the pose of a body by spherical waves.

    Every section has an unknown complex coefficient: what the carrier's phase would tell of ranges
    is lost in it, and the bounds depend on no reference of phase.

    Parameters
    ----------
    transmit, receive : AntennaArray
        Any elements, any poses.
    radio : Radio
        Its bandwidth is the effective one; without it ranges are known by the curvature of the
        waves only.
    target : ExtendedTarget
        Its `motion` says what is unknown: range, direction and orientation in the plane of its
        contour, or the centre in space and the orientation.

    Returns
    -------
    ExtendedFisher
        Nuisance parameters: logarithm and phase of each coefficient.

    Raises
    ------
    SceneError
        'inside-contour', 'invisible-target'; 'body-on-antenna': a section lies within a
        wavelength of an element.

    """
    plane = planar_pose(transmit, target.pose)
    sections = visible_sections(target, plane)
    rotation, n = target.pose.rotation, len(sections)
    offset = sections.points @ rotation[:, :2].T
    points = target.position + offset
    names = [target.id] * n

    # Coordinates that responses are differentiated by, and how sections move along them.
    frame = rotation[:, :2] if target.motion == 'plane' else np.eye(3)
    turn = np.cross(rotation[:, 2], offset)
    wanted = ['range', 'direction'] if target.motion == 'plane' else ['x', 'y', 'z']
    centre = (np.stack([plane.radial, plane.range * plane.transverse])
              if target.motion == 'plane' else np.eye(3))
    moves = np.broadcast_to(centre, (n, *centre.shape))
    # The orientation of a circle is nothing that could be estimated.
    if not target.contour.near_circular:
        wanted.append('orientation')
        moves = np.concatenate([moves, turn[:, None]], axis=1)
    place = len(wanted)
    if target.shape == 'unknown':
        harmonics = target.contour.harmonics
        angle = np.multiply.outer(sections.parameter, np.arange(1, harmonics + 1))
        wanted += shape_names(harmonics)
        moves = np.concatenate([moves, np.cos(angle)[..., None] * rotation[:, 0],
                                np.sin(angle)[..., None] * rotation[:, 1]], axis=1)

    columns = _rows(transmit, points, radio.wavelength, names, frame)
    if receive.same_elements(transmit) and radio.sensing_noise.power is not None:
        receive_gram = _grams(columns).conj() / radio.sensing_noise.power
    else:
        receive_gram = _grams(_seen(receive, points, radio, names, frame))

    # One way, as the mean of the way there and the way back.
    sights = [points - array.positions.mean(axis=0) for array in (transmit, receive)]
    sight = 0.5 * sum(way / np.linalg.norm(way, axis=1)[:, None] for way in sights)
    reach = [float(np.linalg.norm(target.position - array.positions.mean(axis=0)))
             for array in (transmit, receive)]
    # The responses carry lambda / (4 pi r); beta^2 already holds the loss to the centre.
    gain = (4 * pi / radio.wavelength) ** 4 * (reach[0] * reach[1]) ** 2
    energy = 2 * radio.symbols * gain * sections.length * target.path_power_at(
        float(np.sqrt(reach[0] * reach[1])), radio.wavelength)
    bandwidth = radio.bandwidth or 0.0
    blocks, nuisance = section_blocks(
        receive_gram, moves @ frame, np.einsum('kwi,ki->kw', moves, sight), energy,
        (4 * pi * bandwidth / SPEED_OF_LIGHT) ** 2 * receive_gram[:, 0, 0].real, 'section')

    report = np.zeros((len(wanted), place - len(centre) + 2))
    if target.motion == 'plane':
        report[:2, :2] = np.eye(2)
    else:
        report[:3, 0], report[:3, 1] = plane.radial, plane.transverse / plane.range
    centre_map = np.zeros((len(wanted), 3))
    centre_map[:len(centre)] = centre
    if not target.contour.near_circular:
        report[place - 1, -1] = 1.0
    return ExtendedFisher(
        target.id, sections, plane, columns.reshape(-1, len(transmit)).T, blocks,
        (*wanted, *nuisance), len(wanted), report, centre_map)


def _rows(array: AntennaArray, points: Real, wavelength: float, names: list[str],
          frame: Real) -> Complex:
    """
    Conjugate responses and derivatives along the columns of a frame, shape (1 + dim, K, N).

    Without the parts of the derivatives along the responses: those only shift what is unknown of
    the coefficients, and they are large.
    """
    dimension = frame.shape[1]
    out = np.empty((1 + dimension, len(points), len(array)), dtype=complex)
    # One point at a time: what is written is still in the cache when it is recombined.
    rows = np.empty((4, len(array)), dtype=complex)
    for k, point in enumerate(points):
        write_decorrelated(array.axes, point[None], wavelength, names[k:k + 1], rows)
        out[0, k] = rows[0]
        out[1:, k] = (frame.T @ rows[1:].view(float)).view(complex)
    return out


def _seen(array: AntennaArray, points: Real, radio: Radio, names: list[str],
          frame: Real) -> Complex:
    """Whitened receive responses and derivatives, shape (1 + dim, K, M)."""
    noise = radio.sensing_noise
    if noise.power is not None:
        return (_rows(array, points, radio.wavelength, names, frame).conj()
                / np.sqrt(noise.power))
    response, slope = response_derivatives(array.positions, points, radio.wavelength, names)
    white = whiten(noise, response)
    along = np.einsum('ud,unk->dnk', frame, slope)
    rest = decorrelate(white, np.stack([whiten(noise, by) for by in along]))
    return np.concatenate([white[None], rest]).transpose(0, 2, 1)


def _grams(rows: Complex) -> Complex:
    """Gram matrices (K, r, r) of the responses of each section."""
    out = np.empty((rows.shape[1], len(rows), len(rows)), dtype=complex)
    for k in range(len(out)):
        out[k] = rows[:, k].conj() @ rows[:, k].T
    return out
