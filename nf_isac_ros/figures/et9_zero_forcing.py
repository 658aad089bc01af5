"""
Extended targets, Fig. 9: zero forcing beside the optimal design, without lines of sight.

(a) sum rate, (b) bound of the direction, and (c) what of it is the loss of zero forcing, against
the required SINR, for two numbers of users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.solution import Solution
from nf_isac_ros.figures.errors import FigureError
from nf_isac_ros.figures.extended import (
    CRB_MIN,
    VEHICLE,
    ZERO_FORCING,
    Extended,
    bounds,
    channels,
    designed,
    scene,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, stacked, table, where
from nf_isac_ros.figures.parameters import parameter
from nf_isac_ros.figures.style import curve, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESIGNS = (CRB_MIN, ZERO_FORCING)
# The paper's search, one section for each user.
SEARCH = 'extended-zero-forcing-sets'
COLUMNS = ('users', 'design', 'draw', 'sinr_db', 'sum_rate_bit_s_hz', 'direction_crb_rad2')
# Draws of the channels that are tried for each one that is wanted.
MOST_DRAWS = 100


@dataclass(frozen=True)
class Parameters(Extended):
    """Section V-C: only channels that zero forcing can serve at the largest SINR count."""

    sight_share: float = parameter(
        0.0, 'share of the line of sight in the mean power at a user', 0, 1)
    user_directions_deg: tuple[float, ...] = parameter(
        (-60.0, -30.0, 30.0), 'directions of the users [deg], where there is a line of sight', -90,
        90)
    fewer_users: int = parameter(2, 'users, in the other curves: the first ones', 1, 128)
    least_sinr_db: float = parameter(0.0, 'least required SINR [dB]', -100, 100)
    largest_sinr_db: float = parameter(16.0, 'largest required SINR [dB]', -100, 100)
    most_searched: int = parameter(
        2, 'users up to which the search over sets of sections is done as well', 0, 4)
    sinrs: int = parameter(9, 'required SINRs, equally far apart', 2, 10_000)
    realisations: int = parameter(10, 'channels that are averaged over', 1, 10**6)

    @property
    def grid(self) -> NDArray[np.float64]:
        """Required SINRs [dB]."""
        return np.linspace(self.least_sinr_db, self.largest_sinr_db, self.sinrs)

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of users."""
        return tuple(sorted({min(self.fewer_users, len(self.user_directions_deg)),
                             len(self.user_directions_deg)}))

    def designs(self, users: int) -> tuple[str, ...]:
        """Names of the designs for so many users."""
        return (*DESIGNS, SEARCH) if users <= self.most_searched else DESIGNS


def solved(parameters: Parameters, draw: int, users: int, sinr_db: float,
           name: str) -> Solution | None:
    """Design for the first users of a draw; None if there is none."""
    p = replace(parameters, sinr_db=sinr_db)
    return designed(p, scene(p, VEHICLE, p.distance_m, channels(p, draw)[:users]), name)


@cache
def feasible_draws(parameters: Parameters) -> tuple[int, ...]:
    """
    Draws of the channels in which both designs can serve all users at the largest SINR.

    Raises
    ------
    FigureError
        If they are too rare.

    """
    p = parameters
    found: list[int] = []
    for draw in range(MOST_DRAWS * p.realisations):
        if all(solved(p, draw, count, p.largest_sinr_db, name) is not None
               for count in reversed(p.counts) for name in reversed(DESIGNS)):
            found.append(draw)
            if len(found) == p.realisations:
                return tuple(found)
    raise FigureError(f'--set largest_sinr_db: is {p.largest_sinr_db:g}; must be less: of '
                      f'{MOST_DRAWS * p.realisations} channels {len(found)} can be served')


def at_sinr(parameters: Parameters, draw: int, users: int, sinr_db: float) -> Table:
    """Sum rates and bounds of the designs."""
    parts = []
    for name in parameters.designs(users):
        found = solved(parameters, draw, users, sinr_db, name)
        rate = crb = np.nan
        if found is not None:
            rate = sum(np.log2(1 + 10 ** (user.sinr_db / 10)) for user in found.users)
            crb = bounds(found).direction
        parts.append(table(users=users, design=name, draw=draw, sinr_db=sinr_db,
                           sum_rate_bit_s_hz=rate, direction_crb_rad2=crb))
    return stacked(parts, COLUMNS)


def tasks(parameters: Parameters) -> Sequence[Task]:
    return [Task(at_sinr, (parameters, draw, count, float(sinr_db)))
            for draw in feasible_draws(parameters) for count in parameters.counts
            for sinr_db in parameters.grid]


def averaged(rows: Table, parameters: Parameters, column: str, count: int, name: str
             ) -> NDArray[np.float64]:
    """Mean over the channels at each required SINR."""
    mine = where(rows, users=count, design=name)
    return np.array([np.nanmean(where(mine, sinr_db=value)[column]) for value in parameters.grid])


def draw_curves(axes: Axes, rows: Table, parameters: Parameters, column: str) -> None:
    for count, line in zip(parameters.counts, ('-', '--')):
        for name in parameters.designs(count):
            style = look(name)
            curve(axes, parameters.grid, averaged(rows, parameters, column, count, name), style,
                  f'{style.label}, C = {count}', filled=line == '-', line=line)


def draw_rates(axes: Axes, rows: Table, parameters: Parameters) -> None:
    draw_curves(axes, rows, parameters, 'sum_rate_bit_s_hz')
    finish(axes, r'required SINR $\Gamma$ [dB]', 'sum rate [bit/s/Hz]')


def draw_bounds(axes: Axes, rows: Table, parameters: Parameters) -> None:
    draw_curves(axes, rows, parameters, 'direction_crb_rad2')
    finish(axes, r'required SINR $\Gamma$ [dB]', 'bound of the direction [rad²]',
           logarithmic='y')


def draw_losses(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for count, line in zip(parameters.counts, ('-', '--')):
        least, *others = (
            averaged(rows, parameters, 'direction_crb_rad2', count, name)
            for name in parameters.designs(count))
        for name, found in zip(parameters.designs(count)[1:], others, strict=True):
            style = look(name)
            curve(axes, parameters.grid, 100 * (found / least - 1.0), style,
                  f'{style.label}, C = {count}', filled=line == '-', line=line)
    finish(axes, r'required SINR $\Gamma$ [dB]', 'bound of zero forcing above the least [%]',
           logarithmic='y')


FIGURE = Figure('Zero forcing beside the optimal design', Parameters, {
    'a': Panel('Sum rate against the required SINR', COLUMNS, tasks, draw_rates),
    'b': Panel('Bound of the direction against the required SINR', COLUMNS, tasks, draw_bounds),
    'c': Panel('Loss of zero forcing against the required SINR', COLUMNS, tasks, draw_losses),
})
