"""A small scene that can be spoilt, and the command that is run on it."""

from __future__ import annotations

from copy import deepcopy
import json
from pathlib import Path

from nf_isac_ros.cli import main

SCENE = {
    'version': 1,
    'wavelength_m': 0.01,
    'transmit_array': {'upa': {'elements': [4, 4], 'spacing_m': 0.05}},
    'receive_array': {'upa': {'elements': [3, 4], 'spacing_m': 0.06, 'centre_m': [0, 0, 2.5]}},
    'radio': {'power_w': 0.1, 'symbols': 100, 'user_noise_w': 1e-8,
              'sensing_noise': {'power_w': 1e-8}},
    'targets': [{'id': 't1', 'position_m': [0.1, 0.3, 1.2]}],
    'users': [{'id': 'u1', 'position_m': [0, -0.2, 1.6], 'min_sinr_db': 10.0},
              {'id': 'u2', 'position_m': [0.4, 0.1, 1.4], 'min_sinr_db': 5}],
}
REMOVE = object()


def changed(*changes):
    """Return the scene with changes (key, key, ..., value)."""
    scene = deepcopy(SCENE)
    for *keys, last, value in changes:
        place = scene
        for key in keys:
            place = place[key]
        if value is REMOVE:
            del place[last]
        else:
            place[last] = value
    return scene


def written(folder: Path, scene: dict, name: str = 'scene.json') -> Path:
    path = folder / name
    path.write_text(json.dumps(scene))
    return path


def strict_json(path: Path):
    """Content of a file that must be JSON without NaN and infinity."""
    def refuse(name):
        raise AssertionError(f'{name} in {path}')
    return json.loads(path.read_text(), parse_constant=refuse)


def solve(path: Path, *options) -> int:
    return main(['solve', str(path), *map(str, options)])
