"""Bounds on the objectives of designs that need no trust in a solver."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.fisher import jacobi_inverse
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.small_matrices import cholesky, smallest_eigenvalue

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


def tangent_weights(problem: Problem, covariance: Complex) -> Real | None:
    """F(S)^-1 E, shape (5 K, 3 K), the best weights for `crb_bound` at S; None if singular."""
    inverse = jacobi_inverse(problem.fisher.of_covariance(covariance))
    return None if inverse is None else inverse @ problem.selection


def crb_bound(problem: Problem, weights: Real, multipliers: Real,
              row_multipliers: Real | None = None) -> float:
    """
    Lower bound on tr(E^T F(S)^-1 E) over all designs that meet power, SINRs and further rows.

    Parameters
    ----------
    problem : Problem
    weights : ndarray, shape (5 K, 3 K)
        Any matrix V; tight at V = F^-1 E of an optimum.
    multipliers : ndarray, shape (U,)
        Any mu >= 0, on the scale of the weights; tight at the multipliers of the SINR constraints
        (1 + 1/Gamma_u) g_u^H W_u g_u >= g_u^H S g_u + noise_u of an optimum.
    row_multipliers : ndarray, shape (R,), or None
        Any omega, on the scale of the weights; tight at the multipliers of `problem.rows`. None:
        without them.

    Returns
    -------
    float
        Bound [m^2], including the weights of the objective.

    Notes
    -----
    tr(E^T F^-1 E) >= 2 s tr(E^T V) - s^2 <C, S> for any s, with C the adjoint of F at V V^T. For a
    design that meets the SINRs, <C, S> stays below the largest eigenvalue of
    C - sum_k mu_k g_k g_k^H + (1 + 1/Gamma_u) mu_u g_u g_u^H over u, minus sum mu_k noise_k;
    maximising over s gives (tr E^T V)^2 over that. A design that meets the rows has
    <sum_k omega_k sign_k p_k p_k^H, S> >= 0 for every omega >= 0 that leaves the free scalars out,
    so that sum may be added to C.

    """
    cost = problem.fisher.adjoint(weights @ weights.T)
    if problem.rows is not None and row_multipliers is not None:
        signed = problem.rows.signs * problem.rows.balanced(row_multipliers)
        cost = cost + (problem.rows.points * signed) @ problem.rows.points.conj().T
    top = _ceiling(problem, cost, multipliers)
    return float(np.vdot(problem.selection, weights)) ** 2 / top if top > 0 else 0.0


def max_min_bound(problem: Problem, points: Complex, shares: Real, multipliers: Real) -> float:
    """
    Upper bound on the least of p_k^H S p_k over all designs that meet power and SINRs.

    Parameters
    ----------
    problem : Problem
    points : ndarray, shape (d, K)
        The vectors p_k.
    shares : ndarray, shape (K,)
        Any omega >= 0; tight at the multipliers of the points of an optimum.
    multipliers : ndarray, shape (U,)
        Any mu >= 0, on the scale of shares of sum one; as for `crb_bound`.

    Returns
    -------
    float
        Bound in the unit of |p_k|^2.

    Notes
    -----
    The least is at most the mean with the weights omega, which is linear in the covariances; so
    the bound is that of `crb_bound` on <C, S> with C = sum_k omega_k p_k p_k^H.

    """
    shares = np.maximum(shares, 0.0)
    if not shares.any():
        shares = np.ones(len(shares))
    cost = (points * (shares / shares.sum())) @ points.conj().T
    return _ceiling(problem, cost, multipliers)


def power_bound(problem: Problem, multipliers: Real) -> float:
    """
    Lower bound on the power of any beams that meet the SINRs.

    Parameters
    ----------
    problem : Problem
        With at least one user.
    multipliers : ndarray, shape (U,)
        Any mu >= 0 that is not zero, as for `crb_bound`; tight at the powers of the dual uplink.

    Returns
    -------
    float
        As a fraction of the budget.

    Notes
    -----
    Beams of power p meet 0 <= m p - sum_k mu_k noise_k, where m is the largest eigenvalue of
    `crb_bound` with C = 0.

    """
    mu = np.maximum(multipliers, 0.0)
    nothing = np.zeros((problem.dimension, problem.dimension), dtype=complex)
    return float(mu @ problem.user_noise) / _largest_eigenvalue(
        nothing, np.ascontiguousarray(problem.user_channels), mu, problem.sinr)


def _ceiling(problem: Problem, cost: Complex, multipliers: Real) -> float:
    return ceiling(np.ascontiguousarray(cost), np.ascontiguousarray(problem.user_channels),
                   multipliers, problem.sinr, problem.user_noise)


@compiled
def ceiling(cost: Complex, channels: Complex, multipliers: Real, sinr: Real,
            noise: Real) -> float:
    """
    Upper bound on <C, S> over all S that meet power and SINRs, as in `crb_bound`.

    Parameters
    ----------
    cost : ndarray, shape (d, d)
        C.
    channels : ndarray, shape (d, U)
    multipliers, sinr, noise : ndarray, shape (U,)

    """
    mu = np.maximum(multipliers, 0.0)
    # Not below zero: the power need not be used.
    return max(_largest_eigenvalue(cost, channels, mu, sinr), 0.0) - np.sum(mu * noise)


@compiled
def _largest_eigenvalue(cost: Complex, channels: Complex, multipliers: Real, sinr: Real) -> float:
    """
    Largest eigenvalue of C - sum_k mu_k g_k g_k^H + (1 + 1/Gamma_u) mu_u g_u g_u^H over all u.

    Parameters
    ----------
    cost : ndarray, shape (d, d)
        C.
    channels : ndarray, shape (d, U)
        g_u; none: the largest eigenvalue of C.
    multipliers, sinr : ndarray, shape (U,)
        mu_u, Gamma_u.

    """
    d, n = channels.shape
    base = cost.copy()
    for u in range(n):
        for i in range(d):
            for j in range(d):
                base[i, j] -= multipliers[u] * channels[i, u] * np.conj(channels[j, u])
    if n == 0:
        return -smallest_eigenvalue(-base)
    largest = -np.inf
    for u in range(n):
        lifted = base.copy()
        gain = multipliers[u] * (1.0 + 1.0 / sinr[u])
        for i in range(d):
            for j in range(d):
                lifted[i, j] += gain * channels[i, u] * np.conj(channels[j, u])
        lowered = -lifted
        if u:
            # In a fifth of the time a Cholesky factorisation tells that it is none of the larger.
            below = lowered.copy()
            for i in range(d):
                below[i, i] += largest
            if cholesky(below) > 0.0:
                continue
        largest = max(largest, -smallest_eigenvalue(lowered))
    return largest
