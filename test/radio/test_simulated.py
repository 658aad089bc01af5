"""The simulated radio against sums written out by hand."""

import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements
from nf_isac_ros.core.scene import Radio, SensingNoise
from nf_isac_ros.radio.options import Site
from nf_isac_ros.radio.simulated import SimulatedBackend

WAVELENGTH = 0.01
NOISE = 1e-8
ARRAY = AntennaArray(planar_elements(4, 3, 0.005), Pose([1.0, -2.0, 0.5], (0.6, 0.0, 0.0, 0.8)))
RADIO = Radio(WAVELENGTH, 1.0, 100, NOISE, SensingNoise(power=1e-12))
USERS = {'u1': np.array([1.0, 0.0, 1.5]), 'u2': np.array([0.0, 1.0, 2.5])}


def received_power(position, beam):
    """Power of one beam at a point, element by element."""
    field = 0
    for element, weight in zip(ARRAY.positions, beam, strict=True):
        distance = np.sqrt(((element - position) ** 2).sum())
        field += WAVELENGTH / (4 * np.pi * distance) * np.exp(
            -2j * np.pi * distance / WAVELENGTH) * weight
    return abs(field) ** 2


@pytest.fixture
def beams():
    rng = np.random.default_rng(7)
    return (0.1 * (rng.standard_normal((12, 4)) + 1j * rng.standard_normal((12, 4)))).astype(
        np.complex64)


def expected(user, beams, column):
    powers = [received_power(USERS[user], beams[:, b]) for b in range(beams.shape[1])]
    return powers[column] / (sum(powers) - powers[column] + NOISE)


def test_sinr_is_that_of_the_true_positions(beams):
    backend = SimulatedBackend(Site.ideal(ARRAY, RADIO))
    backend.transmit(beams, ('u1', 'u2'))
    found = backend.received_sinr(USERS)
    assert found == pytest.approx(
        {'u1': expected('u1', beams, 0), 'u2': expected('u2', beams, 1)}, rel=1e-4)


def test_beam_of_a_lost_user_still_disturbs_the_others(beams):
    backend = SimulatedBackend(Site.ideal(ARRAY, RADIO))
    backend.transmit(beams, ('lost', 'u1'))
    found = backend.received_sinr(USERS)
    assert found == pytest.approx({'u1': expected('u1', beams, 1)}, rel=1e-4)


def test_muted_radio_knows_no_sinr(beams):
    backend = SimulatedBackend(Site.ideal(ARRAY, RADIO))
    assert backend.emitted is None
    assert backend.received_sinr(USERS) == {}
    backend.transmit(beams, ('u1', 'u2'))
    assert backend.emitted is beams
    backend.mute()
    assert backend.emitted is None
    assert backend.received_sinr(USERS) == {}


def test_user_on_an_antenna_is_not_known(beams):
    backend = SimulatedBackend(Site.ideal(ARRAY, RADIO))
    backend.transmit(beams, ('u1', 'u2'))
    found = backend.received_sinr({'u1': ARRAY.positions[3], 'u2': USERS['u2']})
    assert list(found) == ['u2']


def test_sensing_beams_alone_serve_nobody(beams):
    backend = SimulatedBackend(Site.ideal(ARRAY, RADIO))
    backend.transmit(beams, ())
    assert backend.received_sinr(USERS) == {}
