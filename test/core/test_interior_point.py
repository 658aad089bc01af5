"""The interior-point method: certified optima, deadlines, and starts from an earlier path."""

from dataclasses import replace
import itertools

import numpy as np
import pytest
from scenes import needs_reference, planar, radio, random_scene, reference, reference_names

from nf_isac_ros.core.certificate import crb_bound
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, Scene
from nf_isac_ros.core.solvers import interior_point
from nf_isac_ros.core.solvers.carrying_kernels import Bodies, _aligned, _gram_change
from nf_isac_ros.core.solvers.interior_point import minimise_crb, warm_up
from nf_isac_ros.core.solvers.starting_state import compact_form, starting_state
from nf_isac_ros.core.solvers.warm_start import displacement, transported


def certified_gap(problem, point):
    """Gap from the beams' covariance and the evidence, in plain numpy."""
    bound = crb_bound(problem, point.weights, point.multipliers)
    return problem.objective(point.covariance) / bound - 1


def check_strictly_feasible(problem, covariance, parts):
    """Power, X_u >= 0, X_0 = G^H S G - sum X_u >= 0 and every SINR row, to rounding."""
    g = problem.user_channels
    assert np.trace(covariance).real < 1 + 1e-11
    assert np.linalg.eigvalsh(covariance)[0] > 0
    received = g.conj().T @ covariance @ g
    rest = received - parts.sum(axis=0)
    unit = max(np.abs(received).max(initial=0), 1e-300)
    share = problem.sinr / (1 + problem.sinr)
    for u, part in enumerate(parts):
        assert np.linalg.eigvalsh(part)[0] > -1e-12 * unit
        assert part[u, u].real >= share[u] * (received[u, u].real + problem.user_noise[u]) * (
            1 - 1e-12)
    if len(parts):
        assert np.linalg.eigvalsh(rest)[0] > -1e-12 * unit


@needs_reference
@pytest.mark.parametrize('gap', [1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize('name', reference_names())
def test_reference_optima_to_the_gap_that_was_asked_for(name, gap):
    case = reference(name)
    problem = build_problem(case.scene)
    if not case.expected['feasible']:
        with pytest.raises(InfeasibleError):
            minimise_crb(problem, gap)
        return
    point = minimise_crb(problem, gap)
    optimum = case.expected['crb-min']['objective']
    check_strictly_feasible(problem, point.covariance, point.parts)
    assert certified_gap(problem, point) <= gap * (1 + 1e-6) + 1e-12
    assert optimum * (1 - 1e-10) <= point.objective <= optimum * (1 + gap)
    assert crb_bound(problem, point.weights, point.multipliers) <= optimum * (1 + 1e-10)


def test_optimum_that_hides_the_target():
    scene = Scene(planar(24, 24), planar(24, 24, 2.47), radio(),
                  (PointTarget('t', np.array([0.0, 0.0, 0.741])),))
    problem = build_problem(scene)
    assert certified_gap(problem, minimise_crb(problem, 1e-5)) <= 1e-5


def test_every_starting_point_is_strictly_feasible():
    for seed, n_targets, n_users in itertools.product(range(5), (1, 3), (0, 1, 3)):
        problem = build_problem(
            random_scene(seed, n_targets, n_users, side=10, min_sinr_db=0.0))
        _, state = starting_state(problem, compact_form(problem))
        check_strictly_feasible(problem, state.covariance, state.parts[1:])


def test_users_with_one_channel_are_refused():
    scene = random_scene(3, 1, 2, side=8, min_sinr_db=-6.0)
    same = replace(scene, users=(scene.users[0], replace(
        scene.users[1], position=scene.users[0].position)))
    with pytest.raises(SolverError, match='same channel'):
        minimise_crb(build_problem(same), 1e-3)


def test_a_deadline_leaves_a_feasible_point():
    problem = build_problem(random_scene(4, 2, 2, side=10, min_sinr_db=0.0))
    ticks = itertools.count()
    early = minimise_crb(problem, 1e-8, budget=2.5, now=lambda: float(next(ticks)))
    late = minimise_crb(problem, 1e-8)
    assert early.iterations < late.iterations
    check_strictly_feasible(problem, early.covariance, early.parts)
    assert early.objective >= late.objective


def test_a_design_that_was_cut_short_is_that_of_its_last_step_with_its_bound():
    problem = build_problem(random_scene(4, 2, 2, side=10, min_sinr_db=0.0))
    optimum = minimise_crb(problem, 1e-9).objective
    whole = minimise_crb(problem, 1e-4)
    gaps = []
    for steps in range(1, whole.iterations + 1):
        ticks = itertools.count()
        early = minimise_crb(problem, 1e-4, budget=steps, now=ticks.__next__)
        assert early.iterations == steps
        gaps.append(certified_gap(problem, early))
        assert early.objective >= optimum * (1 - 1e-9)
        assert problem.objective(early.covariance) == pytest.approx(early.objective)
        assert crb_bound(problem, early.weights, early.multipliers) <= optimum * (1 + 1e-9)
    assert gaps == sorted(gaps, reverse=True)
    # With as many steps as the whole design takes it is that design.
    assert gaps[-1] <= 1e-4
    assert gaps[-2] < 1e-2


def moved(scene, distance, seed=0):
    rng = np.random.default_rng(seed)

    def shift(body):
        step = rng.normal(size=3)
        return replace(body, position=body.position + distance * step / np.linalg.norm(step))

    return replace(scene, targets=tuple(map(shift, scene.targets)),
                   users=tuple(map(shift, scene.users)))


@pytest.mark.parametrize('distance', [0.0, 1e-4, 1e-3, 3e-3, 1e-2, 1e-1])
@pytest.mark.parametrize('n_targets, n_users', [(1, 0), (2, 2), (3, 3)])
def test_a_warm_start_reaches_the_same_certified_optimum(n_targets, n_users, distance):
    scene = random_scene(12, n_targets, n_users, side=16, min_sinr_db=5.0)
    path = minimise_crb(build_problem(scene), 1e-3).path
    problem = build_problem(moved(scene, distance))
    warm = minimise_crb(problem, 1e-6, earlier=path)
    cold = minimise_crb(problem, 1e-6)
    check_strictly_feasible(problem, warm.covariance, warm.parts)
    assert certified_gap(problem, warm) <= 1e-6 * (1 + 1e-6)
    assert warm.objective == pytest.approx(cold.objective, rel=2e-6)


@pytest.mark.parametrize('distance', [3e-4, 2e-3, 2e-2])
def test_a_step_of_up_to_two_wavelengths_needs_fewer_iterations(distance):
    scene = random_scene(12, 2, 2, side=16, min_sinr_db=5.0)
    path = minimise_crb(build_problem(scene), 1e-3).path
    problem = build_problem(moved(scene, distance))
    warm, cold = minimise_crb(problem, 1e-3, earlier=path), minimise_crb(problem, 1e-3)
    assert warm.warm and not cold.warm
    assert warm.iterations < cold.iterations


@pytest.mark.parametrize('distance', [1e-4, 1e-3, 3e-3, 3e-2])
def test_a_transported_point_is_strictly_feasible(distance):
    scene = random_scene(13, 2, 3, side=16, min_sinr_db=3.0)
    path = minimise_crb(build_problem(scene), 1e-3).path
    problem = build_problem(moved(scene, distance))
    carried = transported(path, problem, compact_form(problem))
    assert carried is not None
    check_strictly_feasible(problem, carried[1].covariance, carried[1].parts[1:])


def test_a_scene_carried_over_to_itself_is_what_it_was():
    scene = random_scene(13, 2, 3, side=16, min_sinr_db=3.0)
    path = minimise_crb(build_problem(scene), 1e-3).path
    problem = build_problem(scene)
    _, state = transported(path, problem, compact_form(problem))
    points = path.history.states.covariance[:path.count]
    assert np.abs(points - state.covariance).max(axis=(1, 2)).min() < 1e-10


@pytest.mark.parametrize('apart', [1e-2, 1e-3, 3e-4])
def test_targets_side_by_side_are_carried_over_as_well(apart):
    # A tenth of a wavelength and less: too much alike to be made orthonormal by a Gram matrix.
    scene = random_scene(13, 2, 2, side=16, min_sinr_db=3.0)
    first, second = scene.targets
    scene = replace(scene, targets=(first, replace(
        second, position=first.position + np.array([apart, 0.0, 0.0]))))
    path = minimise_crb(build_problem(scene), 1e-2).path
    problem = build_problem(moved(scene, 1e-5))
    carried = transported(path, problem, compact_form(problem))
    if carried is not None:
        check_strictly_feasible(problem, carried[1].covariance, carried[1].parts[1:])
    point = minimise_crb(problem, 1e-2, earlier=path)
    check_strictly_feasible(problem, point.covariance, point.parts)
    assert certified_gap(problem, point) <= 1e-2 * (1 + 1e-6)


def test_bodies_that_moved_by_fifty_wavelengths_are_no_warm_start():
    scene = random_scene(13, 2, 3, side=16, min_sinr_db=3.0)
    path = minimise_crb(build_problem(scene), 1e-3).path
    problem = build_problem(moved(scene, 0.52))
    assert transported(path, problem, compact_form(problem)) is None


def test_a_bound_of_one_start_is_one_for_the_better_point_of_the_other(monkeypatch):
    scene = random_scene(13, 2, 2, side=10, min_sinr_db=3.0)
    problem = build_problem(scene)
    loose, tight = minimise_crb(problem, 0.1), minimise_crb(problem, 1e-4)
    # The warm start has the better point and the worse bound, and did not end in time.
    warm = replace(tight, bound=loose.bound, weights=loose.weights, multipliers=loose.multipliers)
    cold = replace(loose, bound=tight.bound, weights=tight.weights, multipliers=tight.multipliers)
    ends = iter([(warm, False), (cold, True)])
    monkeypatch.setattr(interior_point, '_iterated', lambda *_: next(ends))
    found = minimise_crb(problem, 1e-4, earlier=loose.path)
    assert found.objective == tight.objective and found.warm
    assert certified_gap(problem, found) <= 1e-4


def test_other_coordinates_and_phases_do_not_set_scenes_apart():
    rng = np.random.default_rng(16)
    columns = rng.normal(size=(6, 5, 2)) @ [1.0, 1j]
    columns /= np.linalg.norm(columns, axis=0)
    unitary, _ = np.linalg.qr(rng.normal(size=(6, 6, 2)) @ [1.0, 1j])
    one, other = (np.exp(1j * rng.uniform(0.0, 6.0, 5)) for _ in range(2))
    before = _aligned(Bodies(3.0 * columns[:, :3] * one[:3], columns[:, 3:] * one[3:], one))
    turned = unitary @ columns * other
    after = _aligned(Bodies(turned[:, :3].copy(), turned[:, 3:].copy(), other))
    assert _gram_change(before, after) < 1e-14
    # An inner product that is half as large.
    columns[:, 0], columns[:, 4] = np.eye(6)[0], np.array([0.6, 0.8, 0.0, 0.0, 0.0, 0.0])
    nearer = columns.copy()
    nearer[:, 4] = [0.3, 0.0, 0.0, 0.0, 0.0, np.sqrt(1.0 - 0.09)]
    nearer[:, 1:4] = columns[:, 1:4] = 0.0
    assert _gram_change(columns, nearer) == pytest.approx(0.3)


def test_other_bodies_are_no_warm_start():
    scene = random_scene(14, 2, 2, side=10, min_sinr_db=0.0)
    problem = build_problem(scene)
    path = minimise_crb(problem, 1e-2).path
    for other in (replace(scene, users=scene.users[:1]),
                  replace(scene, targets=scene.targets[::-1]),
                  replace(scene, users=(replace(scene.users[0], id='x'), scene.users[1]))):
        changed = build_problem(other)
        assert displacement(problem, changed) is None
        assert transported(path, changed, compact_form(changed)) is None
    assert displacement(problem, build_problem(moved(scene, 0.02))) == pytest.approx(2.0)


def test_identical_inputs_give_identical_points():
    scene = random_scene(15, 2, 2, side=10, min_sinr_db=0.0)
    first, second = (minimise_crb(build_problem(scene), 1e-6) for _ in range(2))
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_warm_up_reports_its_time():
    assert 0 < warm_up() < 300
