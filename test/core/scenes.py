"""Scenes for the tests of the core: small ones in closed form, random ones, reference data."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path

import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.files.scene_file import SceneModel

WAVELENGTH = 0.01
REFERENCE = Path(__file__).parents[2].parent / 'shared' / 'data' / 'reference' / 'near_field'


def planar(n_x: int, n_y: int, z: float = 0.0) -> AntennaArray:
    return AntennaArray(planar_elements(n_x, n_y, WAVELENGTH / 2, (0.0, 0.0, z)))


def radio(noise: SensingNoise | None = None) -> Radio:
    return Radio(wavelength=WAVELENGTH, power=0.01, symbols=100, user_noise=1e-8,
                 sensing_noise=noise or SensingNoise(power=1e-8))


def random_scene(seed: int, n_targets: int, n_users: int, *, side: int = 12,
                 min_sinr_db: float = 5.0, monostatic: bool = False,
                 noise: SensingNoise | None = None) -> Scene:
    """Bodies in front of a square array; complex reflections, unequal thresholds."""
    rng = np.random.default_rng(seed)

    def place() -> np.ndarray:
        return np.array([*rng.uniform(-0.3, 0.3, 2), rng.uniform(0.5, 2.0)])

    targets = tuple(
        PointTarget(f't{k}', place(), complex(*rng.normal(size=2))) for k in range(n_targets))
    users = tuple(
        User(f'u{k}', min_sinr_db + rng.uniform(-3, 3), place()) for k in range(n_users))
    transmit = planar(side, side)
    return Scene(transmit, transmit if monostatic else planar(side, side, 2.5), radio(noise),
                 targets, users)


@dataclass(frozen=True)
class Reference:
    """A scene with its certified optimum."""

    scene: Scene
    expected: dict


def reference_names() -> list[str]:
    return sorted(path.stem for path in REFERENCE.glob('*.json'))


def reference(name: str) -> Reference:
    path = REFERENCE / f'{name}.json'
    data = json.loads(path.read_text(encoding='utf-8'))
    scene = SceneModel.model_validate_json(json.dumps(data['scene'])).value(path.parent)
    return Reference(scene, data['expected'])


needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason='reference scenes are not on this machine')
