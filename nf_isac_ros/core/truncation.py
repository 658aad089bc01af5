"""The part of the reduced subspace that an optimal covariance makes use of, to a tolerance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.small_matrices import eigh

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Dimensions of a truncated subspace that differ by no more are about the same.
USUAL_MARGIN = 3
# Singular values above this are those of a Gram matrix, to rounding, which are found faster.
GRAM_TOLERANCE = 1e-6


@compiled
def unit_columns(columns: Complex, first: int) -> Complex:
    """Rows from the first on of columns that are scaled to unit norm; zero ones stay so."""
    d, n = columns.shape
    out = columns[first:].copy()
    for j in range(n):
        size = 0.0
        for i in range(d):
            size += columns[i, j].real ** 2 + columns[i, j].imag ** 2
        if size > 0.0:
            for i in range(d - first):
                out[i, j] /= np.sqrt(size)
    return out


@compiled
def n_rows(channels: Complex) -> int:
    """How many rows of channels are not zero; they come first."""
    count = 0
    for i in range(len(channels)):
        count += int(np.any(channels[i] != 0.0))
    return count


@compiled
def truncation(transmit: Complex, channels: Complex, first: int, turned: Complex,
               tolerance: float, usual: int) -> Complex:
    """
    Basis of the better part of the subspace; see `Problem.truncation`.

    Parameters
    ----------
    transmit : ndarray, shape (d, c)
        Columns that illuminate what is estimated.
    channels : ndarray, shape (d, U)
        Of the users; their directions come first in the coordinates, and are kept.
    first : int
        So many of the columns, off the users' channels, are kept whole.
    turned : ndarray, shape (d - rank, d - rank)
        Unitary, its first columns span those; not looked at without any.
    tolerance : float
        Singular values of the other columns, of unit norm, that are smaller are left out.
    usual : int
        Dimension to keep to where that is about the same; -1: none.

    Returns
    -------
    ndarray, shape (d, d')
        Orthonormal columns.

    """
    rank = n_rows(channels)
    rest = unit_columns(transmit, rank)
    n_points = min(first, len(rest))
    others = np.ascontiguousarray(turned[:, n_points:])
    if n_points:
        rest = np.conj(others.T) @ np.ascontiguousarray(rest[:, first:])
    vectors, values = _left_vectors(rest, tolerance)
    always, count = rank + n_points, int(np.sum(values > tolerance))
    if usual >= 0 and abs(always + count - usual) <= USUAL_MARGIN:
        count = min(max(usual - always, 0), len(values))
    kept = np.ascontiguousarray(vectors[:, :count])
    if n_points:
        kept = others @ kept
    basis = np.zeros((len(transmit), always + count), dtype=np.complex128)
    for i in range(rank):
        basis[i, i] = 1.0
    for i in range(len(transmit) - rank):
        for j in range(n_points):
            basis[rank + i, rank + j] = turned[i, j]
        for j in range(count):
            basis[rank + i, always + j] = kept[i, j]
    return basis


@compiled
def _left_vectors(matrix: Complex, tolerance: float) -> tuple[Complex, Real]:
    """Left singular vectors and values, falling; values far below the tolerance may be rounded."""
    if tolerance < GRAM_TOLERANCE:
        vectors, values, _ = np.linalg.svd(matrix, False)
        return np.ascontiguousarray(vectors), values
    squares, turned = eigh(matrix @ np.conj(matrix.T))
    count = min(matrix.shape)
    vectors = np.empty((len(matrix), count), dtype=np.complex128)
    values = np.empty(count)
    for k in range(count):
        vectors[:, k] = turned[:, len(matrix) - 1 - k]
        values[k] = np.sqrt(max(squares[len(matrix) - 1 - k], 0.0))
    return vectors, values
