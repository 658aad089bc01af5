"""From predicted bodies to a scene, and from the scene to a design that says what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, Protocol

from nf_isac_ros.core.arrays import AntennaArray, Pose
from nf_isac_ros.core.cycle import DesignCycle, mute
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.reports import TrackReport
from nf_isac_ros.core.scene import (
    ExtendedOptions,
    ExtendedTarget,
    PointTarget,
    Radio,
    Scene,
    User,
)
from nf_isac_ros.core.solution import Quality, Solution, UserReport
from nf_isac_ros.core.tracking import (
    KnownChannel,
    PoseSample,
    PredictedBody,
    Role,
    TrackState,
)

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
        """
        Configured bodies.

        Each has id, role, reflection, weight, coordinate_weights, min_sinr_db and extended.
        """

    @property
    def contours(self) -> Mapping[str, Contour]:
        """Contours that tracks of extended targets may name."""

    @property
    def options(self) -> ExtendedOptions:
        """How extended targets are designed for."""


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
    as_points : bool
        An extended target is designed for as a point: nobody knows its contour or its heading.
    without_sinr : tuple of str
        Users that nobody gave a required SINR; left out.
    newest_stamp, oldest_stamp : float or None
        Of the poses in the scene [s]; None if there is none.

    """

    scene: Scene
    tracks: tuple[TrackReport, ...]
    held: bool
    dropped: bool
    as_points: bool
    without_sinr: tuple[str, ...]
    newest_stamp: float | None
    oldest_stamp: float | None

    @property
    def size(self) -> int:
        """Bodies in the scene."""
        return len(self.scene.targets) + len(self.scene.extended) + len(self.scene.users)

    def without(self, body_id: str) -> PlannedScene:
        """Return the same without a body, which the design could not take."""
        return replace(self, scene=replace(
            self.scene,
            targets=tuple(target for target in self.scene.targets if target.id != body_id),
            extended=tuple(target for target in self.scene.extended if target.id != body_id),
            users=tuple(user for user in self.scene.users if user.id != body_id)))


def plan_scene(testbed: Testbed, bodies: Sequence[PredictedBody],
               channels: Sequence[KnownChannel], transmit_time: float) -> PlannedScene:
    """
    Put the bodies that may be relied on into a scene.

    A user that is known by a channel which is not too old is served by it, whatever its position.
    An extended target of unknown contour or heading counts as a point at the place of its pose.

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
    extended: list[ExtendedTarget] = []
    users: dict[str, User] = {}
    without_sinr: list[str] = []
    reports: list[TrackReport] = []
    stamps: list[float] = []
    held = dropped = as_points = False

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
            shaped = extended_target(body, settings, testbed.contours)
            if shaped is None:
                targets.append(_point(body, settings))
                as_points |= body.kind == 'extended'
            else:
                extended.append(shaped)
        stamps.append(body.stamp)
        held |= body.state is TrackState.HELD

    scene = Scene(
        testbed.transmit_array, testbed.receive_array, testbed.radio, tuple(targets),
        tuple(users[user_id] for user_id in sorted(users)), transmit_time, tuple(extended),
        testbed.options)
    return PlannedScene(
        scene, tuple(reports), held, dropped, as_points, tuple(without_sinr),
        max(stamps, default=None), min(stamps, default=None))


def _point(body: PredictedBody, settings: Any) -> PointTarget:
    reflection = body.reflection
    if reflection is None:
        reflection = DEFAULT_REFLECTION if settings is None else settings.reflection
    target = PointTarget(body.id, body.position, reflection,
                         position_covariance=body.position_covariance)
    if settings is None:
        return target
    return replace(target, weight=settings.weight, coordinate_weights=settings.coordinate_weights)


def extended_target(body: PredictedBody | PoseSample, settings: Any,
                    contours: Mapping[str, Contour]) -> ExtendedTarget | None:
    """
    Extended target of a body.

    Parameters
    ----------
    body : PredictedBody or PoseSample
    settings : object or None
        The configured body with weight and extended; None: there is none.
    contours : mapping of str to Contour
        That the body may name.

    Returns
    -------
    ExtendedTarget or None
        None for points, and where contour or heading are not known.

    """
    if (body.kind != 'extended' or body.contour not in contours
            or body.orientation_xyzw is None):
        return None
    target = ExtendedTarget(body.id, contours[body.contour].scaled(body.size_scale),
                            Pose(body.position, body.orientation_xyzw))
    if settings is None:
        return target
    return replace(target, weight=settings.weight, **asdict(settings.extended))


@dataclass(frozen=True)
class PlannedDesign:
    """
    What a cycle made of a planned scene.

    Attributes
    ----------
    solution : Solution
        Its quality and reason also speak of bodies that were held, dropped or removed; users that
        were removed are in it, with an SINR of minus infinity.
    user_ids : tuple of str
        Users that are served, one for each communication beam.
    removed : tuple of SceneError
        Why bodies were removed from the scene.

    """

    solution: Solution
    user_ids: tuple[str, ...]
    removed: tuple[SceneError, ...]


def design_for(plan: PlannedScene, cycle: DesignCycle,
               budget: float | None = None) -> PlannedDesign:
    """
    Design for a planned scene; a body that makes the scene impossible is left out.

    The reason of the solution is the gravest of: what the cycle says; 'tracks-dropped' where
    nothing is left; the error of a body that was left out; 'no-required-sinr', 'held-track',
    'extended-as-point'.

    Parameters
    ----------
    plan : PlannedScene
        What to design for.
    cycle : DesignCycle
        Designs.
    budget : float or None
        Time for it [s]; None: that of the settings of the cycle.

    Raises
    ------
    NfIsacError
        If no body is to blame for what is wrong.

    """
    removed: list[SceneError] = []
    left = plan
    while True:
        try:
            solution = cycle.step(left.scene, budget)
            break
        except SceneError as error:
            smaller = left.without(error.body)
            if smaller.size == left.size:
                raise
            removed.append(error)
            left = smaller
            if left.size == 0:
                solution = mute(left.scene, cycle.settings.name, error.reason)
                break
    gone = {user.id for user in plan.scene.users} - {user.id for user in left.scene.users}
    unserved = tuple(UserReport(user.id, user.min_sinr_db, -inf)
                     for user in plan.scene.users if user.id in gone)
    quality, reason = _label(plan, solution, removed)
    return PlannedDesign(
        replace(solution, quality=quality, reason=reason, users=solution.users + unserved),
        tuple(user.id for user in left.scene.users), tuple(removed))


def _label(plan: PlannedScene, solution: Solution,
           removed: Sequence[SceneError]) -> tuple[Quality, str]:
    if solution.quality is Quality.MUTE:
        nothing_left = plan.dropped and not removed
        return Quality.MUTE, 'tracks-dropped' if nothing_left else solution.reason
    if solution.quality is Quality.FALLBACK:
        return Quality.FALLBACK, solution.reason
    if removed:
        return Quality.FALLBACK, removed[0].reason
    if plan.without_sinr:
        return Quality.FALLBACK, 'no-required-sinr'
    if plan.held:
        return Quality.FALLBACK, 'held-track'
    if plan.as_points:
        return Quality.FALLBACK, 'extended-as-point'
    return solution.quality, solution.reason
