"""
Lifecycle node that turns tracks into beams.

The executor thread takes messages. The solver thread begins a cycle when poses have come, or when
a period is over, designs for the scene as it will be at the transmit time, and publishes. Neither
waits for the other, but for the microseconds in which the tracks are read or changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import math
from pathlib import Path
import threading
import time
import traceback
from types import SimpleNamespace
from typing import Any

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from nf_isac_msgs.msg import Beamformer, CrbArray, DesignStatus, TransmitCovariance
from nf_isac_ros.conversions.transforms import array_transforms
from nf_isac_ros.core.cycle import DesignSettings, warm_up
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.planning import PlannedScene, plan_scene
from nf_isac_ros.core.schedule import CycleSchedule
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.core.tracking import ChannelStore, TrackStore
from nf_isac_ros.files.deployment import Deployment, load_deployment
from nf_isac_ros.nodes.designer import Designer, Job, Outputs
from nf_isac_ros.nodes.diagnostics import Counts, Diagnostics, Health, Level
from nf_isac_ros.nodes.inputs import PoseInputs
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values, watch
from nf_isac_ros.nodes.qos import NO_EVENTS_OUT, overridable
from nf_isac_ros.nodes.spin import run, spare_the_collector

ON_POSES, BY_TIMER = 'pose', 'timer'

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file: arrays, radio, bodies, design',
              read_only=True),
    Parameter('design', '', 'Name of the design; empty: that of the deployment file',
              choices=('', *sorted(DESIGNS))),
    Parameter('target_topics', True, 'Listen to the topics that the deployment file names for '
              'targets; else targets come by the topic targets alone, from a tracker',
              read_only=True),
    Parameter('rate_hz', math.nan, 'Designs per second; .nan: that of the deployment file', 'Hz',
              minimum=0.1, maximum=1000.0),
    Parameter('trigger', ON_POSES, 'What begins a cycle; pose: new poses, on the mean at most '
              'rate_hz times a second, and the clock where none come; timer: the clock alone',
              choices=(ON_POSES, BY_TIMER)),
    Parameter('budget_ms', math.nan, 'Time for one design; .nan: that of the deployment file; '
              '.inf: as long as it takes', 'ms', minimum=0.1),
    Parameter('gap', math.nan, 'Certified relative gap that counts as optimal; .nan: that of the '
              'deployment file', minimum=1e-12, maximum=0.5),
    Parameter('deadline_fallback', True, 'Go over to zero forcing, and say so, in cycles whose '
              'budget is too short for the design'),
    Parameter('solve_ahead', False, 'Solve the next scene, as predicted, in the idle rest of each '
              'period: fewer iterations when its poses are there, more work altogether'),
    Parameter('lease_s', math.nan, 'How long after the transmit time beams may be used; .nan: two '
              'and a half design periods or cycles, whichever is longer', 's', minimum=0.001,
              maximum=60.0),
    Parameter('lead_s', math.nan, 'How far ahead of the start of a cycle the transmit time lies; '
              '.nan: as long as the latest cycles took and half a period, so that it is in the '
              'middle of the time of use, but at most half of predict_s', 's', minimum=0.0,
              maximum=10.0),
    Parameter('calibration_epoch', 0, 'Calibration of the radio that the beams assume; 0: none',
              minimum=0),
)

# Automatic lease, in periods or cycles, and its upper limit [s].
LEASE_CYCLES = 2.5
MAX_AUTOMATIC_LEASE = 1.5
# How long a deactivation waits for a design that is under way [s].
JOIN_TIMEOUT = 2.0
# After this the middleware need not deliver beams any more; what counts is their lease [s].
LIFESPAN = 1.0

REPORTS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
STATIC = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                    durability=DurabilityPolicy.TRANSIENT_LOCAL)


class BeamformerNode(LifecycleNode):
    """Subscribes to poses and publishes beams, their bounds and their status."""

    def __init__(self) -> None:
        super().__init__('beamformer')
        declare(self, PARAMETERS)
        self._parameters_now = values(self, PARAMETERS)
        watch(self, PARAMETERS, self._check_parameters, self._apply_parameters)
        self._rejected = Counts(self, 'message rejected')
        self._fallbacks = Counts(self, 'lesser design or none')
        self._settings = DesignSettings()
        self._tracks = TrackStore()
        self._channels = ChannelStore()
        self._deployment: Deployment | None = None
        self._inputs: PoseInputs | None = None
        self._outputs: Outputs | None = None
        self._static: Publisher | None = None
        self._designer: Designer | None = None
        # Held while tracks and channels are read or changed.
        self._lock = threading.Lock()
        self._clock_jumps = 0
        self._troubles = 0
        self._diagnostics = Diagnostics(self, self._health)

    def _now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    # Life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Read the deployment and start to listen.

        FAILURE, with a line in the log, leaves the node unconfigured; it may be tried again.
        """
        try:
            self._configure()
        except NfIsacError as error:
            self.get_logger().error(f'cannot configure: {error}')
            self._tear_down()
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001  rclpy would swallow it without a word
            self.get_logger().error(f'cannot configure:\n{traceback.format_exc()}')
            self._tear_down()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def _configure(self) -> None:
        path = self._parameters_now.deployment_file
        if not path:
            raise ParameterError(
                "parameter deployment_file is '', must be the path of a deployment file")
        deployment = load_deployment(Path(path))
        if not self._parameters_now.target_topics:
            deployment = replace(deployment, bodies=tuple(
                replace(body, topic=None, type=None) if body.role == 'target' else body
                for body in deployment.bodies))
        self._settings = self._design_settings(deployment, self._parameters_now)
        self._tracks = TrackStore(deployment.tracking)
        self._channels = ChannelStore(deployment.tracking)
        self._inputs = PoseInputs(
            self, deployment, self._tracks, self._channels, self._rejected, self._lock,
            self._on_news)
        beams = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE,
            deadline=Duration(seconds=LEASE_CYCLES / self._settings.rate),
            lifespan=Duration(seconds=LIFESPAN))
        self._outputs = Outputs(
            beamformer=self._publisher(Beamformer, 'beamformer', beams),
            covariance=self._publisher(TransmitCovariance, 'covariance', REPORTS),
            crb=self._publisher(CrbArray, 'crb', REPORTS),
            status=self._publisher(DesignStatus, 'status', REPORTS))
        self._publish_transforms(deployment)
        self._deployment = deployment
        # Now, not in the first cycle.
        seconds = warm_up()
        spare_the_collector()
        self.get_logger().info(
            f'{path}: {len(deployment.transmit_array)} elements, {len(deployment.bodies)} '
            f'configured bodies, design {self._settings.name} at {self._settings.rate:g} Hz; '
            f'solver ready in {seconds:.1f} s')

    def _publisher(self, kind: Any, topic: str, qos: QoSProfile) -> Publisher:
        return self.create_lifecycle_publisher(
            kind, topic, qos, event_callbacks=NO_EVENTS_OUT,
            qos_overriding_options=overridable())

    def _publish_transforms(self, deployment: Deployment) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            self.get_logger().info('tf2_msgs is not installed: no static transforms of the arrays')
            return
        self._static = self.create_publisher(TFMessage, '/tf_static', STATIC)
        self._static.publish(TFMessage(transforms=array_transforms(
            [deployment.transmit_array, deployment.receive_array], deployment.world_frame,
            self._now())))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to design."""
        assert self._deployment is not None
        assert self._outputs is not None
        self._rejected.reset()
        self._fallbacks.reset()
        self._troubles = 0
        self._clock_jumps = self._tracks.clock_jumps
        deployment = self._deployment
        # Publishers first: beams that are there at once would be lost.
        activated = super().on_activate(state)
        self._designer = Designer(
            self, deployment.world_frame, self._outputs, self._fallbacks, self._rejected,
            lambda designer: self._next_job(designer, deployment),
            lambda: self._tracks.clock_jumps, self._schedule())
        return activated

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing at once, and wait a bounded time for the solver."""
        self.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything that was configured."""
        self._tear_down()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End, from whatever state."""
        self.close()
        self._tear_down()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured."""
        self.close()
        self._tear_down()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop designing."""
        designer, self._designer = self._designer, None
        if designer is not None and not designer.close(JOIN_TIMEOUT):
            self.get_logger().warning(
                f'the solver is still at work after {JOIN_TIMEOUT:g} s; what it finds will not '
                'be published')

    def _tear_down(self) -> None:
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        if self._outputs is not None:
            for publisher in vars(self._outputs).values():
                self.destroy_lifecycle_publisher(publisher)
            self._outputs = None
        if self._static is not None:
            self.destroy_publisher(self._static)
            self._static = None
        self._deployment = None

    # Parameters

    @staticmethod
    def _design_settings(deployment: Deployment, given: SimpleNamespace) -> DesignSettings:
        """Those of the deployment, where no parameter says otherwise."""
        changes: dict[str, Any] = {'deadline_fallback': given.deadline_fallback}
        if given.design:
            changes['name'] = given.design
        if not math.isnan(given.rate_hz):
            changes['rate'] = given.rate_hz
        if not math.isnan(given.gap):
            changes['gap'] = given.gap
        if not math.isnan(given.budget_ms):
            changes['budget'] = None if math.isinf(given.budget_ms) else given.budget_ms * 1e-3
        return replace(deployment.design, **changes)

    def _check_parameters(self, proposed: SimpleNamespace) -> None:
        if self._deployment is not None:
            self._design_settings(self._deployment, proposed)

    def _apply_parameters(self, parameters: SimpleNamespace) -> None:
        before = self._settings.rate, self._parameters_now.trigger
        self._parameters_now = parameters
        if self._deployment is None:
            return
        self._settings = self._design_settings(self._deployment, parameters)
        if self._designer is not None and before != (self._settings.rate, parameters.trigger):
            self._designer.reschedule(self._schedule())

    # Cycle

    def _schedule(self) -> CycleSchedule:
        return CycleSchedule(1.0 / self._settings.rate,
                             self._parameters_now.trigger == ON_POSES, self._now())

    def _on_news(self) -> None:
        """Tell the solver thread of poses or channels; runs in the executor thread."""
        if self._designer is not None:
            self._designer.arrived(self._tracks.in_step)

    def _next_job(self, designer: Designer, deployment: Deployment) -> Job:
        """Plan a cycle that begins now; runs in the solver thread."""
        parameters, settings = self._parameters_now, self._settings
        period, lead, lease = 1.0 / settings.rate, self._lead(designer), self._lease(designer)
        started, ahead = time.perf_counter(), None
        with self._lock:
            stamp = self._now()
            self._tracks.advance(stamp)
            if self._tracks.clock_jumps != self._clock_jumps:
                self._clock_jumps = self._tracks.clock_jumps
                self._channels.reset()
            plan = self._plan(deployment, stamp + lead)
            if parameters.solve_ahead:
                ahead = self._plan(deployment, stamp + lead + period).scene
        return Job(plan, settings, self._clock_jumps, started, stamp, lease,
                   parameters.calibration_epoch, ahead, started + period)

    def _plan(self, deployment: Deployment, transmit_time: float) -> PlannedScene:
        return plan_scene(deployment, self._tracks.predict(transmit_time),
                          self._channels.at(transmit_time), transmit_time)

    def _lead(self, designer: Designer) -> float:
        """How far ahead the transmit time lies [s]."""
        if not math.isnan(self._parameters_now.lead_s):
            return float(self._parameters_now.lead_s)
        period, recent = 1.0 / self._settings.rate, designer.recent
        # Further ahead, no pose would be fresh any more, and a slow solver would end in muting.
        return min((period if math.isnan(recent) else recent) + period / 2,
                   self._tracks.settings.predict / 2)

    def _lease(self, designer: Designer) -> float:
        """How long after the transmit time beams may be used [s]."""
        if not math.isnan(self._parameters_now.lease_s):
            return float(self._parameters_now.lease_s)
        recent = designer.recent
        longest = max(1.0 / self._settings.rate, 0.0 if math.isnan(recent) else recent)
        return min(LEASE_CYCLES * longest, MAX_AUTOMATIC_LEASE)

    # Diagnostics

    def _health(self) -> Health:
        counted = {f'rejected {key}': value for key, value in self._rejected.snapshot().items()}
        counted |= {f'fallback {key}': value for key, value in self._fallbacks.snapshot().items()}
        counted['pose jumps'] = self._tracks.jumps
        if self._deployment is None:
            return Health(Level.OK, 'not configured', counted)
        if self._designer is None:
            return Health(Level.OK, 'inactive', counted)
        last = self._designer.last
        if last is None:
            return Health(Level.WARN, 'no cycle has ended yet', counted)
        details: dict[str, object] = {
            'design': last.design, 'cycle': last.cycle, 'sequence': last.sequence,
            'overruns': last.overruns, 'cycle_ms': last.cycle_ms, 'gap': last.gap,
            'pose_to_beam_ms': last.pose_to_beam_ms, 'lead_s': self._lead(self._designer),
            'lease_s': self._lease(self._designer)}
        troubles = self._rejected.total + self._fallbacks.total
        troubled, self._troubles = troubles > self._troubles, troubles
        if last.quality is Quality.MUTE:
            return Health(Level.ERROR, f'mute: {last.reason}', details | counted)
        if last.quality is Quality.FALLBACK:
            return Health(Level.WARN, f'fallback: {last.reason}', details | counted)
        if troubled:
            return Health(Level.WARN, 'messages were rejected or designs fell back since the '
                          'last report', details | counted)
        return Health(Level.OK, f'{last.quality.name.lower()} beams', details | counted)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(BeamformerNode, argv)
