"""Problem (P1): least sum of position bounds, every SINR met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import repair, split, user_shares
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solution import TargetReport, UserReport
from nf_isac_ros.core.solvers.clarabel_ import solve_crb
from nf_isac_ros.core.starting_point import users_first_beams

Complex = NDArray[np.complex128]


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Minimise the weighted sum of position bounds subject to power and SINRs.

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

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If the solver gives no usable point.

    Notes
    -----
    (P1) and (SDR1.3) of Hua, Xu, Zhang; rank-one beams by Proposition 3.

    """
    point = solve_crb(problem, _reference(problem), gap, budget)
    covariance = _positive(point.covariance)
    shares = user_shares(problem, covariance, point.parts)
    beams = repair(problem, split(problem, covariance, shares))
    # The bound may be taken at any weights: those of the final beams, and those of the dual.
    candidates = [tangent_weights(problem, beams.covariance), point.weights]
    bound = max((crb_bound(problem, weights, point.multipliers)
                 for weights in candidates if weights is not None), default=0.0)
    return Outcome(beams, bound, point.iterations)


def _reference(problem: Problem) -> Complex:
    """Covariance about which the solver is scaled: what the users leave is spread evenly."""
    beams = users_first_beams(problem)
    left = np.linalg.norm(beams.sensing) ** 2
    return beams.covariance + left * np.eye(problem.dimension) / problem.dimension


def _positive(covariance: Complex) -> Complex:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, 0.0)) @ vectors.conj().T


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport]) -> float:
    """Weighted sum of the traces of the position bounds [m^2]; NaN without targets."""
    if not targets:
        return float('nan')
    return float(sum(
        target.weight * np.trace(report.crb)
        for target, report in zip(problem.scene.targets, targets, strict=True)))


DESIGN = Design('crb-min', True, True, solve, objective)
