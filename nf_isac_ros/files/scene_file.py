"""Scene files: one design, file in, file out. The format is a public contract, docs/scenes.md."""

from __future__ import annotations

import json
import math
from pathlib import Path
import sys
from typing import Annotated, Any

from annotated_types import Len
import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.scene import PointTarget, Radio, ScatteredPath, Scene, User
from nf_isac_ros.core.solution import Quality, Solution, TargetReport
from nf_isac_ros.files.extended import ExtendedTargetModel, OptionsModel, known_contours
from nf_isac_ros.files.models import (
    MAX_BODIES,
    ArrayModel,
    Carrier,
    ComplexNumber,
    ComplexVectorModel,
    CoordinateWeights,
    Count,
    Decibel,
    Name,
    NoiseModel,
    Point,
    PointModel,
    PositionCovariance,
    Positive,
    Reflection,
    Watt,
    WattOrList,
    Wavelength,
    as_complex,
    unique_ids,
    wavelength_of,
    word_for_none,
)
from nf_isac_ros.files.parsing import FileError, StrictModel, fault, nearest, parse_file

VERSION = 1


class _RadioModel(StrictModel):
    power_w: Watt
    symbols: Count
    user_noise_w: WattOrList
    sensing_noise: NoiseModel
    bandwidth_hz: Positive | None = None


class _TargetModel(PointModel):
    id: Name
    position_m: Point
    reflection: Reflection = [1.0, 0.0]
    weight: Positive = 1.0
    weights: CoordinateWeights = [1.0, 1.0, 1.0]
    position_covariance_m2: PositionCovariance | None = None


def _kind(target: Any) -> str:
    # Another kind is reported by the model of the first.
    extended = isinstance(target, dict) and target.get('kind') == 'extended'
    return '-extended' if extended or isinstance(target, ExtendedTargetModel) else '-point'


# The tags appear in no error.
AnyTarget = Annotated[
    Annotated[_TargetModel, Tag('-point')] | Annotated[ExtendedTargetModel, Tag('-extended')],
    Discriminator(_kind)]


class _ScatteredModel(StrictModel):
    target: Name
    coefficient: ComplexNumber


class _UserModel(StrictModel):
    id: Name
    min_sinr_db: Decibel
    position_m: Point | None = None
    channel: ComplexVectorModel | None = None
    scattered: list[_ScatteredModel] = []

    @model_validator(mode='after')
    def _one_channel(self) -> _UserModel:
        self.exactly_one('position_m', 'channel')
        return self


class SceneModel(StrictModel):
    """A scene file."""

    version: int
    wavelength_m: Wavelength | None = None
    carrier_hz: Carrier | None = None
    transmit_array: ArrayModel
    receive_array: Annotated[ArrayModel | None, word_for_none('transmit')]
    radio: _RadioModel
    contours: Annotated[str, Field(min_length=1)] | None = None
    targets: Annotated[list[AnyTarget], Len(0, MAX_BODIES)] = []
    users: Annotated[list[_UserModel], Len(0, MAX_BODIES)] = []
    options: OptionsModel = OptionsModel()

    @model_validator(mode='before')
    @classmethod
    def _known_version(cls, data: Any) -> Any:
        # Before the unknown keys: another version has others.
        if isinstance(data, dict):
            version = data.get('version', VERSION)
            if version != VERSION or not isinstance(version, int) or isinstance(version, bool):
                raise fault(['version'], version, f'must be {VERSION}')
        return data

    @model_validator(mode='after')
    def _consistent(self) -> SceneModel:
        self.exactly_one('wavelength_m', 'carrier_hz')
        unique_ids(self, 'targets')
        unique_ids(self, 'users')
        noise = self.radio.user_noise_w
        if isinstance(noise, list) and len(noise) != len(self.users):
            raise fault(['radio', 'user_noise_w'], noise, 'must be one number, or one for each '
                        f'user ({len(self.users)}, not {len(noise)})')
        ids = {target.id for target in self.targets if isinstance(target, _TargetModel)}
        for i, user in enumerate(self.users):
            for j, path in enumerate(user.scattered):
                if path.target not in ids:
                    raise fault(['users', i, 'scattered', j, 'target'], path.target,
                                nearest(path.target, sorted(ids)) if ids else
                                'must be the id of a point target, and there is none')
        return self

    def value(self, folder: Path) -> Scene:
        """Scene of the model; FileError or SceneError if there can be none."""
        wavelength = wavelength_of(self)
        transmit = self.transmit_array.value('transmit_array', wavelength, folder, 'transmit')
        receive = transmit if self.receive_array is None else self.receive_array.value(
            'receive_array', wavelength, folder, 'receive')
        for i, user in enumerate(self.users):
            if user.channel is not None and len(user.channel.real) != len(transmit):
                raise FileError(
                    f'users[{i}].channel: has {len(user.channel.real)} entries; must have '
                    f'{len(transmit)}, one for each transmit element')
        for i, target in enumerate(self.targets):
            for array in (transmit, receive) if isinstance(target, _TargetModel) else ():
                _check_distance(f'targets[{i}]', target.position_m, array, wavelength)
        for i, user in enumerate(self.users):
            if user.position_m is not None:
                _check_distance(f'users[{i}]', user.position_m, transmit, wavelength)
        noise = self.radio.user_noise_w
        per_user = noise if isinstance(noise, list) else [noise] * len(self.users)
        radio = Radio(
            wavelength=wavelength, power=self.radio.power_w, symbols=self.radio.symbols,
            user_noise=per_user[0] if per_user else 1.0,
            sensing_noise=self.radio.sensing_noise.value(len(receive)),
            bandwidth=self.radio.bandwidth_hz)
        targets = tuple(
            PointTarget(t.id, np.array(t.position_m), as_complex(t.reflection), t.weight,
                        np.array(t.weights), np.zeros((3, 3)) if t.position_covariance_m2 is None
                        else np.array(t.position_covariance_m2))
            for t in self.targets if isinstance(t, _TargetModel))
        contours = known_contours(self.contours, folder)
        extended = tuple(
            t.value(f'targets[{i}]', transmit, contours) for i, t in enumerate(self.targets)
            if isinstance(t, ExtendedTargetModel))
        users = tuple(
            User(u.id, u.min_sinr_db,
                 position=None if u.position_m is None else np.array(u.position_m),
                 channel=None if u.channel is None else u.channel.value(),
                 noise_power=noise_power,
                 scattered=tuple(ScatteredPath(s.target, as_complex(s.coefficient))
                                 for s in u.scattered))
            for u, noise_power in zip(self.users, per_user, strict=True))
        return Scene(transmit, receive, radio, targets, users, extended=extended,
                     options=self.options.value())


def _check_distance(key: str, position: list[float], array: AntennaArray,
                    wavelength: float) -> None:
    # The core checks this too, but it does not know the keys of the file.
    distance = float(np.linalg.norm(array.positions - position, axis=1).min())
    if distance < wavelength:
        raise FileError(f'{key}.position_m: is {position}; must be at least one wavelength '
                        f'({wavelength:.4g} m) away from every antenna element, not '
                        f'{distance:.4g} m')


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
    except NfIsacError as error:
        raise FileError(f'{path}: {error}') from error


def solution_record(solution: Solution) -> dict[str, Any]:
    """
    Result of a design as a mapping for JSON.

    Numbers that are not finite or mean nothing become None: bounds without targets; the SINR of a
    user without a beam, which is minus infinity in dB.
    """
    # A design without anything to optimise (isotropic) has no gap to miss.
    early = solution.quality is Quality.EARLY and not math.isnan(solution.bound)
    # A sum over no targets is not a perfect bound.
    sums = (solution.sum_crb, solution.isotropic_sum_crb) if solution.targets else (None, None)
    record = {
        'version': VERSION, 'design': solution.design,
        'status': 'early' if early else 'optimal',
        'objective': solution.objective, 'bound': solution.bound, 'gap': solution.gap,
        'sum_crb_m2': sums[0], 'isotropic_sum_crb_m2': sums[1],
        'targets': [_target_record(target) for target in solution.targets],
        'users': [
            {'id': user.id, 'sinr_db': user.sinr_db, 'required_sinr_db': user.required_sinr_db}
            for user in solution.users],
        'power_w': solution.power,
        'covariance_eigenvalues_w': solution.covariance_eigenvalues.tolist(),
        'subspace_dimension': solution.subspace_dimension,
        'iterations': solution.iterations,
        'times_ms': dict(solution.times_ms),
    }
    if any(target.bounds is not None for target in solution.targets):
        record['coverage_db'] = _decibels(solution.coverage_ratio)
        record['coverage_limit_db'] = _decibels(solution.coverage_limit)
    if solution.reason:
        record['relaxed'] = solution.reason
    return _finite(record)


def _decibels(ratio: float) -> float:
    return 10 * math.log10(ratio)


def _target_record(target: TargetReport) -> dict[str, Any]:
    record = {
        'id': target.id, 'position_m': target.position.tolist(), 'crb_m2': target.crb.tolist(),
        'illumination_w': target.illumination, 'echo_power_w': target.echo_power}
    if target.bounds is not None:
        record['bounds'] = {
            'range_m2': target.bounds.range, 'direction_rad2': target.bounds.direction,
            'orientation_rad2': target.bounds.orientation}
        record['section_illumination_w'] = target.section_illumination.tolist()
    if target.region_crb is not None:
        record['region_crb_m2'] = target.region_crb.tolist()
    return record


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


def write_record(record: dict[str, Any], path: Path | None) -> None:
    """Write a result as strict JSON, to standard output without a path; FileError if it cannot."""
    text = json.dumps(record, indent=1, allow_nan=False) + '\n'
    if path is None:
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding='utf-8')
    except OSError as error:
        raise FileError(f'--out: cannot write {path}: {error.strerror}') from error
