"""The radio driver as a process: what it takes, when it mutes, and what users really see."""

import json
import time

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

from builtin_interfaces.msg import Time  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from small_bag import write_deployment  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from nf_isac_msgs.msg import (  # noqa: E402
    Beamformer,
    DesignStatus,
    RadioStatus,
    TrackArray,
    UserStatus,
)
from nf_isac_ros.conversions.messages import track_array_message  # noqa: E402
from nf_isac_ros.core.tracking import PoseSample, Role  # noqa: E402
from nf_isac_ros.files.deployment import load_deployment  # noqa: E402
from nf_isac_ros.nodes.qos import TRACKS  # noqa: E402

LATCHED = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
USER = np.array([0.5, 3.0, 1.5])


def stamp(nanoseconds):
    return Time(sec=nanoseconds // 10 ** 9, nanosec=nanoseconds % 10 ** 9)


@pytest.fixture
def deployment(tmp_path):
    return load_deployment(write_deployment(tmp_path))


class Radio:
    """A driver process with what the tests say to it."""

    def __init__(self, graph, probe, deployment, namespace='', **parameters):
        self.probe = probe
        self.deployment = deployment
        self.node = graph.start(
            'radio_driver', {'deployment_file': deployment.path, 'autoarm': True, **parameters},
            ['-r', f'__ns:={namespace}'] if namespace else ())
        self.status = probe.collect(RadioStatus, f'{namespace}/radio/status', LATCHED)
        probe.activate(f'{namespace}/radio_driver')
        self.beams = probe.publisher(Beamformer, f'{namespace}/beamformer')
        self.truth = probe.publisher(TrackArray, f'{namespace}/truth/users', TRACKS)

    def message(self, sequence, lease=1.0, power=1.0, now=None, **changes):
        """All power in phase at the user, by the spherical wave written out."""
        array, wavelength = self.deployment.transmit_array, self.deployment.radio.wavelength
        distance = np.linalg.norm(array.positions - USER, axis=1)
        weights = np.exp(2j * np.pi * distance / wavelength) * np.sqrt(power / len(array))
        now = self.probe.node.get_clock().now().nanoseconds if now is None else now
        fields = {
            'sequence': sequence, 'publish_stamp': stamp(now), 'design_stamp': stamp(now),
            'oldest_track_stamp': stamp(now),
            'valid_until': stamp(now + round(1e9 * lease)), 'user_ids': ['u1'],
            'n_elements': len(array), 'n_users': 1, 'n_sensing': 0, 'power': power,
            'wavelength': wavelength, 'layout_hash': array.layout_hash, **changes}
        message = Beamformer(**fields)
        if 'weights' not in changes:
            message.weights.frombytes(weights.astype(np.complex64).tobytes())
        return message

    def send(self, *args, **keywords):
        self.beams.publish(self.message(*args, **keywords))

    def tell_truth(self, position=USER, velocity=(0.0, 0.0, 0.0)):
        now = self.probe.now()
        self.truth.publish(track_array_message(
            [PoseSample('u1', Role.USER, now, position, np.array(velocity))], now, 'map'))

    @property
    def focused_sinr_db(self):
        """SINR at the focus: all amplitudes add, and there is no interference."""
        array, radio = self.deployment.transmit_array, self.deployment.radio
        distance = np.linalg.norm(array.positions - USER, axis=1)
        amplitude = (radio.wavelength / (4 * np.pi * distance)).sum() / np.sqrt(len(array))
        return 10 * np.log10(amplitude ** 2 / radio.user_noise)


@pytest.fixture
def make(graph, probe, deployment):
    return lambda **parameters: Radio(graph, probe, deployment, **parameters)


def test_user_sees_the_sinr_of_its_true_place(make):
    radio = make()
    (first,) = radio.status.wait()
    assert (first.armed, first.muted, first.mute_reason) == (True, True, 'no-beams-yet')
    radio.tell_truth()
    radio.send(1, power=0.5)
    (status,) = radio.status.wait(lambda m: m.applied == 1 and not np.isnan(m.users[0].sinr_db))
    (user,) = status.users
    assert (user.id, user.required_sinr_db) == ('u1', 10)
    assert user.sinr_db == pytest.approx(radio.focused_sinr_db - 3.0103, abs=0.01)
    assert not status.muted
    assert (status.last_sequence, status.dropped, status.late) == (1, 0, 0)
    assert status.power == pytest.approx(0.5)
    assert status.power_limit == 1.0
    assert status.max_element_power == pytest.approx(0.5 / 64)
    assert status.eirp == pytest.approx(0.5 * 64)
    # Half a metre away the focus is missed.
    radio.tell_truth(USER + [0.5, 0, 0])
    radio.send(2, power=0.5)
    radio.status.wait(lambda m: m.users[0].sinr_db < radio.focused_sinr_db - 10)
    assert radio.node.stop() == 0


def test_truth_is_predicted_to_now_and_then_not_known(make):
    radio = make()
    radio.send(1, lease=1.9)
    radio.status.wait(lambda m: not m.muted)
    # It runs to the focus at 5 m/s, and the last that is heard of it is a metre before.
    for away in (1.5, 1.25, 1.0):
        radio.tell_truth(USER - [away, 0, 0], (5.0, 0.0, 0.0))
        time.sleep(0.05)
    radio.status.wait(lambda m: not m.muted and m.users[0].sinr_db < radio.focused_sinr_db - 6)
    radio.status.wait(lambda m: m.users[0].sinr_db > radio.focused_sinr_db - 0.5)
    radio.status.clear()
    (lost,) = radio.status.wait(lambda m: np.isnan(m.users[0].sinr_db))
    assert not lost.muted, 'that the truth is not known does not mute'


def test_lease_ends_by_itself(make):
    radio = make()
    radio.tell_truth()
    radio.send(1, lease=0.3)
    (on,) = radio.status.wait(lambda m: not m.muted)
    (off,) = radio.status.wait(lambda m: m.muted and m.applied == 1)
    assert off.mute_reason == 'lease-over'
    assert off.power == off.eirp == off.max_element_power == 0.0
    assert np.isnan(off.users[0].sinr_db)
    end = radio.status.messages.index(off)
    last_on = radio.status.messages[end - 1]

    def time_of(message):
        return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec

    assert time_of(last_on) - time_of(on) < 0.3
    assert time_of(off) - time_of(on) > 0.2


def test_stopped_clock_does_not_keep_it_on_the_air(graph, probe, deployment):
    clock = probe.node.create_publisher(Clock, '/clock', 10)
    node = graph.start('radio_driver', {
        'deployment_file': deployment.path, 'use_sim_time': True, 'autoarm': True})
    status = probe.collect(RadioStatus, 'radio/status', LATCHED)
    probe.activate('/radio_driver')
    beams = probe.publisher(Beamformer, 'beamformer')
    probe.wait_until(lambda: clock.get_subscription_count() > 0, 'the clock is heard')
    now = 5000 * 10 ** 9
    for _ in range(5):
        clock.publish(Clock(clock=stamp(now)))
        time.sleep(0.02)
    status.wait(lambda m: m.header.stamp.sec == 5000)
    radio = Radio.__new__(Radio)
    radio.probe, radio.deployment = probe, deployment
    beams.publish(radio.message(1, lease=0.5, now=now))
    begin = time.monotonic()
    status.wait(lambda m: not m.muted)
    (off,) = status.wait(lambda m: m.applied == 1 and m.muted)
    assert 0.3 < time.monotonic() - begin < 2.0
    assert off.header.stamp.sec == 5000, 'the clock stood still all the time'
    assert off.mute_reason == 'lease-over'
    assert node.stop() == 0


@pytest.mark.parametrize(('changes', 'reason'), [
    ({'n_elements': 63}, 'bad-shape'),
    ({'weights': []}, 'bad-shape'),
    ({'user_ids': []}, 'bad-shape'),
    ({'weights': [float('nan')] * 128}, 'not-finite'),
    ({'power': 1.5}, 'power-exceeded'),
    ({'layout_hash': 'other'}, 'layout-mismatch'),
    ({'wavelength': 0.02}, 'wrong-wavelength'),
    ({'lease': 100.0}, 'lease-too-long'),
    ({'lease': -1.0}, 'bad-lease'),
    ({'now': 0}, 'too-old'),
    ({'sequence': 1}, 'sequence-regression'),
], ids=['rows', 'no weights', 'no ids', 'nan', 'power', 'layout', 'wavelength', 'long lease',
        'negative lease', 'old', 'regression'])
def test_wrong_beams_are_refused_whole_and_the_last_good_ones_stay(
        radio_for_all, changes, reason):
    radio = radio_for_all
    sequence = radio.next()
    radio.send(sequence)
    (good,) = radio.status.wait(lambda m: m.last_sequence == sequence and not m.muted)
    radio.send(**{'sequence': radio.next(), **changes})

    def refused(message):
        return {count.reason: count.count for count in message.rejected}.get(reason, 0)

    (status,) = radio.status.wait(lambda m: refused(m) > refused(good))
    assert status.last_sequence == sequence
    assert not status.muted


@pytest.fixture(scope='module')
def _shared(tmp_path_factory, domain, request):
    """One driver for all wrong beams: starting one takes a second."""
    conftest = request.config.pluginmanager
    module = next(p for p in conftest.get_plugins()
                  if getattr(p, '__file__', '') and p.__file__.endswith('nodes/conftest.py'))
    folder = tmp_path_factory.mktemp('radio')
    graph, probe = module.Graph(folder), module.Probe()
    try:
        radio = Radio(
            graph, probe, load_deployment(write_deployment(folder)), namespace='/shared')
        numbers = iter(range(1, 1000))
        radio.next = lambda: next(numbers)
        yield radio
    finally:
        graph.close()
        probe.close()


@pytest.fixture
def radio_for_all(_shared):
    return _shared


def test_late_and_dropped_are_counted(make):
    radio = make()
    radio.send(1, lease=1.5)
    radio.send(4, lease=1.5)
    # Published 0.3 s ago with a lease of 0.2 s: it came too late.
    radio.send(5, lease=0.2, now=radio.probe.node.get_clock().now().nanoseconds)
    (status,) = radio.status.wait(lambda m: m.applied >= 2)
    assert status.dropped == 2
    now = radio.probe.node.get_clock().now().nanoseconds
    radio.beams.publish(radio.message(6, lease=0.0001, now=now - 1000))
    (late,) = radio.status.wait(lambda m: m.late == 1)
    assert late.last_sequence == 5


def limited(graph, probe, tmp_path, limits, **parameters):
    """Driver of a deployment with limits."""
    path = write_deployment(tmp_path)
    # Poses count for longer than a loaded machine takes from one step of a test to the next.
    path.write_text(f'{path.read_text()}\nlimits: {json.dumps(limits)}\n'
                    'tracking: {predict_s: 1.5, drop_s: 3.0}\n')
    return Radio(graph, probe, load_deployment(path), **parameters)


def test_excess_of_a_cap_is_turned_down_told_and_latches_when_it_repeats(graph, probe, tmp_path):
    # 1 / 64 W an element.
    radio = limited(graph, probe, tmp_path, {'element_power_w': 0.01}, excess_count=3)
    designs = probe.publisher(DesignStatus, 'status')
    # Several times: a publisher may see a subscriber before it is seen.
    for _ in range(5):
        radio.tell_truth()
        designs.publish(DesignStatus(sequence=1, users=[
            UserStatus(id='u1', required_sinr_db=10.0, sinr_db=12.0)]))
        time.sleep(0.1)
    radio.send(1)
    (status,) = radio.status.wait(lambda m: m.applied == 1 and not np.isnan(m.users[0].sinr_db))
    assert status.scale == pytest.approx(0.64, rel=1e-4)
    assert list(status.limited_by) == ['element-power']
    assert status.max_element_power == pytest.approx(0.01, rel=1e-4)
    assert (status.element_power_limit, status.power_limit) == (0.01, 1.0)
    assert np.isnan(status.eirp_limit)
    loss = 10 * np.log10(0.64)
    assert status.users[0].sinr_db == pytest.approx(radio.focused_sinr_db + loss, abs=0.01)
    assert status.designed_users[0].sinr_db == pytest.approx(12.0 + loss, abs=1e-3)
    radio.send(2, power=0.5)
    (whole,) = radio.status.wait(lambda m: m.last_sequence == 2)
    assert (whole.scale, list(whole.limited_by)) == (1.0, [])
    radio.send(3)
    radio.send(4)
    (fault,) = radio.status.wait(lambda m: m.faults)
    assert (fault.state, fault.muted) == (RadioStatus.STATE_FAULT, True)
    assert [entry.name for entry in fault.faults] == ['repeated-excess']
    assert {count.reason: count.count for count in fault.limited} == {'element-power': 3}
    assert probe.call(SetBool, 'radio/arm', SetBool.Request(data=True)).message == (
        'armed; muted by repeated-excess until radio/reset')
    assert probe.call(Trigger, 'radio/reset', Trigger.Request()).message == (
        'cleared repeated-excess')
    radio.send(5, power=0.5)
    radio.status.wait(lambda m: m.last_sequence == 5 and not m.muted)


def test_people_are_kept_clear(graph, probe, tmp_path):
    radio = limited(graph, probe, tmp_path, {'keep_out': [
        # The body has its antenna half a metre above its pose.
        {'name': 'person', 'body': 'u1', 'offset_m': [0, 0, -0.5], 'radius_m': 0.2,
         'density_w_m2': 0.05}]}, max_lease_s=10.0, max_track_age_s=20.0,
        designer_timeout_s=60.0)
    tracks = probe.publisher(TrackArray, 'users', TRACKS)

    def stand(position):
        now = probe.now()
        tracks.publish(track_array_message(
            [PoseSample('u1', Role.USER, now, np.array(position),
                        orientation_xyzw=(0.0, 0.0, 0.0, 1.0))], now, 'map'))
        time.sleep(0.1)

    radio.send(1, lease=9.0)
    (unknown,) = radio.status.wait(lambda m: m.held_back)
    assert (unknown.muted, unknown.mute_reason) == (True, 'keep-out-unknown')
    stand([0.5, 60.0, 1.5])
    radio.send(2, lease=9.0)
    (far,) = radio.status.wait(lambda m: m.last_sequence == 2)
    assert far.scale == 1.0
    assert far.keep_out[0].name == 'person (u1)'
    # Into the focus, while those beams are on the air.
    stand(USER)
    (near,) = radio.status.wait(lambda m: m.last_sequence == 2 and m.scale < 1.0)
    assert list(near.limited_by) == ['keep-out']
    assert near.keep_out[0].density <= near.keep_out[0].limit == 0.05
    assert near.power == pytest.approx(near.scale, rel=1e-3)
    # All 64 elements in phase at 3 m and nearer: 64 / (4 pi 2.7^2) W/m^2 of 1 W at the most.
    focus = 1.0 * 64 / (4 * np.pi * 3.08 ** 2)
    assert 0.05 / (64 / (4 * np.pi * 2.7 ** 2)) < near.scale < 0.05 / focus
    # Nothing is heard of them any more: somewhere.
    (lost,) = radio.status.wait(lambda m: m.last_sequence == 2 and m.muted)
    assert lost.mute_reason == 'keep-out-unknown'


def test_arming_is_a_service(make):
    radio = make(autoarm=False)
    (status,) = radio.status.wait()
    assert (status.armed, status.mute_reason) == (False, 'not-armed')
    assert status.state == RadioStatus.STATE_DISARMED
    radio.send(1)
    time.sleep(0.2)
    assert radio.status.messages[-1].muted
    assert radio.status.messages[-1].applied == 0
    arm = radio.probe.call(SetBool, 'radio/arm', SetBool.Request(data=True))
    assert arm.success
    radio.status.wait(lambda m: m.armed and m.muted and m.mute_reason == 'no-beams-yet')
    radio.send(2)
    radio.status.wait(lambda m: m.last_sequence == 2 and not m.muted)
    assert radio.probe.call(SetBool, 'radio/arm', SetBool.Request(data=False)).success
    radio.status.wait(lambda m: m.last_sequence == 2 and m.muted
                      and m.mute_reason == 'not-armed')


def test_deactivation_mutes_and_activation_starts_anew(make):
    radio = make()
    radio.send(1, lease=1.9)
    radio.status.wait(lambda m: not m.muted)
    assert radio.probe.change_state('/radio_driver', 'deactivate')
    (last,) = radio.status.wait(lambda m: not m.armed)
    assert (last.muted, last.mute_reason) == (True, 'not-armed')
    count = len(radio.status.messages)
    time.sleep(0.2)
    assert len(radio.status.messages) == count, 'an inactive node is silent'
    assert not radio.probe.call(SetBool, 'radio/arm', SetBool.Request(data=True)).success
    radio.status.clear()
    assert radio.probe.change_state('/radio_driver', 'activate')
    (status,) = radio.status.wait(lambda m: m.armed)
    assert (status.muted, status.applied) == (True, 0)
    assert radio.probe.change_state('/radio_driver', 'deactivate')
    assert radio.probe.change_state('/radio_driver', 'cleanup')
    radio.probe.activate('/radio_driver')
    assert radio.probe.change_state('/radio_driver', 'shutdown')
    assert radio.node.stop() == 0


@pytest.mark.parametrize(('parameters', 'words'), [
    ({}, 'deployment_file'),
    ({'deployment_file': '/nowhere.yaml'}, '/nowhere.yaml'),
    ({'deployment_file': 'x.yaml', 'backend': 'zmk'}, "'zmk'"),
], ids=['no file', 'missing file', 'backend'])
def test_wrong_parameter_ends_the_node_with_one_line(graph, parameters, words):
    node = graph.start('radio_driver', parameters)
    assert node.wait() == 1
    (fatal,) = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert words in fatal
    assert 'Traceback' not in node.log
