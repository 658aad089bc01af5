"""Time in a report: recordings one after the other, long pauses cut out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Pauses longer than this are cut out [s].
LONGEST_PAUSE = 10.0
# Room that is left between what lies before and after a cut, as a share of everything.
SEAM = 0.015
LEAST_SEAM = 0.75   # [s]


@dataclass(frozen=True)
class Cut:
    """
    Where time was cut out.

    Attributes
    ----------
    place : float
        On the axis [s].
    text : str
        What lies in between.

    """

    place: float
    text: str


class TimeAxis:
    """
    From times in recordings to one axis, on which only seconds with cycles count.

    Parameters
    ----------
    times : mapping of str to ndarray
        Times of cycles by recording, in any order [s]. At least one is not empty.

    Attributes
    ----------
    cuts : list of Cut
    end : float
        Of the axis; it begins at 0 [s].

    """

    def __init__(self, times: Mapping[str, Vector]) -> None:
        stretches: list[tuple[str, float, float]] = []
        for bag, stamps in times.items():
            known = np.sort(stamps[np.isfinite(stamps)])
            if not len(known):
                continue
            gaps = np.flatnonzero(np.diff(known) > LONGEST_PAUSE)
            begins = [known[0], *known[gaps + 1]]
            ends = [*known[gaps], known[-1]]
            stretches += [(bag, float(a), float(b)) for a, b in zip(begins, ends)]
        active = sum(end - begin for _, begin, end in stretches)
        seam = max(SEAM * active, LEAST_SEAM) if len(stretches) > 1 else 0.0
        self.cuts: list[Cut] = []
        self._known: dict[str, tuple[list[float], list[float]]] = {}
        place = 0.0
        before: tuple[str, float, float] | None = None
        for bag, begin, end in stretches:
            if before is not None:
                self.cuts.append(Cut(place + seam / 2, f'{duration(begin - before[2])} cut out'
                                     if before[0] == bag else bag))
                place += seam
            real, shown = self._known.setdefault(bag, ([], []))
            real += [begin, end]
            shown += [place, place + end - begin]
            place += end - begin
            before = (bag, begin, end)
        self.end = max(place, 1e-3)

    def places(self, bag: str, times: Vector) -> Vector:
        """Places of times of a recording on the axis [s]; those in a pause lie in its seam."""
        real, shown = self._known.get(bag, ([0.0], [0.0]))
        return np.interp(times, real, shown)


def duration(seconds: float) -> str:
    """Length of time for people."""
    if seconds < 120:
        return f'{seconds:.3g} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 120 else f'{minutes // 60} h {minutes % 60} min'
