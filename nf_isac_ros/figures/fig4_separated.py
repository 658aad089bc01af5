"""
Fig. 4: one target, one user elsewhere, between two facing arrays.

(a)-(c) beam patterns of three designs; (d) the tradeoff for two sizes of the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nf_isac_ros.core.scene import PointTarget, ScatteredPath, Scene, User
from nf_isac_ros.core.tradeoff import end_points
from nf_isac_ros.figures.designing import design, design_or_none, pattern, sinr_grid, sum_crb
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table, where
from nf_isac_ros.figures.parameters import Planar, parameter
from nf_isac_ros.figures.scenes import facing_arrays
from nf_isac_ros.figures.style import curve, draw_pattern, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESIGNS = ('crb-min', 'max-min-illumination')


@dataclass(frozen=True)
class Parameters(Planar):
    """Section VI-B; `second_*` are the smaller arrays of (d)."""

    scattering: float = parameter(
        0.0, 'coefficient eta of the path by way of the target', -1e3, 1e3)
    target_wavelengths: float = parameter(
        23.5, 'distance of the target from the axis [wavelengths]', -1e6, 1e6)
    marked_sinr_db: float = parameter(
        24.0, 'required SINR of (b) and (c), marked (i) and (ii) in (d) [dB]', -100, 100)
    second_n_x: int = parameter(36, 'elements along x of the smaller arrays in (d)', 1, 1024)
    second_n_y: int = parameter(36, 'elements along y of the smaller arrays in (d)', 1, 1024)
    sinr_from_db: float = parameter(0.0, 'least required SINR in (d) [dB]', -100, 100)
    sinr_step_db: float = parameter(0.5, 'step of the required SINR in (d) [dB]', 1e-3, 100)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Elements along x and y of the arrays in (d)."""
        return (self.n_x, self.n_y), (self.second_n_x, self.second_n_y)


def scene(parameters: Parameters, size: tuple[int, int], sinr_db: float = 0.0) -> Scene:
    """Target halfway between arrays of this size, user beside the line to it."""
    p = parameters
    target = (0.0, p.target_wavelengths * p.wavelength, p.depth_m / 2)
    user = (0.0, -p.depth_m / 12, 2 * p.depth_m / 3)
    scattered = (ScatteredPath('t1', p.scattering),) if p.scattering else ()
    return facing_arrays(p, *size, (PointTarget('t1', target),),
                         (User('u1', sinr_db, user, scattered=scattered),))


def design_pattern(parameters: Parameters, name: str) -> Table:
    """Beam pattern of a design at the marked SINR."""
    placed = scene(parameters, parameters.sizes[0], parameters.marked_sinr_db)
    return pattern(parameters, placed, design(placed, name, parameters.gap), name)


def largest_sinr(parameters: Parameters, size: tuple[int, int]) -> Table:
    """End of the tradeoff: maximum-ratio transmission."""
    found = end_points(scene(parameters, size)).communication
    return table(elements=size[0] * size[1], design='sinr-max', sinr_db=found.users[0].sinr_db,
                 crb_m2=found.sum_crb)


def at_sinr(parameters: Parameters, size: tuple[int, int], sinr_db: float, name: str) -> Table:
    """One point of a tradeoff curve."""
    placed = scene(parameters, size, sinr_db)
    return table(elements=size[0] * size[1], design=name, sinr_db=sinr_db,
                 crb_m2=sum_crb(design_or_none(placed, name, parameters.gap)))


def tradeoff_tasks(parameters: Parameters) -> Sequence[Task]:
    tasks = []
    for size in parameters.sizes:
        grid = sinr_grid(scene(parameters, size), parameters.sinr_from_db,
                         parameters.sinr_step_db)
        tasks += [Task(at_sinr, (parameters, size, value, name))
                  for name in DESIGNS for value in grid]
        tasks.append(Task(largest_sinr, (parameters, size)))
    return tasks


def draw_design_pattern(axes: Axes, rows: Table, parameters: Parameters) -> None:
    placed = scene(parameters, parameters.sizes[0])
    draw_pattern(axes, rows, parameters, [
        (placed.targets[0].position, '*', 'black', 'target'),
        (np.asarray(placed.users[0].position), 'D', 'white', 'user')])
    name = str(rows['design'][0])
    suffix = '' if name == 'sinr-max' else rf', $\Gamma$ = {parameters.marked_sinr_db:g} dB'
    axes.set_title(look(name).label + suffix, fontsize=9)


def draw_tradeoff(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for number, size in enumerate(parameters.sizes):
        sized = where(rows, elements=size[0] * size[1])
        end = where(sized, design='sinr-max')
        words = f'{size[0]} x {size[1]}'
        for name in DESIGNS:
            found, style = where(sized, design=name), look(name)
            curve(axes, np.append(found['crb_m2'], end['crb_m2']),
                  np.append(found['sinr_db'], end['sinr_db']), style,
                  f'{style.label}, {words}', filled=number == 0, line=('-', '--')[number])
        style = look('sinr-max')
        axes.plot(end['crb_m2'], end['sinr_db'], linestyle='none', marker=style.marker,
                  color=style.colour, markersize=7, zorder=3, clip_on=False,
                  markerfacecolor=(style.colour, 'white')[number],
                  label=f'{style.label}, {words}')
    marked = where(rows, elements=parameters.n_x * parameters.n_y,
                   sinr_db=parameters.marked_sinr_db)
    for name, text in zip(DESIGNS, ('(i)', '(ii)')):
        found = where(marked, design=name)
        if len(found['crb_m2']):
            place = (found['crb_m2'][0], parameters.marked_sinr_db)
            axes.plot(*place, marker='o', markersize=11, color='black', markerfacecolor='none')
            axes.annotate(text, place, xytext=(8, -12), textcoords='offset points')
    finish(axes, 'sum of position bounds [m²]', r'required SINR $\Gamma$ [dB]', logarithmic='x')


def _pattern_panel(caption: str, name: str) -> Panel:
    return Panel(caption, ('y_m', 'z_m', 'design', 'power_w'),
                 partial(_pattern_tasks, name), draw_design_pattern)


def _pattern_tasks(name: str, parameters: Parameters) -> Sequence[Task]:
    return [Task(design_pattern, (parameters, name))]


PANELS = {
    'a': _pattern_panel('Beam pattern, SINR-max', 'sinr-max'),
    'b': _pattern_panel('Beam pattern, CRB-min at (i)', DESIGNS[0]),
    'c': _pattern_panel('Beam pattern, max-min at (ii)', DESIGNS[1]),
    'd': Panel('Tradeoff for two sizes of the arrays',
               ('elements', 'sinr_db', 'design', 'crb_m2'), tradeoff_tasks, draw_tradeoff),
}

FIGURE = Figure('One target, one user elsewhere', Parameters, PANELS)
