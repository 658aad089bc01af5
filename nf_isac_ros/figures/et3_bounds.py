"""
Extended targets, Fig. 3: bounds of a vehicle, a UAV and a point against the distance.

(a) range, (b) direction, (c) orientation; averaged over beams for many channels, at a constant
radar SNR and with contour lengths normalised to a sum of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.core.extended.gram import ExtendedBounds
from nf_isac_ros.figures.extended import (
    CRB_MIN,
    POINT,
    UAV,
    VEHICLE,
    Extended,
    bounds,
    channels,
    designed,
    generator,
    scene,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table, where
from nf_isac_ros.figures.parameters import POSITIVE, parameter
from nf_isac_ros.figures.style import Look, curve, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TARGETS = {
    VEHICLE: Look('vehicle', '#0072B2', 'o'),
    UAV: Look('UAV', '#D55E00', '^'),
    POINT: Look('point', '#000000', '', '--'),
}


@dataclass(frozen=True)
class Parameters(Extended):
    """Section V-A: the target moves along the boresight and heads away."""

    orientation_deg: float = parameter(0.0, 'orientation of the target [deg]', -360, 360)
    nearest_m: float = parameter(4.0, 'least distance [m]', POSITIVE)
    farthest_m: float = parameter(300.0, 'largest distance [m]', POSITIVE)
    distances: int = parameter(16, 'distances, at equal ratios', 2, 10_000)
    realisations: int = parameter(40, 'beams that are averaged over', 1, 10**6)
    random_beams: int = parameter(
        0, 'what beams: 0 CRB-min for channels drawn at random, 1 random themselves', 0, 1)

    @property
    def grid(self) -> NDArray[np.float64]:
        """Distances [m]."""
        return np.geomspace(self.nearest_m, self.farthest_m, self.distances)


def realised_bounds(parameters: Parameters, shape: str, distance: float) -> list[ExtendedBounds]:
    """Bounds for each realisation of the beams that serves its users."""
    p = parameters
    if not p.random_beams:
        found = [designed(p, scene(p, shape, distance, channels(p, draw), 'normalised'), CRB_MIN)
                 for draw in range(p.realisations)]
        return [bounds(solution) for solution in found if solution is not None]
    placed = scene(p, shape, distance, [], 'normalised')
    fisher = build_extended_fisher(placed, placed.extended[0])
    out = []
    for draw in range(p.realisations):
        beams = generator(p, 1, draw).normal(
            size=(2, p.transmit_elements, len(p.user_directions_deg)))
        beams *= np.sqrt(placed.radio.power) / np.linalg.norm(beams)
        out.append(fisher.bounds(fisher.of_factor(beams[0] + 1j * beams[1])))
    return out


def at_distance(parameters: Parameters, shape: str, distance: float) -> Table:
    """Bounds of one target at one distance, averaged over the beams."""
    found = [(each.range, each.direction, each.orientation)
             for each in realised_bounds(parameters, shape, distance)]
    mean = np.mean(found, axis=0) if found else np.full(3, np.nan)
    return table(target=shape, distance_m=distance, realisations=len(found),
                 range_crb_m2=mean[0], direction_crb_rad2=mean[1], orientation_crb_rad2=mean[2])


def tasks(shapes: Sequence[str], parameters: Parameters) -> Sequence[Task]:
    return [Task(at_distance, (parameters, shape, float(distance)))
            for shape in shapes for distance in parameters.grid]


def draw_bounds(column: str, label: str, axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name, style in TARGETS.items():
        found = where(rows, target=name)
        if len(found['distance_m']):
            curve(axes, found['distance_m'], found[column], style)
    finish(axes, 'distance of the target [m]', label, logarithmic='xy')


def _panel(what: str, unit: str, shapes: Sequence[str]) -> Panel:
    column = f'{what}_crb_{unit.replace("²", "2")}'
    return Panel(
        f'Bound of the {what} against the distance',
        ('target', 'distance_m', 'realisations', column), partial(tasks, shapes),
        partial(draw_bounds, column, f'bound of the {what} [{unit}]'))


# A point has no orientation.
FIGURE = Figure('Bounds of extended targets against the distance', Parameters, {
    'a': _panel('range', 'm²', tuple(TARGETS)),
    'b': _panel('direction', 'rad²', tuple(TARGETS)),
    'c': _panel('orientation', 'rad²', (VEHICLE, UAV)),
})
