"""Visible sections: against all pairs of edges, a fan of rays, closed forms, reference data."""

from extended_scenes import (
    CIRCLE,
    ELLIPSE,
    NAMES,
    UAV,
    VEHICLE,
    extended_reference,
    needs_extended_reference,
)
import numpy as np
import pytest

from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.contour import VERTICES, Contour
from nf_isac_ros.core.extended.sections import split_sections, visible_edges, visible_runs

# A horseshoe, open towards -x.
HOOK = Contour((0.3, 1.5), (1.5, 0.0))


def spiral():
    """A band that winds one and a half times round the origin, without enclosing it."""
    turn = np.linspace(0, 3 * np.pi, 400)
    outer, inner = ((r + 0.25 * turn)[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
                    for r in (1.0, 0.8))
    return np.concatenate([outer, inner[::-1]])


def all_pairs(polygon, viewpoint):
    """The rule of visibility, tried for every ray and every edge."""
    p = polygon - viewpoint
    q = np.roll(p, -1, axis=0)

    def cross(a, b):
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

    middle = 0.5 * (p + q)
    distance = np.linalg.norm(middle, axis=1)
    ray = middle / distance[:, None]
    start = cross(ray[:, None], p[None])
    end = cross(ray[:, None], q[None])
    with np.errstate(divide='ignore', invalid='ignore'):
        reach = cross(p, q)[None] / (end - start)
    scale = np.linalg.norm(p, axis=1).max()
    before = ((start > 0) != (end > 0)) & (reach > 0) & (
        reach < distance[:, None] - 1e-9 * scale)
    np.fill_diagonal(before, False)
    return (cross(p, q) < 0) & ~before.any(axis=1)


def poses(seed, n):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.choice([2.7, 3.5, 6.0, 20.0, 300.0])
        yield distance * np.array([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize('contour', [VEHICLE, UAV, ELLIPSE, HOOK],
                         ids=['vehicle', 'uav', 'ellipse', 'hook'])
def test_buckets_give_the_answer_of_all_pairs(contour):
    for viewpoint in poses(1, 12):
        np.testing.assert_array_equal(visible_edges(contour.polygon, viewpoint),
                                      all_pairs(contour.polygon, viewpoint))


@pytest.mark.parametrize('viewpoint', [(0.0, 0.62), (0.55, 0.0), (0.0, -0.7), (-0.6, 0.02)])
def test_buckets_between_the_arms_of_a_uav(viewpoint):
    """Close in, the azimuths of the contour span more than half a turn."""
    np.testing.assert_array_equal(visible_edges(UAV.polygon, np.array(viewpoint)),
                                  all_pairs(UAV.polygon, np.array(viewpoint)))


@pytest.mark.parametrize('viewpoint', [(0.0, 0.0), (0.3, -0.2), (-0.4, 0.5), (4.0, 4.0)])
def test_buckets_go_round_with_a_polygon_that_winds_round_the_viewpoint(viewpoint):
    seen = visible_edges(spiral(), np.array(viewpoint))
    np.testing.assert_array_equal(seen, all_pairs(spiral(), np.array(viewpoint)))
    assert seen.sum() > 50


def test_horseshoe_shows_its_hollow_only_from_its_open_side():
    inside = np.abs(HOOK.points(np.pi) - [1.2, 0.0]).max() < 1e-9
    edge = VERTICES // 2
    assert inside
    assert visible_edges(HOOK.polygon, np.array([-20.0, 0.0]))[edge]
    assert not visible_edges(HOOK.polygon, np.array([20.0, 0.0]))[edge]


@pytest.mark.parametrize('contour', [VEHICLE, UAV], ids=['vehicle', 'uav'])
def test_visible_is_what_a_fan_of_rays_hits_first(contour):
    rays = 20000
    for viewpoint in poses(2, 6):
        p = contour.polygon - viewpoint
        q = np.roll(p, -1, axis=0)
        middle = np.arctan2(*(-viewpoint)[::-1])
        azimuth = np.angle((p[:, 0] + 1j * p[:, 1]) * np.exp(-1j * middle))
        fan = np.linspace(azimuth.min(), azimuth.max(), rays + 2)[1:-1] + middle
        hit = np.zeros(VERTICES, dtype=bool)
        for chunk in np.array_split(fan, 20):
            c, s = np.cos(chunk)[:, None], np.sin(chunk)[:, None]
            start, end = c * p[:, 1] - s * p[:, 0], c * q[:, 1] - s * q[:, 0]
            with np.errstate(divide='ignore', invalid='ignore'):
                reach = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) / (end - start)
            reach = np.where(((start > 0) != (end > 0)) & (reach > 0), reach, np.inf)
            hit[np.unique(reach.argmin(axis=1))] = True
        # Edges seen almost end on fall between the rays.
        assert (hit != visible_edges(contour.polygon, viewpoint)).sum() <= 6


@pytest.mark.parametrize('distance', [1.6, 4.0, 100.0])
def test_a_circle_shows_the_arc_between_its_tangents(distance):
    (start, end), = visible_runs(CIRCLE, np.array([distance, 0.0])) - [[2 * np.pi, 2 * np.pi]]
    half = np.arccos(1.5 / distance)
    # Edges are seen whole or not at all.
    assert start == pytest.approx(-half, abs=2.01 * np.pi / VERTICES)
    assert end == pytest.approx(half, abs=2.01 * np.pi / VERTICES)


@pytest.mark.parametrize('viewpoint', [(0.0, 0.0), (2.4, 0.0), (-1.0, 0.5)])
def test_an_array_inside_is_refused(viewpoint):
    with pytest.raises(SceneError) as caught:
        split_sections(VEHICLE, np.array(viewpoint), 4)
    assert caught.value.reason == 'inside-contour'


def test_an_array_on_the_contour_is_refused():
    with pytest.raises(SceneError) as caught:
        visible_edges(VEHICLE.polygon, VEHICLE.polygon[100])
    assert caught.value.reason == 'inside-contour'


def test_an_array_in_a_hollow_is_outside():
    """Between two arms of the UAV, within its bounding box."""
    assert visible_edges(UAV.polygon, np.array([0.0, 0.8])).any()


@pytest.mark.parametrize('split', ['parameter', 'arc'])
@pytest.mark.parametrize('contour', [VEHICLE, UAV], ids=['vehicle', 'uav'])
@pytest.mark.parametrize('n', [1, 2, 3, 8, 40])
def test_sections_tile_what_is_kept_of_the_visible_runs(contour, split, n):
    for viewpoint in poses(3, 6):
        sections = split_sections(contour, viewpoint, n, split)
        assert len(sections) == n
        runs = visible_runs(contour, viewpoint)
        start = sections.parameter - 0.5 * sections.width
        if split == 'parameter':
            inside = [((s - runs[:, 0] + 1e-9) % (2 * np.pi) + w
                       < runs[:, 1] - runs[:, 0] + 2e-9).any()
                      for s, w in zip(start, sections.width)]
            assert all(inside)
        # Lengths by the chords of a fine polygon.
        ends = np.stack([start, start + sections.width]) if split == 'parameter' else None
        if ends is not None:
            for k in range(n):
                u = np.linspace(ends[0, k], ends[1, k], 4001)
                chord = np.linalg.norm(np.diff(contour.points(u), axis=0), axis=1).sum()
                assert sections.length[k] == pytest.approx(chord, rel=1e-5)
        kept = runs[(runs[:, 1] - runs[:, 0]) > 0.3 * (runs[:, 1] - runs[:, 0]).max()]
        visible = np.diff(contour.arc_length(kept), axis=1).sum()
        assert sections.length.sum() <= np.diff(contour.arc_length(runs), axis=1).sum() + 1e-9
        if n == 40:
            assert sections.length.sum() >= 0.9 * visible
        np.testing.assert_allclose(sections.points, contour.points(sections.parameter), atol=1e-9)


def test_equal_arc_sections_of_a_run_have_equal_lengths():
    sections = split_sections(VEHICLE, np.array([-17.0, 9.0]), 8, 'arc')
    assert sections.runs == 1
    np.testing.assert_allclose(sections.length, sections.length[0], rtol=1e-12)
    # And equal widths are unequal lengths.
    assert np.ptp(split_sections(VEHICLE, np.array([-17.0, 9.0]), 8).length) > 0.3


def test_sections_are_allotted_by_the_size_of_the_runs():
    """A UAV seen along an arm: several runs, none straddled, each with its share."""
    viewpoint = np.array([30.0, 12.0])
    runs = visible_runs(UAV, viewpoint)
    assert len(runs) >= 2
    sections = split_sections(UAV, viewpoint, 12)
    sizes = runs[:, 1] - runs[:, 0]
    kept = sizes >= sizes.sum() / 48
    counts = [int((((sections.parameter - a) % (2 * np.pi)) < b - a).sum()) for a, b in runs]
    ideal = sizes[kept] / sizes[kept].sum() * 12
    assert sections.runs == kept.sum() and sum(counts) == 12
    for count, share, keep in zip(np.array(counts)[kept], ideal, kept[kept]):
        assert keep and max(np.floor(share), 1) <= count <= np.ceil(share)


def test_normalised_lengths_sum_to_one():
    view = np.array([-17.0, 9.0])
    one, metres = (split_sections(VEHICLE, view, 8, lengths=lengths)
                   for lengths in ('normalised', 'metres'))
    assert one.length.sum() == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(one.length * metres.length.sum(), metres.length, rtol=1e-13)


@pytest.mark.parametrize('n, split', [(0, 'parameter'), (-1, 'arc'), (3, 'angle')])
def test_bad_settings_are_refused(n, split):
    with pytest.raises(SceneError) as caught:
        split_sections(VEHICLE, np.array([9.0, 0.0]), n, split)
    assert caught.value.reason == 'bad-sections'


def test_rotating_body_and_viewpoint_around_a_symmetric_body_changes_nothing():
    """A UAV looks the same after a quarter of a turn."""
    view = np.array([11.0, 4.0])
    turned = np.array([-4.0, 11.0])
    a, b = split_sections(UAV, view, 6), split_sections(UAV, turned, 6)
    rotated = a.points @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(np.sort(b.length), np.sort(a.length), rtol=1e-9)
    for point in rotated:
        assert np.linalg.norm(b.points - point, axis=1).min() < 1e-9


@needs_extended_reference
@pytest.mark.parametrize('name', NAMES)
def test_sections_of_the_reference_scenarios(name):
    reference = extended_reference(name)
    given = reference.data['sections']
    view = reference.target.pose.to_inner(reference.plane.origin)[:2]
    sections = split_sections(reference.target.contour, view, len(given['u']))
    assert sections.runs == given['n_runs']
    np.testing.assert_allclose(sections.parameter, given['u'], rtol=1e-9)
    np.testing.assert_allclose(sections.width, given['width_u'], rtol=1e-9)
    np.testing.assert_allclose(sections.points, given['m'], atol=1e-9)
    # The reference has its lengths from a coarse quadrature; the exact ones are tested above.
    np.testing.assert_allclose(sections.length, given['l'], rtol=3e-5)


def test_one_section_of_many_equal_runs_is_one_of_them():
    """A saw of seven teeth towards the viewer, none of which is a quarter of what is seen."""
    saw = Contour((1.0, *[0.0] * 11, 0.09), (1.0, *[0.0] * 12))
    runs = visible_runs(saw, np.array([1.0, 60.0]))
    sizes = np.array([end - start for start, end in runs])
    assert sizes.max() < sizes.sum() / 4
    sections = split_sections(saw, np.array([1.0, 60.0]), 1)
    assert len(sections) == 1 and sections.width == pytest.approx(sizes.max())
