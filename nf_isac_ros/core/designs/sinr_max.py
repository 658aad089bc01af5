"""Largest common scale of the SINRs: what users get when there is nothing to sense."""

from __future__ import annotations

from collections.abc import Sequence

from nf_isac_ros.core.beams import ReducedBeams, no_beams
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solution import TargetReport, UserReport


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Maximise the smallest ratio of achieved to required SINR.

    Parameters
    ----------
    problem : Problem
        With at least one user.
    gap, budget
        Not used: the fixed point settles to rounding in microseconds.

    Returns
    -------
    Outcome

    Raises
    ------
    SceneError
        If there is no user.

    Notes
    -----
    For one user this is maximum-ratio transmission. The bound is the optimum of the dual uplink.

    """
    if not len(problem.sinr):
        raise SceneError('design sinr-max needs at least one user', 'no-users')
    scale, users = problem.balanced
    return Outcome(ReducedBeams(users.beams, no_beams(problem)),
                   scale)


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport], power: float) -> float:
    """Smallest ratio of achieved to required SINR, linear."""
    return float(10 ** (-max(user.violation_db for user in users) / 10))


DESIGN = Design('sinr-max', False, False, solve, objective, meets_sinr=False)
