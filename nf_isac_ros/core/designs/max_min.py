"""What the max-min designs have in common: the least power at the targets, as large as can be."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, recovered
from nf_isac_ros.core.certificate import max_min_bound
from nf_isac_ros.core.confinement import confined
from nf_isac_ros.core.designs.base import Outcome
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_ import MaxMinPoint as ConicPoint
from nf_isac_ros.core.solvers.clarabel_ import solve_max_min
from nf_isac_ros.core.solvers.interior_point import MaxMinPoint as InteriorPoint
from nf_isac_ros.core.solvers.interior_point import maximise_least
from nf_isac_ros.core.starting_point import even_covariance

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# What a solver is asked for, in units of the gap. The optimal covariance is known to the square
# root of the gap only, and the bounds of the targets with it; two iterations more are cheap.
FINE = 0.01
# In a hurry, the repair may cost some of the rest.
HURRIED = 0.8
# The same for Clarabel, one attempt after the other. A tolerance that rounding does not allow ends
# in a worse point than a looser one.
ATTEMPTS = (FINE, 1.0, FINE, FINE)
# Share of the best beams so far in what the program is then scaled about.
NEAR = 0.9


def most_for_the_least(problem: Problem, gains: Real, gap: float,
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
        If no solver gives a usable point.

    Notes
    -----
    (P2) and (P3) of Hua, Xu, Zhang. Power at the targets and at the users is all that counts, so
    an optimum lives on the span of conj(v_k) and h_u (Proposition 4), K + U dimensions.

    """
    steering = problem.fisher.transmit[:, :len(gains)]
    small = confined(problem, steering)
    points = small.problem.fisher.transmit[:, :len(gains)] * np.sqrt(gains)
    search = _Search(small.problem, points)
    with suppress(SolverError):
        search.add(maximise_least(
            small.problem, points, (FINE if budget is None else HURRIED) * gap, budget))
    if search.best is None or budget is None and search.gap > gap:
        _ask_clarabel(search, gap, budget)
    if search.best is None:
        raise SolverError('neither the interior-point method nor Clarabel gave a usable point')
    return Outcome(small.lifted(search.best), search.bound, search.iterations,
                   subspace_dimension=small.problem.dimension)


class _Search:
    """Best beams and best bound of all points so far."""

    def __init__(self, problem: Problem, points: Complex) -> None:
        self.problem = problem
        self.points = points
        self.best: ReducedBeams | None = None
        self.least = 0.0
        self.bound = np.inf
        self.iterations = 0

    @property
    def gap(self) -> float:
        """Certified relative gap."""
        return (self.bound - self.least) / self.least if self.least > 0 else np.inf

    def add(self, point: InteriorPoint | ConicPoint) -> None:
        """Make beams and a bound of a point; SolverError if it has no beams."""
        beams = recovered(self.problem, point.covariance, point.parts)
        self.iterations += point.iterations
        self.bound = min(self.bound, max_min_bound(
            self.problem, self.points, point.shares, point.multipliers))
        received = self.points.conj().T @ np.hstack([beams.communication, beams.sensing])
        least = float((np.abs(received) ** 2).sum(axis=1).min())
        if self.best is None or least > self.least:
            self.best, self.least = beams, least


def _ask_clarabel(search: _Search, gap: float, budget: float | None) -> None:
    """Second opinion, where the interior-point method has no start or stalls."""
    reference = even_covariance(search.problem)
    for attempt, tolerance in enumerate(ATTEMPTS):
        try:
            search.add(solve_max_min(
                search.problem, search.points, reference, tolerance * gap, budget))
        except SolverError:
            continue
        if budget is not None or search.gap <= gap:
            break
        if attempt > 0 and search.best is not None:
            # About beams that are close to the optimum the program is scaled better.
            reference = NEAR * search.best.covariance + (1.0 - NEAR) * reference
