"""Quantisation against what the theory of it says, and that nothing gets stronger by it."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from nf_isac_ros.radio.calibration import Calibration
from nf_isac_ros.radio.front_end import (
    POWER_ROUNDING,
    FrontEnd,
    FrontEndError,
    Quantisation,
)

KINDS = {
    'phase': Quantisation(phase_bits=4),
    'one-bit': Quantisation(phase_bits=1, gain_bits=1, gain_range_db=0),
    'phase-gain': Quantisation(phase_bits=6, gain_bits=5),
    'gain': Quantisation(gain_bits=6),
    'iq': Quantisation(iq_bits=8),
    'exact': Quantisation(),
}


def random_beams(rng, n, b):
    return (rng.standard_normal((n, b)) + 1j * rng.standard_normal((n, b))).astype(np.complex64)


def random_calibration(rng, n, dead=()):
    gains = 10 ** (rng.uniform(-3, 3, n) / 20) * np.exp(2j * np.pi * rng.uniform(size=n))
    gains[list(dead)] = 0
    return Calibration(gains, epoch=3)


def powers(beams):
    return (np.abs(beams.astype(complex)) ** 2).sum(axis=0)


@pytest.mark.parametrize(('bits', 'loss_db'), [(1, 3.92), (2, 0.91), (3, 0.22), (4, 0.057)])
def test_phase_bits_cost_the_focus_what_theory_says(bits, loss_db):
    # Phase errors are uniform over one step: the coherent sum shrinks by sin(x) / x, x = pi / 2^b.
    rng = np.random.default_rng(1)
    n = 200_000
    focus = np.exp(2j * np.pi * rng.uniform(size=(n, 1))).astype(np.complex64)
    emitted = FrontEnd(Calibration.identity(n), Quantisation(phase_bits=bits)).apply(focus)
    gain = abs(np.vdot(focus, emitted)) ** 2 / n ** 2
    assert -10 * np.log10(gain) == pytest.approx(loss_db, abs=0.02)
    assert gain == pytest.approx(np.sinc(1 / 2 ** bits) ** 2, rel=0.01)


@pytest.mark.parametrize('bits', [6, 8, 10])
def test_error_of_digital_weights_is_a_twelfth_of_a_square_step(bits):
    rng = np.random.default_rng(2)
    beams = (rng.uniform(-1, 1, (50_000, 2)) + 1j * rng.uniform(-1, 1, (50_000, 2))).astype(
        np.complex64)
    emitted = FrontEnd(Calibration.identity(50_000), Quantisation(iq_bits=bits)).apply(beams)
    step = 1 / (2 ** (bits - 1) - 1)
    assert np.mean(np.abs(emitted - beams) ** 2) == pytest.approx(2 * step ** 2 / 12, rel=0.02)


def test_error_of_attenuators_is_uniform_over_a_step_in_decibels():
    rng = np.random.default_rng(3)
    size = 10 ** (-rng.uniform(0, 20, (100_000, 1)) / 20)
    size[0] = 1
    front_end = FrontEnd(Calibration.identity(len(size)),
                         Quantisation(gain_bits=5, gain_range_db=31.0))
    codes = front_end.settings(size.astype(np.complex64))
    error_db = 20 * np.log10(size) + codes.gain
    assert np.abs(error_db).max() <= 0.5 + 1e-4
    assert np.std(error_db) == pytest.approx(1 / np.sqrt(12), rel=0.01)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('calibrated', [False, True], ids=['ideal', 'calibrated'])
def test_each_beam_keeps_its_power(kind, calibrated):
    rng = np.random.default_rng(4)
    beams = random_beams(rng, 300, 5) * np.float32([1, 1e-3, 30, 1e-6, 0])
    calibration = (random_calibration(rng, 300) if calibrated else Calibration.identity(300))
    emitted = FrontEnd(calibration, KINDS[kind]).apply(beams)
    assert emitted.dtype == np.complex64
    assert powers(emitted) == pytest.approx(powers(beams), rel=POWER_ROUNDING, abs=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2 ** 32), st.sampled_from(sorted(KINDS)), st.booleans())
def test_what_was_radiated_can_be_set_again(seed, kind, calibrated):
    rng = np.random.default_rng(seed)
    beams = random_beams(rng, 40, 3) * np.float32(10.0) ** rng.integers(-4, 2, (40, 1))
    calibration = (random_calibration(rng, 40, dead=[7]) if calibrated
                   else Calibration.identity(40))
    front_end = FrontEnd(calibration, KINDS[kind])
    once = front_end.apply(beams.astype(np.complex64))
    again = front_end.apply(once)
    assert np.abs(again - once).max() <= 1e-5 * np.abs(once).max()


def test_calibration_alone_is_undone_exactly():
    rng = np.random.default_rng(5)
    beams = random_beams(rng, 100, 3)
    front_end = FrontEnd(random_calibration(rng, 100))
    fed = front_end.settings(beams).weights
    assert fed == pytest.approx(beams / front_end.calibration.gains[:, None], rel=1e-5)
    assert front_end.apply(beams) == pytest.approx(beams, rel=1e-5)


def test_ideal_front_end_copies_nothing():
    beams = random_beams(np.random.default_rng(6), 10, 2)
    assert FrontEnd.ideal(10).apply(beams) is beams


@pytest.mark.parametrize('kind', KINDS)
def test_dead_elements_are_fed_nothing(kind):
    rng = np.random.default_rng(7)
    beams = random_beams(rng, 50, 2)
    front_end = FrontEnd(random_calibration(rng, 50, dead=[0, 9]), KINDS[kind])
    fed = front_end.settings(beams).weights
    assert not fed[[0, 9]].any()
    alive = np.delete(beams, [0, 9], axis=0)
    assert powers(front_end.apply(beams)) == pytest.approx(powers(alive), rel=POWER_ROUNDING)


def test_codes_say_what_the_weights_are():
    rng = np.random.default_rng(8)
    beams = random_beams(rng, 64, 3)
    analog = FrontEnd(Calibration.identity(64), Quantisation(phase_bits=5, gain_bits=4,
                                                             gain_range_db=15.0))
    told = analog.settings(beams)
    assert told.phase.min() >= 0 and told.phase.max() < 32
    assert told.gain.min() == 0 and told.gain.max() <= 15
    written = (told.amplitudes * 10 ** (-told.gain / 20)
               * np.exp(2j * np.pi * told.phase / 32))
    assert told.weights == pytest.approx(written, rel=1e-5)

    told = FrontEnd(Calibration.identity(64), Quantisation(iq_bits=6)).settings(beams)
    assert np.maximum(np.abs(told.in_phase).max(axis=0),
                      np.abs(told.quadrature).max(axis=0)).tolist() == [31] * 3
    written = told.amplitudes * (told.in_phase + 1j * told.quadrature) / 31
    assert told.weights == pytest.approx(written, rel=1e-5)


def test_a_weight_of_zero_is_switched_off():
    beams = np.array([[1], [0], [1e-9]], dtype=np.complex64)
    emitted = FrontEnd(Calibration.identity(3), Quantisation(gain_bits=4)).apply(beams)
    assert emitted[1] == 0
    # Too weak for the attenuator: the lowest gain.
    assert 20 * np.log10(abs(emitted[2] / emitted[0])) == pytest.approx(-31.5)


@pytest.mark.parametrize(('wrong', 'message'), [
    ({'phase_bits': 17}, 'phase_bits is 17, must be 0 .* or from 1 to 16'),
    ({'phase_bits': -1}, 'phase_bits is -1'),
    ({'iq_bits': 1}, 'iq_bits is 1, must be 0 .* or from 2 to 16'),
    ({'gain_range_db': -1.0}, 'gain_range_db is -1.0, must be from 0 to 120 dB'),
    ({'gain_range_db': float('nan')}, 'gain_range_db is nan'),
    ({'iq_bits': 8, 'phase_bits': 4}, 'iq_bits is 8 with phase_bits 4'),
], ids=str)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(FrontEndError, match=message):
        Quantisation(**wrong)


def test_wrong_number_of_elements_is_named():
    with pytest.raises(FrontEndError, match=r'shape \(4, 2\), must be \(5, B\)'):
        FrontEnd.ideal(5).apply(np.zeros((4, 2), np.complex64))
