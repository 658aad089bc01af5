"""What must not change, or changes by a known factor, for any scene: property tests."""

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import WAVELENGTH, planar, radio, random_scene
from transforms3d.euler import euler2quat
from transforms3d.quaternions import qmult, quat2mat

from nf_isac_ros.core.arrays import AntennaArray, Pose, modular_elements
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import ScatteredPath, Scene, SensingNoise, User

GAP = 1e-7
# Two designs, each within the gap of its optimum, and their certificates.
TOLERANCE = 5e-7


def optimum(scene, name='crb-min'):
    return solve(build_problem(scene), DESIGNS[name], GAP, None)


def bodies_at(scene, place):
    return replace(
        scene, targets=tuple(replace(t, position=place(t.position)) for t in scene.targets),
        users=tuple(replace(u, position=place(u.position)) for u in scene.users))


def more_symbols(scene, rng):
    return replace(scene, radio=replace(scene.radio, symbols=200)), 0.5


def stronger_echoes(scene, rng):
    factor = complex(*rng.normal(size=2))
    return replace(scene, targets=tuple(
        replace(t, reflection=factor * t.reflection) for t in scene.targets)), 1 / abs(factor) ** 2


def power_with_user_noise(scene, rng):
    factor = 10 ** rng.uniform(-1, 1)
    return replace(scene, radio=replace(
        scene.radio, power=0.01 * factor, user_noise=1e-8 * factor)), 1 / factor


def louder_receivers(scene, rng):
    factor = 10 ** rng.uniform(-1, 1)
    return replace(scene, radio=replace(
        scene.radio, sensing_noise=SensingNoise(power=1e-8 * factor))), factor


def same_noise_as_a_matrix(scene, rng):
    n = len(scene.receive_array)
    return replace(scene, radio=replace(
        scene.radio, sensing_noise=SensingNoise(covariance=1e-8 * np.eye(n)))), 1.0


def phases_of_channels(scene, rng):
    problem = build_problem(scene)
    turned = problem.channels * np.exp(2j * np.pi * rng.uniform(size=len(scene.users)))
    return replace(scene, users=tuple(
        User(u.id, u.min_sinr_db, channel=h) for u, h in zip(scene.users, turned.T))), 1.0


def quarter_turn(scene, rng):
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return bodies_at(scene, lambda place: turn @ place), 1.0


def mirrored(scene, rng):
    return bodies_at(scene, lambda place: place * [-1.0, 1.0, 1.0]), 1.0


def permuted(scene, rng):
    return replace(
        scene, targets=tuple(scene.targets[i] for i in rng.permutation(len(scene.targets))),
        users=tuple(scene.users[i] for i in rng.permutation(len(scene.users)))), 1.0


def elements_renumbered(scene, rng):
    transmit, receive = scene.transmit_array, scene.receive_array
    return replace(
        scene, transmit_array=AntennaArray(rng.permutation(transmit.elements)),
        receive_array=AntennaArray(rng.permutation(receive.elements))), 1.0


def moved_as_a_whole(scene, rng):
    quaternion = euler2quat(*rng.uniform(-np.pi, np.pi, 3))
    shift = rng.uniform(-5, 5, 3)
    w, x, y, z = quaternion
    pose = Pose(shift, (x, y, z, w))
    moved = replace(
        scene, transmit_array=replace(scene.transmit_array, pose=pose),
        receive_array=replace(scene.receive_array, pose=pose))
    return bodies_at(moved, lambda place: quat2mat(quaternion) @ place + shift), 1.0


def made_of_panels(scene, rng):
    def panelled(array):
        halves = np.array_split(array.elements, 2)
        panels = []
        for half in halves:
            quaternion = euler2quat(*rng.uniform(-np.pi, np.pi, 3))
            w, x, y, z = quaternion
            pose = Pose(rng.uniform(-1, 1, 3), (x, y, z, w))
            panels.append(AntennaArray(pose.to_inner(half), pose))
        return AntennaArray(modular_elements(panels))
    return replace(scene, transmit_array=panelled(scene.transmit_array),
                   receive_array=panelled(scene.receive_array)), 1.0


def other_unit_of_length(scene, rng):
    factor = 10 ** rng.uniform(-1, 1)
    larger = replace(
        scene, radio=replace(scene.radio, wavelength=WAVELENGTH * factor),
        transmit_array=AntennaArray(scene.transmit_array.elements * factor),
        receive_array=AntennaArray(scene.receive_array.elements * factor))
    return bodies_at(larger, lambda place: place * factor), factor ** 2


def heavier(scene, rng):
    factor = 10 ** rng.uniform(-1, 1)
    return replace(scene, targets=tuple(
        replace(t, weight=factor * t.weight) for t in scene.targets)), factor


def weight_in_each_coordinate(scene, rng):
    factor = 10 ** rng.uniform(-1, 1)
    return replace(scene, targets=tuple(
        replace(t, coordinate_weights=np.full(3, factor)) for t in scene.targets)), factor


@pytest.mark.parametrize('change', [
    more_symbols, stronger_echoes, power_with_user_noise, louder_receivers,
    same_noise_as_a_matrix, phases_of_channels, quarter_turn, mirrored, permuted,
    elements_renumbered, moved_as_a_whole, made_of_panels, other_unit_of_length, heavier,
    weight_in_each_coordinate])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 2), n_users=st.integers(0, 2))
def test_least_bound(change, seed, n_targets, n_users):
    scene = random_scene(seed, n_targets, n_users, side=8, min_sinr_db=0.0)
    assume(build_problem(scene).max_common_sinr_scale_db > 0.5)
    changed, factor = change(scene, np.random.default_rng(seed))
    before, after = optimum(scene), optimum(changed)
    assert after.objective == pytest.approx(factor * before.objective, rel=TOLERANCE)
    # Where the optimum is flat, users may get more than they need in more than one way.
    for user in (*before.users, *after.users):
        assert user.sinr_db >= user.required_sinr_db - 1e-6


@pytest.mark.parametrize('change, name, factor', [
    (stronger_echoes, 'max-min-echo', lambda f: 1 / f),
    (stronger_echoes, 'max-min-illumination', lambda f: 1.0),
    (power_with_user_noise, 'max-min-echo', lambda f: 1 / f),
    (louder_receivers, 'max-min-echo', lambda f: 1.0),
    (moved_as_a_whole, 'max-min-echo', lambda f: 1.0),
    (permuted, 'max-min-illumination', lambda f: 1.0)])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 2), n_users=st.integers(0, 2))
def test_most_light(change, name, factor, seed, n_targets, n_users):
    scene = random_scene(seed, n_targets, n_users, side=8, min_sinr_db=0.0)
    assume(build_problem(scene).max_common_sinr_scale_db > 0.5)
    changed, of_bound = change(scene, np.random.default_rng(seed))
    before, after = optimum(scene, name), optimum(changed, name)
    assert after.objective == pytest.approx(
        factor(of_bound) * before.objective, rel=2 * max(before.gap, after.gap) + TOLERANCE)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_targets=st.integers(1, 2))
def test_another_user_or_a_higher_threshold_never_helps(seed, n_targets):
    scene = random_scene(seed, n_targets, 2, side=8, min_sinr_db=0.0)
    assume(build_problem(scene).max_common_sinr_scale_db > 2.5)
    raised = replace(scene, users=tuple(
        replace(u, min_sinr_db=u.min_sinr_db + 2) for u in scene.users))
    bounds = [optimum(case).objective for case in (
        replace(scene, users=()), replace(scene, users=scene.users[:1]), scene, raised)]
    for fewer, more in zip(bounds, bounds[1:]):
        assert fewer <= more * (1 + TOLERANCE)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10 ** 6))
def test_weights_turn_with_the_scene(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(seed, 2, 1, side=8, min_sinr_db=0.0)
    assume(build_problem(scene).max_common_sinr_scale_db > 0.5)
    weighted = replace(scene, targets=tuple(
        replace(t, weight=rng.uniform(0.2, 5), coordinate_weights=rng.uniform(0.1, 10, 3))
        for t in scene.targets))
    turned, _ = quarter_turn(weighted, rng)
    # y is the new x.
    turned = replace(turned, targets=tuple(
        replace(t, coordinate_weights=t.coordinate_weights[[1, 0, 2]]) for t in turned.targets))
    before, after = optimum(weighted), optimum(turned)
    assert after.objective == pytest.approx(before.objective, rel=TOLERANCE)
    assert before.objective == pytest.approx(sum(
        float(t.weight * t.coordinate_weights @ np.diag(report.crb))
        for t, report in zip(weighted.targets, before.targets)), rel=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10 ** 6), axis=st.integers(0, 2))
def test_a_coordinate_with_more_weight_is_known_better(seed, axis):
    scene = random_scene(seed, 1, 1, side=8, min_sinr_db=0.0)
    assume(build_problem(scene).max_common_sinr_scale_db > 0.5)
    weights = np.ones(3)
    weights[axis] = 100.0
    favoured = replace(scene, targets=(
        replace(scene.targets[0], coordinate_weights=weights),))
    plain, better = optimum(scene), optimum(favoured)
    assert better.targets[0].crb[axis, axis] <= plain.targets[0].crb[axis, axis] * (1 + 1e-5)
    # And neither does better than the other at its own objective.
    assert plain.sum_crb <= better.sum_crb * (1 + TOLERANCE)


def test_scattered_paths_add_up_to_a_channel():
    # Eq. (51) with two paths: h = conj(v(user)) + sum eta conj(v(target)).
    scene = random_scene(3, 2, 1, side=8, min_sinr_db=0.0)
    paths = (ScatteredPath('t0', 0.4 - 0.2j), ScatteredPath('t1', -0.3j))
    scattered = replace(scene, users=(replace(scene.users[0], scattered=paths),))

    def response(place):
        distance = np.linalg.norm(scene.transmit_array.positions - place, axis=1)
        return WAVELENGTH / (4 * np.pi * distance) * np.exp(-2j * np.pi * distance / WAVELENGTH)

    channel = response(scene.users[0].position).conj() + sum(
        path.coefficient * response(target.position).conj()
        for path, target in zip(paths, scene.targets))
    direct = replace(scene, users=(
        User('u0', scene.users[0].min_sinr_db, channel=channel),))
    assert optimum(scattered).objective == pytest.approx(
        optimum(direct).objective, rel=TOLERANCE)
    # One user: the largest SINR is that of maximum-ratio transmission.
    largest = 10 * np.log10(0.01 * np.vdot(channel, channel).real / 1e-8)
    assert build_problem(scattered).max_common_sinr_scale_db == pytest.approx(
        largest - scene.users[0].min_sinr_db, abs=1e-9)


def test_poses_of_both_arrays_count():
    # A receive array that is turned and moved: as if its elements had been given there.
    quaternion = qmult(euler2quat(0.3, -0.4, 1.1), euler2quat(0, 0, 0.5))
    w, x, y, z = quaternion
    receive = AntennaArray(planar(6, 9).elements, Pose(np.array([0.2, -0.1, 2.0]), (x, y, z, w)))
    scene = random_scene(5, 2, 1, side=8, min_sinr_db=0.0)
    posed = Scene(scene.transmit_array, receive, radio(), scene.targets, scene.users)
    placed = replace(posed, receive_array=AntennaArray(
        planar(6, 9).elements @ quat2mat(quaternion).T + [0.2, -0.1, 2.0]))
    assert optimum(posed).objective == pytest.approx(optimum(placed).objective, rel=TOLERANCE)
