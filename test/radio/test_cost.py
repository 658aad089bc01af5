"""What quantisation costs, against formulas that were written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from radio_sites import ARRAY, RADIO, WAVELENGTH

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.scene import Radio, SensingNoise
from nf_isac_ros.radio.base import Scatterer
from nf_isac_ros.radio.calibration import Calibration
from nf_isac_ros.radio.cost import NOTHING_KNOWN, performances
from nf_isac_ros.radio.front_end import FrontEnd, Quantisation
from nf_isac_ros.radio.options import Site

USERS = {'u1': np.array([1.0, 0.0, 1.5]), 'u2': np.array([0.0, 1.0, 2.5])}
LARGE = AntennaArray(planar_elements(20, 20, 0.005))
TARGET = Scatterer('t1', np.array([0.1, 0.05, 1.5]), np.zeros(3), 0.8 + 0.1j)


def wave(array, position):
    distance = np.linalg.norm(array.positions - position, axis=1)
    return WAVELENGTH / (4 * np.pi * distance) * np.exp(-2j * np.pi * distance / WAVELENGTH)


def sinr_db(array, radio, position, beams, own):
    powers = np.abs(wave(array, position) @ beams) ** 2
    return 10 * np.log10(powers[own] / (powers.sum() - powers[own] + radio.user_noise))


def test_sinr_is_that_of_the_spherical_wave_whatever_the_order():
    rng = np.random.default_rng(1)
    beams = 0.1 * (rng.standard_normal((12, 4)) + 1j * rng.standard_normal((12, 4)))
    found, = performances(Site.ideal(ARRAY, RADIO), [beams.astype(np.complex64)],
                          ['lost', 'u2', 'u1'], USERS, [])
    assert found.sinr_db == pytest.approx({
        'u2': sinr_db(ARRAY, RADIO, USERS['u2'], beams, 1),
        'u1': sinr_db(ARRAY, RADIO, USERS['u1'], beams, 2)}, abs=1e-3)
    assert np.isnan(found.sum_crb)


def crb_by_differences(array, radio, target, beams):
    """Bound on one position by numerical derivatives of the echo, reflection unknown."""
    def echo(parameters):
        response = wave(array, parameters[:3])
        return ((parameters[3] + 1j * parameters[4])
                * np.outer(response, response @ beams)).ravel()
    at = np.array([*target.position, target.reflection.real, target.reflection.imag])
    steps = np.array([1e-6, 1e-6, 1e-6, 1e-3, 1e-3])
    jacobian = np.column_stack([
        (echo(at + step) - echo(at - step)) / (2 * step.sum()) for step in np.diag(steps)])
    fisher = 2 * radio.symbols / radio.sensing_noise.power * (jacobian.conj().T @ jacobian).real
    scale = 1 / np.sqrt(np.diag(fisher))
    return np.trace((np.linalg.inv(fisher * np.outer(scale, scale))
                     * np.outer(scale, scale))[:3, :3])


@pytest.mark.parametrize('bits', [1, 3, 6])
def test_bound_before_and_after_quantisation(bits):
    radio = Radio(WAVELENGTH, 1.0, 100, 1e-8, SensingNoise(power=1e-12))
    rng = np.random.default_rng(2)
    steer = wave(LARGE, TARGET.position).conj()[:, None]
    asked = (steer / np.linalg.norm(steer) + 0.02 * (
        rng.standard_normal((400, 3)) + 1j * rng.standard_normal((400, 3)))).astype(np.complex64)
    front_end = FrontEnd(Calibration.identity(400), Quantisation(phase_bits=bits))
    radiated = front_end.apply(asked)
    before, after = performances(Site.ideal(LARGE, radio), [asked, radiated], [], {}, [TARGET])
    for found, beams in ((before, asked), (after, radiated)):
        assert found.sum_crb == pytest.approx(
            crb_by_differences(LARGE, radio, TARGET, beams.astype(complex)), rel=1e-3)
    assert (after.sum_crb != before.sum_crb)


def test_one_bit_costs_a_focused_user_four_decibels():
    radio = replace(RADIO, user_noise=1e-3)
    steer = wave(LARGE, USERS['u1']).conj()[:, None].astype(np.complex64)
    front_end = FrontEnd(Calibration.identity(400), Quantisation(phase_bits=1))
    before, after = performances(
        Site.ideal(LARGE, radio), [steer, front_end.apply(steer)], ['u1'], USERS, [])
    assert before.sinr_db['u1'] - after.sinr_db['u1'] == pytest.approx(3.92, abs=0.4)


def test_nothing_is_known_without_bodies_or_on_an_antenna():
    beams = np.ones((12, 1), np.complex64)
    site = Site.ideal(ARRAY, RADIO)
    assert performances(site, [beams], [], {}, []) == (NOTHING_KNOWN,)
    assert performances(site, [beams, beams], ['u1'], {'u1': ARRAY.positions[2]}, []) == (
        NOTHING_KNOWN, NOTHING_KNOWN)
