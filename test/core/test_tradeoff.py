"""End points of the tradeoff against the references, sweeps against what they must obey."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import needs_reference, random_scene, reference

from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import User
from nf_isac_ros.core.tradeoff import (
    PointStatus,
    common_thresholds,
    end_points,
    largest_feasible_offset_db,
    largest_sinr_split,
    scaled_thresholds,
    sweep,
)

CRB_MIN = DESIGNS['crb-min']


def sinr_db(solution):
    return solution.users[0].sinr_db


@needs_reference
@pytest.mark.parametrize('name', ['S01_prop5_d0', 'S03_fig4_eta0'])
def test_end_points_are_those_of_the_reference(name):
    case = reference(name)
    expected = case.expected['single_user_single_target']
    corners = end_points(case.scene)
    assert sinr_db(corners.sensing) == pytest.approx(expected['Gamma_s_dB'], abs=1e-6)
    assert corners.line_search_sinr_db == pytest.approx(
        expected['Gamma_s_paper_alpha_star_dB'], abs=1e-6)
    assert sinr_db(corners.communication) == pytest.approx(expected['Gamma_c_dB'], abs=1e-9)
    assert sinr_db(corners.illumination) == pytest.approx(expected['Gamma_sprime_dB'], abs=1e-9)
    assert corners.sensing.sum_crb == pytest.approx(expected['CRB_s'], rel=1e-8)
    assert corners.communication.sum_crb == pytest.approx(expected['CRB_c'], rel=1e-9)
    assert corners.illumination.sum_crb == pytest.approx(expected['CRB_sprime'], rel=1e-9)
    for corner in (corners.sensing, corners.illumination, corners.communication):
        assert corner.power == pytest.approx(0.01, rel=1e-12)


@needs_reference
@pytest.mark.parametrize('target, user, loss_db', [
    ((0.0, 0.005, 1.235), (0.0, 0.02, 1.6), 6.9), ((0.0, 0.0, 0.741), (0.0, -0.2, 1.5), 11.4)])
def test_the_papers_line_search_can_miss_by_far(target, user, loss_db):
    scene = reference('S03_fig4_eta0').scene
    scene = replace(scene, targets=(replace(scene.targets[0], position=np.array(target)),),
                    users=(replace(scene.users[0], position=np.array(user)),))
    assert end_points(scene).line_search_loss_db == pytest.approx(loss_db, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10 ** 6), rank=st.integers(1, 4))
def test_no_other_split_gives_the_user_more(seed, rank):
    rng = np.random.default_rng(seed)
    beams = rng.normal(size=(6, rank)) + 1j * rng.normal(size=(6, rank))
    channel = rng.normal(size=6) + 1j * rng.normal(size=6)
    covariance = beams @ beams.conj().T
    split = largest_sinr_split(beams, channel)
    np.testing.assert_allclose(
        split.covariance, covariance, atol=1e-12 * np.trace(covariance).real)
    heard = np.abs(channel.conj() @ split.sensing)
    assert heard.max(initial=0.0) <= 1e-12 * np.linalg.norm(channel)
    best = np.linalg.norm(channel.conj() @ beams) ** 2
    assert abs(channel.conj() @ split.communication[:, 0]) ** 2 == pytest.approx(best, rel=1e-12)
    # Other beams B x with |x| <= 1 are all that leave R - w w^H >= 0.
    for _ in range(20):
        x = rng.normal(size=rank) + 1j * rng.normal(size=rank)
        other = abs(channel.conj() @ beams @ x) ** 2 / np.linalg.norm(x) ** 2
        assert other <= best * (1 + 1e-12)


def test_bound_is_flat_up_to_the_sensing_end_point_and_rises_after_it():
    scene = random_scene(7, 1, 1, side=10)
    corners = end_points(scene)
    knee = sinr_db(corners.sensing)
    below, above, far = sweep(scene, CRB_MIN, common_thresholds(
        scene, [knee - 0.01, knee + 0.5, sinr_db(corners.communication) - 0.5]), 1e-8)
    assert below.solution.sum_crb == pytest.approx(corners.sensing.sum_crb, rel=1e-7)
    assert above.solution.bound > corners.sensing.sum_crb * (1 + 1e-6)
    assert far.solution.bound > above.solution.sum_crb


def test_at_the_far_end_there_is_one_design_only():
    scene = random_scene(7, 1, 1, side=10)
    corners = end_points(scene)
    limit = largest_feasible_offset_db(scene, [0.0])
    assert limit == pytest.approx(sinr_db(corners.communication), abs=1e-9)
    last, beyond = sweep(scene, CRB_MIN, common_thresholds(scene, [limit, limit + 0.01]))
    assert (last.status, beyond.status) == (PointStatus.LIMIT, PointStatus.INFEASIBLE)
    assert last.solution.sum_crb == pytest.approx(corners.communication.sum_crb, rel=1e-7)
    assert beyond.solution is None and np.isnan(beyond.least_power)


def test_only_a_user_that_carries_nothing_of_the_target_blinds_the_radio():
    scene = random_scene(8, 1, 1, side=6)
    assert np.isfinite(end_points(scene).communication.sum_crb)
    v = responses(scene.transmit_array.positions, scene.targets[0].position[None],
                  scene.radio.wavelength)[:, 0].conj()
    h = np.random.default_rng(0).normal(size=len(v)) * np.abs(v) + 0j
    h -= v * np.vdot(v, h) / np.vdot(v, v)
    deaf = replace(scene, users=(User('u', 0.0, channel=h),))
    assert end_points(deaf).communication.sum_crb > 1e6 * end_points(scene).sensing.sum_crb


@pytest.mark.parametrize('n_targets, n_users', [(1, 2), (2, 2), (2, 3)])
def test_sweep_gives_what_single_designs_give(n_targets, n_users):
    scene = random_scene(9, n_targets, n_users, side=10)
    limit = largest_feasible_offset_db(scene, [user.min_sinr_db for user in scene.users])
    offsets = np.array([limit - 1, limit - 3, limit - 8, limit - 20])
    points = list(sweep(scene, CRB_MIN, scaled_thresholds(scene, offsets)))
    bounds = [point.solution.sum_crb for point in points]
    assert bounds == sorted(bounds, reverse=True)
    for offset, point in zip(offsets, points):
        assert point.status is PointStatus.OPTIMAL
        shifted = replace(scene, users=tuple(
            replace(user, min_sinr_db=user.min_sinr_db + offset) for user in scene.users))
        (alone,) = sweep(shifted, CRB_MIN, scaled_thresholds(shifted, [0.0]))
        assert point.solution.objective == pytest.approx(alone.solution.objective, rel=2e-6)
        assert all(user.violation_db <= 1e-9 for user in point.solution.users)
        assert [user.required_sinr_db for user in point.solution.users] == pytest.approx(
            [user.min_sinr_db for user in shifted.users])
        assert point.least_power < 0.01


def test_other_designs_are_swept_too():
    scene = random_scene(9, 1, 2, side=8, min_sinr_db=-5.0)
    for name in ('users-first', 'max-min-illumination', 'isotropic'):
        (point,) = sweep(scene, DESIGNS[name], scaled_thresholds(scene, [0.0]))
        assert point.solution.design == name
    # What promises no SINR cannot be infeasible.
    (point,) = sweep(scene, DESIGNS['isotropic'], common_thresholds(scene, [90.0]))
    assert point.status is PointStatus.OPTIMAL
    assert point.solution.power == scene.radio.power
    assert point.solution.sum_crb == pytest.approx(point.solution.isotropic_sum_crb, rel=1e-9)


@pytest.mark.parametrize('change, thresholds, reason', [
    ({}, np.zeros((0, 1)), 'empty-sweep'), ({}, np.zeros((3, 2)), 'bad-sweep'),
    ({}, np.zeros(3), 'bad-sweep'), ({}, np.full((1, 1), np.nan), 'bad-sweep'),
    ({'users': ()}, np.zeros((1, 0)), 'no-users'),
    ({'targets': ()}, np.zeros((1, 1)), 'no-targets')])
def test_a_sweep_that_cannot_be_is_refused_at_once(change, thresholds, reason):
    scene = replace(random_scene(1, 1, 1, side=4), **change)
    with pytest.raises(SceneError) as caught:
        sweep(scene, CRB_MIN, thresholds)
    assert caught.value.reason == reason


def test_reports_say_who_is_near():
    # 2 D^2 / lambda of 4 x 4 half-wavelength elements is 0.09 m, D their diagonal.
    scene = random_scene(1, 1, 1, side=4, min_sinr_db=-40.0)
    near, far, unknown = (replace(scene.users[0], id='n', position=np.array([0.0, 0.0, 0.08])),
                          replace(scene.users[0], id='f', position=np.array([0.02, 0.0, 0.1])),
                          User('c', -40.0, channel=np.full(16, 1e-3 + 0j)))
    (point,) = sweep(replace(scene, users=(near, far, unknown)), CRB_MIN, [[-40.0] * 3])
    assert [user.near_field for user in point.solution.users] == [True, False, None]


def test_end_points_want_one_of_each():
    with pytest.raises(SceneError, match='2 targets and 1 users') as caught:
        end_points(random_scene(1, 2, 1, side=4))
    assert caught.value.reason == 'not-single'
