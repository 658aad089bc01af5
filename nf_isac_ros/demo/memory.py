"""How much memory the nodes take over time, and whether that grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
import time

import numpy as np
import psutil

# How often memory is looked at [s].
PERIOD = 1.0
# The first part of a run is left out: caches fill, and solvers meet their first scenes.
SETTLING_SHARE = 0.2
# A node may grow by this over the rest of the run [MB], and by this share of what it had.
ALLOWANCE, ALLOWED_SHARE = 8.0, 0.03


@dataclass
class MemoryWatch:
    """
    Resident memory of processes, sampled.

    Attributes
    ----------
    samples : dict
        By name of the node: (time since the first sample [s], resident set [MB]).

    """

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _due: float = 0.0
    _began: float = 0.0

    def look(self, processes: Mapping[str, int]) -> None:
        """Take a sample of processes by name and id, if it is time to."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + PERIOD
        self._began = self._began or now
        for name, pid in processes.items():
            try:
                size = psutil.Process(pid).memory_info().rss / 1e6
            except psutil.Error:
                continue
            self.samples.setdefault(name, []).append((now - self._began, size))

    def summary(self) -> dict[str, dict[str, float]]:
        """Memory of each node: after settling, at the end, and the growth between [MB]."""
        return {name: memory_row(samples) for name, samples in self.samples.items()}


def memory_row(samples: Iterable[tuple[float, float]]) -> dict[str, float]:
    """
    Growth of one process.

    Parameters
    ----------
    samples : iterable of (time [s], size [MB])

    Returns
    -------
    dict
        settled_mb and last_mb: medians of the first and the last tenth after settling; growth_mb
        and growth_mb_per_hour between them, over the whole time after settling.

    """
    times, sizes = np.array(list(samples)).T
    settled = times >= times[0] + SETTLING_SHARE * (times[-1] - times[0])
    times, sizes = times[settled], sizes[settled]
    tenth = max(len(sizes) // 10, 1)
    first, last = float(np.median(sizes[:tenth])), float(np.median(sizes[-tenth:]))
    hours = max(times[-1] - times[0], PERIOD) / 3600.0
    return {'settled_mb': first, 'last_mb': last, 'growth_mb': last - first,
            'growth_mb_per_hour': (last - first) / hours}


def growing(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Nodes whose memory is not flat, one line each."""
    return [f'{name} grew by {row["growth_mb"]:.1f} MB from {row["settled_mb"]:.0f} MB, must be '
            f'at most {ALLOWANCE:g} MB and {ALLOWED_SHARE:.0%}'
            for name, row in rows.items()
            if row['growth_mb'] > ALLOWANCE + ALLOWED_SHARE * row['settled_mb']]
