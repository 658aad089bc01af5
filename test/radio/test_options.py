"""The section radio_backend of a deployment: what it makes, and what is wrong with it."""

from pathlib import Path
import re

import numpy as np
import pytest
from radio_sites import ARRAY, RADIO
from ruamel.yaml import YAML

from nf_isac_ros.radio.backends import BACKENDS, make_backend
from nf_isac_ros.radio.base import Backend
from nf_isac_ros.radio.calibration import CalibrationError
from nf_isac_ros.radio.front_end import FrontEndError
from nf_isac_ros.radio.options import (
    FrontEndOptions,
    OptionError,
    Options,
    SampleOptions,
    Site,
    read_options,
    read_site,
)
from nf_isac_ros.radio.simulated import SimulatedBackend


class DeafOptions(Options):
    gain: float = 1.0


class DeafRadio(Backend):
    """One that another package might bring."""

    OPTIONS = DeafOptions

    def __init__(self, site, options):
        self.site, self.options = site, options

    def transmit(self, beams, user_ids, update=None):
        pass

    def mute(self):
        pass


def site(section, folder=Path()):
    return read_site(ARRAY, ARRAY, RADIO, section, folder)


def test_nothing_said_is_an_ideal_simulated_radio():
    made = site({})
    assert made.front_end.transparent
    assert made.samples == SampleOptions()
    assert isinstance(make_backend('simulated', made, {}), SimulatedBackend)


def test_front_end_and_calibration_are_read(tmp_path):
    np.savez(tmp_path / 'cal.npz', gains=np.full(12, 0.5j), epoch=9)
    made = site({'front_end': {'calibration': 'cal.npz', 'phase_bits': 6, 'gain_bits': 4,
                               'gain_range_db': 15.0}}, tmp_path)
    assert made.front_end.calibration.epoch == 9
    assert made.front_end.quantisation.phase_bits == 6
    assert made.front_end.quantisation.gain_step_db == pytest.approx(1.0)


@pytest.mark.parametrize(('section', 'error', 'message'), [
    ({'front_end': {'phase_bits': 17}}, OptionError,
     r'radio_backend.front_end.phase_bits: is 17; must be from 0 to 16'),
    ({'front_end': {'phase_bits': 5.0}}, OptionError, 'front_end.phase_bits: is 5.0; must be a w'),
    ({'front_end': {'bits': 5}}, OptionError, 'front_end.bits: is 5; no such key'),
    ({'front_end': {'iq_bits': 8, 'gain_bits': 3}}, FrontEndError, 'iq_bits is 8'),
    ({'front_end': {'calibration': 'none.csv'}}, CalibrationError, 'none.csv: No such file'),
    ({'front_end': 3}, OptionError, 'radio_backend.front_end: is 3, must be a mapping'),
    ({'samples': {'rows': [0, 12]}}, OptionError, 'samples.rows: is 12, must be .* 0 to 11'),
    ({'samples': {'rows': [3, 3]}}, OptionError, 'samples.rows: is .*must be different'),
    ({'samples': {'rows': 'all'}}, OptionError, "samples.rows: is .all.; must be 'elements' or"),
    ({'samples': {'block_length': 20_000}}, OptionError,
     'samples.block_length: is 20000; must be at most 10000: 10 ms'),
    ({'samples': {'sample_rate_hz': float('inf')}}, OptionError, 'samples.sample_rate_hz: is'),
    ({'samples': {'constellation': 'bpsk'}}, OptionError, 'samples.constellation: is "bpsk"'),
], ids=range(12))
def test_wrong_values_are_named(section, error, message):
    with pytest.raises(error, match=message):
        site(section)


@pytest.mark.parametrize(('name', 'section', 'message'), [
    ('sigm', {}, "backend is 'sigm', did you mean sigmf"),
    ('usrp', {}, "backend is 'usrp', must be one of simulated, zmq, sigmf.*package.module:Class"),
    ('nowhere:Radio', {}, "backend is 'nowhere:Radio', cannot be imported"),
    ('test_options:Radio', {}, 'cannot be imported'),
    ('radio_sites:site', {}, 'must be a class derived from Backend'),
    ('simulated', {'simulatd': {}}, 'radio_backend.simulatd: no such key, did you mean simulated'),
    ('simulated', {'simulated': {'doppler': 1}}, 'simulated.doppler: is 1; must be a'),
    ('test_options:DeafRadio', {'DeafRadio': {'gain': 'x'}}, 'DeafRadio.gain: is "x"'),
])
def test_wrong_backends_are_named(name, section, message):
    with pytest.raises(OptionError, match=message):
        make_backend(name, Site.ideal(ARRAY, RADIO), section)


def test_backend_of_another_package_is_made_with_its_options():
    radio = make_backend('test_options:DeafRadio', Site.ideal(ARRAY, RADIO),
                         {'DeafRadio': {'gain': 2.5}, 'zmq': {'address': 'tcp://*:1'}})
    assert type(radio).__name__ == 'DeafRadio'
    assert radio.options.gain == 2.5
    assert radio.fault() == '' and radio.diagnostics() == {}
    assert radio.receptions({}) == {} and radio.echoes([], np.random.default_rng(1)) is None


def test_every_backend_has_options_with_defaults():
    for kind in BACKENDS.values():
        assert kind.OPTIONS() is not None


DEPLOYMENT = Path(__file__).parents[2] / 'docs/deployment.md'


def test_example_of_the_documentation_is_a_radio():
    block, = re.findall(r'```yaml\n(.*?)```', DEPLOYMENT.read_text(encoding='utf-8'), re.S)
    section = YAML(typ='safe').load(block)['radio_backend']
    made = site(section)
    assert made.front_end.quantisation.gain_step_db == pytest.approx(1.0)
    for name, kind in BACKENDS.items():
        assert read_options(kind.OPTIONS, section.get(name, {}), name) is not None


def test_every_option_is_explained():
    words = set(re.findall(r'\w+', ' '.join(
        re.findall(r'`([^`\n]+)`', DEPLOYMENT.read_text(encoding='utf-8')))))
    models = [FrontEndOptions, SampleOptions, *(kind.OPTIONS for kind in BACKENDS.values())]
    assert {key for model in models for key in model.model_fields} <= words
