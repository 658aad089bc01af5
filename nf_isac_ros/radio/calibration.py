"""Complex gain of every element, measured; from CSV or NPZ files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
import re
import zipfile

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import NfIsacError

# A gain farther from the median gain is a mistake in the file: what it would take to correct it
# would use up the resolution of all other elements.
MAX_DEVIATION_DB = 40.0
MAX_FILE_BYTES = 16 * 2 ** 20
MAX_EPOCH = 2 ** 64 - 1

_FORMS = {('element', 're', 'im'): lambda a, b: complex(a, b),
          ('element', 'gain_db', 'phase_deg'):
          lambda a, b: 10.0 ** (a / 20.0) * np.exp(1j * np.deg2rad(b))}
_EPOCH = re.compile(r'#\s*epoch:\s*(\S+)\s*')
_LAYOUT = re.compile(r'#\s*layout_hash:\s*(\S+)\s*')


class CalibrationError(NfIsacError, ValueError):
    """A calibration that cannot be used."""

    reason = 'bad-calibration'


@dataclass(frozen=True)
class Calibration:
    """
    What each element makes of its signal.

    Attributes
    ----------
    gains : ndarray of complex64, shape (N,)
        Radiated over fed, relative to an ideal element; 0: a dead element, which is fed nothing.
    epoch : int
        Identifies the calibration in messages; 0: none.

    Raises
    ------
    CalibrationError
        If a value is not allowed.

    """

    gains: NDArray[np.complex64]
    epoch: int = 0

    def __post_init__(self) -> None:
        """Check and freeze the gains."""
        gains = np.array(self.gains, dtype=np.complex64)
        if gains.ndim != 1 or not len(gains):
            raise CalibrationError(f'gains have the shape {gains.shape}, must be (N,) with N >= 1')
        if not 0 <= self.epoch <= MAX_EPOCH:
            raise CalibrationError(f'epoch is {self.epoch}, must be from 0 to 2^64 - 1')
        if not np.isfinite(gains).all():
            first = int(np.argmin(np.isfinite(gains)))
            raise CalibrationError(f'gain of element {first} is {gains[first]}, must be finite')
        alive = np.abs(gains[gains != 0])
        if not len(alive):
            raise CalibrationError('every gain is 0, at least one element must work')
        deviation = np.zeros(len(gains))
        deviation[gains != 0] = 20 * np.log10(alive / np.median(alive))
        worst = int(np.abs(deviation).argmax())
        if abs(deviation[worst]) > MAX_DEVIATION_DB:
            raise CalibrationError(
                f'gain of element {worst} is {deviation[worst]:.1f} dB from the median, must be '
                f'within {MAX_DEVIATION_DB:g} dB, or 0 for a dead element')
        gains.setflags(write=False)
        object.__setattr__(self, 'gains', gains)

    @classmethod
    def identity(cls, n_elements: int) -> Calibration:
        """Ideal elements."""
        return cls(np.ones(n_elements, dtype=np.complex64))

    @cached_property
    def is_identity(self) -> bool:
        """Tell whether all elements are ideal."""
        return bool((self.gains == 1).all())

    @cached_property
    def working(self) -> NDArray[np.bool_]:
        """Elements that are not dead, shape (N,)."""
        return self.gains != 0

    @cached_property
    def inverse(self) -> NDArray[np.complex64]:
        """What corrects each element, shape (N,); 0 for a dead one."""
        return np.divide(np.complex64(1), self.gains, out=np.zeros_like(self.gains),
                         where=self.working)


def load_calibration(path: Path, n_elements: int, layout_hash: str = '') -> Calibration:
    """
    Read a calibration.

    Parameters
    ----------
    path : Path
        `.npz` with `gains` (N, complex), `epoch` (whole number) and, optionally, `layout_hash`
        (text). Anything else is read as CSV: comment lines `# epoch: 7` and, optionally,
        `# layout_hash: ...`, a header `element,re,im` or `element,gain_db,phase_deg`, and one
        line for each element, in any order.
    n_elements : int
        Of the transmit array.
    layout_hash : str
        Of the transmit array; a file that names one must name this.

    Raises
    ------
    CalibrationError
        Names the file, what is wrong and what is allowed.

    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CalibrationError(f'must have at most {MAX_FILE_BYTES // 2 ** 20} MiB')
        read = _read_npz if path.suffix == '.npz' else _read_csv
        gains, epoch, hashed = read(path)
        if len(gains) != n_elements:
            raise CalibrationError(f'has {len(gains)} elements, must have {n_elements}, those of '
                                   'the transmit array')
        if hashed and layout_hash and hashed != layout_hash:
            raise CalibrationError(f'layout_hash is {hashed}, must be {layout_hash}, that of the '
                                   'transmit array')
        if epoch < 1:
            raise CalibrationError(f'epoch is {epoch}, must be at least 1')
        return Calibration(gains, epoch)
    except OSError as error:
        raise CalibrationError(f'calibration {path}: {error.strerror}') from error
    except CalibrationError as error:
        raise CalibrationError(f'calibration {path}: {error}') from error


def _read_npz(path: Path) -> tuple[NDArray[np.complex64], int, str]:
    try:
        with np.load(path, allow_pickle=False) as file:
            gains, epoch = np.asarray(file['gains']), np.asarray(file['epoch'])
            hashed = str(file['layout_hash']) if 'layout_hash' in file else ''
    except KeyError as error:
        raise CalibrationError(f'{error.args[0]}; must have gains and epoch') from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(f'is no NPZ file of plain arrays: {error}') from error
    if gains.ndim != 1 or gains.dtype.kind not in 'fc':
        raise CalibrationError(f'gains are {gains.dtype} of the shape {gains.shape}, must be '
                               'complex of the shape (N,)')
    if epoch.ndim or epoch.dtype.kind not in 'iu':
        raise CalibrationError(f'epoch is {epoch}, must be a whole number')
    return gains, int(epoch), hashed


def _read_csv(path: Path) -> tuple[NDArray[np.complex64], int, str]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise CalibrationError(f'is no UTF-8 text: {error}') from error
    comments = [line for line in lines if line.startswith('#')]
    epochs = [match[1] for match in map(_EPOCH.fullmatch, comments) if match]
    hashes = [match[1] for match in map(_LAYOUT.fullmatch, comments) if match]
    if len(epochs) != 1 or not epochs[0].isdecimal():
        raise CalibrationError(f'has {epochs or "no"} epoch, must have one line "# epoch: '
                               'NUMBER"')
    rows = [row for row in csv.reader(line for line in lines if not line.startswith('#')) if row]
    form = tuple(cell.strip() for cell in rows[0]) if rows else ()
    if form not in _FORMS:
        raise CalibrationError(f'has the header {",".join(form)!r}, must be '
                               + ' or '.join(repr(','.join(known)) for known in _FORMS))
    gains: dict[int, complex] = {}
    for row in rows[1:]:
        try:
            element, first, second = int(row[0]), float(row[1]), float(row[2])
            if len(row) != 3:
                raise ValueError
        except (ValueError, IndexError):
            raise CalibrationError(f'has the line {",".join(row)!r}, must be {",".join(form)}, '
                                   'three numbers') from None
        if element in gains or not 0 <= element < len(rows) - 1:
            raise CalibrationError(f'has element {element} twice or out of place, must have each '
                                   f'of 0 to {len(rows) - 2} once')
        gains[element] = _FORMS[form](first, second)
    values = np.array([gains[element] for element in range(len(gains))], dtype=np.complex64)
    return values, int(epochs[0]), hashes[0] if hashes else ''
