"""Draws the figures of a report with matplotlib, one PNG each, for papers."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
import re

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Patch
import numpy as np
from PIL import Image

from nf_isac_ros.figures.style import (
    BODY_SYMBOLS,
    FALLBACK_COLOUR,
    MUTE_COLOUR,
    finish,
)
from nf_isac_ros.replay.panels import (
    STATE_COLOURS,
    Band,
    Comparison,
    Figures,
    Frame,
    Map,
    Panel,
    Patterns,
    body_colours,
)
from nf_isac_ros.replay.table import TARGET
from nf_isac_ros.replay.timeaxis import TimeAxis

WIDE, COMPACT, PLAN = (8.0, 3.6), (8.0, 2.6), (7.0, 6.4)   # [in]
DPI = 220   # twice that of the screen: for papers
BANDS = {'fallback': FALLBACK_COLOUR, 'mute': MUTE_COLOUR}
# Beam patterns that get a picture, spread over time.
PATTERN_PICTURES = 4


def write_pictures(figures: Figures, charts: Sequence[Comparison], folder: Path) -> list[str]:
    """
    Draw all figures.

    Parameters
    ----------
    figures : Figures
    charts : sequence of Comparison
    folder : Path

    Returns
    -------
    list of str
        Names of the files.

    """
    names = []

    def keep(figure: Figure, key: str) -> None:
        name = re.sub(r'[^\w.-]', '_', key) + '.png'
        _save(figure, folder / name)
        names.append(name)

    if figures.states:
        keep(_states(figures), 'states')
    for panel in figures.panels:
        if panel.lines:
            keep(_panel(panel, figures.bands, figures.axis), panel.key)
    keep(_map(figures.map), 'map')
    if figures.patterns is not None:
        frames = figures.patterns.frames
        chosen = sorted({round(k) for k in np.linspace(0, len(frames) - 1, PATTERN_PICTURES)})
        for number, k in enumerate(chosen):
            keep(_pattern(figures.map, figures.patterns, frames[k]), f'beams_{number + 1}')
    for chart in charts:
        keep(_comparison(chart), chart.key)
    return names


def _save(figure: Figure, path: Path) -> None:
    with BytesIO() as drawn:
        figure.savefig(drawn, dpi=DPI, format='png')
        Image.open(drawn).convert('RGB').quantize(
            method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout='constrained')
    return figure, figure.add_subplot()


def _cuts(axes: Axes, axis: TimeAxis) -> None:
    for cut in axis.cuts:
        axes.axvline(cut.place, color='0.4', linestyle='--', linewidth=0.8)
    axes.set_xlim(0.0, axis.end)


def _states(figures: Figures) -> Figure:
    figure, axes = _axes((WIDE[0], 1.2 + 0.35 * len(figures.states)))
    names = []
    for k, row in enumerate(figures.states):
        for state in dict.fromkeys(each for _, _, each in row.states):
            bars = [(begin, end - begin) for begin, end, each in row.states if each == state]
            axes.broken_barh(bars, (-k - 0.35, 0.7), facecolor=STATE_COLOURS.get(state, '0.5'),
                             edgecolor=STATE_COLOURS.get(state, '0.5'), linewidth=0.4)
            names.append(state)
    axes.set_yticks([-k for k in range(len(figures.states))],
                    [row.label for row in figures.states])
    _cuts(axes, figures.axis)
    axes.set_xlabel('time [s]')
    axes.legend(handles=[Patch(color=STATE_COLOURS[name], label=name)
                         for name in STATE_COLOURS if name in names],
                frameon=False, fontsize=8, loc='lower center', bbox_to_anchor=(0.5, 1.0),
                ncols=6)
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)
    return figure


def _panel(panel: Panel, bands: Sequence[Band], axis: TimeAxis) -> Figure:
    figure, axes = _axes(COMPACT if panel.compact else WIDE)
    for band in bands:
        axes.axvspan(band.begin, band.end, zorder=0, linewidth=0, alpha=0.35,
                     facecolor=BANDS[band.kind])
    for line in panel.lines:
        axes.plot(line.x, line.y, color=line.colour, linestyle=line.dash, linewidth=1.2,
                  label=line.label)
    _cuts(axes, axis)
    finish(axes, 'time [s]', panel.unit, 'y' if panel.logarithmic else '')
    axes.set_ylim(panel.limits)
    if len(panel.lines) > 4:
        axes.legend(frameon=False, fontsize=7, loc='lower center', bbox_to_anchor=(0.5, 1.0),
                    ncols=4)
    return figure


def _plan(view: Map) -> tuple[Figure, Axes]:
    figure, axes = _axes(PLAN)
    length = 0.05 * float(view.high[0] - view.low[0])
    for label, one, other, boresight in view.arrays:
        axes.plot([one[0], other[0]], [one[1], other[1]], color='black', linewidth=5,
                  solid_capstyle='butt', label=label, zorder=4)
        if np.linalg.norm(boresight) > 0.1:
            axes.annotate('', (one + other) / 2 + length * boresight, (one + other) / 2,
                          arrowprops={'arrowstyle': '-|>', 'shrinkA': 0, 'shrinkB': 0})
    axes.set_xlim(view.low[0], view.high[0])
    axes.set_ylim(view.low[1], view.high[1])
    axes.set_aspect('equal')
    axes.set_xlabel(f'x in {view.frame} [m]')
    axes.set_ylabel(f'y in {view.frame} [m]')
    return figure, axes


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=8, loc='lower center', bbox_to_anchor=(0.5, 1.0), ncols=4)


def _map(view: Map) -> Figure:
    figure, axes = _plan(view)
    colours = body_colours(view.tracks)
    for (role, body), places in view.tracks.items():
        shade = colours[role, body]
        axes.plot(places[:, 0], places[:, 1], color=shade, linewidth=1.4)
        known = places[np.isfinite(places).all(axis=1)]
        axes.plot(*known[-1], marker=BODY_SYMBOLS[role], color=shade, markeredgecolor='white',
                  markersize=8, label=f'{role} {body}')
    for each in view.ellipses:
        shade = colours.get((TARGET, each.target), '0.5')
        # A bound may be a thousand times as long as it is wide: the edge is what is seen then.
        axes.add_patch(Ellipse(
            (each.x, each.y), 2 * each.large, 2 * each.small, angle=np.degrees(each.angle),
            facecolor=to_rgba(shade, 0.3), edgecolor=shade, linewidth=0.8))
    _legend(axes)
    return figure


def _pattern(view: Map, patterns: Patterns, frame: Frame) -> Figure:
    figure, axes = _plan(view)
    level = patterns.low + frame.image / 255.0 * (patterns.high - patterns.low)
    image = axes.imshow(level, origin='lower', cmap='Greys', vmin=patterns.low,
                        vmax=1.25 * patterns.high, interpolation='nearest', zorder=0,
                        extent=(view.low[0], view.high[0], view.low[1], view.high[1]))
    figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01, boundaries=np.linspace(
        patterns.low, patterns.high, 200), ticks=np.arange(patterns.low, patterns.high, 10.0),
        label='gain over isotropic transmission [dB]')
    colours = body_colours(view.tracks)
    for role, body, x, y in frame.bodies:
        axes.plot(x, y, marker=BODY_SYMBOLS[role], color=colours.get((role, body), '0.5'),
                  markersize=9, markeredgecolor='white', linestyle='none', label=body)
    _legend(axes)
    figure.suptitle(f'{frame.bag}, {frame.time:.2f} s', fontsize=9)
    return figure


def _comparison(chart: Comparison) -> Figure:
    figure, axes = _axes(WIDE)
    for each in chart.series:
        spread = np.maximum([each.y - each.low, each.high - each.y], 0)
        axes.errorbar(each.places, each.y, yerr=spread if np.isfinite(spread).any() else None,
                      color=each.colour, marker='o', markersize=5, capsize=3, label=each.label,
                      linestyle='none' if chart.categories else each.dash)
    if chart.categories:
        axes.set_xticks(range(len(chart.categories)), chart.categories)
    finish(axes, chart.swept, chart.unit,
           'x' * chart.wide + 'y' * chart.logarithmic)
    return figure
