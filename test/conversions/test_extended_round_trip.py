"""An extended target from a Track message by way of a cycle to bounds and markers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transforms3d.euler import euler2quat

pytest.importorskip('nf_isac_msgs.msg', reason='nf_isac_msgs is not built')

from builtin_interfaces.msg import Time  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from nf_isac_ros.conversions.adapters import read_track_array  # noqa: E402
from nf_isac_ros.conversions.markers import MarkerScene, Style, angle_text  # noqa: E402
from nf_isac_ros.conversions.messages import (  # noqa: E402
    crb_array_message,
    track_array_message,
)
from nf_isac_ros.conversions.reading import read_crb_array  # noqa: E402
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings  # noqa: E402
from nf_isac_ros.core.extended.outline import outline  # noqa: E402
from nf_isac_ros.core.planning import design_for, extended_target, plan_scene  # noqa: E402
from nf_isac_ros.core.reports import BoundReport  # noqa: E402
from nf_isac_ros.core.tracking import PoseSample, Role, TrackStore  # noqa: E402
from nf_isac_ros.files.deployment import load_deployment  # noqa: E402

SCENE = Path(__file__).parents[2] / 'config' / 'scenarios' / 'vehicle.yaml'
STAMP = Time(sec=100)
CAR = np.array([1.0, 10.0, 0.8])
YAW = 0.6


@pytest.fixture(scope='module')
def deployment():
    return load_deployment(SCENE)


@pytest.fixture(scope='module')
def sample():
    w, x, y, z = euler2quat(0.0, 0.0, YAW)
    return PoseSample('car', Role.TARGET, 100.0, CAR, np.zeros(3), orientation_xyzw=(x, y, z, w),
                      kind='extended', contour='vehicle', size_scale=0.8)


@pytest.fixture(scope='module')
def report(deployment, sample):
    """Bounds of a design for what TrackArray messages say."""
    others = [PoseSample('post', Role.TARGET, 100.0, np.array([-1.5, 4.0, 1.0]), np.zeros(3)),
              PoseSample('u1', Role.USER, 100.0, np.array([-3.5, 5.0, 1.4]), np.zeros(3))]
    tracks = TrackStore(deployment.tracking)
    for role in Role:
        samples = [one for one in (sample, *others) if one.role is role]
        message = track_array_message(samples, 100.0, 'map')
        tracks.update(read_track_array(message, role, (), 'map'), 100.0)
    plan = plan_scene(deployment, tracks.predict(100.0), (), 100.0)
    solution = design_for(plan, DesignCycle(DesignSettings(gap=1e-3))).solution
    assert (solution.design, solution.reason) == ('crb-min', '')
    return BoundReport(
        frame='map', sequence=7, transmit_time=100.0, design_stamp=100.0,
        targets=solution.targets, sum_crb=solution.sum_crb,
        isotropic_sum_crb=solution.isotropic_sum_crb, objective=solution.objective,
        bound=solution.bound, gap=solution.gap)


def test_bounds_of_all_parameters_come_through(report):
    message = crb_array_message(report)
    car, = (entry for entry in message.entries if entry.id == 'car')
    assert list(car.parameters) == ['x', 'y', 'z', 'range', 'direction', 'orientation']
    assert list(car.units) == ['m', 'm', 'm', 'm', 'rad', 'rad']
    back = read_crb_array(message)
    for before, after in zip(report.targets, back.targets, strict=True):
        assert after.id == before.id
        np.testing.assert_allclose(after.crb, before.crb, rtol=1e-12)
        np.testing.assert_array_equal(after.position, before.position)
        assert (after.bounds is None) == (before.bounds is None)
        if before.bounds is not None and after.bounds is not None:
            np.testing.assert_array_equal(after.bounds.covariance, before.bounds.covariance)
    # The centre moves in the plane of the contour: by range and by range times direction.
    covariance = np.array(car.covariance).reshape(6, 6)
    reach = np.hypot(*CAR[:2])
    assert np.trace(covariance[:2, :2]) == pytest.approx(
        covariance[3, 3] + reach ** 2 * covariance[4, 4], rel=1e-9)
    assert covariance[2, 2] == pytest.approx(0.0, abs=1e-12 * covariance[3, 3])
    assert car.crb == pytest.approx(np.trace(covariance[:3, :3]), rel=1e-12)
    assert report.objective == pytest.approx(
        sum(entry.crb for entry in message.entries), rel=1e-9)


def drawn(deployment, report, sample, **changes):
    scene = MarkerScene([deployment.transmit_array], Style('map', bound_scale=10.0))
    scene.bounds = crb_array_message(report)
    target = extended_target(sample, None, deployment.contours)
    scene.outlines = {'car': outline(target, deployment.transmit_array)}
    for name, value in changes.items():
        setattr(scene, name, value)
    return scene


def named(markers, namespace):
    return [marker for marker in markers if marker.ns == namespace]


def places(marker):
    return np.array([(point.x, point.y, point.z) for point in marker.points])


def crossed(end, loop):
    """Tell whether the way from the origin to a point crosses a closed line."""
    def side(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    origin = np.zeros(2)
    return any(side(origin, end, a) * side(origin, end, b) < 0
               and side(a, b, origin) * side(a, b, end) < 0
               for a, b in zip(loop[:-1], loop[1:], strict=True))


def test_markers_show_outline_visible_sections_and_bound(deployment, report, sample):
    markers = drawn(deployment, report, sample).markers(STAMP, live=True)
    loop, = named(markers, 'targets/outlines')
    assert loop.type == Marker.LINE_STRIP
    points = places(loop)
    np.testing.assert_allclose(points[0], points[-1], atol=1e-12)
    # In the frame of the body: 4.96 m x 2.06 m, 0.8 times.
    c, s = np.cos(YAW), np.sin(YAW)
    inside = (points - CAR) @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    assert np.ptp(inside[:, 0]) == pytest.approx(0.8 * 4.96, rel=0.01)
    assert np.ptp(inside[:, 1]) == pytest.approx(0.8 * 2.06, rel=0.01)
    np.testing.assert_allclose(inside[:, 2], 0.0, atol=1e-9)

    seen, = named(markers, 'targets/sections')
    assert seen.type == Marker.LINE_LIST
    assert len(seen.points) % 2 == 0
    assert len(seen.colors) == len(seen.points)
    # Nothing of the outline lies between the array, at x = y = 0, and what is seen.
    visible = places(seen)
    for place in visible:
        assert not crossed(0.97 * place[:2], points[:, :2])
    assert crossed(CAR[:2], points[:, :2])
    # Every visible section is part of the outline.
    distance = np.linalg.norm(visible[:, None] - points[None], axis=2).min(axis=1)
    assert distance.max() < 0.1

    bounds = {marker.id: marker for marker in named(markers, 'crb')}
    assert len(bounds) == 2
    labels = [marker.text for marker in named(markers, 'targets/labels')]
    label, = (text for text in labels if text.startswith('car\n'))
    car, = (target for target in report.targets if target.id == 'car')
    assert f'direction {angle_text(np.sqrt(car.bounds.direction))}' in label
    assert f'orientation {angle_text(np.sqrt(car.bounds.orientation))}' in label
    post, = (text for text in labels if text.startswith('post\n'))
    assert 'direction' not in post


def test_the_outline_stays_at_the_track_without_beams_and_goes_with_it(deployment, report, sample):
    scene = drawn(deployment, report, sample, tracked={('targets', 'car'): CAR + [0, 0, 1]})
    loop, = named(scene.markers(STAMP, live=False), 'targets/outlines')
    np.testing.assert_allclose(places(loop)[:, 2], CAR[2] + 1.0, atol=1e-9)
    scene.tracked = {}
    gone = named(scene.markers(STAMP, live=False), 'targets/outlines')
    assert [marker.action for marker in gone] == [Marker.DELETE]


def test_an_outline_around_the_array_has_no_visible_sections(deployment, sample):
    around = PoseSample('car', Role.TARGET, 100.0, np.array([0.0, 0.0, 2.0]),
                        orientation_xyzw=sample.orientation_xyzw, kind='extended',
                        contour='vehicle')
    shape = outline(extended_target(around, None, deployment.contours),
                    deployment.transmit_array)
    assert len(shape.loop) and not len(shape.sections)


@pytest.mark.parametrize(('radians', 'text'), [
    (2.0, '2 rad'), (0.5, '500 mrad'), (1.5e-3, '1.5 mrad'), (2e-7, '0.2 urad'),
    (np.inf, 'not identifiable')])
def test_angles_have_units_that_suit_them(radians, text):
    assert angle_text(radians) == text
