"""Rows of whole design cycles: from a scene to beams, and what they leave in the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
import time

import numpy as np
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
    motion = motions.get(size) or walking(SEED, *size)
    cycle = DesignCycle(DesignSettings(DESIGN, GAP, None, 1.0 / PERIOD))
    scenes = _laps(motion)
    process = psutil.Process()
    # The first cycles fill caches.
    for scene in islice(scenes, max(1, effort.cycles // 10)):
        cycle.step(scene)
    before, done = process.memory_info().rss, 0
    started = time.monotonic()
    for scene in islice(scenes, effort.cycles):
        cycle.step(scene)
        done += 1
        if time.monotonic() - started > 4.0 * effort.seconds:
            break
    after = process.memory_info().rss
    yield {'bench': 'memory', 'targets': size[0], 'users': size[1], 'cycles': done,
           'rss_start_mib': round(before / MIB, 1), 'rss_end_mib': round(after / MIB, 1),
           'bytes_per_cycle': round((after - before) / max(done, 1), 1), 'scenes': motion.name}
