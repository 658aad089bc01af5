"""The memory of transforms, ours and tf2's where it is installed, against scipy and by hand."""

import math

import numpy as np
from numpy.testing import assert_allclose
import pytest
from scipy.spatial.transform import Rotation, Slerp

from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.conversions.transform_buffer import TransformBuffer, compose, inverse
from nf_isac_ros.core.arrays import Pose


def _tf2_buffer():
    pytest.importorskip('tf2_py', reason='tf2 is not installed')
    from nf_isac_ros.nodes.transforms import Tf2Buffer
    return Tf2Buffer()


@pytest.fixture(params=[TransformBuffer, _tf2_buffer], ids=['own', 'tf2'])
def buffer(request):
    return request.param()


def pose(rng):
    return Pose(rng.normal(size=3), tuple(Rotation.random(random_state=rng).as_quat()))


def matrix(placed):
    full = np.eye(4)
    full[:3, :3] = Rotation.from_quat(placed.orientation_xyzw).as_matrix()
    full[:3, 3] = placed.position
    return full


def test_chain_over_static_and_moving_links_is_the_product_of_matrices(buffer):
    rng = np.random.default_rng(1)
    links = {'odom': ('map', False), 'base': ('odom', False), 'mast': ('base', True),
             'tag': ('map', True)}
    poses = {child: pose(rng) for child in links}
    for child, (parent, static) in links.items():
        buffer.put(parent, child, 10.0, poses[child], static)
    full = np.linalg.multi_dot([matrix(poses[name]) for name in ('odom', 'base', 'mast')])
    assert_allclose(matrix(buffer.lookup('map', 'mast', 10.0)), full, atol=1e-12)
    # Up one branch and down the other, and both ways round.
    across = np.linalg.inv(matrix(poses['tag'])) @ full
    assert_allclose(matrix(buffer.lookup('tag', 'mast', 10.0)), across, atol=1e-12)
    assert_allclose(matrix(buffer.lookup('mast', 'tag', 10.0)), np.linalg.inv(across), atol=1e-12)
    assert_allclose(matrix(buffer.lookup('base', 'base', 10.0)), np.eye(4), atol=1e-12)
    assert set(buffer.chain('tag', 'mast')) == set(links)
    assert buffer.latest('map', 'mast') == pytest.approx(10.0)
    assert math.isinf(buffer.latest('map', 'tag'))


@pytest.mark.parametrize('share', [0.0, 0.25, 0.9, 1.0])
def test_interpolation_goes_straight_and_on_a_great_circle(buffer, share):
    rng = np.random.default_rng(2)
    a, b = pose(rng), pose(rng)
    buffer.put('map', 'a', 100.0, a, False)
    buffer.put('map', 'a', 101.0, b, False)
    found = buffer.lookup('map', 'a', 100.0 + share)
    assert_allclose(found.position, (1 - share) * a.position + share * b.position, atol=1e-6)
    turn = Slerp([0, 1], Rotation.from_quat([a.orientation_xyzw, b.orientation_xyzw]))(share)
    assert (turn.inv() * Rotation.from_quat(found.orientation_xyzw)).magnitude() < 1e-6


def test_links_of_different_stamps_meet_at_their_newest_common_time(buffer):
    for stamp in (1.0, 2.0, 3.0):
        buffer.put('map', 'odom', stamp, Pose((stamp, 0.0, 0.0)), False)
    for stamp in (1.5, 2.5):
        buffer.put('odom', 'base', stamp, Pose((0.0, stamp, 0.0)), False)
    assert buffer.latest('map', 'base') == pytest.approx(2.5)
    assert_allclose(buffer.lookup('map', 'base', 2.5).position, [2.5, 2.5, 0.0], atol=1e-9)


@pytest.mark.parametrize('time', [0.5, 2.5])
def test_what_is_not_known_is_not_guessed(buffer, time):
    for stamp in (1.0, 2.0):
        buffer.put('map', 'a', stamp, Pose((stamp, 0.0, 0.0)), False)
    with pytest.raises(MessageError) as caught:
        buffer.lookup('map', 'a', time)
    assert caught.value.reason == 'extrapolation'
    with pytest.raises(MessageError) as caught:
        buffer.lookup('map', 'b', 1.0)
    assert caught.value.reason == 'unknown-frame'


def test_slack_takes_the_newest_pose_and_no_more(buffer):
    buffer.put('map', 'a', 1.0, Pose((1.0, 0.0, 0.0)), False)
    buffer.put('map', 'a', 2.0, Pose((2.0, 0.0, 0.0)), False)
    assert buffer.lookup('map', 'a', 2.05, slack=0.1).position[0] == pytest.approx(2.0)
    with pytest.raises(MessageError):
        buffer.lookup('map', 'a', 2.2, slack=0.1)


def test_circles_and_frames_in_themselves_are_refused_and_leave_the_rest(buffer):
    buffer.put('map', 'a', 1.0, Pose((1.0, 0.0, 0.0)), False)
    buffer.put('a', 'b', 1.0, Pose((0.0, 1.0, 0.0)), False)
    for parent, child, reason in (('b', 'map', 'tf-cycle'), ('b', 'a', 'tf-cycle'),
                                  ('a', 'a', 'bad-transform'), ('', 'a', 'bad-transform'),
                                  ('map', '', 'bad-transform')):
        with pytest.raises(MessageError) as caught:
            buffer.put(parent, child, 2.0, Pose(), False)
        assert caught.value.reason == reason
    assert_allclose(buffer.lookup('map', 'b', 1.0).position, [1.0, 1.0, 0.0], atol=1e-12)


def test_a_new_parent_replaces_the_old_one(buffer):
    buffer.put('map', 'a', 1.0, Pose((1.0, 0.0, 0.0)), False)
    buffer.put('room', 'a', 1.0, Pose((2.0, 0.0, 0.0)), False)
    assert buffer.chain('map', 'a') is None
    assert buffer.chain('room', 'a') == ['a']


def test_times_out_of_order_are_put_where_they_belong():
    buffer = TransformBuffer()
    for stamp in (1.0, 3.0, 2.0, 2.0):
        buffer.put('map', 'a', stamp, Pose((stamp ** 2, 0.0, 0.0)), False)
    assert buffer.lookup('map', 'a', 2.0).position[0] == 4.0
    assert buffer.lookup('map', 'a', 2.5).position[0] == pytest.approx(6.5)


def test_memory_is_bounded_in_time_and_in_frames():
    buffer = TransformBuffer(keep=1.0)
    for k in range(5000):
        buffer.put('map', 'a', 0.01 * k, Pose((float(k), 0.0, 0.0)), False)
    with pytest.raises(MessageError):
        buffer.lookup('map', 'a', 48.0)
    assert buffer.lookup('map', 'a', 49.5).position[0] == pytest.approx(4950)
    with pytest.raises(MessageError) as caught:
        for k in range(10_000):
            buffer.put('map', f'f{k}', 1.0, Pose(), True)
    assert caught.value.reason == 'too-many-frames'


def test_a_clock_that_jumps_back_starts_anew():
    buffer = TransformBuffer(keep=10.0)
    buffer.put('map', 'a', 1000.0, Pose((1.0, 0.0, 0.0)), False)
    buffer.put('map', 'a', 5.0, Pose((2.0, 0.0, 0.0)), False)
    assert buffer.latest('map', 'a') == 5.0


def test_inverse_undoes_a_pose():
    placed = pose(np.random.default_rng(3))
    assert_allclose(matrix(compose(placed, inverse(placed))), np.eye(4), atol=1e-12)
