"""Spherical-wave responses of arrays, their derivatives, and channels to users."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial, pi

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled_loop, compiled_sum
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.scene import Scene

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Taylor series of sine and cosine by the phase in turns, good to rounding up to an eighth of one.
_SINE = tuple((-1) ** k * (2 * pi) ** (2 * k + 1) / factorial(2 * k + 1) for k in range(9))
_COSINE = tuple((-1) ** k * (2 * pi) ** (2 * k) / factorial(2 * k) for k in range(9))


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
    points = np.asarray(points, dtype=float).reshape(-1, 3)
    rows = np.empty((len(points), len(elements)), dtype=complex)
    write_conjugate_responses(elements.T, points, wavelength, names, rows)
    return np.conj(rows, out=rows).T


def write_conjugate_responses(axes: Real, points: Real, wavelength: float, names: Sequence[str],
                              rows: Complex) -> None:
    """
    Write the conjugate spherical-wave responses of an array into rows of a matrix.

    Parameters
    ----------
    axes : ndarray, shape (3, N)
        Coordinates of the elements [m].
    points : ndarray, shape (K, 3)
        [m].
    wavelength, names
        As for `responses`.
    rows : ndarray, shape (K, N)
        Is written to; each row contiguous.

    Raises
    ------
    SceneError
        If a point lies within a wavelength of an element.

    """
    axes, points = _constant(axes), _constant(points)
    for k, point in enumerate(points):
        if _wave(axes, point, wavelength, rows[k].view(float)):
            _distances(axes.T, points, wavelength, names)


def write_decorrelated(axes: Real, points: Real, wavelength: float, names: Sequence[str],
                       rows: Complex) -> None:
    """
    Write conjugate responses and what their derivatives add to them into rows of a matrix.

    Parameters
    ----------
    axes : ndarray, shape (3, N)
        Coordinates of the elements [m].
    points : ndarray, shape (K, 3)
        [m].
    wavelength, names
        As for `responses`.
    rows : ndarray, shape (4 K, N)
        Is written to: the conjugates of all responses, then of all derivatives by x, by y and by
        z, each without its part along the response of its point; see `fisher.decorrelate`.

    Raises
    ------
    SceneError
        If a point lies within a wavelength of an element.

    """
    axes, points, n = _constant(axes), _constant(points), len(points)
    write_conjugate_responses(axes, points, wavelength, names, rows[:n])
    means = np.empty((4, 3))
    for k, point in enumerate(points):
        _means(axes, point, means)
        _tangents(axes, point, wavelength, means, rows[k].view(float), rows[n + k].view(float),
                  rows[2 * n + k].view(float), rows[3 * n + k].view(float))


def _constant(array: Real) -> Real:
    """Contiguous, read-only view: one type for the kernels, whatever the caller has."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def warm_up() -> None:
    """Compile or load the kernels, so that the first call does not."""
    responses(np.zeros((1, 3)), np.ones((1, 3)), 1.0)


@compiled_sum
def _wave(axes: Real, point: Real, wavelength: float, row: Real) -> int:
    """Write a conjugate response as interleaved re, im; count elements within a wavelength."""
    close = 0
    amplitude = wavelength / (4.0 * pi)
    turns_per_metre = 1.0 / wavelength
    nearest = wavelength * wavelength
    px, py, pz = point[0], point[1], point[2]
    for i in range(axes.shape[1]):
        x, y, z = axes[0, i] - px, axes[1, i] - py, axes[2, i] - pz
        square = x * x + y * y + z * z
        close += 1 if square < nearest else 0
        distance = np.sqrt(square)
        turns = distance * turns_per_metre
        quarters = np.rint(4.0 * turns)
        f = turns - 0.25 * quarters
        g = f * f
        sine = f * (_SINE[0] + g * (_SINE[1] + g * (_SINE[2] + g * (_SINE[3] + g * (
            _SINE[4] + g * (_SINE[5] + g * (_SINE[6] + g * (_SINE[7] + g * _SINE[8]))))))))
        cosine = _COSINE[0] + g * (_COSINE[1] + g * (_COSINE[2] + g * (_COSINE[3] + g * (
            _COSINE[4] + g * (_COSINE[5] + g * (_COSINE[6] + g * (
                _COSINE[7] + g * _COSINE[8])))))))
        # Quarter turns 0..3: (c, s), (-s, c), (-c, -s), (s, -c).
        quarter = quarters - 4.0 * np.floor(0.25 * quarters)
        odd = quarter == 1.0 or quarter == 3.0
        re = sine if odd else cosine
        im = cosine if odd else sine
        a = amplitude / distance
        row[2 * i] = -a * re if quarter == 1.0 or quarter == 2.0 else a * re
        row[2 * i + 1] = -a * im if quarter >= 2.0 else a * im
    return close


@compiled_sum
def _means(axes: Real, point: Real, out: Real) -> None:
    """
    Write means over the elements, weighted by |v|^2, of u and of u / r.

    u is the unit vector from point to element. Both are taken relative to those of the first
    element, rows 0 and 1; what is equal for all is large, and would leave its rounding in the
    means, rows 2 and 3.
    """
    px, py, pz = point[0], point[1], point[2]
    x, y, z = axes[0, 0] - px, axes[1, 0] - py, axes[2, 0] - pz
    square = 1.0 / (x * x + y * y + z * z)
    inverse = np.sqrt(square)
    x0, y0, z0 = x * inverse, y * inverse, z * inverse
    xx0, yy0, zz0 = x * square, y * square, z * square
    total = sx = sy = sz = sxx = syy = szz = 0.0
    for i in range(axes.shape[1]):
        x, y, z = axes[0, i] - px, axes[1, i] - py, axes[2, i] - pz
        square = 1.0 / (x * x + y * y + z * z)
        inverse = np.sqrt(square)
        total += square
        sx += square * (x * inverse - x0)
        sy += square * (y * inverse - y0)
        sz += square * (z * inverse - z0)
        sxx += square * (x * square - xx0)
        syy += square * (y * square - yy0)
        szz += square * (z * square - zz0)
    out[0, 0], out[0, 1], out[0, 2] = x0, y0, z0
    out[1, 0], out[1, 1], out[1, 2] = xx0, yy0, zz0
    out[2, 0], out[2, 1], out[2, 2] = sx / total, sy / total, sz / total
    out[3, 0], out[3, 1], out[3, 2] = sxx / total, syy / total, szz / total


@compiled_loop
def _tangents(axes: Real, point: Real, wavelength: float, means: Real, wave: Real, by_x: Real,
              by_y: Real, by_z: Real) -> None:
    """Write conj(v) (u / r - j nu u), less the means of the factors: conjugate derivatives."""
    px, py, pz = point[0], point[1], point[2]
    wavenumber = -2.0 * pi / wavelength
    for i in range(axes.shape[1]):
        x, y, z = axes[0, i] - px, axes[1, i] - py, axes[2, i] - pz
        square = 1.0 / (x * x + y * y + z * z)
        inverse = np.sqrt(square)
        re, im = wave[2 * i], wave[2 * i + 1]
        # In this order: what is equal for all elements goes first.
        a = (x * square - means[1, 0]) - means[3, 0]
        b = wavenumber * ((x * inverse - means[0, 0]) - means[2, 0])
        by_x[2 * i] = re * a - im * b
        by_x[2 * i + 1] = re * b + im * a
        a = (y * square - means[1, 1]) - means[3, 1]
        b = wavenumber * ((y * inverse - means[0, 1]) - means[2, 1])
        by_y[2 * i] = re * a - im * b
        by_y[2 * i + 1] = re * b + im * a
        a = (z * square - means[1, 2]) - means[3, 2]
        b = wavenumber * ((z * inverse - means[0, 2]) - means[2, 2])
        by_z[2 * i] = re * a - im * b
        by_z[2 * i + 1] = re * b + im * a


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
    channels = np.empty((len(scene.users), len(scene.transmit_array)), dtype=complex)
    write_user_channels(scene, np.asarray(target_responses).T.conj(), channels)
    return channels.T


def write_user_channels(scene: Scene, steering: Complex, rows: Complex) -> None:
    """
    Write the channels from the transmit array to the users into rows of a matrix.

    Parameters
    ----------
    scene : Scene
    steering : ndarray, shape (K, N)
        Conjugate transmit responses of the targets, for scattered paths.
    rows : ndarray, shape (U, N)
        Is written to; each row contiguous.

    Raises
    ------
    SceneError
        As `user_channels`.

    """
    index = {target.id: k for k, target in enumerate(scene.targets)}
    for i, user in enumerate(scene.users):
        if user.position is not None:
            write_conjugate_responses(scene.transmit_array.axes, user.position[None],
                                      scene.radio.wavelength, (user.id,), rows[i:i + 1])
        else:
            rows[i] = user.channel
        for path in user.scattered:
            rows[i] += path.coefficient * steering[index[path.target]]
        # A line of sight alone is not zero.
        if (user.position is None or user.scattered) and not rows[i].any():
            raise SceneError(f'channel of {user.id!r} is zero: its paths cancel',
                             'no-channel', user.id)
