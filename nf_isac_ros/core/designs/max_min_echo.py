"""Problem (P3): the least power of an echo as large as can be, every SINR met."""

from __future__ import annotations

from collections.abc import Sequence

from nf_isac_ros.core.designs.base import Design, Outcome, require_point_targets
from nf_isac_ros.core.designs.max_min import most_for_the_least
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solution import TargetReport, UserReport


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Maximise the least echo power |a_k|^2 |b_k|^2 v_k^T R_X conj(v_k); see `most_for_the_least`.

    Notes
    -----
    (P3) of Hua, Xu, Zhang. Their Eq. (25) has |b_k| where it must be |b_k|^2: the echo
    b_k a_k v_k^T x has the power |b_k|^2 |a_k|^2 |v_k^T x|^2.

    """
    require_point_targets(problem, DESIGN.name)
    return most_for_the_least(problem, problem.echo_gains, gap, budget)


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport], power: float) -> float:
    """Least echo power [W]; NaN without targets."""
    return min((target.echo_power for target in targets), default=float('nan'))


DESIGN = Design('max-min-echo', False, True, solve, objective)
