"""Motions: closed forms against geometry and against numerical differentiation."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from numpy.testing import assert_allclose
import pytest

from nf_isac_ros.core.motion import Circle, Fixed, MotionError, Waypoints

SQUARE = [[0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1]]

MOTIONS = {
    'fixed': Fixed([1.0, 2.0, 3.0]),
    'circle': Circle([1.0, 2.0, 0.5], 1.5, 8.0, 0.3),
    'waypoints': Waypoints(SQUARE, 0.5),
}


@pytest.mark.parametrize('name', MOTIONS)
@pytest.mark.parametrize('time', [-3.1, 0.4, 3.3, 17.9])
def test_velocity_is_the_derivative_of_the_position(name, time):
    step = 1e-5
    ahead, _ = MOTIONS[name].at(time + step)
    behind, _ = MOTIONS[name].at(time - step)
    _, velocity = MOTIONS[name].at(time)
    assert_allclose(velocity, (ahead - behind) / (2 * step), atol=1e-8)


@pytest.mark.parametrize(('time', 'place', 'velocity'), [
    (0.0, [3.0, 0.0, 1.0], [0.0, math.pi, 0.0]),
    (1.0, [1.0, 2.0, 1.0], [-math.pi, 0.0, 0.0]),
    (2.0, [-1.0, 0.0, 1.0], [0.0, -math.pi, 0.0]),
    (7.0, [1.0, -2.0, 1.0], [math.pi, 0.0, 0.0]),
], ids=['start', 'quarter', 'half', 'a round and three quarters'])
def test_circle_passes_its_quarters(time, place, velocity):
    found = Circle([1.0, 0.0, 1.0], 2.0, 4.0).at(time)
    assert_allclose(found, (place, velocity), atol=1e-12)


@pytest.mark.parametrize(('time', 'place', 'velocity'), [
    (0.0, [0, 0, 1], [2, 0, 0]),
    (1.0, [2, 0, 1], [2, 0, 0]),
    (2.0, [4, 0, 1], [0, 2, 0]),
    (7.5, [0, 1, 1], [0, -2, 0]),
    (8.0, [0, 0, 1], [2, 0, 0]),
    (-1.0, [0, 2, 1], [0, -2, 0]),
], ids=['start', 'side', 'corner', 'last side', 'second lap', 'before'])
def test_waypoints_go_round_a_square(time, place, velocity):
    assert_allclose(Waypoints(SQUARE, 2.0).at(time), (place, velocity), atol=1e-12)


@given(st.floats(-1e6, 1e6))
def test_circle_keeps_radius_and_speed(time):
    position, velocity = Circle([1.0, 2.0, 0.5], 1.5, 8.0, 0.3).at(time)
    assert np.linalg.norm(position - [1.0, 2.0, 0.5]) == pytest.approx(1.5)
    assert np.linalg.norm(velocity) == pytest.approx(2 * math.pi * 1.5 / 8)


@given(st.floats(-1e6, 1e6))
def test_waypoints_keep_speed_and_stay_on_the_polygon(time):
    position, velocity = Waypoints(SQUARE, 0.5).at(time)
    assert np.linalg.norm(velocity) == pytest.approx(0.5)
    x, y, z = position
    assert z == 1
    assert min(abs(x), abs(x - 4), abs(y), abs(y - 4)) < 1e-9
    assert -1e-9 <= min(x, y) <= max(x, y) <= 4 + 1e-9


@pytest.mark.parametrize(('make', 'key'), [
    (lambda: Fixed([0, math.nan, 0]), 'position'),
    (lambda: Circle([0, 0], 1, 1), 'centre'),
    (lambda: Circle([0, 0, 0], 0, 1), 'radius'),
    (lambda: Circle([0, 0, 0], 1, -1), 'period'),
    (lambda: Circle([0, 0, 0], 1, 1, math.inf), 'phase'),
    (lambda: Waypoints([[0, 0, 0]], 1), 'points'),
    (lambda: Waypoints([[0, 0, 0], [0, 0, 0]], 1), 'points'),
    (lambda: Waypoints([[0, 0, 0], [math.inf, 0, 0]], 1), 'points'),
    (lambda: Waypoints([[0, 0, 0], [1, 0, 0]], 0), 'speed'),
], ids=['position', 'centre', 'radius', 'period', 'phase', 'one point', 'no way', 'infinite',
        'speed'])
def test_impossible_motion_names_the_key(make, key):
    with pytest.raises(MotionError, match=key):
        make()
