"""
What a closed loop achieved: errors of echoes and tracks beside the bound, and other designs.

The other designs run the same loop without the graph, step by step, along the paths that the
bodies took in the run, all of them on the same noise: `core.localisation.loop`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.cycle import DesignSettings
from nf_isac_ros.core.localisation.loop import (
    LoopRecord,
    LoopSettings,
    LoopTarget,
    LoopUser,
    run_loop,
)
from nf_isac_ros.core.tracking import TrackingSettings
from nf_isac_ros.demo.runlog import TARGET, USER, PathPoint, RunLog
from nf_isac_ros.files.deployment import Deployment

Vector = NDArray[np.float64]

# Designs that the one of the run is compared with, where they can be had.
COMPARED = ('isotropic', 'max-min-illumination', 'zero-forcing')
# So much of the run is gone through once more with each design [s].
COMPARED_DURATION = 6.0
# A target counts as lost from so long after it was seen [s]: tracks count as fresh up to this age
# where a deployment does not say otherwise.
LOST_AFTER = TrackingSettings().predict
# A loop holds a target that is lost for no larger share of the window, and whose echoes are no
# further off than so many times the bound, both root mean square.
MOST_LOST = 0.1
MOST_ERROR = 3.0


@dataclass(frozen=True)
class LoopPath:
    """Path of a body by its true positions: times, shape (n,) [s], and places, (n, 3) [m]."""

    times: Vector
    places: Vector

    def at(self, time: float) -> tuple[Vector, Vector]:
        """Position and velocity at a time since the start; before and after it stands still."""
        step = 0.01
        here, ahead, behind = (
            np.array([np.interp(moment, self.times, axis) for axis in self.places.T])
            for moment in (time, time + step, time - step))
        return here, (ahead - behind) / (2 * step)


@dataclass(frozen=True)
class TargetErrors:
    """
    How well one target was known over time; all times on the axis of the stamps [s].

    Attributes
    ----------
    id : str
    track_times, track_errors : ndarray, shape (n,)
        Distance of the tracks that the designer was told from the truth [m].
    echo_times, echo_errors : ndarray, shape (m,)
        The same for the estimates from echoes in which the target was seen.
    root_crb : ndarray, shape (m,)
        Bound of the beams of each of those estimates [m]; NaN: not known.
    lost : float
        Time without being seen, beyond `LOST_AFTER` each time [s].

    """

    id: str
    track_times: Vector
    track_errors: Vector
    echo_times: Vector
    echo_errors: Vector
    root_crb: Vector
    lost: float


def has_loop(log: RunLog) -> bool:
    """Tell whether there were estimates from echoes."""
    return bool(log.echoes)


def target_errors(log: RunLog, deployment: Deployment) -> tuple[TargetErrors, ...]:
    """
    Errors of all point targets in the window whose truth is known.

    Parameters
    ----------
    log : RunLog
        With the paths of the bodies.
    deployment : Deployment
        Offsets of the bodies: tracks tell poses, the truth tells scatterers.

    """
    offsets = {body.id: body.offset for body in deployment.bodies if body.role == TARGET}
    bounds = {(record.sequence, entry.id): entry.root_crb
              for record in log.bounds for entry in record.targets}
    rows = []
    for name in log.target_ids:
        truth = _path(log.truth.get((TARGET, name), []))
        if truth is None:
            continue
        tracks = log.in_window(log.tracks.get((TARGET, name), []))
        seen = [(record, entry) for record in log.in_window(log.echoes)
                for entry in record.targets if entry.id == name and entry.state == 'detected']
        rows.append(TargetErrors(
            name,
            *_errors(truth, [(point.stamp, np.add(point.position, offsets.get(name, 0.0)))
                             for point in tracks]),
            *_errors(truth, [(record.stamp, entry.position) for record, entry in seen]),
            np.array([bounds.get((record.sequence, name), math.nan) for record, _ in seen]),
            _lost(log, [record.time for record, _ in seen])))
    return tuple(rows)


def _path(points: Sequence[PathPoint]) -> LoopPath | None:
    rising: list[PathPoint] = []
    for point in points:
        if not rising or point.stamp > rising[-1].stamp:
            rising.append(point)
    if len(rising) < 2:
        return None
    return LoopPath(np.array([point.stamp for point in rising]),
                    np.array([point.position for point in rising], dtype=float))


def _errors(truth: LoopPath, places: Sequence[tuple[float, Any]]) -> tuple[Vector, Vector]:
    known = [(time, place) for time, place in places
             if truth.times[0] <= time <= truth.times[-1]]
    return (np.array([time for time, _ in known]),
            np.array([np.linalg.norm(truth.at(time)[0] - place) for time, place in known]))


def _lost(log: RunLog, times: Sequence[float]) -> float:
    stamps = [log.begin, *times, log.end]
    if not all(math.isfinite(stamp) for stamp in stamps):
        return math.nan
    return sum(max(after - before - LOST_AFTER, 0.0) for before, after in pairwise(stamps))


def _root_mean_square(values: Vector) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(finite ** 2))) if len(finite) else math.nan


def live_rows(errors: Sequence[TargetErrors]) -> dict[str, dict[str, float]]:
    """Summary of each target of the run, by id; docs/summary.md describes the keys."""
    return {row.id: {
        'rmse_m': _root_mean_square(row.track_errors),
        'root_crb_m': _root_mean_square(row.root_crb),
        'echo_rmse_m': _root_mean_square(row.echo_errors),
        'lost_s': row.lost,
        'seen': len(row.echo_times)} for row in errors}


def unheld(rows: Mapping[str, Mapping[str, float]], duration: float) -> list[str]:
    """
    Say which targets the loop did not hold, and why.

    Parameters
    ----------
    rows : mapping
        As `live_rows` gives them.
    duration : float
        Of the window [s].

    Returns
    -------
    list of str
        One line for each reason; empty: every target was held.

    """
    reasons = [] if rows else ['no target has a truth to be judged by']
    for name, row in rows.items():
        if not row['seen']:
            reasons.append(f'{name} was never seen by its echo')
            continue
        if row['lost_s'] > MOST_LOST * duration:
            reasons.append(f'{name} was lost for {row["lost_s"]:.1f} of {duration:.1f} s, must be '
                           f'at most {100 * MOST_LOST:g} %')
        # Not the other way round: an error or a bound that is not known is not good enough.
        if not row['echo_rmse_m'] <= MOST_ERROR * row['root_crb_m']:
            reasons.append(f'{name}: echoes are off by {row["echo_rmse_m"]:.3g} m, must be at '
                           f'most {MOST_ERROR:g} times the bound of {row["root_crb_m"]:.3g} m')
    return reasons


def compared_rows(records: Sequence[LoopRecord]) -> dict[str, dict[str, dict[str, float]]]:
    """Summary of each design that was compared, and of each target in it."""
    return {record.design: {target.id: {
        'rmse_m': _root_mean_square(target.track_error),
        'root_crb_m': _root_mean_square(target.root_crb[target.seen]),
        'echo_rmse_m': _root_mean_square(target.echo_error),
        'lost_s': _lost_steps(record, target.seen),
        'seen': int(target.seen.sum())} for target in record.targets} for record in records}


def _lost_steps(record: LoopRecord, seen: NDArray[np.bool_]) -> float:
    stamps = [0.0, *record.times[seen], float(record.times[-1])]
    return float(sum(max(after - before - LOST_AFTER, 0.0)
                     for before, after in pairwise(stamps)))


def latency_rows(log: RunLog) -> dict[str, Vector]:
    """
    Where the time from pose to radio went, of all beams in the window that went on the air.

    Returns
    -------
    dict
        'time' of publishing [s], and [ms] of the stages: 'pose_to_cycle' from the stamp of the
        newest pose to the beginning of the cycle, 'cycle_to_publish', 'publish_to_apply'; each of
        shape (n,).

    """
    applied: dict[int, float] = {}
    for status in log.in_window(log.radio):
        if math.isfinite(status.apply_stamp):
            applied.setdefault(status.last_sequence, status.apply_stamp)
    beams = [beam for beam in log.in_window(log.beams) if beam.sequence in applied]
    stamps = np.array([(beam.design_stamp, beam.cycle_stamp, beam.publish_stamp,
                        applied[beam.sequence]) for beam in beams]).reshape(-1, 4)
    spent = 1e3 * np.diff(stamps, axis=1)
    return {'time': stamps[:, 2], 'pose_to_cycle': spent[:, 0], 'cycle_to_publish': spent[:, 1],
            'publish_to_apply': spent[:, 2]}


def compare_designs(log: RunLog, deployment: Deployment, design: DesignSettings,
                    seed: int = 1) -> tuple[LoopRecord, ...]:
    """
    Run the loop with several designs along the true paths of a run, on the same noise.

    Parameters
    ----------
    log : RunLog
        With the truth.
    deployment : Deployment
    design : DesignSettings
        Of the run; comes first.
    seed : int
        Of the noise.

    Returns
    -------
    tuple of LoopRecord
        None if the truth does not tell enough.

    """
    paths: Mapping[tuple[str, str], LoopPath | None] = {
        key: _path(log.in_window(points)) for key, points in log.truth.items()}
    known = {key: path for key, path in paths.items() if path is not None}
    if not any(role == TARGET for role, _ in known):
        return ()
    start = max(path.times[0] for path in known.values())
    end = min(path.times[-1] for path in known.values())
    settings = LoopSettings(duration=min(end - start, COMPARED_DURATION), rate=design.rate,
                            seed=seed)
    if settings.duration * settings.rate < 2:
        return ()
    moved = {key: LoopPath(path.times - start, path.places) for key, path in known.items()}
    bodies = {(body.role, body.id): body for body in deployment.bodies}
    targets = [LoopTarget(name, path, bodies[TARGET, name].reflection
                          if (TARGET, name) in bodies else 1.0 + 0.0j)
               for (role, name), path in moved.items() if role == TARGET]
    users = [LoopUser(name, path, bodies[USER, name].min_sinr_db, bodies[USER, name].track_noise)
             for (role, name), path in moved.items()
             if role == USER and (USER, name) in bodies
             and bodies[USER, name].min_sinr_db is not None]
    records = []
    for name in dict.fromkeys((design.name, *COMPARED)):
        if not users and name == 'zero-forcing':
            continue
        records.append(run_loop(
            deployment.transmit_array, deployment.receive_array, deployment.radio, targets, users,
            DesignSettings(name, design.gap, None, design.rate), settings))
    return tuple(records)
