"""`nf-isac solve` from file to file: results, beams, options and exit codes."""

from __future__ import annotations

from copy import deepcopy
import json
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / 'files'))

from scene_files import SCENE, changed, solve, strict_json, written  # noqa: E402

from nf_isac_ros.files.scene_file import load_scene  # noqa: E402

ROOT = Path(__file__).parents[1]
EXECUTABLE = ROOT / '.venv' / 'bin' / 'nf-isac'
COMMAND = [str(EXECUTABLE)] if EXECUTABLE.exists() else [sys.executable, '-m', 'nf_isac_ros.cli']
REFERENCE = ROOT.parent / 'shared' / 'data' / 'reference' / 'near_field'

KEYS = {'version', 'design', 'status', 'objective', 'bound', 'gap', 'sum_crb_m2',
        'isotropic_sum_crb_m2', 'targets', 'users', 'power_w', 'covariance_eigenvalues_w',
        'subspace_dimension', 'times_ms', 'iterations'}


@pytest.fixture
def run(tmp_path, capsys):
    """Solve a scene that must be good; returns result and beams."""
    def run(scene: dict, *options, weights: bool = True):
        out, npz = tmp_path / 'out.json', tmp_path / 'weights.npz'
        more = ('--weights', npz) if weights else ()
        code = solve(written(tmp_path, scene), '--out', out, *more, *options)
        captured = capsys.readouterr()
        assert (code, captured.out, captured.err) == (0, '', '')
        return strict_json(out), dict(np.load(npz)) if weights else None
    return run


# -- a second route to what beams achieve ---------------------------------------------------------

def response(elements, point, wavelength):
    distance = np.sqrt(((elements - point) ** 2).sum(axis=1))
    return wavelength / (4 * np.pi * distance) * np.exp(-2j * np.pi * distance / wavelength)


def grid(n_x, n_y, spacing, centre=(0, 0, 0)):
    """Element positions by the definition in words: the x index is the slowest."""
    return np.array([[(i - (n_x - 1) / 2) * spacing, (j - (n_y - 1) / 2) * spacing, 0.0]
                     for i in range(n_x) for j in range(n_y)]) + centre


def channels_of(scene, transmit, wavelength):
    columns = []
    for user in scene['users']:
        if 'channel' in user:
            columns.append(np.array(user['channel']['real'])
                           + 1j * np.array(user['channel']['imag']))
            continue
        channel = response(transmit, np.array(user['position_m']), wavelength).conj()
        for path in user.get('scattered', ()):
            target = next(t for t in scene['targets'] if t['id'] == path['target'])
            channel = channel + complex(*path['coefficient']) * response(
                transmit, np.array(target['position_m']), wavelength).conj()
        columns.append(channel)
    return np.array(columns).T.reshape(len(transmit), -1)


def sinrs_db(channels, comm, sensing, noise):
    out = []
    for u in range(channels.shape[1]):
        h = channels[:, u]
        gains = [abs(np.vdot(h, comm[:, i])) ** 2 for i in range(comm.shape[1])]
        rest = sum(abs(np.vdot(h, sensing[:, i])) ** 2 for i in range(sensing.shape[1]))
        wanted = gains.pop(u)
        out.append(10 * np.log10(wanted / (sum(gains) + rest + np.broadcast_to(
            noise, channels.shape[1])[u])))
    return out


def bounds_by_differences(scene, transmit, receive, wavelength, covariance, noise):
    """
    Return Cramér-Rao bounds (K, 3, 3) from differences of the received mean.

    Slepian-Bangs: with X = R^1/2 the mean sum_k b_k a_k v_k^T X and the noise covariance Q, the
    Fisher matrix is 2 L Re tr(dM_i^H Q^-1 dM_j), with no derivative written down by hand.
    """
    values, vectors = np.linalg.eigh(covariance)
    signal = vectors * np.sqrt(np.maximum(values, 0))
    n = len(scene['targets'])
    start = np.concatenate(
        [np.concatenate([t['position_m'], t.get('reflection', [1.0, 0.0])])
         for t in scene['targets']])

    def mean(parameters):
        return sum(complex(q[3], q[4]) * np.outer(
            response(receive, q[:3], wavelength),
            response(transmit, q[:3], wavelength) @ signal) for q in parameters.reshape(n, 5))

    slopes = []
    for i in range(5 * n):
        step = np.zeros(5 * n)
        step[i] = 1e-3 * wavelength if i % 5 < 3 else 1e-3
        # Fourth order.
        slopes.append((8 * (mean(start + step) - mean(start - step))
                       - mean(start + 2 * step) + mean(start - 2 * step)) / (12 * step[i]))
    whitened = [np.linalg.solve(noise, slope) for slope in slopes]
    fisher = 2 * scene['radio']['symbols'] * np.array(
        [[np.vdot(a, b).real for b in whitened] for a in slopes])
    scale = 1 / np.sqrt(np.diag(fisher))
    inverse = np.linalg.inv(fisher * scale[:, None] * scale) * scale[:, None] * scale
    return np.array([inverse[5 * k:5 * k + 3, 5 * k:5 * k + 3] for k in range(n)])


COLOURED = 1e-8 * (np.eye(12) + 0.3j * (np.eye(12, k=1) - np.eye(12, k=-1)))
SCENES = {
    'plain': SCENE,
    'complex-reflection': changed(('targets', 0, 'reflection', [0.3, -0.7])),
    'noise-per-user': changed(('radio', 'user_noise_w', [1e-9, 3e-8])),
    'scattered': changed(('users', 1, 'scattered', [{'target': 't1', 'coefficient': [.3, .2]}])),
    'diagonal-noise': changed(('radio', 'sensing_noise',
                               {'diagonal_w': [1e-8 * (i + 1) for i in range(12)]})),
    'coloured-noise': changed(('radio', 'sensing_noise', {'covariance': {
        'real': COLOURED.real.tolist(), 'imag': COLOURED.imag.tolist()}})),
    'channel': changed(('users', 0, {'id': 'c', 'min_sinr_db': 3.0, 'channel': {
        'real': [1e-3 * (i % 3) for i in range(16)],
        'imag': [1e-3 * (i % 5) for i in range(16)]}})),
    'no-users': changed(('users', [])),
    'uncertain': changed(('targets', 0, 'position_covariance_m2',
                          [[4e-4, 0, 1e-4], [0, 1e-4, 0], [1e-4, 0, 4e-4]])),
    'two-targets': changed(('targets', [{'id': 'a', 'position_m': [0.1, 0.3, 1.2]},
                                        {'id': 'b', 'position_m': [-0.4, 0.1, 1.5],
                                         'reflection': [0, 2]}])),
}


@pytest.mark.parametrize('design', [
    'crb-min', 'isotropic', 'users-first', 'zero-forcing', 'max-min-illumination', 'max-min-echo',
    'sensing-only', 'sinr-max', 'least-power'])
@pytest.mark.parametrize('scene', SCENES.values(), ids=SCENES.keys())
def test_result_is_what_the_beams_achieve(scene, design, run):
    if design in ('sinr-max', 'least-power') and not scene['users']:
        pytest.skip('needs a user')
    result, beams = run(scene, '--design', design)
    comm, sensing = beams['comm'], beams['sensing']
    assert comm.dtype == sensing.dtype == np.complex128
    assert comm.shape == (16, len(scene['users'])) and sensing.shape[0] == 16

    assert set(result) == KEYS and result['version'] == 1 and result['design'] == design
    assert set(result['times_ms']) == {'channels', 'solve', 'beams'}
    covariance = comm @ comm.conj().T + sensing @ sensing.conj().T
    power = np.trace(covariance).real
    assert result['power_w'] == pytest.approx(power, rel=1e-12)
    if design == 'least-power':
        assert power < 0.1
    else:
        assert power == pytest.approx(0.1, rel=1e-9)
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1][:result['subspace_dimension']]
    assert result['covariance_eigenvalues_w'] == pytest.approx(eigenvalues, abs=1e-9 * power)

    transmit, receive = grid(4, 4, 0.05), grid(3, 4, 0.06, (0, 0, 2.5))
    users = result['users']
    assert [user['id'] for user in users] == [user['id'] for user in scene['users']]
    assert [user['required_sinr_db'] for user in users] == [
        user['min_sinr_db'] for user in scene['users']]
    if design == 'isotropic':
        assert [user['sinr_db'] for user in users] == [None] * len(users)
    else:
        sinrs = sinrs_db(channels_of(scene, transmit, 0.01), comm, sensing,
                         scene['radio']['user_noise_w'])
        assert [user['sinr_db'] for user in users] == pytest.approx(sinrs, abs=1e-8)
        if design not in ('sinr-max', 'sensing-only'):
            assert all(s >= user['required_sinr_db'] - 1e-6 for s, user in zip(sinrs, users))

    noise = {'power_w': lambda p: p * np.eye(12), 'diagonal_w': np.diag,
             'covariance': lambda _: COLOURED}
    (form, value), = scene['radio']['sensing_noise'].items()
    bounds = bounds_by_differences(scene, transmit, receive, 0.01, covariance, noise[form](value))
    for target, expected, bound in zip(result['targets'], scene['targets'], bounds):
        assert target['id'] == expected['id']
        assert target['position_m'] == expected['position_m']
        assert np.allclose(target['crb_m2'], bound, rtol=1e-5, atol=1e-5 * np.abs(bound).max())
        v = response(transmit, np.array(target['position_m']), 0.01)
        lit = (v @ covariance @ v.conj()).real
        assert target['illumination_w'] == pytest.approx(lit, rel=1e-9)
        a = response(receive, np.array(target['position_m']), 0.01)
        gain = np.vdot(a, a).real * abs(complex(*expected.get('reflection', [1, 0]))) ** 2
        assert target['echo_power_w'] == pytest.approx(gain * lit, rel=1e-9)
    total = np.trace(bounds, axis1=1, axis2=2).sum()
    assert result['sum_crb_m2'] == pytest.approx(total, rel=1e-5)
    objective = {
        'max-min-illumination': lambda: min(t['illumination_w'] for t in result['targets']),
        'max-min-echo': lambda: min(t['echo_power_w'] for t in result['targets']),
        'least-power': lambda: power,
        'sinr-max': lambda: min(10 ** ((u['sinr_db'] - u['required_sinr_db']) / 10)
                                for u in users)}.get(design, lambda: total)()
    assert result['objective'] == pytest.approx(objective, rel=1e-5)
    isotropic = bounds_by_differences(
        scene, transmit, receive, 0.01, 0.1 / 16 * np.eye(16), noise[form](value))
    assert result['isotropic_sum_crb_m2'] == pytest.approx(
        np.trace(isotropic, axis1=1, axis2=2).sum(), rel=1e-5)


def test_gap_decides_between_optimal_and_early(run):
    loose, _ = run(SCENE, '--gap', '1e-3')
    tight, _ = run(SCENE, '--gap', '1e-15')
    assert loose['status'] == 'optimal' and loose['gap'] <= 1e-3
    assert tight['status'] == 'early' and tight['gap'] > 1e-15
    for result in (loose, tight):
        assert result['bound'] <= result['objective']
        assert result['gap'] == pytest.approx(
            (result['objective'] - result['bound']) / result['objective'], rel=1e-6)
    # Each is a feasible point of the same problem, so each bound holds for the other.
    assert tight['bound'] <= loose['objective'] and loose['bound'] <= tight['objective']


def test_isotropic_has_nothing_to_certify(run):
    result, beams = run(SCENE, '--design', 'isotropic')
    assert (result['status'], result['bound'], result['gap']) == ('optimal', None, None)
    assert result['power_w'] == 0.1
    assert np.allclose(beams['sensing'] @ beams['sensing'].conj().T, 0.1 / 16 * np.eye(16))
    assert not beams['comm'].any()


def test_isotropic_of_a_large_array_makes_no_square_matrix(run, tmp_path, capsys):
    # 65536 x 65536 complex numbers would be 69 GB.
    scene = changed(('transmit_array', {'upa': {'elements': [256, 256], 'spacing_m': 0.005}}))
    result, _ = run(scene, '--design', 'isotropic', weights=False)
    assert result['power_w'] == 0.1
    assert result['covariance_eigenvalues_w'] == pytest.approx(
        [0.1 / 65536] * result['subspace_dimension'])
    npz = tmp_path / 'large.npz'
    assert solve(tmp_path / 'scene.json', '--design', 'isotropic', '--weights', npz) == 2
    assert 'must be left out above 8192 elements' in capsys.readouterr().err
    assert not npz.exists()


@pytest.mark.parametrize('users', [1, 2])
@pytest.mark.parametrize('design', ['crb-min', 'sinr-max', 'users-first'])
def test_without_targets_users_get_all_the_power(design, users, run):
    scene = changed(('targets', []), ('users', SCENE['users'][:users]))
    result, beams = run(scene, '--design', design)
    assert (result['design'], result['status']) == ('sinr-max', 'optimal')
    assert result['targets'] == []
    assert result['sum_crb_m2'] is result['isotropic_sum_crb_m2'] is None
    sinrs = sinrs_db(channels_of(scene, grid(4, 4, 0.05), 0.01), beams['comm'], beams['sensing'],
                     1e-8)
    assert [user['sinr_db'] for user in result['users']] == pytest.approx(sinrs, abs=1e-9)
    # All have the same margin: with one user that of maximum-ratio transmission.
    margins = [s - user['min_sinr_db'] for s, user in zip(sinrs, scene['users'])]
    assert margins == pytest.approx([margins[0]] * users, abs=1e-6)
    assert result['objective'] == pytest.approx(10 ** (margins[0] / 10), rel=1e-6)
    if users == 1:
        h = channels_of(scene, grid(4, 4, 0.05), 0.01)[:, 0]
        assert sinrs[0] == pytest.approx(10 * np.log10(0.1 * np.vdot(h, h).real / 1e-8), abs=1e-9)


def test_isotropic_without_targets_has_no_bound(run):
    result, _ = run(changed(('targets', [])), '--design', 'isotropic')
    assert result['objective'] is result['sum_crb_m2'] is None and result['power_w'] == 0.1


@pytest.mark.parametrize('design', ['max-min-illumination', 'max-min-echo', 'sensing-only'])
def test_sensing_designs_without_targets_leave_it_to_the_users(design, run):
    result, _ = run(changed(('targets', [])), '--design', design)
    assert (result['design'], result['status']) == ('sinr-max', 'optimal')


def test_unreduced_design_agrees_with_the_reduced_one(run):
    full, _ = run(SCENE, '--design', 'crb-min-full')
    reduced, _ = run(SCENE, '--gap', '1e-8')
    assert (full['design'], full['status']) == ('crb-min-full', 'optimal')
    assert full['objective'] == pytest.approx(reduced['objective'], rel=1e-6)
    assert full['bound'] <= reduced['objective']


def test_unreduced_design_takes_small_arrays_only(tmp_path, line):
    scene = changed(('transmit_array', {'upa': {'elements': [4, 5], 'spacing_m': 0.05}}))
    path = written(tmp_path, scene)
    assert line(path, '--design', 'crb-min-full') == (
        f'{path}: transmit_array: has 20 elements; must have at most 18 for crb-min-full')


@pytest.mark.parametrize('design', ['sinr-max', 'least-power'])
def test_designs_for_users_need_one(design, tmp_path, line):
    path = written(tmp_path, changed(('users', [])))
    assert line(path, '--design', design) == (
        f'{path}: design {design} needs at least one user')


def test_users_that_zero_forcing_cannot_tell_apart_are_no_failure_of_a_solver(tmp_path, capsys):
    user = {'position_m': [0.1, 0.2, 2.0], 'min_sinr_db': -10.0}
    path = written(tmp_path, changed(('users', [{'id': 'a', **user}, {'id': 'b', **user}])))
    assert solve(path, '--design', 'zero-forcing') == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(': 2 users have 1 independent channels')


def test_largest_common_sinr_and_least_power_tell_what_is_feasible(tmp_path, run, capsys):
    largest, _ = run(SCENE, '--design', 'sinr-max')
    least, _ = run(SCENE, '--design', 'least-power')
    margin = 10 * np.log10(largest['objective'])

    def raised(by):
        return changed(*[('users', i, 'min_sinr_db', user['min_sinr_db'] + by)
                         for i, user in enumerate(SCENE['users'])])

    # At the largest common scale the least power is all there is; beyond it there is none.
    full, _ = run(raised(margin - 1e-6), '--design', 'least-power')
    assert full['power_w'] == pytest.approx(0.1, rel=1e-5)
    assert least['power_w'] < full['power_w']
    assert solve(written(tmp_path, raised(margin + 0.25)), '--design', 'least-power',
                 '--out', tmp_path / 'out.json') == 3
    capsys.readouterr()
    assert strict_json(tmp_path / 'out.json')['max_common_sinr_scale_db'] == pytest.approx(
        -0.25, abs=1e-6)
    # With a budget of the least power nothing is left to spare.
    tight, _ = run(changed(('radio', 'power_w', least['power_w'])), '--design', 'sinr-max')
    assert tight['objective'] == pytest.approx(1.0, rel=1e-8)


def test_sensing_alone_is_not_infeasible_where_the_users_cannot_be_served(run):
    scene = changed(('users', [{**SCENE['users'][0], 'min_sinr_db': 60.0}]))
    result, beams = run(scene, '--design', 'sensing-only')
    alone, _ = run(changed(('users', [])))
    assert result['status'] == 'optimal'
    assert result['objective'] == pytest.approx(alone['objective'], rel=1e-6)
    # One user: w = R h / sqrt(h^H R h) takes all that it receives.
    h = channels_of(scene, grid(4, 4, 0.05), 0.01)[:, 0]
    covariance = sum(b @ b.conj().T for b in beams.values())
    sinr = (h.conj() @ covariance @ h).real / 1e-8
    assert result['users'][0]['sinr_db'] == pytest.approx(10 * np.log10(sinr), abs=1e-6)
    assert result['users'][0]['required_sinr_db'] == 60.0


def test_infeasible_scene(tmp_path, capsys):
    # One user: no design gives more than maximum-ratio transmission with all the power.
    scene = changed(('users', [{**SCENE['users'][0], 'min_sinr_db': 40.0}]))
    h = channels_of(scene, grid(4, 4, 0.05), 0.01)[:, 0]
    margin = 10 * np.log10(0.1 * np.vdot(h, h).real / 1e-8) - 40.0
    assert margin < 0
    out, npz = tmp_path / 'out.json', tmp_path / 'weights.npz'
    assert solve(written(tmp_path, scene), '--out', out, '--weights', npz) == 3
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1 and f'{margin:.4f} dB' in captured.err
    result = strict_json(out)
    assert result.pop('max_common_sinr_scale_db') == pytest.approx(margin, abs=1e-6)
    assert result == {'version': 1, 'design': 'crb-min', 'status': 'infeasible'}
    assert not npz.exists()


# -- arrays ---------------------------------------------------------------------------------------

def test_every_way_to_write_an_array_gives_the_same_result(tmp_path, run):
    elements = grid(4, 4, 0.05)
    (tmp_path / 'tables').mkdir()
    (tmp_path / 'tables' / 'a.csv').write_text(
        'x,y,z\n' + ''.join(f'{x!r},{y!r},{z!r}\n' for x, y, z in elements.tolist()))
    # Turned by 90 degrees about z, a square array becomes itself in another order of elements.
    turned = {'upa': {'elements': [4, 4], 'spacing_wavelengths': 5.0, 'centre_m': [0, 0, 0.5]},
              'pose': {'position_m': [0, 0, -0.5],
                       'orientation_xyzw': [0, 0, np.sqrt(0.5), np.sqrt(0.5)]}}
    reference, _ = run(SCENE, '--gap', '1e-5', weights=False)
    for array in ({'csv': 'tables/a.csv'}, {'csv': str(tmp_path / 'tables' / 'a.csv')},
                  {'positions_m': elements.tolist()}, turned,
                  {'upa': turned['upa'], **turned['pose']}):
        result, _ = run(changed(('transmit_array', array)), '--gap', '1e-5', weights=False)
        assert result['isotropic_sum_crb_m2'] == pytest.approx(
            reference['isotropic_sum_crb_m2'], rel=1e-9)
        assert result['objective'] == pytest.approx(reference['objective'], rel=2e-5)


def test_elements_of_a_planar_array_follow_the_x_index_last(tmp_path):
    path = written(tmp_path, changed(
        ('transmit_array', {'upa': {'elements': [2, 3], 'spacing_m': 1.0}}),
        ('receive_array', {'ula': {'elements': 3, 'spacing_wavelengths': 0.5}}), ('targets', []),
        ('users', [])))
    scene = load_scene(path)
    assert scene.transmit_array.positions.tolist() == [
        [-0.5, -1, 0], [-0.5, 0, 0], [-0.5, 1, 0], [0.5, -1, 0], [0.5, 0, 0], [0.5, 1, 0]]
    assert np.allclose(scene.receive_array.positions,
                       [[0, -0.005, 0], [0, 0, 0], [0, 0.005, 0]], atol=1e-15)


def test_pose_turns_before_it_shifts(tmp_path):
    # -90 degrees about x turns the boresight +z to +y; y of the array points to -z.
    array = {'positions_m': [[1, 2, 3]], 'position_m': [10, 20, 30],
             'orientation_xyzw': [-np.sqrt(0.5), 0, 0, np.sqrt(0.5)]}
    scene = load_scene(written(tmp_path, changed(('transmit_array', array))))
    assert np.allclose(scene.transmit_array.positions, [[11, 23, 28]])


def test_carrier_is_turned_into_a_wavelength_with_the_speed_of_light(tmp_path):
    scene = changed(('carrier_hz', 2.8e10))
    del scene['wavelength_m']
    assert load_scene(written(tmp_path, scene)).radio.wavelength == 299792458 / 2.8e10


@pytest.mark.parametrize('name', ['scene.json', 'scene.yaml', 'scene'])
def test_suffix_means_nothing(name, tmp_path):
    as_yaml = '\n'.join(f'{key}: {json.dumps(value)}' for key, value in SCENE.items())
    for text in (json.dumps(SCENE), '\ufeff' + json.dumps(SCENE), as_yaml):
        path = tmp_path / name
        path.write_text(text, encoding='utf-8')
        assert load_scene(path).radio.power == 0.1


@pytest.mark.parametrize('number', ['1e-08', '1E-8', '1.0e-8', '.1e-7', '0.00000001'])
def test_yaml_numbers_without_point_or_sign_are_numbers(number, tmp_path):
    text = '\n'.join(f'{key}: {json.dumps(value)}' for key, value in SCENE.items())
    path = tmp_path / 'scene.yaml'
    path.write_text(text.replace('"user_noise_w": 1e-08', f'"user_noise_w": {number}'))
    assert load_scene(path).users[0].noise_power == pytest.approx(1e-8)
    path.write_text(text.replace('wavelength_m: 0.01', 'carrier_hz: 28.0e9'))
    assert load_scene(path).radio.wavelength == pytest.approx(299792458 / 28e9)


# -- reference data -------------------------------------------------------------------------------

def reference_cases():
    return sorted(REFERENCE.glob('*.json')) if REFERENCE.is_dir() else []


@pytest.mark.skipif(not reference_cases(), reason=f'no reference data in {REFERENCE}')
@pytest.mark.parametrize('design', ['crb-min', 'max-min-illumination', 'max-min-echo'])
@pytest.mark.parametrize('case', reference_cases(), ids=lambda path: path.stem)
def test_reference_scene_through_the_real_command(case, design, tmp_path):
    data = json.loads(case.read_text())
    path, out = written(tmp_path, data['scene']), tmp_path / 'out.json'
    done = subprocess.run([*COMMAND, 'solve', str(path), '--design', design, '--out', str(out)],
                          capture_output=True, text=True, timeout=120)
    result, expected = strict_json(out), data['expected']
    assert result['design'] == design
    if not expected['feasible']:
        assert done.returncode == 3 and done.stderr.count('\n') == 1
        assert result['status'] == 'infeasible'
        assert result['max_common_sinr_scale_db'] == pytest.approx(
            expected['max_common_sinr_scale_db'], abs=1e-4)
        return
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert result['status'] == 'optimal' and result['gap'] <= 1e-6
    known = expected[design]
    # How much better than the certified optimum: nothing can be.
    sign = 1 if design == 'crb-min' else -1
    assert -1e-9 <= sign * (result['objective'] / known['objective'] - 1) <= 1e-6
    assert sign * (result['bound'] / known['objective'] - 1) <= 1e-9
    assert result['sum_crb_m2'] == pytest.approx(known['sum_crb_m2'], rel=1e-4)
    for target, crb in zip(result['targets'], known['crb_m2'], strict=True):
        assert np.allclose(target['crb_m2'], crb, rtol=0, atol=1e-4 * np.abs(crb).max())
    assert result['subspace_dimension'] == known['subspace_dimension']
    assert len(result['covariance_eigenvalues_w']) == result['subspace_dimension']
    assert result['isotropic_sum_crb_m2'] == pytest.approx(
        expected['isotropic_sum_crb_m2'], rel=1e-6)
    assert result['power_w'] <= data['scene']['radio']['power_w'] * (1 + 1e-9)
    for user, required in zip(result['users'], data['scene']['users']):
        assert user['sinr_db'] >= required['min_sinr_db'] - 1e-6


# -- options and exit codes -----------------------------------------------------------------------

@pytest.fixture
def line(capsys):
    """Run bad options; returns the one line."""
    def line(*arguments) -> str:
        assert solve(*arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == '' and captured.err.count('\n') == 1
        return captured.err.rstrip('\n').removeprefix('nf-isac solve: ')
    return line


EXTENDED = {
    'version': 1, 'wavelength_m': 0.01,
    'transmit_array': {'ula': {'elements': 16, 'spacing_wavelengths': 0.5}},
    'receive_array': {'ula': {'elements': 20, 'spacing_wavelengths': 0.5}},
    'radio': {'power_w': 1.0, 'symbols': 1000, 'user_noise_w': 1e-8,
              'sensing_noise': {'power_w': 1e-11}, 'bandwidth_hz': 1e8},
    'targets': [{'id': 'car', 'kind': 'extended', 'range_m': 10.0, 'direction_rad': 0.26,
                 'orientation_rad': 0.35, 'contour': 'vehicle', 'sections': 5}],
    'users': [{'id': 'u1', 'position_m': [0, -1, 4], 'min_sinr_db': 10.0},
              {'id': 'u2', 'position_m': [0, 2, 5], 'min_sinr_db': 5.0}],
    'options': {'coverage_ratio': 2.0, 'geometry': 'far', 'sensing_stream': False}}


@pytest.mark.parametrize('design', [
    'extended-crb-min', 'extended-zero-forcing', 'extended-zero-forcing-sets', 'average',
    'average-null'])
def test_results_of_extended_targets(design, run):
    result, weights = run(EXTENDED, '--design', design, '--gap', '1e-4')
    target = result['targets'][0]
    assert result['objective'] == target['bounds']['direction_rad2'] > 0
    assert target['bounds']['orientation_rad2'] > target['bounds']['direction_rad2']
    # The centre: range, and direction times range.
    assert np.trace(target['crb_m2']) == pytest.approx(
        target['bounds']['range_m2'] + 100 * target['bounds']['direction_rad2'], rel=1e-9)
    lit = np.array(target['section_illumination_w'])
    assert len(lit) == 5
    assert result['coverage_db'] == pytest.approx(10 * np.log10(lit.max() / lit.min()), abs=1e-9)
    assert 'relaxed' not in result
    covers = design.startswith('extended')
    assert (result['coverage_limit_db'] is not None) == covers
    if covers:
        assert result['coverage_db'] <= result['coverage_limit_db'] + 1e-8
        assert weights['sensing'].shape[1] == 0
        assert result['bound'] <= result['objective']
    for user in result['users']:
        assert user['sinr_db'] >= user['required_sinr_db'] - 1e-8
    assert np.linalg.norm(np.hstack([weights['comm'], weights['sensing']])) ** 2 <= 1 + 1e-9


def test_extended_targets_with_too_high_thresholds(tmp_path, capsys):
    scene = deepcopy(EXTENDED)
    scene['users'][0]['min_sinr_db'] = 90.0
    assert solve(written(tmp_path, scene), '--design', 'extended-crb-min') == 3
    result = json.loads(capsys.readouterr().out)
    assert result['status'] == 'infeasible'
    assert result['max_common_sinr_scale_db'] < 0


@pytest.mark.parametrize(('design', 'told'), [
    ('extended-crb-min', 'none is extended'), ('average', '0 are extended and')])
def test_designs_for_extended_targets_need_one(design, told, tmp_path, line):
    assert told in line(written(tmp_path, SCENE), '--design', design)


def test_unknown_designs(tmp_path, line):
    path = written(tmp_path, SCENE)
    assert line(path, '--design', 'crbmin') == "--design: is 'crbmin'; did you mean crb-min?"
    assert line(path, '--design', 'best').startswith("--design: is 'best'; must be one of crb-min")


@pytest.mark.parametrize('gap', ['0', '-1', '1', 'nan', 'inf', 'x', '', '1e-400'])
def test_bad_gap(gap, tmp_path, line):
    assert line(written(tmp_path, SCENE), f'--gap={gap}') == (
        f'--gap: is {gap!r}; must be a number between 0 and 1')


@pytest.mark.parametrize('option', ['--out', '--weights'])
def test_files_that_cannot_be_written(option, tmp_path, line):
    path = written(tmp_path, SCENE)
    nowhere = tmp_path / 'nowhere' / 'file'
    assert line(path, option, nowhere) == (
        f'{option}: is {str(nowhere)!r}; must lie in a folder that exists')
    assert line(path, option, tmp_path) == f'{option}: cannot write {tmp_path}: Is a directory'
    assert line(path, option, path) == (
        f'{option}: is {str(path)!r}; must differ from the other files')
    if Path('/dev/full').exists():
        assert line(path, option, '/dev/full') == (
            f'{option}: cannot write /dev/full: No space left on device')
    assert json.loads(path.read_text()) == SCENE


def test_out_and_weights_differ(tmp_path, line):
    assert 'must differ' in line(written(tmp_path, SCENE), '--out', tmp_path / 'a',
                                 '--weights', tmp_path / 'a')


def test_result_goes_to_standard_output_without_out(tmp_path):
    done = subprocess.run([*COMMAND, 'solve', str(written(tmp_path, SCENE))],
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
    assert set(json.loads(done.stdout)) == KEYS


def test_bad_file_through_the_real_command(tmp_path):
    path = written(tmp_path, changed(('radio', 'power_w', 'x')))
    done = subprocess.run([*COMMAND, 'solve', str(path)], capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == f'nf-isac solve: {path}: radio.power_w: is "x"; must be a number\n'


@pytest.mark.parametrize('arguments', [['--help'], ['solve', '--help']], ids=' '.join)
def test_help_is_quick(arguments):
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
        times.append(time.perf_counter() - started)
        assert done.returncode == 0 and 'nf-isac' in done.stdout
    assert min(times) < 0.5


@pytest.mark.parametrize('arguments, absent', [
    (['--help'], {'rclpy', 'cvxpy', 'numpy', 'pydantic', 'matplotlib', 'clarabel'}),
    (['solve', 'SCENE'], {'rclpy', 'cvxpy', 'nf_isac_msgs', 'rosbags', 'matplotlib'}),
], ids=['help', 'solve'])
def test_modules_that_are_not_imported(arguments, absent, tmp_path):
    arguments = [str(written(tmp_path, SCENE)) if a == 'SCENE' else a for a in arguments]
    code = ('import sys\nfrom nf_isac_ros.cli import main\n'
            f'try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n'
            f'print(sorted(set(sys.modules) & {absent!r}), file=sys.stderr)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=60, cwd=ROOT)
    assert done.stderr == '[]\n'
