"""The pictures of a run, from logs made by hand."""

from dataclasses import replace
import math

from matplotlib.image import imread
import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements
from nf_isac_ros.core.cycle import DesignSettings
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import Radio, SensingNoise
from nf_isac_ros.core.tracking import PoseSample, Role, TrackingSettings
from nf_isac_ros.demo import pictures
from nf_isac_ros.demo.pictures import draw_scene, draw_timeline
from nf_isac_ros.demo.runlog import (
    BeamRecord,
    BoundRecord,
    DesignRecord,
    PathPoint,
    RadioRecord,
    RunLog,
    TargetBound,
    UserSinr,
)
from nf_isac_ros.figures.style import broken, round_number
from nf_isac_ros.files.deployment import Deployment, MarkerSettings

ARRAY = AntennaArray(planar_elements(8, 8, 0.05), Pose(
    [0.0, 0.0, 1.0], (-math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))), 'wall')
WAVELENGTH = 0.1


@pytest.fixture
def deployment(tmp_path):
    return Deployment(
        path=tmp_path / 'wall.yaml', world_frame='room', transmit_array=ARRAY,
        receive_array=ARRAY, radio=Radio(WAVELENGTH, 1.0, 100, 1e-6, SensingNoise(power=1e-9)),
        design=DesignSettings(), tracking=TrackingSettings(), bodies=(),
        markers=MarkerSettings())


def user_place(time):
    return (2.0 * math.cos(time), 4.0 + math.sin(time), 1.0)


def design(time, outcome='optimal', reason='', sinr_db=20.0):
    return DesignRecord(
        time=time, stamp=time, sequence=int(time * 10), cycle=int(time * 10), design='crb-min',
        outcome=outcome, reason=reason, users=(UserSinr('u1', 20.0, sinr_db),), bodies=(),
        objective=1.0, bound=1.0, gap=0.0, power=1.0, iterations=5, warm=False, cycle_ms=30.0,
        pose_to_beam_ms=45.0, stages={}, overruns=0, rejected={})


def bounds(time, covariance):
    target = TargetBound('t1', np.array([time - 2.0, 5.0, 1.0]), ('x', 'y', 'z'), covariance,
                         float(np.trace(covariance)), 0.04, 1e-6, 'near')
    return BoundRecord(time, time, int(time * 10), (target,), target.crb, 0.04, 1.0, 1.0, 0.0)


def radio(time, muted=False):
    return RadioRecord(
        time=time, stamp=time, armed=True, muted=muted,
        mute_reason='lease-ended' if muted else '', last_sequence=1, applied=1, late=0,
        dropped=0, rejected={}, power=1.0, power_limit=1.0, max_element_power=0.1, eirp=10.0,
        muted_duration=0.0,
        users=(UserSinr('u1', 20.0, math.nan if muted else 19.0 + math.sin(9 * time)),))


@pytest.fixture
def log():
    """Four seconds: a fallback from 1 to 2, mute from 3 to 3.5."""
    made = RunLog(begin=100.0, end=104.0)
    for time in np.arange(100.0, 104.0, 0.1):
        elapsed = time - 100.0
        fallback = 0.95 < elapsed < 1.95
        made.designs.append(design(
            time, *(('fallback', 'infeasible-sinr', 12.0) if fallback else ())))
        made.bounds.append(bounds(time, np.diag([1e-4, 9e-4, 1e-4])))
        made.radio.append(radio(time, 2.95 < elapsed < 3.45))
        made.truth.setdefault(('user', 'u1'), []).append(
            PathPoint(time, time, user_place(elapsed)))
    weights = responses(ARRAY.positions, [user_place(3.9)], WAVELENGTH).conj()
    made.weights = weights / np.linalg.norm(weights)
    made.beams.append(BeamRecord(
        103.9, 103.9, 40, 103.9, 104.1, 'optimal', '', ('u1',), 0, 1.0, 1.0, 1.0))
    return made


def width_and_height(path):
    height, width = imread(path).shape[:2]
    return width, height


def share_of_colour(path, colour):
    """Share of the picture's pixels that are about of one colour."""
    wanted = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    return (np.abs(imread(path)[..., :3] - wanted).max(axis=2) < 0.06).mean()


def test_scene_is_a_picture_of_1200_pixels_with_each_body_in_its_colour(deployment, log, tmp_path):
    draw_scene(deployment, log, tmp_path / 'scene.png')
    width, height = width_and_height(tmp_path / 'scene.png')
    assert width == 1200 and 700 <= height <= 1200
    for role in ('target', 'user'):
        assert share_of_colour(tmp_path / 'scene.png', pictures.BODY_COLOURS[role][0]) > 2e-4


def test_scene_has_the_outline_of_an_extended_target(deployment, log, tmp_path):
    draw_scene(deployment, log, tmp_path / 'point.png')
    pose = PoseSample('t1', Role.TARGET, 103.0, np.array([0.2, 4.0, 1.0]),
                      orientation_xyzw=(0.0, 0.0, 0.0, 1.0), kind='extended',
                      contour='vehicle', size_scale=0.3)
    known = replace(deployment, contours={'vehicle': Contour((2.5, 0.0, 0.2), (1.2, 0.0, 0.1))})
    log.truth['target', 't1'] = [
        PathPoint(time, time, tuple(pose.position), pose) for time in (101.0, 102.0, 103.0)]
    draw_scene(known, log, tmp_path / 'extended.png')
    seen = pictures.SECTION_COLOURS[0]
    assert share_of_colour(tmp_path / 'point.png', seen) == 0.0
    assert share_of_colour(tmp_path / 'extended.png', seen) > 2e-4
    # Of an unknown contour there is nothing to draw.
    draw_scene(replace(known, contours={}), log, tmp_path / 'unknown.png')
    assert share_of_colour(tmp_path / 'unknown.png', seen) == 0.0


def test_scene_has_the_beam_where_it_was_pointed(deployment, log, tmp_path):
    draw_scene(deployment, log, tmp_path / 'with.png')
    log.weights = None
    draw_scene(deployment, log, tmp_path / 'without.png')
    grey = [
        (imread(tmp_path / name)[..., :3].mean(axis=2) < 0.7).mean()
        for name in ('with.png', 'without.png')]
    assert grey[0] > grey[1] + 0.02


def test_timeline_shows_fallback_and_mute(deployment, log, tmp_path):
    draw_timeline(log, tmp_path / 'with.png')
    quiet = RunLog(begin=100.0, end=104.0)
    quiet.designs = [design(record.time) for record in log.designs]
    quiet.bounds = log.bounds
    quiet.radio = [radio(record.time) for record in log.radio]
    draw_timeline(quiet, tmp_path / 'without.png')
    # Yellow and grey, as they come out half transparent on white.
    for colour, seconds in (('#F8F2A9', 1.0), ('#D1D1D1', 0.5)):
        share = share_of_colour(tmp_path / 'with.png', colour)
        assert share > 0.3 * seconds / 4.0
        assert share_of_colour(tmp_path / 'without.png', colour) < 0.2 * share
    assert width_and_height(tmp_path / 'with.png')[0] == 1200


def test_bands_have_their_reasons_and_lengths(log):
    found = {(band.kind, band.reason): (band.begin, band.end)
             for band in pictures._bands(log, 100.0)}
    assert set(found) == {('fallback', 'infeasible-sinr'), ('mute', 'lease-ended')}
    assert found['fallback', 'infeasible-sinr'] == pytest.approx((1.0, 2.0))
    assert found['mute', 'lease-ended'] == pytest.approx((3.0, 3.5))


def empty(log):
    log.designs, log.bounds, log.beams, log.radio = [], [], [], []
    log.truth, log.weights = {}, None


def never_muted_nor_heard(log):
    log.radio = []


def no_bound(log):
    log.bounds = [bounds(record.time, np.full((3, 3), np.inf)) for record in log.bounds]


def one_of_each(log):
    log.designs, log.bounds, log.radio = log.designs[:1], log.bounds[:1], log.radio[:1]
    log.truth = {key: points[:1] for key, points in log.truth.items()}


def open_window(log):
    log.begin, log.end = -math.inf, math.inf


def weights_of_another_array(log):
    log.weights = np.ones((3, 1))


def no_power(log):
    log.weights = np.zeros((64, 1))


def sinr_never_known(log):
    log.designs = [design(record.time, sinr_db=math.nan) for record in log.designs]
    log.radio = [radio(record.time, muted=True) for record in log.radio]


def users_without_poses(log):
    log.truth = {}


@pytest.mark.parametrize('change', [
    empty, never_muted_nor_heard, no_bound, one_of_each, open_window, weights_of_another_array,
    no_power, sinr_never_known, users_without_poses], ids=lambda change: change.__name__)
def test_a_run_that_went_wrong_can_be_drawn(deployment, log, tmp_path, change):
    change(log)
    draw_scene(deployment, log, tmp_path / 'scene.png')
    draw_timeline(log, tmp_path / 'timeline.png')
    assert width_and_height(tmp_path / 'scene.png')[0] == 1200
    assert width_and_height(tmp_path / 'timeline.png')[0] == 1200


def test_labels_cover_neither_each_other_nor_the_tracks(deployment, log, tmp_path, monkeypatch):
    for number in range(2, 7):
        log.truth['user', f'user_{number}'] = [
            PathPoint(point.time, point.time, (0.1 * number, 4.0, 1.0))
            for point in log.truth['user', 'u1']]
    boxes = []
    place = pictures._place_labels

    def spy(axes, labels, tracks):
        place(axes, labels, tracks)
        axes.figure.draw_without_rendering()
        boxes.extend(text.get_window_extent() for text in axes.texts if text.get_text())
    monkeypatch.setattr(pictures, '_place_labels', spy)
    draw_scene(deployment, log, tmp_path / 'scene.png')
    assert len(boxes) == 8
    for index, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:index])


def test_a_line_is_broken_where_nothing_is_known():
    times, values = broken(np.array([0.0, 0.1, 0.2, 2.0, 2.1]), np.arange(5.0))
    assert np.isnan(times).tolist() == [False, False, False, True, False, False]
    assert np.isnan(values).tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize(('value', 'rounded'), [(1.0, 1), (4.9, 2), (5.0, 5), (730.0, 500),
                                                (0.03, 0.02)])
def test_factors_are_round(value, rounded):
    assert round_number(value) == pytest.approx(rounded)
