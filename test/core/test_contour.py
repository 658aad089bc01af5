"""Contours: lengths against quadrature, what is refused, and the fit to an outline."""

from extended_scenes import CIRCLE, ELLIPSE, UAV, VEHICLE
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ellipe

from nf_isac_ros.core.extended.contour import Contour, ContourError, fit_contour


def test_shapes_of_the_paper_have_their_size():
    # About 5 m x 2 m says the text; an X of 2.10 m.
    np.testing.assert_allclose(VEHICLE.extent, (4.96, 2.06), atol=0.005)
    np.testing.assert_allclose(UAV.extent, (2.10, 2.10), atol=0.005)
    assert VEHICLE.perimeter == pytest.approx(12.82, abs=0.005)
    assert UAV.perimeter == pytest.approx(11.46, abs=0.005)


def test_perimeter_of_an_ellipse_is_the_elliptic_integral():
    assert ELLIPSE.perimeter == pytest.approx(4 * 2.0 * ellipe(1 - 0.25), rel=1e-13)


@pytest.mark.parametrize('contour', [VEHICLE, UAV], ids=['vehicle', 'uav'])
def test_arc_length_is_the_integral_of_the_speed(contour):
    for start, end in [(0.0, 1.0), (0.3, 0.3001), (-1.0, 2.0), (5.0, 7.5)]:
        # Sharp arms: cut where the integrand bends.
        breaks = np.linspace(start, end, 30)
        expected = sum(quad(lambda u: float(np.hypot(*contour.tangents(u))), a, b,
                            epsabs=1e-13)[0] for a, b in zip(breaks[:-1], breaks[1:]))
        lengths = contour.arc_length(np.array([start, end]))
        assert lengths[1] - lengths[0] == pytest.approx(expected, rel=1e-11)


def test_parameter_at_inverts_arc_length():
    u = np.linspace(-3.0, 9.0, 57)
    np.testing.assert_allclose(UAV.parameter_at(UAV.arc_length(u)), u, atol=1e-10)


def test_tangents_are_the_derivatives_of_the_points():
    u, h = np.linspace(0, 6, 40), 1e-5
    numerical = (UAV.points(u + h) - UAV.points(u - h)) / (2 * h)
    np.testing.assert_allclose(UAV.tangents(u), numerical, atol=1e-8)


def test_scaled_contour_has_scaled_lengths_and_is_the_same_object_again():
    big = VEHICLE.scaled(1.7)
    assert big.perimeter == pytest.approx(1.7 * VEHICLE.perimeter, rel=1e-12)
    assert VEHICLE.scaled(1.7) is big
    with pytest.raises(ContourError, match='size scale is 0.0, must be positive'):
        VEHICLE.scaled(0.0)


@pytest.mark.parametrize('contour, circular', [
    (CIRCLE, True), (Contour((1.0,), (1.01,)), True), (Contour((1.0,), (1.05,)), False),
    (ELLIPSE, False), (VEHICLE, False), (UAV, False)],
    ids=['circle', 'near', 'not', 'ellipse', 'vehicle', 'uav'])
def test_near_circular_shapes_are_found(contour, circular):
    assert contour.near_circular is circular


@pytest.mark.parametrize('cosine, sine, reason', [
    ((1.0, 2.0), (1.0,), 'bad-contour'), ((), (), 'bad-contour'),
    ((-1.0,), (1.0,), 'bad-contour'), ((1.0,), (0.0,), 'bad-contour'),
    ((np.nan,), (1.0,), 'bad-contour'), ((1.0, np.inf), (1.0, 0.0), 'bad-contour'),
    # A second harmonic that makes an eight.
    ((1.0, 0.0), (0.1, 1.0), 'self-crossing-contour'),
    ((1.0, 0.0, 1.5), (1.0, 0.0, 1.5), 'self-crossing-contour'),
    # x = cos u + 3 cos 3u, y = sin u - 3 sin 3u has loops the other way round.
    ((1.0, 0.0, 3.0), (1.0, 0.0, -3.0), 'self-crossing-contour')])
def test_impossible_contours_are_refused(cosine, sine, reason):
    with pytest.raises(ContourError) as caught:
        Contour(cosine, sine)
    assert caught.value.reason == reason


def test_a_simple_clockwise_curve_is_refused():
    # A_1, B_1 > 0, but the second harmonic alone is traced backwards and twice as large.
    with pytest.raises(ContourError) as caught:
        Contour((0.05, 0.0, 0.0), (0.05, -1.0, 0.0))
    assert caught.value.reason in ('clockwise-contour', 'self-crossing-contour')


def test_polygon_is_simple_by_an_independent_check():
    """No two edges that do not follow each other intersect: all pairs, in exact orientation."""
    p = UAV.polygon[::4]
    q = np.roll(p, -1, axis=0)

    def side(a, b, c):
        return ((b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1])
                - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0]))

    a, b, c, d = p[:, None], q[:, None], p[None], q[None]
    crossing = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    assert not crossing.any()


def outline(contour, n, seed=0):
    """Points on a contour at uneven parameters, in order."""
    rng = np.random.default_rng(seed)
    return contour.points(np.sort(rng.uniform(0, 2 * np.pi, n)))


def distances(contour, points):
    """Distance of each point from a contour, by the polygon's edges."""
    p = contour.polygon
    edge = np.roll(p, -1, axis=0) - p
    share = np.einsum('nmi,mi->nm', points[:, None] - p, edge) / np.einsum('mi,mi->m', edge, edge)
    foot = p + np.clip(share, 0, 1)[..., None] * edge
    return np.linalg.norm(points[:, None] - foot, axis=-1).min(axis=1)


@pytest.mark.parametrize('backwards', [False, True], ids=['anticlockwise', 'clockwise'])
@pytest.mark.parametrize('first', [0, 37], ids=['from-front', 'from-elsewhere'])
@pytest.mark.parametrize('contour, limit', [(ELLIPSE, 1e-4), (VEHICLE, 3e-3)],
                         ids=['ellipse', 'vehicle'])
def test_fit_finds_the_shape_of_an_outline(contour, limit, first, backwards):
    points = np.roll(outline(contour, 120), first, axis=0) + [0.3, 0.0]
    fit = fit_contour(points[::-1] if backwards else points, contour.harmonics)
    assert fit.rms < limit
    off = distances(fit.contour, points - [fit.offset, 0.0])
    assert np.sqrt(np.mean(off ** 2)) == pytest.approx(fit.rms, rel=0.05, abs=2e-5)
    # Where no point was given it is the same curve too.
    true = contour.points(np.linspace(0, 2 * np.pi, 300)) + [0.3 - fit.offset, 0.0]
    assert distances(fit.contour, true).max() < 10 * limit


def test_fit_of_a_rectangle_gets_better_with_harmonics():
    side = np.linspace(-1, 1, 40, endpoint=False)
    corners = np.concatenate([
        np.stack(edge, axis=1) for edge in (
            (2 + 0 * side, 0.9 * side), (-2 * side, 0.9 + 0 * side),
            (-2 + 0 * side, -0.9 * side), (2 * side, -0.9 + 0 * side))])
    errors = [fit_contour(corners, q).rms for q in (1, 3, 5, 9)]
    assert all(b < a for a, b in zip(errors, errors[1:])) and errors[-1] < 0.04


@pytest.mark.parametrize('points, harmonics, reason', [
    (np.zeros((3, 3)), 1, 'bad-contour'), (outline(ELLIPSE, 8), 4, 'too-few-points'),
    (outline(ELLIPSE, 8), 0, 'too-few-points'),
    (ELLIPSE.points(np.linspace(0.2, 4.0, 50)), 3, 'not-closed'),
    (outline(ELLIPSE, 50) + [0.0, 5.0], 3, 'bad-contour')],
    ids=['shape', 'few', 'none', 'open', 'off-axis'])
def test_impossible_fits_are_refused(points, harmonics, reason):
    with pytest.raises(ContourError) as caught:
        fit_contour(points, harmonics)
    assert caught.value.reason == reason
