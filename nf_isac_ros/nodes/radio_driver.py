"""Lifecycle node that drives the radio: beams in, state out; muted unless a lease runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import math
from pathlib import Path
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.serialization import deserialize_message
from std_srvs.srv import SetBool, Trigger

from nf_isac_msgs.msg import Beamformer, DesignStatus, RadioStatus
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.localisation.echoes import EchoSamples
from nf_isac_ros.core.propagation import warm_up
from nf_isac_ros.core.solution import UserReport
from nf_isac_ros.core.tracking import (
    ChannelStore,
    PredictedBody,
    Role,
    TrackState,
    TrackStore,
)
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.nodes.diagnostics import Counts, Diagnostics, Health, Level
from nf_isac_ros.nodes.echoes import EchoPublisher
from nf_isac_ros.nodes.inputs import PoseInputs
from nf_isac_ros.nodes.interlock import (
    INTERLOCK_PARAMETERS,
    People,
    Promises,
    health,
    make_shaper,
    message_limits,
    nanoseconds,
    radio_status,
    watching,
)
from nf_isac_ros.nodes.measurements import Measurements, decibels, nothing_measured
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values
from nf_isac_ros.nodes.qos import BEAMS_IN, NO_EVENTS_IN, RADIO_STATUS, overridable
from nf_isac_ros.nodes.spin import run
from nf_isac_ros.nodes.truth import Truth
from nf_isac_ros.nodes.unlocked import publish
from nf_isac_ros.radio.backends import BACKENDS, backend_class, make_backend
from nf_isac_ros.radio.base import Backend, Scatterer
from nf_isac_ros.radio.checks import BeamError, check_size
from nf_isac_ros.radio.command import BeamCommand, command_from_message
from nf_isac_ros.radio.faults import Fault
from nf_isac_ros.radio.options import read_site
from nf_isac_ros.radio.transmitter import Transmitter, TransmitterState

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file: array, radio, users', read_only=True),
    Parameter('backend', 'simulated', f'Which radio: {", ".join(BACKENDS)}, or '
              'package.module:Class of another one', read_only=True),
    Parameter('status_rate_hz', 50.0, 'Rate of radio/status', 'Hz', minimum=1.0, maximum=500.0,
              read_only=True),
    Parameter('measure_rate_hz', 5.0, 'How often users measure what they receive, and what the '
              'front end costs is computed; 0: never', 'Hz', minimum=0.0, maximum=100.0,
              read_only=True),
    Parameter('echo_rate_hz', 0.0, 'Sensing periods per second whose echoes are published; 0: '
              'none', 'Hz', minimum=0.0, maximum=1000.0, read_only=True),
    Parameter('echo_seed', 1, 'Seed of the noise of simulated echoes', minimum=0,
              maximum=2 ** 32 - 1, read_only=True),
    *INTERLOCK_PARAMETERS,
)

# How often people are looked after who move while beams are on the air [s].
KEEP_CLEAR_PERIOD = 0.1
# How long the last status waits for the backend's answer to a mute [s].
MUTING = 0.1


class RadioDriver(LifecycleNode):
    """
    Applies beams to a backend for as long as their lease lasts and nothing speaks against it.

    The lease is watched by a thread of the transmitter, and the backend is called by others: a
    callback here that hangs, a clock that stops, or a backend that does not answer, does not keep
    beams on the air. docs/safety.md has the states, conditions and faults.
    """

    def __init__(self) -> None:
        super().__init__('radio_driver')
        declare(self, PARAMETERS)
        self._settings = values(self, PARAMETERS)
        if not self._settings.deployment_file:
            raise ParameterError('parameter deployment_file is empty, must be the path of a '
                                 'deployment file')
        backend_class(self._settings.backend)
        self._deployment = load_deployment(Path(self._settings.deployment_file))
        self._required = {body.id: body.min_sinr_db for body in self._deployment.bodies
                          if body.role == Role.USER.value}
        self._tracks = TrackStore(self._deployment.tracking)
        self._people = People(self._deployment, self._tracks, self._now)
        self._promises = Promises()
        self._pose_faults = Counts(self, 'poses refused')
        self._beam_faults = Counts(self, 'beams refused')
        self._truth_faults = Counts(self, 'truth refused')
        self._backend: Backend | None = None
        self._transmitter: Transmitter | None = None
        deployment = self._deployment
        self._site = read_site(
            deployment.transmit_array, deployment.receive_array, deployment.radio,
            deployment.radio_backend, deployment.path.parent)
        self._measurements: Measurements | None = None
        self._limits = message_limits(
            deployment, self._settings, self._site.front_end.calibration.epoch)
        self._told: tuple[Fault, ...] = ()
        self._undo: list[Callable[[], object]] = []
        self._status_out: Any = None
        self._true_users: Truth | None = None
        self._diagnostics = Diagnostics(self, self._health)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the backend, publishers and subscriptions; FAILURE if the backend cannot be."""
        deployment = self._deployment
        # Now, not while beams are on the air.
        warm_up()
        try:
            self._backend = make_backend(
                self._settings.backend, self._site, deployment.radio_backend)
        except NfIsacError as error:
            self.get_logger().error(f'backend {self._settings.backend}: {error}')
            return TransitionCallbackReturn.FAILURE
        self._status_out = self.create_lifecycle_publisher(
            RadioStatus, 'radio/status', RADIO_STATUS, qos_overriding_options=overridable())
        # Raw: a message that is too large is refused before anything is made of it.
        beams = self.create_subscription(Beamformer, 'beamformer', self._on_beams, BEAMS_IN,
                                         raw=True, qos_overriding_options=overridable())
        designs = self.create_subscription(DesignStatus, 'status', self._on_design, BEAMS_IN,
                                           event_callbacks=NO_EVENTS_IN,
                                           qos_overriding_options=overridable())
        self._true_users = Truth(self, Role.USER, deployment, self._truth_faults)
        self._undo += [
            self._true_users.destroy, lambda: self.destroy_subscription(designs),
            lambda: self.destroy_subscription(beams)]
        # On the steady clock: a stopped /clock is something to report.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        if self._people.tracked:
            try:
                people = PoseInputs(
                    self, replace(deployment, bodies=self._people.bodies), self._tracks,
                    ChannelStore(deployment.tracking), self._pose_faults, threading.Lock(),
                    lambda: None)
            except NfIsacError as error:
                self.get_logger().error(f'people in keep-out volumes: {error}')
                self._release()
                return TransitionCallbackReturn.FAILURE
            watch = self.create_timer(KEEP_CLEAR_PERIOD, self._keep_clear, clock=steady)
            self._undo += [people.destroy, lambda: self.destroy_timer(watch)]
        arm = self.create_service(SetBool, 'radio/arm', self._on_arm)
        reset = self.create_service(Trigger, 'radio/reset', self._on_reset)
        timer = self.create_timer(1.0 / self._settings.status_rate_hz, self._publish_status,
                                  clock=steady)
        if self._settings.echo_rate_hz:
            echoes = EchoPublisher(
                self, deployment, self._settings.echo_rate_hz, self._settings.echo_seed,
                self._echoes, self._sequence, self._truth_faults)
            self._undo.append(echoes.destroy)
        if self._settings.measure_rate_hz:
            self._measurements = Measurements(
                self, deployment, self._site, self._backend, self._settings.measure_rate_hz,
                self._truth_faults)
            self._undo.append(self._measurements.destroy)
        self._undo += [
            lambda: self.destroy_timer(timer), lambda: self.destroy_service(reset),
            lambda: self.destroy_service(arm)]
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the transmitter, muted; counts start from zero."""
        assert self._backend is not None
        for counts in (self._beam_faults, self._truth_faults, self._pose_faults):
            counts.reset()
        clock = self.get_clock()
        self._transmitter = Transmitter(
            self._backend, self._limits,
            make_shaper(self._deployment, self._settings, self._people,
                        self._site.front_end.apply),
            lambda: clock.now().nanoseconds, watching=watching(self._settings),
            backend_timeout=nanoseconds(self._settings.backend_timeout_s))
        if self._settings.autoarm:
            self._transmitter.arm()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Mute, and say so."""
        self._silence()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back that was made in `on_configure`."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Mute from any state."""
        self._silence()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Mute after an exception in a transition, and start again from unconfigured."""
        self._silence()
        self._release()
        return super().on_error(state)

    def close(self) -> None:
        """Mute before the process ends, and end all threads."""
        self._silence()
        self._release()

    def _silence(self) -> None:
        if self._transmitter is not None:
            self._transmitter.disarm()
            # So that the last status does not say that beams may still be on the air.
            self._transmitter.wait_silent(MUTING)
            try:
                self._publish_status()
            except Exception:  # noqa: BLE001  rclpy raises several kinds
                # After Ctrl-C the context ends at any moment, and nobody can be told.
                if self.context.ok():
                    raise
            finally:
                if not self._transmitter.close():
                    get_logger(f'{self.get_name()}.end').error(
                        'the backend has not confirmed that it is muted')
                self._transmitter = None

    def _release(self) -> None:
        for undo in self._undo:
            undo()
        self._undo = []
        self._measurements = None
        if self._status_out is not None:
            self.destroy_lifecycle_publisher(self._status_out)
            self._status_out = None
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        self._true_users = None
        self._tracks.reset()

    def _on_beams(self, data: bytes) -> None:
        if self._transmitter is None:
            return
        try:
            self._transmitter.take(self._command(data))
        except BeamError as error:
            self._beam_faults.add(error.reason, str(error))

    def _command(self, data: bytes) -> BeamCommand:
        """Read a message; one that cannot be read is counted like one that is refused."""
        assert self._transmitter is not None
        try:
            check_size(len(data), self._limits)
            return command_from_message(deserialize_message(data, Beamformer))
        except BeamError as error:
            self._transmitter.refuse(error)
            raise
        except Exception as error:  # noqa: BLE001  whatever the middleware makes of it
            unreadable = BeamError(f'{type(error).__name__}: {error}', 'unreadable')
            self._transmitter.refuse(unreadable)
            raise unreadable from error

    def _on_design(self, message: DesignStatus) -> None:
        self._promises.take(message)
        if self._transmitter is not None:
            self._transmitter.designer_heard(
                message.outcome == DesignStatus.OUTCOME_MUTE, message.sequence,
                message.fallback_reason)

    def _echoes(self, targets: Sequence[Scatterer],
                rng: np.random.Generator) -> EchoSamples | None:
        """Echoes of the beams that are on the air now."""
        # In the thread of the echoes: the node may be deactivated meanwhile.
        transmitter, backend = self._transmitter, self._backend
        if transmitter is None or backend is None:
            return None
        return backend.echoes(targets, rng)

    def _sequence(self) -> int:
        """Sequence number of the beams that went on the air last; 0: none did."""
        transmitter = self._transmitter
        last = None if transmitter is None else transmitter.state().last
        return 0 if last is None else last.command.sequence

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self._transmitter is None:
            response.success = not request.data
            response.message = 'the radio driver is not active: it is muted'
            return response
        (self._transmitter.arm if request.data else self._transmitter.disarm)()
        response.success = True
        response.message = 'armed' if request.data else 'disarmed and muted'
        if faults := self._transmitter.state().faults:
            names = ', '.join(fault.name for fault in faults)
            response.message += f'; muted by {names} until radio/reset'
        self.get_logger().info(response.message)
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._transmitter is None:
            response.success = False
            response.message = 'the radio driver is not active: it is muted'
            return response
        response.success, response.message = self._transmitter.reset()
        self.get_logger().info(f'reset: {response.message}')
        return response

    def _publish_status(self) -> None:
        if self._transmitter is None or self._status_out is None:
            return
        assert self._true_users is not None
        now = self._now()
        state = self._transmitter.state()
        designed = [] if state.emission is None else self._promises.turned_down(
            state.emission.command.sequence, state.emission.scale)
        bodies = self._true_users.at(now)
        message = radio_status(state, self._deployment, now, designed,
                               self._received(state, bodies))
        message.signal = nothing_measured(self._site) if self._measurements is None else (
            self._measurements.offer(now, state.emission, _fresh_positions(bodies), designed))
        publish(self._status_out, message)
        self._tell_faults(state)

    def _keep_clear(self) -> None:
        if self._transmitter is not None:
            self._transmitter.keep_clear()

    def _tell_faults(self, state: TransmitterState) -> None:
        """Log each fault once, when it latches."""
        for fault in state.faults:
            if fault not in self._told:
                self.get_logger().error(
                    f'{fault.name}: {fault.detail}; muted until radio/reset')
        self._told = state.faults

    def _received(self, state: TransmitterState, bodies: Sequence[PredictedBody]
                  ) -> list[UserReport]:
        """SINR of every user that is configured, served, or told by the truth."""
        assert self._backend is not None
        required = {**self._required, **{
            body.id: body.min_sinr_db for body in bodies if body.min_sinr_db is not None}}
        served = () if state.emission is None else state.emission.command.user_ids
        ratios = self._backend.received_sinr(_fresh_positions(bodies))
        return [UserReport(name, _nan_if_none(required.get(name)),
                           decibels(ratios[name]) if name in ratios else math.nan)
                for name in sorted({*required, *served, *(body.id for body in bodies)})]

    def _now(self) -> float:
        return 1e-9 * self.get_clock().now().nanoseconds

    def _health(self) -> Health:
        if self._transmitter is None:
            return Health(Level.OK, 'not active: muted')
        assert self._backend is not None
        return health(self._transmitter.state(), {
            **self._backend.diagnostics(),
            **{f'{what} {reason}': n
               for what, counts in (('truth', self._truth_faults), ('poses', self._pose_faults))
               for reason, n in counts.snapshot().items()}})


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value


def _fresh_positions(bodies: Sequence[PredictedBody]) -> dict[str, NDArray[np.float64]]:
    """Positions (3,) of those that may be relied on, by id [m]."""
    return {body.id: body.position for body in bodies if body.state is TrackState.FRESH}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(RadioDriver, argv)
