"""
One MCAP file, whole or not: what is torn or damaged is left out, and the rest is read.

Records are taken from the file itself, chunk by chunk, so that a file needs neither an end nor an
index, several channels may have one topic, and a chunk whose checksum is wrong costs no other one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
import heapq
from io import BytesIO
from pathlib import Path
import struct
from typing import NamedTuple
import zlib

from lz4.frame import LZ4FrameDecompressor
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, ChunkIndex, Schema
import zstandard

from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.records import RawMessage, Topic

MAGIC = b'\x89MCAP0\r\n'
# What a channel must hold to be a topic of ROS 2.
CDR = 'cdr'

# Records that say something about messages; others are passed over.
_NEEDED = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.CHUNK)
# A longer record is taken for damage [bytes].
LONGEST = 2 ** 30

_RECORD = struct.Struct('<BQ')      # opcode, length
_MESSAGE = struct.Struct('<HIQQ')   # channel, sequence, log time, publish time
_CHUNK = struct.Struct('<QQQII')    # first time, last time, size, checksum, length of a word


class _Raw(NamedTuple):
    """A message before anybody knows whether it is wanted; sorted by time."""

    log_time: int
    channel: int
    data: bytes


class McapFile:
    """
    Reads an MCAP file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    RecordingError
        If it does not begin as an MCAP file.
    OSError
        If it cannot be opened.

    Attributes
    ----------
    topics : list of Topic
        One for each channel with messages of ROS 2; several may have one name.
    start, end : int
        Time of the first message, and just after the last [ns].
    torn : bool
        The file has no end.
    damaged : int
        Chunks that were left out in the newest reading, since their checksum or their content is
        wrong.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = False
        self.damaged = 0
        self.start, self.end = 2 ** 63 - 1, 0
        self._size = path.stat().st_size
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: list[ChunkIndex] = []
        with path.open('rb') as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise RecordingError('is no MCAP file')
        counts = self._indexed()
        if counts is None:
            counts = self._counted()
        self.topics = [
            Topic(channel.topic, schema.name, counts[number], schema.data.decode(errors='replace'))
            for number, (channel, schema) in self._usable().items()]

    def _usable(self) -> dict[int, tuple[Channel, Schema]]:
        """Channels with messages of ROS 2."""
        return {number: (channel, self._schemas[channel.schema_id])
                for number, channel in self._channels.items()
                if channel.message_encoding == CDR and channel.schema_id in self._schemas}

    def _indexed(self) -> Counter[int] | None:
        """Messages by channel, as the end of the file says; None: it says too little."""
        try:
            with self.path.open('rb') as stream:
                summary = make_reader(stream).get_summary()
        except Exception:  # noqa: BLE001  a torn file ends with anything
            return None
        told = None if summary is None else summary.statistics
        if summary is None or told is None:
            return None
        chunked = len(summary.chunk_indexes) == told.chunk_count > 0 or told.message_count == 0
        named = len(summary.channels) == told.channel_count and all(
            channel.schema_id in summary.schemas for channel in summary.channels.values()
            if channel.message_encoding == CDR)
        if not (chunked and named):
            return None
        self._schemas, self._channels = summary.schemas, summary.channels
        self._chunks = sorted(summary.chunk_indexes, key=lambda each: each.message_start_time)
        if told.message_count:
            self.start, self.end = told.message_start_time, told.message_end_time + 1
        return Counter(told.channel_message_counts)

    def _counted(self) -> Counter[int]:
        """Messages by channel, counted; what the channels are is learnt on the way."""
        counts: Counter[int] = Counter()
        for message in self._from_front(None):
            counts[message.channel] += 1
            self.start = min(self.start, message.log_time)
            self.end = max(self.end, message.log_time + 1)
        return counts

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """
        Messages of some topics, in the order of their log time.

        Without an index they come in the order of the file, sorted within each chunk only.
        """
        wanted = {number: (channel.topic, schema.name)
                  for number, (channel, schema) in self._usable().items()
                  if channel.topic in topics}
        self.damaged = 0
        for message in (self._by_index if self._chunks else self._from_front)(wanted):
            yield RawMessage(*wanted[message.channel], message.log_time, message.data)

    def _by_index(self, wanted: Collection[int]) -> Iterator[_Raw]:
        """Wanted messages of the indexed chunks, which may overlap in time."""
        waiting: list[_Raw] = []
        with self.path.open('rb') as stream:
            for index in self._chunks:
                while waiting and waiting[0].log_time < index.message_start_time:
                    yield heapq.heappop(waiting)
                inside = index.message_index_offsets
                if inside and not any(number in inside for number in wanted):
                    continue
                stream.seek(index.chunk_start_offset + _RECORD.size)
                length = min(index.chunk_length, self._size) - _RECORD.size
                for message in self._of_chunk(stream.read(length), wanted, whole=True):
                    heapq.heappush(waiting, message)
        while waiting:
            yield heapq.heappop(waiting)

    def _from_front(self, wanted: Collection[int] | None) -> Iterator[_Raw]:
        """Wanted messages (None: all) from the front, as far as the file goes."""
        self.torn = True
        with self.path.open('rb') as stream:
            stream.seek(len(MAGIC))
            while len(head := stream.read(_RECORD.size)) == _RECORD.size:
                opcode, length = _RECORD.unpack(head)
                if opcode == Opcode.FOOTER:
                    self.torn = False
                    return
                if opcode == 0:
                    return   # room that was made for records which never came
                if opcode not in _NEEDED:
                    stream.seek(length, 1)
                    continue
                content = stream.read(min(length, LONGEST))
                whole = len(content) == length
                if opcode == Opcode.CHUNK:
                    yield from sorted(self._of_chunk(content, wanted, whole))
                elif whole:
                    yield from self._of_records(head + content, wanted)
                if not whole:
                    return

    def _of_chunk(self, content: bytes, wanted: Collection[int] | None,
                  whole: bool) -> Iterator[_Raw]:
        """Messages of a chunk; of one that was cut off, those before the cut."""
        try:
            yield from self._of_records(_records(content, check=whole), wanted)
        except Exception:  # noqa: BLE001  each decompressor and decoder has errors of its own
            self.damaged += whole

    def _of_records(self, records: bytes, wanted: Collection[int] | None) -> Iterator[_Raw]:
        at = 0
        while at + _RECORD.size <= len(records):
            opcode, length = _RECORD.unpack_from(records, at)
            begin = at + _RECORD.size
            at = begin + length
            if at > len(records):
                return
            if opcode != Opcode.MESSAGE:
                self._define(opcode, records[begin:at])
                continue
            channel, _, log_time, _ = _MESSAGE.unpack_from(records, begin)
            if wanted is None or channel in wanted:
                yield _Raw(log_time, channel, records[begin + _MESSAGE.size:at])

    def _define(self, opcode: int, body: bytes) -> None:
        """Take in what a channel is."""
        stream = ReadDataStream(BytesIO(body))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream)
            self._channels[channel.id] = channel


def _records(content: bytes, check: bool) -> bytes:
    """Records of a chunk, as far as they can be decompressed; raises what the bytes lead to."""
    *_, size, checksum, letters = _CHUNK.unpack_from(content)
    start = _CHUNK.size + letters
    compression, packed = content[_CHUNK.size:start].decode(), content[start + 8:]
    if compression == 'zstd':
        records = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    elif compression == 'lz4':
        records = LZ4FrameDecompressor().decompress(packed)
    elif compression == '':
        records = packed
    else:
        raise RecordingError(f'compression {compression!r} is not known')
    if check and (len(records) != size or checksum not in (0, zlib.crc32(records))):
        raise RecordingError('a chunk is not what its checksum says')
    return records
