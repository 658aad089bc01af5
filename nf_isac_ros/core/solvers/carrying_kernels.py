"""Compiled kernels that carry a point of one scene over to another; docs/solver.md."""

from __future__ import annotations

import numpy as np

from nf_isac_ros.core.compiled import compiled_step
from nf_isac_ros.core.small_matrices import cholesky, dagger, hermitian
from nf_isac_ros.core.solvers.kernels import State
from nf_isac_ros.core.solvers.starting_kernels import first_weights

# Slacks of the SINRs that a carried point has at least, in units of what they were.
LEAST_SLACK = 0.5


@compiled_step
def aligned(transmit, channels, phases):
    """
    Unit columns of all bodies with the phase of the array's middle taken off.

    Parameters
    ----------
    transmit : ndarray, shape (d, c)
    channels : ndarray, shape (d, U)
        Unit columns.
    phases : ndarray, shape (c + U,)
        exp(j phase) of each.

    Returns
    -------
    ndarray, shape (d, c + U)

    """
    d, c = transmit.shape
    n = channels.shape[1]
    out = np.empty((d, c + n), dtype=np.complex128)
    for k in range(c):
        size = np.sqrt(np.sum(transmit[:, k].real ** 2 + transmit[:, k].imag ** 2))
        for i in range(d):
            out[i, k] = transmit[i, k] * np.conj(phases[k]) / size
    for k in range(n):
        for i in range(d):
            out[i, c + k] = channels[i, k] * np.conj(phases[c + k])
    return out


@compiled_step
def carried(form, state, channels, before, after, turned):
    """
    Carry a strictly feasible point over.

    Parameters
    ----------
    form : Form
        Of the new scene.
    state : State
        Of the old one.
    channels : ndarray, shape (d', U)
        Of the old one.
    before, after : ndarray, shapes (d', c), (d, c)
        What `aligned` gives for the two scenes, d <= d'.
    turned : ndarray, shape (U,)
        By what factor of size one the phases of the users have turned.

    Returns
    -------
    State
        Strictly feasible if its slacks are positive.
    value : float
        f there; infinite if it is of no use.

    """
    n_parts, n, _ = state.parts.shape
    left, _, right = np.linalg.svd(after @ dagger(before), False)
    # The nearest unitary map of the old coordinates to the new.
    turn = np.ascontiguousarray(left) @ np.ascontiguousarray(right)
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
