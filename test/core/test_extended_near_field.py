"""Near-field bounds: numerical differentiation, the point target, the far field, invariances."""

from dataclasses import replace

from extended_scenes import CIRCLE, UAV, VEHICLE, WAVELENGTH, far_scene, random_beams
import numpy as np
import pytest
from scenes import planar
from scipy.spatial.transform import Rotation

from nf_isac_ros.core.arrays import AntennaArray, Pose, linear_elements
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.far_field import (
    SPEED_OF_LIGHT,
    fisher_of_sections,
    section_geometry,
)
from nf_isac_ros.core.extended.near_field import near_field_fisher
from nf_isac_ros.core.fisher import position_bounds
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import (
    BoundWeights,
    ExtendedTarget,
    PointTarget,
    Radio,
    Scene,
    SensingNoise,
)

RADIO = Radio(wavelength=WAVELENGTH, power=1.0, symbols=1000, user_noise=1e-11,
              sensing_noise=SensingNoise(power=1e-11), bandwidth=1e8)
# Heading askew, contour plane tilted against everything.
POSE = Pose(np.array([0.3, -0.2, 2.6]), tuple(
    Rotation.from_euler('xyz', [0.3, -1.2, 0.5]).as_quat()))
SMALL = UAV.scaled(0.3)


def target(**settings):
    return ExtendedTarget('t', **{'contour': SMALL, 'pose': POSE, 'path_power': 1e-9,
                                  'model': 'near-field', 'sections': 5, **settings})


def bistatic():
    away = Pose(np.array([0.5, 0.2, -0.1]), tuple(
        Rotation.from_euler('xyz', [0.1, 0.2, 0.3]).as_quat()))
    return planar(6, 5), AntennaArray(linear_elements(9, WAVELENGTH), away)


def moved_points(body, sections, shift, motion, plane):
    """Section points after a move, from the definition of the parameters."""
    n = 4 if motion == 'space' else 3
    q = body.contour.harmonics
    angle = np.outer(sections.parameter, np.arange(1, q + 1))
    local = np.stack([np.cos(angle) @ (body.contour.cosine + shift[n:n + q]),
                      np.sin(angle) @ (body.contour.sine + shift[n + q:]),
                      np.zeros(len(sections))], axis=1)
    turn = Rotation.from_rotvec(plane.axes[:, 2] * shift[n - 1]).as_matrix()
    if motion == 'space':
        centre = body.position + shift[:3]
    else:
        r, phi = plane.range + shift[0], plane.direction + shift[1]
        centre = plane.origin + plane.axes @ [r * np.cos(phi), r * np.sin(phi), plane.height]
    return centre + local @ (turn @ body.pose.rotation).T


def numerical_information(arrays, radio, body, fisher, beams):
    """
    Slepian-Bangs for every section with its own complex coefficient, eliminated, and summed.

    Delays from the centres of the arrays turn the phases of a comb of offsets.
    """
    sections, plane = fisher.sections, fisher.plane
    reach = [np.linalg.norm(body.position - array.positions.mean(axis=0)) for array in arrays]
    amplitude = (4 * np.pi / WAVELENGTH) ** 2 * reach[0] * reach[1] * np.sqrt(
        body.path_power * sections.length)
    tones = 50
    bandwidth = radio.bandwidth or 0.0
    offsets = bandwidth * np.sqrt(3 * (tones - 1) / (tones + 1)) * np.linspace(-1, 1, tones)
    noise = radio.sensing_noise
    covariance = noise.covariance if noise.covariance is not None else (
        noise.power * np.eye(len(arrays[1])))

    def means(shift):
        points = moved_points(body, sections, shift, body.motion, plane)
        sent, seen = (responses(array.positions, points, WAVELENGTH) for array in arrays)
        way = sum(np.linalg.norm(points - array.positions.mean(axis=0), axis=1)
                  for array in arrays)
        turns = np.exp(-2j * np.pi / SPEED_OF_LIGHT * np.outer(way, offsets))
        # Streams in place of snapshots: symbols are orthogonal at every offset.
        return np.einsum('k,mk,ks,kf->kmsf', amplitude, seen, sent.T @ beams, turns) / np.sqrt(
            tones / radio.symbols)

    n = fisher.wanted
    slopes = []
    still = np.zeros((4 if body.motion == 'space' else 3) + 2 * body.contour.harmonics)
    for i in range(n):
        shift = still.copy()
        shift[i] = 2e-5
        slopes.append((8 * (means(shift) - means(-shift)) - means(2 * shift) + means(-2 * shift))
                      / (12 * 2e-5))
    base = means(still)
    total = np.zeros((n, n))
    for k in range(len(sections)):
        each = np.stack([slope[k] for slope in slopes] + [base[k], 1j * base[k]])
        white = np.stack([np.linalg.solve(covariance, part.reshape(len(covariance), -1)).reshape(
            part.shape) for part in each])
        matrix = 2 * np.einsum('imsf,jmsf->ij', each.conj(), white).real
        total += matrix[:n, :n] - matrix[:n, n:] @ np.linalg.solve(
            matrix[n:, n:], matrix[n:, :n])
    return total


@pytest.mark.parametrize('noise', ['white', 'coloured'])
@pytest.mark.parametrize('motion', ['plane', 'space'])
@pytest.mark.parametrize('radio', [RADIO, replace(RADIO, bandwidth=None)],
                         ids=['bandwidth', 'no-bandwidth'])
@pytest.mark.parametrize('arrays', ['bistatic', 'monostatic'])
def test_effective_fisher_matrix_is_the_slepian_bangs_formula(arrays, radio, motion, noise):
    pair = bistatic() if arrays == 'bistatic' else (planar(6, 6),) * 2
    if noise == 'coloured':
        m = len(pair[1])
        root = random_beams(m, m, 3)
        radio = replace(radio, sensing_noise=SensingNoise(
            covariance=1e-12 * (root @ root.conj().T + 2 * np.eye(m))))
    body = target(motion=motion)
    fisher = near_field_fisher(*pair, radio, body)
    beams = random_beams(len(pair[0]), 3)
    expected = numerical_information(pair, radio, body, fisher, beams)
    units = 1 / np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        fisher.effective(fisher.of_factor(beams)) * units * units[:, None],
        expected * units * units[:, None], atol=3e-7)


@pytest.mark.parametrize('motion', ['plane', 'space'])
def test_unknown_shape_is_the_slepian_bangs_formula_too(motion):
    contour = Contour((0.6, 0.05, 0.1), (0.4, 0.0, 0.06))
    body = target(contour=contour, sections=12, motion=motion, shape='unknown')
    arrays = bistatic()
    fisher = near_field_fisher(*arrays, RADIO, body)
    beams = random_beams(30, 5)
    expected = numerical_information(arrays, RADIO, body, fisher, beams)
    assert fisher.wanted == (10 if motion == 'space' else 9)
    units = 1 / np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        fisher.effective(fisher.of_factor(beams)) * units * units[:, None],
        expected * units * units[:, None], atol=3e-7)
    bounds = fisher.bounds(fisher.of_factor(beams))
    assert bounds.names[3:7] == ('range', 'direction', 'orientation', 'cosine 1')
    known = near_field_fisher(*arrays, RADIO, replace(body, shape='known'))
    assert bounds.direction > known.bounds(known.of_factor(beams)).direction


@pytest.mark.parametrize('noise', [SensingNoise(power=1e-11),
                                   SensingNoise(diagonal=np.linspace(1, 4, 9) * 1e-12)],
                         ids=['white', 'diagonal'])
def test_one_section_is_the_point_target(noise):
    """Its information on the centre is the Schur complement that point targets have."""
    transmit, receive = bistatic()
    radio = replace(RADIO, bandwidth=None, sensing_noise=noise)
    body = target(sections=1, motion='space')
    fisher = near_field_fisher(transmit, receive, radio, body)
    beams = random_beams(30, 5)
    point = body.position + np.append(fisher.sections.points[0], 0.0) @ body.pose.rotation.T
    reach = [np.linalg.norm(body.position - array.positions.mean(axis=0))
             for array in (transmit, receive)]
    # The same echo: |b|^2 (lambda / 4 pi)^4 / (r r)^2 is beta^2 l at the range of the centre.
    reflection = (4 * np.pi / WAVELENGTH) ** 2 * reach[0] * reach[1] * np.sqrt(
        body.path_power * fisher.sections.length[0])
    problem = build_problem(Scene(transmit, receive, radio,
                                  (PointTarget('t', point, complex(reflection)),)))
    expected = np.linalg.inv(position_bounds(problem.full_fisher.of_factor(beams), 1)[0])
    effective = fisher.effective(fisher.of_factor(beams))[:3, :3]
    units = 1 / np.sqrt(np.diag(expected))
    np.testing.assert_allclose(effective * units * units[:, None],
                               expected * units * units[:, None], atol=1e-7)


def test_far_away_it_is_the_far_field_model():
    beams = random_beams(6, 4)
    errors = []
    for distance in (30.0, 300.0, 3000.0):
        scene = far_scene(VEHICLE, distance, 0.3, 0.5, (6, 8), sections=5)
        arrays, body = (scene.transmit_array, scene.receive_array), scene.extended[0]
        near = near_field_fisher(*arrays, scene.radio, body)
        where = section_geometry(near.plane, near.sections, 'exact')
        # Spherical waves are weaker on the sections behind the centre; plane waves are not.
        weaker = replace(near.sections,
                         length=near.sections.length * (distance / where.distance) ** 4)
        far = fisher_of_sections(*arrays, scene.radio, body, near.plane, weaker, where, 'section')
        a, b = (fisher.effective(fisher.of_factor(beams)) for fisher in (far, near))
        units = 1 / np.sqrt(np.diag(a))
        errors.append(np.abs((a - b) * units * units[:, None]).max())
    assert errors[2] < 1e-4 and errors[0] > 10 * errors[1] > 100 * errors[2] * 0.9


def test_bounds_do_not_depend_on_where_the_whole_scene_is():
    body, arrays, beams = target(), bistatic(), random_beams(30, 4)
    turn = Rotation.from_euler('xyz', [0.7, -0.4, 2.0])
    shift = np.array([5.0, -3.0, 1.0])

    def moved(pose):
        return Pose(turn.apply(pose.position) + shift,
                    tuple((turn * Rotation.from_quat(pose.orientation_xyzw)).as_quat()))

    there = [AntennaArray(array.elements, moved(array.pose)) for array in arrays]
    results = []
    for pair, one in ((arrays, body), (there, replace(body, pose=moved(body.pose)))):
        fisher = near_field_fisher(*pair, RADIO, one)
        results.append(fisher.bounds(fisher.of_factor(beams)))
    for name in ('range', 'direction', 'orientation'):
        assert getattr(results[0], name) == pytest.approx(getattr(results[1], name), rel=1e-6)
    matrix = turn.as_matrix()
    np.testing.assert_allclose(
        matrix @ results[0].centre @ matrix.T, results[1].centre,
        atol=1e-6 * np.trace(results[0].centre))


def test_in_space_less_is_known_than_in_a_plane():
    arrays, beams = bistatic(), random_beams(30, 6)
    plane, space = (near_field_fisher(*arrays, RADIO, target(motion=motion, sections=8))
                    for motion in ('plane', 'space'))
    known, unknown = (fisher.bounds(fisher.of_factor(beams)) for fisher in (plane, space))
    for name in ('range', 'direction', 'orientation'):
        assert getattr(unknown, name) > getattr(known, name)
    # Off the plane nothing moves in the one, in the other it does.
    normal = plane.plane.axes[:, 2]
    assert abs(normal @ known.centre @ normal) < 1e-6 * np.trace(known.centre)
    assert normal @ unknown.centre @ normal > 1e-3 * np.trace(unknown.centre)
    assert unknown.names == ('x', 'y', 'z', 'range', 'direction', 'orientation')
    assert space.names[:4] == ('x', 'y', 'z', 'orientation')


def test_centre_covariance_has_range_and_direction_on_its_axes():
    arrays, beams = bistatic(), random_beams(30, 6)
    fisher = near_field_fisher(*arrays, RADIO, target())
    bounds = fisher.bounds(fisher.of_factor(beams))
    radial, transverse = fisher.plane.radial, fisher.plane.transverse
    assert radial @ bounds.centre @ radial == pytest.approx(bounds.range, rel=1e-9)
    assert transverse @ bounds.centre @ transverse == pytest.approx(
        bounds.direction * fisher.plane.range ** 2, rel=1e-9)
    # Covariances of all of it are those of linear functions of each other.
    np.testing.assert_allclose(radial @ bounds.covariance[:3, 3:], bounds.covariance[3, 3:],
                               rtol=1e-6, atol=1e-9 * bounds.range)
    assert np.trace(bounds.centre) == pytest.approx(
        bounds.range + fisher.plane.range ** 2 * bounds.direction, rel=1e-9)


@pytest.mark.parametrize('motion', ['plane', 'space'])
def test_selections_give_the_reported_bounds(motion):
    arrays, beams = bistatic(), random_beams(30, 6)
    fisher = near_field_fisher(*arrays, RADIO, target(motion=motion))
    matrix = fisher.of_factor(beams)
    bounds = fisher.bounds(matrix)
    for objective, expected in (
            ('direction', bounds.direction), ('centre', np.trace(bounds.centre)),
            (BoundWeights(2.0, 0.0, 3.0), 2 * bounds.range + 3 * bounds.orientation)):
        chosen = fisher.selection(objective)
        scale = 1 / np.sqrt(np.diag(matrix))
        inverse = np.linalg.inv(matrix * scale * scale[:, None]) * scale * scale[:, None]
        assert np.trace(chosen.T @ inverse @ chosen) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('motion, names', [
    ('plane', ('range', 'direction')), ('space', ('x', 'y', 'z'))])
def test_a_circle_has_no_orientation(motion, names):
    fisher = near_field_fisher(*bistatic(), RADIO, target(contour=CIRCLE.scaled(0.2),
                                                          motion=motion))
    bounds = fisher.bounds(fisher.of_factor(random_beams(30, 4)))
    assert fisher.names[:fisher.wanted] == names
    assert np.isnan(bounds.orientation) and np.isfinite([bounds.range, bounds.direction]).all()


def test_a_section_on_an_antenna_is_named():
    pose = Pose(np.array([0.0, 0.0, 1.3]), (0.5, 0.5, 0.5, 0.5))
    body = target(contour=VEHICLE.scaled(0.5), pose=pose, sections=200)
    far = AntennaArray(np.array([[0.0, 3.0, 0.0]]))
    points = body.position + np.append(
        near_field_fisher(far, far, RADIO, body).sections.points[7], 0.0) @ pose.rotation.T
    with pytest.raises(SceneError) as caught:
        near_field_fisher(far, AntennaArray(points[None] + 1e-3), RADIO, body)
    assert caught.value.reason == 'body-on-antenna' and caught.value.body == 't'


def test_a_ceiling_array_that_looks_down_on_a_vehicle():
    """The boresight is normal to the contour's plane: the array's x axis counts instead."""
    above = AntennaArray(planar(8, 8).elements, Pose(np.array([0.5, 0.0, 6.0]),
                                                     (1.0, 0.0, 0.0, 0.0)))
    body = target(contour=VEHICLE, pose=Pose(np.array([6.0, 1.0, 0.0])))
    fisher = near_field_fisher(above, above, RADIO, body)
    assert fisher.plane.range == pytest.approx(np.hypot(5.5, 1.0))
    assert fisher.plane.direction == pytest.approx(np.arctan2(1.0, 5.5))
    bounds = fisher.bounds(fisher.of_factor(random_beams(64, 5)))
    assert np.isfinite([bounds.range, bounds.direction, bounds.orientation]).all()


def test_scene_builds_the_near_field_model():
    arrays = bistatic()
    scene = Scene(*arrays, RADIO, extended=(target(),))
    beams = random_beams(30, 2)
    np.testing.assert_array_equal(
        build_extended_fisher(scene, scene.extended[0]).of_factor(beams),
        near_field_fisher(*arrays, RADIO, target()).of_factor(beams))
