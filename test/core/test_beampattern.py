"""Beam patterns against closed forms and direct sums."""

import tracemalloc

import numpy as np
import pytest

from nf_isac_ros.core import beampattern
from nf_isac_ros.core.arrays import planar_elements
from nf_isac_ros.core.beampattern import (
    GridPlane,
    GridVolume,
    PatternEvaluator,
    decibels,
    power_density,
)
from nf_isac_ros.core.exceptions import SceneError

WAVELENGTH = 0.01


def spherical(elements, point):
    """Spherical-wave response of each element to one point, written out again."""
    values = []
    for element in elements:
        r = np.sqrt(sum((a - b) ** 2 for a, b in zip(element, point, strict=True)))
        values.append(WAVELENGTH / (4 * np.pi * r) * np.exp(-2j * np.pi * r / WAVELENGTH))
    return np.array(values)


def both(elements, weights, points):
    """Power density by the exact function and by the evaluator."""
    return (power_density(elements, WAVELENGTH, weights, points),
            PatternEvaluator(elements, WAVELENGTH, points).power(weights))


def test_single_element_obeys_free_space_loss():
    points = np.array([[0, 0, 1.0], [3.0, 0, 4.0], [0, -10.0, 0]])
    expected = 2.5 * (WAVELENGTH / (4 * np.pi * np.array([1.0, 5.0, 10.0]))) ** 2
    for power in both(np.zeros((1, 3)), np.array([[np.sqrt(2.5)]]), points):
        np.testing.assert_allclose(power, expected, rtol=1e-6)


def test_focused_beam_adds_all_amplitudes():
    # Unit-power elements in phase at a point: N^2 times the power of one, for elements that
    # are equally far; elements on a circle are, from a point on its axis.
    angle = 2 * np.pi * np.arange(12) / 12
    ring = np.stack([0.1 * np.cos(angle), 0.1 * np.sin(angle), 0 * angle], axis=1)
    focus = np.array([[0, 0, 0.7]])
    one = (WAVELENGTH / (4 * np.pi * np.hypot(0.1, 0.7))) ** 2
    for power in both(ring, np.ones((12, 1)), focus):
        np.testing.assert_allclose(power, 144 * one, rtol=1e-5)


def test_gain_at_the_focus_is_the_number_of_elements():
    elements = planar_elements(8, 6, WAVELENGTH / 2)
    focus = np.array([0.05, 0.1, 0.4])
    weights = 3.0 * spherical(elements, focus).conj()[:, None]
    gain = PatternEvaluator(elements, WAVELENGTH, [focus, [0.4, 0.1, 0.05]]).gain(weights)
    assert gain[0] == pytest.approx(48, rel=1e-5)
    assert gain[1] < 24


def test_isotropic_transmission_has_unit_gain_everywhere():
    elements = planar_elements(3, 3, WAVELENGTH / 2)
    points = np.random.default_rng(1).uniform(0.2, 2.0, (20, 3))
    gain = PatternEvaluator(elements, WAVELENGTH, points).gain(np.eye(9))
    np.testing.assert_allclose(gain, 1.0, rtol=1e-5)


def test_two_elements_in_opposite_phase_cancel_on_the_bisector():
    elements = np.array([[0.02, 0, 0], [-0.02, 0, 0]])
    points = np.array([[0, 0.3, 0.5], [0, -2.0, 1.0]])
    exact, quick = both(elements, np.array([[1.0], [-1.0]]), points)
    ceiling = 4 * (WAVELENGTH / (4 * np.pi * 0.58)) ** 2
    assert exact.max() < 1e-25 * ceiling
    assert quick.max() < 1e-12 * ceiling


def test_several_beams_are_the_quadratic_form_of_their_covariance():
    rng = np.random.default_rng(2)
    elements = rng.uniform(-0.1, 0.1, (7, 3))
    weights = rng.normal(size=(7, 3)) + 1j * rng.normal(size=(7, 3))
    points = rng.uniform(0.5, 3.0, (11, 3))
    covariance = weights @ weights.conj().T
    expected = []
    for point in points:
        v = spherical(elements, point)
        expected.append((v @ covariance @ v.conj()).real)
    exact, quick = both(elements, weights, points)
    np.testing.assert_allclose(exact, expected, rtol=1e-10)
    np.testing.assert_allclose(quick, expected, rtol=1e-4)


def test_single_precision_is_as_good_as_stated():
    rng = np.random.default_rng(3)
    elements = planar_elements(48, 48, WAVELENGTH / 2)
    points = rng.uniform([-3, -3, 1], [3, 3, 20], (50, 3))
    weights = rng.normal(size=(2304, 2)) + 1j * rng.normal(size=(2304, 2))
    exact, quick = both(elements, weights, points)
    limit = np.array([
        np.linalg.norm(spherical(elements, p)) * np.linalg.norm(weights) for p in points])
    assert (np.abs(np.sqrt(exact) - np.sqrt(quick)) / limit).max() < 1e-6


@pytest.mark.parametrize('memory', [0, 2 * 10 * 9 * 8, 1 << 20], ids=['none', 'part', 'all'])
def test_kept_and_recomputed_responses_give_the_same(monkeypatch, memory):
    monkeypatch.setattr(beampattern, 'CHUNK_ENTRIES', 90)
    rng = np.random.default_rng(4)
    elements = rng.uniform(-0.1, 0.1, (9, 3))
    points = rng.uniform(0.5, 3.0, (37, 3))
    evaluator = PatternEvaluator(elements, WAVELENGTH, points, memory=memory)
    for _ in range(3):
        weights = rng.normal(size=(9, 2)) + 1j * rng.normal(size=(9, 2))
        np.testing.assert_allclose(
            evaluator.power(weights), power_density(elements, WAVELENGTH, weights, points),
            rtol=1e-4)
        assert evaluator.kept_bytes <= memory
    assert evaluator.kept_bytes == min(memory, 37 * 9 * 8)


def test_responses_are_evaluated_once(monkeypatch):
    elements = planar_elements(4, 4, WAVELENGTH / 2)
    evaluator = PatternEvaluator(elements, WAVELENGTH, [[0, 0, 1.0], [0, 1.0, 1.0]])
    first = evaluator.power(np.ones((16, 1)))
    monkeypatch.setattr(beampattern, '_single_responses', None)
    np.testing.assert_array_equal(evaluator.power(np.ones((16, 1))), first)


def test_points_on_the_antenna_are_nan_and_leave_the_others_alone():
    elements = planar_elements(4, 4, WAVELENGTH / 2)
    points = np.array([[0, 0, 1.0], [0.001, 0, 0], [0, 0, 2.0]])
    evaluator = PatternEvaluator(elements, WAVELENGTH, points)
    weights = np.ones((16, 1))
    for values in (evaluator.power(weights), evaluator.gain(weights), evaluator.isotropic):
        assert np.isnan(values).tolist() == [False, True, False]


def test_no_power_has_no_gain():
    evaluator = PatternEvaluator(np.zeros((1, 3)), WAVELENGTH, [[0, 0, 1.0]])
    assert np.isnan(evaluator.gain(np.zeros((1, 1)))).all()
    assert np.isnan(evaluator.gain(np.zeros((1, 0)))).all()


def test_the_largest_array_stays_within_memory():
    elements = planar_elements(128, 128, WAVELENGTH / 2)
    points = GridPlane((0, 0, 5), (4, 0, 0), (0, 0, 4), (20, 20)).points
    weights = spherical(elements[:1], points[7])[0] * np.ones((16384, 4))
    tracemalloc.start()
    try:
        evaluator = PatternEvaluator(elements, WAVELENGTH, points, memory=16 << 20)
        power = evaluator.power(weights)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.isfinite(power).all()
    # All responses in double precision with distances and phases would take some 500 MB.
    assert peak < 250e6


def test_weights_of_another_array_are_refused():
    evaluator = PatternEvaluator(np.zeros((1, 3)), WAVELENGTH, [[0, 0, 1.0]])
    with pytest.raises(SceneError, match='weights') as caught:
        evaluator.power(np.ones((2, 1)))
    assert caught.value.reason == 'bad-weights'


def test_plane_points_are_the_centres_of_the_cells():
    plane = GridPlane((1, 2, 3), (4, 0, 0), (0, 0, 6), (2, 3))
    np.testing.assert_allclose(plane.points, [
        [0, 2, 1], [0, 2, 3], [0, 2, 5], [2, 2, 1], [2, 2, 3], [2, 2, 5]])


@pytest.mark.parametrize('change', [
    {'centre': (0, 0)}, {'edge_u': (np.nan, 0, 0)}, {'edge_u': (0, 2, 0)}, {'cells': (0, 3)},
], ids=['two_numbers', 'nan', 'parallel_edges', 'no_cells'])
def test_impossible_planes_are_refused(change):
    values = {'centre': (0, 0, 0), 'edge_u': (1, 0, 0), 'edge_v': (0, 1, 0), 'cells': (2, 2)}
    with pytest.raises(SceneError):
        GridPlane(**{**values, **change})


def test_volume_points_are_the_centres_of_the_cells():
    volume = GridVolume((1, 2, 3), (4, 0, 0), (0, 2, 0), (0, 0, 6), (2, 1, 3))
    np.testing.assert_allclose(volume.points, [
        [0, 2, 1], [0, 2, 3], [0, 2, 5], [2, 2, 1], [2, 2, 3], [2, 2, 5]])


def test_a_slice_of_a_volume_is_a_plane():
    volume = GridVolume((0, 0, 2), (0.4, 0, 0), (0, 1, 0.2), (0, 0, 3), (3, 4, 5))
    plane = GridPlane((0, 0, 2), (0, 1, 0.2), (0, 0, 3), (4, 5))
    np.testing.assert_allclose(volume.points.reshape(3, -1, 3)[1], plane.points, atol=1e-15)


@pytest.mark.parametrize('change', [
    {'edge_w': (0, 0, np.inf)}, {'edge_w': (1, 2, 0)}, {'cells': (2, 2)}, {'cells': (2, 0, 2)},
], ids=['infinite', 'flat', 'two_counts', 'no_cells'])
def test_impossible_volumes_are_refused(change):
    values = {'centre': (0, 0, 0), 'edge_u': (1, 0, 0), 'edge_v': (0, 1, 0),
              'edge_w': (0, 0, 1), 'cells': (2, 2, 2)}
    with pytest.raises(SceneError) as caught:
        GridVolume(**{**values, **change})
    assert caught.value.reason == 'bad-volume'


def test_components_are_the_quadratic_forms_of_their_covariances():
    rng = np.random.default_rng(6)
    elements = rng.uniform(-0.1, 0.1, (7, 3))
    communication, sensing = (
        rng.normal(size=(7, n)) + 1j * rng.normal(size=(7, n)) for n in (2, 3))
    points = np.vstack([rng.uniform(0.5, 3.0, (11, 3)), elements[:1]])
    found = PatternEvaluator(elements, WAVELENGTH, points).components(communication, sensing)
    for k, point in enumerate(points[:-1]):
        v = spherical(elements, point)
        users = [abs(v @ communication[:, u]) ** 2 for u in range(2)]
        rest = (v @ sensing @ sensing.conj().T @ v.conj()).real
        np.testing.assert_allclose(found.users[:, k], users, rtol=1e-4)
        assert found.sensing[k] == pytest.approx(rest, rel=1e-4)
        assert found.total[k] == pytest.approx(sum(users) + rest, rel=1e-4)
    assert np.isnan(found.users[:, -1]).all() and np.isnan(found.total[-1])


@pytest.mark.parametrize('n_users, n_sensing', [(0, 2), (2, 0), (0, 0)])
def test_components_may_be_absent(n_users, n_sensing):
    evaluator = PatternEvaluator(np.zeros((1, 3)), WAVELENGTH, [[0, 0, 1.0]])
    found = evaluator.components(np.ones((1, n_users)), np.ones((1, n_sensing)))
    one = (WAVELENGTH / (4 * np.pi)) ** 2
    assert found.users.shape == (n_users, 1)
    np.testing.assert_allclose(found.sensing, [n_sensing * one], rtol=1e-5)
    np.testing.assert_allclose(found.total, [(n_users + n_sensing) * one], rtol=1e-5)


def test_components_in_a_volume_of_the_largest_array_stay_within_memory():
    elements = planar_elements(128, 128, WAVELENGTH / 2)
    volume = GridVolume((0, 0, 5), (4, 0, 0), (0, 4, 0), (0, 0, 4), (8, 8, 8))
    tracemalloc.start()
    try:
        found = PatternEvaluator(elements, WAVELENGTH, volume.points, memory=0).components(
            np.ones((16384, 2)) / 128, np.ones((16384, 1)) / 128)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.isfinite(found.total).all()
    # The responses alone, 512 points in single precision, would take 67 MB.
    assert peak < 60e6


def test_decibels_stay_within_the_range():
    values = decibels([100.0, 1e-9, 0.0, 1e9, np.nan], -10.0, 30.0)
    np.testing.assert_allclose(values, [20.0, -10.0, -10.0, 30.0, np.nan])
