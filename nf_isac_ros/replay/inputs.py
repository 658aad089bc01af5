"""
What a replay reads: poses, channels and published results, as they came, from any recording.

Nothing is kept but counts: a recording may be larger than the memory.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
import heapq
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from nf_isac_ros.conversions.adapters import adapter_for, make_sample, read_track_array
from nf_isac_ros.conversions.pose_reader import PoseReader, is_transform
from nf_isac_ros.conversions.reading import (
    read_crb_array,
    read_design_status,
    read_user_channels,
    read_user_status,
)
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.reports import BoundReport, CycleReport
from nf_isac_ros.core.solution import Quality, UserReport
from nf_isac_ros.core.tracking import ChannelSample, PoseSample, Role
from nf_isac_ros.files.deployment import BodySettings, Deployment
from nf_isac_ros.recording.reader import Recording, Topic
from nf_isac_ros.recording.textfiles import SUFFIXES as TEXT_SUFFIXES
from nf_isac_ros.recording.textfiles import TextFile
from nf_isac_ros.recording.trajectories import SAME_CLOCK
from nf_isac_ros.replay.errors import ReplayError

# Poses that tell how the clock of the stamps differs from that of the recorder.
HEAD = 2000
# Bounds that wait for their status: they are published right before it.
WAITING = 64

OWN = 'nf_isac_msgs/msg/'
STATUS, BOUNDS, BEAMS, RADIO = (
    OWN + name for name in ('DesignStatus', 'CrbArray', 'Beamformer', 'RadioStatus'))
TRACKS, CHANNELS = OWN + 'TrackArray', OWN + 'UserChannelArray'


class Event(NamedTuple):
    """Poses or channels that came with one message."""

    time: float   # on the clock of the stamps [s]
    source: str   # topic or file
    poses: Sequence[PoseSample] = ()
    channels: Sequence[ChannelSample] = ()
    # Why the message was refused; it has neither poses nor channels then.
    refused: str = ''


class Radio(NamedTuple):
    """One RadioStatus."""

    time: float   # [s]
    armed: bool
    muted: bool
    reason: str
    power: float   # [W]
    users: Sequence[UserReport]


class Recorded(NamedTuple):
    """One cycle as it was published."""

    time: float    # when it began, on the clock of the stamps [s]
    report: CycleReport
    bounds: BoundReport | None
    radio: Radio | None


@dataclass
class Counts:
    """
    What was read, and what could not be.

    Attributes
    ----------
    messages, poses : int
        Messages on topics of bodies; poses in them that could be read.
    rejected : Counter
        Messages (or lines) that were refused, by reason.
    examples : dict
        One error text for each reason.
    notes : list of str
        What had to be recovered or assumed, a sentence each.

    """

    messages: int = 0
    poses: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def refuse(self, reason: str, text: str) -> None:
        """Count a message that cannot be used."""
        self.rejected[reason] += 1
        self.examples.setdefault(reason, text)

    def note(self, text: str) -> None:
        """Keep a sentence, once."""
        if text not in self.notes:
            self.notes.append(text)


class Input(Protocol):
    """One recording."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def total(self) -> int:
        """Messages or bytes that `events` goes through; 0: not known."""

    def events(self, counts: Counts) -> Iterator[Event]:
        """Poses and channels in the order in which they came; counts what is wrong."""

    def recorded(self, counts: Counts) -> Iterator[Recorded]:
        """Cycles as they were published, in the order of the recording."""

    def beams(self, every: int) -> Iterator[tuple[float, Any]]:
        """Each so many-th Beamformer message, and when it came [s]."""

    def without_pose(self, counts: Counts) -> str:
        """Say in one line that there was no pose, and what there is."""

    def close(self) -> None:
        """Close all files."""


def open_inputs(paths: Sequence[Path], deployment: Deployment) -> list[Input]:
    """
    Open recordings.

    Parameters
    ----------
    paths : sequence of Path
        Each of a bag or folder of a bag is a recording; all trajectories in text files together
        are one, and so are those in one folder.
    deployment : Deployment
        Whose bodies are looked for.

    Returns
    -------
    list of Input
        Named by their file or folder, with a number where the names are alike.

    Raises
    ------
    RecordingError, ReplayError
        If one of them cannot be read, or is there twice.

    """
    texts: list[Path] = []
    inputs: list[Input] = []
    names: Counter[str] = Counter()
    if len({path.resolve() for path in paths}) < len(paths):
        raise ReplayError(f'BAG: is {", ".join(map(str, paths))}; must be different recordings')

    def unique(path: Path) -> str:
        name = path.resolve().stem if path.is_file() else path.resolve().name
        names[name] += 1
        return name if names[name] == 1 else f'{name} ({names[name]})'

    try:
        for path in paths:
            if path.is_file() and path.suffix.lower() in TEXT_SUFFIXES:
                texts.append(path)
            elif path.is_dir() and (files := _text_files(path)):
                inputs.append(TextInput(unique(path), files, deployment))
            else:
                inputs.append(BagInput(unique(path), path, deployment))
        if texts:
            inputs.append(TextInput(unique(texts[0]), texts, deployment))
    except BaseException:
        for opened in inputs:
            opened.close()
        raise
    return inputs


def _text_files(folder: Path) -> list[Path]:
    """Trajectories of a folder that has nothing else; empty if it has."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    texts = [path for path in files if path.suffix.lower() in TEXT_SUFFIXES]
    bags = any(path.name == 'metadata.yaml' or path.suffix in ('.mcap', '.db3', '.bag', '.zstd')
               for path in files)
    return [] if bags else texts


class BagInput:
    """
    A rosbag.

    Parameters
    ----------
    name : str
        For tables.
    path : Path
    deployment : Deployment

    """

    def __init__(self, name: str, path: Path, deployment: Deployment) -> None:
        self.name = name
        self._deployment = deployment
        self._recording = Recording(path)
        self._world = deployment.world_frame
        self._notes = list(self._recording.notes)
        self._poses = self._pose_reader()
        self._tracks = self._track_topics()
        self._channels = self._of_type(CHANNELS)
        self._wanted = {*self._poses.topics, *self._tracks, *self._channels}
        self.total = sum(topic.count for topic in self._recording.topics
                         if topic.name in self._wanted)
        self._offset, self._by_stamp = 0.0, False
        self._set_clock()

    def close(self) -> None:
        """Close all files."""
        self._recording.close()

    # What is where

    def _pose_reader(self) -> PoseReader:
        """Reader of the configured bodies that the recording has, by the names that it uses."""
        found: list[BodySettings] = []
        for body in self._deployment.bodies:
            if body.topic is None:
                continue
            topic = self._find(body.topic)
            if topic is None:
                self._note(
                    f'topic {body.topic} of {body.role} {body.id!r} is not in the recording')
                continue
            if topic.count == 0:
                self._note(f'topic {topic.name} of {body.role} {body.id!r} is empty')
            if topic.type_name != body.type:
                self._note(
                    f'topic {topic.name} has the type {topic.type_name}, not {body.type} as the '
                    'deployment says')
            try:
                if not is_transform(topic.type_name):
                    adapter_for(topic.type_name)
            except NfIsacError as error:
                self._note(f'topic {topic.name}: {error}')
                continue
            found.append(replace(body, topic=topic.name, type=topic.type_name))
        around = self._deployment.transforms
        transforms = None if around is None else self._find(around)
        return PoseReader(found, self._world, None if transforms is None else transforms.name)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _find(self, name: str) -> Topic | None:
        """Topic of a name, in whatever namespace it was recorded."""
        topics = self._recording.topics
        exact = [topic for topic in topics if topic.name.strip('/') == name.strip('/~')]
        if exact:
            return exact[0]
        inside = [topic for topic in topics if topic.name.endswith('/' + name.strip('/~'))]
        return inside[0] if len(inside) == 1 else None

    def _of_type(self, type_name: str) -> list[str]:
        return [topic.name for topic in self._recording.topics if topic.type_name == type_name]

    def _track_topics(self) -> dict[str, Role]:
        """TrackArray topics by the role of their bodies; the truth only where nothing else is."""
        found: dict[str, Role] = {}
        for role in Role:
            named = [topic for topic in self._of_type(TRACKS) if topic not in self._poses.topics
                     and topic.rsplit('/', maxsplit=1)[-1] == f'{role.value}s']
            told = [topic for topic in named if '/truth/' not in topic]
            if not told and named and not self._poses.topics:
                self._notes.append(f'{role.value}s are taken from {named[0]}: what the designer '
                                   'was told is not in the recording')
                told = named
            if len(told) > 1:
                self._notes.append(f'{role.value}s are taken from {told[0]}, not from '
                                   f'{", ".join(told[1:])}')
            found |= dict.fromkeys(told[:1], role)
        return found

    def describe(self) -> str:
        """Topics of the recording, in one line."""
        return ', '.join(f'{topic.name} ({topic.type_name}, {topic.count})'
                         for topic in self._recording.topics) or 'nothing'

    # Poses

    def _read(self, reader: PoseReader, topic: str, message: Any) -> Sequence[PoseSample]:
        if topic in self._tracks:
            return read_track_array(
                message, self._tracks[topic], self._deployment.bodies, self._world)
        return reader.read(topic, message)

    def _messages(self, counts: Counts) -> Iterator[tuple[float, Event]]:
        """Log time [s] of each message, and what is in it; the time of the event is not set."""
        array = self._deployment.transmit_array
        # A reader of its own for each pass: it remembers transforms.
        reader = self._pose_reader()
        for raw in self._recording.raw_messages(self._wanted):
            counts.messages += 1
            time = 1e-9 * raw.log_time
            try:
                message = self._recording.deserialise(raw.data, raw.type_name)
            except Exception as error:  # noqa: BLE001  generated code raises whatever bytes lead to
                counts.refuse('undecodable', f'{raw.topic}: {str(error) or type(error).__name__}')
                yield time, Event(0.0, raw.topic, refused='undecodable')
                continue
            try:
                if raw.topic in self._channels:
                    channels = read_user_channels(message, array.layout_hash, len(array))
                    yield time, Event(0.0, raw.topic, channels=channels)
                else:
                    poses = self._read(reader, raw.topic, message)
                    counts.poses += len(poses)
                    yield time, Event(0.0, raw.topic, poses)
            except NfIsacError as error:
                counts.refuse(error.reason, f'{raw.topic}: {error}')
                yield time, Event(0.0, raw.topic, refused=error.reason)

    def _set_clock(self) -> None:
        """Find out how the stamps relate to the times of recording."""
        head = islice(self._messages(Counts()), HEAD)
        lags = [time - pose.stamp for time, event in head for pose in event.poses]
        if not lags:
            return
        low, middle, high = np.quantile(lags, [0.1, 0.5, 0.9])
        if high - low > SAME_CLOCK:
            self._by_stamp = True
            self._notes.append(
                'times of recording do not go with the stamps: messages are taken to have come '
                'when they were stamped')
        elif abs(middle) > SAME_CLOCK:
            self._offset = float(middle)
            self._notes.append(f'stamps are {middle:.3f} s before the time of recording: they '
                               'are from another clock, and recorded times are moved to it')

    def events(self, counts: Counts) -> Iterator[Event]:
        """Poses and channels in the order in which they came; counts what is wrong."""
        for note in self._notes:
            counts.note(note)
        newest = -np.inf
        for time, event in self._messages(counts):
            stamps = [item.stamp for item in (*event.poses, *event.channels)]
            if self._by_stamp:
                newest = max(newest, *stamps) if stamps else newest
                time = newest if np.isfinite(newest) else time
            else:
                time -= self._offset
            yield event._replace(time=time)
        for note in self._recording.notes:
            counts.note(note)

    def without_pose(self, counts: Counts) -> str:
        """Say in one line that there was no pose, and what there is."""
        return (f'recording {self._recording.path} has no usable pose of any body of the '
                f'deployment{_refused(counts)}; it has: {self.describe()}')

    # What was published

    def recorded(self, counts: Counts) -> Iterator[Recorded]:
        """Cycles as they were published, in the order of the recording."""
        if self._by_stamp:
            # Nobody knows when they began.
            return
        topics = {kind: self._of_type(kind)[:1] for kind in (STATUS, BOUNDS, RADIO)}
        if not topics[STATUS]:
            return
        if len(self._of_type(STATUS)) > 1:
            counts.note(f'results are taken from {topics[STATUS][0]}, not from '
                        f'{", ".join(self._of_type(STATUS)[1:])}')
        waiting: OrderedDict[int, BoundReport] = OrderedDict()
        radio: Radio | None = None
        for message in self._recording.messages([name for names in topics.values()
                                                 for name in names]):
            time = 1e-9 * message.log_time - self._offset
            try:
                if message.type_name == RADIO:
                    radio = _radio(time, message.message)
                elif message.type_name == BOUNDS:
                    bounds = read_crb_array(message.message)
                    waiting[bounds.sequence] = bounds
                    if len(waiting) > WAITING:
                        waiting.popitem(last=False)
                else:
                    report = read_design_status(message.message)
                    took = 1e-3 * report.cycle_ms if np.isfinite(report.cycle_ms) else 0.0
                    published = report.quality is not Quality.MUTE
                    yield Recorded(time - took, report,
                                   waiting.pop(report.sequence, None) if published else None,
                                   radio)
            except (NfIsacError, AttributeError, ValueError) as error:
                counts.refuse('bad-result', f'{message.topic}: {error}')
        for type_name, count in self._recording.skipped.items():
            counts.note(f'{count} messages of {type_name} could not be decoded')

    def beams(self, every: int) -> Iterator[tuple[float, Any]]:
        """Each so many-th Beamformer message, and when it came [s]."""
        topics = self._of_type(BEAMS)[:1]
        for raw in islice(self._recording.raw_messages(topics), 0, None, every):
            try:
                yield (1e-9 * raw.log_time - self._offset,
                       self._recording.deserialise(raw.data, raw.type_name))
            except Exception:  # noqa: BLE001, S112  as above; the status counts what matters
                continue


def _radio(time: float, message: Any) -> Radio:
    return Radio(time, bool(message.armed), bool(message.muted), message.mute_reason,
                 float(message.power), read_user_status(message.users))


def _refused(counts: Counts) -> str:
    reasons = [f'{reason} {count} ({counts.examples[reason]})'
               for reason, count in counts.rejected.items()]
    return f' (refused: {"; ".join(reasons)})' if reasons else ''


class TextInput:
    """
    Trajectories in text files.

    Parameters
    ----------
    name : str
        For tables.
    paths : sequence of Path
        TUM or CSV files.
    deployment : Deployment
        A body of a file is the configured one of its id, else the one whose topic has a part of
        that name (robot1 and /vicon/robot1/pose).

    """

    def __init__(self, name: str, paths: Sequence[Path], deployment: Deployment) -> None:
        self.name = name
        self._files = [TextFile(path) for path in paths]
        self._deployment = deployment
        self.total = 0

    def close(self) -> None:
        """Nothing is kept open."""

    def _bodies_of(self, name: str) -> list[BodySettings]:
        bodies = self._deployment.bodies
        return ([body for body in bodies if body.id == name]
                or [body for body in bodies if name in (body.topic or '').split('/')])

    def _poses(self, file: TextFile, counts: Counts) -> Iterator[Event]:
        known: dict[str, list[BodySettings]] = {}
        newest = -np.inf
        source = file.path.name
        for line in file.poses():
            counts.messages += 1
            if line.body not in known:
                known[line.body] = self._bodies_of(line.body)
                if not known[line.body]:
                    counts.note(f'{source}: {line.body!r} is no body of the deployment')
            newest = max(newest, line.stamp)
            for body in known[line.body]:
                try:
                    sample = make_sample(body, line.stamp, np.array(line.position),
                                         line.orientation)
                except NfIsacError as error:
                    counts.refuse(error.reason, f'{source}: {error}')
                    yield Event(newest, source, refused=error.reason)
                    continue
                counts.poses += 1
                yield Event(newest, source, [sample])

    def events(self, counts: Counts) -> Iterator[Event]:
        """Poses in the order of their stamps; counts what is wrong."""
        yield from heapq.merge(*(self._poses(file, counts) for file in self._files),
                               key=attrgetter('time'))
        for file in self._files:
            for reason, count in file.rejected.items():
                counts.rejected[reason] += count
                counts.examples.setdefault(reason, f'{file.path.name}: {count} lines')

    def without_pose(self, counts: Counts) -> str:
        """Say in one line that there was no pose, and what there is."""
        ids = ', '.join(body.id for body in self._deployment.bodies) or 'none'
        notes = '; '.join(['', *counts.notes])
        return (f'trajectories {", ".join(str(file.path) for file in self._files)} have no usable '
                f'pose of any body of the deployment ({ids}){_refused(counts)}{notes}; they have: '
                f'{counts.messages} lines')

    def recorded(self, counts: Counts) -> Iterator[Recorded]:
        """Nothing: text files hold poses only."""
        return iter(())

    def beams(self, every: int) -> Iterator[tuple[float, Any]]:
        """Nothing: text files hold poses only."""
        return iter(())
