"""Which SINRs the power allows: largest common SINR scale and least power, without any SDP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating]
Complex = NDArray[np.complex128]

# Newton's method on a concave map: it doubles the digits each time. The bound is for inputs at
# which rounding keeps the last digit from settling.
MAX_ITERATIONS = 60
SETTLED = 1e-13


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

    """

    beams: Complex
    power: float


def _filters(channels: Complex, uplink: Real) -> Complex:
    """Receive filters of the dual uplink, unit columns, shape (d, U)."""
    d = channels.shape[0]
    covariance = np.eye(d) + (channels * uplink) @ channels.conj().T
    filters = np.linalg.solve(covariance, channels).astype(np.complex128, copy=False)
    return _unit_columns(filters)


def _unit_columns(matrix: Complex) -> Complex:
    return matrix / np.linalg.norm(matrix, axis=0)


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
    gains = np.abs(filters.conj().T @ channels) ** 2
    wanted = np.diag(gains) / sinr
    coupling = gains / wanted[:, None]
    np.fill_diagonal(coupling, 0.0)
    return coupling, 1.0 / wanted


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
    n = channels.shape[1]
    uplink: Real = np.full(n, 1.0 / n)
    filters, scale = _filters(channels, uplink), 0.0
    for _ in range(MAX_ITERATIONS):
        coupling, noise = _coupling(channels, filters, sinr)
        root, uplink = _perron(coupling + noise[:, None])
        previous, scale = scale, 1.0 / root
        filters = _filters(channels, uplink)
        if abs(scale - previous) <= SETTLED * scale:
            break
    coupling, noise = _coupling(channels, filters, sinr)
    # Downlink: the same filters as beams, the transposed coupling, the same total power.
    root, power = _perron(_downlink(coupling, noise) + noise[:, None])
    return 1.0 / root, UserBeams(filters * np.sqrt(power), 1.0)


def _downlink(coupling: Real, noise: Real) -> Real:
    """Coupling of the downlink with the same filters as beams, shape (U, U)."""
    return coupling.T / noise[None, :] * noise[:, None]


def _perron(matrix: Real) -> tuple[float, Real]:
    """Perron root of a positive matrix and its eigenvector, scaled to sum one."""
    values, vectors = np.linalg.eig(matrix)
    k = int(np.argmax(values.real))
    vector = np.abs(vectors[:, k].real)
    return float(values[k].real), vector / vector.sum()


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
        return UserBeams(np.zeros((channels.shape[0], 0), dtype=np.complex128), 0.0)
    scale, balanced = largest_common_scale(channels, sinr)
    if scale < 1.0:
        return None
    filters = _unit_columns(balanced.beams)
    total = 1.0
    for _ in range(MAX_ITERATIONS):
        coupling, noise = _coupling(channels, filters, sinr)
        uplink = np.linalg.solve(np.eye(len(sinr)) - coupling, noise)
        previous, total = total, float(uplink.sum())
        filters = _filters(channels, uplink)
        if abs(total - previous) <= SETTLED * total:
            break
    coupling, noise = _coupling(channels, filters, sinr)
    power = np.linalg.solve(np.eye(len(sinr)) - _downlink(coupling, noise), noise)
    return UserBeams(filters * np.sqrt(power), float(power.sum()))
