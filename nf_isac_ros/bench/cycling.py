"""Rows of whole design cycles: their time, what they leave in the memory, if they repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
import time

import numpy as np
from numpy.typing import NDArray
import psutil

from nf_isac_ros.bench.sampling import Effort, Row, milliseconds, number, paced
from nf_isac_ros.bench.scenes import Motion, walking
from nf_isac_ros.bench.solving import DESIGN, PERIOD, SEED
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.solution import Quality

SIZES = ((1, 1), (2, 2), (2, 3), (3, 3), (4, 4))
RATES = (50, 100, 200)
GAP = 1e-3
MIB = 2 ** 20
# How often the memory is looked at while it is watched.
SAMPLES = 100
REPEAT_SIZES = ((2, 3), (3, 3))


def rows(effort: Effort, motions: dict[tuple[int, int], Motion],
         sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Row]:
    """Step through moving scenes, one design each, nothing solved ahead in the idle time."""
    for size in sizes:
        motion = motions.get(size) or walking(SEED, *size)
        cycle = DesignCycle(DesignSettings(DESIGN, GAP, None, 1.0 / PERIOD))
        times, gaps, warm, antennas = [], [], 0, 0
        stages: dict[str, list[float]] = {}
        cycle.step(next(_laps(motion)))
        for scene in paced(_laps(motion), effort.runs, effort.seconds):
            started = time.perf_counter()
            try:
                solution = cycle.step(scene)
            except NfIsacError:
                continue
            times.append(1e3 * (time.perf_counter() - started))
            if solution.quality in (Quality.OPTIMAL, Quality.EARLY):
                gaps.append(solution.gap)
            warm += solution.warm
            antennas = len(scene.transmit_array)
            for name, value in solution.times_ms.items():
                stages.setdefault(name, []).append(value)
        yield {
            'bench': 'cycle', 'targets': size[0], 'users': size[1], 'antennas': antennas,
            'gap_required': GAP, 'gap_max': number(max(gaps, default=np.nan)),
            **milliseconds(times), 'runs': len(times), 'fallbacks': len(times) - len(gaps),
            'warm': warm, 'deadline_misses': {
                f'{rate}_hz': sum(taken > 1e3 / rate for taken in times) for rate in RATES},
            'stages_p50_ms': {name: milliseconds(values)['p50_ms']
                              for name, values in stages.items()},
            'scenes': motion.name}


def _laps(motion: Motion) -> Iterator[Scene]:
    for _ in count():
        yield from motion.steps(0.0, int(motion.length / PERIOD), PERIOD)


def memory_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
                size: tuple[int, int] = (2, 2)) -> Iterator[Row]:
    """Watch the memory of this process over many cycles."""
    yield _memory(motions.get(size) or walking(SEED, *size), size, effort.cycles,
                  4.0 * effort.seconds)


def long_memory_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
                     size: tuple[int, int] = (2, 3)) -> Iterator[Row]:
    """Watch the memory over as many cycles as there are to be, however long they take."""
    yield _memory(motions.get(size) or walking(SEED, *size), size, effort.long_cycles, np.inf)


def _memory(motion: Motion, size: tuple[int, int], cycles: int, seconds: float) -> Row:
    cycle = DesignCycle(DesignSettings(DESIGN, GAP, None, 1.0 / PERIOD))
    scenes = _laps(motion)
    process = psutil.Process()
    # The first cycles fill caches.
    for scene in islice(scenes, max(1, cycles // 10)):
        cycle.step(scene)
    every = max(1, cycles // SAMPLES)
    at, used, started = [0], [process.memory_info().rss], time.monotonic()
    for done, scene in enumerate(islice(scenes, cycles), start=1):
        cycle.step(scene)
        late = time.monotonic() - started > seconds
        if done % every == 0 or done == cycles or late:
            at.append(done)
            used.append(process.memory_info().rss)
        if late:
            break
    return {'bench': 'memory', 'targets': size[0], 'users': size[1], 'cycles': at[-1],
            **memory_use(at, used), 'scenes': motion.name}


def memory_use(at: Sequence[float], used: Sequence[int]) -> Row:
    """
    Tell whether the memory of a process grows.

    Parameters
    ----------
    at : sequence of float
        Cycles done at each sample.
    used : sequence of int
        Resident memory [bytes].

    Returns
    -------
    dict
        `bytes_per_cycle` is the slope of the line of least squares through all samples.

    """
    slope = np.polyfit(at, used, 1)[0] if len(set(at)) > 1 else 0.0
    return {'rss_start_mib': round(used[0] / MIB, 1), 'rss_end_mib': round(used[-1] / MIB, 1),
            'rss_max_mib': round(max(used) / MIB, 1), 'bytes_per_cycle': round(float(slope), 1)}


def repeat_rows(effort: Effort, motions: dict[tuple[int, int], Motion],
                sizes: Sequence[tuple[int, int]] = REPEAT_SIZES) -> Iterator[Row]:
    """Do the same cycles twice, the second time with another history of the process."""
    for size in sizes:
        motion = motions.get(size) or walking(SEED, *size)
        scenes = list(islice(_laps(motion), effort.repeats))
        first, again = (_weights(scenes) for _ in range(2))
        yield {
            'bench': 'repeat', 'targets': size[0], 'users': size[1], 'cycles': len(scenes),
            'different': sum(a.shape != b.shape or not np.array_equal(a, b)
                             for a, b in zip(first, again, strict=True)),
            'scenes': motion.name}


def _weights(scenes: Sequence[Scene]) -> list[NDArray[np.complex128]]:
    cycle = DesignCycle(DesignSettings(DESIGN, GAP, None, 1.0 / PERIOD))
    return [cycle.step(scene).weights for scene in scenes]
