"""What the figures of a report show, whoever draws them: lines, bands, states, tracks, beams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, isqrt, log10

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beampattern import GridPlane, PatternEvaluator, decibels
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.figures.style import (
    BODY_COLOURS,
    FALLBACK_COLOUR,
    MUTE_COLOUR,
    broken,
    round_number,
    spread,
)
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.replay.cycles import Path
from nf_isac_ros.replay.incidents import Incident
from nf_isac_ros.replay.redesign import Beams
from nf_isac_ros.replay.table import (
    RECORDED,
    REDESIGNED,
    TARGET,
    USER,
    Columns,
    bodies_of,
    column,
)
from nf_isac_ros.replay.timeaxis import TimeAxis
from nf_isac_ros.replay.whatif import PREFIX, SWEEPS

Vector = NDArray[np.float64]

# A line with more points is drawn as its least and greatest value in so many intervals.
MAX_POINTS = 4000
INTERVALS = 2000
# Users that get a panel of their own.
MAX_USERS = 8
MAX_BANDS = 400
# Room about a required SINR, and how far below it fades are shown [dB].
LEAST_ROOM_DB = 3.0
MOST_FADE_DB = 15.0

# Colours of states, dark enough on white and told apart by the colour-blind (Okabe and Ito).
STATE_COLOURS = {'optimal': '#009E73', 'early': '#56B4E9', 'fallback': FALLBACK_COLOUR,
                 'mute': MUTE_COLOUR, 'on': '#009E73', 'muted': MUTE_COLOUR, 'off': '#000000'}
# From the best to the worst: an interval that holds several shows the worst.
STATES = ('optimal', 'early', 'fallback', 'mute')
RADIO_STATES = ('on', 'muted', 'off')
GREYS = '#555555'

FRAMES = 24
ELLIPSES = 8
# A large bound is drawn about so large, as a share of the width of the picture.
ELLIPSE_SHARE = 0.06
# A plan is no narrower and no wider than this, as a share of its depth.
NARROWEST, WIDEST = 0.9, 2.2
# Gaps below this are those of closed forms; a design is not better for them.
LEAST_GAP = 1e-9
# Beam patterns: responses that one may take, cells along the longer side, heights.
MOST_RESPONSES = 100_000_000
MOST_CELLS = 130
HEIGHT_STEP = 0.15
MOST_HEIGHTS = 4
FLOOR_DB = -10.0


@dataclass(frozen=True)
class Line:
    """
    A curve over time.

    Attributes
    ----------
    label, colour : str
    dash : str
        solid, dashed or dotted.
    x, y : ndarray, shape (n,)
        NaN where the line is broken.
    thinned : int
        Cycles that share one interval, whose least and greatest value are drawn; 1: all are.

    """

    label: str
    colour: str
    x: Vector
    y: Vector
    dash: str = 'solid'
    thinned: int = 1


@dataclass(frozen=True)
class Panel:
    """
    Curves on one pair of axes.

    Attributes
    ----------
    key : str
        Name of the picture.
    title, unit : str
        What is drawn, and the label of the vertical axis.
    lines : sequence of Line
    logarithmic : bool
    compact : bool
        Less high than the others.
    limits : tuple of float or None
        Of the vertical axis; None: nothing is drawn.

    """

    key: str
    title: str
    unit: str
    lines: Sequence[Line]
    logarithmic: bool = False
    compact: bool = False
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Band:
    """A stretch of time in which the design was a lesser one, or there was none."""

    kind: str
    reason: str
    begin: float
    end: float


@dataclass(frozen=True)
class StateRow:
    """
    States over time, one bar after the other.

    Attributes
    ----------
    label : str
    states : sequence of (begin, end, state)
        Places on the time axis [s].

    """

    label: str
    states: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Ellipse:
    """Bound of a target, enlarged: semi-axes [m], angle of the larger one [rad]."""

    target: str
    x: float
    y: float
    large: float
    small: float
    angle: float


@dataclass(frozen=True)
class Map:
    """
    Tracks as seen from above.

    Attributes
    ----------
    low, high : ndarray, shape (2,)
        Corners [m].
    tracks : mapping of (role, id) to ndarray, shape (n, 2)
        NaN where nobody knows.
    arrays : sequence of (label, end, end, boresight)
        The two ends of each array and the direction that it looks in, shape (2,) each [m].
    ellipses : sequence of Ellipse
    factor : float
        How much they are enlarged.
    frame : str
        World frame.

    """

    low: Vector
    high: Vector
    tracks: Mapping[tuple[str, str], Vector]
    arrays: Sequence[tuple[str, Vector, Vector, Vector]]
    ellipses: Sequence[Ellipse]
    factor: float
    frame: str


@dataclass(frozen=True)
class Frame:
    """
    Beam pattern at one instant.

    Attributes
    ----------
    bag : str
    place, time : float
        On the time axis, and since the start of the recording [s].
    image : ndarray of uint8, shape (rows, columns)
        From `Patterns.low` up to `Patterns.high`; rows along y.
    bodies : sequence of (role, id, x, y)

    """

    bag: str
    place: float
    time: float
    image: NDArray[np.uint8]
    bodies: Sequence[tuple[str, str, float, float]]


@dataclass(frozen=True)
class Patterns:
    """Beam patterns at chosen instants, and the range of their gain [dB]."""

    frames: Sequence[Frame]
    low: float
    high: float
    heights: Vector


@dataclass(frozen=True)
class Figures:
    """Everything that is drawn."""

    axis: TimeAxis
    panels: Sequence[Panel]
    bands: Sequence[Band]
    bands_hidden: int
    states: Sequence[StateRow]
    map: Map
    patterns: Patterns | None
    targets: Sequence[str] = field(default_factory=tuple)
    users: Sequence[str] = field(default_factory=tuple)


def colour(role: str, number: int) -> str:
    """Colour of a body by its place among those of its role."""
    return BODY_COLOURS[role][number % len(BODY_COLOURS[role])]


def body_colours(tracks: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Colour of each body (role, id), targets first."""
    return {key: colour(role, k) for role in (TARGET, USER) for k, key in enumerate(
        sorted(key for key in tracks if key[0] == role))}


# Curves


class Curves:
    """
    Makes lines of the columns of a table.

    Parameters
    ----------
    cycles : Columns
    axis : TimeAxis

    """

    def __init__(self, cycles: Columns, axis: TimeAxis) -> None:
        self._cycles = cycles
        self._mode = cycles['mode']
        bags, stamps = cycles['bag'], cycles['transmit_time_s']
        self._x = np.full(len(cycles), np.nan)
        for bag in dict.fromkeys(bags):
            self._x[bags == bag] = axis.places(bag, stamps[bags == bag])
        self.modes = [mode for mode in (REDESIGNED, RECORDED) if (self._mode == mode).any()]

    def rows(self, mode: str) -> NDArray[np.bool_]:
        """Rows of a mode."""
        return self._mode == mode

    def places(self, mode: str) -> Vector:
        """Places of the rows of a mode on the time axis [s]."""
        return self._x[self.rows(mode)]

    def lines(self, name: str, label: str, shade: str, dash: str | None = None,
              positive: bool = False) -> Iterator[Line]:
        """
        Lines of a column, one for each mode that has it.

        Parameters
        ----------
        name : str
            Of the column.
        label, shade : str
            Words and colour.
        dash : str or None
            None: solid for redesigned cycles, dotted for recorded ones beside them.
        positive : bool
            Leave out what a logarithmic axis cannot show.

        """
        if name not in self._cycles:
            return
        values = self._cycles[name]
        for mode in self.modes:
            x, y = self._x[self.rows(mode)], values[self.rows(mode)].copy()
            y[~np.isfinite(y) | (positive & (y <= 0))] = np.nan
            if np.isfinite(y).any():
                style = dash or ('dotted' if mode == RECORDED and len(self.modes) > 1 else 'solid')
                suffix = f', {mode}' if len(self.modes) > 1 else ''
                yield line(f'{label}{suffix}', shade, x, y, style)


def line(label: str, shade: str, x: Vector, y: Vector, dash: str = 'solid') -> Line:
    """Line through all points, or through the least and the greatest in each of many intervals."""
    known = np.isfinite(x)
    x, y = x[known], y[known]
    order = np.argsort(x, kind='stable')
    x, y = x[order], y[order]
    if len(x) <= MAX_POINTS:
        return Line(label, shade, *broken(x, y), dash)
    x, y, thinned = envelope(x, y)
    return Line(label, shade, *broken(x, y), dash, thinned)


def envelope(x: Vector, y: Vector) -> tuple[Vector, Vector, int]:
    """
    Least and greatest value in each of INTERVALS intervals, at the places where they are.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Rising places, and values; NaN counts only where an interval has nothing else.

    Returns
    -------
    x, y : ndarray, shape (m,)
        Some of the points, in their order.
    thinned : int
        Points in an interval, on the mean.

    """
    edges = np.linspace(x[0], x[-1], INTERVALS + 1)[1:-1]
    starts = np.unique(np.concatenate([[0], np.searchsorted(x, edges)]))
    starts = starts[starts < len(x)]
    kept: list[int] = []
    for begin, end in zip(starts, [*starts[1:], len(x)]):
        inside = y[begin:end]
        if np.isnan(inside).all():
            kept.append(int(begin))
            continue
        kept += sorted({int(begin + np.nanargmin(inside)), int(begin + np.nanargmax(inside))})
    return x[kept], y[kept], max(1, round(len(x) / len(starts)))


def time_panels(curves: Curves, cycles: Columns, deployment: Deployment,
                budget_ms: float | None) -> Iterator[Panel]:
    """Panels over time: bounds, SINRs, power, gap, times, ages."""
    targets, users = bodies_of(cycles.names, TARGET), bodies_of(cycles.names, USER)
    bounds: list[Line] = []
    for k, target in enumerate(targets):
        shade = colour(TARGET, k)
        bounds += curves.lines(column(TARGET, target, 'root_crb_m'), target, shade, positive=True)
        isotropic = list(curves.lines(column(TARGET, target, 'isotropic_root_crb_m'),
                                      f'{target}: isotropic', shade, 'dashed', positive=True))
        bounds += isotropic[:1]
    yield Panel('root_crb', 'Root-CRB of the position of each target', 'root-CRB [m]', bounds,
                logarithmic=True, limits=_decades(bounds))
    for k, user in enumerate(users[:MAX_USERS]):
        shade = colour(USER, k)
        lines = list(curves.lines(column(USER, user, 'sinr_db'), f'{user}: designed for', shade))
        lines += curves.lines(column(USER, user, 'seen_sinr_db'), f'{user}: on the true channel',
                              '#CC79A7', 'dotted')
        required = list(curves.lines(column(USER, user, 'required_sinr_db'), 'required',
                                     '#000000', 'dashed'))[:1]
        yield Panel(f'sinr_{user}', f'SINR of {user} against its requirement', 'SINR [dB]',
                    [*lines, *required], compact=True, limits=_decibels(lines, required))
    power = [*curves.lines('power_w', 'radiated', '#0072B2'),
             *curves.lines('radio_power_w', 'radio says', '#CC79A7', 'dotted'),
             *_level(curves, deployment.radio.power, 'limit')]
    yield Panel('power', 'Radiated power', 'power [W]', power, compact=True,
                limits=_from_zero(power))
    gaps = list(curves.lines('gap', 'gap', '#0072B2', positive=True))
    yield Panel('gap', 'Certified relative gap to the optimum', 'gap', gaps, logarithmic=True,
                compact=True, limits=_decades(gaps, LEAST_GAP))
    times = [*curves.lines('cycle_ms', 'cycle', '#0072B2', positive=True),
             *curves.lines('pose_to_beam_ms', 'pose to beam', '#E69F00', positive=True),
             *_level(curves, budget_ms, 'budget')]
    yield Panel('cycle_time', 'Time of a cycle', 'time [ms]', times, logarithmic=True,
                compact=True, limits=_decades(times))
    ages = [each for role, bodies in ((TARGET, targets), (USER, users))
            for k, body in enumerate(bodies)
            for each in list(curves.lines(column(role, body, 'age_s'), body, colour(role, k)))[:1]]
    for limit, what in ((deployment.tracking.predict, 'predicted until'),
                        (deployment.tracking.drop, 'dropped from')):
        ages += _level(curves, limit, f'{what} {limit:g} s')
    yield Panel('ages', 'Age of the newest pose at the transmit time', 'age [s]', ages,
                compact=True, limits=_from_zero(ages))


def _extremes(lines: Sequence[Line]) -> tuple[float, float] | None:
    known = [each.y[np.isfinite(each.y)] for each in lines]
    known = [values for values in known if len(values)]
    if not known:
        return None
    return min(float(v.min()) for v in known), max(float(v.max()) for v in known)


def _decades(lines: Sequence[Line], least: float = 0.0) -> tuple[float, float] | None:
    """Limits of a logarithmic axis, at least a decade apart: noise must not look like events."""
    found = _extremes(lines)
    if found is None:
        return None
    low, high = max(found[0], least) / 1.25, max(found[1], least) * 1.25
    widen = max(1.0, 10.0 / (high / low)) ** 0.5
    return low / widen, high * widen


def _decibels(lines: Sequence[Line], required: Sequence[Line]) -> tuple[float, float] | None:
    """Limits for SINRs: some decibels about the requirement at least, and no bottomless fades."""
    found, wanted = _extremes(lines), _extremes(required)
    if found is None or wanted is None:
        return found and (found[0] - 3.0, found[1] + 3.0)
    return (min(max(found[0] - 1.0, wanted[0] - MOST_FADE_DB), wanted[0] - LEAST_ROOM_DB),
            max(found[1] + 1.0, wanted[1] + LEAST_ROOM_DB))


def _from_zero(lines: Sequence[Line]) -> tuple[float, float] | None:
    found = _extremes(lines)
    return found and (min(0.0, 1.1 * found[0]), 1.15 * found[1] if found[1] > 0 else 1.0)


def _level(curves: Curves, value: float | None, label: str) -> Iterator[Line]:
    """Line at a height."""
    if value is not None and curves.modes:
        x = np.concatenate([curves.places(mode) for mode in curves.modes])
        if np.isfinite(x).any():
            yield Line(label, GREYS, np.array([np.nanmin(x), np.nanmax(x)]),
                       np.array([value, value]), 'dashed')


# States


def state_rows(curves: Curves, cycles: Columns) -> Iterator[StateRow]:
    """States of the designs, and of the radio where it was recorded."""
    quality = cycles['quality']
    for mode in curves.modes:
        rows = curves.rows(mode)
        yield StateRow(mode, runs(curves.places(mode), quality[rows], STATES))
    armed, muted = cycles['radio_armed'], cycles['radio_muted']
    rows = curves.rows(RECORDED) & (armed | muted)
    if rows.any():
        state = np.where(muted, 'muted', 'on').astype(object)
        state[~armed] = 'off'
        yield StateRow('radio', runs(curves.places(RECORDED), state[curves.rows(RECORDED)],
                                     RADIO_STATES))


def runs(x: Vector, states: NDArray, order: Sequence[str]) -> list[tuple[float, float, str]]:
    """
    Stretches of one state, each until the next; the worst of each interval if they are too many.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Places, rising [s].
    states : ndarray of str, shape (n,)
    order : sequence of str
        From the best to the worst.

    """
    changes = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1)]
    if len(changes) > INTERVALS:
        rank = np.array([order.index(state) if state in order else 0 for state in states])
        edges = np.linspace(x[0], x[-1], INTERVALS + 1)
        starts = np.unique(np.searchsorted(x, edges[:-1]))
        worst = np.maximum.reduceat(rank, starts)
        x, states = x[starts], np.array(order, dtype=object)[worst]
        changes = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1)]
    ends = [*changes[1:], len(x) - 1]
    return [(float(x[a]), float(x[b]), str(states[a])) for a, b in zip(changes, ends)]


def bands(incidents: Sequence[Incident], mode: str, axis: TimeAxis,
          starts: Mapping[str, float]) -> tuple[list[Band], int]:
    """Longest stretches of fallback and mute of a mode, and how many shorter ones there are."""
    found = [each for each in incidents
             if each.mode == mode and each.kind in ('fallback', 'mute') and each.length > 0]
    found.sort(key=lambda each: -each.length)
    shown = []
    for each in found[:MAX_BANDS]:
        begin, end = axis.places(each.bag, starts[each.bag] + np.array(
            [each.begin_s, each.end_s]))
        shown.append(Band(each.kind, each.reason, float(begin), float(end)))
    return shown, max(0, len(found) - MAX_BANDS)


# Map and beams


def scene_map(cycles: Columns, curves: Curves, deployment: Deployment,
              paths: Sequence[Mapping[tuple[Role, str], Path]]) -> Map:
    """Tracks, arrays and bounds as seen from above."""
    tracks: dict[tuple[str, str], Vector] = {}
    for each in paths:
        for (role, body), path in each.items():
            times, places = np.array(path.times), np.array(path.places)[:, :2]
            order = np.argsort(times, kind='stable')
            line_ = broken(times[order], places[order])[1]
            known = tracks.get((role.value, body))
            tracks[role.value, body] = line_ if known is None else np.vstack(
                [known, np.full((1, 2), np.nan), line_])
    arrays = [_array_line(array, label) for array, label in _arrays(deployment)]
    points = np.vstack([*tracks.values(), *(np.array([a, b]) for _, a, b, _ in arrays)])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    margin = 0.08 * max(float((high - low).max()), 1.0)
    low, high = _filled(low - margin, high + margin)
    ellipses, factor = _ellipses(cycles, curves, float(high[0] - low[0]))
    return Map(low, high, tracks, arrays, ellipses, factor, deployment.world_frame)


def _filled(low: Vector, high: Vector) -> tuple[Vector, Vector]:
    """Corners of a plan that is neither a tower nor a ribbon, about the same centre."""
    width, depth = high - low
    room = np.maximum(0.0, [NARROWEST * depth - width, width / WIDEST - depth]) / 2
    return low - room, high + room


def _arrays(deployment: Deployment) -> list[tuple[object, str]]:
    transmit, receive = deployment.transmit_array, deployment.receive_array
    if transmit.same_elements(receive):
        return [(transmit, f'array, {len(transmit)} elements')]
    return [(transmit, f'transmit array, {len(transmit)} elements'),
            (receive, f'receive array, {len(receive)} elements')]


def _array_line(array: object, label: str) -> tuple[str, Vector, Vector, Vector]:
    """From above an upright array is a line, between the elements furthest from the centre."""
    places = array.positions[:, :2]   # type: ignore[attr-defined]
    centre = places.mean(axis=0)
    away = places - centre
    end = away[np.linalg.norm(away, axis=1).argmax()]
    return label, centre - end, centre + end, array.pose.rotation[:2, 2]   # type: ignore[attr-defined]


def _ellipses(cycles: Columns, curves: Curves, width: float) -> tuple[list[Ellipse], float]:
    chosen: list[tuple[str, Vector, Vector, Vector]] = []
    mode = curves.modes[0]
    rows = curves.rows(mode)
    for target in bodies_of(cycles.names, TARGET):
        names = [column(TARGET, target, name) for name in (
            'x_m', 'y_m', 'crb_xx_m2', 'crb_xy_m2', 'crb_yy_m2')]
        if any(name not in cycles for name in names):
            continue
        values = np.stack([cycles[name][rows] for name in names], axis=1)
        values = values[np.isfinite(values).all(axis=1)]
        for index in spread(len(values), ELLIPSES):
            x, y, xx, xy, yy = values[index]
            variances, axes = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]))
            chosen.append((target, np.array([x, y]), np.sqrt(np.maximum(variances, 0.0)),
                           axes[:, 1]))
    if not chosen:
        return [], 1.0
    large = float(np.quantile([half[1] for _, _, half, _ in chosen], 0.8))
    factor = round_number(ELLIPSE_SHARE * width / large) if large > 0 else 1.0
    return [Ellipse(target, float(place[0]), float(place[1]), float(factor * half[1]),
                    float(factor * half[0]), float(np.arctan2(major[1], major[0])))
            for target, place, half, major in chosen], factor


def patterns(beams: Sequence[tuple[str, Beams]], cycles: Columns, curves: Curves,
             deployment: Deployment, view: Map, axis: TimeAxis,
             starts: Mapping[str, float]) -> Patterns | None:
    """
    Beam patterns at chosen instants, from above: the best of some heights, as the demo draws them.

    Parameters
    ----------
    beams : sequence of (bag, Beams)
    cycles, curves, deployment, view, axis
        As for the other figures.
    starts : mapping
        Start of each recording [s].

    """
    array = deployment.transmit_array
    usable = [each for each in beams if len(each[1].weights) == len(array)]
    if not usable:
        return None
    chosen = [usable[k] for k in sorted(spread(len(usable), FRAMES))]
    heights = _heights(cycles, curves, deployment)
    width, depth = view.high - view.low
    cells = max(8, min(MOST_CELLS, isqrt(MOST_RESPONSES // (len(array) * len(heights)))))
    count = (max(4, round(cells * min(1.0, width / depth))),
             max(4, round(cells * min(1.0, depth / width))))
    gains = np.zeros((len(chosen), *count))
    for height in heights:
        plane = GridPlane(np.array([*(view.low + view.high) / 2, height]),
                          np.array([width, 0.0, 0.0]), np.array([0.0, depth, 0.0]), count)
        evaluator = PatternEvaluator(array.positions, deployment.radio.wavelength, plane.points)
        for k, (_, each) in enumerate(chosen):
            # fmax: a point on the antenna has no gain at one height and may have one at another.
            gains[k] = np.fmax(gains[k], evaluator.gain(each.weights).reshape(count))
    high = max(10.0, 10.0 * log10(len(array)))
    level = (decibels(gains, FLOOR_DB, high) - FLOOR_DB) / (high - FLOOR_DB)
    images = np.round(255 * np.nan_to_num(level)).astype(np.uint8)
    places = _Places(cycles, curves)
    frames = [Frame(bag, float(axis.places(bag, np.array([each.transmit_time]))[0]),
                    each.transmit_time - starts[bag], images[k].T,
                    places.at(bag, each.transmit_time))
              for k, (bag, each) in enumerate(chosen)]
    return Patterns(frames, FLOOR_DB, high, heights)


def _heights(cycles: Columns, curves: Curves, deployment: Deployment) -> Vector:
    """Heights of bodies and array, shape (n,) [m]; beams are narrower than they differ."""
    known = [float(deployment.transmit_array.positions[:, 2].mean())]
    rows = curves.rows(curves.modes[0])
    for role in (TARGET, USER):
        for body in bodies_of(cycles.names, role):
            name = column(role, body, 'z_m')
            values = cycles[name][rows] if name in cycles else np.zeros(0)
            values = values[np.isfinite(values)]
            known += [float(np.median(values))] if len(values) else []
    low, high = min(known), max(known)
    return np.linspace(low, high, min(MOST_HEIGHTS, 1 + ceil((high - low) / HEIGHT_STEP)))


class _Places:
    """Where the bodies are in the cycles of the first mode."""

    def __init__(self, cycles: Columns, curves: Curves) -> None:
        rows = curves.rows(curves.modes[0])
        self._bags, self._times = cycles['bag'][rows], cycles['transmit_time_s'][rows]
        self._places = {
            (role, body): [cycles[column(role, body, axis)][rows] for axis in ('x_m', 'y_m')]
            for role in (TARGET, USER) for body in bodies_of(cycles.names, role)
            if column(role, body, 'x_m') in cycles}

    def at(self, bag: str, time: float) -> list[tuple[str, str, float, float]]:
        """Bodies in the cycle of a recording whose transmit time [s] is nearest."""
        rows = np.flatnonzero(self._bags == bag)
        row = rows[np.nanargmin(np.abs(self._times[rows] - time))]
        return [(*key, float(x[row]), float(y[row])) for key, (x, y) in self._places.items()
                if np.isfinite([x[row], y[row]]).all()]


# What-if


@dataclass(frozen=True)
class Series:
    """
    One curve of a comparison: median, and where 80 % of the cycles lie; NaN: not known.

    `places` are where its values `x` stand on the horizontal axis, a little beside those of the
    other curves, so that none hides another; those of categories count from 0.
    """

    label: str
    colour: str
    dash: str
    x: Sequence[float | str]
    places: Vector
    y: Vector
    low: Vector
    high: Vector


@dataclass(frozen=True)
class Comparison:
    """
    One quantity over what was swept.

    Attributes
    ----------
    key : str
        Name of the picture.
    title, unit, swept : str
        What is drawn, and the labels of the axes.
    categories : sequence of str
        Values of the horizontal axis if they are no numbers; empty if they are.
    series : sequence of Series
    logarithmic, wide : bool
        The vertical axis is logarithmic; so is the horizontal one.

    """

    key: str
    title: str
    unit: str
    swept: str
    categories: Sequence[str]
    series: Sequence[Series]
    logarithmic: bool = False
    wide: bool = False


SERIES_LOOKS = [(shade, dash) for dash in ('solid', 'dashed', 'dotted')
                for shade in ('#D55E00', '#0072B2', '#009E73', '#CC79A7')]
MAX_TARGETS = 4
# How far curves stand beside each other, as a share of the axis, and of a category.
ASIDE, CATEGORY_ASIDE = 0.012, 0.09
# Numbers that span more than this are drawn on a logarithmic axis.
WIDE_SPAN = 30.0


def comparisons(rows: Sequence[Mapping[str, object]], swept: Sequence[str]) -> list[Comparison]:
    """
    Charts of a what-if.

    Parameters
    ----------
    rows : sequence of mapping
        As in whatif_summary.csv.
    swept : sequence of str
        Columns of the swept values. The one with the most different numbers lies on the
        horizontal axis.

    """
    if not rows:
        return []
    values = {name: list(dict.fromkeys(row[name] for row in rows)) for name in swept}
    x_name = max(swept, key=lambda name: (isinstance(values[name][0], float), len(values[name])))
    numeric = isinstance(values[x_name][0], float)
    marks = [float(value) for value in values[x_name]] if numeric else []
    wide = numeric and min(marks) > 0 and max(marks) / min(marks) > WIDE_SPAN
    others = [name for name in swept if name != x_name]
    groups: dict[str, list[Mapping[str, object]]] = {}
    for row in rows:
        label = ', '.join(_value(row[name]) for name in others) or x_name.removeprefix(PREFIX)
        groups.setdefault(label, []).append(row)
    shown = list(groups.items())[:len(SERIES_LOOKS)]

    def chart(key: str, title: str, unit: str, middle: str, low: str = '', high: str = '',
              logarithmic: bool = False) -> Comparison:
        series = []
        for number, ((label, members), (shade, dash)) in enumerate(zip(shown, SERIES_LOOKS)):
            x = [row[x_name] if numeric else _value(row[x_name]) for row in members]
            aside = number - (len(shown) - 1) / 2
            if not numeric:
                index = [values[x_name].index(row[x_name]) for row in members]
                places = np.array(index) + CATEGORY_ASIDE * aside
            elif wide:
                places = np.array(x) * (max(marks) / min(marks)) ** (ASIDE * aside)
            else:
                places = np.array(x) + (max(marks) - min(marks)) * ASIDE * aside
            y, least, most = (_numbers(members, name) for name in (middle, low, high))
            series.append(Series(label, shade, dash, x, places, y, least, most))
        return Comparison(key, title, unit, SWEEPS[x_name.removeprefix(PREFIX)].label,
                          [] if numeric else [_value(each) for each in values[x_name]], series,
                          logarithmic, wide)

    found = []
    for target in bodies_of(rows[0], TARGET)[:MAX_TARGETS]:
        name = column(TARGET, target, 'root_crb_')
        found.append(chart(f'whatif_root_crb_{target}', f'Root-CRB of {target}: median, and where '
                           '80 % of the cycles lie', 'root-CRB [m]', f'{name}median_m',
                           f'{name}p10_m', f'{name}p90_m', logarithmic=True))
    for user in bodies_of(rows[0], USER)[:MAX_TARGETS]:
        found.append(chart(f'whatif_sinr_met_{user}', f'Share of the cycles in which {user} gets '
                           'the SINR that it requires', 'share', column(
                               USER, user, 'sinr_met_share')))
    return found


def _value(value: object) -> str:
    return f'{value:g}' if isinstance(value, float) else str(value)


def _numbers(rows: Sequence[Mapping[str, object]], name: str) -> Vector:
    return np.array([np.nan if (value := row.get(name)) is None else value for row in rows],
                    dtype=float)
