"""Pictures of a run: the scene from above, and what happened over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Patch
from matplotlib.ticker import FuncFormatter, NullFormatter
import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.beampattern import GridPlane, PatternEvaluator, decibels
from nf_isac_ros.core.extended.outline import outline
from nf_isac_ros.core.planning import extended_target
from nf_isac_ros.demo.runlog import (
    TARGET,
    USER,
    BoundRecord,
    DesignRecord,
    PathPoint,
    RunLog,
    TargetBound,
)
from nf_isac_ros.figures.style import (
    BODY_COLOURS,
    BODY_SYMBOLS,
    FALLBACK_COLOUR,
    MUTE_COLOUR,
    broken,
    round_number,
    spread,
)
from nf_isac_ros.files.deployment import Deployment

Vector = NDArray[np.float64]

REQUIRED_STYLE = (0, (1, 1.5))

DPI = 100
WIDTH = 12.0   # [in]: 1200 pixels
# Width of the scene's axes over their height.
SCENE_ASPECT = 1.18

# Intervals into which the SINR that a user saw is divided; it is known far more often.
RANGES = 120

# Bands that last less than this in all cannot be seen [s].
LEAST_BAND = 0.05

# Responses that the background of the scene may take: some 3 seconds on a slow core.
MOST_RESPONSES = 200_000_000
MOST_CELLS = 170
# The background is the strongest of patterns at heights that lie about so far apart [m].
HEIGHT_STEP = 0.15
MOST_HEIGHTS = 6
LEVELS = (-10.0, 0.0)   # from here [dB] to the gain of the whole array

# A large bound is drawn about so large (half axis), as a share of the picture's width.
ELLIPSE_SHARE = 0.06
ELLIPSES_PER_TARGET = 8
# Outlines of an extended target on its way, the last one among them.
OUTLINES_PER_TARGET = 4
SECTION_COLOURS = ('#F0E442', '#8C3800')


@dataclass(frozen=True)
class Band:
    """
    A stretch of time in which something was not as it should be.

    Attributes
    ----------
    kind : str
        `fallback` or `mute`.
    reason : str
    begin, end : float
        [s].

    """

    kind: str
    reason: str
    begin: float
    end: float


def draw_scene(deployment: Deployment, log: RunLog, path: Path) -> None:
    """
    Draw arrays, tracks, bounds and the newest beams as seen from above.

    Parameters
    ----------
    deployment : Deployment
        Arrays, wavelength and world frame.
    log : RunLog
        What was published.
    path : Path
        PNG file to write.

    """
    figure = Figure(figsize=(WIDTH, 9.6), dpi=DPI, layout='constrained')
    axes = figure.add_subplot()
    tracks = {(role, name): _track(log, role, name)
              for role in (TARGET, USER) for name in _ids(log, role)}
    low, high = _extent(deployment, tracks.values())
    notes = []
    if log.weights is not None and len(log.weights) == len(deployment.transmit_array):
        _draw_pattern(figure, axes, deployment, log.weights, low, high,
                      _heights(deployment, tracks.values()))
        beams = log.beams[-1]
        notes.append(f'beams no. {beams.sequence} at {beams.time - _origin(log):.1f} s')
    else:
        notes.append('no beams')
    factor = _draw_bounds(axes, log, high[0] - low[0])
    if factor is not None:
        notes.append(f'bound ellipses (1 sigma) enlarged {factor:g} times')
    labels = []
    for array, text in _arrays(deployment):
        labels.append(_draw_array(axes, array, text, 0.04 * (high[0] - low[0])))
    for (role, name), (_, places) in tracks.items():
        labels += _draw_track(axes, role, name, places, log)
    outlined = [_draw_outlines(axes, deployment, log, name) for name in log.target_ids]
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_aspect('equal')
    axes.set_xlabel(f'x in {deployment.world_frame} [m]', fontsize=13)
    axes.set_ylabel(f'y in {deployment.world_frame} [m]', fontsize=13)
    axes.tick_params(labelsize=12)
    axes.set_title(', '.join(notes), fontsize=14)
    _scene_legend(figure, tracks, factor, any(outlined))
    figure.draw_without_rendering()
    _place_labels(axes, labels, [places for _, places in tracks.values()])
    figure.savefig(path)


def draw_timeline(log: RunLog, path: Path) -> None:
    """
    Draw bounds, SINRs and latencies over time, with fallbacks and mute as bands.

    Parameters
    ----------
    log : RunLog
        What was published.
    path : Path
        PNG file to write.

    """
    origin = _origin(log)
    users = log.user_ids
    # Users often have the same requirement: in one panel they would hide each other.
    ratios = [3.0, *([2.0 if len(users) < 3 else 1.5] * len(users)), 2.5]
    figure = Figure(figsize=(WIDTH, 1.3 + 1.05 * sum(ratios)), dpi=DPI, layout='constrained')
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    bound_axes, latency_axes = panels[0], panels[-1]
    _draw_root_bounds(bound_axes, log, origin)
    for axes, name in zip(panels[1:-1], users, strict=True):
        _draw_sinr(axes, log, name, origin)
    _draw_latencies(latency_axes, log, origin)
    bands = list(_bands(log, origin))
    for axes in panels:
        _draw_bands(axes, bands)
        axes.grid(True, which='major', color='0.88', linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=12)
        handles, _ = axes.get_legend_handles_labels()
        if handles:
            axes.legend(loc='upper left', bbox_to_anchor=(1.005, 1.0), fontsize=11,
                        borderaxespad=0.0, frameon=False, handlelength=2.4)
        else:
            axes.text(0.5, 0.5, 'nothing was published', transform=axes.transAxes,
                      ha='center', va='center', fontsize=13, color='0.4')
    latency_axes.set_xlabel('time [s]', fontsize=13)
    end = _end(log, origin)
    latency_axes.set_xlim(0.0, end if end > 0 else 1.0)
    _band_legend(figure, bands)
    figure.align_ylabels()
    figure.savefig(path)


# Scene


def _draw_pattern(figure: Figure, axes: Axes, deployment: Deployment, weights: Vector,
                  low: Vector, high: Vector, heights: Vector) -> None:
    width, depth = high - low
    elements = len(deployment.transmit_array)
    cells = min(MOST_CELLS, math.isqrt(MOST_RESPONSES // (elements * len(heights))))
    count = (max(2, round(cells * min(1.0, width / depth))),
             max(2, round(cells * min(1.0, depth / width))))
    gains = []
    for height in heights:
        plane = GridPlane(
            np.array([*(low + high) / 2, height]), np.array([width, 0.0, 0.0]),
            np.array([0.0, depth, 0.0]), count)
        evaluator = PatternEvaluator(
            deployment.transmit_array.positions, deployment.radio.wavelength, plane.points,
            memory=0)
        gains.append(evaluator.gain(weights))
    ceiling = max(10.0, 10.0 * math.log10(elements))
    # fmax: a point on the antenna has no gain at one height and may have one at another.
    level = decibels(np.fmax.reduce(gains), LEVELS[0], ceiling).reshape(count)
    # Greys leave the colours to the bodies.
    image = axes.imshow(
        level.T, origin='lower', extent=(low[0], high[0], low[1], high[1]), cmap='Greys',
        vmin=LEVELS[0], vmax=1.35 * ceiling, interpolation='bilinear', zorder=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01, boundaries=np.linspace(
        LEVELS[0], ceiling, 200), ticks=np.arange(LEVELS[0], ceiling, 10.0))
    where = (f'z = {heights[0]:.2f} m' if len(heights) == 1
             else f'the best of z = {heights[0]:.2f} to {heights[-1]:.2f} m')
    bar.set_label(f'gain over isotropic transmission [dB], {where}', fontsize=12)
    bar.ax.tick_params(labelsize=12)


def _draw_bounds(axes: Axes, log: RunLog, width: float) -> float | None:
    """Draw ellipses of some bounds of each target; return the factor on their size."""
    chosen: list[tuple[str, Vector, Vector, Vector]] = []
    for name in log.target_ids:
        entries = [entry for record in _window(log, log.bounds) for entry in record.targets
                   if entry.id == name and _plane_bound(entry) is not None]
        for index in spread(len(entries), ELLIPSES_PER_TARGET):
            covariance = _plane_bound(entries[index])
            assert covariance is not None
            variances, axes_ = np.linalg.eigh(covariance)
            chosen.append((name, entries[index].position, np.sqrt(np.maximum(variances, 0.0)),
                           axes_[:, 1]))
    if not chosen:
        return None
    large = float(np.quantile([half_axes[1] for _, _, half_axes, _ in chosen], 0.8))
    factor = round_number(ELLIPSE_SHARE * width / large) if large > 0 else 1.0
    for name, position, half_axes, major in chosen:
        axes.add_patch(Ellipse(
            (position[0], position[1]), 2 * factor * half_axes[1], 2 * factor * half_axes[0],
            angle=math.degrees(math.atan2(major[1], major[0])),
            facecolor=_colour(log, TARGET, name), alpha=0.28, linewidth=0, zorder=2))
        axes.add_patch(Ellipse(
            (position[0], position[1]), 2 * factor * half_axes[1], 2 * factor * half_axes[0],
            angle=math.degrees(math.atan2(major[1], major[0])), fill=False,
            edgecolor=_colour(log, TARGET, name), linewidth=1.2, zorder=2))
    return factor


def _plane_bound(entry: TargetBound) -> Vector | None:
    """Bound on x and y, shape (2, 2) [m^2]; None if there is none."""
    names = list(entry.parameters)
    if 'x' not in names or 'y' not in names:
        return None
    rows = [names.index('x'), names.index('y')]
    block: Vector = np.asarray(entry.covariance)[np.ix_(rows, rows)]
    return block if np.isfinite(block).all() else None


def _draw_track(axes: Axes, role: str, name: str, places: Vector,
                log: RunLog) -> list[tuple[str, Vector, str]]:
    """Draw the path of a body and where it was last; return the labels to be placed."""
    known = places[np.isfinite(places).all(axis=1)]
    if not len(known):
        return []
    colour = _colour(log, role, name)
    axes.plot(places[:, 0], places[:, 1], color='white', linewidth=4.0, zorder=3)
    axes.plot(places[:, 0], places[:, 1], color=colour, linewidth=2.2, zorder=4)
    axes.plot(*known[-1, :2], marker=BODY_SYMBOLS[role], color=colour, markersize=11,
              markeredgecolor='white', markeredgewidth=1.5, zorder=6)
    return [(name, known[-1, :2], colour)]


def _draw_outlines(axes: Axes, deployment: Deployment, log: RunLog, name: str) -> bool:
    """
    Draw where an extended target was, and the sections that the array sees of it last.

    Returns
    -------
    bool
        Whether there is an outline; there is none of points.

    """
    poses = [point.extended for point in _path(log, TARGET, name) if point.extended is not None]
    settings = next((body for body in deployment.bodies
                     if body.id == name and body.role == TARGET), None)
    colour, found = _colour(log, TARGET, name), False
    for index in spread(len(poses), OUTLINES_PER_TARGET):
        target = extended_target(poses[index], settings, deployment.contours)
        if target is None:
            continue
        last, found = index == len(poses) - 1, True
        drawn = outline(target, deployment.transmit_array)
        axes.plot(*(target.position + drawn.loop)[:, :2].T, color=colour, zorder=5,
                  linewidth=1.6 if last else 1.0, alpha=1.0 if last else 0.6)
        for k, section in enumerate(drawn.sections if last else ()):
            axes.plot(*(target.position + section)[:, :2].T, linewidth=4.0, zorder=6,
                      color=SECTION_COLOURS[k % 2], solid_capstyle='butt')
    return found


def _draw_array(axes: Axes, array: AntennaArray, text: str,
                length: float) -> tuple[str, Vector, str]:
    """Draw an array from above, with its boresight; return its label."""
    places = array.positions[:, :2]
    centre = places.mean(axis=0)
    # From above an upright array is a line: its ends are furthest from the centre.
    spread = places - centre
    end = spread[np.linalg.norm(spread, axis=1).argmax()]
    axes.plot(*zip(centre - end, centre + end, strict=True), color='black', linewidth=6,
              solid_capstyle='butt', zorder=5)
    boresight = array.pose.rotation[:2, 2]
    if np.linalg.norm(boresight) > 0.1:
        axes.annotate('', centre + length * boresight, centre, zorder=5, arrowprops={
            'arrowstyle': '-|>', 'color': 'black', 'linewidth': 1.8, 'shrinkA': 0, 'shrinkB': 0})
    return text, centre, 'black'


def _arrays(deployment: Deployment) -> list[tuple[AntennaArray, str]]:
    transmit, receive = deployment.transmit_array, deployment.receive_array
    if transmit.same_elements(receive):
        return [(transmit, f'array, {len(transmit)} elements')]
    return [(transmit, f'transmit array, {len(transmit)} elements'),
            (receive, f'receive array, {len(receive)} elements')]


def _place_labels(axes: Axes, labels: Sequence[tuple[str, Vector, str]],
                  tracks: Sequence[Vector]) -> None:
    """Put each label beside its point, where it covers no other label, point or track."""
    to_pixels = axes.transData.transform
    points = [to_pixels(point) for _, point, _ in labels]
    taken = [(*(point - 18), *(point + 18)) for point in points]
    for places in tracks:
        known = places[np.isfinite(places).all(axis=1), :2]
        taken += [(*(pixel - 2), *(pixel + 2)) for pixel in to_pixels(known[::3])]
    frame = axes.get_window_extent()
    # Right, left, below, above, then the corners, then further away.
    directions = [(1, 0), (-1, 0), (0, -1), (0, 1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    for (text, _, colour), point in zip(labels, points, strict=True):
        size = np.array([10.5 * len(text) + 16, 24.0])
        best, least = None, math.inf
        for distance in (18.0, 26.0, 38.0, 54.0):
            for direction in directions:
                middle = point + np.array(direction) * (distance + size / 2)
                box = (*(middle - size / 2), *(middle + size / 2))
                cost = sum(_overlap(box, other) for other in taken) + 2 * distance
                if not (frame.x0 < box[0] and box[2] < frame.x1
                        and frame.y0 < box[1] and box[3] < frame.y1):
                    cost += 1e6
                if cost < least:
                    best, least = box, cost
        assert best is not None
        taken.append(best)
        middle = ((best[0] + best[2]) / 2, (best[1] + best[3]) / 2)
        axes.annotate(
            text, axes.transData.inverted().transform(middle), color=colour, fontsize=13,
            fontweight='bold', ha='center', va='center', zorder=7,
            bbox={'facecolor': 'white', 'alpha': 0.75, 'linewidth': 0, 'pad': 1.5})


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Area that two boxes (left, bottom, right, top) share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _scene_legend(figure: Figure, tracks: Iterable[tuple[str, str]], factor: float | None,
                  outlined: bool) -> None:
    roles = {role for role, _ in tracks}
    handles = []
    if TARGET in roles:
        handles.append(Line2D([], [], color=BODY_COLOURS[TARGET][0], marker=BODY_SYMBOLS[TARGET],
                              markersize=9, linewidth=2.2, label='target: track, last position'))
    if USER in roles:
        handles.append(Line2D([], [], color=BODY_COLOURS[USER][0], marker=BODY_SYMBOLS[USER],
                              markersize=9, linewidth=2.2, label='user: track, last position'))
    if factor is not None:
        handles.append(Patch(facecolor=BODY_COLOURS[TARGET][0], alpha=0.4,
                             label=f'Cramér-Rao bound, 1 sigma x {factor:g}'))
    if outlined:
        handles.append(Line2D([], [], color=SECTION_COLOURS[0], linewidth=4,
                              label='sections of its outline that are seen'))
    handles.append(Line2D([], [], color='black', linewidth=6, label='array with boresight'))
    columns = len(handles) if len(handles) < 5 else 3
    figure.legend(handles=handles, loc='outside lower center', ncols=columns, fontsize=12,
                  frameon=False)


def _track(log: RunLog, role: str, name: str) -> tuple[Vector, Vector]:
    """
    Path of a body: the truth if it was told, else what the designer was told.

    Returns
    -------
    times : ndarray, shape (n,)
        Receipt [s].
    places : ndarray, shape (n, 3)
        [m]; NaN where the line has to be broken.

    """
    points = _path(log, role, name)
    if points:
        times = np.array([point.time for point in points])
        places = np.array([point.position for point in points], dtype=float)
    else:
        entries = [(record.time, entry.position) for record in _window(log, log.bounds)
                   for entry in record.targets if role == TARGET and entry.id == name]
        times = np.array([time for time, _ in entries])
        places = np.array([place for _, place in entries], dtype=float).reshape(-1, 3)
    return broken(times, places)


def _path(log: RunLog, role: str, name: str) -> Sequence[PathPoint]:
    """Path of a body in the window: the truth if it was told, else what the designer was told."""
    points: Sequence[PathPoint] = []
    for paths in (log.truth, log.tracks):
        points = points or _window(log, paths.get((role, name), []))
    return points


def _extent(deployment: Deployment, tracks: Iterable[tuple[Vector, Vector]]) -> tuple[
        Vector, Vector]:
    """Corners of the picture, shape (2,) [m]: everything, with a margin."""
    places = [places[np.isfinite(places).all(axis=1), :2] for _, places in tracks]
    places += [array.positions[:, :2] for array, _ in _arrays(deployment)]
    points = np.vstack(places)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.08 * max(float((high - low).max()), 1.0)
    low, high = low - margin, high + margin
    # Fill the page, whatever the shape of the scene.
    width, depth = high - low
    wanted = np.array([max(width, SCENE_ASPECT * depth), max(depth, width / SCENE_ASPECT)])
    middle = (low + high) / 2
    return middle - wanted / 2, middle + wanted / 2


def _heights(deployment: Deployment, tracks: Iterable[tuple[Vector, Vector]]) -> Vector:
    """
    Heights at which the beam pattern is taken, shape (n,) [m].

    Beams are narrower than the bodies' heights differ, so that one plane would show pieces of
    them only.
    """
    last = [places[np.isfinite(places).all(axis=1)][-1, 2] for _, places in tracks
            if np.isfinite(places).all(axis=1).any()]
    last.append(float(deployment.transmit_array.positions[:, 2].mean()))
    low, high = min(last), max(last)
    count = min(MOST_HEIGHTS, 1 + math.ceil((high - low) / HEIGHT_STEP))
    return np.linspace(low, high, count) if count > 1 else np.array([(low + high) / 2])


# Timeline


def _draw_root_bounds(axes: Axes, log: RunLog, origin: float) -> None:
    records: list[BoundRecord] = _window(log, log.bounds)
    for name in log.target_ids:
        colour = _colour(log, TARGET, name)
        entries = [(record.time, entry) for record in records for entry in record.targets
                   if entry.id == name]
        if not entries:
            continue
        times = np.array([time - origin for time, _ in entries])
        for values, style, label in (
                ([entry.root_crb for _, entry in entries], '-', f'{name}: designed beams'),
                ([entry.isotropic_root_crb for _, entry in entries], '--', f'{name}: isotropic')):
            line = 1e3 * np.array(values)
            line[~np.isfinite(line) | (line <= 0)] = math.nan
            axes.plot(*broken(times, line), style, color=colour, linewidth=1.8, label=label)
    _log_scale(axes)
    axes.set_ylabel('root-CRB [mm]', fontsize=13)


def _draw_sinr(axes: Axes, log: RunLog, name: str, origin: float) -> None:
    """Draw what one user needs, what was designed, and what it saw on its true channel."""
    colour = _colour(log, USER, name)
    designed = [(record.time - origin, user.sinr_db, user.required_db)
                for record in _window(log, log.designs) for user in record.users
                if user.id == name]
    seen = [(record.time - origin, user.sinr_db)
            for record in _window(log, log.radio) for user in record.users if user.id == name]
    if seen:
        # An interval holds the fade from some beams to the next, so that no saw teeth are left.
        cycles = np.diff([record.time for record in _window(log, log.designs)])
        cycle = float(np.median(cycles)) if len(cycles) else 0.0
        step = max(_end(log, origin) / RANGES, 2.0 * cycle)
        times, lowest, highest = _ranges(*np.array(seen).T, step)
        axes.fill_between(times, lowest, highest, step='mid', color=colour, alpha=0.3,
                          linewidth=0, label=f'{name}: seen on the\ntrue channel')
    ticks = []
    if designed:
        times, values, required = np.array(designed).T
        values[~np.isfinite(values)] = math.nan
        axes.plot(*broken(times, values), color=colour, linewidth=1.8, label=f'{name}: designed')
        axes.plot(*broken(times, required), color='black', linewidth=1.6,
                  linestyle=REQUIRED_STYLE, label=f'{name}: required')
        ticks = [value for value in (values, required) if np.isfinite(value).any()]
    if ticks:
        least = min(float(np.nanmin(value)) for value in ticks)
        most = max(float(np.nanmax(value)) for value in ticks)
        low, high = axes.get_ylim()
        # Deep fades would press the interesting part into a line, and noise must not look like
        # an event.
        axes.set_ylim(max(min(low, least - 3.0), least - 12.0),
                      min(max(high, most + 2.0), most + 8.0))
    axes.set_ylabel('SINR [dB]', fontsize=13)


def _ranges(times: Vector, values: Vector, step: float) -> tuple[Vector, Vector, Vector]:
    """Return the middles of intervals, and the least and the largest value in each."""
    step = max(step, 1e-3)   # of a log that has no duration
    bins = np.floor(times / step).astype(int)
    rows = []
    for number in range(bins.min(), bins.max() + 1):
        inside = values[(bins == number) & np.isfinite(values)]
        rows.append(((number + 0.5) * step, *((inside.min(), inside.max()) if len(inside)
                                              else (math.nan, math.nan))))
    middles, lowest, highest = np.array(rows).T
    return middles, lowest, highest


def _draw_latencies(axes: Axes, log: RunLog, origin: float) -> None:
    """Draw how long the cycles took that ended with beams: the others have nothing to do."""
    designs = [record for record in _window(log, log.designs) if record.published]
    times = np.array([record.time for record in designs]) - origin
    largest, typical = 0.0, math.inf
    for label, colour, values in (
            ('pose to beam', '#E69F00', [record.pose_to_beam_ms for record in designs]),
            ('cycle time', '#0072B2', [record.cycle_ms for record in designs])):
        line = np.array(values, dtype=float)
        known = line[np.isfinite(line)]
        if not len(known):
            continue
        middle = float(np.median(known))
        largest, typical = max(largest, float(known.max())), min(typical, middle)
        axes.plot(*broken(times, line), color=colour, linewidth=1.6, marker='.', markersize=3,
                  label=f'{label},\nmedian {middle:.3g} ms')
    if 0.0 < typical < largest / 15.0:
        _log_scale(axes)
    else:
        axes.set_ylim(0.0, 1.08 * largest if largest > 0 else 1.0)
    axes.set_ylabel('latency [ms]', fontsize=13)


def _log_scale(axes: Axes) -> None:
    axes.set_yscale('log')
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _bands(log: RunLog, origin: float) -> Iterator[Band]:
    """Stretches of fallback by the designs, and of mute by the radio."""
    designs: list[DesignRecord] = _window(log, log.designs)
    states = [(record.time, 'fallback' if record.outcome == 'fallback' else '', record.reason)
              for record in designs]
    radio = _window(log, log.radio)
    mutes = [(record.time, 'mute' if record.muted else '', record.mute_reason)
             for record in radio]
    if not radio:
        mutes = [(record.time, 'mute' if record.outcome == 'mute' else '', record.reason)
                 for record in designs]
    for sequence in (states, mutes):
        ends = [time for time, _, _ in sequence[1:]]
        if sequence:
            ends.append(max(sequence[-1][0], origin + _end(log, origin)))
        stretches = [(kind, reason, begin - origin, end - origin)
                     for (begin, kind, reason), end in zip(sequence, ends, strict=True)]
        for (kind, reason), group in groupby(stretches, key=lambda item: item[:2]):
            members = list(group)
            if kind:
                yield Band(kind, reason, members[0][2], members[-1][3])


def _draw_bands(axes: Axes, bands: Sequence[Band]) -> None:
    for band in bands:
        axes.axvspan(band.begin, band.end, zorder=0, linewidth=0, **_band_look(band.kind))


def _band_look(kind: str) -> dict[str, object]:
    if kind == 'mute':
        return {'facecolor': MUTE_COLOUR, 'alpha': 0.45}
    return {'facecolor': FALLBACK_COLOUR, 'alpha': 0.45}


def _band_legend(figure: Figure, bands: Sequence[Band]) -> None:
    """Name the bands above the panels, with their reasons and how long they took."""
    handles = []
    for kind, title in (('fallback', 'fallback'), ('mute', 'radio muted')):
        reasons: dict[str, float] = {}
        for band in bands:
            if band.kind == kind:
                reasons[band.reason] = reasons.get(band.reason, 0.0) + band.end - band.begin
        for reason, seconds in sorted(reasons.items(), key=lambda item: -item[1])[:3]:
            if seconds < LEAST_BAND:
                continue
            label = f'{title}: {reason or "no reason given"}, {seconds:.1f} s'
            handles.append(Patch(label=label, **_band_look(kind)))
    if handles:
        figure.legend(handles=handles, loc='outside upper left', ncols=2, fontsize=11,
                      frameon=False)


# Both


def _window(log: RunLog, records: Sequence[object]) -> list:
    return log.in_window(list(records))


def _origin(log: RunLog) -> float:
    """Time that is zero in the pictures [s]."""
    if math.isfinite(log.begin):
        return log.begin
    times = [records[0].time for records in (log.designs, log.radio, log.bounds) if records]
    return min(times, default=0.0)


def _end(log: RunLog, origin: float) -> float:
    if math.isfinite(log.end):
        return log.end - origin
    times = [records[-1].time for records in (log.designs, log.radio, log.bounds) if records]
    return max(times, default=origin) - origin


def _ids(log: RunLog, role: str) -> list[str]:
    return log.target_ids if role == TARGET else log.user_ids


def _colour(log: RunLog, role: str, name: str) -> str:
    colours = BODY_COLOURS[role]
    return colours[_ids(log, role).index(name) % len(colours)]
