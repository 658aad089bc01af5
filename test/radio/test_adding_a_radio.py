"""The radio of docs/adding_a_radio.md, as it stands there, behind the driver's own machinery."""

from pathlib import Path
import re
import sys
import threading
import time
from types import ModuleType

import numpy as np
import pytest
from radio_sites import ARRAY, RADIO, random_beams
from ruamel.yaml import YAML

from nf_isac_ros.radio.backends import make_backend
from nf_isac_ros.radio.base import BackendError
from nf_isac_ros.radio.feed import BackendFeed
from nf_isac_ros.radio.options import read_site

PAGE = Path(__file__).parents[2] / 'docs/adding_a_radio.md'


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.S)


class Registers:
    """A bus that notes what it is told, and may hang."""

    def __init__(self, name):
        self.name, self.shadow, self.active = name, {}, {}
        self.lines, self.hot, self.strobes, self.closed = {}, False, 0, False
        self.slow = threading.Event()
        self.slow.set()

    def write(self, register, values):
        self.slow.wait(10)
        self.shadow[register] = np.array(values)

    def strobe(self):
        self.strobes += 1
        self.active = dict(self.shadow)

    def line(self, name, on):
        self.lines[name] = on

    def close(self):
        self.closed = True


@pytest.fixture
def radio(tmp_path, monkeypatch):
    module = ModuleType('my_lab_array')
    module.open_bus = Registers
    exec(compile(blocks('python')[0], str(PAGE), 'exec'), module.__dict__)
    monkeypatch.setitem(sys.modules, 'my_lab_array', module)
    section = YAML(typ='safe').load(blocks('yaml')[0])['radio_backend']
    gains = np.exp(1j * np.linspace(0, 3, 12))
    rows = ''.join(f'{n},{g.real},{g.imag}\n' for n, g in enumerate(gains))
    (tmp_path / section['front_end']['calibration']).write_text(
        f'# epoch: 4\nelement,re,im\n{rows}')
    site = read_site(ARRAY, ARRAY, RADIO, section, tmp_path)
    return make_backend('my_lab_array:PhasedArray', site, section)


def test_boots_mute(radio):
    assert radio.registers.name == 'bus0'
    assert radio.registers.lines == {'amplifiers': False}


def test_codes_in_the_registers_radiate_the_beams(radio):
    front_end = radio.site.front_end
    beams = front_end.apply(random_beams())
    radio.transmit(beams, ('u1',))
    told = radio.registers.active
    weights = (told['amplitude'] * 10 ** (-told['gain'] / 20)
               * np.exp(2j * np.pi * told['phase'] / 64)) * ~told['off']
    assert weights * front_end.calibration.gains[:, None] == pytest.approx(beams, rel=1e-4)
    assert radio.registers.lines['amplifiers']
    assert radio.diagnostics() == {'updates': 1}


def test_mute_does_not_wait_for_the_bus(radio):
    feed = BackendFeed(radio, 10 ** 10)
    assert feed.wait_silent(5)
    radio.registers.slow.clear()
    feed.emit(random_beams(), ('u1',), None)
    time.sleep(0.05)
    assert 'transmit' in feed.calls, 'transmit hangs in the bus'
    radio.registers.lines['amplifiers'] = True
    feed.silence()
    deadline = time.monotonic() + 5
    while radio.registers.lines['amplifiers'] and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not radio.registers.lines['amplifiers']
    radio.registers.slow.set()
    assert feed.wait_silent(5)
    assert not radio.registers.lines['amplifiers'], 'the late transmit was muted once more'
    feed.close(5)


def test_troubles_are_told(radio):
    assert radio.fault() == ''
    radio.registers.hot = True
    assert radio.fault() == 'over temperature'
    with pytest.raises(BackendError, match='9 beams, must be at most 8'):
        radio.transmit(random_beams(columns=9), ())
    radio.cut_off()
    assert radio.registers.lines['supply'] is False
    radio.close()
    assert radio.registers.closed


def test_front_end_must_be_that_of_the_chips(radio):
    with pytest.raises(BackendError, match='has phase_bits 0 and gain_bits 0; must have 6 and 5'):
        make_backend('my_lab_array:PhasedArray', read_site(ARRAY, ARRAY, RADIO, {}, Path()), {})
