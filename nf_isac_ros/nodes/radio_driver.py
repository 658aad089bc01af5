"""Lifecycle node that drives the radio: beams in, state out; muted unless a lease runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from nf_isac_msgs.msg import Beamformer, RadioStatus, TrackArray
from nf_isac_ros.conversions.adapters import read_track_array
from nf_isac_ros.conversions.messages import (
    count_messages,
    header,
    time_message,
    user_status_messages,
)
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.localisation.echoes import EchoSamples
from nf_isac_ros.core.propagation import warm_up
from nf_isac_ros.core.solution import UserReport
from nf_isac_ros.core.tracking import Role, TrackState, TrackStore
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.nodes.diagnostics import Counts, Diagnostics, Health, Level
from nf_isac_ros.nodes.echoes import EchoPublisher
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values
from nf_isac_ros.nodes.qos import BEAMS_IN, NO_EVENTS_IN, RADIO_STATUS, TRACKS, overridable
from nf_isac_ros.nodes.spin import run
from nf_isac_ros.radio.backends import BACKENDS, make_backend
from nf_isac_ros.radio.base import Backend, Scatterer
from nf_isac_ros.radio.checks import BeamError, Limits, Verdict
from nf_isac_ros.radio.command import command_from_message
from nf_isac_ros.radio.options import read_site
from nf_isac_ros.radio.transmitter import Transmitter, TransmitterState

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file: array, radio, users', read_only=True),
    Parameter('backend', 'simulated', 'Which radio', choices=tuple(BACKENDS), read_only=True),
    Parameter('status_rate_hz', 50.0, 'Rate of radio/status', 'Hz', minimum=1.0, maximum=500.0,
              read_only=True),
    Parameter('power_margin', 1e-3, 'By how much beams may exceed the power limit, relative',
              minimum=0.0, maximum=0.1, read_only=True),
    Parameter('max_lease_s', 2.0, 'Beams with a longer lease are refused', 's', minimum=0.01,
              maximum=60.0, read_only=True),
    Parameter('max_age_s', 1.0, 'Beams that were published longer ago are refused', 's',
              minimum=0.01, maximum=60.0, read_only=True),
    Parameter('echo_rate_hz', 0.0, 'Sensing periods per second whose echoes are published; 0: '
              'none', 'Hz', minimum=0.0, maximum=1000.0, read_only=True),
    Parameter('echo_seed', 1, 'Seed of the noise of simulated echoes', minimum=0,
              maximum=2 ** 32 - 1, read_only=True),
    Parameter('autoarm', True, 'The radio is armed when the node is activated; else by the '
              'service radio/arm', read_only=True),
)


class RadioDriver(LifecycleNode):
    """
    Applies beams to a backend for as long as their lease lasts.

    The lease is watched by a thread of the transmitter: a callback here that hangs, or a clock
    that stops, does not keep beams on the air.
    """

    def __init__(self) -> None:
        super().__init__('radio_driver')
        declare(self, PARAMETERS)
        self._settings = values(self, PARAMETERS)
        if not self._settings.deployment_file:
            raise ParameterError('parameter deployment_file is empty, must be the path of a '
                                 'deployment file')
        self._deployment = load_deployment(Path(self._settings.deployment_file))
        self._required = {body.id: body.min_sinr_db for body in self._deployment.bodies
                          if body.role == Role.USER.value}
        self._truth = TrackStore(self._deployment.tracking)
        self._beam_faults = Counts(self, 'beams refused')
        self._truth_faults = Counts(self, 'truth refused')
        self._backend: Backend | None = None
        self._transmitter: Transmitter | None = None
        # Sequence number of the beams that went on the air last, and when [s].
        self._applied = 0, math.nan
        self._undo: list[Callable[[], object]] = []
        self._status_out: Any = None
        self._diagnostics = Diagnostics(self, self._health)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the backend, publishers and subscriptions; FAILURE if the backend cannot be."""
        deployment = self._deployment
        # Now, not while beams are on the air.
        warm_up()
        try:
            self._backend = make_backend(self._settings.backend, read_site(
                deployment.transmit_array, deployment.receive_array, deployment.radio, {},
                deployment.path.parent), {})
        except NfIsacError as error:
            self.get_logger().error(f'backend {self._settings.backend}: {error}')
            return TransitionCallbackReturn.FAILURE
        self._status_out = self.create_lifecycle_publisher(
            RadioStatus, 'radio/status', RADIO_STATUS, qos_overriding_options=overridable())
        beams = self.create_subscription(Beamformer, 'beamformer', self._on_beams, BEAMS_IN,
                                         qos_overriding_options=overridable())
        truth = self.create_subscription(TrackArray, 'truth/users', self._on_truth, TRACKS,
                                         event_callbacks=NO_EVENTS_IN,
                                         qos_overriding_options=overridable())
        arm = self.create_service(SetBool, 'radio/arm', self._on_arm)
        # On the steady clock: a stopped /clock is something to report.
        timer = self.create_timer(1.0 / self._settings.status_rate_hz, self._publish_status,
                                  clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._undo = []
        if self._settings.echo_rate_hz:
            echoes = EchoPublisher(
                self, deployment, self._settings.echo_rate_hz, self._settings.echo_seed,
                self._echoes, lambda: self._applied[0], self._truth_faults)
            self._undo.append(echoes.destroy)
        self._undo += [
            lambda: self.destroy_timer(timer), lambda: self.destroy_service(arm),
            lambda: self.destroy_subscription(truth), lambda: self.destroy_subscription(beams)]
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the transmitter, muted; counts start from zero."""
        assert self._backend is not None
        radio, array = self._deployment.radio, self._deployment.transmit_array
        limits = Limits(
            len(array), array.layout_hash, radio.wavelength, radio.power,
            self._settings.power_margin, _nanoseconds(self._settings.max_lease_s),
            _nanoseconds(self._settings.max_age_s),
            _nanoseconds(self._deployment.tracking.max_clock_skew))
        self._applied = 0, math.nan
        self._beam_faults.reset()
        self._truth_faults.reset()
        clock = self.get_clock()
        self._transmitter = Transmitter(self._backend, limits, lambda: clock.now().nanoseconds)
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
        """Mute before the process ends."""
        self._silence()

    def _silence(self) -> None:
        if self._transmitter is not None:
            self._transmitter.disarm()
            try:
                self._publish_status()
            except Exception:  # noqa: BLE001  rclpy raises several kinds
                # After Ctrl-C the context ends at any moment, and nobody can be told.
                if self.context.ok():
                    raise
            finally:
                self._transmitter.close()
                self._transmitter = None

    def _release(self) -> None:
        for undo in self._undo:
            undo()
        self._undo = []
        if self._status_out is not None:
            self.destroy_lifecycle_publisher(self._status_out)
            self._status_out = None
        self._backend = None
        self._truth.reset()

    def _on_beams(self, message: Beamformer) -> None:
        if self._transmitter is None:
            return
        try:
            command = command_from_message(message)
            if self._transmitter.take(command) is Verdict.APPLIED:
                self._applied = command.sequence, self._now()
        except BeamError as error:
            self._beam_faults.add(error.reason, str(error))

    def _echoes(self, targets: Sequence[Scatterer],
                rng: np.random.Generator) -> EchoSamples | None:
        """Echoes of the beams that are on the air now."""
        if self._transmitter is None or self._backend is None:
            return None
        return self._backend.echoes(targets, rng)

    def _on_truth(self, message: TrackArray) -> None:
        # Positions in the truth are those of the antennas: no offset is applied.
        try:
            self._truth.update(
                read_track_array(message, Role.USER, (), self._deployment.world_frame),
                self._now())
        except NfIsacError as error:
            self._truth_faults.add(error.reason, str(error))

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self._transmitter is None:
            response.success = not request.data
            response.message = 'the radio driver is not active: it is muted'
        else:
            (self._transmitter.arm if request.data else self._transmitter.disarm)()
            response.success = True
            response.message = 'armed' if request.data else 'disarmed and muted'
            self.get_logger().info(response.message)
        return response

    def _publish_status(self) -> None:
        if self._transmitter is None or self._status_out is None:
            return
        now = self._now()
        state = self._transmitter.state()
        beams = state.emission
        self._status_out.publish(RadioStatus(
            header=header(now, self._deployment.transmit_array.name),
            armed=state.armed, muted=beams is None, mute_reason=state.mute_reason,
            last_sequence=state.last_sequence, applied=state.applied, late=state.late,
            dropped=state.dropped, rejected=count_messages(state.rejected),
            power=0.0 if beams is None else beams.power,
            power_limit=self._deployment.radio.power,
            max_element_power=0.0 if beams is None else beams.max_element_power,
            eirp=0.0 if beams is None else beams.eirp, muted_duration=state.muted_duration,
            users=user_status_messages(self._received(state, now)),
            apply_stamp=time_message(self._applied[1])))

    def _received(self, state: TransmitterState, now: float) -> list[UserReport]:
        """SINR of every user that is configured, served, or told by the truth."""
        assert self._backend is not None
        self._truth.advance(now)
        bodies = self._truth.predict(now)
        required = {**self._required, **{
            body.id: body.min_sinr_db for body in bodies if body.min_sinr_db is not None}}
        served = () if state.emission is None else state.emission.command.user_ids
        ratios = self._backend.received_sinr(
            {body.id: body.position for body in bodies if body.state is TrackState.FRESH})
        return [UserReport(name, _nan_if_none(required.get(name)), _decibels(ratios.get(name)))
                for name in sorted({*required, *served, *(body.id for body in bodies)})]

    def _now(self) -> float:
        return 1e-9 * self.get_clock().now().nanoseconds

    def _health(self) -> Health:
        if self._transmitter is None:
            return Health(Level.OK, 'not active: muted')
        state = self._transmitter.state()
        level, summary = (Level.WARN, f'muted: {state.mute_reason}') if state.mute_reason else (
            Level.OK, 'transmitting')
        return Health(level, summary,
                      {'armed': state.armed, 'applied': state.applied, 'late': state.late,
                       'dropped': state.dropped, 'muted [s]': state.muted_duration,
                       **{f'beams {reason}': n for reason, n in state.rejected.items()},
                       **{f'truth {reason}': n
                          for reason, n in self._truth_faults.snapshot().items()}})


def _nanoseconds(seconds: float) -> int:
    return round(1e9 * seconds)


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value


def _decibels(ratio: float | None) -> float:
    if ratio is None:
        return math.nan
    return 10.0 * math.log10(ratio) if ratio > 0 else -math.inf


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(RadioDriver, argv)
