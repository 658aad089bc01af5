"""The numbers that matter: summary.json, and one row for each what-if."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros import __version__
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.replay.incidents import TOLERANCE_DB, Incident, counted
from nf_isac_ros.replay.table import (
    RECORDED,
    REDESIGNED,
    TARGET,
    USER,
    Columns,
    Row,
    bodies_of,
    column,
)
from nf_isac_ros.replay.whatif import Variant

if TYPE_CHECKING:
    from nf_isac_ros.replay.session import BagResult, Request

DIGITS = 6
QUALITIES = ('optimal', 'early', 'fallback', 'mute')
Mask = NDArray[np.bool_]


def summarise(request: Request, deployment: Deployment, results: Sequence[BagResult],
              incidents: Sequence[Incident], cycles: Columns) -> dict[str, Any]:
    """
    Content of summary.json, but for `seconds`.

    `root_crb_m` and `sinr_met` are those of the redesigned cycles if there are any, else of the
    recorded ones; `modes` has both.
    """
    mode = cycles['mode']
    modes = {name: figures_of(cycles, mode == name) for name in (RECORDED, REDESIGNED)
             if (mode == name).any()}
    first = modes.get(REDESIGNED) or modes.get(RECORDED) or {}
    return {
        'version': __version__, 'config': request.config.name,
        'design': deployment.design.name, 'realtime': request.realtime,
        'gap': request.accuracy or deployment.design.gap,
        'budget_ms': _milliseconds(deployment.design.budget) if request.realtime else None,
        'cycles': len(cycles),
        'recorded': int((mode == RECORDED).sum()), 'redesigned': int((mode == REDESIGNED).sum()),
        'rejected': _total(result.counts.rejected for result in results),
        'rejected_by_node': _total(Counter(result.node_rejected) for result in results),
        'incidents': counted(incidents),
        'root_crb_m': first.get('root_crb_m', {}), 'sinr_met': first.get('sinr_met', {}),
        'modes': modes,
        'bags': [{
            'name': result.name, 'start_s': result.start, 'length_s': _number(
                result.end - result.start), 'messages': result.counts.messages,
            'poses': result.counts.poses, 'rejected': dict(result.counts.rejected),
            'rejected_examples': result.counts.examples, 'notes': result.counts.notes}
            for result in results],
        'failures': sorted({text.strip().splitlines()[-1] for result in results
                            for text in result.failures}),
    }


def figures_of(cycles: Columns, rows: Mask) -> dict[str, Any]:
    """
    Figures of some rows of a table.

    Parameters
    ----------
    cycles : Columns
    rows : ndarray of bool, shape (R,)
        Which rows count.

    Returns
    -------
    dict
        root_crb_m, isotropic_root_crb_m {target: median}; sinr_db {user: median}; sinr_met {user:
        share of the cycles in which the user was tracked}; quality {quality: cycles}; gap_median,
        power_w_median, cycle_ms {p50, p99}.

    """
    quality = cycles['quality'][rows]
    times = cycles['cycle_ms'][rows]
    return {
        'cycles': int(rows.sum()),
        'quality': {name: int((quality == name).sum()) for name in QUALITIES},
        'root_crb_m': _medians(cycles, rows, TARGET, 'root_crb_m'),
        'isotropic_root_crb_m': _medians(cycles, rows, TARGET, 'isotropic_root_crb_m'),
        'sinr_db': _medians(cycles, rows, USER, 'sinr_db'),
        'sinr_met': {user: _number(share) for user in bodies_of(cycles.names, USER)
                     if np.isfinite(share := met_share(cycles, rows, user))},
        'gap_median': _median(cycles['gap'][rows]),
        'power_w_median': _median(cycles['power_w'][rows]),
        'cycle_ms': {'p50': _median(times), 'p99': _quantile(times, 0.99)},
    }


def met_share(cycles: Columns, rows: Mask, user: str) -> float:
    """Share of the cycles with a tracked user in which it got the SINR that it required."""
    names = [column(USER, user, quantity) for quantity in ('required_sinr_db', 'sinr_db')]
    if any(name not in cycles for name in names):
        return np.nan
    required, achieved = (cycles[name][rows] for name in names)
    state = column(USER, user, 'state')
    tracked = np.isfinite(required)
    if state in cycles:
        tracked |= np.isin(cycles[state][rows], ('fresh', 'held'))
    if not tracked.any():
        return np.nan
    with np.errstate(invalid='ignore'):
        return float((achieved >= required - TOLERANCE_DB)[tracked].mean())


def variant_rows(compared: Columns, variants: Sequence[Variant]) -> list[Row]:
    """
    One row for each what-if.

    Returns
    -------
    list of dict
        The swept values, cycles, medians, shares; as docs/replay.md explains.

    """
    swept = {name: compared[name] for name in variants[0].values}
    rows = []
    for variant in variants:
        chosen = np.ones(len(compared), dtype=bool)
        for name, value in variant.values.items():
            chosen &= swept[name] == value
        quality = compared['quality'][chosen]
        row: Row = {**variant.values, 'cycles': float(chosen.sum())}
        row |= {f'{name}_share': float((quality == name).mean()) for name in QUALITIES}
        for target in bodies_of(compared.names, TARGET):
            values = compared[column(TARGET, target, 'root_crb_m')][chosen]
            for label, level in (('p10', 0.1), ('median', 0.5), ('p90', 0.9)):
                row[f'{TARGET}.{target}.root_crb_{label}_m'] = _quantile(values, level)
        for user in bodies_of(compared.names, USER):
            row[f'{USER}.{user}.sinr_median_db'] = _median(
                compared[column(USER, user, 'sinr_db')][chosen])
            row[f'{USER}.{user}.sinr_met_share'] = met_share(compared, chosen, user)
        row['power_median_w'] = _median(compared['power_w'][chosen])
        row['gap_median'] = _median(compared['gap'][chosen])
        row['cycle_median_ms'] = _median(compared['cycle_ms'][chosen])
        rows.append(row)
    return rows


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write summary.json."""
    path.write_text(json.dumps(summary, indent=1, allow_nan=False) + '\n', encoding='utf-8')


def _medians(cycles: Columns, rows: Mask, role: str, quantity: str) -> dict[str, float | None]:
    found = {body: _median(cycles[name][rows]) for body in bodies_of(cycles.names, role)
             if (name := column(role, body, quantity)) in cycles}
    return {body: value for body, value in found.items() if value is not None}


def _median(values: NDArray[np.float64]) -> float | None:
    return _quantile(values, 0.5)


def _quantile(values: NDArray[np.float64], level: float) -> float | None:
    """Quantile of what is known; infinite values count, and JSON has no word for them."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return None
    low, high = (known[int(at(level * (len(known) - 1)))] for at in (np.floor, np.ceil))
    share = level * (len(known) - 1) % 1.0
    return _number(float(low if low == high else low + share * (high - low)))


def _number(value: float) -> float | None:
    return float(f'{value:.{DIGITS}g}') if np.isfinite(value) else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else _number(1e3 * seconds)


def _total(counters: Any) -> dict[str, int]:
    return dict(sorted(sum(counters, Counter()).items()))
