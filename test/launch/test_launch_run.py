"""The launch file, run by the real launch; skipped where there is none."""

import fcntl
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import time

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed (it is not on PyPI)')
rclpy = pytest.importorskip('rclpy', reason='no ROS environment')

from ament_index_python.packages import (  # noqa: E402
    PackageNotFoundError,
    get_package_share_directory,
)
from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

try:
    SHARE = get_package_share_directory('nf_isac_ros')
except PackageNotFoundError:
    pytest.skip('nf_isac_ros is not built and sourced', allow_module_level=True)

SCRIPT = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]),
    launch_arguments=[argument.split(':=', 1) for argument in sys.argv[2:]])]))
sys.exit(service.run())
"""


def begin_like_a_terminal():
    """Lead a process group of its own, in which Ctrl-C works."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Launched:
    """`ros2 launch nf_isac_ros nf_isac.launch.py ARGUMENTS`."""

    def __init__(self, log, *arguments):
        self.log_file = log
        with open(log, 'w') as stream:
            self.process = subprocess.Popen(
                [sys.executable, '-c', SCRIPT, f'{SHARE}/launch/nf_isac.launch.py', *arguments],
                stdout=stream, stderr=stream, preexec_fn=begin_like_a_terminal)

    def members(self):
        """Process ids of the group, the launch itself left out."""
        listing = subprocess.run(
            ['ps', '-ww', '-eo', 'pid=,pgid=,args='], capture_output=True, text=True).stdout
        rows = [line.split(None, 2) for line in listing.splitlines()]
        return {int(pid): command for pid, group, command in rows
                if int(group) == self.process.pid and int(pid) != self.process.pid}

    def stop(self):
        """Press Ctrl-C; return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)

    def close(self):
        """Leave nothing behind."""
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                pass
        for pid in [*self.members(), *([self.process.pid] if self.process.poll() is None else [])]:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def domain():
    """ROS domain that no other test on this machine uses; test/nodes has the same locks."""
    for number in range(10, 100):
        path = Path(tempfile.gettempdir()) / f'nf_isac_test_domain_{number}.lock'
        with open(path, 'w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield number
            return
    pytest.skip('no free ROS domain')


@pytest.fixture
def launch(domain, tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    running = []

    def begin(*arguments):
        running.append(Launched(tmp_path / 'launch.log', *arguments))
        return running[-1]
    try:
        yield begin
    finally:
        for launched in running:
            launched.close()


def states(names, wanted, timeout):
    """States of lifecycle nodes, as soon as they are what is wanted."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('asker', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        clients = {name: node.create_client(GetState, f'{name}/get_state') for name in names}
        labels = {}
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and labels != dict.fromkeys(names, wanted):
            for name, client in clients.items():
                if client.wait_for_service(timeout_sec=0.5):
                    future = client.call_async(GetState.Request())
                    executor.spin_until_future_complete(future, timeout_sec=0.5)
                    labels[name] = future.result().current_state.label if future.done() else ''
        return labels
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def test_graph_comes_up_in_a_namespace_and_ends_cleanly(launch):
    launched = launch('namespace:=lab', 'scenario:=crossing')
    nodes = ('/lab/beamformer', '/lab/radio_driver')
    assert set(states(nodes, 'active', 60.0).values()) == {'active'}
    assert len(launched.members()) == 4   # beamformer, radio driver, markers, scenario
    assert launched.stop() == 0
    assert not launched.members()
    log = launched.log_file.read_text()
    assert log.count('process has finished cleanly') == 4
    assert 'Traceback' not in log


def test_a_beamformer_that_was_killed_comes_back_active(launch):
    launched = launch()
    assert set(states(['/beamformer'], 'active', 60.0).values()) == {'active'}
    first = next(pid for pid, command in launched.members().items() if '/beamformer ' in command)
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline and not any(
            '/beamformer ' in command for pid, command in launched.members().items()
            if pid != first):
        time.sleep(0.2)
    assert set(states(['/beamformer'], 'active', 60.0).values()) == {'active'}


def test_without_autostart_the_nodes_wait(launch):
    launch('autostart:=false')
    names = ['/beamformer', '/radio_driver']
    assert set(states(names, 'unconfigured', 30.0).values()) == {'unconfigured'}
    time.sleep(3.0)
    assert set(states(names, 'unconfigured', 10.0).values()) == {'unconfigured'}


def test_a_scenario_that_does_not_exist_is_named_with_those_that_do(launch):
    launched = launch('scenario:=nope')
    assert launched.process.wait(30) == 1
    log = launched.log_file.read_text()
    assert 'nope.yaml' in log and 'crossing' in log
    assert not launched.members()
