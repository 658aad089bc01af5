"""
Fig. 6: two targets and two users between two facing arrays.

(a)-(c), (e)-(g) beam patterns of three designs at a low and a high SINR; (i)-(k) parts of one of
them; (d), (h) sum of the bounds and least powers against the SINR; (l) the bound of each target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nf_isac_ros.core.scene import PointTarget, Scene, User
from nf_isac_ros.figures.designing import (
    SENSING,
    WHOLE,
    design,
    design_or_none,
    pattern,
    sinr_grid,
    sum_crb,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table, where
from nf_isac_ros.figures.parameters import Planar, parameter
from nf_isac_ros.figures.scenes import facing_arrays
from nf_isac_ros.figures.style import curve, draw_pattern, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESIGNS = ('crb-min', 'max-min-illumination', 'max-min-echo')
PART_LABELS = {'u1': "user 1's beam $W_1$", 'u2': "user 2's beam $W_2$",
               SENSING: 'sensing covariance $R_d$'}


@dataclass(frozen=True)
class Parameters(Planar):
    """Section VI-C."""

    n_x: int = parameter(16, 'elements along x, of both arrays', 1, 1024)
    n_y: int = parameter(96, 'elements along y, of both arrays', 1, 1024)
    depth_m: float = parameter(2.5371, 'distance D_z of the two arrays [m]', 1e-300)
    low_sinr_db: float = parameter(5.0, 'required SINR in (a)-(c) [dB]', -100, 100)
    high_sinr_db: float = parameter(25.0, 'required SINR in (e)-(g), (i)-(k) [dB]', -100, 100)
    bars_sinr_db: float = parameter(0.0, 'required SINR in (l) [dB]', -100, 100)
    sinr_from_db: float = parameter(0.0, 'least required SINR in (d), (h) [dB]', -100, 100)
    sinr_step_db: float = parameter(0.5, 'step of the required SINR in (d), (h) [dB]', 1e-3, 100)


def scene(parameters: Parameters, sinr_db: float) -> Scene:
    """Two targets, one on the axis; two users on the axis."""
    depth = parameters.depth_m
    targets = (PointTarget('t1', (0.0, 0.0, 3 * depth / 4)),
               PointTarget('t2', (0.0, depth / 8, depth / 3)))
    users = (User('u1', sinr_db, (0.0, 0.0, depth / 4)),
             User('u2', sinr_db, (0.0, 0.0, depth / 2)))
    return facing_arrays(parameters, parameters.n_x, parameters.n_y, targets, users)


def design_pattern(parameters: Parameters, name: str, sinr_db: float, part: str) -> Table:
    """Beam pattern of a design, or of a part of it."""
    placed = scene(parameters, sinr_db)
    return pattern(parameters, placed, design(placed, name, parameters.gap), name, part)


def at_sinr(parameters: Parameters, name: str, sinr_db: float) -> Table:
    """One point of each tradeoff curve of a design."""
    solution = design_or_none(scene(parameters, sinr_db), name, parameters.gap)
    targets = () if solution is None else solution.targets
    return table(
        sinr_db=sinr_db, design=name, sum_crb_m2=sum_crb(solution),
        min_illumination_w=min((target.illumination for target in targets), default=np.nan),
        min_echo_w=min((target.echo_power for target in targets), default=np.nan))


def without_users(parameters: Parameters) -> Table:
    """Least sum of bounds if no user asks for anything, at each of the required SINRs."""
    found = design(scene(parameters, 0.0), 'sensing-only', parameters.gap)
    return table(sinr_db=_grid(parameters), design='sensing-only', sum_crb_m2=found.sum_crb)


def by_target(parameters: Parameters, name: str) -> Table:
    """Bound of each target."""
    found = design(scene(parameters, parameters.bars_sinr_db), name, parameters.gap)
    return table(design=name, target=np.array([target.id for target in found.targets]),
                 crb_m2=[float(np.trace(target.crb)) for target in found.targets])


def _grid(parameters: Parameters) -> list[float]:
    return sinr_grid(scene(parameters, 0.0), parameters.sinr_from_db, parameters.sinr_step_db)


def tradeoff_tasks(names: Sequence[str], parameters: Parameters) -> Sequence[Task]:
    return [Task(at_sinr, (parameters, name, value))
            for name in names for value in _grid(parameters)]


def crb_tasks(parameters: Parameters) -> Sequence[Task]:
    return [Task(without_users, (parameters,)), *tradeoff_tasks(DESIGNS, parameters)]


def draw_design_pattern(axes: Axes, rows: Table, parameters: Parameters) -> None:
    placed = scene(parameters, 0.0)
    marks = (('o', 'black', 'target 1'), ('*', 'black', 'target 2'),
             ('o', 'white', 'user 1'), ('*', 'white', 'user 2'))
    bodies = [*placed.targets, *placed.users]
    draw_pattern(axes, rows, parameters, [
        (np.asarray(body.position), *mark) for body, mark in zip(bodies, marks)])


def draw_titled(title: str, axes: Axes, rows: Table, parameters: Parameters) -> None:
    draw_design_pattern(axes, rows, parameters)
    axes.set_title(title, fontsize=9)


def draw_crb(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name in (*DESIGNS, 'sensing-only'):
        found = where(rows, design=name)
        curve(axes, found['sinr_db'], found['sum_crb_m2'], look(name))
    finish(axes, r'required SINR $\Gamma$ of both users [dB]', 'sum of position bounds [m²]',
           logarithmic='y')


def draw_powers(axes: Axes, rows: Table, parameters: Parameters) -> None:
    """Draw either least power; they differ by |a|^2 |b|^2, some three decades."""
    for name, column, words in (
            ('max-min-illumination', 'min_illumination_w', 'least illumination'),
            ('max-min-echo', 'min_echo_w', 'least echo')):
        found, style = where(rows, design=name), look(name)
        curve(axes, found['sinr_db'], found[column], style, f'{words}, {style.label}')
    finish(axes, r'required SINR $\Gamma$ of both users [dB]', r'least power $\mu$ [W]',
           logarithmic='y')


def draw_bars(axes: Axes, rows: Table, parameters: Parameters) -> None:
    targets = sorted(set(rows['target'].tolist()))
    width = 0.26
    for number, name in enumerate(DESIGNS):
        found = where(rows, design=name)
        heights = [float(found['crb_m2'][found['target'] == target][0]) for target in targets]
        bars = axes.bar(np.arange(len(targets)) + (number - 1) * width, heights, width,
                        color=look(name).colour, label=look(name).label)
        axes.bar_label(bars, fmt='%.2g', fontsize=7)
    axes.set_xticks(range(len(targets)), [f'target {k + 1}' for k in range(len(targets))])
    finish(axes, '', 'position bound [m²]', logarithmic='y')


PATTERN = ('y_m', 'z_m', 'design', 'part', 'power_w')


def _pattern_tasks(name: str, level: str, part: str, parameters: Parameters) -> Sequence[Task]:
    return [Task(design_pattern, (parameters, name, getattr(parameters, level), part))]


def _draw_at(name: str, level: str, part: str, axes: Axes, rows: Table,
             parameters: Parameters) -> None:
    title = look(name).label if part == WHOLE else f'{look(name).label}, {PART_LABELS[part]}'
    draw_titled(rf'{title}, $\Gamma$ = {getattr(parameters, level):g} dB', axes, rows, parameters)


def _pattern_panel(name: str, level: str, part: str = WHOLE) -> Panel:
    words = look(name).label + ('' if part == WHOLE else f', {part}')
    return Panel(f'Beam pattern, {words}, {level.partition("_")[0]} SINR', PATTERN,
                 partial(_pattern_tasks, name, level, part), partial(_draw_at, name, level, part))


LOW, HIGH = 'low_sinr_db', 'high_sinr_db'

FIGURE = Figure('Two targets, two users', Parameters, {
    **{letter: _pattern_panel(name, LOW) for letter, name in zip('abc', DESIGNS)},
    'd': Panel('Sum of the bounds against the SINR', ('sinr_db', 'design', 'sum_crb_m2'),
               crb_tasks, draw_crb),
    **{letter: _pattern_panel(name, HIGH) for letter, name in zip('efg', DESIGNS)},
    'h': Panel('Least illumination and least echo against the SINR',
               ('sinr_db', 'design', 'min_illumination_w', 'min_echo_w'),
               partial(tradeoff_tasks, DESIGNS), draw_powers),
    **{letter: _pattern_panel('crb-min', HIGH, part)
       for letter, part in zip('ijk', ('u1', 'u2', SENSING))},
    'l': Panel('Bound of each target', ('design', 'target', 'crb_m2'),
               lambda parameters: [Task(by_target, (parameters, name)) for name in DESIGNS],
               draw_bars),
})
