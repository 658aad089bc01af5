"""
Real processes that talk over Fast DDS.

Fixtures: `graph` starts nodes as processes of their own and ends them by their id; `probe` is a
node in the test process that publishes, listens and calls services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
import fcntl
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from typing import Any

import pytest

# Python leaves a skip of a whole folder to the tests; a conftest may not skip, so it imports late.
try:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState, GetState
    from rcl_interfaces.srv import SetParametersAtomically
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.node import Node
    from rclpy.parameter import Parameter
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    import nf_isac_msgs.msg  # noqa: F401
except ImportError as error:
    MISSING = f'no ROS environment: {error}'
else:
    # Outside: what the project itself cannot import is an error, not a reason to skip.
    from nf_isac_ros.nodes.executor import LeanExecutor
    MISSING = ''

WAIT = 30.0   # a loaded machine may take this long for what takes milliseconds [s]
# Where transitions lead.
STATES = {'configure': 'inactive', 'activate': 'active', 'deactivate': 'inactive',
          'cleanup': 'unconfigured'}


def _in_use(number: int) -> bool:
    """Tell whether a process listens in a ROS domain, as tools/test.sh does."""
    port = 7400 + 250 * number + 10   # unicast discovery of the first participant
    try:
        sockets = Path('/proc/net/udp').read_text()
    except OSError:
        return False
    return f':{port:04X} ' in sockets


@pytest.fixture(scope='session')
def domain() -> Iterator[int]:
    """ROS domain that no other test session on this machine uses; set in the environment."""
    if MISSING:
        pytest.skip(MISSING)
    for number in range(10, 100):
        if _in_use(number):
            continue
        # The names that tools/test.sh and the demo use, so that nobody shares a domain.
        name = f'nf_isac_ros_domain_{number}_{os.getuid()}.lock'
        lock = (Path(tempfile.gettempdir()) / name).open('a')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        break
    else:
        pytest.skip('no free ROS domain')
    os.environ.update(
        ROS_DOMAIN_ID=str(number), ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST',
        OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
    yield number
    lock.close()


class Process:
    """A node in a process of its own, its log in a file."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path,
                 environment: dict[str, str], before: str) -> None:
        self.name = name
        self.log_file = log
        code = (f'{before}\nimport sys\nfrom nf_isac_ros.nodes.{name} import main\n'
                'sys.exit(main())')
        with open(log, 'w') as stream:
            self.process = subprocess.Popen(
                [sys.executable, '-c', code, *arguments], stdout=stream, stderr=stream,
                env=os.environ | environment, start_new_session=True)

    @property
    def log(self) -> str:
        """What the node has logged so far."""
        return self.log_file.read_text()

    def wait(self, timeout: float = WAIT) -> int:
        """Exit code, once the process has ended by itself."""
        return self.process.wait(timeout)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop the process (SIGSTOP), and let it go on."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self, number: int = signal.SIGINT, timeout: float = WAIT) -> int:
        """Send a signal and return the exit code; kill what does not end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Graph:
    """All processes of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[Process] = []

    def start(self, name: str, parameters: dict[str, Any] | None = None,
              arguments: Sequence[str] = (), before: str = '', **environment: str) -> Process:
        """
        Start a node.

        Parameters
        ----------
        name : str
            Module in nf_isac_ros.nodes.
        parameters : dict
            Written as `-p name:=value`; texts that look like numbers need quotes of their own.
        arguments : sequence of str
            Further ROS arguments.
        before : str
            Python that runs first in the process: to put a fault in.
        **environment
            Further variables.

        """
        ros = []
        for key, value in (parameters or {}).items():
            text = str(value).lower() if isinstance(value, bool) else value
            ros += ['-p', f'{key}:={text}']
        log = self.folder / f'{len(self.processes)}_{name}.log'
        process = Process(name, ['--ros-args', *ros, *arguments], log, environment,
                          before)
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End every process that still runs."""
        for process in self.processes:
            if process.process.poll() is None:
                process.process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.process.kill()
                process.process.wait()
            # pytest shows it beside a failure and nowhere else.
            print(f'--- log of {process.name}\n{process.log}')


@pytest.fixture
def graph(domain: int, tmp_path: Path) -> Iterator[Graph]:
    """Start nodes as processes; they end with the test."""
    graph = Graph(tmp_path)
    try:
        yield graph
    finally:
        graph.close()


@pytest.fixture(scope='module')
def shared_graph(domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """As `graph`, for all tests of a module: starting a node takes seconds."""
    graph = Graph(tmp_path_factory.mktemp('graph'))
    try:
        yield graph
    finally:
        graph.close()


class Collector:
    """Messages of one topic, in the order in which they came."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._news = threading.Condition()

    def add(self, message: Any) -> None:
        """Take a message in."""
        with self._news:
            self.messages.append(message)
            self._news.notify_all()

    def clear(self) -> None:
        """Forget what came so far."""
        with self._news:
            self.messages.clear()

    def wait(self, wanted: Callable[[Any], bool] = lambda message: True, count: int = 1,
             timeout: float = WAIT) -> list[Any]:
        """
        Wait for messages.

        Parameters
        ----------
        wanted : callable
            Which messages count; those that have come before count too.
        count : int
            How many.
        timeout : float
            After which AssertionError is raised [s].

        Returns
        -------
        list
            The first `count` messages that are wanted.

        """
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = [message for message in self.messages if wanted(message)]
                if len(found) >= count:
                    return found[:count]
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(
                        f'{len(found)} of {count} messages within {timeout} s; '
                        f'{len(self.messages)} came, the last: {self.messages[-1:]}')
                self._news.wait(left)


class Probe:
    """A node in the test process, spun by a thread."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node('probe', context=self.context)
        self._executor = LeanExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        # What a test destroys while the executor looks at it must not end the thread, on which all
        # later tests of the module depend.
        while self.context.ok():
            try:
                self._executor.spin()
            except ExternalShutdownException:
                return
            except Exception:  # noqa: BLE001  shown beside the test that fails, if one does
                traceback.print_exc()
            else:
                return

    def close(self) -> None:
        """End the thread and the node."""
        self._executor.shutdown()
        self.context.try_shutdown()
        self._thread.join(WAIT)
        self.node.destroy_node()

    def now(self) -> float:
        """Time of the node [s]."""
        return self.node.get_clock().now().nanoseconds * 1e-9

    def collect(self, message_type: Any, topic: str, qos: Any = None) -> Collector:
        """Subscribe; reliable with a depth of 200 unless told otherwise."""
        collector = Collector()
        profile = qos or QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
        self.node.create_subscription(message_type, topic, collector.add, profile)
        return collector

    def publisher(self, message_type: Any, topic: str, qos: Any = 10,
                  subscribers: int = 1) -> Any:
        """Publish; returns once so many subscribers are matched."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        self.wait_until(lambda: publisher.get_subscription_count() >= subscribers,
                        f'{subscribers} subscribers of {topic}')
        return publisher

    @staticmethod
    def wait_until(condition: Callable[[], bool], what: str, timeout: float = WAIT) -> None:
        """Wait for a condition; AssertionError names what did not happen."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f'not within {timeout} s: {what}')
            time.sleep(0.01)

    def call(self, service_type: Any, name: str, request: Any, timeout: float = WAIT) -> Any:
        """
        Call a service and return its response.

        On a loaded machine the first answer may be lost: a client sees a service before the
        service sees the client. Clients are therefore kept.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, name)
        client = self._clients[name]
        assert client.wait_for_service(timeout), f'no service {name} within {timeout} s'
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        assert done.wait(timeout), f'no answer of {name} within {timeout} s'
        return future.result()

    def change_state(self, node: str, transition: str, timeout: float = WAIT) -> bool:
        """
        Ask a lifecycle node for a transition.

        Parameters
        ----------
        node : str
            Such as '/beamformer'.
        transition : str
            Such as 'configure'; for 'shutdown' that from the present state is taken.
        timeout : float
            [s].

        """
        if transition == 'shutdown':
            transition = f'{self.state(node)}_shutdown'
        number = getattr(Transition, f'TRANSITION_{transition.upper()}')
        request = ChangeState.Request(transition=Transition(id=number))
        try:
            return bool(self.call(ChangeState, f'{node}/change_state', request, timeout).success)
        except AssertionError:
            # Whether the request or the answer was lost, the state tells.
            if self.state(node) == STATES.get(transition):
                return True
            raise

    def state(self, node: str) -> str:
        """Label of the present state of a lifecycle node."""
        for patience in (2.0, 2.0, 4.0, 8.0, WAIT):
            with suppress(AssertionError):
                return str(self.call(GetState, f'{node}/get_state', GetState.Request(),
                                     patience).current_state.label)
        raise AssertionError(f'{node} does not tell its state')

    def activate(self, node: str) -> None:
        """Bring a lifecycle node to active, whatever state a test before has left it in."""
        if self.state(node) == 'active':
            self.change_state(node, 'deactivate')
        if self.state(node) == 'inactive':
            self.change_state(node, 'cleanup')
        assert self.change_state(node, 'configure', 60.0), f'{node} does not configure'
        assert self.change_state(node, 'activate'), f'{node} does not activate'

    def set_parameters(self, node: str, **values: Any) -> Any:
        """Set parameters in one request; the result has `successful` and `reason`."""
        request = SetParametersAtomically.Request(parameters=[
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()])
        return self.call(
            SetParametersAtomically, f'{node}/set_parameters_atomically', request).result


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    """Node in the test process."""
    probe = Probe()
    try:
        yield probe
    finally:
        probe.close()


@pytest.fixture(scope='module')
def shared_probe(domain: int) -> Iterator[Probe]:
    """As `probe`, for all tests of a module."""
    probe = Probe()
    try:
        yield probe
    finally:
        probe.close()
