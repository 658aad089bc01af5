"""Reading of rosbag2 and rosbag1 recordings, torn ones included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
import heapq
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.types import add_missing, know, standard_store

if TYPE_CHECKING:
    from rosbags.interfaces.typing import Typesdict
    from rosbags.typesys.store import Typestore

SUFFIXES = ('.mcap', '.db3')
ROS1_SUFFIX = '.bag'
MCAP_MAGIC = b'\x89MCAP0\r\n'

_IDL_SEPARATOR = '=' * 80 + '\n'


class BagMessage(NamedTuple):
    """One message of a recording, deserialised."""

    topic: str
    type_name: str
    log_time: int   # [ns]
    message: Any


class RawMessage(NamedTuple):
    """One message of a recording, as it was on the wire."""

    topic: str
    type_name: str
    log_time: int   # [ns]
    data: bytes


@dataclass(frozen=True)
class Topic:
    """
    What a recording says about a topic.

    Attributes
    ----------
    name : str
        Topic.
    type_name : str
        Such as 'geometry_msgs/msg/PoseStamped'.
    count : int
        Messages.
    definition : str
        Message definition as text (.msg or IDL); empty: not in the recording.

    """

    name: str
    type_name: str
    count: int
    definition: str = ''


class _Whole:
    """A recording that rosbags reads: a folder with metadata.yaml, or a file with its index."""

    def __init__(self, path: Path) -> None:
        self._reader = Ros1Reader(path) if path.suffix == ROS1_SUFFIX else Reader(path)
        self._reader.open()
        self.topics = [
            Topic(c.topic, c.msgtype, c.msgcount,
                  '' if c.msgdef.format == MessageDefinitionFormat.NONE else c.msgdef.data)
            for c in self._reader.connections]
        self.start, self.end = self._reader.start_time, self._reader.end_time

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        connections = [c for c in self._reader.connections if c.topic in topics]
        if connections:   # none would mean all
            for connection, time, data in self._reader.messages(connections):
                yield RawMessage(connection.topic, connection.msgtype, time, bytes(data))

    def close(self) -> None:
        self._reader.close()


class _Torn:
    """An MCAP file without its end: read from the front, as far as it goes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        counts: Counter[int] = Counter()
        self.start, self.end = 2 ** 63 - 1, 0
        for message in self._scan():
            counts[message.channel_id] += 1
            self.start = min(self.start, message.log_time)
            self.end = max(self.end, message.log_time + 1)
        self.topics = [
            Topic(channel.topic, self._type_of(channel), counts[number],
                  self._schemas[channel.schema_id].data.decode())
            for number, channel in self._channels.items() if channel.schema_id in self._schemas]

    def _type_of(self, channel: Channel) -> str:
        return self._schemas[channel.schema_id].name

    def _scan(self) -> Iterator[Message]:
        with open(self._path, 'rb') as stream:
            if stream.read(len(MCAP_MAGIC)) != MCAP_MAGIC:
                raise RecordingError('is no MCAP file')
            records = StreamReader(stream, skip_magic=True, emit_chunks=True).records
            try:
                for outer in records:
                    inner = breakup_chunk(outer) if isinstance(outer, Chunk) else [outer]
                    for record in inner:
                        if isinstance(record, Schema):
                            self._schemas[record.id] = record
                        elif isinstance(record, Channel):
                            self._channels[record.id] = record
                    yield from sorted((r for r in inner if isinstance(r, Message)),
                                      key=lambda message: message.log_time)
            except Exception:  # noqa: BLE001  each decompressor and decoder has errors of its own
                return   # this is where the file was torn

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        wanted = {number: channel for number, channel in self._channels.items()
                  if channel.topic in topics and channel.schema_id in self._schemas}
        for message in self._scan():
            channel = wanted.get(message.channel_id)
            if channel is not None:
                yield RawMessage(
                    channel.topic, self._type_of(channel), message.log_time, message.data)

    def close(self) -> None:
        pass


class Recording:
    """
    A recording of rosbag2 (a folder, an .mcap or a .db3 file) or rosbag1 (a .bag file).

    A context manager.

    A folder without a usable metadata.yaml is read file by file, an MCAP file without its end
    (its recorder was killed) from the front as far as it goes; `notes` then says so.

    Parameters
    ----------
    path : Path
        Folder or file.

    Raises
    ------
    RecordingError
        If there is nothing that can be read.

    Attributes
    ----------
    topics : tuple of Topic
        By name.
    start, end : int
        Time of the first message, and just after the last [ns]; both 0 if there is none.
    notes : list of str
        What had to be recovered, a sentence each.
    skipped : Counter
        Messages that `messages` could not deserialise, by type name.

    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self.skipped: Counter[str] = Counter()
        self._sources: list[_Whole | _Torn] = []
        if not self.path.exists():
            raise RecordingError(f'recording {self.path} does not exist')
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self._store = self._make_store()

    def _open(self) -> None:
        try:
            self._sources.append(_Whole(self.path))
        except Exception as error:  # noqa: BLE001  rosbags asserts and indexes; any means unreadable
            self._recover(error)
        merged: dict[str, Topic] = {}
        for topic in (topic for source in self._sources for topic in source.topics):
            known = merged.get(topic.name)
            merged[topic.name] = topic if known is None else Topic(
                topic.name, known.type_name, known.count + topic.count,
                known.definition or topic.definition)
        self.topics = tuple(merged[name] for name in sorted(merged))
        filled = [source for source in self._sources if source.end > source.start]
        self.start = min((source.start for source in filled), default=0)
        self.end = max((source.end for source in filled), default=0)

    def _recover(self, error: Exception) -> None:
        why = str(error) or type(error).__name__
        if self.path.is_dir():
            files = sorted(p for p in self.path.iterdir() if p.suffix in SUFFIXES)
            self.notes.append(f'{self.path.name}: read file by file, because {why}')
        else:
            files = [self.path] if self.path.suffix in (*SUFFIXES, ROS1_SUFFIX) else []
        if not files:
            raise RecordingError(f'recording {self.path} cannot be read: {why}') from error
        failures = []
        for path in files:
            try:
                self._sources.append(_Whole(path))
                continue
            except Exception as reason:  # noqa: BLE001  as above
                whole_error = reason
            try:
                if path.suffix != '.mcap':
                    raise whole_error
                source = _Torn(path)
                self._sources.append(source)
                total = sum(topic.count for topic in source.topics)
                self.notes.append(f'{path.name}: torn, {total} messages recovered')
            except Exception as reason:  # noqa: BLE001  as above
                failures.append(f'{path.name}: {reason or type(reason).__name__}')
        self.notes.extend(failures)
        if not self._sources:
            raise RecordingError(
                f'recording {self.path} cannot be read: {"; ".join(failures)}') from error

    def _make_store(self) -> Typestore:
        # The recording knows its own types best; what it does not define comes from here.
        store = get_typestore(Stores.EMPTY)
        for topic in self.topics:
            if topic.definition:
                try:
                    add_missing(store, _parse(topic))
                except Exception as error:  # noqa: BLE001  the parser's errors have no common base
                    self.notes.append(f'definition of {topic.type_name} is not usable: '
                                      f'{str(error) or type(error).__name__}')
        add_missing(store, standard_store().fielddefs)
        for topic in self.topics:
            know(store, topic.type_name)
        return store

    def type_of(self, topic: str) -> str | None:
        """Type name of a topic; None if the recording does not have the topic."""
        return next((t.type_name for t in self.topics if t.name == topic), None)

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """
        Messages as they were on the wire, in the order of their log time.

        Parameters
        ----------
        topics : collection of str, optional
            None: all.

        Yields
        ------
        RawMessage

        """
        wanted = {topic.name for topic in self.topics} if topics is None else set(topics)
        return heapq.merge(*(self._guarded(source, wanted) for source in self._sources),
                           key=itemgetter(2))

    def _guarded(self, source: _Whole | _Torn, topics: Collection[str]) -> Iterator[RawMessage]:
        try:
            yield from source.messages(topics)
        except Exception as error:  # noqa: BLE001  damage inside: what came before is good
            self.notes.append(f'{self.path.name}: reading ended early: '
                              f'{str(error) or type(error).__name__}')

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """
        Messages in the order of their log time, deserialised.

        Those that cannot be deserialised are counted in `skipped` and left out.

        Parameters
        ----------
        topics : collection of str, optional
            None: all.

        Yields
        ------
        BagMessage

        """
        for topic, type_name, time, data in self.raw_messages(topics):
            try:
                message = self.deserialise(data, type_name)
            except Exception:  # noqa: BLE001  generated code raises whatever the bytes lead to
                self.skipped[type_name] += 1
                continue
            yield BagMessage(topic, type_name, time, message)

    def deserialise(self, data: bytes, type_name: str) -> Any:
        """Message object of `rosbags` from its bytes; raises whatever the bytes lead to."""
        if self.path.suffix == ROS1_SUFFIX:
            return self._store.deserialize_ros1(data, type_name)
        return self._store.deserialize_cdr(data, type_name)

    def close(self) -> None:
        """Close all files."""
        while self._sources:
            self._sources.pop().close()

    def __enter__(self) -> Recording:
        """Return the recording; it is open from the start."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Close all files."""
        self.close()


def _parse(topic: Topic) -> Typesdict:
    if not topic.definition.startswith(f'{_IDL_SEPARATOR}IDL: '):
        return get_types_from_msg(topic.definition, topic.type_name)
    types: Typesdict = {}
    for part in topic.definition.split(_IDL_SEPARATOR)[1:]:
        types.update(get_types_from_idl(part.partition('\n')[2]))
    return types
