"""The bounds of every way to describe a scene against numerical differentiation of the echo."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nf_isac_ros.core.fisher import position_bounds
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.files.scene_file import SceneModel

WAVELENGTH = 0.01
TILT = Rotation.from_euler('xyz', [0.4, -0.3, 0.8])
LEFT, RIGHT = Rotation.from_euler('y', 0.5), Rotation.from_euler('y', -0.5)


def grid(n_x, n_y, spacing):
    """Elements of a planar array, the x index slowest."""
    return np.array([[(i - (n_x - 1) / 2) * spacing, (j - (n_y - 1) / 2) * spacing, 0.0]
                     for i in range(n_x) for j in range(n_y)])


def xyzw(rotation):
    return rotation.as_quat().tolist()


UPA = {'upa': {'elements': [4, 3], 'spacing_m': 0.02}}
SCATTERED = np.random.default_rng(4).uniform(-0.2, 0.2, (9, 3))
PANELS = {'panels': [
    {'upa': {'elements': [3, 3], 'spacing_wavelengths': 1.5}, 'position_m': [-0.3, 0, 0],
     'orientation_xyzw': xyzw(LEFT)},
    {'positions_m': [[0, 0.1, 0.02], [0, -0.1, 0]]},
    {'ula': {'elements': 4, 'spacing_m': 0.01, 'centre_m': [0, 0.05, 0]},
     'pose': {'position_m': [0.3, 0, 0.1], 'orientation_xyzw': xyzw(RIGHT)}}]}
PANEL_ELEMENTS = np.concatenate([
    LEFT.apply(grid(3, 3, 0.015)) + [-0.3, 0, 0], [[0, 0.1, 0.02], [0, -0.1, 0]],
    RIGHT.apply(grid(1, 4, 0.01) + [0, 0.05, 0]) + [0.3, 0, 0.1]])
POSE = {'position_m': [0.1, -0.2, 1.9], 'orientation_xyzw': xyzw(TILT)}

# How an array is written, and where its elements are then.
ARRAYS = {
    'upa': (UPA, grid(4, 3, 0.02)),
    'ula': ({'ula': {'elements': 12, 'spacing_m': 0.01}}, grid(1, 12, 0.01)),
    'positions': ({'positions_m': SCATTERED.tolist()}, SCATTERED),
    'csv': ({'csv': 'elements.csv'}, SCATTERED),
    'panels': (PANELS, PANEL_ELEMENTS),
    'posed': ({**UPA, **POSE}, TILT.apply(grid(4, 3, 0.02)) + [0.1, -0.2, 1.9]),
    'posed-panels': ({**PANELS, 'pose': POSE}, TILT.apply(PANEL_ELEMENTS) + [0.1, -0.2, 1.9]),
}


def noise_of(kind, n):
    rng = np.random.default_rng(n)
    if kind == 'white':
        return {'power_w': 2e-9}, 2e-9 * np.eye(n)
    if kind == 'diagonal':
        values = rng.uniform(1e-9, 5e-9, n)
        return {'diagonal_w': values.tolist()}, np.diag(values)
    root = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    matrix = 1e-9 * (root @ root.conj().T / n + np.eye(n))
    return {'covariance': {'real': matrix.real.tolist(), 'imag': matrix.imag.tolist()}}, matrix


def response(elements, point):
    distance = np.linalg.norm(elements - point, axis=1)
    return WAVELENGTH / (4 * np.pi * distance) * np.exp(-2j * np.pi * distance / WAVELENGTH)


def bounds_by_differences(transmit, receive, noise, targets, beams, symbols):
    """Slepian-Bangs with central differences of the mean sum_k b_k a_k v_k^T B."""
    n = len(targets)
    start = np.concatenate([[*place, b.real, b.imag] for place, b in targets])

    def mean(parameters):
        return sum(complex(q[3], q[4]) * np.outer(
            response(receive, q[:3]), response(transmit, q[:3]) @ beams)
            for q in parameters.reshape(n, 5))

    slopes = []
    for i in range(5 * n):
        step = np.zeros(5 * n)
        step[i] = 2e-6 if i % 5 < 3 else 1e-3
        slopes.append((8 * (mean(start + step) - mean(start - step))
                       - mean(start + 2 * step) + mean(start - 2 * step)) / (12 * step[i]))
    whitened = [np.linalg.solve(noise, slope) for slope in slopes]
    fisher = 2 * symbols * np.array([[np.vdot(a, b).real for b in whitened] for a in slopes])
    scale = 1 / np.sqrt(np.diag(fisher))
    scaled = fisher * scale[:, None] * scale
    inverse = np.linalg.inv(scaled) * scale[:, None] * scale
    return (np.array([inverse[5 * k:5 * k + 3, 5 * k:5 * k + 3] for k in range(n)]),
            np.linalg.cond(scaled))


def check(tmp_path, transmit, receive, noise, targets):
    (written, sent), (heard_as, heard) = transmit, receive
    entry, covariance = noise_of(noise, len(heard))
    np.savetxt(tmp_path / 'elements.csv', SCATTERED, delimiter=',', header='x,y,z', comments='')
    scene = SceneModel.model_validate_json(json.dumps({
        'version': 1, 'wavelength_m': WAVELENGTH, 'transmit_array': written,
        'receive_array': heard_as,
        'radio': {'power_w': 0.5, 'symbols': 70, 'user_noise_w': 1e-8, 'sensing_noise': entry},
        'targets': [{'id': f't{k}', 'position_m': list(place), 'reflection': [b.real, b.imag]}
                    for k, (place, b) in enumerate(targets)]})).value(tmp_path)
    np.testing.assert_allclose(scene.transmit_array.positions, sent, atol=1e-12)
    np.testing.assert_allclose(scene.receive_array.positions, heard, atol=1e-12)
    rng = np.random.default_rng(1)
    beams = rng.normal(size=(len(sent), 4)) + 1j * rng.normal(size=(len(sent), 4))
    expected, condition = bounds_by_differences(sent, heard, covariance, targets, beams, 70)
    # Differences are good to 1e-9; the inverse magnifies that.
    assert condition < 1e7
    actual = position_bounds(build_problem(scene).full_fisher.of_factor(beams), len(targets))
    for mine, his in zip(actual, expected):
        np.testing.assert_allclose(mine, his, rtol=0, atol=1e-4 * np.abs(his).max())


NEAR = [((0.15, 0.1, 0.9), 0.8 - 0.6j)]
TWO = [*NEAR, ((-0.25, 0.05, 1.1), -0.2 + 1.1j)]


@pytest.mark.parametrize('noise', ['white', 'diagonal', 'full'])
@pytest.mark.parametrize('transmit', ARRAYS)
def test_every_kind_of_transmit_array(transmit, noise, tmp_path):
    # A line alone cannot tell where on a circle around it a target is; the receiver can.
    check(tmp_path, ARRAYS[transmit], ARRAYS['posed-panels'], noise, NEAR)


@pytest.mark.parametrize('noise', ['white', 'diagonal', 'full'])
@pytest.mark.parametrize('receive', ARRAYS)
def test_every_kind_of_receive_array(receive, noise, tmp_path):
    check(tmp_path, ARRAYS['panels'], ARRAYS[receive], noise, NEAR)


@pytest.mark.parametrize('noise', ['white', 'full'])
@pytest.mark.parametrize('transmit, receive', [('panels', 'posed-panels'), ('positions', 'posed')])
def test_two_targets(transmit, receive, noise, tmp_path):
    check(tmp_path, ARRAYS[transmit], ARRAYS[receive], noise, TWO)


@pytest.mark.parametrize('array', ['positions', 'panels', 'posed-panels'])
def test_one_array_for_both_ways(array, tmp_path):
    written, elements = ARRAYS[array]
    check(tmp_path, (written, elements), ('transmit', elements), 'white', NEAR)
