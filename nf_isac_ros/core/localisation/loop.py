"""
The closed sensing loop, step by step: beams, echoes, estimates, tracks, the next beams.

The same seed gives every design the same motion, start errors, symbols and noise, so that what
differs between two runs is what the beams make of it. The designer is never told the truth about
targets after the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.beams import sinr
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.exceptions import NfIsacError, SceneError
from nf_isac_ros.core.localisation.echoes import Sensor, qpsk_symbols, simulate_echo_samples
from nf_isac_ros.core.localisation.likelihood import Likelihood
from nf_isac_ros.core.localisation.localiser import EchoState, locate
from nf_isac_ros.core.localisation.tracker import Detection, TargetTracker, TrackerSettings
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, User
from nf_isac_ros.core.solution import Solution

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


class Path(Protocol):
    """Where a body truly is; `core.motion.Motion` is one."""

    def at(self, time: float) -> tuple[Real, Real]:
        """Position [m] and velocity [m/s] at a time since the start [s], shapes (3,)."""


@dataclass(frozen=True)
class LoopTarget:
    """A target: its id, where it truly is, and its true reflection coefficient."""

    id: str
    path: Path
    reflection: complex = 1.0 + 0.0j


@dataclass(frozen=True)
class LoopUser:
    """A user: its id, where it truly is, its required SINR [dB], the noise of its track [m]."""

    id: str
    path: Path
    min_sinr_db: float
    track_noise: float = 0.0


@dataclass(frozen=True)
class LoopSettings:
    """
    How the loop runs.

    Attributes
    ----------
    duration : float
        [s].
    rate : float
        Designs and sensing periods per second [Hz]; what one period tells counts in the next.
    start_error : float
        Standard deviation of each coordinate of the first tracks [m]; that of their velocities is
        `TrackerSettings.start_speed_error`.
    seed : int
    false_alarms : float
        For each target and period.
    tracker : TrackerSettings

    """

    duration: float = 10.0
    rate: float = 50.0
    start_error: float = 0.05
    seed: int = 1
    false_alarms: float = 1e-3
    tracker: TrackerSettings = TrackerSettings()


@dataclass(frozen=True)
class TargetLoop:
    """
    One target over time; NaN where there is nothing.

    Attributes
    ----------
    id : str
    track_error : ndarray, shape (T,)
        Distance of the track, after the estimate of the period, from the truth [m].
    echo_error : ndarray, shape (T,)
        Distance of the estimate itself from the truth [m].
    aim_error : ndarray, shape (T,)
        Distance of where the beams were designed for from the truth [m].
    root_crb : ndarray, shape (T,)
        Root of the trace of the bound that comes with the beams [m].
    seen : ndarray of bool, shape (T,)
        The echo stood out of the noise.

    """

    id: str
    track_error: Real
    echo_error: Real
    aim_error: Real
    root_crb: Real
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class LoopRecord:
    """
    What a run of the loop did.

    Attributes
    ----------
    design : str
        As it was asked for.
    times : ndarray, shape (T,)
        [s].
    targets : tuple of TargetLoop
    user_ids : tuple of str
    sinr_db : ndarray, shape (T, U)
        On the true channels; NaN: not served [dB].
    fallbacks : int
        Steps whose beams were not those of the design, or of none at all.

    """

    design: str
    times: Real
    targets: tuple[TargetLoop, ...]
    user_ids: tuple[str, ...]
    sinr_db: Real
    fallbacks: int


def run_loop(transmit_array: AntennaArray, receive_array: AntennaArray, radio: Radio,
             targets: Sequence[LoopTarget], users: Sequence[LoopUser], design: DesignSettings,
             settings: LoopSettings) -> LoopRecord:
    """
    Run the loop for one design.

    Parameters
    ----------
    transmit_array, receive_array : AntennaArray
    radio : Radio
    targets : sequence of LoopTarget
    users : sequence of LoopUser
    design : DesignSettings
        Its budget does not count: nothing here looks at a clock.
    settings : LoopSettings

    Returns
    -------
    LoopRecord

    """
    sensor = Sensor(transmit_array, receive_array, radio.wavelength, radio.sensing_noise)
    cycle, tracker = DesignCycle(design), TargetTracker(settings.tracker)
    start = np.random.default_rng((settings.seed, 0))
    tracker.advance(0.0)
    for target in targets:
        position, velocity = target.path.at(0.0)
        errors = start.standard_normal((2, 3))
        tracker.start(Detection(
            target.id, position + settings.start_error * errors[0],
            settings.start_error ** 2 * np.eye(3), target.reflection,
            velocity + settings.tracker.start_speed_error * errors[1]), 0.0)
    times = np.arange(1, round(settings.duration * settings.rate) + 1) / settings.rate
    shape = len(targets), len(times)
    track_error, echo_error, aim_error, root_crb = (np.full(shape, np.nan) for _ in range(4))
    seen = np.zeros(shape, dtype=bool)
    ratios = np.full((len(times), len(users)), np.nan)
    fallbacks = 0
    for i, time in enumerate(times):
        rng = np.random.default_rng((settings.seed, 1, i))
        truth = np.array([target.path.at(time)[0] for target in targets]).reshape(-1, 3)
        places = np.array([user.path.at(time)[0] for user in users]).reshape(-1, 3)
        told = places + rng.standard_normal(places.shape) * np.array(
            [[user.track_noise] for user in users]).reshape(-1, 1)
        tracker.advance(time)
        expected = tracker.expected(time)
        tracks = {track.id: track for track in tracker.tracks(time)}
        aims = {target.id: target.position for target in expected}
        scene = Scene(transmit_array, receive_array, radio, tuple(
            PointTarget(target.id, aims[target.id], target.reflection,
                        position_covariance=tracks[target.id].covariance[:3, :3])
            for target in targets if target.id in aims),
            tuple(User(user.id, user.min_sinr_db, position)
                  for user, position in zip(users, told, strict=True)), time)
        solution = _design(cycle, scene)
        if solution is None or not solution.weights.size:
            fallbacks += 1
            continue
        fallbacks += bool(solution.reason)
        ratios[i] = _received(transmit_array, radio, places, solution)
        for report in solution.targets:
            k = [target.id for target in targets].index(report.id)
            root_crb[k, i] = np.sqrt(report.crb.trace())
            aim_error[k, i] = np.linalg.norm(report.position - truth[k])
        weights = solution.weights
        weights = weights[:, np.einsum('nr,nr->r', weights.conj(), weights).real > 0]
        echoes = simulate_echo_samples(
            sensor, truth, np.array([target.reflection for target in targets]), weights,
            qpsk_symbols(rng, weights.shape[1], radio.symbols), rng)
        located = locate(Likelihood(sensor, echoes), expected, settings.false_alarms)
        tracker.update(time, [(found.state, Detection(
            found.id, found.position, found.covariance, found.reflection)) for found in located])
        updated = {track.id: track for track in tracker.tracks(time)}
        for k, target in enumerate(targets):
            for found in located:
                if found.id == target.id and found.state is EchoState.DETECTED:
                    seen[k, i] = True
                    echo_error[k, i] = np.linalg.norm(found.position - truth[k])
            if target.id in updated:
                track_error[k, i] = np.linalg.norm(updated[target.id].position - truth[k])
    return LoopRecord(
        design.name, times,
        tuple(TargetLoop(target.id, track_error[k], echo_error[k], aim_error[k], root_crb[k],
                         seen[k]) for k, target in enumerate(targets)),
        tuple(user.id for user in users), ratios, fallbacks)


def _design(cycle: DesignCycle, scene: Scene) -> Solution | None:
    """Beams; None where a track that went astray makes the scene impossible."""
    try:
        return cycle.step(scene, np.inf)
    except (SceneError, NfIsacError):
        return None


def _received(array: AntennaArray, radio: Radio, places: Real, solution: Solution) -> Real:
    """SINR on the true channels, shape (U,) [dB]; NaN without beams for users."""
    served = solution.communication
    if not len(places) or not served.any():
        return np.full(len(places), np.nan)
    channels = responses(array.positions, places, radio.wavelength).conj()
    ratios = sinr(channels, served, solution.sensing, np.full(len(places), radio.user_noise))
    return 10.0 * np.log10(np.maximum(ratios, 1e-300))
