"""
Compiled kernels of the interior-point method in `interior_point`; docs/solver.md has the formulas.

All kernels run without the interpreter lock and are compiled once per machine, into the cache
beside this file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.certificate import ceiling
from nf_isac_ros.core.compiled import compiled_step, compiled_sum, compiled_within
from nf_isac_ros.core.small_matrices import cholesky, dagger, eigh, product, triangular_inverse
from nf_isac_ros.core.solvers.cones import (
    SQRT2,
    add_turned,
    centred,
    centred_slacks,
    inner,
    longest_affine_step,
    longest_slack_step,
    longest_step,
    nesterov_todd,
    outliers,
    outlying_slacks,
    pack,
    pack_outer,
    product_after,
    unpack,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Step to the boundary of the cones.
STEP_FRACTION = 0.98
# A longer way than this to the boundary makes no difference.
LONGEST_STEP = 1.0 / STEP_FRACTION
# Complementarity falls by no more than this in a step, for which the second order is good enough.
LEAST_CENTRING = 0.1
# A predictor that hits the boundary early says that the point is off the central path.
OFF_PATH = 0.5
# Correctors of steps that are short: each looks for one longer by so much, and gains so much.
CORRECTORS = 2
SHORT = 0.9
LONGER = 0.3
WORTHWHILE = 0.01
# Above this complementarity the Newton system needs no refinement.
ROUGH_ABOVE = 1e-2
# The normal equations have lost too many digits, QR instead: where a row of the Newton system is
# this close to a combination of others, or its square above this (slacks that are used up).
DEPENDENT, STEEP = 1e-10, 1e15
# Steps shorter than this, twice in a row, no longer lead anywhere.
STALLED = 1e-3
# An objective below the bound by more than this means that rounding has left the feasible set.
ROUNDING = -1e-9
# The bound is computed once complementarity promises a gap this many times the one asked for.
CERTIFY_FROM = 3.0
# A Fisher matrix whose parameters all keep this much of their information beside the others.
WELL_CONDITIONED = 1e-6
# Columns of entries of the curvature are made together up to so many rows: one product has less
# overhead than several, which leave out what is above the diagonal.
PRODUCT_COLUMNS = 60
# So many rows of the objective are multiplied at once with those before them and one another.
PRODUCT_ROWS = 24
# A further row that is met, with at least this much of the slack that the method believed in.
MET = 0.1


class Form(NamedTuple):
    """
    The compact form, power and noise in units of the budget.

    Least of f(S) = tr(E^T F(S)^-1 E) or, without a Fisher matrix, of f = 1 / (aim . tau).

    Attributes
    ----------
    adjoints : ndarray, shape (n, m, d)
        Q_i^H with F_ij(S) = Re tr(Q_j^H S Q_i); n = 0: there is no Fisher matrix.
    selection : ndarray, shape (n, w)
        E.
    blocks : ndarray of int, shape (B + 1, 3)
        Where the diagonal blocks of the Fisher matrix begin and end: parameters, columns of E, and
        second axis of the adjoints.
    channels : ndarray, shape (d, U)
        g.
    dual_channels : ndarray, shape (d, U)
        Pseudo-inverse of g^H: moves a change of G^H S G into S.
    noise, sinr, share : ndarray, shape (U,)
        n_u, Gamma_u, Gamma_u / (1 + Gamma_u).
    points : ndarray, shape (d, R)
        p_k of the further rows sign_k p_k^H S p_k >= levels_k . tau.
    signs : ndarray, shape (R,)
    levels : ndarray, shape (R, T)
        At most one entry of a row is not zero.
    aim : ndarray, shape (T,)
        Zero where there is a Fisher matrix.
    scale : float
        f at the starting point, f_0; 1 without a Fisher matrix.

    """

    adjoints: Complex
    selection: Real
    blocks: NDArray[np.int64]
    channels: Complex
    dual_channels: Complex
    noise: Real
    sinr: Real
    share: Real
    points: Complex
    signs: Real
    levels: Real
    aim: Real
    scale: float


class State(NamedTuple):
    """
    Primal and dual point; the kernels change it in place.

    Attributes
    ----------
    covariance, covariance_dual : ndarray, shape (d, d)
        S and its multiplier.
    parts, parts_dual : ndarray, shape (U + 1, U, U)
        X_0, X_1..X_U and their multipliers; empty without users.
    slacks, slacks_dual : ndarray, shape (U + 1 + R,)
        SINR slacks [X_u]_uu - share_u ([G^H S G]_uu + n_u), then 1 - tr S, then those of the
        further rows, which need not be met yet; and their multipliers.
    levels : ndarray, shape (T,)
        tau.
    weights : ndarray, shape (n, w)
        V with tr(E^T V) = 1: the multiplier of the definition of F, 1/f = min tr(V^T F V).

    """

    covariance: Complex
    covariance_dual: Complex
    parts: Complex
    parts_dual: Complex
    slacks: Real
    slacks_dual: Real
    levels: Real
    weights: Real


class Evidence(NamedTuple):
    """
    What the best lower bound on f so far rests on; the kernels change it in place.

    Attributes
    ----------
    weights : ndarray, shape (n, w)
        V of `certificate.crb_bound`.
    multipliers : ndarray, shape (U,)
        mu of `certificate.crb_bound`.
    row_multipliers : ndarray, shape (R,)
        Of the further rows, on the same scale.
    bound : ndarray, shape (1,)
        The bound itself.

    """

    weights: Real
    multipliers: Real
    row_multipliers: Real
    bound: Real


class History(NamedTuple):
    """
    The points of a run, with room for more; the kernels write it.

    Attributes
    ----------
    states : State
        Arrays with the points along a first axis.
    promised : ndarray, shape (n,)
        Total complementarity of each: the gap in units of -f_0 / f.
    values : ndarray, shape (n,)
        f of each; infinite where it is of no use.
    counts : ndarray of int, shape (5,)
        Points, steps, the best point (-1: none), short steps at the end; 1 if the bound certifies
        the gap of the best point.

    """

    states: State
    promised: Real
    values: Real
    counts: NDArray[np.int64]


def empty_history(form: Form, count: int) -> History:
    """Room for so many points."""
    d, n = form.channels.shape
    n_parts, n_slacks = n + 1 if n else 0, n + 1 + len(form.signs)
    square, small = (count, d, d), (count, n_parts, n, n)
    return History(
        State(np.empty(square, dtype=complex), np.empty(square, dtype=complex),
              np.empty(small, dtype=complex), np.empty(small, dtype=complex),
              np.empty((count, n_slacks)), np.empty((count, n_slacks)),
              np.empty((count, len(form.aim))), np.empty((count, *form.selection.shape))),
        np.empty(count), np.empty(count), np.array([0, 0, -1, 0, 0]))


def point(history: History, at: int) -> State:
    """One point of a history; not a copy."""
    return State(*(array[at] for array in history.states))


class _Scaling(NamedTuple):
    """Nesterov-Todd scaling of each cone."""

    factor: Complex
    inverse: Complex
    values: Real
    part_factors: Complex
    part_inverses: Complex
    part_values: Real
    slack_values: Real


class _Objective(NamedTuple):
    """f at S, Q^H T, L, L^-1 and L^-1 E of the Fisher matrix L L^T."""

    value: float
    turned: Complex
    low: Real
    low_inverse: Real
    target: Real


class _Frame(NamedTuple):
    """
    What the step of V needs.

    Attributes
    ----------
    map : ndarray, shape (n, n)
        Rows: the frame times L^-1.
    weights, target : ndarray, shape (n, w)
        L^T V and L^-1 E in the frame.
    scale, part : ndarray, shape (n_objective,)
    lead : ndarray, shape (d^2,)
        Row k of the objective is scale_k H_k - part_k lead, where <H_k, D> is an entry of the
        change of the Fisher matrix.

    """

    map: Real
    weights: Real
    target: Real
    scale: Real
    part: Real
    lead: Real


class _System(NamedTuple):
    """
    Newton system of an iteration.

    Attributes
    ----------
    rows : ndarray, shape (n_rows, d^2 + U^3)
        B: objective, X_0, SINR slacks, power, further rows, on the scaled steps of S and X_u.
    normal : ndarray, shape (n_rows, n_rows)
        Lower Cholesky factor of I + B B^T.
    gradient : ndarray, shape (d^2,)
        Of the objective.
    free : ndarray, shape (T, n_rows)
        Of the rows, by tau.
    free_steps : ndarray, shape (T, n_rows)
        (I + B B^T)^-1 of those.

    """

    rows: Real
    normal: Real
    gradient: Real
    free: Real
    free_steps: Real


class _Right(NamedTuple):
    """What the complementarity of each cone is to become, in scaled coordinates."""

    covariance: Complex
    parts: Complex
    slacks: Real


class _Direction(NamedTuple):
    """Scaled steps: primal, and the dual ones they imply."""

    covariance: Complex
    covariance_dual: Complex
    parts: Complex
    parts_dual: Complex
    slacks: Real
    slacks_dual: Real
    levels: Real


@compiled_sum
def _cholesky_solve(low, right):
    """Solve L L^T x = right for a lower-triangular L, row by row of L."""
    n = len(right)
    x = right.copy()
    for i in range(n):
        total = x[i]
        for j in range(i):
            total -= low[i, j] * x[j]
        x[i] = total / low[i, i]
    for i in range(n - 1, -1, -1):
        value = x[i] / low[i, i]
        x[i] = value
        for j in range(i):
            x[j] -= low[i, j] * value
    return x


@compiled_step
def _scalings(state):
    factor, inverse, values = nesterov_todd(state.covariance, state.covariance_dual)
    n_parts, n, _ = state.parts.shape
    part_factors = np.empty((n_parts, n, n), dtype=np.complex128)
    part_inverses = np.empty((n_parts, n, n), dtype=np.complex128)
    part_values = np.empty((n_parts, n))
    for k in range(n_parts):
        part_factors[k], part_inverses[k], part_values[k] = nesterov_todd(
            state.parts[k], state.parts_dual[k])
    return _Scaling(factor, inverse, values, part_factors, part_inverses, part_values,
                    np.sqrt(state.slacks * state.slacks_dual))


@compiled_step
def turned_by(adjoints, factor):
    """
    Q_i^H A for every i, shape (n, m, c), from the adjoints and A of shape (d, c).

    One real product, in which every entry a + ib of A is a block (a, b), (-b, a): in half of the
    time of a complex one.
    """
    n, m, d = adjoints.shape
    c = factor.shape[1]
    real = np.empty((2 * d, 2 * c))
    for i in range(d):
        for j in range(c):
            value = factor[i, j]
            real[2 * i, 2 * j] = value.real
            real[2 * i, 2 * j + 1] = value.imag
            real[2 * i + 1, 2 * j] = -value.imag
            real[2 * i + 1, 2 * j + 1] = value.real
    out = adjoints.reshape(n * m, d).view(np.float64) @ real
    return out.view(np.complex128).reshape(n, m, c)


@compiled_step
def fisher_factor(turned, values):
    """
    Lower triangular L with L L^T the Fisher matrix of S = T diag(l) T^H, from Q^H T.

    The matrix is the Gram matrix of vectors. Where an optimum all but hides a target, their QR
    keeps the digits that forming it would lose.
    """
    n, m, d = turned.shape
    vectors = np.empty((n, 2 * m * d))
    roots = np.sqrt(values)
    for a in range(n):
        k = 0
        for j in range(m):
            for i in range(d):
                vectors[a, k] = roots[i] * turned[a, j, i].real
                vectors[a, k + 1] = roots[i] * turned[a, j, i].imag
                k += 2
    low = vectors @ vectors.T
    scale = np.empty(n)
    for a in range(n):
        scale[a] = np.sqrt(low[a, a])
        for b in range(a + 1):
            low[a, b] /= scale[a] * scale[b]
    if not cholesky(low) > WELL_CONDITIONED:
        return np.ascontiguousarray(np.linalg.qr(np.ascontiguousarray(vectors.T))[1].T)
    for a in range(n):
        for b in range(a + 1):
            low[a, b] *= scale[a]
        low[a, a + 1:] = 0.0
    return low


@compiled_step
def _mixed(weights, matrices):
    """Sum_i A_ai M_i for every row a of the weights, from M of shape (n, d, m), contiguous."""
    n, d, m = matrices.shape
    flat = matrices.reshape(n, d * m).view(np.float64)
    return (weights @ flat).view(np.complex128).reshape(len(weights), d, m)


@compiled_step
def _objective(form, scaling):
    turned = turned_by(form.adjoints, scaling.factor)
    n = len(turned)
    low = np.zeros((n, n))
    low_inverse = np.zeros((n, n))
    for b in range(len(form.blocks) - 1):
        first, end = form.blocks[b, 0], form.blocks[b + 1, 0]
        block = fisher_factor(
            turned[first:end, form.blocks[b, 2]:form.blocks[b + 1, 2]], scaling.values)
        low[first:end, first:end] = block
        low_inverse[first:end, first:end] = triangular_inverse(block)
    target = low_inverse @ form.selection
    return _Objective(np.sum(target * target), turned, low, low_inverse, target)


@compiled_step
def objective_row_count(blocks):
    """Rows that the curvature of the objective takes."""
    count = 0
    for b in range(len(blocks) - 1):
        n, w = blocks[b + 1, 0] - blocks[b, 0], blocks[b + 1, 1] - blocks[b, 1]
        count += w * (w + 1) // 2 + (n - w) * w
    return count


@compiled_step
def _complete_frame(matrix):
    """
    Orthonormal frame whose first vectors span a matrix, and are its left singular vectors.

    Parameters
    ----------
    matrix : ndarray, shape (n, w), w <= n

    Returns
    -------
    order : ndarray, shape (n, n)
        Rows: the frame.
    values : ndarray, shape (w,)
        Squares of the singular values, in the order of the first rows.

    """
    n, w = matrix.shape
    # The matrix, and what the reflections make of the identity beside it, row by row.
    work = np.zeros((n, w + n))
    work[:, :w] = matrix
    for i in range(n):
        work[i, w + i] = 1.0
    # Householder reflections: H_w .. H_1 matrix is upper triangular.
    mirror, along = np.empty(n), np.empty(w + n)
    for k in range(min(w, n - 1)):
        size = 0.0
        for i in range(k, n):
            mirror[i] = work[i, k]
            size += mirror[i] ** 2
        mirror[k] += np.copysign(np.sqrt(size), mirror[k])
        size = 0.0
        for i in range(k, n):
            size += mirror[i] ** 2
        if size == 0.0:
            continue
        along[:] = 0.0
        for i in range(k, n):
            for j in range(k, w + n):
                along[j] += mirror[i] * work[i, j]
        for i in range(k, n):
            factor = 2.0 / size * mirror[i]
            for j in range(k, w + n):
                work[i, j] -= factor * along[j]
    top = np.ascontiguousarray(work[:w, :w])
    order = np.ascontiguousarray(work[:, w:])
    values, vectors = eigh((top @ top.T).astype(np.complex128))
    turned = np.empty((w, w))
    for i in range(w):
        for j in range(w):
            # Of a real matrix they are real.
            turned[i, j] = vectors[j, i].real
    order[:w] = turned @ np.ascontiguousarray(order[:w])
    return order, np.maximum(values, 0.0)


@compiled_step
def _products(block, count):
    """
    B_k^H B_a of the first few matrices with all of them.

    Parameters
    ----------
    block : ndarray, shape (n, m, d)
    count : int
        k < count.

    Returns
    -------
    ndarray, shape (count d, n d)
        Rows: k and the rows of the product; columns: a and its columns.

    Notes
    -----
    One real product, of Re B_k over Im B_k with B_a over -i B_a: in half of the time of a complex
    one.

    """
    n, m, d = block.shape
    left = np.empty((2 * m, count * d))
    right = np.empty((2 * m, n * d), dtype=np.complex128)
    for a in range(n):
        for c in range(m):
            for i in range(d):
                value = block[a, c, i]
                right[c, a * d + i] = value
                right[m + c, a * d + i] = complex(value.imag, -value.real)
                if a < count:
                    left[c, a * d + i] = value.real
                    left[m + c, a * d + i] = value.imag
    return (left.T @ right.view(np.float64)).view(np.complex128)


@compiled_step
def _objective_rows(form, objective, weights, rows):
    """
    Rows whose squares sum to the curvature of -f_0 / f, and the vector of T^H (its gradient) T.

    V is a variable of its own, that the gradient is linear in: with V = F^-1 E / f in its place,
    Newton's method follows poles of f, and long steps lead nowhere.
    """
    n, _, d = objective.turned.shape
    scaled = objective.low.T @ weights
    basis = np.zeros((n, n))
    own, target = np.zeros_like(weights), np.zeros_like(weights)
    curvature = np.sqrt(2.0 * form.scale)
    share, pull, scale = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    at = 0
    for b in range(len(form.blocks) - 1):
        first, end = form.blocks[b, 0], form.blocks[b + 1, 0]
        wanted, wanted_end = form.blocks[b, 1], form.blocks[b + 1, 1]
        column, column_end = form.blocks[b, 2], form.blocks[b + 1, 2]
        count, n_wanted = end - first, wanted_end - wanted
        here = np.ascontiguousarray(scaled[first:end, wanted:wanted_end])
        # The first w vectors carry V, the rest span its null space.
        order, values = _complete_frame(here)
        block_basis = order @ np.ascontiguousarray(objective.low_inverse[first:end, first:end])
        block = _mixed(block_basis, np.ascontiguousarray(
            objective.turned[first:end, column:column_end]))
        block_own = order @ here
        block_target = order @ np.ascontiguousarray(
            objective.target[first:end, wanted:wanted_end])
        linear = block_own @ block_target.T
        ideal = linear / objective.value
        gradient = ideal + ideal.T - block_own @ block_own.T

        together = max(1, PRODUCT_COLUMNS // d)
        products = np.empty((0, 0), dtype=np.complex128)
        for k in range(n_wanted):
            # Entries (a, k), a >= k; more than is needed where they are made together.
            left = k % together
            if left == 0:
                products = _products(block[k:], min(together, n_wanted - k))
            for a in range(k, count):
                squares = max(values[k], 1e-300) + (values[a] if k < a < n_wanted else 0.0)
                root = np.sqrt(squares)
                scale[at] = curvature * root
                right = (a - k + left) * d
                pack(products[left * d:(left + 1) * d, right:right + d], scale[at], rows[at])
                share[at] = (linear[k, a] + (linear[a, k] if a > k else 0.0)) / root
                pull[at] = -form.scale * (2.0 if a > k else 1.0) * gradient[k, a] / scale[at]
                at += 1
        basis[first:end, first:end] = block_basis
        own[first:end, wanted:wanted_end] = block_own
        target[first:end, wanted:wanted_end] = block_target
    packed = pull @ rows
    # 1/f instead of f takes the part along `lead` off.
    lead = share @ rows
    size = np.sum(share * share)
    if size > 0.0:
        share *= (1.0 - np.sqrt(max(0.0, 1.0 - size / objective.value))) / size
        for k in range(len(rows)):
            part = share[k]
            for j in range(len(lead)):
                rows[k, j] -= part * lead[j]
    return packed, _Frame(basis, own, target, scale, share, lead)


@compiled_step
def _weights_step(form, frame, value, weights, rows, step):
    """
    Step of V that goes with a scaled step of S.

    Parameters
    ----------
    form : Form
    frame : _Frame
    value : float
        f.
    weights : ndarray, shape (n, w)
        V.
    rows : ndarray, shape (n_objective, d^2)
        Of the objective.
    step : ndarray, shape (d^2,)

    """
    # What the step changes the Fisher matrix by, entry by entry, in the frame.
    changes = (rows @ step + np.sum(frame.lead * step) * frame.part) / frame.scale
    turned = np.zeros_like(weights)
    at = 0
    for b in range(len(form.blocks) - 1):
        first, count = form.blocks[b, 0], form.blocks[b + 1, 0] - form.blocks[b, 0]
        wanted, wanted_end = form.blocks[b, 1], form.blocks[b + 1, 1]
        for c in range(wanted_end - wanted):
            for a in range(c, count):
                for k in range(wanted, wanted_end):
                    turned[first + a, k] += changes[at] * frame.weights[first + c, k]
                    if c < a < wanted_end - wanted:
                        turned[first + c, k] += changes[at] * frame.weights[first + a, k]
                at += 1
    normal = (1.0 + np.sum(frame.target * turned)) / value
    return frame.map.T @ (normal * frame.target - turned) - weights


@compiled_step
def _user_rows(form, state, scaling, rows):
    """Rows of X_0 and of the SINR slacks on the scaled steps of S and X_1..X_U."""
    d, n = form.channels.shape
    size, part = d * d, n * n
    seen = dagger(scaling.factor) @ form.channels
    inward = dagger(seen @ dagger(scaling.part_inverses[0]))
    _part_rows(inward, 1.0, rows, 0)
    for u in range(n):
        relative = product(scaling.part_inverses[0], scaling.part_factors[u + 1])
        _part_rows(relative, -1.0, rows, size + u * part)
    left = dagger(seen)
    for u in range(n):
        weight = np.sqrt(state.slacks_dual[u] / state.slacks[u])
        row = rows[part + u]
        pack_outer(left[u], left[u], 0.0, -weight * form.share[u], row[:size])
        own = scaling.part_factors[u + 1][u]
        begin = size + u * part
        pack_outer(own, own, 0.0, weight, row[begin:begin + part])


@compiled_step
def _part_rows(inward, sign, rows, begin):
    """Rows of the coordinates of A x A^H in those of x, for A of shape (n, m)."""
    n, m = inward.shape
    half = n * (n - 1) // 2
    at = n
    for i in range(n):
        pack_outer(inward[i], inward[i], 0.0, sign, rows[i, begin:begin + m * m])
    for j in range(n):
        for i in range(j):
            pack_outer(inward[i], inward[j], 0.0, sign * SQRT2, rows[at, begin:begin + m * m])
            pack_outer(inward[i], inward[j], 1.0, sign * SQRT2,
                       rows[at + half, begin:begin + m * m])
            at += 1


@compiled_step
def _further_rows(form, state, scaling, rows, free):
    """Rows of the further slacks, and what they take of tau."""
    d, n = form.channels.shape
    seen = dagger(scaling.factor) @ form.points
    first = len(rows) - len(form.signs)
    for k in range(len(form.signs)):
        weight = np.sqrt(state.slacks_dual[n + 1 + k] / state.slacks[n + 1 + k])
        own = np.ascontiguousarray(seen[:, k:k + 1])
        pack(own @ dagger(own), weight * form.signs[k], rows[first + k, :d * d])
        for t in range(len(free)):
            free[t, first + k] = weight * form.levels[k, t]


@compiled_step
def _normal_factor(rows, objective_rows):
    """Lower Cholesky factor of I + B B^T; see `_lower_products`."""
    n_rows, n = rows.shape
    normal = _lower_products(rows, objective_rows)
    steepest = 0.0
    for i in range(n_rows):
        steepest = max(steepest, normal[i, i])
        normal[i, i] += 1.0
    low = _cholesky_or_nothing(normal)
    dependent = len(low) < n_rows or steepest > STEEP
    for i in range(len(low)):
        # Square of the sine of the angle between this row and those before it.
        dependent = dependent or not low[i, i] ** 2 > DEPENDENT * normal[i, i]
    if dependent:
        tall = np.zeros((n + n_rows, n_rows))
        tall[:n] = rows.T
        for i in range(n_rows):
            tall[n + i, i] = 1.0
        upper = np.linalg.qr(tall)[1]
        return np.ascontiguousarray(upper.T)
    return low


@compiled_step
def _cholesky_or_nothing(matrix):
    """Lower Cholesky factor; no rows if there is none."""
    try:
        return np.linalg.cholesky(matrix)
    except Exception:  # noqa: BLE001  compiled code knows no other
        return np.zeros((0, 0))


@compiled_step
def _lower_products(rows, objective_rows):
    """
    B B^T; of what is above the diagonal only a part.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, d^2 + U^3)
        B.
    objective_rows : ndarray, shape (n_objective, d^2)
        The first rows of B, which are zero beyond.

    """
    n_rows, n_objective = len(rows), len(objective_rows)
    out = np.empty((n_rows, n_rows))
    for begin in range(0, n_objective, PRODUCT_ROWS):
        end = min(begin + PRODUCT_ROWS, n_objective)
        out[begin:end, :end] = objective_rows[begin:end] @ objective_rows[:end].T
    out[n_objective:] = rows[n_objective:] @ rows.T
    return out


@compiled_step
def _refined(rows, normal, aim, offset, refinements):
    """Solve x + B^T y = aim, y - B x = offset, by Woodbury and refinement."""
    y = _cholesky_solve(normal, rows @ aim + offset)
    x = aim - y @ rows
    for _ in range(refinements):
        miss = aim - x - y @ rows
        correction = _cholesky_solve(normal, rows @ (miss + x) + offset - y)
        y += correction
        x += miss - correction @ rows
    return x, y


@compiled_step
def _system(form, state, scaling, gradient, rows, objective_rows, refinements):
    n_rows, n_free = len(rows), len(form.aim)
    free = np.zeros((n_free, n_rows))
    _further_rows(form, state, scaling, rows, free)
    normal = _normal_factor(rows, objective_rows)
    free_steps = np.empty((n_free, n_rows))
    for t in range(n_free):
        free_steps[t] = _refined(rows, normal, np.zeros(rows.shape[1]), free[t], refinements)[1]
    return _System(rows, normal, gradient, free, free_steps)


@compiled_step
def _direction(form, scaling, system, unmet, right, refinements):
    """Solve the Newton system for given complementarity."""
    d, n = form.channels.shape
    size, part = d * d, n * n
    rows = system.rows
    n_rows, n_slacks = len(rows), len(scaling.slack_values)
    at_slacks = n_rows - n_slacks
    at_parts = at_slacks - part
    aim = np.zeros(rows.shape[1])
    outer = np.zeros(n_rows)
    matrix = right.covariance.copy()
    for i in range(d):
        matrix[i, i] += scaling.values[i]
    pack(matrix, 1.0, aim[:size])
    aim[:size] -= system.gradient
    for k in range(len(scaling.part_values)):
        matrix = right.parts[k].copy()
        for i in range(n):
            matrix[i, i] += scaling.part_values[k, i]
        if k == 0:
            pack(matrix, 1.0, outer[at_parts:at_slacks])
        else:
            begin = size + (k - 1) * part
            pack(matrix, 1.0, aim[begin:begin + part])
    outer[at_slacks:] = scaling.slack_values + right.slacks
    aim += outer @ rows

    x, y = _refined(rows, system.normal, aim, unmet, refinements)
    n_free = len(system.free)
    levels = np.zeros(n_free)
    if n_free:
        # Free scalars: the multipliers of their rows keep their sum.
        pull = system.free @ np.ascontiguousarray(system.free_steps.T)
        levels = np.linalg.solve(pull, system.free @ (y - outer) + form.aim)
        change = levels @ system.free_steps
        y = y - change
        x = x + change @ rows

    covariance = unpack(x[:size], d)
    parts = np.empty_like(right.parts)
    for k in range(len(parts)):
        if k == 0:
            parts[0] = unpack(y[at_parts:at_slacks], n)
        else:
            begin = size + (k - 1) * part
            parts[k] = unpack(x[begin:begin + part], n)
    slacks = y[at_slacks:].copy()
    return _Direction(covariance, right.covariance - covariance, parts, right.parts - parts,
                      slacks, right.slacks - slacks, levels)


@compiled_step
def _step_length(scaling, direction):
    """
    Longest step that stays in the cones.

    One length for primal and dual: with two of them the gradient, which is not linear, runs away
    from the multipliers.
    """
    length = longest_slack_step(scaling.slack_values, direction.slacks, LONGEST_STEP)
    length = longest_slack_step(scaling.slack_values, direction.slacks_dual, length)
    length = longest_step(scaling.values, direction.covariance, length)
    length = longest_step(scaling.values, direction.covariance_dual, length)
    for k in range(len(scaling.part_values)):
        length = longest_step(scaling.part_values[k], direction.parts[k], length)
        length = longest_step(scaling.part_values[k], direction.parts_dual[k], length)
    return length


@compiled_step
def _affine_step_length(scaling, direction):
    """Do the same for the predictor, whose dual steps follow from the primal ones."""
    length = longest_slack_step(scaling.slack_values, direction.slacks, 1.0)
    length = longest_slack_step(scaling.slack_values, direction.slacks_dual, length)
    length = longest_affine_step(scaling.values, direction.covariance, length)
    for k in range(len(scaling.part_values)):
        length = longest_affine_step(scaling.part_values[k], direction.parts[k], length)
    return length


@compiled_step
def _complementarity_after(scaling, direction, length):
    total = product_after(
        scaling.values, direction.covariance, direction.covariance_dual, length)
    for k in range(len(scaling.part_values)):
        total += product_after(
            scaling.part_values[k], direction.parts[k], direction.parts_dual[k], length)
    return total + np.sum((scaling.slack_values + length * direction.slacks)
                          * (scaling.slack_values + length * direction.slacks_dual))


@compiled_step
def _affine_right(scaling):
    """Complementarity zero: the predictor."""
    parts = np.zeros_like(scaling.part_factors)
    for k in range(len(parts)):
        parts[k] = np.diag(-scaling.part_values[k]).astype(np.complex128)
    return _Right(np.diag(-scaling.values).astype(np.complex128), parts, -scaling.slack_values)


@compiled_step
def _centred_right(scaling, direction, target):
    """Complementarity target on the central path, with the second order of the predictor."""
    parts = np.empty_like(scaling.part_factors)
    for k in range(len(parts)):
        parts[k] = centred(
            scaling.part_values[k], direction.parts[k], direction.parts_dual[k], target)
    return _Right(
        centred(scaling.values, direction.covariance, direction.covariance_dual, target), parts,
        centred_slacks(scaling.slack_values, direction.slacks, direction.slacks_dual, target))


@compiled_step
def _corrected_right(scaling, right, direction, length, target):
    """Bring products that a longer step would leave far from the target back."""
    parts = right.parts.copy()
    for k in range(len(parts)):
        parts[k] += outliers(scaling.part_values[k], direction.parts[k],
                             direction.parts_dual[k], length, target)
    return _Right(
        right.covariance + outliers(scaling.values, direction.covariance,
                                    direction.covariance_dual, length, target), parts,
        right.slacks + outlying_slacks(scaling.slack_values, direction.slacks,
                                       direction.slacks_dual, length, target))


@compiled_step
def _further_values(form, state):
    """sign_k p_k^H S p_k - levels_k . tau, shape (R,)."""
    out = np.empty(len(form.signs))
    seen = state.covariance @ form.points
    for k in range(len(out)):
        total = 0.0
        for i in range(len(seen)):
            total += (np.conj(form.points[i, k]) * seen[i, k]).real
        out[k] = form.signs[k] * total - np.sum(form.levels[k] * state.levels)
    return out


@compiled_step
def _advance(form, state, scaling, direction, length):
    """Take the step, in place, and take the drift of rounding out of the constraints."""
    add_turned(state.covariance, scaling.factor, direction.covariance, length)
    add_turned(state.covariance_dual, dagger(scaling.inverse), direction.covariance_dual, length)
    n_parts = len(scaling.part_values)
    for k in range(n_parts):
        add_turned(state.parts[k], scaling.part_factors[k], direction.parts[k], length)
        add_turned(state.parts_dual[k], dagger(scaling.part_inverses[k]),
                   direction.parts_dual[k], length)
    for k in range(len(state.slacks)):
        unit = np.sqrt(state.slacks[k] / state.slacks_dual[k])
        state.slacks[k] += length * unit * direction.slacks[k]
        state.slacks_dual[k] += length * direction.slacks_dual[k] / unit
    state.levels[:] += length * direction.levels
    if n_parts:
        # X_0 is tiny beside G^H S G: rounding moves into S, never into X_0.
        missing = -(dagger(form.channels) @ state.covariance @ form.channels)
        for k in range(n_parts):
            missing += state.parts[k]
        add_turned(state.covariance, form.dual_channels, missing, 1.0)
    n_users = len(form.noise)
    for u in range(n_users):
        received = 0.0
        for k in range(n_parts):
            received += state.parts[k, u, u].real
        fresh = state.parts[u + 1, u, u].real - form.share[u] * (received + form.noise[u])
        if fresh > 0:
            state.slacks[u] = fresh
    fresh = 1.0 - np.trace(state.covariance).real
    if fresh > 0:
        state.slacks[n_users] = fresh
    further = _further_values(form, state)
    for k in range(len(further)):
        if further[k] > MET * state.slacks[n_users + 1 + k]:
            state.slacks[n_users + 1 + k] = further[k]


@compiled_step
def degree(form):
    """Order of all cones together."""
    d, n = form.channels.shape
    return d + n * (n + 1) + n + 1 + len(form.signs)


@compiled_step
def complementarity(form, state):
    """Mean product of primal and dual eigenvalues."""
    total = np.sum(state.slacks * state.slacks_dual)
    total += inner(state.covariance, state.covariance_dual)
    for k in range(len(state.parts)):
        total += inner(state.parts[k], state.parts_dual[k])
    return total / degree(form)


@compiled_step
def _balance(form, multipliers):
    """Scale the multipliers of the further rows so that sum_k multiplier_k level_k = aim."""
    for t in range(len(form.aim)):
        above, below = 0.0, form.aim[t]
        for k in range(len(multipliers)):
            above += multipliers[k] * max(form.levels[k, t], 0.0)
            below += multipliers[k] * max(-form.levels[k, t], 0.0)
        # Less of the larger side; of the rows from below where there is an aim to keep.
        lower = above > below or form.aim[t] > 0.0
        share = (below / above if above > 0.0 else 0.0) if lower else above / below
        for k in range(len(multipliers)):
            if (form.levels[k, t] > 0.0) if lower else (form.levels[k, t] < 0.0):
                multipliers[k] *= share


@compiled_step
def _improve_bound(form, state, evidence):
    """Find a lower bound on f from the multipliers, see `certificate.crb_bound`."""
    d, n_users = form.channels.shape
    multipliers = np.maximum(state.slacks_dual[:n_users], 0.0) * form.share / form.scale
    further = np.maximum(state.slacks_dual[n_users + 1:], 0.0) / form.scale
    _balance(form, further)
    cost = (form.points * (form.signs * further)) @ dagger(form.points)
    if len(form.adjoints):
        parts = _mixed(np.ascontiguousarray(state.weights.T), form.adjoints)
        stacked = parts.reshape(parts.shape[0] * parts.shape[1], d)
        cost += dagger(stacked) @ stacked
    top = ceiling(cost, form.channels, multipliers, form.sinr, form.noise)
    if top > 0 and 1.0 / top > evidence.bound[0]:
        evidence.weights[:] = state.weights
        evidence.multipliers[:] = multipliers
        evidence.row_multipliers[:] = further
        evidence.bound[0] = 1.0 / top


@compiled_step
def _values(form, state, objective, further):
    """f, and the same if the further rows are met, or else infinity."""
    value = objective.value
    if len(form.selection) == 0:
        reached = np.sum(form.aim * state.levels)
        value = 1.0 / reached if reached > 0.0 else np.inf
    achieved = value
    for k in range(len(further)):
        if further[k] <= 0.0:
            achieved = np.inf
    return value, achieved


@compiled_within
def _iterate(form, state, evidence, refinements, gap):
    """
    Take one predictor-corrector step in place, unless the point is good enough.

    Parameters
    ----------
    form : Form
    state : State
    evidence : Evidence
        Improved by the step.
    refinements : int
        Of the Newton system, once the point is near the end.
    gap : float
        Relative gap to the bound of the evidence at which no step is taken.

    Returns
    -------
    value : float
        f before the step; infinite if further rows were not met.
    promised : float
        Total complementarity before the step.
    length : float
        Of the step; 0 if none was taken.

    """
    d, n = form.channels.shape
    n_parameters = len(form.selection)
    size, part, n_further = d * d, n * n, len(form.signs)
    n_objective = objective_row_count(form.blocks)
    scaling = _scalings(state)
    objective = _objective(form, scaling)
    further = _further_values(form, state)
    value, achieved = _values(form, state, objective, further)
    total = complementarity(form, state) * degree(form)
    if total > ROUGH_ABOVE:
        refinements = 0
    if achieved <= evidence.bound[0] * (1.0 + gap):
        return achieved, total, 0.0

    rows = np.zeros((n_objective + part + n + 1 + n_further, size + n * part))
    plain = np.empty((n_objective, size))
    gradient, frame = _objective_rows(form, objective, state.weights, plain)
    rows[:n_objective, :size] = plain
    at_slacks = n_objective + part
    if n:
        _user_rows(form, state, scaling, rows[n_objective:at_slacks + n])
    power = np.sqrt(state.slacks_dual[n] / state.slacks[n])
    pack(dagger(scaling.factor) @ scaling.factor, -power, rows[at_slacks + n, :size])
    system = _system(form, state, scaling, gradient, rows, plain, refinements)
    # What further rows lack that are not met yet, in scaled coordinates.
    unmet = np.zeros(len(rows))
    for k in range(n_further):
        unit = np.sqrt(state.slacks_dual[n + 1 + k] / state.slacks[n + 1 + k])
        unmet[at_slacks + n + 1 + k] = unit * (further[k] - state.slacks[n + 1 + k])

    mean = total / degree(form)
    # Not a literal zero, for which everything below would be compiled once more.
    unrefined = 0 * refinements
    direction = _direction(form, scaling, system, unmet, _affine_right(scaling), unrefined)
    length = _affine_step_length(scaling, direction)
    after = max(_complementarity_after(scaling, direction, length) / degree(form), 0.0)
    target = mean * max(
        LEAST_CENTRING, min(1.0, (after / mean) ** 3), OFF_PATH * (1.0 - length) ** 2)
    right = _centred_right(scaling, direction, target)
    direction = _direction(form, scaling, system, unmet, right, refinements)
    length = _step_length(scaling, direction)
    for _ in range(CORRECTORS):
        if length > SHORT:
            break
        right = _corrected_right(scaling, right, direction, min(1.0, length + LONGER), target)
        other = _direction(form, scaling, system, unmet, right, refinements)
        longer = _step_length(scaling, other)
        if min(1.0, longer) < min(1.0, length) + WORTHWHILE:
            break
        direction, length = other, longer
    length = min(1.0, STEP_FRACTION * length)
    if n_parameters:
        moved = np.empty(size)
        pack(direction.covariance, 1.0, moved)
        state.weights[:] += length * _weights_step(
            form, frame, value, state.weights, plain, moved)
    _advance(form, state, scaling, direction, length)
    # f changes by about mean * degree * f / f_0 in the end.
    promised = complementarity(form, state) * degree(form) * value / form.scale
    if promised < CERTIFY_FROM * gap:
        _improve_bound(form, state, evidence)
    return achieved, total, length


@compiled_step
def _noted(history, state, promised):
    """Put a point behind those of the history."""
    at = history.counts[0]
    states = history.states
    states.covariance[at] = state.covariance
    states.covariance_dual[at] = state.covariance_dual
    states.parts[at] = state.parts
    states.parts_dual[at] = state.parts_dual
    states.slacks[at] = state.slacks
    states.slacks_dual[at] = state.slacks_dual
    states.levels[at] = state.levels
    states.weights[at] = state.weights
    history.promised[at] = promised
    history.values[at] = np.inf
    history.counts[0] = at + 1
    return at


@compiled_step
def _take_note(history, at, value):
    """Keep the value of a point, and the place of the best one."""
    history.values[at] = value
    best = history.counts[2]
    if value < np.inf and (best < 0 or value <= history.values[best]):
        history.counts[2] = at


@compiled_step
def conclude(form, state, evidence, history):
    """
    Take the point that the last step led to for what it is, where there is no time for another.

    Its value and its bound are what the next iteration would have begun with; whoever goes on
    from here finds it behind the others.
    """
    at = _noted(history, state, complementarity(form, state) * degree(form))
    objective = _objective(form, _scalings(state))
    _, achieved = _values(form, state, objective, _further_values(form, state))
    if achieved >= evidence.bound[0] * (1.0 + ROUNDING):
        _take_note(history, at, achieved)
    _improve_bound(form, state, evidence)


@compiled_step
def descend(form, state, evidence, history, refinements, gap, count):
    """
    Iterate in place until the gap is reached, no step leads on, or so many times.

    Parameters
    ----------
    form, state, evidence, refinements, gap
        As in `_iterate`.
    history : History
        With room for as many points more.
    count : int
        Of iterations.

    Returns
    -------
    bool
        There is no more to be done.

    """
    counts = history.counts
    for _ in range(count):
        at = _noted(history, state, 0.0)
        value, promised, length = _iterate(form, state, evidence, refinements, gap)
        history.promised[at] = promised
        if value < evidence.bound[0] * (1.0 + ROUNDING):
            # Rounding has left the feasible set.
            return True
        _take_note(history, at, value)
        if length > 0.0:
            counts[1] += 1
        counts[3] = counts[3] + 1 if length < STALLED else 0
        # The step has improved the bound: it may be good enough for a point before it.
        if counts[2] >= 0 and history.values[counts[2]] <= evidence.bound[0] * (1.0 + gap):
            counts[4] = 1
            return True
        if length == 0.0 or counts[3] > 1:
            return True
    return False
