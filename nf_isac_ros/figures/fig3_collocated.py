"""
Fig. 3: one user at the place of the one target, between two facing arrays.

(a), (d), (e) beam patterns on the axis and beside it; (b), (c) bound and SINR against the distance
from the axis; (f) eigenvalues of R_X; (g) the tradeoff beside the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nf_isac_ros.core.scene import PointTarget, Scene, User
from nf_isac_ros.core.solution import Solution
from nf_isac_ros.core.tradeoff import end_points
from nf_isac_ros.figures.designing import (
    design_or_none,
    pattern,
    sinr_grid,
    sum_crb,
)
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, stacked, table, where
from nf_isac_ros.figures.parameters import POSITIVE, Planar, parameter
from nf_isac_ros.figures.scenes import facing_arrays, watts
from nf_isac_ros.figures.style import curve, draw_pattern, finish, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The corners of the tradeoff: P_s, P_s' and P_c of the paper.
CORNERS = ('crb-min', 'max-min-illumination', 'sinr-max')


@dataclass(frozen=True)
class Parameters(Planar):
    """Section VI-A."""

    offset_wavelengths: float = parameter(
        23.5, 'distance of the body from the axis in (d)-(g) [wavelengths]', -1e6, 1e6)
    span: float = parameter(
        10.0, 'largest distance from the axis in (b), (c) [D / sqrt(2)]', POSITIVE)
    points: int = parameter(161, 'distances in (b), (c)', 1, 100_000)
    sinr_from_db: float = parameter(24.0, 'least required SINR in (g) [dB]', -100, 100)
    sinr_step_db: float = parameter(0.25, 'step of the required SINR in (g) [dB]', 1e-3, 100)

    @property
    def offset(self) -> float:
        """Distance of the body from the axis in (d)-(g) [m]."""
        return self.offset_wavelengths * self.wavelength

    @property
    def distances(self) -> np.ndarray:
        """Distances from the axis in (b), (c) [m]: closer where the bound changes fast."""
        diagonal = np.hypot(self.n_x, self.n_y) * self.wavelength / 2
        even = np.linspace(-1.0, 1.0, self.points)
        spread = self.span * diagonal / np.sqrt(2) * np.sign(even) * even ** 2
        return np.union1d(spread, [-self.offset, self.offset])


def scene(parameters: Parameters, distance: float, sinr_db: float = 0.0) -> Scene:
    """Target and user so far from the axis [m], halfway between the arrays."""
    place = (0.0, distance, parameters.depth_m / 2)
    return facing_arrays(parameters, parameters.n_x, parameters.n_y,
                         (PointTarget('t1', place),), (User('u1', sinr_db, place),))


def corners(placed: Scene) -> dict[str, Solution]:
    """Corner designs by the names of the designs that they come from."""
    ends = end_points(placed)
    return dict(zip(CORNERS, (ends.sensing, ends.illumination, ends.communication)))


def isotropic_sinr_db(placed: Scene, peak_db: float) -> float:
    """
    Largest SINR that R_X = P_T / N leaves to the user, h^H R_X h / sigma^2 [dB].

    That is 1 / N of what maximum-ratio transmission of the same power gives.
    """
    return peak_db - 10 * np.log10(len(placed.transmit_array))


def at_distance(parameters: Parameters, distance: float) -> Table:
    """Bound and SINR of the designs at one distance from the axis."""
    placed = scene(parameters, distance)
    ends = corners(placed)
    crbs = [ends[name].sum_crb for name in CORNERS]
    sinrs = [ends[name].users[0].sinr_db for name in CORNERS]
    return table(d_m=distance, design=np.array([*CORNERS, 'isotropic']),
                 crb_m2=[*crbs, ends['crb-min'].isotropic_sum_crb],
                 sinr_db=[*sinrs, isotropic_sinr_db(placed, sinrs[-1])])


def corner_pattern(parameters: Parameters, distance: float, name: str) -> Table:
    """Beam pattern of a corner design."""
    placed = scene(parameters, distance)
    return pattern(parameters, placed, corners(placed)[name], name)


def eigenvalues(parameters: Parameters) -> Table:
    """Eigenvalues of R_X on the reduced subspace."""
    ends = corners(scene(parameters, parameters.offset))
    return stacked([
        table(design=name, index=np.arange(1, len(values) + 1), eigenvalue_w=values)
        for name in CORNERS for values in [ends[name].covariance_eigenvalues]],
        ('design', 'index', 'eigenvalue_w'))


def corner_points(parameters: Parameters) -> Table:
    """Ends of the tradeoff curve."""
    ends = corners(scene(parameters, parameters.offset))
    return table(design=np.array(CORNERS),
                 sinr_db=[ends[name].users[0].sinr_db for name in CORNERS],
                 crb_m2=[ends[name].sum_crb for name in CORNERS])


def at_sinr(parameters: Parameters, sinr_db: float) -> Table:
    """One point of the tradeoff curve."""
    placed = scene(parameters, parameters.offset, sinr_db)
    return table(design='crb-min', sinr_db=sinr_db,
                 crb_m2=sum_crb(design_or_none(placed, 'crb-min', parameters.gap)))


def distance_tasks(parameters: Parameters) -> Sequence[Task]:
    return [Task(at_distance, (parameters, float(d))) for d in parameters.distances]


def pattern_tasks(place: Callable[[Parameters], float], names: Sequence[str],
                  parameters: Parameters) -> Sequence[Task]:
    return [Task(corner_pattern, (parameters, place(parameters), name)) for name in names]


def tradeoff_tasks(parameters: Parameters) -> Sequence[Task]:
    grid = sinr_grid(scene(parameters, parameters.offset), parameters.sinr_from_db,
                     parameters.sinr_step_db)
    return [Task(corner_points, (parameters,)),
            *(Task(at_sinr, (parameters, value)) for value in grid)]


def draw_against_distance(column: str, label: str, axes: Axes, rows: Table,
                          parameters: Parameters) -> None:
    for name in ('isotropic', *CORNERS):
        found = where(rows, design=name)
        # P_s' and P_c are one and the same here: one line, one set of open marks on it.
        curve(axes, found['d_m'], found[column], look(name), filled=name != 'sinr-max')
    finish(axes, "distance d from the arrays' axis [m]", label,
           logarithmic='y' if column == 'crb_m2' else '')


def draw_patterns(place: Callable[[Parameters], float], axes: Axes, rows: Table,
                  parameters: Parameters) -> None:
    names = list(dict.fromkeys(rows['design'].tolist()))
    position = np.array([0.0, place(parameters), parameters.depth_m / 2])
    draw_pattern(axes, where(rows, design=names[0]), parameters,
                 [(position, '*', 'black', 'target and user')])
    axes.set_title(' = '.join(look(name).label for name in names), fontsize=9)


def draw_eigenvalues(axes: Axes, rows: Table, parameters: Parameters) -> None:
    width = 0.26
    floor = 1e-9 * watts(parameters.power_dbm)
    for number, name in enumerate(CORNERS):
        found = where(rows, design=name)
        shown = found['eigenvalue_w'] > floor
        axes.bar(found['index'][shown] + (number - 1) * width, found['eigenvalue_w'][shown],
                 width, color=look(name).colour, label=look(name).label)
    axes.set_xticks(np.unique(rows['index']))
    axes.set_ylim(1e-5 * watts(parameters.power_dbm), 10 * watts(parameters.power_dbm))
    finish(axes, 'number of the eigenvalue', 'eigenvalue of $R_X$ [W]', logarithmic='y')


def draw_tradeoff(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for name in CORNERS:
        found, style = where(rows, design=name), look(name)
        if name == 'crb-min':
            # What the curve ends in.
            found = stacked([found, where(rows, design='sinr-max')], rows)
            order = np.argsort(found['sinr_db'])
            curve(axes, found['crb_m2'][order], found['sinr_db'][order], style)
        else:
            axes.plot(found['crb_m2'], found['sinr_db'], linestyle='none', marker=style.marker,
                      color=style.colour, label=style.label, clip_on=False, zorder=3,
                      markerfacecolor='none' if name == 'sinr-max' else style.colour,
                      markersize=9 if name == 'sinr-max' else 5)
    finish(axes, 'sum of position bounds [m²]', r'required SINR $\Gamma$ [dB]', logarithmic='x')


def _on_axis(parameters: Parameters) -> float:
    return 0.0


def _beside(parameters: Parameters) -> float:
    return parameters.offset


PATTERN = ('y_m', 'z_m', 'design', 'power_w')


def _pattern_panel(caption: str, place: Callable[[Parameters], float],
                   names: Sequence[str]) -> Panel:
    return Panel(caption, PATTERN, partial(pattern_tasks, place, names),
                 partial(draw_patterns, place))


FIGURE = Figure('One user at the place of the one target', Parameters, {
    'a': _pattern_panel('Beam pattern on the axis, all designs', _on_axis, CORNERS),
    'b': Panel('Bound against the distance from the axis', ('d_m', 'design', 'crb_m2'),
               distance_tasks,
               partial(draw_against_distance, 'crb_m2', 'sum of position bounds [m²]')),
    'c': Panel('SINR against the distance from the axis', ('d_m', 'design', 'sinr_db'),
               distance_tasks,
               partial(draw_against_distance, 'sinr_db', 'largest SINR of the user [dB]')),
    'd': _pattern_panel('Beam pattern beside the axis, CRB-min', _beside, CORNERS[:1]),
    'e': _pattern_panel('Beam pattern beside the axis, max-min and SINR-max', _beside,
                        CORNERS[1:]),
    'f': Panel('Eigenvalues of the covariance beside the axis',
               ('design', 'index', 'eigenvalue_w'),
               lambda parameters: [Task(eigenvalues, (parameters,))], draw_eigenvalues),
    'g': Panel('Tradeoff beside the axis', ('sinr_db', 'design', 'crb_m2'), tradeoff_tasks,
               draw_tradeoff),
})
