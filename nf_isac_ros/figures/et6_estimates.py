"""
Extended targets, Fig. 6: bound and mean square error of the direction against the distance.

(a) the bound; (b) the error of the matched filter, at a constant radar SNR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.estimation import matched_filter_errors
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
from nf_isac_ros.figures.style import curve, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESIGNS = (CRB_MIN, *BENCHMARKS)
COLUMNS = ('draw', 'design', 'distance_m', 'direction_crb_rad2', 'direction_mse_rad2', 'trials')


@dataclass(frozen=True)
class Parameters(Extended):
    """Section V-B: the target moves along the boresight."""

    orientation_deg: float = parameter(0.0, 'orientation of the target [deg]', -360, 360)
    nearest_m: float = parameter(10.0, 'least distance [m]', POSITIVE)
    farthest_m: float = parameter(100.0, 'largest distance [m]', POSITIVE)
    distances: int = parameter(10, 'distances, equally far apart', 2, 10_000)
    realisations: int = parameter(10, 'channels that are averaged over', 1, 10**6)
    trials: int = parameter(400, 'echoes for each of them, at each distance', 1, 10**7)
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
})
