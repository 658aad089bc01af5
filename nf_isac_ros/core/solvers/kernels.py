"""
Compiled kernels of the interior-point method in `interior_point`; docs/solver.md has the formulas.

Hermitian matrices travel as real vectors in the form of `hermitian.to_vector`. All kernels run
without the interpreter lock and are compiled once per machine, into the cache beside this file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled_step
from nf_isac_ros.core.small_matrices import triangular_inverse

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

SQRT2 = np.sqrt(2.0)
# Step to the boundary of the cones.
STEP_FRACTION = 0.98
# Further corrections of the second order, each with the step before it, while they lengthen the
# steps by this much: they pay where factoring the Newton system is what takes the time.
CORRECTORS = 2
WORTHWHILE = 0.02
LARGE_SYSTEM = 80
# A step that is not limited by a cone.
UNLIMITED = 1e3
# Below this complementarity the normal equations have lost too many digits: QR instead.
ACCURATE_BELOW = 1e-5
# So do rows whose square is above this: slacks that are almost used up.
STEEP = 1e9
# The bound is computed once complementarity promises a gap this many times the one asked for.
CERTIFY_FROM = 20.0


class Form(NamedTuple):
    """
    The compact form: least tr(E^T F(S)^-1 E), power and noise in units of the budget.

    Attributes
    ----------
    responses : ndarray, shape (5 K, d, 4 K)
        Q_i with F_ij(S) = Re tr(Q_j^H S Q_i).
    selection : ndarray, shape (5 K, 3 K)
        E.
    channels : ndarray, shape (d, U)
        g.
    dual_channels : ndarray, shape (d, U)
        Pseudo-inverse of g^H: moves a change of G^H S G into S.
    noise, sinr, share : ndarray, shape (U,)
        n_u, Gamma_u, Gamma_u / (1 + Gamma_u).
    scale : float
        Objective at the starting point, f_0.

    """

    responses: Complex
    selection: Real
    channels: Complex
    dual_channels: Complex
    noise: Real
    sinr: Real
    share: Real
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
    slacks, slacks_dual : ndarray, shape (U + 1,)
        SINR slacks [X_u]_uu - share_u ([G^H S G]_uu + n_u), then 1 - tr S, and their multipliers.

    """

    covariance: Complex
    covariance_dual: Complex
    parts: Complex
    parts_dual: Complex
    slacks: Real
    slacks_dual: Real


class Evidence(NamedTuple):
    """
    What the best lower bound so far rests on; the kernels change it in place.

    Attributes
    ----------
    weights : ndarray, shape (5 K, 3 K)
        V of `certificate.crb_bound`.
    multipliers : ndarray, shape (U,)
        mu of `certificate.crb_bound`.
    bound : ndarray, shape (1,)
        The bound itself.

    """

    weights: Real
    multipliers: Real
    bound: Real


class _Scaling(NamedTuple):
    """Nesterov-Todd scaling of each cone: Y = T diag(l) T^H, Z = T^-H diag(l) T^-1."""

    factor: Complex
    inverse: Complex
    values: Real
    part_factors: Complex
    part_inverses: Complex
    part_values: Real
    slack_values: Real


class _Objective(NamedTuple):
    """Objective f at S, T^H Q, and L^-1, L^-1 E of the Fisher matrix L L^T."""

    value: float
    rotated: Complex
    low_inverse: Real
    target: Real


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


@compiled_step
def _dagger(matrix):
    return np.ascontiguousarray(matrix.conj().T)


@compiled_step
def _hermitian(matrix):
    n = matrix.shape[0]
    out = np.empty((n, n), dtype=np.complex128)
    for i in range(n):
        for j in range(i + 1):
            value = 0.5 * (matrix[i, j] + np.conj(matrix[j, i]))
            out[i, j] = value
            out[j, i] = np.conj(value)
    return out


@compiled_step
def _pack(matrix, scale, out):
    """Write the vector of the Hermitian part of a matrix, times a scale."""
    n = matrix.shape[0]
    half = n * (n - 1) // 2
    k = n
    for i in range(n):
        out[i] = scale * matrix[i, i].real
    for j in range(n):
        for i in range(j):
            out[k] = scale * (matrix[i, j].real + matrix[j, i].real) / SQRT2
            out[k + half] = scale * (matrix[i, j].imag - matrix[j, i].imag) / SQRT2
            k += 1


@compiled_step
def _unpack(vector, n):
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
def _nesterov_todd(primal, dual):
    low = np.linalg.cholesky(primal)
    values, vectors = np.linalg.eigh(_hermitian(_dagger(low) @ dual @ low))
    values = np.sqrt(np.maximum(values, 1e-300))
    factor = low @ vectors
    inverse = _dagger(vectors) @ triangular_inverse(low)
    for i in range(len(values)):
        root = np.sqrt(values[i])
        for j in range(len(values)):
            factor[j, i] /= root
            inverse[i, j] *= root
    return factor, inverse, values


@compiled_step
def _scalings(state):
    factor, inverse, values = _nesterov_todd(state.covariance, state.covariance_dual)
    n_parts, n, _ = state.parts.shape
    part_factors = np.empty((n_parts, n, n), dtype=np.complex128)
    part_inverses = np.empty((n_parts, n, n), dtype=np.complex128)
    part_values = np.empty((n_parts, n))
    for k in range(n_parts):
        part_factors[k], part_inverses[k], part_values[k] = _nesterov_todd(
            state.parts[k], state.parts_dual[k])
    return _Scaling(factor, inverse, values, part_factors, part_inverses, part_values,
                    np.sqrt(state.slacks * state.slacks_dual))


@compiled_step
def _rotated(responses, factor):
    """T^H Q_i for every i, shape (5 K, d, 4 K)."""
    n, d, m = responses.shape
    out = np.empty((n, d, m), dtype=np.complex128)
    left = _dagger(factor)
    for i in range(n):
        out[i] = left @ responses[i]
    return out


@compiled_step
def _fisher_factor(rotated, values):
    """
    Lower triangular L with L L^T the Fisher matrix of S = T diag(l) T^H, from T^H Q.

    The matrix is the Gram matrix of vectors; their QR keeps the digits that forming it would lose
    where an optimum all but hides a target.
    """
    n, d, m = rotated.shape
    columns = np.empty((2 * d * m, n))
    for a in range(n):
        k = 0
        for i in range(d):
            root = np.sqrt(values[i])
            for j in range(m):
                columns[k, a] = root * rotated[a, i, j].real
                columns[k + 1, a] = root * rotated[a, i, j].imag
                k += 2
    return np.ascontiguousarray(np.linalg.qr(columns)[1].T)


@compiled_step
def _mixed(weights, rotated):
    """Sum_i A_ai M_i for every row a of the weights, from M of shape (5 K, d, 4 K)."""
    n, d, m = rotated.shape
    flat = rotated.reshape(n, d * m)
    n = len(weights)
    out = np.empty((n, d * m), dtype=np.complex128)
    real = weights @ np.ascontiguousarray(flat.real)
    imag = weights @ np.ascontiguousarray(flat.imag)
    for a in range(n):
        for k in range(d * m):
            out[a, k] = complex(real[a, k], imag[a, k])
    return out.reshape(n, d, m)


@compiled_step
def _objective(form, scaling):
    rotated = _rotated(form.responses, scaling.factor)
    low_inverse = triangular_inverse(_fisher_factor(rotated, scaling.values))
    target = low_inverse @ form.selection
    return _Objective(np.sum(target * target), rotated, low_inverse, target)


@compiled_step
def _improve_bound(form, state, objective, direction, length, evidence):
    """
    Find a lower bound on f from the multipliers after a dual step, see `certificate.crb_bound`.

    The multipliers fit V = F^-1 E where the primal step leads to, not where it starts: V is moved
    along, by its first order. With the old V the bound lags far behind the point where an optimum
    all but hides a target or the SINRs take all of the power.
    """
    n, d, m = form.responses.shape
    rotated, low_inverse = objective.rotated, objective.low_inverse
    weights = low_inverse.T @ objective.target
    change = np.empty((n, n))
    moved = _rotated(rotated, direction.covariance)
    for i in range(n):
        for j in range(n):
            change[i, j] = np.sum(rotated[j].conj() * moved[i]).real
    weights -= length * (low_inverse.T @ (low_inverse @ (change @ weights)))
    weights /= np.sum(weights * form.selection)
    n_users = len(form.noise)
    multipliers = np.maximum(state.slacks_dual[:n_users], 0.0) * form.share / form.scale
    cost = np.zeros((d, d), dtype=np.complex128)
    parts = _mixed(np.ascontiguousarray(weights.T), form.responses)
    for k in range(len(parts)):
        cost += parts[k] @ _dagger(parts[k])
    top = ceiling(form, cost, multipliers)
    if top > 0 and 1.0 / top > evidence.bound[0]:
        evidence.weights[:] = weights
        evidence.multipliers[:] = multipliers
        evidence.bound[0] = 1.0 / top


@compiled_step
def _objective_rows(form, objective_point, rows):
    """
    Rows whose squares sum to the curvature of the objective -f_0 / f.

    Returns
    -------
    ndarray, shape (d, d)
        T^H C T with <C, S> = f, C the adjoint of the Fisher map at V V^T, V = F^-1 E.

    """
    n, d, m = form.responses.shape
    n_position = form.selection.shape[1]
    low_inverse, rotated = objective_point.low_inverse, objective_point.rotated
    target, objective = objective_point.target, objective_point.value
    values, vectors = np.linalg.eigh(target @ target.T)
    # Strongest first: the first 3 K carry the objective, the rest span its null space.
    order = np.ascontiguousarray(vectors[:, ::-1].T)
    strength = np.empty(n_position)
    for k in range(n_position):
        strength[k] = max(values[n - 1 - k], 0.0)
    mixed = _mixed(order @ low_inverse, rotated)

    curvature = np.sqrt(2.0 * form.scale) / objective
    cost = np.zeros((d, d), dtype=np.complex128)
    stacked = mixed.reshape(n * d, m)
    diagonal_row = np.zeros(d * d)
    at = n_position
    for k in range(n_position):
        products = stacked[k * d:] @ _dagger(mixed[k])
        cost += strength[k] * products[:d]
        _pack(products[:d], curvature * np.sqrt(strength[k]), rows[k])
        diagonal_row += np.sqrt(strength[k] / objective) * rows[k]
        for a in range(k + 1, n):
            both = strength[k] + (strength[a] if a < n_position else 0.0)
            begin = (a - k) * d
            _pack(products[begin:begin + d], curvature * np.sqrt(both), rows[at])
            at += 1
    # 1/f instead of f takes the part along vec(L^-1 E) off; it touches the rows (k, k) only.
    for k in range(n_position):
        rows[k] -= np.sqrt(strength[k] / objective) * diagonal_row
    return cost


@compiled_step
def _user_rows(form, state, scaling, rows):
    """Rows of X_0 and of the SINR slacks on the scaled steps of S and X_1..X_U."""
    d, n = form.channels.shape
    size, part = d * d, n * n
    seen = _dagger(scaling.factor) @ form.channels
    inward = seen @ _dagger(scaling.part_inverses[0])
    for i in range(part):
        unit = np.zeros(part)
        unit[i] = 1.0
        matrix = _unpack(unit, n)
        _pack(inward @ matrix @ _dagger(inward), 1.0, rows[i, :size])
        for u in range(n):
            relative = _dagger(scaling.part_inverses[0] @ scaling.part_factors[u + 1])
            begin = size + u * part
            _pack(relative @ matrix @ _dagger(relative), -1.0, rows[i, begin:begin + part])
    for u in range(n):
        weight = np.sqrt(state.slacks_dual[u] / state.slacks[u])
        own = np.ascontiguousarray(seen[:, u:u + 1])
        row = rows[part + u]
        _pack(own @ _dagger(own), -weight * form.share[u], row[:size])
        own_part = np.ascontiguousarray(_dagger(scaling.part_factors[u + 1])[:, u:u + 1])
        begin = size + u * part
        _pack(own_part @ _dagger(own_part), weight, row[begin:begin + part])


@compiled_step
def _normal_factor(rows, complementarity):
    """Lower Cholesky factor of I + B B^T."""
    n_rows, n = rows.shape
    steepest = 0.0
    for i in range(n_rows):
        steepest = max(steepest, np.sum(rows[i] ** 2))
    if complementarity < ACCURATE_BELOW or steepest > STEEP:
        tall = np.zeros((n + n_rows, n_rows))
        tall[:n] = rows.T
        for i in range(n_rows):
            tall[n + i, i] = 1.0
        upper = np.linalg.qr(tall)[1]
        return np.ascontiguousarray(upper.T)
    normal = np.empty((n_rows, n_rows))
    # In strips, upper half only: half the work of one product.
    strip = max(16, (n_rows + 7) // 8)
    for begin in range(0, n_rows, strip):
        end = min(begin + strip, n_rows)
        normal[begin:, begin:end] = rows[begin:] @ np.ascontiguousarray(rows[begin:end].T)
    for i in range(n_rows):
        normal[i, i] += 1.0
        for j in range(i):
            normal[j, i] = normal[i, j]
    return np.linalg.cholesky(normal)


@compiled_step
def _longest_step(values, step):
    """Largest factor with diag(values) + factor * step positive semidefinite."""
    n = len(values)
    scaled = np.empty((n, n), dtype=np.complex128)
    for i in range(n):
        for j in range(n):
            scaled[i, j] = step[i, j] / np.sqrt(values[i] * values[j])
    lowest = np.linalg.eigvalsh(scaled)[0]
    return UNLIMITED if lowest > -1.0 / UNLIMITED else -1.0 / lowest


@compiled_step
def _longest_slack_step(values, step):
    longest = UNLIMITED
    for k in range(len(values)):
        if step[k] < 0:
            longest = min(longest, -values[k] / step[k])
    return longest


@compiled_step
def _direction(form, scaling, rows, normal, gradient, right, refinements):
    """Solve the Newton system for given complementarity, by Woodbury and refinement."""
    d, n = form.channels.shape
    size, part = d * d, n * n
    n_rows = len(rows)
    at_parts = n_rows - part - n - 1
    aim = np.zeros(rows.shape[1])
    outer = np.zeros(n_rows)
    matrix = right.covariance.copy()
    for i in range(d):
        matrix[i, i] += scaling.values[i]
    _pack(matrix, 1.0, aim[:size])
    aim[:size] -= gradient
    for k in range(len(scaling.part_values)):
        matrix = right.parts[k].copy()
        for i in range(n):
            matrix[i, i] += scaling.part_values[k, i]
        if k == 0:
            _pack(matrix, 1.0, outer[at_parts:at_parts + part])
        else:
            begin = size + (k - 1) * part
            _pack(matrix, 1.0, aim[begin:begin + part])
    outer[at_parts + part:] = scaling.slack_values + right.slacks
    aim += outer @ rows

    y = _cholesky_solve(normal, rows @ aim)
    x = aim - y @ rows
    for _ in range(refinements):
        miss = aim - x - y @ rows
        correction = _cholesky_solve(normal, rows @ (miss + x) - y)
        y += correction
        x += miss - correction @ rows

    covariance = _unpack(x[:size], d)
    parts = np.empty_like(right.parts)
    for k in range(len(parts)):
        if k == 0:
            parts[0] = _unpack(y[at_parts:at_parts + part], n)
        else:
            begin = size + (k - 1) * part
            parts[k] = _unpack(x[begin:begin + part], n)
    slacks = y[at_parts + part:].copy()
    return _Direction(covariance, right.covariance - covariance, parts, right.parts - parts,
                      slacks, right.slacks - slacks)


@compiled_step
def _step_lengths(scaling, direction):
    primal = min(_longest_step(scaling.values, direction.covariance),
                 _longest_slack_step(scaling.slack_values, direction.slacks))
    dual = min(_longest_step(scaling.values, direction.covariance_dual),
               _longest_slack_step(scaling.slack_values, direction.slacks_dual))
    for k in range(len(scaling.part_values)):
        primal = min(primal, _longest_step(scaling.part_values[k], direction.parts[k]))
        dual = min(dual, _longest_step(scaling.part_values[k], direction.parts_dual[k]))
    return primal, dual


@compiled_step
def _product_after(values, step, dual_step, primal, dual):
    """<Y, Z> of one cone after a step of given lengths."""
    total = 0.0
    n = len(values)
    for i in range(n):
        for j in range(n):
            here = values[i] if i == j else 0.0
            total += ((here + primal * step[i, j])
                      * np.conj(here + dual * dual_step[i, j])).real
    return total


@compiled_step
def _complementarity_after(scaling, direction, primal, dual):
    total = _product_after(
        scaling.values, direction.covariance, direction.covariance_dual, primal, dual)
    for k in range(len(scaling.part_values)):
        total += _product_after(
            scaling.part_values[k], direction.parts[k], direction.parts_dual[k], primal, dual)
    for k in range(len(scaling.slack_values)):
        total += ((scaling.slack_values[k] + primal * direction.slacks[k])
                  * (scaling.slack_values[k] + dual * direction.slacks_dual[k]))
    return total


@compiled_step
def _affine_right(scaling):
    """Complementarity zero: the predictor."""
    parts = np.zeros_like(scaling.part_factors)
    for k in range(len(parts)):
        parts[k] = np.diag(-scaling.part_values[k]).astype(np.complex128)
    return _Right(np.diag(-scaling.values).astype(np.complex128), parts, -scaling.slack_values)


@compiled_step
def _centred(values, step, dual_step, target):
    """Solve sym(diag(l) rho) = target I - l^2 - sym(step dual_step) for rho."""
    n = len(values)
    cross = step @ dual_step
    out = np.empty((n, n), dtype=np.complex128)
    for i in range(n):
        for j in range(n):
            value = -0.5 * (cross[i, j] + np.conj(cross[j, i]))
            if i == j:
                value += target - values[i] ** 2
            out[i, j] = 2.0 * value / (values[i] + values[j])
    return out


@compiled_step
def _centred_right(scaling, direction, target):
    """Complementarity target on the central path, with the second order of the predictor."""
    parts = np.empty_like(scaling.part_factors)
    for k in range(len(parts)):
        parts[k] = _centred(
            scaling.part_values[k], direction.parts[k], direction.parts_dual[k], target)
    values = scaling.slack_values
    return _Right(
        _centred(scaling.values, direction.covariance, direction.covariance_dual, target), parts,
        (target - values ** 2 - direction.slacks * direction.slacks_dual) / values)


@compiled_step
def _advance(form, state, scaling, direction, primal, dual):
    """Take the step, in place, and take the drift of rounding out of the constraints."""
    factor, inverse = scaling.factor, scaling.inverse
    state.covariance[:] += primal * _hermitian(factor @ direction.covariance @ _dagger(factor))
    state.covariance_dual[:] += dual * _hermitian(
        _dagger(inverse) @ direction.covariance_dual @ inverse)
    n_parts = len(scaling.part_values)
    for k in range(n_parts):
        factor, inverse = scaling.part_factors[k], scaling.part_inverses[k]
        state.parts[k] += primal * _hermitian(factor @ direction.parts[k] @ _dagger(factor))
        state.parts_dual[k] += dual * _hermitian(
            _dagger(inverse) @ direction.parts_dual[k] @ inverse)
    for k in range(len(state.slacks)):
        unit = np.sqrt(state.slacks[k] / state.slacks_dual[k])
        state.slacks[k] += primal * unit * direction.slacks[k]
        state.slacks_dual[k] += dual * direction.slacks_dual[k] / unit
    if n_parts:
        # X_0 is tiny beside G^H S G: rounding moves into S, never into X_0.
        missing = -(_dagger(form.channels) @ state.covariance @ form.channels)
        for k in range(n_parts):
            missing += state.parts[k]
        state.covariance[:] += _hermitian(
            form.dual_channels @ missing @ _dagger(form.dual_channels))
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


@compiled_step
def degree(form):
    """Order of all cones together."""
    d, n = form.channels.shape
    return d + n * (n + 1) + n + 1


@compiled_step
def complementarity(form, state):
    """Mean product of primal and dual eigenvalues."""
    total = np.sum(state.slacks * state.slacks_dual)
    total += np.sum(state.covariance * state.covariance_dual.conj()).real
    total += np.sum(state.parts * state.parts_dual.conj()).real
    return total / degree(form)


@compiled_step
def ceiling(form, cost, multipliers):
    """
    Largest <C, S> that power and SINRs allow, from weak duality; see `certificate.crb_bound`.

    Parameters
    ----------
    form : Form
    cost : ndarray, shape (d, d)
        C.
    multipliers : ndarray, shape (U,)
        mu >= 0.

    """
    g = form.channels
    n = g.shape[1]
    base = cost - (g * multipliers) @ _dagger(g)
    if n == 0:
        return np.linalg.eigvalsh(base)[-1]
    largest = -np.inf
    for u in range(n):
        own = np.ascontiguousarray(g[:, u:u + 1])
        gain = multipliers[u] * (1.0 + 1.0 / form.sinr[u])
        largest = max(largest, np.linalg.eigvalsh(base + gain * (own @ _dagger(own)))[-1])
    return largest - np.sum(multipliers * form.noise)


@compiled_step
def iterate(form, state, evidence, refinements, gap):
    """
    Take one predictor-corrector step in place, unless the point is good enough.

    Parameters
    ----------
    form : Form
    state : State
    evidence : Evidence
        Improved by the step.
    refinements : int
        Of the Newton system.
    gap : float
        Relative gap to the bound of the evidence at which no step is taken.

    Returns
    -------
    objective : float
        f before the step.
    length : float
        Shorter of the two step lengths; 0 if none was taken.

    """
    d, n = form.channels.shape
    n_parameters, n_position = form.selection.shape
    size, part = d * d, n * n
    n_objective = n_position * (n_position + 1) // 2 + (n_parameters - n_position) * n_position
    scaling = _scalings(state)
    objective = _objective(form, scaling)
    if objective.value <= evidence.bound[0] * (1.0 + gap):
        return objective.value, 0.0

    rows = np.zeros((n_objective + part + n + 1, size + n * part))
    plain = np.empty((n_objective, size))
    cost = _objective_rows(form, objective, plain)
    rows[:n_objective, :size] = plain
    if n:
        _user_rows(form, state, scaling, rows[n_objective:])
    power = np.sqrt(state.slacks_dual[n] / state.slacks[n])
    _pack(_dagger(scaling.factor) @ scaling.factor, -power, rows[-1, :size])
    mean = complementarity(form, state)
    normal = _normal_factor(rows, mean * degree(form))
    gradient = np.empty(size)
    _pack(cost, -form.scale / objective.value ** 2, gradient)

    right = _affine_right(scaling)
    direction = _direction(form, scaling, rows, normal, gradient, right, refinements)
    primal, dual = _step_lengths(scaling, direction)
    after = _complementarity_after(scaling, direction, min(1.0, primal), min(1.0, dual))
    centring = min(1.0, max(1e-6, (max(after / degree(form), 0.0) / mean) ** 3))
    # A predictor that hits the boundary early says that the point is off the central path.
    centring = max(centring, 0.5 * (1.0 - min(1.0, primal, dual)) ** 2)
    right = _centred_right(scaling, direction, centring * mean)
    direction = _direction(form, scaling, rows, normal, gradient, right, refinements)
    primal, dual = _step_lengths(scaling, direction)
    for _ in range(CORRECTORS if len(rows) > LARGE_SYSTEM else 0):
        right = _centred_right(scaling, direction, centring * mean)
        other = _direction(form, scaling, rows, normal, gradient, right, refinements)
        longer, dual_longer = _step_lengths(scaling, other)
        gain = min(1.0, longer) + min(1.0, dual_longer) - min(1.0, primal) - min(1.0, dual)
        if gain < WORTHWHILE:
            break
        direction, primal, dual = other, longer, dual_longer
    primal, dual = min(1.0, STEP_FRACTION * primal), min(1.0, STEP_FRACTION * dual)
    _advance(form, state, scaling, direction, primal, dual)
    # -f_0 / f changes by f_0 / f for a change of f by itself.
    promised = complementarity(form, state) * degree(form) * objective.value / form.scale
    if promised < CERTIFY_FROM * gap:
        _improve_bound(form, state, objective, direction, dual, evidence)
    return objective.value, min(primal, dual)
