"""Rows of the solver: cold, warm, beside the other solvers, against N, and zero forcing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
import sys
import threading
import time

import numpy as np
from threadpoolctl import threadpool_limits

from nf_isac_ros.bench.peers import Peers
from nf_isac_ros.bench.sampling import Effort, Row, milliseconds, number, paced
from nf_isac_ros.bench.scenes import (
    SIDE,
    Motion,
    extrapolated,
    feasible,
    random_scenes,
    walking,
)
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings, solve, step_twice
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.designs.crb_min import POINT_SHARE, finished
from nf_isac_ros.core.evaluation import evaluate
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.problem import Problem, build_problem
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.solution import Quality, Solution
from nf_isac_ros.core.solvers.interior_point import minimise_crb
from nf_isac_ros.core.solvers.warm_start import Path

DESIGN = 'crb-min'
ZERO_FORCING = 'zero-forcing'
SIZES = ((1, 1), (2, 2), (2, 3), (3, 3), (4, 4), (6, 6), (8, 8))
GAPS = (1e-3, 1e-6)
# For the bound that judges solvers which certify nothing.
REFERENCE_GAP = 1e-7
# Targets and users of the rows that go through N and through threads.
N_SIZE = (2, 2)
THREAD_SIZES = ((2, 2), (4, 4))
# Recorded motion is designed for so often [s], in stretches of so many cycles.
PERIOD = 0.02
STRETCH = 25
# A prediction takes its velocities from poses so far apart [s].
VELOCITY_TIME = 0.06
SEED = 1

# Which other solvers run at which sizes: what takes up to a second, up to a minute, and minutes.
COMPACT = 'clarabel_compact'
PAPER = 'clarabel_sdr13'
SCS = 'scs_sdr13'
SHORT = {
    (1, 1): (COMPACT, PAPER, SCS), (2, 2): (COMPACT, PAPER), (2, 3): (COMPACT,),
    (3, 3): (COMPACT,)}
MEDIUM = SHORT | {
    (2, 2): (COMPACT, PAPER, SCS), (2, 3): (COMPACT, PAPER), (3, 3): (COMPACT, PAPER),
    (4, 4): (COMPACT,)}
ALL = {size: (COMPACT, PAPER, SCS) for size in SIZES} | {
    size: (COMPACT,) for size in ((6, 6), (8, 8))}
PEER_SIZES = {'none': {}, 'short': SHORT, 'medium': MEDIUM, 'all': ALL}
# How long a thread may have to wait for the interpreter, as in the nodes [s].
SWITCH_INTERVAL = 0.5e-3
# Time for one run of SCS, and with 'all' [s].
SCS_LIMIT, SCS_LIMIT_ALL = 8.0, 600.0
# Other solvers that run once only per row of these sizes and beyond.
SLOW_FROM = 6


@dataclass
class Runs:
    """What one row is made from."""

    times: list[float] = field(default_factory=list)
    beams: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    violations: list[float] = field(default_factory=list)

    def add(self, solution: Solution) -> None:
        """Take note of a solution."""
        self.times.append(solution.times_ms['solve'])
        self.beams.append(solution.times_ms['beams'])
        self.gaps.append(solution.gap)
        self.iterations.append(solution.iterations)
        self.violations.append(solution.max_violation)

    def row(self, size: tuple[int, int], antennas: int, mode: str, gap: float) -> Row:
        """Return a row of the contract."""
        return {
            'bench': 'solve', 'targets': size[0], 'users': size[1], 'antennas': antennas,
            'mode': mode, 'gap_required': gap, 'gap_max': number(max(self.gaps)),
            'iterations_p50': float(np.median(self.iterations)),
            'iterations_max': int(max(self.iterations)), **milliseconds(self.times),
            'runs': len(self.times), 'not_certified': sum(not g <= gap for g in self.gaps),
            'violation_max': number(max(self.violations)),
            'beams_p50_ms': milliseconds(self.beams)['p50_ms'], 'threads': 1, 'peers': {}}


def cold_scenes(size: tuple[int, int], motions: dict[tuple[int, int], Motion],
                count: int) -> tuple[str, Iterator[Scene]]:
    """Scenes of recorded motion where there is one, random ones elsewhere; and their name."""
    motion = motions.get(size)
    if motion is None:
        return 'random', random_scenes(SEED, *size)
    return motion.name, motion.spread(count)


def cold_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
              peers: str = 'medium', sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Row]:
    """Solve from nothing, at each size and gap, the other solvers in between."""
    for size in sizes:
        name, scenes = cold_scenes(size, motions, effort.runs)
        yield from _cold(effort, size, name, scenes, PEER_SIZES[peers].get(size, ()),
                         SCS_LIMIT_ALL if peers == 'all' else SCS_LIMIT)


def _cold(effort: Effort, size: tuple[int, int], name: str, scenes: Iterable[Scene],
          peer_names: tuple[str, ...], time_limit: float = SCS_LIMIT) -> Iterator[Row]:
    runs = {gap: Runs() for gap in GAPS}
    tight = peer_names[:1] if effort.tight_peers else ()
    others = {gap: Peers(gap, peer_names if gap == GAPS[0] else tight, time_limit,
                         effort.peer_seconds) for gap in GAPS}
    builds: list[float] = []
    # All over the row, so that a busy minute hits all alike.
    turns = 1 if sum(size) >= 2 * SLOW_FROM else effort.peer_runs
    stride = max(1, effort.runs // turns)
    ours, antennas = 0.0, 0
    for turn, scene in enumerate(islice(scenes, effort.runs)):
        if turn >= 2 and ours > effort.seconds:
            break
        begun = time.monotonic()
        antennas = len(scene.transmit_array)
        if turn == 0:
            # The first of its size may load code; what that takes in a node is another matter.
            solve(build_problem(scene), DESIGNS[DESIGN], GAPS[0], None)
        for gap in GAPS:
            started = time.perf_counter()
            # Anew each time: a problem remembers what was asked of it.
            problem = build_problem(scene)
            builds.append(1e3 * (time.perf_counter() - started))
            runs[gap].add(solve(problem, DESIGNS[DESIGN], gap, None))
        ours += time.monotonic() - begun
        if peer_names and turn % stride == 0:
            _run_peers(build_problem(scene), others, runs)
    for gap in GAPS:
        yield {**runs[gap].row(size, antennas, 'cold', gap), 'scenes': name,
               'build_p50_ms': milliseconds(builds)['p50_ms'], 'peers': others[gap].rows()}


def _run_peers(problem: Problem, others: dict[float, Peers], runs: dict[float, Runs]) -> None:
    bound = DESIGNS[DESIGN].solve(problem, REFERENCE_GAP, None).bound
    for gap, peers in others.items():
        peers.run(problem, bound, runs[gap].times[-1])


def warm_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
              sizes: Sequence[tuple[int, int]] = SIZES[:5]) -> Iterator[Row]:
    """
    Start from the solution of the scene before, and from that of a prediction of this scene.

    Beside each a cold solve of the same scene, with the same beams, repair and certificate.
    """
    for size in sizes:
        motion = motions.get(size) or walking(SEED, *size)
        for gap in GAPS:
            kinds = {'previous': Runs(), 'predicted': Runs()}
            cold, warm, antennas = Runs(), dict.fromkeys(kinds, 0), 0
            for scene, starts in paced(_with_starts(motion, effort), effort.runs, effort.seconds):
                antennas = len(scene.transmit_array)
                try:
                    paths = {kind: minimise_crb(build_problem(start), gap).path
                             for kind, start in starts.items()}
                    if not cold.times:
                        _timed(scene, gap, paths['previous'], Runs())
                    _timed(scene, gap, None, cold)
                    for kind, path in paths.items():
                        warm[kind] += _timed(scene, gap, path, kinds[kind])
                except NfIsacError:
                    # A scene whose SINRs cannot be met; all of it or nothing.
                    continue
            for kind, runs in kinds.items():
                if runs.times and warm[kind]:
                    yield {**runs.row(size, antennas, 'warm', gap),
                           'bench': 'solve' if kind == 'previous' else 'solve-ahead',
                           'start': kind, 'scenes': motion.name, 'period_ms': 1e3 * PERIOD,
                           'started_warm': warm[kind],
                           'cold_p50_ms': milliseconds(cold.times)['p50_ms'],
                           'cold_iterations_p50': float(np.median(cold.iterations))}


def _timed(scene: Scene, gap: float, path: Path | None, runs: Runs) -> bool:
    """Solve and finish a scene from a path or from nothing; tell whether it started warm."""
    problem = build_problem(scene)
    started = time.perf_counter()
    point = minimise_crb(problem, POINT_SHARE * gap, earlier=path)
    _, outcome = finished(problem, point, gap)
    taken = time.perf_counter() - started
    evaluated = evaluate(problem, DESIGNS[DESIGN], outcome, gap)
    runs.add(replace(evaluated, times_ms={'solve': 1e3 * taken, 'beams': 0.0}))
    return point.warm


def _with_starts(motion: Motion, effort: Effort) -> Iterator[tuple[Scene, dict[str, Scene]]]:
    """Scenes all over a motion; the scene before each, and what one would have predicted then."""
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    for i in range(2 * effort.runs):
        now = motion.length * (golden * i % 1.0)
        scene, last, before = (
            motion.at(now - back) if now >= back else None
            for back in (0.0, PERIOD, PERIOD + VELOCITY_TIME))
        if scene and last and before and feasible(scene) and feasible(last):
            yield scene, {'previous': last,
                          'predicted': extrapolated(before, last, PERIOD / VELOCITY_TIME)}


def _stretches(motion: Motion, settings: DesignSettings,
               effort: Effort) -> Iterator[tuple[Scene, DesignCycle, bool]]:
    """Scenes of stretches all over a motion, the cycle to design with, and if it is the first."""
    count = max(1, effort.runs // STRETCH)
    for start in np.arange(count) * motion.length / count:
        cycle = DesignCycle(settings)
        for at, scene in enumerate(motion.steps(float(start), STRETCH, PERIOD)):
            yield scene, cycle, at == 0


def antenna_rows(effort: Effort, sides: Sequence[int]) -> Iterator[Row]:
    """Solve at one size for arrays of many sizes."""
    quick = replace(effort, runs=max(2, effort.runs // 3), seconds=effort.seconds / 3)
    for side in sides:
        if side != SIDE:
            rows = _cold(quick, N_SIZE, 'random', random_scenes(SEED, *N_SIZE, side), ())
            yield next(rows)


def thread_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
                peers: str = 'medium') -> Iterator[Row]:
    """Solve with two threads of the linear algebra, and Clarabel with as many."""
    for size in THREAD_SIZES:
        name, scenes = cold_scenes(size, motions, effort.runs)
        short = replace(effort, runs=max(2, effort.runs // 3), seconds=effort.seconds / 2,
                        peer_runs=max(1, effort.peer_runs // 3),
                        peer_seconds=effort.peer_seconds / 3)
        names = PEER_SIZES[peers].get(size, ())[:1]
        with threadpool_limits(2, user_api='blas'):
            row = next(_cold(short, size, name, scenes, names))
        yield {**row, 'bench': 'solve-two-threads', 'threads': 2}


def concurrent_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
                    sizes: Sequence[tuple[int, int]] = THREAD_SIZES) -> Iterator[Row]:
    """Solve in one thread, and in two of the same process at once, one thread of BLAS each."""
    for size in sizes:
        name, scenes = cold_scenes(size, motions, effort.runs)
        drawn = [scene for scene in islice(scenes, max(2, effort.runs // 3)) if feasible(scene)]
        solve(build_problem(drawn[0]), DESIGNS[DESIGN], GAPS[0], None)
        seconds = effort.seconds / 4
        alone, alone_rate = _solved_by(1, drawn, seconds)
        times, rate = _solved_by(2, drawn, seconds)
        yield {
            'bench': 'solve-concurrently', 'targets': size[0], 'users': size[1],
            'antennas': len(drawn[0].transmit_array), 'gap_required': GAPS[0], 'scenes': name,
            'solvers': 2, **milliseconds(times), 'runs': len(times),
            'solves_per_second': number(rate),
            'alone': {**milliseconds(alone), 'runs': len(alone),
                      'solves_per_second': number(alone_rate)},
            'throughput_ratio': number(rate / alone_rate)}


def _solved_by(threads: int, scenes: Sequence[Scene],
               seconds: float) -> tuple[list[float], float]:
    """Wall times of all solves [ms], and how many there were in a second."""
    barrier = threading.Barrier(threads)
    before = sys.getswitchinterval()

    def work(offset: int) -> list[float]:
        times: list[float] = []
        barrier.wait()
        started = time.monotonic()
        while len(times) < 2 or time.monotonic() - started < seconds:
            # Each begins elsewhere: scenes take different times.
            problem = build_problem(scenes[(offset + len(times)) % len(scenes)])
            begun = time.perf_counter()
            solve(problem, DESIGNS[DESIGN], GAPS[0], None)
            times.append(1e3 * (time.perf_counter() - begun))
        return times

    sys.setswitchinterval(SWITCH_INTERVAL)
    started = time.monotonic()
    try:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(work, [i * len(scenes) // threads for i in range(threads)]))
    finally:
        sys.setswitchinterval(before)
    times = [taken for one in found for taken in one]
    return times, len(times) / (time.monotonic() - started)


def zero_forcing_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
                      sizes: Sequence[tuple[int, int]] = SIZES[1:5]) -> Iterator[Row]:
    """Update a zero-forcing design on moving bodies; nothing if there is no such design."""
    if ZERO_FORCING not in DESIGNS:
        return
    for size in sizes:
        motion = motions.get(size) or walking(SEED, *size)
        runs, fallbacks, antennas = Runs(), 0, 0
        settings = DesignSettings(ZERO_FORCING, 1e-3, None, 1.0 / PERIOD)
        # Both ways to begin load code; what that takes in a node is another matter.
        for scene in motion.steps(0.0, 1, PERIOD):
            step_twice(ZERO_FORCING, scene)
        for scene, cycle, first in paced(_stretches(motion, settings, effort), effort.runs,
                                         effort.seconds):
            solution = cycle.step(scene)
            if solution.quality is Quality.FALLBACK:
                fallbacks += 1
            elif not first:
                antennas = len(scene.transmit_array)
                runs.add(solution)
        if runs.times:
            row = runs.row(size, antennas, 'warm', settings.gap)
            for key in ('gap_required', 'not_certified', 'peers'):
                del row[key]
            yield {**row, 'bench': 'zero-forcing', 'gap_p50': number(float(np.median(runs.gaps))),
                   'scenes': motion.name, 'fallbacks': fallbacks}
