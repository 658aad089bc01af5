"""Power density at people: against closed forms, and against a search on a fine grid."""

import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements
from nf_isac_ros.radio.keep_out import KeepOut, KeepOutVolume, between_points

WAVELENGTH = 0.01
# 16 x 16 elements: 0.11 m across, Rayleigh distance 2.3 m; boresight along +z.
ARRAY = AntennaArray(planar_elements(16, 16, 0.005), Pose([0.3, -0.2, 1.0]))
ONE = AntennaArray(np.zeros((1, 3)))


def look(volume, beams, array=ARRAY, bodies=dict, points=400):
    beams = np.asarray(beams, np.complex64)
    keep_out = KeepOut((volume,), array, WAVELENGTH, bodies, points)
    return keep_out.look(beams, float((np.abs(beams) ** 2).sum()))


def focused(place, array=ARRAY):
    distance = np.linalg.norm(array.positions - place, axis=1)
    return np.exp(2j * np.pi * distance / WAVELENGTH)[:, None] / np.sqrt(len(array))


def density(beams, points, array=ARRAY):
    """Spherical waves, written out."""
    distance = np.linalg.norm(points[:, None] - array.positions, axis=-1)
    field = (np.exp(-2j * np.pi * distance / WAVELENGTH) / distance) @ beams
    return (np.abs(field) ** 2).sum(axis=1) / (4 * np.pi)


def inside(volume, rng, count):
    points = rng.uniform(-1, 1, (count, 3)) * volume.radius
    if volume.height:
        points[:, 2] *= volume.height / 2 / volume.radius
        keep = np.hypot(points[:, 0], points[:, 1]) <= volume.radius
    else:
        keep = np.linalg.norm(points, axis=1) <= volume.radius
    return volume.centre + points[keep]


def test_single_element_gives_the_density_of_a_sphere():
    # 2 W from one isotropic element, at the nearest point of the volume: 2 / (4 pi 3^2).
    volume = KeepOutVolume('v', 0.01, 0.5, centre=np.array([0.0, 0.0, 3.5]))
    found = look(volume, [[np.sqrt(2)]], ONE)
    assert found.reports[0].density == pytest.approx(2 / (4 * np.pi * 9), rel=1e-6)
    assert found.factor == pytest.approx(0.01 / (2 / (4 * np.pi * 9)), rel=1e-4)
    assert found.blocked == ''


@pytest.mark.parametrize('place', [(0.3, -0.2, 3.0), (0.42, -0.13, 2.87), (0.0, 0.1, 3.2)])
@pytest.mark.parametrize('height', [0.0, 0.9], ids=['sphere', 'cylinder'])
def test_estimate_is_above_the_worst_point_and_not_far_above(place, height):
    volume = KeepOutVolume('v', 1e-6, 0.35, height, centre=np.array([0.3, -0.2, 3.0]))
    rng = np.random.default_rng(5)
    for beams in (focused(np.array(place)),
                  rng.standard_normal((256, 3)) + 1j * rng.standard_normal((256, 3))):
        worst = density(beams, inside(volume, rng, 5000)).max()
        found = look(volume, beams, points=3000).reports[0].density
        assert worst <= found <= 2.5 * worst


@pytest.mark.parametrize('points', [20, 100, 400, 3000])
def test_estimate_holds_whatever_the_points(points):
    rng = np.random.default_rng(6)
    volume = KeepOutVolume('v', 1e-6, 0.3, 1.7, centre=np.array([0.5, 0.3, 2.5]))
    places = inside(volume, rng, 12)
    for place in places:
        beams = focused(place)
        worst = density(beams, np.vstack([places, inside(volume, rng, 1000)])).max()
        assert look(volume, beams, points=points).reports[0].density >= worst * (1 - 1e-6)


def test_scaled_by_the_factor_the_limit_is_met():
    volume = KeepOutVolume('v', 0.5, 0.3, centre=np.array([0.3, -0.2, 2.0]))
    beams = focused(volume.centre)
    found = look(volume, beams)
    assert found.factor < 1
    again = look(volume, beams * np.sqrt(found.factor))
    assert again.factor == 1.0
    assert again.reports[0].margin >= 1.0


def test_far_away_one_bound_is_enough():
    volume = KeepOutVolume('v', 10.0, 0.3, centre=np.array([0.0, 0.0, 50.0]))
    found = look(volume, focused(volume.centre), points=1)
    # All 256 elements in phase, 1 W: 256 / (4 pi r^2) at the near side of the volume.
    assert found.reports[0].density == pytest.approx(256 / (4 * np.pi * 48.7 ** 2), rel=1e-2)
    assert found.factor == 1.0


@pytest.mark.parametrize('centre', [(0.3, -0.2, 1.0), (0.3, -0.2, 1.2)],
                         ids=['on the array', 'touches it'])
def test_people_at_the_antenna_mute_it(centre):
    volume = KeepOutVolume('v', 10.0, 0.25, centre=np.array(centre))
    found = look(volume, focused(np.array([0.0, 0.0, 3.0])))
    assert (found.blocked, found.factor) == ('keep-out-too-close', 0.0)


def test_volumes_go_with_their_bodies():
    places = {('user', 'u1'): np.array([0.3, -0.2, 2.0]), ('user', 'u2'): None,
              ('target', 'u1'): np.array([0.0, 0.0, 9.0])}

    def names(**which):
        volume = KeepOutVolume('p', 1.0, 0.3, **which)
        found = look(volume, focused(np.array([0.0, 0.0, 3.0])), bodies=lambda: places)
        return [report.name for report in found.reports], found.blocked

    assert names() == (['p (u1)', 'p (u2)', 'p (u1)'], 'keep-out-unknown')
    assert names(role='user', body='u1') == (['p (u1)'], '')
    assert names(body='u2') == (['p (u2)'], 'keep-out-unknown')
    assert names(body='nobody') == ([], '')


def test_the_offset_leads_from_the_tracked_point_to_the_volume():
    places = {('user', 'u1'): np.array([0.0, 0.0, 2.0])}
    volume = KeepOutVolume('p', 1e-9, 0.1, body='u1', offset=np.array([0.0, 0.0, 2.0]))
    shifted = look(volume, [[1.0]], ONE, lambda: places).reports[0].density
    assert shifted == pytest.approx(1 / (4 * np.pi * 3.9 ** 2), rel=1e-6)


def test_nothing_between_points_that_touch():
    assert between_points(0.0) == pytest.approx(1.05)
    assert between_points(1.0) == pytest.approx(2.1)
