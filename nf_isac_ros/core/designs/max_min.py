"""What the max-min designs have in common: the least power at the targets, as large as can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, recovered
from nf_isac_ros.core.certificate import max_min_bound
from nf_isac_ros.core.confinement import confined
from nf_isac_ros.core.designs.base import Outcome
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_ import solve_max_min
from nf_isac_ros.core.starting_point import even_covariance

Real = NDArray[np.float64]

# The optimal covariance is known to the square root of the gap only, and the bounds of the targets
# with it; two iterations more are cheap. A tolerance that rounding does not allow ends in a worse
# point than a looser one: then the gap itself is aimed for.
FINE = 0.01


@dataclass(frozen=True)
class _Attempt:
    """Feasible beams, their least power, and a bound on it."""

    beams: ReducedBeams
    least: float
    bound: float
    iterations: int

    @property
    def gap(self) -> float:
        """Certified relative gap."""
        return (self.bound - self.least) / self.least if self.least > 0 else np.inf


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
    attempts: list[_Attempt] = []
    for tolerance in (FINE * gap, gap):
        try:
            point = solve_max_min(small.problem, points, reference, tolerance, budget)
            beams = recovered(small.problem, point.covariance, point.parts)
        except SolverError:
            continue
        least = float((np.abs(points.conj().T @ np.hstack(
            [beams.communication, beams.sensing])) ** 2).sum(axis=1).min())
        attempts.append(_Attempt(beams, least, max_min_bound(
            small.problem, points, point.shares, point.multipliers), point.iterations))
        if budget is not None or attempts[-1].gap <= gap:
            break
    if not attempts:
        raise SolverError('Clarabel gave no usable point')
    best = min(attempts, key=lambda attempt: attempt.gap)
    return Outcome(small.lifted(best.beams), min(attempt.bound for attempt in attempts),
                   best.iterations, subspace_dimension=small.problem.dimension)
