"""Problem (P1) without the reduction to a small subspace: slow, a reference for small arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from nf_isac_ros.core.beams import repair, split
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.designs.base import Design, Outcome, require_point_targets
from nf_isac_ros.core.designs.crb_min import objective
from nf_isac_ros.core.exceptions import InfeasibleError, UnsuitableDesignError
from nf_isac_ros.core.problem import Problem

# Above that the program takes minutes and more.
MAX_ELEMENTS = 18
# The certified gap is some hundred times what the solver believes its gap to be.
TOLERANCE = 0.01


def solve(problem: Problem, gap: float, budget: float | None = None) -> Outcome:
    """
    Minimise the weighted sum of position bounds over covariances of N x N.

    Parameters
    ----------
    problem : Problem
        With at least one target.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit of the solver [s]; building the program takes longer.

    Returns
    -------
    Outcome
        What the solver leaves outside the subspace that targets and users see reaches nobody and
        is left out.

    Raises
    ------
    UnsuitableDesignError
        If the transmit array is too large, or a target is extended.
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If the solver gives no point.

    Notes
    -----
    (SDR1.2) of Hua, Xu, Zhang, by cvxpy.

    """
    # A second to import, and needed by nothing else.
    from nf_isac_ros.core.solvers.cvxpy_ import solve_sdr12

    n_elements = len(problem.scene.transmit_array)
    if n_elements > MAX_ELEMENTS:
        raise UnsuitableDesignError(
            f'transmit_array: has {n_elements} elements; must have at most {MAX_ELEMENTS} for '
            f'{DESIGN.name}', 'too-many-elements')
    require_point_targets(problem, DESIGN.name)
    problem.require_bounds()
    if problem.least_power is None:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    tolerance = TOLERANCE * gap
    options: dict[str, Any] = {} if budget is None else {'time_limit': max(budget, 1e-3)}
    # Without equilibration, which makes Clarabel stall on several of these.
    point = solve_sdr12(problem, equilibrate_enable=False, tol_gap_rel=tolerance,
                        tol_gap_abs=tolerance, tol_feas=tolerance, **options)
    basis, users = problem.basis, point.user_covariances
    covariance = basis.conj().T @ (point.sensing_covariance + users.sum(axis=0)) @ basis
    parts = np.einsum('id,uij,jk,ku->ud', basis.conj(), users, basis, problem.user_channels)
    beams = repair(problem, split(problem, covariance, parts))
    candidates = [point.weights, tangent_weights(problem, beams.covariance)]
    bound = max((crb_bound(problem, weights, point.multipliers)
                 for weights in candidates if weights is not None), default=0.0)
    return Outcome(beams, bound, point.iterations)


DESIGN = Design('crb-min-full', True, True, solve, objective)
