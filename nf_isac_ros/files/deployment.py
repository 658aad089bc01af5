"""Deployment files: one YAML per testbed, validated whole; docs/deployment.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Len
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.cycle import DesignSettings
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.sections import Lengths, Split
from nf_isac_ros.core.motion import Circle, Fixed, Motion, Waypoints
from nf_isac_ros.core.scene import ExtendedOptions, Model, Radio, Shape
from nf_isac_ros.core.scene import Motion as UnknownMotion
from nf_isac_ros.core.tracking import TrackingSettings
from nf_isac_ros.files.extended import (
    ExtendedSettingsModel,
    OptionsModel,
    known_contours,
    named_contour,
)
from nf_isac_ros.files.models import (
    MAX_BODIES,
    ArrayModel,
    Carrier,
    Coordinate,
    CoordinateWeights,
    Count,
    Decibel,
    Name,
    NoiseModel,
    Point,
    Positive,
    Reflection,
    Watt,
    Wavelength,
    as_complex,
    between,
    unknown_design,
    wavelength_of,
    word_for_none,
)
from nf_isac_ros.files.parsing import FileError, StrictModel, fault, parse_file

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class ExtendedSettings:
    """How an extended target is modelled; as the fields of `core.scene.ExtendedTarget`."""

    model: Model = 'far-field'
    sections: int = 8
    split: Split = 'parameter'
    lengths: Lengths = 'metres'
    motion: UnknownMotion = 'plane'
    shape: Shape = 'known'
    path_power: float | None = None


@dataclass(frozen=True)
class BodySettings:
    """
    One body of a deployment.

    Attributes
    ----------
    id : str
        Unique among targets and among users.
    role : str
        'target' or 'user'.
    topic, type : str or None
        Where its pose comes from, and the message type; None: from the TrackArray topics.
    source_id : str
        What messages with names call it (TF frame, name, tracking id, UUID); empty: its id.
    index : int or None
        Its place in a PoseArray; None: by the order of the bodies of the topic.
    offset : ndarray, shape (3,)
        From the pose to the antenna or scatterer, in the body's frame [m].
    min_sinr_db : float or None
        Required SINR of a user [dB].
    kind : str
        'point' or 'extended' (targets).
    reflection : complex
        Complex reflection coefficient (targets).
    weight : float
    coordinate_weights : ndarray, shape (3,)
        Of the bounds in the objective (targets); along x, y and z of the world frame.
    contour : str
        Name of the contour (extended targets), where the track gives none.
    size_scale : float
        Factor on the contour's size.
    motion : Motion or None
        For the scenario node.
    track_noise : float
        Standard deviation of the noise that the scenario adds to each coordinate [m].
    extended : ExtendedSettings
        Of an extended target.

    """

    id: str
    role: str
    topic: str | None = None
    type: str | None = None
    source_id: str = ''
    index: int | None = None
    offset: Vector = field(default_factory=lambda: np.zeros(3))
    min_sinr_db: float | None = None
    kind: str = 'point'
    reflection: complex = 1.0 + 0.0j
    weight: float = 1.0
    coordinate_weights: Vector = field(default_factory=lambda: np.ones(3))
    contour: str = ''
    size_scale: float = 1.0
    motion: Motion | None = None
    track_noise: float = 0.0
    extended: ExtendedSettings = ExtendedSettings()


@dataclass(frozen=True)
class PlaneSettings:
    """A parallelogram in the world frame on which the beam pattern is shown [m]."""

    centre: Vector
    u: Vector
    v: Vector
    cells: tuple[int, int]


@dataclass(frozen=True)
class MarkerSettings:
    """
    What the markers show.

    Attributes
    ----------
    planes : tuple of PlaneSettings
    rate : float
        Beam patterns per second [Hz].
    bound_scale : float
        Factor on the axes of the bound ellipsoids.

    """

    planes: tuple[PlaneSettings, ...] = ()
    rate: float = 2.0
    bound_scale: float = 30.0


@dataclass(frozen=True)
class Deployment:
    """
    A testbed: frames, arrays, radio, what is designed, and whose poses come from where.

    Attributes
    ----------
    path : Path
        File that it was read from.
    world_frame : str
        Frame of the tracks.
    transmit_array, receive_array : AntennaArray
        The same object for a monostatic radio.
    radio : Radio
    design : DesignSettings
    tracking : TrackingSettings
    bodies : tuple of BodySettings
    markers : MarkerSettings
    contours : mapping of str to Contour
        That tracks may name.
    options : ExtendedOptions
        For the extended targets.
    transforms : str or None
        Topic of transforms that bring poses in other frames into the world frame.

    """

    path: Path
    world_frame: str
    transmit_array: AntennaArray
    receive_array: AntennaArray
    radio: Radio
    design: DesignSettings
    tracking: TrackingSettings
    bodies: tuple[BodySettings, ...]
    markers: MarkerSettings
    contours: Mapping[str, Contour] = field(default_factory=dict)
    options: ExtendedOptions = ExtendedOptions()
    transforms: str | None = None


Role = Literal['target', 'user']
Seconds = Annotated[float, between(1e-6, 1e6, 'positive, ')]


def _known_design(name: str) -> str:
    if name not in DESIGNS:
        raise ValueError(unknown_design(name))
    return name


class _RadioModel(StrictModel):
    wavelength_m: Wavelength | None = None
    carrier_hz: Carrier | None = None
    power_w: Watt
    symbols: Count
    user_noise_w: Watt
    sensing_noise: NoiseModel
    bandwidth_hz: Positive | None = None

    @model_validator(mode='after')
    def _one_wavelength(self) -> _RadioModel:
        self.exactly_one('wavelength_m', 'carrier_hz')
        return self


class _DesignModel(StrictModel):
    name: Annotated[str, AfterValidator(_known_design)] = 'crb-min'
    rate_hz: Annotated[float, between(0.01, 1000.0)] = 50.0
    budget_ms: Annotated[float, between(0.01, 1e6)] | None = None
    gap: Annotated[float, between(1e-12, 0.999)] = 1e-3


class _TrackingModel(StrictModel):
    predict_s: Seconds = 0.25
    drop_s: Seconds = 0.5
    max_clock_skew_s: Annotated[float, between(0.0, 1e6)] = 0.05

    @model_validator(mode='after')
    def _ordered(self) -> _TrackingModel:
        if self.drop_s < self.predict_s:
            raise fault(['drop_s'], self.drop_s, f'must be at least predict_s ({self.predict_s})')
        return self


TOPIC = r'^(/|~/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*$'
MESSAGE_TYPE = r'^[A-Za-z][A-Za-z0-9_]*/msg/[A-Za-z][A-Za-z0-9]*$'


class _CircleModel(StrictModel):
    centre_m: Point
    radius_m: Positive
    period_s: Seconds
    phase_rad: Coordinate = 0.0


class _WaypointsModel(StrictModel):
    points_m: Annotated[list[Point], Len(2)]
    speed: Positive

    @model_validator(mode='after')
    def _distinct(self) -> _WaypointsModel:
        for i, point in enumerate(self.points_m):
            # The way is closed: the last point is followed by the first.
            if point == self.points_m[i - 1]:
                raise fault(['points_m', i], point, 'must differ from the point before it (from '
                            'the last one if it is the first)')
        return self


class _FixedModel(StrictModel):
    position_m: Point


class _MotionModel(StrictModel):
    circle: _CircleModel | None = None
    waypoints: _WaypointsModel | None = None
    fixed: _FixedModel | None = None

    @model_validator(mode='after')
    def _one_form(self) -> _MotionModel:
        self.exactly_one('circle', 'waypoints', 'fixed')
        return self

    def value(self) -> Motion:
        if self.circle is not None:
            return Circle(np.array(self.circle.centre_m), self.circle.radius_m,
                          self.circle.period_s, self.circle.phase_rad)
        if self.waypoints is not None:
            return Waypoints(np.array(self.waypoints.points_m), self.waypoints.speed)
        assert self.fixed is not None
        return Fixed(np.array(self.fixed.position_m))


class _BodyModel(StrictModel):
    id: Name
    kind: Literal['point', 'extended'] = 'point'
    role: Role
    topic: Annotated[str, Field(pattern=TOPIC)] | None = None
    type: Annotated[str, Field(pattern=MESSAGE_TYPE)] | None = None
    source_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    index: Annotated[int, between(0, 10 ** 6)] | None = None
    offset_m: Point = [0.0, 0.0, 0.0]
    min_sinr_db: Decibel | None = None
    reflection: Reflection = [1.0, 0.0]
    contour: str = ''
    weight: Positive | None = None
    weights: CoordinateWeights | None = None
    size_scale: Positive = 1.0
    motion: _MotionModel | None = None
    track_noise_m: Annotated[float, between(0.0, 1e6)] = 0.0
    extended: ExtendedSettingsModel | None = None

    @model_validator(mode='after')
    def _complete(self) -> _BodyModel:
        if (self.topic is None) != (self.type is None):
            raise ValueError(f'has a {"type" if self.topic is None else "topic"} alone; must have '
                             'topic and type, or neither')
        if self.index is not None and not (self.type or '').endswith('/PoseArray'):
            raise fault(['index'], self.index, 'must be left out unless the type is '
                        'geometry_msgs/msg/PoseArray')
        if self.role == 'user' and self.min_sinr_db is None:
            raise fault(['min_sinr_db'], None, 'must be given for a user')
        if self.role == 'target' and self.min_sinr_db is not None:
            raise fault(['min_sinr_db'], self.min_sinr_db, 'must be left out for a target')
        for key in ('weight', 'weights'):
            if self.role == 'user' and getattr(self, key) is not None:
                raise fault([key], getattr(self, key), 'must be left out for a user')
        if self.kind == 'extended' and self.role == 'user':
            raise fault(['kind'], self.kind, 'must be "point" for a user')
        if self.kind == 'extended' and self.topic is not None and not self.contour:
            raise fault(['contour'], self.contour, 'must be given: poses name no contour')
        if self.extended is not None and self.kind != 'extended':
            raise ValueError('has extended and the kind point; must have the kind extended')
        return self

    def value(self) -> BodySettings:
        return BodySettings(
            id=self.id, role=self.role, topic=self.topic, type=self.type,
            source_id=self.source_id or '', index=self.index,
            offset=np.array(self.offset_m), min_sinr_db=self.min_sinr_db, kind=self.kind,
            reflection=as_complex(self.reflection),
            weight=1.0 if self.weight is None else self.weight,
            coordinate_weights=np.ones(3) if self.weights is None else np.array(self.weights),
            contour=self.contour, size_scale=self.size_scale,
            motion=None if self.motion is None else self.motion.value(),
            track_noise=self.track_noise_m,
            extended=ExtendedSettings(**self.extended.model_dump()) if self.extended else
            ExtendedSettings())


class _PlaneModel(StrictModel):
    centre_m: Point
    u_m: Point
    v_m: Point
    cells: Annotated[list[Annotated[int, between(2, 512)]], Len(2, 2)] = [60, 60]

    @model_validator(mode='after')
    def _spans(self) -> _PlaneModel:
        if not np.cross(self.u_m, self.v_m).any():
            raise ValueError(f'has u_m {self.u_m} and v_m {self.v_m}; must have two that span a '
                             'plane')
        return self


class _MarkersModel(StrictModel):
    planes: list[_PlaneModel] = []
    rate_hz: Annotated[float, between(0.01, 30.0)] = 2.0
    bound_scale: Positive = 30.0

    def value(self) -> MarkerSettings:
        planes = tuple(
            PlaneSettings(np.array(p.centre_m), np.array(p.u_m), np.array(p.v_m),
                          (p.cells[0], p.cells[1])) for p in self.planes)
        return MarkerSettings(planes, self.rate_hz, self.bound_scale)


class DeploymentModel(StrictModel):
    """A deployment file."""

    world_frame: Annotated[str, Field(pattern=r'^\S{1,200}$')]
    array: ArrayModel
    receive_array: Annotated[ArrayModel | None, word_for_none('same')] = None
    radio: _RadioModel
    design: _DesignModel = _DesignModel()
    tracking: _TrackingModel = _TrackingModel()
    contours: Annotated[str, Field(min_length=1)] | None = None
    bodies: Annotated[list[_BodyModel], Len(0, MAX_BODIES)] = []
    transforms: Annotated[str, Field(pattern=TOPIC)] | None = None
    options: OptionsModel = OptionsModel()
    markers: _MarkersModel = _MarkersModel()

    @model_validator(mode='after')
    def _unique(self) -> DeploymentModel:
        seen = set()
        for i, body in enumerate(self.bodies):
            if (body.role, body.id) in seen:
                raise fault(['bodies', i, 'id'], body.id, f'must be unique among {body.role}s')
            seen.add((body.role, body.id))
        return self

    @model_validator(mode='after')
    def _indices(self) -> DeploymentModel:
        """Bodies of a PoseArray have an index each, or none of them has."""
        first: dict[str, _BodyModel] = {}
        for i, body in enumerate(self.bodies):
            if body.topic is None or not (body.type or '').endswith('/PoseArray'):
                continue
            other = first.setdefault(body.topic, body)
            if (body.index is None) != (other.index is None):
                raise fault(['bodies', i, 'index'], body.index, 'must be given for all bodies of '
                            f'the topic {body.topic} or for none')
        return self

    def value(self, path: Path) -> Deployment:
        """Deployment of the model; FileError or another NfIsacError if there can be none."""
        wavelength = wavelength_of(self.radio)
        transmit = self.array.value('array', wavelength, path.parent, 'transmit_array')
        receive = transmit if self.receive_array is None else self.receive_array.value(
            'receive_array', wavelength, path.parent, 'receive_array')
        radio = Radio(
            wavelength=wavelength, power=self.radio.power_w, symbols=self.radio.symbols,
            user_noise=self.radio.user_noise_w,
            sensing_noise=self.radio.sensing_noise.value(len(receive)),
            bandwidth=self.radio.bandwidth_hz)
        budget = self.design.budget_ms
        design = DesignSettings(
            name=self.design.name, gap=self.design.gap,
            budget=None if budget is None else budget / 1e3, rate=self.design.rate_hz)
        tracking = TrackingSettings(
            predict=self.tracking.predict_s, drop=self.tracking.drop_s,
            max_clock_skew=self.tracking.max_clock_skew_s)
        contours = known_contours(self.contours, path.parent)
        for i, body in enumerate(self.bodies):
            if body.contour:
                named_contour(f'bodies[{i}].contour', body.contour, contours)
        return Deployment(
            path=path, world_frame=self.world_frame, transmit_array=transmit,
            receive_array=receive, radio=radio, design=design, tracking=tracking,
            bodies=tuple(body.value() for body in self.bodies), markers=self.markers.value(),
            contours=contours, options=self.options.value(), transforms=self.transforms)


def load_deployment(path: Path) -> Deployment:
    """
    Read a deployment file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Deployment

    Raises
    ------
    FileError
        If it cannot be read or is not valid: one line with key, value and what is allowed.

    """
    path = Path(path)
    model = parse_file(path, DeploymentModel)
    try:
        return model.value(path)
    except NfIsacError as error:
        raise FileError(f'{path}: {error}') from error
