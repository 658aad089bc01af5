"""An SQLite file of rosbag2 with missing or damaged pages: the rows that can still be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
import sqlite3

from nf_isac_ros.recording.records import RawMessage, Topic

# After a damaged page rows are looked for behind it, ever further, up to so many rows on.
FURTHEST = 2 ** 20

_MESSAGES = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id'


class DamagedDatabase:
    """
    Reads what is left of an SQLite file of rosbag2, in the order in which it was written.

    Parameters
    ----------
    path : Path

    Raises
    ------
    sqlite3.Error
        If not even its topics can be read.

    Attributes
    ----------
    topics : list of Topic
    start, end : int
        Time of the first message, and just after the last [ns].

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start, self.end = 2 ** 63 - 1, 0
        with closing(self._connect()) as database:
            self._names = {number: (name, kind) for number, name, kind in database.execute(
                'SELECT id, name, type FROM topics')}
            try:
                definitions = dict(database.execute(
                    'SELECT topic_type, encoded_message_definition FROM message_definitions'))
            except sqlite3.Error:
                definitions = {}   # older recordings have none
        counts: Counter[int] = Counter()
        for number, time, _ in self._rows():
            counts[number] += 1
            self.start, self.end = min(self.start, time), max(self.end, time + 1)
        self.topics = [Topic(name, kind, counts[number], definitions.get(kind, ''))
                       for number, (name, kind) in self._names.items()]

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(f'{self.path.resolve().as_uri()}?mode=ro&immutable=1', uri=True)
        # Otherwise a file that is shorter than its header says is refused as a whole.
        database.execute('PRAGMA writable_schema = ON')
        return database

    def _rows(self) -> Iterator[tuple[int, int, bytes]]:
        """Topic, time [ns] and bytes of the messages."""
        after, step = 0, 1
        with closing(self._connect()) as database:
            while step <= FURTHEST:
                try:
                    for row, topic, time, data in database.execute(_MESSAGES, (after,)):
                        after, step = row, 1
                        # A damaged page may give rows of anything.
                        if isinstance(time, int) and isinstance(data, bytes):
                            yield topic, time, data
                except sqlite3.Error:
                    after += step
                    step *= 2
                else:
                    return

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages of some topics, as they were written."""
        for number, time, data in self._rows():
            names = self._names.get(number)
            if names is not None and names[0] in topics:
                yield RawMessage(*names, time, data)
