"""
What a run achieved, as numbers, and whether that was good enough.

The keys, their units and their definitions are in docs/summary.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from nf_isac_ros.demo.loop import latency_rows
from nf_isac_ros.demo.runlog import OUTCOMES, STATES, DesignRecord, RadioRecord, RunLog

# A design may miss a required SINR by so much before that is a violation [dB].
SINR_TOLERANCE_DB = 0.01
# Weights are float32: so much of the power limit is rounding.
POWER_TOLERANCE = 1e-6
# The radio is not judged by what it applied in the first second of the window [s].
SETTLING = 1.0
# Share of the designs after that which must have been applied.
APPLIED_SHARE = 0.9
# Bounds that extended targets have besides that of the position, and their keys.
EXTENDED_BOUNDS = {'range': 'range_bound_m', 'direction': 'direction_bound_rad',
                   'orientation': 'orientation_bound_rad'}
# A design that arrived so shortly before the end may be missing in the last radio status [s].
STATUS_DELAY = 0.1


@dataclass(frozen=True)
class Death:
    """
    A node that ended when it should not have.

    Attributes
    ----------
    node : str
    cause : str
        'exit code 1', 'signal SIGSEGV', 'did not stop, was killed'.
    exit_code : int or None
        None: ended by a signal.
    signal : str
        Name of the signal; empty: ended by itself.
    time_s : float
        Since the start of the window; negative: while starting.
    last_lines : tuple of str
        End of its log.

    """

    node: str
    cause: str
    exit_code: int | None
    signal: str
    time_s: float
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """
    What a summary says about a run beyond the messages.

    Attributes
    ----------
    source : mapping
        What was run: scenario or recording, configuration, options.
    power_limit : float or None
        Limit of the deployment [W]; None: the one that the radio states alone counts.
    deaths : tuple of Death
    restarts : mapping of str to int
        How often each node was started again.
    interrupted : bool
        The user ended the run early.
    problems : tuple of str
        Further reasons why the run is not good enough, one line each.
    measured : bool
        There was a window at all.

    """

    source: Mapping[str, Any] = field(default_factory=dict)
    power_limit: float | None = None
    deaths: tuple[Death, ...] = ()
    restarts: Mapping[str, int] = field(default_factory=dict)
    interrupted: bool = False
    problems: tuple[str, ...] = ()
    measured: bool = True


def increase(values: Iterable[float]) -> float:
    """
    Sum up by how much a counter rose; where it falls, its node was started again from zero.

    Parameters
    ----------
    values : iterable of float
        Readings in the order of time; the first is where counting starts.

    Returns
    -------
    float

    """
    return sum(after - before if after >= before else after
               for before, after in pairwise(values))


def violates_sinr(design: DesignRecord) -> bool:
    """Tell whether a user's predicted SINR is below its requirement by more than the tolerance."""
    return any(not user.sinr_db >= user.required_db - SINR_TOLERANCE_DB for user in design.users)


def says_so(design: DesignRecord) -> bool:
    """Tell whether a design is labelled as a lesser one, with a reason."""
    return design.outcome == 'fallback' and bool(design.reason)


def exceeds_power(status: RadioRecord, power_limit: float | None = None) -> bool:
    """Tell whether the radio transmits more than it may."""
    limit = min(status.power_limit, math.inf if power_limit is None else power_limit)
    return not status.muted and not status.power <= limit * (1 + POWER_TOLERANCE)


def percentiles(values: Iterable[float], *levels: float) -> dict[str, float]:
    """
    Return percentiles and the maximum of those of the values that are finite.

    Parameters
    ----------
    values : iterable of float
        Others than finite ones are left out.
    levels : float
        [%]; 50 becomes the key `p50`, 5 `p05`.

    Returns
    -------
    dict
        Level and `max` -> value; NaN without values.

    """
    finite = [value for value in values if math.isfinite(value)]
    names = [f'p{level:02g}' for level in levels]
    if not finite:
        return dict.fromkeys([*names, 'max'], math.nan)
    found = np.percentile(finite, levels)
    return {**{name: float(value) for name, value in zip(names, found, strict=True)},
            'max': max(finite)}


def summarise(log: RunLog, facts: RunFacts) -> dict[str, Any]:
    """
    Sum up a run.

    Parameters
    ----------
    log : RunLog
        With its window set.
    facts : RunFacts
        What the messages do not tell.

    Returns
    -------
    dict
        As docs/summary.md describes it; NaN and infinity still in place.

    """
    cycles: list[DesignRecord] = log.in_window(log.designs)
    designs = [cycle for cycle in cycles if cycle.published]
    radio = _with_baseline(log.radio, log)
    radio_in_window: list[RadioRecord] = log.in_window(log.radio)
    duration = _duration(log)
    violations = [design for design in designs if violates_sinr(design)]
    unlabelled = [design for design in violations if not says_so(design)]
    power_violations = _power_violations(log, radio_in_window, facts.power_limit)
    outcomes = Counter(cycle.outcome for cycle in cycles)
    certified = [design.gap for design in designs if math.isfinite(design.gap)]
    asked, applied = _applied_after_settling(log)
    status_readings = _with_baseline(log.designs, log)
    reasons = _reasons(facts, len(unlabelled), power_violations, asked, applied, designs)
    return {
        'generator': 'nf-isac demo',
        'source': dict(facts.source),
        'design': Counter(cycle.design for cycle in cycles).most_common(1)[0][0] if cycles else '',
        'duration_s': duration,
        'interrupted': facts.interrupted,
        'verdict': {'passed': not reasons, 'reasons': reasons},
        'cycles': len(cycles),
        'designs': len(designs),
        'rate_hz': len(cycles) / duration if duration > 0 else math.nan,
        'cycle_ms': percentiles((design.cycle_ms for design in designs), 50, 99),
        'pose_to_beam_ms': percentiles((design.pose_to_beam_ms for design in designs), 50, 99),
        'stages_ms': {
            stage: percentiles((design.stages.get(stage, math.nan) for design in designs), 50, 99)
            for stage in dict.fromkeys(name for design in designs for name in design.stages)},
        'latency_ms': {stage: percentiles(spent.tolist(), 50, 99)
                       for stage, spent in latency_rows(log).items() if stage != 'time'},
        'quality': {outcome: outcomes[outcome] for outcome in OUTCOMES},
        'gap_max': max(certified, default=math.nan),
        'gap_p50': percentiles(certified, 50)['p50'],
        'uncertified': len(designs) - len(certified),
        'warm': sum(design.warm for design in designs),
        'iterations': percentiles((design.iterations for design in designs), 50, 99),
        'fallbacks': _tally(design.reason for design in designs if design.outcome == 'fallback'),
        'mutes': _tally(cycle.reason for cycle in cycles if not cycle.published),
        'rejected': _count_increases(cycle.rejected for cycle in status_readings),
        'overruns': int(increase(cycle.overruns for cycle in status_readings)),
        'sinr_violations': len(unlabelled),
        'sinr_violations_labelled': len(violations) - len(unlabelled),
        'power_violations': power_violations,
        'radio': {
            'applied': int(increase(status.applied for status in radio)),
            'late': int(increase(status.late for status in radio)),
            'dropped': int(increase(status.dropped for status in radio)),
            'muted_s': increase(status.muted_duration for status in radio),
            'rejected': _count_increases(status.rejected for status in radio),
            'mute_reasons': _mute_seconds(radio_in_window),
            'power_w_max': max((status.power for status in radio_in_window
                                if not status.muted), default=math.nan),
            'power_limit_w': radio_in_window[-1].power_limit if radio_in_window else math.nan,
            'eirp_w_max': max((status.eirp for status in radio_in_window
                               if not status.muted), default=math.nan),
            'applied_share': min(1.0, applied / asked) if asked else math.nan,
        },
        'users': [_user_row(user, cycles, designs, radio_in_window) for user in log.user_ids],
        'targets': [_target_row(target, cycles, log) for target in log.target_ids],
        'nodes_died': [asdict(death) for death in facts.deaths],
        'nodes_restarted': dict(facts.restarts),
        'unreadable_messages': log.ignored,
    }


def write_json(summary: Mapping[str, Any], path: Path) -> None:
    """Write a summary; what is not a finite number becomes null."""
    path.write_text(json.dumps(_without_nan(summary), indent=2, allow_nan=False,
                               ensure_ascii=False) + '\n', encoding='utf-8')


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _duration(log: RunLog) -> float:
    times = [records[-1].time for records in (log.designs, log.radio, log.beams) if records]
    starts = [records[0].time for records in (log.designs, log.radio, log.beams) if records]
    begin = log.begin if math.isfinite(log.begin) else min(starts, default=0.0)
    end = log.end if math.isfinite(log.end) else max(times, default=begin)
    return max(0.0, end - begin)


def _with_baseline(records: Sequence[Any], log: RunLog) -> list[Any]:
    """Records of the window, after the last one before it: where the counters stood."""
    before = [record for record in records if record.time < log.begin]
    return before[-1:] + log.in_window(records)


def _count_increases(readings: Iterable[Mapping[str, int]]) -> dict[str, int]:
    readings = list(readings)
    reasons = sorted({reason for reading in readings for reason in reading})
    rises = {reason: int(increase(reading.get(reason, 0) for reading in readings))
             for reason in reasons}
    return {reason: rise for reason, rise in rises.items() if rise}


def _tally(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reason or 'no reason given' for reason in reasons).items()))


def _mute_seconds(radio: Sequence[RadioRecord]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for before, after in pairwise(radio):
        if before.muted:
            reason = before.mute_reason or 'no reason given'
            seconds[reason] = seconds.get(reason, 0.0) + after.time - before.time
    return dict(sorted(seconds.items()))


def _power_violations(log: RunLog, radio: Sequence[RadioRecord], limit: float | None) -> int:
    """
    Count the radio statuses that tell of too much power, by either of two accounts.

    The radio's own figure, and, so that this is not left to the radio alone, the power of the
    weights of the message that it says it applied last.
    """
    too_strong = {
        beam.sequence for beam in log.beams
        if not beam.weights_power <= (1 + POWER_TOLERANCE) * min(
            beam.power_limit, math.inf if limit is None else limit)}
    return sum(exceeds_power(status, limit)
               or (not status.muted and status.last_sequence in too_strong) for status in radio)


def _applied_after_settling(log: RunLog) -> tuple[int, int]:
    """
    Count designs that were published after the first second, and those that were applied.

    Returns
    -------
    published, applied : int

    """
    start = log.begin + SETTLING
    if not math.isfinite(start):
        times = [records[0].time for records in (log.radio, log.beams) if records]
        start = min(times, default=0.0) + SETTLING
    before = [status for status in log.radio if status.time <= start]
    after = [status for status in log.radio if start < status.time <= log.end]
    readings = before[-1:] + after
    applied = int(increase(status.applied for status in readings))
    known_until = after[-1].time - STATUS_DELAY if after else math.inf
    last_applied = after[-1].last_sequence if after else 0
    beams = [beam for beam in log.beams if start < beam.time <= log.end
             and (beam.time <= known_until or beam.sequence <= last_applied)]
    # Sequence numbers count messages that never arrived here as well.
    published = bool(beams) + sum(
        second.sequence - first.sequence if second.sequence > first.sequence else 1
        for first, second in pairwise(beams))
    return published, applied


def _user_row(user_id: str, cycles: Sequence[DesignRecord], designs: Sequence[DesignRecord],
              radio: Sequence[RadioRecord]) -> dict[str, Any]:
    designed = [user for design in designs for user in design.users if user.id == user_id]
    seen = [user for status in radio if not status.muted for user in status.users
            if user.id == user_id and math.isfinite(user.sinr_db)]
    required = [user.required_db for user in designed if math.isfinite(user.required_db)]
    below = sum(user.sinr_db < user.required_db - SINR_TOLERANCE_DB for user in seen)
    return {
        'id': user_id,
        'designs': len(designed),
        'required_sinr_db': float(np.median(required)) if required else math.nan,
        'designed_sinr_db': _low(user.sinr_db for user in designed),
        'designed_below': sum(not user.sinr_db >= user.required_db - SINR_TOLERANCE_DB
                              for user in designed),
        'seen_sinr_db': _low(user.sinr_db for user in seen),
        'seen_below_share': below / len(seen) if seen else math.nan,
        'cycles': _state_counts('user', user_id, cycles),
    }


def _low(values: Iterable[float]) -> dict[str, float]:
    """Percentiles of a quantity whose low end matters."""
    finite = [value for value in values if math.isfinite(value)]
    found = percentiles(finite, 1, 5, 50)
    return {'min': min(finite, default=math.nan),
            'p01': found['p01'], 'p05': found['p05'], 'p50': found['p50']}


def _target_row(target_id: str, cycles: Sequence[DesignRecord], log: RunLog) -> dict[str, Any]:
    entries = [entry for record in log.in_window(log.bounds) for entry in record.targets
               if entry.id == target_id]
    return {
        'id': target_id,
        'designs': len(entries),
        'root_crb_m': percentiles((entry.root_crb for entry in entries), 50, 90, 99),
        'isotropic_root_crb_m': percentiles(
            (entry.isotropic_root_crb for entry in entries), 50, 90, 99),
        'not_identifiable': sum(not math.isfinite(entry.crb) for entry in entries),
        'illumination_w': percentiles((entry.illumination for entry in entries), 50)['p50'],
        'near_field_share': (sum(entry.field == 'near' for entry in entries) / len(entries)
                             if entries else math.nan),
        **{key: percentiles((entry.deviation(name) for entry in entries), 50, 90, 99)
           for name, key in EXTENDED_BOUNDS.items()
           if any(name in entry.parameters for entry in entries)},
        'cycles': _state_counts('target', target_id, cycles),
    }


def _state_counts(role: str, body_id: str, cycles: Sequence[DesignRecord]) -> dict[str, int]:
    states = Counter(body.state for cycle in cycles for body in cycle.bodies
                     if body.id == body_id and body.role == role)
    return {state: states[state] for state in STATES}


def _reasons(facts: RunFacts, unlabelled: int, power_violations: int, asked: int, applied: int,
             designs: Sequence[DesignRecord]) -> list[str]:
    reasons = [f'{death.node} died: {death.cause}' for death in facts.deaths]
    if power_violations:
        reasons.append(f'the radio was driven beyond the power limit in {power_violations} of its '
                       'status messages')
    if unlabelled:
        reasons.append(f'{unlabelled} of {len(designs)} designs miss a required SINR by more than '
                       f'{SINR_TOLERANCE_DB} dB on the predicted channels without saying so')
    if not facts.measured:
        reasons.append('nothing was measured')
    elif not asked:
        reasons.append(f'no design was published after the first {SETTLING:g} s')
    elif applied < APPLIED_SHARE * asked:
        reasons.append(f'{applied} of {asked} designs after the first {SETTLING:g} s were applied '
                       f'({applied / asked:.0%}), must be {APPLIED_SHARE:.0%}')
    return reasons + list(facts.problems)
