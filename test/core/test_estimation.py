"""Estimators on simulated echoes: gradients, moments, errors beside the bound."""

from dataclasses import replace

from extended_scenes import (
    CIRCLE,
    UAV,
    VEHICLE,
    complex_array,
    extended_reference,
    far_scene,
    needs_extended_reference,
    random_beams,
)
import numpy as np
import pytest
from scenes import planar
from scipy.stats import ks_2samp

from nf_isac_ros.core.estimation import (
    MatchedFilter,
    _Likelihood,
    _shifted,
    correlations,
    estimate_pose,
    estimation_errors,
    marginal_bounds,
    matched_filter_direction,
    matched_filter_errors,
    resolved_sections,
    simulate_echo,
)
from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.core.extended.far_field import SPEED_OF_LIGHT, visible_sections
from nf_isac_ros.core.extended.plane import planar_pose, pose_in_plane
from nf_isac_ros.core.fisher import whiten
from nf_isac_ros.core.scene import Scene, SensingNoise


def snapshots(scene, n):
    return replace(scene, radio=replace(scene.radio, symbols=n))


def beams_towards(scene):
    """Beams over the directions of the sections, and some power elsewhere."""
    steering = build_extended_fisher(scene, scene.extended[0]).steering
    steering = steering / np.linalg.norm(steering, axis=0) / np.sqrt(steering.shape[1])
    return np.hstack([steering[:, ::3], random_beams(len(scene.transmit_array), 4) * 0.02])


def unit_echoes(scene, target, echo, shift=(0.0, 0.0, 0.0)):
    """Echo of each section with a coefficient of one, (M L, K), from Eqs. (9)-(11), body moved."""
    plane = planar_pose(scene.transmit_array, target.pose)
    sections = visible_sections(target, plane)
    distance, direction, orientation = np.array(
        [plane.range, plane.direction, plane.orientation]) + shift
    c, s = np.cos(orientation), np.sin(orientation)
    points = (sections.points @ np.array([[c, s], [-s, c]])
              + distance * np.array([np.cos(direction), np.sin(direction)]))
    ranges, angles = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
    n, m = len(scene.transmit_array), len(scene.receive_array)
    columns = []
    for k in range(len(sections)):
        sent = np.exp(1j * np.pi * np.sin(angles[k]) * (np.arange(n) - (n - 1) / 2))
        seen = np.exp(1j * np.pi * np.sin(angles[k]) * (np.arange(m) - (m - 1) / 2))
        turns = np.exp(-4j * np.pi / SPEED_OF_LIGHT * ranges[k] * echo.offset)
        columns.append(np.sqrt(target.path_power * sections.length[k]) * np.outer(
            seen, (sent @ echo.sent) * turns).ravel())
    return np.stack(columns, axis=1)


def brute_likelihood(scene, target, echo, gain):
    """log det C + y^H C^-1 y with the full covariance of the samples."""
    a = np.exp(gain) * unit_echoes(scene, target, echo)
    covariance = a @ a.conj().T + scene.radio.sensing_noise.power * np.eye(len(a))
    y = echo.received.ravel()
    return (np.linalg.slogdet(covariance)[1] - len(a) * np.log(scene.radio.sensing_noise.power)
            + (y.conj() @ np.linalg.solve(covariance, y)).real
            - np.vdot(y, y).real / scene.radio.sensing_noise.power)


def likelihood(scene, target, echo):
    plane = planar_pose(scene.transmit_array, target.pose)
    white = whiten(scene.radio.sensing_noise, echo.received)
    return _Likelihood(scene, target, visible_sections(target, plane), echo, white), plane


def test_likelihood_is_that_of_the_full_covariance():
    scene = snapshots(far_scene(VEHICLE, elements=(4, 5), sections=3), 12)
    body = scene.extended[0]
    echo = simulate_echo(scene, body, random_beams(4, 2), np.random.default_rng(0))
    reduced, plane = likelihood(scene, body, echo)
    assert reduced.at(plane, 0.3)[0] == pytest.approx(
        brute_likelihood(scene, body, echo, 0.3), rel=1e-9)


@pytest.mark.parametrize('noise', ['white', 'coloured'])
@pytest.mark.parametrize('model', ['far-field', 'near-field'])
def test_gradient_is_that_of_differences(model, noise):
    scene = snapshots(far_scene(UAV, 6.0, elements=(6, 7), sections=4, model=model), 60)
    if noise == 'coloured':
        root = random_beams(7, 7, 3)
        scene = replace(scene, radio=replace(scene.radio, sensing_noise=SensingNoise(
            covariance=1e-12 * (root @ root.conj().T + 2 * np.eye(7)))))
    body = scene.extended[0]
    echo = simulate_echo(scene, body, random_beams(6, 3), np.random.default_rng(1))
    model_likelihood, plane = likelihood(scene, body, echo)
    _, slope = model_likelihood.at(plane, 0.2)
    for i, step in enumerate([1e-4, 1e-5, 1e-4, 1e-4]):
        shift = step * np.eye(4)[i]

        def at(factor, shift=shift):
            return model_likelihood.at(_shifted(plane, factor * shift),
                                       0.2 + factor * shift[3])[0]

        numerical = (8 * (at(1) - at(-1)) - at(2) + at(-2)) / (12 * step)
        assert slope[i] == pytest.approx(numerical, rel=1e-5, abs=1e-5 * np.abs(slope).max())


def test_noise_and_echo_have_their_powers():
    scene = snapshots(far_scene(elements=(6, 7)), 4000)
    quiet = simulate_echo(scene, replace(scene.extended[0], path_power=1e-30),
                          random_beams(6, 3), np.random.default_rng(2))
    assert np.mean(np.abs(quiet.received) ** 2) == pytest.approx(1e-11, rel=0.02)
    # rms offset is the effective bandwidth.
    assert np.sqrt(np.mean(quiet.offset ** 2)) == pytest.approx(1e8, rel=1e-6)
    fisher = build_extended_fisher(scene, scene.extended[0])
    expected = 1e-12 * fisher.sections.length @ fisher.illumination(random_beams(6, 3))
    powers = []
    for seed in range(300):
        echo = simulate_echo(snapshots(scene, 50), scene.extended[0], random_beams(6, 3),
                             np.random.default_rng(seed))
        powers.append(np.mean(np.abs(echo.received) ** 2) - 1e-11)
    assert np.mean(powers) == pytest.approx(expected, rel=0.2)


def test_coloured_noise_has_its_covariance():
    root = random_beams(5, 5, 3)
    covariance = 1e-12 * (root @ root.conj().T + np.eye(5))
    scene = snapshots(far_scene(elements=(4, 5)), 40000)
    for noise, expected in ((SensingNoise(covariance=covariance), covariance),
                            (SensingNoise(diagonal=np.arange(1.0, 6.0)),
                             np.diag(np.arange(1.0, 6.0)))):
        loud = replace(scene, radio=replace(scene.radio, sensing_noise=noise))
        echo = simulate_echo(loud, replace(loud.extended[0], path_power=1e-30),
                             random_beams(4, 1), np.random.default_rng(4))
        sample = echo.received @ echo.received.conj().T / 40000
        assert np.abs(sample - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize('normalised', [False, True], ids=['plain', 'normalised'])
def test_matched_filter_finds_a_strong_point(normalised):
    """A contour of a centimetre is a point; strong, so that noise and grid decide."""
    scene = snapshots(far_scene(VEHICLE.scaled(0.002), direction=0.2137, path_power=1e-6), 200)
    echo = simulate_echo(scene, scene.extended[0], random_beams(16, 16),
                         np.random.default_rng(0))
    there = replace(scene.extended[0], pose=pose_in_plane(scene.transmit_array, 20.0, 0.3, 0.0))
    found = matched_filter_direction(scene, there, echo, normalised=normalised)
    # The plain one leans to where more is sent.
    assert found == pytest.approx(0.2137, abs=np.deg2rad(0.011 if normalised else 1.0))


@pytest.mark.parametrize('seed', range(4))
def test_matched_filter_is_the_largest_over_its_whole_grid(seed):
    scene = snapshots(far_scene(direction=0.1), 50)
    target, rng = scene.extended[0], np.random.default_rng(seed)
    echo = simulate_echo(scene, target, random_beams(16, 3, seed), rng)
    step = np.deg2rad(0.1)
    filtered = MatchedFilter(scene, target, half_width=1.0, step=step)
    x, y = np.arange(16) - 7.5, np.arange(20) - 9.5
    turns = np.exp(4j * np.pi / SPEED_OF_LIGHT * 20.0 * echo.offset)
    cross = (echo.received * turns) @ echo.sent.conj().T
    score = np.array([abs(np.exp(1j * np.pi * y * np.sin(phi)).conj() @ cross
                          @ np.exp(-1j * np.pi * x * np.sin(phi))) for phi in filtered.grid])
    assert filtered.score(*correlations(scene, target, echo)) == pytest.approx(score, rel=1e-9)
    assert matched_filter_direction(scene, target, echo, half_width=1.0, step=step) == (
        filtered.grid[np.argmax(score)])


def test_drawn_errors_of_the_matched_filter_are_those_of_echoes():
    """Two samples of one distribution, by the test of Kolmogorov and Smirnov."""
    # So weak that noise counts as well.
    scene = snapshots(far_scene(path_power=2e-16), 40)
    scene = replace(scene, radio=replace(scene.radio, bandwidth=None))
    target, beams, step = scene.extended[0], random_beams(16, 3), np.deg2rad(0.25)
    drawn = matched_filter_errors(scene, target, beams, 2000, np.random.default_rng(0), step)
    rng, true = np.random.default_rng(1), planar_pose(scene.transmit_array, target.pose).direction
    echoed = [matched_filter_direction(scene, target, simulate_echo(scene, target, beams, rng),
                                       step=step) - true for _ in range(400)]
    assert ks_2samp(drawn, echoed).pvalue > 0.01
    # Without the noise, and with beams of another kind, the samples are told apart.
    quiet = replace(scene, radio=replace(scene.radio, sensing_noise=SensingNoise(power=1e-20)))
    for other, w in ((quiet, beams), (scene, random_beams(16, 3, 1))):
        wrong = matched_filter_errors(other, target, w, 2000, np.random.default_rng(0), step)
        assert ks_2samp(wrong, echoed).pvalue < 1e-3


def errors(scene, body, beams, trials, spread, sections=None, seed=0):
    rng = np.random.default_rng(seed)
    true = planar_pose(scene.transmit_array, body.pose)
    out = []
    for _ in range(trials):
        echo = simulate_echo(scene, replace(body, sections=300), beams, rng)
        off = rng.normal(size=3) * spread
        track = replace(body, pose=pose_in_plane(
            scene.transmit_array, true.range + off[0], true.direction + off[1],
            true.orientation + off[2]))
        found = estimate_pose(scene, track, echo, sections)
        assert found.converged
        out.append([found.range - true.range, found.direction - true.direction,
                    found.orientation - true.orientation])
    return np.array(out)


@needs_extended_reference
def test_maximum_likelihood_comes_close_to_the_bound_and_the_matched_filter_does_not():
    """The design of scenario S1, from a track that is right about the visible sections."""
    reference = extended_reference('S1_vehicle_los')
    scene, body = reference.scene, reference.target
    beams = complex_array(reference.data['designs']['sdr']['W'])
    found = estimation_errors(scene, body, beams, 30, np.random.default_rng(0),
                              step=np.deg2rad(0.05))
    bounds = found.bounds
    ratio = np.sqrt(np.mean(found.likelihood ** 2, axis=0)
                    / [bounds.range, bounds.direction, bounds.orientation])
    # The bound takes the sections' powers for their means; the true one is larger.
    assert found.converged.all() and (ratio > 0.7).all() and (ratio < 3.0).all()
    assert np.sqrt(np.mean(found.matched_filter ** 2)) > 30 * np.sqrt(bounds.direction)


def test_with_little_noise_errors_are_those_of_the_bound_for_the_reflections_drawn():
    """Of which each echo has its own; mean powers say less. Sections known, 22 dB a sample."""
    scene = snapshots(far_scene(VEHICLE, 10.0, elements=(6, 7), sections=4), 60)
    noise = scene.radio.sensing_noise.power / 10
    scene = replace(scene, radio=replace(scene.radio, sensing_noise=SensingNoise(power=noise)))
    body, beams = scene.extended[0], random_beams(6, 3)
    true = planar_pose(scene.transmit_array, body.pose)
    squares = []
    for seed in range(60):
        echo = simulate_echo(scene, body, beams, np.random.default_rng(seed))
        columns = unit_echoes(scene, body, echo)
        drawn = np.linalg.lstsq(columns, echo.received.ravel(), rcond=None)[0]
        slopes = np.stack([
            (unit_echoes(scene, body, echo, shift) - unit_echoes(scene, body, echo, -shift))
            @ drawn / 2e-6 for shift in 1e-6 * np.eye(3)], axis=1)
        hidden = np.linalg.qr(columns)[0]
        slopes -= hidden @ (hidden.conj().T @ slopes)
        found = estimate_pose(scene, body, echo, [body.sections])
        error = np.array([found.range - true.range, found.direction - true.direction,
                          found.orientation - true.orientation])
        squares.append(error @ (2.0 / noise * slopes.conj().T @ slopes).real @ error / 3)
    # The mean of as many squares of three standard normal numbers each.
    assert np.mean(squares) == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / 3.0 / len(squares)))


def test_bound_without_the_reflections_is_the_covariance_of_the_score():
    """Of drawn echoes: their likelihood integrates the reflections out, too."""
    scene = snapshots(far_scene(VEHICLE, 10.0, elements=(6, 7), sections=4), 60)
    body, beams = scene.extended[0], random_beams(6, 3)
    scores = []
    for seed in range(400):
        echo = simulate_echo(scene, body, beams, np.random.default_rng(seed))
        reduced, plane = likelihood(scene, body, echo)
        scores.append(reduced.at(plane, 0.0)[1])
    score = np.array(scores)
    found = marginal_bounds(scene, body, beams, np.random.default_rng(0))
    np.testing.assert_allclose(
        np.diag(np.linalg.inv(score.T @ score / len(score)))[:3], found, rtol=0.25)
    # What a track knows besides adds up.
    deviation = np.sqrt(found)
    known = marginal_bounds(scene, body, beams, np.random.default_rng(0), deviation)
    assert (known < 0.6 * found).all()


def test_what_the_track_knows_keeps_the_estimate_with_it():
    """Against the Bayesian bound: never below it, and where an echo says little near the track."""
    scene = snapshots(far_scene(VEHICLE, 30.0, elements=(6, 7), sections=4), 60)
    body, beams = scene.extended[0], random_beams(6, 3)
    deviation = np.array([0.1, np.deg2rad(1.0), np.deg2rad(1.0)])
    rng, true = np.random.default_rng(9), planar_pose(scene.transmit_array, body.pose)
    errors = {True: [], False: []}
    for _ in range(12):
        echo = simulate_echo(scene, body, beams, rng)
        off = rng.normal(size=3) * deviation
        track = replace(body, pose=pose_in_plane(
            scene.transmit_array, true.range + off[0], true.direction + off[1],
            true.orientation + off[2]))
        for known, out in errors.items():
            found = estimate_pose(scene, track, echo, (4, 4), deviation if known else None)
            out.append([found.range - true.range, found.direction - true.direction,
                        np.angle(np.exp(1j * (found.orientation - true.orientation)))])
    rms = {known: np.sqrt(np.mean(np.square(out), axis=0)) for known, out in errors.items()}
    bound = np.sqrt(marginal_bounds(scene, body, beams, rng, deviation))
    assert (rms[True] > 0.6 * bound).all() and (rms[True] < deviation * [0.2, 0.2, 1.0]).all()
    # Without it, echoes of few scatterers lead far away.
    assert rms[True][2] < rms[False][2]


def test_a_wrong_track_costs_little_direction_and_more_orientation():
    """The visible sections are those of the estimate: they move a little from trial to trial."""
    scene = snapshots(far_scene(VEHICLE, 10.0, 0.2, 0.6), 300)
    beams = beams_towards(scene)
    deviation = np.array([0.1, np.deg2rad(0.3), np.deg2rad(2.0)])
    found = estimation_errors(scene, scene.extended[0], beams, 12, np.random.default_rng(0),
                              deviation, np.deg2rad(0.2))
    rms = np.sqrt(np.mean(found.likelihood ** 2, axis=0))
    assert found.converged.all() and (rms < deviation / [5, 5, 2]).all()


@pytest.mark.parametrize('model', ['far-field', 'near-field'])
def test_a_coarse_track_is_enough_to_start_from(model):
    """Echoes of 300 sections, a continuum for this band: the default does not know how many."""
    scene = snapshots(far_scene(VEHICLE, 10.0, 0.2, 0.6, model=model), 300)
    body, beams = scene.extended[0], beams_towards(scene)
    off = errors(scene, body, beams, 8, [0.1, np.deg2rad(0.3), np.deg2rad(2.0)])
    # Millimetres, hundredths and tenths of a degree.
    assert (np.median(np.abs(off), axis=0) < [0.015, np.deg2rad(0.05), np.deg2rad(0.6)]).all()


def test_sections_resolve_the_band_and_the_aperture():
    scene = far_scene(VEHICLE, 20.0, 0.0, np.pi / 2)
    # Half the vehicle's outline, four sections for each c / (2 * 346 MHz).
    count = resolved_sections(scene, scene.extended[0])
    assert count == pytest.approx(4 * (0.5 * 12.8) / 0.433, rel=0.15)
    # Without a band, four for each 20 m * lambda / (both apertures).
    blind = replace(scene, radio=replace(scene.radio, bandwidth=None))
    assert resolved_sections(blind, scene.extended[0]) == pytest.approx(
        4 * 6.4 / (20 * 0.01 / 0.17), rel=0.15)


def test_a_circle_keeps_the_orientation_of_its_track():
    scene = snapshots(far_scene(CIRCLE, 10.0, shape='unknown'), 200)
    body = scene.extended[0]
    echo = simulate_echo(scene, body, beams_towards(scene), np.random.default_rng(0))
    found = estimate_pose(scene, body, echo)
    assert found.orientation == pytest.approx(0.5, abs=1e-9)
    assert found.range == pytest.approx(10.0, abs=0.02)


def test_without_bandwidth_the_far_model_leaves_the_range_to_the_track():
    scene = snapshots(far_scene(VEHICLE, 10.0), 200)
    scene = replace(scene, radio=replace(scene.radio, bandwidth=None))
    body = scene.extended[0]
    echo = simulate_echo(scene, body, beams_towards(scene), np.random.default_rng(0))
    assert not echo.offset.any()
    found = estimate_pose(scene, body, echo)
    assert np.isfinite([found.range, found.direction, found.orientation]).all()
    assert found.direction == pytest.approx(0.2, abs=0.01)


def test_near_field_in_space_before_a_planar_array():
    array = planar(8, 8)
    scene = far_scene(VEHICLE.scaled(0.2), 2.0, 0.1, 0.5, model='near-field', motion='space',
                      path_power=1e-9)
    scene = snapshots(Scene(array, array, scene.radio, extended=scene.extended), 200)
    body = scene.extended[0]
    echo = simulate_echo(scene, body, random_beams(64, 6), np.random.default_rng(3))
    found = estimate_pose(scene, body, echo)
    assert np.linalg.norm(found.pose.position - body.position) < 0.01


def test_gain_tells_that_the_path_is_weaker_than_expected():
    scene = snapshots(far_scene(VEHICLE, 10.0), 300)
    body, beams = scene.extended[0], beams_towards(scene)
    gains = []
    for seed in range(12):
        echo = simulate_echo(scene, replace(body, path_power=1e-12 / 9), beams,
                             np.random.default_rng(seed))
        gains.append(estimate_pose(scene, body, echo).gain)
    assert np.median(gains) == pytest.approx(1 / 3, rel=0.25)


def test_a_trial_step_that_rounding_defeats_is_taken_back(monkeypatch):
    """The second point that the search tries has no Cholesky factor."""
    scene = snapshots(far_scene(), 64)
    target = scene.extended[0]
    echo = simulate_echo(scene, target, random_beams(16, 4), np.random.default_rng(0))
    expected = estimate_pose(scene, target, echo, (8,))
    evaluate, calls = _Likelihood.at, []

    def at(self, plane, gain):
        calls.append(gain)
        if len(calls) == 2:
            raise np.linalg.LinAlgError('Matrix is not positive definite')
        return evaluate(self, plane, gain)

    monkeypatch.setattr(_Likelihood, 'at', at)
    found = estimate_pose(scene, target, echo, (8,))
    assert len(calls) > 3 and found.converged
    assert (found.range, found.direction, found.orientation) == pytest.approx(
        (expected.range, expected.direction, expected.orientation), abs=1e-5)
