"""Extended targets in scene files and deployments: contours, poses, options."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
import os
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Len
import numpy as np
from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from nf_isac_ros.core.arrays import AntennaArray, Pose
from nf_isac_ros.core.extended.contour import Contour, ContourError
from nf_isac_ros.core.extended.plane import pose_in_plane
from nf_isac_ros.core.extended.sections import Lengths, Split
from nf_isac_ros.core.scene import (
    MAX_SECTIONS,
    BoundWeights,
    Coupling,
    ExtendedOptions,
    ExtendedTarget,
    Geometry,
    Model,
    Motion,
    Shape,
)
from nf_isac_ros.files.models import Name, Point, Positive, Quaternion, Watt, between
from nf_isac_ros.files.parsing import FileError, StrictModel, fault, nearest, parse_file

FILE_NAME = 'contours.yaml'
PACKAGE = 'nf_isac_ros'
MAX_HARMONICS = 64

Coefficient = Annotated[float, between(-1e6, 1e6)]
Coefficients = Annotated[list[Coefficient], Len(1, MAX_HARMONICS)]
SectionCount = Annotated[int, between(1, MAX_SECTIONS)]
Weight = Annotated[float, between(0.0, 1e15)]
Angle = Annotated[float, between(-2 * np.pi, 2 * np.pi)]


class ContourModel(StrictModel):
    """Coefficients of a contour."""

    cosine: Coefficients
    sine: Coefficients

    @model_validator(mode='after')
    def _closed(self) -> ContourModel:
        try:
            self.value()
        except ContourError as error:
            raise ValueError(f'has a fault: {error}') from error
        return self

    def value(self) -> Contour:
        """Contour of the model."""
        return Contour(tuple(self.cosine), tuple(self.sine))


class ContoursModel(StrictModel):
    """A file of named contours."""

    contours: Annotated[dict[Name, ContourModel], Len(1)]


@lru_cache(maxsize=1)
def shipped_contours() -> Mapping[str, Contour]:
    """
    Contours that come with the package: of the source folder, or else of the installed one.

    Raises
    ------
    FileError
        If there is no such file.

    """
    prefixes = [Path(entry) / 'share' / PACKAGE
                for entry in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if entry]
    folders = [Path(__file__).resolve().parents[2], *prefixes]
    for folder in folders:
        path = folder / 'config' / FILE_NAME
        if path.is_file():
            return contours_of(path)
    raise FileError(f'config/{FILE_NAME} is not there: neither in the sources nor below '
                    'AMENT_PREFIX_PATH; build the workspace again')


def contours_of(path: Path) -> dict[str, Contour]:
    """Contours of a file; FileError if it cannot be used."""
    model = parse_file(path, ContoursModel)
    return {name: contour.value() for name, contour in model.contours.items()}


def known_contours(more: str | None, folder: Path) -> Mapping[str, Contour]:
    """
    Contours that a file may name.

    Parameters
    ----------
    more : str or None
        A file of contours beside the shipped ones; a relative path starts at the folder.
    folder : Path

    Raises
    ------
    FileError
        If one of the files cannot be used.

    """
    shipped = shipped_contours()
    if more is None:
        return shipped
    try:
        return {**shipped, **contours_of(folder / more)}
    except FileError as error:
        raise FileError(f'contours: {error}') from error


def named_contour(key: str, name: str, contours: Mapping[str, Contour]) -> Contour:
    """Contour of a name; FileError with the key if there is none."""
    if name not in contours:
        raise FileError(f'{key}: is "{name}"; {nearest(name, contours)}')
    return contours[name]


def _name_or_coefficients(value: object) -> object:
    # A union would report the faults of both.
    if not isinstance(value, str | dict):
        raise ValueError('must be the name of a contour, or cosine and sine')
    return {'name': value} if isinstance(value, str) else value


class _ContourReference(StrictModel):
    """A contour by its name or by its coefficients."""

    name: Name | None = None
    cosine: Coefficients | None = None
    sine: Coefficients | None = None

    @model_validator(mode='after')
    def _complete(self) -> _ContourReference:
        if self.name is None:
            for key in ('cosine', 'sine'):
                if getattr(self, key) is None:
                    raise fault([key], None, 'must be given')
            ContourModel(cosine=self.cosine, sine=self.sine)
        return self

    def value(self, key: str, contours: Mapping[str, Contour]) -> Contour:
        """Contour; FileError if there is none of that name."""
        if self.name is not None:
            return named_contour(key, self.name, contours)
        assert self.cosine is not None and self.sine is not None
        return Contour(tuple(self.cosine), tuple(self.sine))


ContourReference = Annotated[_ContourReference, BeforeValidator(_name_or_coefficients)]


class ExtendedSettingsModel(StrictModel):
    """What scene files and deployments say alike of an extended target."""

    model: Model = 'far-field'
    sections: SectionCount = 8
    split: Split = 'parameter'
    lengths: Lengths = 'metres'
    motion: Motion = 'plane'
    shape: Shape = 'known'
    path_power: Watt | None = None

    @model_validator(mode='after')
    def _known_motion(self) -> ExtendedSettingsModel:
        if self.motion == 'space' and self.model != 'near-field':
            raise fault(['motion'], self.motion, f'must be "plane" with the model {self.model}')
        return self


class ExtendedTargetModel(ExtendedSettingsModel):
    """An extended target of a scene file."""

    id: Name
    kind: Literal['extended']
    size_scale: Annotated[float, between(1e-6, 1e6)] = 1.0
    weight: Positive = 1.0
    contour: ContourReference
    range_m: Positive | None = None
    direction_rad: Angle | None = None
    orientation_rad: Angle | None = None
    position_m: Point | None = None
    orientation_xyzw: Quaternion | None = None

    @model_validator(mode='after')
    def _one_pose(self) -> ExtendedTargetModel:
        planar = {key: getattr(self, key) for key in (
            'range_m', 'direction_rad', 'orientation_rad')}
        spatial = {key: getattr(self, key) for key in ('position_m', 'orientation_xyzw')}
        given = [key for key, value in (planar | spatial).items() if value is not None]
        if set(given) not in (set(planar), set(spatial)):
            raise ValueError(f'has {" and ".join(given) or "no pose"}; must have '
                             f'{", ".join(planar)}, or {" and ".join(spatial)}')
        return self

    def value(self, key: str, array: AntennaArray,
              contours: Mapping[str, Contour]) -> ExtendedTarget:
        """
        Target of the model.

        Parameters
        ----------
        key : str
            For error messages.
        array : AntennaArray
            Transmit array, which range and direction are seen from.
        contours : mapping of str to Contour
            That may be named.

        Raises
        ------
        FileError
            If there is no contour of that name.

        """
        if self.range_m is not None:
            assert self.direction_rad is not None and self.orientation_rad is not None
            pose = pose_in_plane(array, self.range_m, self.direction_rad, self.orientation_rad)
        else:
            assert self.position_m is not None and self.orientation_xyzw is not None
            x, y, z, w = self.orientation_xyzw
            pose = Pose(np.array(self.position_m), (x, y, z, w))
        contour = self.contour.value(f'{key}.contour', contours)
        return ExtendedTarget(
            self.id, contour.scaled(self.size_scale), pose, self.path_power, self.model,
            self.sections, self.split, self.lengths, self.motion, self.weight, self.shape)


class _WeightsModel(StrictModel):
    range: Weight = 0.0
    direction: Weight = 0.0
    orientation: Weight = 0.0

    @model_validator(mode='after')
    def _one_positive(self) -> _WeightsModel:
        if not (self.range or self.direction or self.orientation):
            raise ValueError('has no positive weight; must have one for range, direction or '
                             'orientation')
        return self


# The tags appear in no error.
Objective = Annotated[
    Annotated[Literal['direction', 'centre'], Tag('-word')]
    | Annotated[_WeightsModel, Tag('-weights')],
    Discriminator(lambda value: '-word' if isinstance(value, str) else '-weights')]


class OptionsModel(StrictModel):
    """How extended targets are designed for."""

    coverage_ratio: Annotated[float, between(1.0, 1e9)] | None = 2.0
    geometry: Geometry = 'exact'
    coupling: Coupling = 'real'
    sensing_stream: bool = True
    objective: Objective = 'direction'

    def value(self) -> ExtendedOptions:
        """Options of the model."""
        objective = self.objective
        return ExtendedOptions(
            self.coverage_ratio, self.geometry, self.coupling, self.sensing_stream,
            BoundWeights(objective.range, objective.direction, objective.orientation)
            if isinstance(objective, _WeightsModel) else objective)
