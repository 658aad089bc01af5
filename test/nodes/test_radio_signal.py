"""The radio driver as a process: front end, receivers and sample streams as others see them."""

import socket
import time

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

import sigmf  # noqa: E402
from small_bag import DEPLOYMENT, write_deployment  # noqa: E402
from test_radio_driver import Radio  # noqa: E402
import zmq  # noqa: E402

from nf_isac_msgs.msg import DesignStatus, TrackArray, UserStatus  # noqa: E402
from nf_isac_ros.conversions.messages import track_array_message  # noqa: E402
from nf_isac_ros.core.tracking import PoseSample, Role  # noqa: E402
from nf_isac_ros.files.deployment import load_deployment  # noqa: E402
from nf_isac_ros.nodes.qos import TRACKS  # noqa: E402

TARGET = np.array([-0.4, 2.5, 1.2])


@pytest.fixture
def make(graph, probe, tmp_path):
    def start(section, **parameters):
        deployment = load_deployment(
            write_deployment(tmp_path, f'{DEPLOYMENT}radio_backend: {section}\n'))
        return Radio(graph, probe, deployment, **parameters)
    return start


def test_what_users_measure_and_what_quantisation_costs_is_published(make, probe, tmp_path):
    gains = np.exp(1j * np.linspace(0, 5, 64))
    np.savez(tmp_path / 'cal.npz', gains=gains, epoch=9)
    radio = make('{front_end: {calibration: cal.npz, phase_bits: 2}, '
                 'simulated: {receiver_symbols: 4000}}', measure_rate_hz=20.0)
    (first,) = radio.status.wait()
    assert first.signal.calibration_epoch == 9
    assert not first.signal.users and np.isnan(first.signal.sum_crb)
    targets = probe.publisher(TrackArray, '/truth/targets', TRACKS)
    designs = probe.publisher(DesignStatus, '/status')
    designs.publish(DesignStatus(sequence=1, users=[UserStatus(id='u1', sinr_db=12.5)]))

    def tell():
        now = probe.now()
        radio.tell_truth()
        targets.publish(track_array_message(
            [PoseSample('t1', Role.TARGET, now, TARGET, np.zeros(3))], now, 'map'))

    def measured(message):
        users = message.signal.users
        return bool(users) and users[0].symbols > 0 and message.signal.sum_crb > 0

    tell()
    radio.send(1, lease=1.9)
    for _ in range(15):
        time.sleep(0.1)
        tell()
    radio.status.wait(measured)
    status = [m for m in radio.status.messages if measured(m)][-1]
    signal, (user,) = status.signal, status.signal.users
    assert signal.sequence == 1 and signal.stamp.sec > 0
    assert user.asked_sinr_db == pytest.approx(radio.focused_sinr_db, abs=0.01)
    assert user.sinr_db == pytest.approx(status.users[0].sinr_db, abs=0.01)
    # Two bits cost 0.9 dB on the mean over many elements.
    assert 0.3 < user.asked_sinr_db - user.sinr_db < 1.8
    assert user.designed_sinr_db == pytest.approx(12.5)
    assert user.symbols == 4000
    assert user.measured_sinr_low_db < user.measured_sinr_db < user.measured_sinr_high_db
    # Five standard deviations.
    assert user.measured_sinr_db == pytest.approx(
        user.sinr_db, abs=5 * (user.measured_sinr_high_db - user.measured_sinr_low_db) / 3.92)
    assert user.evm == pytest.approx(10 ** (-user.sinr_db / 20), rel=0.1)
    assert signal.asked_sum_crb > 0 and signal.asked_sum_crb != signal.sum_crb
    assert status.power == pytest.approx(1.0, rel=1e-4)
    # A message that assumes another calibration is refused.
    radio.send(2, calibration_epoch=8)
    radio.status.wait(lambda m: [c.reason for c in m.rejected] == ['calibration-mismatch'])


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_samples_stream_while_the_lease_lasts(make):
    address = f'tcp://127.0.0.1:{free_port()}'
    radio = make('{samples: {rows: [0, 9], sample_rate_hz: 1.0e+5, block_length: 500}, '
                 f"zmq: {{address: '{address}'}}}}", backend='zmq')
    context = zmq.Context()
    listener = context.socket(zmq.SUB)
    listener.setsockopt(zmq.LINGER, 0)
    listener.setsockopt(zmq.RCVTIMEO, 10_000)
    listener.setsockopt(zmq.SUBSCRIBE, b'')
    listener.connect(address)

    def samples():
        return np.frombuffer(listener.recv(), np.complex64).reshape(-1, 2)

    def wait_for(signal):
        for _ in range(2000):
            block = samples()
            if block.any() == signal:
                return block
        raise AssertionError('it never came')
    try:
        wait_for(False)
        radio.send(1, lease=0.5, power=0.64)
        block = wait_for(True)
        assert block.shape == (500, 2)
        # QPSK through one beam of equal amplitudes: the power of one of 64 elements, all the time.
        assert np.abs(block) == pytest.approx(np.full((500, 2), 0.1), rel=1e-3)
        ended = wait_for(False)
        assert not ended.any()
        (off,) = radio.status.wait(lambda m: m.muted and m.applied == 1)
        assert off.mute_reason == 'lease-over'
    finally:
        listener.close()
        context.term()
    assert radio.node.stop() == 0


def test_recording_tells_what_was_on_the_air(make, tmp_path):
    radio = make("{samples: {rows: streams, streams: 4, sample_rate_hz: 1.0e+4, "
                 "block_length: 50}, "
                 f"sigmf: {{path: '{tmp_path}/take'}}}}", backend='sigmf')
    radio.send(7, lease=1.5, design='crb-min')
    radio.status.wait(lambda m: not m.muted)
    radio.status.wait(lambda m: m.muted and m.applied == 1)
    time.sleep(0.5)   # the writer may be behind
    radio.send(9, lease=1.9, design='isotropic')
    radio.status.wait(lambda m: m.applied == 2 and not m.muted)
    time.sleep(1.0)
    assert radio.node.stop() == 0
    (meta,) = tmp_path.glob('take_*.sigmf-meta')
    recording = sigmf.fromfile(meta)
    recording.validate()
    told = [(a['core:label'], a.get('nf_isac:sequence'), a.get('nf_isac:design'))
            for a in recording.get_annotations()]
    assert told == [('beams', 7, 'crb-min'), ('muted', None, None), ('beams', 9, 'isotropic'),
                    ('muted', None, None)]
    assert len(recording.get_captures()) == 2
    assert recording.sample_count > 0


@pytest.mark.parametrize(('section', 'backend', 'words'), [
    ('{front_end: {phase_bits: 99}}', 'simulated',
     'radio_backend.front_end.phase_bits: is 99; must be from 0 to 16'),
    ('{front_end: {calibration: none.csv}}', 'simulated', 'none.csv: No such file'),
    ("{zmq: {address: 'tcp://1.2.3.4:5'}}", 'zmq', 'radio_backend.zmq.address: is'),
    ('{}', 'usrp', "backend is 'usrp', must be one of simulated, zmq, sigmf"),
], ids=['front_end', 'calibration', 'address', 'backend'])
def test_wrong_radio_is_named_in_one_line(graph, probe, tmp_path, section, backend, words):
    deployment = write_deployment(tmp_path, f'{DEPLOYMENT}radio_backend: {section}\n')
    node = graph.start('radio_driver', {'deployment_file': deployment, 'backend': backend})
    if backend != 'zmq':
        assert node.wait() != 0
    else:
        assert not probe.change_state('/radio_driver', 'configure', 60.0)
    (line,) = [line for line in node.log.splitlines() if words in line]
    assert 'Traceback' not in node.log
    assert 'FATAL' in line or 'ERROR' in line
