"""Scenes of predicted bodies, and designs that say what they left out."""

from __future__ import annotations

from types import SimpleNamespace

from extended_scenes import VEHICLE
import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.planning import design_for, plan_scene
from nf_isac_ros.core.scene import ExtendedOptions, Radio, SensingNoise
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.tracking import (
    ChannelSample,
    ChannelStore,
    PoseSample,
    Role,
    TrackingSettings,
    TrackState,
    TrackStore,
)
from nf_isac_ros.files.deployment import BodySettings, ExtendedSettings

ARRAY = AntennaArray(planar_elements(4, 4, 0.005))
SETTINGS = TrackingSettings(predict=0.2, drop=0.5)


@pytest.fixture
def testbed():
    return SimpleNamespace(
        transmit_array=ARRAY, receive_array=ARRAY,
        radio=Radio(0.01, 1.0, 100, 1e-9, SensingNoise(power=1e-9)),
        bodies=(BodySettings('t', 'target', reflection=2j, weight=2.0,
                             coordinate_weights=np.array([1.0, 1.0, 3.0])),
                BodySettings('u', 'user', min_sinr_db=10.0),
                BodySettings('car', 'target', kind='extended', weight=3.0,
                             extended=ExtendedSettings('near-field', sections=5))),
        contours={'vehicle': VEHICLE}, options=ExtendedOptions(coverage_ratio=3.0))


def bodies(time, *samples):
    store = TrackStore(SETTINGS)
    for body_id, role, stamp, extra in samples:
        store.update([PoseSample(body_id, role, stamp, np.array([0.2, 0.1, 0.5]), **extra)], stamp)
    return store.predict(time)


def channels(time, *samples):
    store = ChannelStore(SETTINGS)
    for user, stamp, extra in samples:
        store.update([ChannelSample(user, stamp, np.ones(len(ARRAY), complex), **extra)], stamp)
    return store.at(time)


def test_configured_values_fill_what_messages_leave_out(testbed):
    plan = plan_scene(testbed, bodies(
        1.1, ('t', Role.TARGET, 1.0, {}), ('u', Role.USER, 1.05, {}),
        ('v', Role.USER, 1.07, {'min_sinr_db': 3.0}),
        ('w', Role.TARGET, 1.07, {'reflection': 5 + 0j})), (), 1.1)
    assert [(t.id, t.reflection) for t in plan.scene.targets] == [('t', 2j), ('w', 5)]
    assert [t.weights.tolist() for t in plan.scene.targets] == [[2, 2, 6], [1, 1, 1]]
    assert [(u.id, u.min_sinr_db) for u in plan.scene.users] == [('u', 10.0), ('v', 3.0)]
    assert (plan.newest_stamp, plan.oldest_stamp, plan.scene.stamp) == (1.07, 1.0, 1.1)
    assert not plan.held
    assert not plan.dropped


def test_held_body_is_designed_for_and_dropped_body_is_not(testbed):
    plan = plan_scene(testbed, bodies(
        1.6, ('u', Role.USER, 1.0, {}), ('t', Role.TARGET, 1.3, {})), (), 1.6)
    assert [target.id for target in plan.scene.targets] == ['t']
    assert plan.scene.users == ()
    assert plan.held
    assert plan.dropped
    assert {track.id: track.state for track in plan.tracks} == {
        't': TrackState.HELD, 'u': TrackState.DROPPED}
    assert plan.newest_stamp == 1.3


def test_user_without_required_sinr_is_left_out_and_named(testbed):
    plan = plan_scene(testbed, bodies(1.1, ('x', Role.USER, 1.0, {})), (), 1.1)
    assert plan.scene.users == ()
    assert plan.without_sinr == ('x',)


def test_channel_counts_more_than_position_until_it_is_too_old(testbed):
    poses = bodies(1.6, ('u', Role.USER, 1.55, {}))
    plan = plan_scene(testbed, poses, channels(1.6, ('u', 1.5, {'min_sinr_db': 4.0})), 1.6)
    user, = plan.scene.users
    assert user.position is None
    assert user.min_sinr_db == 4.0
    plan = plan_scene(testbed, poses, channels(1.6, ('u', 1.0, {})), 1.6)
    user, = plan.scene.users
    assert user.channel is None
    assert plan.dropped


def test_without_removes_one_body(testbed):
    plan = plan_scene(testbed, bodies(
        1.1, ('t', Role.TARGET, 1.0, {}), ('u', Role.USER, 1.05, {})), (), 1.1)
    assert plan.without('t').scene.targets == ()
    assert len(plan.without('t').scene.users) == 1
    assert plan.without('t').tracks == plan.tracks


def test_nothing_known_is_an_empty_scene(testbed):
    plan = plan_scene(testbed, (), (), 1.0)
    assert plan.scene.targets == plan.scene.users == ()
    assert plan.newest_stamp is None


def designed(testbed, *samples, time=1.1, name='crb-min'):
    plan = plan_scene(testbed, bodies(time, *samples), (), time)
    return design_for(plan, DesignCycle(DesignSettings(name)))


def at(*position):
    return np.array(position, dtype=float)


def test_body_on_an_antenna_is_left_out_and_the_rest_is_served(testbed):
    stuck = tuple(ARRAY.positions[1])
    store = TrackStore(SETTINGS)
    store.update([
        PoseSample('t', Role.TARGET, 1.0, at(0.3, 0.2, 2.0)),
        PoseSample('u', Role.USER, 1.0, at(-0.3, 0.1, 2.0)),
        PoseSample('v', Role.USER, 1.0, at(*stuck), min_sinr_db=5.0)], 1.0)
    plan = plan_scene(testbed, store.predict(1.1), (), 1.1)
    design = design_for(plan, DesignCycle(DesignSettings()))
    assert design.user_ids == ('u',)
    assert [error.body for error in design.removed] == ['v']
    assert design.solution.quality is Quality.FALLBACK
    assert design.solution.reason == 'body-on-antenna'
    assert design.solution.communication.shape[1] == 1
    sinr = {user.id: user.sinr_db for user in design.solution.users}
    assert sinr['v'] == -np.inf
    assert sinr['u'] >= 10.0 - 1e-6


def test_only_body_on_an_antenna_is_mute_with_its_reason(testbed):
    store = TrackStore(SETTINGS)
    store.update([PoseSample('t', Role.TARGET, 1.0, ARRAY.positions[0])], 1.0)
    design = design_for(plan_scene(testbed, store.predict(1.1), (), 1.1),
                        DesignCycle(DesignSettings()))
    assert (design.solution.quality, design.solution.reason) == (
        Quality.MUTE, 'body-on-antenna')


@pytest.mark.parametrize(('samples', 'time', 'quality', 'reason'), [
    ([], 1.1, Quality.MUTE, 'no-bodies'),
    ([('u', Role.USER, 1.0, {})], 1.6, Quality.MUTE, 'tracks-dropped'),
    ([('u', Role.USER, 1.0, {})], 1.3, Quality.FALLBACK, 'held-track'),
    ([('u', Role.USER, 1.0, {}), ('x', Role.USER, 1.0, {})], 1.1, Quality.FALLBACK,
     'no-required-sinr'),
    ([('u', Role.USER, 1.0, {}), ('t', Role.TARGET, 1.0, {'kind': 'extended'})], 1.1,
     Quality.FALLBACK, 'extended-as-point'),
    ([('u', Role.USER, 1.0, {'min_sinr_db': 300.0})], 1.3, Quality.FALLBACK, 'infeasible-sinr'),
], ids=['nothing', 'dropped', 'held', 'no_threshold', 'extended', 'graver_than_held'])
def test_labels(testbed, samples, time, quality, reason):
    solution = designed(testbed, *samples, time=time).solution
    assert (solution.quality, solution.reason) == (quality, reason)


def test_error_that_is_nobodys_fault_is_passed_on(testbed):
    class Broken(DesignCycle):
        def step(self, scene, budget=None, now=None):
            raise SceneError('no', 'bad-scene')

    plan = plan_scene(testbed, bodies(1.1, ('u', Role.USER, 1.0, {})), (), 1.1)
    with pytest.raises(SceneError):
        design_for(plan, Broken(DesignSettings()))


# Before the array (boresight z), heading along x of the scene, contour in the x-z plane.
CAR = {'kind': 'extended', 'contour': 'vehicle', 'size_scale': 0.5,
       'orientation_xyzw': (np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5))}


def car(position=(0.3, 0.0, 4.0), **changes):
    store = TrackStore(SETTINGS)
    store.update([PoseSample('car', Role.TARGET, 1.0, np.array(position), **(CAR | changes)),
                  PoseSample('u', Role.USER, 1.0, np.array([0.4, 0.2, 1.5]))], 1.0)
    return store.predict(1.05)


def test_extended_body_becomes_an_extended_target_as_configured(testbed):
    plan = plan_scene(testbed, car(), (), 1.05)
    target, = plan.scene.extended
    assert not plan.scene.targets and not plan.as_points and plan.size == 2
    assert target.contour == VEHICLE.scaled(0.5)
    assert (target.model, target.sections, target.weight) == ('near-field', 5, 3.0)
    np.testing.assert_allclose(target.pose.rotation[:, 0], [1, 0, 0], atol=1e-12)
    assert plan.scene.options.coverage_ratio == 3.0


@pytest.mark.parametrize('changes', [{'contour': 'boat'}, {'orientation_xyzw': None}],
                         ids=['contour', 'heading'])
def test_extended_body_without_contour_or_heading_counts_as_a_point(testbed, changes):
    plan = plan_scene(testbed, car(**changes), (), 1.05)
    assert [target.id for target in plan.scene.targets] == ['car'] and plan.as_points


def test_extended_target_is_designed_for(testbed):
    plan = plan_scene(testbed, car(), (), 1.05)
    design = design_for(plan, DesignCycle(DesignSettings(gap=1e-3)))
    assert design.solution.quality is Quality.OPTIMAL and design.user_ids == ('u',)
    assert np.isfinite(design.solution.objective)


def test_array_inside_the_contour_leaves_the_body_out_with_its_reason(testbed):
    plan = plan_scene(testbed, car((0.0, 0.0, 0.1)), (), 1.05)
    design = design_for(plan, DesignCycle(DesignSettings(gap=1e-3)))
    error, = design.removed
    assert (error.reason, error.body) == ('inside-contour', 'car')
    assert design.solution.quality is Quality.FALLBACK
