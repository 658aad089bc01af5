"""Designs besides the three problems of the paper: unreduced, sensing alone, users alone."""

from dataclasses import replace

import cvxpy as cp
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import needs_reference, planar, random_scene, reference

from nf_isac_ros.core.certificate import power_bound
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings, solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.designs.sensing_only import fair_split
from nf_isac_ros.core.exceptions import InfeasibleError, SceneError, UnsuitableDesignError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.solvers.cvxpy_ import solve_sdr21


def design(scene, name, gap=1e-6):
    return solve(build_problem(scene), DESIGNS[name], gap, None)


def small(seed, n_targets, n_users, shape):
    scene = random_scene(seed, n_targets, n_users, side=6, min_sinr_db=-3.0)
    return replace(scene, transmit_array=planar(*shape))


# Without the reduction.

@pytest.mark.parametrize('seed, n_targets, n_users, shape', [
    (0, 1, 1, (3, 3)), (1, 1, 2, (3, 4)), (2, 2, 1, (3, 5)), (4, 1, 0, (3, 6)),
    # As few elements as can be, and fewer of them than bodies.
    (5, 1, 1, (1, 1)), (6, 2, 2, (1, 3))])
def test_reduced_designs_equal_the_unreduced_ones(seed, n_targets, n_users, shape):
    scene = small(seed, n_targets, n_users, shape)
    full, reduced = design(scene, 'crb-min-full'), design(scene, 'crb-min', 1e-8)
    assert full.objective == pytest.approx(reduced.objective, rel=1e-6)
    assert full.bound <= reduced.objective and full.gap <= 1e-6
    assert full.max_violation < 1e-9
    problem = build_problem(scene)
    for name, gains in (('max-min-illumination', np.ones(n_targets)),
                        ('max-min-echo', problem.echo_gains)):
        point = solve_sdr21(problem, gains, equilibrate_enable=False)
        assert design(scene, name, 1e-7).objective == pytest.approx(point.objective, rel=1e-6)


def test_the_unreduced_design_takes_small_arrays_only():
    with pytest.raises(UnsuitableDesignError, match='at most 18') as caught:
        design(random_scene(0, 1, 1, side=5), 'crb-min-full')
    assert caught.value.reason == 'too-many-elements'


def test_the_unreduced_design_knows_infeasible_thresholds():
    scene = small(1, 1, 2, (3, 4))
    reserve = build_problem(scene).max_common_sinr_scale_db
    with pytest.raises(InfeasibleError) as caught:
        design(replace(scene, users=tuple(
            replace(u, min_sinr_db=u.min_sinr_db + reserve + 1) for u in scene.users)),
            'crb-min-full')
    assert caught.value.max_common_sinr_scale_db == pytest.approx(-1, abs=1e-6)


# Sensing alone.

@pytest.mark.parametrize('seed, n_targets, n_users, monostatic', [
    (0, 1, 1, False), (1, 2, 2, True), (2, 2, 3, False), (3, 1, 4, False), (4, 1, 6, True)])
def test_users_cost_a_design_for_sensing_alone_nothing(seed, n_targets, n_users, monostatic):
    scene = random_scene(seed, n_targets, n_users, min_sinr_db=0.0, monostatic=monostatic)
    alone = design(replace(scene, users=()), 'crb-min')
    solution = design(scene, 'sensing-only')
    assert solution.objective == pytest.approx(alone.objective, rel=1e-8)
    assert solution.bound <= alone.objective * (1 + 1e-9)
    assert solution.power == pytest.approx(solution.power_limit, rel=1e-9)
    assert solution.subspace_dimension <= 4 * n_targets
    assert design(scene, 'crb-min').objective >= solution.bound


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 3), n_users=st.integers(0, 5),
       min_sinr_db=st.floats(-30, 40), monostatic=st.booleans(), side=st.integers(3, 12))
def test_sensing_alone_is_certified_whatever_users_want(
        seed, n_targets, n_users, min_sinr_db, monostatic, side):
    scene = random_scene(seed, n_targets, n_users, side=side, min_sinr_db=min_sinr_db,
                         monostatic=monostatic)
    try:
        solution = design(scene, 'sensing-only')
    except SceneError:
        return
    assert solution.gap <= 1e-4
    assert solution.power <= solution.power_limit * (1 + 1e-12)
    assert solution.communication.shape[1] == n_users
    assert np.isfinite(solution.weights).all()


def test_thresholds_that_sensing_alone_meets_leave_its_optimum():
    scene = random_scene(5, 2, 2, min_sinr_db=0.0)
    ratios = [10 ** (-user.violation_db / 10) for user in design(scene, 'sensing-only').users]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-6)
    for by_db, met in ((-0.01, True), (0.5, False)):
        shifted = replace(scene, users=tuple(
            replace(user, min_sinr_db=user.min_sinr_db + 10 * np.log10(ratios[0]) + by_db)
            for user in scene.users))
        best, alone = design(shifted, 'crb-min', 1e-8), design(scene, 'sensing-only', 1e-8)
        # No split of the same covariance serves them better, and a better one would sense worse.
        assert (best.objective <= alone.objective * (1 + 1e-7)) is met


@needs_reference
def test_one_user_gets_what_the_sensing_optimum_radiates_to_it():
    case = reference('S03_fig4_eta0')
    expected = case.expected['single_user_single_target']
    solution = design(case.scene, 'sensing-only', 1e-8)
    assert solution.sum_crb == pytest.approx(expected['CRB_s'], rel=1e-6)
    assert solution.users[0].sinr_db == pytest.approx(expected['Gamma_s_dB'], abs=1e-4)


def fairest_by_cvxpy(received, noise, sinr):
    """Largest common ratio over all contractions, by bisection on spectral-norm programs."""
    low, high = 1e-6, 1e4
    for _ in range(26):
        middle = np.sqrt(low * high)
        wanted = np.sqrt((1 + noise) * middle * sinr / (1 + middle * sinr))
        split, least = cp.Variable(received.shape, complex=True), cp.Variable()
        program = cp.Problem(cp.Maximize(least), [cp.sigma_max(split) <= 1, *(
            cp.real(received[:, u].conj() @ split[:, u]) >= least * wanted[u]
            for u in range(len(sinr)))])
        program.solve(solver='CLARABEL')
        low, high = (middle, high) if least.value >= 1 else (low, middle)
    return low


@pytest.mark.parametrize('streams, users', [(1, 2), (2, 2), (2, 4), (3, 3), (5, 3)])
def test_no_split_of_a_signal_is_fairer(streams, users):
    rng = np.random.default_rng(streams + 10 * users)
    received = rng.normal(size=(streams, users)) + 1j * rng.normal(size=(streams, users))
    received /= np.linalg.norm(received, axis=0)
    noise, sinr = 10 ** rng.uniform(-4, 0.5, users), 10 ** rng.uniform(-1, 1.5, users)
    split = fair_split(received, noise, sinr)
    assert np.linalg.norm(split, 2) <= 1 + 1e-12
    own = np.abs(np.einsum('ru,ru->u', received.conj(), split)) ** 2
    ratio = (own / (1 - own + noise) / sinr).min()
    assert ratio == pytest.approx(fairest_by_cvxpy(received, noise, sinr), rel=2e-6)


# Users alone.

def test_one_user_gets_maximum_ratio_transmission():
    scene = random_scene(6, 2, 1)
    solution = design(scene, 'sinr-max')
    h = build_problem(scene).channels[:, 0]
    largest = scene.radio.power * np.linalg.norm(h) ** 2 / scene.radio.user_noise
    assert solution.users[0].sinr_db == pytest.approx(10 * np.log10(largest), abs=1e-9)
    assert abs(np.vdot(h, solution.communication[:, 0])) == pytest.approx(
        np.linalg.norm(h) * np.linalg.norm(solution.communication), rel=1e-12)
    assert solution.sensing.shape[1] == 0


@pytest.mark.parametrize('n_users', [2, 3, 5])
def test_equal_thresholds_get_the_largest_common_sinr(n_users):
    scene = random_scene(7, 1, n_users)
    equal = replace(scene, users=tuple(replace(u, min_sinr_db=4.0) for u in scene.users))
    solution = design(equal, 'sinr-max')
    sinr = [user.sinr_db for user in solution.users]
    assert sinr == pytest.approx([sinr[0]] * n_users, abs=1e-8)
    assert solution.objective == pytest.approx(10 ** ((sinr[0] - 4.0) / 10), rel=1e-9)
    # Other thresholds, the same for all, change nothing.
    other = replace(scene, users=tuple(replace(u, min_sinr_db=-7.0) for u in scene.users))
    assert design(other, 'sinr-max').users[0].sinr_db == pytest.approx(sinr[0], abs=1e-8)


def least_power_by_cvxpy(scene):
    """Second-order cones: sqrt(1 + 1/Gamma) h_u^H w_u >= |(h_u^H W, sigma)|."""
    problem = build_problem(scene)
    n_users = len(problem.sinr)
    channels = problem.channels * np.sqrt(scene.radio.power) / np.sqrt(problem.noise_power)
    beams = cp.Variable(channels.shape, complex=True)
    constraints = []
    for u in range(n_users):
        received = channels[:, u].conj() @ beams
        constraints += [cp.imag(received[u]) == 0, cp.real(received[u]) * np.sqrt(
            1 + 1 / problem.sinr[u]) >= cp.norm(cp.hstack([received, np.ones(1)]))]
    program = cp.Problem(cp.Minimize(cp.sum_squares(beams)), constraints)
    program.solve(solver='CLARABEL')
    return float(program.value) * scene.radio.power


@pytest.mark.parametrize('n_users', [1, 2, 4])
def test_least_power_is_that_of_a_second_order_cone_program(n_users):
    scene = random_scene(8, 1, n_users, side=5, min_sinr_db=-2.0)
    solution = design(scene, 'least-power')
    assert solution.objective == solution.power
    assert solution.objective == pytest.approx(least_power_by_cvxpy(scene), rel=1e-5)
    assert solution.bound <= solution.objective * (1 + 1e-12)
    assert (solution.quality, solution.gap <= 1e-9) == (Quality.OPTIMAL, True)
    assert [user.violation_db for user in solution.users] == pytest.approx(
        [0.0] * n_users, abs=1e-8)
    assert solution.max_violation == 0.0


def test_any_multipliers_bound_the_power():
    problem = build_problem(random_scene(9, 1, 3, side=6, min_sinr_db=-2.0))
    rng = np.random.default_rng(0)
    for _ in range(100):
        bound = power_bound(problem, rng.exponential(size=3) ** 3)
        assert bound <= problem.least_power.power * (1 + 1e-12)


@pytest.mark.parametrize('name', ['sinr-max', 'least-power'])
def test_designs_for_users_need_one(name):
    with pytest.raises(SceneError, match=name) as caught:
        design(random_scene(10, 1, 0), name)
    assert caught.value.reason == 'no-users'


# In a cycle.

SCENE = random_scene(1, 2, 2, side=4, min_sinr_db=-6.0)


@pytest.mark.parametrize('name', [
    'crb-min', 'crb-min-full', 'least-power', 'max-min-echo', 'max-min-illumination', 'sinr-max',
    'users-first', 'zero-forcing'])
def test_a_cycle_designs_whatever_it_is_asked_to(name):
    solution = DesignCycle(DesignSettings(name, gap=1e-3)).step(SCENE)
    assert solution.design == name
    # What is heuristic ends with a gap of its own.
    assert solution.quality in (Quality.OPTIMAL, Quality.EARLY) and solution.reason == ''
    assert solution.max_violation < 1e-9


def test_sensing_alone_says_that_it_serves_nobody():
    cycle = DesignCycle(DesignSettings('sensing-only', gap=1e-3))
    reserve = build_problem(SCENE).max_common_sinr_scale_db
    demanding = replace(SCENE, users=tuple(
        replace(u, min_sinr_db=u.min_sinr_db + reserve - 0.1) for u in SCENE.users))
    solution = cycle.step(demanding)
    assert (solution.design, solution.quality, solution.reason) == (
        'sensing-only', Quality.FALLBACK, 'users-not-served')


@pytest.mark.parametrize('name', ['max-min-illumination', 'max-min-echo', 'least-power'])
def test_infeasible_thresholds_fall_back_to_the_largest_common_sinr(name):
    greedy = replace(SCENE, users=tuple(replace(u, min_sinr_db=60.0) for u in SCENE.users))
    solution = DesignCycle(DesignSettings(name)).step(greedy)
    assert (solution.design, solution.quality, solution.reason) == (
        'sinr-max', Quality.FALLBACK, 'infeasible-sinr')


@pytest.mark.parametrize('name', [
    'max-min-illumination', 'max-min-echo', 'sensing-only', 'crb-min-full'])
def test_without_targets_the_users_get_everything(name):
    solution = DesignCycle(DesignSettings(name)).step(replace(SCENE, targets=()))
    assert (solution.design, solution.quality) == ('sinr-max', Quality.OPTIMAL)


def test_an_array_too_large_for_the_unreduced_design_falls_back():
    solution = DesignCycle(DesignSettings('crb-min-full')).step(
        random_scene(1, 2, 2, side=5, min_sinr_db=-6.0))
    assert (solution.design, solution.quality, solution.reason) == (
        'zero-forcing', Quality.FALLBACK, 'too-many-elements')
