"""Node that tracks targets by the estimates from their echoes, for the beamformer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher

from nf_isac_msgs.msg import EchoEstimateArray, TrackArray
from nf_isac_ros.conversions.adapters import read_track_array, seconds
from nf_isac_ros.conversions.frames import require_frame
from nf_isac_ros.conversions.messages import track_array_message
from nf_isac_ros.conversions.reading import read_echo_estimates
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.localisation.localiser import EchoState
from nf_isac_ros.core.localisation.tracker import (
    Detection,
    TargetTrack,
    TargetTracker,
    TrackerSettings,
)
from nf_isac_ros.core.tracking import PoseSample, Role
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.nodes.diagnostics import Counts, Diagnostics, Health, Level
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values
from nf_isac_ros.nodes.qos import NO_EVENTS_IN, TRACKS, overridable
from nf_isac_ros.nodes.spin import run

DEFAULTS = TrackerSettings()
BY_TRUTH, BY_SEARCH = 'truth', 'search'
# A truth of another time says nothing about now [s].
LATEST_TRUTH = 1.0
# A track that no echo was seen of for so long coasts: a few sensing periods [s].
COASTS_AFTER = 0.5
# No track is surer than this at first [m].
LEAST_ERROR = 1e-3

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file: world frame, bodies', read_only=True),
    Parameter('start', BY_TRUTH, 'Where tracks come from at first; truth: for each target '
              'truth/targets, with an error, until its first echo is seen, and never again; '
              'search: new targets that the localizer finds', choices=(BY_TRUTH, BY_SEARCH),
              read_only=True),
    Parameter('start_error_m', 0.05, 'Standard deviation of each coordinate of tracks that start '
              'from the truth', 'm', minimum=0.0, maximum=10.0, read_only=True),
    Parameter('start_speed_error', DEFAULTS.start_speed_error, 'The same of their velocities',
              'm/s', minimum=1e-3, maximum=1e3, read_only=True),
    Parameter('seed', 1, 'Seed of that error', minimum=0, maximum=2 ** 32 - 1, read_only=True),
    Parameter('rate_hz', 50.0, 'Rate of the tracks while no estimates come', 'Hz', minimum=1.0,
              maximum=1000.0, read_only=True),
    Parameter('acceleration_density', DEFAULTS.acceleration_density, 'Power spectral density of '
              'the acceleration', 'm^2/s^3', minimum=1e-6, maximum=1e6, read_only=True),
    Parameter('initial_speed', DEFAULTS.initial_speed, 'Standard deviation of each velocity '
              'component of a new track', 'm/s', minimum=1e-3, maximum=1e3, read_only=True),
    Parameter('gate_probability', DEFAULTS.gate_probability, 'Share of right estimates that pass '
              'the chi-square gate', minimum=0.5, maximum=0.999999999, read_only=True),
    Parameter('confirm_hits', DEFAULTS.confirm_hits, 'A new track is confirmed once it was seen '
              'so often ...', minimum=1, maximum=100, read_only=True),
    Parameter('confirm_looks', DEFAULTS.confirm_looks, '... in so many sensing periods',
              minimum=1, maximum=100, read_only=True),
    Parameter('restart_after', DEFAULTS.restart_after, 'Estimates in a row outside the gate after '
              'which a track begins anew', minimum=1, maximum=100, read_only=True),
    Parameter('coast_s', DEFAULTS.coast, 'How long a track goes on without estimates', 's',
              minimum=0.001, maximum=60.0, read_only=True),
)


class Tracker(Node):
    """Kalman filters on the estimates; publishes confirmed tracks on `targets`."""

    def __init__(self) -> None:
        super().__init__('tracker')
        declare(self, PARAMETERS)
        settings = values(self, PARAMETERS)
        if not settings.deployment_file:
            raise ParameterError('parameter deployment_file is empty, must be the path of a '
                                 'deployment file')
        self._deployment = load_deployment(Path(settings.deployment_file))
        self._bodies = {body.id: body for body in self._deployment.bodies
                        if body.role == Role.TARGET.value}
        self._tracker = TargetTracker(TrackerSettings(
            settings.acceleration_density, settings.initial_speed, settings.gate_probability,
            settings.confirm_hits, settings.confirm_looks, settings.restart_after,
            settings.coast_s, settings.start_speed_error),
            self._deployment.tracking.max_clock_skew)
        self._start_error = settings.start_error_m
        self._on_their_own: set[str] = set()
        self._errors: dict[str, np.ndarray] = {}
        self._rng = np.random.default_rng(settings.seed)
        self._period = 1.0 / settings.rate_hz
        self._rejected = Counts(self, 'message rejected')
        self._dropped = Counts(self, 'track given up')
        self._sent = -np.inf
        self._confirmed = self._publisher('targets')
        self._tentative = self._publisher('tracks/tentative')
        self.create_subscription(
            EchoEstimateArray, 'echo/estimates', self._on_estimates, TRACKS,
            event_callbacks=NO_EVENTS_IN, qos_overriding_options=overridable())
        if settings.start == BY_TRUTH:
            self.create_subscription(
                TrackArray, 'truth/targets', self._on_truth, TRACKS,
                event_callbacks=NO_EVENTS_IN, qos_overriding_options=overridable())
        self.create_timer(self._period, self._on_timer)
        self._diagnostics = Diagnostics(self, self._health)

    def _publisher(self, topic: str) -> Publisher:
        return self.create_publisher(TrackArray, topic, TRACKS,
                                     qos_overriding_options=overridable())

    def _now(self) -> float:
        return 1e-9 * self.get_clock().now().nanoseconds

    def _advance(self) -> float:
        now = self._now()
        for name in self._tracker.advance(now):
            self._dropped.add('not-seen', name)
        if now < self._sent - self._deployment.tracking.max_clock_skew:
            self._sent = -np.inf
        return now

    def _on_truth(self, message: TrackArray) -> None:
        # Positions in the truth are those of the scatterers: no offset is applied.
        try:
            samples = read_track_array(message, Role.TARGET, (), self._deployment.world_frame)
        except NfIsacError as error:
            self._rejected.add(error.reason, str(error))
            return
        now = self._advance()
        for sample in samples:
            if (sample.kind == 'point' and sample.id not in self._on_their_own
                    and abs(sample.stamp - now) <= LATEST_TRUTH):
                if sample.id not in self._errors:
                    self._errors[sample.id] = self._rng.standard_normal((2, 3))
                errors = self._errors[sample.id]
                found = self._tracker.start(Detection(
                    sample.id, sample.position + self._start_error * errors[0],
                    max(self._start_error, LEAST_ERROR) ** 2 * np.eye(3),
                    velocity=None if sample.velocity is None else
                    sample.velocity + self._tracker.settings.start_speed_error * errors[1]),
                    sample.stamp)
                if found:
                    self._on_their_own.add(sample.id)
        self._publish(now)

    def _on_estimates(self, message: EchoEstimateArray) -> None:
        self._advance()
        stamp = seconds(message.header.stamp)
        try:
            require_frame(message.header.frame_id, self._deployment.world_frame, 'estimate')
            found = read_echo_estimates(message)
            self._tracker.update(stamp, [
                (target.state, Detection(target.id, target.position, target.covariance,
                                         target.reflection)) for target in found])
        except NfIsacError as error:
            self._rejected.add(error.reason, str(error))
            return
        # From here on nobody is told the truth about those.
        self._on_their_own |= {target.id for target in found
                               if target.state is EchoState.DETECTED}
        # Where the clock brought the tracks ahead meanwhile, stamps must not go back.
        self._publish(max(stamp, self._sent + 1e-6))

    def _on_timer(self) -> None:
        now = self._advance()
        if now - self._sent > 2 * self._period:
            self._publish(now)

    def _publish(self, stamp: float) -> None:
        tracks = self._tracker.tracks(stamp)
        for publisher, confirmed in ((self._confirmed, True), (self._tentative, False)):
            samples = [self._sample(track, stamp) for track in tracks
                       if track.confirmed is confirmed]
            if samples:
                publisher.publish(track_array_message(
                    samples, stamp, self._deployment.world_frame))
        self._sent = stamp

    def _sample(self, track: TargetTrack, stamp: float) -> PoseSample:
        body = self._bodies.get(track.id)
        # Whoever listens adds the offset of a configured body to its pose.
        offset = np.zeros(3) if body is None else body.offset
        known = body is not None or not np.isfinite(track.reflection)
        return PoseSample(
            track.id, Role.TARGET, stamp, track.position - offset, track.velocity,
            track.covariance[:3, :3], reflection=None if known else track.reflection)

    def _health(self) -> Health:
        now = self._now()
        tracks = self._tracker.tracks(now)
        confirmed = [track for track in tracks if track.confirmed]
        coasting = [f'{track.id} for {now - track.seen:.1f} s' for track in confirmed
                    if now - track.seen > COASTS_AFTER]
        level, summary = Level.OK, f'{len(confirmed)} confirmed tracks'
        if not confirmed:
            level, summary = Level.WARN, 'no confirmed track'
        elif coasting:
            level, summary = Level.WARN, f'no echo of {", ".join(coasting)}'
        return Health(level, summary, {
            'confirmed': ' '.join(track.id for track in confirmed),
            'tentative': len(tracks) - len(confirmed), **self._tracker.counts,
            **{f'rejected {reason}': count
               for reason, count in self._rejected.snapshot().items()}})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(Tracker, argv)
