"""Compiled steps from the covariances of a design to its beams; `beams` has the formulas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.small_matrices import cholesky, dagger, eigh, energy, hermitian, square

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Of the largest eigenvalue of what users receive: what is below has no inverse.
_SINGULAR = 1e-12


@compiled
def received_sinr(received: Complex, noise: Real) -> Real:
    """SINR of each user from what it receives of each beam; see `beams.received_sinr`."""
    ratios = np.empty(len(received))
    for u in range(len(received)):
        wanted = 0.0
        # Summed without the wanted beam: subtracting it afterwards loses the interference in
        # rounding.
        others = noise[u]
        for b in range(received.shape[1]):
            power = square(received[u, b])
            if b == u:
                wanted = power
            else:
                others += power
        ratios[u] = wanted / others
    return ratios


@compiled
def shares(covariance: Complex, channels: Complex, parts: Complex) -> Complex:
    """Rows W_u g_u, shape (U, d); see `beams.user_shares`."""
    n = channels.shape[1]
    if not n:
        return np.zeros((0, len(channels)), dtype=np.complex128)
    seen = covariance @ channels
    values, vectors = eigh(hermitian(dagger(channels) @ seen))
    turned = vectors.copy()
    for k in range(n):
        turned[:, k] *= 1.0 / values[k] if values[k] > _SINGULAR * values[n - 1] else 0.0
    projected = seen @ turned @ dagger(vectors)
    received = dagger(projected) @ channels
    inner = np.empty((n, n), dtype=np.complex128)
    for u in range(n):
        inner[:, u] = np.ascontiguousarray(parts[u]) @ np.ascontiguousarray(received[:, u])
    return np.ascontiguousarray((projected @ inner).T)


@compiled
def split(covariance: Complex, channels: Complex, rows: Complex,
          negligible: float) -> tuple[Complex, Complex]:
    """Beams of the users, shape (d, U), and for sensing, (d, r); see `beams.split`."""
    d, n = channels.shape
    beams = np.zeros((d, n), dtype=np.complex128)
    for u in range(n):
        gain = 0.0
        for i in range(d):
            gain += (np.conj(rows[u, i]) * channels[i, u]).real
        # A solver that broke down may leave a user less than nothing.
        if gain > np.finfo(np.float64).tiny:
            beams[:, u] = rows[u] / np.sqrt(gain)
    values, vectors = eigh(hermitian(covariance - beams @ dagger(beams)))
    kept = int(np.sum(values > negligible))
    sensing = np.empty((d, kept), dtype=np.complex128)
    for k in range(kept):
        # The strongest first.
        sensing[:, k] = np.sqrt(values[d - 1 - k]) * vectors[:, d - 1 - k]
    return beams, sensing


@compiled
def recover(covariance: Complex, channels: Complex, parts: Complex, negligible: float, sinr: Real,
            noise: Real) -> tuple[float, Complex, Complex, float]:
    """
    Trace or largest eigenvalue of S, and what `split` makes of its positive part.

    The beams have full power; last comes the least of their `slack`, infinite without users.
    """
    positive = np.trace(covariance).real
    if not cholesky(covariance.copy()) > 0.0:
        values, vectors = eigh(covariance)
        positive = values[-1]
        covariance = (vectors * np.maximum(values, 0.0)) @ dagger(vectors)
    if channels.shape[1] == 1:
        # All that a single user receives may as well carry its data.
        rows = np.ascontiguousarray((covariance @ channels).T)
    else:
        rows = shares(covariance, channels, parts)
    beams, sensing = split(covariance, channels, rows, negligible)
    scale = 1.0 / np.sqrt(energy(beams) + energy(sensing))
    beams *= scale
    sensing *= scale
    spare = np.inf
    for one in slack(channels, beams, sensing, sinr, noise):
        spare = min(spare, one)
    return positive, beams, sensing, spare


@compiled
def covariance(communication: Complex, sensing: Complex) -> Complex:
    """Covariance of all beams, shape (d, d)."""
    return communication @ dagger(communication) + sensing @ dagger(sensing)


@compiled
def slack(channels: Complex, communication: Complex, sensing: Complex, sinr: Real,
          noise: Real) -> Real:
    """How far each SINR is from being active, shape (U,); see `beams.slack`."""
    n = channels.shape[1]
    out = np.empty(n)
    left = dagger(channels)
    wanted, other = left @ communication, left @ sensing
    for u in range(n):
        rest = 0.0
        for k in range(n):
            if k != u:
                rest += square(wanted[u, k])
        for k in range(other.shape[1]):
            rest += square(other[u, k])
        own = square(wanted[u, u])
        out[u] = (own / sinr[u] - rest) / noise[u] - 1.0
    return out


@compiled
def without_weak(communication: Complex, sensing: Complex,
                 weak: float) -> tuple[Complex, Complex, Complex]:
    """Whole budget for all but sensing beams of no more than some power; and the covariance."""
    d, n = sensing.shape
    total = energy(communication)
    kept = np.empty(n, dtype=np.int64)
    count = 0
    for k in range(n):
        power = energy(sensing[:, k])
        if power > weak:
            kept[count] = k
            count += 1
            total += power
    if not total > 0.0:
        # Nothing would be left.
        return communication, sensing, covariance(communication, sensing)
    scale = 1.0 / np.sqrt(total)
    stronger = np.empty((d, count), dtype=np.complex128)
    for i in range(d):
        for k in range(count):
            stronger[i, k] = scale * sensing[i, kept[k]]
    scaled = scale * communication
    return scaled, stronger, covariance(scaled, stronger)
