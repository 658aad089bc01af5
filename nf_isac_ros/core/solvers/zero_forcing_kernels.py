"""
Compiled kernels of the zero-forcing design; docs/solver.md has the formulas.

Coordinates are those of the reduced basis, whose first U directions are the users': what is zero
there reaches no user. Directions are unit columns; a power belongs to each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import NEGLIGIBLE_POWER
from nf_isac_ros.core.certificate import ceiling
from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.fisher import SINGULAR_PIVOT
from nf_isac_ros.core.small_matrices import eigh, energy, scaled_root, square

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.int64]

# Directions of greatest use that join the null space's each round.
FRESH = 3
# Steps of the multiplicative rule that spreads the power at a cold start.
SPREAD_STEPS = 10
# Sensing power at a cold start: share of the targets' responses and tangents against all of the
# null space.
FOCUSED = 0.7
# SINRs are met with this ratio to spare, so that rounding cannot turn "met" into "missed".
MARGIN = 1e-9
# Shortest step of the line search.
SHORTEST = 1e-3
# Ridge of the least-squares fit that carries beams to the next scene: bodies side by side have all
# but the same responses.
RIDGE = 1e-8
# Farthest that a multiplier moves in one step, in the unit of `tighten`.
LONGEST_MOVE = 0.3
# How fast the steps towards a better bound become shorter.
DAMPING = 0.3


class Task(NamedTuple):
    """
    A problem as the kernels take it.

    Attributes
    ----------
    transmit : ndarray, shape (d, 4 K)
    receive_gram : ndarray, shape (4 K, 4 K)
    reflections : ndarray, shape (K,)
    scale : ndarray, shape (5 K,)
        Units of the parameters times sqrt(2 L).
    selection : ndarray, shape (5 K, 3 K)
        E.
    channels : ndarray, shape (d, U)
        g; zero but for the first U rows.
    noise, sinr : ndarray, shape (U,)
    served : ndarray, shape (d, U)
        Unit pseudo-inverse beams: each is received by its user alone.
    least : ndarray, shape (U,)
        Power that each of them needs.

    """

    transmit: Complex
    receive_gram: Complex
    reflections: Complex
    scale: Real
    selection: Real
    channels: Complex
    noise: Real
    sinr: Real
    served: Complex
    least: Real


class Beams(NamedTuple):
    """
    Zero-forcing beams.

    Attributes
    ----------
    communication : ndarray, shape (d, U)
        Each is received by its user alone.
    sensing : ndarray, shape (d - U, d - U)
        Covariance in the null space of the channels.

    """

    communication: Complex
    sensing: Complex


class Model(NamedTuple):
    """
    Power split over fixed directions: the objective -f_0 / f to second order.

    Attributes
    ----------
    directions : ndarray, shape (d, n)
        Users' first (pseudo-inverse, present, best to add), then the null space's.
    powers : ndarray, shape (n,)
        Present split; its sum is 1.
    gains : ndarray, shape (n,)
        What the owner of a direction receives of it, over what it receives of its pseudo-inverse
        beam; 0 in the null space.
    fishers : ndarray, shape (n, 5 K, 5 K)
    objective : float
        f_0, at the present split.
    gradient : ndarray, shape (n,)
    hessian : ndarray, shape (n, n)

    """

    directions: Complex
    powers: Real
    gains: Real
    fishers: Real
    objective: float
    gradient: Real
    hessian: Real


class Conclusion(NamedTuple):
    """
    Beams of a split.

    Attributes
    ----------
    beams : Beams
        With the whole budget used.
    factor : ndarray, shape (d, r)
        Sensing beams, the strongest first; those without power are left out.
    received : ndarray, shape (U,)
        |g_u^H w_u|^2.
    objective : float
        f, infinite where the targets cannot be located.
    slack : float
        As `beams.slack`, of the user with the least of it.

    """

    beams: Beams
    factor: Complex
    received: Real
    objective: float
    slack: float


class Evidence(NamedTuple):
    """
    What a lower bound rests on.

    Attributes
    ----------
    bound : float
        Certified lower bound on the objective of every design that meets power and SINRs.
    weights : ndarray, shape (5 K, 3 K)
    multipliers : ndarray, shape (U,)
        V and mu of `certificate.crb_bound`.
    covariance : ndarray, shape (d, d)
        At which the weights are F^-1 E.
    prices : ndarray, shape (U,)
        mu_u / Gamma_u, in units of the objective there.

    """

    bound: float
    weights: Real
    multipliers: Real
    covariance: Complex
    prices: Real


class Evaluation(NamedTuple):
    """Objective f, F^-1 E, and L^-1 of the Fisher matrix L L^T; infinite f if it is singular."""

    value: float
    weights: Real
    low_inverse: Real


@compiled
def _fishers(task: Task, directions: Complex, first: int, last: int, out: Real) -> None:
    """Fisher matrices of some of the directions at unit power."""
    seen = np.conj(directions[:, first:last].T) @ task.transmit
    for i in range(first, last):
        _fisher(task, np.conj(seen[i - first]), out[i])


@compiled
def _fisher(task: Task, seen: Complex, out: Real) -> None:
    """Fisher matrix of a direction that the responses, shape (4 K,), see at unit power."""
    n_targets = len(task.reflections)
    rows = np.empty((5 * n_targets, 2), dtype=np.int64)
    values = np.empty((5 * n_targets, 2), dtype=np.complex128)
    for k in range(n_targets):
        for u in range(3):
            i, slope = u * n_targets + k, (u + 1) * n_targets + k
            factor = task.scale[i] * task.reflections[k]
            rows[i, 0], rows[i, 1] = slope, k
            values[i, 0], values[i, 1] = factor * seen[k], factor * seen[slope]
        for part in range(2):
            i = (3 + part) * n_targets + k
            rows[i, 0], rows[i, 1] = k, k
            values[i, 0] = task.scale[i] * seen[k] * (1.0 if part == 0 else 1.0j)
            values[i, 1] = 0.0
    gram = task.receive_gram
    for i in range(5 * n_targets):
        for j in range(i + 1):
            total = 0.0
            for p in range(2):
                for q in range(2):
                    total += (np.conj(values[i, p]) * gram[rows[i, p], rows[j, q]]
                              * values[j, q]).real
            out[i, j] = total
            out[j, i] = total


@compiled
def _selectors(task: Task) -> tuple[Indices, Indices, Complex]:
    """Rows, columns and values of the two entries of each C_i of `fisher.FisherMap`."""
    n_targets = len(task.reflections)
    n = 5 * n_targets
    rows = np.empty((n, 2), dtype=np.int64)
    columns = np.empty((n, 2), dtype=np.int64)
    values = np.zeros((n, 2), dtype=np.complex128)
    for k in range(n_targets):
        for u in range(3):
            i, slope = u * n_targets + k, (u + 1) * n_targets + k
            rows[i, 0], columns[i, 0] = slope, k
            rows[i, 1], columns[i, 1] = k, slope
            values[i, 0] = values[i, 1] = task.scale[i] * task.reflections[k]
        for part in range(2):
            i = (3 + part) * n_targets + k
            rows[i, 0], columns[i, 0], rows[i, 1], columns[i, 1] = k, k, k, k
            values[i, 0] = task.scale[i] * (1.0 if part == 0 else 1.0j)
    return rows, columns, values


@compiled
def _cost(task: Task, weights: Real) -> Complex:
    """Matrix C with <C, S> = tr(V^T F(S) V), shape (d, d)."""
    rows, columns, values = _selectors(task)
    n = len(rows)
    pairs = weights @ weights.T
    size = len(task.receive_gram)
    inner = np.zeros((size, size), dtype=np.complex128)
    for i in range(n):
        for j in range(n):
            for p in range(2):
                left = pairs[i, j] * np.conj(values[i, p])
                for q in range(2):
                    inner[columns[i, p], columns[j, q]] += (
                        left * task.receive_gram[rows[i, p], rows[j, q]] * values[j, q])
    cost = task.transmit @ inner @ np.conj(task.transmit.T)
    return 0.5 * (cost + np.conj(cost.T))


@compiled
def evaluate(fisher: Real, selection: Real) -> Evaluation:
    inverse, regular = scaled_root(fisher, SINGULAR_PIVOT)
    if not regular:
        return Evaluation(np.inf, np.zeros_like(selection), np.zeros_like(fisher))
    target = inverse @ selection
    return Evaluation(np.sum(target ** 2), inverse.T @ target, inverse)


@compiled
def _mixed(powers: Real, fishers: Real) -> Real:
    """Fisher matrix of a split."""
    out = np.zeros((fishers.shape[1], fishers.shape[2]))
    for i in range(len(powers)):
        if powers[i] > 0.0:
            out += powers[i] * fishers[i]
    return out


@compiled
def first_beams(task: Task) -> Beams:
    """
    Beams to begin with, without a program to solve.

    Users get the pseudo-inverse beams. The rest goes to what the targets' responses and tangents
    leave in the null space, and to all of it evenly. A few steps of the multiplicative rule for
    A-optimal designs, p_i <- p_i sqrt(c_i), split the power among all these.
    """
    d, n_users = task.channels.shape
    free, n_seen = d - n_users, task.transmit.shape[1]
    n = n_users + n_seen + free
    directions = np.zeros((d, n), dtype=np.complex128)
    directions[:, :n_users] = task.served
    powers = np.zeros(n)
    powers[:n_users] = task.least
    left = max(1.0 - np.sum(task.least), 0.0)
    for i in range(n_seen):
        column = task.transmit[n_users:, i]
        size = np.linalg.norm(column)
        if size > 0.0:
            directions[n_users:, n_users + i] = column / size
            powers[n_users + i] = FOCUSED / n_seen
    for i in range(free):
        directions[n_users + i, n_users + n_seen + i] = 1.0
        powers[n_users + n_seen + i] = (1.0 - FOCUSED) / free
    powers[n_users:] *= left / max(np.sum(powers[n_users:]), 1e-300)
    fishers = np.empty((n, 5 * len(task.reflections), 5 * len(task.reflections)))
    _fishers(task, directions, 0, n, fishers)
    for _ in range(SPREAD_STEPS):
        point = evaluate(_mixed(powers, fishers), task.selection)
        if not np.isfinite(point.value):
            break
        for i in range(n):
            use = np.sum((fishers[i] @ point.weights) * point.weights)
            powers[i] *= np.sqrt(max(use, 0.0) / point.value)
        _make_feasible(task.least, np.ones(n), n_users, 1, powers)
    communication = task.served * np.sqrt(powers[:n_users])
    sensing = np.zeros((free, free), dtype=np.complex128)
    for i in range(n_users, n):
        column = directions[n_users:, i]
        sensing += powers[i] * np.outer(column, np.conj(column))
    return Beams(communication, sensing)


@compiled
def _make_feasible(least: Real, gains: Real, n_users: int, groups: int, powers: Real) -> None:
    """
    Meet every SINR and use the whole budget, in place.

    Users own the first `groups` times U directions, the pseudo-inverse beams first. What they lack
    is added there and taken from the sensing power, then from what users have to spare.
    """
    owned = groups * n_users
    needed = 0.0
    for u in range(n_users):
        received = 0.0
        for k in range(groups):
            received += gains[k * n_users + u] * powers[k * n_users + u]
        lacking = least[u] * (1.0 + MARGIN) - received
        if lacking > 0.0:
            powers[u] += lacking
        needed += least[u] * (1.0 + MARGIN)
    used = np.sum(powers[:owned])
    sensing = np.sum(powers[owned:])
    if used < 1.0 and sensing > 0.0:
        powers[owned:] *= (1.0 - used) / sensing
    elif used >= 1.0:
        # Back towards the least that serves the users, all of it by pseudo-inverse beams.
        share = (1.0 - needed) / max(used - needed, 1e-300)
        share = min(max(share, 0.0), 1.0)
        powers[:] *= share
        powers[owned:] = 0.0
        for u in range(n_users):
            powers[u] += (1.0 - share) * least[u] * (1.0 + MARGIN)
    else:
        powers /= used


@compiled
def served_beams(channels: Complex, sinr: Real, noise: Real) -> tuple[Complex, Real]:
    """
    Unit pseudo-inverse beams and the power that each of them needs.

    The channels have to be independent, and zero but for their first U rows.
    """
    n_users = channels.shape[1]
    served = np.zeros_like(channels)
    inverse = np.linalg.inv(np.conj(channels[:n_users].T))
    least = np.empty(n_users)
    for u in range(n_users):
        size = np.sqrt(energy(inverse[:, u]))
        served[:n_users, u] = inverse[:, u] / size
        least[u] = sinr[u] * noise[u] * size ** 2
    return served, least


@compiled
def moving_frame(transmit: Complex, channels: Complex, steering: Complex,
                 responses: Complex) -> Complex:
    """
    Directions that move with the bodies, shape (d, 4 K + U), unit columns.

    The phase that each body has at one and the same element is taken off: a millimetre turns it,
    and turns nothing that matters.

    Parameters
    ----------
    transmit, channels : ndarray, shape (d, 4 K), (d, U)
    steering, responses : ndarray, shape (K,), (U,)
        Of targets and users, at that element.

    """
    d, n_seen = transmit.shape
    frame = np.empty((d, n_seen + channels.shape[1]), dtype=np.complex128)
    for i in range(frame.shape[1]):
        if i < n_seen:
            frame[:, i] = transmit[:, i]
            phase = steering[i % len(steering)]
        else:
            frame[:, i] = channels[:, i - n_seen]
            phase = responses[i - n_seen]
        size, length = np.sqrt(energy(frame[:, i])), np.sqrt(square(phase))
        if size > 0.0 and length > 0.0:
            frame[:, i] *= length / (size * phase)
    return frame


@compiled
def turn(frame: Complex, old_frame: Complex) -> Complex:
    """Matrix (d, d) that carries one frame over to the other, by least squares."""
    gram = np.conj(old_frame.T) @ old_frame
    for i in range(len(gram)):
        gram[i, i] += RIDGE
    return frame @ np.linalg.solve(gram, np.conj(old_frame.T))


@compiled
def carried_beams(task: Task, carry: Complex, communication: Complex, sensing: Complex,
                  received: Real) -> Beams:
    """
    Carry the beams of an earlier scene over to this one.

    Parameters
    ----------
    task : Task
    carry : ndarray, shape (d, d)
        `turn` from there to here.
    communication, sensing : ndarray, shape (d, U), (d, r)
        Beams in the earlier scene, of any design.
    received : ndarray, shape (U,)
        |g_u^H w_u|^2 there.

    Notes
    -----
    Each user's beam gets the part in the users' space that the pseudo-inverse gives it, and the
    rest is moved into the null space.

    """
    d, n_users = task.channels.shape
    beams = carry @ communication
    left = (carry @ sensing)[n_users:]
    out = np.zeros((d, n_users), dtype=np.complex128)
    tilted = 0.0
    for u in range(n_users):
        gain = np.sum(np.conj(task.channels[:, u]) * task.served[:, u])
        wanted = np.sum(np.conj(task.channels[:, u]) * beams[:, u])
        length = np.sqrt(square(wanted))
        phase = wanted / length if length > 0.0 else 1.0 + 0.0j
        needed = task.sinr[u] * task.noise[u] * (1.0 + MARGIN)
        out[:, u] = task.served[:, u] * (np.sqrt(max(received[u], needed)) / gain * phase)
        tilted += energy(beams[n_users:, u])
    used = energy(out)
    if used >= 1.0:
        for u in range(n_users):
            out[:, u] = task.served[:, u] * np.sqrt(task.least[u] * (1.0 + MARGIN))
        used = energy(out)
    covariance = left @ np.conj(left.T)
    share = max(1.0 - used, 0.0) / max(tilted + np.trace(covariance).real, 1e-300)
    out[n_users:] += np.sqrt(share) * beams[n_users:]
    return Beams(out, share * covariance)


@compiled
def n_directions(dimension: int, n_users: int) -> int:
    """Columns of `Model.directions`."""
    free = dimension - n_users
    return 3 * n_users + free + min(FRESH, free)


@compiled
def _tilted(values: Real, coupling: Complex, own: float) -> Complex:
    """
    Leading eigenvector of [[own, b^H], [b, diag(values)]], by its secular equation.

    Its first entry is real and not negative.
    """
    low = max(np.max(values), own) if len(values) else own
    high = low + np.sqrt(energy(coupling))
    for _ in range(60):
        middle = 0.5 * (low + high)
        total = middle - own
        for i in range(len(values)):
            total -= square(coupling[i]) / max(middle - values[i], 1e-300)
        if total > 0.0:
            high = middle
        else:
            low = middle
    out = np.empty(len(values) + 1, dtype=np.complex128)
    out[0] = 1.0
    for i in range(len(values)):
        out[i + 1] = coupling[i] / max(high - values[i], 1e-300)
    return out / np.sqrt(energy(out))


@compiled
def build_model(task: Task, beams: Beams) -> Model:
    """
    Choose directions and model the objective over their powers.

    Directions are those of the present beams, the pseudo-inverse beams, the leading eigenvectors
    of the cost matrix in the null space, and for each user the zero-forcing beam for which the
    cost matrix gains most. So the powers can stay as they are, and no direction outside is worth
    more to first order.
    """
    d, n_users = task.channels.shape
    free = d - n_users
    fresh = min(FRESH, free)
    n = n_directions(d, n_users)
    first_fresh = n - fresh
    directions = np.zeros((d, n), dtype=np.complex128)
    powers, gains = np.zeros(n), np.zeros(n)
    directions[:, :n_users] = task.served
    for u in range(n_users):
        size = np.sqrt(energy(beams.communication[:, u]))
        directions[:, n_users + u] = beams.communication[:, u] / size
        powers[n_users + u] = size ** 2
    start = 3 * n_users
    values, vectors = eigh(beams.sensing)
    directions[n_users:, start:first_fresh] = vectors
    for i in range(free):
        powers[start + i] = max(values[i], 0.0)
    powers /= np.sum(powers)

    n_parameters = task.selection.shape[0]
    fishers = np.empty((n, n_parameters, n_parameters))
    _fishers(task, directions, 0, 2 * n_users, fishers)
    _fishers(task, directions, start, first_fresh, fishers)
    point = evaluate(_mixed(powers, fishers), task.selection)
    cost = _cost(task, point.weights)
    uses, vectors = eigh(np.ascontiguousarray(cost[n_users:, n_users:]))
    directions[n_users:, first_fresh:] = vectors[:, free - fresh:]
    price = np.sum(cost[n_users:, n_users:] * beams.sensing.T).real
    price /= max(np.trace(beams.sensing).real, 1e-300)
    for u in range(n_users):
        served = np.ascontiguousarray(task.served[:, u])
        wanted = cost @ served
        present = np.ascontiguousarray(directions[:, n_users + u])
        # What it is worth that the user hears the beam: the present one must not be changed for
        # first-order reasons.
        heard = (square(np.sum(np.conj(task.channels[:, u]) * present))
                 / square(np.sum(np.conj(task.channels[:, u]) * served)))
        use = np.sum(np.conj(present) * (cost @ present)).real
        worth = max(price - use, 0.0) / max(heard, 1e-12)
        mixture = _tilted(uses, np.conj(vectors.T) @ np.ascontiguousarray(wanted[n_users:]),
                          np.sum(np.conj(served) * wanted).real + worth)
        column = 2 * n_users + u
        directions[:, column] = mixture[0] * served
        directions[n_users:, column] += vectors @ np.ascontiguousarray(mixture[1:])
        for k in range(3):
            own = k * n_users + u
            gains[own] = (square(np.sum(np.conj(task.channels[:, u]) * directions[:, own]))
                          / square(np.sum(np.conj(task.channels[:, u]) * served)))
    _fishers(task, directions, 2 * n_users, start, fishers)
    _fishers(task, directions, first_fresh, n, fishers)
    gradient, hessian = np.zeros(n), np.zeros((n, n))
    if np.isfinite(point.value):
        _expand(fishers, point, gradient, hessian)
    return Model(directions, powers, gains, fishers, point.value, gradient, hessian)


@compiled
def _expand(fishers: Real, point: Evaluation, gradient: Real, hessian: Real) -> None:
    """Gradient and Hessian of -f_0 / f by the powers, f_0 = f."""
    n, n_parameters = fishers.shape[0], fishers.shape[1]
    n_position = point.weights.shape[1]
    seen = fishers.reshape(n * n_parameters, n_parameters) @ point.weights
    rows = np.empty((n, n_parameters * n_position))
    uses = np.empty(n)
    for i in range(n):
        block = np.ascontiguousarray(seen[i * n_parameters:(i + 1) * n_parameters])
        uses[i] = np.sum(block * point.weights)
        rows[i] = (point.low_inverse @ block).ravel()
    f = point.value
    gradient[:] = -uses / f
    hessian[:] = 2.0 / f * (rows @ rows.T - np.outer(uses, uses) / f)


@compiled
def _step(task: Task, model: Model, proposed: Real) -> tuple[Real, float]:
    """
    Go towards a proposed split as far as it pays.

    Parameters
    ----------
    task : Task
    model : Model
    proposed : ndarray, shape (n,)
        About feasible; made so first.

    Returns
    -------
    powers : ndarray, shape (n,)
        Feasible, and no worse than the present split.
    objective : float

    """
    n_users = len(task.least)
    present = model.powers.copy()
    _make_feasible(task.least, model.gains, n_users, 3, present)
    goal = np.maximum(proposed, 0.0)
    _make_feasible(task.least, model.gains, n_users, 3, goal)
    best = evaluate(_mixed(present, model.fishers), task.selection).value
    length = 1.0
    while length >= SHORTEST:
        powers = (1.0 - length) * present + length * goal
        value = evaluate(_mixed(powers, model.fishers), task.selection).value
        if value < best:
            return powers, value
        length *= 0.5
    return present, best


@compiled
def _recombine(task: Task, model: Model, powers: Real) -> Beams:
    """
    Turn powers into one beam for each user and a sensing covariance.

    Of the part W_u that is a user's, w_u = W_u g_u / sqrt(g_u^H W_u g_u) carries its data; what is
    left reaches no user at all and senses.
    """
    d, n_users = task.channels.shape
    communication = np.zeros((d, n_users), dtype=np.complex128)
    sensing = np.zeros((d - n_users, d - n_users), dtype=np.complex128)
    for u in range(n_users):
        g = task.channels[:, u]
        total = 0.0
        for k in range(3):
            column = model.directions[:, k * n_users + u]
            power = powers[k * n_users + u]
            heard = np.sum(np.conj(column) * g)
            communication[:, u] += power * heard * column
            total += power * square(heard)
            free = column[n_users:]
            sensing += power * np.outer(free, np.conj(free))
        communication[:, u] /= np.sqrt(total)
        free = communication[n_users:, u]
        sensing -= np.outer(free, np.conj(free))
    for i in range(3 * n_users, len(powers)):
        if powers[i] > 0.0:
            column = model.directions[n_users:, i]
            sensing += powers[i] * np.outer(column, np.conj(column))
    return Beams(communication, 0.5 * (sensing + np.conj(sensing.T)))


@compiled
def conclude(task: Task, model: Model, proposed: Real) -> Conclusion:
    """
    Go towards a proposed split as far as it pays, and turn it into beams.

    Parameters
    ----------
    task : Task
    model : Model
    proposed : ndarray, shape (n,)
        About feasible; made so first.

    """
    powers, value = _step(task, model, proposed)
    beams = _recombine(task, model, powers)
    total = energy(beams.communication) + np.trace(beams.sensing).real
    beams = Beams(beams.communication / np.sqrt(total), beams.sensing / total)
    heard = np.abs(np.conj(task.channels.T) @ beams.communication) ** 2
    slack = np.inf
    for u in range(len(task.least)):
        interference = np.sum(heard[u]) - heard[u, u]
        slack = min(slack, (heard[u, u] / task.sinr[u] - interference) / task.noise[u] - 1.0)
    values, vectors = eigh(beams.sensing)
    first = 0
    while first < len(values) and values[first] <= NEGLIGIBLE_POWER:
        first += 1
    factor = np.zeros((len(heard) + len(values), len(values) - first), dtype=np.complex128)
    n_users = len(heard)
    for i in range(first, len(values)):
        factor[n_users:, len(values) - 1 - i] = vectors[:, i] * np.sqrt(values[i])
    received = np.empty(n_users)
    for u in range(n_users):
        received[u] = heard[u, u]
    return Conclusion(beams, factor, received, value, slack)


@compiled
def covariance_of(beams: Beams) -> Complex:
    """S of beams, shape (d, d)."""
    n_users = beams.communication.shape[1]
    covariance = beams.communication @ np.conj(beams.communication.T)
    covariance[n_users:, n_users:] += beams.sensing
    return covariance


@compiled
def carried_covariance(carry: Complex, covariance: Complex, beams: Beams,
                       share: float) -> Complex:
    """Mixture, of trace one, of a covariance carried over and that of the present beams."""
    out = carry @ covariance @ np.conj(carry.T)
    return (1.0 - share) / np.trace(out).real * out + share * covariance_of(beams)


@compiled
def _point(task: Task, covariance: Complex) -> Evaluation:
    """Evaluate at any covariance."""
    gram = np.conj(task.transmit.T) @ covariance @ task.transmit
    rows, columns, values = _selectors(task)
    n = len(rows)
    fisher = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for p in range(2):
                for q in range(2):
                    total += (np.conj(values[i, p]) * values[j, q]
                              * task.receive_gram[rows[i, p], rows[j, q]]
                              * gram[columns[j, q], columns[i, p]]).real
            fisher[i, j] = total
            fisher[j, i] = total
    return evaluate(fisher, task.selection)


@compiled
def first_prices(task: Task, beams: Beams) -> Real:
    """
    Multipliers mu_u / Gamma_u over f that the split of the powers implies, shape (U,).

    What the null space pays for power, and a user's beam does not, is paid by its SINR.
    """
    n_users = len(task.least)
    out = np.zeros(n_users)
    point = _point(task, covariance_of(beams))
    if not np.isfinite(point.value):
        return out
    cost = _cost(task, point.weights)
    price = np.sum(cost[n_users:, n_users:] * beams.sensing.T).real
    price /= max(np.trace(beams.sensing).real, 1e-300)
    for u in range(n_users):
        beam = np.ascontiguousarray(beams.communication[:, u])
        heard = square(np.sum(np.conj(task.channels[:, u]) * beam))
        use = np.sum(np.conj(beam) * (cost @ beam)).real
        worth = price * energy(beam) - use
        out[u] = max(worth, 0.0) / (heard * point.value)
    return out


@compiled
def tighten(task: Task, covariance: Complex, prices: Real, steps: int, share: float,
            width: float) -> Evidence:
    """
    Find weights and multipliers whose bound is high.

    The weights are F^-1 E at a covariance that need not serve anybody. Each step goes on with
    Newton's method for the multipliers, on the ceiling with a smoothed maximum, and moves the
    covariance towards the density matrix that the smoothed maximum is attained at: where the
    ceiling is attained there is too little power.

    Parameters
    ----------
    task : Task
    covariance : ndarray, shape (d, d)
        Where to begin.
    prices : ndarray, shape (U,)
        mu_u / Gamma_u, over f, to begin with.
    steps : int
    share : float
        How far the covariance moves in the first step; less and less after it.
    width : float
        Smoothing of the largest eigenvalue, relative to it.

    """
    d, n = task.channels.shape
    blocks = max(n, 1)
    best = Evidence(0.0, np.zeros_like(task.selection), np.zeros(n), covariance, prices)
    prices = np.maximum(prices, 0.0)
    g = task.channels
    values = np.empty((blocks, d))
    vectors = np.empty((blocks, d, d), dtype=np.complex128)
    for iteration in range(steps + 1):
        point = _point(task, covariance)
        if not np.isfinite(point.value):
            # Spread some power over everything: any covariance will do.
            covariance = 0.9 * covariance + 0.1 / d * np.eye(d)
            continue
        # In units in which f is one.
        cost = _cost(task, point.weights) / point.value
        mu = prices * task.sinr
        last = iteration == steps
        if last:
            top = ceiling(cost, g, mu, task.sinr, task.noise)
        else:
            base = cost - (g * mu) @ np.conj(g.T)
            for u in range(blocks):
                lifted = base
                if n:
                    own = np.ascontiguousarray(g[:, u])
                    lifted = base + (mu[u] + prices[u]) * np.outer(own, np.conj(own))
                values[u], vectors[u] = eigh(lifted)
            largest = np.max(values)
            top = largest - np.sum(mu * task.noise)
        bound = point.value / top
        if bound > best.bound:
            best = Evidence(bound, point.weights, mu * point.value, covariance, prices)
        if last:
            break
        masses = np.exp((values - largest) / (width * largest))
        masses /= np.sum(masses)
        if n:
            prices = _next_prices(task, values, vectors, masses, width * largest, prices)
        density = np.zeros((d, d), dtype=np.complex128)
        for u in range(blocks):
            density += (vectors[u] * masses[u]) @ np.conj(vectors[u].T)
        moved = share / (1.0 + DAMPING * iteration)
        covariance = (1.0 - moved) * covariance + moved * density
    return best


@compiled
def _next_prices(task: Task, values: Real, vectors: Complex, masses: Real, width: float,
                 prices: Real) -> Real:
    """One Newton step on width log sum exp(eigenvalues / width) - mu^T n."""
    n, d = values.shape
    gradient, hessian = -task.sinr * task.noise, np.zeros((n, n))
    factors = np.empty(n)
    for u in range(n):
        sides = np.conj(vectors[u].T) @ task.channels
        for k in range(n):
            factors[k] = 1.0 if k == u else -task.sinr[k]
        for i in range(d):
            for k in range(n):
                gradient[k] += masses[u, i] * factors[k] * square(sides[i, k])
            for j in range(i + 1):
                apart = values[u, i] - values[u, j]
                slope = ((masses[u, i] - masses[u, j]) / apart if apart > 1e-6 * width
                         else masses[u, i] / width)
                if i != j:
                    slope *= 2.0
                for k in range(n):
                    for m in range(k + 1):
                        both = (sides[i, k] * np.conj(sides[j, k])
                                * np.conj(sides[i, m]) * sides[j, m]).real
                        hessian[k, m] += slope * factors[k] * factors[m] * both
    for k in range(n):
        for m in range(k):
            hessian[m, k] = hessian[k, m]
    slopes = gradient + task.sinr * task.noise
    hessian -= np.outer(slopes, slopes) / width
    ridge = 1e-2 * np.trace(hessian) / n + 1e-3
    for k in range(n):
        hessian[k, k] += ridge
    for k in range(n):
        if prices[k] <= 0.0 and gradient[k] >= 0.0:
            # At zero, and wants to fall.
            hessian[k, :] = 0.0
            hessian[:, k] = 0.0
            hessian[k, k] = 1.0
            gradient[k] = 0.0
    move = -np.linalg.solve(hessian, gradient)
    # Far from the minimum the model reaches too far.
    size = np.max(np.abs(move))
    if size > LONGEST_MOVE:
        move *= LONGEST_MOVE / size
    return np.maximum(prices + move, 0.0)
