"""The ear of the live page: a node that tells several times a second what is true."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import threading
import traceback
from types import TracebackType

from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.files.deployment import Deployment, load_deployment
from nf_isac_ros.nodes.diagnostics import Counts
from nf_isac_ros.nodes.executor import LeanExecutor
from nf_isac_ros.nodes.scene_inputs import SceneInputs
from nf_isac_ros.watch.snapshot import Memory, setup, state

# How often the beamformer is asked for its deployment [s].
ASK_PERIOD = 2.0
# Messages of a topic that wait for a look: at ten looks a second, those of 200 cycles a second.
DEPTH = 20

Publish = Callable[[str, str], None]


class Listener(Node):
    """
    Subscribes to what the graph says, and publishes states as JSON.

    Parameters
    ----------
    publish : callable
        Gets name (`setup`, `state`) and data of an event; called in the node's thread.
    rate : float
        States per second [Hz].
    deployment : Deployment or None
        None: the beamformer is asked for it.
    context : rclpy.Context
    namespace : str
        Of the graph.
    use_sim_time : bool
        Follow /clock.

    """

    def __init__(self, publish: Publish, rate: float, deployment: Deployment | None,
                 context: rclpy.Context, namespace: str, use_sim_time: bool) -> None:
        super().__init__('watch', context=context, namespace=namespace, enable_rosout=False,
                         start_parameter_services=False, parameter_overrides=[
                             Parameter('use_sim_time', value=use_sim_time)])
        self._publish = publish
        self._memory = Memory()
        self._faults = Counts(self, 'message not shown')
        self._lock = threading.Lock()
        self._setup = self._state = ''
        self._path = ''
        self._inputs: SceneInputs | None = None
        self._use(deployment, '')
        # On the steady clock: what is shown while /clock stands still must be true as well.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / rate, self._on_look, clock=steady)
        if deployment is None:
            self._asking = self.create_client(GetParameters, 'beamformer/get_parameters')
            self._answer: Future | None = None
            self.create_timer(ASK_PERIOD, self._on_ask, clock=steady)

    def newest(self) -> dict[str, str]:
        """Events for a page that has just been opened; may be called from any thread."""
        with self._lock:
            rows = self._memory.history()
            events = {'setup': self._setup, 'history': json.dumps(rows), 'state': self._state}
        return {name: data for name, data in events.items() if data}

    def _use(self, deployment: Deployment | None, note: str) -> None:
        if self._inputs is not None:
            self._inputs.listen(False)
        self._inputs = SceneInputs(self, deployment, self._faults.add, DEPTH)
        self._inputs.listen(True)
        data = json.dumps(setup(deployment, note))
        with self._lock:
            self._setup = data
        self._publish('setup', data)

    def _on_look(self) -> None:
        assert self._inputs is not None
        self._inputs.read()
        shown = state(self._inputs, self.get_clock().now().nanoseconds)
        with self._lock:
            shown |= self._memory.look(self._inputs)
            shown['not_shown'] = self._faults.snapshot()
            self._memory.remember(shown)
            self._state = data = json.dumps(shown, allow_nan=False)
        self._publish('state', data)

    def _on_ask(self) -> None:
        """Ask the beamformer for its deployment, again and again: another one may be started."""
        if self._answer is not None and self._answer.done():
            values = self._answer.result().values
            path = values[0].string_value if values else ''
            if path and path != self._path:
                self._path = path
                try:
                    self._use(load_deployment(Path(path)), '')
                except (NfIsacError, OSError) as error:
                    self._use(None, f'no arrays are shown: {error}')
            self._answer = None
        # An answer can get lost; an old question is given up.
        if self._asking.service_is_ready():
            if self._answer is not None:
                self._asking.remove_pending_request(self._answer)
            self._answer = self._asking.call_async(
                GetParameters.Request(names=['deployment_file']))


class Listening:
    """
    A listener in a thread of its own; a context manager.

    Parameters
    ----------
    on_failure : callable
        Gets the traceback if the thread ends by an error.
    publish, rate, deployment, namespace, use_sim_time
        As of `Listener`.

    Raises
    ------
    NfIsacError
        If a message type of the deployment is not installed.

    """

    def __init__(self, publish: Publish, on_failure: Callable[[str], None], rate: float,
                 deployment: Deployment | None, namespace: str = '',
                 use_sim_time: bool = False) -> None:
        self._on_failure = on_failure
        self._context = rclpy.Context()
        # Ctrl-C is the command's matter.
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            self.node = Listener(publish, rate, deployment, self._context, namespace,
                                 use_sim_time)
        except BaseException:
            self._context.try_shutdown()
            raise
        self._executor = LeanExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name='listener', daemon=True)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass
        except Exception:  # noqa: BLE001  whatever it is, the page would stand still
            if self._context.ok():
                self._on_failure(traceback.format_exc())

    def __enter__(self) -> Listening:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=2.0)
        self._context.try_shutdown()
        self._thread.join(timeout=2.0)
        self.node.destroy_node()
