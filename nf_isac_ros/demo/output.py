"""The folder that a demo writes to: what an earlier demo left is replaced, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
import fcntl
import os
from pathlib import Path
from typing import IO

from nf_isac_ros.demo.graph import UsageError

# Says that the folder was written by a demo; also the lock against a second one.
MARKER = '.nf-isac-demo'
FILES = ('summary.json', 'scene.png', 'timeline.png')
FOLDERS = {'recording': ('*.mcap', 'metadata.yaml'), 'logs': ('*.log',)}


@dataclass(frozen=True)
class OutputFolder:
    """
    Where the results go.

    Attributes
    ----------
    path : Path
    lock : file
        Held open while the demo runs.

    """

    path: Path
    lock: IO[str]

    @property
    def recording(self) -> Path:
        """Folder of the recording; made by the recorder."""
        return self.path / 'recording'

    @property
    def logs(self) -> Path:
        """Folder of the log files."""
        return self.path / 'logs'

    def close(self) -> None:
        """Let another demo have it."""
        self.lock.close()


def open_output(path: Path) -> OutputFolder:
    """
    Make a folder ready for a demo.

    Removes what an earlier demo wrote there, by name; never a file that it did not write.

    Parameters
    ----------
    path : Path
        Made if it does not exist.

    Returns
    -------
    OutputFolder

    Raises
    ------
    UsageError
        If the folder cannot be written to, is in use by another demo, or holds something of the
        name of a result that no demo wrote.

    """
    path = path.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        marker = path / MARKER
        if not marker.exists():
            for name in (*FILES, *FOLDERS):
                if os.path.lexists(path / name):
                    raise UsageError(f'{path / name} exists and was not written by a demo; choose '
                                     'another --out or move it away')
        lock = marker.open('a', encoding='utf-8')
    except NotADirectoryError:
        raise UsageError(f'--out {path}: is not a folder') from None
    except FileExistsError:
        raise UsageError(f'--out {path}: is not a folder') from None
    except OSError as error:
        raise UsageError(f'--out {path}: {error.strerror}') from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear(path)
    except BlockingIOError:
        lock.close()
        raise UsageError(f'--out {path}: another demo is writing there') from None
    except OSError as error:
        lock.close()
        raise UsageError(f'--out {error.filename or path}: {error.strerror}') from None
    except UsageError:
        lock.close()
        raise
    return OutputFolder(path, lock)


def _clear(path: Path) -> None:
    for name in FILES:
        (path / name).unlink(missing_ok=True)
    for name, patterns in FOLDERS.items():
        folder = path / name
        if not os.path.lexists(folder):
            continue
        if folder.is_symlink() or not folder.is_dir():
            raise UsageError(f'{folder} was not written by a demo; choose another --out or move '
                             'it away')
        for pattern in patterns:
            for file in folder.glob(pattern):
                file.unlink()
        left = next(folder.iterdir(), None)
        if left is None:
            folder.rmdir()
        elif name == 'recording':
            # The recorder makes its folder anew and writes into no other.
            raise UsageError(f'{left} was not written by a demo; choose another --out or move it '
                             'away')
