from echo_scenes import POSITIONS, REFLECTIONS, SYMBOLS, WAVELENGTH, coloured, echo_scene
import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.localisation.echoes import (
    EchoError,
    EchoSamples,
    Sensor,
    compress,
    compression,
    condensed,
    doppler_turns,
    qpsk_symbols,
    simulate_echo_samples,
)
from nf_isac_ros.core.localisation.likelihood import Likelihood
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import SensingNoise

QUIET = SensingNoise(power=1e-30)


def beams_and_symbols(n, r=3, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2 * r)).view(complex), qpsk_symbols(rng, r, SYMBOLS)


def received(sensor, positions, reflections, sent):
    """Y of the definition, element by element and symbol by symbol; no noise."""
    a = responses(sensor.receive_array.positions, positions, sensor.wavelength)
    v = responses(sensor.transmit_array.positions, positions, sensor.wavelength)
    return sum(b * np.outer(a[:, k], v[:, k] @ sent[k] if isinstance(sent, list)
                            else v[:, k] @ sent) for k, b in enumerate(reflections))


@pytest.mark.parametrize('monostatic', [True, False], ids=['monostatic', 'bistatic'])
def test_simulation_agrees_with_the_whole_matrix_compressed(monostatic):
    scene = echo_scene(2, monostatic=monostatic, side=6)
    sensor = Sensor(scene.sensor.transmit_array, scene.sensor.receive_array, WAVELENGTH, QUIET)
    beams, symbols = beams_and_symbols(len(sensor.transmit_array))
    found = simulate_echo_samples(
        sensor, POSITIONS, REFLECTIONS, beams, symbols, np.random.default_rng(0))
    whole = received(sensor, POSITIONS, REFLECTIONS, beams @ symbols)
    expected = compress(whole, beams, symbols)
    np.testing.assert_allclose(found.samples, expected.samples, atol=1e-12 * np.abs(whole).max())
    np.testing.assert_allclose(found.excitation, expected.excitation)


def test_nothing_is_lost_by_compression():
    """Y projected on the row space of X is what the samples and the excitation give back."""
    scene = echo_scene(1, side=6)
    beams, symbols = beams_and_symbols(36)
    whole = received(scene.sensor, scene.positions, scene.reflections, beams @ symbols)
    small = compression(symbols)
    found = compress(whole, beams, symbols)
    np.testing.assert_allclose(found.samples @ small.projection.conj().T, whole,
                               atol=1e-12 * np.abs(whole).max())
    np.testing.assert_allclose(
        found.excitation @ found.excitation.conj().T,
        beams @ symbols @ symbols.conj().T @ beams.conj().T)


def test_doppler_turns_the_echo_symbol_by_symbol():
    array = AntennaArray(planar_elements(4, 4, WAVELENGTH / 2))
    sensor = Sensor(array, array, WAVELENGTH, QUIET)
    beams, symbols = beams_and_symbols(16)
    turns = np.array([2e-3, -1e-3])
    count = np.arange(SYMBOLS) - (SYMBOLS - 1) / 2
    sent = [beams @ symbols * np.exp(2j * np.pi * turn * count) for turn in turns]
    whole = received(sensor, POSITIONS, REFLECTIONS, sent)
    found = simulate_echo_samples(sensor, POSITIONS, REFLECTIONS, beams, symbols,
                                  np.random.default_rng(0), turns)
    np.testing.assert_allclose(found.samples, compress(whole, beams, symbols).samples,
                               atol=1e-12 * np.abs(whole).max())


def test_doppler_is_the_growth_of_the_path():
    scene = echo_scene(1, monostatic=False, side=4)
    velocity, step = np.array([[1.0, -2.0, 3.0]]), 1e-6
    lengths = [sum(np.linalg.norm(scene.positions + s * velocity - array.centre, axis=1)
                   for array in (scene.sensor.transmit_array, scene.sensor.receive_array))
               for s in (-step, step)]
    rate = (lengths[1] - lengths[0]) / (2 * step)
    np.testing.assert_allclose(
        doppler_turns(scene.sensor, scene.positions, velocity, 1e-6),
        -rate * 1e-6 / WAVELENGTH, rtol=1e-6)


@pytest.mark.parametrize('kind', ['white', 'diagonal', 'full'])
def test_noise_has_the_stated_covariance(kind):
    array = AntennaArray(planar_elements(2, 2, WAVELENGTH / 2))
    noise = {'white': SensingNoise(power=2.0),
             'diagonal': SensingNoise(diagonal=np.array([1.0, 2.0, 3.0, 4.0])),
             'full': coloured(4, 2.0)}[kind]
    covariance = {'white': 2.0 * np.eye(4), 'diagonal': np.diag([1.0, 2.0, 3.0, 4.0]),
                  'full': noise.covariance}[kind]
    sensor = Sensor(array, array, WAVELENGTH, noise)
    symbols, rng = np.eye(50, dtype=complex), np.random.default_rng(3)
    samples = np.hstack([simulate_echo_samples(
        sensor, np.empty((0, 3)), np.empty(0), np.zeros((4, 50), complex), symbols, rng).samples
        for _ in range(40)])
    found = samples @ samples.conj().T / 2000
    np.testing.assert_allclose(found, covariance, atol=0.15 * np.abs(covariance).max())
    np.testing.assert_allclose(samples @ samples.T / 2000, 0.0,
                               atol=0.15 * np.abs(covariance).max())


def test_whitening_and_colouring_are_inverse():
    array = AntennaArray(planar_elements(2, 3, WAVELENGTH / 2))
    noise = coloured(6, 2.0)
    sensor = Sensor(array, array, WAVELENGTH, noise)
    columns = np.random.default_rng(1).normal(size=(6, 4)).view(complex)
    np.testing.assert_allclose(sensor.whiten(sensor.colour(columns)), columns, atol=1e-12)
    np.testing.assert_allclose(noise.covariance @ sensor.unwhiten(sensor.whiten(columns)),
                               columns, atol=1e-12)
    rows = columns.conj().T
    np.testing.assert_allclose(
        sensor.whitened_power(rows),
        np.diag(rows @ np.linalg.inv(noise.covariance) @ rows.conj().T).real)


def test_first_streams_have_the_same_noise_whatever_there_is_besides():
    scene = echo_scene(1, side=4)
    one, three = (simulate_echo_samples(
        scene.sensor, np.empty((0, 3)), np.empty(0), np.zeros((16, r), complex),
        np.eye(3, dtype=complex)[:r], np.random.default_rng(7)).samples for r in (1, 3))
    np.testing.assert_array_equal(one, three[:, :1])


@pytest.mark.parametrize(('samples', 'excitation', 'symbols', 'reason'), [
    (np.ones((2, 1)), np.ones((2, 2)), 5, 'bad-shape'),
    (np.ones((2, 0)), np.ones((2, 0)), 5, 'bad-shape'),
    (np.ones(2), np.ones((2, 1)), 5, 'bad-shape'),
    (np.ones((2, 1)), np.ones((2, 1)), 0, 'bad-shape'),
    (np.full((2, 1), np.nan), np.ones((2, 1)), 5, 'not-finite'),
    (np.ones((2, 1)), np.full((2, 1), np.inf), 5, 'not-finite')],
    ids=['streams', 'none', 'vector', 'symbols', 'nan', 'inf'])
def test_samples_that_cannot_be(samples, excitation, symbols, reason):
    with pytest.raises(EchoError) as caught:
        EchoSamples(samples.astype(complex), excitation.astype(complex), symbols)
    assert caught.value.reason == reason


def test_condensed_echoes_say_the_same():
    scene = echo_scene(2, side=6)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 12)).view(complex))[0]
    beams = np.hstack([scene.beams[:, :2], np.zeros((36, 4))]) @ turn
    symbols = qpsk_symbols(np.random.default_rng(3), 6, SYMBOLS)
    whole = simulate_echo_samples(scene.sensor, scene.positions, scene.reflections, beams, symbols,
                                  np.random.default_rng(4))
    small = condensed(whole)
    assert small.samples.shape == (36, 2)
    there = scene.positions + 0.01
    one, other = (Likelihood(scene.sensor, echoes).at(there) for echoes in (whole, small))
    assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-9)
    np.testing.assert_allclose(one.fisher, other.fisher, rtol=1e-6,
                               atol=1e-9 * np.abs(one.fisher).max())


def test_streams_that_depend_on_each_other():
    symbols = qpsk_symbols(np.random.default_rng(1), 2, 50)
    with pytest.raises(EchoError, match='dependent'):
        compression(np.vstack([symbols, symbols[:1]]))


def test_target_on_an_antenna():
    scene = echo_scene(1, side=4)
    beams, symbols = beams_and_symbols(16)
    with pytest.raises(SceneError, match="'t7'"):
        simulate_echo_samples(scene.sensor, np.zeros((1, 3)), np.ones(1), beams, symbols,
                              np.random.default_rng(0), names=['t7'])
