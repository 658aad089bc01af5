from echo_scenes import POSITIONS, SYMBOLS, WAVELENGTH, EchoScene, echo_scene
import numpy as np
import pytest

from nf_isac_ros.core.fisher import whiten
from nf_isac_ros.core.localisation.detection import detection_threshold, search_grid
from nf_isac_ros.core.localisation.echoes import EchoError, EchoSamples
from nf_isac_ros.core.localisation.likelihood import Likelihood
from nf_isac_ros.core.localisation.localiser import (
    EchoState,
    ExpectedTarget,
    ascend,
    locate,
    locate_with_fit,
    search_new,
)
from nf_isac_ros.core.propagation import responses

CASES = [(monostatic, noise, k) for monostatic in (True, False)
         for noise in ('white', 'full') for k in (1, 2)]
IDS = [f'{"mono" if m else "bi"}static-{noise}-{k}' for m, noise, k in CASES]


def basis(scene: EchoScene, echoes: EchoSamples, positions: np.ndarray) -> np.ndarray:
    """Whitened echoes of unit reflections at supposed positions as columns: (M r, K)."""
    a, v = (responses(array.positions, positions, WAVELENGTH) for array in (
        scene.sensor.receive_array, scene.sensor.transmit_array))
    white = whiten(scene.sensor.noise, a)
    return np.stack([np.outer(white[:, k], v[:, k] @ echoes.excitation).ravel()
                     for k in range(len(positions))], axis=1)


def expected_at(scene: EchoScene, rng, deviation: float) -> list[ExpectedTarget]:
    return [ExpectedTarget(name, place + deviation * rng.standard_normal(3),
                           max(deviation, 1e-4) ** 2 * np.eye(3))
            for name, place in zip(scene.names, scene.positions, strict=True)]


@pytest.mark.parametrize(('monostatic', 'noise', 'k'), CASES, ids=IDS)
def test_likelihood_is_that_of_least_squares(monostatic, noise, k):
    scene, rng = echo_scene(k, monostatic=monostatic, noise=noise, side=6), \
        np.random.default_rng(1)
    echoes = scene.echoes(rng)
    there = scene.positions + 0.02 * rng.standard_normal((k, 3))
    likelihood = Likelihood(scene.sensor, echoes)
    found = likelihood.at(there)
    matrix = basis(scene, echoes, there)
    samples = whiten(scene.sensor.noise, echoes.samples).ravel()
    reflections = np.linalg.lstsq(matrix, samples, rcond=None)[0]
    left = samples - matrix @ reflections
    gain = np.vdot(samples, samples).real - np.vdot(left, left).real
    np.testing.assert_allclose(found.reflections, reflections, rtol=1e-8)
    assert found.log_likelihood == pytest.approx(gain, rel=1e-9)
    freedom = samples.size - k
    assert likelihood.excess(found) == pytest.approx(
        (np.vdot(left, left).real - freedom, np.sqrt(freedom)), rel=1e-6)
    for i in range(k):
        without = np.delete(matrix, i, axis=1)
        rest = samples - without @ np.linalg.lstsq(without, samples, rcond=None)[0]
        assert found.ratios[i] == pytest.approx(
            np.vdot(rest, rest).real - np.vdot(left, left).real, rel=1e-6)


@pytest.mark.parametrize(('monostatic', 'noise', 'k'), CASES, ids=IDS)
def test_gradient_is_that_of_differences(monostatic, noise, k):
    scene, rng = echo_scene(k, monostatic=monostatic, noise=noise, side=6), \
        np.random.default_rng(2)
    likelihood = Likelihood(scene.sensor, scene.echoes(rng))
    there = scene.positions + 0.01 * rng.standard_normal((k, 3))
    gradient, step = likelihood.at(there).gradient, 1e-6
    numeric = np.empty((3, k))
    for d in range(3):
        for i in range(k):
            moved = [there.copy(), there.copy()]
            moved[0][i, d] += step
            moved[1][i, d] -= step
            numeric[d, i] = (likelihood.at(moved[0]).log_likelihood
                             - likelihood.at(moved[1]).log_likelihood) / (2 * step)
    np.testing.assert_allclose(gradient, numeric.ravel(), rtol=1e-5,
                               atol=1e-6 * np.abs(gradient).max())


def test_information_is_the_curvature_of_the_likelihood_without_noise():
    scene = echo_scene(2, side=6, power=1e-11)
    quiet = echo_scene(2, side=6, power=1e-11)
    echoes = quiet.echoes(np.random.default_rng(3))
    a, v = (responses(scene.sensor.transmit_array.positions, scene.positions, WAVELENGTH)
            for _ in range(2))
    clean = EchoSamples((a * scene.reflections) @ (v.T @ echoes.excitation), echoes.excitation,
                        SYMBOLS)
    likelihood = Likelihood(scene.sensor, clean)
    found, step = likelihood.at(scene.positions), 1e-6
    hessian = np.empty((6, 6))
    for j in range(6):
        moves = np.zeros(6)
        moves[j] = step
        ends = [likelihood.at(scene.positions + sign * moves.reshape(3, 2).T).gradient
                for sign in (1, -1)]
        hessian[:, j] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(-hessian, found.information, rtol=2e-4,
                               atol=2e-4 * np.abs(found.information).max())


def test_bound_of_the_estimate_is_that_of_the_design():
    """With symbols that are exactly orthogonal, E E^H is L R_X."""
    scene = echo_scene(2)
    r = scene.beams.shape[1]
    echoes = EchoSamples(np.zeros((144, r), complex), np.sqrt(SYMBOLS) * scene.beams, SYMBOLS)
    a = responses(scene.sensor.transmit_array.positions, scene.positions, WAVELENGTH)
    clean = EchoSamples((a * scene.reflections) @ (a.T @ echoes.excitation), echoes.excitation,
                        SYMBOLS)
    found = Likelihood(scene.sensor, clean).at(scene.positions)
    np.testing.assert_allclose(found.covariances, scene.bounds, rtol=1e-4,
                               atol=1e-6 * scene.bounds.max())
    np.testing.assert_allclose(found.reflections, scene.reflections)


@pytest.mark.parametrize(('monostatic', 'noise', 'k'), CASES, ids=IDS)
def test_errors_are_those_of_the_bound(monostatic, noise, k):
    """Monte Carlo above the threshold: within 10 % of the root-CRB that the design states."""
    scene = echo_scene(k, monostatic=monostatic, noise=noise, power=2e-12)
    rng, trials = np.random.default_rng(4), 250
    errors, scores = np.empty((trials, k, 3)), []
    for trial in range(trials):
        found = locate(Likelihood(scene.sensor, scene.echoes(rng)), expected_at(scene, rng, 0.01))
        assert all(target.state is EchoState.DETECTED for target in found)
        errors[trial] = [target.position - place
                         for target, place in zip(found, scene.positions, strict=True)]
        scores += [error @ np.linalg.solve(target.covariance, error)
                   for error, target in zip(errors[trial], found, strict=True)]
    ratio = np.sqrt((errors ** 2).sum(axis=2).mean(axis=0)
                    / np.trace(scene.bounds, axis1=1, axis2=2))
    assert (ratio > 0.9).all()
    assert (ratio < 1.1).all()
    # The covariance that comes along fits the errors: chi-square of three degrees of freedom.
    assert np.mean(scores) == pytest.approx(3.0, rel=0.12)


def test_start_does_not_matter_within_the_gate():
    """
    Coarse to fine: from tracks a decimetre off, the same maximum as from the truth.

    The ascent ends with steps of a hundredth of the standard deviations.
    """
    scene = echo_scene(2, side=16)
    rng = np.random.default_rng(6)
    likelihood = Likelihood(scene.sensor, scene.echoes(rng))
    best = ascend(likelihood, likelihood.at(scene.positions))
    for _ in range(10):
        found = locate(likelihood, expected_at(scene, rng, 0.05))
        off = [target.position - place
               for target, place in zip(found, best.positions, strict=True)]
        for error, covariance in zip(off, best.covariances, strict=True):
            assert error @ np.linalg.solve(covariance, error) < 2e-4


def test_close_targets_are_told_apart():
    """Half a width of the matched filter apart: jointly found, each alone biased."""
    places = np.array([[0.0, 0.0, 1.2], [0.06, 0.0, 1.2]])
    scene = echo_scene(2, side=16, positions=places, power=1e-13)
    rng, trials = np.random.default_rng(8), 60
    errors = np.empty((trials, 2, 3))
    alone = []
    for trial in range(trials):
        likelihood = Likelihood(scene.sensor, scene.echoes(rng))
        found = locate(likelihood, expected_at(scene, rng, 0.002))
        errors[trial] = [target.position - place
                         for target, place in zip(found, places, strict=True)]
        single = locate(likelihood, expected_at(scene, rng, 0.002)[:1])[0]
        alone.append(single.position - places[0])
    ratio = np.sqrt((errors ** 2).sum(axis=2).mean(axis=0)
                    / np.trace(scene.bounds, axis1=1, axis2=2))
    assert (ratio < 1.2).all()
    assert np.linalg.norm(np.mean(alone, axis=0)) > 5 * np.linalg.norm(errors[:, 0].mean(axis=0))


def test_false_alarms_of_a_target_that_is_not_there():
    scene = echo_scene(1, side=6)
    rng, trials, rate = np.random.default_rng(9), 150, 0.1
    found = [locate(Likelihood(scene.sensor, scene.echoes(rng, 0.0)),
                    expected_at(scene, rng, 0.05), rate)[0] for _ in range(trials)]
    alarms = sum(target.state is EchoState.DETECTED for target in found) / trials
    # The stated rate is never exceeded; maxima that lie off the track are not even counted.
    assert alarms < rate + 3 * np.sqrt(rate * (1 - rate) / trials)
    # What has to be exceeded is what noise at some places is worth, in most cases not much more.
    thresholds = np.array([target.threshold for target in found])
    assert thresholds.min() >= -np.log(rate)
    assert np.median(thresholds) < -np.log(rate) + 5


def test_lost_target_does_not_disturb_the_other():
    scene = echo_scene(2)
    rng = np.random.default_rng(10)
    one = EchoScene(scene.sensor, scene.positions[:1], scene.reflections[:1], scene.beams,
                    scene.bounds[:1])
    likelihood = Likelihood(scene.sensor, one.echoes(rng))
    found = locate(likelihood, expected_at(scene, rng, 0.01))
    assert [target.state for target in found] == [EchoState.DETECTED, EchoState.LOST]
    assert found[1].log_likelihood_ratio < found[1].threshold
    assert np.isnan(found[1].covariance).all()
    alone = locate(likelihood, expected_at(one, rng, 0.01))
    # Both ascents end with steps of a hundredth of the standard deviations.
    off = found[0].position - alone[0].position
    assert off @ np.linalg.solve(alone[0].covariance, off) < 8e-4


def test_tracks_at_one_place_leave_one():
    scene = echo_scene(1)
    rng = np.random.default_rng(11)
    near = expected_at(scene, rng, 0.0)[0]
    twin = ExpectedTarget('t9', near.position, 2 * near.covariance)
    found = locate(Likelihood(scene.sensor, scene.echoes(rng)), [near, twin])
    assert [target.state for target in found] == [EchoState.DETECTED, EchoState.LOST]


def test_track_on_the_antenna_is_lost_alone():
    scene = echo_scene(1)
    rng = np.random.default_rng(12)
    tracks = [*expected_at(scene, rng, 0.01), ExpectedTarget('t9', np.zeros(3), 1e-4 * np.eye(3))]
    found = locate(Likelihood(scene.sensor, scene.echoes(rng)), tracks)
    assert [target.state for target in found] == [EchoState.DETECTED, EchoState.LOST]


def test_samples_of_another_array():
    scene = echo_scene(1, side=4)
    with pytest.raises(EchoError, match='must be of 16 and 16'):
        Likelihood(scene.sensor, EchoSamples(np.ones((9, 1), complex), np.ones((16, 1), complex),
                                             1))


@pytest.mark.parametrize('noise', ['white', 'diagonal', 'full'])
def test_scan_is_the_likelihood_ratio_of_one_more(noise):
    scene = echo_scene(2, side=6, noise=noise)
    rng = np.random.default_rng(13)
    likelihood = Likelihood(scene.sensor, scene.echoes(rng))
    known = likelihood.at(scene.positions[:1])
    points = np.array([[-0.4, -0.1, 1.5], [0.1, -0.5, 1.4], [0.5, 0.5, 2.0]])
    ratios = likelihood.scan(points, known)
    alone = likelihood.scan(points)
    for point, ratio, single in zip(points, ratios, alone, strict=True):
        both = likelihood.at(np.vstack([scene.positions[:1], point]))
        assert ratio == pytest.approx(both.ratios[1], rel=1e-6)
        assert single == pytest.approx(likelihood.at(point[None]).log_likelihood, rel=1e-6)


def test_new_target_is_found_and_refined():
    scene = echo_scene(2)
    rng = np.random.default_rng(14)
    likelihood = Likelihood(scene.sensor, scene.echoes(rng))
    found, fit = locate_with_fit(likelihood, expected_at(scene, rng, 0.01)[:1])
    grid = search_grid(scene.sensor, np.array([-0.8, -0.5, 0.8]), np.array([0.8, 0.5, 2.0]))
    new = search_new(likelihood, fit, grid)
    assert new is not None
    assert new.state is EchoState.NEW
    error = new.position - POSITIONS[1]
    assert error @ np.linalg.solve(new.covariance, error) < 20.0


def test_false_alarms_of_the_search():
    scene = echo_scene(1, side=10)
    grid = search_grid(scene.sensor, np.array([-0.5, -0.5, 0.6]), np.array([0.5, 0.5, 1.5]))
    rng, trials, rate = np.random.default_rng(15), 150, 0.2
    alarms = sum(search_new(Likelihood(scene.sensor, scene.echoes(rng, 0.0)), None, grid,
                            false_alarms=rate) is not None for _ in range(trials))
    assert 0.02 < alarms / trials < rate + 3 * np.sqrt(rate * (1 - rate) / trials)


def test_threshold_rises_with_volume_and_falls_with_rate():
    small, large = np.array([2.0, 2.0, 1.0]), np.array([20.0, 20.0, 3.0])
    assert detection_threshold(1e-3, small) < detection_threshold(1e-3, large)
    assert detection_threshold(1e-6, small) > detection_threshold(1e-3, small)
    # At one place alone the ratio is exponential.
    assert detection_threshold(1e-3, np.zeros(3)) == pytest.approx(np.log(1e3))


@pytest.mark.parametrize(('lower', 'upper'), [
    ([0, 0, 1], [0, 1, 2]), ([0, 0, 1], [1, 1, np.nan]), ([-1, -1, -3], [1, 1, -1])],
    ids=['flat', 'nan', 'behind'])
def test_search_volumes_that_cannot_be(lower, upper):
    scene = echo_scene(1, side=16)
    with pytest.raises(EchoError) as caught:
        search_grid(scene.sensor, np.array(lower, dtype=float), np.array(upper, dtype=float))
    assert caught.value.reason == 'bad-volume'


def test_grid_is_fine_enough_for_the_matched_filter():
    """Between its points no more than half of a ratio is lost, as stated."""
    scene = echo_scene(1, side=12)
    rng = np.random.default_rng(16)
    grid = search_grid(scene.sensor, np.array([-0.5, -0.5, 0.8]), np.array([0.5, 0.5, 2.0]))
    likelihood = Likelihood(scene.sensor, scene.echoes(rng))
    peak = ascend(likelihood, likelihood.at(scene.positions)).log_likelihood
    assert likelihood.scan(grid.points).max() > 0.4 * peak
