"""Every stretch of time in which something was not as it should be, with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
import csv
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from nf_isac_ros.replay.cycles import Happening
from nf_isac_ros.replay.table import USER, bodies_of, column

# A required SINR is met if it is missed by no more than this [dB].
TOLERANCE_DB = 1e-3
LESSER = ('fallback', 'mute')


@dataclass
class Incident:
    """
    One line of incidents.csv.

    Attributes
    ----------
    bag, mode : str
        Mode `input` is what was wrong with the recording itself.
    kind : str
        fallback, mute: of the design; radio-muted: of the radio; sinr-missed: a user got less
        than it required, in a design that was not labelled for it; rejected: messages that were
        refused; input: silent-body, body-jumped, clock-jump.
    reason : str
        As in docs/messages.md.
    source : str
        Body or topic; empty: the cycle as a whole.
    begin_s, end_s : float
        Since the start of the recording; a state of a cycle lasts until the next one.
    begin_utc : str
        The beginning as date and time.
    count : int
        Cycles or messages.

    """

    bag: str
    mode: str
    kind: str
    reason: str
    source: str
    begin_s: float
    end_s: float
    begin_utc: str
    count: int = 1

    @property
    def length(self) -> float:
        """How long it took [s]."""
        return self.end_s - self.begin_s


def utc(stamp: float) -> str:
    """Time of a stamp [s] as text; empty if it is none of this calendar."""
    try:
        return datetime.fromtimestamp(stamp, timezone.utc).isoformat(timespec='milliseconds')
    except (OverflowError, OSError, ValueError):
        return ''


class IncidentFinder:
    """
    Finds incidents in the rows of one recording and one mode, which come piece by piece.

    Parameters
    ----------
    bag, mode : str
    start : float
        Of the recording [s].

    """

    def __init__(self, bag: str, mode: str, start: float) -> None:
        self._bag, self._mode, self._start = bag, mode, start
        self._open: dict[str, Incident] = {}
        self.found: list[Incident] = []

    def feed(self, table: pa.Table) -> None:
        """Take the next rows in."""
        columns = {name: table.column(name).to_pylist() for name in (
            'transmit_time_s', 'quality', 'reason', 'radio_muted', 'radio_mute_reason')}
        users = {user: [table.column(name).to_pylist() if (name := column(USER, user, quantity))
                        in table.column_names else None
                        for quantity in ('required_sinr_db', 'sinr_db')]
                 for user in bodies_of(table.column_names, USER)}
        for k, stamp in enumerate(columns['transmit_time_s']):
            if stamp is None:
                continue
            quality = columns['quality'][k]
            lesser = quality in LESSER
            self._state('design', stamp, (quality, columns['reason'][k] or '') if lesser else None)
            self._state('radio', stamp, ('radio-muted', columns['radio_mute_reason'][k] or '')
                        if columns['radio_muted'][k] else None)
            for user, (required, achieved) in users.items():
                missed = (not lesser and required is not None and achieved is not None
                          and required[k] is not None and achieved[k] is not None
                          and achieved[k] < required[k] - TOLERANCE_DB)
                self._state(f'user {user}', stamp,
                            ('sinr-missed', 'sinr-missed') if missed else None, user)

    def _state(self, what: str, stamp: float, state: tuple[str, str] | None,
               source: str = '') -> None:
        time = stamp - self._start
        known = self._open.get(what)
        if known is not None:
            known.end_s = max(known.end_s, time)
            if state == (known.kind, known.reason):
                known.count += 1
                return
            del self._open[what]
        if state is not None:
            self._open[what] = Incident(
                self._bag, self._mode, *state, source, time, time, utc(stamp))
            self.found.append(self._open[what])


def of_input(bag: str, start: float, happenings: Iterable[Happening]) -> list[Incident]:
    """Incidents of a recording itself."""
    return [Incident(bag, 'input', each.kind, each.reason, each.source, each.begin - start,
                     each.end - start, utc(each.begin), each.count)
            for each in happenings if isfinite(each.begin)]


def counted(incidents: Iterable[Incident]) -> dict[str, int]:
    """Count incidents by reason."""
    return dict(sorted(Counter(each.reason or each.kind for each in incidents).items()))


def write_incidents(incidents: Sequence[Incident], path: Path) -> None:
    """Write incidents.csv, in the order of time in each recording."""
    names = [each.name for each in fields(Incident)]
    with path.open('w', newline='', encoding='utf-8') as stream:
        writer = csv.writer(stream, lineterminator='\n')
        writer.writerow([*names, 'length_s'])
        for each in incidents:
            writer.writerow([*(_text(getattr(each, name)) for name in names), _text(each.length)])


def _text(value: Any) -> Any:
    return f'{value:.6f}' if isinstance(value, float) else value
