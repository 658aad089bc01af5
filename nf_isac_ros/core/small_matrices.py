"""Compiled linear algebra for matrices so small that a call of LAPACK costs more than the work."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled, compiled_sum

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.int64]
# Real or complex.
Matrix = TypeVar('Matrix', NDArray[np.float64], NDArray[np.complex128])

# Up to this order eigenvectors come from rotations, and from no more sweeps of them than this;
# an entry off the diagonal is zero if it is this small beside the diagonal.
ROTATED = 4
SWEEPS = 30
ROUNDING = 1e-17


@compiled
def dagger(matrix: Complex | Real) -> Complex:
    """Conjugate transpose, contiguous."""
    n, m = matrix.shape
    out = np.empty((m, n), dtype=np.complex128)
    for i in range(n):
        for j in range(m):
            out[j, i] = np.conj(matrix[i, j])
    return out


@compiled
def hermitian(matrix: Complex | Real) -> Complex:
    """Hermitian part."""
    n = matrix.shape[0]
    out = np.empty((n, n), dtype=np.complex128)
    for i in range(n):
        for j in range(i + 1):
            value = 0.5 * (matrix[i, j] + np.conj(matrix[j, i]))
            out[i, j] = value
            out[j, i] = np.conj(value)
    return out


@compiled
def eigh(matrix: Complex) -> tuple[Real, Complex]:
    """
    Eigenvalues, in no order where the matrix is small, and eigenvectors.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Hermitian.

    Returns
    -------
    values : ndarray, shape (n,)
    vectors : ndarray, shape (n, n)
        Contiguous.

    Notes
    -----
    By Jacobi's rotations in turn up to `ROTATED`, by LAPACK beyond.

    """
    n = matrix.shape[0]
    if n > ROTATED:
        found, columns = np.linalg.eigh(matrix)
        return found, np.ascontiguousarray(columns)
    values = np.empty(n)
    vectors = np.zeros((n, n), dtype=np.complex128)
    rest = matrix.copy()
    for i in range(n):
        vectors[i, i] = 1.0
    for _ in range(SWEEPS):
        turned = False
        for q in range(n):
            for p in range(q):
                first, last = rest[p, p].real, rest[q, q].real
                size = np.abs(rest[p, q])
                # Not where it is NaN.
                if size > ROUNDING * (np.abs(first) + np.abs(last)):
                    turned = True
                    _rotate(rest, vectors, p, q, rest[p, q] / size, (last - first) / (2.0 * size))
        if not turned:
            break
    for i in range(n):
        values[i] = rest[i, i].real
    return values, vectors


@compiled
def _rotate(rest: Complex, vectors: Complex, p: int, q: int, phase: complex,
            slope: float) -> None:
    """Turn vectors p and q so that the matrix has no entry (p, q) any more."""
    tangent = 1.0 / (np.abs(slope) + np.sqrt(1.0 + slope * slope))
    if slope < 0.0:
        tangent = -tangent
    cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
    across = tangent * cosine * phase
    for i in range(len(rest)):
        left, right = rest[i, p], rest[i, q]
        rest[i, p] = cosine * left - np.conj(across) * right
        rest[i, q] = across * left + cosine * right
        left, right = vectors[i, p], vectors[i, q]
        vectors[i, p] = cosine * left - np.conj(across) * right
        vectors[i, q] = across * left + cosine * right
    for i in range(len(rest)):
        left, right = rest[p, i], rest[q, i]
        rest[p, i] = cosine * left - across * right
        rest[q, i] = np.conj(across) * left + cosine * right
    rest[p, q] = rest[q, p] = 0.0


@compiled
def cholesky(matrix: Matrix) -> float:
    """
    Cholesky factorisation in place: the lower triangle becomes L of L L^H.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Hermitian; only the lower triangle is looked at. What is above it stays.

    Returns
    -------
    float
        The smallest pivot, that is, square of a diagonal entry of L; infinite if n is 0. If it is
        not positive, or NaN, the factorisation stopped there.

    """
    n = matrix.shape[0]
    smallest = np.inf
    for j in range(n):
        pivot = matrix[j, j].real
        for k in range(j):
            pivot -= matrix[j, k].real ** 2 + matrix[j, k].imag ** 2
        if not pivot > 0.0:
            return pivot
        smallest = min(smallest, pivot)
        root = np.sqrt(pivot)
        matrix[j, j] = root
        for i in range(j + 1, n):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * np.conj(matrix[j, k])
            matrix[i, j] = total / root
    return smallest


@compiled
def triangular_inverse(low: Matrix) -> Matrix:
    """Inverse of a lower-triangular matrix, with zeros above its diagonal."""
    n = low.shape[0]
    out = np.zeros_like(low)
    for i in range(n):
        out[i, i] = 1.0 / low[i, i]
        for k in range(i):
            factor = -low[i, k] * out[i, i]
            for j in range(k + 1):
                out[i, j] += factor * out[k, j]
    return out


@compiled
def scaled_inverse(matrix: Real, smallest: float, inverse: Real) -> bool:
    """
    Invert a matrix whose entries span many decades.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Symmetric.
    smallest : float
        Pivot of the Cholesky factor, of the matrix with its diagonal scaled to one, from which on
        it is positive definite: not a rounding error.
    inverse : ndarray, shape (n, n)
        What is written.

    Returns
    -------
    bool
        Whether it is.

    """
    root, positive = scaled_root(matrix, smallest)
    if positive:
        n = len(root)
        for i in range(n):
            for j in range(i + 1):
                total = 0.0
                for k in range(i, n):
                    total += root[k, i] * root[k, j]
                inverse[i, j] = inverse[j, i] = total
    return positive


@compiled
def scaled_root(matrix: Real, smallest: float) -> tuple[Real, bool]:
    """
    Lower-triangular X with X^T X the inverse of a matrix, and whether there is one.

    Parameters as for `scaled_inverse`; X means nothing where there is none.
    """
    n = len(matrix)
    low, scale = np.empty((n, n)), np.empty(n)
    for i in range(n):
        # NaN is not positive either.
        if not 0.0 < matrix[i, i] < np.inf:
            return low, False
        scale[i] = 1.0 / np.sqrt(matrix[i, i])
    for i in range(n):
        for j in range(i + 1):
            low[i, j] = matrix[i, j] * scale[i] * scale[j]
    if not cholesky(low) >= smallest:
        return low, False
    return triangular_inverse(low) * scale, True


@compiled
def solve_m_matrix(matrix: Real, right: Real) -> Real:
    """
    Solve A x = b for an M-matrix A and b >= 0, both of which are destroyed; the result is b.

    Elimination without pivoting adds up numbers of one sign only, so that every entry of x is
    exact to rounding. Where A is singular or worse an entry of x is infinite or negative.
    """
    n = len(right)
    for k in range(n):
        for i in range(k + 1, n):
            factor = -matrix[i, k] / matrix[k, k]
            for j in range(k + 1, n):
                matrix[i, j] += factor * matrix[k, j]
            right[i] += factor * right[k]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            right[i] -= matrix[i, j] * right[j]
        right[i] /= matrix[i, i]
    return right


@compiled
def lu_factor(matrix: Real) -> Indices:
    """
    Factor a square matrix in place with partial pivoting.

    Returns
    -------
    ndarray, shape (n,)
        Row that each row was exchanged with, in turn.

    """
    n = len(matrix)
    pivots = np.empty(n, dtype=np.int64)
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        pivots[k] = best
        if best != k:
            for j in range(n):
                matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
        for i in range(k + 1, n):
            factor = matrix[i, k] / matrix[k, k]
            matrix[i, k] = factor
            for j in range(k + 1, n):
                matrix[i, j] -= factor * matrix[k, j]
    return pivots


@compiled_sum
def lu_solve(factored: Real, pivots: Indices, right: Real) -> Real:
    """Solve A x = b for several b, shape (n, p), after `lu_factor`; NaN where A is singular."""
    n, count = right.shape
    # One after the other, each along memory.
    out = np.empty((count, n))
    for c in range(count):
        for i in range(n):
            out[c, i] = right[i, c]
        for k in range(n):
            out[c, k], out[c, pivots[k]] = out[c, pivots[k]], out[c, k]
        for i in range(n):
            total = 0.0
            for k in range(i):
                total += factored[i, k] * out[c, k]
            out[c, i] -= total
        for i in range(n - 1, -1, -1):
            total = 0.0
            for k in range(i + 1, n):
                total += factored[i, k] * out[c, k]
            out[c, i] = (out[c, i] - total) / factored[i, i]
    return out.T
