"""Problem (P2): the least power that reaches a target as large as can be, every SINR met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nf_isac_ros.core.designs.base import Design, Outcome, require_point_targets
from nf_isac_ros.core.designs.max_min import most_for_the_least
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solution import TargetReport, UserReport


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Maximise the least illumination v_k^T R_X conj(v_k); see `most_for_the_least`.

    Notes
    -----
    (P2) of Hua, Xu, Zhang, with the illumination of Eq. (24).

    """
    require_point_targets(problem, DESIGN.name)
    return most_for_the_least(problem, np.ones(len(problem.scene.targets)), gap, budget)


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport], power: float) -> float:
    """Least illumination [W]; NaN without targets."""
    return min((target.illumination for target in targets), default=float('nan'))


DESIGN = Design('max-min-illumination', False, True, solve, objective)
