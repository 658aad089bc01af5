"""The main() that all nodes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import gc
import signal
import socket
import sys
import threading
import traceback
from types import FrameType

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.nodes.executor import LeanExecutor

# How long a thread may have to wait for the interpreter while another runs [s]. Nodes have threads
# that must be on time, besides that of the executor.
SWITCH_INTERVAL = 0.1e-3
# What ends a node.
ENDING = (signal.SIGINT, signal.SIGTERM)


def spare_the_collector() -> None:
    """
    Take what is there now out of the garbage collection.

    Modules, compiled code, the middleware and a recording are hundreds of thousands of objects; to
    look through them takes as long as many cycles.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def run(node_factory: Callable[[], Node], argv: Sequence[str] | None = None) -> int:
    """
    Run a node until Ctrl-C, SIGTERM or a shutdown of its context.

    An exception that leaves a callback is logged with its traceback, and the node goes on: bad
    input never stops a node. One that leaves the constructor ends the process.

    Parameters
    ----------
    node_factory : callable
        Makes the node; its class, as a rule. If the node has a method `close`, it is called
        before the node is destroyed; if it has an attribute `failed` that is true, it ended
        because something went wrong.
    argv : sequence of str or None
        Command line; None: that of the process.

    Returns
    -------
    int
        Exit code: 0 after a clean end, 1 if the node could not be made or has failed.

    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        # Handlers of rclpy shut the context down at once, under the hands of threads that publish:
        # that ends in an error message, and once in a while in a crash.
        rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # noqa: BLE001  rclpy raises several kinds for a bad command line
        get_logger('nf_isac').fatal(_one_line(error))
        return 1
    node: Node | None = None
    try:
        for number in ENDING:
            signal.signal(number, _interrupt)
        node = node_factory()
        spare_the_collector()
        executor = LeanExecutor()
        _wake_on_signals(executor)
        executor.add_node(node)
        while rclpy.ok():
            try:
                executor.spin()
            except ExternalShutdownException:
                break
            except Exception:  # noqa: BLE001  logged; the node must go on
                if rclpy.ok():
                    node.get_logger().error(
                        'a callback failed:\n' + traceback.format_exc(),
                        throttle_duration_sec=1.0)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except NfIsacError as error:
        get_logger(_name_of(node_factory)).fatal(_one_line(error))
        return 1
    except Exception as error:  # noqa: BLE001  the constructor failed: say so and end
        if not rclpy.ok():
            # Told to end while it was starting, or failed by then: nothing more can be made.
            return _exit_code(node)
        get_logger(_name_of(node_factory)).fatal(
            f'{_one_line(error)}\n{traceback.format_exc()}')
        return 1
    finally:
        # A second Ctrl-C must not interrupt the tidying up.
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            close = getattr(node, 'close', None)
            if close is not None:
                close()
            node.destroy_node()
        rclpy.try_shutdown()
    return _exit_code(node)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wake_on_signals(executor: LeanExecutor) -> None:
    """Let an executor that waits return to the interpreter, which then calls signal handlers."""
    told, teller = socket.socketpair()
    teller.setblocking(False)
    signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)

    def wake() -> None:
        # The other end lives as long as the process.
        with teller:
            while told.recv(1):
                executor.wake()

    threading.Thread(target=wake, name='signals', daemon=True).start()


def _exit_code(node: Node | None) -> int:
    return 1 if getattr(node, 'failed', False) else 0


def _name_of(node_factory: Callable[[], Node]) -> str:
    return getattr(node_factory, '__name__', 'node')


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
