"""Least power: what the users' SINRs cost when nothing is sensed on purpose."""

from __future__ import annotations

from collections.abc import Sequence

from nf_isac_ros.core.beams import SINR_MARGIN, ReducedBeams, no_beams
from nf_isac_ros.core.certificate import power_bound
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.exceptions import InfeasibleError, SceneError
from nf_isac_ros.core.feasibility import least_power
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solution import TargetReport, UserReport


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Meet every SINR with least power; there are no sensing beams.

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
    InfeasibleError
        If the SINRs cannot be met.

    Notes
    -----
    Uplink-downlink duality, `core.feasibility`.

    """
    if not len(problem.sinr):
        raise SceneError('design least-power needs at least one user', 'no-users')
    exact = problem.least_power
    if exact is None:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    # Within rounding of infeasibility there is no room for a margin.
    users = least_power(
        problem.unit_noise_channels, problem.sinr * (1.0 + SINR_MARGIN)) or exact
    bound = power_bound(problem, exact.uplink / problem.user_noise)
    return Outcome(ReducedBeams(users.beams, no_beams(problem)),
                   bound * problem.scene.radio.power)


def objective(problem: Problem, targets: Sequence[TargetReport],
              users: Sequence[UserReport], power: float) -> float:
    """Power of all beams [W]."""
    return power


DESIGN = Design('least-power', True, False, solve, objective)
