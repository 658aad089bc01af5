"""The best that sensing can do when the users' SINRs do not count, and what users still get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, factor
from nf_isac_ros.core.confinement import confined, without_users
from nf_isac_ros.core.designs import crb_min
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.problem import Problem

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# The rule for the weights settles geometrically; a few hundred steps are a millisecond.
MAX_ROUNDS = 500
SETTLED = 1e-9
# A weight below this is that of a user who gets more than the others whatever happens.
LEAST_WEIGHT = 1e-12
# A user that receives less than this, relative to its noise, cannot be served.
UNHEARD = 1e-12


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Minimise the weighted sum of position bounds subject to power alone.

    As much of the signal as can be then carries data, which costs the targets nothing: the
    covariance is split so that the smallest ratio of achieved to required SINR is largest.

    Parameters
    ----------
    problem : Problem
        With at least one target.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome
        With a bound on what any beams could do for the targets.

    Raises
    ------
    SolverError
        If the solver gives no usable point.

    Notes
    -----
    Design P_s of Hua, Xu, Zhang, Section V, for any number of targets and users. For one user the
    split is w = R_X h / sqrt(h^H R_X h), not the line search of the paper.

    """
    small = confined(without_users(problem), problem.fisher.transmit)
    outcome = crb_min.solve(small.problem, gap, budget)
    covariance = small.lifted(outcome.beams).covariance
    return replace(outcome, beams=with_data(problem, covariance),
                   subspace_dimension=small.problem.dimension)


def with_data(problem: Problem, covariance: Complex) -> ReducedBeams:
    """
    Let a covariance carry data so that the smallest ratio of SINR to requirement is largest.

    Parameters
    ----------
    problem : Problem
    covariance : ndarray, shape (d, d)
        S, positive semidefinite; that of the beams that are returned.

    Returns
    -------
    ReducedBeams
        Without a beam (zeros) for a user that the covariance does not reach.

    """
    g, whole = problem.user_channels, factor(covariance)
    received = whole.conj().T @ g
    units = np.linalg.norm(received, axis=0)
    heard = np.flatnonzero(units ** 2 > UNHEARD * problem.user_noise)
    beams = np.zeros_like(g)
    if len(heard):
        units = units[heard]
        inner, values, right = np.linalg.svd(received[:, heard] / units, full_matrices=False)
        split = fair_split(values[:, None] * right, problem.user_noise[heard] / units ** 2,
                           problem.sinr[heard])
        beams[:, heard] = whole @ (inner @ split)
    return ReducedBeams(beams, factor(covariance - beams @ beams.conj().T))


def fair_split(received: Complex, noise: Real, sinr: Real) -> Complex:
    """
    Split a signal among users so that the smallest ratio of SINR to requirement is largest.

    Parameters
    ----------
    received : ndarray, shape (r, U)
        Unit column u: what user u receives of each of r unit streams that make up the signal.
    noise : ndarray, shape (U,)
        In units of what each user receives of the whole signal.
    sinr : ndarray, shape (U,)
        Required.

    Returns
    -------
    ndarray, shape (r, U)
        A contraction Y: its column u are the shares of the streams that carry data for user u.

    Notes
    -----
    User u receives r_u^H y_u of its own and one in all. For weights lambda the contraction with
    the largest sum of lambda_u Re r_u^H y_u is the polar factor of [lambda_u r_u]. At a saddle
    point all users with a positive weight are equally well off; so those that are better off than
    the worst lose weight.

    """
    n = len(sinr)
    weights: Real = np.full(n, 1.0)
    best, fairest = -1.0, np.zeros_like(received)
    for _ in range(MAX_ROUNDS):
        left, _, right = np.linalg.svd(received * weights, full_matrices=False)
        split = left @ right
        own = np.abs(np.einsum('ru,ru->u', received.conj(), split)) ** 2
        ratio = own / (np.maximum(1.0 - own, 0.0) + noise) / sinr
        worst = float(ratio.min())
        if worst > best:
            best, fairest = worst, split
        change = np.sqrt(worst / ratio)
        if np.abs(change[weights > LEAST_WEIGHT] - 1.0).max() <= SETTLED:
            break
        weights = np.maximum(weights * change, LEAST_WEIGHT)
        weights /= weights.max()
    return fairest


DESIGN = Design(
    'sensing-only', True, True, solve, crb_min.objective, meets_sinr=False)
