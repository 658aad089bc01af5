"""Reading of rosbag2 and rosbag1 recordings, torn ones included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
import heapq
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from nf_isac_ros.recording.database_file import DamagedDatabase
from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.mcap_file import McapFile
from nf_isac_ros.recording.records import BagMessage, RawMessage, Topic
from nf_isac_ros.recording.types import add_missing, know, standard_store

if TYPE_CHECKING:
    from rosbags.interfaces.typing import Typesdict
    from rosbags.typesys.store import Typestore

MCAP_SUFFIX, DATABASE_SUFFIX, ROS1_SUFFIX = '.mcap', '.db3', '.bag'
SUFFIXES = (MCAP_SUFFIX, DATABASE_SUFFIX)
METADATA = 'metadata.yaml'

_IDL_SEPARATOR = '=' * 80 + '\n'


class _Whole:
    """A recording that rosbags reads: a folder with metadata.yaml, a database, or rosbag1."""

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

    @property
    def plain_files(self) -> list[Path]:
        """MCAP files of a folder whose content is not compressed once more; empty: others."""
        if isinstance(self._reader, Ros1Reader) or self._reader.compression_mode:
            return []
        files = [storage.path for storage in getattr(self._reader.storage, 'storages', ())]
        return files if all(path.suffix == MCAP_SUFFIX for path in files) else []

    def close(self) -> None:
        self._reader.close()


_Source = _Whole | McapFile | DamagedDatabase


class Recording:
    """
    A recording of rosbag2 (a folder, an .mcap or a .db3 file) or rosbag1 (a .bag file).

    A context manager.

    A folder without a usable metadata.yaml is read file by file, an MCAP file without its end
    (its recorder was killed) from the front as far as it goes, damaged parts of files are left
    out; `notes` then says so.

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
        self._sources: list[_Source] = []
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
            self._sources += self._whole()
        except Exception as error:  # noqa: BLE001  rosbags asserts and indexes; any means unreadable
            self._recover(error)
        for source in self._sources:
            if isinstance(source, McapFile) and source.torn:
                total = sum(topic.count for topic in source.topics)
                self.notes.append(f'{source.path.name}: torn, {total} messages recovered')
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

    def _whole(self) -> list[_Source]:
        """Files of a recording that is as it should be."""
        if self.path.suffix == MCAP_SUFFIX and self.path.is_file():
            return [McapFile(self.path)]
        whole = _Whole(self.path)
        files = whole.plain_files
        if not files:
            return [whole]
        whole.close()
        return [McapFile(path) for path in files]

    def _recover(self, error: Exception) -> None:
        """Open file by file what is left of a recording."""
        why = _first_line(error)
        if self.path.is_dir():
            files = sorted(p for p in self.path.iterdir() if p.suffix in SUFFIXES)
            if not (self.path / METADATA).exists():
                why = f'it has no {METADATA}' + ('' if files else ' and no .mcap or .db3 file')
            elif isinstance(error, (TypeError, AttributeError, KeyError)):
                # What rosbags stumbles over where it expects something else.
                why = f'its {METADATA} is none of rosbag2'
            self.notes.append(f'{self.path.name}: read file by file, because {why}')
        else:
            files = [self.path] if self.path.suffix in SUFFIXES else []
        failures = []
        for path in files:
            try:
                self._sources.append(self._left_of(path))
            except Exception as reason:  # noqa: BLE001  as above
                failures.append(f'{path.name}: {_first_line(reason)}')
        self.notes.extend(failures)
        if not self._sources:
            raise RecordingError(f'recording {self.path} cannot be read: '
                                 f'{"; ".join(failures) or why}') from error

    def _left_of(self, path: Path) -> _Source:
        """Open a file as it is, or as far as it goes."""
        if path.suffix == MCAP_SUFFIX:
            return McapFile(path)
        try:
            return _Whole(path)
        except Exception as error:  # noqa: BLE001  as above
            database = DamagedDatabase(path)
            total = sum(topic.count for topic in database.topics)
            self.notes.append(f'{path.name}: damaged ({_first_line(error)}), {total} messages '
                              'recovered')
            return database

    def _make_store(self) -> Typestore:
        # The recording knows its own types best; what it does not define comes from here.
        store = get_typestore(Stores.EMPTY)
        for topic in self.topics:
            if topic.definition:
                try:
                    add_missing(store, _parse(topic))
                except Exception as error:  # noqa: BLE001  the parser's errors have no common base
                    self.notes.append(f'definition of {topic.type_name} is not usable: '
                                      f'{_first_line(error)}')
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

    def _guarded(self, source: _Source, topics: Collection[str]) -> Iterator[RawMessage]:
        try:
            yield from source.messages(topics)
        except Exception as error:  # noqa: BLE001  damage inside: what came before is good
            self._note(f'{self.path.name}: reading ended early: {_first_line(error)}')
        if isinstance(source, McapFile) and source.damaged:
            self._note(f'{source.path.name}: {source.damaged} damaged chunks left out')

    def _note(self, text: str) -> None:
        """Keep a sentence once: a recording is read several times."""
        if text not in self.notes:
            self.notes.append(text)

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
            source = self._sources.pop()
            if isinstance(source, _Whole):
                source.close()

    def __enter__(self) -> Recording:
        """Return the recording; it is open from the start."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Close all files."""
        self.close()


def _first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).splitlines()), '') or type(error).__name__


def _parse(topic: Topic) -> Typesdict:
    if not topic.definition.startswith(f'{_IDL_SEPARATOR}IDL: '):
        return get_types_from_msg(topic.definition, topic.type_name)
    types: Typesdict = {}
    for part in topic.definition.split(_IDL_SEPARATOR)[1:]:
        types.update(get_types_from_idl(part.partition('\n')[2]))
    return types
