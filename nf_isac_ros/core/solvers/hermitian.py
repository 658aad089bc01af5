"""Hermitian matrices as real vectors, for conic solvers that know only real symmetric ones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
import scipy.sparse as sp

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@lru_cache(maxsize=64)
def upper_triangle(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the upper triangle, column by column, without the diagonal."""
    column, row = np.tril_indices(n, -1)
    return row, column


def to_vector(matrices: Complex) -> Real:
    """
    Hermitian matrices as real vectors with the same inner products.

    Parameters
    ----------
    matrices : ndarray, shape (..., n, n)
        Hermitian.

    Returns
    -------
    ndarray, shape (..., n^2)
        Diagonal, then sqrt(2) times real and imaginary parts of the upper triangle, so that
        Re tr(A B) is the product of the vectors of A and B.

    """
    row, column = upper_triangle(matrices.shape[-1])
    upper = np.sqrt(2.0) * matrices[..., row, column]
    return np.concatenate(
        [np.diagonal(matrices, axis1=-2, axis2=-1).real, upper.real, upper.imag], axis=-1)


def from_vector(vector: Real) -> Complex:
    """Hermitian matrix (n, n) of a vector (n^2,); the inverse of `to_vector`."""
    n = int(round(np.sqrt(len(vector))))
    row, column = upper_triangle(n)
    half = len(row)
    matrix = np.diag(vector[:n]).astype(complex)
    matrix[row, column] = (vector[n:n + half] + 1j * vector[n + half:]) / np.sqrt(2.0)
    matrix[column, row] = matrix[row, column].conj()
    return matrix


@lru_cache(maxsize=64)
def triangle_index(n: int) -> NDArray[np.intp]:
    """Position (n, n) of each entry of a symmetric matrix in the column-wise upper triangle."""
    row, column = np.arange(n)[:, None], np.arange(n)[None, :]
    low, high = np.minimum(row, column), np.maximum(row, column)
    return high * (high + 1) // 2 + low


def symmetric_to_vector(matrices: Real) -> Real:
    """
    Real symmetric matrices (..., n, n) as scaled upper triangles (..., n (n + 1) / 2).

    Column by column, entries off the diagonal times sqrt(2): the form that conic solvers take.
    """
    column, row = np.tril_indices(matrices.shape[-1])
    scale = np.where(row == column, 1.0, np.sqrt(2.0))
    return matrices[..., row, column] * scale


def symmetric_from_vector(vector: Real) -> Real:
    """Real symmetric matrix of a scaled upper triangle; the inverse of `symmetric_to_vector`."""
    n = int(round((np.sqrt(8 * len(vector) + 1) - 1) / 2))
    column, row = np.tril_indices(n)
    matrix = np.zeros((n, n))
    matrix[row, column] = vector / np.where(row == column, 1.0, np.sqrt(2.0))
    matrix[column, row] = matrix[row, column]
    return matrix


@lru_cache(maxsize=64)
def embedding(n: int) -> sp.csc_matrix:
    """
    Map from `to_vector` of a Hermitian matrix to the triangle of its real embedding.

    Returns
    -------
    csc_matrix, shape (n (2 n + 1), n^2)
        The embedding [[Re, -Im], [Im, Re]] of order 2 n is positive semidefinite if and only if
        the Hermitian matrix is.

    """
    units = np.stack([from_vector(unit) for unit in np.eye(n * n)])
    real = np.block([[units.real, -units.imag], [units.imag, units.real]])
    return sp.csc_matrix(symmetric_to_vector(real).T)
