"""Extended targets, Fig. 7: beam patterns of three designs, and of CRB-min for a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.core.extended.far_field import plane_wave_responses
from nf_isac_ros.figures.extended import (
    BENCHMARKS,
    CRB_MIN,
    POINT,
    VEHICLE,
    Extended,
    beams,
    channels,
    required,
    scene,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table, where
from nf_isac_ros.figures.parameters import POSITIVE, parameter
from nf_isac_ros.figures.style import Look, curve, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CASES = ((CRB_MIN, VEHICLE), *((name, VEHICLE) for name in BENCHMARKS), (CRB_MIN, POINT))
POINT_LOOK = Look('CRB-min for a point', '#000000', '', '--')


@dataclass(frozen=True)
class Parameters(Extended):
    """Section V-B, the beam patterns."""

    channel: int = parameter(0, 'number of the realisation of the channels', 0, 2**31)
    pattern_step_deg: float = parameter(0.25, 'step of the beam pattern [deg]', POSITIVE, 10.0)
    close_up_deg: float = parameter(12.0, 'half of what (b) shows [deg]', 1, 90)


def beam_pattern(parameters: Parameters, name: str, shape: str) -> Table:
    """Power a^H R a over that of the whole transmit power from one element, by direction."""
    p = parameters
    placed = scene(p, shape, p.distance_m, channels(p, p.channel))
    found = required(p, placed, name)
    plane = build_extended_fisher(placed, placed.extended[0]).plane
    count = int(90 / p.pattern_step_deg)
    directions = p.pattern_step_deg * np.arange(-count, count + 1)
    responses, _ = plane_wave_responses(
        placed.transmit_array, plane.axes[:, :2], np.deg2rad(directions), p.wavelength_m)
    power = np.sum(np.abs(beams(found).conj().T @ responses) ** 2, axis=0) / placed.radio.power
    return table(design=name, target=shape, direction_deg=directions,
                 gain_db=10 * np.log10(power))


def tasks(parameters: Parameters) -> Sequence[Task]:
    return [Task(beam_pattern, (parameters, *case)) for case in CASES]


def visible_edges_deg(parameters: Parameters) -> tuple[float, float]:
    """Directions between which the sections of the vehicle lie [deg]."""
    p = parameters
    placed = scene(p, VEHICLE, p.distance_m, [])
    fisher = build_extended_fisher(placed, placed.extended[0])
    plane, turn = fisher.plane, fisher.plane.orientation
    heading, left = (np.array([np.cos(turn), np.sin(turn)]),
                     np.array([-np.sin(turn), np.cos(turn)]))
    points = (fisher.sections.points @ np.stack([heading, left])
              + plane.range * np.array([np.cos(plane.direction), np.sin(plane.direction)]))
    directions = np.rad2deg(np.arctan2(points[:, 1], points[:, 0]))
    return float(directions.min()), float(directions.max())


def draw_lines(axes: Axes, rows: Table, parameters: Parameters) -> None:
    axes.axvspan(*visible_edges_deg(parameters), color='#eeeeee', label='sections of the vehicle')
    for name, shape in CASES:
        found = where(rows, design=name, target=shape)
        style = look(name) if shape == VEHICLE else POINT_LOOK
        curve(axes, found['direction_deg'], found['gain_db'], style)
    finish(axes, 'direction [deg]', 'gain of the beam pattern [dB]')


def draw_patterns(axes: Axes, rows: Table, parameters: Parameters) -> None:
    draw_lines(axes, rows, parameters)
    for direction in parameters.user_directions_deg:
        axes.plot(direction, 1.0, linestyle='none', marker='|', color='black', markersize=8,
                  transform=axes.get_xaxis_transform(), clip_on=False)
    axes.set_xlabel('direction [deg]; ticks above: users')
    axes.set_xlim(-90.0, 90.0)
    axes.set_xticks(range(-90, 91, 30))
    axes.set_ylim(-25.0, 10 * np.log10(parameters.transmit_elements) + 1.0)


def draw_main_lobes(axes: Axes, rows: Table, parameters: Parameters) -> None:
    near = np.abs(rows['direction_deg'] - parameters.direction_deg) <= parameters.close_up_deg
    draw_lines(axes, {name: column[near] for name, column in rows.items()}, parameters)
    axes.set_ylim(0.0, 10 * np.log10(parameters.transmit_elements))


COLUMNS = ('design', 'target', 'direction_deg', 'gain_db')

FIGURE = Figure('Beam patterns', Parameters, {
    'a': Panel('Beam patterns of three designs, and for a point', COLUMNS, tasks, draw_patterns),
    'b': Panel('The same, main lobes', COLUMNS, tasks, draw_main_lobes),
})
