"""Writing of rosbag2 recordings that outlives a full disk."""

from __future__ import annotations

from collections import Counter
import errno
import os
from pathlib import Path
import sqlite3
from types import TracebackType
from typing import TYPE_CHECKING

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.types import know, standard_store

if TYPE_CHECKING:
    from io import BufferedWriter

    from rosbags.interfaces import Connection

STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}

# What is kept in memory while the disk takes nothing; about half a minute of beams at 5 Hz, or
# two seconds at 50 Hz.
PENDING_LIMIT = 16 * 2 ** 20   # [bytes]


class PatientFile:
    """
    A file for appending that reaches the disk at commits only, and then whole or not at all.

    `rosbags` takes a write for done once it returns: an error in the middle of a chunk would
    leave a torn file, and a retry would write the chunk twice. Here a write cannot fail, and a
    commit that failed can be tried again.

    Parameters
    ----------
    stream : BufferedWriter
        Open file; this object takes it over.

    """

    def __init__(self, stream: BufferedWriter) -> None:
        stream.flush()
        self._end = stream.tell()
        self._raw = stream.detach()
        self._pending = bytearray()

    def write(self, data: bytes | memoryview) -> int:
        """Append to what the next commit writes; the number of bytes."""
        self._pending += data
        return len(data)

    def tell(self) -> int:
        """Offset at which the next byte will lie."""
        return self._end + len(self._pending)

    @property
    def pending(self) -> int:
        """Bytes that are not on the disk yet."""
        return len(self._pending)

    def commit(self) -> None:
        """
        Bring everything to the disk.

        Raises
        ------
        OSError
            If the disk does not take it; the file then ends where it ended before.

        """
        # At fixed offsets, so that a second try overwrites the torn end of the first.
        done = 0
        try:
            with memoryview(self._pending) as view:
                while done < len(view):
                    done += os.pwrite(self._raw.fileno(), view[done:], self._end + done)
        except OSError:
            os.ftruncate(self._raw.fileno(), self._end)
            raise
        self._end += done
        self._pending.clear()

    def close(self) -> None:
        """Commit and close, once; the file is closed even if the commit fails."""
        if self._raw.closed:
            return
        try:
            self.commit()
        finally:
            self._raw.close()


class RecordingWriter:
    """
    Writes serialised messages to a rosbag2 folder as they came.

    Nothing but the constructor raises: errors of the disk are counted by reason, messages that
    cannot be kept are counted as lost, and writing goes on as soon as the disk takes bytes again.

    Parameters
    ----------
    path : Path
        Folder to make; must not exist.
    storage : str
        'mcap' or 'sqlite3'.

    Raises
    ------
    RecordingError
        If the folder cannot be made.

    Attributes
    ----------
    written : Counter
        Messages taken, by topic.
    lost : Counter
        Messages that could not be kept, by topic.
    errors : Counter
        Failed attempts to write, by reason ('disk-full', 'write-failed').
    last_error : str
        The newest error in words; empty: none so far.
    behind : bool
        The newest attempt to write failed.

    """

    def __init__(self, path: Path, storage: str = 'mcap') -> None:
        if storage not in STORAGES:
            raise RecordingError(
                f'storage {storage!r} of recording {path}: must be one of {sorted(STORAGES)}')
        self.path = Path(path)
        self.written: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.last_error = ''
        self.behind = False
        self._store = standard_store()
        self._connections: dict[str, Connection] = {}
        self._file: PatientFile | None = None
        self._closed = False
        try:
            self._writer = Writer(self.path, version=9, storage_plugin=STORAGES[storage])
            self._writer.open()
            if storage == 'mcap':
                self._file = PatientFile(self._writer.storage.bio)   # type: ignore[union-attr]
                self._writer.storage.bio = self._file   # type: ignore[union-attr]
        except (OSError, sqlite3.Error, WriterError) as error:
            raise RecordingError(f'recording {path} cannot be made: {error}') from error

    def add_topic(self, topic: str, type_name: str) -> None:
        """
        Announce a topic.

        Raises
        ------
        RecordingError
            If the type is not known or the topic has been announced before.

        """
        if topic in self._connections:
            raise RecordingError(f'topic {topic} of recording {self.path} is there already')
        if not know(self._store, type_name):
            raise RecordingError(
                f'type {type_name} of topic {topic} is neither a common one nor installed')
        self._connections[topic] = self._writer.add_connection(
            topic, type_name, typestore=self._store)

    def write(self, topic: str, data: bytes, log_time: int) -> bool:
        """
        Take one message.

        Parameters
        ----------
        topic : str
            Announced before.
        data : bytes
            The serialised message (CDR with its four bytes of encapsulation).
        log_time : int
            Time of reception [ns].

        Returns
        -------
        bool
            False if the message is lost.

        """
        if self._closed or (self._file and self._file.pending > PENDING_LIMIT
                            and not self._commit()):
            self.lost[topic] += 1
            return False
        try:
            self._writer.write(self._connections[topic], log_time, data)
        except (OSError, sqlite3.Error) as error:
            self._count(error)
            self.lost[topic] += 1
            return False
        self.behind = self.behind and self._file is not None
        self.written[topic] += 1
        return True

    def flush(self) -> bool:
        """
        Bring what was taken to the disk; to be called about once a second.

        Returns
        -------
        bool
            False if the disk did not take it; it is kept for the next time.

        """
        if self._closed or self._file is None:
            return True
        storage = self._writer.storage
        if storage.chunk.bio.tell():   # type: ignore[union-attr]
            storage.close_chunk()   # type: ignore[union-attr]
        return self._commit()

    def close(self) -> None:
        """Write index and metadata.yaml, and close; a second call does nothing."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        try:
            self._writer.close()
        except (OSError, sqlite3.Error) as error:
            self._count(error)
            self._close_torn()

    def _close_torn(self) -> None:
        # Readers find their way without metadata.yaml, and without the index if need be.
        storage = self._writer.storage
        try:
            if storage is not None:
                storage.close(9, '')
        except (OSError, sqlite3.Error) as error:
            self._count(error)

    def _commit(self) -> bool:
        assert self._file is not None
        try:
            self._file.commit()
        except OSError as error:
            self._count(error)
            return False
        self.behind = False
        return True

    def _count(self, error: Exception) -> None:
        full = isinstance(error, OSError) and error.errno in (
            errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        self.errors['disk-full' if full else 'write-failed'] += 1
        self.last_error = str(error)
        self.behind = True

    def __enter__(self) -> RecordingWriter:
        """Return the writer; it is open from the start."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Close the recording."""
        self.close()
