"""When cycles begin in a recording, and what was known of the bodies then."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.schedule import CycleSchedule
from nf_isac_ros.core.tracking import (
    ChannelStore,
    KnownChannel,
    PredictedBody,
    Role,
    TrackState,
    TrackStore,
)
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.replay.inputs import Counts, Event

Vector = NDArray[np.float64]

# The times of recording may go back so far without being taken for a jump of the clock [s]:
# files that were recovered are in order only piece by piece.
DISORDER = 1.0
# Poses of a body that are further apart than this are told of [s].
SILENCE = 1.0
# Refused messages of one kind that follow each other within this time are one incident [s].
TOGETHER = 1.0
# Points that are kept of the path of a body, at most, and half as many at least.
PATH_POINTS = 4000


@dataclass(frozen=True)
class Cycle:
    """
    A cycle that is to be designed.

    Attributes
    ----------
    number : int
        From 0 in each recording.
    stamp : float
        When it begins, on the clock of the stamps [s].
    transmit_time : float
        [s].
    bodies : tuple of PredictedBody
    channels : tuple of KnownChannel

    """

    number: int
    stamp: float
    transmit_time: float
    bodies: tuple[PredictedBody, ...]
    channels: tuple[KnownChannel, ...]

    @property
    def idle(self) -> bool:
        """Nobody is there to design for."""
        return all(item.state is TrackState.DROPPED for item in (*self.bodies, *self.channels))


@dataclass
class Path:
    """
    Where a body was, in not too many points.

    Attributes
    ----------
    times : list of float
        [s].
    places : list of ndarray, shape (3,)
        [m].

    """

    times: list[float] = field(default_factory=list)
    places: list[Vector] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def add(self, time: float, place: Vector) -> None:
        """Take a pose in; every second point is given up where there are too many."""
        if self._seen % self._every == 0:
            self.times.append(time)
            self.places.append(place)
            if len(self.times) >= PATH_POINTS:
                del self.times[1::2], self.places[1::2]
                self._every *= 2
        self._seen += 1


@dataclass
class Happening:
    """
    Something in the input that was not as it should be.

    Attributes
    ----------
    kind, reason, source : str
        As in incidents.csv.
    begin, end : float
        [s].
    count : int
        Messages.

    """

    kind: str
    reason: str
    source: str
    begin: float
    end: float
    count: int = 1


class CyclePlanner:
    """
    Turns events into cycles, as the beamformer node would begin them.

    Where the recording tells when the node began cycles, they begin then and are for the same
    transmit times. Elsewhere the schedule of the node (trigger: pose) decides, on a clock on which
    a cycle takes no time; the transmit time then lies one and a half periods ahead, but no more
    than half of predict_s. While there is nobody to design for, one cycle says so, and no
    other begins until poses come.

    Parameters
    ----------
    deployment : Deployment
    recorded : tuple of ndarray, shapes (C,)
        When recorded cycles began, and their transmit times [s]; empty: there are none.

    Attributes
    ----------
    happenings : list of Happening
        Refused messages, silent and jumping bodies, jumps of the clock.
    paths : dict
        Path by role and id.
    span : tuple of float
        Times of the first and the last event [s].

    """

    def __init__(self, deployment: Deployment, recorded: tuple[Vector, Vector]) -> None:
        self._tracks = TrackStore(deployment.tracking)
        self._channels = ChannelStore(deployment.tracking)
        self._period = 1.0 / deployment.design.rate
        self._lead = min(1.5 * self._period, deployment.tracking.predict / 2)
        self._silence = max(SILENCE, deployment.tracking.drop)
        order = np.argsort(recorded[0], kind='stable')
        self._starts, self._transmits = recorded[0][order], recorded[1][order]
        self._now = -inf
        self._number = 0
        self._stamps: dict[tuple[Role, str], float] = {}
        self._open: dict[tuple[str, str, str], Happening] = {}
        self.happenings: list[Happening] = []
        self.paths: dict[tuple[Role, str], Path] = {}
        self.span = (inf, -inf)

    def cycles(self, events: Iterable[Event], counts: Counts) -> Iterator[Cycle]:
        """
        Cycles in the order in which they begin.

        Parameters
        ----------
        events : iterable of Event
        counts : Counts
            Poses that the tracks refuse are counted here.

        """
        begun = self._as_recorded if len(self._starts) else self._by_schedule
        yield from begun(self._timed(events), counts)

    def _timed(self, events: Iterable[Event]) -> Iterator[Event]:
        """Events whose time does not go back, but for jumps of the clock."""
        for event in events:
            if event.time < self._now:
                if event.time > self._now - DISORDER:
                    event = event._replace(time=self._now)
                else:
                    self._stamps.clear()
                    self._happen('input', 'clock-jump', event.source, event.time)
            self._now = event.time
            self.span = (min(self.span[0], event.time), max(self.span[1], event.time))
            yield event

    def _as_recorded(self, events: Iterator[Event], counts: Counts) -> Iterator[Cycle]:
        at = 0
        for event in events:
            last = int(np.searchsorted(self._starts, event.time))
            for k in range(at, last):
                yield self._cycle(float(self._starts[k]), float(self._transmits[k]))
            at = max(at, last)
            self._take(event, counts)
        for k in range(at, len(self._starts)):
            yield self._cycle(float(self._starts[k]), float(self._transmits[k]))

    def _by_schedule(self, events: Iterator[Event], counts: Counts) -> Iterator[Cycle]:
        schedule: CycleSchedule | None = None
        now = -inf
        idle = True
        for event in events:
            if schedule is None or event.time < now:
                schedule = CycleSchedule(self._period, True, event.time)
                now = event.time
            for cycle in self._due(schedule, now, event.time, idle):
                now, idle = cycle.stamp, cycle.idle
                yield cycle
            if idle and now < event.time:
                schedule = CycleSchedule(self._period, True, event.time)
            now = event.time
            if self._take(event, counts):
                schedule.arrived(now, now, self._tracks.in_step)
                idle = False
        if schedule is not None:
            yield from self._due(schedule, now, now + self._period, idle)

    def _due(self, schedule: CycleSchedule, now: float, until: float,
             idle: bool) -> Iterator[Cycle]:
        """Cycles that begin before a time [s], up to the first that has nobody."""
        while not idle:
            begin = now + max(schedule.wait(now, now), 0.0)
            if begin >= until:
                return
            now = begin
            schedule.begin(now, now)
            schedule.ended(now)
            cycle = self._cycle(now, now + self._lead)
            yield cycle
            idle = cycle.idle

    def _cycle(self, stamp: float, transmit_time: float) -> Cycle:
        self._tracks.advance(stamp)
        self._number += 1
        return Cycle(self._number - 1, stamp, transmit_time,
                     self._tracks.predict(transmit_time), self._channels.at(transmit_time))

    # Input

    def _take(self, event: Event, counts: Counts) -> bool:
        """Take an event in; tell whether it was news."""
        if self._tracks.advance(event.time):
            self._channels.reset()
        if event.refused:
            self._happen('rejected', event.refused, event.source, event.time)
            return False
        jumps = self._tracks.jumps
        try:
            news = (self._tracks.update(event.poses, event.time)
                    + self._channels.update(event.channels, event.time))
        except NfIsacError as error:
            counts.refuse(error.reason, f'{event.source}: {error}')
            self._happen('rejected', error.reason, event.source, event.time)
            return False
        if self._tracks.jumps > jumps:
            self._happen('input', 'body-jumped', ', '.join(pose.id for pose in event.poses),
                         event.time)
        for pose in event.poses:
            key = (pose.role, pose.id)
            before = self._stamps.get(key, pose.stamp)
            if pose.stamp - before > self._silence:
                self.happenings.append(Happening(
                    'input', 'silent-body', pose.id, before, pose.stamp))
            self._stamps[key] = max(before, pose.stamp)
            self.paths.setdefault(key, Path()).add(pose.stamp, pose.position)
        return news > 0

    def _happen(self, kind: str, reason: str, source: str, time: float) -> None:
        key = (kind, reason, source)
        known = self._open.get(key)
        if known is not None and 0 <= time - known.end <= TOGETHER:
            known.end = time
            known.count += 1
            return
        self._open[key] = Happening(kind, reason, source, time, time)
        self.happenings.append(self._open[key])


def chunks(cycles: Iterable[Cycle], size: int,
           overlap: int) -> Iterator[tuple[tuple[Cycle, ...], tuple[Cycle, ...]]]:
    """
    Cut cycles into pieces that do not depend on each other.

    Parameters
    ----------
    cycles : iterable of Cycle
    size : int
        Cycles of a piece; the last may have fewer.
    overlap : int
        Cycles before a piece that a solver begins with.

    Yields
    ------
    warm_up, cycles : tuple of Cycle
        What comes before the piece, and the piece.

    """
    before: deque[Cycle] = deque(maxlen=overlap)
    piece: list[Cycle] = []
    for cycle in cycles:
        piece.append(cycle)
        if len(piece) == size:
            yield tuple(before), tuple(piece)
            before.extend(piece)
            piece = []
    if piece:
        yield tuple(before), tuple(piece)


def path_bounds(paths: Iterable[Path]) -> tuple[Vector, Vector] | None:
    """Corners of the box that holds all paths, shapes (3,) [m]; None: there are none."""
    places: Sequence[Vector] = [place for path in paths for place in path.places]
    if not places:
        return None
    stacked = np.array(places)
    return stacked.min(axis=0), stacked.max(axis=0)
