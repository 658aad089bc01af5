"""From predicted bodies and the deployment to the scene that is designed for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.reports import TrackReport
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, User
from nf_isac_ros.core.tracking import KnownChannel, PredictedBody, Role, TrackState

# A target that neither message nor configuration gives a coefficient.
DEFAULT_REFLECTION = 1.0 + 0.0j


class Testbed(Protocol):
    """What has to be known of a deployment; `files.Deployment` has it."""

    @property
    def transmit_array(self) -> AntennaArray:
        """Array that the beams are for."""

    @property
    def receive_array(self) -> AntennaArray:
        """Array that listens to the echoes."""

    @property
    def radio(self) -> Radio:
        """What the radio can do."""

    @property
    def bodies(self) -> Sequence[Any]:
        """Configured bodies: id, role, reflection, min_sinr_db."""


@dataclass(frozen=True)
class PlannedScene:
    """
    A scene, and where it came from.

    Attributes
    ----------
    scene : Scene
        At the transmit time.
    tracks : tuple of TrackReport
        All known bodies, also those that the scene leaves out.
    held : bool
        A body of the scene is held, not predicted.
    dropped : bool
        A known body is too old to be in the scene.
    without_sinr : tuple of str
        Users that nobody gave a required SINR; left out.
    newest_stamp, oldest_stamp : float or None
        Of the poses in the scene [s]; None if there is none.

    """

    scene: Scene
    tracks: tuple[TrackReport, ...]
    held: bool
    dropped: bool
    without_sinr: tuple[str, ...]
    newest_stamp: float | None
    oldest_stamp: float | None

    def without(self, body_id: str) -> PlannedScene:
        """Return the same without a body, which the design could not take."""
        scene = Scene(
            self.scene.transmit_array, self.scene.receive_array, self.scene.radio,
            tuple(target for target in self.scene.targets if target.id != body_id),
            tuple(user for user in self.scene.users if user.id != body_id), self.scene.stamp)
        return PlannedScene(scene, self.tracks, self.held, self.dropped, self.without_sinr,
                            self.newest_stamp, self.oldest_stamp)


def plan_scene(testbed: Testbed, bodies: Sequence[PredictedBody],
               channels: Sequence[KnownChannel], transmit_time: float) -> PlannedScene:
    """
    Put the bodies that may be relied on into a scene.

    A user that is known by a channel which is not too old is served by it, whatever its position.
    An extended target is designed for as a point at the position of its pose.

    Parameters
    ----------
    testbed : Testbed
        Arrays, radio, and the configured values of the bodies.
    bodies : sequence of PredictedBody
        At the transmit time.
    channels : sequence of KnownChannel
        At the transmit time.
    transmit_time : float
        [s].

    Raises
    ------
    SceneError
        If a body cannot be.

    """
    configured = {(body.role, body.id): body for body in testbed.bodies}
    targets: list[PointTarget] = []
    users: dict[str, User] = {}
    without_sinr: list[str] = []
    reports: list[TrackReport] = []
    stamps: list[float] = []
    held = dropped = False

    def required(user_id: str, given: float | None) -> float | None:
        if given is not None:
            return given
        settings = configured.get((Role.USER.value, user_id))
        return None if settings is None else settings.min_sinr_db

    known_channels = {}
    for channel in channels:
        sample = channel.sample
        reports.append(TrackReport(sample.id, Role.USER, channel.state, channel.age))
        if channel.state is TrackState.DROPPED:
            dropped = True
            continue
        known_channels[sample.id] = sample
        sinr = required(sample.id, sample.min_sinr_db)
        if sinr is None:
            without_sinr.append(sample.id)
            continue
        users[sample.id] = User(sample.id, sinr, channel=sample.channel)
        stamps.append(sample.stamp)
        held |= channel.state is TrackState.HELD

    for body in bodies:
        if body.role is Role.USER and body.id in known_channels:
            continue
        reports.append(TrackReport(body.id, body.role, body.state, body.age))
        if body.state is TrackState.DROPPED:
            dropped = True
            continue
        if body.role is Role.USER:
            sinr = required(body.id, body.min_sinr_db)
            if sinr is None:
                without_sinr.append(body.id)
                continue
            users[body.id] = User(body.id, sinr, position=body.position)
        else:
            settings = configured.get((Role.TARGET.value, body.id))
            reflection = body.reflection
            if reflection is None:
                reflection = DEFAULT_REFLECTION if settings is None else settings.reflection
            targets.append(PointTarget(body.id, body.position, reflection))
        stamps.append(body.stamp)
        held |= body.state is TrackState.HELD

    scene = Scene(
        testbed.transmit_array, testbed.receive_array, testbed.radio, tuple(targets),
        tuple(users[user_id] for user_id in sorted(users)), transmit_time)
    return PlannedScene(
        scene, tuple(reports), held, dropped, tuple(without_sinr),
        max(stamps, default=None), min(stamps, default=None))
