"""Scenes with extended targets: the reference scenarios, and shapes with known properties."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path

import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, linear_elements
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.plane import PlanarPose, planar_pose, pose_in_plane
from nf_isac_ros.core.extended.sections import Sections
from nf_isac_ros.core.scene import ExtendedTarget, Radio, Scene, SensingNoise, User

FOLDER = Path(__file__).parents[2].parent / 'shared' / 'data' / 'reference' / 'extended_target'
NAMES = ['S1_vehicle_los', 'S2_uav_los']
WAVELENGTH = 0.01

needs_extended_reference = pytest.mark.skipif(
    not FOLDER.is_dir(), reason='reference scenes are not on this machine')

VEHICLE = Contour((2.05, -0.002, 0.5, 0.0, 0.056, 0.001, -0.125, 0.003),
                  (1.24, -0.001, 0.335, -0.001, 0.124, -0.001, 0.018, 0.0))
UAV = Contour((0.797, 0.0, -0.153, 0.0, -0.272, 0.0, -0.12, 0.0, 0.045),
              (0.797, 0.0, 0.153, 0.0, -0.272, 0.0, 0.12, 0.0, 0.045))
CIRCLE = Contour((1.5,), (1.5,))
ELLIPSE = Contour((2.0,), (1.0,))


def complex_array(parts: dict) -> np.ndarray:
    return np.array(parts['re']) + 1j * np.array(parts['im'])


@dataclass(frozen=True)
class ExtendedReference:
    """A reference scenario: its numbers, the same as a scene, and its sections."""

    data: dict
    scene: Scene
    sections: Sections

    @property
    def target(self) -> ExtendedTarget:
        return self.scene.extended[0]

    @property
    def plane(self) -> PlanarPose:
        return planar_pose(self.scene.transmit_array, self.target.pose)

    @property
    def beams(self) -> np.ndarray:
        """Beams of the formula test, shape (N, C) [sqrt(W)]."""
        return complex_array(self.data['formula_test']['W'])


def extended_reference(name: str) -> ExtendedReference:
    data = json.loads((FOLDER / f'{name}.json').read_text(encoding='utf-8'))
    given, sections = data['inputs'], data['sections']
    transmit, receive = (AntennaArray(linear_elements(given[key], WAVELENGTH / 2))
                         for key in ('Nt', 'Nr'))
    radio = Radio(
        wavelength=WAVELENGTH, power=given['P_T'], symbols=given['T_snapshots'],
        user_noise=given['sigma_c2'], sensing_noise=SensingNoise(power=given['sigma_s2']),
        bandwidth=given['B_eff'])
    target = ExtendedTarget(
        'target', Contour(tuple(given['tfs_a']), tuple(given['tfs_b'])),
        pose_in_plane(transmit, given['d_o'], given['phi_o'], given['ori']),
        path_power=given['beta2'], sections=given['K'])
    # Rows of H are h^T.
    users = tuple(User(f'u{i}', given['sinr_threshold_db'], channel=channel)
                  for i, channel in enumerate(complex_array(given['H'])))
    return ExtendedReference(
        data, Scene(transmit, receive, radio, users=users, extended=(target,)),
        Sections(np.array(sections['u']), np.array(sections['width_u']), np.array(sections['l']),
                 np.array(sections['m']), sections['n_runs']))


def far_scene(contour: Contour = VEHICLE, distance: float = 20.0, direction: float = 0.2,
              orientation: float = 0.5, elements: tuple[int, int] = (16, 20), **settings
              ) -> Scene:
    """One target before two linear arrays, without users."""
    transmit, receive = (AntennaArray(linear_elements(n, WAVELENGTH / 2)) for n in elements)
    radio = Radio(wavelength=WAVELENGTH, power=1.0, symbols=1000, user_noise=1e-11,
                  sensing_noise=SensingNoise(power=1e-11), bandwidth=1e8)
    target = ExtendedTarget('target', contour,
                            pose_in_plane(transmit, distance, direction, orientation),
                            **{'path_power': 1e-12, **settings})
    return Scene(transmit, receive, radio, extended=(target,))


def random_beams(elements: int, streams: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(elements, streams)) + 1j * rng.normal(size=(elements, streams)))
