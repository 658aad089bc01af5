"""Equal power from every element, no data: the yardstick for bounds."""

from __future__ import annotations

import numpy as np

from nf_isac_ros.core.beams import ReducedBeams
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.designs.crb_min import objective
from nf_isac_ros.core.problem import Problem


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Transmit R_X = P_T / N times the identity.

    Parameters
    ----------
    problem : Problem
    gap, budget
        Not used: there is nothing to optimise.

    Returns
    -------
    Outcome
        The part of the transmission on the reduced subspace, which is all that targets and users
        receive; the rest of the power goes elsewhere.

    """
    n, d = len(problem.scene.transmit_array), problem.dimension
    sensing = np.eye(d, dtype=complex) / np.sqrt(n)
    return Outcome(ReducedBeams(np.zeros((d, len(problem.sinr)), dtype=complex), sensing), np.nan)


DESIGN = Design('isotropic', True, False, solve, objective, meets_sinr=False)
