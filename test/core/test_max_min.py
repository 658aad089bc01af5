"""Max-min illumination and echo power: reference optima, closed forms, an independent program."""

from dataclasses import replace

import cvxpy as cp
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import (
    WAVELENGTH,
    needs_reference,
    planar,
    radio,
    random_scene,
    reference,
    reference_names,
)

from nf_isac_ros.core.certificate import max_min_bound
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS, max_min
from nf_isac_ros.core.exceptions import InfeasibleError, SceneError, SolverError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, ScatteredPath, Scene, User
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.solvers.clarabel_ import MaxMinPoint

ILLUMINATION, ECHO = 'max-min-illumination', 'max-min-echo'
both = pytest.mark.parametrize('name', [ILLUMINATION, ECHO])


def design(scene, name, gap=1e-6):
    return solve(build_problem(scene), DESIGNS[name], gap, None)


def check_feasible(solution):
    assert np.sum(np.abs(solution.weights) ** 2) <= solution.power_limit * (1 + 1e-12)
    for user in solution.users:
        assert user.sinr_db >= user.required_sinr_db - 1e-9


def check_certified(solution, gap):
    assert solution.bound >= solution.objective * (1 - 1e-12)
    assert solution.gap <= gap


def response(elements, point):
    """By the definition in words, without the code of the package."""
    distance = np.linalg.norm(elements - point, axis=1)
    return WAVELENGTH / (4 * np.pi * distance) * np.exp(-2j * np.pi * distance / WAVELENGTH)


def gains(scene, name):
    """What the power at each target is multiplied with: 1, or |a|^2 |b|^2."""
    if name == ILLUMINATION:
        return np.ones(len(scene.targets))
    return np.array([
        np.linalg.norm(response(scene.receive_array.positions, target.position)) ** 2
        * abs(target.reflection) ** 2 for target in scene.targets])


# Reference data.

@needs_reference
@both
@pytest.mark.parametrize('scene', reference_names())
def test_reference_optima(scene, name):
    case = reference(scene)
    if not case.expected['feasible']:
        with pytest.raises(InfeasibleError) as caught:
            design(case.scene, name)
        assert caught.value.max_common_sinr_scale_db == pytest.approx(
            case.expected['max_common_sinr_scale_db'], abs=1e-6)
        return
    expected = case.expected[name]
    solution = design(case.scene, name)
    optimum = expected['objective']
    check_feasible(solution)
    check_certified(solution, 1e-6)
    # The certified optimum is known to 1e-12; nothing feasible is above it, no bound below it.
    assert optimum * (1 - 1e-6) <= solution.objective <= optimum * (1 + 1e-9)
    assert solution.bound >= optimum * (1 - 1e-9)
    assert solution.sum_crb == pytest.approx(expected['sum_crb_m2'], rel=1e-4)
    for target, crb in zip(solution.targets, expected['crb_m2'], strict=True):
        np.testing.assert_allclose(target.crb, crb, rtol=0, atol=1e-4 * np.max(np.abs(crb)))
    assert solution.subspace_dimension == expected['subspace_dimension']
    np.testing.assert_allclose(
        solution.covariance_eigenvalues, expected['covariance_eigenvalues_w'], rtol=0,
        atol=1e-4 * solution.power_limit)


# An independent program.

def optimum_by_cvxpy(scene, name):
    """(SDR2.1) and its like for the echo on N x N matrices, from positions alone."""
    elements, power = scene.transmit_array.positions, scene.radio.power
    n = len(elements)
    users = [cp.Variable((n, n), hermitian=True) for _ in scene.users]
    sensing = cp.Variable((n, n), hermitian=True)
    total = sum(users, sensing)
    least = cp.Variable()
    constraints = [block >> 0 for block in [*users, sensing]]
    constraints.append(cp.real(cp.trace(total)) <= 1)
    for user, block in zip(scene.users, users, strict=True):
        # In units of the noise over the required SINR.
        h = response(elements, user.position).conj()
        strength = np.linalg.norm(h) ** 2
        channel = np.outer(h, h.conj()) / strength
        sinr = 10 ** (user.min_sinr_db / 10)
        noise = scene.radio.user_noise / (power * strength)
        own = cp.real(cp.trace(channel @ block))
        constraints.append(own >= sinr * (cp.real(cp.trace(channel @ total)) - own + noise))
    lit = []
    for target, gain in zip(scene.targets, gains(scene, name), strict=True):
        v = np.sqrt(gain * power) * response(elements, target.position)
        # v^T R conj(v)
        lit.append(np.outer(v.conj(), v))
    unit = min(np.trace(matrix).real for matrix in lit)
    constraints += [cp.real(cp.trace(matrix / unit @ total)) >= least for matrix in lit]
    program = cp.Problem(cp.Maximize(least), constraints)
    program.solve(solver='CLARABEL', equilibrate_enable=False)
    return float(program.value) * unit


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 3), n_users=st.integers(0, 2),
       min_sinr_db=st.floats(-10, 5), shape=st.sampled_from([(1, 4), (2, 3), (3, 3), (3, 4)]),
       name=st.sampled_from([ILLUMINATION, ECHO]))
def test_optimum_is_that_of_the_unreduced_program(
        seed, n_targets, n_users, min_sinr_db, shape, name):
    scene = replace(random_scene(seed, n_targets, n_users, side=4, min_sinr_db=min_sinr_db),
                    transmit_array=planar(*shape))
    try:
        # Near infeasibility the program of this test is worth nothing.
        if build_problem(scene).max_common_sinr_scale_db < 0.5:
            return
    except SceneError:
        return
    solution = design(scene, name, 1e-7)
    check_feasible(solution)
    check_certified(solution, 1e-6)
    optimum = optimum_by_cvxpy(scene, name)
    assert solution.objective == pytest.approx(optimum, rel=3e-6)
    assert solution.objective == pytest.approx(min(
        gain * lit for gain, lit in zip(gains(scene, name), illuminations(scene, solution))),
        rel=1e-9)


def illuminations(scene, solution):
    """v^T R_X conj(v) of each target from the beams alone."""
    return [np.linalg.norm(
        response(scene.transmit_array.positions, target.position) @ solution.weights) ** 2
        for target in scene.targets]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 4), n_users=st.integers(0, 4),
       min_sinr_db=st.floats(-10, 15), monostatic=st.booleans(), side=st.integers(3, 12),
       name=st.sampled_from([ILLUMINATION, ECHO]))
def test_every_solution_is_feasible_and_certified(
        seed, n_targets, n_users, min_sinr_db, monostatic, side, name):
    scene = random_scene(seed, n_targets, n_users, side=side, min_sinr_db=min_sinr_db,
                         monostatic=monostatic)
    try:
        solution = design(scene, name)
    except (InfeasibleError, SceneError):
        return
    check_feasible(solution)
    check_certified(solution, 1e-5)
    assert solution.subspace_dimension <= n_targets + n_users


def test_any_multipliers_give_a_bound():
    problem = build_problem(random_scene(7, 2, 2, side=8, min_sinr_db=0.0))
    rng = np.random.default_rng(0)
    points = problem.fisher.transmit[:, :2]
    optimum = solve(problem, DESIGNS[ILLUMINATION], 1e-8, None).objective
    scale = optimum / problem.user_noise.max()
    bounds = [max_min_bound(problem, points, rng.exponential(size=2),
                            scale * rng.exponential(size=2) * 10 ** rng.uniform(-6, 1))
              for _ in range(200)]
    assert min(bounds) >= optimum * (1 - 1e-9)
    assert min(bounds) <= 3 * optimum


# Closed forms.

@both
def test_a_single_target_without_users_gets_all_of_the_power(name):
    scene = random_scene(21, 1, 0, side=10)
    solution = design(scene, name)
    strength = np.linalg.norm(
        response(scene.transmit_array.positions, scene.targets[0].position)) ** 2
    assert solution.objective == pytest.approx(
        gains(scene, name)[0] * scene.radio.power * strength, rel=1e-9)
    assert solution.subspace_dimension == 1
    assert solution.covariance_eigenvalues == pytest.approx([scene.radio.power], rel=1e-9)


@both
@pytest.mark.parametrize('reserve_db', [20.0, 3.0, 0.5, 1e-3])
def test_one_target_and_one_user_share_one_beam(name, reserve_db):
    # In the plane of the two directions the beam leans to the user by as much as its SINR takes:
    # |p|^2 (rho sqrt(c) + sqrt((1 - rho^2) (1 - c)))^2, where c is the share of the largest SINR.
    scene = random_scene(22, 1, 1, side=10)
    elements, (user,) = scene.transmit_array.positions, scene.users
    v = response(elements, scene.targets[0].position)
    h = response(elements, user.position)
    rho = abs(np.vdot(v, h)) / np.linalg.norm(v) / np.linalg.norm(h)
    largest = 10 * np.log10(scene.radio.power * np.linalg.norm(h) ** 2 / scene.radio.user_noise)
    share = 10 ** (-reserve_db / 10)
    scene = replace(scene, users=(replace(user, min_sinr_db=largest - reserve_db),))
    lean = rho * np.sqrt(share) + np.sqrt((1 - rho ** 2) * (1 - share))
    expected = 1.0 if share <= rho ** 2 else lean ** 2
    solution = design(scene, name)
    check_feasible(solution)
    assert solution.objective == pytest.approx(
        gains(scene, name)[0] * scene.radio.power * np.linalg.norm(v) ** 2 * expected, rel=1e-6)


@both
def test_a_user_at_the_target_gets_its_beam(name):
    scene = random_scene(23, 1, 1, side=10)
    together = replace(scene, users=(
        replace(scene.users[0], position=scene.targets[0].position),))
    solution = design(together, name)
    strength = np.linalg.norm(
        response(scene.transmit_array.positions, scene.targets[0].position)) ** 2
    assert solution.subspace_dimension == 1
    assert solution.targets[0].illumination == pytest.approx(
        scene.radio.power * strength, rel=1e-9)
    assert solution.users[0].sinr_db == pytest.approx(
        10 * np.log10(scene.radio.power * strength / scene.radio.user_noise), abs=1e-6)


# Invariances.

BASE = random_scene(11, 2, 2, side=8, min_sinr_db=3.0)


def test_a_common_factor_on_the_reflections_counts_by_its_square_in_the_echo_alone():
    factor = 2.0 * np.exp(0.7j)
    scaled = replace(BASE, targets=tuple(
        replace(target, reflection=factor * target.reflection) for target in BASE.targets))
    assert design(scaled, ECHO).objective == pytest.approx(
        4 * design(BASE, ECHO).objective, rel=2e-6)
    assert design(scaled, ILLUMINATION).objective == pytest.approx(
        design(BASE, ILLUMINATION).objective, rel=2e-6)


@both
def test_power_and_noise_scale_together(name):
    scaled = replace(BASE, radio=replace(BASE.radio, power=0.07, user_noise=7e-8))
    assert design(scaled, name).objective == pytest.approx(
        7 * design(BASE, name).objective, rel=2e-6)


@both
def test_neither_symbols_nor_sensing_noise_nor_weights_matter(name):
    other = replace(
        BASE, radio=replace(radio(), symbols=7, sensing_noise=replace(
            BASE.radio.sensing_noise, power=1e-6)),
        targets=(replace(BASE.targets[0], weight=9.0), BASE.targets[1]))
    assert design(other, name).objective == pytest.approx(design(BASE, name).objective, rel=2e-6)


@both
def test_order_of_bodies_does_not_matter(name):
    swapped = design(replace(BASE, targets=BASE.targets[::-1], users=BASE.users[::-1]), name)
    assert swapped.objective == pytest.approx(design(BASE, name).objective, rel=2e-6)
    assert [target.id for target in swapped.targets] == ['t1', 't0']


@both
def test_another_user_or_target_never_raises_the_least(name):
    all_of_them = design(BASE, name).objective * (1 - 1e-6)
    assert design(replace(BASE, users=BASE.users[:1]), name).objective >= all_of_them
    assert design(replace(BASE, targets=BASE.targets[1:]), name).objective >= all_of_them


@both
def test_the_targets_are_all_at_the_least_where_that_costs_something(name):
    solution = design(replace(BASE, users=()), name, 1e-8)
    values = gains(BASE, name) * illuminations(BASE, solution)
    assert values == pytest.approx([solution.objective] * 2, rel=1e-6)


@both
def test_no_other_design_has_a_larger_least(name):
    least = design(BASE, name).objective * (1 + 1e-6)
    for other in ('crb-min', 'sinr-max', 'users-first', 'zero-forcing'):
        lit = illuminations(BASE, design(BASE, other))
        assert min(gains(BASE, name) * lit) <= least


# Awkward scenes.

@both
@pytest.mark.parametrize('margin_db, gap', [(1.0, 1e-6), (0.1, 1e-6), (0.01, 1e-5), (1e-4, 1e-4)])
@pytest.mark.parametrize('n_users', [1, 2, 4])
def test_near_infeasibility(n_users, margin_db, gap, name):
    scene = random_scene(n_users, 2, n_users, side=10, min_sinr_db=0.0)
    reserve = build_problem(scene).max_common_sinr_scale_db - margin_db
    tight = replace(scene, users=tuple(
        replace(user, min_sinr_db=user.min_sinr_db + reserve) for user in scene.users))
    solution = design(tight, name)
    check_feasible(solution)
    check_certified(solution, gap)


@both
@pytest.mark.parametrize('case', [
    'collocated', 'identical-users', 'half-wave-targets', 'more-than-antennas', 'scattered',
    'high-sinr', 'far-and-near', 'weak-reflection', 'behind'])
def test_degenerate_scenes(case, name):
    scene = random_scene(31, 2, 2, side=10, min_sinr_db=-3.0)
    first, second = scene.users
    scene = {
        'collocated': replace(
            scene, users=(replace(first, position=scene.targets[0].position), second)),
        'identical-users': replace(
            scene, users=(replace(first, min_sinr_db=-4.0, position=second.position),
                          replace(second, min_sinr_db=-3.0))),
        'half-wave-targets': replace(scene, targets=(
            scene.targets[0],
            replace(scene.targets[1],
                    position=scene.targets[0].position + [WAVELENGTH / 2, 0.0, 0.0]))),
        'more-than-antennas': replace(
            random_scene(32, 1, 4, min_sinr_db=-25.0), transmit_array=planar(1, 3)),
        'scattered': replace(scene, users=(
            replace(first, scattered=(ScatteredPath('t1', 0.5 - 0.3j),)), second)),
        'high-sinr': replace(scene, users=(replace(first, min_sinr_db=18.0), second)),
        'far-and-near': replace(scene, targets=(
            scene.targets[0],
            replace(scene.targets[1], position=np.array([3.0, -2.0, 40.0])))),
        'weak-reflection': replace(scene, targets=(
            scene.targets[0], replace(scene.targets[1], reflection=1e-6j))),
        'behind': Scene(planar(12, 12), planar(12, 12, 2.47), radio(),
                        (PointTarget('t', np.array([0.1, 0.05, -0.4])), scene.targets[0]),
                        scene.users),
    }[case]
    solution = design(scene, name)
    check_feasible(solution)
    check_certified(solution, 1e-6)


@both
def test_infeasible_thresholds_are_named_with_their_margin(name):
    scene = random_scene(5, 1, 3, side=10)
    reserve = build_problem(scene).max_common_sinr_scale_db
    too_much = replace(scene, users=tuple(
        replace(user, min_sinr_db=user.min_sinr_db + reserve + 0.5) for user in scene.users))
    with pytest.raises(InfeasibleError) as caught:
        design(too_much, name)
    assert caught.value.max_common_sinr_scale_db == pytest.approx(-0.5, abs=1e-6)


# When a solver fails.

def test_a_second_attempt_is_made_where_the_first_one_fails(monkeypatch):
    calls = []

    def fails_first(*arguments):
        calls.append(arguments[3])
        if len(calls) == 1:
            raise SolverError('no numbers')
        return solver(*arguments)

    solver = max_min.solve_max_min
    monkeypatch.setattr(max_min, 'solve_max_min', fails_first)
    monkeypatch.setattr(max_min, 'maximise_least', no_numbers)
    check_certified(design(BASE, ECHO), 1e-6)
    assert len(calls) == 2 and calls[0] < calls[1]


def no_numbers(*_):
    raise SolverError('no numbers')


def test_both_solvers_agree(monkeypatch):
    first = design(BASE, ECHO)
    monkeypatch.setattr(max_min, 'maximise_least', no_numbers)
    assert design(BASE, ECHO).objective == pytest.approx(first.objective, rel=2e-6)


def test_numbers_that_mean_little_still_give_feasible_beams(monkeypatch):
    def useless(problem, points, *_):
        d, n = problem.user_channels.shape
        return MaxMinPoint(np.eye(d, dtype=complex), np.zeros((n, n, n), dtype=complex),
                           np.zeros(points.shape[1]), np.zeros(n), 0, 'MaxTime')

    monkeypatch.setattr(max_min, 'solve_max_min', useless)
    monkeypatch.setattr(max_min, 'maximise_least', no_numbers)
    solution = design(BASE, ILLUMINATION)
    check_feasible(solution)
    assert solution.quality is Quality.EARLY
    assert solution.bound >= solution.objective


def test_users_that_need_next_to_nothing_cost_next_to_nothing():
    # Once the largest part of the design was given up for a billionth of the power.
    scene = random_scene(3, 2, 3, side=6, min_sinr_db=0.0)
    levels = (-70.0, 5.0, -40.0)
    modest = replace(scene, users=tuple(
        replace(user, min_sinr_db=level)
        for user, level in zip(scene.users, levels, strict=True)))
    solution = design(modest, ILLUMINATION)
    check_feasible(solution)
    check_certified(solution, 1e-6)
    alone = design(replace(scene, users=(replace(scene.users[1], min_sinr_db=5.0),)), ILLUMINATION)
    assert solution.objective == pytest.approx(alone.objective, rel=1e-3)


@pytest.mark.parametrize('covariance', [0.0, -1.0])
def test_no_covariance_at_all_is_an_error(monkeypatch, covariance):
    def useless(problem, points, *_):
        d, n = problem.user_channels.shape
        return MaxMinPoint(covariance * np.eye(d), np.zeros((n, n, n)), np.ones(points.shape[1]),
                           np.zeros(n), 0, 'MaxTime')

    monkeypatch.setattr(max_min, 'solve_max_min', useless)
    monkeypatch.setattr(max_min, 'maximise_least', no_numbers)
    with pytest.raises(SolverError):
        design(BASE, ILLUMINATION)


@both
def test_a_user_known_by_its_channel_counts_like_one_in_line_of_sight(name):
    h = response(BASE.transmit_array.positions, BASE.users[0].position).conj()
    by_channel = replace(BASE, users=(
        User('u0', BASE.users[0].min_sinr_db, channel=h * np.exp(1.3j)), BASE.users[1]))
    assert design(by_channel, name).objective == pytest.approx(
        design(BASE, name).objective, rel=2e-6)
