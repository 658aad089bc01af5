"""Publishes the echoes that a radio receives, one message for each sensing period."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
import traceback

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from nf_isac_msgs.msg import EchoSamples, TrackArray
from nf_isac_ros.conversions.adapters import read_track_array
from nf_isac_ros.conversions.messages import echo_samples_message
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.localisation import echoes
from nf_isac_ros.core.tracking import PoseSample, Role
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.nodes.diagnostics import Counts
from nf_isac_ros.nodes.qos import NO_EVENTS_IN, NO_EVENTS_OUT, TRACKS, overridable
from nf_isac_ros.nodes.unlocked import publish
from nf_isac_ros.radio.base import Scatterer

# A radio that is told the truth has its periods when that comes; without it, by the clock [s].
TRUTH_PATIENCE = 0.5
# How long the end waits for echoes that are under way [s].
JOIN_TIMEOUT = 1.0


class EchoPublisher:
    """
    Asks a radio for its echoes at a constant rate, and publishes them.

    They are made and sent in a thread of their own, always for the newest period: beams, leases
    and the state of the radio do not wait for them. Echoes are made up where `truth/targets` says
    that targets are: a simulated period has its middle at the stamp of the truth, so that nothing
    is extrapolated. Without a truth the clock asks, for radios that receive in earnest.

    Parameters
    ----------
    node : Node
        Whose executor runs the callbacks.
    deployment : Deployment
        Arrays, radio, world frame.
    rate : float
        Sensing periods per second [Hz].
    seed : int
        Of made-up noise.
    source : callable
        Gives the echoes of true scatterers (none without a truth) with a random generator; None
        if there are none.
    sequence : callable
        Number of the beams that are on the air.
    faults : Counts
        Counts what went wrong.

    """

    def __init__(self, node: Node, deployment: Deployment, rate: float, seed: int,
                 source: Callable[[Sequence[Scatterer], np.random.Generator],
                                  echoes.EchoSamples | None],
                 sequence: Callable[[], int], faults: Counts) -> None:
        self._node = node
        self._frame = deployment.world_frame
        self._sensor = echoes.Sensor(deployment.transmit_array, deployment.receive_array,
                                     deployment.radio.wavelength, deployment.radio.sensing_noise)
        self._configured = {body.id: body.reflection for body in deployment.bodies
                            if body.role == Role.TARGET.value}
        self._period = 1.0 / rate
        self._rng = np.random.default_rng(seed)
        self._source = source
        self._sequence = sequence
        self._faults = faults
        self._last = self._told = -np.inf
        # The period whose echoes are due; one that comes too soon takes the place of it.
        self._due: tuple[float, Sequence[Scatterer]] | None = None
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name='echoes', daemon=True)
        self._publisher = node.create_publisher(
            EchoSamples, 'echo/samples', TRACKS, event_callbacks=NO_EVENTS_OUT,
            qos_overriding_options=overridable())
        self._truth = node.create_subscription(
            TrackArray, 'truth/targets', self._on_truth, TRACKS, event_callbacks=NO_EVENTS_IN,
            qos_overriding_options=overridable())
        self._timer = node.create_timer(self._period, self._on_timer,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._thread.start()

    def destroy(self) -> None:
        """End thread, publisher, subscription and timer."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(timeout=JOIN_TIMEOUT)
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._truth)
        self._node.destroy_publisher(self._publisher)

    def _now(self) -> float:
        return 1e-9 * self._node.get_clock().now().nanoseconds

    def _on_truth(self, message: TrackArray) -> None:
        # Positions in the truth are those of the scatterers: no offset is applied.
        try:
            samples = read_track_array(message, Role.TARGET, (), self._frame)
        except NfIsacError as error:
            self._faults.add(error.reason, str(error))
            return
        points = [sample for sample in samples if sample.kind == 'point']
        stamps = {sample.stamp for sample in points}
        if len(stamps) != 1:
            return
        self._told = self._now()
        stamp = stamps.pop()
        # Half a truth period early rather than one late.
        if stamp < self._last or stamp - self._last >= 0.9 * self._period:
            self._ask(stamp, [self._scatterer(sample) for sample in points])

    def _on_timer(self) -> None:
        now = self._now()
        if abs(now - self._told) > TRUTH_PATIENCE:
            self._ask(now, [])

    def _ask(self, stamp: float, targets: Sequence[Scatterer]) -> None:
        self._last = stamp
        with self._changed:
            self._due = stamp, targets
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._due is not None)
                if self._ending:
                    return
                assert self._due is not None
                (stamp, targets), self._due = self._due, None
            try:
                self._publish(stamp, targets)
            except Exception:  # noqa: BLE001  echoes go on, whatever a radio does
                if not self._node.context.ok():
                    return
                self._faults.add('internal-error', traceback.format_exc())

    def _publish(self, stamp: float, targets: Sequence[Scatterer]) -> None:
        sequence = self._sequence()
        try:
            samples = self._source(targets, self._rng)
        except NfIsacError as error:
            self._faults.add(error.reason, str(error))
            return
        if samples is not None:
            publish(self._publisher, echo_samples_message(
                echoes.condensed(samples), stamp, sequence, self._sensor))

    def _scatterer(self, sample: PoseSample) -> Scatterer:
        reflection = sample.reflection
        if reflection is None:
            reflection = self._configured.get(sample.id, 1.0 + 0.0j)
        velocity = np.zeros(3) if sample.velocity is None else sample.velocity
        return Scatterer(sample.id, sample.position, velocity, reflection)
