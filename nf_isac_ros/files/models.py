"""What scene files and deployments have in common: arrays, poses, the radio, complex numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Len
import numpy as np
from pydantic import Field, model_validator

from nf_isac_ros.core.arrays import (
    AntennaArray,
    Pose,
    elements_from_csv,
    linear_elements,
    planar_elements,
)
from nf_isac_ros.core.scene import SensingNoise
from nf_isac_ros.files.parsing import FileError, StrictModel

SPEED_OF_LIGHT = 299792458.0

Positive = Annotated[float, Field(gt=0)]
Point = Annotated[list[float], Len(3, 3)]
Quaternion = Annotated[list[float], Len(4, 4)]
ComplexNumber = Annotated[list[float], Len(2, 2)]
Count = Annotated[int, Field(ge=1)]


def as_complex(pair: list[float]) -> complex:
    """[re, im] as a complex number."""
    return complex(pair[0], pair[1])


class ComplexVectorModel(StrictModel):
    """A complex vector as real and imaginary parts."""

    real: list[float]
    imag: list[float]

    @model_validator(mode='after')
    def _same_length(self) -> ComplexVectorModel:
        if len(self.real) != len(self.imag):
            raise ValueError(f'real has {len(self.real)} entries, imag {len(self.imag)}; '
                             'must be as many')
        return self

    def value(self) -> np.ndarray:
        """Complex vector (n,)."""
        return np.array(self.real) + 1j * np.array(self.imag)


class ComplexMatrixModel(StrictModel):
    """A complex matrix as rows of real and imaginary parts."""

    real: list[list[float]]
    imag: list[list[float]]

    @model_validator(mode='after')
    def _square(self) -> ComplexMatrixModel:
        n = len(self.real)
        for name, part in (('real', self.real), ('imag', self.imag)):
            if len(part) != n or any(len(row) != n for row in part):
                raise ValueError(f'{name} is not a square matrix of the same order as the other')
        return self

    def value(self) -> np.ndarray:
        """Complex matrix (n, n)."""
        return np.array(self.real) + 1j * np.array(self.imag)


class PoseModel(StrictModel):
    """Pose of an array."""

    position_m: Point = [0.0, 0.0, 0.0]
    orientation_xyzw: Quaternion = [0.0, 0.0, 0.0, 1.0]

    def value(self, key: str) -> Pose:
        """Pose; FileError if the quaternion is none."""
        x, y, z, w = self.orientation_xyzw
        try:
            return Pose(np.array(self.position_m), (x, y, z, w))
        except ValueError as error:
            raise FileError(f'{key}.orientation_xyzw: {error}') from error


class _Uniform(StrictModel):
    spacing_m: Positive | None = None
    spacing_wavelengths: Positive | None = None
    centre_m: Point = [0.0, 0.0, 0.0]

    @model_validator(mode='after')
    def _one_spacing(self) -> _Uniform:
        if (self.spacing_m is None) == (self.spacing_wavelengths is None):
            raise ValueError('give one of spacing_m, spacing_wavelengths')
        return self

    def spacing(self, wavelength: float) -> float:
        """Distance of neighbouring elements [m]."""
        if self.spacing_m is not None:
            return self.spacing_m
        assert self.spacing_wavelengths is not None
        return self.spacing_wavelengths * wavelength


class PlanarModel(_Uniform):
    """Uniform planar array: elements along x and y."""

    elements: Annotated[list[Count], Len(2, 2)]


class LinearModel(_Uniform):
    """Uniform linear array: elements along y."""

    elements: Count


class ArrayModel(StrictModel):
    """An antenna array, in one of four forms, with an optional pose."""

    upa: PlanarModel | None = None
    ula: LinearModel | None = None
    positions_m: Annotated[list[Point], Len(1)] | None = None
    csv: str | None = None
    pose: PoseModel | None = None
    position_m: Point | None = None
    orientation_xyzw: Quaternion | None = None

    @model_validator(mode='after')
    def _one_form(self) -> ArrayModel:
        forms = [name for name in ('upa', 'ula', 'positions_m', 'csv')
                 if getattr(self, name) is not None]
        if len(forms) != 1:
            raise ValueError(f'has {forms or "no element layout"}, must have exactly one of upa, '
                             'ula, positions_m, csv')
        if self.pose is not None and (
                self.position_m is not None or self.orientation_xyzw is not None):
            raise ValueError('has a pose and a position_m or orientation_xyzw; give one of both')
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
            If the array cannot be.

        """
        pose = self.pose or PoseModel(
            position_m=self.position_m or [0.0, 0.0, 0.0],
            orientation_xyzw=self.orientation_xyzw or [0.0, 0.0, 0.0, 1.0])
        try:
            if self.upa is not None:
                n_x, n_y = self.upa.elements
                elements = planar_elements(
                    n_x, n_y, self.upa.spacing(wavelength), self.upa.centre_m)
            elif self.ula is not None:
                elements = linear_elements(
                    self.ula.elements, self.ula.spacing(wavelength), self.ula.centre_m)
            elif self.csv is not None:
                elements = elements_from_csv(folder / self.csv)
            else:
                elements = np.array(self.positions_m)
            return AntennaArray(elements, pose.value(key), name)
        except FileError:
            raise
        except ValueError as error:
            raise FileError(f'{key}: {error}') from error


class NoiseModel(StrictModel):
    """Noise covariance at the receive array, in one of three forms."""

    power_w: Positive | None = None
    diagonal_w: list[Positive] | None = None
    covariance: ComplexMatrixModel | None = None

    @model_validator(mode='after')
    def _one_form(self) -> NoiseModel:
        forms = [name for name in ('power_w', 'diagonal_w', 'covariance')
                 if getattr(self, name) is not None]
        if len(forms) != 1:
            raise ValueError(
                f'has {forms or "nothing"}, must have exactly one of power_w, diagonal_w, '
                'covariance')
        return self

    def value(self) -> SensingNoise:
        """Sensing noise; FileError if the covariance is not positive definite."""
        try:
            if self.covariance is not None:
                return SensingNoise(covariance=self.covariance.value())
            if self.diagonal_w is not None:
                return SensingNoise(diagonal=np.array(self.diagonal_w))
            return SensingNoise(power=self.power_w)
        except ValueError as error:
            raise FileError(f'radio.sensing_noise: {error}') from error


Role = Literal['target', 'user']
Kind = Literal['point', 'extended']
