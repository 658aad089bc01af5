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
# So many columns that are dependent are told apart by the eigenvalues of their Gram matrix: those
# of extended targets and of regions, of which the last digits do not count.
MANY_COLUMNS = 24
EIGENVALUE_TOLERANCE = 1e-14
# Square norm of the inverse factor of a Gram matrix over its order, one for the identity.
NEARLY_ORTHONORMAL = 2.0
# Up to this square norm of the inverse of that factor the basis is orthonormal to 5e-13, and
# powers and SINRs are right to as much: beams are given a margin of 1e-10.
ACCURATE = 1000.0


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
    close to dependent get the latter, or if there are many, eigenvalues of their Gram matrix: a
    tenth of the time, and to a tolerance of 1e-7 instead of 1e-9.

    """
    if not len(gram):
        return Subspace(columns, gram, 0)
    gram = np.ascontiguousarray(gram)
    size, inverse, root = _orthogonaliser(gram)
    if not np.isfinite(size) and len(gram) > MANY_COLUMNS:
        found = _by_eigenvalues(columns, gram, n_channels)
        if found is not None:
            return found
    if not np.isfinite(size):
        basis, rank = reduced_basis(columns[:, :n_channels], columns[:, n_channels:])
        return Subspace(basis, zgemm(1.0, basis, columns, trans_a=2), rank)
    basis, coordinates = zgemm(1.0, columns, inverse), np.ascontiguousarray(root)
    if size > ACCURATE:
        _, inverse, root = _orthogonaliser(np.ascontiguousarray(gram_matrix(basis)))
        coordinates = root @ coordinates
        basis = ztrmm(1.0, inverse, basis, side=1, overwrite_b=1)
    return Subspace(basis, coordinates, n_channels)


def _by_eigenvalues(columns: Complex, gram: Complex, n_channels: int) -> Subspace | None:
    """
    Subspace of dependent columns from their Gram matrix, made orthonormal in a second pass.

    None if the first pass ended too far from orthonormal: rounding was taken for a direction.
    """
    norms = np.sqrt(np.maximum(gram.diagonal().real, 0.0))
    scale = 1.0 / np.where(norms > 0, norms, 1.0)
    gram = gram * scale * scale[:, None]
    own = _independent(gram[:n_channels, :n_channels])
    rank = own.shape[1]
    shared = own.conj().T @ gram[:n_channels, n_channels:]
    rest = _independent(gram[n_channels:, n_channels:] - shared.conj().T @ shared)
    mixture = np.zeros((len(gram), rank + rest.shape[1]), dtype=complex)
    mixture[:n_channels, :rank] = own
    mixture[:n_channels, rank:] = -own @ (shared @ rest)
    mixture[n_channels:, rank:] = rest
    basis = zgemm(1.0, columns, np.asfortranarray(mixture * scale[:, None]))
    size, inverse, _ = _orthogonaliser(np.ascontiguousarray(gram_matrix(basis)))
    if not size <= NEARLY_ORTHONORMAL * len(inverse):
        return None
    basis = ztrmm(1.0, inverse, basis, side=1, overwrite_b=1)
    return Subspace(basis, zgemm(1.0, basis, columns, trans_a=2), rank)


def _independent(gram: Complex) -> Complex:
    """Mixtures of columns that are orthonormal, shape (n, r), from their Gram matrix."""
    if not len(gram):
        return gram
    values, vectors = np.linalg.eigh(gram)
    kept = values > EIGENVALUE_TOLERANCE * max(values[-1], 1.0)
    return vectors[:, kept][:, ::-1] / np.sqrt(values[kept][::-1])


@compiled
def _orthogonaliser(gram: Complex) -> tuple[float, Complex, Complex]:
    """
    Square norm of L^-1 for unit columns, L^-H and L^H of a Gram matrix L L^H.

    The norm is infinite if the columns may be dependent, and the matrices mean nothing then. They
    are in the order that BLAS takes.
    """
    n = len(gram)
    low, norms = np.empty_like(gram), np.empty(n)
    for i in range(n):
        if not gram[i, i].real > 0.0:
            return np.inf, low.T, low.T
        norms[i] = np.sqrt(gram[i, i].real)
    for i in range(n):
        for j in range(n):
            low[i, j] = gram[i, j] / (norms[i] * norms[j]) if j <= i else 0.0
    if not cholesky(low) > SAFE_PIVOT:
        return np.inf, low.T, low.T
    inverse = triangular_inverse(low)
    size = 0.0
    for i in range(n):
        for j in range(i + 1):
            size += inverse[i, j].real ** 2 + inverse[i, j].imag ** 2
            inverse[i, j] = np.conj(inverse[i, j]) / norms[j]
            low[i, j] = np.conj(low[i, j]) * norms[i]
    return size, inverse.T, low.T


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
    rest = _orthonormal(rest)
    # Columns that were all but dependent have lost digits of that.
    rest = np.linalg.qr(rest - user_basis @ (user_basis.conj().T @ rest))[0]
    return np.hstack([user_basis, rest]), user_basis.shape[1]


def _normalised(columns: Complex) -> Complex:
    norm = np.linalg.norm(columns, axis=0)
    return columns / np.where(norm > 0, norm, 1.0)


def _orthonormal(columns: Complex) -> Complex:
    if columns.shape[1] == 0:
        return columns
    q, r, _ = qr(columns, mode='economic', pivoting=True, check_finite=False)
    rank = int(np.count_nonzero(np.abs(np.diag(r)) > RANK_TOLERANCE))
    return q[:, :rank]
