"""What the max-min designs have in common: the least power at the targets, as large as can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import recovered
from nf_isac_ros.core.certificate import max_min_bound
from nf_isac_ros.core.confinement import confined
from nf_isac_ros.core.designs.base import Outcome
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_ import solve_max_min
from nf_isac_ros.core.starting_point import even_covariance

Real = NDArray[np.float64]


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
    point = solve_max_min(
        small.problem, points, even_covariance(small.problem), gap, budget)
    beams = recovered(small.problem, point.covariance, point.parts)
    bound = max_min_bound(small.problem, points, point.shares, point.multipliers)
    return Outcome(small.lifted(beams), bound, point.iterations,
                   subspace_dimension=small.problem.dimension)
