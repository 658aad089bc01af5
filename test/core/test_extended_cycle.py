"""Cycles with extended targets: warm starts, deadlines, what they fall back to, and its labels."""

from __future__ import annotations

from dataclasses import replace

from extended_scenes import VEHICLE
import numpy as np
import pytest
from scenes import planar

from nf_isac_ros.core import cycle as cycle_module
from nf_isac_ros.core.arrays import Pose
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import (
    ExtendedOptions,
    ExtendedTarget,
    PointTarget,
    Radio,
    Scene,
    SensingNoise,
    User,
)
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.solvers.warm_start import displacement

WAVELENGTH = 0.0107
EXTENDED_DESIGNS = ('extended-crb-min', 'extended-zero-forcing')



def street(time=0.0, n_extended=1, n_points=0, model='near-field'):
    """Return a vehicle or more some metres before an array that looks along +z, on the move."""
    array = planar(8, 8)
    radio = Radio(wavelength=WAVELENGTH, power=1.0, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-9), bandwidth=1e8)
    # Upright: the plane of the contour is the array's x-z plane.
    upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    extended = []
    for k in range(n_extended):
        angle = 0.4 + 0.3 * k + 0.5 * time
        w, x, y, z = _quaternion(upright @ _turn(angle))
        extended.append(ExtendedTarget(
            f'car{k}', VEHICLE, Pose([1.0 * time + 5.0 * k, 0.2, 6.0 + k], (x, y, z, w)),
            model=model, sections=6))
    points = tuple(PointTarget(f'p{k}', np.array([-2.0 - k + time, 0.3 - 0.5 * k, 4.0]))
                   for k in range(n_points))
    users = tuple(User(f'u{k}', 8.0, np.array(place) + [0.0, 0.0, time]) for k, place in enumerate(
        [(-1.0, 0.5, 5.0), (2.5, -0.3, 3.0)]))
    return Scene(array, array, radio, points, users, time, tuple(extended),
                 ExtendedOptions(objective='centre'))


def _turn(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _quaternion(rotation):
    from transforms3d.quaternions import mat2quat
    return mat2quat(rotation)


def worst_violation(solution):
    return max(user.violation_db for user in solution.users)


# ---- warm starts ----

@pytest.mark.parametrize(('n_extended', 'n_points'), [(1, 0), (1, 1), (2, 1)])
def test_a_scene_that_moved_a_little_begins_where_the_one_before_ended(n_extended, n_points):
    cycle = DesignCycle(DesignSettings(gap=1e-3))
    first = cycle.step(street(0.0, n_extended, n_points))
    assert not first.warm
    for time in (0.02, 0.04, 0.06):
        scene = street(time, n_extended, n_points)
        warm = cycle.step(scene)
        cold = DesignCycle(DesignSettings(gap=1e-3)).step(scene)
        assert warm.quality is cold.quality is Quality.OPTIMAL
        assert warm.warm and not cold.warm
        assert warm.iterations < cold.iterations
        # Both are within their certified gap of one and the same optimum.
        assert warm.objective == pytest.approx(cold.objective, rel=2e-3)
        assert warm.bound <= cold.objective and cold.bound <= warm.objective
        assert worst_violation(warm) <= 1e-6
        assert warm.power <= warm.power_limit * (1 + 1e-9)


def test_distances_count_what_a_body_does_not_only_where_its_centre_is():
    before, scene = build_problem(street()), street()
    assert displacement(before, before) == 0.0
    target = scene.extended[0]
    along = target.pose.rotation[:, 0]
    shifted = replace(target, pose=Pose(target.position + 0.01 * along,
                                        target.pose.orientation_xyzw))
    moved = displacement(before, build_problem(replace(scene, extended=(shifted,))))
    # The array sees a little more of one end and less of the other: sections slide a little.
    assert moved == pytest.approx(0.01 / WAVELENGTH, rel=0.3)
    fewer = build_problem(replace(scene, extended=(replace(target, sections=5),)))
    assert displacement(before, fewer) is None
    other = build_problem(replace(scene, extended=(replace(target, id='another'),)))
    assert displacement(before, other) is None


def known_by_channel(scene, change=0.0):
    """Return the scene with a channel instead of the first user's place, turned and changed."""
    channel = build_problem(scene).channels[:, 0]
    aside = np.random.default_rng(3).normal(size=(2, len(channel))).T @ [1.0, 1.0j]
    # Orthogonal, and not where its phase is counted from.
    others = channel.copy()
    others[scene.transmit_array.middle] = aside[scene.transmit_array.middle] = 0.0
    aside -= others * np.vdot(others, aside) / np.linalg.norm(others) ** 2
    aside *= np.linalg.norm(channel) / np.linalg.norm(aside)
    user = replace(scene.users[0], position=None,
                   channel=np.exp(1j * scene.stamp) * (channel + change * aside))
    return replace(scene, users=(user, *scene.users[1:]))


@pytest.mark.parametrize(('n_extended', 'n_points'), [(1, 0), (0, 1)])
def test_users_known_by_their_channels_are_no_reason_to_begin_anew(n_extended, n_points):
    cycle = DesignCycle(DesignSettings(gap=1e-3))
    first, *others = [cycle.step(known_by_channel(street(time, n_extended, n_points)))
                      for time in (0.0, 0.001, 0.002)]
    assert not first.warm
    for warm in others:
        assert warm.warm and warm.iterations < first.iterations
        assert warm.quality is Quality.OPTIMAL and worst_violation(warm) <= 1e-6
    # Another channel altogether, as far away as a body that jumps.
    scene = known_by_channel(street(0.003, n_extended, n_points))
    other = replace(scene.users[0], channel=scene.users[0].channel[::-1] * np.exp(
        1j * np.arange(len(scene.users[0].channel)) ** 2))
    jumped = cycle.step(replace(scene, users=(other, *scene.users[1:])))
    assert jumped.quality is Quality.OPTIMAL and worst_violation(jumped) <= 1e-6


def test_a_channel_that_changes_counts_as_a_move():
    before = build_problem(known_by_channel(street()))
    # As a rotation by the angle whose tangent is the change, on the unit sphere.
    for change in (1e-3, 0.1):
        after = build_problem(known_by_channel(street(), change))
        assert displacement(before, after) == pytest.approx(
            2.0 * np.sin(0.5 * np.arctan(change)) / (2.0 * np.pi), rel=1e-2)
    assert displacement(before, build_problem(street())) is None


def test_a_body_that_jumps_is_designed_for_from_scratch():
    cycle = DesignCycle(DesignSettings(gap=1e-3))
    cycle.step(street())
    jumped = cycle.step(street(3.0))
    assert (jumped.warm, jumped.quality) == (False, Quality.OPTIMAL)


def test_a_design_that_has_no_time_gets_better_from_cycle_to_cycle():
    # One iteration each time, whatever the clock says; each goes on where the last one ended.
    cycle = DesignCycle(DesignSettings(gap=1e-3, budget=1e-9, deadline_fallback=False))
    gaps = [cycle.step(street(0.002 * k)).gap for k in range(10)]
    assert gaps[0] > 0.2
    assert gaps[-1] < 0.05


# ---- subspace ----

def test_a_truncated_problem_is_of_the_usual_size_where_it_can_be():
    problem = build_problem(street())
    free, basis = problem.truncated(1e-2)
    np.testing.assert_allclose(basis.conj().T @ basis, np.eye(free.dimension), atol=1e-12)
    assert problem.truncated(1e-2, free.dimension + 2)[0].dimension == free.dimension + 2
    assert problem.truncated(1e-2, free.dimension - 2)[0].dimension == free.dimension - 2
    assert problem.truncated(1e-2, free.dimension + 9)[0].dimension == free.dimension
    # Nothing is lost where nothing is left out.
    assert problem.truncated(0.0, 10 ** 6)[0].dimension == problem.dimension


def test_the_certificate_is_for_all_of_the_subspace():
    scene = street(n_extended=2, n_points=1)
    problem = build_problem(scene)
    outcome = DESIGNS['crb-min'].solve(problem, 1e-3, None)
    assert outcome.subspace_dimension < problem.dimension
    exact = DESIGNS['crb-min'].solve(problem, 1e-6, None)
    assert outcome.bound <= problem.objective(exact.beams.covariance)
    achieved = problem.objective(outcome.beams.covariance)
    assert achieved <= problem.objective(exact.beams.covariance) / (1 - 1e-3)


# ---- what it falls back to ----

def failing(problem, gap, budget=None):
    raise SolverError('for the test')


@pytest.mark.parametrize(('n_points', 'budget', 'rung'), [
    (0, None, 'extended-zero-forcing'), (0, 10.0, 'extended-zero-forcing'),
    (1, None, 'users-first')])
def test_a_failing_solver_falls_back(monkeypatch, n_points, budget, rung):
    broken = replace(DESIGNS['crb-min'], solve=failing, remembering=None)
    monkeypatch.setitem(cycle_module.DESIGNS, 'crb-min', broken)
    solution = DesignCycle(DesignSettings(gap=1e-2, budget=budget)).step(
        street(n_points=n_points))
    assert (solution.design, solution.quality, solution.reason) == (
        rung, Quality.FALLBACK, 'solver-failed')
    assert worst_violation(solution) <= 1e-6


@pytest.mark.parametrize('name', ['crb-min', *EXTENDED_DESIGNS])
def test_without_time_users_are_served_and_the_label_says_so(name):
    cycle = DesignCycle(DesignSettings(name, gap=1e-3, budget=1e-6))
    for k in range(6):
        solution = cycle.step(street(0.01 * k))
        assert worst_violation(solution) <= 1e-6
        assert solution.power <= solution.power_limit * (1 + 1e-9)
        assert np.isfinite(solution.sum_crb)
        if solution.quality is Quality.FALLBACK:
            assert solution.design in ('users-first', 'extended-zero-forcing')
            assert solution.reason in ('budget-exhausted', 'short-budget', 'solver-failed')
        else:
            assert (solution.design, solution.quality) == (name, Quality.EARLY)


def test_a_budget_known_to_be_too_short_is_not_wasted(monkeypatch):
    time = [0.0]

    def slow(problem, gap, budget=None):
        time[0] += 0.1
        return DESIGNS['users-first'].solve(problem, gap, budget)

    wanted = replace(DESIGNS['extended-crb-min'], solve=slow, remembering=None)
    monkeypatch.setitem(cycle_module.DESIGNS, 'extended-crb-min', wanted)
    cycle = DesignCycle(DesignSettings('extended-crb-min', budget=0.02))
    solutions = [cycle.step(street(), now=lambda: time[0]) for _ in range(6)]
    assert [one.reason for one in solutions[3:]] == ['short-budget'] * 3
    # Meanwhile there is zero forcing, and its certified loss.
    assert {one.design for one in solutions[3:]} == {'extended-zero-forcing'}
    assert max(one.gap for one in solutions[3:]) < 0.2


def test_the_quick_design_minimises_what_was_asked_for(monkeypatch):
    best = DesignCycle(DesignSettings('crb-min', gap=1e-3)).step(street())
    broken = replace(DESIGNS['crb-min'], solve=failing, remembering=None)
    monkeypatch.setitem(cycle_module.DESIGNS, 'crb-min', broken)
    quick = DesignCycle(DesignSettings('crb-min', gap=1e-3)).step(street())
    assert (quick.design, quick.reason) == ('extended-zero-forcing', 'solver-failed')
    assert quick.objective == pytest.approx(quick.sum_crb, rel=1e-9)
    assert best.bound * (1 - 1e-9) <= quick.objective <= 1.1 * best.objective
    assert quick.bound <= best.objective


def test_designs_for_extended_targets_begin_where_the_scene_before_ended():
    cycle = DesignCycle(DesignSettings('extended-crb-min', gap=1e-3))
    cold = cycle.step(street())
    warm = cycle.step(street(0.02))
    alone = DesignCycle(DesignSettings('extended-crb-min', gap=1e-3)).step(street(0.02))
    assert not cold.warm and warm.warm
    assert warm.iterations < alone.iterations
    assert max(cold.gap, warm.gap) <= 1e-3
    assert warm.max_violation <= 1e-9
    assert warm.objective == pytest.approx(alone.objective, rel=2e-3)


def test_a_quick_design_that_is_no_better_is_not_taken(monkeypatch):
    time = [0.0]

    def early(problem, gap, budget=None):
        time[0] += 0.01
        outcome = DESIGNS['extended-zero-forcing'].solve(problem, 1e-3, None)
        # As if cut short long before there was a bound worth anything.
        return replace(outcome, bound=1e-9 * outcome.bound)

    wanted = replace(DESIGNS['extended-crb-min'], solve=early, remembering=None)
    monkeypatch.setitem(cycle_module.DESIGNS, 'extended-crb-min', wanted)
    scene = replace(street(), options=ExtendedOptions(1.2, objective='centre'))
    solution = DesignCycle(DesignSettings('extended-crb-min', budget=0.05)).step(
        scene, now=lambda: time[0])
    assert (solution.design, solution.quality) == ('extended-crb-min', Quality.EARLY)
    assert solution.coverage_ratio <= 1.2 * (1 + 1e-6)


def test_scenes_of_several_extended_and_point_targets_sum_up():
    scene = street(n_extended=2, n_points=1)
    heavy = replace(scene, extended=(replace(scene.extended[0], weight=50.0), scene.extended[1]))
    plain, weighted = (DesignCycle(DesignSettings(gap=1e-3)).step(one) for one in (scene, heavy))
    assert [target.id for target in plain.targets] == ['p0', 'car0', 'car1']
    assert plain.objective == pytest.approx(
        sum(np.trace(target.crb) for target in plain.targets), rel=1e-9)
    assert plain.sum_crb == pytest.approx(plain.objective, rel=1e-9)
    assert weighted.objective == pytest.approx(
        sum(weight * np.trace(target.crb) for weight, target in zip(
            (1.0, 50.0, 1.0), weighted.targets, strict=True)), rel=1e-9)
    # What counts more is known better.
    assert np.trace(weighted.targets[1].crb) < np.trace(plain.targets[1].crb)


def test_prepared_scenes_are_for_designs_that_remember():
    assert DesignCycle(DesignSettings('crb-min')).prepare(street(), 10.0)
    assert not DesignCycle(DesignSettings('extended-zero-forcing')).prepare(street(), 10.0)
