"""Scene files: one design, file in, file out. The format is a public contract, docs/scenes.md."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.scene import PointTarget, Radio, ScatteredPath, Scene, User
from nf_isac_ros.core.solution import Quality, Solution
from nf_isac_ros.files.models import (
    SPEED_OF_LIGHT,
    ArrayModel,
    ComplexNumber,
    ComplexVectorModel,
    Count,
    NoiseModel,
    Point,
    Positive,
    as_complex,
)
from nf_isac_ros.files.parsing import FileError, StrictModel, parse_file

VERSION = 1


class _RadioModel(StrictModel):
    power_w: Positive
    symbols: Count
    user_noise_w: Positive | list[Positive]
    sensing_noise: NoiseModel
    bandwidth_hz: Positive | None = None


class _TargetModel(StrictModel):
    id: str
    kind: Literal['point'] = 'point'
    position_m: Point
    reflection: ComplexNumber = [1.0, 0.0]
    weight: Positive = 1.0


class _ScatteredModel(StrictModel):
    target: str
    coefficient: ComplexNumber


class _UserModel(StrictModel):
    id: str
    min_sinr_db: float
    position_m: Point | None = None
    channel: ComplexVectorModel | None = None
    scattered: list[_ScatteredModel] = []

    @model_validator(mode='after')
    def _one_channel(self) -> _UserModel:
        if (self.position_m is None) == (self.channel is None):
            raise ValueError(f'user {self.id!r} must have exactly one of position_m, channel')
        return self


class SceneModel(StrictModel):
    """A scene file."""

    version: Literal[1]
    wavelength_m: Positive | None = None
    carrier_hz: Positive | None = None
    transmit_array: ArrayModel
    receive_array: ArrayModel | Literal['transmit']
    radio: _RadioModel
    targets: list[_TargetModel] = []
    users: list[_UserModel] = []
    options: Annotated[dict[str, Any], Field(max_length=0)] = {}

    @model_validator(mode='after')
    def _one_wavelength(self) -> SceneModel:
        if (self.wavelength_m is None) == (self.carrier_hz is None):
            raise ValueError('give exactly one of wavelength_m, carrier_hz')
        return self

    def value(self, folder: Path) -> Scene:
        """Scene of the model; FileError or SceneError if there can be none."""
        if self.wavelength_m is not None:
            wavelength = self.wavelength_m
        else:
            assert self.carrier_hz is not None
            wavelength = SPEED_OF_LIGHT / self.carrier_hz
        transmit = self.transmit_array.value('transmit_array', wavelength, folder, 'transmit')
        receive = transmit if isinstance(self.receive_array, str) else self.receive_array.value(
            'receive_array', wavelength, folder, 'receive')
        noise = self.radio.user_noise_w
        per_user = noise if isinstance(noise, list) else [noise] * len(self.users)
        if len(per_user) != len(self.users):
            raise FileError(f'radio.user_noise_w: has {len(per_user)} entries, must be one number '
                            f'or one for each of the {len(self.users)} users')
        radio = Radio(
            wavelength=wavelength, power=self.radio.power_w, symbols=self.radio.symbols,
            user_noise=per_user[0] if per_user else 1.0,
            sensing_noise=self.radio.sensing_noise.value(), bandwidth=self.radio.bandwidth_hz)
        targets = tuple(
            PointTarget(t.id, np.array(t.position_m), as_complex(t.reflection), t.weight)
            for t in self.targets)
        users = tuple(
            User(u.id, u.min_sinr_db,
                 position=None if u.position_m is None else np.array(u.position_m),
                 channel=None if u.channel is None else u.channel.value(),
                 noise_power=noise_power,
                 scattered=tuple(ScatteredPath(s.target, as_complex(s.coefficient))
                                 for s in u.scattered))
            for u, noise_power in zip(self.users, per_user, strict=True))
        return Scene(transmit, receive, radio, targets, users)


def load_scene(path: Path) -> Scene:
    """
    Read a scene file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Scene

    Raises
    ------
    FileError
        If it cannot be read or is not valid: one line with key, value and what is allowed.

    """
    model = parse_file(path, SceneModel)
    try:
        return model.value(Path(path).parent)
    except FileError as error:
        raise FileError(f'{path}: {error}') from error
    except NfIsacError as error:
        raise FileError(f'{path}: {error}') from error


def solution_record(solution: Solution) -> dict[str, Any]:
    """Result of a design as a mapping for JSON; numbers that are not finite become null."""
    status = 'early' if solution.quality is Quality.EARLY else 'optimal'
    record = {
        'version': VERSION, 'design': solution.design, 'status': status,
        'objective': solution.objective, 'bound': solution.bound, 'gap': solution.gap,
        'sum_crb_m2': solution.sum_crb, 'isotropic_sum_crb_m2': solution.isotropic_sum_crb,
        'targets': [
            {'id': target.id, 'position_m': target.position.tolist(),
             'crb_m2': target.crb.tolist(), 'illumination_w': target.illumination,
             'echo_power_w': target.echo_power} for target in solution.targets],
        'users': [
            {'id': user.id, 'sinr_db': user.sinr_db, 'required_sinr_db': user.required_sinr_db}
            for user in solution.users],
        'power_w': solution.power,
        'covariance_eigenvalues_w': solution.covariance_eigenvalues.tolist(),
        'subspace_dimension': solution.subspace_dimension,
        'iterations': solution.iterations,
        'times_ms': dict(solution.times_ms),
    }
    return _finite(record)


def infeasible_record(design: str, max_common_sinr_scale_db: float) -> dict[str, Any]:
    """Result of a design whose SINRs cannot be met."""
    return {'version': VERSION, 'design': design, 'status': 'infeasible',
            'max_common_sinr_scale_db': max_common_sinr_scale_db}


def _finite(value: Any) -> Any:
    """JSON knows no infinity: null stands for what is not finite."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write a result; FileError if that is not possible."""
    try:
        Path(path).write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')
    except OSError as error:
        raise FileError(f'{path}: {error.strerror}') from error
