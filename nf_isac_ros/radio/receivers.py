"""What a user measures of its own stream: SINR and error-vector magnitude."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.radio.base import Reception

Samples = NDArray[np.complex64]

# Of the standard normal distribution: 95 % of it lies within.
_QUANTILE = 1.959964


def measure(received: Samples, symbols: Samples) -> Reception:
    """
    Estimate SINR and EVM from known symbols.

    Parameters
    ----------
    received : ndarray, shape (L,)
        y = h s + interference and noise.
    symbols : ndarray, shape (L,)
        s, the stream of this user. At least three, not all zero.

    Returns
    -------
    Reception

    Notes
    -----
    With the least-squares gain g = s^H y / s^H s and the residual power
    q = |y - g s|^2 / (L - 1), F = |g|^2 |s|^2 / q has the noncentral F distribution of 2 and
    2 (L - 1) degrees of freedom and noncentrality 2 L SINR, as far as interference is Gaussian
    (many streams, or not much of it). (F (L - 2) / (L - 1) - 1) / L is then the SINR without bias.
    Its variance (2 SINR + 1 / L) / L + SINR^2 / (L - 1) gives the interval.

    """
    s = symbols.astype(np.complex128)
    y = received.astype(np.complex128)
    n = len(s)
    energy = float(np.vdot(s, s).real)
    gain = np.vdot(s, y) / energy
    rest = y - gain * s
    residual = float(np.vdot(rest, rest).real)
    wanted = float(abs(gain) ** 2) * energy
    if wanted == 0.0:
        return Reception(0.0, 0.0, 0.0, np.inf, n)
    if residual == 0.0:
        return Reception(np.inf, np.inf, np.inf, 0.0, n)
    sinr = max(0.0, (wanted * (n - 2) / residual - 1.0) / n)
    deviation = np.sqrt((2.0 * sinr + 1.0 / n) / n + sinr ** 2 / (n - 1))
    return Reception(
        sinr, max(0.0, sinr - _QUANTILE * deviation), sinr + _QUANTILE * deviation,
        float(np.sqrt(residual / wanted)), n)
