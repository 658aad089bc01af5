"""Least power for the users, the rest for sensing where no user sees it: always there, at once."""

from __future__ import annotations

import numpy as np

from nf_isac_ros.core.beams import repair
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.designs.crb_min import objective
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.starting_point import users_first_beams


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
    problem.require_bounds()
    beams = repair(problem, users_first_beams(problem))
    weights = tangent_weights(problem, beams.covariance) if problem.scene.senses else None
    bound = np.nan if weights is None else crb_bound(
        problem, weights, np.zeros(len(problem.sinr)))
    return Outcome(beams, bound)


DESIGN = Design('users-first', True, True, solve, objective)
