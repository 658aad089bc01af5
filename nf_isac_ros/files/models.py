"""What scene files and deployments have in common: arrays, poses, the radio, complex numbers."""

from __future__ import annotations

import math
from pathlib import Path
import stat
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Len
import numpy as np
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from nf_isac_ros.core.arrays import (
    QUATERNION_TOLERANCE,
    AntennaArray,
    Pose,
    elements_from_csv,
    linear_elements,
    modular_elements,
    planar_elements,
)
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import ArrayError
from nf_isac_ros.core.scene import SensingNoise
from nf_isac_ros.files.parsing import FileError, StrictModel, fault, nearest

SPEED_OF_LIGHT = 299792458.0

# A response matrix of so many elements has 1 MB for each body.
MAX_ELEMENTS = 65536
MAX_PANELS = 256
MAX_CSV_BYTES = 16 * 2 ** 20
MAX_COORDINATE = 1e9
# A channel or a reflection coefficient below this is none; its square is still a normal number.
NEGLIGIBLE = 1e-20
MAX_BODIES = 256


def between(low: float, high: float, what: str = '') -> AfterValidator:
    """Limit a number; the limits keep products and squares far from overflow."""
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f'must be {what}from {low:g} to {high:g}')
        return value
    return AfterValidator(check)


Positive = Annotated[float, between(1e-15, 1e15, 'positive, ')]
Watt = Annotated[float, between(1e-24, 1e9, 'positive, ')]
Wavelength = Annotated[float, between(1e-6, 1e6, 'positive, ')]
Carrier = Annotated[float, between(1e3, 1e14, 'positive, ')]
Coordinate = Annotated[float, between(-MAX_COORDINATE, MAX_COORDINATE)]
Decibel = Annotated[float, between(-100.0, 100.0)]
Part = Annotated[float, between(-1e15, 1e15)]
Count = Annotated[int, between(1, 10 ** 12)]
ElementCount = Annotated[int, between(1, MAX_ELEMENTS)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Point = Annotated[list[Coordinate], Len(3, 3)]
ComplexNumber = Annotated[list[Part], Len(2, 2)]


def _unit_norm(xyzw: list[float]) -> list[float]:
    norm = math.sqrt(sum(part * part for part in xyzw))
    if abs(norm - 1.0) > QUATERNION_TOLERANCE:
        raise ValueError(f'must have norm 1, not {norm:g}')
    return xyzw


def _not_zero(pair: list[float]) -> list[float]:
    if abs(as_complex(pair)) < NEGLIGIBLE:
        raise ValueError('must not be 0: the target would give no echo')
    return pair


Quaternion = Annotated[list[Coordinate], Len(4, 4), AfterValidator(_unit_norm)]
Reflection = Annotated[ComplexNumber, AfterValidator(_not_zero)]


def _covariance(rows: list[list[float]]) -> list[list[float]]:
    matrix = np.array(rows)
    rounding = 1e-9 * np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > rounding:
        raise ValueError('must be symmetric')
    if (least := np.linalg.eigvalsh(matrix)[0]) < -rounding:
        raise ValueError(f'must be positive semidefinite; has the eigenvalue {least:.3g}')
    return rows


PositionCovariance = Annotated[
    list[Annotated[list[Part], Len(3, 3)]], Len(3, 3), AfterValidator(_covariance)]
CoordinateWeights = Annotated[list[Positive], Len(3, 3)]


# One for all, or one for each. The tags appear in no error.
WattOrList = Annotated[
    Annotated[Watt, Tag('-number')] | Annotated[list[Watt], Tag('-list')],
    Discriminator(lambda value: '-list' if isinstance(value, list) else '-number')]


def as_complex(pair: list[float]) -> complex:
    """[re, im] as a complex number."""
    return complex(pair[0], pair[1])


def word_for_none(word: str) -> BeforeValidator:
    """Let a word stand for None where a mapping is expected otherwise."""
    def check(value: Any) -> Any:
        if value == word:
            return None
        if not isinstance(value, dict):
            raise ValueError(f'must be "{word}" or an array')
        return value
    return BeforeValidator(check)


class PointModel(StrictModel):
    """Base of targets that are points."""

    kind: Literal['point'] = 'point'

    @model_validator(mode='before')
    @classmethod
    def _known_kind(cls, data: Any) -> Any:
        # Before the unknown keys: an extended target has others.
        if isinstance(data, dict) and data.get('kind', 'point') != 'point':
            raise fault(['kind'], data['kind'], 'must be "point" or "extended"')
        return data


class ComplexVectorModel(StrictModel):
    """A complex vector as real and imaginary parts."""

    real: list[Part]
    imag: list[Part]

    @model_validator(mode='after')
    def _same_length(self) -> ComplexVectorModel:
        if len(self.real) != len(self.imag):
            raise ValueError(f'has {len(self.real)} entries in real and {len(self.imag)} in imag; '
                             'must have as many in both')
        if not any(abs(part) > NEGLIGIBLE for part in (*self.real, *self.imag)):
            raise ValueError(f'has no part above {NEGLIGIBLE:g}; must have one')
        return self

    def value(self) -> np.ndarray:
        """Complex vector (n,)."""
        return np.array(self.real) + 1j * np.array(self.imag)


class ComplexMatrixModel(StrictModel):
    """A complex matrix as rows of real and imaginary parts."""

    real: list[list[Part]]
    imag: list[list[Part]]

    @model_validator(mode='after')
    def _square(self) -> ComplexMatrixModel:
        n = len(self.real)
        for name, part in (('real', self.real), ('imag', self.imag)):
            if len(part) != n or any(len(row) != n for row in part):
                raise ValueError(f'has {n} rows in real, and {len(part)} rows of '
                                 f'{_lengths(part)} entries in {name}; must be two square '
                                 'matrices of the same order')
        return self

    def value(self) -> np.ndarray:
        """Complex matrix (n, n)."""
        return np.array(self.real) + 1j * np.array(self.imag)


def _lengths(rows: list[list[float]]) -> str:
    return ' or '.join(map(str, sorted({len(row) for row in rows}))) or 'no'


class PoseModel(StrictModel):
    """Pose of an array."""

    position_m: Point = [0.0, 0.0, 0.0]
    orientation_xyzw: Quaternion = [0.0, 0.0, 0.0, 1.0]

    def value(self) -> Pose:
        """Pose of the array frame in the scene."""
        x, y, z, w = self.orientation_xyzw
        return Pose(np.array(self.position_m), (x, y, z, w))


class _Uniform(StrictModel):
    spacing_m: Positive | None = None
    spacing_wavelengths: Positive | None = None
    centre_m: Point = [0.0, 0.0, 0.0]

    @model_validator(mode='after')
    def _one_spacing(self) -> _Uniform:
        self.exactly_one('spacing_m', 'spacing_wavelengths')
        return self

    def spacing(self, wavelength: float) -> float:
        """Distance of neighbouring elements [m]."""
        if self.spacing_m is not None:
            return self.spacing_m
        assert self.spacing_wavelengths is not None
        return self.spacing_wavelengths * wavelength


def _limited(counts: list[int]) -> list[int]:
    if math.prod(counts) > MAX_ELEMENTS:
        raise ValueError(f'must have a product of at most {MAX_ELEMENTS}')
    return counts


class PlanarModel(_Uniform):
    """Uniform planar array: elements along x and y."""

    elements: Annotated[list[ElementCount], Len(2, 2), AfterValidator(_limited)]


class LinearModel(_Uniform):
    """Uniform linear array: elements along y."""

    elements: ElementCount


class PanelModel(StrictModel):
    """Elements in one of four forms, with an optional pose."""

    upa: PlanarModel | None = None
    ula: LinearModel | None = None
    positions_m: Annotated[list[Point], Len(1, MAX_ELEMENTS)] | None = None
    csv: Annotated[str, Field(min_length=1)] | None = None
    pose: PoseModel | None = None
    position_m: Point | None = None
    orientation_xyzw: Quaternion | None = None

    forms: ClassVar[tuple[str, ...]] = ('upa', 'ula', 'positions_m', 'csv')

    @model_validator(mode='after')
    def _one_form(self) -> PanelModel:
        self.exactly_one(*self.forms)
        if self.pose is not None and (
                self.position_m is not None or self.orientation_xyzw is not None):
            raise ValueError('has a pose and a position_m or orientation_xyzw; must have one of '
                             'both')
        return self

    def value(self, key: str, wavelength: float, folder: Path, name: str) -> AntennaArray:
        """
        Antenna array of the model.

        Parameters
        ----------
        key : str
            For error messages.
        wavelength : float
            [m].
        folder : Path
            That a relative csv path starts from.
        name : str
            Of the array.

        Raises
        ------
        FileError
            If its csv file cannot be used.

        """
        pose = self.pose or PoseModel(
            position_m=self.position_m or [0.0, 0.0, 0.0],
            orientation_xyzw=self.orientation_xyzw or [0.0, 0.0, 0.0, 1.0])
        if self.upa is not None:
            n_x, n_y = self.upa.elements
            elements = planar_elements(n_x, n_y, self.upa.spacing(wavelength), self.upa.centre_m)
        elif self.ula is not None:
            elements = linear_elements(
                self.ula.elements, self.ula.spacing(wavelength), self.ula.centre_m)
        else:
            elements = self.other_elements(key, wavelength, folder)
        return AntennaArray(elements, pose.value(), name)

    def other_elements(self, key: str, wavelength: float, folder: Path) -> np.ndarray:
        """Elements (N, 3) that are neither `upa` nor `ula`; FileError if they cannot be used."""
        if self.csv is not None:
            return _elements_from_csv(f'{key}.csv', folder / self.csv)
        return np.array(self.positions_m)


class ArrayModel(PanelModel):
    """An antenna array: elements in one of four forms or several panels, with an optional pose."""

    panels: Annotated[list[PanelModel], Len(1, MAX_PANELS)] | None = None

    forms: ClassVar[tuple[str, ...]] = (*PanelModel.forms, 'panels')

    def other_elements(self, key: str, wavelength: float, folder: Path) -> np.ndarray:
        """As for a panel; those of panels one panel after the other."""
        if self.panels is None:
            return super().other_elements(key, wavelength, folder)
        elements = modular_elements([
            panel.value(f'{key}.panels[{i}]', wavelength, folder, f'panel {i}')
            for i, panel in enumerate(self.panels)])
        if len(elements) > MAX_ELEMENTS:
            raise FileError(f'{key}.panels: have {len(elements)} elements; must have at most '
                            f'{MAX_ELEMENTS}')
        return elements


def _elements_from_csv(key: str, path: Path) -> np.ndarray:
    """Elements (N, 3) of a file whose size is looked at first; FileError if it cannot be used."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_CSV_BYTES:
            raise ArrayError(f'csv {path}: must be a file of at most '
                             f'{MAX_CSV_BYTES // 2 ** 20} MiB')
        elements = elements_from_csv(path)
    except OSError as error:
        raise FileError(f'{key}: cannot read {path}: {error.strerror}') from error
    except ValueError as error:
        raise FileError(f'{key}: {error}') from error
    if len(elements) > MAX_ELEMENTS:
        raise FileError(f'{key}: has {len(elements)} elements; must have at most {MAX_ELEMENTS}')
    far = ~(np.abs(elements) <= MAX_COORDINATE).all(axis=1)
    if far.any():
        row = int(np.argmax(far))
        raise FileError(f'{key}: element {row} is {elements[row].tolist()}; must be three numbers '
                        f'from {-MAX_COORDINATE:g} to {MAX_COORDINATE:g}')
    return elements


class NoiseModel(StrictModel):
    """Noise covariance at the receive array, in one of three forms."""

    power_w: Watt | None = None
    diagonal_w: list[Watt] | None = None
    covariance: ComplexMatrixModel | None = None

    @model_validator(mode='after')
    def _one_form(self) -> NoiseModel:
        self.exactly_one('power_w', 'diagonal_w', 'covariance')
        return self

    def value(self, n_elements: int) -> SensingNoise:
        """
        Sensing noise of a receive array.

        Parameters
        ----------
        n_elements : int
            Of the array.

        Raises
        ------
        FileError
            If the size is wrong or the covariance is not Hermitian and positive definite.

        """
        key = 'radio.sensing_noise'
        if self.diagonal_w is not None:
            if len(self.diagonal_w) != n_elements:
                raise FileError(f'{key}.diagonal_w: has {len(self.diagonal_w)} entries; must have '
                                f'{n_elements}, one for each receive element')
            return SensingNoise(diagonal=np.array(self.diagonal_w))
        if self.covariance is None:
            return SensingNoise(power=self.power_w)
        matrix = self.covariance.value()
        if len(matrix) != n_elements:
            raise FileError(f'{key}.covariance: has {len(matrix)} rows; must have {n_elements}, '
                            'one for each receive element')
        if np.abs(matrix - matrix.conj().T).max() > 1e-9 * np.abs(matrix).max():
            raise FileError(f'{key}.covariance: has {_first_asymmetry(matrix)}; must be Hermitian')
        try:
            return SensingNoise(covariance=matrix)
        except ValueError as error:
            least = np.linalg.eigvalsh(matrix)[0]
            raise FileError(f'{key}.covariance: has the eigenvalue {least:.3g} W; must be '
                            'positive definite') from error


def _first_asymmetry(matrix: np.ndarray) -> str:
    row, column = np.unravel_index(
        np.argmax(np.abs(matrix - matrix.conj().T)), matrix.shape)
    return (f'{matrix[row, column]:.3g} in row {row}, column {column} and '
            f'{matrix[column, row]:.3g} in row {column}, column {row}')


def unique_ids(model: StrictModel, key: str) -> None:
    """Raise a fault if two entries of a list have the same id."""
    seen: set[str] = set()
    for i, body in enumerate(getattr(model, key)):
        if body.id in seen:
            raise fault([key, i, 'id'], body.id, f'must be unique in {key}')
        seen.add(body.id)


def wavelength_of(model: Any) -> float:
    """Wavelength [m] of a model with exactly one of wavelength_m, carrier_hz."""
    wavelength: float | None = model.wavelength_m
    return SPEED_OF_LIGHT / model.carrier_hz if wavelength is None else wavelength


def unknown_design(name: str) -> str:
    """Say of a name that is no key of DESIGNS which ones are."""
    return nearest(name, DESIGNS)
