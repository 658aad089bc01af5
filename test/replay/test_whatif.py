"""What-if: values are read, put where they belong, and refused with what is allowed."""

import pytest
import replay_data as data

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.replay.redesign import settled
from nf_isac_ros.replay.whatif import SWEEPS, parse_sweeps, variants


def settle(deployment):
    return settled(deployment, realtime=False, gap=1e-6)


@pytest.mark.parametrize('text, values', [
    ('min_sinr_db=5:25:5', (5.0, 10.0, 15.0, 20.0, 25.0)),
    ('min_sinr_db=0:1:0.1', tuple(round(0.1 * k, 12) for k in range(11))),
    ('min_sinr_db=20:10:-5,3', (20.0, 15.0, 10.0, 3.0)),
    ('power_w=1,1,2', (1.0, 2.0)),
    ('elements=16x16,48X48', ('16x16', '48x48')),
    ('design=crb-min, zero-forcing', ('crb-min', 'zero-forcing')),
])
def test_values_are_read(text, values):
    (found,) = parse_sweeps([text]).values()
    assert found == values


@pytest.mark.parametrize('texts, words', [
    (['power'], ['power', 'KEY=VALUES', 'min_sinr_db']),
    (['colour=red'], ['colour', 'elements', 'symbols']),
    (['power_w=1', 'power_w=2'], ['power_w', 'twice']),
    (['power_w=one'], ["'one'", 'radiated power']),
    (['power_w=1,,2'], ["''"]),
    (['power_w=nan'], ["'nan'"]),
    (['min_sinr_db=1:2'], ["'1:2'"]),
    (['min_sinr_db=1:5:0'], ["'1:5:0'"]),
    (['min_sinr_db=5:1:1'], ["'5:1:1'"]),
    (['elements=16'], ["'16'", '16x16,48x48']),
    (['elements=0x4'], ["'0x4'"]),
])
def test_values_that_cannot_be_are_named(texts, words):
    with pytest.raises(NfIsacError) as error:
        parse_sweeps(texts)
    for word in words:
        assert word in str(error.value)


def test_every_key_changes_its_value_and_no_other(tmp_path):
    path = data.deployment_file(tmp_path)
    before = settle(load_deployment(path))
    for key, text, value in [
            ('design', 'zero-forcing', lambda d: d.design.name),
            ('min_sinr_db', 7.0, lambda d: d.bodies[0].min_sinr_db),
            ('elements', '4x6', lambda d: f'{len(d.transmit_array) // 6}x6'),
            ('power_w', 3.0, lambda d: d.radio.power),
            ('symbols', 50.0, lambda d: d.radio.symbols),
            ('user_noise_w', 2e-9, lambda d: d.radio.user_noise),
            ('sensing_noise_w', 2e-12, lambda d: d.radio.sensing_noise.power),
            ('gap', 1e-4, lambda d: d.design.gap)]:
        made, = variants(path, {key: (text,)}, settle)
        assert value(made.deployment) == text != value(before)
        assert made.values == {f'sweep_{key}': text}
        assert made.deployment.bodies[1].min_sinr_db is None
        assert made.token != variants(path, {'power_w': (1.0,)}, settle)[0].token
    wide, = variants(path, {'spacing_wavelengths': (1.0,)}, settle)
    spread = [d.transmit_array.positions.max(axis=0) - d.transmit_array.positions.min(axis=0)
              for d in (wide.deployment, before)]
    assert spread[0][0] == pytest.approx(2 * spread[1][0])
    assert set(SWEEPS) == {'design', 'min_sinr_db', 'elements', 'spacing_wavelengths', 'power_w',
                           'symbols', 'user_noise_w', 'sensing_noise_w', 'gap', 'budget_ms'}


def test_all_combinations_are_made(tmp_path):
    made = variants(data.deployment_file(tmp_path),
                    {'design': ('crb-min', 'sinr-max'), 'power_w': (1.0, 2.0, 3.0)}, settle)
    assert [tuple(each.values.values()) for each in made] == [
        (design, power) for design in ('crb-min', 'sinr-max') for power in (1.0, 2.0, 3.0)]
    assert len({each.token for each in made}) == 6


@pytest.mark.parametrize('sweep, words', [
    ({'design': ('crbmin',)}, ['design=crbmin', 'crb-min']),
    ({'power_w': (-1.0,)}, ['power_w=-1', 'radio.power_w']),
    ({'gap': (2.0,)}, ['gap=2', 'design.gap']),
    ({'power_w': tuple(map(float, range(2000)))}, ['2000', '1000']),
])
def test_deployments_that_cannot_be_are_refused(tmp_path, sweep, words):
    with pytest.raises(NfIsacError) as error:
        variants(data.deployment_file(tmp_path), sweep, settle)
    for word in words:
        assert word in str(error.value)


def test_elements_need_a_planar_array(tmp_path):
    text = data.DEPLOYMENT.replace('upa: {elements: [8, 8], spacing_wavelengths: 0.5}',
                                   'ula: {elements: 8, spacing_wavelengths: 0.5}')
    with pytest.raises(NfIsacError, match='upa'):
        variants(data.deployment_file(tmp_path, text), {'elements': ('4x4',)}, settle)


def test_a_swept_requirement_stands_above_that_of_the_messages(tmp_path):
    made, = variants(data.deployment_file(tmp_path), {'min_sinr_db': (3.0,)}, settle)

    class Body:
        def __init__(self, role):
            self.role = role
    target = Body(Role.TARGET)
    assert made.bodies([target]) == [target]
    assert not variants(data.deployment_file(tmp_path), {}, settle)
