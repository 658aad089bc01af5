"""Sum-CRB minimisation: reference optima, the paper's program, invariances, awkward scenes."""

from dataclasses import replace

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

from nf_isac_ros.core.beams import ReducedBeams, recovered, repair, slack, trimmed
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import InfeasibleError, SceneError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, ScatteredPath, Scene, SensingNoise, User
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.solvers.cvxpy_ import solve_sdr13
from nf_isac_ros.core.solvers.interior_point import minimise_crb


def design(scene, gap=1e-6, name='crb-min'):
    return solve(build_problem(scene), DESIGNS[name], gap, None)


def check_feasible(solution):
    """Recompute power and SINRs from the beams, without the code of the package."""
    weights = solution.weights
    assert np.sum(np.abs(weights) ** 2) <= solution.power_limit * (1 + 1e-12)
    for user in solution.users:
        assert user.sinr_db >= user.required_sinr_db - 1e-9


def check_certified(solution, gap):
    assert solution.bound <= solution.objective * (1 + 1e-12)
    assert solution.gap == pytest.approx(
        (solution.objective - solution.bound) / solution.objective, abs=1e-15)
    assert solution.gap <= gap


@needs_reference
@pytest.mark.parametrize('name', reference_names())
def test_reference_optima(name):
    case = reference(name)
    if not case.expected['feasible']:
        with pytest.raises(InfeasibleError) as caught:
            design(case.scene)
        assert caught.value.max_common_sinr_scale_db == pytest.approx(
            case.expected['max_common_sinr_scale_db'], abs=1e-6)
        return
    expected = case.expected['crb-min']
    solution = design(case.scene)
    optimum = expected['objective']
    check_feasible(solution)
    check_certified(solution, 1e-5)
    # The certified optimum is known to 1e-12; nothing feasible lies below it, no bound above it.
    assert solution.objective >= optimum * (1 - 1e-9)
    assert solution.objective <= optimum * (1 + 1e-5)
    assert solution.bound <= optimum * (1 + 1e-9)
    assert solution.sum_crb == pytest.approx(expected['sum_crb_m2'], rel=1e-5)
    assert solution.isotropic_sum_crb == pytest.approx(
        case.expected['isotropic_sum_crb_m2'], rel=1e-9)
    for target, crb in zip(solution.targets, expected['crb_m2']):
        np.testing.assert_allclose(target.crb, crb, rtol=2e-3, atol=2e-3 * np.max(crb))


@needs_reference
def test_a_loose_gap_is_certified_too():
    for name in ('S03_fig4_eta0', 'S05_fig6_5dB', 'S17_monostatic_K2_U2'):
        case = reference(name)
        solution = design(case.scene, gap=1e-3)
        check_feasible(solution)
        check_certified(solution, 2e-3)
        assert solution.bound <= case.expected['crb-min']['objective'] * (1 + 1e-9)


@pytest.mark.parametrize('seed, n_targets, n_users, monostatic', [
    (0, 1, 1, False), (1, 1, 2, True), (2, 2, 2, False), (3, 2, 1, True), (5, 2, 0, True)])
def test_optimum_is_that_of_the_papers_program(seed, n_targets, n_users, monostatic):
    scene = random_scene(seed, n_targets, n_users, side=12, min_sinr_db=0.0,
                         monostatic=monostatic)
    problem = build_problem(scene)
    # Without equilibration, which makes Clarabel stall on several of these.
    paper = solve_sdr13(problem, equilibrate_enable=False)
    solution = solve(problem, DESIGNS['crb-min'], 1e-6, None)
    check_feasible(solution)
    assert solution.objective == pytest.approx(paper.objective, rel=2e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 3), n_users=st.integers(0, 3),
       min_sinr_db=st.floats(-10, 15), monostatic=st.booleans(), side=st.integers(3, 12))
def test_every_solution_is_feasible_and_certified(
        seed, n_targets, n_users, min_sinr_db, monostatic, side):
    scene = random_scene(seed, n_targets, n_users, side=side, min_sinr_db=min_sinr_db,
                         monostatic=monostatic)
    try:
        solution = design(scene)
    except (InfeasibleError, SceneError):
        return
    check_feasible(solution)
    check_certified(solution, 1e-3)
    assert solution.objective <= solution.isotropic_sum_crb or n_users


# Invariances, near_field.md section 8: each relates two optima by a closed form.

BASE = random_scene(11, 2, 2, side=8, min_sinr_db=3.0)


def test_twice_the_symbols_halve_the_bounds():
    twice = replace(BASE, radio=replace(BASE.radio, symbols=200))
    assert design(twice).objective == pytest.approx(design(BASE).objective / 2, rel=1e-5)


def test_a_common_factor_on_the_reflections_divides_by_its_square():
    factor = 2.0 * np.exp(0.7j)
    scaled = replace(BASE, targets=tuple(
        replace(target, reflection=factor * target.reflection) for target in BASE.targets))
    assert design(scaled).objective == pytest.approx(design(BASE).objective / 4, rel=1e-5)


def test_power_and_noise_scale_together():
    scaled = replace(BASE, radio=replace(BASE.radio, power=0.07, user_noise=7e-8))
    assert design(scaled).objective == pytest.approx(design(BASE).objective / 7, rel=1e-5)


def test_quarter_turn_about_boresight_changes_nothing():
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = replace(
        BASE, targets=tuple(replace(t, position=turn @ t.position) for t in BASE.targets),
        users=tuple(replace(u, position=turn @ u.position) for u in BASE.users))
    before, after = design(BASE), design(turned)
    assert after.objective == pytest.approx(before.objective, rel=1e-5)
    np.testing.assert_allclose(after.targets[0].crb, turn @ before.targets[0].crb @ turn.T,
                               rtol=2e-2, atol=1e-3 * np.max(before.targets[0].crb))


def test_order_of_bodies_does_not_matter():
    swapped = replace(BASE, targets=BASE.targets[::-1], users=BASE.users[::-1])
    solution = design(swapped)
    assert solution.objective == pytest.approx(design(BASE).objective, rel=1e-5)
    assert [user.id for user in solution.users] == ['u1', 'u0']


def test_weights_of_targets_enter_the_objective():
    weighted = replace(BASE, targets=(replace(BASE.targets[0], weight=9.0), BASE.targets[1]))
    plain, solution = design(BASE), design(weighted)
    traces = [float(np.trace(target.crb)) for target in solution.targets]
    assert solution.objective == pytest.approx(9 * traces[0] + traces[1], rel=1e-12)
    assert traces[0] < np.trace(plain.targets[0].crb)


def test_another_user_never_lowers_the_bound():
    fewer = replace(BASE, users=BASE.users[:1])
    assert design(fewer).objective <= design(BASE).objective * (1 + 1e-6)


def test_a_phase_on_a_channel_changes_nothing():
    position = BASE.users[0].position
    array = BASE.transmit_array
    from nf_isac_ros.core.propagation import responses

    channel = responses(array.positions, position[None], WAVELENGTH)[:, 0].conj()
    by_channel = replace(BASE, users=(
        User('u0', BASE.users[0].min_sinr_db, channel=channel * np.exp(1.3j)), BASE.users[1]))
    assert design(by_channel).objective == pytest.approx(design(BASE).objective, rel=1e-5)


# Closed forms.

def test_monostatic_single_target_gets_all_power_on_its_response():
    # near_field.md 4.5: identical co-located arrays; R = P conj(v) v^T / |v|^2 is optimal.
    scene = random_scene(21, 1, 0, side=10, monostatic=True)
    problem = build_problem(scene)
    solution = solve(problem, DESIGNS['crb-min'], 1e-8, None)
    beam = problem.basis.conj().T @ problem.steering[:, 0]
    beam /= np.linalg.norm(beam)
    closed_form = problem.objective(np.outer(beam, beam.conj()))
    assert solution.objective == pytest.approx(closed_form, rel=1e-6)
    assert solution.covariance_eigenvalues[0] == pytest.approx(0.01, rel=1e-4)


def test_slack_threshold_leaves_the_sensing_optimum():
    sensing = replace(BASE, users=())
    easy = replace(BASE, users=(replace(BASE.users[0], min_sinr_db=-60.0),))
    assert design(easy).objective == pytest.approx(design(sensing).objective, rel=1e-5)


# Awkward scenes.

@pytest.mark.parametrize('margin_db, gap', [(1.0, 1e-5), (0.1, 1e-4), (0.01, 1e-3)])
@pytest.mark.parametrize('n_users', [1, 2, 4])
def test_near_infeasibility(n_users, margin_db, gap):
    scene = random_scene(n_users, 1, n_users, side=10, min_sinr_db=0.0)
    reserve = build_problem(scene).max_common_sinr_scale_db - margin_db
    tight = replace(scene, users=tuple(
        replace(user, min_sinr_db=user.min_sinr_db + reserve) for user in scene.users))
    solution = design(tight)
    check_feasible(solution)
    check_certified(solution, gap)


def test_infeasible_thresholds_are_named_with_their_margin():
    scene = random_scene(5, 1, 3, side=10)
    reserve = build_problem(scene).max_common_sinr_scale_db
    too_much = replace(scene, users=tuple(
        replace(user, min_sinr_db=user.min_sinr_db + reserve + 0.5) for user in scene.users))
    with pytest.raises(InfeasibleError) as caught:
        design(too_much)
    assert caught.value.max_common_sinr_scale_db == pytest.approx(-0.5, abs=1e-6)


@pytest.mark.parametrize('case', ['collocated', 'identical-users', 'half-wave-targets',
                                  'more-than-antennas', 'scattered', 'high-sinr'])
def test_degenerate_scenes(case):
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
    }[case]
    solution = design(scene)
    check_feasible(solution)
    check_certified(solution, 5e-4)


@pytest.mark.parametrize('position', [
    (0.1286, 0.1286, 0.12), (0.1, 0.05, -0.4), (0.0, 0.0, 0.741)])
def test_optimum_may_put_a_null_on_the_target(position):
    # near_field.md section 7: nearer to the transmitter the Fisher matrix is singular at the
    # optimum, and the sum-CRB an infimum.
    scene = Scene(planar(24, 24), planar(24, 24, 2.47), radio(),
                  (PointTarget('t', np.array(position)),))
    solution = design(scene)
    check_feasible(solution)
    check_certified(solution, 1e-4)


def test_full_noise_covariance_is_accounted_for():
    scene = random_scene(41, 1, 1, side=6)
    rng = np.random.default_rng(0)
    root = rng.normal(size=(36, 36)) + 1j * rng.normal(size=(36, 36))
    covariance = 1e-9 * (root @ root.conj().T + 36 * np.eye(36))
    coloured = replace(scene, radio=radio(SensingNoise(covariance=covariance)))
    white = replace(scene, radio=radio(SensingNoise(covariance=1e-8 * np.eye(36))))
    assert design(white).objective == pytest.approx(design(scene).objective, rel=1e-6)
    solution = design(coloured)
    check_certified(solution, 1e-5)
    assert solution.objective != pytest.approx(design(scene).objective, rel=1e-2)


def test_zero_reflection_is_refused():
    scene = random_scene(42, 1, 0, side=4)
    dark = replace(scene, targets=(replace(scene.targets[0], reflection=0j),))
    with pytest.raises(SceneError, match='reflection'):
        build_problem(dark)


def test_a_line_of_antennas_cannot_locate_in_space():
    line = planar(1, 16)
    scene = Scene(line, line, radio(), (PointTarget('t', np.array([0.2, 0.1, 1.0])),))
    for name in ('crb-min', 'crb-min-full', 'crb-min-region', 'zero-forcing', 'users-first',
                 'sensing-only'):
        with pytest.raises(SceneError, match='cannot be estimated') as caught:
            DESIGNS[name].solve(build_problem(scene), 1e-6, None)
        assert (caught.value.reason, caught.value.body) == ('not-localisable', 't')


@pytest.mark.parametrize('name', ['max-min-illumination', 'max-min-echo', 'isotropic'])
def test_what_needs_no_bound_does_without(name):
    line = planar(1, 16)
    scene = Scene(line, line, radio(), (PointTarget('t', np.array([0.2, 0.1, 1.0]), 2.0),))
    solution = solve(build_problem(scene), DESIGNS[name], 1e-6, None)
    distances = np.linalg.norm(scene.targets[0].position - line.positions, axis=1)
    # |v|^2 of all elements, with the whole power in phase or evenly from each of them.
    gain = float(np.sum((WAVELENGTH / (4 * np.pi * distances)) ** 2))
    target, = solution.targets
    assert target.illumination == pytest.approx(
        0.01 * (gain / 16 if name == 'isotropic' else gain), rel=1e-6)
    assert target.echo_power == pytest.approx(4 * gain * target.illumination, rel=1e-9)
    assert np.isinf(solution.sum_crb) and np.isinf(solution.isotropic_sum_crb)


def test_the_second_of_two_targets_at_one_place_is_named():
    scene = random_scene(43, 2, 1, side=8)
    here = scene.targets[0].position
    doubled = replace(scene, targets=(*scene.targets, PointTarget('twin', here)))
    with pytest.raises(SceneError, match='cannot be estimated.*beside') as caught:
        design(doubled)
    assert caught.value.body == 'twin'


# The certificate needs no solver.

@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10 ** 6), scale=st.floats(-3, 3))
def test_no_multipliers_and_no_point_give_a_bound_above_the_optimum(seed, scale):
    problem = build_problem(BASE)
    optimum = design(BASE, gap=1e-7).objective
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(problem.dimension,) * 2) + 1j * rng.normal(
        size=(problem.dimension,) * 2)
    weights = tangent_weights(problem, root @ root.conj().T)
    multipliers = rng.exponential(size=2) * 10 ** scale * np.sum(problem.selection ** 2)
    assert crb_bound(problem, weights, multipliers) <= optimum * (1 + 1e-9)


def test_users_first_is_feasible_and_certified_against_the_same_optimum():
    optimum, fallback = design(BASE), design(BASE, name='users-first')
    check_feasible(fallback)
    assert fallback.bound <= optimum.objective
    assert fallback.objective >= optimum.objective * (1 - 1e-6)
    assert fallback.quality is Quality.EARLY


# Weak sensing beams.

@pytest.mark.parametrize('n_users', [0, 1, 3])
def test_weak_sensing_beams_go_where_nobody_loses_by_it(n_users):
    problem = build_problem(random_scene(13, 2, n_users, side=10, min_sinr_db=0.0))
    point = minimise_crb(problem, 1e-3)
    beams = recovered(problem, point.covariance, point.parts)
    fewer, reached = trimmed(problem, beams)
    assert fewer.sensing.shape[1] < beams.sensing.shape[1]
    assert fewer.power == pytest.approx(beams.power, rel=1e-14)
    assert reached == problem.objective(fewer.covariance) < problem.objective(beams.covariance)
    assert (slack(problem, fewer) >= slack(problem, beams)).all()


def test_a_weak_beam_that_a_target_is_seen_by_stays():
    problem = build_problem(random_scene(13, 1, 0, side=10))
    powers = np.array([1e-6, *[(1 - 1e-6) / 3] * 3])
    # The first direction is the target's own: without it there is no echo to know its phase by.
    alone = ReducedBeams(np.zeros((4, 0), dtype=complex), np.diag(np.sqrt(powers)).astype(complex))
    assert np.isfinite(problem.objective(alone.covariance))
    np.testing.assert_array_equal(trimmed(problem, alone)[0].sensing, alone.sensing)


# Repair.

@pytest.mark.parametrize('lack_db', [1e-6, 0.01, 1.0])
def test_repair_takes_no_more_than_what_is_missing(lack_db):
    # The first user needs a millionth of what it receives, and gets a little less than that.
    scene = random_scene(13, 1, 2, side=8, min_sinr_db=0.0)
    scene = replace(scene, users=(replace(scene.users[0], min_sinr_db=-60.0), scene.users[1]))
    problem = build_problem(scene)
    good = DESIGNS['crb-min'].solve(problem, 1e-6, None).beams
    # What its beam loses still senses.
    own = abs(np.vdot(problem.user_channels[:, 0], good.communication[:, 0])) ** 2
    total = np.linalg.norm(problem.user_channels[:, 0].conj() @ np.linalg.cholesky(
        good.covariance + 1e-15 * np.eye(problem.dimension))) ** 2
    share = problem.sinr[0] / (1 + problem.sinr[0])
    kept = share * (total + problem.user_noise[0]) / own * 10 ** (-lack_db / 10)
    assert kept <= 1
    lost = good.communication[:, :1] * np.sqrt(1 - kept)
    short = ReducedBeams(good.communication * np.sqrt([kept, 1.0]),
                         np.hstack([good.sensing, lost]))
    assert slack(problem, short)[0] < 0
    mended = repair(problem, short)
    assert slack(problem, mended).min() >= 0
    assert mended.power == pytest.approx(1.0, abs=1e-12)
    assert problem.objective(mended.covariance) == pytest.approx(
        problem.objective(good.covariance), rel=1e-4)
