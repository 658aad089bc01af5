"""The small subspace that an optimal covariance lives on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.linalg.blas import zgemm, ztrmm

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.small_matrices import cholesky, triangular_inverse

Complex = NDArray[np.complex128]

# A normalised column whose part outside the span of the others is smaller than this adds nothing.
RANK_TOLERANCE = 1e-9
# Columns whose normalised Gram matrix has no smaller pivot are far from dependent, and a Cholesky
# factor of it will do.
SAFE_PIVOT = 1e-10
# Up to this square norm of the inverse of that factor its rounding cannot be seen.
ACCURATE = 100.0


@dataclass(frozen=True)
class Subspace:
    """
    Orthonormal basis of the span of columns, the first of which are user channels.

    Attributes
    ----------
    basis : ndarray, shape (N, d)
        Orthonormal columns. The first `rank` of them span the channels.
    coordinates : ndarray, shape (d, n)
        Those of the columns in the basis.
    rank : int
        Rank of the channels.

    """

    basis: Complex
    coordinates: Complex
    rank: int


def gram_matrix(columns: Complex) -> Complex:
    """Return C^H C, shape (n, n), of columns (N, n); fast if each of them is contiguous."""
    if not columns.shape[1]:
        return np.zeros((0, 0), dtype=complex)
    return zgemm(1.0, columns, columns, trans_a=2)


def subspace(columns: Complex, gram: Complex, n_channels: int) -> Subspace:
    """
    Find the subspace that an optimal covariance lives on.

    Parameters
    ----------
    columns : ndarray, shape (N, n)
        User channels, then conjugates of target responses and of their derivatives.
    gram : ndarray, shape (n, n)
        Their Gram matrix.
    n_channels : int
        How many of the columns are channels.

    Returns
    -------
    Subspace

    Notes
    -----
    Propositions 2 and 4 of Hua, Xu, Zhang. As a rule by Cholesky factors of Gram matrices, twice
    (Fukaya et al., "CholeskyQR2", 2014): a fifth of the time of a pivoted QR. Columns that are
    close to dependent get the latter.

    """
    if not len(gram):
        return Subspace(columns, gram, 0)
    gram, inverse, low = np.ascontiguousarray(gram), np.empty_like(gram), np.empty_like(gram)
    size = _orthogonaliser(gram, inverse, low)
    if not np.isfinite(size):
        basis, rank = reduced_basis(columns[:, :n_channels], columns[:, n_channels:])
        return Subspace(basis, zgemm(1.0, basis, columns, trans_a=2), rank)
    basis, coordinates = zgemm(1.0, columns, inverse, trans_b=2), low.conj().T
    if size > ACCURATE:
        _orthogonaliser(np.ascontiguousarray(gram_matrix(basis)), inverse, low)
        coordinates = low.conj().T @ coordinates
        basis = ztrmm(1.0, inverse, basis, side=1, lower=1, trans_a=2, overwrite_b=1)
    return Subspace(basis, coordinates, n_channels)


@compiled
def _orthogonaliser(gram: Complex, inverse: Complex, low: Complex) -> float:
    """
    Write L^-1 and L of a Gram matrix L L^H; return the square norm of L^-1 for unit columns.

    Infinite if the columns may be dependent.
    """
    n = len(gram)
    norms = np.empty(n)
    for i in range(n):
        if not gram[i, i].real > 0.0:
            return np.inf
        norms[i] = np.sqrt(gram[i, i].real)
    for i in range(n):
        for j in range(n):
            low[i, j] = gram[i, j] / (norms[i] * norms[j]) if j <= i else 0.0
    if not cholesky(low) > SAFE_PIVOT:
        return np.inf
    inverse[:] = triangular_inverse(low)
    size = 0.0
    for i in range(n):
        for j in range(i + 1):
            size += inverse[i, j].real ** 2 + inverse[i, j].imag ** 2
            inverse[i, j] /= norms[j]
            low[i, j] *= norms[i]
    return size


def reduced_basis(channels: Complex, steering: Complex) -> tuple[Complex, int]:
    """
    Orthonormal basis of the span of user channels and conjugate target responses.

    Parameters
    ----------
    channels : ndarray, shape (N, U)
        User channels h.
    steering : ndarray, shape (N, n)
        conj of the transmit responses of the targets and of their derivatives.

    Returns
    -------
    basis : ndarray, shape (N, d)
        Orthonormal columns. The first `rank` of them span the channels.
    rank : int
        Rank of the channels.

    Notes
    -----
    Propositions 2 and 4 of Hua, Xu, Zhang. Rank-revealing, because a user at the place of a
    target has the conjugate response of the target as its channel, and then the paper's basis is
    singular.

    """
    user_basis = _orthonormal(_normalised(channels))
    rest = _normalised(steering)
    # Projected twice: once leaves the rounding of what was taken off.
    for _ in range(2):
        rest = rest - user_basis @ (user_basis.conj().T @ rest)
    return np.hstack([user_basis, _orthonormal(rest)]), user_basis.shape[1]


def _normalised(columns: Complex) -> Complex:
    norm = np.linalg.norm(columns, axis=0)
    return columns / np.where(norm > 0, norm, 1.0)


def _orthonormal(columns: Complex) -> Complex:
    if columns.shape[1] == 0:
        return columns
    q, r, _ = qr(columns, mode='economic', pivoting=True, check_finite=False)
    rank = int(np.count_nonzero(np.abs(np.diag(r)) > RANK_TOLERANCE))
    return q[:, :rank]
