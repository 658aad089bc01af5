"""Bounds over where an uncertain target may be: against single scenes, other solvers, by worth."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import random_scene

from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings, solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import InfeasibleError, SceneError
from nf_isac_ros.core.fisher import position_bounds
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.region import region_problem, sigma_points
from nf_isac_ros.core.scene import PointTarget
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.solvers.clarabel_ import solve_crb
from nf_isac_ros.core.starting_point import even_covariance

REGION, NOMINAL = DESIGNS['crb-min-region'], DESIGNS['crb-min']


def uncertain(deviation, n_targets=1, n_users=1, side=16, seed=11, **options):
    scene = random_scene(seed, n_targets, n_users, side=side, min_sinr_db=3.0, **options)
    return replace(scene, targets=tuple(
        replace(target, position_covariance=np.eye(3) * deviation ** 2)
        for target in scene.targets))


def bounds_at(scene, places, weights):
    """Bounds (K, 3, 3) of the beams if the targets are there."""
    moved = replace(scene, targets=tuple(
        replace(target, position=place) for target, place in zip(scene.targets, places)))
    return position_bounds(
        build_problem(moved).full_fisher.of_factor(weights), len(scene.targets))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 3), rank=st.integers(1, 3))
def test_sigma_points_have_the_mean_and_the_covariance(seed, n, rank):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n, 3, rank)) * 10 ** rng.uniform(-3, 0)
    targets = tuple(
        PointTarget(str(k), rng.normal(size=3), position_covariance=root @ root.T)
        for k, root in enumerate(roots))
    points = sigma_points(targets)
    shares = np.array([share for share, _ in points])
    places = np.array([place for _, place in points])
    assert len(points) == 7 and shares.min() > 0
    assert shares.sum() == pytest.approx(1.0, abs=1e-15)
    expected = np.array([target.position for target in targets])
    np.testing.assert_allclose(places[0], expected)
    np.testing.assert_allclose(np.einsum('s,ski->ki', shares, places), expected, atol=1e-12)
    spread = places - expected
    covariance = np.einsum('s,ski,skj->kij', shares, spread, spread)
    np.testing.assert_allclose(covariance, roots @ roots.swapaxes(1, 2),
                               atol=1e-12 * np.abs(covariance).max())


@pytest.mark.parametrize('n_targets, n_users, deviation', [
    (1, 0, 0.01), (1, 1, 0.03), (1, 2, 0.002), (2, 1, 0.002)])
def test_objective_is_the_average_over_single_scenes(n_targets, n_users, deviation):
    scene = uncertain(deviation, n_targets, n_users, side=12)
    weighted = replace(scene, targets=tuple(
        replace(t, weight=1.0 + k, coordinate_weights=np.array([1.0, 2.0, 0.5]))
        for k, t in enumerate(scene.targets)))
    solution = solve(build_problem(weighted), REGION, 1e-4, None)
    average = sum(share * bounds_at(scene, places, solution.weights)
                  for share, places in sigma_points(scene.targets))
    for target, expected in zip(solution.targets, average):
        np.testing.assert_allclose(target.region_crb, expected, rtol=1e-6,
                                   atol=1e-7 * np.abs(expected).max())
    assert solution.objective == pytest.approx(sum(
        t.weights @ np.diag(bound) for t, bound in zip(weighted.targets, average)), rel=1e-7)
    here = bounds_at(scene, [t.position for t in scene.targets], solution.weights)
    assert solution.sum_crb == pytest.approx(
        np.trace(here, axis1=1, axis2=2).sum(), rel=1e-7)
    assert solution.quality is Quality.OPTIMAL and solution.gap <= 1e-4
    assert all(user.violation_db <= 1e-9 for user in solution.users)
    assert solution.power == pytest.approx(0.01, rel=1e-9)


def test_optimum_is_that_of_another_solver_on_the_whole_subspace():
    problem = build_problem(uncertain(0.02, side=8))
    region = region_problem(problem)
    assert region.dimension > problem.dimension
    solution = solve(problem, REGION, 1e-6, None)
    point = solve_crb(region, even_covariance(region), 1e-7, None)
    assert solution.objective == pytest.approx(region.objective(point.covariance), rel=2e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10 ** 6))
def test_no_beams_are_better_than_the_bound(seed):
    scene = uncertain(0.02, n_users=0, side=8)
    problem = build_problem(scene)
    solution = solve(problem, REGION, 1e-5, None)
    region = region_problem(problem)
    rng = np.random.default_rng(seed)
    shape = (region.dimension, rng.integers(1, 6))
    factor = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    other = factor @ factor.conj().T / np.linalg.norm(factor) ** 2
    assert region.objective(other) >= solution.bound
    # Nor is a bound of another point above what was found.
    assert crb_bound(region, tangent_weights(region, other),
                     np.zeros(0)) <= solution.objective * (1 + 1e-9)


@pytest.mark.parametrize('n_targets', [1, 2])
def test_certain_targets_get_the_nominal_design(n_targets):
    scene = uncertain(0.0, n_targets, 1, side=10)
    problem = build_problem(scene)
    region, nominal = (solve(problem, design, 1e-6, None) for design in (REGION, NOMINAL))
    assert region.objective == pytest.approx(nominal.objective, rel=1e-6)
    assert all(target.region_crb is None for target in region.targets)
    # And hardly any uncertainty makes hardly a difference.
    slightly = solve(build_problem(uncertain(1e-6, n_targets, 1, side=10)), REGION, 1e-5, None)
    assert slightly.objective == pytest.approx(nominal.objective, rel=3e-5)


@pytest.mark.parametrize('seed', [11, 21, 31])
def test_an_uncertain_target_gets_a_wider_beam(seed):
    deviation = 0.05
    scene = uncertain(deviation, 1, 1, side=24, seed=seed)
    problem = build_problem(scene)
    region, nominal = (solve(problem, design, 1e-4, None) for design in (REGION, NOMINAL))
    rng = np.random.default_rng(seed)
    place = scene.targets[0].position
    ball = rng.normal(size=(60, 3))
    ball *= 2 * deviation * rng.uniform(size=(60, 1)) ** (1 / 3) / np.linalg.norm(
        ball, axis=1)[:, None]
    bounds = {name: np.array([
        np.trace(bounds_at(scene, [place + offset], design.weights)[0]) for offset in ball])
        for name, design in (('region', region), ('nominal', nominal))}
    # Worst case and mean over two deviations are better, at the price of the centre.
    assert bounds['region'].max() < 0.7 * bounds['nominal'].max()
    assert bounds['region'].mean() < bounds['nominal'].mean()
    assert region.sum_crb >= nominal.sum_crb * (1 - 1e-4)
    # Two deviations off, the light is a larger part of that in the middle.
    share = {name: self_light(scene, place, deviation, design.weights)
             for name, design in (('region', region), ('nominal', nominal))}
    assert share['region'] > share['nominal']


def self_light(scene, place, deviation, weights):
    """Mean illumination two deviations off over that of the middle."""
    def light(point):
        distance = np.linalg.norm(scene.transmit_array.positions - point, axis=1)
        phase = 2 * np.pi * distance / scene.radio.wavelength
        return np.sum(np.abs((np.exp(-1j * phase) / distance) @ weights) ** 2)
    offsets = 2 * deviation * np.vstack([np.eye(3), -np.eye(3)])
    return np.mean([light(place + offset) for offset in offsets]) / light(place)


def test_nodes_only_need_its_name():
    cycle = DesignCycle(DesignSettings('crb-min-region', gap=1e-3))
    for _ in range(2):
        solution = cycle.step(uncertain(0.02, 1, 1, side=10))
        assert (solution.design, solution.quality) == ('crb-min-region', Quality.OPTIMAL)
    assert cycle.step(uncertain(0.02, 0, 1, side=10)).design == 'sinr-max'


def test_thresholds_that_cannot_be_met_are_named():
    scene = uncertain(0.02, 1, 1, side=8)
    loud = replace(scene, users=(replace(scene.users[0], min_sinr_db=60.0),))
    with pytest.raises(InfeasibleError):
        solve(build_problem(loud), REGION, 1e-3, None)


@pytest.mark.parametrize('covariance', [
    np.eye(2), np.full((3, 3), np.nan), np.diag([1.0, 1.0, -1e-3]),
    np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])], ids=['2x2', 'nan', 'negative', 'skew'])
def test_a_covariance_that_cannot_be_is_refused(covariance):
    with pytest.raises(SceneError, match="position covariance of 't'") as caught:
        PointTarget('t', np.ones(3), position_covariance=covariance)
    assert caught.value.reason == 'bad-covariance'
