"""Markers and clouds as rviz2 gets them, from messages made by hand."""

import math

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
import numpy as np
import pytest
from transforms3d.euler import euler2mat
from transforms3d.quaternions import quat2mat
from visualization_msgs.msg import Marker

from nf_isac_msgs.msg import (
    CrbArray,
    CrbEntry,
    DesignStatus,
    RadioStatus,
    TrackStatus,
    UserStatus,
)
from nf_isac_ros.conversions.markers import (
    MarkerScene,
    Style,
    ellipsoid,
    length_text,
    pattern_cloud,
)
from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements

STYLE = Style(frame='mocap', bound_scale=10.0, lifetime=1.5)
STAMP = Time(sec=12, nanosec=500)


USUAL = np.diag([1e-4, 4e-4, 9e-4])


def entry(name='t1', covariance=USUAL, position=(1.0, 2.0, 3.0)):
    return CrbEntry(
        id=name, position=Point(x=position[0], y=position[1], z=position[2]),
        parameters=['x', 'y', 'z'], units=['m', 'm', 'm'],
        covariance=np.ravel(covariance).tolist(), crb=float(np.trace(covariance)),
        isotropic_crb=0.04)


def scene(elements=None, **changes):
    """Two bodies, both known well; changes replace attributes."""
    array = AntennaArray(
        planar_elements(4, 4, 0.05) if elements is None else elements,
        Pose([10.0, 0.0, 1.0]), 'panel')
    made = MarkerScene([array], STYLE)
    made.bounds = CrbArray(entries=[entry()])
    made.status = DesignStatus(
        users=[UserStatus(id='u1', required_sinr_db=20.0, sinr_db=20.0)],
        tracks=[TrackStatus(id='t1', role=TrackStatus.ROLE_TARGET),
                TrackStatus(id='u1', role=TrackStatus.ROLE_USER)])
    made.served = ['u1']
    made.tracked = {('users', 'u1'): np.array([4.0, 5.0, 6.0])}
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def named(markers, namespace):
    return [marker for marker in markers if marker.ns == namespace]


def one(markers, namespace):
    found = named(markers, namespace)
    assert len(found) == 1, f'{len(found)} markers in {namespace!r}'
    return found[0]


def test_every_marker_has_frame_stamp_lifetime_and_a_number_of_its_own():
    made = scene(truth={('users', 'u1'): np.zeros(3), ('targets', 't1'): np.ones(3)})
    markers = made.markers(STAMP, live=True) + made.static_markers(STAMP)
    assert len({(marker.ns, marker.id) for marker in markers}) == len(markers)
    for marker in markers:
        assert marker.header.frame_id == 'mocap'
        assert marker.header.stamp == STAMP
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 500_000_000)
        assert marker.color.a > 0
        if marker.type not in (Marker.POINTS, Marker.LINE_STRIP, Marker.TEXT_VIEW_FACING):
            assert min(marker.scale.x, marker.scale.y, marker.scale.z) > 0


def test_a_bound_is_an_ellipsoid_scaled_about_its_target():
    markers = scene().markers(STAMP, live=True)
    bound, target = one(markers, 'crb'), one(markers, 'targets')
    for marker in (bound, target):
        place = marker.pose.position
        assert (place.x, place.y, place.z) == (1.0, 2.0, 3.0)
    # Standard deviations 1, 2 and 3 cm, ten times enlarged, as diameters.
    assert sorted([bound.scale.x, bound.scale.y, bound.scale.z]) == pytest.approx([0.2, 0.4, 0.6])
    assert '3.74 cm (isotropic 20 cm)' in one(markers, 'targets/labels').text


@pytest.mark.parametrize('reflect', [1, -1], ids=['rotation', 'reflection'])
def test_ellipsoid_axes_give_the_covariance_back(reflect):
    axes = euler2mat(0.3, -1.1, 2.0) @ np.diag([1, reflect, 1])
    covariance = axes @ np.diag([4.0, 1.0, 0.25]) @ axes.T
    half_axes, q = ellipsoid(covariance)
    rotation = quat2mat([q.w, q.x, q.y, q.z])
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(
        rotation @ np.diag(half_axes ** 2) @ rotation.T, covariance, atol=1e-12)


@pytest.mark.parametrize('covariance', [
    np.full((3, 3), np.inf), np.diag([1e-4, np.inf, 1e-4]), np.full((3, 3), np.nan)],
    ids=['all_infinite', 'one_infinite', 'nan'])
def test_a_bound_that_does_not_exist_is_labelled_and_not_drawn(covariance):
    markers = scene(bounds=CrbArray(entries=[entry(covariance=covariance)])).markers(STAMP, True)
    assert not named(markers, 'crb')
    assert one(markers, 'targets/labels').text == 't1\nposition not identifiable'


def test_a_vanishing_bound_can_still_be_seen():
    bound = one(scene(bounds=CrbArray(entries=[entry(covariance=np.zeros((3, 3)))])).markers(
        STAMP, True), 'crb')
    assert min(bound.scale.x, bound.scale.y, bound.scale.z) > 0


def test_beams_go_from_the_array_to_the_users_that_are_served():
    markers = scene(tracked={('users', 'u1'): np.array([4.0, 5.0, 6.0]),
                             ('users', 'u2'): np.array([7.0, 8.0, 9.0])}).markers(STAMP, True)
    ends = [(p.x, p.y, p.z) for p in one(markers, 'beams').points]
    assert ends == [(10.0, 0.0, 1.0), (4.0, 5.0, 6.0)]
    texts = [marker.text for marker in named(markers, 'users/labels')]
    assert texts == ['u1\n20.0 dB of 20.0 dB', 'u2\nnot served']


def test_a_missed_requirement_has_another_colour():
    met = one(scene().markers(STAMP, True), 'beams').color
    missed = one(scene(status=DesignStatus(users=[
        UserStatus(id='u1', required_sinr_db=20.0, sinr_db=19.9)])).markers(STAMP, True),
        'beams').color
    assert (met.r, met.g, met.b) != (missed.r, missed.g, missed.b)


def test_without_a_lease_there_are_bodies_but_no_beams_and_no_bounds():
    made = scene(tracked={('users', 'u1'): np.zeros(3), ('targets', 't1'): np.ones(3)})
    markers = made.markers(STAMP, live=False)
    assert not named(markers, 'beams')
    assert not named(markers, 'crb')
    assert one(markers, 'users').color.a < 1
    assert one(markers, 'targets').color.a < 1
    assert one(markers, 'users/labels').text == 'u1\nnot served'
    assert one(markers, 'targets/labels').text == 't1\nno bound'


@pytest.mark.parametrize(('state', 'word'), [
    (TrackStatus.STATE_HELD, 'held'), (TrackStatus.STATE_DROPPED, 'dropped')])
def test_an_old_pose_is_faded_and_labelled(state, word):
    status = DesignStatus(
        users=[UserStatus(id='u1', required_sinr_db=20.0, sinr_db=20.0)],
        tracks=[TrackStatus(id='u1', role=TrackStatus.ROLE_USER, state=state, age=0.3)])
    markers = scene(status=status).markers(STAMP, True)
    assert one(markers, 'users').color.a < 1
    assert one(markers, 'users/labels').text.endswith(f'{word}, pose 0.30 s old')
    assert one(markers, 'targets').color.a == 1


def test_what_the_radio_says_is_shown():
    radio = RadioStatus(armed=True, muted=False, power=0.5, power_limit=1.0,
                        users=[UserStatus(id='u1', required_sinr_db=20.0, sinr_db=19.5)])
    markers = scene(radio=radio).markers(STAMP, True)
    assert one(markers, 'radio').text == 'radio: 0.5 W of 1 W'
    assert one(markers, 'users/labels').text == 'u1\n20.0 dB of 20.0 dB, seen 19.5 dB'


@pytest.mark.parametrize(('radio', 'text'), [
    (None, 'radio: no status'),
    (RadioStatus(armed=False, muted=True), 'radio: disarmed'),
    (RadioStatus(armed=True, muted=True, mute_reason='lease-ended'),
     'radio: muted (lease-ended)'),
], ids=['silent', 'disarmed', 'muted'])
def test_a_radio_that_does_not_transmit_says_why(radio, text):
    assert one(scene(radio=radio).markers(STAMP, True), 'radio').text == text


def test_what_is_gone_is_deleted_once_and_nothing_else_is():
    made = scene(tracked={('users', 'u1'): np.zeros(3), ('users', 'u2'): np.ones(3)})
    before = made.markers(STAMP, True)
    assert all(marker.action == Marker.ADD for marker in before)
    made.tracked = {('users', 'u2'): np.ones(3)}
    gone = {(marker.ns, marker.id) for marker in made.markers(STAMP, True)
            if marker.action == Marker.DELETE}
    number = named(before, 'users')[0].id
    assert gone == {('users', number), ('users/labels', number), ('beams', 0)}
    assert all(marker.action == Marker.ADD for marker in made.markers(STAMP, True))


def test_numbers_stay_when_bodies_come_and_go():
    made = scene(tracked={('users', name): np.zeros(3) for name in ('u1', 'u2', 'u3')})

    def numbers():
        return {marker.text.partition('\n')[0]: marker.id
                for marker in named(made.markers(STAMP, True), 'users/labels')
                if marker.action == Marker.ADD}
    first = numbers()
    made.tracked = {('users', name): np.zeros(3) for name in ('u3', 'u4')}
    second = numbers()
    made.tracked = {('users', name): np.zeros(3) for name in ('u2', 'u1')}
    third = numbers()
    assert second['u3'] == first['u3']
    assert second['u4'] not in first.values()
    assert third == {'u1': first['u1'], 'u2': first['u2']}


def test_elements_lie_in_the_world_frame_and_are_thinned():
    small, large = (
        one(scene(elements).static_markers(STAMP), 'array/elements')
        for elements in (np.array([[0.0, 0.0, 0.0]]), planar_elements(128, 128, 0.005)))
    assert [(p.x, p.y, p.z) for p in small.points] == [(10.0, 0.0, 1.0)]
    assert 512 <= len(large.points) <= 1024


def test_boresight_of_a_turned_array():
    quarter = AntennaArray(planar_elements(2, 2, 0.1), Pose(
        [0.0, 0.0, 0.0], (-math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))))
    arrow = one(MarkerScene([quarter], STYLE).static_markers(STAMP), 'array/boresight')
    tail, head = (np.array([p.x, p.y, p.z]) for p in arrow.points)
    direction = (head - tail) / np.linalg.norm(head - tail)
    np.testing.assert_allclose(direction, [0, 1, 0], atol=1e-12)


def test_a_cloud_holds_what_its_fields_say():
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    cloud = pattern_cloud(points, np.array([-3.0, np.nan, 20.0]), 'mocap', STAMP)
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        ('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('intensity', 12, 7, 1)]
    assert (cloud.width, cloud.height, cloud.point_step, cloud.row_step) == (2, 1, 16, 32)
    assert cloud.is_dense and not cloud.is_bigendian
    assert np.frombuffer(cloud.data, '<f4').reshape(2, 4).tolist() == [
        [1, 2, 3, -3], [7, 8, 9, 20]]


@pytest.mark.parametrize(('metres', 'text'), [
    (2.345, '2.35 m'), (0.0234, '2.34 cm'), (0.00123, '1.23 mm'), (4.5e-5, '45 um')])
def test_lengths_have_units_that_suit_them(metres, text):
    assert length_text(metres) == text


def test_labels_are_ascii_because_rviz2_draws_bytes():
    made = scene(tracked={('users', 'Träger µ 漢'): np.zeros(3)})
    text = next(marker.text for marker in named(made.markers(STAMP, True), 'users/labels'))
    assert text.isascii()
    assert text.startswith('Trager ? ?\n')
