"""Node that draws the scene for rviz2: markers, and the beam pattern as a point cloud."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
import math
import os
from pathlib import Path
import time
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time as Stamp
import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from nf_isac_msgs.msg import (
    Beamformer,
    CrbArray,
    DesignStatus,
    RadioStatus,
    TrackArray,
)
from nf_isac_ros.conversions.adapters import read_track_array
from nf_isac_ros.conversions.markers import MarkerScene, Style, pattern_cloud
from nf_isac_ros.conversions.matrices import unpack
from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.beampattern import GridPlane, PatternEvaluator, decibels
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.extended.outline import Outline, outline
from nf_isac_ros.core.planning import extended_target
from nf_isac_ros.core.tracking import PoseSample, Role
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.nodes.diagnostics import Counts, Diagnostics, Health, Level
from nf_isac_ros.nodes.inputs import message_class
from nf_isac_ros.nodes.parameters import (
    Parameter,
    ParameterError,
    declare,
    values,
    watch,
)
from nf_isac_ros.nodes.qos import RADIO_STATUS, overridable, poses_in
from nf_isac_ros.nodes.spin import run
from nf_isac_ros.nodes.transforms import transform_buffer

Vector = NDArray[np.float64]

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file: arrays, bodies, planes of the beam pattern',
              read_only=True),
    Parameter('rate_hz', 10.0, 'Rate of the markers', 'Hz', minimum=0.1, maximum=60.0,
              read_only=True),
    Parameter('pattern_rate_hz', math.nan,
              'Rate of the beam pattern; .nan: that of the deployment file', 'Hz',
              minimum=0.01, maximum=30.0, read_only=True),
    Parameter('pattern_load', 0.2, 'Share of one core that the beam pattern may take; its rate '
              'falls where it would take more', minimum=0.01, maximum=1.0),
    Parameter('pattern_memory_mb', 256, 'Memory for what the beam pattern keeps from one time '
              'to the next', 'MB', minimum=0, maximum=16384, read_only=True),
    Parameter('floor_db', -10.0, 'Lowest level of the beam pattern', 'dB',
              minimum=-200.0, maximum=100.0),
    Parameter('ceiling_db', 40.0, 'Highest level of the beam pattern', 'dB',
              minimum=-200.0, maximum=100.0),
    Parameter('body_size_m', 0.3, 'Diameter of targets and users', 'm', minimum=0.001,
              maximum=100.0),
    Parameter('text_height_m', 0.2, 'Height of texts', 'm', minimum=0.001, maximum=100.0),
    Parameter('lifetime_s', 1.0, 'A marker vanishes after this time unless it is sent again', 's',
              minimum=0.1, maximum=60.0),
)

# One message may name one body only, so that the newest one is not enough.
POSES = QoSProfile(depth=64, reliability=ReliabilityPolicy.BEST_EFFORT)

# A body of which nothing was heard for this long is gone, and so is a radio [s].
FORGET_AFTER = 2.0

# The solver comes first on a machine with few cores.
NICENESS = 10


class Inbox:
    """
    Newest messages of one topic, decoded only when somebody looks at them.

    Poses come ten times as often as markers are drawn, and beams are large.

    Parameters
    ----------
    topic : str
    kind : type
        Message class.
    quality : QoSProfile
        Its depth is also the number of messages that are kept.

    Attributes
    ----------
    received : float
        When the newest message came, on the steady clock [s].

    """

    def __init__(self, topic: str, kind: type, quality: QoSProfile) -> None:
        self._topic = topic
        self._kind = kind
        self._quality = quality
        self._raw: deque[bytes] = deque(maxlen=quality.depth)
        self._subscription: Subscription | None = None
        self.received = -math.inf

    def open(self, node: Node) -> None:
        """Subscribe."""
        self._subscription = node.create_subscription(
            self._kind, self._topic, self.put, self._quality, raw=True,
            qos_overriding_options=overridable())

    def close(self, node: Node) -> None:
        """End the subscription."""
        node.destroy_subscription(self._subscription)
        self._raw.clear()

    def put(self, raw: bytes) -> None:
        """Take a serialised message in."""
        self._raw.append(raw)
        self.received = time.monotonic()

    def take(self) -> list[Any]:
        """Return the messages since the last call, oldest first."""
        messages = [deserialize_message(raw, self._kind) for raw in self._raw]
        self._raw.clear()
        return messages


@dataclass(frozen=True)
class PoseInput:
    """
    A topic that tells where bodies are.

    Attributes
    ----------
    source : str
        `tracked` or `truth`.
    inbox : Inbox
    read : callable
        Turns a message into samples.

    """

    source: str
    inbox: Inbox
    read: Callable[[Any], list[PoseSample]]


@dataclass(frozen=True)
class Lease:
    """
    How long beams may be in use: until both clocks say that they may not.

    Attributes
    ----------
    until : int
        On the clock of the node [ns].
    steady_until : float
        On the steady clock [s].

    """

    until: int
    steady_until: float

    def held(self, now: int) -> bool:
        """Tell whether the lease goes on at a time of the node's clock [ns]."""
        return now < self.until and time.monotonic() < self.steady_until


class Markers(Node):
    """
    Draws arrays, bodies, bounds, beams, the state of the radio, and the beam pattern.

    Nothing is received or computed while nobody subscribes. The beam pattern is computed in a
    thread of its own, so that markers go on meanwhile.
    """

    def __init__(self) -> None:
        super().__init__('markers')
        declare(self, PARAMETERS)
        self._settings = values(self, PARAMETERS)
        self._check(self._settings)
        if not self._settings.deployment_file:
            raise ParameterError(
                'parameter deployment_file is empty, must be the path of a deployment file')
        deployment = self._deployment = load_deployment(Path(self._settings.deployment_file))
        arrays = [deployment.transmit_array]
        if not deployment.transmit_array.same_elements(deployment.receive_array):
            arrays.append(deployment.receive_array)
        self._planes = [GridPlane(plane.centre, plane.u, plane.v, plane.cells)
                        for plane in deployment.markers.planes]
        self._scene = MarkerScene(arrays, self._style())
        self._faults = Counts(self, 'message not drawn')
        self._make_inputs()

        latest = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._markers_out = self.create_publisher(MarkerArray, 'markers', latest)
        self._pattern_out = self.create_publisher(PointCloud2, 'beampattern', latest)
        self._ticks = 0
        self._pattern_shown = False
        self._pattern_due = 0.0
        self._pattern_ms = math.nan
        self._evaluator: PatternEvaluator | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix='pattern')
        self._job: Future[None] | None = None

        # On the steady clock: what is shown while /clock stands still must be true as well.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        pattern_rate = self._settings.pattern_rate_hz
        if math.isnan(pattern_rate):
            pattern_rate = deployment.markers.rate
        self._timers = [
            self.create_timer(1 / self._settings.rate_hz, self._on_markers, clock=steady),
            self.create_timer(1 / pattern_rate, self._on_pattern, clock=steady)]
        self._diagnostics = Diagnostics(self, self._health)
        watch(self, PARAMETERS, self._check, self._apply)

    def close(self) -> None:
        """Wait for the beam pattern that is being computed."""
        self._worker.shutdown(cancel_futures=True)

    def _make_inputs(self) -> None:
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._beamformer = Inbox('beamformer', Beamformer, newest)
        self._crb = Inbox('crb', CrbArray, newest)
        self._status = Inbox('status', DesignStatus, newest)
        self._radio = Inbox('radio/status', RadioStatus, RADIO_STATUS)
        bodies, frame = self._deployment.bodies, self._deployment.world_frame
        self._poses: list[PoseInput] = []
        for role in Role:
            for source, topic, known in (
                    # The truth is told of the point that counts: it has its offset already.
                    ('truth', f'truth/{role.value}s', ()), ('tracked', f'{role.value}s', bodies)):
                self._poses.append(PoseInput(
                    source, Inbox(topic, TrackArray, POSES),
                    partial(read_track_array, role=role, bodies=known, world_frame=frame)))
        reader = PoseReader(bodies, frame, self._deployment.transforms, transform_buffer)
        for topic, type_name in reader.topics.items():
            self._poses.append(PoseInput(
                'tracked', Inbox(topic, message_class(type_name), poses_in(topic, type_name)),
                partial(reader.read, topic)))
        self._heard: dict[tuple[str, str, str], tuple[float, PoseSample]] = {}
        self._beams: Beamformer | None = None
        self._lease: Lease | None = None
        self._listening = False

    def _listen(self, wanted: bool) -> None:
        """Subscribe while somebody looks: hundreds of messages a second cost a tenth of a core."""
        if wanted == self._listening:
            return
        self._listening = wanted
        for inbox in (self._beamformer, self._crb, self._status, self._radio,
                      *(poses.inbox for poses in self._poses)):
            if wanted:
                inbox.open(self)
            else:
                inbox.close(self)

    def _on_markers(self) -> None:
        """Send the markers if anybody wants them."""
        wanted = self._markers_out.get_subscription_count() > 0
        self._listen(wanted or self._pattern_out.get_subscription_count() > 0)
        if self._listening:
            self._read()
        if not wanted:
            self._ticks = 0
            return
        now = self.get_clock().now()
        live = self._live(now)
        stamp = self._beams.design_stamp if live else now.to_msg()
        markers = self._scene.markers(stamp, live)
        if self._ticks == 0:
            markers += self._scene.static_markers(stamp)
        # Three times in the lifetime: one lost message makes nothing flicker.
        every = max(1, int(self._settings.rate_hz * self._settings.lifetime_s / 3))
        self._ticks = (self._ticks + 1) % every
        self._markers_out.publish(MarkerArray(markers=markers))

    def _read(self) -> None:
        """Bring the scene up to date."""
        scene = self._scene
        for message in self._beamformer.take():
            self._beams = message
            length = _nanoseconds(message.valid_until) - _nanoseconds(message.publish_stamp)
            self._lease = Lease(_nanoseconds(message.valid_until),
                                self._beamformer.received + 1e-9 * length)
            scene.served = tuple(message.user_ids)
        for message in self._crb.take():
            scene.bounds = message
        for message in self._status.take():
            scene.status = message
        for message in self._radio.take():
            scene.radio = message
        oldest = time.monotonic() - FORGET_AFTER
        if self._radio.received < oldest:
            scene.radio = None
        for poses in self._poses:
            for message in poses.inbox.take():
                try:
                    samples = poses.read(message)
                except NfIsacError as error:
                    self._faults.add(error.reason, str(error))
                    continue
                for sample in samples:
                    key = (poses.source, f'{sample.role.value}s', sample.id)
                    self._heard[key] = (poses.inbox.received, sample)
        self._heard = {key: entry for key, entry in self._heard.items() if entry[0] > oldest}
        scene.truth = self._positions('truth')
        scene.tracked = {**scene.truth, **self._positions('tracked')}
        scene.outlines = {**self._outlines('truth'), **self._outlines('tracked')}

    def _positions(self, source: str) -> dict[tuple[str, str], Vector]:
        return {(role, name): sample.position
                for (kind, role, name), (_, sample) in self._heard.items() if kind == source}

    def _outlines(self, source: str) -> dict[str, Outline]:
        """Outlines of the extended targets of known contour and heading, by id."""
        configured = {body.id: body for body in self._deployment.bodies
                      if body.role == Role.TARGET.value}
        outlines = {}
        for (kind, _, name), (_, sample) in self._heard.items():
            if kind != source or sample.role is not Role.TARGET:
                continue
            target = extended_target(sample, configured.get(name), self._deployment.contours)
            if target is not None:
                outlines[name] = outline(target, self._deployment.transmit_array)
        return outlines

    def _live(self, now: Time) -> bool:
        return self._lease is not None and self._lease.held(now.nanoseconds)

    def _on_pattern(self) -> None:
        """Have the beam pattern computed if anybody wants it and the last one is done."""
        if not self._planes or self._pattern_out.get_subscription_count() == 0:
            return
        if self._job is not None:
            if not self._job.done() or time.monotonic() < self._pattern_due:
                return
            error = self._job.exception()
            if error is not None:
                self._faults.add('internal-error', repr(error))
            self._job = None
        beams = self._beams
        if beams is None or not self._live(self.get_clock().now()):
            # Old beams must not look like present ones: an empty cloud clears the display.
            if self._pattern_shown:
                self._publish_pattern(np.empty((0, 3)), np.empty(0),
                                      self.get_clock().now().to_msg())
            self._pattern_shown = False
            return
        if beams.layout_hash != self._deployment.transmit_array.layout_hash:
            self._faults.add('wrong-layout', f'beams are for the array {beams.array_id!r} with '
                             f'layout {beams.layout_hash!r}, the deployment has another')
            return
        self._pattern_shown = True
        self._job = self._worker.submit(self._draw_pattern, beams)

    def _draw_pattern(self, beams: Beamformer) -> None:
        """Compute and publish the gain over isotropic transmission [dB]; in the worker."""
        try:
            if self._evaluator is None:
                self._evaluator = PatternEvaluator(
                    self._deployment.transmit_array.positions,
                    self._deployment.radio.wavelength,
                    np.concatenate([plane.points for plane in self._planes]),
                    memory=self._settings.pattern_memory_mb << 20)
                self._evaluator.isotropic  # noqa: B018  the work that is done once does not count as load
            begin = time.perf_counter()
            weights = unpack(beams.weights, beams.n_elements, beams.n_users + beams.n_sensing)
            level = decibels(
                self._evaluator.gain(weights), self._settings.floor_db, self._settings.ceiling_db)
        except NfIsacError as error:
            self._faults.add(error.reason, str(error))
            return
        self._publish_pattern(self._evaluator.points, level, beams.design_stamp)
        self._pattern_ms = 1e3 * (time.perf_counter() - begin)
        self._pattern_due = (time.monotonic()
                             + 1e-3 * self._pattern_ms * (1 / self._settings.pattern_load - 1))

    def _publish_pattern(self, points: Vector, level: Vector, stamp: Stamp) -> None:
        self._pattern_out.publish(
            pattern_cloud(points, level, self._deployment.world_frame, stamp))

    def _check(self, settings: SimpleNamespace) -> None:
        if not settings.floor_db < settings.ceiling_db:
            raise ParameterError(f'parameter floor_db is {settings.floor_db}, must be less than '
                                 f'ceiling_db ({settings.ceiling_db})')

    def _apply(self, settings: SimpleNamespace) -> None:
        self._settings = settings
        self._scene.restyle(self._style())

    def _style(self) -> Style:
        return Style(
            frame=self._deployment.world_frame, body_size=self._settings.body_size_m,
            text_height=self._settings.text_height_m,
            bound_scale=self._deployment.markers.bound_scale,
            lifetime=self._settings.lifetime_s)

    def _health(self) -> Health:
        faults = self._faults.snapshot()
        return Health(
            Level.WARN if faults else Level.OK,
            'something was not drawn' if faults else 'drawing',
            {'marker subscribers': self._markers_out.get_subscription_count(),
             'pattern subscribers': self._pattern_out.get_subscription_count(),
             'pattern [ms]': self._pattern_ms, **faults})


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10 ** 9 + int(stamp.nanosec)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node."""
    os.nice(NICENESS)
    return run(Markers, argv)
