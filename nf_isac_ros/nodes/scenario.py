"""Node that makes up a moving scene: what a tracker would say, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import math
from pathlib import Path

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher

from nf_isac_msgs.msg import TrackArray
from nf_isac_ros.conversions.adapters import make_sample
from nf_isac_ros.conversions.messages import track_array_message
from nf_isac_ros.core.motion import Motion
from nf_isac_ros.core.tracking import PoseSample, Role
from nf_isac_ros.files.deployment import BodySettings, load_deployment
from nf_isac_ros.nodes.diagnostics import Diagnostics, Health, Level
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values
from nf_isac_ros.nodes.qos import TRACKS, overridable
from nf_isac_ros.nodes.spin import run

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file whose bodies have motions',
              read_only=True),
    Parameter('rate_hz', 50.0, 'Rate of tracks and truth', 'Hz', minimum=1.0, maximum=1000.0,
              read_only=True),
    Parameter('seed', 1, 'Seed of the track noise', minimum=0, maximum=2 ** 32 - 1,
              read_only=True),
    Parameter('velocities', True, 'Tracks come with velocities; else the designer estimates them',
              read_only=True),
)

# Noise of a velocity for noise of the position: as from two positions a fifth of a second apart
# (sqrt(2) / 0.2 s is 7 / s).
VELOCITY_NOISE = 7.0   # [1/s]


def true_pose(body: BodySettings, motion: Motion, time: float) -> PoseSample:
    """
    Pose of a body that moves, without its offset.

    Parameters
    ----------
    body : BodySettings
        Whose motion it is.
    motion : Motion
        Of the body.
    time : float
        Since the start of the scene [s]; also the stamp.

    Returns
    -------
    PoseSample
        Heads where it goes; one that stands still heads along the world's x axis.

    """
    position, velocity = motion.at(time)
    yaw = math.atan2(velocity[1], velocity[0])
    return PoseSample(
        body.id, Role(body.role), time, position, velocity,
        orientation_xyzw=(0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)),
        reflection=body.reflection if body.role == 'target' else None,
        min_sinr_db=body.min_sinr_db, kind=body.kind, contour=body.contour,
        size_scale=body.size_scale)


def with_offset(pose: PoseSample, body: BodySettings) -> PoseSample:
    """Pose of the point of a body that counts: where its antenna or scatterer truly is."""
    return make_sample(
        body, pose.stamp, pose.position, pose.orientation_xyzw, pose.velocity,
        reflection=pose.reflection, min_sinr_db=pose.min_sinr_db)


def with_noise(pose: PoseSample, body: BodySettings, rng: np.random.Generator,
               velocities: bool) -> PoseSample:
    """
    Pose as a tracker would tell it.

    Parameters
    ----------
    pose : PoseSample
        The truth.
    body : BodySettings
        Says how noisy its track is.
    rng : numpy.random.Generator
        Is drawn from in the same way whatever the other arguments are.
    velocities : bool
        Tell the velocity, with noise of its own.

    """
    noise, velocity_noise = body.track_noise * rng.standard_normal((2, 3))
    assert pose.velocity is not None
    return replace(
        pose, position=pose.position + noise,
        velocity=pose.velocity + VELOCITY_NOISE * velocity_noise if velocities else None,
        position_covariance=body.track_noise ** 2 * np.eye(3) if body.track_noise else None)


class Scenario(Node):
    """Publishes the tracks of a made-up scene, and the truth, at a constant rate."""

    def __init__(self) -> None:
        super().__init__('scenario')
        declare(self, PARAMETERS)
        settings = values(self, PARAMETERS)
        if not settings.deployment_file:
            raise ParameterError('parameter deployment_file is empty, must be the path of a '
                                 'deployment file')
        deployment = load_deployment(Path(settings.deployment_file))
        self._bodies = {role: [body for body in deployment.bodies
                               if body.role == role.value and body.motion is not None]
                        for role in Role}
        if not any(self._bodies.values()):
            raise ParameterError(
                f'parameter deployment_file is {settings.deployment_file!r}, but none of its '
                'bodies has a motion')
        self._frame = deployment.world_frame
        self._velocities = settings.velocities
        self._rng = np.random.default_rng(settings.seed)
        self._tracks = {role: self._publisher(f'{role.value}s') for role in Role}
        self._truth = {role: self._publisher(f'truth/{role.value}s') for role in Role}
        self._start: float | None = None
        self._published = 0
        self._timer = self.create_timer(1.0 / settings.rate_hz, self._on_timer)
        self._diagnostics = Diagnostics(self, self._health)
        self.get_logger().info(
            f'scene of {len(self._bodies[Role.TARGET])} targets and '
            f'{len(self._bodies[Role.USER])} users from {settings.deployment_file}')

    def _publisher(self, topic: str) -> Publisher:
        return self.create_publisher(
            TrackArray, topic, TRACKS, qos_overriding_options=overridable())

    def _on_timer(self) -> None:
        now = 1e-9 * self.get_clock().now().nanoseconds
        if self._start is None or now < self._start:   # a clock that jumped back starts anew
            self._start = now
        for role in Role:
            poses = [(body, true_pose(body, body.motion, now - self._start))
                     for body in self._bodies[role]]
            self._send(self._truth[role], [with_offset(pose, body) for body, pose in poses], now)
            self._send(self._tracks[role],
                       [with_noise(pose, body, self._rng, self._velocities)
                        for body, pose in poses], now)
        self._published += 1

    def _send(self, publisher: Publisher, samples: Sequence[PoseSample], now: float) -> None:
        # A role without bodies is silent: an empty array would say nothing either.
        if samples:
            stamped = [replace(sample, stamp=now) for sample in samples]
            publisher.publish(track_array_message(stamped, now, self._frame))

    def _health(self) -> Health:
        return Health(Level.OK, 'publishing', {
            'scenes': self._published,
            'targets': len(self._bodies[Role.TARGET]), 'users': len(self._bodies[Role.USER])})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(Scenario, argv)
