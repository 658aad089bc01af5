"""Spherical-wave responses of arrays, their derivatives, and channels to users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.scene import Scene

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


def responses(elements: Real, points: Real, wavelength: float,
              names: Sequence[str] = ()) -> Complex:
    """
    Spherical-wave responses of an array to points in space.

    Parameters
    ----------
    elements : ndarray, shape (N, 3)
        Element positions [m].
    points : ndarray, shape (K, 3)
        Points, in the same frame [m].
    wavelength : float
        [m].
    names : sequence of str
        Names of the points for error messages.

    Returns
    -------
    ndarray, shape (N, K)
        lambda / (4 pi r) exp(-j 2 pi r / lambda), dimensionless amplitude.

    Raises
    ------
    SceneError
        If a point lies within a wavelength of an element: no far field of the element itself.

    Notes
    -----
    Eqs. (6), (7) of Hua, Xu, Zhang, "Near-field integrated sensing and communication with
    extremely large-scale antenna array".

    """
    distance = _distances(elements, points, wavelength, names)[1]
    return _responses(distance, wavelength)


def response_derivatives(elements: Real, points: Real, wavelength: float,
                         names: Sequence[str] = ()) -> tuple[Complex, Complex]:
    """
    Spherical-wave responses and their derivatives by the coordinates of the points.

    Parameters
    ----------
    elements, points, wavelength, names
        As for `responses`.

    Returns
    -------
    response : ndarray, shape (N, K)
        As `responses` gives it.
    derivative : ndarray, shape (3, N, K)
        By x, y and z of the point [1/m].

    Raises
    ------
    SceneError
        If a point lies within a wavelength of an element.

    Notes
    -----
    Eqs. (14)-(17) of Hua, Xu, Zhang: a_n ((l_n - l)_u / r^2 + j nu (l_n - l)_u / r).

    """
    offset, distance = _distances(elements, points, wavelength, names)
    response = _responses(distance, wavelength)
    common = response * (1.0 / distance + 2j * np.pi / wavelength) / distance
    derivative: Complex = np.multiply(offset, common)
    return response, derivative


def _distances(elements: Real, points: Real, wavelength: float,
               names: Sequence[str]) -> tuple[Real, Real]:
    """Return element minus point, shape (3, N, K), and its length, shape (N, K) [m]."""
    offset = elements.T[:, :, None] - np.asarray(points, dtype=float).reshape(-1, 3).T[:, None, :]
    distance = np.sqrt(np.einsum('unk,unk->nk', offset, offset))
    if distance.size and distance.min() < wavelength:
        element, point = divmod(int(distance.argmin()), distance.shape[1])
        name = names[point] if len(names) > point else f'point {point}'
        raise SceneError(
            f'position of {name!r} lies {distance.min():.3g} m from antenna element {element}, '
            f'must be at least one wavelength ({wavelength:.3g} m) away',
            'body-on-antenna', name)
    return offset, distance


def _responses(distance: Real, wavelength: float) -> Complex:
    phase = (-2 * np.pi / wavelength) * distance
    response = np.empty(distance.shape, dtype=complex)
    np.cos(phase, out=response.real)
    np.sin(phase, out=response.imag)
    response *= (wavelength / (4 * np.pi)) / distance
    return response


def user_channels(scene: Scene, target_responses: Complex) -> Complex:
    """
    Build the channels from the transmit array to the users.

    Parameters
    ----------
    scene : Scene
    target_responses : ndarray, shape (N, K)
        Transmit responses of the targets, for scattered paths.

    Returns
    -------
    ndarray, shape (N, U)
        Channels h; user u receives h_u^H x.

    Raises
    ------
    SceneError
        If a user lies on an antenna or its paths cancel.

    Notes
    -----
    Line of sight is the conjugate response, so that h^H x = v^T x; a scattered path adds eta times
    the conjugate response of its target, Eq. (51) of Hua, Xu, Zhang.

    """
    channels = np.empty((len(scene.transmit_array), len(scene.users)), dtype=complex)
    located = [i for i, user in enumerate(scene.users) if user.position is not None]
    if located:
        points = np.array([scene.users[i].position for i in located])
        names = [scene.users[i].id for i in located]
        channels[:, located] = responses(
            scene.transmit_array.positions, points, scene.radio.wavelength, names).conj()
    index = {target.id: k for k, target in enumerate(scene.targets)}
    for i, user in enumerate(scene.users):
        if user.channel is not None:
            channels[:, i] = user.channel
        for path in user.scattered:
            channels[:, i] += path.coefficient * target_responses[:, index[path.target]].conj()
        if not channels[:, i].any():
            raise SceneError(f'channel of {user.id!r} is zero: its paths cancel',
                             'no-channel', user.id)
    return channels
