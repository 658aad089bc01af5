"""
The folder of a replay: finished pieces while it is at work, tables and report in the end.

Pieces have names that depend on everything that they are made from. So an interrupted replay goes
on where it was, and nothing is taken for a piece of another recording or configuration.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
import shutil
from typing import IO
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from nf_isac_ros.replay.errors import ReplayError
from nf_isac_ros.replay.redesign import Beams, Piece

# Says that the folder was written by a replay; also the lock against a second one.
MARKER = '.nf-isac-replay'
PIECES = 'pieces'
RESULTS = ('report.html', 'cycles.parquet', 'cycles.csv', 'incidents.csv', 'summary.json',
           'whatif.parquet', 'whatif.csv', 'whatif_summary.csv')
FIGURES = 'figures'


class Folder:
    """
    Where the results go. A context manager.

    Parameters
    ----------
    path : Path
        Made if it does not exist.

    Raises
    ------
    ReplayError
        If it cannot be written to, is in use by another replay, or has a file of the name of a
        result that no replay wrote.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            marker = path / MARKER
            taken = [name for name in (*RESULTS, FIGURES, PIECES) if os.path.lexists(path / name)]
            if taken and not marker.exists():
                raise ReplayError(f'--out: {path / taken[0]} exists and was not written by a '
                                  'replay; must be another folder, or move it away')
            self._lock: IO[str] = marker.open('a', encoding='utf-8')
            (path / PIECES).mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ReplayError(f'--out: {path} is no folder') from None
        except OSError as error:
            raise ReplayError(f'--out: {path}: {error.strerror}') from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ReplayError(f'--out: another replay is writing to {path}') from None

    @property
    def figures(self) -> Path:
        """Folder of the pictures; made when asked for."""
        folder = self.path / FIGURES
        folder.mkdir(exist_ok=True)
        return folder

    def table(self, token: str) -> Path:
        """File of the table of a piece."""
        return self.path / PIECES / f'{token}.parquet'

    def has(self, token: str) -> bool:
        """Tell whether a piece is there, whole."""
        if not self.table(token).exists():
            return False
        try:
            parquet.read_metadata(self.table(token))
            self.beams(token)
        except (OSError, ValueError, KeyError, pa.ArrowInvalid, BadZipFile):
            return False
        return True

    def keep(self, token: str, piece: Piece) -> None:
        """Write a piece; the table comes last, and at once or not at all."""
        weights = self._weights(token)
        with weights.with_suffix('.new').open('wb') as stream:
            np.savez(stream, cycles=[beams.cycle for beams in piece.beams],
                     transmit_times=[beams.transmit_time for beams in piece.beams],
                     **{f'weights{k}': beams.weights for k, beams in enumerate(piece.beams)})
        weights.with_suffix('.new').replace(weights)
        self.write(token, piece.table)

    def write(self, token: str, table: pa.Table) -> None:
        """Write a table, at once or not at all."""
        path = self.table(token)
        parquet.write_table(table, path.with_suffix('.part'))
        path.with_suffix('.part').replace(path)

    def _weights(self, token: str) -> Path:
        return self.path / PIECES / f'{token}.npz'

    def beams(self, token: str) -> list[Beams]:
        """Beams of a piece."""
        with np.load(self._weights(token)) as found:
            return [Beams(int(cycle), float(time), found[f'weights{k}'])
                    for k, (cycle, time) in enumerate(zip(
                        found['cycles'], found['transmit_times']))]

    def forget_pieces(self) -> None:
        """Remove the pieces: everything is in the tables now."""
        shutil.rmtree(self.path / PIECES)

    def forget_results(self) -> None:
        """Remove results of an earlier replay, which are not those of this one."""
        for name in RESULTS:
            (self.path / name).unlink(missing_ok=True)
        for picture in (self.path / FIGURES).glob('*.png'):
            picture.unlink()

    def __enter__(self) -> Folder:
        """Return the folder."""
        return self

    def __exit__(self, *details: object) -> None:
        """Let another replay have it."""
        self._lock.close()
