"""What the terminal shows while a demo runs: a live table, or a line now and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import math
import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nf_isac_ros.demo.runlog import (
    OUTCOMES,
    TARGET,
    USER,
    BodyState,
    DesignRecord,
    RadioRecord,
    RunLog,
    TargetBound,
    UserSinr,
)
from nf_isac_ros.demo.summary import SINR_TOLERANCE_DB, percentiles

# Rates and percentiles are those of so much time before now [s].
RECENT = 5.0
# A drawing costs some milliseconds that the nodes could use [s].
TABLE_PERIOD = 0.5
LINE_PERIOD = 3.0
# How many names of dead nodes, reasons and the like fit into a line.
LINE_ITEMS = 4


@dataclass(frozen=True)
class Snapshot:
    """
    State of a run at one instant.

    Attributes
    ----------
    title : str
        What is run.
    phase : str
        'starting', 'measuring', 'stopping' or 'done'.
    elapsed, duration : float
        Of the window [s].
    nodes : mapping
        Name -> what it does: 'running', 'configuring', ...; a dead one: why.
    dead : tuple of str
        Names of those that died.
    rate : float
        Cycles per second, recently.
    cycle_ms, pose_to_beam_ms : mapping
        p50 and p99, recently [ms].
    outcomes : mapping
        Outcome -> number of cycles in the window.
    gap, gap_max : float
        Newest one, and largest in the window.
    design : DesignRecord or None
        Newest cycle.
    radio : RadioRecord or None
    bounds : tuple of TargetBound
        Of the newest design.
    fallbacks, mutes, rejected : mapping
        Counts by reason.

    """

    title: str
    phase: str
    elapsed: float
    duration: float
    nodes: Mapping[str, str] = field(default_factory=dict)
    dead: tuple[str, ...] = ()
    rate: float = math.nan
    cycle_ms: Mapping[str, float] = field(default_factory=dict)
    pose_to_beam_ms: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    gap: float = math.nan
    gap_max: float = math.nan
    design: DesignRecord | None = None
    radio: RadioRecord | None = None
    bounds: tuple[TargetBound, ...] = ()
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    mutes: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)


class Tally:
    """
    Turns a growing log into snapshots; counts each record once.

    Parameters
    ----------
    log : RunLog

    """

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._counted = 0
        self._outcomes: Counter[str] = Counter()
        self._fallbacks: Counter[str] = Counter()
        self._mutes: Counter[str] = Counter()
        self._gap_max = math.nan

    def snapshot(self, title: str, phase: str, duration: float, now: float,
                 nodes: Mapping[str, str], dead: Sequence[str] = ()) -> Snapshot:
        """
        Return the state at an instant.

        Parameters
        ----------
        title, phase : str
            See Snapshot.
        duration : float
            Of the window [s].
        now : float
            On the axis of the times in the log [s].
        nodes : mapping
            Name -> what it does.
        dead : sequence of str
            Names of the nodes that died.

        Returns
        -------
        Snapshot

        """
        log = self._log
        now = min(now, log.end)
        if math.isfinite(log.begin):
            for design in log.designs[self._counted:]:
                if log.inside(design.time):
                    self._count(design)
            self._counted = len(log.designs)
        # What comes after the window is the end of the nodes, not their work.
        last, radio, bounds = (
            next((record for record in reversed(records) if record.time <= log.end), None)
            for records in (log.designs, log.radio, log.bounds))
        started = log.begin if math.isfinite(log.begin) else now
        since = max(now - RECENT, started)
        recent = []
        for design in reversed(log.designs):
            if design.time < since:
                break
            recent.append(design)
        with_beams = [design for design in recent if design.published]
        span = now - since
        rejected = Counter(last.rejected) if last else Counter()
        if radio is not None:
            rejected.update({f'radio: {reason}': count
                             for reason, count in radio.rejected.items()})
        return Snapshot(
            title=title, phase=phase, elapsed=min(max(0.0, now - started), duration),
            duration=duration, nodes=dict(nodes), dead=tuple(dead),
            rate=len(recent) / span if span > 0.5 else math.nan,
            cycle_ms=percentiles((design.cycle_ms for design in with_beams), 50, 99),
            pose_to_beam_ms=percentiles(
                (design.pose_to_beam_ms for design in with_beams), 50, 99),
            outcomes={outcome: self._outcomes[outcome] for outcome in OUTCOMES},
            gap=last.gap if last else math.nan, gap_max=self._gap_max,
            design=last, radio=radio, bounds=bounds.targets if bounds is not None else (),
            fallbacks=dict(self._fallbacks), mutes=dict(self._mutes), rejected=dict(+rejected))

    def _count(self, design: DesignRecord) -> None:
        self._outcomes[design.outcome] += 1
        if design.outcome == 'fallback':
            self._fallbacks[design.reason] += 1
        elif not design.published:
            self._mutes[design.reason] += 1
        if design.published and math.isfinite(design.gap):
            self._gap_max = design.gap if math.isnan(self._gap_max) else max(
                self._gap_max, design.gap)


def length(metres: float) -> str:
    """Write a length with a unit that suits it."""
    if math.isnan(metres):
        return '-'
    if math.isinf(metres):
        return 'not identifiable'
    for limit, factor, unit in ((1e-3, 1e6, 'µm'), (1.0, 1e3, 'mm')):
        if metres < limit:
            return f'{metres * factor:.3g} {unit}'
    return f'{metres:.3g} m'


def angle(radians: float) -> str:
    """Write an angle with a unit that suits it."""
    if math.isnan(radians):
        return '-'
    if math.isinf(radians):
        return 'not identifiable'
    for limit, factor, unit in ((1e-3, 1e6, 'µrad'), (1.0, 1e3, 'mrad')):
        if radians < limit:
            return f'{radians * factor:.3g} {unit}'
    return f'{radians:.3g} rad'


def decibel(value: float) -> str:
    """Write a ratio in dB; a dash for one that is not known."""
    return f'{value:.2f} dB' if math.isfinite(value) else '-'


def number(value: float, form: str, unit: str = '') -> str:
    """Write a number; a dash for one that is not known."""
    return f'{value:{form}}{unit}' if math.isfinite(value) else '-'


def _reasons(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    words = [f'{reason or "no reason given"} {count}' for reason, count in ordered[:LINE_ITEMS]]
    if len(ordered) > LINE_ITEMS:
        words.append(f'{len(ordered) - LINE_ITEMS} more')
    return ', '.join(words) or 'none'


def radio_state(radio: RadioRecord | None) -> str:
    """Say in a few words what the radio does."""
    if radio is None:
        return 'no status yet'
    if radio.muted:
        return f'muted ({radio.mute_reason or "no reason given"})'
    return f'{radio.power:.3g} W of {radio.power_limit:.3g} W'


def status_line(shot: Snapshot) -> str:
    """
    Write a snapshot as one plain line.

    Parameters
    ----------
    shot : Snapshot
        State of the run.

    Returns
    -------
    str

    """
    if shot.phase == 'starting':
        return 'starting: ' + ', '.join(f'{name} {state}' for name, state in shot.nodes.items())
    parts = [
        f'{shot.phase} {shot.elapsed:.1f}/{shot.duration:.4g} s',
        f'{number(shot.rate, ".1f")} Hz, cycle {number(shot.cycle_ms.get("p50", math.nan), ".0f")}'
        f'/{number(shot.cycle_ms.get("p99", math.nan), ".0f")} ms',
        ' '.join(f'{outcome} {count}' for outcome, count in shot.outcomes.items() if count)
        or 'no cycle yet',
        f'gap {number(shot.gap, ".1e")}',
    ]
    seen = {user.id: user for user in shot.radio.users} if shot.radio else {}
    parts += [f'{user.id} {number(user.sinr_db, ".1f")}/'
              f'{number(seen[user.id].sinr_db if user.id in seen else math.nan, ".1f")} dB'
              for user in (shot.design.users if shot.design else ())]
    parts += [f'{target.id} {length(target.root_crb)}'
              for target in _current_bounds(shot).values()]
    parts.append(f'radio {radio_state(shot.radio)}')
    parts += [f'{name}: {shot.nodes.get(name, "died")}' for name in shot.dead]
    return ' | '.join(parts)


def picture(shot: Snapshot) -> RenderableType:
    """
    Draw a snapshot as a table.

    Parameters
    ----------
    shot : Snapshot
        State of the run.

    Returns
    -------
    rich renderable

    """
    parts: list[RenderableType] = [_head(shot)]
    if shot.design is not None and shot.phase != 'starting':
        parts += [Text(), _figures(shot), Text(), _users(shot), Text(), _targets(shot)]
    if shot.dead:
        parts.append(Text())
        parts += [Text(f'✗ {name}: {shot.nodes.get(name, "died")}', style='bold red')
                  for name in shot.dead]
    return Group(*parts)


def _head(shot: Snapshot) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify='right', no_wrap=True)
    if shot.phase == 'starting':
        up = sum(state in ('running', 'active') for state in shot.nodes.values())
        bar = ProgressBar(total=max(len(shot.nodes), 1), completed=up)
        grid.add_row(Text('starting', style='bold yellow'), bar, f'{up} of {len(shot.nodes)} up')
    else:
        bar = ProgressBar(total=shot.duration, completed=shot.elapsed)
        grid.add_row(Text(shot.phase, style='bold green'), bar,
                     f'{shot.elapsed:.1f} of {shot.duration:.4g} s')
    parts: list[RenderableType] = [Text(shot.title, style='bold'), grid]
    if shot.phase == 'starting':
        # A name and its state stay on one line.
        parts.append(Text(', '.join(f'{name}\N{NO-BREAK SPACE}{state}'
                                    for name, state in shot.nodes.items()), style='dim'))
    return Group(*parts)


def _figures(shot: Snapshot) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style='cyan', no_wrap=True)
    grid.add_column()
    cycle, pose = shot.cycle_ms, shot.pose_to_beam_ms
    grid.add_row('rate', f'{number(shot.rate, ".1f", " Hz")}   gap {number(shot.gap, ".1e")}, '
                         f'at most {number(shot.gap_max, ".1e")}')
    grid.add_row('latency', f'cycle {number(cycle.get("p50", math.nan), ".1f")} / '
                            f'{number(cycle.get("p99", math.nan), ".1f", " ms")}, pose to beam '
                            f'{number(pose.get("p50", math.nan), ".1f")} / '
                            f'{number(pose.get("p99", math.nan), ".1f", " ms")} (p50 / p99)')
    outcomes = Text()
    for outcome, count in shot.outcomes.items():
        worrying = outcome in ('fallback', 'mute') and count
        outcomes.append(f'{outcome} {count}   ', style='yellow' if worrying else '')
    grid.add_row('designs', outcomes)
    grid.add_row('fallbacks', _reasons(shot.fallbacks))
    if shot.mutes:
        grid.add_row('mutes', Text(_reasons(shot.mutes), style='yellow'))
    if shot.rejected:
        grid.add_row('rejected', Text(_reasons(shot.rejected), style='yellow'))
    radio = shot.radio
    line = Text(radio_state(radio), style='yellow' if radio is None or radio.muted else 'green')
    if radio is not None:
        line.append(f'   applied {radio.applied}, late {radio.late}, dropped {radio.dropped}, '
                    f'muted {radio.muted_duration:.1f} s', style='default')
    grid.add_row('radio', line)
    return grid


def _users(shot: Snapshot) -> RenderableType:
    table = _body_table('user', 'required', 'designed', 'seen', 'pose')
    designed = {user.id: user for user in shot.design.users} if shot.design else {}
    seen = {user.id: user for user in shot.radio.users} if shot.radio else {}
    bodies = _bodies(shot, USER)
    for user_id in sorted({*designed, *bodies}):
        user = designed.get(user_id, UserSinr(user_id, math.nan, math.nan))
        received = seen.get(user_id, UserSinr(user_id, math.nan, math.nan))
        table.add_row(user_id, decibel(user.required_db),
                      _judged(user.sinr_db, user.required_db),
                      _judged(received.sinr_db, user.required_db), _pose(bodies.get(user_id)))
    if not table.row_count:
        table.add_row(Text('none', style='dim'), '', '', '', '')
    return table


def _targets(shot: Snapshot) -> RenderableType:
    table = _body_table('target', 'root-CRB', 'isotropic', 'gain', 'pose')
    bounds, bodies = _current_bounds(shot), _bodies(shot, TARGET)
    for target_id in sorted({*bounds, *bodies}):
        target = bounds.get(target_id)
        if target is None:
            table.add_row(target_id, '-', '-', '-', _pose(bodies.get(target_id)))
            continue
        gain = 10 * math.log10(target.isotropic_crb / target.crb) if (
            0 < target.crb < math.inf and 0 < target.isotropic_crb < math.inf) else math.nan
        table.add_row(target_id, length(target.root_crb), length(target.isotropic_root_crb),
                      number(gain, '.1f', ' dB'), _pose(bodies.get(target_id)))
        for name in ('direction', 'orientation'):
            if name in target.parameters:
                table.add_row(Text(f'  {name}', style='dim'), angle(target.deviation(name)))
    if not table.row_count:
        table.add_row(Text('none', style='dim'), '', '', '', '')
    return table


def _body_table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2), header_style='cyan', pad_edge=False)
    table.add_column(first, min_width=9, no_wrap=True)
    for name in others[:-1]:
        table.add_column(name, justify='right', min_width=11, no_wrap=True)
    table.add_column(others[-1], min_width=14, no_wrap=True)
    return table


def _bodies(shot: Snapshot, role: str) -> dict[str, BodyState]:
    return {body.id: body for body in (shot.design.bodies if shot.design else ())
            if body.role == role}


def _current_bounds(shot: Snapshot) -> dict[str, TargetBound]:
    """Bounds of the targets that are designed for now, whatever the last CrbArray said."""
    if shot.design is None or not shot.design.published:
        return {}
    bodies = _bodies(shot, TARGET)
    return {target.id: target for target in shot.bounds
            if target.id not in bodies or bodies[target.id].state != 'dropped'}


def _judged(value: float, required: float) -> Text:
    if not (math.isfinite(value) and math.isfinite(required)):
        return Text(decibel(value))
    met = value >= required - SINR_TOLERANCE_DB
    return Text(decibel(value), style='green' if met else 'yellow')


def _pose(body: BodyState | None) -> Text:
    if body is None:
        return Text('-', style='dim')
    style = {'fresh': '', 'held': 'yellow', 'dropped': 'red'}[body.state]
    return Text(f'{body.state}, {number(1e3 * body.age, ".0f", " ms")}', style=style)


class Screen:
    """
    Shows snapshots: redrawn in place on a terminal, as lines where there is none.

    Parameters
    ----------
    console : Console

    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False,
                          vertical_overflow='ellipsis') if console.is_terminal else None
        self._due = -math.inf
        self._said = ''

    def __enter__(self) -> Screen:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """Leave the last drawing where it is."""
        if self._live is not None:
            self._live.stop()

    @property
    def due(self) -> bool:
        """Tell whether it is time to show something new."""
        return time.monotonic() >= self._due

    def show(self, shot: Snapshot) -> None:
        """Show a snapshot now."""
        if self._live is not None:
            self._due = time.monotonic() + TABLE_PERIOD
            self._live.update(picture(shot), refresh=True)
            return
        if shot.phase == 'done':
            # What lines have to say was said; the table alone is left standing.
            return
        self._due = time.monotonic() + LINE_PERIOD
        line = status_line(shot)
        if line != self._said:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
            self._said = line
