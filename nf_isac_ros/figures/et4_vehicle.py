"""
Extended targets, Fig. 4: what a matched filter makes of the echo of a vehicle.

(a) its output for one echo; (b) how far from the centre its peak lies, over many echoes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nf_isac_ros.core.estimation import (
    MatchedFilter,
    correlations,
    matched_filter_errors,
    simulate_echo,
)
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.solution import Solution
from nf_isac_ros.figures.extended import (
    BENCHMARKS,
    CRB_MIN,
    VEHICLE,
    Extended,
    beams,
    channels,
    generator,
    one_cell,
    required,
    scene,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table, where
from nf_isac_ros.figures.parameters import POSITIVE, parameter
from nf_isac_ros.figures.style import curve, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESIGNS = (CRB_MIN, *BENCHMARKS)
# Of the cumulative distribution.
QUANTILES = np.arange(101) / 100


@dataclass(frozen=True)
class Parameters(Extended):
    """Section V-B, the estimates; echoes lie in one range cell."""

    channel: int = parameter(0, 'number of the realisation of the channels', 0, 2**31)
    echo: int = parameter(0, 'number of the echo in (a)', 0, 2**31)
    trials: int = parameter(4000, 'echoes in (b)', 1, 10**7)
    view_deg: float = parameter(15.0, 'largest deviation from the target in (a) [deg]', 1, 60)
    step_deg: float = parameter(0.01, 'step of the search [deg]', POSITIVE, 1.0)


def served(parameters: Parameters, shape: str, name: str) -> tuple[Scene, Solution]:
    """Scene of the echoes, and a design."""
    p = parameters
    placed = scene(p, shape, p.distance_m, channels(p, p.channel))
    return one_cell(placed), required(p, placed, name)


def spectrum(parameters: Parameters, shape: str, name: str) -> Table:
    """Output of the matched filter for one echo, over its largest value."""
    p = parameters
    placed, found = served(p, shape, name)
    target = placed.extended[0]
    # The same reflections, symbols and noise for all designs.
    drawn = simulate_echo(placed, target, beams(found), generator(p, 2, p.echo))
    filtered = MatchedFilter(placed, target, np.deg2rad(p.view_deg), np.deg2rad(0.1))
    score = filtered.score(*correlations(placed, target, drawn))
    return table(design=name, deviation_deg=np.rad2deg(filtered.grid) - p.direction_deg,
                 output_db=20 * np.log10(score / score.max()))


def deviations(parameters: Parameters, shape: str, name: str) -> Table:
    """Quantiles of the distance of the peak from the centre, and its mean square."""
    p = parameters
    placed, found = served(p, shape, name)
    errors = np.rad2deg(matched_filter_errors(
        placed, placed.extended[0], beams(found), p.trials, generator(p, 3),
        np.deg2rad(p.step_deg)))
    return table(design=name, share=QUANTILES,
                 deviation_deg=np.quantile(np.abs(errors), QUANTILES),
                 rms_deg=np.sqrt(np.mean(errors ** 2)), trials=p.trials)


def spectrum_tasks(shape: str, parameters: Parameters) -> Sequence[Task]:
    return [Task(spectrum, (parameters, shape, name)) for name in DESIGNS]


def deviation_tasks(shape: str, parameters: Parameters) -> Sequence[Task]:
    return [Task(deviations, (parameters, shape, name)) for name in DESIGNS]


def draw_spectra(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name in DESIGNS:
        found, style = where(rows, design=name), look(name)
        curve(axes, found['deviation_deg'], found['output_db'], style, marks=9)
        peak = int(np.argmax(found['output_db']))
        axes.plot(found['deviation_deg'][peak], 0.0, linestyle='none', marker=style.marker,
                  color=style.colour, markersize=9, clip_on=False, zorder=3)
    axes.axvline(0.0, color='#777777', linewidth=0.8, linestyle=':')
    axes.set_ylim(-30.0, 1.0)
    finish(axes, 'direction from the centre of the target [deg]',
           'output of the matched filter [dB]')


def draw_deviations(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name in DESIGNS:
        found, style = where(rows, design=name), look(name)
        curve(axes, found['deviation_deg'], found['share'], style,
              f'{style.label}, rms {found["rms_deg"][0]:.2f}°')
    axes.set_xlim(0.0, 1.25 * max(where(rows, share=0.95)['deviation_deg']))
    finish(axes, 'distance of the peak from the centre [deg]', 'share of echoes below')


def panels(shape: str, words: str) -> Mapping[str, Panel]:
    """Panels of a figure for one shape."""
    return {
        'a': Panel(f'Matched filter, one echo of {words}',
                   ('design', 'deviation_deg', 'output_db'), partial(spectrum_tasks, shape),
                   draw_spectra),
        'b': Panel(f'Matched filter, its error over many echoes of {words}',
                   ('design', 'share', 'deviation_deg', 'rms_deg', 'trials'),
                   partial(deviation_tasks, shape), draw_deviations),
    }


FIGURE = Figure('A matched filter and a vehicle', Parameters, panels(VEHICLE, 'a vehicle'))
