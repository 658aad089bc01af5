"""Rows of the running nodes: from the stamp of a pose to published beams, across processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import struct
import tempfile
import time

import numpy as np
import psutil
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from nf_isac_ros.bench.cycling import MIB, memory_use
from nf_isac_ros.bench.sampling import FULL, Effort, Row, milliseconds, number
from nf_isac_ros.bench.scenes import CITR, MRCLAM
from nf_isac_ros.bench.solving import DESIGN
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.demo.graph import (
    DEFAULT_SCENARIO,
    LIFECYCLE_NODES,
    PLAYER,
    SCENARIO,
    Source,
    environment,
    programs,
    recording_file,
    reserved_domain,
    scenario_file,
)
from nf_isac_ros.demo.monitor import Monitor, message_class
from nf_isac_ros.demo.runlog import TARGET, TOPICS, USER, DesignRecord, RadioRecord, RunLog
from nf_isac_ros.demo.supervisor import Supervisor
from nf_isac_ros.nodes.executor import LeanExecutor
from nf_isac_ros.nodes.spin import spare_the_collector

BEAMFORMER = 'beamformer'
# Designs per second, and the time for one [ms].
RATES = ((50.0, 10.0), (100.0, 4.0), (200.0, 3.0))
CERTIFIED = (1e-3, 1e-2)
# Until the nodes are up; until a recording begins, and the designs for it; of each look at them;
# before the window [s].
START_PATIENCE = 60.0
RESUME_PATIENCE = 10.0
STEP = 0.05
SETTLING = 1.0
# How often the memory is looked at in a window.
SAMPLES = 60


class NotUpError(NfIsacError):
    """The nodes did not come up."""

    reason = 'not-up'


@dataclass(frozen=True)
class Measured:
    """
    What was heard in a window.

    Attributes
    ----------
    log : RunLog
        With the status of each cycle.
    received : list of (float, float)
        Stamp of the newest pose behind each beams that were received, and the time from then to
        the receipt [s, ms].
    memory : list of (float, int)
        Time since the beginning of the window, and memory of the beamformer [s, bytes].

    """

    log: RunLog
    received: list[tuple[float, float]]
    memory: list[tuple[float, int]]


def design_stamp(message: bytes) -> float:
    """Time of the newest pose, in the bytes of a Beamformer message [s]."""
    # A header, a 64-bit sequence number, the stamp; aligned from the end of the encapsulation.
    length = struct.unpack_from('<I', message, 12)[0]
    at = 4 + -(-(12 + length) // 8) * 8 + 8
    seconds, nanoseconds = struct.unpack_from('<iI', message, at)
    return float(seconds) + 1e-9 * float(nanoseconds)


def first_beams(received: Iterable[tuple[float, float]]) -> list[float]:
    """
    Latency of the first beams that know a pose.

    Later ones that still know no newer pose say how far apart the poses are, not how fast
    the beams follow them.

    Parameters
    ----------
    received : iterable of (float, float)
        Stamp of the newest pose [s] and latency [ms], in the order of receipt.

    """
    first: dict[float, float] = {}
    for stamp, latency in received:
        first.setdefault(stamp, latency)
    return list(first.values())


class Listener:
    """
    Hears beams and status, and does next to nothing: the cores belong to the nodes.

    A context manager; used from one thread.
    """

    def __init__(self, log: RunLog) -> None:
        self.received: list[tuple[float, float]] = []
        self._log = log
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node('bench_listener', context=self._context,
                                       start_parameter_services=False, enable_rosout=False)
        self._executor = LeanExecutor(context=self._context)
        self._executor.add_node(self._node)
        quality = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        # Beams stay bytes: a message has thousands of numbers.
        self._node.create_subscription(
            message_class(TOPICS['beamformer']), 'beamformer', self._on_beams, quality, raw=True)
        for topic in ('status', 'radio/status'):
            self._node.create_subscription(
                message_class(TOPICS[topic]), topic,
                lambda message, topic=topic: self._log.add(topic, message, time.time()), quality)

    def __enter__(self) -> Listener:
        """Give itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _on_beams(self, message: bytes) -> None:
        stamp = design_stamp(message)
        self.received.append((stamp, 1e3 * (time.time() - stamp)))

    def spin(self, seconds: float) -> None:
        """Take messages for a while."""
        self._executor.spin_for(seconds)


def rows(effort: Effort, recordings: Path | None) -> Iterator[Row]:
    """
    Run beamformer and player at several rates, with nobody listening but this process.

    Parameters
    ----------
    effort : Effort
    recordings : Path or None
        Folder with recordings; what is not there is replaced by a built-in scene.

    """
    # A quick run hears the first only.
    for source in _sources(recordings)[:None if effort.seconds >= FULL.seconds else 1]:
        for rate, budget in RATES:
            try:
                yield _row(source, rate, budget, _measure(
                    source, rate, budget, effort.live_seconds, (BEAMFORMER,)))
            except NotUpError as error:
                yield {'bench': 'pose-to-beam', 'scenes': source.title, 'rate_hz': rate,
                       'failed': str(error)}


def long_rows(effort: Effort, recordings: Path | None) -> Iterator[Row]:
    """
    Run player, beamformer and radio driver for a long time, lap after lap.

    Parameters
    ----------
    effort : Effort
    recordings : Path or None
        As for `rows`.

    """
    rate, budget = RATES[0]
    for source in _sources(recordings):
        try:
            yield long_row(source.title, rate, budget, _measure(
                source, rate, budget, effort.long_seconds, LIFECYCLE_NODES))
        except NotUpError as error:
            yield {'bench': 'long-run', 'scenes': source.title, 'rate_hz': rate,
                   'failed': str(error)}


def _sources(recordings: Path | None) -> list[Source]:
    found = [Source(recording_file(recordings / name), bag=recordings / name, repeat=True)
             for name in (MRCLAM, CITR)
             if recordings is not None and (recordings / name).exists()]
    return found or [Source(scenario_file(DEFAULT_SCENARIO), scenario=DEFAULT_SCENARIO)]


@contextmanager
def _variables(added: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _measure(source: Source, rate: float, budget: float, seconds: float,
             nodes: Sequence[str]) -> Measured:
    """Start a source and lifecycle nodes, watch them for a while [s], and end them."""
    feeder = PLAYER if source.bag is not None else SCENARIO
    settings = ((BEAMFORMER, 'rate_hz', f'{rate:.1f}'), (BEAMFORMER, 'budget_ms', f'{budget:.1f}'))
    with tempfile.TemporaryDirectory() as folder, reserved_domain() as domain:
        wanted = [program for program in programs(source, Path(folder) / 'none', settings)
                  if program.name in (*nodes, feeder)]
        # A domain of its own, whatever the user has set: others would be heard, and disturbed.
        own = environment({}, domain)
        log = RunLog()
        with _variables(own), Supervisor(Path(folder) / 'logs') as supervisor:
            for program in wanted:
                supervisor.start(program)
            with Monitor(RunLog(), nodes) as monitor:
                _wait_until_up(monitor, supervisor)
                if feeder == PLAYER and not monitor.trigger(f'{PLAYER}/resume', RESUME_PATIENCE):
                    raise NotUpError('the recording does not begin')
            with Listener(log) as listener:
                _wait_for_designs(listener, log)
                # A full collection, here, is a fifth of a second in which nothing is heard.
                spare_the_collector()
                listener.spin(SETTLING)
                listener.received.clear()
                process = psutil.Process(supervisor.pid(BEAMFORMER))
                memory = [(0.0, process.memory_info().rss)]
                log.begin = time.time()
                for _ in range(SAMPLES):
                    listener.spin(seconds / SAMPLES)
                    for ending in supervisor.poll():
                        raise NotUpError(f'{ending.name}: {ending.cause}')
                    memory.append((time.time() - log.begin, process.memory_info().rss))
                log.end = time.time()
        return Measured(log, listener.received, memory)


def _wait_for_designs(listener: Listener, log: RunLog) -> None:
    """A recording may take seconds to come from the disk, the first time."""
    deadline = time.monotonic() + RESUME_PATIENCE
    while not log.designs:
        if time.monotonic() > deadline:
            raise NotUpError('no cycle began')
        listener.spin(STEP)


def _wait_until_up(monitor: Monitor, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        monitor.spin(STEP)
        for ending in supervisor.poll():
            raise NotUpError(f'{ending.name}: {ending.cause}')
        states = monitor.advance_bring_up()
        for name, state in states.items():
            if state == 'failed':
                raise NotUpError(f'the {name} cannot be configured')
        # A player is there before it has read what it plays; the truth tells that it has.
        if set(states.values()) == {'active'} and monitor.publishers('truth/targets'):
            return
    raise NotUpError(f'not up after {START_PATIENCE:g} s')


def _row(source: Source, rate: float, budget: float, measured: Measured) -> Row:
    log = measured.log
    designs: list[DesignRecord] = log.in_window(log.designs)
    if not designs:
        raise NotUpError('not one cycle ended in the window')
    with_beams = [record for record in designs if record.published]
    cycles = [record.cycle_ms for record in with_beams]
    gaps = np.array([record.gap for record in designs])
    begun = designs[-1].cycle - designs[0].cycle + 1
    overruns = designs[-1].overruns - designs[0].overruns
    late = sum(taken > 1e3 / rate for taken in cycles)
    return {
        'bench': 'pose-to-beam', 'scenes': source.title, 'rate_hz': rate, 'budget_ms': budget,
        'targets': sum(body.role == TARGET for body in designs[-1].bodies),
        'users': sum(body.role == USER for body in designs[-1].bodies),
        'seconds': round(log.end - log.begin, 1), 'cycles': len(designs),
        'rate_reached_hz': number(len(designs) / (log.end - log.begin)),
        **milliseconds(first_beams(measured.received)),
        'every_beam': milliseconds([record.pose_to_beam_ms for record in with_beams]),
        'cycle': milliseconds(cycles),
        'poses': len(first_beams(measured.received)),
        'stages_p50_ms': _stages(with_beams),
        'deadline_misses': late, 'periods_lost': overruns, 'status_lost': begun - len(designs),
        'certified': {f'{gap:g}': number(float(np.mean(gaps <= gap))) for gap in CERTIFIED},
        'outcomes': dict(Counter(record.outcome for record in designs)),
        'reasons': dict(Counter(record.reason for record in designs if record.reason)),
        'warm': sum(record.warm for record in designs),
        'iterations_p50': number(float(np.median([r.iterations for r in with_beams])))
        if with_beams else None,
        'rss_start_mib': round(measured.memory[0][1] / MIB, 1),
        'rss_end_mib': round(measured.memory[-1][1] / MIB, 1)}


def long_row(scenes: str, rate: float, budget: float, measured: Measured) -> Row:
    """
    Count what a long run must not have, and what it must have most of the time.

    Parameters
    ----------
    scenes : str
        What was played.
    rate, budget : float
        [Hz], [ms].
    measured : Measured
        What was heard.

    Returns
    -------
    dict
        `fresh_user_without_beam`: cycles that ended without beams though the pose of a user was
        fresh; `fresh_user_not_served`: those, and the ones whose beams leave such a user out.
        Shares in `certified` are of the cycles that had beams or ought to have had some:
        between laps there are no poses.

    """
    log = measured.log
    designs: list[DesignRecord] = log.in_window(log.designs)
    radio: list[RadioRecord] = log.in_window(log.radio)
    if not designs:
        raise NotUpError('not one cycle ended in the window')
    fresh = [{body.id for body in record.bodies if body.role == USER and body.state == 'fresh'}
             for record in designs]
    served = [{user.id for user in record.users if user.sinr_db > -np.inf} for record in designs]
    without = sum(bool(users) and not record.published for users, record in zip(fresh, designs))
    counted = [record for users, record in zip(fresh, designs) if users or record.published]
    gaps = np.array([record.gap for record in counted])
    at, used = zip(*measured.memory)
    cycles_at = np.interp(at, [record.time - log.begin for record in designs],
                          np.arange(len(designs)))
    return {
        'bench': 'long-run', 'scenes': scenes, 'rate_hz': rate, 'budget_ms': budget,
        'targets': max(sum(body.role == TARGET for body in r.bodies) for r in designs),
        'users': max(sum(body.role == USER for body in r.bodies) for r in designs),
        'seconds': round(log.end - log.begin, 1), 'cycles': len(designs),
        'status_lost': designs[-1].cycle - designs[0].cycle + 1 - len(designs),
        'with_fresh_user': sum(map(bool, fresh)), 'fresh_user_without_beam': without,
        'fresh_user_not_served': sum(not users <= seen for users, seen in zip(fresh, served)),
        'certified': {f'{gap:g}': number(float(np.mean(gaps <= gap)) if counted else np.nan)
                      for gap in CERTIFIED},
        'optimal_not_certified': sum(
            record.outcome == 'optimal' and record.design == DESIGN
            and not record.gap <= CERTIFIED[0] for record in designs),
        'cycle': milliseconds([record.cycle_ms for record in designs if record.published]),
        **milliseconds(first_beams(measured.received)),
        'outcomes': dict(Counter(record.outcome for record in designs)),
        'reasons': dict(Counter(record.reason for record in designs if record.reason)),
        'radio_muted_s': round(radio[-1].muted_duration - radio[0].muted_duration, 2)
        if radio else None,
        'radio_late': radio[-1].late - radio[0].late if radio else None,
        **memory_use(cycles_at, used)}


def _stages(records: list[DesignRecord]) -> dict[str, float | None]:
    names = list(dict.fromkeys(name for record in records for name in record.stages))
    return {name: milliseconds([record.stages[name] for record in records
                                if name in record.stages])['p50_ms'] for name in names}
