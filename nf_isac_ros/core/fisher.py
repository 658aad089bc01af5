"""Fisher information of target positions as a linear map of the transmit covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.information import InformationMap
from nf_isac_ros.core.scene import SensingNoise
from nf_isac_ros.core.small_matrices import dagger, eigh, scaled_inverse

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# An eigenvalue of the Jacobi-scaled Fisher matrix below this is rounding: the parameter cannot
# be estimated.
SINGULAR_PIVOT = 1e-14


def whiten(noise: SensingNoise, responses: Complex) -> Complex:
    """
    Apply the inverse square root of the noise covariance to receive responses.

    Parameters
    ----------
    noise : SensingNoise
    responses : ndarray, shape (M, n)

    Returns
    -------
    ndarray, shape (M, n)
        L^-1 times the responses, Q = L L^H [1/sqrt(W)].

    """
    if noise.power is not None:
        return responses / np.sqrt(noise.power)
    if noise.diagonal is not None:
        return responses / np.sqrt(noise.diagonal)[:, None]
    assert noise.covariance is not None
    factor = np.linalg.cholesky(noise.covariance)
    return solve_triangular(factor, responses, lower=True, check_finite=False)


def decorrelate(response: Complex, derivative: Complex) -> Complex:
    """
    Remove from each derivative its part along the response itself.

    Parameters
    ----------
    response : ndarray, shape (N, K)
    derivative : ndarray, shape (3, N, K)

    Returns
    -------
    ndarray, shape (3, N, K)
        Derivatives orthogonal to the response of the same target.

    Notes
    -----
    A multiple of the response in a derivative only adds multiples of the directions of Re b and
    Im b to a position direction, which changes neither the bound on the position nor the spanned
    subspace; without it the nearly singular radial phase term is gone.

    """
    power = np.einsum('nk,nk->k', response.conj(), response).real
    along = np.einsum('nk,unk->uk', response.conj(), derivative) / power
    # Twice: once leaves the rounding of a large part that was taken off.
    out = derivative - response * along[:, None, :]
    along = np.einsum('nk,unk->uk', response.conj(), out) / power
    out -= response * along[:, None, :]
    return out


def stack(response: Complex, derivative: Complex) -> Complex:
    """Columns [response, d/dx, d/dy, d/dz] of all targets, shape (N, 4 K)."""
    return np.concatenate([response[None], derivative]).transpose(1, 0, 2).reshape(
        response.shape[0], -1)


@dataclass(frozen=True)
class FisherMap(InformationMap):
    """
    Fisher matrix of [x_1..x_K, y_1..y_K, z_1..z_K, Re b_1..K, Im b_1..K], linear in R_X.

    Attributes
    ----------
    receive_gram : ndarray, shape (4 K, 4 K)
        A^H Q^-1 A of the stacked receive responses.
    transmit : ndarray, shape (n, 4 K)
        conj(V) of the stacked transmit responses, or its coordinates in a basis of the transmit
        space; the map takes covariances in the same coordinates.
    reflections : ndarray, shape (K,)
        Complex reflection coefficients b.
    symbols : float
        Snapshot count L.
    scale : ndarray, shape (5 K,)
        Units of the parameters: entry (i, j) of the Fisher matrix is multiplied by
        scale_i scale_j.

    Notes
    -----
    Proposition 1 of Hua, Xu, Zhang in the form F_ij = 2 L Re tr(D_i^H Q^-1 D_j R_X), where
    D_i = A C_i V^T is the derivative of sum_k b_k a_k v_k^T by parameter i. So only the two Gram
    matrices A^H Q^-1 A and V^T R_X conj(V) enter.

    """

    receive_gram: Complex
    transmit: Complex
    reflections: Complex
    symbols: float
    scale: Real

    @property
    def n_targets(self) -> int:
        """Number of targets K."""
        return len(self.reflections)

    @cached_property
    def selectors(self) -> Complex:
        """The matrices C_i, scaled, shape (5 K, 4 K, 4 K)."""
        n = self.n_targets
        selectors = np.zeros((5, n, 4, n, 4, n), dtype=complex)
        for k, reflection in enumerate(self.reflections):
            for u in range(3):
                selectors[u, k, u + 1, k, 0, k] = reflection
                selectors[u, k, 0, k, u + 1, k] = reflection
            selectors[3, k, 0, k, 0, k] = 1.0
            selectors[4, k, 0, k, 0, k] = 1.0j
        factors = np.sqrt(2.0 * self.symbols) * self.scale
        return selectors.reshape(5 * n, 4 * n, 4 * n) * factors[:, None, None]

    @property
    def n_parameters(self) -> int:
        """Order of the Fisher matrix, 5 K."""
        return 5 * self.n_targets

    @cached_property
    def patterns(self) -> Complex:
        """The matrices C_i of the Gram form, shape (5 K, 4 K, 4 K)."""
        values, vectors = np.linalg.eigh(self.receive_gram)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T
        patterns: Complex = (root @ self.selectors).conj().swapaxes(-1, -2)
        return patterns

    @cached_property
    def responses(self) -> Complex:
        """The matrices Q_i, shape (5 K, n, 4 K)."""
        return _responses(self.receive_gram, np.ascontiguousarray(self.transmit),
                          self.reflections, self.symbols, self.scale)

    def with_transmit(self, transmit: Complex) -> FisherMap:
        """Same map for covariances in other coordinates."""
        return replace(self, transmit=transmit)

    def rescaled(self, factors: Real) -> FisherMap:
        """Map with parameter i in a unit of its own: F_ij times factors_i factors_j."""
        return replace(self, scale=self.scale * factors)

    def of_gram(self, gram: Complex) -> Real:
        """Fisher matrix (5 K, 5 K) for V^T R_X conj(V) = gram, shape (4 K, 4 K) [W]."""
        return _fisher(self.receive_gram, np.ascontiguousarray(gram), self.reflections,
                       self.symbols, self.scale)

    def of_covariance(self, covariance: Complex | Real) -> Real:
        """Fisher matrix (5 K, 5 K) for a covariance (n, n) [W]."""
        return _fisher_of(
            self.receive_gram, np.ascontiguousarray(self.transmit),
            np.ascontiguousarray(covariance, dtype=np.complex128), self.reflections, self.symbols,
            self.scale)

    def adjoint(self, weights: Real) -> Complex:
        """Adjoint of the map, see `InformationMap.adjoint`."""
        return _adjoint(self.receive_gram, np.ascontiguousarray(self.transmit),
                        np.ascontiguousarray(weights), self.reflections, self.symbols, self.scale)

    def adjoint_gram(self, weights: Real) -> Complex:
        """Hermitian matrix (4 K, 4 K) with Re tr(C G) = tr(Y F) for the F of a Gram."""
        return _fisher_adjoint(self.receive_gram, np.ascontiguousarray(weights),
                               self.reflections, self.symbols, self.scale)


@compiled
def _entries(reflections: Complex, symbols: float, scale: Real
             ) -> tuple[NDArray[np.int64], NDArray[np.int64], Complex]:
    """
    Rows, columns and values of the scaled matrices C_i, two entries each.

    Those of Re b and Im b have one entry; it stands there twice, at half its value.
    """
    n = len(reflections)
    rows = np.zeros((5 * n, 2), dtype=np.int64)
    columns = np.zeros((5 * n, 2), dtype=np.int64)
    values = np.empty(5 * n, dtype=np.complex128)
    for k in range(n):
        for u in range(3):
            i = u * n + k
            rows[i, 0], columns[i, 0] = (u + 1) * n + k, k
            rows[i, 1], columns[i, 1] = k, (u + 1) * n + k
            values[i] = reflections[k]
        for u in range(3, 5):
            i = u * n + k
            rows[i, :], columns[i, :] = k, k
            values[i] = 0.5 if u == 3 else 0.5j
    for i in range(5 * n):
        values[i] *= np.sqrt(2.0 * symbols) * scale[i]
    return rows, columns, values


@compiled
def _responses(receive_gram: Complex, transmit: Complex, reflections: Complex, symbols: float,
               scale: Real) -> Complex:
    """Q_i = T (K^(1/2) C_i)^H with the two entries of each C_i."""
    rows, columns, values = _entries(reflections, symbols, scale)
    n, (d, m) = len(values), transmit.shape
    out = np.zeros((n, d, m), dtype=np.complex128)
    if not m:
        return out
    powers, vectors = eigh(receive_gram)
    root = (vectors * np.sqrt(np.maximum(powers, 0.0))) @ dagger(vectors)
    for i in range(n):
        for e in range(2):
            for a in range(d):
                weight = np.conj(values[i]) * transmit[a, columns[i, e]]
                for j in range(m):
                    # The root is Hermitian: row instead of conjugate column.
                    out[i, a, j] += weight * root[rows[i, e], j]
    return out


@compiled
def _fisher(receive_gram: Complex, gram: Complex, reflections: Complex, symbols: float,
            scale: Real) -> Real:
    """Re tr(C_i^H A C_j G) for all i, j."""
    rows, columns, values = _entries(reflections, symbols, scale)
    n = len(values)
    fisher = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = 0.0 + 0.0j
            for e in range(2):
                for f in range(2):
                    total += (receive_gram[rows[i, e], rows[j, f]]
                              * gram[columns[j, f], columns[i, e]])
            fisher[i, j] = fisher[j, i] = (np.conj(values[i]) * values[j] * total).real
    return fisher


@compiled
def _fisher_adjoint(receive_gram: Complex, weights: Real, reflections: Complex, symbols: float,
                    scale: Real) -> Complex:
    """Hermitian matrix C, shape (4 K, 4 K), with Re tr(C G) = tr(Y F(G)) for every Gram G."""
    rows, columns, values = _entries(reflections, symbols, scale)
    n = len(values)
    out = np.zeros(receive_gram.shape, dtype=np.complex128)
    for i in range(n):
        for j in range(n):
            factor = np.conj(values[i]) * values[j] * weights[i, j]
            for e in range(2):
                for f in range(2):
                    term = 0.5 * factor * receive_gram[rows[i, e], rows[j, f]]
                    out[columns[i, e], columns[j, f]] += term
                    out[columns[j, f], columns[i, e]] += np.conj(term)
    return out


@compiled
def _fisher_of(receive_gram: Complex, transmit: Complex, covariance: Complex,
               reflections: Complex, symbols: float, scale: Real) -> Real:
    """Fisher matrix of a covariance."""
    gram = dagger(transmit) @ covariance @ transmit
    return _fisher(receive_gram, gram, reflections, symbols, scale)


@compiled
def _adjoint(receive_gram: Complex, transmit: Complex, weights: Real, reflections: Complex,
             symbols: float, scale: Real) -> Complex:
    """Adjoint of the map of covariances."""
    inner = _fisher_adjoint(receive_gram, weights, reflections, symbols, scale)
    return transmit @ inner @ dagger(transmit)


def position_bounds(fisher: Real, n_targets: int) -> Real:
    """
    Cramér-Rao bounds of the targets' positions.

    Parameters
    ----------
    fisher : ndarray, shape (5 K, 5 K)
        Fisher matrix in physical units.
    n_targets : int
        K.

    Returns
    -------
    ndarray, shape (K, 3, 3)
        Bounds on the covariance of each position [m^2]; infinite if the matrix is singular.

    """
    inverse = jacobi_inverse(fisher) if n_targets else fisher
    if inverse is None:
        return np.full((n_targets, 3, 3), np.inf)
    blocks = inverse[:3 * n_targets, :3 * n_targets].reshape(3, n_targets, 3, n_targets)
    return np.einsum('ukvk->kuv', blocks)


def whitening(fisher: Real, order: NDArray[np.intp]) -> Real:
    """
    Parameters in which a Fisher matrix is the identity.

    Parameters
    ----------
    fisher : ndarray, shape (n, n)
        Positive definite.
    order : ndarray, shape (n,)
        In which parameters are taken, `Problem.nuisance_first`: the triangular factor mixes
        nothing of the later ones into the rows of the earlier ones.

    Returns
    -------
    ndarray, shape (n, n)
        W with W F W^T = I; its rows follow the order, its columns do not.

    """
    n = len(fisher)
    scale = 1.0 / np.sqrt(np.diag(fisher)[order])
    chol = np.linalg.cholesky(fisher[np.ix_(order, order)] * scale[:, None] * scale)
    out: Real = solve_triangular(chol, scale[:, None] * np.eye(n)[order], lower=True)
    return out


def jacobi_inverse(fisher: Real) -> Real | None:
    """
    Inverse of a Fisher matrix whose entries span many decades.

    Returns None if it is singular: some parameter cannot be estimated.
    """
    inverse = np.empty_like(fisher)
    known = scaled_inverse(np.ascontiguousarray(fisher), SINGULAR_PIVOT, inverse)
    return inverse if known else None
