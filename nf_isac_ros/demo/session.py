"""One demo from its first process to its last file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
import math
import os
from pathlib import Path
import signal
import time
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from nf_isac_ros import __version__
from nf_isac_ros.core.localisation.loop import LoopRecord
from nf_isac_ros.demo.graph import (
    CLOSED,
    LIFECYCLE_NODES,
    PLAYER,
    RECORDER,
    SCENARIO,
    Source,
)
from nf_isac_ros.demo.loop import (
    TargetErrors,
    compare_designs,
    compared_rows,
    live_rows,
    target_errors,
    unheld,
)
from nf_isac_ros.demo.memory import MemoryWatch, growing
from nf_isac_ros.demo.output import OutputFolder
from nf_isac_ros.demo.runlog import LIVE_TOPICS, PATH_TOPICS, RunLog
from nf_isac_ros.demo.summary import EXTENDED_BOUNDS, Death, RunFacts, summarise, write_json
from nf_isac_ros.demo.supervisor import Ending, Program, Supervisor, SupervisorError
from nf_isac_ros.demo.table import Screen, Tally, angle, decibel, length, number
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.reader import Recording

# How long it takes at most to learn of nodes that are there already [s].
DISCOVERY = 1.0
# How long the nodes may take to be up: a first start compiles [s].
START_PATIENCE = 60.0
# How long a loaded recording may take to answer that it begins [s].
RESUME_PATIENCE = 10.0
# How long the window waits for beams once all nodes are up [s].
FIRST_BEAM_PATIENCE = 3.0
# How long a lifecycle node may take to become inactive at the end [s].
DEACTIVATION_PATIENCE = 2.0
# How often processes and screen are looked after [s].
STEP = 0.05

# How much of a dead node's log is shown; more is in summary.json, all of it in logs.
SHOWN_LINES = 3

FAILURE = 1


@dataclass(frozen=True)
class Plan:
    """
    What is to be run.

    Attributes
    ----------
    source : Source
        Of the poses.
    deployment : Deployment
        Content of the source's deployment file.
    duration : float
        Of the window [s].
    settings : tuple of (node, parameter, value)
        Parameters on top of the parameter file.
    shared_domain : bool
        The ROS domain was given, so that others may be in it.
    soak : bool
        Memory that grows is not good enough.

    """

    source: Source
    deployment: Deployment
    duration: float
    settings: tuple[tuple[str, str, str], ...] = ()
    shared_domain: bool = False
    soak: bool = False


@dataclass
class Interruption:
    """
    The first signal that asked the demo to end.

    Attributes
    ----------
    number : int
        0: none.

    """

    number: int = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal."""
        self.number = self.number or number

    def __bool__(self) -> bool:
        """Tell whether there was one."""
        return self.number != 0


@contextmanager
def catching_signals() -> Iterator[Interruption]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into a request to end in order."""
    interruption = Interruption()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interruption) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Session:
    """What the phases of a demo share."""

    plan: Plan
    supervisor: Supervisor
    screen: Screen
    interruption: Interruption
    log: RunLog = field(default_factory=RunLog)
    nodes: dict[str, str] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    errors: tuple[TargetErrors, ...] = ()
    compared: tuple[LoopRecord, ...] = ()
    memory: MemoryWatch = field(default_factory=MemoryWatch)

    def __post_init__(self) -> None:
        """Begin to count."""
        self._tally = Tally(self.log)
        # The domain is for those who want to look at the topics meanwhile.
        self._title = f'{self.plan.source.title}, ROS_DOMAIN_ID {os.environ["ROS_DOMAIN_ID"]}'

    @property
    def measured(self) -> bool:
        """Tell whether there was a window."""
        return math.isfinite(self.log.begin)

    def show(self, phase: str, *, now: bool = False) -> None:
        """Draw, if it is time to."""
        if now or self.screen.due:
            self.screen.show(self._tally.snapshot(
                self._title, phase, self.plan.duration, time.time(), self.nodes,
                tuple({death.node for death in self.deaths} - set(self.supervisor.running))))

    def note_endings(self, endings: list[Ending]) -> None:
        """Take note of processes that have ended."""
        for ending in endings:
            if ending.clean:
                self.nodes[ending.name] = 'ended'
                continue
            since = ending.time - time.monotonic() + time.time() - self.log.begin
            self.nodes[ending.name] = ending.cause
            self.deaths.append(Death(
                ending.name, ending.cause, ending.exit_code, ending.signal,
                round(since, 3) if math.isfinite(since) else math.nan, ending.last_lines))


def run_session(plan: Plan, programs: Sequence[Program], out: OutputFolder) -> int:
    """
    Start the graph, watch it, end it, and write the results.

    Parameters
    ----------
    plan : Plan
        What to run.
    programs : sequence of Program
        The nodes.
    out : OutputFolder
        Where to write.

    Returns
    -------
    int
        Exit code, as nf_isac_ros.demo.command.run describes it.

    """
    console = Console()
    with catching_signals() as interruption:
        with ExitStack() as stack:
            supervisor = stack.enter_context(Supervisor(out.logs))
            screen = stack.enter_context(Screen(console))
            session = _Session(plan, supervisor, screen, interruption)
            try:
                _run_graph(session, programs, stack)
            except SupervisorError as error:
                session.problems.append(str(error))
            _stop(session)
            session.show('done', now=True)
        summary = _write_summary(session, out)
    # From here on Ctrl-C simply ends it: no process is left, and the summary is there.
    problems = []
    if session.measured:
        problems = _add_paths(session.log, out.recording)
        if plan.source.loop == CLOSED:
            console.print('comparing designs on the same noise', style='dim')
            problems += _judge_loop(session)
        console.print('drawing the pictures', style='dim')
        problems += _draw(session, out)
        if plan.soak:
            problems += growing(session.memory.summary())
    if problems or session.errors:
        session.problems += problems
        summary = _write_summary(session, out)
    _report(console, summary, out)
    if interruption:
        return 128 + interruption.number
    return 0 if summary['verdict']['passed'] else FAILURE


def _run_graph(session: _Session, programs: Sequence[Program], stack: ExitStack) -> None:
    """Start everything, wait for it, and measure."""
    session.nodes.update((program.name, 'starting') for program in programs)
    session.show('starting', now=True)
    if session.plan.shared_domain and not _domain_is_free(session):
        return
    for program in programs:
        session.supervisor.start(program)
    # Not before: this process loads its half of ROS while the nodes load theirs.
    from nf_isac_ros.demo.monitor import Monitor
    monitor = stack.enter_context(Monitor(session.log, LIFECYCLE_NODES))
    if _wait_until_up(session, monitor) and _wait_for_beams(session, monitor):
        _measure(session, monitor)
    session.show('stopping', now=True)
    # The radio first: it is muted by its own hand, and says so while the recorder listens. What
    # does not answer is ended with the others.
    for name in LIFECYCLE_NODES:
        if session.nodes[name] == 'active':
            monitor.deactivate(name, DEACTIVATION_PATIENCE)


def _domain_is_free(session: _Session) -> bool:
    """Look for nodes of these names: one could not tell them from those of the demo."""
    from nf_isac_ros.demo.monitor import Monitor
    with Monitor(RunLog()) as monitor:
        monitor.spin(DISCOVERY)
        there = sorted(set(monitor.node_names()) & set(session.nodes))
    if there:
        session.problems.append(
            f'{", ".join(there)} of somebody else run in ROS_DOMAIN_ID '
            f'{os.environ["ROS_DOMAIN_ID"]}: end them, or choose another domain')
    return not there


def _wait_until_up(session: _Session, monitor: Any) -> bool:
    """Bring the nodes up; tell whether they are."""
    deadline = time.monotonic() + START_PATIENCE
    while not session.interruption:
        monitor.spin(STEP)
        session.note_endings(session.supervisor.poll())
        if session.deaths:
            return False
        present = set(monitor.node_names())
        states = monitor.advance_bring_up()
        # A source is there before it has read what it plays; the truth tells that it has.
        if not monitor.publishers('truth/targets'):
            present -= {SCENARIO, PLAYER}
        if not monitor.hears(RECORDER, LIVE_TOPICS):
            present.discard(RECORDER)
        for name in session.supervisor.running:
            session.nodes[name] = states.get(name, 'running') if name in present else 'starting'
        failed = [name for name in states if states[name] == 'failed']
        if failed:
            session.problems += [_refusal(session, name) for name in failed]
            return False
        if all(session.nodes[name] in ('running', 'active') for name in
               session.supervisor.running):
            return True
        if time.monotonic() > deadline:
            late = ', '.join(f'{name} ({state})' for name, state in session.nodes.items()
                             if state not in ('running', 'active'))
            session.problems.append(f'not up after {START_PATIENCE:g} s: {late}')
            return False
        session.show('starting')
    return False


def _refusal(session: _Session, name: str) -> str:
    from nf_isac_ros.demo.supervisor import last_lines
    lines = last_lines(session.supervisor.logs / f'{name}.log', 1)
    return f'{name} could not be configured and activated' + (
        f': {lines[0]}' if lines else '')


def _wait_for_beams(session: _Session, monitor: Any) -> bool:
    """Let a recording begin, and wait for the first beams; tell whether to go on."""
    if PLAYER in session.nodes and not monitor.trigger(f'{PLAYER}/resume', RESUME_PATIENCE):
        session.problems.append(f'{PLAYER} does not begin to play')
        return False
    started = time.monotonic()
    while not session.interruption and time.monotonic() - started < FIRST_BEAM_PATIENCE:
        monitor.spin(STEP)
        session.note_endings(session.supervisor.poll())
        if session.deaths:
            return False
        if session.log.designs and session.log.designs[-1].published:
            break
        session.show('starting')
    return not session.interruption


def _measure(session: _Session, monitor: Any) -> None:
    """Watch the graph for the duration of the window."""
    log = session.log
    log.begin = time.time()
    end = time.monotonic() + session.plan.duration
    while not session.interruption and (left := end - time.monotonic()) > 0:
        monitor.spin(min(STEP, left))
        session.note_endings(session.supervisor.poll())
        _revive(session, monitor)
        if not session.supervisor.running and not session.supervisor.reviving:
            break
        session.memory.look({name: session.supervisor.pid(name)
                             for name in session.supervisor.running})
        session.show('measuring')
    log.end = time.time()


def _revive(session: _Session, monitor: Any) -> None:
    """Start nodes again that died, and bring them up."""
    for name in session.supervisor.revive():
        session.nodes[name] = 'running'
        monitor.begin_again(name)
    for name, state in monitor.advance_bring_up().items():
        if name in session.supervisor.running:
            session.nodes[name] = state


def _stop(session: _Session) -> None:
    """End the nodes, the recorder last: it is to hear how the others end."""
    running = session.supervisor.running
    session.note_endings(session.supervisor.stop(set(running) - {RECORDER}))
    session.note_endings(session.supervisor.stop())


def _write_summary(session: _Session, out: OutputFolder) -> dict[str, Any]:
    log, source = session.log, session.plan.source
    facts = RunFacts(
        source={
            'scenario': source.scenario or None,
            'bag': str(source.bag) if source.bag is not None else None,
            'config': str(source.deployment),
            'cuts': [str(cut) for cut in source.cuts],
            'rate': source.rate,
            'seed': source.seed,
            'loop': source.loop,
            'settings': {f'{node}.{name}': value for node, name, value in session.plan.settings},
            'asked_duration_s': session.plan.duration,
        },
        power_limit=session.plan.deployment.radio.power,
        deaths=tuple(session.deaths),
        restarts=dict(session.supervisor.restarts),
        interrupted=bool(session.interruption),
        problems=tuple(session.problems),
        measured=session.measured)
    summary = {
        'version': __version__,
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        **summarise(log, facts), 'memory': session.memory.summary()}
    if session.errors:
        summary['loop'] = live_rows(session.errors)
        summary['loop_designs'] = compared_rows(session.compared)
    write_json(summary, out.path / 'summary.json')
    return summary


def _add_paths(log: RunLog, recording: Path) -> list[str]:
    """Add the paths of the bodies from the recording; return what went wrong."""
    try:
        with Recording(recording) as messages:
            for topic, _, log_time, message in messages.messages(
                    [f'/{topic}' for topic in PATH_TOPICS]):
                log.add(topic[1:], message, 1e-9 * log_time)
            return [f'recording: {note}' for note in messages.notes]
    except RecordingError as error:
        return [str(error)]


def _judge_loop(session: _Session) -> list[str]:
    """Errors of the closed loop, and the same with other designs; return what went wrong."""
    plan = session.plan
    session.errors = target_errors(session.log, plan.deployment)
    problems = unheld(live_rows(session.errors), session.log.end - session.log.begin)
    try:
        session.compared = compare_designs(
            session.log, plan.deployment, plan.deployment.design,
            1 if plan.source.seed is None else plan.source.seed)
    except Exception as error:  # noqa: BLE001  a comparison must not cost the other results
        problems.append(f'designs could not be compared: {type(error).__name__}: {error}')
    return problems


def _draw(session: _Session, out: OutputFolder) -> list[str]:
    """Draw the pictures; return what went wrong, one line each."""
    from nf_isac_ros.demo.loop_pictures import draw_designs, draw_latency_budget, draw_loop
    from nf_isac_ros.demo.pictures import draw_scene, draw_timeline
    problems = []
    drawings = (
        ('scene.png', lambda path: draw_scene(session.plan.deployment, session.log, path)),
        ('timeline.png', lambda path: draw_timeline(session.log, path)),
        *((('loop.png', lambda path: draw_loop(session.log, session.errors, path)),
           ('designs.png', lambda path: draw_designs(session.compared, path)))
          if session.errors else ()),
        ('latency.png', lambda path: draw_latency_budget(session.log, path)))
    for name, draw in drawings:
        try:
            draw(out.path / name)
        except Exception as error:  # noqa: BLE001  a picture must not cost the other results
            problems.append(f'{name} could not be drawn: {type(error).__name__}: {error}')
    return problems


def _report(console: Console, summary: dict[str, Any], out: OutputFolder) -> None:
    """Say what came out, and each condition that was not met in a line of its own."""
    def say(text: str, style: str = '') -> None:
        # Whoever reads lines from a pipe wants them whole.
        console.print(Text(text, style=style), soft_wrap=not console.is_terminal)

    say('')
    if summary['cycles']:
        _report_numbers(say, summary)
    written = [name for name in ('summary.json', 'scene.png', 'timeline.png', 'loop.png',
                                 'designs.png', 'latency.png', 'recording', 'logs')
               if (out.path / name).exists()]
    say(f'in {out.path}: {", ".join(written)}')
    for death in summary['nodes_died']:
        for line in death['last_lines'][-SHOWN_LINES:]:
            say(f'  {death["node"]}: {line}', 'dim')
    for reason in summary['verdict']['reasons']:
        say(f'NOT MET: {reason}', 'bold red')
    if summary['interrupted']:
        say('interrupted', 'bold yellow')
    elif summary['verdict']['passed']:
        say('all conditions met', 'bold green')


def _report_numbers(say: Callable[[str], None], summary: dict[str, Any]) -> None:
    cycle, pose = summary['cycle_ms'], summary['pose_to_beam_ms']
    say(f'{summary["duration_s"]:.1f} s, {summary["cycles"]} cycles, '
        f'{number(summary["rate_hz"], ".1f")} Hz; cycle {number(cycle["p50"], ".1f")} / '
        f'{number(cycle["p99"], ".1f")} ms, pose to beam {number(pose["p50"], ".1f")} / '
        f'{number(pose["p99"], ".1f")} ms (p50 / p99)')
    say('designs: ' + ', '.join(f'{name} {count}' for name, count in summary['quality'].items())
        + f'; gap at most {number(summary["gap_max"], ".1e")}; applied '
        f'{summary["radio"]["applied"]}, late {summary["radio"]["late"]}, dropped '
        f'{summary["radio"]["dropped"]}, muted {number(summary["radio"]["muted_s"], ".1f")} s')
    for user in summary['users']:
        say(f'user {user["id"]}: required {decibel(user["required_sinr_db"])}, designed at least '
            f'{decibel(user["designed_sinr_db"]["min"])}, seen '
            f'{decibel(user["seen_sinr_db"]["p50"])} (median), '
            f'{decibel(user["seen_sinr_db"]["p05"])} (5 %)')
    for target in summary['targets']:
        say(f'target {target["id"]}: root-CRB median {length(target["root_crb_m"]["p50"])}, '
            f'isotropic {length(target["isotropic_root_crb_m"]["p50"])}'
            + ''.join(f', {name} {(length if name == "range" else angle)(target[key]["p50"])}'
                      for name, key in EXTENDED_BOUNDS.items() if key in target))
    for name, row in summary.get('loop', {}).items():
        say(f'loop {name}: track error {length(row["rmse_m"])}, echoes '
            f'{length(row["echo_rmse_m"])}, bound {length(row["root_crb_m"])} (rms), lost '
            f'{number(row["lost_s"], ".1f")} s')
    for design, rows in summary.get('loop_designs', {}).items():
        say(f'  {design}, same noise: ' + ', '.join(
            f'{name} track error {length(row["rmse_m"])}, bound {length(row["root_crb_m"])}'
            for name, row in rows.items()), 'dim')
