"""What the page shows at one instant, as plain data that JSON can hold; docs/watch.md lists it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
import math
import time
from typing import Any

import numpy as np

from nf_isac_msgs.msg import CrbEntry, TrackStatus
from nf_isac_ros.conversions.markers import (
    SINR_TOLERANCE,
    aperture_outline,
    position_covariance,
    radio_text,
)
from nf_isac_ros.core.tracking import PoseSample
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.nodes.scene_inputs import (
    FORGET_AFTER,
    TRACKED,
    TRUTH,
    SceneInputs,
    nanoseconds,
)

Data = dict[str, Any]

OUTCOMES = ('optimal', 'early', 'fallback', 'mute')   # DesignStatus.OUTCOME_...
STATES = ('fresh', 'held', 'dropped')                 # TrackStatus.STATE_...
ROLES = ('targets', 'users')                          # TrackStatus.ROLE_...

# Over which messages are counted, and times are judged [s].
RATE_WINDOW = 2.0
TIMING_WINDOW = 10.0
# Rows of the charts: a minute at five a second.
HISTORY_SPAN, HISTORY_STEP = 60.0, 0.2
# Rates of thousands of cycles a second would not be believed anyway.
MOST_TIMINGS = 20_000


def number(value: float, digits: int = 9) -> float | None:
    """Number with so many significant digits; None for what JSON cannot hold."""
    return float(f'{value:.{digits}g}') if math.isfinite(value) else None


def _place(position: Iterable[float]) -> list[float | None]:
    return [number(value, 6) for value in position]


def _counts(counts: Iterable[Any]) -> dict[str, int]:
    return {count.reason: int(count.count) for count in counts}


def setup(deployment: Deployment | None, note: str = '') -> Data:
    """
    Describe what does not move.

    Parameters
    ----------
    deployment : Deployment or None
        None: not known.
    note : str
        Why it is not known.

    """
    if deployment is None:
        return {'name': None, 'note': note, 'frame': None, 'bound_scale': 30.0, 'arrays': []}
    arrays = [deployment.transmit_array]
    if not deployment.transmit_array.same_elements(deployment.receive_array):
        arrays.append(deployment.receive_array)
    drawn = []
    for array in arrays:
        corners, boresight = aperture_outline(array)
        drawn.append({'name': array.name, 'outline': [_place(point) for point in corners],
                      'boresight': [_place(point) for point in boresight]})
    return {'name': deployment.path.stem, 'note': note, 'frame': deployment.world_frame,
            'bound_scale': deployment.markers.bound_scale, 'arrays': drawn}


def state(inputs: SceneInputs, now: int) -> Data:
    """
    Describe what is true at present.

    Parameters
    ----------
    inputs : SceneInputs
        Just read.
    now : int
        On the clock of the node [ns].

    Returns
    -------
    dict
        Numbers in SI units, decibels and milliseconds as the names say; None: not known.

    """
    live = inputs.live(now)
    return {
        'time_s': now * 1e-9, 'live': live,
        'radio': _radio(inputs, now), 'design': _design(inputs, now),
        'targets': _targets(inputs, live), 'users': _users(inputs, live),
        'truth': [{'role': role, 'id': name, 'position': _place(sample.position)}
                  for (role, name), sample in inputs.samples(TRUTH).items()],
    }


def _age(inputs: SceneInputs, topic: str, stamp: Any, now: int) -> float | None:
    """Since a message came, or, if it was long under way, since its stamp [s]."""
    return number(max(inputs.ages[topic], 1e-9 * (now - nanoseconds(stamp))), 3)


def _radio(inputs: SceneInputs, now: int) -> Data:
    radio = inputs.radio
    text, _ = radio_text(radio)
    if radio is None:
        return {'state': 'silent', 'text': text, 'reason': '', 'power_w': None,
                'age_s': number(inputs.ages['radio/status'], 3)}
    word = ('disarmed' if not radio.armed else 'muted' if radio.muted else 'transmitting')
    return {
        'state': word, 'text': text, 'reason': radio.mute_reason,
        'power_w': number(radio.power), 'power_limit_w': number(radio.power_limit),
        'max_element_power_w': number(radio.max_element_power), 'eirp_w': number(radio.eirp),
        'sequence': int(radio.last_sequence), 'applied': int(radio.applied),
        'late': int(radio.late), 'dropped': int(radio.dropped),
        'rejected': _counts(radio.rejected), 'muted_s': number(radio.muted_duration),
        'age_s': _age(inputs, 'radio/status', radio.header.stamp, now)}


def _design(inputs: SceneInputs, now: int) -> Data | None:
    status = inputs.status
    if status is None:
        return None
    bounds = inputs.bounds
    return {
        'name': status.design, 'outcome': OUTCOMES[status.outcome],
        'reason': status.fallback_reason, 'sequence': int(status.sequence),
        'cycle': int(status.cycle), 'gap': number(status.gap), 'power_w': number(status.power),
        'sum_root_crb_m': None if bounds is None else _root(bounds.sum_crb),
        'iterations': int(status.iterations), 'warm': bool(status.warm),
        'cycle_ms': number(status.cycle_ms), 'pose_to_beam_ms': number(status.pose_to_beam_ms),
        'stages_ms': {stage.stage: number(stage.duration_ms) for stage in status.stages},
        'overruns': int(status.overruns), 'fallbacks': _counts(status.fallbacks),
        'rejected': _counts(status.rejected),
        'age_s': _age(inputs, 'status', status.header.stamp, now)}


def _root(variance: float) -> float | None:
    return number(math.sqrt(variance)) if variance >= 0 else None


def _tracks(inputs: SceneInputs, role: int) -> dict[str, TrackStatus]:
    """What the newest status says of the bodies of a role; nothing if it is old."""
    if inputs.status is None or inputs.ages['status'] > FORGET_AFTER:
        return {}
    return {track.id: track for track in inputs.status.tracks if track.role == role}


def _pose_state(name: str, tracks: Mapping[str, TrackStatus]) -> Data:
    track = tracks.get(name)
    if track is None:
        return {'pose': 'unknown', 'pose_age_s': None}
    return {'pose': STATES[track.state], 'pose_age_s': number(track.age, 4)}


def _tracked(inputs: SceneInputs, role: str) -> dict[str, PoseSample]:
    return {name: sample for (kind, name), sample in inputs.samples(TRACKED).items()
            if kind == role}


def _targets(inputs: SceneInputs, live: bool) -> list[Data]:
    tracked = _tracked(inputs, 'targets')
    tracks = _tracks(inputs, TrackStatus.ROLE_TARGET)
    outlines = inputs.outlines()
    entries = {entry.id: entry for entry in inputs.bounds.entries} if (
        live and inputs.bounds is not None) else {}
    targets = []
    for name in sorted({*tracked, *entries, *tracks}):
        entry = entries.get(name)
        position = None
        if entry is not None:
            position = _place((entry.position.x, entry.position.y, entry.position.z))
        elif name in tracked:
            position = _place(tracked[name].position)
        drawn = outlines.get(name)
        targets.append({
            'id': name, 'position': position, **_bound(entry), **_pose_state(name, tracks),
            'outline': None if drawn is None else [_place(point) for point in drawn.loop[::4]]})
    return targets


def _bound(entry: CrbEntry | None) -> Data:
    """Root-CRBs of a target; all None without beams."""
    if entry is None:
        return {'bounded': False, 'root_crb_m': None, 'isotropic_root_crb_m': None,
                'covariance_m2': None, 'angles_rad': {}}
    names = list(entry.parameters)
    variances = np.diag(np.array(entry.covariance, dtype=float).reshape(len(names), len(names)))
    covariance = position_covariance(entry)
    return {
        'bounded': True, 'root_crb_m': _root(entry.crb),
        'isotropic_root_crb_m': _root(entry.isotropic_crb),
        'covariance_m2': [number(value) for value in covariance.ravel()]
        if np.isfinite(covariance).all() else None,
        'angles_rad': {name: _root(variance) for name, variance in zip(names, variances)
                       if name in ('direction', 'orientation')}}


def _users(inputs: SceneInputs, live: bool) -> list[Data]:
    tracked = _tracked(inputs, 'users')
    tracks = _tracks(inputs, TrackStatus.ROLE_USER)
    designed = {user.id: user for user in inputs.status.users} if inputs.status and live else {}
    received = {user.id: user for user in inputs.radio.users} if inputs.radio else {}
    served = set(inputs.beams.user_ids) if inputs.beams and live else set()
    users = []
    for name in sorted({*tracked, *tracks, *designed, *received}):
        design, radio = designed.get(name), received.get(name)
        asked = design or radio
        sinr = number(design.sinr_db) if design is not None else None
        required = number(asked.required_sinr_db) if asked is not None else None
        users.append({
            'id': name, 'served': name in served, 'sinr_db': sinr, 'required_db': required,
            'received_db': number(radio.sinr_db) if radio is not None else None,
            'met': sinr is not None and required is not None
            and sinr >= required - SINR_TOLERANCE,
            'position': _place(tracked[name].position) if name in tracked else None,
            **_pose_state(name, tracks)})
    return users


class Memory:
    """
    What needs more than the newest messages: rates, times over a while, and the charts.

    All of it is bounded.
    """

    def __init__(self) -> None:
        self._counted: deque[tuple[float, Mapping[str, int]]] = deque()
        self._timings: deque[tuple[float, float, float, str]] = deque(maxlen=MOST_TIMINGS)
        self._rows: deque[Data] = deque(maxlen=round(HISTORY_SPAN / HISTORY_STEP))

    def look(self, inputs: SceneInputs, now: float | None = None) -> Data:
        """
        Take in what was read, and say what can be said of the last seconds.

        Parameters
        ----------
        inputs : SceneInputs
            Just read.
        now : float, optional
            On the steady clock [s].

        """
        now = time.monotonic() if now is None else now
        counts = dict(inputs.counts)
        self._counted.append((now, counts))
        while self._counted[0][0] < now - RATE_WINDOW and len(self._counted) > 2:
            self._counted.popleft()
        begin, before = self._counted[0]
        # Topics change with the deployment; one that is new has been silent so far.
        rates = {topic: max(0.0, count - before.get(topic, 0)) / (now - begin) if now > begin
                 else 0.0 for topic, count in counts.items()}
        for status in inputs.recent:
            self._timings.append((now, status.cycle_ms, status.pose_to_beam_ms,
                                  OUTCOMES[status.outcome]))
        while self._timings and self._timings[0][0] < now - TIMING_WINDOW:
            self._timings.popleft()
        ages = inputs.ages
        return {
            'steady_s': number(now),
            'topics': [{'name': topic, 'rate_hz': number(rate, 4), 'messages': counts[topic],
                        'age_s': number(ages[topic], 3)} for topic, rate in rates.items()],
            'timing': {'cycles': len(self._timings), 'window_s': TIMING_WINDOW,
                       'cycle_ms': _quantiles(row[1] for row in self._timings),
                       'pose_to_beam_ms': _quantiles(row[2] for row in self._timings),
                       'outcomes': {word: sum(row[3] == word for row in self._timings)
                                    for word in OUTCOMES}}}

    def remember(self, shown: Data) -> None:
        """Keep a row for the charts, at most five a second."""
        if self._rows and shown['steady_s'] - self._rows[-1]['steady_s'] < HISTORY_STEP - 1e-3:
            return
        self._rows.append(row_of(shown))

    def history(self) -> list[Data]:
        """Rows of the last minute, for a page that has just been opened."""
        return list(self._rows)


def _quantiles(values: Iterable[float]) -> Data:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return {'p50': None, 'p99': None, 'max': None}
    p50, p99 = np.percentile(finite, [50, 99])
    return {'p50': number(p50, 4), 'p99': number(p99, 4), 'max': number(max(finite), 4)}


def row_of(shown: Data) -> Data:
    """What the charts keep of an instant."""
    design = shown['design'] or {}
    if (design.get('age_s') or 0.0) > FORGET_AFTER:
        design = {}   # a line would go on with old times
    return {
        'steady_s': shown['steady_s'], 'radio': shown['radio']['state'],
        'outcome': design.get('outcome') if shown['live'] else None,
        'cycle_ms': design.get('cycle_ms'), 'pose_to_beam_ms': design.get('pose_to_beam_ms'),
        'sinr_db': {user['id']: user['sinr_db'] for user in shown['users']},
        'received_db': {user['id']: user['received_db'] for user in shown['users']},
        'required_db': {user['id']: user['required_db'] for user in shown['users']},
        'root_crb_m': {target['id']: target['root_crb_m'] for target in shown['targets']}}
