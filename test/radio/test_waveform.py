"""Symbols and samples: continuous, reproducible, and exactly W S."""

import numpy as np
import pytest

from nf_isac_ros.radio.base import BackendError
from nf_isac_ros.radio.calibration import Calibration
from nf_isac_ros.radio.front_end import FrontEnd, Quantisation
from nf_isac_ros.radio.waveform import OnAir, SymbolSource, Waveform

ORDERS = {'qpsk': 4, '16qam': 16, '64qam': 64, '256qam': 256}


def beams(n=6, b=3, seed=1):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, b)) + 1j * rng.standard_normal((n, b))).astype(np.complex64)


@pytest.mark.parametrize('name', [*ORDERS, 'gaussian'])
def test_symbols_are_white_and_of_unit_power(name):
    symbols = SymbolSource(name, 5).block(['user a', 'user b', 'sensing 0'], 3, 40_000)
    assert symbols.dtype == np.complex64
    covariance = symbols.astype(complex) @ symbols.conj().T / 40_000
    assert covariance == pytest.approx(np.eye(3), abs=0.03)
    pseudo = symbols.astype(complex) @ symbols.T / 40_000
    assert pseudo == pytest.approx(np.zeros((3, 3)), abs=0.03)


@pytest.mark.parametrize(('name', 'order'), ORDERS.items())
def test_constellations_are_square_grids(name, order):
    points = np.unique(SymbolSource(name, 1).block(['user a'], 0, 20_000))
    assert len(points) == order
    # Unit power of a square grid of spacing d: d^2 = 6 / (order - 1).
    steps = np.diff(np.unique(points.real))
    assert steps == pytest.approx(np.full(len(steps), np.sqrt(6 / (order - 1))), rel=1e-5)


def test_a_stream_depends_on_its_name_and_block_only():
    source = SymbolSource('qpsk', 7)
    both = source.block(['user a', 'user b'], 11, 100)
    assert np.array_equal(source.block(['user b', 'user a'], 11, 100), both[::-1])
    assert np.array_equal(source.block(['user b'], 11, 100), both[1:])
    assert not np.array_equal(source.block(['user a'], 12, 100)[0], both[0])
    assert not np.array_equal(SymbolSource('qpsk', 8).block(['user a'], 11, 100)[0], both[0])
    assert np.array_equal(SymbolSource('qpsk', 7).block(['user a'], 11, 100)[0], both[0])


def test_users_keep_their_streams_when_the_order_changes():
    waveform = Waveform(FrontEnd.ideal(6), SymbolSource(), 50, [0])
    before = waveform.symbols(OnAir(beams(), ('a', 'b')), 4)
    after = waveform.symbols(OnAir(beams(b=2), ('b',)), 4)
    assert np.array_equal(after[0], before[1])
    assert np.array_equal(after[1], before[2])


def test_user_with_the_name_of_a_sensing_stream_has_one_of_its_own():
    streams = OnAir(beams(b=2), ('0',)).streams
    assert len(set(streams)) == 2
    assert OnAir(beams(b=2), ('sensing 0',)).streams != streams


@pytest.mark.parametrize('rows', [[4, 0, 2], list(range(6))], ids=['some', 'all'])
def test_samples_are_what_the_elements_are_fed_with(rows):
    rng = np.random.default_rng(3)
    gains = np.exp(1j * rng.uniform(0, 6, 6)) * rng.uniform(0.5, 2, 6)
    front_end = FrontEnd(Calibration(gains, 1), Quantisation(phase_bits=3, gain_bits=3))
    waveform = Waveform(front_end, SymbolSource('gaussian', 2), 80, rows)
    asked = beams()
    radiated = front_end.apply(asked)
    block = waveform.block(waveform.feed(OnAir(radiated, ('a',))), 9)
    symbols = SymbolSource('gaussian', 2).block(['user a', 'sensing 0', 'sensing 1'], 9, 80)
    expected = (radiated / front_end.calibration.gains[:, None])[rows] @ symbols
    assert block.samples.shape == (80, len(rows))
    assert block.samples.dtype == np.complex64
    assert block.samples.T == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_rows_can_be_the_streams():
    front_end = FrontEnd(Calibration.identity(6), Quantisation(phase_bits=3, gain_bits=3))
    waveform = Waveform(front_end, SymbolSource(), 40, None, streams=5)
    on_air = OnAir(front_end.apply(beams()), ('a', 'b'))
    told = front_end.settings(on_air.beams)
    block = waveform.block(waveform.feed(on_air), 0)
    assert block.samples.shape == (40, 5)
    assert not block.samples[:, 3:].any()
    # What the phase shifters and attenuators make of the streams is what the elements need.
    codes = 10 ** (-told.gain * 31.5 / 7 / 20) * np.exp(2j * np.pi * told.phase / 8)
    elements = codes @ block.samples[:, :3].T
    assert elements == pytest.approx(on_air.beams @ waveform.symbols(on_air, 0), rel=1e-4,
                                     abs=1e-4)


def test_too_many_streams_are_refused():
    waveform = Waveform(FrontEnd.ideal(6), SymbolSource(), 40, None, streams=2)
    with pytest.raises(BackendError, match='3 beams, must be at most 2'):
        waveform.feed(OnAir(beams(), ()))


def test_silence_is_zeros():
    block = Waveform(FrontEnd.ideal(6), SymbolSource(), 40, [1, 2]).block(None, 3)
    assert block.samples.shape == (40, 2) and not block.samples.any()
    assert block.on_air is None and block.index == 3


def test_power_of_what_is_on_the_air():
    assert OnAir(beams(), ()).power == pytest.approx(np.linalg.norm(beams()) ** 2, rel=1e-6)
