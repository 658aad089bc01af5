"""Deployment files: one YAML per testbed, validated whole; docs/deployment.md describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
import math
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Len
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.cycle import DesignSettings
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.motion import Circle, Fixed, Motion, Waypoints
from nf_isac_ros.core.scene import Radio
from nf_isac_ros.core.tracking import TrackingSettings
from nf_isac_ros.files.models import (
    SPEED_OF_LIGHT,
    ArrayModel,
    ComplexNumber,
    Count,
    Kind,
    NoiseModel,
    Point,
    Positive,
    Role,
    as_complex,
)
from nf_isac_ros.files.parsing import FileError, StrictModel, parse_file

Vector = NDArray[np.float64]


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
    offset : ndarray, shape (3,)
        From the pose to the antenna or scatterer, in the body's frame [m].
    min_sinr_db : float or None
        Required SINR of a user [dB].
    kind : str
        'point' or 'extended' (targets).
    reflection : complex
        Complex reflection coefficient (targets).
    contour : str
        Name of the contour (extended targets).
    size_scale : float
        Factor on the contour's size.
    motion : Motion or None
        For the scenario node.
    track_noise : float
        Standard deviation of the noise that the scenario adds to each coordinate [m].

    """

    id: str
    role: str
    topic: str | None = None
    type: str | None = None
    offset: Vector = field(default_factory=lambda: np.zeros(3))
    min_sinr_db: float | None = None
    kind: str = 'point'
    reflection: complex = 1.0 + 0.0j
    contour: str = ''
    size_scale: float = 1.0
    motion: Motion | None = None
    track_noise: float = 0.0


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


class _RadioModel(StrictModel):
    wavelength_m: Positive | None = None
    carrier_hz: Positive | None = None
    power_w: Positive
    symbols: Count
    user_noise_w: Positive
    sensing_noise: NoiseModel
    bandwidth_hz: Positive | None = None

    @model_validator(mode='after')
    def _one_wavelength(self) -> _RadioModel:
        if (self.wavelength_m is None) == (self.carrier_hz is None):
            raise ValueError('give exactly one of wavelength_m, carrier_hz')
        return self

    def value(self) -> Radio:
        wavelength = self.wavelength_m
        if wavelength is None:
            assert self.carrier_hz is not None
            wavelength = SPEED_OF_LIGHT / self.carrier_hz
        return Radio(wavelength, self.power_w, self.symbols, self.user_noise_w,
                     self.sensing_noise.value(), self.bandwidth_hz)


class _DesignModel(StrictModel):
    name: str = 'crb-min'
    rate_hz: Annotated[float, Field(gt=0, le=1000)] = 50.0
    budget_ms: Positive | None = None
    gap: Annotated[float, Field(gt=0, lt=1)] = 1e-3


class _TrackingModel(StrictModel):
    predict_s: Positive = 0.25
    drop_s: Positive = 0.5
    max_clock_skew_s: Annotated[float, Field(ge=0)] = 0.05

    @model_validator(mode='after')
    def _ordered(self) -> _TrackingModel:
        if self.drop_s < self.predict_s:
            raise ValueError(f'drop_s is {self.drop_s}, must be at least predict_s '
                             f'({self.predict_s})')
        return self


class _CircleModel(StrictModel):
    centre_m: Point
    radius_m: Positive
    period_s: Positive
    phase_rad: float = 0.0


class _WaypointsModel(StrictModel):
    points_m: Annotated[list[Point], Len(2)]
    speed: Positive

    @model_validator(mode='after')
    def _distinct(self) -> _WaypointsModel:
        steps = np.linalg.norm(np.diff(np.array(self.points_m), axis=0), axis=1)
        if not (steps > 0).all():
            raise ValueError('points_m: two points that follow each other are the same')
        return self


class _FixedModel(StrictModel):
    position_m: Point


class _MotionModel(StrictModel):
    circle: _CircleModel | None = None
    waypoints: _WaypointsModel | None = None
    fixed: _FixedModel | None = None

    @model_validator(mode='after')
    def _one_form(self) -> _MotionModel:
        if sum(form is not None for form in (self.circle, self.waypoints, self.fixed)) != 1:
            raise ValueError('must have exactly one of circle, waypoints, fixed')
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
    id: Annotated[str, Field(min_length=1)]
    role: Role
    topic: Annotated[str, Field(min_length=1)] | None = None
    type: Annotated[str, Field(pattern=r'^\w+/msg/\w+$')] | None = None
    offset_m: Point = [0.0, 0.0, 0.0]
    min_sinr_db: float | None = None
    kind: Kind = 'point'
    reflection: ComplexNumber = [1.0, 0.0]
    contour: str = ''
    size_scale: Positive = 1.0
    motion: _MotionModel | None = None
    track_noise_m: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode='after')
    def _complete(self) -> _BodyModel:
        if (self.topic is None) != (self.type is None):
            raise ValueError(f'body {self.id!r} must have both topic and type, or neither')
        if self.role == 'user' and self.min_sinr_db is None:
            raise ValueError(f'user {self.id!r} must have a min_sinr_db')
        if self.role == 'target' and self.reflection == [0.0, 0.0]:
            raise ValueError(f'target {self.id!r} has reflection 0 and gives no echo')
        return self

    def value(self) -> BodySettings:
        return BodySettings(
            id=self.id, role=self.role, topic=self.topic, type=self.type,
            offset=np.array(self.offset_m), min_sinr_db=self.min_sinr_db, kind=self.kind,
            reflection=as_complex(self.reflection), contour=self.contour,
            size_scale=self.size_scale,
            motion=None if self.motion is None else self.motion.value(),
            track_noise=self.track_noise_m)


class _PlaneModel(StrictModel):
    centre_m: Point
    u_m: Point
    v_m: Point
    cells: Annotated[list[Annotated[int, Field(ge=2, le=512)]], Len(2, 2)] = [60, 60]

    @model_validator(mode='after')
    def _spans(self) -> _PlaneModel:
        if not math.isfinite(float(np.linalg.norm(np.cross(self.u_m, self.v_m)))) or not np.any(
                np.cross(self.u_m, self.v_m)):
            raise ValueError('u_m and v_m must span a plane')
        return self


class _MarkersModel(StrictModel):
    planes: list[_PlaneModel] = []
    rate_hz: Annotated[float, Field(gt=0, le=30)] = 2.0
    bound_scale: Positive = 30.0

    def value(self) -> MarkerSettings:
        planes = tuple(
            PlaneSettings(np.array(p.centre_m), np.array(p.u_m), np.array(p.v_m),
                          (p.cells[0], p.cells[1])) for p in self.planes)
        return MarkerSettings(planes, self.rate_hz, self.bound_scale)


class DeploymentModel(StrictModel):
    """A deployment file."""

    world_frame: Annotated[str, Field(min_length=1)]
    array: ArrayModel
    receive_array: ArrayModel | Literal['same'] = 'same'
    radio: _RadioModel
    design: _DesignModel = _DesignModel()
    tracking: _TrackingModel = _TrackingModel()
    bodies: list[_BodyModel] = []
    markers: _MarkersModel = _MarkersModel()

    @model_validator(mode='after')
    def _unique(self) -> DeploymentModel:
        seen = set()
        for body in self.bodies:
            if (body.role, body.id) in seen:
                raise ValueError(f'bodies: {body.role} id {body.id!r} is there twice')
            seen.add((body.role, body.id))
        return self

    def value(self, path: Path) -> Deployment:
        """Deployment of the model; FileError or SceneError if there can be none."""
        radio = self.radio.value()
        transmit = self.array.value('array', radio.wavelength, path.parent, 'transmit_array')
        receive = transmit if isinstance(self.receive_array, str) else self.receive_array.value(
            'receive_array', radio.wavelength, path.parent, 'receive_array')
        radio.sensing_noise.check_size(len(receive))
        budget = self.design.budget_ms
        design = DesignSettings(
            name=self.design.name, gap=self.design.gap,
            budget=None if budget is None else budget / 1e3, rate=self.design.rate_hz)
        tracking = TrackingSettings(
            predict=self.tracking.predict_s, drop=self.tracking.drop_s,
            max_clock_skew=self.tracking.max_clock_skew_s)
        return Deployment(
            path=path, world_frame=self.world_frame, transmit_array=transmit,
            receive_array=receive, radio=radio, design=design, tracking=tracking,
            bodies=tuple(body.value() for body in self.bodies), markers=self.markers.value())


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
