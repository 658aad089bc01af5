import cmath
import math

import numpy as np
import pytest
from scenes import WAVELENGTH, planar, radio

from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.fisher import decorrelate, stack
from nf_isac_ros.core.propagation import (
    response_derivatives,
    responses,
    user_channels,
    write_decorrelated,
)
from nf_isac_ros.core.scene import PointTarget, ScatteredPath, Scene, User


def test_response_of_one_element_is_that_of_a_spherical_wave():
    distance = 3.0
    value = responses(np.zeros((1, 3)), np.array([[0.0, 0.0, distance]]), WAVELENGTH)[0, 0]
    amplitude = WAVELENGTH / (4 * math.pi * distance)
    assert value == pytest.approx(
        amplitude * cmath.exp(-2j * math.pi * distance / WAVELENGTH), rel=1e-12)


def test_derivatives_agree_with_numerical_ones():
    elements = planar(4, 5).elements
    point = np.array([0.03, -0.2, 0.4])
    step = 1e-6
    _, derivative = response_derivatives(elements, point[None], WAVELENGTH)
    for axis in range(3):
        shift = np.eye(3)[axis] * step
        # Fourth-order central difference: error of about (2 pi step / wavelength)^4.
        numeric = (
            8 * (responses(elements, (point + shift)[None], WAVELENGTH)
                 - responses(elements, (point - shift)[None], WAVELENGTH))
            - responses(elements, (point + 2 * shift)[None], WAVELENGTH)
            + responses(elements, (point - 2 * shift)[None], WAVELENGTH)) / (12 * step)
        np.testing.assert_allclose(derivative[axis], numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('distance', [0.02, 0.4, 30.0, 4e4])
def test_phases_are_those_of_the_library_functions(distance):
    # Enough places for every quarter of a turn, and for its edges.
    places = distance + np.arange(400) * WAVELENGTH / 80
    values = responses(np.zeros((1, 3)), np.outer(places, [0.0, 0.6, 0.8]), WAVELENGTH)[0]
    expected = WAVELENGTH / (4 * math.pi * places) * np.exp(-2j * np.pi * places / WAVELENGTH)
    rounding = 1e-15 * (4 + distance / WAVELENGTH)
    np.testing.assert_allclose(values, expected, rtol=10 * rounding)


def test_decorrelated_responses_are_those_of_the_plain_formulas():
    elements = planar(7, 5).elements
    points = np.array([[0.03, -0.2, 0.4], [0.1, 0.0, 3.0]])
    rows = np.empty((8, 35), dtype=complex)
    write_decorrelated(elements.T, points, WAVELENGTH, (), rows)
    response, derivative = response_derivatives(elements, points, WAVELENGTH)
    expected = stack(response, decorrelate(response, derivative)).conj().T
    np.testing.assert_allclose(rows, expected, atol=1e-10 * np.abs(expected).max())
    for k in range(2):
        for slope in rows[2 + k::2]:
            cosine = abs(np.vdot(rows[k], slope)) / np.linalg.norm(rows[k])
            assert cosine < 1e-13 * np.linalg.norm(slope)


def test_line_of_sight_channel_is_the_conjugate_response():
    position = np.array([0.1, 0.2, 1.0])
    array = planar(3, 3)
    scene = Scene(array, array, radio(), users=(User('u', 0.0, position),))
    channel = user_channels(scene, np.zeros((9, 0), dtype=complex))[:, 0]
    np.testing.assert_allclose(
        channel, responses(array.positions, position[None], WAVELENGTH)[:, 0].conj())


def test_scattered_path_adds_the_conjugate_response_of_its_target():
    array = planar(3, 3)
    target = PointTarget('t', np.array([0.0, 0.3, 0.8]))
    position = np.array([0.1, 0.2, 1.0])
    scene = Scene(array, array, radio(), (target,), (
        User('u', 0.0, position, scattered=(ScatteredPath('t', 0.3 - 0.2j),)),))
    steering = responses(array.positions, target.position[None], WAVELENGTH)
    line = responses(array.positions, position[None], WAVELENGTH)
    np.testing.assert_allclose(
        user_channels(scene, steering)[:, 0],
        (line.conj() + (0.3 - 0.2j) * steering.conj())[:, 0])


def test_a_body_on_an_antenna_is_refused_by_name():
    with pytest.raises(SceneError, match="'car'.*wavelength") as caught:
        responses(planar(3, 3).elements, np.array([[0.0, 0.0, 0.5 * WAVELENGTH]]), WAVELENGTH,
                  ['car'])
    assert caught.value.reason == 'body-on-antenna'
    assert caught.value.body == 'car'
