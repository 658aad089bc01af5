"""Least power for the users, the rest for sensing where no user sees it: always there, at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, factor, repair
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.designs.crb_min import objective
from nf_isac_ros.core.exceptions import InfeasibleError
from nf_isac_ros.core.problem import Problem

# Share of the sensing power that goes to the targets' responses and tangents; the rest lights all
# of the null space evenly, so that the Fisher matrix stays regular.
FOCUSED = 0.7


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Serve the users with least power and sense with the rest in the null space of their channels.

    Parameters
    ----------
    problem : Problem
    gap, budget
        Not used: there is nothing to iterate.

    Returns
    -------
    Outcome

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.

    """
    users = problem.least_power
    if users is None:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    sensing = factor(_null_space_covariance(problem))
    left = 1.0 - users.power
    power = float(np.linalg.norm(sensing) ** 2)
    if power > 0:
        sensing = sensing * np.sqrt(left / power)
    beams = repair(problem, ReducedBeams(users.beams, sensing))
    weights = tangent_weights(problem, beams.covariance) if problem.scene.targets else None
    bound = np.nan if weights is None else crb_bound(
        problem, weights, np.zeros(len(problem.sinr)))
    return Outcome(beams, bound)


def _null_space_covariance(problem: Problem) -> NDArray[np.complex128]:
    """Covariance of trace one that no user receives; zero if the users span everything."""
    rank = int(np.count_nonzero(np.abs(problem.user_channels).sum(axis=1)))
    free = problem.dimension - rank
    covariance = np.zeros((problem.dimension, problem.dimension), dtype=complex)
    if not free:
        return covariance
    seen = problem.fisher.transmit[rank:]
    norms = np.linalg.norm(seen, axis=0)
    seen = seen[:, norms > 0] / norms[norms > 0]
    covariance[rank:, rank:] = (1 - FOCUSED) * np.eye(free) / free
    if seen.size:
        focused = seen @ seen.conj().T
        covariance[rank:, rank:] += FOCUSED * focused / np.trace(focused).real
    return covariance


DESIGN = Design('users-first', True, True, solve, objective)
