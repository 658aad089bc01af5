"""What is measured on: random scenes, bodies on paths, and bodies of recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.motion import Circle
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.files.deployment import BodySettings, Deployment
from nf_isac_ros.recording.reader import Recording
from nf_isac_ros.recording.trajectories import read_trajectories

# 28 GHz, 1 W, 48 x 48 elements unless said otherwise: the near field of the recordings.
WAVELENGTH = 3e8 / 28e9
SIDE = 48
RADIO = Radio(wavelength=WAVELENGTH, power=1.0, symbols=1000, user_noise=1e-8,
              sensing_noise=SensingNoise(power=1e-12))
MIN_SINR_DB = 15.0
# Where bodies may be, in the frame of the array: corners of a box [m].
NEAREST, FARTHEST = np.array([-2.0, -0.6, 2.0]), np.array([2.0, 0.6, 7.0])
# Speeds of people and of robots [m/s].
SPEEDS = (0.4, 1.4)
# Thresholds that all users together could exceed by less than this are no benchmark [dB].
MARGIN_DB = 0.5
# Random scenes that are tried for one that is feasible.
TRIES = 200

MRCLAM = 'mrclam7_5robots_vicon'
CITR = 'citr_bidirection_normal_driving_01'


@dataclass(frozen=True)
class Motion:
    """
    Bodies that move.

    Attributes
    ----------
    name : str
        Where the motion comes from.
    length : float
        [s].
    at : callable
        Time since the start [s] -> Scene, or None where the motion is not known.

    """

    name: str
    length: float
    at: Callable[[float], Scene | None]

    def spread(self, count: int) -> Iterator[Scene]:
        """Feasible scenes at times all over the motion, in an order without meaning."""
        golden = (np.sqrt(5.0) - 1.0) / 2.0
        scenes = (self.at(self.length * (golden * i % 1.0)) for i in range(4 * count))
        return islice((scene for scene in scenes if scene and feasible(scene)), count)

    def steps(self, start: float, count: int, period: float) -> Iterator[Scene]:
        """Scenes one after the other, as far as the motion goes."""
        for i in range(count):
            scene = self.at(start + i * period) if start + i * period < self.length else None
            if scene is None:
                return
            yield scene


def extrapolated(before: Scene, now: Scene, factor: float) -> Scene:
    """Move each body on by `factor` times what it moved from one scene to the other."""
    targets = tuple(replace(b, position=b.position + factor * (b.position - a.position))
                    for a, b in zip(before.targets, now.targets, strict=True))
    users = tuple(replace(b, position=b.position + factor * (b.position - a.position))
                  for a, b in zip(before.users, now.users, strict=True)
                  if a.position is not None and b.position is not None)
    return replace(now, targets=targets, users=users)


def array(side: int) -> AntennaArray:
    """Return a square array at the origin with half a wavelength between elements."""
    return AntennaArray(planar_elements(side, side, WAVELENGTH / 2))


def feasible(scene: Scene) -> bool:
    """Tell whether all SINRs can be met, with a little to spare, and all targets be located."""
    try:
        return build_problem(scene).max_common_sinr_scale_db > MARGIN_DB
    except NfIsacError:
        return False


def random_scenes(seed: int, n_targets: int, n_users: int, side: int = SIDE) -> Iterator[Scene]:
    """Feasible scenes that have nothing to do with each other, without end."""
    rng = np.random.default_rng([seed, n_targets, n_users])
    antennas = array(side)
    for _ in iter(int, 1):
        yield _feasible_scene(rng, antennas, n_targets, n_users)


def _feasible_scene(rng: np.random.Generator, antennas: AntennaArray, n_targets: int,
                    n_users: int) -> Scene:
    for _ in range(TRIES):
        points = rng.uniform(NEAREST, FARTHEST, (n_targets + n_users, 3))
        scene = _scene(antennas, points, n_targets)
        if feasible(scene):
            return scene
    raise ValueError(f'{TRIES} random scenes of {n_targets} targets and {n_users} users before '
                     f'{len(antennas)} elements, and not one is feasible')


def _scene(antennas: AntennaArray, points: np.ndarray, n_targets: int,
           stamp: float = 0.0) -> Scene:
    return Scene(
        antennas, antennas, RADIO,
        tuple(PointTarget(f't{k}', point) for k, point in enumerate(points[:n_targets])),
        tuple(User(f'u{k}', MIN_SINR_DB, point) for k, point in enumerate(points[n_targets:])),
        stamp)


def walking(seed: int, n_targets: int, n_users: int, length: float = 60.0) -> Motion:
    """Bodies that walk in circles before a 48 x 48 array; a scene may be infeasible at times."""
    rng = np.random.default_rng([seed, n_targets, n_users])
    antennas = array(SIDE)
    # The circles lie in the horizontal plane of a world whose z axis is the array's y axis.
    paths = []
    for point in rng.uniform(NEAREST, FARTHEST, (n_targets + n_users, 3)):
        radius, speed = rng.uniform(0.3, 1.0), rng.uniform(*SPEEDS)
        paths.append(Circle(point[[0, 2, 1]], radius, 2 * np.pi * radius / speed,
                            rng.uniform(0, 2 * np.pi)))

    def at(time: float) -> Scene:
        points = np.array([path.at(time)[0][[0, 2, 1]] for path in paths])
        return _scene(antennas, points, n_targets, time)

    return Motion('walking in circles', length, at)


def recorded(folder: Path, name: str, deployment: Deployment,
             bodies: tuple[BodySettings, ...]) -> Motion:
    """
    Motion of bodies of a recording.

    Parameters
    ----------
    folder : Path
        Folder with recordings.
    name : str
        Of the recording.
    deployment : Deployment
        Arrays and radio.
    bodies : tuple of BodySettings
        Those that take part.

    Raises
    ------
    RecordingError
        If there is no such recording.

    """
    reader = PoseReader(bodies, deployment.world_frame, deployment.transforms)
    with Recording(folder / name) as recording:
        report = read_trajectories(recording.messages(reader.topics), reader)
    paths = [report.trajectories[Role(body.role), body.id] for body in bodies]
    start = max(float(path.times[0]) for path in paths)
    end = min(float(path.times[-1]) for path in paths)

    def at(time: float) -> Scene | None:
        found = [path.at(start + time) for path in paths]
        if any(place is None for place in found):
            return None
        where = {(body.role, body.id): place[0] for body, place in zip(bodies, found) if place}
        return Scene(
            deployment.transmit_array, deployment.receive_array, deployment.radio,
            tuple(PointTarget(body.id, where[body.role, body.id], body.reflection)
                  for body in bodies if body.role == 'target'),
            tuple(User(body.id, body.min_sinr_db or MIN_SINR_DB, where[body.role, body.id])
                  for body in bodies if body.role == 'user'),
            time)

    return Motion(name, end - start, at)


def recorded_motions(folder: Path | None,
                     deployments: Mapping[str, Deployment]) -> dict[tuple[int, int], Motion]:
    """
    Motions of the recordings that are there, by numbers of targets and users.

    Parameters
    ----------
    folder : Path or None
        Folder with recordings.
    deployments : mapping
        By name of the recording.

    """
    motions = {}
    if folder is not None and MRCLAM in deployments and (folder / MRCLAM).exists():
        deployment = deployments[MRCLAM]
        targets = [body for body in deployment.bodies if body.role == 'target']
        users = [body for body in deployment.bodies if body.role == 'user']
        for n_users in (2, 3):
            motions[2, n_users] = recorded(
                folder, MRCLAM, deployment, (*targets[:2], *users[:n_users]))
    if folder is not None and CITR in deployments and (folder / CITR).exists():
        deployment = deployments[CITR]
        like = next(body for body in deployment.bodies if body.role == 'user')
        for count in (3, 4):
            motions[count, count] = recorded(folder, CITR, deployment, (
                *(_pedestrian(like, number, 'target') for number in range(5, 5 + count)),
                *(_pedestrian(like, number, 'user') for number in range(1, 1 + count))))
    return motions


def _pedestrian(like: BodySettings, number: int, role: str) -> BodySettings:
    return replace(like, id=f'ped{number}', role=role, topic=f'/citr/ped{number}/odom',
                   min_sinr_db=like.min_sinr_db if role == 'user' else None)
