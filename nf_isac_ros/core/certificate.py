"""Lower bounds on the sum of position bounds that need no trust in a solver."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.fisher import jacobi_inverse
from nf_isac_ros.core.problem import Problem

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
    g, mu = problem.user_channels, np.maximum(multipliers, 0.0)
    cost = problem.fisher.adjoint(weights @ weights.T)
    if problem.rows is not None and row_multipliers is not None:
        signed = problem.rows.signs * problem.rows.balanced(row_multipliers)
        cost = cost + (problem.rows.points * signed) @ problem.rows.points.conj().T
    if len(mu):
        cost = cost - (g * mu) @ g.conj().T
        lifted = (g * (mu * (1.0 + 1.0 / problem.sinr))).T[:, :, None] * g.T.conj()[:, None, :]
        largest = float(np.linalg.eigvalsh(cost + lifted)[:, -1].max())
    else:
        largest = float(np.linalg.eigvalsh(cost)[-1])
    ceiling = largest - float(mu @ problem.user_noise)
    return float(np.sum(problem.selection * weights)) ** 2 / ceiling if ceiling > 0 else 0.0
