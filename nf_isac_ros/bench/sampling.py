"""How often and how long is measured, and what is said about the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
import time
from typing import Any, TypeVar

import numpy as np

Item = TypeVar('Item')
Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """
    How much is measured.

    Attributes
    ----------
    name : str
    runs : int
        Of anything that takes milliseconds.
    seconds : float
        Time after which no further run of one row is begun [s].
    peer_runs : int
        Scenes on which the other solvers run as well.
    peer_seconds : float
        Time after which another solver is not begun again in one row, each for itself [s].
    tight_peers : bool
        Other solvers run at the tight gap as well.
    live_seconds : float
        Window of each run of the nodes [s].
    cycles : int
        Over which the memory is watched.
    long_seconds : float
        Window of each long run of the nodes [s].
    long_cycles : int
        Over which the memory is watched where there is time for it.
    repeats : int
        Cycles that are done again, to see if the results are the same.

    """

    name: str
    runs: int
    seconds: float
    peer_runs: int
    peer_seconds: float
    tight_peers: bool
    live_seconds: float
    cycles: int
    long_seconds: float
    long_cycles: int
    repeats: int


FULL = Effort('full', 300, 20.0, 15, 20.0, True, 20.0, 20_000, 600.0, 100_000, 500)
QUICK = Effort('quick', 30, 2.5, 2, 3.0, False, 3.0, 500, 20.0, 2000, 40)
# For tests: the harness, not the numbers.
TINY = Effort('tiny', 3, 0.2, 1, 0.2, True, 0.5, 5, 1.0, 20, 4)


def paced(items: Iterable[Item], count: int, seconds: float, least: int = 2) -> Iterator[Item]:
    """At most `count` items, and after `seconds` no more than `least` in all."""
    started = time.monotonic()
    for number, item in enumerate(items):
        if number >= count or (number >= least and time.monotonic() - started > seconds):
            return
        yield item


def milliseconds(samples: Sequence[float], prefix: str = '') -> Row:
    """Percentiles of wall times [ms], three digits after the point: p50_ms, p99_ms, max_ms."""
    if not len(samples):
        return {f'{prefix}p50_ms': None, f'{prefix}p99_ms': None, f'{prefix}max_ms': None}
    p50, p99 = np.percentile(samples, [50, 99])
    return {f'{prefix}p50_ms': round(float(p50), 4), f'{prefix}p99_ms': round(float(p99), 4),
            f'{prefix}max_ms': round(float(np.max(samples)), 4)}


def number(value: float) -> float | None:
    """Three significant digits; None where JSON has no word: not finite."""
    return float(f'{value:.3g}') if np.isfinite(value) else None
