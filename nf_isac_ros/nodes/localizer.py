"""Node that turns echoes into position estimates: begun at the tracks, and a search for new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import time

import numpy as np
from rclpy.node import Node

from nf_isac_msgs.msg import EchoEstimateArray, EchoSamples, TrackArray
from nf_isac_ros.conversions.adapters import read_track_array, seconds
from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.conversions.messages import echo_estimate_array_message
from nf_isac_ros.conversions.reading import read_echo_samples
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.localisation.detection import SearchGrid, search_grid
from nf_isac_ros.core.localisation.echoes import Sensor
from nf_isac_ros.core.localisation.likelihood import Likelihood, warm_up
from nf_isac_ros.core.localisation.localiser import (
    EchoState,
    ExpectedTarget,
    LocatedTarget,
    locate_with_fit,
    search_new,
)
from nf_isac_ros.core.tracking import Role, TrackState, TrackStore
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.nodes.diagnostics import Counts, Diagnostics, Health, Level
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values
from nf_isac_ros.nodes.qos import NO_EVENTS_IN, TRACKS, overridable
from nf_isac_ros.nodes.spin import run

# Echoes that did not come for so long are missed [s].
MISSED_AFTER = 0.5

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file: arrays, radio, search volume',
              read_only=True),
    Parameter('false_alarms', 1e-3, 'How often a target that is not there may be taken for seen, '
              'for each target and sensing period', minimum=1e-12, maximum=0.1, read_only=True),
    Parameter('max_age_s', 0.25, 'Echoes that are older when they come are late and left out',
              's', minimum=0.001, maximum=60.0, read_only=True),
    Parameter('search_points', 100, 'Points of the search volume that are looked at in each '
              'sensing period, one part after the other; 0: no search', minimum=0,
              maximum=100_000, read_only=True),
    Parameter('search_false_alarms', 1e-3, 'Expected new targets that are not there, each time '
              'that the whole search volume was looked at', minimum=1e-12, maximum=0.1,
              read_only=True),
    Parameter('search_step', 1.2, 'Distance of the points of the search, in widths of the '
              'matched filter', minimum=0.3, maximum=3.0, read_only=True),
)


class Localizer(Node):
    """
    Locates targets in every sensing period, by maximum likelihood.

    Echoes come one message for each period; only the newest counts when the node is behind.
    """

    def __init__(self) -> None:
        super().__init__('localizer')
        declare(self, PARAMETERS)
        self._settings = values(self, PARAMETERS)
        if not self._settings.deployment_file:
            raise ParameterError('parameter deployment_file is empty, must be the path of a '
                                 'deployment file')
        deployment = load_deployment(Path(self._settings.deployment_file))
        self._deployment = deployment
        self._sensor = Sensor(deployment.transmit_array, deployment.receive_array,
                              deployment.radio.wavelength, deployment.radio.sensing_noise)
        self._tracks = {'targets': TrackStore(deployment.tracking),
                        'tracks/tentative': TrackStore(deployment.tracking)}
        self._rejected = Counts(self, 'message rejected')
        self._events = Counts(self, 'echoes')
        self._grid: SearchGrid | None = None
        self._next_point = 0
        if deployment.search is not None and self._settings.search_points:
            self._grid = search_grid(self._sensor, deployment.search.lower,
                                     deployment.search.upper, self._settings.search_step)
            self.get_logger().info(f'{len(self._grid.points)} points in the search volume')
        warm_up()
        self._last = -np.inf
        self._came = -np.inf
        self._found: tuple[LocatedTarget, ...] = ()
        self._spent = 0.0
        self._estimates = self.create_publisher(
            EchoEstimateArray, 'echo/estimates', TRACKS, qos_overriding_options=overridable())
        for topic, store in self._tracks.items():
            self.create_subscription(
                TrackArray, topic, lambda message, store=store: self._on_tracks(message, store),
                TRACKS, event_callbacks=NO_EVENTS_IN, qos_overriding_options=overridable())
        self.create_subscription(
            EchoSamples, 'echo/samples', self._on_samples, TRACKS, event_callbacks=NO_EVENTS_IN,
            qos_overriding_options=overridable())
        self._diagnostics = Diagnostics(self, self._health)

    def _now(self) -> float:
        return 1e-9 * self.get_clock().now().nanoseconds

    def _on_tracks(self, message: TrackArray, store: TrackStore) -> None:
        now = self._now()
        try:
            store.advance(now)
            store.update(read_track_array(message, Role.TARGET, self._deployment.bodies,
                                          self._deployment.world_frame), now)
        except NfIsacError as error:
            self._rejected.add(error.reason, str(error))

    def _on_samples(self, message: EchoSamples) -> None:
        began = time.perf_counter()
        now, stamp = self._now(), seconds(message.header.stamp)
        try:
            if now < self._last - self._deployment.tracking.max_clock_skew:
                self._last = -np.inf   # the clock went back: stamps start anew
            self._check_stamp(stamp, now)
            likelihood = Likelihood(self._sensor, read_echo_samples(message, self._sensor))
        except NfIsacError as error:
            self._rejected.add(error.reason, str(error))
            return
        self._last, self._came = stamp, began
        expected = self._expected(stamp)
        if not expected:
            self._events.add('no-tracks', quiet=True)
        estimates, fit = locate_with_fit(likelihood, expected, self._settings.false_alarms)
        for estimate in estimates:
            self._events.add(estimate.state.value, quiet=True)
        if self._grid is not None:
            part = slice(self._next_point, self._next_point + self._settings.search_points)
            self._next_point = part.stop if part.stop < len(self._grid.points) else 0
            new = search_new(likelihood, fit, self._grid, part,
                             self._settings.search_false_alarms)
            if new is not None:
                estimates = (*estimates, new)
                self._events.add(EchoState.NEW.value, quiet=True)
        self._found = estimates
        self._estimates.publish(echo_estimate_array_message(
            estimates, stamp, self._deployment.world_frame, message.sequence, self._now()))
        self._spent = 1e3 * (time.perf_counter() - began)

    def _check_stamp(self, stamp: float, now: float) -> None:
        """Raise MessageError unless echoes of this time can be used now."""
        if stamp - now > self._deployment.tracking.max_clock_skew:
            raise MessageError(f'echoes are {stamp - now:.3f} s in the future', 'future-stamp')
        if now - stamp > self._settings.max_age_s:
            raise MessageError(f'echoes are {now - stamp:.3f} s old, must be at most '
                               f'{self._settings.max_age_s:g} s', 'late')
        if stamp <= self._last:
            raise MessageError(f'echoes of {stamp:.6f} s come after those of {self._last:.6f} s',
                               'stamp-regression')

    def _expected(self, stamp: float) -> tuple[ExpectedTarget, ...]:
        """Point targets at the time of the echoes, as the tracks predict them."""
        bodies = {body.id: body for store in self._tracks.values()
                  for body in store.predict(stamp)
                  if body.kind == 'point' and body.state is not TrackState.DROPPED}
        return tuple(ExpectedTarget(name, body.position, body.position_covariance)
                     for name, body in sorted(bodies.items()))

    def _health(self) -> Health:
        events = self._events.snapshot()
        missed = time.perf_counter() - self._came
        unseen = [each.id for each in self._found if each.state is EchoState.LOST]
        level, summary = Level.OK, 'locating'
        if not np.isfinite(missed):
            level, summary = Level.WARN, 'no echoes yet'
        elif missed > MISSED_AFTER:
            level, summary = Level.WARN, f'no echoes for {missed:.1f} s'
        elif all(each.state is EchoState.NEW for each in self._found):
            level, summary = Level.WARN, 'no track to look for'
        elif unseen:
            level, summary = Level.WARN, f'no echo of {", ".join(unseen)}'
        return Health(level, summary, {
            **events, 'latest [ms]': self._spent,
            **{f'rejected {reason}': count
               for reason, count in self._rejected.snapshot().items()}})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(Localizer, argv)
