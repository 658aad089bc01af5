"""The whole graph as real processes, started by the command as a user would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
import json
import math
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402

from nf_isac_msgs.msg import Beamformer, CrbArray, DesignStatus, RadioStatus  # noqa: E402
from nf_isac_ros.demo.graph import environment, reserved_domain  # noqa: E402
from nf_isac_ros.recording.reader import Recording  # noqa: E402

NODES = ('beamformer', 'radio_driver', 'scenario', 'markers', 'bag_recorder')
# Start, stop and pictures, on a machine that does other things as well [s].
OVERHEAD = 90.0
RECORDINGS = Path(__file__).parents[2].parent / 'shared' / 'data' / 'recordings'


@contextmanager
def demo(out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run a demo in a domain of its own; nothing of it is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'nf_isac_ros.cli', 'demo', '--out', str(out), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()   # the guard ends the nodes
        process.wait()
        process.stdout.close()


@pytest.fixture
def own_domain(monkeypatch) -> Iterator[int]:
    """ROS domain that this test and the processes that it starts have to themselves."""
    monkeypatch.delenv('ROS_DOMAIN_ID', raising=False)
    with reserved_domain() as domain:
        for name, value in environment(os.environ, domain).items():
            monkeypatch.setenv(name, value)
        yield domain


class Listener:
    """What a node of somebody else hears of the graph."""

    TYPES = {'beamformer': Beamformer, 'crb': CrbArray, 'status': DesignStatus,
             'radio/status': RadioStatus}

    def __init__(self, domain: int) -> None:
        self.heard: dict[str, list] = {topic: [] for topic in self.TYPES}
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, domain_id=domain)
        self.node = rclpy.create_node('listener', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        for topic, kind in self.TYPES.items():
            self.node.create_subscription(
                kind, topic, self.heard[topic].append, QoSProfile(depth=50))

    def spin_until(self, condition, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            self._executor.spin_once(timeout_sec=0.05)
        return False

    def state_of(self, node: str) -> str:
        client = self.node.create_client(GetState, f'{node}/get_state')
        assert self.spin_until(client.service_is_ready, 10.0)
        future = client.call_async(GetState.Request())
        assert self.spin_until(future.done, 10.0)
        return future.result().current_state.label

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def listener(own_domain) -> Iterator[Listener]:
    made = Listener(own_domain)
    yield made
    made.close()


def wait_for(listener: Listener, process: subprocess.Popen[str], condition) -> None:
    """Wait for a condition on what was heard; a demo that ends before says why."""
    met = listener.spin_until(lambda: condition() or process.poll() is not None, OVERHEAD)
    assert process.poll() is None, process.stdout.read()
    assert met


def children(pid: int) -> dict[str, int]:
    """Nodes that a process has started: name -> process id."""
    found = {}
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / 'stat').read_text().rpartition(')')[2].split()[1])
                words = (entry / 'cmdline').read_bytes().decode().split('\0')
            except (OSError, ValueError):
                continue
            names = {Path(word).name for word in words[:2]} & set(NODES)
            if parent == pid and names:
                found[names.pop()] = int(entry.name)
    return found


def summary_of(out: Path) -> dict:
    return json.loads((out / 'summary.json').read_text())


@pytest.mark.timeout(200)
def test_the_built_in_scene_goes_from_poses_to_beams(tmp_path, listener):
    out = tmp_path / 'out'
    with demo(out, '--duration', '6') as process:
        wait_for(listener, process, lambda: listener.heard['beamformer'] and any(
            not status.muted for status in listener.heard['radio/status']))
        assert listener.state_of('beamformer') == 'active'
        assert listener.state_of('radio_driver') == 'active'
        started = children(process.pid)
        assert set(started) == set(NODES)
        wait_for(listener, process, lambda: len(listener.heard['beamformer']) > 8)
        printed, _ = process.communicate(timeout=OVERHEAD)
    assert process.returncode == 0, printed
    assert 'all conditions met' in printed
    assert '\x1b' not in printed
    assert not [pid for pid in started.values() if Path(f'/proc/{pid}').exists()]

    _check_messages(listener.heard)
    summary = summary_of(out)
    assert summary['verdict'] == {'passed': True, 'reasons': []}
    assert summary['duration_s'] == pytest.approx(6.0, abs=0.5)
    assert summary['cycles'] >= 6 and summary['rate_hz'] == pytest.approx(
        summary['cycles'] / summary['duration_s'])
    assert summary['sinr_violations'] == summary['power_violations'] == 0
    assert summary['radio']['applied'] > 0.9 * summary['designs'] - 2
    assert [user['id'] for user in summary['users']] == ['u1', 'u2']
    assert [target['id'] for target in summary['targets']] == ['t1', 't2']
    for target in summary['targets']:
        assert 0 < target['root_crb_m']['p50'] < target['isotropic_root_crb_m']['p50'] < 10
    assert summary['nodes_died'] == []

    for name in ('scene.png', 'timeline.png'):
        assert (out / name).read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
        assert (out / name).stat().st_size > 20_000
    assert {path.stem for path in (out / 'logs').glob('*.log')} == set(NODES)
    _check_recording(out / 'recording', summary)


CLOSED_LOOP = """
world_frame: map
array:
  upa: {elements: [16, 16], spacing_wavelengths: 0.5}
  position_m: [0.0, 0.0, 1.5]
  orientation_xyzw: [-0.7071068, 0.0, 0.0, 0.7071068]
receive_array: same
radio:
  carrier_hz: 2.8e+10
  power_w: 1.0
  symbols: 10000
  user_noise_w: 1.0e-8
  sensing_noise: {power_w: 1.0e-14}
design: {name: crb-min, rate_hz: 10, budget_ms: 60, gap: 1.0e-3}
tracking: {predict_s: 0.5, drop_s: 2.0, max_clock_skew_s: 0.05}
bodies:
  - {id: u1, role: user, min_sinr_db: 10, motion: {fixed: {position_m: [-1.0, 3.0, 1.4]}}}
  - id: t1
    role: target
    motion: {waypoints: {points_m: [[0.0, 2.5, 1.0], [1.0, 2.5, 1.0]], speed: 0.2}}
"""


@pytest.mark.timeout(200)
def test_a_target_is_tracked_by_its_echoes_alone(tmp_path, own_domain):
    out, deployment = tmp_path / 'out', tmp_path / 'small.yaml'
    deployment.write_text(CLOSED_LOOP)
    with demo(out, '--loop', 'closed', '--config', str(deployment), '--duration', '4') as process:
        printed, _ = process.communicate(timeout=OVERHEAD)
    # Whether the loop keeps up is a matter of the machine; what is seen has to be right.
    summary = summary_of(out)
    assert summary['nodes_died'] == [], printed
    for log in (out / 'logs').glob('*.log'):
        assert 'a callback failed' not in log.read_text()
    target = summary['loop']['t1']
    assert target['seen'] > 5, printed
    assert target['lost_s'] < 0.5 * summary['duration_s'], printed
    assert 0 < target['root_crb_m'] < 0.02
    assert target['rmse_m'] < 0.2
    assert set(summary['loop_designs']) == {
        'crb-min', 'isotropic', 'max-min-illumination', 'zero-forcing'}
    for design in summary['loop_designs'].values():
        assert 0.3 < design['t1']['echo_rmse_m'] / design['t1']['root_crb_m'] < 2.0
    for name in ('loop.png', 'designs.png', 'latency.png'):
        assert (out / name).stat().st_size > 20_000


def _check_messages(heard: dict[str, list]) -> None:
    for beams in heard['beamformer']:
        assert beams.n_elements == 2304
        weights = np.frombuffer(beams.weights, np.float32).view(np.complex64)
        assert weights.size == beams.n_elements * (beams.n_users + beams.n_sensing)
        power = float(np.vdot(weights.astype(complex), weights).real)
        assert power == pytest.approx(beams.power, rel=1e-5)
        assert power <= beams.power_limit * (1 + 1e-6)
    sequences = [beams.sequence for beams in heard['beamformer']]
    assert sequences == sorted(set(sequences))
    for status in heard['status']:
        if status.outcome in (DesignStatus.OUTCOME_OPTIMAL, DesignStatus.OUTCOME_EARLY):
            assert all(user.sinr_db >= user.required_sinr_db - 0.01 for user in status.users)
            assert status.bound <= status.objective
        else:
            assert status.fallback_reason
    for crb in heard['crb']:
        for entry in crb.entries:
            matrix = np.array(entry.covariance).reshape(3, 3)
            assert entry.crb == pytest.approx(np.trace(matrix), rel=1e-9)


def _check_recording(folder: Path, summary: dict) -> None:
    with Recording(folder) as recording:
        assert recording.notes == []
        counts = Counter(message.topic for message in recording.raw_messages())
    # The recorder was there before the window began, and after it ended.
    # A machine that is too busy may have cost it a message or two.
    assert counts['/status'] >= 0.95 * summary['cycles']
    assert counts['/beamformer'] >= 0.95 * summary['designs']
    for topic in ('/crb', '/radio/status', '/targets', '/users', '/truth/targets',
                  '/truth/users'):
        assert counts[topic] > 0, topic


@pytest.mark.timeout(200)
def test_an_extended_target_goes_from_tracks_to_bounds(tmp_path, own_domain):
    out = tmp_path / 'out'
    with demo(out, '--scenario', 'vehicle', '--duration', '5') as process:
        printed, _ = process.communicate(timeout=OVERHEAD)
    assert process.returncode == 0, printed
    assert 'orientation' in printed
    summary = summary_of(out)
    assert summary['sinr_violations'] == summary['power_violations'] == 0
    car, post = summary['targets']
    assert (car['id'], post['id']) == ('car', 'post')
    assert car['designs'] == post['designs'] > 0
    assert car['not_identifiable'] == 0
    for key in ('range_bound_m', 'direction_bound_rad', 'orientation_bound_rad'):
        assert 0 < car[key]['p50'] < 0.2
        assert key not in post
    # The centre moves by range, and across by direction times range: 9 to 15 m here.
    along, across = (car[key]['p50'] for key in ('range_bound_m', 'direction_bound_rad'))
    assert 0.7 * math.hypot(along, 9.0 * across) < car['root_crb_m']['p50']
    assert car['root_crb_m']['p50'] < 1.4 * math.hypot(along, 15.5 * across)
    assert car['root_crb_m']['p50'] < car['isotropic_root_crb_m']['p50']
    kinds = set()
    with Recording(out / 'recording') as recording:
        for _, _, _, message in recording.messages(['/crb']):
            kinds |= {(entry.id, entry.kind, len(entry.parameters)) for entry in message.entries}
    assert kinds == {('car', 1, 6), ('post', 0, 3)}


@pytest.mark.timeout(200)
def test_nodes_that_die_are_named_started_again_and_fail_the_demo(tmp_path, listener):
    out = tmp_path / 'out'
    with demo(out, '--duration', '40') as process:
        # Before it measures, beams or not, there is no time of death.
        assert any(line.startswith('measuring') for line in process.stdout)
        wait_for(listener, process, lambda: len(listener.heard['beamformer']) > 3)
        first = children(process.pid)
        for name in ('markers', 'radio_driver'):
            os.kill(first[name], signal.SIGKILL)
        wait_for(listener, process, lambda: not (set(first) - set(children(process.pid))) and (
            children(process.pid)['radio_driver'] != first['radio_driver']))
        listener.heard['radio/status'].clear()
        # It boots disarmed and muted; the demo arms it, and the beamformer has gone on.
        wait_for(listener, process, lambda: any(
            status.state == RadioStatus.STATE_TRANSMITTING and not status.muted
            for status in listener.heard['radio/status']))
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=OVERHEAD)
    assert 'NOT MET: markers died: killed by SIGKILL' in printed
    assert 'NOT MET: radio_driver died: killed by SIGKILL' in printed
    summary = summary_of(out)
    assert {death['node'] for death in summary['nodes_died']} == {'markers', 'radio_driver'}
    for death in summary['nodes_died']:
        # One that has just been started again may not be far enough to end cleanly.
        assert death['signal'] == 'SIGKILL' or 'when asked to stop' in death['cause']
        assert math.isfinite(death['time_s'])
    assert summary['nodes_restarted'] == {'markers': 1, 'radio_driver': 1}
    assert summary['designs'] > 0


@pytest.mark.timeout(200)
def test_ctrl_c_writes_what_there_is(tmp_path, own_domain):
    out = tmp_path / 'out'
    with demo(out, '--duration', '600') as process:
        # Before it measures there is nothing to draw.
        assert any(line.startswith('measuring') for line in process.stdout)
        started = children(process.pid)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=OVERHEAD)
    assert process.returncode == 130, printed
    assert not [pid for pid in started.values() if Path(f'/proc/{pid}').exists()]
    summary = summary_of(out)
    assert summary['interrupted'] is True
    assert summary['nodes_died'] == []
    assert (out / 'scene.png').exists()
    with Recording(out / 'recording') as recording:
        assert recording.notes == []


@pytest.mark.timeout(200)
def test_a_node_that_cannot_start_ends_the_demo_with_its_words(tmp_path, own_domain):
    out = tmp_path / 'out'
    with demo(out, '--duration', '4', '--set', 'markers.rate_hz=-3.0') as process:
        printed, _ = process.communicate(timeout=OVERHEAD)
    assert process.returncode == 1, printed
    assert 'NOT MET: markers died: exit code 1' in printed
    assert 'rate_hz' in printed
    assert summary_of(out)['nodes_died'][0]['time_s'] is None


@pytest.mark.timeout(200)
def test_a_recording_with_a_cut_is_predicted_then_dropped(tmp_path, own_domain):
    bag = RECORDINGS / 'mrclam7_5robots_vicon'
    if not bag.exists():
        pytest.skip(f'{bag} is not there')
    out = tmp_path / 'out'
    with demo(out, '--bag', str(bag), '--duration', '6',
              '--cut', '/vicon/robot4/pose:2:2') as process:
        printed, _ = process.communicate(timeout=OVERHEAD)
    assert process.returncode == 0, printed
    summary = summary_of(out)
    assert [user['id'] for user in summary['users']] == ['u1', 'u2', 'u3']
    cut, whole = summary['targets']
    # 2 s of silence at some 5 cycles a second, dropped after 0.5 s.
    assert cut['cycles']['dropped'] >= 3
    assert whole['cycles']['dropped'] == 0
    assert cut['designs'] < whole['designs']
