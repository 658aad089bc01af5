"""What beams radiate, against sums and directions; scaling down to a cap."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from radio_commands import ARRAY, CAPS, LIMITS, NOBODY, WAVELENGTH, command

from nf_isac_ros.radio.caps import Caps, Radiation, scaled
from nf_isac_ros.radio.checks import BeamError, check_content
from nf_isac_ros.radio.command import eirp_bound, element_powers, total_power
from nf_isac_ros.radio.emission import Shaper


@given(st.lists(st.complex_numbers(max_magnitude=10), min_size=6, max_size=6),
       st.integers(1, 3))
def test_eirp_bound_holds_in_every_direction(values, columns):
    rng = np.random.default_rng(3)
    beams = (np.array(values)[:, None] * rng.standard_normal(columns)).astype(np.complex64)
    directions = rng.standard_normal((50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    steering = np.exp(2j * np.pi / WAVELENGTH * ARRAY.elements @ directions.T)
    seen = (np.abs(steering.T @ beams) ** 2).sum(axis=1)
    assert seen.max() <= eirp_bound(beams) * (1 + 1e-5)
    assert total_power(beams) == pytest.approx(np.linalg.norm(beams.astype(complex)) ** 2)
    assert element_powers(beams).shape == (6,)


def test_eirp_bound_is_met_by_one_beam_in_phase():
    beam = np.full((6, 1), 0.5, np.complex64)
    assert eirp_bound(beam) == pytest.approx((6 * 0.5) ** 2)


def test_eirp_bound_knows_that_orthogonal_beams_point_elsewhere():
    # Columns of a DFT: each beam of 1/3 W has its maximum, 6 times 1/3 W, where the others have
    # a null; magnitudes alone would give three times as much.
    n = np.arange(6)
    beams = np.exp(2j * np.pi * np.outer(n, n[:3]) / 6) / np.sqrt(18)
    assert total_power(beams.astype(np.complex64)) == pytest.approx(1.0)
    assert eirp_bound(beams.astype(np.complex64)) == pytest.approx(2.0, rel=1e-6)


def test_radiation_of_good_beams():
    found = Radiation.of(check_content(command(radiated=0.9), LIMITS).beams)
    assert found.power == pytest.approx(0.9, rel=1e-6)
    assert found.max_element_power == pytest.approx(0.9 / 6, rel=1e-6)
    # Three beams of six in-phase elements, each weight of the power 0.9 / 18.
    assert found.eirp == pytest.approx(3 * 36 * 0.9 / 18, rel=1e-6)


@pytest.mark.parametrize(('caps', 'names'), [
    (Caps(), ()),
    (Caps(power=1.1, element_power=1 / 6.1, eirp=6.1), ('element-power',)),
    (Caps(power=0.999, power_margin=2e-3), ()),
    (Caps(power=0.9, element_power=0.1, eirp=2.0), ('eirp', 'element-power', 'total-power')),
], ids=['none', 'element', 'margin', 'all'])
def test_the_tightest_cap_comes_first_and_all_are_met(caps, names):
    emission = Shaper(caps, NOBODY).shape(check_content(command(), LIMITS))
    assert emission.limited_by == names
    assert caps.exceeded(emission.radiation) == {}
    assert emission.power == pytest.approx(emission.scale, rel=1e-4)
    if not names:
        assert emission.scale == 1.0


def test_no_number_exceeds_every_cap():
    nan = Radiation(np.nan, np.nan, np.nan)
    assert set(Caps(1.0, 1.0, 1.0).exceeded(nan)) == {'total-power', 'element-power', 'eirp'}


def test_caps_hold_for_what_the_front_end_makes():
    # One element radiates four times the power that was asked of it.
    def front_end(beams):
        out = beams.copy()
        out[2] *= 2
        return out

    shaper = Shaper(replace(CAPS, element_power=0.2), NOBODY, front_end)
    emission = shaper.shape(check_content(command(radiated=0.9), LIMITS))
    assert emission.limited_by == ('element-power', 'total-power')
    assert emission.max_element_power == pytest.approx(0.2, rel=1e-4)
    assert emission.scale == pytest.approx(0.2 / 0.6, rel=1e-4)
    assert total_power(emission.beams) == pytest.approx(emission.power)


@pytest.mark.parametrize(('front_end', 'reason'), [
    (lambda beams: beams[:, :1], 'bad-shape'),
    (lambda beams: beams * np.complex64(np.nan), 'not-finite'),
    (lambda beams: beams * np.complex64(np.inf), 'not-finite'),
])
def test_front_ends_are_not_believed_either(front_end, reason):
    with np.errstate(all='ignore'), pytest.raises(BeamError) as error:
        Shaper(CAPS, NOBODY, front_end).shape(check_content(command(), LIMITS))
    assert error.value.reason == reason


def test_scaling_keeps_the_pattern():
    beams = check_content(command(), LIMITS).beams
    assert scaled(beams, 1.0) is beams
    assert scaled(beams, 0.25) == pytest.approx(beams / 2)
    assert scaled(beams, 0.25).dtype == np.complex64
