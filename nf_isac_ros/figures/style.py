"""How the pictures look: colours, markers and words are the same in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.figures.panels import Table
from nf_isac_ros.figures.parameters import Planar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (5.6, 3.8)   # [in]
DPI = 110
# Beam patterns: shown from the strongest body down [dB]; a little above it, for the foci.
DYNAMIC_RANGE = 40.0
HEADROOM = 3.0


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of a curve, and its words in the legend."""

    label: str
    colour: str
    marker: str
    line: str = '-'
    # Where the first marker sits, in steps from one to the next: curves may lie on one another.
    phase: float = 0.0


# Colours that colour-blind people can tell apart (Okabe and Ito); the markers differ as well.
LOOKS = {
    'crb-min': Look('CRB-min', '#D55E00', 'o'),
    'max-min-illumination': Look('max-min illumination (Tx)', '#CC79A7', 's', phase=0.5),
    'max-min-echo': Look('max-min echo (Rx)', '#009E73', '^', phase=0.25),
    'sinr-max': Look('SINR-max', '#0072B2', 'D', '--'),
    'isotropic': Look('isotropic', '#777777', 'v', ':'),
    'sensing-only': Look('CRB-min without users', '#000000', '', ':'),
    'extended-crb-min': Look('CRB-min', '#D55E00', 'o'),
    'extended-zero-forcing': Look('zero forcing', '#0072B2', 'D', phase=0.5),
    'extended-zero-forcing-sets': Look('zero forcing, best set', '#56B4E9', 'v', '--'),
    'average': Look('Average', '#009E73', '^', phase=0.3),
    'average-null': Look('Average-Null', '#CC79A7', 's', phase=0.6),
}
RED, BLUE = '#D55E00', '#0072B2'
# Bodies: targets take warm colours and users cool ones, and the shapes differ as well.
BODY_COLOURS = {
    'target': ('#D55E00', '#CC79A7', '#E69F00', '#8C3800'),
    'user': ('#0072B2', '#009E73', '#56B4E9', '#00405F'),
}
BODY_SYMBOLS = {'target': 'D', 'user': 'o'}
FALLBACK_COLOUR = '#F0E442'
MUTE_COLOUR = '#999999'
# A line is broken where nothing is known for longer than this [s].
GAP = 0.5


def look(design: str) -> Look:
    """Look of a design."""
    return LOOKS[design]


def curve(axes: Axes, x: NDArray, y: NDArray, style: Look, label: str | None = None,
          marks: int = 12, filled: bool = True, line: str | None = None) -> None:
    """Draw a curve with a few markers, so that it can be told from others without colour."""
    step = max(1, len(x) // marks)
    axes.plot(x, y, color=style.colour, linestyle=line or style.line,
              marker=style.marker or None, markevery=(int(style.phase * step), step),
              markersize=4.5,
              markerfacecolor=style.colour if filled else 'white',
              label=style.label if label is None else label)


def finish(axes: Axes, x_label: str, y_label: str, logarithmic: str = '') -> None:
    """Label the axes, draw the grid and the legend; `logarithmic` names axes: 'x', 'y', 'xy'."""
    for name in logarithmic:
        axes.set(**{f'{name}scale': 'log'})
        axes.grid(True, which='minor', axis=name, color='#f0f0f0')
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True, which='major', color='#dddddd')
    axes.set_axisbelow(True)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc='lower center', bbox_to_anchor=(0.5, 1.0),
                    ncols=2)


def body_marks(axes: Axes, bodies: Iterable[tuple[NDArray, str, str, str]]) -> None:
    """Mark bodies (position, marker, colour, label) in the plane x = 0."""
    for position, marker, colour, label in bodies:
        edge = 'white' if colour == 'black' else 'black'
        axes.plot(position[2], position[1], linestyle='none', marker=marker, color=colour,
                  markeredgecolor=edge, markeredgewidth=0.8,
                  markersize=11 if marker == '*' else 7, label=label)


def draw_pattern(axes: Axes, rows: Table, parameters: Planar,
                 bodies: Sequence[tuple[NDArray, str, str, str]]) -> None:
    """
    Draw a beam pattern in the plane x = 0, z to the right.

    Parameters
    ----------
    axes : Axes
    rows : Table
        y_m, z_m, power_w of one design, y slowest.
    parameters : Planar
    bodies : sequence of (position, marker, colour, label)
        The colours are fixed to the power at the strongest of them.

    """
    p = parameters
    power = np.asarray(rows['power_w'], dtype=float).reshape(p.cells_y, p.cells_z)
    with np.errstate(divide='ignore'):
        level = 10 * np.log10(power / 1e-3)
    top = max(_level_at(level, position, p) for position, *_ in bodies) + HEADROOM
    image = axes.imshow(
        level, origin='lower', aspect='auto', cmap='viridis', vmin=top - DYNAMIC_RANGE, vmax=top,
        extent=(0.0, p.depth_m, -p.view_m, p.view_m), interpolation='nearest')
    axes.figure.colorbar(image, ax=axes, pad=0.02, extend='both',
                         label='power at an isotropic antenna [dBm]')
    half = p.n_y * p.wavelength / 4
    for z, colour, label in ((0.0, RED, 'transmit array'), (p.depth_m, BLUE, 'receive array')):
        axes.plot([z, z], [-half, half], color=colour, linewidth=5, solid_capstyle='butt',
                  clip_on=False, zorder=3, label=label)
    body_marks(axes, bodies)
    axes.set_xlim(0.0, p.depth_m)
    axes.set_ylim(-p.view_m, p.view_m)
    axes.set_xlabel('z [m]')
    axes.set_ylabel('y [m]')
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.16), fontsize=8, frameon=False,
                ncols=4 if len(bodies) <= 2 else 3, handlelength=1.2, columnspacing=1.2)


def _level_at(level: NDArray, position: NDArray, p: Planar) -> float:
    """Largest level in the cells about a point, seen from above."""
    row = int(np.clip((position[1] / p.view_m + 1) / 2 * p.cells_y, 0, p.cells_y - 1))
    column = int(np.clip(position[2] / p.depth_m * p.cells_z, 0, p.cells_z - 1))
    return float(np.nanmax(
        level[max(row - 1, 0):row + 2, max(column - 1, 0):column + 2], initial=-300.0))


def new_figure() -> Figure:
    """Empty picture."""
    from matplotlib.figure import Figure

    return Figure(figsize=SIZE, layout='constrained')


def save(figure: Figure, path: Path) -> list[Path]:
    """
    Write PNG and SVG; the same data give the same files.

    Parameters
    ----------
    figure : Figure
    path : Path
        Without suffix.

    Returns
    -------
    list of Path

    """
    import matplotlib
    from PIL import Image

    png, svg = path.with_suffix('.png'), path.with_suffix('.svg')
    with matplotlib.rc_context({'svg.hashsalt': path.name, 'svg.fonttype': 'none',
                                'font.family': 'sans-serif'}):
        # Laid out once, not again by each of the two, which takes as long as to draw it.
        figure.draw_without_rendering()
        figure.set_layout_engine('none')
        with BytesIO() as drawn:
            figure.savefig(drawn, dpi=DPI, format='png')
            # A palette: a third of the size, and no colour off by more than 2 %.
            Image.open(drawn).convert('RGB').quantize(
                method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                    png, optimize=True)
        figure.savefig(svg, metadata={'Date': None})
    return [png, svg]


def broken(times: NDArray, values: NDArray) -> tuple[NDArray, NDArray]:
    """Return times and values with NaN put in where nothing is known for longer than GAP."""
    if len(times) < 2:
        return times, values
    steps = np.diff(times)
    gaps = np.flatnonzero(steps > max(GAP, 3.0 * float(np.median(steps)))) + 1
    return (np.insert(times, gaps, math.nan),
            np.insert(np.asarray(values, dtype=float), gaps, math.nan, axis=0))


def spread(count: int, most: int) -> list[int]:
    """Indices that are spread evenly over a sequence, the last one among them."""
    if count <= most:
        return list(range(count))
    return [round(index) for index in np.linspace(count - 1, 0, most)]


def round_number(value: float) -> float:
    """Next smaller number of the form 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return power * max(step for step in (1.0, 2.0, 5.0) if step * power <= value * 1.0001)
