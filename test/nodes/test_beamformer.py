"""The beamformer as a process: what it publishes, and what it does not take."""

from __future__ import annotations

from itertools import pairwise
import math
import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS environment')
pytest.importorskip('nf_isac_msgs.msg', reason='nf_isac_msgs is not built')

from beamformer_setup import (  # noqa: E402
    DEPLOYMENT,
    ELEMENTS,
    NODE,
    NOISE,
    POWER,
    RATE,
    T1,
    U1,
    U2,
    WAVELENGTH,
    Tracker,
    channel,
    counted,
    sample,
    seconds,
    weights_of,
)
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402

from nf_isac_msgs.msg import (  # noqa: E402
    Beamformer,
    DesignStatus,
    TransmitCovariance,
    UserChannelArray,
)
from nf_isac_ros.conversions import messages  # noqa: E402
from nf_isac_ros.core.tracking import ChannelSample, Role  # noqa: E402


@pytest.fixture(scope='module')
def deployment_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('deployment') / 'small.yaml'
    path.write_text(DEPLOYMENT)
    return path


@pytest.fixture(scope='module')
def node(shared_graph, shared_probe, deployment_file):
    """One beamformer for most tests."""
    return shared_graph.start('beamformer', {'deployment_file': deployment_file})


@pytest.fixture
def tracker(node, shared_probe):
    shared_probe.activate(NODE)
    tracker = Tracker(shared_probe)
    try:
        yield tracker
    finally:
        tracker.close()
        if shared_probe.state(NODE) == 'active':
            shared_probe.change_state(NODE, 'deactivate')
        shared_probe.change_state(NODE, 'cleanup')
        assert shared_probe.state(NODE) == 'unconfigured'
        assert node.process.poll() is None


def test_beams_from_tracks(tracker):
    tracker.follow({'t1': T1}, {'u1': U1, 'u2': U2})
    beams = tracker.beams.wait(lambda m: list(m.user_ids) == ['u1', 'u2'], count=10)
    for message in beams:
        weights = weights_of(message)
        assert weights.shape == (64, 2 + message.n_sensing)
        power = float((np.abs(weights) ** 2).sum())
        assert power <= POWER * (1 + 1e-6)
        assert message.power == pytest.approx(power, rel=1e-5)
        assert message.power_limit == POWER
        assert message.header.frame_id == 'transmit_array'
        assert (message.design, message.quality) == ('crb-min', Beamformer.QUALITY_OPTIMAL)
        assert message.wavelength == WAVELENGTH
        order = [message.oldest_track_stamp, message.design_stamp, message.publish_stamp,
                 message.valid_until]
        assert [seconds(stamp) for stamp in order] == sorted(seconds(s) for s in order)
        lease = seconds(message.valid_until) - seconds(message.header.stamp)
        assert lease >= 2.5 / RATE - 1e-6
        assert lease <= 1.5
    sequences = [message.sequence for message in tracker.beams.messages]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    # The SINR on the channels of the true positions, from the published numbers alone.
    weights = weights_of(beams[-1])
    status, = tracker.status.wait(lambda m: m.sequence == beams[-1].sequence)
    for index, position in enumerate((U1, U2)):
        received = np.abs(channel(position).conj() @ weights) ** 2
        sinr = received[index] / (received.sum() - received[index] + NOISE)
        assert 10 * math.log10(sinr) >= 10 - 0.01
        assert status.users[index].sinr_db == pytest.approx(10 * math.log10(sinr), abs=0.01)
    assert status.outcome == DesignStatus.OUTCOME_OPTIMAL
    assert {stage.stage for stage in status.stages} >= {
        'wait', 'plan', 'channels', 'solve', 'beams', 'publish'}
    # The wait for poses that belong together comes before the cycle.
    assert sum(stage.duration_ms for stage in status.stages
               if stage.stage != 'wait') <= status.cycle_ms + 0.5
    assert 0 < status.pose_to_beam_ms < 2000
    bounds, = tracker.bounds.wait(lambda m: m.sequence == beams[-1].sequence)
    assert [entry.id for entry in bounds.entries] == ['t1']
    np.testing.assert_allclose(
        [bounds.entries[0].position.x, bounds.entries[0].position.y], T1[:2], atol=1e-3)
    assert bounds.gap <= 1e-3
    assert bounds.header.frame_id == 'map'


@pytest.mark.parametrize(('targets', 'users', 'design', 'n_users'), [
    ({'t1': T1}, {}, 'crb-min', 0), ({}, {'u1': U1}, 'sinr-max', 1)],
    ids=['users_empty', 'targets_empty'])
def test_one_role_alone(tracker, targets, users, design, n_users):
    tracker.follow(targets, users)
    message, = tracker.beams.wait(lambda m: m.n_users == n_users and m.design == design)
    assert message.quality in (Beamformer.QUALITY_OPTIMAL, Beamformer.QUALITY_EARLY)
    if users:
        weights = weights_of(message)
        # One user alone: matched filter with all the power.
        best = POWER * np.linalg.norm(channel(U1)) ** 2 / NOISE
        received = np.abs(channel(U1).conj() @ weights) ** 2
        assert received[0] / (received[1:].sum() + NOISE) == pytest.approx(best, rel=1e-3)


def test_no_body_is_mute(tracker):
    tracker.status.wait(lambda m: m.outcome == DesignStatus.OUTCOME_MUTE
                        and m.fallback_reason == 'no-bodies', count=5)
    assert tracker.beams.messages == []
    assert all(m.sequence == 0 for m in tracker.status.messages)


def test_lost_tracks_are_held_then_dropped_then_mute(tracker):
    tracker.follow({'t1': T1}, {'u1': U1})
    tracker.beams.wait(lambda m: list(m.user_ids) == ['u1'], count=3)
    lost = tracker.probe.now()
    tracker.follow()
    tracker.status.wait(lambda m: m.fallback_reason == 'held-track'
                        and m.outcome == DesignStatus.OUTCOME_FALLBACK)
    mute, = tracker.status.wait(lambda m: m.fallback_reason == 'tracks-dropped')
    assert mute.outcome == DesignStatus.OUTCOME_MUTE
    assert {(t.id, t.role, t.state) for t in mute.tracks} == {('t1', 0, 2), ('u1', 1, 2)}
    time.sleep(0.3)
    last = tracker.beams.messages[-1]
    assert last.quality == Beamformer.QUALITY_FALLBACK
    assert last.fallback_reason == 'held-track'
    assert seconds(last.header.stamp) - lost < 0.8 + 0.05
    # Comes back by itself, with the next sequence number.
    tracker.follow({'t1': T1}, {'u1': U1})
    back, = tracker.beams.wait(lambda m: m.sequence > last.sequence)
    assert back.sequence == last.sequence + 1


def test_dropped_user_is_not_served_and_labelled(tracker):
    tracker.follow({'t1': T1}, {'u1': U1, 'u2': U2})
    tracker.beams.wait(lambda m: list(m.user_ids) == ['u1', 'u2'], count=3)
    tracker.follow({'t1': T1}, {'u1': U1})
    status, = tracker.status.wait(lambda m: any(t.id == 'u2' and t.state == 2 for t in m.tracks))
    assert [user.id for user in status.users] == ['u1']
    beams, = tracker.beams.wait(lambda m: m.sequence == status.sequence)
    assert list(beams.user_ids) == ['u1']


@pytest.mark.parametrize(('users', 'sinr', 'reason', 'served'), [
    ({'u1': U1}, 90.0, 'infeasible-sinr', ['u1']),
    ({'u1': U1, 'u2': U1}, 10.0, 'infeasible-sinr', ['u1', 'u2']),
    ({'u1': U1, 'u2': tuple(ELEMENTS[5])}, 10.0, 'body-on-antenna', ['u1']),
], ids=['infeasible_sinr', 'identical_users', 'user_on_antenna'])
def test_what_cannot_be_met_is_labelled(tracker, users, sinr, reason, served):
    tracker.follow({'t1': T1})
    stop = threading.Event()

    def feed():
        while not stop.wait(0.02):
            tracker.send({(Role.USER, body): p for body, p in users.items()}, min_sinr_db=sinr)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        beams, = tracker.beams.wait(lambda m: m.fallback_reason == reason)
        status, = tracker.status.wait(lambda m: m.sequence == beams.sequence)
    finally:
        stop.set()
        thread.join()
    assert beams.quality == Beamformer.QUALITY_FALLBACK
    assert list(beams.user_ids) == served
    assert (np.abs(weights_of(beams)) ** 2).sum() <= POWER * (1 + 1e-6)
    assert status.outcome == DesignStatus.OUTCOME_FALLBACK
    assert counted(status.fallbacks)[reason] >= 1
    achieved = {user.id: user.sinr_db for user in status.users}
    assert set(achieved) == set(users)
    if reason == 'body-on-antenna':
        assert achieved['u2'] == -math.inf
        assert achieved['u1'] >= 10 - 0.01
    else:
        assert min(achieved.values()) < sinr


def bad_message(fault, now):
    """Make a message with a good track 'extra' and one with a fault."""
    tracks = [sample('extra', Role.TARGET, now, (0.0, 4.0, 1.0)),
              sample('t1', Role.TARGET, now, T1)]
    message = messages.track_array_message(tracks, now, 'map')
    track = message.tracks[1]
    if fault == 'nan':
        track.pose.pose.position.y = math.nan
    elif fault == 'infinite':
        track.pose.pose.position.y = math.inf
    elif fault == 'frame':
        track.header.frame_id = 'odom'
    elif fault == 'future':
        track.header.stamp = messages.time_message(now + 5.0)
    elif fault == 'past':
        track.header.stamp = messages.time_message(now - 3600.0)
    elif fault == 'duplicate':
        track.id = 'extra'
    elif fault == 'quaternion':
        track.pose.pose.orientation.w = 0.0
    return message


@pytest.mark.parametrize(('fault', 'reason'), [
    ('nan', 'not-finite'), ('infinite', 'not-finite'), ('frame', 'unknown-frame'),
    ('future', 'future-stamp'), ('past', 'stamp-regression'), ('duplicate', 'duplicate-id'),
    ('quaternion', 'bad-quaternion')])
def test_message_that_cannot_be_right_is_rejected_whole(tracker, fault, reason):
    tracker.follow({'t1': T1}, {'u1': U1})
    tracker.beams.wait(lambda m: list(m.user_ids) == ['u1'])
    health = tracker.probe.collect(DiagnosticArray, '/diagnostics')

    def thrice(message):
        return counted(message.rejected).get(reason, 0) >= 3

    # Best effort: on a busy machine most of them are overwritten before they are read.
    deadline = time.monotonic() + 30.0
    while not any(map(thrice, tracker.status.messages)) and time.monotonic() < deadline:
        tracker.publishers[Role.TARGET].publish(bad_message(fault, tracker.probe.now()))
        time.sleep(0.01)
    status, = tracker.status.wait(thrice)
    assert set(counted(status.rejected)) == {reason}
    later = tracker.status.wait(lambda m: m.cycle > status.cycle, count=5)
    assert all({track.id for track in m.tracks} == {'t1', 'u1'} for m in later)
    assert later[-1].outcome == DesignStatus.OUTCOME_OPTIMAL
    health.wait(lambda m: any(
        status.name == NODE and any(value.key == f'rejected {reason}' for value in status.values)
        for status in m.status))


def test_topic_of_one_body_with_its_offset(tracker):
    publisher = tracker.probe.publisher(PoseStamped, 'p1/pose')
    message = PoseStamped()
    message.header.frame_id = 'map'
    message.pose.orientation.w = 1.0
    message.pose.position.x, message.pose.position.y, message.pose.position.z = 0.3, 2.5, 0.4

    def send():
        message.header.stamp = messages.time_message(tracker.probe.now())
        publisher.publish(message)
        return any(list(m.user_ids) == ['p1'] for m in tracker.beams.messages)

    tracker.probe.wait_until(send, 'beams for p1')
    beams, = tracker.beams.wait(lambda m: list(m.user_ids) == ['p1'])
    h = channel((0.3, 2.5, 0.9))   # half a metre above the pose
    received = np.abs(h.conj() @ weights_of(beams)) ** 2
    assert received[0] == pytest.approx(POWER * np.linalg.norm(h) ** 2, rel=1e-3)


def test_user_known_by_its_channel(tracker):
    tracker.follow({'t1': T1})
    layout = tracker.beams.wait()[0].layout_hash
    publisher = tracker.probe.publisher(UserChannelArray, 'users/channels')
    h = channel(U2)

    def send(layout_hash):
        now = tracker.probe.now()
        publisher.publish(messages.user_channel_array_message(
            [ChannelSample('c1', now, h, 12.0)], now, 'transmit_array', layout_hash))

    def served():
        send(layout)
        return any(list(m.user_ids) == ['c1'] for m in tracker.beams.messages)

    tracker.probe.wait_until(served, 'beams for c1')
    beams, = tracker.beams.wait(lambda m: list(m.user_ids) == ['c1'])
    received = np.abs(h.conj() @ weights_of(beams)) ** 2
    sinr = received[0] / (received[1:].sum() + NOISE)
    assert 10 * math.log10(sinr) >= 12 - 0.01
    for _ in range(10):
        send('another')
        time.sleep(0.01)
    tracker.status.wait(lambda m: 'layout-mismatch' in counted(m.rejected))


def test_covariance_is_published_while_somebody_listens(tracker):
    tracker.follow({'t1': T1}, {'u1': U1})
    covariance = tracker.probe.collect(TransmitCovariance, 'covariance')
    message = covariance.wait(count=2)[-1]
    beams, = tracker.beams.wait(lambda m: m.sequence == message.sequence)
    factor = np.array(message.factor).reshape(-1, 2) @ [1, 1j]
    factor = factor.reshape(message.rank, message.n_elements).T
    weights = weights_of(beams)
    np.testing.assert_allclose(factor @ factor.conj().T, weights @ weights.conj().T,
                               atol=1e-6 * POWER)
    np.testing.assert_allclose((np.abs(factor) ** 2).sum(axis=0), message.eigenvalues, rtol=1e-5)


def test_parameters_are_accepted_or_rejected_whole(tracker):
    tracker.follow({'t1': T1}, {'u1': U1})
    tracker.beams.wait(lambda m: m.design == 'crb-min')
    for values, named in (({'design': 'isotropic', 'rate_hz': -1.0}, 'rate_hz'),
                          ({'design': 'isotropic', 'gap': 'small'}, "parameter gap is 'small'"),
                          ({'rate_hz': 10.0, 'design': 'best'}, "'best', must be one of ''"),
                          ({'trigger': 'radar'}, "must be one of 'pose', 'timer'"),
                          ({'deployment_file': '/elsewhere'}, 'read-only')):
        result = tracker.probe.set_parameters(NODE, **values)
        assert not result.successful
        assert named in result.reason
    before = len(tracker.beams.messages)
    beams = tracker.beams.wait(count=before + 5)
    assert {m.design for m in beams[before:]} == {'crb-min'}
    assert tracker.probe.set_parameters(NODE, design='isotropic', rate_hz=10).successful
    try:
        beams, = tracker.beams.wait(lambda m: m.design == 'isotropic')
        # Without the first: they may be ahead of their turn.
        stamps = [seconds(m.cycle_stamp) for m in tracker.beams.wait(
            lambda m: m.sequence > beams.sequence + 6, count=9)]
        assert np.median([b - a for a, b in pairwise(stamps)]) == pytest.approx(0.1, abs=0.03)
    finally:
        assert tracker.probe.set_parameters(NODE, design='', rate_hz=math.nan).successful


# The objective of each, from what a CrbArray and a DesignStatus say of the beams.
OBJECTIVES = {
    'crb-min': lambda bounds, status: bounds.sum_crb,
    'zero-forcing': lambda bounds, status: bounds.sum_crb,
    'users-first': lambda bounds, status: bounds.sum_crb,
    'sensing-only': lambda bounds, status: bounds.sum_crb,
    'isotropic': lambda bounds, status: bounds.isotropic_sum_crb,
    'max-min-illumination': lambda bounds, status: min(
        entry.illumination for entry in bounds.entries),
    'sinr-max': lambda bounds, status: 10 ** (min(
        user.sinr_db - user.required_sinr_db for user in status.users) / 10),
    'least-power': lambda bounds, status: status.power,
}


def test_every_design_can_be_chosen_while_the_node_runs(tracker):
    tracker.follow({'t1': T1, 't2': (0.1, 1.2, 1.1)}, {'u1': U1, 'u2': U2})
    tracker.beams.wait(lambda m: list(m.user_ids) == ['u1', 'u2'])
    found = {}
    try:
        for design in (*OBJECTIVES, 'max-min-echo'):
            assert tracker.probe.set_parameters(NODE, design=design).successful
            status, = tracker.status.wait(
                lambda m, design=design: m.design == design and len(m.users) == 2)
            beams, = tracker.beams.wait(lambda m, number=status.sequence: m.sequence == number)
            bounds, = tracker.bounds.wait(lambda m, number=status.sequence: m.sequence == number)
            assert beams.design == design
            assert beams.quality in (
                Beamformer.QUALITY_OPTIMAL, Beamformer.QUALITY_EARLY) or (
                beams.fallback_reason == 'users-not-served')
            assert (np.abs(weights_of(beams)) ** 2).sum() <= POWER * (1 + 1e-6)
            assert [entry.id for entry in bounds.entries] == ['t1', 't2']
            found[design] = bounds, status
            if design in OBJECTIVES:
                assert bounds.objective == pytest.approx(
                    OBJECTIVES[design](bounds, status), rel=1e-6)
    finally:
        assert tracker.probe.set_parameters(NODE, design='').successful

    def best(quantity, designs=tuple(found)):
        return min(designs, key=lambda design: quantity(*found[design]))

    serving = ('crb-min', 'zero-forcing', 'users-first', 'max-min-illumination', 'max-min-echo',
               'least-power')
    for design in serving:
        assert min(u.sinr_db for u in found[design][1].users) >= 10 - 1e-3
    # Each is the best in what it is for, among those with the same duties.
    assert best(lambda bounds, status: bounds.sum_crb) == 'sensing-only'
    assert best(lambda bounds, status: bounds.sum_crb, serving) == 'crb-min'
    assert best(lambda bounds, status: -min(e.illumination for e in bounds.entries),
                serving) == 'max-min-illumination'
    assert best(lambda bounds, status: -min(u.sinr_db for u in status.users)) == 'sinr-max'
    assert best(lambda bounds, status: status.power, serving) == 'least-power'


def test_design_that_does_not_suit_the_array_is_labelled(tracker):
    tracker.follow({'t1': T1}, {'u1': U1})
    assert tracker.probe.set_parameters(NODE, design='crb-min-full').successful
    try:
        beams, = tracker.beams.wait(lambda m: m.fallback_reason == 'too-many-elements')
        assert (beams.design, beams.quality) == ('zero-forcing', Beamformer.QUALITY_FALLBACK)
    finally:
        assert tracker.probe.set_parameters(NODE, design='').successful


def test_region_of_an_uncertain_track_and_its_field(tracker):
    # Rayleigh distance 0.49 m: the target is within it, the user is not.
    where, spread = (0.05, 0.4, 1.05), 0.02
    stop = threading.Event()

    def feed():
        while not stop.wait(0.02):
            tracker.send({(Role.USER, 'u1'): U1})
            tracker.send({(Role.TARGET, 't1'): where},
                         position_covariance=spread ** 2 * np.eye(3))

    def objectives(design):
        assert tracker.probe.set_parameters(NODE, design=design).successful
        beams = tracker.beams.wait(lambda m: m.design == design and list(m.user_ids) == ['u1'],
                                   count=2)[-1]
        bounds, = tracker.bounds.wait(lambda m: m.sequence == beams.sequence)
        status, = tracker.status.wait(lambda m: m.sequence == beams.sequence)
        return bounds, status

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        nominal, status = objectives('crb-min')
        region, _ = objectives('crb-min-region')
    finally:
        stop.set()
        thread.join()
        assert tracker.probe.set_parameters(NODE, design='').successful
    entry, = nominal.entries
    assert (entry.field, status.users[0].field) == (entry.FIELD_NEAR, entry.FIELD_FAR)
    assert nominal.objective == pytest.approx(nominal.sum_crb, rel=1e-9)
    # The average is its objective, and not the bound in the middle, where it gives some away.
    assert abs(region.objective / region.sum_crb - 1) > 0.01
    assert region.sum_crb > nominal.sum_crb * 1.001


def test_poses_begin_cycles(tracker):
    tracker.status.wait()
    period = 5.0
    assert tracker.probe.set_parameters(NODE, rate_hz=1 / period, trigger='pose').successful
    try:
        begun = []
        for _ in range(4):
            # One message for each pose: two that come apart on a loaded machine are two cycles.
            stamp = tracker.send({(Role.USER, 'u1'): U1})
            beams, = tracker.beams.wait(
                lambda m, stamp=stamp: abs(seconds(m.design_stamp) - stamp) < 1e-6)
            begun.append(seconds(beams.cycle_stamp))
        # The clock alone would have begun one of them.
        assert begun[-1] - begun[0] < period
        without_poses_the_clock_goes_on(tracker, 'pose')
    finally:
        assert tracker.probe.set_parameters(NODE, rate_hz=math.nan, trigger='pose').successful


def test_the_clock_begins_cycles(tracker):
    tracker.status.wait()
    assert tracker.probe.set_parameters(NODE, rate_hz=1.0, trigger='timer').successful
    try:
        begun = time.monotonic()
        tracker.beams.clear()
        for _ in range(4):
            tracker.send({(Role.USER, 'u1'): U1})
            time.sleep(0.3)
        tracker.beams.wait(lambda m: list(m.user_ids) == ['u1'])
        stamps = {seconds(m.design_stamp) for m in tracker.beams.messages}
        # Two where the machine is in time; poses beyond one a period get no beams of their own.
        assert len(stamps) <= math.floor(time.monotonic() - begun) + 1
        without_poses_the_clock_goes_on(tracker, 'timer')
    finally:
        assert tracker.probe.set_parameters(NODE, rate_hz=math.nan, trigger='pose').successful


def without_poses_the_clock_goes_on(tracker, trigger):
    """Where they are too old, the status says so."""
    assert tracker.probe.set_parameters(NODE, rate_hz=math.nan, trigger=trigger).successful
    status, = tracker.status.wait(lambda m: m.fallback_reason == 'tracks-dropped')
    assert {body.state for body in status.tracks} == {2}


def test_deactivation_stops_publishing_and_activation_starts_anew(tracker):
    tracker.follow({'t1': T1}, {'u1': U1})
    tracker.beams.wait(count=5)
    assert tracker.probe.change_state(NODE, 'deactivate')
    time.sleep(0.5)   # what was on its way arrives
    count = len(tracker.beams.messages), len(tracker.status.messages)
    time.sleep(0.4)
    assert (len(tracker.beams.messages), len(tracker.status.messages)) == count
    tracker.beams.clear()
    assert tracker.probe.change_state(NODE, 'activate')
    assert tracker.beams.wait()[0].sequence == 1


def test_life_cycle(node, shared_probe):
    assert shared_probe.state(NODE) == 'unconfigured'
    # rclpy answers no request for a transition that there is not; the node must survive it.
    with pytest.raises(AssertionError, match='no answer'):
        shared_probe.change_state(NODE, 'activate', 1.0)
    assert shared_probe.state(NODE) == 'unconfigured'
    assert shared_probe.change_state(NODE, 'configure')
    assert shared_probe.state(NODE) == 'inactive'
    assert shared_probe.change_state(NODE, 'cleanup')
    assert shared_probe.state(NODE) == 'unconfigured'
