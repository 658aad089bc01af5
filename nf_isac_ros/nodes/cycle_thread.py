"""The thread that begins design cycles and works on them, one at a time."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time

from rclpy.clock import ROSClock

from nf_isac_ros.core.schedule import Beginning, CycleSchedule

# A simulated clock goes at a pace of its own: it is looked at again after no less and no more
# than this [s].
SIMULATED_NAP = (1e-3, 5e-3)


class CycleThread:
    """
    One thread that waits for the next cycle and works on it.

    A cycle begins only when the one before has ended, so that it is always for the newest poses.

    Parameters
    ----------
    clock : ROSClock
        Of the node.
    schedule : CycleSchedule
        Tells when a cycle begins.
    work : callable
        Called in the thread, once for each cycle. Must not raise.
    name : str
        Of the thread.

    """

    def __init__(self, clock: ROSClock, schedule: CycleSchedule,
                 work: Callable[[Beginning], None], name: str) -> None:
        self._clock = clock
        self._schedule = schedule
        self._work = work
        self._changed = threading.Condition()
        self._stopped = False
        # A daemon, because a solver that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def arrived(self, together: bool) -> None:
        """Take note of poses that are news; arguments as for `CycleSchedule.arrived`."""
        with self._changed:
            self._schedule.arrived(self._now(), time.perf_counter(), together)
            self._changed.notify()

    def reschedule(self, schedule: CycleSchedule) -> None:
        """Begin cycles by another schedule from now on."""
        with self._changed:
            self._schedule = schedule
            self._changed.notify()

    def stop(self, timeout: float) -> bool:
        """
        End the thread after the cycle that it works on.

        Parameters
        ----------
        timeout : float
            How long to wait for it [s].

        Returns
        -------
        bool
            False if the thread is still at work; it ends as soon as it is done.

        """
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _now(self) -> float:
        return self._clock.now().nanoseconds * 1e-9

    def _run(self) -> None:
        while (beginning := self._next()) is not None:
            self._work(beginning)
            with self._changed:
                self._schedule.ended(self._now())

    def _next(self) -> Beginning | None:
        """Wait for the next cycle; None: it is over."""
        with self._changed:
            while not self._stopped:
                now, steady = self._now(), time.perf_counter()
                wait = self._schedule.wait(now, steady)
                if wait <= 0:
                    return self._schedule.begin(now, steady)
                if self._clock.ros_time_is_active:
                    wait = min(max(wait, SIMULATED_NAP[0]), SIMULATED_NAP[1])
                self._changed.wait(wait)
        return None
