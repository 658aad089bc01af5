"""
Compiled kernels of zero forcing for extended targets; docs/extended_designs.md has the formulas.

Coordinates are those of [F N], F the unit pseudo-inverse beams of the users and N an orthonormal
basis of what no user hears: a covariance is S = [F N] M [F N]^H with a diagonal upper left block
of M.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beam_kernels import slack
from nf_isac_ros.core.beams import SINR_MARGIN
from nf_isac_ros.core.compiled import compiled_sum, compiled_within
from nf_isac_ros.core.small_matrices import (
    cholesky,
    eigh,
    lu_factor,
    lu_solve,
    smallest_eigenvalue,
    triangular_inverse,
)
from nf_isac_ros.core.solvers.zero_forcing_kernels import evaluate, served_beams

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.int64]

MAX_ITERATIONS = 40
# Starting point: shares of what the users need not that go to each of them, and to all of them at
# least and at most; share that is used at all; share of the null space's that is spread evenly;
# gap in units of the objective.
USER_SHARE, FEW_USERS, MANY_USERS = 0.025, 0.1, 0.25
USED_SHARE, EVEN_SHARE, INITIAL_GAP = 0.95, 0.35, 1.5
# Slack that a limit of the coverage which is not met is taken to have, over the mean of what
# sections receive.
ASSUMED_SLACK = 0.4
# How far to go towards the boundary.
DAMPING = 0.985
# Steps shorter than this lead nowhere; how exactly their largest length is found, in halvings, by
# the predictor and in the end.
SHORTEST = 1e-4
ROUGHLY, EXACTLY = 2, 5
# The barrier of the bound: how much less it counts each time, up to how many steps of Newton's
# method in between and how close they come (square of the decrement), and what it leaves in the
# end.
BARRIER_FALL, CENTRING_STEPS, CENTRED, BARRIER_GAP = 0.1, 2, 2.0, 1e-3
# What a step is cut by until it stays inside, at most so many times.
CUT, MOST_CUTS = 0.6, 40
# The share of its covariance that V are made from next. With those it goes on from where it was,
# counted this much more again, and this much higher, up to so many times, for room.
FRESH_SHARE = 0.3
FRESH_RATE, FRESH_ROOM, FRESH_RAISES = 0.03, 0.05, 3
# Shares by which the ceiling is raised until it is one in the whole space.
RAISES = (1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
# The coverage is asked for with this part of the gap to spare, or with this part of the room that
# the ratio leaves; of what is spared, the part that may be missed at the end.
COVERAGE_SHARE, ROOM_SHARE, UNMET_SHARE = 0.5, 0.2, 0.4
# Channels whose matrix has a larger condition number cannot be told apart.
MAX_CONDITION = 1e8
# SINRs are asked for with this ratio to spare, so that rounding cannot turn "met" into "missed".
MARGIN = 2.0 * SINR_MARGIN
# Sensing beams with less of the power than this part of the gap are what the solver has not got
# rid of.
NEGLIGIBLE_SENSING = 0.03
# A bound further away than this is worth looking for better V, once.
LOOSE = 2e-2


class Task(NamedTuple):
    """
    A problem as the kernels take it.

    S sections of T targets, each seen through r columns, with l parameters that it tells of.

    Attributes
    ----------
    columns : ndarray, shape (m, S r)
        Section by section, [F N]^H times the columns.
    pairs : ndarray, shape (S, l, l, r, r)
        Hermitian H_ab: section s adds tr(H_ab T_s^H M T_s) to F_ab.
    places : ndarray, shape (S, l)
        Which parameters those are.
    forms : ndarray, shape (S, l, w)
        Where the entry of F V for a parameter and a column of E stands among the n_forms that can
        differ from zero; -1: nowhere.
    n_forms : int
    spans, chosen : ndarray, shape (T + 1,)
        Where parameters and columns of E of a target begin.
    selection : ndarray, shape (n, w)
        E.
    metric : ndarray, shape (m, m)
        [F N]^H [F N].
    least : ndarray, shape (U,)
        Power that each of F needs.
    lit : ndarray, shape (L,)
        Which columns are to be lit evenly.
    gains : ndarray, shape (L,)
        In which unit.
    owners : ndarray, shape (L,)
        Of which target, among those with a coverage.
    ratio : float
        Largest over smallest of these.

    """

    columns: Complex
    pairs: Complex
    places: Indices
    forms: Indices
    n_forms: int
    spans: Indices
    chosen: Indices
    selection: Real
    metric: Complex
    least: Real
    lit: Indices
    gains: Real
    owners: Indices
    ratio: float


class Answer(NamedTuple):
    """
    Where the method ended.

    Attributes
    ----------
    covariance : ndarray, shape (m, m)
        M; its upper left block is diagonal but for rounding.
    weights : ndarray, shape (n, w)
        F^-1 E there.
    lower, upper : ndarray, shape (L,)
        Multipliers of the coverage, over the objective.
    objective : float
        f.
    gap : float
        Relative, of zero forcing itself.
    iterations : int

    """

    covariance: Complex
    weights: Real
    lower: Real
    upper: Real
    objective: float
    gap: float
    iterations: int


@compiled_sum
def fisher_of(task: Task, gram: Complex) -> Real:
    """Fisher matrix for columns^H M columns = gram, of which only the sections' blocks count."""
    n_sections, n_local = task.places.shape
    r = task.pairs.shape[3]
    n = len(task.selection)
    out = np.zeros((n, n))
    for s in range(n_sections):
        for a in range(n_local):
            for b in range(n_local):
                total = 0.0
                for i in range(r):
                    for j in range(r):
                        total += (task.pairs[s, a, b, i, j] * gram[s * r + j, s * r + i]).real
                out[task.places[s, a], task.places[s, b]] += total
    return out


class _Point(NamedTuple):
    """Objective f, V = F^-1 E and F^-1; an infinite f if F is singular."""

    value: float
    weights: Real
    inverse: Real


@compiled_sum
def evaluated(task: Task, gram: Complex) -> _Point:
    """Evaluate target by target: F has a block for each."""
    fisher = fisher_of(task, gram)
    value = 0.0
    weights = np.zeros_like(task.selection)
    inverse = np.zeros_like(fisher)
    for t in range(len(task.spans) - 1):
        a, b = task.spans[t], task.spans[t + 1]
        c, d = task.chosen[t], task.chosen[t + 1]
        point = evaluate(np.ascontiguousarray(fisher[a:b, a:b]),
                         np.ascontiguousarray(task.selection[a:b, c:d]))
        value += point.value
        weights[a:b, c:d] = point.weights
        inverse[a:b, a:b] = point.low_inverse.T @ point.low_inverse
    return _Point(value, weights, inverse)


@compiled_sum
def cost_blocks(task: Task, weights: Real) -> Complex:
    """Blocks B_s, (S, r, r), of C = sum_s T_s B_s T_s^H with <C, M> = tr(V^T F V)."""
    n_sections, n_local = task.places.shape
    r, w = task.pairs.shape[3], weights.shape[1]
    out = np.zeros((n_sections, r, r), dtype=np.complex128)
    for s in range(n_sections):
        for a in range(n_local):
            for b in range(n_local):
                factor = 0.0
                for k in range(w):
                    factor += weights[task.places[s, a], k] * weights[task.places[s, b], k]
                _add(out[s], factor, task.pairs[s, a, b])
    return out


@compiled_sum
def _add(out: Complex, factor: float, block: Complex) -> None:
    """Add a multiple of a block: an array for the product would take longer than the sum."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += factor * block[i, j]


@compiled_sum
def spread(columns: Complex, blocks: Complex) -> Complex:
    """Matrix sum_s T_s B_s T_s^H."""
    r = blocks.shape[1]
    mixed = np.empty_like(columns)
    for p in range(len(columns)):
        for s in range(len(blocks)):
            for j in range(r):
                total = 0.0j
                for i in range(r):
                    total += columns[p, s * r + i] * blocks[s, i, j]
                mixed[p, s * r + j] = total
    out = mixed @ np.conj(columns.T)
    return 0.5 * (out + np.conj(out.T))


@compiled_sum
def _form_blocks(task: Task, weights: Real) -> Complex:
    """Blocks R of the forms D -> [F(D) V]_aw = sum_s tr(R_saw T_s^H D T_s), (S, l, w, r, r)."""
    n_sections, n_local = task.places.shape
    r, w = task.pairs.shape[3], weights.shape[1]
    out = np.zeros((n_sections, n_local, w, r, r), dtype=np.complex128)
    for s in range(n_sections):
        for a in range(n_local):
            for b in range(n_local):
                for k in range(w):
                    _add(out[s, a, k], weights[task.places[s, b], k], task.pairs[s, a, b])
    return out


@compiled_sum
def _entry(adjoint: Complex, half: Complex, x: int, y: int) -> complex:
    """Entry of A^H X A, of A^H and X A."""
    out = 0.0j
    for p in range(len(half)):
        out += adjoint[x, p] * half[p, y]
    return out


@compiled_sum
def _measured(task: Task, forms: Complex, adjoint: Complex, half: Complex,
              matrix: Complex) -> Real:
    """
    All functionals of the Hermitian part of a matrix X.

    Parameters
    ----------
    forms : ndarray, shape (S, l, w, r, r)
    adjoint : ndarray, shape (q, m)
        A^H, A = [columns, e_1 .. e_U].
    half : ndarray, shape (m, q)
        X A.
    matrix : ndarray, shape (m, m)
        X.

    Returns
    -------
    ndarray
        Forms, illuminations, powers of the users, power, and the real and imaginary parts of what
        stands beside the diagonal of the users' block.

    """
    n_users, n_lit, n_forms = len(task.least), len(task.lit), task.n_forms
    out = np.zeros(n_forms + n_lit + n_users + 1 + n_users * (n_users - 1))
    n_sections, n_local, w, r, _ = forms.shape
    block = np.empty((r, r), dtype=np.complex128)
    for s in range(n_sections):
        for i in range(r):
            for j in range(r):
                block[i, j] = _entry(adjoint, half, s * r + j, s * r + i)
        for a in range(n_local):
            for k in range(w):
                place = task.forms[s, a, k]
                if place >= 0:
                    out[place] += _product_trace(forms[s, a, k], block)
    for i in range(n_lit):
        out[n_forms + i] = task.gains[i] * _entry(adjoint, half, task.lit[i], task.lit[i]).real
    at = n_forms + n_lit
    for u in range(n_users):
        out[at + u] = matrix[u, u].real
    at += n_users
    for p in range(len(matrix)):
        for q in range(len(matrix)):
            out[at] += (task.metric[q, p] * matrix[p, q]).real
    at += 1
    for u in range(n_users):
        for v in range(u):
            both = 0.5 * (matrix[u, v] + np.conj(matrix[v, u]))
            out[at], out[at + 1] = both.real, both.imag
            at += 2
    return out


@compiled_sum
def _product_trace(one: Complex, other: Complex) -> float:
    """Real part of the sum of the entries of one times those of the other."""
    out = 0.0
    for i in range(one.shape[0]):
        for j in range(one.shape[1]):
            out += one[i, j].real * other[i, j].real - one[i, j].imag * other[i, j].imag
    return out


@compiled_sum
def _assembled(task: Task, forms: Complex, factors: Real) -> Complex:
    """Matrix of a sum of the functionals."""
    n_users, n_lit, n_forms = len(task.least), len(task.lit), task.n_forms
    n_sections, n_local, w, r, _ = forms.shape
    blocks = np.zeros((n_sections, r, r), dtype=np.complex128)
    for s in range(n_sections):
        for a in range(n_local):
            for k in range(w):
                place = task.forms[s, a, k]
                if place >= 0:
                    _add(blocks[s], factors[place], forms[s, a, k])
    for i in range(n_lit):
        s, j = task.lit[i] // r, task.lit[i] % r
        blocks[s, j, j] += factors[n_forms + i] * task.gains[i]
    out = spread(task.columns, blocks)
    at = n_forms + n_lit
    for u in range(n_users):
        out[u, u] += factors[at + u]
    at += n_users
    out += factors[at] * task.metric
    at += 1
    for u in range(n_users):
        for v in range(u):
            value = 0.5 * (factors[at] + 1j * factors[at + 1])
            out[u, v] += value
            out[v, u] += np.conj(value)
            at += 2
    return out


@compiled_sum
def _pack_form(form: Complex, out: Real) -> None:
    """Write a Hermitian matrix as real numbers, shape (r^2,)."""
    at = 0
    for i in range(len(form)):
        out[at] = form[i, i].real
        at += 1
        for j in range(i + 1, len(form)):
            out[at], out[at + 1] = form[i, j].real, form[i, j].imag
            at += 2


@compiled_sum
def _pack_other(other: Complex, out: Real) -> None:
    """Write the numbers whose products with those of `_pack_form` add up to `_product_trace`."""
    at = 0
    for i in range(len(other)):
        out[at] = other[i, i].real
        at += 1
        for j in range(i + 1, len(other)):
            out[at] = other[i, j].real + other[j, i].real
            out[at + 1] = other[j, i].imag - other[i, j].imag
            at += 2


@compiled_sum
def _gram(task: Task, forms: Complex, left: Complex, right: Complex, by_power: Real) -> Real:
    """
    Re tr(A_i M A_j Z^-1) for all functionals A_i.

    Parameters
    ----------
    left, right : ndarray, shape (q, q)
        A^H M A and A^H Z^-1 A.
    by_power : ndarray
        `_measured` of M K Z^-1, K the metric.

    """
    n_users, n_lit, n_forms = len(task.least), len(task.lit), task.n_forms
    n_sections, n_local, w, r, _ = forms.shape
    first = task.columns.shape[1]
    n = len(by_power)
    out = np.zeros((n, n))
    n_vectors = n_lit + n_users
    vectors = np.empty(n_vectors, dtype=np.int64)
    gains = np.ones(n_vectors)
    for i in range(n_lit):
        vectors[i], gains[i] = task.lit[i], task.gains[i]
    for u in range(n_users):
        vectors[n_lit + u] = first + u
    beside = n_forms + n_vectors + 1

    packed = np.empty((n_sections, n_local, w, r * r))
    for s in range(n_sections):
        for a in range(n_local):
            for k in range(w):
                _pack_form(forms[s, a, k], packed[s, a, k])
    # Row by row what stands in the columns of M A: then all loops run along memory.
    columns = np.conj(left)
    half = np.empty((r, left.shape[0]), dtype=np.complex128)
    block = np.empty((r, r), dtype=np.complex128)
    flat = np.empty(r * r)
    for s in range(n_sections):
        for a in range(n_local):
            for k in range(w):
                place = task.forms[s, a, k]
                if place < 0:
                    continue
                for j in range(r):
                    half[j] = 0.0
                    for i in range(r):
                        factor = forms[s, a, k, i, j]
                        # Later sections by symmetry.
                        for p in range((s + 1) * r):
                            half[j, p] += factor * columns[s * r + i, p]
                        for x in range(n_vectors):
                            if vectors[x] >= (s + 1) * r:
                                half[j, vectors[x]] += factor * columns[s * r + i, vectors[x]]
                for t in range(s + 1):
                    for i in range(r):
                        for j in range(r):
                            entry = 0.0j
                            for h in range(r):
                                entry += half[h, t * r + i] * right[s * r + h, t * r + j]
                            block[j, i] = entry
                    _pack_other(block, flat)
                    for b in range(n_local):
                        for c in range(w):
                            other = task.forms[t, b, c]
                            if other < 0:
                                continue
                            both = 0.0
                            for i in range(r * r):
                                both += packed[t, b, c, i] * flat[i]
                            out[other, place] += both
                            if t != s:
                                out[place, other] += both
                for i in range(n_vectors):
                    entry = 0.0j
                    for h in range(r):
                        entry += half[h, vectors[i]] * right[s * r + h, vectors[i]]
                    out[n_forms + i, place] += gains[i] * entry.real
                at = beside
                for u in range(n_users):
                    for v in range(u):
                        entry = 0.0j
                        for h in range(r):
                            entry += (half[h, first + u] * right[s * r + h, first + v]
                                      + np.conj(half[h, first + v] * right[s * r + h, first + u]))
                        out[at, place] += 0.5 * entry.real
                        out[at + 1, place] += 0.5 * entry.imag
                        at += 2
    for i in range(n_vectors):
        for j in range(n_vectors):
            both = left[vectors[i], vectors[j]] * right[vectors[j], vectors[i]]
            out[n_forms + i, n_forms + j] = gains[i] * gains[j] * both.real
        at = beside
        for u in range(n_users):
            for v in range(u):
                entry = 0.5 * gains[i] * (
                    left[first + u, vectors[i]] * right[vectors[i], first + v]
                    + right[first + u, vectors[i]] * left[vectors[i], first + v])
                out[at, n_forms + i], out[at + 1, n_forms + i] = entry.real, entry.imag
                at += 2
    at = beside
    for u in range(n_users):
        for v in range(u):
            other = beside
            for x in range(n_users):
                for y in range(x):
                    # M (E_xy / 2 + its conjugate) Z^-1, and the same with i E_xy.
                    straight = 0.25 * (left[first + u, first + x] * right[first + y, first + v]
                                       + right[first + u, first + x] * left[first + y, first + v])
                    crossed = 0.25 * (left[first + u, first + y] * right[first + x, first + v]
                                      + right[first + u, first + y] * left[first + x, first + v])
                    real, imaginary = straight + crossed, 1j * (straight - crossed)
                    out[at, other], out[at + 1, other] = real.real, real.imag
                    out[at, other + 1], out[at + 1, other + 1] = imaginary.real, imaginary.imag
                    other += 2
            at += 2
    # The rest by symmetry.
    for i in range(n_forms, n):
        for j in range(n_forms if i < beside else beside - 1):
            out[j, i] = out[i, j]
    out[:, beside - 1] = by_power
    out[beside - 1, :] = by_power
    return out


@compiled_sum
def _positive(matrix: Complex, change: Complex, length: float) -> bool:
    """Whether matrix + length change is positive definite."""
    moved = np.empty_like(matrix)
    for i in range(len(matrix)):
        for j in range(i + 1):
            moved[i, j] = matrix[i, j] + length * change[i, j]
    return cholesky(moved) > 0.0


@compiled_sum
def _room(matrix: Complex, change: Complex, limit: float, halvings: int) -> float:
    """About the largest t, at most the limit, with matrix + t change > 0."""
    # Matrices of ten or twenty rows are factored faster than their eigenvalues are found.
    low, high = 0.0, limit
    length = limit
    while not _positive(matrix, change, length):
        high = length
        length *= 0.5
        if length < SHORTEST:
            return 0.0
    low = length
    if low < limit:
        for _ in range(halvings):
            length = 0.5 * (low + high)
            if _positive(matrix, change, length):
                low = length
            else:
                high = length
    return low


@compiled_sum
def _inverted(matrix: Complex) -> Complex:
    """Inverse of a positive definite matrix."""
    low = matrix.copy()
    cholesky(low)
    root = triangular_inverse(low)
    out = np.conj(root.T) @ root
    return 0.5 * (out + np.conj(out.T))


@compiled_sum
def _reach(values: Real, changes: Real) -> float:
    """Largest t, up to a little beyond 1, with values + t changes >= 0."""
    out = 1.0 / DAMPING
    for i in range(len(values)):
        if changes[i] < 0.0:
            out = min(out, -values[i] / changes[i])
    return out


class _State(NamedTuple):
    """Primal and dual variables; slacks are those of the coverage (twice), users and power."""

    covariance: Complex
    dual: Complex
    slacks: Real
    slacks_dual: Real
    levels: Real
    beside: Real


@compiled_sum
def _first(task: Task) -> _State:
    """Point inside everything but the coverage."""
    m, n_users, n_lit = len(task.columns), len(task.least), len(task.lit)
    left = max(1.0 - np.sum(task.least), 0.0)
    covariance = np.zeros((m, m), dtype=np.complex128)
    for_users = min(max(USER_SHARE * n_users, FEW_USERS), MANY_USERS) if n_users else 0.0
    for u in range(n_users):
        covariance[u, u] = task.least[u] + for_users * left / n_users
    free = m - n_users
    seen = task.columns[n_users:].copy()
    for i in range(seen.shape[1]):
        size = 0.0
        for p in range(free):
            size += seen[p, i].real ** 2 + seen[p, i].imag ** 2
        if size > 0.0:
            for p in range(free):
                seen[p, i] /= np.sqrt(size)
    inner = seen @ np.conj(seen.T)
    total = np.trace(inner).real
    if total > 0.0:
        inner *= (1.0 - EVEN_SHARE) / total
    for i in range(free):
        inner[i, i] += EVEN_SHARE / free
    covariance[n_users:, n_users:] = (USED_SHARE - for_users) * left * inner

    n_targets = 0
    for i in range(n_lit):
        n_targets = max(n_targets, task.owners[i] + 1)
    slacks = np.empty(2 * n_lit + n_users + 1)
    received = np.empty(n_lit)
    for i in range(n_lit):
        column = np.ascontiguousarray(task.columns[:, task.lit[i]])
        received[i] = task.gains[i] * np.sum(np.conj(column) * (covariance @ column)).real
    levels = np.zeros(n_targets)
    for t in range(n_targets):
        low, high = np.inf, 0.0
        for i in range(n_lit):
            if task.owners[i] == t:
                low, high = min(low, received[i]), max(high, received[i])
        levels[t] = np.sqrt(low * high / task.ratio)
    mean = np.mean(received) if n_lit else 0.0
    for i in range(n_lit):
        level = levels[task.owners[i]]
        slacks[2 * i], slacks[2 * i + 1] = received[i] - level, task.ratio * level - received[i]
    for i in range(2 * n_lit):
        if slacks[i] <= 0.05 * mean:
            slacks[i] = ASSUMED_SLACK * mean
    for u in range(n_users):
        slacks[2 * n_lit + u] = covariance[u, u].real - task.least[u]
    slacks[-1] = 1.0 - np.sum((np.conj(task.metric) * covariance).real)
    gap = INITIAL_GAP / (m + len(slacks))
    return _State(covariance, gap * _inverted(covariance), slacks, gap / slacks, levels,
                  np.zeros(n_users * (n_users - 1)))


@compiled_sum
def _form_owners(task: Task) -> Indices:
    """Parameter and column of E of each form, shape (n_forms, 2)."""
    out = np.zeros((task.n_forms, 2), dtype=np.int64)
    n_sections, n_local, w = task.forms.shape
    for s in range(n_sections):
        for a in range(n_local):
            for k in range(w):
                if task.forms[s, a, k] >= 0:
                    out[task.forms[s, a, k], 0] = task.places[s, a]
                    out[task.forms[s, a, k], 1] = k
    return out


@compiled_sum
def _curvature(owners: Indices, point: _Point, rate: float) -> Real:
    """Curvature of the objective by the forms, shape (n_forms, n_forms)."""
    n_forms = len(owners)
    out = np.empty((n_forms, n_forms))
    scale = 2.0 * rate / point.value
    for i in range(n_forms):
        a, k = owners[i, 0], owners[i, 1]
        for j in range(n_forms):
            b, h = owners[j, 0], owners[j, 1]
            value = -point.weights[a, k] * point.weights[b, h] / point.value
            if k == h:
                value += point.inverse[a, b]
            out[i, j] = scale * value
    return out


@compiled_sum
def solve(task: Task, gap: float, unmet: float) -> Answer:
    """
    Minimise tr(E^T F^-1 E) over the beams that no other user hears.

    Parameters
    ----------
    task : Task
    gap : float
        Relative, to aim for.
    unmet : float
        By how much the coverage may be missed, relative to the level.

    Notes
    -----
    Primal-dual predictor-corrector method for (29) of the extended-target paper, restored, on
    -f_0 / f, with the direction of Helmberg, Kojima and Monteiro. All that enters are a few
    functionals of M: entries of F V, illuminations, powers, and what has to be zero. Their Gram
    matrix needs no product of matrices of the order of M for each of them.

    """
    n_users, n_lit, n_forms = len(task.least), len(task.lit), task.n_forms
    m, first = task.columns.shape
    n = n_forms + n_lit + n_users + 1
    every = np.zeros((m, first + n_users), dtype=np.complex128)
    every[:, :first] = task.columns
    for u in range(n_users):
        every[u, first + u] = 1.0
    adjoint = np.ascontiguousarray(np.conj(every.T))
    owners = _form_owners(task)

    state = _first(task)
    covariance, dual = state.covariance, state.dual
    slacks, duals, levels, beside = (
        state.slacks, state.slacks_dual, state.levels, state.beside)
    n_levels = len(levels)
    degree = m + len(slacks)
    half = covariance @ every
    seen = adjoint @ half
    point = evaluated(task, seen)
    unit = point.value
    relative = np.inf
    iteration = 0
    while np.isfinite(point.value) and iteration < MAX_ITERATIONS:
        rate = unit / point.value
        forms = _form_blocks(task, point.weights)
        values = _measured(task, forms, adjoint, half, covariance)
        x = values[n_forms:n_forms + n_lit]
        # What the slacks are not yet.
        wrong = np.empty_like(slacks)
        for i in range(n_lit):
            level = levels[task.owners[i]]
            wrong[2 * i] = x[i] - level - slacks[2 * i]
            wrong[2 * i + 1] = task.ratio * level - x[i] - slacks[2 * i + 1]
        for u in range(n_users):
            wrong[2 * n_lit + u] = (
                values[n_forms + n_lit + u] - task.least[u] - slacks[2 * n_lit + u])
        wrong[-1] = 1.0 - values[n - 1] - slacks[-1]
        complementarity = np.sum((np.conj(covariance) * dual).real) + np.sum(slacks * duals)
        relative = complementarity / rate
        met = True
        for i in range(2 * n_lit):
            met &= abs(wrong[i]) <= unmet * levels[task.owners[i // 2]]
        if relative <= gap and met:
            break
        iteration += 1

        factors = np.zeros(len(values))
        for i in range(n_forms):
            factors[i] = -rate / point.value * point.weights[owners[i, 0], owners[i, 1]]
        for i in range(n_lit):
            factors[n_forms + i] = duals[2 * i + 1] - duals[2 * i]
        for u in range(n_users):
            factors[n_forms + n_lit + u] = -duals[2 * n_lit + u]
        factors[n - 1] = duals[-1]
        factors[n:] = beside
        residual = _assembled(task, forms, factors) - dual

        inverse = _inverted(dual)
        by_power = covariance @ task.metric @ inverse
        gram = _gram(task, forms, seen, adjoint @ inverse @ every,
                     _measured(task, forms, adjoint, by_power @ every, by_power))
        curvature = _curvature(owners, point, rate)
        # By each functional, of the barriers.
        ratios = duals / slacks
        barrier = np.zeros(n)
        for i in range(n_lit):
            barrier[n_forms + i] = ratios[2 * i] + ratios[2 * i + 1]
        barrier[n_forms + n_lit:] = ratios[2 * n_lit:]
        system = gram.copy()
        system[:, :n_forms] = np.ascontiguousarray(gram[:, :n_forms]) @ curvature
        for i in range(len(gram)):
            for j in range(n_forms, n):
                system[i, j] *= barrier[j]
        for i in range(n):
            system[i, i] += 1.0
        pivots = lu_factor(system)
        by_level = np.zeros((n, n_levels))
        of_levels = np.zeros(n_levels)
        for i in range(n_lit):
            low, high = ratios[2 * i], ratios[2 * i + 1]
            by_level[n_forms + i, task.owners[i]] = low + task.ratio * high
            of_levels[task.owners[i]] += low + task.ratio ** 2 * high
        known_part = np.ascontiguousarray(gram[:, :n])

        back = covariance @ residual @ inverse
        straight = -covariance - back
        right = np.zeros((len(values), 1))
        solved_levels = lu_solve(system, pivots, known_part @ by_level)
        target = np.zeros_like(slacks)
        second = np.zeros_like(covariance)
        change, dual_change = covariance, dual
        moves, dual_moves, level_moves = slacks, duals, levels
        factors = np.zeros(len(values))
        for corrector in range(2):
            if corrector:
                # The predictor: how far it would get.
                length = _room(
                    covariance, change, min(1.0, _reach(slacks, moves)), ROUGHLY)
                dual_length = _room(
                    dual, dual_change, min(1.0, _reach(duals, dual_moves)), ROUGHLY)
                promised = (np.sum((np.conj(covariance + length * change)
                                    * (dual + dual_length * dual_change)).real)
                            + np.sum((slacks + length * moves)
                                     * (duals + dual_length * dual_moves)))
                share = min(max(promised / complementarity, 0.0), 1.0) ** 3
                goal = max(share, 1e-3) * complementarity / degree
                second = change @ dual_change @ inverse
                target = goal - moves * dual_moves
                straight = goal * inverse - covariance - back - second
            wanted = _measured(task, forms, adjoint, straight @ every, straight)
            # Part of the factors that is known beforehand.
            known = np.zeros(n)
            short = target / slacks - duals
            for i in range(n_lit):
                known[n_forms + i] = (
                    ratios[2 * i] * wrong[2 * i] - ratios[2 * i + 1] * wrong[2 * i + 1]
                    - short[2 * i] + short[2 * i + 1])
            for u in range(n_users):
                at = 2 * n_lit + u
                known[n_forms + n_lit + u] = ratios[at] * wrong[at] - short[at]
            known[n - 1] = short[-1] - ratios[-1] * wrong[-1]
            right[:, 0] = wanted - known_part @ known
            right[n:, 0] += values[n:]
            solved = lu_solve(system, pivots, right)[:, 0]
            level_moves = np.zeros(n_levels)
            if n_levels:
                border = np.zeros((n_levels, n_levels))
                aside = np.zeros(n_levels)
                for t in range(n_levels):
                    border[t, t] = of_levels[t]
                    for i in range(n_lit):
                        if task.owners[i] != t:
                            continue
                        aside[t] += (
                            task.ratio * (duals[2 * i + 1] + short[2 * i + 1]
                                          - ratios[2 * i + 1] * wrong[2 * i + 1])
                            - duals[2 * i] - short[2 * i] + ratios[2 * i] * wrong[2 * i]
                            + by_level[n_forms + i, t] * solved[n_forms + i])
                        for v in range(n_levels):
                            border[t, v] -= (by_level[n_forms + i, t]
                                             * solved_levels[n_forms + i, v])
                level_moves[:] = np.linalg.solve(border, aside)
            final = solved.copy()
            for t in range(n_levels):
                final += level_moves[t] * solved_levels[:, t]
            factors[:] = final
            factors[:n_forms] = curvature @ final[:n_forms]
            factors[n_forms:n] = barrier[n_forms:] * final[n_forms:n]
            factors[:n] += known - by_level @ level_moves
            dual_change = residual + _assembled(task, forms, factors)
            change = -covariance - covariance @ dual_change @ inverse
            if corrector:
                change += goal * inverse - second
            change = 0.5 * (change + np.conj(change.T))
            moves = wrong.copy()
            for i in range(n_lit):
                move = final[n_forms + i] - level_moves[task.owners[i]]
                moves[2 * i] += move
                moves[2 * i + 1] += (
                    task.ratio * level_moves[task.owners[i]] - final[n_forms + i])
            for u in range(n_users):
                moves[2 * n_lit + u] += final[n_forms + n_lit + u]
            moves[-1] -= final[n - 1]
            dual_moves = short - ratios * moves
        # The gradient is not linear: one length for both.
        length = _room(covariance, change, min(_reach(slacks, moves), _reach(duals, dual_moves)),
                       EXACTLY)
        length = min(1.0, DAMPING * _room(dual, dual_change, length, EXACTLY))
        if not length > SHORTEST:
            break
        covariance = covariance + length * change
        dual = dual + length * dual_change
        slacks = slacks + length * moves
        duals = duals + length * dual_moves
        levels = levels + length * level_moves
        beside = beside + length * factors[n:]
        half = covariance @ every
        seen = adjoint @ half
        point = evaluated(task, seen)
    scale = point.value / (unit / point.value)
    lower, upper = np.empty(n_lit), np.empty(n_lit)
    for i in range(n_lit):
        lower[i], upper[i] = scale * duals[2 * i], scale * duals[2 * i + 1]
    return Answer(covariance, point.weights, lower, upper, point.value, relative, iteration)


class Evidence(NamedTuple):
    """
    What a lower bound rests on.

    Attributes
    ----------
    weights : ndarray, shape (n, w)
        V.
    multipliers : ndarray, shape (U,)
        mu, on the scale of V, as for `certificate.crb_bound`.
    lower, upper : ndarray, shape (L,)
        Multipliers of the coverage, on the scale of V.
    ceiling : float
        Most that <C, S> can be, in the unit of the objective.
    bound : float
        In the coordinates of the task.

    """

    weights: Real
    multipliers: Real
    lower: Real
    upper: Real
    ceiling: float
    bound: float


@compiled_sum
def coverage_blocks(task: Task, blocks: Complex, lower: Real, upper: Real) -> Complex:
    """Blocks of C and of what the coverage adds to it."""
    r = blocks.shape[1]
    out = blocks.copy()
    for i in range(len(task.lit)):
        s, j = task.lit[i] // r, task.lit[i] % r
        out[s, j, j] += task.gains[i] * (lower[i] - upper[i])
    return out


@compiled_sum
def _balance(task: Task, lower: Real, upper: Real) -> None:
    """Scale multipliers of the coverage so that its free levels drop out, in place."""
    n_targets = 0
    for i in range(len(task.lit)):
        n_targets = max(n_targets, task.owners[i] + 1)
    for t in range(n_targets):
        above = below = 0.0
        for i in range(len(task.lit)):
            if task.owners[i] == t:
                above += lower[i]
                below += task.ratio * upper[i]
        for i in range(len(task.lit)):
            if task.owners[i] == t:
                if above > below:
                    lower[i] *= below / above
                elif below > 0.0:
                    upper[i] *= above / below


@compiled_sum
def _root(cost: Complex, channels: Complex, lift: Real, level: float,
          mu: Real) -> tuple[Complex, bool]:
    """
    Lower root of B = level I - C + sum_k mu_k g_k g_k^H, for g that are zero but for U rows.

    Returns
    -------
    ndarray, shape (d, d)
        L with L L^H = B in its lower triangle.
    bool
        Whether that and (1 + 1 / Gamma_u) mu_u g_u^H B^-1 g_u < 1 for every user u hold: no
        matrix has an eigenvalue above the level.

    """
    d, n = channels.shape
    low = -cost
    for i in range(d):
        low[i, i] += level
    for u in range(n):
        for i in range(n):
            for j in range(i + 1):
                low[i, j] += mu[u] * channels[i, u] * np.conj(channels[j, u])
    if not cholesky(low) > 0.0:
        return low, False
    seen = np.empty(d, dtype=np.complex128)
    for u in range(len(mu)):
        size = 0.0
        for i in range(d):
            total = channels[i, u]
            for j in range(i):
                total -= low[i, j] * seen[j]
            seen[i] = total / low[i, i].real
            size += seen[i].real ** 2 + seen[i].imag ** 2
        if not lift[u] * mu[u] * size < 1.0:
            return low, False
    return low, True


class _Centre(NamedTuple):
    """Where the barrier of the bound stands: lambda, mu, and the rate of the objective there."""

    level: float
    mu: Real
    rate: float


@compiled_sum
def _off_centre(cost: Complex, channels: Complex, lift: Real) -> _Centre:
    """Point inside everything; its rate is not known yet."""
    level = -1.5 * smallest_eigenvalue(-cost)
    mu = np.zeros(channels.shape[1])
    low, _ = _root(cost, channels, lift, level, mu)
    half = triangular_inverse(low) @ channels
    for u in range(len(mu)):
        mu[u] = 0.5 / (lift[u] * np.sum(half[:, u].real ** 2 + half[:, u].imag ** 2))
    return _Centre(level, mu, 0.0)


class _Products(NamedTuple):
    """
    What the barrier needs of B^-1 = L^-H L^-1 and the channels.

    Attributes
    ----------
    trace, square : float
        tr B^-1 and tr B^-2.
    inner, inner_squares : ndarray, shape (U, U)
        G^H B^-1 G and G^H B^-2 G.
    cubes : ndarray, shape (U,)
        Diagonal of G^H B^-3 G.

    """

    trace: float
    square: float
    inner: Complex
    inner_squares: Complex
    cubes: Real


@compiled_sum
def _products(root: Complex, channels: Complex) -> _Products:
    """Products of L^-1, lower-triangular, and channels that are zero but for U rows."""
    d, n = channels.shape
    trace = square = 0.0
    for i in range(d):
        for j in range(i + 1):
            trace += root[i, j].real ** 2 + root[i, j].imag ** 2
            entry = 0.0j
            for p in range(i, d):
                entry += np.conj(root[p, i]) * root[p, j]
            size = entry.real ** 2 + entry.imag ** 2
            square += size if i == j else 2.0 * size
    half = np.empty((n, d), dtype=np.complex128)
    seen = np.zeros((n, d), dtype=np.complex128)
    cubes = np.zeros(n)
    for u in range(n):
        for i in range(d):
            entry = 0.0j
            for j in range(min(i + 1, n)):
                entry += root[i, j] * channels[j, u]
            half[u, i] = entry
            for j in range(i + 1):
                seen[u, j] += np.conj(root[i, j]) * entry
        for i in range(d):
            entry = 0.0j
            for j in range(i + 1):
                entry += root[i, j] * seen[u, j]
            cubes[u] += entry.real ** 2 + entry.imag ** 2
    inner = np.empty((n, n), dtype=np.complex128)
    inner_squares = np.empty((n, n), dtype=np.complex128)
    for u in range(n):
        for v in range(u + 1):
            one = other = 0.0j
            for i in range(d):
                one += np.conj(half[u, i]) * half[v, i]
                other += np.conj(seen[u, i]) * seen[v, i]
            inner[u, v], inner[v, u] = one, np.conj(one)
            inner_squares[u, v], inner_squares[v, u] = other, np.conj(other)
    return _Products(trace, square, inner, inner_squares, cubes)


@compiled_sum
def _newton_step(products: _Products, noise: Real, lift: Real, centre: _Centre
                 ) -> tuple[Real, float, float]:
    """
    Step of Newton's method towards the centre.

    Returns
    -------
    ndarray, shape (U + 1,)
        Of lambda and mu.
    float
        Square of the decrement.
    float
        The rate; where it was not known, that at which lambda is at its best.

    """
    mu, rate, n = centre.mu, centre.rate, len(noise)
    inner, squares = products.inner, products.inner_squares
    blocks = max(n, 1)
    gradient, hessian = np.zeros(n + 1), np.zeros((n + 1, n + 1))
    gradient[0] = -blocks * products.trace
    hessian[0, 0] = blocks * products.square
    for u in range(n):
        weight = lift[u] * mu[u] / (1.0 - lift[u] * mu[u] * inner[u, u].real)
        length = squares[u, u].real
        gradient[0] -= weight * length
        hessian[0, 0] += 2.0 * weight * products.cubes[u] + (weight * length) ** 2
        for k in range(n):
            factor = 1.0 - lift[u] if k == u else 1.0
            size = inner[k, u].real ** 2 + inner[k, u].imag ** 2
            gradient[1 + k] -= factor * (inner[k, k].real + weight * size)
            hessian[1 + k, 0] += factor * (
                squares[k, k].real + weight ** 2 * size * length
                + 2.0 * weight * (inner[u, k] * squares[k, u]).real)
            for m in range(k + 1):
                other = 1.0 - lift[u] if m == u else 1.0
                entry = inner[k, m] + weight * inner[k, u] * inner[u, m]
                hessian[1 + k, 1 + m] += factor * other * (entry.real ** 2 + entry.imag ** 2)
    if rate == 0.0:
        rate = -gradient[0]
    gradient[0] += rate
    for k in range(n):
        gradient[1 + k] -= rate * noise[k] + 1.0 / mu[k]
        hessian[1 + k, 1 + k] += 1.0 / mu[k] ** 2
    cholesky(hessian)
    move = np.empty(n + 1)
    decrement = 0.0
    for i in range(n + 1):
        total = -gradient[i]
        for j in range(i):
            total -= hessian[i, j] * move[j]
        move[i] = total / hessian[i, i]
        decrement += move[i] ** 2
    for i in range(n, -1, -1):
        for j in range(i + 1, n + 1):
            move[i] -= hessian[j, i] * move[j]
        move[i] /= hessian[i, i]
    return move, decrement, rate


@compiled_sum
def _moved(cost: Complex, channels: Complex, lift: Real, start: _Centre, move: Real,
           decrement: float) -> tuple[_Centre, Complex, bool]:
    """
    Go the longest step that stays inside, of a full one and all that are cut by `CUT` again.

    Returns
    -------
    _Centre
        Where that leads.
    ndarray, shape (d, d)
        L there.
    bool
        Whether there is such a step.

    """
    # One that is no longer than one in the norm of the barrier stays inside.
    safe = 0.5 * np.log(max(decrement, 1.0)) / -np.log(CUT)
    first = int(np.ceil(min(safe, MOST_CUTS))) + 1
    outside, inside, best, low = -1, first, start, cost
    while inside - outside > 1:
        cuts = (outside + inside) // 2
        length = CUT ** cuts
        level, mu = start.level + length * move[0], start.mu + length * move[1:]
        fresh, within = cost, bool(len(mu) == 0 or np.min(mu) > 0.0)
        if within:
            fresh, within = _root(cost, channels, lift, level, mu)
        if within:
            inside, best, low = cuts, _Centre(level, mu, start.rate), fresh
        else:
            outside = cuts
    return best, low, inside < first


@compiled_sum
def _least_ceiling(cost: Complex, channels: Complex, noise: Real, lift: Real,
                   start: _Centre) -> tuple[_Centre, Complex]:
    """
    Least lambda - mu^T n, lambda above all eigenvalues of C and what mu makes of it.

    Returns
    -------
    _Centre
        A little inside.
    ndarray, shape (d, d)
        L^-1 there.

    """
    d, n = channels.shape
    blocks = max(n, 1)
    centre = start
    low, _ = _root(cost, channels, lift, centre.level, centre.mu)
    while True:
        for _ in range(CENTRING_STEPS):
            move, decrement, rate = _newton_step(
                _products(triangular_inverse(low), channels), noise, lift, centre)
            centre, fresh, moved = _moved(
                cost, channels, lift, _Centre(centre.level, centre.mu, rate), move, decrement)
            if moved:
                low = fresh
            if decrement < CENTRED:
                break
        if (blocks * d / centre.rate < BARRIER_GAP * (centre.level - np.sum(centre.mu * noise))
                or not centre.rate < 1e30):
            break
        centre = _Centre(centre.level, centre.mu, centre.rate / BARRIER_FALL)
    return centre, triangular_inverse(low)


@compiled_sum
def _implied(root: Complex, channels: Complex, lift: Real, mu: Real) -> Complex:
    """Covariance of trace one that the barrier makes of its centre, shape (d, d)."""
    inverse = np.conj(root.T) @ root
    total = max(len(mu), 1) * inverse
    seen = inverse @ channels
    for u in range(len(mu)):
        g = np.ascontiguousarray(channels[:, u])
        b = np.ascontiguousarray(seen[:, u])
        reach = lift[u] * mu[u] * np.sum(np.conj(g) * b).real
        total += lift[u] * mu[u] / (1.0 - reach) * np.outer(b, np.conj(b))
    return total / np.trace(total).real


@compiled_sum
def _inside(cost: Complex, channels: Complex, lift: Real, centre: _Centre) -> _Centre:
    """Point inside everything for other costs: that of the costs before, or any."""
    level = centre.level
    for _ in range(FRESH_RAISES):
        level *= 1.0 + FRESH_ROOM
        _, inside = _root(cost, channels, lift, level, centre.mu)
        if inside:
            return _Centre(level, centre.mu, centre.rate * FRESH_RATE)
    return _off_centre(cost, channels, lift)


@compiled_sum
def tighten(task: Task, channels: Complex, noise: Real, sinr: Real, answer: Answer,
            loose: float) -> Evidence:
    """
    Find multipliers whose bound, over all beams, is high.

    The bound is (tr E^T V)^2 over the least lambda - mu^T n with lambda >= all eigenvalues of
    C - sum_k mu_k g_k g_k^H + (1 + 1 / Gamma_u) mu_u g_u g_u^H, for all users u. That is a
    program in a few scalars, for which a barrier takes some steps of Newton's method; and what
    the barrier makes of the matrices, their inverses, is a covariance that serves the users by
    any beams, at which better V are found.

    Parameters
    ----------
    task : Task
        Its columns in the coordinates of the channels.
    channels : ndarray, shape (d, U)
        g.
    noise, sinr : ndarray, shape (U,)
    answer : Answer
        Of zero forcing, its covariance in the coordinates of the channels, too.
    loose : float
        Better V are looked for, once, if the bound is further than this below the objective.

    """
    n_users = channels.shape[1]
    lower, upper = answer.lower.copy(), answer.upper.copy()
    _balance(task, lower, upper)
    weights, value = answer.weights, answer.objective
    adjoint = np.ascontiguousarray(np.conj(task.columns.T))
    lift = 1.0 + 1.0 / sinr
    covariance = answer.covariance
    best = Evidence(weights, np.zeros(n_users), lower, upper, np.inf, 0.0)
    centre = _Centre(0.0, np.zeros(n_users), 0.0)
    for turn in range(2):
        # In units in which tr(E^T V) is one.
        cost = spread(task.columns, coverage_blocks(
            task, cost_blocks(task, weights), lower, upper)) / value
        start = (_inside(cost, channels, lift, centre) if turn
                 else _off_centre(cost, channels, lift))
        centre, root = _least_ceiling(cost, channels, noise, lift, start)
        ceiling = centre.level - np.sum(centre.mu * noise)
        bound = np.sum(task.selection * weights) ** 2 / (ceiling * value)
        if bound > best.bound:
            best = Evidence(
                weights, centre.mu * value, lower, upper, centre.level * value, bound)
        if turn or bound >= answer.objective * (1.0 - loose):
            break
        covariance = ((1.0 - FRESH_SHARE) * covariance
                      + FRESH_SHARE * _implied(root, channels, lift, centre.mu))
        point = evaluated(task, adjoint @ covariance @ task.columns)
        if not np.isfinite(point.value):
            break
        weights, value = point.weights, point.value
    return best


@compiled_sum
def certified(task: Task, channels: Complex, noise: Real, sinr: Real,
              evidence: Evidence) -> float:
    """
    Compute the bound of evidence in coordinates of which it knew only a part.

    A ceiling is one if level I - C + sum_k mu_k g_k g_k^H has a Cholesky factor, and
    (1 + 1 / Gamma_u) mu_u g_u^H (..)^-1 g_u <= 1 for every user u; it is raised until it is.

    Parameters
    ----------
    task : Task
        Its columns in the coordinates of the channels.
    channels : ndarray, shape (d, U)
    noise, sinr : ndarray, shape (U,)
    evidence : Evidence

    Returns
    -------
    float
        Lower bound on the objective of any beams.

    """
    cost = spread(task.columns, coverage_blocks(
        task, cost_blocks(task, evidence.weights), evidence.lower, evidence.upper))
    mu, lift = evidence.multipliers, 1.0 + 1.0 / sinr
    wanted = np.sum(task.selection * evidence.weights) ** 2
    for raised in RAISES:
        level = evidence.ceiling * (1.0 + raised)
        _, inside = _root(cost, channels, lift, level, mu)
        if inside:
            return wanted / (level - np.sum(mu * noise))
    return 0.0


class Forced(NamedTuple):
    """
    Zero-forcing beams and a bound on all beams.

    Attributes
    ----------
    communication : ndarray, shape (d, U)
    sensing : ndarray, shape (d, r)
        In the coordinates of the task; they use the whole budget.
    value : float
        Objective of the beams.
    unevenness : float
        Largest over smallest illumination of the sections of a target.
    slack : float
        Least of `beams.slack`; infinite without users.
    lowest : float
        What zero forcing reaches, before anything is left out to make beams of it.
    bound : float
        On the objective of any beams.
    gap : float
        Relative, of zero forcing itself; infinite where there are no beams.
    iterations : int
    dimension : int
        Of the space that beams were looked for in.

    """

    communication: Complex
    sensing: Complex
    value: float
    unevenness: float
    slack: float
    lowest: float
    bound: float
    gap: float
    iterations: int
    dimension: int


@compiled_sum
def nothing_found(d: int, dimension: int) -> Forced:
    """No beams, in d coordinates, from a space of that dimension."""
    nothing = np.zeros((d, 0), dtype=np.complex128)
    return Forced(nothing, nothing, np.inf, np.inf, -np.inf, np.inf, 0.0, np.inf, 0, dimension)


@compiled_within
def forced_beams(task: Task, basis: Complex, channels: Complex, noise: Real, sinr: Real,
                 gap: float, share: float, data_only: bool) -> Forced:
    """
    Beams that no other user hears, with the least objective.

    Parameters
    ----------
    task : Task
        Its columns in the coordinates of the channels.
    basis : ndarray, shape (d, d')
        Orthonormal; where beams are looked for. Its first columns are the users' directions.
    channels : ndarray, shape (d, U)
        Zero but for the first U rows.
    noise, sinr : ndarray, shape (U,)
    gap : float
        Relative gap to aim for within zero forcing.
    share : float
        Part of it that is left to the solver.
    data_only : bool
        Beams without data are left out.

    Returns
    -------
    Forced
        The bound is for all of the coordinates.

    """
    d, n_users = basis.shape[1], channels.shape[1]
    none = nothing_found(len(basis), d)
    frame = np.eye(d, dtype=np.complex128)
    down = np.ascontiguousarray(np.conj(basis.T))
    narrow = down @ channels
    least: Real = np.zeros(0)
    if n_users:
        if n_users > d or not np.linalg.cond(narrow[:n_users]) < MAX_CONDITION:
            return none
        served, least = served_beams(narrow, sinr, noise)
        frame[:, :n_users] = served
        if np.sum(least) >= 1.0:
            return none
    adjoint = np.ascontiguousarray(np.conj(frame.T))
    columns = down @ task.columns
    spare = min(COVERAGE_SHARE * gap, ROOM_SHARE * (1.0 - 1.0 / task.ratio))
    answer = solve(Task(
        adjoint @ columns, task.pairs, task.places, task.forms, task.n_forms, task.spans,
        task.chosen, task.selection, adjoint @ frame, least * (1.0 + MARGIN), task.lit,
        task.gains, task.owners, task.ratio * (1.0 - spare)), share * gap, UNMET_SHARE * spare)
    if not answer.gap <= gap:
        return none

    beams = _beams_of(answer.covariance, n_users, np.inf if data_only else
                      NEGLIGIBLE_SENSING * gap)
    beams = frame @ beams
    beams /= np.sqrt(np.sum(np.abs(beams) ** 2))
    received = np.ascontiguousarray(np.conj(columns.T)) @ beams
    value = evaluated(task, received @ np.conj(received.T)).value

    known = Task(
        columns, task.pairs, task.places, task.forms, task.n_forms, task.spans, task.chosen,
        task.selection, task.metric, task.least, task.lit, task.gains, task.owners, task.ratio)
    evidence = tighten(known, narrow, noise, sinr, Answer(
        frame @ answer.covariance @ adjoint, answer.weights, answer.lower, answer.upper,
        answer.objective, answer.gap, answer.iterations), LOOSE)
    bound = certified(task, channels, noise, sinr, evidence)
    beams = basis @ beams
    communication, sensing = beams[:, :n_users].copy(), beams[:, n_users:].copy()
    spare_sinr = np.inf
    if n_users:
        spare_sinr = np.min(slack(channels, communication, sensing, sinr, noise))
    return Forced(
        communication, sensing, value, _unevenness(task, received), spare_sinr,
        answer.objective, bound, answer.gap, answer.iterations, d)


@compiled_sum
def _unevenness(task: Task, received: Complex) -> float:
    """Largest over smallest illumination of the sections of a target, of what columns receive."""
    out = 1.0
    lowest, highest = np.inf, 0.0
    for i in range(len(task.lit)):
        if i and task.owners[i] != task.owners[i - 1]:
            lowest, highest = np.inf, 0.0
        power = 0.0
        for j in range(received.shape[1]):
            entry = received[task.lit[i], j]
            power += entry.real ** 2 + entry.imag ** 2
        lowest, highest = min(lowest, power), max(highest, power)
        out = max(out, highest / lowest)
    return out


@compiled_sum
def _beams_of(covariance: Complex, n_users: int, negligible: float) -> Complex:
    """
    Beams of the solver's M, in its coordinates, shape (m, U + r).

    With M = [[diag(p), X], [X^H, Y]] the users' are [diag(p)^1/2, X^H diag(p)^-1/2]; what is left
    of Y reaches no user, and is left out where it is negligible.
    """
    m = len(covariance)
    communication = np.zeros((m, n_users), dtype=np.complex128)
    for u in range(n_users):
        root = np.sqrt(covariance[u, u].real)
        communication[u, u] = root
        for i in range(n_users, m):
            communication[i, u] = covariance[i, u] / root
    if negligible == np.inf:
        return communication
    free = np.ascontiguousarray(communication[n_users:])
    values, vectors = eigh(
        np.ascontiguousarray(covariance[n_users:, n_users:]) - free @ np.conj(free.T))
    kept = np.sum(values > negligible)
    out = np.zeros((m, n_users + kept), dtype=np.complex128)
    out[:, :n_users] = communication
    for i in range(kept):
        # The strongest first.
        at = len(values) - 1 - i
        out[n_users:, n_users + i] = vectors[:, at] * np.sqrt(values[at])
    return out


@compiled_sum
def section_pairs(blocks: Complex, combine: Real) -> tuple[Complex, Indices]:
    """
    What sections tell of recombined parameters.

    Parameters
    ----------
    blocks : ndarray, shape (K, n, r, c)
        Selectors of the sections.
    combine : ndarray, shape (n, m)
        Columns: the recombined parameters.

    Returns
    -------
    ndarray, shape (K, l, l, r, r)
        Hermitian H_ab, as in `Task`, for the l parameters at most that a section tells of.
    ndarray, shape (K, l)
        Which those are, in rising order; -1 where there are no more.

    """
    n_sections, n, r, c = blocks.shape
    m = combine.shape[1]
    tells = np.zeros((n_sections, n), dtype=np.bool_)
    told = np.zeros((n_sections, m), dtype=np.bool_)
    n_local = 0
    for s in range(n_sections):
        for a in range(n):
            tells[s, a] = np.any(blocks[s, a] != 0.0)
            if tells[s, a]:
                told[s] |= combine[a] != 0.0
        n_local = max(n_local, np.sum(told[s]))
    places = -np.ones((n_sections, n_local), dtype=np.int64)
    out = np.zeros((n_sections, n_local, n_local, r, r), dtype=np.complex128)
    own = np.empty((n_local, r, c), dtype=np.complex128)
    for s in range(n_sections):
        own[:] = 0.0
        count = 0
        for b in range(m):
            if not told[s, b]:
                continue
            for a in range(n):
                if tells[s, a] and combine[a, b] != 0.0:
                    _add(own[count], combine[a, b], blocks[s, a])
            places[s, count] = b
            count += 1
        for a in range(count):
            for b in range(a + 1):
                for i in range(r):
                    for j in range(r):
                        total = 0.0j
                        for k in range(c):
                            total += (own[a, i, k] * np.conj(own[b, j, k])
                                      + own[b, i, k] * np.conj(own[a, j, k]))
                        out[s, a, b, i, j] = out[s, b, a, i, j] = 0.5 * total
    return out, places
