"""Compiled kernels that carry a point of one scene over to another; docs/solver.md."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled, compiled_step
from nf_isac_ros.core.small_matrices import (
    cholesky,
    dagger,
    energy,
    hermitian,
    square,
    triangular_inverse,
)
from nf_isac_ros.core.solvers.kernels import State
from nf_isac_ros.core.solvers.starting_kernels import first_weights

Complex = NDArray[np.complex128]

# Square of the least part of a unit column that those before it do not have: below, rounding shows
# when columns are made orthonormal by their Gram matrix.
INDEPENDENT = 1e-8
# Slacks of the SINRs that a carried point has at least, in units of what they were.
LEAST_SLACK = 0.5
# In place of how much scenes differ: by their columns.
IN_GRAM = -1.0


@compiled
def farthest(before, after):
    """Largest distance between points (n, 3) and others; zero without any."""
    largest = 0.0
    for k in range(len(before)):
        square = 0.0
        for axis in range(3):
            square += (after[k, axis] - before[k, axis]) ** 2
        largest = max(largest, square)
    return np.sqrt(largest)


class Bodies(NamedTuple):
    """
    What a scene looks like to the array.

    Attributes
    ----------
    transmit : ndarray, shape (d, c)
    channels : ndarray, shape (d, U)
        Unit columns.
    phases : ndarray, shape (c + U,)
        exp(j phase) of each.

    """

    transmit: Complex
    channels: Complex
    phases: Complex


@compiled_step
def _aligned(bodies):
    """Unit columns of all bodies with the phase of the array's middle taken off, (d, c + U)."""
    transmit, channels, phases = bodies
    d, c = transmit.shape
    n = channels.shape[1]
    out = np.empty((d, c + n), dtype=np.complex128)
    for k in range(c):
        size = np.sqrt(energy(transmit[:, k]))
        for i in range(d):
            out[i, k] = transmit[i, k] * np.conj(phases[k]) / size
    for k in range(n):
        for i in range(d):
            out[i, c + k] = channels[i, k] * np.conj(phases[c + k])
    return out


@compiled_step
def _gram_change(before, after):
    """Largest change of an inner product of two columns."""
    change = dagger(after) @ after - dagger(before) @ before
    largest = 0.0
    for entry in change.flat:
        largest = max(largest, square(entry))
    return np.sqrt(largest)


@compiled_step
def _orthonormal(frame):
    """Columns of a square matrix made orthonormal one after the other; False if too dependent."""
    low = dagger(frame) @ frame
    if not cholesky(low) > INDEPENDENT:
        return frame, False
    return frame @ dagger(triangular_inverse(low)), True


@compiled_step
def _turn(before, after):
    """Unitary map of the old coordinates to the new that about carries body to body."""
    if before.shape[0] == before.shape[1] and before.shape == after.shape:
        old, one = _orthonormal(before)
        new, other = _orthonormal(after)
        if one and other:
            # As good as the nearest one, and without a singular value decomposition.
            return new @ dagger(old)
    left, _, right = np.linalg.svd(after @ dagger(before), False)
    return np.ascontiguousarray(left) @ np.ascontiguousarray(right)


@compiled_step
def carried(form, history, count, ratio, apart, levels, before, after):
    """
    Carry a strictly feasible point of an earlier path over.

    Parameters
    ----------
    form : Form
        Of the new scene.
    history : History
        Of the old one.
    count : int
        How many points it has.
    ratio : float
        f_0 / f at its end.
    apart : float
        How much the scenes differ, in the unit of the levels; IN_GRAM: the largest change of an
        inner product of two unit columns.
    levels : ndarray, shape (2, n)
        Decimal logarithms, rising: of that, and of the gap that the point is to promise. From the
        last one on nothing is carried over.
    before, after : Bodies
        The two scenes; the new one has no more dimensions.

    Returns
    -------
    State
        Strictly feasible if its slacks are positive.
    value : float
        f there; infinite if it is of no use.

    """
    old_columns, new_columns = _aligned(before), _aligned(after)
    if apart == IN_GRAM:
        apart = _gram_change(old_columns, new_columns)
    place = np.log10(max(apart, 1e-9))
    reached = np.inf if place >= levels[0, -1] else np.interp(place, levels[0], levels[1])
    at = np.argmin(np.abs(np.log10(history.promised[:count] / ratio) - reached))
    states = history.states
    state = State(
        states.covariance[at], states.covariance_dual[at], states.parts[at],
        states.parts_dual[at], states.slacks[at], states.slacks_dual[at], states.levels[at],
        states.weights[at])
    if reached == np.inf:
        return state, reached
    channels = before.channels
    n_columns = before.transmit.shape[1]
    # By what factor of size one the phases of the users have turned.
    turned = after.phases[n_columns:] * np.conj(before.phases[n_columns:])
    n_parts, n, _ = state.parts.shape
    turn = _turn(old_columns, new_columns)
    old = state.covariance.copy()
    slacks = state.slacks.copy()
    if not cholesky(old) > 0.0:
        slacks[:] = 0.0
    for i in range(len(old)):
        old[i, i + 1:] = 0.0
    root = turn @ old
    parts, parts_dual = state.parts.copy(), state.parts_dual.copy()
    if n_parts:
        # Zero-forced again: the users receive exactly what they did.
        received = dagger(channels) @ old
        for u in range(n):
            received[u] *= np.conj(turned[u])
        root += form.dual_channels @ (received - dagger(form.channels) @ root)
        for k in range(n_parts):
            for i in range(n):
                for j in range(n):
                    both = np.conj(turned[i]) * turned[j]
                    parts[k, i, j] *= both
                    parts_dual[k, i, j] *= both
    covariance = root @ dagger(root)
    shrink = (1.0 - state.slacks[len(form.noise)]) / np.trace(covariance).real
    covariance *= shrink
    parts *= shrink
    for u in range(n if n_parts else 0):
        total = form.noise[u]
        for k in range(n_parts):
            total += state.parts[k, u, u].real * shrink
        slack = parts[u + 1, u, u].real - form.share[u] * total
        slacks[u] = max(slack, LEAST_SLACK * state.slacks[u])
        more = (slacks[u] - slack) / (1.0 - form.share[u])
        if more > 0.0:
            dual = np.ascontiguousarray(form.dual_channels[:, u:u + 1])
            covariance += more * (dual @ dagger(dual))
            parts[u + 1, u, u] += more
    slacks[len(form.noise)] = 1.0 - np.trace(covariance).real
    covariance = hermitian(covariance)
    weights, value = first_weights(form, covariance)
    if np.min(slacks) <= 0.0:
        value = np.inf
    return State(covariance, hermitian(turn @ state.covariance_dual @ dagger(turn)),
                 parts, parts_dual, slacks, state.slacks_dual.copy(), state.levels.copy(),
                 weights), value
