"""Which SINRs the power allows: largest common SINR scale and least power, without any SDP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.small_matrices import (
    cholesky,
    energy,
    solve_m_matrix,
    square,
    triangular_inverse,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Newton's method on a concave map: it doubles the digits each time. The bound is for inputs at
# which rounding keeps the last digit from settling.
MAX_ITERATIONS = 60
SETTLED = 1e-13
# Ratios that differ by no more than this are equal.
ROUNDING = 1e-15


@dataclass(frozen=True)
class UserBeams:
    """
    Beams for the users alone, without sensing.

    Attributes
    ----------
    beams : ndarray, shape (d, U)
        In the coordinates of the channels that were given; the budget is 1.
    power : float
        Their total power, as a fraction of the budget.
    uplink : ndarray, shape (U,)
        Powers of the dual uplink: multipliers of the SINR constraints.

    """

    beams: Complex
    power: float
    uplink: Real


@compiled
def _unit_filters(channels: Complex, uplink: Real) -> Complex:
    """
    Receive filters of the dual uplink, unit columns, shape (d, U).

    (I + H Q H^H)^-1 H has the directions of H Q^1/2 (I + Q^1/2 H^H H Q^1/2)^-1: U equations
    instead of d.
    """
    d, n = channels.shape
    scaled = np.empty((d, n), dtype=np.complex128)
    for u in range(n):
        root = np.sqrt(uplink[u])
        for i in range(d):
            scaled[i, u] = channels[i, u] * root
    low = np.empty((n, n), dtype=np.complex128)
    for u in range(n):
        for k in range(u + 1):
            total = 1.0 + 0.0j if u == k else 0.0j
            for i in range(d):
                total += np.conj(scaled[i, u]) * scaled[i, k]
            low[u, k] = total
    cholesky(low)
    inverse = triangular_inverse(low)
    filters = np.empty((d, n), dtype=np.complex128)
    for i in range(d):
        # Row of H Q^1/2 times L^-H, then times L^-1.
        for u in range(n):
            total = 0.0j
            for k in range(u + 1):
                total += scaled[i, k] * np.conj(inverse[u, k])
            filters[i, u] = total
        for u in range(n):
            total = 0.0j
            for k in range(u, n):
                total += filters[i, k] * inverse[k, u]
            filters[i, u] = total
    for u in range(n):
        filters[:, u] /= np.sqrt(energy(filters[:, u]))
    return filters


@compiled
def _coupling(channels: Complex, filters: Complex, sinr: Real) -> tuple[Real, Real]:
    """
    Linear form of the uplink requirements for fixed filters.

    Returns
    -------
    coupling : ndarray, shape (U, U)
        Interference of user j (column) that user u (row) has to outweigh.
    noise : ndarray, shape (U,)
        Least power of user u without interference.

    """
    d, n = channels.shape
    coupling, noise = np.empty((n, n)), np.empty(n)
    for u in range(n):
        for k in range(n):
            total = 0.0j
            for i in range(d):
                total += np.conj(filters[i, u]) * channels[i, k]
            coupling[u, k] = square(total)
        noise[u] = sinr[u] / coupling[u, u]
        for k in range(n):
            coupling[u, k] *= noise[u]
        coupling[u, u] = 0.0
    return coupling, noise


@compiled
def _downlink(coupling: Real, noise: Real) -> Real:
    """Coupling of the downlink with the same filters as beams, shape (U, U)."""
    n = len(noise)
    out = np.empty((n, n))
    for u in range(n):
        for k in range(n):
            out[u, k] = coupling[k, u] / noise[k] * noise[u]
    return out


@compiled
def _perron(coupling: Real, noise: Real) -> tuple[float, Real]:
    """
    Perron root of the positive matrix coupling + noise 1^T and its eigenvector, of sum one.

    By Noda's inverse iteration (Numer. Math. 17, 1971): the root lies between the least and the
    largest ratio of A x to x, which close in on each other quadratically.
    """
    n = len(noise)
    x: Real = np.full(n, 1.0 / n)
    root, image, system = 0.0, np.empty(n), np.empty((n, n))
    for _ in range(MAX_ITERATIONS):
        lowest, highest = np.inf, 0.0
        for u in range(n):
            image[u] = 0.0
            for k in range(n):
                image[u] += (coupling[u, k] + noise[u]) * x[k]
            lowest, highest = min(lowest, image[u] / x[u]), max(highest, image[u] / x[u])
        root = image.sum()
        if not highest - lowest > ROUNDING * highest:
            break
        for u in range(n):
            for k in range(n):
                system[u, k] = -coupling[u, k] - noise[u]
            system[u, u] += highest
        right = x.copy()
        solve_m_matrix(system, right)
        total = 0.0
        for u in range(n):
            # The matrix is singular to rounding: x is as good as it gets.
            if not 0.0 < right[u] < np.inf:
                return root, x
            total += right[u]
        x = right / total
    return root, x


@compiled
def _balance(channels: Complex, sinr: Real) -> tuple[float, Complex, Real]:
    """Largest common scale, beams and uplink powers, see `largest_common_scale`."""
    n = len(sinr)
    uplink: Real = np.full(n, 1.0 / n)
    filters, scale = _unit_filters(channels, uplink), 0.0
    for _ in range(MAX_ITERATIONS):
        coupling, noise = _coupling(channels, filters, sinr)
        root, uplink = _perron(coupling, noise)
        previous, scale = scale, 1.0 / root
        filters = _unit_filters(channels, uplink)
        if abs(scale - previous) <= SETTLED * scale:
            break
    coupling, noise = _coupling(channels, filters, sinr)
    # Downlink: the same filters as beams, the transposed coupling, the same total power.
    root, power = _perron(_downlink(coupling, noise), noise)
    return 1.0 / root, filters * np.sqrt(power), uplink


@compiled
def _needed(coupling: Real, noise: Real) -> Real:
    """Powers with which every requirement is met exactly."""
    system, power = -coupling, noise.copy()
    for u in range(len(noise)):
        system[u, u] += 1.0
    return solve_m_matrix(system, power)


@compiled
def _economise(channels: Complex, sinr: Real, beams: Complex) -> tuple[float, Complex, Real]:
    """Least power, its beams and uplink powers, from beams of the largest common scale."""
    n = len(sinr)
    filters = np.empty_like(beams)
    for u in range(n):
        filters[:, u] = beams[:, u] / np.sqrt(energy(beams[:, u]))
    total = 1.0
    uplink: Real = np.empty(n)
    for _ in range(MAX_ITERATIONS):
        coupling, noise = _coupling(channels, filters, sinr)
        uplink = _needed(coupling, noise)
        previous, total = total, uplink.sum()
        filters = _unit_filters(channels, uplink)
        if abs(total - previous) <= SETTLED * total:
            break
    coupling, noise = _coupling(channels, filters, sinr)
    power = _needed(_downlink(coupling, noise), noise)
    return power.sum(), filters * np.sqrt(power), uplink


@compiled
def _least(channels: Complex, sinr: Real) -> tuple[float, Complex, Real]:
    """Least power, beams and uplink powers, see `least_power`; infinite if it is too much."""
    scale, beams, uplink = _balance(channels, sinr)
    if not scale >= 1.0:
        return np.inf, beams, uplink
    return _economise(channels, sinr, beams)


@compiled
def _roomy(channels: Complex, sinr: Real, least: float, margin: float, share: float) -> Complex:
    """Beams that leave power over, see `roomy_beams`."""
    power = least + margin * (1.0 - least)
    scaled = channels * np.sqrt(power)
    scale, beams, _ = _balance(scaled, 2.0 * sinr)
    if scale >= 1.0:
        beams = _economise(scaled, 2.0 * sinr, beams)[1]
    beams *= np.sqrt(power)
    return beams * np.sqrt(max(1.0, (least + share * (1.0 - least)) / energy(beams)))


def roomy_beams(channels: Complex, sinr: Real, least: float, margin: float,
                share: float) -> Complex:
    """
    Beams that meet every SINR with some to spare, and leave power over.

    Parameters
    ----------
    channels : ndarray, shape (d, U), U >= 1
    sinr : ndarray, shape (U,)
        As for `least_power`.
    least : float
        Power that `least_power` gives.
    margin : float
        Share of the power beyond that by which each SINR is doubled, or raised as far as it goes.
    share : float
        Share of it that the beams take at least.

    Returns
    -------
    ndarray, shape (d, U)

    """
    return _roomy(_contiguous(channels), sinr, least, margin, share)


def largest_common_scale(channels: Complex, sinr: Real) -> tuple[float, UserBeams]:
    """
    Largest factor on all SINR requirements that the power budget allows.

    Parameters
    ----------
    channels : ndarray, shape (d, U)
        Channels h_u sqrt(P_T) / sigma_u: budget and noise are 1.
    sinr : ndarray, shape (U,)
        Required SINRs, linear.

    Returns
    -------
    scale : float
        Largest t so that every user can have t times its required SINR.
    beams : UserBeams
        The beams that reach it with the whole budget.

    Notes
    -----
    Uplink-downlink duality (Schubert, Boche, IEEE Trans. Veh. Technol. 53, 2004): for fixed
    receive filters the best common scale is the reciprocal of a Perron root; filters and powers in
    turn are Newton's method for the nonlinear Perron problem and rise monotonically.

    """
    scale, beams, uplink = _balance(_contiguous(channels), np.asarray(sinr, dtype=float))
    return scale, UserBeams(beams, 1.0, uplink)


def _contiguous(channels: Complex) -> Complex:
    return np.ascontiguousarray(channels, dtype=np.complex128)


def least_power(channels: Complex, sinr: Real) -> UserBeams | None:
    """
    Beams of least power that meet every SINR.

    Parameters
    ----------
    channels : ndarray, shape (d, U)
        Channels h_u sqrt(P_T) / sigma_u: budget and noise are 1.
    sinr : ndarray, shape (U,)
        Required SINRs, linear.

    Returns
    -------
    UserBeams or None
        None if the requirements cannot be met within the budget.

    """
    if not len(sinr):
        return UserBeams(
            np.zeros((channels.shape[0], 0), dtype=np.complex128), 0.0, np.zeros(0))
    power, beams, uplink = _least(_contiguous(channels), np.asarray(sinr, dtype=float))
    return UserBeams(beams, power, uplink) if power < np.inf else None
