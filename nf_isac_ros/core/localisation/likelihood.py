"""
Likelihood of where point targets are, given compressed echoes.

Notes
-----
With whitened samples Y and responses a, each target k adds b_k a_k u_k^T, u_k = E^T v_k, to noise
of unit variance. For given positions the best reflection coefficients solve a linear least-squares
problem (variable projection: Golub, Pereyra, SIAM J. Numer. Anal. 10, 1973); what is left of the
likelihood depends on the positions alone. Everything follows from products of size 4 K:
A^H A and V^T E E^H conj(V) of the responses and their derivatives, and A^H Y E^H conj(V).
The Gauss-Newton matrix is the Fisher matrix of `core.fisher` with E E^H instead of L R_X.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.fisher import FisherMap, position_bounds
from nf_isac_ros.core.localisation.echoes import EchoError, EchoSamples, Sensor
from nf_isac_ros.core.propagation import write_conjugate_responses, write_decorrelated
from nf_isac_ros.core.scene import SensingNoise

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Of a basis of echoes, relative: below it two targets are one.
_DEPENDENT = 1e-12
# Points whose responses are held at a time: 64 x 2304 complex numbers are 2.4 MB.
_CHUNK = 64
# A point is too close to known targets to be told from them if less of its echo is new.
_NEW_SHARE = 0.3
_SMALLEST = 1e-300


@dataclass(frozen=True)
class Hypothesis:
    """
    Targets at supposed positions, and how well they explain the echoes.

    Attributes
    ----------
    positions : ndarray, shape (K, 3)
        [m].
    reflections : ndarray, shape (K,)
        The best reflection coefficients for these positions.
    log_likelihood : float
        Of these targets against none, natural logarithm.
    gradient : ndarray, shape (3 K,)
        By x of all targets, by y, by z [1/m].
    fisher : ndarray, shape (5 K, 5 K)
        As `FisherMap` orders it: x, y, z, real and imaginary parts of the reflections.

    """

    positions: Real
    reflections: Complex
    log_likelihood: float
    gradient: Real
    fisher: Real
    _amplitudes: Complex
    _overlap: Complex

    @cached_property
    def information(self) -> Real:
        """Fisher information of the positions, reflections unknown, shape (3 K, 3 K) [1/m^2]."""
        n = 3 * len(self.positions)
        cross = self.fisher[:n, n:]
        return self.fisher[:n, :n] - cross @ np.linalg.solve(self.fisher[n:, n:], cross.T)

    @property
    def covariances(self) -> Real:
        """Covariance of each position, shape (K, 3, 3) [m^2]; infinite if not identifiable."""
        return position_bounds(self.fisher, len(self.positions))

    @property
    def ratios(self) -> Real:
        """Log-likelihood ratio of each target, present against absent, shape (K,)."""
        # By how much the fit gets worse without target k: |b_k|^2 over [B^-1]_kk.
        inverse = np.linalg.inv(self._overlap)
        ratios: Real = np.abs(self.reflections) ** 2 / np.diag(inverse).real
        return ratios

    def metric(self, target: int) -> Real:
        """
        How fast the echo of a target changes with its place, shape (3, 3) [1/m^2].

        The matched filter of unit noise around it falls like exp(-d^T metric d).
        """
        n = len(self.positions)
        own = target + n * np.arange(5)
        fisher = self.fisher[np.ix_(own, own)]
        energy = 2.0 * np.abs(self.reflections[target]) ** 2 * self._overlap[target, target].real
        return (fisher[:3, :3] - fisher[:3, 3:] @ np.linalg.solve(
            fisher[3:, 3:], fisher[3:, :3])) / energy


class Likelihood:
    """
    Likelihood of target positions for the echoes of one period.

    Parameters
    ----------
    sensor : Sensor
    echoes : EchoSamples

    Raises
    ------
    EchoError
        'bad-shape' if the samples do not fit the arrays.

    """

    def __init__(self, sensor: Sensor, echoes: EchoSamples) -> None:
        expected = len(sensor.receive_array), len(sensor.transmit_array)
        found = echoes.samples.shape[0], echoes.excitation.shape[0]
        if found != expected:
            raise EchoError(f'samples of {found[0]} and excitation of {found[1]} elements, must '
                            f'be of {expected[0]} and {expected[1]}', 'bad-shape')
        self._sensor = sensor
        self._samples = np.asarray(echoes.samples, dtype=complex)
        self._matched = self._inverse(self._samples)
        self._energy = float(np.vdot(self._samples, self._matched).real)
        # Conjugate, so that rows of conjugate responses need not be conjugated.
        self._excitation = np.conj(echoes.excitation).astype(complex)

    def _inverse(self, columns: Complex) -> Complex:
        """Q^-1 times columns."""
        return self._sensor.unwhiten(self._sensor.whiten(columns))

    def excess(self, hypothesis: Hypothesis) -> tuple[float, float]:
        """
        What targets leave of the echoes, beyond what noise would.

        Returns
        -------
        excess : float
            Whitened energy that is not explained, minus its expectation if there were noise alone;
            on the scale of log-likelihood ratios.
        deviation : float
            Standard deviation of that for noise alone.

        """
        freedom = self._samples.size - len(hypothesis.positions)
        left = self._energy - hypothesis.log_likelihood
        return left - freedom, float(np.sqrt(freedom))

    def at(self, positions: Real, names: Sequence[str] = ()) -> Hypothesis:
        """
        Evaluate supposed positions.

        Parameters
        ----------
        positions : ndarray, shape (K, 3)
            At least one [m].
        names : sequence of str
            Of the targets, for error messages.

        Raises
        ------
        SceneError
            If a position lies within a wavelength of an element ('body-on-antenna').
        EchoError
            'dependent-targets' if two positions cannot be told apart.

        """
        n = len(positions)
        sent, seen = self._rows(positions, names)
        lit = sent @ self._excitation               # conj(u), rows of r
        white = self._sensor.whiten(seen.conj().T)
        received = white.conj().T @ white           # a_i^H a_j
        transmitted = lit.conj() @ lit.T            # u_j^H u_i
        matched = (seen @ self._matched) @ lit.T    # a_i^H Y conj(u_j)
        overlap = received[:n, :n] * transmitted[:n, :n].T
        scale = 1.0 / np.sqrt(np.diag(overlap).real)
        values, vectors = np.linalg.eigh(overlap * scale[:, None] * scale)
        if not values[0] > _DEPENDENT:
            raise EchoError('two targets are at one place, or nothing reaches a target',
                            'dependent-targets')
        amplitudes = np.diag(matched)[:n]
        reflections = scale * (vectors @ ((vectors.conj().T @ (scale * amplitudes)) / values))
        left = matched - (received[:, :n] * reflections) @ transmitted[:n]
        own = np.arange(n)
        gradient = np.concatenate([
            2.0 * (reflections.conj() * (left[d * n + own, own] + left[own, d * n + own])).real
            for d in (1, 2, 3)])
        fisher = FisherMap(received, lit.T, reflections, 1.0, np.ones(5 * n)).of_gram(transmitted)
        return Hypothesis(
            np.array(positions, dtype=float), reflections,
            float((amplitudes.conj() @ reflections).real), gradient, fisher, amplitudes, overlap)

    def _rows(self, positions: Real, names: Sequence[str]) -> tuple[Complex, Complex]:
        """Conjugate responses of both arrays and their derivatives, shape (4 K, N), (4 K, M)."""
        sensor = self._sensor
        sent = np.empty((4 * len(positions), len(sensor.transmit_array)), dtype=complex)
        write_decorrelated(sensor.transmit_array.axes, positions, sensor.wavelength, names, sent)
        if sensor.monostatic:
            return sent, sent
        seen = np.empty((4 * len(positions), len(sensor.receive_array)), dtype=complex)
        write_decorrelated(sensor.receive_array.axes, positions, sensor.wavelength, names, seen)
        return sent, seen

    def scan(self, points: Real, known: Hypothesis | None = None) -> Real:
        """
        Log-likelihood ratio of one more target at each of many points.

        Parameters
        ----------
        points : ndarray, shape (P, 3)
            At least a wavelength from every element [m].
        known : Hypothesis or None
            Targets that are there in any case; their reflections are fitted anew with each point.

        Returns
        -------
        ndarray, shape (P,)
            Zero where the new target could hardly be told from the known ones, and where nothing
            is sent to.

        Raises
        ------
        SceneError
            'body-on-antenna'.

        """
        basis = None if known is None else self._basis(known)
        ratios = np.empty(len(points))
        for start in range(0, len(points), _CHUNK):
            chunk = points[start:start + _CHUNK]
            ratios[start:start + _CHUNK] = self._scan(chunk, basis)
        return ratios

    def _basis(self, known: Hypothesis) -> _Basis:
        sent, seen = self._waves(known.positions)
        lit = sent @ self._excitation
        columns = seen.conj().T
        residual = self._samples - (columns * known.reflections) @ lit.conj()
        inverse = np.asarray(np.linalg.inv(known._overlap), dtype=complex)
        return _Basis(self._inverse(residual), self._inverse(columns), lit, inverse)

    def _waves(self, points: Real) -> tuple[Complex, Complex]:
        sensor = self._sensor
        points = np.ascontiguousarray(points, dtype=float)
        sent = np.empty((len(points), len(sensor.transmit_array)), dtype=complex)
        write_conjugate_responses(sensor.transmit_array.axes, points, sensor.wavelength, (), sent)
        if sensor.monostatic:
            return sent, sent
        seen = np.empty((len(points), len(sensor.receive_array)), dtype=complex)
        write_conjugate_responses(sensor.receive_array.axes, points, sensor.wavelength, (), seen)
        return sent, seen

    def _scan(self, points: Real, basis: _Basis | None) -> Real:
        sent, seen = self._waves(points)
        lit = sent @ self._excitation
        energy = self._sensor.whitened_power(seen) * _power(lit)
        if basis is None:
            fresh, matched = energy, self._matched
        else:
            cross = (seen @ basis.columns) * (lit @ basis.lit.conj().T)
            fresh = energy - np.einsum('pk,kl,pl->p', cross, basis.inverse, cross.conj()).real
            matched = basis.residual
        amplitudes = np.einsum('pr,pr->p', seen @ matched, lit)
        distinct = fresh > np.maximum(_NEW_SHARE * energy, _SMALLEST)
        ratios: Real = np.where(distinct, np.abs(amplitudes) ** 2 / np.where(distinct, fresh, 1.0),
                                0.0)
        return ratios


@dataclass(frozen=True)
class _Basis:
    """Known targets: Q^-1 times what they leave, Q^-1 A, conj(u), inverse of their overlaps."""

    residual: Complex
    columns: Complex
    lit: Complex
    inverse: Complex


def _power(rows: Complex) -> Real:
    """Squared norms of rows."""
    return np.einsum('ij,ij->i', rows, rows.conj()).real


def warm_up() -> None:
    """Compile or load the kernels, so that the first echoes do not."""
    array = AntennaArray(planar_elements(2, 2, 0.5))
    sensor = Sensor(array, array, 1.0, SensingNoise(power=1.0))
    point = np.array([[0.0, 0.0, 5.0]])
    ones = np.ones((4, 1), dtype=complex)
    likelihood = Likelihood(sensor, EchoSamples(ones, ones, 1))
    position_bounds(likelihood.at(point).fisher, 1)
    likelihood.scan(point)
