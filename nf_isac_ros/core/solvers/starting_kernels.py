"""Compiled kernels of the point at which the interior-point method begins; docs/solver.md."""

from __future__ import annotations

import numpy as np

from nf_isac_ros.core.compiled import compiled_step
from nf_isac_ros.core.small_matrices import (
    cholesky,
    dagger,
    energy,
    hermitian,
    square,
    triangular_inverse,
)
from nf_isac_ros.core.solvers.cones import hermitian_inverse
from nf_isac_ros.core.solvers.kernels import State, degree, fisher_factor, turned_by

# Shares of the users' least slack, and of the power that is left, that are
# spread; how much of the sensing power is spread evenly, and the steps that split the rest.
SPREAD_SHARE = 0.4
SENSING_SHARE = 0.8
EVEN_SHARE = 0.3
SPLIT_STEPS = 3
# Without a Fisher matrix the rest goes to the points.
POINT_SHARE = 0.7


@compiled_step
def channel_rank(channels):
    """Rank of the channels, whose directions come first in the basis."""
    rank = 0
    for i in range(len(channels)):
        if np.any(channels[i] != 0.0):
            rank += 1
    return rank


@compiled_step
def adjoints(responses):
    """Conjugate transpose of every response, shape (n, m, d)."""
    n, d, m = responses.shape
    out = np.empty((n, m, d), dtype=np.complex128)
    for k in range(n):
        out[k] = dagger(responses[k])
    return out


@compiled_step
def dual_channels(channels):
    """Pseudo-inverse of independent channels, conjugate transposed, shape (d, U)."""
    n = channels.shape[1]
    out = np.zeros_like(channels)
    if n:
        out[:n] = dagger(np.linalg.inv(channels[:n]))
    return out


@compiled_step
def first_weights(form, covariance):
    """V = F(S)^-1 E / f(S), and f(S): infinite if F is singular."""
    d = len(covariance)
    factor = covariance.copy()
    if not cholesky(factor) > 0.0:
        return np.zeros_like(form.selection), np.inf
    for i in range(d):
        factor[i, i + 1:] = 0.0
    turned = turned_by(form.adjoints, factor)
    weights = np.zeros_like(form.selection)
    value = 0.0
    for b in range(len(form.blocks) - 1):
        first, end = form.blocks[b, 0], form.blocks[b + 1, 0]
        wanted, wanted_end = form.blocks[b, 1], form.blocks[b + 1, 1]
        low = fisher_factor(
            turned[first:end, form.blocks[b, 2]:form.blocks[b + 1, 2]], np.ones(d))
        inverse = triangular_inverse(low)
        target = inverse @ np.ascontiguousarray(form.selection[first:end, wanted:wanted_end])
        weights[first:end, wanted:wanted_end] = inverse.T @ target
        value += np.sum(target * target)
    if not value < np.inf:
        return weights, np.inf
    return weights / value, value


@compiled_step
def _split_powers(form, base, directions, even, power, steps):
    """
    Split sensing power over directions, as A-optimal designs do.

    Parameters
    ----------
    form : Form
        With a Fisher matrix.
    base : ndarray, shape (d, b)
        Factor of the covariance of what else is sent.
    directions : ndarray, shape (d, c)
        Of unit norm.
    even : ndarray, shape (d, r)
        Directions that get the same power each, r >= 1.
    power : float
        To be split.
    steps : int

    Returns
    -------
    ndarray, shape (c + 1,)
        Share of each direction, and of the even part.

    Notes
    -----
    The multiplicative rule p_i <- p_i sqrt(c_i), monotone by Yu, Ann. Statist. 38, 2010.

    """
    n = len(form.adjoints)
    count, spread = directions.shape[1], even.shape[1]
    columns = np.hstack((directions, even, base))
    # What each direction tells; all even ones together, and all of what else is sent.
    seen = turned_by(form.adjoints, columns)
    informed = np.empty((count + 2, n * n))
    for c in range(count + 2):
        first = c if c <= count else count + spread
        end = first + 1 if c < count else (count + spread if c == count else columns.shape[1])
        part = np.ascontiguousarray(seen[:, :, first:end])
        own = part.reshape(n, part.shape[1] * (end - first)).view(np.float64)
        informed[c] = (own @ own.T).ravel()
    informed[count] /= spread
    shares = np.full(count + 1, 1.0 / (count + 1))
    for _ in range(steps):
        low = (power * (shares @ informed[:count + 1]) + informed[count + 1]).reshape(n, n)
        if not cholesky(low) > 0.0:
            # Nothing to choose by; the solver will say what is wrong with the Fisher matrix.
            return np.full(count + 1, 1.0 / (count + 1))
        for i in range(n):
            low[i, i + 1:] = 0.0
        root = triangular_inverse(low)
        weights = root.T @ (root @ form.selection)
        worth = informed[:count + 1] @ (weights @ weights.T).ravel()
        shares *= np.sqrt(np.maximum(worth, 0.0))
        shares /= np.sum(shares)
    return shares


@compiled_step
def _sensing(form, factor, columns, rank, power, informed):
    """Covariance of trace one where no user receives it, most of it where it is worth most."""
    d, count = columns.shape
    directions = np.zeros((d, count), dtype=np.complex128)
    kept = 0
    for c in range(count):
        size = energy(columns[rank:, c])
        if size > 0.0:
            for i in range(rank, d):
                directions[i, kept] = columns[i, c] / np.sqrt(size)
            kept += 1
    directions = np.ascontiguousarray(directions[:, :kept])
    even = np.zeros((d, d - rank), dtype=np.complex128)
    for i in range(d - rank):
        even[rank + i, i] = 1.0
    shares = np.full(kept + 1, POINT_SHARE / max(kept, 1))
    if informed:
        shares = (1.0 - EVEN_SHARE) * _split_powers(
            form, factor, directions, even, power, SPLIT_STEPS)
    shares[kept] = 1.0 - np.sum(shares[:kept])
    out = (directions * shares[:kept]) @ dagger(directions)
    for i in range(rank, d):
        out[i, i] += shares[kept] / (d - rank)
    return out


@compiled_step
def first_state(form, beams, columns, informed, gap):
    """
    Build a well-centred point that is strictly feasible but for further rows.

    Parameters
    ----------
    form : Form
        The first r rows of its channels are not zero.
    beams : ndarray, shape (d, U)
        For the users, with some SINR to spare and some power left.
    columns : ndarray, shape (d, c)
        What may be worth illuminating.
    informed : bool
        Power is split over the columns by what they tell.
    gap : float
        In units of -f_0 / f, that the point is to promise.

    Returns
    -------
    State
        Without slacks of further rows; its first slacks are not positive if the beams leave none.

    """
    d, n = form.channels.shape
    rank = channel_rank(form.channels)
    n_parts = n + 1 if n else 0
    parts = np.zeros((n_parts, n, n), dtype=np.complex128)
    slacks = np.empty(n + 1)
    spread = 0.0
    factor = np.zeros((d, n + (rank if n else 0)), dtype=np.complex128)
    if n:
        seen = dagger(form.channels)
        received = seen @ beams
        left_over = SENSING_SHARE * (1.0 - energy(beams)) / d
        least = np.inf
        for u in range(n):
            total = energy(received[u]) + form.noise[u]
            least = min(least, square(received[u, u]) - form.share[u] * total)
        # A little of everything in the users' space, so that no X_k is singular.
        spread = min(SPREAD_SHARE * least, left_over)
        if spread <= 0.0:
            slacks[:] = 0.0
            spread = 0.0
        gram = seen @ form.channels
        factor[:, :n] = beams
        for i in range(rank):
            factor[i, n + i] = np.sqrt(spread)
        for k in range(n_parts):
            parts[k] = spread / (n + 1) * gram
        for u in range(n):
            for i in range(n):
                for j in range(n):
                    parts[u + 1, i, j] += received[i, u] * np.conj(received[j, u])
    covariance = factor @ dagger(factor)
    if rank < d:
        left = SENSING_SHARE * (1.0 - np.trace(covariance).real)
        covariance += left * _sensing(form, factor, columns, rank, left, informed)
    covariance = hermitian(covariance)
    slacks[n] = 1.0 - np.trace(covariance).real
    for u in range(n):
        total = form.noise[u]
        for k in range(n_parts):
            total += parts[k, u, u].real
        slacks[u] = parts[u + 1, u, u].real - form.share[u] * total
    covariance_dual = np.zeros((d, d), dtype=np.complex128)
    parts_dual = np.zeros((n_parts, n, n), dtype=np.complex128)
    level = gap / degree(form)
    weights, value = np.zeros_like(form.selection), np.inf
    if np.min(slacks) > 0.0 and (spread > 0.0 or not n):
        covariance_dual = level * hermitian_inverse(covariance)
        for k in range(n_parts):
            parts_dual[k] = level * hermitian_inverse(parts[k])
        if informed:
            weights, value = first_weights(form, covariance)
    else:
        slacks[:] = 0.0
    return State(covariance, covariance_dual, parts, parts_dual, slacks,
                 level / np.maximum(slacks, 1e-300), np.zeros(len(form.aim)), weights), value
