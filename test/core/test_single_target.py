"""Closed forms for a single target: against the interior point, the references, and by hand."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import WAVELENGTH, needs_reference, planar, radio, random_scene, reference

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.designs.crb_min import by_closed_form
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import PointTarget, Scene, SensingNoise, User
from nf_isac_ros.core.single_target import closed_form, focusing_ratio
from nf_isac_ros.core.solvers.interior_point import minimise_crb


def facing(target, *users, receiver=None, noise=None):
    """Arrays that face each other over 2.47 m."""
    return Scene(planar(12, 12), receiver or planar(12, 12, 2.47), radio(noise),
                 (PointTarget('t', np.array(target)),),
                 tuple(User(f'u{i}', sinr, np.array(place))
                       for i, (sinr, place) in enumerate(users)))


def certified_gap(problem):
    outcome = by_closed_form(problem)
    if outcome is None:
        return np.inf
    achieved = problem.objective(outcome.beams.covariance)
    return (achieved - outcome.bound) / achieved


def information(problem, factor):
    """Fisher information on the position alone (3, 3), by the Schur complement."""
    full = problem.full_fisher.of_factor(factor)
    return full[:3, :3] - full[:3, 3:] @ np.linalg.solve(full[3:, 3:], full[3:, :3])


@needs_reference
@pytest.mark.parametrize('threshold_db', [-10.0, 20.0, 30.0])
def test_proposition_5_is_recognised(threshold_db):
    case = reference('S01_prop5_d0')
    scene = replace(case.scene, users=(
        replace(case.scene.users[0], min_sinr_db=threshold_db),))
    problem = build_problem(scene)
    assert focusing_ratio(problem) == pytest.approx(1.0, abs=1e-9)
    solution = solve(problem, DESIGNS['crb-min'], 1e-9, None)
    assert solution.iterations == 0 and solution.gap <= 1e-12
    # The optimum does not depend on the threshold, all the way up to the largest one.
    assert solution.objective == pytest.approx(
        case.expected['crb-min']['objective'], rel=1e-11)
    assert solution.covariance_eigenvalues[1:] == pytest.approx(0.0, abs=1e-14)


@needs_reference
def test_elsewhere_it_is_not():
    problem = build_problem(reference('S03_fig4_eta0').scene)
    assert focusing_ratio(problem) < 0.1
    assert certified_gap(problem) > 0.9
    assert solve(problem, DESIGNS['crb-min'], 1e-6, None).iterations > 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10 ** 6), n_x=st.integers(2, 8), n_y=st.integers(2, 8))
def test_one_array_for_both_ways_focuses_whatever_its_shape(seed, n_x, n_y):
    rng = np.random.default_rng(seed)
    array = planar(n_x, n_y)
    scene = Scene(array, array, radio(), (PointTarget(
        't', np.array([*rng.uniform(-0.3, 0.3, 2), rng.uniform(0.3, 1.0)]),
        coordinate_weights=rng.uniform(0.1, 10, 3)),))
    problem = build_problem(scene)
    assert focusing_ratio(problem) == pytest.approx(1.0, rel=1e-6)
    assert certified_gap(problem) <= 1e-6


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10 ** 6), depth=st.floats(0.3, 2.2), coloured=st.booleans())
def test_ratio_says_when_focusing_is_best_for_all_coordinates(seed, depth, coloured):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(30, 30)) + 1j * rng.normal(size=(30, 30))
    noise = SensingNoise(covariance=1e-10 * (root @ root.conj().T + 30 * np.eye(30)))
    receiver = AntennaArray(planar_elements(5, 6, rng.uniform(0.3, 3) * WAVELENGTH, (0, 0, 2.47)))
    scene = facing([*rng.uniform(-0.3, 0.3, 2), depth], receiver=receiver,
                   noise=noise if coloured else None)
    problem = build_problem(scene)
    focus = problem.steering[:, 0] / np.linalg.norm(problem.steering[:, 0]) * 0.1
    best = information(problem, focus[:, None])
    scale = 1 / np.sqrt(np.diag(best))
    # Any other covariance of the same power, near the target's subspace where it counts.
    others = []
    for _ in range(20):
        factor = problem.basis @ (
            rng.normal(size=(problem.dimension, 2)) + 1j * rng.normal(size=(problem.dimension, 2)))
        factor = factor * 10 ** rng.uniform(-3, 0) / np.linalg.norm(factor) + focus[:, None]
        factor *= 0.1 / np.linalg.norm(factor)
        others.append(factor)
    margin = min(np.linalg.eigvalsh((best - information(problem, factor))
                                    * scale * scale[:, None])[0] for factor in others)
    if focusing_ratio(problem) >= 1.0:
        assert margin >= -1e-7
        assert certified_gap(problem) <= 1e-9
    else:
        # Some power on the best tangent teaches more about some direction.
        weakest = tangent(problem, focus)
        mixed = np.stack([focus * np.sqrt(0.5), weakest * np.sqrt(0.5)], axis=1)
        change = np.linalg.eigvalsh(
            (information(problem, mixed) - best) * scale * scale[:, None])
        assert change[-1] > -1e-9


def tangent(problem, focus):
    """Direction that lights what the receive array is worst at, orthogonal to the focus."""
    listening = problem.full_fisher.receive_gram[1:, 1:].real
    lighting = problem.gram[1:, 1:].real
    values, vectors = np.linalg.eig(np.linalg.solve(listening, lighting))
    along = vectors[:, np.argmax(values.real)].real
    beam = problem.columns[:, 1:] @ along
    return beam / np.linalg.norm(beam) * np.linalg.norm(focus)


@pytest.mark.parametrize('threshold_db', [-1.0, 1.0, 4.0, 8.0, 12.0, 15.5])
def test_tilted_beam_is_optimal_where_listening_teaches_enough(threshold_db):
    scene = facing((0, 0.02, 2.0), (threshold_db, (0.2, -0.1, 1.5)))
    problem = build_problem(scene)
    assert focusing_ratio(problem) > 2
    assert certified_gap(problem) <= 1e-8
    outcome = by_closed_form(problem)
    achieved = problem.objective(outcome.beams.covariance)
    assert achieved == pytest.approx(minimise_crb(problem, 1e-8).objective, rel=1e-7)
    # By hand: least bound over cos^2 of the angle by which the beam has to turn.
    array = scene.transmit_array.positions
    v, h = (responses(array, place[None], WAVELENGTH)[:, 0].conj()
            for place in (scene.targets[0].position, scene.users[0].position))
    between = np.arccos(abs(np.vdot(h, v)) / np.linalg.norm(h) / np.linalg.norm(v))
    wanted = 10 ** (threshold_db / 10) * 1e-8 / (0.01 * np.linalg.norm(h) ** 2)
    turn = max(0.0, between - np.arccos(np.sqrt(wanted)))
    alone = build_problem(replace(scene, users=()))
    least = alone.objective(closed_form(alone)[0].covariance)
    assert achieved == pytest.approx(least / np.cos(turn) ** 2, rel=1e-8)


@pytest.mark.parametrize('threshold_db', [10.0, 15.0])
def test_tilted_beam_is_not_taken_where_it_is_not_optimal(threshold_db):
    problem = build_problem(facing((0, 0.02, 1.235), (threshold_db, (0.2, -0.1, 1.5))))
    optimum = minimise_crb(problem, 1e-8).objective
    outcome = by_closed_form(problem)
    assert problem.objective(outcome.beams.covariance) > 2 * optimum
    assert outcome.bound <= optimum * (1 + 1e-9)
    solution = solve(problem, DESIGNS['crb-min'], 1e-6, None)
    assert solution.objective == pytest.approx(optimum, rel=1e-5)


@pytest.mark.parametrize('n_users', [1, 2, 3])
def test_users_at_the_target_share_its_beam(n_users):
    # SINR p_u g / ((1 - p_u) g + n): with g >> n the thresholds must stay below 1 / (U - 1).
    place = (0.0, 0.02, 2.0)
    thresholds = [10 * np.log10(0.9 / max(n_users - 1, 1))] * n_users
    scene = facing(place, *((threshold, place) for threshold in thresholds))
    solution = solve(build_problem(scene), DESIGNS['crb-min'], 1e-9, None)
    assert solution.iterations == 0
    assert all(user.violation_db <= 1e-12 for user in solution.users)
    alone = solve(build_problem(replace(scene, users=())), DESIGNS['crb-min'], 1e-9, None)
    assert solution.objective == pytest.approx(alone.objective, rel=1e-10)


def test_there_is_none_for_two_targets_or_users_that_want_too_much():
    assert closed_form(build_problem(random_scene(1, 2, 0, side=6))) is None
    place = (0.0, 0.02, 2.0)
    assert closed_form(build_problem(facing(place, (1.0, place), (1.0, place)))) is None


def test_a_receive_array_that_cannot_locate_never_focuses():
    line = AntennaArray(planar_elements(1, 16, WAVELENGTH / 2, (0, 0, 2.47)))
    problem = build_problem(facing((0.1, 0.05, 1.9), receiver=line))
    assert focusing_ratio(problem) < 1e-6
    assert certified_gap(problem) > 0.5
