"""Every kind of bad scene: exit code 2 and one line with key, value and what is allowed."""

from __future__ import annotations

import json
import os

import pytest
from scene_files import REMOVE, SCENE, changed, solve, written

ARRAY, RADIO = ('transmit_array',), ('radio',)
TARGET, USER = ('targets', 0), ('users', 0)
UPA = (*ARRAY, 'upa')
NOISE = (*RADIO, 'sensing_noise')
EXTENDED = {'id': 'car', 'kind': 'extended', 'model': 'far-field', 'range_m': 10.0,
            'direction_rad': 0.3, 'orientation_rad': 0.3, 'contour': 'vehicle'}
EYE = [[1e-8 * (i == j) for j in range(12)] for i in range(12)]
ZERO = [[0.0] * 12 for _ in range(12)]


def matrix(*changes):
    """Return EYE with changes (row, column, value)."""
    rows = [row.copy() for row in EYE]
    for i, j, value in changes:
        rows[i][j] = value
    return {'covariance': {'real': rows, 'imag': ZERO}}


# What is changed, the key in the message, and what it says of it.
BAD_VALUES = {
    'version-2': ((('version', 2),), 'version: is 2; must be 1'),
    'version-true': ((('version', True),), 'version: is true; must be 1'),
    'version-text': ((('version', '1'),), 'version: is "1"; must be 1'),
    'version-missing': ((('version', REMOVE),), 'version: is missing; must be given'),
    'version-2-with-new-keys': ((('version', 2), ('new', 1)), 'version: is 2; must be 1'),
    'unknown-key': ((('powr', 3),), 'powr: is 3; no such key, must be one of version, '),
    'unknown-key-near': (((*RADIO, 'powr_w', 3),),
                         'radio.powr_w: is 3; no such key, did you mean power_w?'),
    'misspelled-required': (((*RADIO, 'symbols', REMOVE), (*RADIO, 'symbol', 3)),
                            'radio.symbol: is 3; no such key, did you mean symbols?'),
    'unknown-key-deep': (((*TARGET, 'positon_m', [0, 0, 1]),),
                         'targets[0].positon_m: is [0, 0, 1]; no such key, did you mean '
                         'position_m?'),
    'missing': (((*RADIO, 'power_w', REMOVE),), 'radio.power_w: is missing; must be given'),
    'radio-list': ((('radio', [1]),), 'radio: is [1]; must be a mapping of keys to values'),
    'targets-mapping': ((('targets', {'id': 't'}),), 'targets: is {"id": "t"}; must be a list'),
    'text-for-number': (((*RADIO, 'power_w', '0.1'),),
                        'radio.power_w: is "0.1"; must be a number'),
    'bool-for-number': (((*RADIO, 'power_w', True),),
                        'radio.power_w: is true; must be a number'),
    'null-for-number': (((*RADIO, 'power_w', None),),
                        'radio.power_w: is null; must be a number'),
    'nan': (((*RADIO, 'power_w', float('nan')),),
            'radio.power_w: is NaN; must be a finite number'),
    'infinity': (((*TARGET, 'position_m', [0, 0, float('inf')]),),
                 'targets[0].position_m[2]: is Infinity; must be a finite number'),
    'huge-integer': (((*RADIO, 'power_w', 10 ** 400),), 'radio.power_w: is 10000'),
    'negative': (((*RADIO, 'power_w', -1),), 'radio.power_w: is -1; must be positive'),
    'zero': (((*RADIO, 'power_w', 0.0),), 'radio.power_w: is 0.0; must be positive'),
    'tiny': (((*RADIO, 'user_noise_w', 1e-300),),
             'radio.user_noise_w: is 1e-300; must be positive, from 1e-24 to 1e+09'),
    'symbols-zero': (((*RADIO, 'symbols', 0),), 'radio.symbols: is 0; must be from 1 to 1e+12'),
    'symbols-huge': (((*RADIO, 'symbols', 10 ** 400),), 'radio.symbols: is 10000'),
    'symbols-float': (((*RADIO, 'symbols', 100.0),),
                      'radio.symbols: is 100.0; must be a whole number'),
    'symbols-bool': (((*RADIO, 'symbols', True),),
                     'radio.symbols: is true; must be a whole number'),
    'two-wavelengths': ((('carrier_hz', 2.8e10),),
                        'has wavelength_m and carrier_hz; must have exactly one of'),
    'no-wavelength': ((('wavelength_m', REMOVE),),
                      'has none of them; must have exactly one of wavelength_m, carrier_hz'),
    'wavelength-zero': ((('wavelength_m', 0),), 'wavelength_m: is 0; must be positive'),
    'no-array': ((('transmit_array', REMOVE),), 'transmit_array: is missing'),
    'array-word': ((('receive_array', 'transmitt'),),
                   'receive_array: is "transmitt"; must be "transmit" or an array'),
    'array-null': ((('receive_array', None),),
                   'receive_array: is null; must be "transmit" or an array'),
    'array-empty': ((('transmit_array', {}),),
                    'transmit_array: has none of them; must have exactly one of upa, ula'),
    'array-twice': (((*ARRAY, 'ula', {'elements': 3, 'spacing_m': 1}),),
                    'transmit_array: has upa and ula; must have exactly one of upa, ula'),
    'array-without-elements': ((('transmit_array', {'positions_m': []}),),
                               'transmit_array.positions_m: is []; must have at least 1 item'),
    'array-positions-2d': ((('transmit_array', {'positions_m': [[0, 1]]}),),
                           'transmit_array.positions_m[0]: is [0, 1]; must have at least 3'),
    'elements-zero': (((*UPA, 'elements', [0, 4]),),
                      'transmit_array.upa.elements[0]: is 0; must be from 1 to 65536'),
    'elements-negative': (((*UPA, 'elements', [4, -4]),),
                          'transmit_array.upa.elements[1]: is -4; must be from 1 to 65536'),
    'elements-huge': (((*UPA, 'elements', [100000, 100000]),),
                      'transmit_array.upa.elements[0]: is 100000; must be from 1 to 65536'),
    'elements-product': (((*UPA, 'elements', [257, 256]),),
                         'transmit_array.upa.elements: is [257, 256]; must have a product of at '
                         'most 65536'),
    'elements-one-number': (((*UPA, 'elements', 4),),
                            'transmit_array.upa.elements: is 4; must be a list'),
    'ula-huge': ((('transmit_array', {'ula': {'elements': 65537, 'spacing_m': 1.0}}),),
                 'transmit_array.ula.elements: is 65537; must be from 1 to 65536'),
    'spacing-negative': (((*UPA, 'spacing_m', -0.1),),
                         'transmit_array.upa.spacing_m: is -0.1; must be positive'),
    'spacing-zero': (((*UPA, 'spacing_m', 0),),
                     'transmit_array.upa.spacing_m: is 0; must be positive'),
    'spacing-twice': (((*UPA, 'spacing_wavelengths', 0.5),),
                      'transmit_array.upa: has spacing_m and spacing_wavelengths; must have '
                      'exactly one'),
    'spacing-missing': (((*UPA, 'spacing_m', REMOVE),),
                        'transmit_array.upa: has none of them; must have exactly one of '
                        'spacing_m, spacing_wavelengths'),
    'quaternion': (((*ARRAY, 'orientation_xyzw', [0, 0, 0, 2]),),
                   'transmit_array.orientation_xyzw: is [0, 0, 0, 2]; must have norm 1, not 2'),
    'quaternion-in-pose': (((*ARRAY, 'pose', {'orientation_xyzw': [0, 0, 0, 0]}),),
                           'transmit_array.pose.orientation_xyzw: is [0, 0, 0, 0]; must have '
                           'norm 1'),
    'pose-twice': (((*ARRAY, 'pose', {}), (*ARRAY, 'position_m', [0, 0, 0])),
                   'transmit_array: has a pose and a position_m'),
    'panels-none': ((('transmit_array', {'panels': []}),),
                    'transmit_array.panels: is []; must have at least 1 item'),
    'panels-in-panels': ((('transmit_array', {'panels': [{'panels': []}]}),),
                         'transmit_array.panels[0].panels: is []; no such key'),
    'panels-and-upa': (((*ARRAY, 'panels', [{'ula': {'elements': 2, 'spacing_m': 1}}]),),
                       'transmit_array: has upa and panels; must have exactly one of upa, ula'),
    'panel-without-elements': ((('transmit_array', {'panels': [{'position_m': [0, 0, 0]}]}),),
                               'transmit_array.panels[0]: has none of them; must have exactly '
                               'one of upa, ula, positions_m, csv'),
    'panel-csv': ((('transmit_array', {'panels': [{'csv': 'nowhere.csv'}]}),),
                  'transmit_array.panels[0].csv: cannot read '),
    'panels-huge': ((('transmit_array', {'panels': 2 * [
        {'ula': {'elements': 40000, 'spacing_m': 1.0}}]}),),
        'transmit_array.panels: have 80000 elements; must have at most 65536'),
    'covariance-shape': (((*TARGET, 'position_covariance_m2', [[1, 0], [0, 1]]),),
                         'targets[0].position_covariance_m2[0]: is [1, 0]; must have at least 3'),
    'covariance-skew': (((*TARGET, 'position_covariance_m2', [[1, 1, 0], [0, 1, 0], [0, 0, 1]]),),
                        'targets[0].position_covariance_m2: is [[1, 1, 0], [0, 1, 0], [0, 0, 1]]; '
                        'must be symmetric'),
    'covariance-negative': (((*TARGET, 'position_covariance_m2',
                              [[1, 0, 0], [0, -1, 0], [0, 0, 1]]),),
                            'targets[0].position_covariance_m2: is [[1, 0, 0], [0, -1, 0], '
                            '[0, 0, 1]]; must be positive semidefinite; has the eigenvalue -1'),
    'weights-two': (((*TARGET, 'weights', [1, 1]),),
                    'targets[0].weights: is [1, 1]; must have at least 3 items'),
    'weights-zero': (((*TARGET, 'weights', [1, 0, 1]),),
                     'targets[0].weights[1]: is 0; must be positive'),
    'position-far': (((*TARGET, 'position_m', [0, 0, 1e300]),),
                     'targets[0].position_m[2]: is 1e+300; must be from -1e+09 to 1e+09'),
    'position-short': (((*TARGET, 'position_m', [0, 1]),),
                       'targets[0].position_m: is [0, 1]; must have at least 3 items'),
    'target-kind': (((*TARGET, 'kind', 'line'),),
                    'targets[0].kind: is "line"; must be "point" or "extended"'),
    'extended-twice': ((('targets', [SCENE['targets'][0], {**EXTENDED, 'id': 't1'}]),),
                       'targets[1].id: is "t1"; must be unique in targets'),
    'extended-key': ((('targets', [{**EXTENDED, 'reflection': [1, 0]}]),),
                     'targets[0].reflection: is [1, 0]; no such key'),
    'extended-no-contour': ((('targets', [{k: v for k, v in EXTENDED.items()
                                           if k != 'contour'}]),),
                            'targets[0].contour: is missing; must be given'),
    'extended-contour-name': ((('targets', [{**EXTENDED, 'contour': 'vehicel'}]),),
                              'targets[0].contour: is "vehicel"; did you mean vehicle?'),
    'extended-contour-unknown': ((('targets', [{**EXTENDED, 'contour': 'boat'}]),),
                                 'targets[0].contour: is "boat"; must be one of vehicle, uav'),
    'extended-contour-number': ((('targets', [{**EXTENDED, 'contour': 3}]),),
                                'targets[0].contour: is 3; must be the name of a contour, or'),
    'extended-contour-half': ((('targets', [{**EXTENDED, 'contour': {'cosine': [1.0]}}]),),
                              'targets[0].contour.sine: is null; must be given'),
    'extended-contour-crossing': (
        (('targets', [{**EXTENDED, 'contour': {'cosine': [1, 3], 'sine': [1, 3]}}]),),
        'targets[0].contour: has a fault: contour crosses itself near x ='),
    'extended-contour-clockwise': (
        (('targets', [{**EXTENDED, 'contour': {'cosine': [1.0], 'sine': [-1.0]}}]),),
        'targets[0].contour: has a fault: contour sine[0] is -1 m, must be positive'),
    'extended-half-a-pose': ((('targets', [{k: v for k, v in EXTENDED.items()
                                            if k != 'range_m'}]),),
                             'targets[0]: has direction_rad and orientation_rad; must have '
                             'range_m, direction_rad, orientation_rad, or position_m and'),
    'extended-two-poses': ((('targets', [{**EXTENDED, 'position_m': [0, 0, 9]}]),),
                           'targets[0]: has range_m and direction_rad and orientation_rad and '
                           'position_m; must have range_m'),
    'extended-sections': ((('targets', [{**EXTENDED, 'sections': 0}]),),
                          'targets[0].sections: is 0; must be from 1 to 360'),
    'extended-model': ((('targets', [{**EXTENDED, 'model': 'far'}]),),
                       "targets[0].model: is \"far\"; must be 'far-field' or 'near-field'"),
    'extended-motion': ((('targets', [{**EXTENDED, 'motion': 'space'}]),),
                        'targets[0].motion: is "space"; must be "plane" with the model'),
    'extended-path-power': ((('targets', [{**EXTENDED, 'path_power': 0.0}]),),
                            'targets[0].path_power: is 0.0; must be positive'),
    'contours-file': ((('contours', 'none.yaml'),), 'contours: '),
    'options-geometry': ((('options', {'geometry': 'near'}),),
                         "options.geometry: is \"near\"; must be 'far' or 'exact'"),
    'options-coverage': ((('options', {'coverage_ratio': 0.5}),),
                         'options.coverage_ratio: is 0.5; must be from 1 to 1e+09'),
    'options-objective': ((('options', {'objective': 'range'}),),
                          "options.objective: is \"range\"; must be 'direction' or 'centre'"),
    'options-no-weight': ((('options', {'objective': {'range': 0}}),),
                          'options.objective: has no positive weight; must have one for range'),
    'reflection-zero': (((*TARGET, 'reflection', [0.0, 0]),),
                        'targets[0].reflection: is [0.0, 0]; must not be 0'),
    'reflection-number': (((*TARGET, 'reflection', 1.0),),
                          'targets[0].reflection: is 1.0; must be a list'),
    'target-twice': ((('targets', SCENE['targets'] * 2),),
                     'targets[1].id: is "t1"; must be unique in targets'),
    'user-twice': (((*USER, 'id', 'u2'),), 'users[1].id: is "u2"; must be unique in users'),
    'id-empty': (((*USER, 'id', ''),), 'users[0].id: is ""; must have at least 1 character'),
    'id-number': (((*USER, 'id', 7),), 'users[0].id: is 7; must be a string'),
    'too-many-bodies': ((('targets', SCENE['targets'] * 257),), 'targets: is [{"id"'),
    'sinr-missing': (((*USER, 'min_sinr_db', REMOVE),), 'users[0].min_sinr_db: is missing'),
    'sinr-huge': (((*USER, 'min_sinr_db', 4000),),
                  'users[0].min_sinr_db: is 4000; must be from -100 to 100'),
    'user-nowhere': (((*USER, 'position_m', REMOVE),),
                     'users[0]: has none of them; must have exactly one of position_m, channel'),
    'user-twice-known': (((*USER, 'channel', {'real': [1.0] * 16, 'imag': [0] * 16}),),
                         'users[0]: has position_m and channel; must have exactly one'),
    'channel-size': (((*USER, 'position_m', REMOVE),
                      (*USER, 'channel', {'real': [1, 2], 'imag': [0, 0]})),
                     'users[0].channel: has 2 entries; must have 16'),
    'channel-lengths': (((*USER, 'position_m', REMOVE),
                         (*USER, 'channel', {'real': [1] * 16, 'imag': [0] * 15})),
                        'users[0].channel: has 16 entries in real and 15 in imag; must have as'),
    'channel-zero': (((*USER, 'position_m', REMOVE),
                      (*USER, 'channel', {'real': [0] * 16, 'imag': [0] * 16})),
                     'users[0].channel: has no part above 1e-20; must have one'),
    'scattered-unknown': (((*USER, 'scattered', [{'target': 't2', 'coefficient': [1, 0]}]),),
                          'users[0].scattered[0].target: is "t2"; must be one of t1'),
    'scattered-no-target': ((('targets', []), (*USER, 'scattered', [
        {'target': 't1', 'coefficient': [1, 0]}])),
        'users[0].scattered[0].target: is "t1"; must be the id of a point target'),
    'noise-per-user': (((*RADIO, 'user_noise_w', [1e-8] * 3),),
                       'radio.user_noise_w: is [1e-08, 1e-08, 1e-08]; must be one number, or '
                       'one for each user (2, not 3)'),
    'noise-per-user-text': (((*RADIO, 'user_noise_w', [1e-8, 'x']),),
                            'radio.user_noise_w[1]: is "x"; must be a number'),
    'noise-text': (((*RADIO, 'user_noise_w', 'x'),),
                   'radio.user_noise_w: is "x"; must be a number'),
    'noise-none': (((*NOISE[:1], 'sensing_noise', {}),),
                   'radio.sensing_noise: has none of them; must have exactly one of power_w'),
    'noise-two': (((*NOISE, 'diagonal_w', [1e-8] * 12),),
                  'radio.sensing_noise: has power_w and diagonal_w; must have exactly one'),
    'noise-diagonal-size': (((*NOISE[:1], 'sensing_noise', {'diagonal_w': [1e-8] * 16}),),
                            'radio.sensing_noise.diagonal_w: has 16 entries; must have 12'),
    'noise-diagonal-zero': (((*NOISE[:1], 'sensing_noise', {'diagonal_w': [0.0] * 12}),),
                            'radio.sensing_noise.diagonal_w[0]: is 0.0; must be positive'),
    'noise-not-square': (((*NOISE[:1], 'sensing_noise',
                           {'covariance': {'real': EYE, 'imag': ZERO[:5]}}),),
                         'radio.sensing_noise.covariance: has 12 rows in real, and 5 rows of 12 '
                         'entries in imag; must be two square matrices'),
    'noise-size': (((*NOISE[:1], 'sensing_noise',
                     {'covariance': {'real': [[1.0]], 'imag': [[0.0]]}}),),
                   'radio.sensing_noise.covariance: has 1 rows; must have 12'),
    'noise-empty': (((*NOISE[:1], 'sensing_noise', {'covariance': {'real': [], 'imag': []}}),),
                    'radio.sensing_noise.covariance: has 0 rows; must have 12'),
    'noise-not-hermitian': (((*NOISE[:1], 'sensing_noise', matrix((2, 3, 5e-9))),),
                            'radio.sensing_noise.covariance: has 5e-09+0j in row 2, column 3 '
                            'and 0+0j in row 3, column 2; must be Hermitian'),
    # The 2 x 2 block [[1, 2], [2, 1]] has the eigenvalues 3 and -1.
    'noise-not-definite': (((*NOISE[:1], 'sensing_noise',
                             matrix((0, 1, 2e-8), (1, 0, 2e-8))),),
                           'radio.sensing_noise.covariance: has the eigenvalue -1e-08 W; must '
                           'be positive definite'),
    'nobody': ((('targets', []), ('users', [])), 'targets, users: are both empty; must hold'),
    'target-on-element': (((*TARGET, 'position_m', [0.025, 0.025, 0.0]),),
                          'targets[0].position_m: is [0.025, 0.025, 0.0]; must be at least one '
                          'wavelength (0.01 m) away from every antenna element, not 0 m'),
    'target-on-receive-element': (((*TARGET, 'position_m', [0.0, 0.03, 2.5]),),
                                  'targets[0].position_m: is [0.0, 0.03, 2.5]; must be at least'),
    'user-on-element': (((*USER, 'position_m', [-0.025, 0.025, 0.001]),),
                        'users[0].position_m: is [-0.025, 0.025, 0.001]; must be at least one '
                        'wavelength (0.01 m) away from every antenna element, not 0.001 m'),
    'not-localisable': ((('transmit_array', {'positions_m': [[0, 0, 0]]}),
                         ('receive_array', 'transmit')), "position of 't1' cannot be estimated"),
}


def only_line(captured) -> str:
    """Return the one line on standard error, nothing being on standard output."""
    assert captured.out == ''
    assert captured.err.endswith('\n') and captured.err.count('\n') == 1, captured.err
    assert 'Traceback' not in captured.err
    return captured.err[:-1]


@pytest.mark.parametrize('changes, message', BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_bad_value_is_named_with_its_key_and_what_is_allowed(changes, message, tmp_path, capsys):
    path = written(tmp_path, changed(*changes))
    out = tmp_path / 'out.json'
    assert solve(path, '--out', out) == 2
    line = only_line(capsys.readouterr())
    assert line.startswith(f'nf-isac solve: {path}: {message}')
    assert len(line) < len(str(path)) + 330
    assert not out.exists()


def test_number_of_further_faults_is_told(tmp_path, capsys):
    path = written(tmp_path, changed((*RADIO, 'power_w', '1'), (*TARGET, 'position_m', 'x'),
                                     (*USER, 'id', 3)))
    assert solve(path) == 2
    assert only_line(capsys.readouterr()).endswith('must be a number (and 2 more faults)')


YAML_HEAD = '\n'.join(f'{key}: {json.dumps(value)}' for key, value in SCENE.items()
                      if key != 'wavelength_m') + '\n'
ALIASES = 'a: &a [x, x]\n' + ''.join(
    f'{b}: &{b} [{", ".join(["*" + a] * 9)}]\n' for a, b in zip('abcdefgh', 'bcdefghi'))
BAD_TEXTS = {
    'empty': ('', 'is empty'),
    'blank': (' \n\t\n', 'is empty'),
    'comment': ('# nothing\n', 'holds null; must be a mapping'),
    'binary': (b'\x93NUMPY\x01\x00\xff\xfe', 'is not UTF-8 text'),
    'zeros': (b'\x00' * 64, 'is not YAML: unacceptable character'),
    'number': ('3', 'holds 3; must be a mapping of keys to values'),
    'list': ('[1, 2]', 'holds [1, 2]; must be a mapping of keys to values'),
    'text': ('hello', 'holds "hello"; must be a mapping of keys to values'),
    'broken-json': ('{"version": 1,, }', 'is not JSON (Expecting property name enclosed in '
                    'double quotes: line 1 column 15 (char 14)) and is not YAML'),
    'json-key-twice': ('{"version": 1, "version": 1}', 'key "version" is there twice'),
    'yaml-key-twice': (YAML_HEAD + 'wavelength_m: 1\nwavelength_m: 2\n',
                       'is not YAML: found duplicate key "wavelength_m"'),
    'yaml-tab': ('version: 1\nradio:\n\tpower_w: 1\n', 'is not YAML: found character'),
    'yaml-two-documents': ('version: 1\n---\nversion: 1\n', 'is not YAML: '),
    'yaml-python-object': ('version: !!python/object/apply:os.system [x]\n', 'is not YAML: could'),
    'yaml-bad-tag-value': ('version: !!bool x\n', 'is not YAML: '),
    'yaml-empty-int': ('version: !!int ""\n', 'is not YAML: '),
    'yaml-bomb': (ALIASES, 'is not YAML: alias *a: aliases are not allowed, line 2, column 8'),
    'yaml-loop': ('a: &a [*a]\n', 'is not YAML: alias *a: aliases are not allowed'),
    'yaml-key-list': ('? [1]\n: 2\n', '"[1]": is 2; no such key'),
    'yaml-key-number': ('1: 2\n', '1: is 2; no such key'),
    'yaml-on': (YAML_HEAD + 'wavelength_m: on\n', 'wavelength_m: is "on"; must be a number'),
    'yaml-1.1-on': ('%YAML 1.1\n---\n' + YAML_HEAD + 'wavelength_m: on\n',
                    'wavelength_m: is "on"; must be a number'),
    'yaml-nan': (YAML_HEAD + 'wavelength_m: .nan\n',
                 'wavelength_m: is NaN; must be a finite number'),
    'yaml-inf': (YAML_HEAD + 'wavelength_m: -.inf\n',
                 'wavelength_m: is -Infinity; must be a finite number'),
    'yaml-date': (YAML_HEAD + 'wavelength_m: 2026-01-02\n',
                  'wavelength_m: is "2026-01-02"; must be a number'),
    'json-overflow': ('{"version": 1, "wavelength_m": 1e999}',
                      'wavelength_m: is Infinity; must be a finite number'),
    'json-digits': ('{"version": ' + '1' * 5000 + '}', 'is not JSON ('),
    'json-deep': ('[' * 100_000, 'is nested too deeply'),
    'yaml-deep': ('a: ' + '[' * 10_000, 'is nested too deeply'),
    'yaml-large': ('a: 1  # ' + 'x' * 2 ** 22, 'is not JSON (Expecting value: line 1 column 1 '
                   '(char 0)); YAML must have at most 4 MiB'),
    'newline-in-key': ('{"version": 1, "a\\nb": 3}', '"a\\nb": is 3; no such key'),
    'surrogate': ('{"version": 1, "\\ud800": 3}', '"\\ud800": is 3; no such key'),
}


@pytest.mark.parametrize('name', ['scene.json', 'scene.yaml'])
@pytest.mark.parametrize('text, message', BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_bad_text(text, message, name, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert solve(path) == 2
    assert only_line(capsys.readouterr()).startswith(f'nf-isac solve: {path}: {message}')


def test_file_that_cannot_be_read(tmp_path, capsys):
    missing, folder, locked = tmp_path / 'missing', tmp_path / 'folder', tmp_path / 'locked'
    folder.mkdir()
    locked.write_text('{}')
    locked.chmod(0)
    for path, message in ((missing, 'No such file or directory'), (folder, 'Is a directory'),
                          (locked, 'Permission denied')):
        if path is locked and os.access(locked, os.R_OK):
            continue  # root reads everything
        assert solve(path) == 2
        assert only_line(capsys.readouterr()) == f'nf-isac solve: {path}: {message}'


def test_endless_file(monkeypatch, capsys):
    monkeypatch.setattr('nf_isac_ros.files.parsing.MAX_BYTES', 2 ** 20)
    assert solve('/dev/zero') == 2
    assert only_line(capsys.readouterr()) == (
        'nf-isac solve: /dev/zero: is too large; must have at most 1 MiB')


BAD_TABLES = {
    'missing': (None, 'cannot read {path}: No such file or directory'),
    'empty': ('', 'csv {path}: holds no element'),
    'header-only': ('x,y,z\n', 'csv {path}: holds no element'),
    'two-columns': ('0,0\n', 'csv {path}: line 1 has 2 columns, must be x, y, z'),
    'text': ('0,0,0\n0,a,0\n', "csv {path}: line 2 is ['0', 'a', '0'], must be three numbers"),
    'nan': ('0,0,0\n0,nan,0\n', 'element 1 is [0.0, nan, 0.0]; must be three numbers from'),
    'infinite': ('0,inf,0\n', 'element 0 is [0.0, inf, 0.0]; must be three numbers from'),
    'binary': (b'\xff\xfe0,0,0', 'csv {path}: is no CSV text'),
    'long-field': ('0,0,' + '0' * 200_000, 'csv {path}: is no CSV text'),
    'too-many': ('0,0,0\n' * 65537, 'has 65537 elements; must have at most 65536'),
}


@pytest.mark.parametrize('text, message', BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_bad_csv(text, message, tmp_path, capsys):
    table = tmp_path / 'elements.csv'
    if text is not None:
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
    path = written(tmp_path, changed(('transmit_array', {'csv': 'elements.csv'})))
    assert solve(path) == 2
    assert only_line(capsys.readouterr()).startswith(
        f'nf-isac solve: {path}: transmit_array.csv: {message.format(path=table)}')


@pytest.mark.parametrize('table', ['.', '/dev/zero'])
def test_csv_that_is_no_file(table, tmp_path, capsys):
    path = written(tmp_path, changed(('receive_array', {'csv': table})))
    assert solve(path) == 2
    line = only_line(capsys.readouterr())
    assert 'receive_array.csv: csv ' in line and 'must be a file of at most 16 MiB' in line
