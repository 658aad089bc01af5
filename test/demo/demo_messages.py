"""Messages of a made-up run, with the fields of nf_isac_msgs and no ROS."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message

import numpy as np

OPTIMAL, EARLY, FALLBACK, MUTE = range(4)
FRESH, HELD, DROPPED = range(3)
TARGET, USER = range(2)


def stamp(seconds: float) -> Message:
    whole = math.floor(seconds)
    return Message(sec=whole, nanosec=round(1e9 * (seconds - whole)))


def header(seconds: float, frame: str = 'map') -> Message:
    return Message(stamp=stamp(seconds), frame_id=frame)


def counts(**reasons: int) -> list[Message]:
    return [Message(reason=reason.replace('_', '-'), count=count)
            for reason, count in reasons.items()]


def user(user_id: str, required: float, sinr: float) -> Message:
    return Message(id=user_id, required_sinr_db=required, sinr_db=sinr)


def track(body_id: str, role: int, state: int = FRESH, age: float = 0.02) -> Message:
    return Message(id=body_id, role=role, state=state, age=age)


def status(time: float, sequence: int, outcome: int = OPTIMAL, **fields) -> Message:
    given = {
        'cycle': sequence, 'design': 'crb-min', 'fallback_reason': '', 'users': [], 'tracks': [],
        'objective': 1.0, 'bound': 1.0, 'gap': 0.0, 'power': 1.0, 'iterations': 10, 'warm': False,
        'cycle_ms': 10.0, 'pose_to_beam_ms': 20.0, 'stages': [], 'overruns': 0, 'fallbacks': [],
        'rejected': []}
    return Message(header=header(time), sequence=sequence, outcome=outcome, **{**given, **fields})


def beams(time: float, sequence: int, weights: np.ndarray, power_limit: float = 1.0,
          quality: int = OPTIMAL, **fields) -> Message:
    """Make a Beamformer message with weights of shape (N, columns), all of them for users."""
    rows, columns = weights.shape
    flat = np.asarray(weights, np.complex64).reshape(-1, order='F').view(np.float32)
    given = {
        'design_stamp': stamp(time), 'oldest_track_stamp': stamp(time),
        'cycle_stamp': stamp(time), 'publish_stamp': stamp(time), 'valid_until': stamp(time + 0.1),
        'design': 'crb-min', 'fallback_reason': '', 'user_ids': [], 'n_users': columns,
        'n_sensing': 0, 'wavelength': 0.01, 'array_id': 'a', 'layout_hash': 'h',
        'calibration_epoch': 0}
    return Message(header=header(time), sequence=sequence, quality=quality, n_elements=rows,
                   weights=flat, power=float(np.vdot(weights, weights).real),
                   power_limit=power_limit, **{**given, **fields})


def radio(time: float, last_sequence: int, applied: int, **fields) -> Message:
    given = {
        'armed': True, 'muted': False, 'mute_reason': '', 'late': 0, 'dropped': 0, 'rejected': [],
        'power': 1.0, 'power_limit': 1.0, 'max_element_power': 0.5, 'eirp': 2.0,
        'muted_duration': 0.0, 'users': []}
    return Message(header=header(time), last_sequence=last_sequence, applied=applied,
                   **{**given, **fields})


def bound(target_id: str, crb: float, isotropic: float, field: int = 1) -> Message:
    return Message(
        id=target_id, kind=0, field=field, position=Message(x=1.0, y=2.0, z=3.0),
        parameters=['x', 'y', 'z'], units=['m', 'm', 'm'],
        covariance=[crb / 3, 0, 0, 0, crb / 3, 0, 0, 0, crb / 3],
        crb=crb, isotropic_crb=isotropic, illumination=1e-6)


def extended_bound(target_id: str, range_m: float, direction: float,
                   orientation: float) -> Message:
    """Make the bound of an extended target, from standard deviations."""
    variances = [range_m ** 2, 0.0, 0.0, range_m ** 2, direction ** 2, orientation ** 2]
    entry = bound(target_id, range_m ** 2, 1.0)
    entry.kind = 1
    entry.parameters = ['x', 'y', 'z', 'range', 'direction', 'orientation']
    entry.units = ['m', 'm', 'm', 'm', 'rad', 'rad']
    entry.covariance = np.diag(variances).ravel().tolist()
    return entry


def bounds(time: float, sequence: int, entries: list[Message]) -> Message:
    return Message(header=header(time), sequence=sequence, design_stamp=stamp(time),
                   entries=entries, sum_crb=sum(entry.crb for entry in entries),
                   isotropic_sum_crb=sum(entry.isotropic_crb for entry in entries),
                   bound=1.0, objective=1.0, gap=0.0)


def tracks(time: float, **positions: tuple[float, float, float]) -> Message:
    return Message(header=header(time), tracks=[
        Message(header=header(time), id=body_id, kind=0, contour='', size_scale=1.0,
                pose=Message(pose=Message(position=Message(x=x, y=y, z=z))))
        for body_id, (x, y, z) in positions.items()])
