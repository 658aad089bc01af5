"""
Extended targets, Fig. 6: bound and mean square error of the direction against the distance.

(a) the bound; (b) the error of the matched filter; (c) that of maximum likelihood, which the
paper does not have. The radar SNR is constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.estimation import estimation_errors, matched_filter_errors
from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.figures.extended import (
    BENCHMARKS,
    CRB_MIN,
    VEHICLE,
    Extended,
    beams,
    channels,
    designed,
    generator,
    one_cell,
    scene,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, stacked, table, where
from nf_isac_ros.figures.parameters import POSITIVE, parameter
from nf_isac_ros.figures.style import Look, curve, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESIGNS = (CRB_MIN, *BENCHMARKS)
COLUMNS = ('draw', 'design', 'distance_m', 'direction_crb_rad2', 'direction_mse_rad2', 'trials')

POSE_COLUMNS = ('estimator', 'distance_m', 'direction_crb_rad2', 'direction_mse_rad2', 'trials')
# Estimators in (c): likelihood with the sections that the target has, and from a track that knows
# neither pose nor sections.
FILTER, KNOWING, TRACKING = 'matched-filter', 'likelihood', 'likelihood-from-track'
ESTIMATORS = {
    FILTER: Look('matched filter', '#777777', 'v'),
    TRACKING: Look('maximum likelihood, from a track', '#0072B2', 's'),
    KNOWING: Look('maximum likelihood, sections known', '#D55E00', 'o'),
}


@dataclass(frozen=True)
class Parameters(Extended):
    """Section V-B: the target moves along the boresight."""

    orientation_deg: float = parameter(0.0, 'orientation of the target [deg]', -360, 360)
    nearest_m: float = parameter(10.0, 'least distance [m]', POSITIVE)
    farthest_m: float = parameter(100.0, 'largest distance [m]', POSITIVE)
    distances: int = parameter(10, 'distances, equally far apart', 2, 10_000)
    realisations: int = parameter(10, 'channels that are averaged over', 1, 10**6)
    trials: int = parameter(400, 'echoes for each of them, at each distance', 1, 10**7)
    pose_trials: int = parameter(24, 'echoes in (c), at each distance', 1, 10**6)
    track_range_m: float = parameter(
        0.1, 'standard deviation of the range in the tracks of (c) [m]', 0, 1e3)
    track_angle_deg: float = parameter(
        1.0, 'standard deviation of direction and orientation in the tracks of (c) [deg]', 0, 90)
    step_deg: float = parameter(0.01, 'step of the search [deg]', POSITIVE, 1.0)

    @property
    def grid(self) -> NDArray[np.float64]:
        """Distances [m]."""
        return np.linspace(self.nearest_m, self.farthest_m, self.distances)


def at_channel(parameters: Parameters, draw: int) -> Table:
    """Bounds and errors of all designs at all distances, for one realisation of the channels."""
    p = parameters
    users = channels(p, draw)
    parts = []
    for name in DESIGNS:
        found = None
        for place, distance in enumerate(p.grid):
            placed = scene(p, VEHICLE, float(distance), users)
            if name not in BENCHMARKS or place == 0:
                # Benchmarks know the direction of the target only.
                found = designed(p, placed, name)
            if found is None:
                continue
            target, weights = placed.extended[0], beams(found)
            fisher = build_extended_fisher(placed, target)
            errors = matched_filter_errors(
                one_cell(placed), target, weights, p.trials, generator(p, 3, draw, place),
                np.deg2rad(p.step_deg))
            parts.append(table(
                draw=draw, design=name, distance_m=distance,
                direction_crb_rad2=fisher.bounds(fisher.of_factor(weights)).direction,
                direction_mse_rad2=np.mean(errors ** 2), trials=p.trials))
    return stacked(parts, COLUMNS) if parts else {column: np.empty(0) for column in COLUMNS}


def by_likelihood(parameters: Parameters, place: int) -> Table:
    """
    Errors at one distance, of beams that minimise the bound, by maximum likelihood as well.

    Echoes have their delays, and the bound is that of the exact geometry.
    """
    p = parameters
    distance, users = float(p.grid[place]), channels(p, 0)
    found = designed(p, scene(p, VEHICLE, distance, users), CRB_MIN)
    if found is None:
        return {column: np.empty(0) for column in POSE_COLUMNS}
    placed = scene(replace(p, exact=1), VEHICLE, distance, users)
    angle = np.deg2rad(p.track_angle_deg)
    parts = []
    for names, deviation in (((FILTER, KNOWING), None),
                             ((None, TRACKING), np.array([p.track_range_m, angle, angle]))):
        drawn = estimation_errors(placed, placed.extended[0], beams(found), p.pose_trials,
                                  generator(p, 4, place), deviation, np.deg2rad(p.step_deg))
        for name, errors in zip(names, (drawn.matched_filter, drawn.likelihood[:, 1])):
            if name is not None:
                parts.append(table(
                    estimator=name, distance_m=distance, trials=p.pose_trials,
                    direction_crb_rad2=drawn.bounds.direction,
                    direction_mse_rad2=np.mean(errors ** 2)))
    return stacked(parts, POSE_COLUMNS)


def pose_tasks(parameters: Parameters) -> Sequence[Task]:
    return [Task(by_likelihood, (parameters, place)) for place in range(parameters.distances)]


def draw_estimators(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name, style in ESTIMATORS.items():
        found = where(rows, estimator=name)
        curve(axes, found['distance_m'], found['direction_mse_rad2'], style)
    found = where(rows, estimator=FILTER)
    axes.plot(found['distance_m'], found['direction_crb_rad2'], color='#000000', linestyle=':',
              label='bound')
    finish(axes, 'distance of the target [m]', 'mean square error of the direction [rad²]',
           logarithmic='y')


def tasks(parameters: Parameters) -> Sequence[Task]:
    return [Task(at_channel, (parameters, draw)) for draw in range(parameters.realisations)]


def averaged(rows: Table, parameters: Parameters, name: str, column: str) -> NDArray[np.float64]:
    """Mean over the channels at each distance."""
    mine = where(rows, design=name)
    return np.array([np.mean(where(mine, distance_m=distance)[column])
                     for distance in parameters.grid])


def draw_bounds(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name in DESIGNS:
        curve(axes, parameters.grid, averaged(rows, parameters, name, 'direction_crb_rad2'),
              look(name))
    finish(axes, 'distance of the target [m]', 'bound of the direction [rad²]', logarithmic='y')


def draw_errors(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name in DESIGNS:
        style = look(name)
        curve(axes, parameters.grid, averaged(rows, parameters, name, 'direction_mse_rad2'), style)
    curve(axes, parameters.grid, averaged(rows, parameters, CRB_MIN, 'direction_crb_rad2'),
          replace(look(CRB_MIN), marker=''), 'bound, CRB-min', line=':')
    finish(axes, 'distance of the target [m]', 'mean square error of the direction [rad²]',
           logarithmic='y')


FIGURE = Figure('Bound and error of the direction against the distance', Parameters, {
    'a': Panel('Bound of the direction against the distance', COLUMNS, tasks, draw_bounds),
    'b': Panel('Error of the matched filter against the distance', COLUMNS, tasks, draw_errors),
    'c': Panel('Error of maximum likelihood against the distance', POSE_COLUMNS, pose_tasks,
               draw_estimators),
})
