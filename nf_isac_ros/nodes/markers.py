"""Node that draws the scene for rviz2: markers, and the beam pattern as a point cloud."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import math
import os
from pathlib import Path
import time
from types import SimpleNamespace

from builtin_interfaces.msg import Time as Stamp
import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from nf_isac_msgs.msg import Beamformer
from nf_isac_ros.conversions.markers import MarkerScene, Style, pattern_cloud
from nf_isac_ros.conversions.matrices import unpack
from nf_isac_ros.core.beampattern import GridPlane, PatternEvaluator, decibels
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.nodes.diagnostics import Counts, Diagnostics, Health, Level
from nf_isac_ros.nodes.parameters import (
    Parameter,
    ParameterError,
    declare,
    values,
    watch,
)
from nf_isac_ros.nodes.scene_inputs import TRACKED, TRUTH, SceneInputs
from nf_isac_ros.nodes.spin import run

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
    Parameter('body_size_m', math.nan, 'Diameter of users, twice that of targets; .nan: by the '
              'size of the planes of the beam pattern', 'm', minimum=0.001, maximum=100.0),
    Parameter('text_height_m', math.nan, 'Height of texts; .nan: as the bodies', 'm',
              minimum=0.001, maximum=100.0),
    Parameter('lifetime_s', 1.0, 'A marker vanishes after this time unless it is sent again', 's',
              minimum=0.1, maximum=60.0),
)

# Diameter of a body and height of a text, as shares of the longest edge of a plane; and that
# edge where there is no plane [m].
BODY_SHARE, TEXT_SHARE, NO_PLANE = 0.04, 0.025, 7.5

# The solver comes first on a machine with few cores.
NICENESS = 10


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
        self._inputs = SceneInputs(self, deployment, self._faults.add)

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

    def _on_markers(self) -> None:
        """Send the markers if anybody wants them."""
        wanted = self._markers_out.get_subscription_count() > 0
        self._inputs.listen(wanted or self._pattern_out.get_subscription_count() > 0)
        self._inputs.read()
        if not wanted:
            self._ticks = 0
            return
        self._update_scene()
        now = self.get_clock().now()
        live = self._inputs.live(now.nanoseconds)
        stamp = self._inputs.beams.design_stamp if live else now.to_msg()
        markers = self._scene.markers(stamp, live)
        if self._ticks == 0:
            markers += self._scene.static_markers(stamp)
        # Three times in the lifetime: one lost message makes nothing flicker.
        every = max(1, int(self._settings.rate_hz * self._settings.lifetime_s / 3))
        self._ticks = (self._ticks + 1) % every
        self._markers_out.publish(MarkerArray(markers=markers))

    def _update_scene(self) -> None:
        scene, inputs = self._scene, self._inputs
        scene.bounds, scene.status, scene.radio = inputs.bounds, inputs.status, inputs.radio
        scene.served = tuple(inputs.beams.user_ids) if inputs.beams else ()
        scene.truth, scene.tracked = (
            {key: sample.position for key, sample in inputs.samples(source).items()}
            for source in (TRUTH, TRACKED))
        scene.outlines = inputs.outlines()

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
        beams = self._inputs.beams
        if beams is None or not self._inputs.live(self.get_clock().now().nanoseconds):
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
        edges = [np.linalg.norm(edge) for plane in self._deployment.markers.planes
                 for edge in (plane.u, plane.v)]
        edge = float(max(edges, default=NO_PLANE))
        body, text = self._settings.body_size_m, self._settings.text_height_m
        return Style(
            frame=self._deployment.world_frame,
            body_size=BODY_SHARE * edge if math.isnan(body) else body,
            text_height=TEXT_SHARE * edge if math.isnan(text) else text,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node."""
    os.nice(NICENESS)
    return run(Markers, argv)
