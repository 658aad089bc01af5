import math

import numpy as np
import pytest

from nf_isac_ros.core.arrays import (
    AntennaArray,
    Pose,
    elements_from_csv,
    linear_elements,
    planar_elements,
    rayleigh_distance,
    rotation_from_xyzw,
)
from nf_isac_ros.core.exceptions import ArrayError


def test_planar_array_is_centred_with_the_x_index_slowest():
    elements = planar_elements(2, 3, 0.5, (1.0, 2.0, 3.0))
    assert elements.tolist() == [
        [0.75, 1.5, 3.0], [0.75, 2.0, 3.0], [0.75, 2.5, 3.0],
        [1.25, 1.5, 3.0], [1.25, 2.0, 3.0], [1.25, 2.5, 3.0]]


def test_linear_array_lies_along_y():
    assert linear_elements(3, 0.1).tolist() == [[0, -0.1, 0], [0, 0, 0], [0, 0.1, 0]]


@pytest.mark.parametrize('half_turn, axis', [
    ((math.sin(math.pi / 4), 0, 0, math.cos(math.pi / 4)), 'x'),
    ((0, math.sin(math.pi / 4), 0, math.cos(math.pi / 4)), 'y'),
    ((0, 0, math.sin(math.pi / 4), math.cos(math.pi / 4)), 'z')])
def test_quaternion_order_is_xyzw(half_turn, axis):
    expected = {'x': [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
                'y': [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
                'z': [[0, -1, 0], [1, 0, 0], [0, 0, 1]]}[axis]
    np.testing.assert_allclose(rotation_from_xyzw(half_turn), expected, atol=1e-12)


def test_boresight_of_a_testbed_array_points_along_world_y():
    pose = Pose(np.array([1.5, -4.0, 0.5]), (-0.70711, 0.0, 0.0, 0.70711))
    ahead = pose.to_outer(np.array([0.0, 0.0, 2.0]))
    np.testing.assert_allclose(ahead, [1.5, -2.0, 0.5], atol=1e-4)
    np.testing.assert_allclose(pose.to_inner(ahead), [0.0, 0.0, 2.0], atol=1e-12)


def test_layout_hash_knows_order_and_place_but_not_pose():
    elements = planar_elements(2, 3, 0.5)
    here = AntennaArray(elements)
    assert here.layout_hash == AntennaArray(elements, Pose(np.ones(3))).layout_hash
    assert here.layout_hash != AntennaArray(elements[::-1]).layout_hash
    assert here.layout_hash != AntennaArray(elements + 1e-6).layout_hash


def test_rayleigh_distance_of_the_paper():
    # 48 x 48 elements at 28 GHz with c = 3e8: D = 0.3637 m, 24.69 m.
    wavelength = 3e8 / 28e9
    side = 48 * wavelength / 2
    assert math.hypot(side, side) == pytest.approx(0.3637, abs=5e-5)
    assert rayleigh_distance(math.hypot(side, side), wavelength) == pytest.approx(24.69, abs=5e-3)


@pytest.mark.parametrize('elements', [
    np.zeros((0, 3)), np.zeros((4, 2)), np.zeros(3), np.array([[0.0, 0.0, np.nan]])],
    ids=['none', 'flat', 'vector', 'nan'])
def test_arrays_that_cannot_be_are_refused(elements):
    with pytest.raises(ArrayError):
        AntennaArray(elements)


@pytest.mark.parametrize('quaternion', [(0, 0, 0, 0), (1, 1, 0, 0), (np.nan, 0, 0, 1)])
def test_a_quaternion_must_have_norm_one(quaternion):
    with pytest.raises(ArrayError, match='norm'):
        Pose(np.zeros(3), quaternion)


def test_csv_with_a_header(tmp_path):
    path = tmp_path / 'elements.csv'
    path.write_text('x,y,z\n0,0,0\n0.5,0,0\n', encoding='utf-8')
    assert elements_from_csv(path).tolist() == [[0, 0, 0], [0.5, 0, 0]]


@pytest.mark.parametrize('text', ['', 'x,y,z\n', '0,0\n', '0,0,0\n1,one,0\n'],
                         ids=['empty', 'header-only', 'two-columns', 'word'])
def test_a_bad_csv_is_refused(tmp_path, text):
    path = tmp_path / 'elements.csv'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ArrayError, match='csv'):
        elements_from_csv(path)
