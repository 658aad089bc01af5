"""Rows of the running nodes: from the stamp of a pose to published beams, across processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import struct
import tempfile
import time
from typing import Any

import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from nf_isac_ros.bench.sampling import FULL, Effort, Row, milliseconds, number
from nf_isac_ros.bench.scenes import CITR, MRCLAM
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.demo.graph import (
    DEFAULT_SCENARIO,
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
from nf_isac_ros.demo.runlog import TARGET, TOPICS, USER, DesignRecord, RunLog
from nf_isac_ros.demo.supervisor import Supervisor

BEAMFORMER = 'beamformer'
# Designs per second, and the time for one [ms].
RATES = ((50.0, 10.0), (100.0, 4.0), (200.0, 3.0))
CERTIFIED = (1e-3, 1e-2)
# Until the nodes are up; until a recording begins; of each look at them; before the window [s].
START_PATIENCE = 60.0
RESUME_PATIENCE = 10.0
STEP = 0.05
SETTLING = 1.0
MIB = 2 ** 20


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
    before, after : int
        Memory of the beamformer at the ends of the window [bytes].

    """

    log: RunLog
    received: list[tuple[float, float]]
    before: int
    after: int


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
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        quality = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        # Beams stay bytes: a message has thousands of numbers.
        self._node.create_subscription(
            message_class(TOPICS['beamformer']), 'beamformer', self._on_beams, quality, raw=True)
        self._node.create_subscription(
            message_class(TOPICS['status']), 'status', self._on_status, quality)

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

    def _on_status(self, message: Any) -> None:
        self._log.add('status', message, time.time())

    def spin(self, seconds: float) -> None:
        """Take messages for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)


def rows(effort: Effort, recordings: Path | None) -> Iterator[Row]:
    """
    Run beamformer and player at several rates, with nobody listening but this process.

    Parameters
    ----------
    effort : Effort
    recordings : Path or None
        Folder with recordings; what is not there is replaced by a built-in scene.

    """
    sources = [Source(recording_file(recordings / name), bag=recordings / name, repeat=True)
               for name in (MRCLAM, CITR)
               if recordings is not None and (recordings / name).exists()]
    if not sources:
        sources = [Source(scenario_file(DEFAULT_SCENARIO), scenario=DEFAULT_SCENARIO)]
    # A quick run hears the first only.
    for source in sources[:None if effort.seconds >= FULL.seconds else 1]:
        for rate, budget in RATES:
            try:
                yield _row(source, rate, budget, _measure(source, rate, budget, effort))
            except NotUpError as error:
                yield {'bench': 'pose-to-beam', 'scenes': source.title, 'rate_hz': rate,
                       'failed': str(error)}


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


def _measure(source: Source, rate: float, budget: float, effort: Effort) -> Measured:
    """Start the nodes, watch them for a while, and end them."""
    feeder = PLAYER if source.bag is not None else SCENARIO
    settings = ((BEAMFORMER, 'rate_hz', f'{rate:.1f}'), (BEAMFORMER, 'budget_ms', f'{budget:.1f}'))
    with tempfile.TemporaryDirectory() as folder, reserved_domain() as domain:
        wanted = [program for program in programs(source, Path(folder) / 'none', settings)
                  if program.name in (BEAMFORMER, feeder)]
        # A domain of its own, whatever the user has set: others would be heard, and disturbed.
        own = environment({}, domain)
        log = RunLog()
        with _variables(own), Supervisor(Path(folder) / 'logs') as supervisor:
            for program in wanted:
                supervisor.start(program)
            with Monitor(RunLog(), (BEAMFORMER,)) as monitor:
                _wait_until_up(monitor, supervisor)
                if feeder == PLAYER and not monitor.trigger(f'{PLAYER}/resume', RESUME_PATIENCE):
                    raise NotUpError('the recording does not begin')
            with Listener(log) as listener:
                listener.spin(SETTLING)
                listener.received.clear()
                process = psutil.Process(supervisor.pid(BEAMFORMER))
                before = process.memory_info().rss
                log.begin = time.time()
                listener.spin(effort.live_seconds)
                log.end = time.time()
                after = process.memory_info().rss
        return Measured(log, listener.received, before, after)


def _wait_until_up(monitor: Monitor, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        monitor.spin(STEP)
        for ending in supervisor.poll():
            raise NotUpError(f'{ending.name}: {ending.cause}')
        state = monitor.advance_bring_up()[BEAMFORMER]
        if state == 'failed':
            raise NotUpError('the beamformer cannot be configured')
        # A player is there before it has read what it plays; the truth tells that it has.
        if state == 'active' and monitor.publishers('truth/targets'):
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
        'rss_start_mib': round(measured.before / MIB, 1),
        'rss_end_mib': round(measured.after / MIB, 1)}


def _stages(records: list[DesignRecord]) -> dict[str, float | None]:
    names = list(dict.fromkeys(name for record in records for name in record.stages))
    return {name: milliseconds([record.stages[name] for record in records
                                if name in record.stages])['p50_ms'] for name in names}
