"""One cycle: what it falls back to, and that it says so."""

from dataclasses import replace
import itertools

import numpy as np
import pytest
from scenes import planar, random_scene

from nf_isac_ros.core import cycle as cycle_module
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.exceptions import SceneError, SolverError
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


def test_a_failing_solver_falls_back_to_users_first(monkeypatch):
    def fail(problem, gap, budget):
        raise SolverError('no numbers')

    broken = replace(cycle_module.DESIGNS['crb-min'], solve=fail)
    monkeypatch.setitem(cycle_module.DESIGNS, 'crb-min', broken)
    solution = step(SCENE)
    assert (solution.design, solution.quality, solution.reason) == (
        'users-first', Quality.FALLBACK, 'solver-failed')
    assert solution.max_violation < 1e-9


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
