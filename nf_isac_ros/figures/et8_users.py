"""Extended targets, Fig. 8: bound of the direction against the number of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nf_isac_ros.figures.extended import (
    BENCHMARKS,
    CRB_MIN,
    VEHICLE,
    Extended,
    bounds,
    channels,
    designed,
    scene,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table, where
from nf_isac_ros.figures.parameters import parameter
from nf_isac_ros.figures.style import curve, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESIGNS = (CRB_MIN, *BENCHMARKS)


@dataclass(frozen=True)
class Parameters(Extended):
    """Section V-B: the first users of the list, one more from point to point."""

    user_directions_deg: tuple[float, ...] = parameter(
        (-60.0, 30.0, -30.0, 60.0, -45.0, 45.0, 75.0, -75.0, 20.0),
        'directions of the users [deg]', -90, 90)
    realisations: int = parameter(5, 'channels of which the median is drawn', 1, 10**6)


def at_channel(parameters: Parameters, draw: int, users: int, name: str) -> Table:
    """Bound for the first users of one realisation; infinite if they cannot be served."""
    p = parameters
    found = designed(p, scene(p, VEHICLE, p.distance_m, channels(p, draw)[:users]), name)
    return table(users=users, design=name, draw=draw,
                 direction_crb_rad2=np.inf if found is None else bounds(found).direction)


def tasks(parameters: Parameters) -> Sequence[Task]:
    return [Task(at_channel, (parameters, draw, users, name))
            for users in range(len(parameters.user_directions_deg), 0, -1)
            for name in DESIGNS for draw in range(parameters.realisations)]


def draw_users(axes: Axes, rows: Table, parameters: Parameters) -> None:
    from matplotlib.ticker import LogFormatterSciNotation

    counts = np.arange(1, len(parameters.user_directions_deg) + 1)
    for name in DESIGNS:
        mine = where(rows, design=name)
        middle = np.array([np.median(where(mine, users=count)['direction_crb_rad2'])
                           for count in counts])
        curve(axes, counts, np.where(np.isfinite(middle), middle, np.nan), look(name), marks=99)
    axes.set_xticks(counts)
    finish(axes, 'users C', 'bound of the direction, median [rad²]', logarithmic='y')
    # About a decade, whose ends alone would tell little.
    axes.yaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(2, 0.5)))


FIGURE = Figure('What users cost', Parameters, {
    'a': Panel('Bound of the direction against the number of users',
               ('users', 'design', 'draw', 'direction_crb_rad2'), tasks, draw_users),
})
