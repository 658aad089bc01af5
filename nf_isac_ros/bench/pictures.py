"""Pictures of how the time grows with the antennas and with the bodies, drawn from the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from nf_isac_ros.bench.sampling import Row

# Colours that colour-blind people can tell apart (Okabe and Ito).
BLUE, RED, GREEN, ORANGE, PURPLE, GREY = (
    '#0072B2', '#D55E00', '#009E73', '#E69F00', '#CC79A7', '#777777')
SIZE = (7.5, 4.6)   # [in]

ANTENNAS = 'scaling_antennas.svg'
BODIES = 'scaling_bodies.svg'


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """
    Draw both pictures.

    Parameters
    ----------
    rows : sequence of dict
        Of the results.
    folder : Path
        Where the pictures go.

    Returns
    -------
    list of Path
        Of the files.

    """
    drawn = []
    for name, draw_axes in ((ANTENNAS, _antennas), (BODIES, _bodies)):
        figure = Figure(figsize=SIZE, layout='constrained')
        draw_axes(figure.add_subplot(), rows)
        path = folder / name
        # The same rows give the same file.
        with matplotlib.rc_context({'svg.hashsalt': name, 'svg.fonttype': 'none',
                                    'font.family': 'sans-serif'}):
            figure.savefig(path, metadata={'Date': None})
        drawn.append(path)
    return drawn


def _antennas(axes: Axes, rows: Sequence[Row]) -> None:
    for size, colour, marker in (((2, 2), BLUE, 'o'), ((4, 4), GREEN, 's')):
        found = [row for row in rows if row['bench'] == 'build' and _size(row) == size]
        label = f'K = {size[0]}, U = {size[1]}'
        _line(axes, found, 'antennas', lambda row: row['p50_ms'],
              f'channels, basis, Fisher map, {label}', colour, marker)
        _line(axes, found, 'antennas', lambda row: row['floor']['p50_ms'],
              f'bare exponentials and products, {label}', colour, '', '--')
    solves = [row for row in _cold(rows, 1e-3) if _size(row) == (2, 2)]
    _line(axes, solves, 'antennas', lambda row: row['p50_ms'],
          'solve to a certified 1e-3, K = 2, U = 2', RED, 'D')
    _finish(axes, 'transmit antennas N (M = N)',
            sorted({row['antennas'] for row in rows if row['bench'] == 'build'}))


def _bodies(axes: Axes, rows: Sequence[Row]) -> None:
    cold = [row for row in _cold(rows, 1e-3) if row['antennas'] == 2304]
    tight = [row for row in _cold(rows, 1e-6) if row['antennas'] == 2304]
    _line(axes, cold, 'bodies', lambda row: row['p50_ms'], 'this package, gap 1e-3', BLUE, 'o')
    _line(axes, tight, 'bodies', lambda row: row['p50_ms'], 'this package, gap 1e-6', BLUE, 's',
          '--')
    for name, label, colour, marker in (
            ('clarabel_compact', 'Clarabel, compact form', GREEN, '^'),
            ('clarabel_sdr13', 'Clarabel, (SDR1.3)', ORANGE, 'v'),
            ('cvxpy_clarabel_sdr13', 'the same with cvxpy', RED, 'D'),
            ('scs_sdr13', 'SCS, (SDR1.3)', PURPLE, 'P')):
        _line(axes, [row for row in cold if _peer(row, name) is not None], 'bodies',
              lambda row, name=name: _peer(row, name), label, colour, marker)
    _finish(axes, 'targets and users K + U (N = M = 2304)',
            sorted({row['targets'] + row['users'] for row in cold}))


def _cold(rows: Sequence[Row], gap: float) -> list[Row]:
    return [row for row in rows if row['bench'] == 'solve' and row['mode'] == 'cold'
            and row['gap_required'] == gap]


def _size(row: Row) -> tuple[int, int]:
    return row['targets'], row['users']


def _peer(row: Row, name: str) -> float | None:
    value: float | None = row['peers'].get(name, {}).get('p50_ms')
    return value


def _line(axes: Axes, rows: Sequence[Row], against: str, value: Callable[[Row], float | None],
          label: str, colour: str, marker: str, style: str = '-') -> None:
    points = sorted(
        (row['antennas'] if against == 'antennas' else row['targets'] + row['users'], value(row))
        for row in rows)
    if points:
        axes.plot(*zip(*points), color=colour, marker=marker, linestyle=style, label=label,
                  markersize=5)


def _finish(axes: Axes, label: str, ticks: Sequence[int]) -> None:
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:.0f}'))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.set_xlabel(label)
    axes.set_ylabel('median wall time [ms]')
    axes.grid(True, which='major', color='#dddddd')
    axes.set_axisbelow(True)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    if axes.get_lines():
        axes.legend(frameon=False, fontsize=8, loc='best')
