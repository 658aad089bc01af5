"""Compiled linear algebra for matrices so small that a call of LAPACK costs more than the work."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

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
# Up to this order they come from reflections and QL steps of our own, no more for each than this;
# an entry next to the diagonal is zero if it is this small. Beyond it LAPACK is as fast.
REFLECTED = 32
STEPS = 60
EPSILON = 1.1e-16
# The smallest alone: up to this order in less time than LAPACK. After so many steps, of which a
# handful do as a rule, it is a multiple one, to which steps shrink slowly. None is shorter than
# this beside the size of the matrix.
TRIDIAGONAL = 64
LAGUERRE_STEPS = 25
SETTLED = 1e-15
# Products of so many multiplications are made without BLAS.
PRODUCT = 27
# Rows are filled up to a multiple of this many numbers, which the processor takes at once.
LANES = 8


@compiled
def product(left: Complex, right: Complex) -> Complex:
    """Matrix product, up to order 3 or so in a third of the time of BLAS."""
    (n, m), p = left.shape, right.shape[1]
    if n * m * p > PRODUCT:
        return left @ right
    out = np.empty((n, p), dtype=np.complex128)
    for i in range(n):
        for j in range(p):
            total = 0.0j
            for k in range(m):
                total += left[i, k] * right[k, j]
            out[i, j] = total
    return out


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
def square(number: complex) -> float:
    """|a|^2, without the care that abs takes of numbers near the limits of what there is."""
    return number.real ** 2 + number.imag ** 2


@compiled
def energy(entries: Complex) -> float:
    """Sum of |a|^2 of all entries."""
    total = 0.0
    for entry in entries.flat:
        total += square(entry)
    return total


@compiled
def eigh(matrix: Complex) -> tuple[Real, Complex]:
    """
    Eigenvalues, rising, and eigenvectors.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Hermitian.

    Returns
    -------
    values : ndarray, shape (n,)
    vectors : ndarray, shape (n, n)
        Contiguous.

    Raises
    ------
    numpy.linalg.LinAlgError
        If an entry is not finite, for orders above `ROTATED`.

    Notes
    -----
    Jacobi's rotations in turn for the smallest; Householder's reflections and implicit QL steps
    (Golub, Van Loan, Matrix Computations, 4th ed., 8.3) in a half to a third of the time of
    LAPACK, which takes over beyond `REFLECTED`.

    """
    n = matrix.shape[0]
    if n > REFLECTED:
        values, columns = np.linalg.eigh(matrix)
        return values, np.ascontiguousarray(columns)
    vectors = np.empty((n, n), dtype=np.complex128)
    if n <= ROTATED:
        values, turned = _by_rotations(matrix)
        order = _rising(values)
        for i in range(n):
            vectors[:, i] = turned[:, order[i]]
        return values[order], vectors
    values, beside, mirrors = _tridiagonal(matrix)
    real, imag = _turned_by(mirrors)
    _diagonalise(values, beside, real, imag)
    order = _rising(values)
    for i in range(n):
        for j in range(n):
            vectors[j, i] = complex(real[order[i], j], imag[order[i], j])
    return values[order], vectors


@compiled
def _rising(values: Real) -> Indices:
    """Places of the values, the smallest first; by insertion, which nothing beats for a few."""
    order = np.arange(len(values))
    for i in range(1, len(values)):
        place, value = i, values[i]
        while place > 0 and values[order[place - 1]] > value:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    return order


@compiled
def smallest_eigenvalue(matrix: Complex) -> float:
    """
    Smallest eigenvalue alone.

    Parameters
    ----------
    matrix : ndarray, shape (n, n), n >= 1
        Hermitian.

    Raises
    ------
    numpy.linalg.LinAlgError
        If an entry is not finite.

    Notes
    -----
    Laguerre's method on the characteristic polynomial of the tridiagonal matrix (Li, Zeng, SIAM J.
    Sci. Comput. 15, 1994), begun at Gershgorin's bound: all roots are real, so that it rises
    to the smallest without passing it, and triples the digits each time.

    """
    n = matrix.shape[0]
    if n > TRIDIAGONAL:
        return np.linalg.eigvalsh(matrix)[0]
    diagonal, beside, _ = _tridiagonal(matrix)
    if not np.sum(np.abs(diagonal) + beside) < np.inf:
        raise np.linalg.LinAlgError('a matrix is not finite')
    size, root = 0.0, np.inf
    for i in range(n):
        radius = beside[i] + (beside[i - 1] if i else 0.0)
        root = min(root, diagonal[i] - radius)
        size = max(size, abs(diagonal[i]) + radius)
    for _ in range(LAGUERRE_STEPS):
        # Pivots of the matrix minus the root so far; minus their first two derivatives by it.
        slope = curve = first = second = link = 0.0
        inverse = 1.0
        for i in range(n):
            before = link * inverse
            curve = before * inverse * (curve + 2.0 * slope * slope * inverse)
            slope = 1.0 + before * inverse * slope
            pivot = diagonal[i] - root - before
            if not pivot > 0.0:
                # As near as rounding lets it come.
                return root
            inverse = 1.0 / pivot
            ratio = slope * inverse
            first += ratio
            second += curve * inverse + ratio * ratio
            link = beside[i] * beside[i]
        step = n / (first + np.sqrt(max((n - 1) * (n * second - first * first), 0.0)))
        root += step
        if not step > SETTLED * size:
            return root
    nothing = np.empty((n, 0))
    _diagonalise(diagonal, beside, nothing, nothing)
    return np.min(diagonal)


class _Mirrors(NamedTuple):
    """
    Reflections I - b v v^H, one after the other, and phases.

    Attributes
    ----------
    real, imag : ndarray, shape (n, LANES * m)
        Rows: v of each, and zeros.
    weights : ndarray, shape (n,)
        b.
    phases : ndarray, shape (n,)
        Of the columns, after all reflections.

    """

    real: Real
    imag: Real
    weights: Real
    phases: Complex


@compiled_sum
def _tridiagonal(matrix: Complex) -> tuple[Real, Real, _Mirrors]:
    """Diagonal of a Hermitian matrix made real and tridiagonal, what is beside it, and how."""
    n = matrix.shape[0]
    wide = (n + LANES - 1) // LANES * LANES
    # Real and imaginary parts apart: so the processor takes several entries of a row at once.
    real, imag = np.zeros((n, wide)), np.zeros((n, wide))
    for i in range(n):
        for j in range(n):
            real[i, j] = matrix[i, j].real
            imag[i, j] = matrix[i, j].imag
    beside = np.zeros(n)
    mirrors = _Mirrors(np.zeros((n, wide)), np.zeros((n, wide)), np.zeros(n),
                       np.ones(n, dtype=np.complex128))
    image_real, image_imag = np.zeros(wide), np.zeros(wide)
    for k in range(n - 1):
        own_real, own_imag = mirrors.real[k], mirrors.imag[k]
        size = 0.0
        for j in range(k + 1, n):
            own_real[j], own_imag[j] = real[k, j], -imag[k, j]
            size += own_real[j] ** 2 + own_imag[j] ** 2
        size = np.sqrt(size)
        beside[k] = size
        first = np.sqrt(own_real[k + 1] ** 2 + own_imag[k + 1] ** 2)
        phase = complex(1.0)
        if first > 0.0:
            phase = complex(own_real[k + 1] / first, own_imag[k + 1] / first)
        mirrors.phases[k + 1] = -mirrors.phases[k] * phase
        if size == 0.0:
            continue
        own_real[k + 1] += phase.real * size
        own_imag[k + 1] += phase.imag * size
        weight = 1.0 / (size * (size + first))
        mirrors.weights[k] = weight
        # The matrix, reflected from both sides: A - v w^H - w v^H.
        along = 0.0
        for i in range(k + 1, n):
            a = b = 0.0
            for j in range(wide):
                a += real[i, j] * own_real[j] - imag[i, j] * own_imag[j]
                b += real[i, j] * own_imag[j] + imag[i, j] * own_real[j]
            image_real[i], image_imag[i] = weight * a, weight * b
            along += own_real[i] * image_real[i] + own_imag[i] * image_imag[i]
        along *= 0.5 * weight
        image_real[k] = image_imag[k] = 0.0
        for i in range(k + 1, n):
            image_real[i] -= along * own_real[i]
            image_imag[i] -= along * own_imag[i]
        for i in range(k + 1, n):
            a, b, c, d = own_real[i], own_imag[i], image_real[i], image_imag[i]
            for j in range(wide):
                real[i, j] -= (a * image_real[j] + b * image_imag[j]
                               + c * own_real[j] + d * own_imag[j])
                imag[i, j] -= (b * image_real[j] - a * image_imag[j]
                               + d * own_real[j] - c * own_imag[j])
    diagonal = np.empty(n)
    for i in range(n):
        diagonal[i] = real[i, i]
    return diagonal, beside, mirrors


@compiled_sum
def _turned_by(mirrors: _Mirrors) -> tuple[Real, Real]:
    """Real and imaginary parts of the frame of the tridiagonal matrix: each vector a row."""
    n, wide = mirrors.real.shape
    real, imag = np.zeros((n, wide)), np.zeros((n, wide))
    for i in range(n):
        real[i, i] = 1.0
    for k in range(n - 2, -1, -1):
        own_real, own_imag = mirrors.real[k], mirrors.imag[k]
        for i in range(k + 1, n):
            a = b = 0.0
            for j in range(wide):
                a += real[i, j] * own_real[j] + imag[i, j] * own_imag[j]
                b += imag[i, j] * own_real[j] - real[i, j] * own_imag[j]
            a *= mirrors.weights[k]
            b *= mirrors.weights[k]
            for j in range(wide):
                real[i, j] -= a * own_real[j] - b * own_imag[j]
                imag[i, j] -= a * own_imag[j] + b * own_real[j]
    for i in range(n):
        a, b = mirrors.phases[i].real, mirrors.phases[i].imag
        for j in range(wide):
            left, right = real[i, j], imag[i, j]
            real[i, j] = left * a - right * b
            imag[i, j] = left * b + right * a
    return real, imag


@compiled
def _diagonalise(diagonal: Real, beside: Real, real: Real, imag: Real) -> None:
    """
    Turn a real symmetric tridiagonal matrix into a diagonal one, in place, by implicit QL steps.

    Parameters
    ----------
    diagonal, beside : ndarray, shape (n,)
        Become eigenvalues, and zero.
    real, imag : ndarray, shape (n, any)
        Rows are turned alike.

    """
    n, wide = real.shape
    if not np.sum(np.abs(diagonal) + np.abs(beside)) < np.inf:
        raise np.linalg.LinAlgError('a matrix is not finite')
    for first in range(n):
        for step in range(STEPS + 1):
            last = first
            while last < n - 1 and not abs(beside[last]) <= EPSILON * (
                    abs(diagonal[last]) + abs(diagonal[last + 1])):
                last += 1
            if last == first:
                break
            if step == STEPS:
                raise np.linalg.LinAlgError('eigenvalues did not converge')
            # Wilkinson's shift, which the bulge begins with at the far end.
            slope = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first])
            bulge = diagonal[last] - diagonal[first] + beside[first] / (
                slope + np.copysign(np.sqrt(slope * slope + 1.0), slope))
            sine = cosine = 1.0
            shift = 0.0
            for i in range(last - 1, first - 1, -1):
                across, along = sine * beside[i], cosine * beside[i]
                size = np.sqrt(across * across + bulge * bulge)
                beside[i + 1] = size
                if size == 0.0:
                    # It has come apart in the middle.
                    diagonal[i + 1] -= shift
                    beside[last] = 0.0
                    break
                sine, cosine = across / size, bulge / size
                bulge = diagonal[i + 1] - shift
                size = (diagonal[i] - bulge) * sine + 2.0 * cosine * along
                shift = sine * size
                diagonal[i + 1] = bulge + shift
                bulge = cosine * size - along
                for j in range(wide):
                    left, right = real[i, j], real[i + 1, j]
                    real[i, j] = cosine * left - sine * right
                    real[i + 1, j] = sine * left + cosine * right
                    left, right = imag[i, j], imag[i + 1, j]
                    imag[i, j] = cosine * left - sine * right
                    imag[i + 1, j] = sine * left + cosine * right
            else:
                diagonal[first] -= shift
                beside[first], beside[last] = bulge, 0.0


@compiled
def _by_rotations(matrix: Complex) -> tuple[Real, Complex]:
    """Eigenvalues and eigenvectors by Jacobi's rotations in turn."""
    n = matrix.shape[0]
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
                size = np.sqrt(square(rest[p, q]))
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
