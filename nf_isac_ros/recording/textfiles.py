"""
Trajectories in text files: TUM (`time x y z qx qy qz qw`, one body a file) and CSV.

A CSV file has a header that names its columns, in any order; COLUMNS has the names that are
understood. With a column `id` it holds several bodies, without one the body is called as the file.
Columns are separated by commas, tabs, or semicolons, beside which numbers may have decimal commas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
import csv
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import IO, NamedTuple

from nf_isac_ros.recording.exceptions import RecordingError

TUM_SUFFIXES = ('.tum', '.txt')
CSV_SUFFIX = '.csv'
SUFFIXES = (*TUM_SUFFIXES, CSV_SUFFIX)

NANO = 1e-9
# Times without a unit that are larger than this are too late for seconds, milliseconds and
# microseconds since 1970: by unit [s], the largest first.
UNITS = ((1e17, NANO), (1e14, 1e-6), (1e11, 1e-3), (0.0, 1.0))
# Canonical column -> names that people give it, in lower case.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    'time_s': ('time_s', 'stamp_s', 'timestamp_s', 'time [s]', 'timestamp [s]',
               '#timestamp [s]'),
    'time_ns': ('time_ns', 'stamp_ns', 'timestamp_ns', 'time [ns]', 'timestamp [ns]',
                '#timestamp [ns]'),
    'time': ('time', 'timestamp', 't', 'stamp', '#time', '#timestamp'),
    'id': ('id', 'body', 'name', 'frame', 'child_frame_id'),
    **{axis: (f'{axis}_m', axis, f't{axis}', f'p{axis}', f'{axis} [m]', f'p_rs_r_{axis} [m]',
              f'position.{axis}', f'pose.position.{axis}') for axis in 'xyz'},
    **{f'q{axis}': (f'q{axis}', f'q_{axis}', f'q_rs_{axis} []', f'orientation.{axis}',
                    f'pose.orientation.{axis}') for axis in 'xyzw'},
}
_CANONICAL = {name: key for key, names in COLUMNS.items() for name in names}


class TextPose(NamedTuple):
    """One line of a trajectory."""

    body: str
    stamp: float                                             # [s]
    position: tuple[float, float, float]                     # [m]
    orientation: tuple[float, float, float, float] | None    # x, y, z, w


@dataclass
class TextFile:
    """
    A trajectory in a text file.

    Attributes
    ----------
    path : Path
    rejected : Counter
        Lines that could not be read, by reason; counted by `poses`.

    Raises
    ------
    RecordingError
        If the file cannot be opened, or is a CSV file without the columns that are needed.

    """

    path: Path

    def __post_init__(self) -> None:
        """Look at the header."""
        self.rejected: Counter[str] = Counter()
        self._columns: dict[str, int] = {}
        self._delimiter = ','
        try:
            with self._open() as stream:
                if self.path.suffix.lower() == CSV_SUFFIX:
                    header = stream.readline()
                    self._delimiter = max(',;\t', key=header.count)
                    self._columns = _columns(
                        self.path, next(csv.reader([header], delimiter=self._delimiter), []))
        except OSError as error:
            raise RecordingError(f'trajectory {self.path}: {error.strerror}') from None
        except csv.Error as error:
            raise RecordingError(f'trajectory {self.path}: {error}') from error

    @property
    def body(self) -> str:
        """Name of the body where the lines give none."""
        return self.path.stem

    def _open(self) -> IO[str]:
        # A byte order mark is part of what spreadsheets write.
        return self.path.open(encoding='utf-8-sig', errors='replace', newline='')

    def poses(self) -> Iterator[TextPose]:
        """Lines in their order; those that cannot be read are counted."""
        with self._open() as stream:
            rows = self._csv_rows(stream) if self._columns else self._tum_rows(stream)
            for row in rows:
                if row is None:
                    self.rejected['bad-line'] += 1
                elif not all(isfinite(value) for value in (
                        row.stamp, *row.position, *(row.orientation or ()))):
                    self.rejected['not-finite'] += 1
                else:
                    yield row

    def _tum_rows(self, stream: IO[str]) -> Iterator[TextPose | None]:
        for line in stream:
            words = line.replace(',', ' ').split()
            if not words or words[0].startswith('#'):
                continue
            try:
                stamp, x, y, z, *turn = map(float, words)
            except ValueError:
                yield None
                continue
            if len(turn) not in (0, 4):
                yield None
                continue
            yield TextPose(self.body, stamp, (x, y, z), _turn(turn))

    def _csv_rows(self, stream: IO[str]) -> Iterator[TextPose | None]:
        at = self._columns
        comma = ',' if self._delimiter == ';' else '\0'
        reader = csv.reader((line.replace('\0', '') for line in stream),
                            delimiter=self._delimiter)
        next(reader)
        unit: float | None = None

        def number(name: str) -> float:
            return float(words[at[name]].replace(comma, '.'))

        while True:
            try:
                words = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield None
                continue
            if not words:
                continue
            try:
                if 'time_s' in at:
                    stamp = number('time_s')
                elif 'time_ns' in at:
                    stamp = int(words[at['time_ns']]) * NANO
                else:
                    stamp = number('time')
                    # The first line tells for all.
                    unit = unit or next((scale for least, scale in UNITS if stamp >= least), 1.0)
                    stamp *= unit
                x, y = number('x'), number('y')
                z = number('z') if 'z' in at else 0.0
                turn = [number(key) for key in ('qx', 'qy', 'qz', 'qw') if 'qw' in at]
                body = words[at['id']].strip() if 'id' in at else self.body
            except (ValueError, IndexError):
                yield None
                continue
            yield TextPose(body, stamp, (x, y, z), _turn(turn))


def _turn(values: Sequence[float]) -> tuple[float, float, float, float] | None:
    if not values:
        return None
    x, y, z, w = values
    return (x, y, z, w)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Place of each column that is understood."""
    found: dict[str, int] = {}
    for place, name in enumerate(header):
        key = _CANONICAL.get(' '.join(name.lower().split()))
        if key is not None:
            found.setdefault(key, place)
    turned = [key for key in ('qx', 'qy', 'qz', 'qw') if key in found]
    timed = any(name in found for name in ('time_s', 'time_ns', 'time'))
    if not timed or 'x' not in found or 'y' not in found or len(turned) not in (0, 4):
        raise RecordingError(
            f'trajectory {path} has the columns {", ".join(header) or "none"}; must have time_s '
            '(or time_ns), x_m, y_m, and may have z_m, id, and qx, qy, qz, qw together')
    return found
