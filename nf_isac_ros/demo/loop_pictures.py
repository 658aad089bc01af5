"""Pictures of a closed loop: errors beside the bound, designs beside each other, latencies."""

from __future__ import annotations

from collections.abc import Sequence
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.localisation.loop import LoopRecord
from nf_isac_ros.demo.loop import TargetErrors, latency_rows
from nf_isac_ros.demo.pictures import DPI, WIDTH
from nf_isac_ros.demo.runlog import TARGET, USER, RunLog
from nf_isac_ros.figures.style import BODY_COLOURS

Vector = NDArray[np.float64]

# Of the designs, in the order in which they were compared (Okabe and Ito).
DESIGN_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00')
STAGES = (('pose_to_cycle', 'pose to start of cycle', '#56B4E9'),
          ('cycle_to_publish', 'design, publish', '#0072B2'),
          ('publish_to_apply', 'publish to radio', '#E69F00'))
# Errors are scattered over a decade: a line shows their root mean square over so long [s], or
# over more in long runs, of which a picture has room for so many points.
SMOOTHING = 0.5
MOST_POINTS = 240
# Dots of single echoes: below so many they can be told apart.
MOST_DOTS = 1500


def draw_loop(log: RunLog, errors: Sequence[TargetErrors], path: Path) -> None:
    """
    Draw errors of echoes and tracks beside the bound, and the SINRs, over time.

    Parameters
    ----------
    log : RunLog
        Of the run.
    errors : sequence of TargetErrors
    path : Path
        PNG file to write.

    """
    users = log.user_ids
    figure, panels = _panels([2.6] * len(errors) + [1.8] * bool(users))
    origin = min((row.track_times[0] for row in errors if len(row.track_times)), default=0.0)
    width = max((_bin_width(row.track_times) for row in errors), default=SMOOTHING)
    for axes, row, colour in zip(panels, errors, _cycle(BODY_COLOURS[TARGET], len(errors)),
                                 strict=False):
        if len(row.echo_times) <= MOST_DOTS:
            axes.plot(row.echo_times - origin, 1e3 * row.echo_errors, '.', color=colour,
                      alpha=0.6, markersize=5, markeredgewidth=0,
                      label=f'{row.id}: error of an echo')
        axes.plot(*_smooth(row.echo_times - origin, 1e3 * row.echo_errors, width), color=colour,
                  linewidth=1.6, label=f'{row.id}: echoes, rms\nover {width:.2g} s')
        axes.plot(*_smooth(row.track_times - origin, 1e3 * row.track_errors, width),
                  color='black', linewidth=2.0, label=f'{row.id}: predicted track,\nrms')
        axes.plot(*_smooth(row.echo_times - origin, 1e3 * row.root_crb, width), color='0.35',
                  linewidth=1.6, linestyle='--', label=f'{row.id}: root-CRB of\nthe beams')
        _log_scale(axes)
        axes.set_ylabel('position error [mm]', fontsize=12)
        _end_panel(axes)
    if users:
        axes = panels[-1]
        for name, colour in zip(users, _cycle(BODY_COLOURS[USER], len(users)), strict=True):
            seen = np.array([(status.stamp - origin, user.sinr_db)
                             for status in log.in_window(log.radio) for user in status.users
                             if user.id == name and math.isfinite(user.sinr_db)]).reshape(-1, 2)
            _draw_sinr(axes, seen[:, 0], seen[:, 1], name, colour)
            required = [user.required_db for design in log.designs for user in design.users
                        if user.id == name and math.isfinite(user.required_db)]
            if required:
                axes.axhline(float(np.median(required)), color=colour, linewidth=1.4,
                             linestyle=':', label=f'{name}: required')
        axes.set_ylabel('SINR [dB]', fontsize=12)
        _end_panel(axes)
    panels[-1].set_xlabel('time [s]', fontsize=12)
    figure.savefig(path)


def _draw_sinr(axes: Axes, times: Vector, values: Vector, name: str, colour: str) -> None:
    """Every value, or median and range of many."""
    width = _bin_width(times)
    if width <= SMOOTHING:
        axes.plot(times, values, color=colour, linewidth=1.2, label=f'{name}: seen')
        return
    middles, inside = _binned(times, values, width)
    low, middle, high = np.array([np.percentile(each, (1, 50, 99)) if len(each) else [math.nan] * 3
                                  for each in inside]).T
    axes.fill_between(middles, low, high, color=colour, alpha=0.3, linewidth=0)
    axes.plot(middles, middle, color=colour, linewidth=1.6,
              label=f'{name}: seen, median,\n1 % to 99 %')


def draw_designs(records: Sequence[LoopRecord], path: Path) -> None:
    """
    Draw the track errors of several designs on the same noise.

    Parameters
    ----------
    records : sequence of LoopRecord
        Of the same targets.
    path : Path
        PNG file to write.

    """
    names = [target.id for target in records[0].targets] if records else []
    served = [record for record in records if np.isfinite(record.sinr_db).any()]
    figure, panels = _panels([2.6] * max(len(names), 1) + [1.8] * bool(served))
    for k, (axes, name) in enumerate(zip(panels, names, strict=False)):
        for record, colour in zip(records, _cycle(DESIGN_COLOURS, len(records)), strict=True):
            target = record.targets[k]
            error = np.sqrt(np.nanmean(target.track_error ** 2)) if np.isfinite(
                target.track_error).any() else math.nan
            width = _bin_width(record.times)
            axes.plot(*_smooth(record.times, 1e3 * target.track_error, width), color=colour,
                      linewidth=1.8, label=f'{record.design},\nrms {1e3 * error:.3g} mm')
            axes.plot(*_smooth(record.times, 1e3 * target.root_crb, width), color=colour,
                      linewidth=1.2, linestyle='--')
        _log_scale(axes)
        axes.set_ylabel(f'{name}: error of the\ntrack [mm]', fontsize=12)
        _end_panel(axes)
    if served:
        axes = panels[-1]
        for record, colour in zip(records, _cycle(DESIGN_COLOURS, len(records)), strict=True):
            if record in served:
                # The worst user: what is left of the agreement with all of them.
                axes.plot(record.times, np.nanmin(record.sinr_db, axis=1), color=colour,
                          linewidth=1.2, label=record.design)
        axes.set_ylabel('least SINR [dB]', fontsize=12)
        _end_panel(axes)
    panels[0].set_title('the same paths, start errors and noise for every design; dashed: '
                        'root-CRB of its beams', fontsize=12)
    panels[-1].set_xlabel('time [s]', fontsize=12)
    figure.savefig(path)


def draw_latency_budget(log: RunLog, path: Path) -> None:
    """
    Draw where the time from the newest pose to the radio went, cycle by cycle.

    Parameters
    ----------
    log : RunLog
        Of the run.
    path : Path
        PNG file to write.

    """
    rows = latency_rows(log)
    figure, panels = _panels([4.2])
    axes = panels[0]
    if len(rows['time']):
        order = np.argsort(rows['time'])
        times = rows['time'][order] - rows['time'].min()
        spent = [np.maximum(rows[stage][order], 0.0) for stage, _, _ in STAGES]
        width = _bin_width(times)
        drawn = _medians(times, spent, width)
        axes.stackplot(*drawn, step='post', colors=[colour for *_, colour in STAGES],
                       linewidth=0, labels=[
                           f'{label},\nmedian {np.median(values):.3g} ms, '
                           f'99 % {np.percentile(values, 99):.3g} ms'
                           for (_, label, _), values in zip(STAGES, spent, strict=True)])
        whole = np.sum(drawn[1], axis=0)
        if width > SMOOTHING:
            axes.set_title(f'medians over {width:.2g} s', fontsize=12)
        # One late cycle must not press the others into a line.
        axes.set_ylim(0.0, max(1.6 * np.percentile(whole, 95), 1.05 * np.median(whole)))
    echoes = [(record.stamp - rows['time'].min(), 1e3 * (record.publish_stamp - record.stamp))
              for record in log.in_window(log.echoes)] if len(rows['time']) else []
    if echoes:
        moments, spent_there = np.array(echoes).T
        at, (drawn_there,) = _medians(moments, [spent_there], _bin_width(moments))
        axes.plot(at, drawn_there, color='#D55E00', linewidth=1.2,
                  label='echo to estimate,\n'
                        f'median {np.median(spent_there):.3g} ms')
    axes.set_ylabel('latency [ms]', fontsize=12)
    axes.set_xlabel('time [s]', fontsize=12)
    _end_panel(axes)
    figure.savefig(path)


def _panels(heights: list[float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, 1.0 + sum(heights)), dpi=DPI, layout='constrained')
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)
    return figure, list(panels[:, 0])


def _end_panel(axes: Axes) -> None:
    axes.grid(True, which='major', color='0.88', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.0)
    axes.tick_params(labelsize=11)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc='upper left', bbox_to_anchor=(1.005, 1.0), fontsize=10,
                    borderaxespad=0.0, frameon=False)
    else:
        axes.text(0.5, 0.5, 'nothing was published', transform=axes.transAxes, ha='center',
                  va='center', fontsize=12, color='0.4')


def _log_scale(axes: Axes) -> None:
    axes.set_yscale('log')
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _cycle(colours: Sequence[str], count: int) -> list[str]:
    return [colours[i % len(colours)] for i in range(count)]


def _bin_width(times: Vector) -> float:
    """How long an interval is that becomes one point of a line [s]."""
    return max(SMOOTHING, float(np.ptp(times)) / MOST_POINTS) if len(times) else SMOOTHING


def _binned(times: Vector, values: Vector, width: float) -> tuple[Vector, list[Vector]]:
    """Middles of intervals, and the finite values in each; none may be missing."""
    if not len(times):
        return times, []
    bins = np.floor(times / width).astype(int)
    numbers = np.arange(bins.min(), bins.max() + 1)
    return (numbers + 0.5) * width, [
        values[(bins == number) & np.isfinite(values)] for number in numbers]


def _smooth(times: Vector, values: Vector, width: float) -> tuple[Vector, Vector]:
    """Root mean square of each interval."""
    middles, inside = _binned(times, values, width)
    return middles, np.array([math.sqrt(np.mean(each ** 2)) if len(each) else math.nan
                              for each in inside])


def _medians(times: Vector, rows: Sequence[Vector], width: float) -> tuple[Vector, list[Vector]]:
    """
    Median of each interval of a long run; that of the interval before where nothing happened.

    Where intervals are as short as they get, the values as they are.
    """
    if width <= SMOOTHING:
        return times, list(rows)
    filled = []
    for values in rows:
        middles, inside = _binned(times, values, width)
        medians = np.array([np.median(each) if len(each) else math.nan for each in inside])
        known = np.maximum.accumulate(np.where(np.isfinite(medians), np.arange(len(medians)), 0))
        filled.append(medians[known])
    return middles - 0.5 * width, filled
