"""Designs for extended targets: reference optima, a second solver, requirements, edge cases."""

from dataclasses import replace

from extended_scenes import (
    NAMES,
    VEHICLE,
    WAVELENGTH,
    complex_array,
    extended_reference,
    far_scene,
    needs_extended_reference,
)
import numpy as np
import pytest
from scenes import planar

from nf_isac_ros.core.beams import split
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings, solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.designs.average import pattern_problem
from nf_isac_ros.core.designs.extended_zero_forcing import zero_forcing_space
from nf_isac_ros.core.designs.extended_zero_forcing_sets import set_points
from nf_isac_ros.core.designs.zero_forcing import ZeroForcingError
from nf_isac_ros.core.exceptions import InfeasibleError, UnsuitableDesignError
from nf_isac_ros.core.extended.channels import saleh_valenzuela
from nf_isac_ros.core.extended.plane import pose_in_plane
from nf_isac_ros.core.extended.problem import (
    LEAST_RATIO,
    as_point,
    distinct_sections,
    extended_problem,
)
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import (
    BoundWeights,
    ExtendedOptions,
    PointTarget,
    Radio,
    Scene,
    SensingNoise,
    User,
)
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.solvers.clarabel_ import solve_crb
from nf_isac_ros.core.solvers.cvxpy_ import solve_sdr12, solve_sdr13
from nf_isac_ros.core.starting_point import even_covariance

FAR = ExtendedOptions(geometry='far', sensing_stream=False)
# Of the reference designs, whose constraints hold to 1e-4 only.
TOLERANCE = 1e-4


def run(scene, design='extended-crb-min', gap=1e-4):
    return solve(build_problem(scene), DESIGNS[design], gap, None)


def with_users(scene, n_users, sinr_db, seed=0):
    """Scene with users whose channels have few paths, 100 dB away."""
    rng = np.random.default_rng(seed)
    directions = np.linspace(-1.0, 1.0, n_users + 2)[1:-1] + rng.normal(0.0, 0.05, n_users)
    return replace(scene, users=tuple(
        User(f'u{i}', sinr_db, channel=saleh_valenzuela(
            scene.transmit_array, direction, WAVELENGTH, 100.0, 0.8, 4, rng))
        for i, direction in enumerate(directions)))


def check(solution, gap=None):
    """Everything that a solution promises, recomputed at full size."""
    assert solution.max_violation <= 1e-9
    assert not np.isfinite(solution.bound) or (
        solution.bound <= solution.objective * (1 + 1e-9))
    if gap is not None:
        assert solution.gap <= gap


# ---- reference scenarios ----

@needs_extended_reference
@pytest.mark.parametrize('stream', [False, True], ids=['users-only', 'sensing-stream'])
@pytest.mark.parametrize('name', NAMES)
def test_least_direction_bound_is_that_of_the_reference(name, stream):
    reference = extended_reference(name)
    expected = reference.data['designs']['sdr_relaxed']['bounds']['far']['phi_o_rad2']
    scene = replace(reference.scene, options=replace(FAR, sensing_stream=stream))
    solution = run(scene, gap=1e-6)
    check(solution, 1e-6)
    assert solution.quality is Quality.OPTIMAL
    assert solution.objective == pytest.approx(expected, rel=TOLERANCE)
    assert solution.objective == solution.targets[0].bounds.direction
    assert (solution.sensing.shape[1] > 0) <= stream


@needs_extended_reference
@pytest.mark.parametrize('name', NAMES)
def test_least_direction_bound_with_exact_geometry_is_that_of_the_reference(name):
    reference = extended_reference(name)
    expected = reference.data['designs']['sdr_exact_geometry']['exact_beta']['phi_o_rad2']
    solution = run(replace(reference.scene, options=replace(FAR, geometry='exact')), gap=1e-5)
    check(solution, 1e-5)
    assert solution.objective == pytest.approx(expected, rel=3e-4)


@needs_extended_reference
@pytest.mark.parametrize('name', NAMES)
def test_zero_forcing_is_that_of_the_reference(name):
    reference = extended_reference(name)
    designs = reference.data['designs']
    scene = replace(reference.scene, options=FAR)
    solution = run(scene, 'extended-zero-forcing', gap=1e-6)
    check(solution)
    assert solution.objective == pytest.approx(
        designs['zf_full']['bounds']['far']['phi_o_rad2'], rel=TOLERANCE)
    # The bound is that of all designs, and shows the loss.
    optimum = designs['sdr_relaxed']['bounds']['far']['phi_o_rad2']
    assert solution.bound <= optimum * (1 + TOLERANCE)
    assert solution.objective / optimum - 1 <= solution.gap / (1 - solution.gap) + TOLERANCE
    heard = np.abs(build_problem(scene).channels.conj().T @ solution.communication)
    assert np.max(heard - np.diag(np.diag(heard))) <= 1e-9 * np.diag(heard).min()


@needs_extended_reference
def test_zero_forcing_with_one_section_for_each_user_is_that_of_the_reference():
    reference = extended_reference('S2_uav_los')
    expected = {tuple(sections): value for sections, value, _ in
                reference.data['designs']['zf_sets']['rows'] if value is not None}
    problem = extended_problem(build_problem(replace(reference.scene, options=FAR)), 2.0)
    found = {point.sections: point for point in set_points(
        problem, zero_forcing_space(problem), 1e-6)}
    finite = {sections for sections, value in expected.items() if np.isfinite(value)}
    assert found.keys() == finite
    for sections, point in found.items():
        assert point.objective == pytest.approx(expected[sections], rel=TOLERANCE)
        assert point.looseness < 1e-4
    solution = run(replace(reference.scene, options=FAR), 'extended-zero-forcing-sets')
    check(solution)
    assert solution.objective == pytest.approx(
        reference.data['designs']['zf_best_set']['bounds']['far']['phi_o_rad2'], rel=TOLERANCE)


@needs_extended_reference
@pytest.mark.parametrize('name', NAMES)
def test_benchmarks_are_those_of_the_reference(name):
    reference = extended_reference(name)
    designs = reference.data['designs']
    scene = replace(reference.scene, options=FAR)
    solution = run(scene, 'average')
    check(solution)
    pattern = pattern_problem(build_problem(scene))
    grid = pattern.problem.basis @ pattern.points
    least = (np.abs(grid.conj().T @ solution.weights) ** 2).sum(axis=1)[pattern.wanted].min()
    assert least == pytest.approx(designs['bench_average']['obj'], rel=TOLERANCE)

    nulled = run(scene, 'average-null', gap=1e-5)
    check(nulled)
    assert nulled.power == pytest.approx(scene.radio.power, rel=1e-9)
    received = (np.abs(grid.conj().T @ nulled.weights) ** 2).sum(axis=1)
    level = received @ pattern.wanted / pattern.wanted.sum()
    distance = np.sum((received - level * pattern.wanted) ** 2)
    theirs = complex_array(designs['bench_average_null']['R'])
    pattern_of_theirs = np.einsum('ik,ij,jk->k', grid.conj(), theirs, grid).real
    level = pattern_of_theirs @ pattern.wanted / pattern.wanted.sum()
    best = np.sum((pattern_of_theirs - level * pattern.wanted) ** 2)
    assert distance == pytest.approx(best, rel=1e-3)
    # Neither knows of the bound.
    optimum = run(scene).objective
    assert optimum < min(solution.objective, nulled.objective)


@needs_extended_reference
@pytest.mark.parametrize('name', NAMES)
def test_design_for_a_point_is_that_of_the_reference(name):
    reference = extended_reference(name)
    point = as_point(reference.target)
    solution = run(replace(reference.scene, extended=(point,), options=FAR), gap=1e-6)
    check(solution, 1e-6)
    bounds = solution.targets[0].bounds
    expected = reference.data['designs']['pt_design']['crb_pt']
    assert bounds.direction == pytest.approx(expected['phi_rad2'], rel=TOLERANCE)
    assert bounds.range == pytest.approx(expected['d_m2'], rel=2e-2)


# ---- a second solver, on the program as it is printed ----

@pytest.mark.parametrize('options', [
    ExtendedOptions(geometry='far'),
    ExtendedOptions(geometry='exact', coupling='complex'),
    ExtendedOptions(coverage_ratio=1.2),
    ExtendedOptions(coverage_ratio=None, objective='centre'),
    ExtendedOptions(objective=BoundWeights(1.0, 10.0, 0.1)),
], ids=['far', 'complex-coupling', 'even', 'centre', 'weighted'])
def test_optimum_is_that_of_the_unreduced_program(options):
    scene = replace(with_users(far_scene(elements=(8, 10), sections=5), 2, 8.0), options=options)
    solution = run(scene, gap=1e-5)
    check(solution, 1e-5)
    peer = solve_sdr12(extended_problem(build_problem(scene), options.coverage_ratio))
    assert solution.objective == pytest.approx(peer.objective, rel=TOLERANCE)


def near_scene(n_users=2, **options):
    array = planar(8, 8)
    radio = Radio(wavelength=0.0107, power=1.0, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-9), bandwidth=1e8)
    target = replace(far_scene().extended[0], model='near-field', path_power=None, sections=4,
                     pose=pose_in_plane(array, 4.0, 0.1, 0.4))
    users = tuple(User(f'u{i}', 10.0, np.array(place)) for i, place in enumerate(
        [(0.3, -1.5, 4.0), (-0.2, 2.0, 6.0), (0.1, -3.0, 8.0)][:n_users]))
    return Scene(array, array, radio, users=users, extended=(target,),
                 options=ExtendedOptions(**options))


def test_near_field_optimum_is_that_of_the_papers_form():
    scene = near_scene()
    solution = run(scene, gap=1e-4)
    check(solution, 1e-4)
    problem = extended_problem(build_problem(scene), 2.0).truncated(1e-3)[0]
    assert solution.objective == pytest.approx(solve_sdr13(problem).objective, rel=5e-4)


# ---- what every design promises ----

@pytest.mark.parametrize('stream', [False, True], ids=['users-only', 'sensing-stream'])
@pytest.mark.parametrize('sinr_db', [-5.0, 3.0, 12.0])
@pytest.mark.parametrize('n_users', [1, 2, 4])
def test_beams_meet_power_sinr_and_coverage(n_users, sinr_db, stream):
    scene = replace(with_users(far_scene(sections=6), n_users, sinr_db, seed=n_users),
                    options=ExtendedOptions(sensing_stream=stream))
    relaxed = run(replace(scene, options=ExtendedOptions()), gap=1e-5)
    solution = run(scene, gap=1e-3)
    check(solution, 1e-3)
    assert solution.sensing.shape[1] == 0 or stream
    assert solution.bound <= relaxed.objective * (1 + 1e-9)
    assert solution.coverage_ratio <= 2.0 * (1 + 1e-9)

    forced = run(scene, 'extended-zero-forcing', gap=1e-3)
    check(forced)
    assert forced.sensing.shape[1] == 0 or stream
    assert forced.bound <= relaxed.objective * (1 + 1e-9)
    assert forced.objective >= relaxed.bound * (1 - 1e-9)


@pytest.mark.parametrize('design', ['extended-crb-min', 'extended-zero-forcing'])
def test_near_field_beams_meet_power_sinr_and_coverage(design):
    for stream in (False, True):
        scene = near_scene(sensing_stream=stream)
        solution = run(scene, design, gap=1e-2)
        check(solution, 1e-2 if design == 'extended-crb-min' else None)


@pytest.mark.parametrize('design', ['extended-crb-min', 'extended-zero-forcing'])
def test_without_users_all_power_senses(design):
    solution = run(replace(far_scene(), options=ExtendedOptions(sensing_stream=False)), design)
    check(solution, 1e-3)
    assert solution.communication.shape[1] == 0


def test_several_targets_have_a_coverage_each_and_add_up():
    scene = far_scene(distance=15.0, direction=-0.4)
    other = replace(scene.extended[0], id='other', weight=3.0,
                    pose=pose_in_plane(scene.transmit_array, 30.0, 0.6, 0.2))
    scene = with_users(replace(scene, extended=(*scene.extended, other)), 2, 10.0)
    solution = run(scene, gap=1e-4)
    check(solution, 1e-4)
    first, second = solution.targets
    assert solution.objective == pytest.approx(
        first.bounds.direction + 3 * second.bounds.direction, rel=1e-12)
    # The near one gets more light than the far one would allow it with one level for both.
    assert max(first.coverage_ratio, second.coverage_ratio) <= 2 * (1 + 1e-9)
    both = np.concatenate([first.section_illumination, second.section_illumination])
    assert both.max() / both.min() > 2.0
    peer = solve_sdr13(extended_problem(build_problem(scene), 2.0).truncated(1e-4)[0])
    assert solution.objective == pytest.approx(peer.objective, rel=TOLERANCE)


# ---- trends of the paper's figures ----

def test_bounds_of_a_far_vehicle_are_those_of_a_point():
    distances = (4.0, 10.0, 30.0, 100.0, 300.0)
    ranges, directions, orientations = [], [], []
    for distance in distances:
        scene = replace(far_scene(distance=distance, direction=0.0, orientation=0.0,
                                  lengths='normalised'), options=FAR)
        bounds = run(with_users(scene, 2, 10.0)).targets[0].bounds
        ranges.append(bounds.range)
        directions.append(bounds.direction)
        orientations.append(bounds.orientation)
    assert np.all(np.diff(ranges) < 0) and np.all(np.diff(directions) < 0)
    assert np.all(np.array(orientations) > directions)
    scene = far_scene(distance=300.0, direction=0.0, orientation=0.0)
    point = replace(scene, extended=(as_point(scene.extended[0]),), options=FAR)
    bounds = run(with_users(point, 2, 10.0)).targets[0].bounds
    assert ranges[-1] == pytest.approx(bounds.range, rel=1e-2)
    assert directions[-1] == pytest.approx(bounds.direction, rel=1e-2)


def test_bounds_rise_with_the_required_sinr_and_zero_forcing_is_never_better():
    optimal, forced = [], []
    for sinr_db in (0.0, 6.0, 12.0):
        scene = replace(with_users(far_scene(), 3, sinr_db), options=FAR)
        optimal.append(run(scene, gap=1e-5).objective)
        forced.append(run(scene, 'extended-zero-forcing', gap=1e-5).objective)
    assert np.all(np.diff(optimal) > 0) and np.all(np.diff(forced) > 0)
    assert np.all(np.array(forced) >= np.array(optimal) * (1 - 1e-5))


# ---- edge cases ----

@pytest.mark.parametrize('design', [
    'extended-crb-min', 'extended-zero-forcing', 'extended-zero-forcing-sets', 'average',
    'average-null'])
def test_too_high_thresholds_say_by_how_much(design):
    scene = with_users(far_scene(sections=3), 2, 60.0)
    with pytest.raises(InfeasibleError) as caught:
        run(scene, design)
    margin = caught.value.max_common_sinr_scale_db
    assert margin < 0
    attainable = replace(scene, users=tuple(
        replace(user, min_sinr_db=60.0 + margin - 0.1) for user in scene.users))
    check(run(attainable, gap=1e-2))


def test_coverage_that_cannot_be_met_is_relaxed_and_labelled():
    # A wide target, a narrow beam: the user takes nearly all of the power.
    scene = far_scene(distance=5.0, direction=0.5, sections=8)
    scene = with_users(scene, 1, 0.0)
    scene = replace(scene, options=ExtendedOptions(coverage_ratio=1.05))
    margin = build_problem(scene).max_common_sinr_scale_db
    scene = replace(scene, users=(replace(scene.users[0], min_sinr_db=margin - 0.02),))
    solution = run(scene, gap=1e-3)
    check(solution, 1e-3)
    assert (solution.quality, solution.reason) == (Quality.FALLBACK, 'coverage-relaxed')
    assert 1.05 < solution.coverage_limit < np.inf
    assert solution.coverage_ratio <= solution.coverage_limit * (1 + 1e-9)
    # The ratio before it would not do.
    assert solution.coverage_ratio > solution.coverage_limit / 10 ** 0.1 * 0.999


def test_an_even_coverage_is_met_to_a_thousandth():
    scene = replace(with_users(far_scene(), 2, 8.0), options=ExtendedOptions(coverage_ratio=1.0))
    solution = run(scene, gap=1e-3)
    check(solution, 1e-3)
    assert solution.coverage_ratio <= LEAST_RATIO * (1 + 1e-9)


def test_more_sections_than_directions_are_merged():
    scene = far_scene(VEHICLE.scaled(0.02), distance=1e5, elements=(2, 20), sections=20)
    scene = replace(with_users(scene, 1, 3.0), options=ExtendedOptions(geometry='far'))
    assert distinct_sections(build_problem(scene))[0].shape[1] == 1
    solution = run(scene, gap=1e-4)
    check(solution, 1e-4)
    one = replace(scene, extended=(replace(scene.extended[0], sections=1),))
    direction = run(one)
    check(direction, 1e-4)
    # Its lengths add up to about the same.
    assert solution.objective == pytest.approx(direction.objective, rel=0.1)
    with pytest.raises(UnsuitableDesignError):
        # Range and orientation of a single section are one.
        run(one, 'crb-min')


@pytest.mark.parametrize('n_users', [4, 5])
def test_as_many_users_as_antennas_and_more(n_users):
    scene = with_users(far_scene(elements=(4, 20), sections=3, distance=60.0), n_users, -6.0)
    check(run(scene, gap=1e-3), 1e-3)
    if n_users == 4:
        forced = run(scene, 'extended-zero-forcing', gap=1e-3)
        check(forced)
    else:
        with pytest.raises(ZeroForcingError):
            run(scene, 'extended-zero-forcing')


def test_zero_forcing_refuses_users_that_cannot_be_told_apart():
    scene = with_users(far_scene(sections=3), 2, -6.0)
    twins = (scene.users[0], replace(scene.users[0], id='twin'))
    with pytest.raises(ZeroForcingError) as caught:
        run(replace(scene, users=twins), 'extended-zero-forcing')
    assert caught.value.reason == 'dependent-users'


@pytest.mark.parametrize('design', [
    'extended-crb-min', 'extended-zero-forcing', 'average', 'average-null'])
def test_points_are_for_other_designs(design):
    scene = near_scene()
    point = PointTarget('point', np.array([0.4, 1.5, 3.0]))
    for wrong in (replace(scene, targets=(point,)),
                  replace(scene, targets=(point,), extended=())):
        with pytest.raises(UnsuitableDesignError):
            run(wrong, design)


def test_too_many_sets_are_refused():
    with pytest.raises(UnsuitableDesignError) as caught:
        run(with_users(far_scene(sections=20), 4, 0.0), 'extended-zero-forcing-sets')
    assert caught.value.reason == 'too-many-sets'


def test_patterns_of_large_arrays_are_refused():
    scene = far_scene(elements=(64, 8))
    with pytest.raises(UnsuitableDesignError) as caught:
        run(scene, 'average')
    assert caught.value.reason == 'too-many-elements'


# ---- mixed scenes ----

def mixed_scene():
    scene = near_scene()
    return replace(scene, targets=(
        PointTarget('point', np.array([0.4, 1.5, 3.0]), 0.5j, 2.0),))


def test_points_and_extended_targets_share_the_covariance():
    scene = mixed_scene()
    problem = build_problem(scene)
    solution = run(scene, 'crb-min', gap=1e-3)
    check(solution, 1e-3)
    point, extended = solution.targets
    assert (point.id, extended.id) == ('point', 'target')
    assert solution.objective == pytest.approx(
        2 * np.trace(point.crb) + np.trace(extended.crb), rel=1e-12)
    weights = solution.weights
    np.testing.assert_allclose(
        extended.bounds.centre, problem.extended[0].bounds(
            problem.extended[0].of_factor(weights)).centre, rtol=1e-9)
    reduced = problem.basis.conj().T @ weights / np.sqrt(scene.radio.power)
    assert problem.objective(reduced @ reduced.conj().T) == pytest.approx(
        solution.objective, rel=1e-6)
    point_of_peer = solve_crb(problem, even_covariance(problem), 1e-4)
    assert solution.objective == pytest.approx(
        problem.objective(point_of_peer.covariance), rel=2e-3)


@pytest.mark.parametrize('n_users', [0, 2])
def test_position_of_the_centre_is_designed_for(n_users):
    # Nothing is to be known across the plane of the contour.
    scene = with_users(far_scene(distance=10.0), n_users, 8.0)
    problem = build_problem(scene)
    assert problem.selection.shape[1] == 2
    solution = run(scene, 'crb-min', gap=1e-4)
    check(solution, 1e-4)
    assert solution.objective == pytest.approx(np.trace(solution.targets[0].crb), rel=1e-12)
    peer = solve_crb(problem, even_covariance(problem), 1e-5)
    assert solution.objective == pytest.approx(problem.objective(peer.covariance), rel=2e-4)


def test_the_cycle_designs_for_extended_targets_and_falls_back():
    cycle = DesignCycle(DesignSettings('extended-crb-min', gap=1e-2))
    solution = cycle.step(near_scene())
    check(solution, 1e-2)
    assert (solution.design, solution.quality) == ('extended-crb-min', Quality.OPTIMAL)
    mixed = cycle.step(mixed_scene())
    assert (mixed.design, mixed.quality) == ('users-first', Quality.FALLBACK)
    assert mixed.reason == 'mixed-targets'
    point = DesignCycle(DesignSettings('crb-min', gap=1e-2)).step(mixed_scene())
    assert (point.design, point.quality) == ('crb-min', Quality.OPTIMAL)


def test_a_user_that_a_broken_solver_gives_less_than_nothing_gets_no_beam():
    problem = build_problem(with_users(far_scene(), 2, 10.0))
    g, d = problem.user_channels, problem.dimension
    parts = np.stack([g[:, 0], -g[:, 1]])
    beams = split(problem, np.eye(d), parts)
    assert beams.communication[:, 0] == pytest.approx(g[:, 0] / np.linalg.norm(g[:, 0]))
    assert not beams.communication[:, 1].any()
    np.testing.assert_allclose(beams.covariance, np.eye(d), atol=1e-12)


def test_the_last_twentieth_of_a_decibel_relaxes_the_coverage():
    """Two users without a line of sight, 0.06 dB below what is feasible at all."""
    array = far_scene().transmit_array
    channels = [saleh_valenzuela(array, direction, WAVELENGTH, 100.0, 0.0, 4,
                                 np.random.default_rng([1, 0, 1, user]))
                for user, direction in enumerate(np.deg2rad([-60.0, -30.0]))]
    scene = replace(far_scene(direction=0.0), options=FAR, users=tuple(
        User(f'u{i}', 0.0, channel=channel) for i, channel in enumerate(channels)))
    limit = build_problem(scene).max_common_sinr_scale_db
    found = run(replace(scene, users=tuple(
        replace(user, min_sinr_db=limit - 0.06) for user in scene.users)))
    check(found)
    assert found.reason == 'coverage-relaxed' and 2.0 < found.coverage_ratio < 4.0
