"""What the max-min designs have in common: the least power at the targets, as large as can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import recovered
from nf_isac_ros.core.certificate import max_min_bound
from nf_isac_ros.core.confinement import confined
from nf_isac_ros.core.designs.base import Outcome
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_ import solve_max_min
from nf_isac_ros.core.starting_point import even_covariance

Real = NDArray[np.float64]

# What the solver is asked for, in units of the gap, until the gap is reached. The optimal
# covariance is known to the square root of the gap only, and the bounds of the targets with it;
# two iterations more are cheap. A tolerance that rounding does not allow ends in a worse point
# than a looser one.
ATTEMPTS = (0.01, 1.0, 0.01, 0.01)
# Share of the best beams so far in what the program is then scaled about.
NEAR = 0.9


def maximise_least(problem: Problem, gains: Real, gap: float,
                   budget: float | None = None) -> Outcome:
    """
    Maximise the least gain_k v_k^T R_X conj(v_k) subject to power and SINRs.

    Parameters
    ----------
    problem : Problem
        With at least one target.
    gains : ndarray, shape (K,)
        Positive factor on the illumination of each target.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    Outcome
        With a bound in the unit of gains times W.

    Raises
    ------
    UnsuitableDesignError
        If a target is extended.
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If the solver gives no usable point.

    Notes
    -----
    (P2) and (P3) of Hua, Xu, Zhang. Power at the targets and at the users is all that counts, so
    an optimum lives on the span of conj(v_k) and h_u (Proposition 4), K + U dimensions.

    """
    steering = problem.fisher.transmit[:, :len(gains)]
    small = confined(problem, steering)
    points = small.problem.fisher.transmit[:, :len(gains)] * np.sqrt(gains)
    reference = even_covariance(small.problem)
    best, least, bound, iterations = None, 0.0, np.inf, 0
    for attempt, tolerance in enumerate(ATTEMPTS):
        try:
            point = solve_max_min(
                small.problem, points, reference, tolerance * gap, budget)
            beams = recovered(small.problem, point.covariance, point.parts)
        except SolverError:
            continue
        iterations += point.iterations
        bound = min(bound, max_min_bound(
            small.problem, points, point.shares, point.multipliers))
        received = points.conj().T @ np.hstack([beams.communication, beams.sensing])
        reached = float((np.abs(received) ** 2).sum(axis=1).min())
        if best is None or reached > least:
            best, least = beams, reached
        if budget is not None or bound - least <= gap * least:
            break
        if attempt > 0:
            # About beams that are close to the optimum the program is scaled better.
            reference = NEAR * best.covariance + (1.0 - NEAR) * reference
    if best is None:
        raise SolverError('Clarabel gave no usable point')
    return Outcome(small.lifted(best), bound, iterations,
                   subspace_dimension=small.problem.dimension)
