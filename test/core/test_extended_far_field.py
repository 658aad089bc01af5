"""Far-field bounds: reference scenarios, numerical differentiation, closed forms, invariances."""

from dataclasses import replace

from extended_scenes import (
    CIRCLE,
    ELLIPSE,
    NAMES,
    UAV,
    VEHICLE,
    WAVELENGTH,
    complex_array,
    extended_reference,
    far_scene,
    needs_extended_reference,
    random_beams,
)
import numpy as np
import pytest
from scenes import planar

from nf_isac_ros.core.arrays import AntennaArray, Pose, linear_elements
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.far_field import (
    SPEED_OF_LIGHT,
    closed_form_bounds,
    far_field_fisher,
    fisher_of_sections,
    plane_wave_responses,
    point_target_bounds,
    section_geometry,
    section_terms,
)
from nf_isac_ros.core.extended.plane import planar_pose, pose_in_plane, pose_of
from nf_isac_ros.core.extended.sections import Sections
from nf_isac_ros.core.scene import BoundWeights, ExtendedOptions, SensingNoise

KINDS = {'none': 'none', 'beta': 'common', 'beta_c': 'common-complex', 'section': 'section'}


def build(scene, **options):
    return far_field_fisher(scene.transmit_array, scene.receive_array, scene.radio,
                            scene.extended[0], **options)


def spread(scene, directions):
    """|b'|^2 of a centred linear array of half-wave spacing, in closed form."""
    m = len(scene.receive_array)
    return np.pi ** 2 * np.cos(directions) ** 2 * m * (m ** 2 - 1) / 12


def energy(scene):
    return (2 * scene.radio.symbols * scene.extended[0].path_power
            / scene.radio.sensing_noise.power)


# ---- reference scenarios ----

@needs_extended_reference
@pytest.mark.parametrize('name', NAMES)
def test_terms_and_geometry_of_the_reference(name):
    reference = extended_reference(name)
    expected, plane = reference.data['formula_test'], reference.plane
    where = section_geometry(plane, reference.sections, 'exact')
    given = reference.data['sections']
    for value, key in ((where.distance, 'd'), (where.direction, 'phi'), (where.across, 'z'),
                       (where.along, 'rho')):
        np.testing.assert_allclose(value, given[key], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(where.range_slopes, expected['jac_d'], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(where.direction_slopes, expected['jac_phi'], rtol=1e-9, atol=1e-12)
    scene = reference.scene
    fisher = fisher_of_sections(scene.transmit_array, scene.receive_array, scene.radio,
                                reference.target, plane, reference.sections, where, 'common')
    terms = section_terms(fisher, reference.beams)
    np.testing.assert_allclose(terms.illumination, expected['P'], rtol=1e-9)
    np.testing.assert_allclose(terms.slope, expected['Q'], rtol=1e-9)
    np.testing.assert_allclose(terms.mixed, complex_array(expected['S']), rtol=1e-9)
    np.testing.assert_allclose(fisher.illumination(reference.beams), expected['P'], rtol=1e-9)


@needs_extended_reference
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('geometry', ['far', 'exact'])
@pytest.mark.parametrize('name', NAMES)
def test_effective_fisher_matrix_of_the_reference(name, geometry, kind):
    reference = extended_reference(name)
    scene, plane = reference.scene, reference.plane
    where = section_geometry(plane, reference.sections, geometry)
    fisher = fisher_of_sections(scene.transmit_array, scene.receive_array, scene.radio,
                                reference.target, plane, reference.sections, where, KINDS[kind])
    effective = fisher.effective(fisher.of_factor(reference.beams))
    expected = reference.data['formula_test']
    np.testing.assert_allclose(effective, expected['efim'][f'{geometry}_{kind}'], rtol=1e-9)
    bounds = fisher.bounds(fisher.of_factor(reference.beams))
    key = f'exact_{kind}' if geometry == 'exact' else 'far' if kind == 'beta' else None
    if key is not None:
        given = expected['bounds'][key]
        np.testing.assert_allclose(
            [bounds.range, bounds.direction, bounds.orientation],
            [given['d_o_m2'], given['phi_o_rad2'], given['ori_rad2']], rtol=1e-9)


@needs_extended_reference
@pytest.mark.parametrize('name', NAMES)
def test_closed_forms_of_the_reference(name):
    reference = extended_reference(name)
    scene, plane = reference.scene, reference.plane
    where = section_geometry(plane, reference.sections, 'far')
    fisher = fisher_of_sections(scene.transmit_array, scene.receive_array, scene.radio,
                                reference.target, plane, reference.sections, where, 'common')
    terms = section_terms(fisher, reference.beams)
    arguments = (len(scene.receive_array), spread(scene, where.direction), energy(scene),
                 scene.radio.bandwidth)
    bounds = closed_form_bounds(terms, where, reference.sections.length, *arguments)
    given = reference.data['formula_test']['bounds']['far']
    np.testing.assert_allclose(
        [bounds.range, bounds.direction, bounds.orientation, bounds.range_decoupled],
        [given['d_o_m2'], given['phi_o_rad2'], given['ori_rad2'], given['d_o_decoupled_m2']],
        rtol=1e-9)
    assert closed_form_bounds(
        terms, where, reference.sections.length, *arguments, complex_coupling=True
    ).direction == pytest.approx(given['phi_o_rad2_complex_coupling'], rel=1e-9)


@needs_extended_reference
@pytest.mark.parametrize('coupling', ['pt', 'pt_complex'])
@pytest.mark.parametrize('name', NAMES)
def test_point_target_of_the_reference(name, coupling):
    reference = extended_reference(name)
    scene, plane = reference.scene, reference.plane
    one = Sections(np.zeros(1), np.ones(1), np.ones(1), np.zeros((1, 2)), 1)
    where = section_geometry(plane, one, 'exact')
    fisher = fisher_of_sections(scene.transmit_array, scene.receive_array, scene.radio,
                                reference.target, plane, one, where, 'common')
    bounds = point_target_bounds(
        section_terms(fisher, reference.beams), len(scene.receive_array),
        float(spread(scene, where.direction)[0]), energy(scene), scene.radio.bandwidth,
        coupling == 'pt_complex')
    given = reference.data['formula_test'][coupling]
    np.testing.assert_allclose(bounds, [given['d_m2'], given['phi_rad2']], rtol=1e-9)


# ---- numerical differentiation ----

def comb(streams, tones, bandwidth):
    """
    Symbols (streams, L) and offsets (L,) for which the sums over snapshots are exact.

    Of 1, offset and offset^2 times s s^H: L I, 0, L B^2 I.
    """
    offsets = np.repeat(bandwidth * np.sqrt(3 * (tones - 1) / (tones + 1))
                        * np.linspace(-1, 1, tones), streams)
    block = np.exp(2j * np.pi * np.outer(np.arange(streams), np.arange(streams)) / streams)
    return np.tile(block, tones), offsets


def section_means(scene, contour, sections, theta, gain, beams, symbols, offsets):
    """Noise-free echoes (K, M, L) for unit coefficients, straight from Eqs. (5), (9)."""
    distance, direction, orientation = theta
    u = sections.parameter
    q = np.arange(1, contour.harmonics + 1)
    local = np.stack([np.cos(np.outer(u, q)) @ contour.cosine,
                      np.sin(np.outer(u, q)) @ contour.sine], axis=1)
    c, s = np.cos(orientation), np.sin(orientation)
    points = (distance * np.array([np.cos(direction), np.sin(direction)])
              + local @ np.array([[c, s], [-s, c]]))
    ranges, angles = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
    n, m = len(scene.transmit_array), len(scene.receive_array)
    sent = np.exp(1j * np.pi * np.outer(np.sin(angles), np.arange(n) - (n - 1) / 2))
    seen = np.exp(1j * np.pi * np.outer(np.sin(angles), np.arange(m) - (m - 1) / 2))
    lit = (sent @ beams @ symbols) * np.exp(
        -4j * np.pi / SPEED_OF_LIGHT * np.outer(ranges, offsets))
    return gain * np.sqrt(sections.length)[:, None, None] * seen[:, :, None] * lit[:, None]


def numerical_information(scene, fisher, beams, contour, n_shape, nuisance):
    """Slepian-Bangs with sections of unit coefficients that do not mix; Schur complement."""
    sections, plane = fisher.sections, fisher.plane
    radio = scene.radio
    symbols, offsets = comb(beams.shape[1], 50, radio.bandwidth)
    gain = np.sqrt(scene.extended[0].path_power * radio.symbols / symbols.shape[1])
    covariance = radio.sensing_noise.covariance
    noise = (radio.sensing_noise.power * np.eye(len(scene.receive_array))
             if covariance is None else covariance)

    def means(shift):
        theta = np.array([plane.range, plane.direction, plane.orientation]) + shift[:3]
        shape = np.array([*contour.cosine, *contour.sine])
        if n_shape:
            shape = shape + shift[3:]
        half = len(shape) // 2
        # Not through Contour's checks: a shift may be anything.
        moved = type('Shape', (), {'harmonics': half, 'cosine': shape[:half],
                                   'sine': shape[half:]})
        return section_means(scene, moved, sections, theta, gain, beams, symbols, offsets)

    slopes = []
    for i, step in enumerate([1e-3, 1e-5, 1e-4] + [1e-4] * n_shape):
        shift = np.zeros(3 + n_shape)
        shift[i] = step
        slopes.append((8 * (means(shift) - means(-shift)) - means(2 * shift) + means(-2 * shift))
                      / (12 * step))
    base = means(np.zeros(3 + n_shape))
    each = np.eye(len(sections))[:, :, None, None]
    slopes += {'none': [], 'common': [base], 'common-complex': [base, 1j * base],
               'section': [f * e * base for e in each for f in (1, 1j)]}[nuisance]
    stacked = np.stack(slopes)
    white = np.linalg.solve(noise, stacked)
    matrix = 2 * np.einsum('ikml,jkml->ij', stacked.conj(), white).real
    n = 3 + n_shape
    if nuisance == 'none':
        return matrix
    return matrix[:n, :n] - matrix[:n, n:] @ np.linalg.solve(matrix[n:, n:], matrix[n:, :n])


@pytest.mark.parametrize('coloured', [False, True], ids=['white', 'coloured'])
@pytest.mark.parametrize('nuisance', KINDS.values())
@pytest.mark.parametrize('contour', [VEHICLE, UAV], ids=['vehicle', 'uav'])
def test_effective_fisher_matrix_is_the_slepian_bangs_formula(contour, nuisance, coloured):
    scene = far_scene(contour, 9.0, -0.35, 0.8, (6, 7), sections=5)
    if coloured:
        root = random_beams(7, 7, 3)
        noise = SensingNoise(covariance=1e-12 * (root @ root.conj().T + 2 * np.eye(7)))
        scene = replace(scene, radio=replace(scene.radio, sensing_noise=noise))
    fisher = build(scene, nuisance=nuisance)
    beams = random_beams(6, 3)
    expected = numerical_information(scene, fisher, beams, contour, 0, nuisance)
    units = 1 / np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        fisher.effective(fisher.of_factor(beams)) * units * units[:, None],
        expected * units * units[:, None], atol=1e-8)


def test_unknown_shape_is_the_slepian_bangs_formula_too():
    contour = Contour((2.0, 0.1, 0.3), (1.2, 0.0, 0.2))
    scene = far_scene(contour, 9.0, 0.3, 0.8, (6, 7), sections=12, shape='unknown')
    fisher = build(scene)
    assert fisher.names[:9] == ('range', 'direction', 'orientation', 'cosine 1', 'cosine 2',
                                'cosine 3', 'sine 1', 'sine 2', 'sine 3')
    beams = random_beams(6, 5)
    expected = numerical_information(scene, fisher, beams, contour, 6, 'common')
    units = 1 / np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        fisher.effective(fisher.of_factor(beams)) * units * units[:, None],
        expected * units * units[:, None], atol=1e-8)
    bounds = fisher.bounds(fisher.of_factor(beams))
    assert bounds.names[6:] == fisher.names[3:9]
    np.testing.assert_allclose(
        np.diag(bounds.covariance)[3:], np.diag(np.linalg.inv(expected)), rtol=1e-4)
    # More unknowns, larger bounds.
    known = build(far_scene(contour, 9.0, 0.3, 0.8, (6, 7), sections=12))
    for name in ('range', 'direction', 'orientation'):
        assert getattr(fisher.bounds(fisher.of_factor(beams)), name) > 1.001 * getattr(
            known.bounds(known.of_factor(beams)), name)


def test_a_shape_of_more_unknowns_than_sections_show_has_no_bound():
    # 2 K = 8 < 3 + 2 Q = 19.
    fisher = build(far_scene(VEHICLE, sections=4, shape='unknown'))
    bounds = fisher.bounds(fisher.of_factor(random_beams(16, 6)))
    assert np.isinf(bounds.orientation) and np.isinf(bounds.range)


# ---- closed forms and limits ----

@pytest.mark.parametrize('seed', range(4))
def test_closed_forms_are_the_inverse_of_the_far_fisher_matrix(seed):
    rng = np.random.default_rng(seed)
    scene = far_scene([VEHICLE, UAV][seed % 2], rng.uniform(5, 50), rng.uniform(-1, 1),
                      rng.uniform(-3, 3), sections=int(rng.integers(2, 12)))
    fisher = build(scene, geometry='far')
    beams = random_beams(16, 4, seed)
    where = section_geometry(fisher.plane, fisher.sections, 'far')
    closed = closed_form_bounds(
        section_terms(fisher, beams), where, fisher.sections.length, 20,
        spread(scene, where.direction), energy(scene), scene.radio.bandwidth)
    bounds = fisher.bounds(fisher.of_factor(beams))
    np.testing.assert_allclose(
        [closed.range, closed.direction, closed.orientation],
        [bounds.range, bounds.direction, bounds.orientation], rtol=1e-9)
    # The other reading neglects a coupling, and the text says which bound is the larger one.
    assert closed.range_decoupled <= closed.range
    assert closed.orientation_decoupled <= closed.orientation
    assert closed.orientation > closed.direction


def test_a_far_target_of_normalised_lengths_has_the_bounds_of_a_point():
    """Seen along its axis of symmetry, where range and orientation do not mix."""
    scene = far_scene(VEHICLE, 3000.0, 0.0, 0.0, lengths='normalised')
    fisher = build(scene, geometry='far')
    beams = random_beams(16, 4)
    bounds = fisher.bounds(fisher.of_factor(beams))
    point = far_scene(ELLIPSE.scaled(1e-6), 3000.0, 0.0, 0.0, lengths='normalised', sections=1)
    single = build(point)
    where = section_geometry(single.plane, single.sections, 'far')
    expected = point_target_bounds(
        section_terms(single, beams), 20, float(spread(scene, where.direction)[0]), energy(scene),
        1e8)
    np.testing.assert_allclose([bounds.range, bounds.direction], expected, rtol=2e-3)


def test_exact_geometry_becomes_far_geometry_with_distance():
    beams = random_beams(16, 4)
    excess = []
    for distance in (50.0, 500.0, 5000.0):
        scene = far_scene(VEHICLE, distance, 0.1, 0.0)
        exact, far = (build(scene, geometry=geometry) for geometry in ('exact', 'far'))
        excess.append(abs(exact.bounds(exact.of_factor(beams)).direction
                          / far.bounds(far.of_factor(beams)).direction - 1))
    assert excess[0] > excess[1] > excess[2] and excess[2] < 2e-3


# ---- invariances ----

def everything(fisher, beams):
    bounds = fisher.bounds(fisher.of_factor(beams))
    return np.array([bounds.range, bounds.direction, bounds.orientation])


def test_bounds_do_not_depend_on_where_the_whole_scene_is():
    scene = far_scene(UAV, 12.0, 0.3, 0.9)
    pose = Pose(np.array([3.0, -2.0, 7.0]), (0.5, 0.5, -0.5, 0.5))
    arrays = [AntennaArray(array.elements, pose)
              for array in (scene.transmit_array, scene.receive_array)]
    target = replace(scene.extended[0], pose=pose_in_plane(arrays[0], 12.0, 0.3, 0.9))
    moved = far_field_fisher(*arrays, scene.radio, target)
    beams = random_beams(16, 4)
    np.testing.assert_allclose(everything(moved, beams), everything(build(scene), beams),
                               rtol=1e-9)
    # The centre's bound moves with the scene.
    here, there = (fisher.bounds(fisher.of_factor(beams)).centre
                   for fisher in (build(scene), moved))
    np.testing.assert_allclose(pose.rotation @ here @ pose.rotation.T, there, rtol=1e-8,
                               atol=1e-9 * np.abs(there).max())


def test_mirrored_scene_has_the_same_bounds():
    beams = random_beams(16, 4)
    here = build(far_scene(UAV, 12.0, 0.3, 0.9))
    mirrored = build(far_scene(UAV, 12.0, -0.3, -0.9))
    np.testing.assert_allclose(everything(mirrored, beams[::-1]), everything(here, beams),
                               rtol=1e-9)


def test_conjugate_phases_of_the_beams_and_a_common_phase_do_not_matter():
    fisher = build(far_scene())
    beams = random_beams(16, 4)
    np.testing.assert_allclose(everything(fisher, beams * np.exp(1j * np.arange(4))),
                               everything(fisher, beams), rtol=1e-12)


@pytest.mark.parametrize('change', ['symbols', 'path_power', 'power'])
def test_bounds_fall_with_energy(change):
    scene, beams = far_scene(), random_beams(16, 4)
    if change == 'symbols':
        other, sent = replace(scene, radio=replace(scene.radio, symbols=3000)), beams
    elif change == 'path_power':
        other, sent = far_scene(path_power=3e-12), beams
    else:
        other, sent = scene, beams * np.sqrt(3)
    np.testing.assert_allclose(everything(build(other), sent),
                               everything(build(scene), beams) / 3, rtol=1e-12)


def test_a_planar_array_rolled_about_its_boresight_sees_the_same():
    """The plane of the contour counts, not which way the array's axes point."""
    beams = random_beams(36, 4)
    upright = planar(6, 6)
    target = far_scene(VEHICLE, 15.0, 0.3, 0.8).extended[0]
    radio = far_scene().radio
    turn = np.sqrt(0.5)
    # A quarter of a turn about z: x becomes y; elements are numbered so that they coincide.
    rolled = AntennaArray(upright.elements, Pose(orientation_xyzw=(0.0, 0.0, turn, turn)))
    order = [int(np.linalg.norm(rolled.positions - p, axis=1).argmin())
             for p in upright.positions]
    a = far_field_fisher(upright, upright, radio, target)
    b = far_field_fisher(rolled, rolled, radio, target)
    turned = np.empty_like(beams)
    turned[order] = beams
    np.testing.assert_allclose(everything(b, turned), everything(a, beams), rtol=1e-9)


# ---- edge cases ----

def test_one_section_tells_no_orientation_but_a_direction():
    fisher = build(far_scene(sections=1), geometry='far')
    bounds = fisher.bounds(fisher.of_factor(random_beams(16, 4)))
    assert np.isinf(bounds.orientation) and np.isinf(bounds.range)
    assert np.isfinite(bounds.direction)
    where = section_geometry(fisher.plane, fisher.sections, 'far')
    closed = closed_form_bounds(
        section_terms(fisher, random_beams(16, 4)), where, fisher.sections.length, 20,
        spread(far_scene(), where.direction), energy(far_scene()), 1e8)
    assert np.isinf(closed.orientation) and np.isinf(closed.range)
    assert bounds.direction == pytest.approx(closed.direction, rel=1e-9)
    assert np.isinf(bounds.centre).all()


def test_one_section_on_the_line_of_sight_tells_the_range():
    fisher = build(far_scene(ELLIPSE, 20.0, 0.0, 0.0, sections=1), geometry='far')
    terms = section_terms(fisher, random_beams(16, 4))
    where = section_geometry(fisher.plane, fisher.sections, 'far')
    assert where.across[0] == 0
    bounds = fisher.bounds(fisher.of_factor(random_beams(16, 4)))
    delay = 20 * (4 * np.pi * 1e8 / SPEED_OF_LIGHT) ** 2
    assert bounds.range == pytest.approx(
        1 / (energy(far_scene()) * delay * fisher.sections.length[0] * terms.illumination[0]),
        rel=1e-6)


def test_without_bandwidth_the_far_model_knows_directions_only():
    scene = far_scene()
    scene = replace(scene, radio=replace(scene.radio, bandwidth=None))
    fisher = build(scene, geometry='far')
    bounds = fisher.bounds(fisher.of_factor(random_beams(16, 4)))
    assert np.isinf([bounds.range, bounds.orientation]).all() and np.isfinite(bounds.direction)


def test_a_circle_has_no_orientation():
    fisher = build(far_scene(CIRCLE))
    bounds = fisher.bounds(fisher.of_factor(random_beams(16, 4)))
    assert np.isnan(bounds.orientation) and 'orientation' not in fisher.names
    assert np.isfinite([bounds.range, bounds.direction]).all()
    with pytest.raises(SceneError) as caught:
        fisher.selection(BoundWeights(0, 1, 1))
    assert caught.value.reason == 'no-orientation'


@pytest.mark.parametrize('nuisance', KINDS.values())
def test_sections_without_light_do_no_harm(nuisance):
    fisher = build(far_scene(sections=3, distance=5.0), nuisance=nuisance)
    steering = fisher.steering
    # A beam that the first section does not see at all.
    weights = np.linalg.svd(steering[:, :1].conj().T)[2][1:].conj().T[:, :4]
    bounds = fisher.bounds(fisher.of_factor(weights))
    assert fisher.illumination(weights)[0] < 1e-25
    assert np.isfinite([bounds.range, bounds.direction, bounds.orientation]).all()
    nothing = fisher.bounds(fisher.of_factor(0 * weights))
    assert np.isinf([nothing.range, nothing.direction, nothing.orientation]).all()


def test_sections_at_endfire_are_dropped():
    fisher = build(far_scene(VEHICLE, 4.0, np.deg2rad(75.0), 0.3))
    where = section_geometry(fisher.plane, fisher.sections, 'exact')
    assert 0 < len(fisher.sections) < 8
    assert (np.abs(where.direction) < np.pi / 2).all()
    assert fisher.columns.shape[1] == 2 * len(fisher.sections)


@pytest.mark.parametrize('direction', [np.pi / 2, 1.6, -1.7, 3.0])
def test_a_target_at_endfire_or_behind_is_refused(direction):
    with pytest.raises(SceneError) as caught:
        build(far_scene(direction=direction))
    assert caught.value.reason == 'behind-array' and caught.value.body == 'target'


@pytest.mark.parametrize('pose, ok', [
    (Pose(np.array([1.0, 0.0, 20.0]), (0.0, -np.sqrt(0.5), 0.0, np.sqrt(0.5))), True),
    (Pose(np.array([6.0, 0.0, 20.0]), (0.0, -np.sqrt(0.5), 0.0, np.sqrt(0.5))), False),
    (Pose(np.array([0.0, 0.0, 20.0])), False)], ids=['near-plane', 'high', 'facing'])
def test_a_target_far_from_the_plane_is_refused(pose, ok):
    scene = far_scene()
    target = replace(scene.extended[0], pose=pose)
    if ok:
        far_field_fisher(scene.transmit_array, scene.receive_array, scene.radio, target)
        return
    with pytest.raises(SceneError) as caught:
        far_field_fisher(scene.transmit_array, scene.receive_array, scene.radio, target)
    assert caught.value.reason == 'out-of-plane'


def test_a_target_around_the_array_is_refused_by_name():
    with pytest.raises(SceneError, match="target 'target': the array lies inside") as caught:
        build(far_scene(distance=0.5))
    assert caught.value.reason == 'inside-contour' and caught.value.body == 'target'


# ---- what designs take ----

def test_factor_covariance_gram_and_responses_are_the_same_map():
    fisher = build(far_scene(), nuisance='section')
    beams = random_beams(16, 5)
    covariance = beams @ beams.conj().T
    matrix = fisher.of_factor(beams)
    np.testing.assert_allclose(fisher.of_covariance(covariance), matrix, rtol=1e-9, atol=1e-6)
    q = fisher.responses()
    direct = np.einsum('jnm,np,ipm->ij', q.conj(), covariance, q).real
    np.testing.assert_allclose(direct, matrix, rtol=1e-9, atol=1e-6)
    # A basis of what the columns span loses nothing.
    basis = np.linalg.svd(fisher.columns, full_matrices=False)[0][:, :16]
    small = fisher.responses(basis)
    inner = basis.conj().T @ covariance @ basis
    np.testing.assert_allclose(np.einsum('jnm,np,ipm->ij', small.conj(), inner, small).real,
                               matrix, rtol=1e-8, atol=1e-5)


@pytest.mark.parametrize('objective', [
    'direction', 'centre', BoundWeights(1.0, 0.5, 0.2)], ids=['direction', 'centre', 'weights'])
def test_conditioned_map_has_the_same_objective(objective):
    fisher = build(far_scene())
    selection = fisher.selection(objective)
    selectors, chosen = fisher.conditioned(fisher.isotropic(1.0), selection)
    gram = fisher.columns.conj().T @ fisher.columns / 16
    unit = np.einsum('jpm,pq,iqm->ij', selectors.conj(), gram, selectors).real
    np.testing.assert_allclose(unit, np.eye(len(unit)), atol=1e-9)
    beams = random_beams(16, 4)
    seen = fisher.columns.conj().T @ beams
    matrix = np.einsum('jpm,pq,iqm->ij', selectors.conj(), seen @ seen.conj().T, selectors).real
    value = np.trace(chosen.T @ np.linalg.solve(matrix, chosen))
    bounds = fisher.bounds(fisher.of_factor(beams))
    expected = {'direction': bounds.direction, 'centre': np.trace(bounds.centre)}.get(
        objective if isinstance(objective, str) else '',
        bounds.range + 0.5 * bounds.direction + 0.2 * bounds.orientation)
    assert value == pytest.approx(expected, rel=1e-8)


def test_conditioned_map_leaves_out_what_cannot_be_known():
    fisher = build(far_scene(sections=1), geometry='far')
    selectors, chosen = fisher.conditioned(fisher.isotropic(1.0), fisher.selection('direction'))
    assert len(selectors) == len(chosen) < len(fisher.names)
    beams = random_beams(16, 4)
    seen = fisher.columns.conj().T @ beams
    matrix = np.einsum('jpm,pq,iqm->ij', selectors.conj(), seen @ seen.conj().T, selectors).real
    assert float((chosen.T @ np.linalg.solve(matrix, chosen))[0, 0]) == pytest.approx(
        fisher.bounds(fisher.of_factor(beams)).direction, rel=1e-9)
    with pytest.raises(SceneError) as caught:
        fisher.conditioned(fisher.isotropic(1.0), fisher.selection(BoundWeights(0, 0, 1)))
    assert caught.value.reason == 'not-localisable'


def test_options_of_the_scene_choose_the_model():
    scene = far_scene()
    beams = random_beams(16, 2)
    for geometry in ('far', 'exact'):
        for coupling, nuisance in (('real', 'common'), ('complex', 'common-complex')):
            chosen = replace(scene, options=ExtendedOptions(geometry=geometry, coupling=coupling))
            np.testing.assert_array_equal(
                build_extended_fisher(chosen, scene.extended[0]).of_factor(beams),
                build(scene, geometry=geometry, nuisance=nuisance).of_factor(beams))


def test_without_path_power_the_radar_equation_holds():
    target = far_scene(path_power=None).extended[0]
    # 1 m^2 per metre at 20 m: P_r / P_t = lambda^2 sigma / ((4 pi)^3 r^4).
    assert target.path_power_at(20.0, WAVELENGTH) == pytest.approx(
        1e-4 / (64 * np.pi ** 3 * 1.6e5))


# ---- geometry ----

@pytest.mark.parametrize('seed', range(5))
def test_pose_in_plane_and_back(seed):
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    array = AntennaArray(linear_elements(5, 0.1, (0.0, 0.3, 0.0)),
                         Pose(rng.normal(size=3), tuple(quaternion / np.linalg.norm(quaternion))))
    plane = planar_pose(array, pose_in_plane(array, 7.0, 0.4, -2.0))
    np.testing.assert_allclose(
        [plane.range, plane.direction, plane.orientation, plane.height, plane.tilt],
        [7.0, 0.4, -2.0, 0.0, 0.0], atol=1e-7)
    again = pose_of(plane)
    np.testing.assert_allclose(again.position, pose_in_plane(array, 7.0, 0.4, -2.0).position,
                               atol=1e-9)
    # x of the plane is the array's z axis, y its y axis, from the centre of the elements.
    relative = array.pose.rotation.T @ (again.position - array.positions.mean(axis=0))
    np.testing.assert_allclose(relative, [0.0, 7 * np.sin(0.4), 7 * np.cos(0.4)], atol=1e-9)


def test_plane_waves_are_those_of_half_wave_arrays():
    """a_n = exp(-j pi x_n sin phi), and its slope by differences."""
    array = AntennaArray(linear_elements(6, WAVELENGTH / 2))
    phi = np.array([-1.0, 0.0, 0.3])
    axes = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    response, slope = plane_wave_responses(array, axes, phi, WAVELENGTH)
    x = np.arange(6) - 2.5
    np.testing.assert_allclose(response, np.exp(-1j * np.pi * np.outer(x, np.sin(phi))),
                               rtol=1e-12)
    h = 1e-5
    ahead, behind = (plane_wave_responses(array, axes, phi + d, WAVELENGTH)[0] for d in (h, -h))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * h), atol=1e-7)
