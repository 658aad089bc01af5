"""Zero forcing: power split against another solver, certificate, and what the beams promise."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import needs_reference, planar, random_scene, reference, reference_names
from scipy.optimize import minimize

from nf_isac_ros.core.beams import ReducedBeams
from nf_isac_ros.core.certificate import crb_bound
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings, solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.designs.zero_forcing import ZeroForcing, ZeroForcingError, make_task
from nf_isac_ros.core.exceptions import InfeasibleError, SceneError, SolverError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.solvers import zero_forcing_kernels as kernels
from nf_isac_ros.core.solvers.osqp_ import PowerProgram

BASE = random_scene(11, 2, 2, side=8, min_sinr_db=0.0)


def design(scene, name='zero-forcing', gap=1e-6):
    return solve(build_problem(scene), DESIGNS[name], gap, None)


def check_zero_forcing(solution, problem):
    """No user hears another's beam nor the sensing; SINR and power from the beams themselves."""
    heard = np.abs(problem.channels.conj().T @ solution.weights) ** 2
    noise = problem.user_noise * problem.scene.radio.power * np.linalg.norm(
        problem.channels, axis=0) ** 2
    for u, user in enumerate(problem.scene.users):
        wanted, others = heard[u, u], np.delete(heard[u], u)
        assert others.sum() <= 1e-9 * noise[u]
        assert wanted / (others.sum() + noise[u]) >= 10 ** (user.min_sinr_db / 10)
    assert np.sum(np.abs(solution.weights) ** 2) == pytest.approx(
        problem.scene.radio.power, rel=1e-9)
    assert np.linalg.norm(solution.weights) ** 2 <= problem.scene.radio.power * (1 + 1e-12)


def split_problem(scene):
    problem = build_problem(scene)
    task = make_task(problem)
    return problem, task, kernels.build_model(task, kernels.first_beams(task))


def objective_of(problem, model, powers):
    """Objective of a split through the covariance, without the kernels."""
    covariance = (model.directions * powers) @ model.directions.conj().T
    return problem.objective(covariance)


@pytest.mark.parametrize('seed, n_targets, n_users', [(0, 1, 1), (1, 2, 2), (2, 1, 3), (3, 2, 0)])
def test_power_split_is_that_of_another_solver(seed, n_targets, n_users):
    problem, task, model = split_problem(
        random_scene(seed, n_targets, n_users, side=8, min_sinr_db=-3.0))
    n = len(model.powers)
    program = PowerProgram(n_users, 3, n)
    powers, value = model.powers, np.inf
    for _ in range(25):
        beams_model = expanded(problem, task, model, powers)
        proposed, _ = program.solve(*beams_model, powers, model.gains, task.least)
        here = model._replace(powers=powers)
        conclusion = kernels.conclude(task, here, proposed)
        powers, _ = kernels._step(task, here, proposed)
        if value - conclusion.objective < 1e-7 * value:
            break
        value = conclusion.objective
    rows = np.zeros((n_users, n))
    for i in range(3 * n_users):
        rows[i % n_users, i] = np.abs(
            problem.user_channels[:, i % n_users].conj() @ model.directions[:, i]) ** 2
    needed = problem.sinr * problem.user_noise
    unit = objective_of(problem, model, model.powers)
    other = minimize(
        # As the reciprocal, which is concave in the powers, and finite where F is singular.
        lambda p: -unit / objective_of(problem, model, np.maximum(p, 0.0)), model.powers,
        method='SLSQP', bounds=[(0.0, 1.0)] * n, options={'maxiter': 300, 'ftol': 1e-10},
        constraints=[{'type': 'eq', 'fun': lambda p: p.sum() - 1.0},
                     {'type': 'ineq', 'fun': lambda p: (rows @ p - needed) / needed}])
    assert conclusion.objective == pytest.approx(-unit / other.fun, rel=2e-3)
    # The beams of the split are what the kernels say that they are.
    covariance = kernels.covariance_of(conclusion.beams)
    assert problem.objective(covariance) == pytest.approx(conclusion.objective, rel=1e-6)


def expanded(problem, task, model, powers):
    """Gradient and Hessian of -f_0 / f, from derivatives of F alone."""
    inverse = np.linalg.inv(np.tensordot(powers, model.fishers, 1))
    weights = inverse @ problem.selection
    f = np.sum(problem.selection * weights)
    uses = np.array([np.sum((fisher @ weights) * weights) for fisher in model.fishers])
    products = np.array([fisher @ weights for fisher in model.fishers])
    curvature = np.einsum('iac,ab,jbc->ij', products, inverse, products)
    return -uses / f, 2 / f * (curvature - np.outer(uses, uses) / f)


def test_model_is_the_expansion_of_the_objective():
    problem, task, model = split_problem(BASE)
    gradient, hessian = expanded(problem, task, model, model.powers)
    np.testing.assert_allclose(model.gradient, gradient, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.hessian, hessian, rtol=1e-5, atol=1e-7)
    # Against differences of the objective itself, as a function of the powers.
    rng = np.random.default_rng(0)
    move = rng.uniform(0, 1, len(model.powers)) * model.powers
    values = [-model.objective / objective_of(problem, model, model.powers + t * move)
              for t in (-1e-3, 0.0, 1e-3)]
    assert (values[2] - values[0]) / 2e-3 == pytest.approx(model.gradient @ move, rel=1e-4)
    assert (values[2] - 2 * values[1] + values[0]) / 1e-6 == pytest.approx(
        move @ model.hessian @ move, rel=1e-2)
    assert np.linalg.eigvalsh(model.hessian)[0] > -1e-9


@needs_reference
@pytest.mark.parametrize('name', reference_names())
def test_reference_scenes_are_certified_and_close(name):
    case = reference(name)
    problem = build_problem(case.scene)
    if not case.expected['feasible']:
        with pytest.raises(InfeasibleError):
            design(case.scene)
        return
    optimum = case.expected['crb-min']['objective']
    solution = design(case.scene)
    check_zero_forcing(solution, problem)
    assert solution.objective >= optimum * (1 - 1e-9)
    assert solution.bound <= optimum * (1 + 1e-9)
    # Measured: docs/solver.md.
    loss, looseness = {'S01': (1e-2, 1e-3), 'S03': (0.03, 0.03), 'S05': (0.04, 0.04),
                       'S06': (0.14, 0.15), 'S17': (0.03, 0.03)}[name[:3]]
    assert solution.objective <= optimum * (1 + loss)
    assert solution.bound >= optimum * (1 - looseness)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 3), n_users=st.integers(0, 4),
       min_sinr_db=st.floats(-15, 15), monostatic=st.booleans(), side=st.integers(4, 12))
def test_every_design_is_zero_forcing_and_certified(
        seed, n_targets, n_users, min_sinr_db, monostatic, side):
    scene = random_scene(seed, n_targets, n_users, side=side, min_sinr_db=min_sinr_db,
                         monostatic=monostatic)
    try:
        problem = build_problem(scene)
        solution = design(scene)
    except (InfeasibleError, SceneError, ZeroForcingError):
        return
    check_zero_forcing(solution, problem)
    assert 0 < solution.bound <= solution.objective * (1 + 1e-9)
    try:
        optimum = design(scene, 'crb-min', 1e-4)
    except SolverError:
        return
    # The optimum's own objective lies above every bound, and its bound below every objective.
    assert solution.bound <= optimum.objective * (1 + 1e-9)
    assert solution.objective >= optimum.bound * (1 - 1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10 ** 6))
def test_evidence_is_what_the_certificate_makes_of_it(seed):
    problem, task, _ = split_problem(BASE)
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(problem.dimension,) * 2) + 1j * rng.normal(
        size=(problem.dimension,) * 2)
    covariance = root @ root.conj().T
    evidence = kernels.tighten(
        task, covariance / np.trace(covariance).real, rng.exponential(size=2), 3, 0.08, 0.04)
    assert evidence.bound == pytest.approx(
        crb_bound(problem, evidence.weights, evidence.multipliers), rel=1e-7)
    assert evidence.bound <= OPTIMUM


OPTIMUM = design(BASE, 'crb-min', 1e-4).objective


def moving(scene, n, speed):
    for i in range(n):
        yield replace(
            scene, targets=tuple(
                replace(target, position=target.position + i * speed * np.array([1.0, 0.5, 0.3]))
                for target in scene.targets),
            users=tuple(replace(user, position=user.position - i * speed * np.array([0.3, 1.0, 0]))
                        for user in scene.users))


def test_scenes_in_a_row_are_no_worse_than_each_alone():
    # Ten millimetres a cycle: a wavelength.
    together, loss, alone = ZeroForcing(), [], []
    for scene in moving(BASE, 10, 0.01):
        problem = build_problem(scene)
        outcome = together(problem, 1e-3)
        optimum = design(scene, 'crb-min', 1e-4).objective
        assert outcome.bound <= optimum
        loss.append(problem.objective(outcome.beams.covariance) / optimum - 1)
        alone.append(design(scene).objective / optimum - 1)
    assert np.mean(loss[1:]) <= np.mean(alone[1:]) + 0.01


def test_a_jump_is_noticed():
    together = ZeroForcing()
    elsewhere = replace(BASE, targets=BASE.targets[::-1])
    swapped = replace(elsewhere, targets=tuple(
        replace(target, id=other.id) for target, other in zip(elsewhere.targets, BASE.targets)))
    for scene in (BASE, BASE, swapped):
        outcome = together(build_problem(scene), 1e-3)
    value = build_problem(swapped).objective(outcome.beams.covariance)
    assert value <= design(swapped).objective * 1.02


def test_remembered_optimal_beams_make_a_better_start():
    problem = build_problem(BASE)
    optimal = DESIGNS['crb-min'].solve(problem, 1e-4, None)
    informed = ZeroForcing()
    informed.remember(problem, optimal.beams)
    after = informed(problem, 1e-3)
    assert problem.objective(after.beams.covariance) <= design(BASE).objective * 1.001
    # Beams of a fallback may be anything.
    informed.remember(problem, ReducedBeams(np.zeros_like(optimal.beams.communication),
                                            optimal.beams.sensing))
    informed(problem, 1e-3)


@pytest.mark.parametrize('case, reason', [
    ('identical', 'dependent-users'), ('many', 'dependent-users'),
    ('near', 'zero-forcing-power')])
def test_users_it_cannot_serve_are_refused(case, reason):
    scene = random_scene(31, 1, 2, side=8, min_sinr_db=-3.0)
    first, second = (replace(user, min_sinr_db=-4.0) for user in scene.users)
    scene = {
        'identical': replace(scene, users=(first, replace(second, position=first.position))),
        'many': replace(random_scene(32, 1, 4, min_sinr_db=-25.0), transmit_array=planar(1, 3)),
        'near': replace(scene, users=(first, replace(
            second, position=first.position + [1e-4, 0.0, 0.0]))),
    }[case]
    with pytest.raises(ZeroForcingError) as caught:
        design(scene)
    assert caught.value.reason == reason
    assert DesignCycle(DesignSettings('zero-forcing')).step(scene).reason == reason


def test_without_users_it_is_close_to_the_optimum():
    scene = replace(BASE, users=())
    solution = design(scene)
    assert solution.communication.shape == (64, 0)
    assert design(scene, 'crb-min', 1e-4).objective <= solution.objective * (1 + 1e-4)
    assert solution.objective <= design(scene, 'crb-min', 1e-4).objective * 1.1


def test_the_solver_is_set_up_once(monkeypatch):
    made = []
    original = PowerProgram.__init__
    monkeypatch.setattr(PowerProgram, '__init__',
                        lambda self, *size: (made.append(size), original(self, *size))[1])
    cycle = DesignCycle(DesignSettings('zero-forcing'))
    for scene in moving(BASE, 5, 0.001):
        cycle.step(scene)
    assert len(made) == 1
