"""The simulated radio against sums written out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements
from nf_isac_ros.core.localisation.echoes import EchoError
from nf_isac_ros.core.scene import Radio, SensingNoise
from nf_isac_ros.radio.base import Scatterer
from nf_isac_ros.radio.options import SampleOptions, Site
from nf_isac_ros.radio.simulated import SimulatedBackend, SimulatedOptions

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


def backend_with(**options):
    return SimulatedBackend(Site.ideal(ARRAY, RADIO), SimulatedOptions(**options))


def focus(position, amplitude):
    """Beam that is in phase at a point, shape (12,)."""
    distance = np.linalg.norm(ARRAY.positions - position, axis=1)
    return (amplitude * np.exp(2j * np.pi * distance / WAVELENGTH)).astype(np.complex64)


def test_measured_sinr_is_the_analytic_one(beams):
    backend = backend_with(receiver_symbols=400)
    served = np.column_stack([focus(USERS['u1'], 1.0), focus(USERS['u2'], 0.5), 0.2 * beams[:, 2]])
    backend.transmit(served, ('u1', 'u2'))
    found = [backend.receptions(USERS) for _ in range(400)]
    for column, name in enumerate(('u1', 'u2')):
        sinr = expected(name, served, column)
        assert 0.5 < sinr < 100
        measured = np.array([one[name].sinr for one in found])
        assert measured.mean() == pytest.approx(
            sinr, abs=4 * measured.std() / np.sqrt(len(measured)))
        # Interference of a few QPSK streams varies less than noise: the interval is wide enough.
        assert measured.std() < 1.1 * np.sqrt((2 * sinr + sinr ** 2) / 400)
        evm = np.sqrt(np.mean([one[name].evm ** 2 for one in found]))
        assert evm == pytest.approx(1 / np.sqrt(sinr), rel=0.05)
        covered = [one[name].sinr_low <= sinr <= one[name].sinr_high for one in found]
        assert np.mean(covered) > 0.92


def test_measured_sinr_converges_with_the_root_of_the_symbols():
    errors = []
    beam = focus(USERS['u1'], 0.1)[:, None]
    sinr = received_power(USERS['u1'], beam[:, 0]) / NOISE
    for symbols in (100, 10_000):
        backend = backend_with(receiver_symbols=symbols)
        backend.transmit(beam, ('u1',))
        errors.append(np.std([backend.receptions(USERS)['u1'].sinr / sinr for _ in range(150)]))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.3)


def test_receptions_are_the_same_with_the_same_seed(beams):
    def run(seed):
        backend = backend_with(seed=seed)
        backend.transmit(beams, ('u1', 'u2'))
        return [backend.receptions(USERS) for _ in range(2)]
    assert run(3) == run(3)
    assert run(3) != run(4)
    assert run(3)[0] != run(3)[1]


def test_nobody_receives_from_a_muted_radio(beams):
    backend = backend_with()
    assert backend.receptions(USERS) == {}
    assert backend.echoes([], np.random.default_rng(1)) is None
    backend.transmit(beams, ('u1', 'u2'))
    assert list(backend.receptions({'u1': ARRAY.positions[3], 'u2': USERS['u2']})) == ['u2']


def test_calibration_that_is_out_of_date_moves_the_beams(beams):
    exact, wrong = backend_with(), backend_with(gain_error_db=1.0, phase_error_deg=30.0)
    for backend in (exact, wrong):
        backend.transmit(beams, ('u1', 'u2'))
    ratio = wrong.emitted / exact.emitted
    # One factor for each element, whatever the beam.
    assert ratio == pytest.approx(np.repeat(ratio[:, :1], 4, axis=1), rel=1e-4)
    assert 0.2 < np.std(np.angle(ratio[:, 0])) < 1.0
    again = backend_with(gain_error_db=1.0, phase_error_deg=30.0)
    again.transmit(beams, ('u1', 'u2'))
    assert np.array_equal(again.emitted, wrong.emitted)


TARGET = Scatterer('t1', np.array([0.6, 1.2, 2.0]), np.array([0.0, 3.0, 0.0]), 0.4 - 0.3j)


def two_way(position, receive_array=ARRAY):
    """a v^T by hand, shape (M, N)."""
    transmit, receive = (
        np.array([WAVELENGTH / (4 * np.pi * d) * np.exp(-2j * np.pi * d / WAVELENGTH)
                  for d in np.linalg.norm(array.positions - position, axis=1)])
        for array in (ARRAY, receive_array))
    return np.outer(receive, transmit)


def test_echoes_are_those_of_the_target_in_noise_of_the_covariance(beams):
    rng = np.random.default_rng(4)
    root = np.linalg.qr(rng.standard_normal((12, 12)) + 1j * rng.standard_normal((12, 12)))[0]
    covariance = (root * np.linspace(1, 20, 12)) @ root.conj().T * 1e-12
    covariance = 0.5 * (covariance + covariance.conj().T)
    radio = replace(RADIO, sensing_noise=SensingNoise(covariance=covariance))
    backend = SimulatedBackend(Site.ideal(ARRAY, radio))
    backend.transmit(beams, ('u1', 'u2'))
    residuals = []
    for _ in range(600):
        echo = backend.echoes([TARGET], rng)
        assert echo.symbols == 100 and echo.samples.shape == (12, 4)
        wanted = TARGET.reflection * two_way(TARGET.position) @ echo.excitation
        residuals.append(echo.samples - wanted)
    noise = np.hstack(residuals)
    found = noise @ noise.conj().T / noise.shape[1]
    assert np.linalg.norm(found - covariance) < 0.1 * np.linalg.norm(covariance)
    # Symbols of unit power: the excitation has the power of the beams, times their number.
    assert np.linalg.norm(echo.excitation) ** 2 == pytest.approx(
        100 * np.linalg.norm(beams) ** 2, rel=0.3)


def test_moving_targets_turn_their_echo_within_the_period(beams):
    quiet = replace(RADIO, sensing_noise=SensingNoise(power=1e-30))
    where = replace(Site.ideal(ARRAY, quiet), samples=SampleOptions(sample_rate_hz=1e4,
                                                                    block_length=10))
    still, moving = (SimulatedBackend(where, SimulatedOptions(doppler=doppler))
                     for doppler in (False, True))
    echoes = []
    for backend in (still, moving):
        backend.transmit(beams, ('u1', 'u2'))
        echoes.append(backend.echoes([TARGET], np.random.default_rng(1)).samples)
    # 6 m/s of path over 10 ms are 6 wavelengths and more: little is left of the mean.
    assert np.linalg.norm(echoes[1]) < 0.7 * np.linalg.norm(echoes[0])
    assert np.linalg.matrix_rank(echoes[1], tol=1e-3 * np.linalg.norm(echoes[1])) == 1


def test_target_on_an_antenna_gives_no_echo(beams):
    on_top = replace(TARGET, id='t2', position=ARRAY.positions[0])
    both, one = (backend_echo(beams, targets) for targets in ([TARGET, on_top], [TARGET]))
    assert np.array_equal(both, one)


def backend_echo(beams, targets):
    backend = backend_with()
    backend.transmit(beams, ())
    return backend.echoes(targets, np.random.default_rng(2)).samples


def test_more_beams_than_symbols_are_an_error(beams):
    backend = SimulatedBackend(Site.ideal(ARRAY, replace(RADIO, symbols=3)))
    backend.transmit(beams, ())
    with pytest.raises(EchoError):
        backend.echoes([TARGET], np.random.default_rng(1))
