"""One cycle: what it falls back to, and that it says so."""

from dataclasses import replace
import itertools

import numpy as np
import pytest
from scenes import planar, random_scene

from nf_isac_ros.core import cycle as cycle_module
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.exceptions import SceneError, SolverError
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.solution import Quality

SCENE = random_scene(1, 1, 2, side=8, min_sinr_db=3.0)


def step(scene, **settings):
    return DesignCycle(DesignSettings(**settings)).step(scene)


def test_a_feasible_scene_is_solved_to_the_gap():
    solution = step(SCENE, gap=1e-3)
    assert (solution.design, solution.quality, solution.reason) == (
        'crb-min', Quality.OPTIMAL, '')
    assert solution.gap <= 1e-3
    assert solution.weights.shape[0] == 64
    assert set(solution.times_ms) == {'channels', 'solve', 'beams'}


def test_without_users_all_power_senses():
    solution = step(replace(SCENE, users=()))
    assert solution.communication.shape == (64, 0)
    assert solution.power == pytest.approx(0.01, rel=1e-9)
    assert solution.quality is Quality.OPTIMAL


def test_without_targets_the_common_sinr_is_maximised():
    scene = replace(SCENE, targets=())
    solution = step(scene)
    assert (solution.design, solution.quality) == ('sinr-max', Quality.OPTIMAL)
    margins = [user.sinr_db - user.required_sinr_db for user in solution.users]
    assert margins[0] == pytest.approx(margins[1], abs=1e-6)
    assert solution.objective == pytest.approx(10 ** (margins[0] / 10), rel=1e-6)


def test_without_bodies_there_are_no_beams():
    solution = step(replace(SCENE, targets=(), users=()))
    assert (solution.quality, solution.reason) == (Quality.MUTE, 'no-bodies')
    assert solution.weights.shape == (64, 0)
    assert solution.power == 0


def test_infeasible_sinrs_fall_back_to_the_largest_common_scale():
    scene = replace(SCENE, users=tuple(replace(u, min_sinr_db=60.0) for u in SCENE.users))
    solution = step(scene)
    assert (solution.design, solution.quality, solution.reason) == (
        'sinr-max', Quality.FALLBACK, 'infeasible-sinr')
    assert solution.power <= solution.power_limit * (1 + 1e-12)
    margins = [user.violation_db for user in solution.users]
    assert margins[0] == pytest.approx(margins[1], abs=1e-6)
    assert margins[0] > 0
    # The bound on the target is what these beams give, not that of the design asked for.
    assert len(solution.targets) == 1 and solution.targets[0].crb.shape == (3, 3)


@pytest.mark.parametrize('name, min_sinr_db, reason', [
    ('sinr-max', 60.0, 'infeasible-sinr'), ('isotropic', 3.0, 'users-not-served'),
    ('isotropic', 60.0, 'infeasible-sinr')])
def test_a_design_that_misses_an_sinr_says_so(name, min_sinr_db, reason):
    scene = replace(SCENE, users=tuple(replace(u, min_sinr_db=min_sinr_db) for u in SCENE.users))
    solution = step(scene, name=name)
    assert (solution.quality, solution.reason) == (Quality.FALLBACK, reason)


# The rungs of the ladder, each forced.

def fail(problem, gap, budget):
    raise SolverError('no numbers')


def crash(problem, gap, budget):
    raise ZeroDivisionError('a defect')


def breaking(monkeypatch, *names, solve=fail, after=0):
    """Make designs fail, once they have been called so many times."""
    def breaks(design):
        calls = itertools.count()

        def solver(problem, gap, budget):
            if next(calls) < after:
                return design.solve(problem, gap, budget)
            return solve(problem, gap, budget)

        return replace(design, solve=solver, remembering=None)

    for name in names:
        monkeypatch.setitem(
            cycle_module.DESIGNS, name, breaks(cycle_module.DESIGNS[name]))


@pytest.mark.parametrize('solve', [fail, crash])
def test_a_failing_solver_falls_back_to_zero_forcing(monkeypatch, solve):
    breaking(monkeypatch, 'crb-min', solve=solve)
    solution = step(SCENE)
    assert (solution.design, solution.quality, solution.reason) == (
        'zero-forcing', Quality.FALLBACK, 'solver-failed')
    assert solution.max_violation < 1e-9
    assert solution.gap < 0.5


def test_users_whom_zero_forcing_cannot_serve_come_first(monkeypatch):
    first, second = SCENE.users
    together = replace(SCENE, users=(
        replace(first, min_sinr_db=-4.0),
        replace(second, min_sinr_db=-4.0, position=first.position)))
    solution = step(together, name='zero-forcing')
    assert (solution.design, solution.quality, solution.reason) == (
        'users-first', Quality.FALLBACK, 'dependent-users')
    assert solution.max_violation < 1e-9
    breaking(monkeypatch, 'crb-min')
    assert step(together).design == 'users-first'


def test_the_previous_beams_are_the_last_rung_but_one(monkeypatch):
    breaking(monkeypatch, 'crb-min', after=1)
    breaking(monkeypatch, 'zero-forcing', 'users-first')
    cycle = DesignCycle(DesignSettings())
    before = cycle.step(SCENE)
    again = cycle.step(SCENE)
    assert (again.design, again.quality, again.reason) == (
        'previous-beams', Quality.FALLBACK, 'solver-failed')
    np.testing.assert_allclose(again.weights, before.weights, atol=1e-9)
    assert again.sum_crb == pytest.approx(before.sum_crb, rel=1e-6)
    # On other channels: the same beams, and honest about what they do there.
    moved = replace(SCENE, users=tuple(
        replace(user, position=user.position + [0.1, 0.0, 0.0]) for user in SCENE.users))
    elsewhere = cycle.step(moved)
    assert elsewhere.design == 'previous-beams'
    assert elsewhere.power == pytest.approx(SCENE.radio.power)
    channels = np.stack([responses(SCENE.transmit_array.positions, user.position[None],
                                   SCENE.radio.wavelength)[:, 0] for user in moved.users])
    received = np.abs(channels @ elsewhere.weights) ** 2
    for u, report in enumerate(elsewhere.users):
        ratio = received[u, u] / (received[u].sum() - received[u, u] + SCENE.radio.user_noise)
        assert report.sinr_db == pytest.approx(10 * np.log10(ratio), abs=1e-6)
    assert elsewhere.max_violation > 1e-3
    assert elsewhere.bound <= elsewhere.objective


@pytest.mark.parametrize(('age', 'used'), [(0.2, True), (0.3, False), (-0.3, False)])
def test_previous_beams_that_are_too_old_are_not_used_again(monkeypatch, age, used):
    breaking(monkeypatch, 'crb-min', after=1)
    breaking(monkeypatch, 'zero-forcing', 'users-first')
    cycle = DesignCycle(DesignSettings())
    cycle.step(replace(SCENE, stamp=1000.0))
    solution = cycle.step(replace(SCENE, stamp=1000.0 + age))
    assert (solution.design, solution.quality) == (
        ('previous-beams', Quality.FALLBACK) if used else ('crb-min', Quality.MUTE))
    assert solution.reason == 'solver-failed'
    # Using them again does not make them younger.
    later = cycle.step(replace(SCENE, stamp=1000.0 + 2 * age))
    assert later.quality is Quality.MUTE


def test_without_any_rung_left_there_are_no_beams(monkeypatch):
    breaking(monkeypatch, 'crb-min', after=1)
    breaking(monkeypatch, 'zero-forcing', 'users-first')
    cycle = DesignCycle(DesignSettings())
    cycle.step(SCENE)
    # Other bodies: the previous beams are for somebody else.
    others = replace(SCENE, users=SCENE.users[:1])
    for solution in (cycle.step(others), step(SCENE)):
        assert (solution.quality, solution.reason) == (Quality.MUTE, 'solver-failed')
        assert solution.weights.shape == (64, 0)
    cycle.reset()
    assert cycle.step(SCENE).quality is Quality.MUTE


def test_an_unusable_early_design_gives_way_to_zero_forcing():
    scene = random_scene(2, 3, 3, side=8, min_sinr_db=-5.0)
    solution = step(scene, budget=1e-6)
    assert (solution.design, solution.quality, solution.reason) == (
        'zero-forcing', Quality.FALLBACK, 'budget-exhausted')
    assert solution.max_violation < 1e-9
    alone = step(scene, budget=1e-6, deadline_fallback=False)
    assert (alone.design, alone.quality) == ('crb-min', Quality.EARLY)
    assert solution.objective < alone.objective


def test_a_budget_known_to_be_too_short_is_not_wasted(monkeypatch):
    # Without its memory, which makes it quick where nothing has moved.
    monkeypatch.setitem(cycle_module.DESIGNS, 'crb-min', replace(
        cycle_module.DESIGNS['crb-min'], remembering=None))
    cycle = DesignCycle(DesignSettings())
    scene = random_scene(2, 2, 2, side=8, min_sinr_db=0.0)
    full = [cycle.step(scene) for _ in range(cycle_module.RECENT)][-1]
    assert full.quality is Quality.OPTIMAL
    short = cycle.step(scene, budget=1e-6)
    assert (short.design, short.quality, short.reason) == (
        'zero-forcing', Quality.FALLBACK, 'short-budget')
    assert short.max_violation < 1e-9
    assert short.bound <= full.objective * (1 + 1e-9) <= short.objective * (1 + 2e-3)
    # Now and then the design gets another chance.
    reasons = [cycle.step(scene, budget=1e-6).reason for _ in range(cycle_module.RETRY_AFTER)]
    # Twice, the second time from where the first ended.
    assert reasons == ['short-budget'] * (cycle_module.RETRY_AFTER - 2) + ['budget-exhausted'] * 2
    # After one in vain only half as often.
    reasons = [cycle.step(scene, budget=1e-6).reason for _ in range(2 * cycle_module.RETRY_AFTER)]
    assert reasons.count('budget-exhausted') == 1
    assert cycle.step(scene).quality is Quality.OPTIMAL
    reasons = [cycle.step(scene, budget=1e-6).reason
               for _ in range(cycle_module.RETRY_AFTER + 1)]
    assert reasons.count('budget-exhausted') == 2
    patient = DesignCycle(DesignSettings(deadline_fallback=False))
    for _ in range(cycle_module.RECENT):
        patient.step(scene)
    assert patient.step(scene, budget=1e-6).design == 'crb-min'


def test_a_design_that_is_of_use_when_cut_short_is_tried_each_time(monkeypatch):
    clock, design = [0.0], cycle_module.DESIGNS['crb-min']

    def solver(problem, gap, budget):
        # Always later than it ought to be.
        clock[0] += 3.0 * budget
        return design.solve(problem, gap, None)

    monkeypatch.setitem(cycle_module.DESIGNS, 'crb-min', replace(
        design, solve=solver, remembering=None))
    cycle = DesignCycle(DesignSettings(budget=1.0))
    scene = random_scene(2, 2, 2, side=8, min_sinr_db=0.0)
    solutions = [cycle.step(scene, now=lambda: clock[0])
                 for _ in range(cycle_module.RECENT + 2)]
    assert {solution.design for solution in solutions} == {'crb-min'}


def test_zero_forcing_that_finds_the_sinrs_infeasible_gives_the_largest_common_scale():
    scene = replace(SCENE, users=tuple(replace(u, min_sinr_db=60.0) for u in SCENE.users))
    solution = step(scene, name='zero-forcing')
    assert (solution.design, solution.quality, solution.reason) == (
        'sinr-max', Quality.FALLBACK, 'infeasible-sinr')


def test_a_reset_cycle_repeats_itself():
    settings = DesignSettings(name='zero-forcing')
    cycle, fresh = DesignCycle(settings), DesignCycle(settings)
    moved = replace(SCENE, targets=tuple(
        replace(target, position=target.position + [0.0, 0.002, 0.0])
        for target in SCENE.targets))
    first = [cycle.step(scene) for scene in (SCENE, moved)]
    cycle.reset()
    for again in (cycle, fresh):
        for scene, before in zip((SCENE, moved), first):
            np.testing.assert_array_equal(again.step(scene).weights, before.weights)


def test_time_for_zero_forcing_is_kept_back_unless_designs_are_of_use(monkeypatch):
    budgets, clock = [], [0.0]
    design, lesser = (cycle_module.DESIGNS[name] for name in ('crb-min', 'zero-forcing'))

    def solver(problem, gap, budget):
        budgets.append(budget)
        clock[0] += 0.02
        # As if cut short: a gap of a tenth, or one that is hopeless.
        known = {2: 0.9, 3: 0.9, 4: 0.9, 5: 0.5, 6: 0.5, 7: 0.5}.get(len(budgets), 1.0)
        outcome = design.solve(problem, gap, None)
        return replace(outcome, bound=known * outcome.bound)

    def zero_forcing(problem, gap, budget):
        clock[0] += 0.01
        return lesser.solve(problem, gap, budget)

    monkeypatch.setitem(cycle_module.DESIGNS, 'crb-min', replace(
        design, solve=solver, remembering=None))
    monkeypatch.setitem(cycle_module.DESIGNS, 'zero-forcing', replace(
        lesser, solve=zero_forcing, remembering=None))
    cycle = DesignCycle(DesignSettings(budget=1.0))
    scene = random_scene(2, 2, 2, side=8, min_sinr_db=0.0)
    solutions = [cycle.step(scene, now=lambda: clock[0])
                 for _ in range(7 + cycle_module.RETRY_AFTER + 1)]
    # The time of both designs counts, whichever is taken. After three in a row that were far from
    # their end none is begun for a while; those that were close cost nothing but zero forcing.
    assert [s.times_ms['solve'] for s in solutions[:8]] == pytest.approx(
        [20, 30, 30, 30, 30, 30, 30, 10])
    assert [s.reason for s in solutions[7:]] == (
        ['short-budget'] * (cycle_module.RETRY_AFTER - 1) + ['', ''])
    kept = [1.0 - budget for budget in budgets]
    assert kept == pytest.approx(
        [cycle_module.INITIAL_RESERVE, *[0.0] * 6, 0.01, 0.0])


@pytest.mark.parametrize('budget', [1e-5, 5e-4, 1e-3, 2e-3, 4e-3])
@pytest.mark.parametrize('size', [(1, 1), (2, 2), (3, 3)], ids=str)
def test_whatever_the_budget_no_user_is_left_without_beams(size, budget):
    scene = random_scene(5, *size, side=8, min_sinr_db=-5.0)
    cycle = DesignCycle(DesignSettings(budget=budget))
    for i in range(25):
        moved = replace(scene, stamp=0.005 * i, users=tuple(
            replace(user, position=user.position + [1e-3 * i, 0.0, 0.0]) for user in scene.users))
        solution = cycle.step(moved)
        assert solution.quality is not Quality.MUTE
        assert solution.communication.shape[1] == size[1]
        assert solution.max_violation < 1e-6
        assert solution.bound <= solution.objective * (1 + 1e-12)


def test_a_short_budget_is_kept_or_labelled():
    solution = step(random_scene(2, 3, 3, side=8, min_sinr_db=0.0), budget=1e-4)
    assert solution.quality in (Quality.EARLY, Quality.FALLBACK)
    assert solution.max_violation < 1e-9
    assert solution.bound <= solution.objective


def test_identical_inputs_give_identical_results():
    first, second = step(SCENE), step(SCENE)
    np.testing.assert_array_equal(first.weights, second.weights)


def test_the_clock_is_an_argument():
    ticks = itertools.count()
    solution = DesignCycle(DesignSettings()).step(SCENE, now=lambda: float(next(ticks)))
    assert solution.times_ms['channels'] == pytest.approx(1000.0)


@pytest.mark.parametrize('side, columns', [(8, 64), (9, None)])
def test_isotropic_beams_of_a_small_array_use_the_whole_power(side, columns):
    scene = replace(SCENE, transmit_array=planar(side, side))
    solution = step(scene, name='isotropic')
    assert solution.sum_crb == pytest.approx(solution.isotropic_sum_crb, rel=1e-9)
    if columns:
        assert solution.sensing.shape == (64, columns)
        assert solution.power == pytest.approx(0.01)
    else:
        # Larger arrays: only the part that reaches a body, the rest of the power left out.
        assert solution.power == pytest.approx(0.01 * solution.subspace_dimension / 81)


@pytest.mark.parametrize('settings', [
    {'name': 'best'}, {'gap': 0.0}, {'gap': 2.0}, {'budget': -1.0}, {'rate': 0.0}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(SceneError):
        DesignSettings(**settings)


def test_a_scene_that_was_prepared_needs_fewer_iterations():
    scene = random_scene(12, 2, 2, side=16, min_sinr_db=5.0)
    cold = DesignCycle(DesignSettings()).step(scene)
    cycle = DesignCycle(DesignSettings())
    predicted = replace(scene, users=tuple(
        replace(user, position=user.position + [2e-4, 0.0, 0.0]) for user in scene.users))
    assert cycle.prepare(predicted, budget=10.0)
    warm = cycle.step(scene)
    assert warm.warm and not cold.warm
    assert warm.iterations < cold.iterations
    assert warm.quality is Quality.OPTIMAL
    assert warm.objective == pytest.approx(cold.objective, rel=2e-3)


def test_nothing_is_prepared_for_a_design_without_memory_or_a_scene_without_targets():
    assert not DesignCycle(DesignSettings('isotropic')).prepare(SCENE, budget=1.0)
    assert not DesignCycle(DesignSettings()).prepare(replace(SCENE, targets=()), budget=1.0)
