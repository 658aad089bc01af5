"""
Compiled algebra of the cones that the interior-point method of `interior_point` works in.

Hermitian positive semidefinite matrices and nonnegative numbers, in the coordinates of the
Nesterov-Todd scaling Y = T diag(l) T^H, Z = T^-H diag(l) T^-1. Hermitian matrices travel as real
vectors in the form of `hermitian.to_vector`.
"""

from __future__ import annotations

import numpy as np

from nf_isac_ros.core.compiled import compiled_step
from nf_isac_ros.core.small_matrices import (
    cholesky,
    dagger,
    eigh,
    hermitian,
    product,
    smallest_eigenvalue,
    square,
    triangular_inverse,
)

SQRT2 = np.sqrt(2.0)
# Products of primal and dual eigenvalues that are this far below or above their mean are brought
# back, as in Gondzio, Comput. Optim. Appl. 6, 1996.
LOWEST, HIGHEST = 0.1, 10.0


@compiled_step
def hermitian_inverse(matrix):
    """Inverse of a Hermitian positive definite matrix."""
    low = np.linalg.cholesky(matrix)
    root = triangular_inverse(low)
    return dagger(root) @ root


@compiled_step
def pack(matrix, scale, out):
    """Write the vector of the Hermitian part of a matrix, times a scale."""
    n = matrix.shape[0]
    half = n * (n - 1) // 2
    k = n
    part = scale / SQRT2
    for j in range(n):
        for i in range(j):
            above, below = matrix[i, j], matrix[j, i]
            out[k] = part * (above.real + below.real)
            out[k + half] = part * (above.imag - below.imag)
            k += 1
        out[j] = scale * matrix[j, j].real


@compiled_step
def pack_outer(left, right, turned, scale, out):
    """
    Write the vector of the Hermitian part of conj(x) y^T, times a scale.

    Parameters
    ----------
    left, right : ndarray, shape (n,)
        x, y.
    turned : float
        1: of i conj(x) y^T; 0: as it is.
    scale : float
    out : ndarray, shape (n^2,)

    """
    n = len(left)
    half = n * (n - 1) // 2
    k = n
    for j in range(n):
        for i in range(j + 1):
            one, other = np.conj(left[i]) * right[j], np.conj(left[j]) * right[i]
            if turned:
                one, other = complex(-one.imag, one.real), complex(-other.imag, other.real)
            if i == j:
                out[i] = scale * one.real
            else:
                out[k] = scale * (one.real + other.real) / SQRT2
                out[k + half] = scale * (one.imag - other.imag) / SQRT2
                k += 1


@compiled_step
def unpack(vector, n):
    """Hermitian matrix of a vector."""
    matrix = np.empty((n, n), dtype=np.complex128)
    half = n * (n - 1) // 2
    k = n
    for i in range(n):
        matrix[i, i] = vector[i]
    for j in range(n):
        for i in range(j):
            value = complex(vector[k], vector[k + half]) / SQRT2
            matrix[i, j] = value
            matrix[j, i] = np.conj(value)
            k += 1
    return matrix


@compiled_step
def nesterov_todd(primal, dual):
    """T, T^-1 and l of a pair of positive definite matrices."""
    low = np.linalg.cholesky(primal)
    values, vectors = eigh(hermitian(product(product(dagger(low), dual), low)))
    values = np.sqrt(np.maximum(values, 1e-300))
    factor = product(low, vectors)
    inverse = product(dagger(vectors), triangular_inverse(low))
    for i in range(len(values)):
        root = np.sqrt(values[i])
        for j in range(len(values)):
            factor[j, i] /= root
            inverse[i, j] *= root
    return factor, inverse, values


@compiled_step
def _lowest(values, step, sign):
    """Smallest eigenvalue of sign * diag(values)^-1/2 step diag(values)^-1/2."""
    n = len(values)
    if n <= 2:
        first, last = step[0, 0].real / values[0], step[n - 1, n - 1].real / values[n - 1]
        across = 0.0
        if n == 2:
            across = np.sqrt(square(step[0, 1]) / (values[0] * values[1]))
        return 0.5 * sign * (first + last) - np.sqrt(0.25 * (first - last) ** 2 + across ** 2)
    scaled = np.empty((n, n), dtype=np.complex128)
    roots = 1.0 / np.sqrt(values)
    for i in range(n):
        for j in range(n):
            scaled[i, j] = step[i, j] * (sign * roots[i] * roots[j])
    return smallest_eigenvalue(scaled)


@compiled_step
def _inside(values, step, share, length):
    """Whether share * diag(values) + length * step is positive definite; costs next to nothing."""
    n = len(values)
    moved = np.empty((n, n), dtype=np.complex128)
    for i in range(n):
        for j in range(i):
            moved[i, j] = length * step[i, j]
        moved[i, i] = share * values[i] + length * step[i, i].real
    return cholesky(moved) > 0.0


@compiled_step
def longest_step(values, step, most):
    """
    Largest factor, up to `most`, with diag(values) + factor * step positive semidefinite.

    Most steps are limited by one cone of many: eigenvalues are looked at only where a Cholesky
    factorisation says that this one might be it.
    """
    if _inside(values, step, 1.0, most):
        return most
    lowest = _lowest(values, step, 1.0)
    return most if -lowest * most < 1.0 else -1.0 / lowest


@compiled_step
def longest_affine_step(values, step, most):
    """
    Do the same for a step and for -diag(values) - step, its dual where products go to zero.

    For `most` up to 1.
    """
    most = longest_step(values, step, most)
    if _inside(values, step, 1.0 - most, -most):
        return most
    highest = -_lowest(values, step, -1.0)
    return most if (1.0 + highest) * most < 1.0 else 1.0 / (1.0 + highest)


@compiled_step
def longest_slack_step(values, step, most):
    """Largest factor, up to `most`, with values + factor * step nonnegative."""
    longest = most
    for k in range(len(values)):
        if step[k] < 0:
            longest = min(longest, -values[k] / step[k])
    return longest


@compiled_step
def add_turned(out, factor, step, length):
    """Add length * T step T^H, made Hermitian, in place."""
    turned = product(product(factor, step), dagger(factor))
    for i in range(len(out)):
        for j in range(i):
            value = 0.5 * length * (turned[i, j] + np.conj(turned[j, i]))
            out[i, j] += value
            out[j, i] += np.conj(value)
        out[i, i] += length * turned[i, i].real


@compiled_step
def inner(left, right):
    """Re tr(A B) of Hermitian matrices."""
    total = 0.0
    for i in range(len(left)):
        for j in range(len(left)):
            total += left[i, j].real * right[i, j].real + left[i, j].imag * right[i, j].imag
    return total


@compiled_step
def product_after(values, step, dual_step, length):
    """<Y, Z> after a step of a given length."""
    total = 0.0
    n = len(values)
    for i in range(n):
        for j in range(n):
            here = values[i] if i == j else 0.0
            total += ((here + length * step[i, j])
                      * np.conj(here + length * dual_step[i, j])).real
    return total


@compiled_step
def centred(values, step, dual_step, target):
    """Solve sym(diag(l) rho) = target I - l^2 - sym(step dual_step) for rho."""
    n = len(values)
    cross = product(step, dual_step)
    out = np.empty((n, n), dtype=np.complex128)
    for i in range(n):
        for j in range(n):
            value = -0.5 * (cross[i, j] + np.conj(cross[j, i]))
            if i == j:
                value += target - values[i] ** 2
            out[i, j] = 2.0 * value / (values[i] + values[j])
    return out


@compiled_step
def centred_slacks(values, step, dual_step, target):
    """Do the same for nonnegative numbers."""
    return (target - values ** 2 - step * dual_step) / values


@compiled_step
def _back_to_range(product, target):
    if product < LOWEST * target:
        return LOWEST * target - product
    if product > HIGHEST * target:
        return max(HIGHEST * target - product, -HIGHEST * target)
    return 0.0


@compiled_step
def outliers(values, step, dual_step, length, target):
    """What brings outlying products after a trial step back to a range about the target."""
    n = len(values)
    left, right = length * step, length * dual_step
    for i in range(n):
        left[i, i] += values[i]
        right[i, i] += values[i]
    products, vectors = eigh(hermitian(product(left, right)))
    changes = np.empty(n)
    for k in range(n):
        changes[k] = _back_to_range(products[k], target)
    out = product(vectors * changes, dagger(vectors))
    for i in range(n):
        for j in range(n):
            out[i, j] *= 2.0 / (values[i] + values[j])
    return out


@compiled_step
def outlying_slacks(values, step, dual_step, length, target):
    """Do the same for nonnegative numbers."""
    out = np.empty(len(values))
    for k in range(len(values)):
        after = (values[k] + length * step[k]) * (values[k] + length * dual_step[k])
        out[k] = _back_to_range(after, target) / values[k]
    return out
