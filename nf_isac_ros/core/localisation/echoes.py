"""
Echoes of point targets, compressed to the streams that were sent, and their simulation.

Of a sensing period of L symbols, what the receive array got only counts through its correlation
with the r streams that were sent: an M x r matrix instead of M x L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.exceptions import RejectedError
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import SensingNoise

Real = NDArray[np.float64]
Complex = NDArray[np.complexfloating]
Full = NDArray[np.complex128]

# Streams that carry less of the strongest one than this are none.
_EMPTY = 1e-12


class EchoError(RejectedError):
    """Echo samples that cannot be."""


@dataclass(frozen=True)
class EchoSamples:
    """
    Echoes of one sensing period, compressed: a sufficient statistic.

    Attributes
    ----------
    samples : ndarray, shape (M, r)
        Y S^H G^-1 = sum_k b_k a(l_k) v(l_k)^T W G + noise, whose columns are independent and
        CN(0, Q) [sqrt(W)].
    excitation : ndarray, shape (N, r)
        W G [sqrt(W)], where S holds the symbols of the r streams, W their beams, and
        G = (S S^H)^(1/2).
    symbols : int
        L, columns of S.

    Raises
    ------
    EchoError
        'bad-shape' or 'not-finite'.

    """

    samples: Complex
    excitation: Complex
    symbols: int

    def __post_init__(self) -> None:
        """Check shapes and values."""
        if (self.samples.ndim != 2 or self.excitation.ndim != 2
                or self.samples.shape[1] != self.excitation.shape[1] or not self.samples.size
                or not self.excitation.size or self.symbols < 1):
            raise EchoError(
                f'samples of shape {self.samples.shape}, excitation of shape '
                f'{self.excitation.shape} and {self.symbols} symbols, must be (M, r), (N, r) and '
                'at least one', 'bad-shape')
        if not (np.isfinite(self.samples).all() and np.isfinite(self.excitation).all()):
            raise EchoError('samples or excitation are not finite', 'not-finite')


@dataclass(frozen=True)
class Sensor:
    """
    What turns positions into echoes.

    Attributes
    ----------
    transmit_array, receive_array : AntennaArray
        With their poses in the world frame; the same object for a monostatic radio.
    wavelength : float
        [m].
    noise : SensingNoise
        Covariance Q of noise and interference at the receive array.

    Raises
    ------
    SceneError
        If the noise is given for another number of elements.

    """

    transmit_array: AntennaArray
    receive_array: AntennaArray
    wavelength: float
    noise: SensingNoise

    def __post_init__(self) -> None:
        """Check that the noise fits the receive array."""
        self.noise.check_size(len(self.receive_array))

    @property
    def monostatic(self) -> bool:
        """Tell whether transmit and receive elements coincide."""
        return self.transmit_array.same_elements(self.receive_array)

    @cached_property
    def _factor(self) -> Full:
        """Cholesky factor L of Q = L L^H, shape (M, M); needed of a full Q only."""
        assert self.noise.covariance is not None
        return np.asarray(np.linalg.cholesky(self.noise.covariance), dtype=complex)

    def whiten(self, columns: Full) -> Full:
        """Apply L^-1, Q = L L^H, to columns of shape (M, n) [1/sqrt(W)]."""
        if self.noise.power is not None:
            return columns * (1.0 / np.sqrt(self.noise.power))
        if self.noise.diagonal is not None:
            return columns * (1.0 / np.sqrt(self.noise.diagonal))[:, None]
        return solve_triangular(self._factor, columns, lower=True, check_finite=False)

    def whitened_power(self, rows: Full) -> Real:
        """a^H Q^-1 a for rows a^H of shape (n, M), shape (n,) [1/W]."""
        if self.noise.covariance is not None:
            white = self.whiten(rows.conj().T)
            return (white.real ** 2 + white.imag ** 2).sum(axis=0)
        # Rows are contiguous: as pairs of real numbers they are squared without a copy.
        pairs = np.ascontiguousarray(rows).view(float)
        if self.noise.power is not None:
            return np.einsum('ij,ij->i', pairs, pairs) / self.noise.power
        assert self.noise.diagonal is not None
        return np.einsum('ij,ij,j->i', pairs, pairs, np.repeat(1.0 / self.noise.diagonal, 2))

    def unwhiten(self, columns: Full) -> Full:
        """Apply L^-H, Q = L L^H, to columns of shape (M, n): after `whiten`, Q^-1."""
        if self.noise.covariance is None:
            return self.whiten(columns)
        return solve_triangular(self._factor, columns, lower=True, trans='C', check_finite=False)

    def colour(self, columns: Full) -> Full:
        """Apply L, Q = L L^H, to columns of shape (M, n) of unit variance [sqrt(W)]."""
        if self.noise.power is not None:
            return columns * np.sqrt(self.noise.power)
        if self.noise.diagonal is not None:
            return columns * np.sqrt(self.noise.diagonal)[:, None]
        return self._factor @ columns


@dataclass(frozen=True)
class Compression:
    """
    The symbols of a sensing period, as far as they matter.

    Attributes
    ----------
    root : ndarray, shape (r, r)
        G = (S S^H)^(1/2).
    projection : ndarray, shape (L, r)
        S^H G^-1: orthonormal columns.

    """

    root: Full
    projection: Full


def compression(symbols: Complex) -> Compression:
    """
    Prepare to compress echoes to the streams that were sent.

    Parameters
    ----------
    symbols : ndarray, shape (r, L)
        S, one row for each stream; of about unit power.

    Returns
    -------
    Compression

    Raises
    ------
    EchoError
        'dependent-streams' if a stream is zero or a combination of the others: L < r, say.

    """
    values, vectors = np.linalg.eigh(symbols @ symbols.conj().T)
    if not values[0] > _EMPTY * values[-1]:
        raise EchoError(f'{len(symbols)} streams of {symbols.shape[1]} symbols are linearly '
                        'dependent', 'dependent-streams')
    root = np.sqrt(values)
    return Compression((vectors * root) @ vectors.conj().T,
                       symbols.conj().T @ ((vectors / root) @ vectors.conj().T))


def condensed(echoes: EchoSamples, tolerance: float = 1e-9) -> EchoSamples:
    """
    Same echoes in as few streams as carry any power.

    Parameters
    ----------
    echoes : EchoSamples
    tolerance : float
        Streams with less than this share of the strongest one's power are left out.

    Returns
    -------
    EchoSamples
        Samples and excitation times the same matrix of orthonormal columns, by falling power: the
        noise keeps its distribution, and what is left out is noise alone.

    """
    values, vectors = np.linalg.eigh(echoes.excitation.conj().T @ echoes.excitation)
    kept = np.flatnonzero(values > tolerance * values[-1])[::-1]
    turn = vectors[:, kept if len(kept) else [-1]]
    return EchoSamples(echoes.samples @ turn, echoes.excitation @ turn, echoes.symbols)


def qpsk_symbols(rng: np.random.Generator, streams: int, count: int) -> Full:
    """Independent QPSK symbols of unit power, shape (streams, count)."""
    return np.asarray(np.exp(0.5j * np.pi * rng.integers(0, 4, (streams, count))))


def compress(received: Complex, beams: Complex, symbols: Complex) -> EchoSamples:
    """
    Compress what an array received to the streams that were sent.

    Parameters
    ----------
    received : ndarray, shape (M, L)
        Y [sqrt(W)].
    beams : ndarray, shape (N, r)
        W [sqrt(W)].
    symbols : ndarray, shape (r, L)
        S.

    Returns
    -------
    EchoSamples

    """
    small = compression(symbols)
    return EchoSamples(received @ small.projection, beams @ small.root, symbols.shape[1])


def simulate_echo_samples(
        sensor: Sensor, positions: Real, reflections: Complex, beams: Complex, symbols: Complex,
        rng: np.random.Generator, doppler: Real | None = None,
        names: Sequence[str] = ()) -> EchoSamples:
    """
    Draw the compressed echoes of point targets.

    The noise is drawn once it is compressed, which is the same in distribution; the M x L matrix
    Y is never formed.

    Parameters
    ----------
    sensor : Sensor
    positions : ndarray, shape (K, 3)
        True positions in the middle of the period, in the world frame [m].
    reflections : ndarray, shape (K,)
        Complex reflection coefficients b.
    beams : ndarray, shape (N, r)
        What is on the air, W [sqrt(W)].
    symbols : ndarray, shape (r, L)
        S, one row for each beam.
    rng : numpy.random.Generator
        2 M r normal numbers are drawn, whatever the targets.
    doppler : ndarray, shape (K,), or None
        Turns of the echo's phase from one symbol to the next; zero in the middle of the period.
        None: the targets stand still.
    names : sequence of str
        Of the targets, for error messages.

    Returns
    -------
    EchoSamples

    Raises
    ------
    SceneError
        If a target lies within a wavelength of an element ('body-on-antenna').
    EchoError
        'dependent-streams', see `compression`.

    """
    positions = np.asarray(positions, dtype=float).reshape(-1, 3)
    small = compression(symbols)
    excitation = beams @ small.root
    # Column by column, so that the first ones are the same whatever the number of streams.
    noise = rng.standard_normal((excitation.shape[1], 2 * len(sensor.receive_array)))
    samples = sensor.colour(noise.view(complex).T * np.sqrt(0.5))
    sent = responses(sensor.transmit_array.positions, positions, sensor.wavelength, names)
    seen = sent if sensor.monostatic else responses(
        sensor.receive_array.positions, positions, sensor.wavelength, names)
    if doppler is None:
        lit = sent.T @ excitation
    else:
        count = symbols.shape[1]
        turns = np.outer(doppler, np.arange(count) - (count - 1) / 2)
        lit = ((sent.T @ beams) @ symbols * np.exp(2j * np.pi * turns)) @ small.projection
    samples += (seen * reflections) @ lit
    return EchoSamples(samples, excitation, symbols.shape[1])


def doppler_turns(sensor: Sensor, positions: Real, velocities: Real,
                  symbol_period: float) -> Real:
    """
    Turns of the phase of echoes from one symbol to the next.

    Parameters
    ----------
    sensor : Sensor
    positions, velocities : ndarray, shape (K, 3)
        In the world frame [m], [m/s].
    symbol_period : float
        [s].

    Returns
    -------
    ndarray, shape (K,)
        Minus the growth of the path from the centre of the transmit array by the target to that
        of the receive array, in wavelengths.

    """
    growth = np.zeros(len(positions))
    for array in (sensor.transmit_array, sensor.receive_array):
        way = positions - array.centre
        growth += np.einsum('kc,kc->k', way, velocities) / np.linalg.norm(way, axis=1)
    return -growth * symbol_period / sensor.wavelength
