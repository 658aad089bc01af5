"""Compiled zero forcing for extended targets: its optimum, and the bound beside it."""

from dataclasses import replace

from extended_scenes import CIRCLE, UAV, VEHICLE, WAVELENGTH, far_scene
import numpy as np
import pytest
from scenes import planar

from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS, extended_zero_forcing
from nf_isac_ros.core.designs.extended_zero_forcing import zero_forcing_space
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.channels import saleh_valenzuela
from nf_isac_ros.core.extended.plane import pose_in_plane
from nf_isac_ros.core.extended.problem import LEAST_RATIO, extended_problem
from nf_isac_ros.core.extended.sectioned import sectioned_task
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import (
    BoundWeights,
    ExtendedOptions,
    Radio,
    Scene,
    SensingNoise,
    User,
)
from nf_isac_ros.core.solvers import extended_kernels as kernels
from nf_isac_ros.core.solvers.clarabel_blocks import solve_zero_forcing
from nf_isac_ros.core.solvers.zero_forcing_kernels import served_beams


def with_users(scene, n_users, sinr_db=10.0, seed=0):
    rng = np.random.default_rng(seed)
    return replace(scene, users=tuple(
        User(f'u{i}', sinr_db, channel=saleh_valenzuela(
            scene.transmit_array, direction, WAVELENGTH, 100.0, 0.8, 4, rng))
        for i, direction in enumerate(np.linspace(-1.0, 1.0, n_users))))


def near_scene(**settings):
    array = planar(8, 8)
    radio = Radio(wavelength=0.0107, power=1.0, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-9), bandwidth=1e8)
    target = replace(far_scene().extended[0], model='near-field', path_power=None, sections=5,
                     pose=pose_in_plane(array, 4.0, 0.1, 0.4), **settings)
    return Scene(array, array, radio, extended=(target,), users=(
        User('a', 10.0, np.array([0.3, -1.5, 4.0])), User('b', 10.0, np.array([-0.2, 2.0, 6.0]))))


def two_targets():
    scene = far_scene(distance=15.0, direction=-0.4)
    other = replace(scene.extended[0], id='other', weight=3.0, contour=UAV, sections=5,
                    pose=pose_in_plane(scene.transmit_array, 30.0, 0.6, 0.2))
    return with_users(replace(scene, extended=(*scene.extended, other)), 2)


def two_kinds():
    """Targets whose sections are seen through different numbers of columns."""
    scene = near_scene()
    other = replace(scene.extended[0], id='other', motion='space', sections=4,
                    pose=pose_in_plane(scene.transmit_array, 6.0, -0.5, 1.0))
    return replace(scene, extended=(*scene.extended, other))


def options(scene, **given):
    return replace(scene, options=ExtendedOptions(**given))


SCENES = {
    'one-user': options(with_users(far_scene(), 1), coverage_ratio=None),
    'four-users': with_users(far_scene(), 4),
    'no-users': far_scene(),
    'complex': options(with_users(far_scene(), 3), coupling='complex', geometry='far'),
    'weighted': options(with_users(far_scene(), 2), objective=BoundWeights(1.0, 10.0, 0.1)),
    'even': options(with_users(far_scene(), 2), coverage_ratio=1.0),
    'circle': with_users(far_scene(CIRCLE), 2),
    'near-field': near_scene(),
    'near-field-in-space': options(near_scene(motion='space'), objective='centre'),
    'two-targets': two_targets(),
    'two-kinds': two_kinds(),
}
each = pytest.mark.parametrize('scene', SCENES.values(), ids=SCENES)


def random_covariance(d, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    return root @ root.conj().T / np.linalg.norm(root) ** 2


@each
def test_section_by_section_the_objective_is_the_same(scene):
    problem = build_problem(scene)
    task, whole = sectioned_task(problem, None), extended_problem(problem, None)
    covariance = random_covariance(problem.dimension)
    seen = task.columns.conj().T @ covariance @ task.columns
    point = kernels.evaluated(task, seen)
    assert point.value == pytest.approx(whole.objective(covariance), rel=1e-7)
    # The cost matrix belongs to the same form: <C, S> = tr(V^T F V) = f at V = F^-1 E.
    cost = kernels.spread(task.columns, kernels.cost_blocks(task, point.weights))
    assert np.vdot(cost, covariance).real == pytest.approx(point.value, rel=1e-9)


@each
def test_optimum_is_that_of_the_conic_form(scene, monkeypatch):
    """The program (29) as Clarabel takes it, in the same subspace."""
    def refused(*arguments):
        raise AssertionError('the compiled solver did not settle')

    monkeypatch.setattr(extended_zero_forcing, '_by_programs', refused)
    solution = solve(build_problem(scene), DESIGNS['extended-zero-forcing'], 1e-4, None)
    assert solution.max_violation <= 1e-9
    ratio = scene.options.coverage_ratio
    ratio = None if ratio is None else max(ratio, LEAST_RATIO)
    problem = extended_problem(build_problem(scene), ratio).truncated(1e-2)[0]
    space = zero_forcing_space(problem)
    peer = solve_zero_forcing(problem, space.served, space.free, 1e-6)
    columns = np.hstack([space.served, space.free])
    reached = problem.objective(columns @ peer.blocks[0] @ columns.conj().T)
    assert solution.objective == pytest.approx(reached, rel=1e-3)


@each
def test_the_certified_loss_is_close_to_the_true_one(scene):
    problem = build_problem(scene)
    forced = solve(problem, DESIGNS['extended-zero-forcing'], 1e-3, None)
    optimal = solve(problem, DESIGNS['extended-crb-min'], 1e-4, None)
    assert forced.bound <= optimal.objective * (1 + 1e-9)
    true = 1.0 - optimal.objective / forced.objective
    assert true - 1e-9 <= forced.gap <= true + 0.02


def test_the_ceiling_of_a_bound_is_one():
    """By eigenvalues, and from the Fisher map of the problem instead of the sections."""
    problem = build_problem(SCENES['four-users'])
    whole = sectioned_task(problem, 2.0)
    channels = np.ascontiguousarray(problem.user_channels)
    d, n_users = channels.shape
    frame = np.eye(d, dtype=complex)
    frame[:, :n_users], least = served_beams(channels, problem.sinr, problem.user_noise)
    answer = kernels.solve(whole._replace(
        columns=np.ascontiguousarray(frame.conj().T @ whole.columns),
        metric=frame.conj().T @ frame, least=least), 1e-4, 1e-5)
    evidence = kernels.tighten(
        whole, channels, problem.user_noise, problem.sinr,
        answer._replace(covariance=frame @ answer.covariance @ frame.conj().T), 0.0)
    bound = kernels.certified(whole, channels, problem.user_noise, problem.sinr, evidence)
    # <C, S> of directions, one by one: polarised, that is C.
    squares = evidence.weights @ evidence.weights.T

    def cost(a, b):
        total = 0.0
        for phase in (1, -1, 1j, -1j):
            direction = a + phase * b
            seen = whole.columns.conj().T @ direction
            fisher = kernels.fisher_of(whole, np.outer(seen, seen.conj()))
            lit = np.abs(seen[whole.lit]) ** 2 * whole.gains
            total += np.conj(phase) * 0.25 * (np.sum(squares * fisher)
                                              + lit @ (evidence.lower - evidence.upper))
        return total

    eye = np.eye(d, dtype=complex)
    matrix = np.array([[cost(eye[:, i], eye[:, j]) for j in range(d)] for i in range(d)])
    matrix = 0.5 * (matrix + matrix.conj().T)
    assert 2.0 * evidence.upper.sum() == pytest.approx(evidence.lower.sum())
    mu = evidence.multipliers
    base = matrix - (channels * mu) @ channels.conj().T
    largest = max(
        np.linalg.eigvalsh(base + (1 + 1 / problem.sinr[u]) * mu[u] * np.outer(
            channels[:, u], channels[:, u].conj()))[-1] for u in range(n_users))
    wanted = np.sum(whole.selection * evidence.weights) ** 2
    exact = wanted / (largest - mu @ problem.user_noise)
    assert bound <= exact * (1 + 1e-9)
    assert bound == pytest.approx(exact, rel=1e-3)


def test_what_cannot_be_located_is_refused():
    scene = options(with_users(far_scene(VEHICLE, sections=1), 1), objective='centre')
    with pytest.raises(SceneError, match='cannot be with these arrays'):
        sectioned_task(build_problem(scene), None)
