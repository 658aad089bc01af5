"""Designs on the scenes of the figures, and what a sweep wants to know of them."""

from __future__ import annotations

import logging

import numpy as np

from nf_isac_ros.core.beampattern import GridPlane, PatternEvaluator
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.solution import Solution
from nf_isac_ros.figures.errors import FigureError
from nf_isac_ros.figures.panels import Table, table
from nf_isac_ros.figures.parameters import Planar

# Designs whose gap is what they lose by themselves.
LOSSY = ('extended-zero-forcing', 'extended-zero-forcing-sets')

# The parts of a transmission that a beam pattern may be of.
WHOLE, SENSING = 'covariance', 'sensing'

MAX_VIOLATION = 1e-6
# Last points of a tradeoff curve, below the largest feasible SINR [dB].
LAST_STEPS_DB = (0.3, 0.1, 0.03, 0.01)

_LOG = logging.getLogger(__name__)


def design(scene: Scene, name: str, gap: float) -> Solution:
    """
    Run a design.

    Parameters
    ----------
    scene : Scene
    name : str
        A key of `core.designs.DESIGNS`.
    gap : float
        Certified relative gap to reach; a warning is logged where it is not, unless the design
        is not meant to.

    Returns
    -------
    Solution

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.
    SolverError
        If there is no solution, or its beams do not keep what they promise.

    """
    solution = solve(build_problem(scene), DESIGNS[name], gap, None)
    if DESIGNS[name].meets_sinr and solution.max_violation > MAX_VIOLATION:
        raise SolverError(f'{name}: the beams violate SINRs or power by the factor '
                          f'{1 + solution.max_violation:.3g}')
    if solution.gap > gap and name not in LOSSY:
        _LOG.warning('%s at %s dB: certified gap %.2g, %.2g was asked for', name,
                     [user.min_sinr_db for user in scene.users], solution.gap, gap)
    return solution


def design_or_none(scene: Scene, name: str, gap: float) -> Solution | None:
    """Run a design; None if the SINRs cannot be met."""
    try:
        return design(scene, name, gap)
    except InfeasibleError:
        return None


def sinr_limit_db(scene: Scene) -> float:
    """Largest SINR that all users can have at once [dB]; their thresholds must be equal."""
    return scene.users[0].min_sinr_db + build_problem(scene).max_common_sinr_scale_db


def sinr_grid(scene: Scene, start: float, step: float) -> list[float]:
    """
    Required SINRs of a tradeoff curve [dB]: multiples of the step up to what is feasible.

    Towards the largest feasible SINR, where the curve is all but vertical, they come closer.

    Raises
    ------
    FigureError
        If nothing is feasible from `start` on.

    """
    limit = sinr_limit_db(scene)
    first, last = int(np.ceil(start / step)), int(np.floor(limit / step))
    values = np.union1d(np.arange(first, last + 1) * step, limit - np.array(LAST_STEPS_DB))
    kept = values[(values >= start) & (values < limit)]
    if not len(kept):
        raise FigureError(f'--set sinr_from_db: is {start:g}; must be less than {limit:.4f} dB, '
                          'the largest SINR that the users can have')
    return [float(value) for value in kept]


def sum_crb(solution: Solution | None) -> float:
    """Sum of the traces of the position bounds [m^2]; NaN without a solution."""
    return np.nan if solution is None else solution.sum_crb


def pattern(parameters: Planar, scene: Scene, solution: Solution, name: str,
            part: str = WHOLE) -> Table:
    """
    Power density of a design in the plane x = 0, Eq. (50) of Hua, Xu, Zhang.

    Parameters
    ----------
    parameters : Planar
    scene : Scene
    solution : Solution
    name : str
        Of the design.
    part : str
        'covariance' (R_X), 'sensing' (R_d) or the id of a user (W_u).

    Returns
    -------
    Table
        y_m, z_m, design, part, power_w; y slowest.

    """
    p = parameters
    plane = GridPlane((0.0, 0.0, p.depth_m / 2), (0.0, 2 * p.view_m, 0.0), (0.0, 0.0, p.depth_m),
                      (p.cells_y, p.cells_z))
    evaluator = PatternEvaluator(scene.transmit_array.positions, scene.radio.wavelength,
                                 plane.points, memory=0)
    found = evaluator.components(solution.communication, solution.sensing)
    if part == WHOLE:
        power = found.total
    elif part == SENSING:
        power = found.sensing
    else:
        power = found.users[[user.id for user in scene.users].index(part)]
    return table(y_m=plane.points[:, 1], z_m=plane.points[:, 2], design=name, part=part,
                 power_w=power)
