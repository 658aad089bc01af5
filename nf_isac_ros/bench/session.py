"""One run of the benchmarks: its parts one after the other, and the files it writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
import json
import os
from pathlib import Path
import time
from typing import Any

from nf_isac_ros.bench import building, cycling, extended, machine, replaying, solving
from nf_isac_ros.bench.pictures import draw
from nf_isac_ros.bench.report import markdown
from nf_isac_ros.bench.sampling import Effort, Row
from nf_isac_ros.bench.scenes import CITR, MRCLAM, Motion, recorded_motions
from nf_isac_ros.core.cycle import warm_up
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.files.deployment import load_deployment

RESULTS = 'latest.json'
PARTS = ('solve', 'warm', 'zero-forcing', 'threads', 'build', 'antennas', 'cycle', 'memory',
         'extended', 'replay', 'pose-to-beam', 'long')


@dataclass(frozen=True)
class Plan:
    """
    What is to be measured.

    Attributes
    ----------
    effort : Effort
    peers : str
        Key of `solving.PEER_SIZES`.
    recordings : Path or None
        Folder with recordings; what is not there is replaced.
    parts : collection of str
        Some of PARTS.

    """

    effort: Effort
    peers: str
    recordings: Path | None = None
    parts: Collection[str] = PARTS


def measure(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """
    Run the benchmarks.

    Parameters
    ----------
    plan : Plan
    say : callable
        Takes a line for each row that is done.

    Returns
    -------
    dict
        The content of latest.json.

    """
    started = time.monotonic()
    say(f'solver ready after {warm_up():.1f} s')
    where = machine.describe()
    skipped: dict[str, str] = {}
    motions = _motions(plan, skipped)
    rows: list[Row] = []
    for part, run in _parts(plan, motions).items():
        if part not in plan.parts:
            continue
        try:
            for row in run():
                rows.append(row)
                say(_line(row, time.monotonic() - started))
        except (NfIsacError, ImportError) as error:
            skipped[part] = f'{type(error).__name__}: {error}'
            say(f'{part}: not run: {error}')
    where['load_end'] = machine.load()
    return {
        'machine': where,
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'versions': machine.versions(), 'effort': plan.effort.name, 'peers': plan.peers,
        'threads': 1, 'seconds': round(time.monotonic() - started, 1), 'skipped': skipped,
        'rows': rows}


def _motions(plan: Plan, skipped: dict[str, str]) -> dict[tuple[int, int], Motion]:
    if plan.recordings is None:
        skipped['recordings'] = 'no folder with recordings; bodies walk in circles instead'
        return {}
    try:
        from nf_isac_ros.demo.graph import recording_file

        deployments = {name: load_deployment(recording_file(Path(name)))
                       for name in (MRCLAM, CITR)}
        return recorded_motions(plan.recordings, deployments)
    except (NfIsacError, ImportError) as error:
        skipped['recordings'] = f'{error}; bodies walk in circles instead'
        return {}


def _parts(plan: Plan, motions: dict[tuple[int, int], Motion],
           ) -> dict[str, Callable[[], Iterator[Row]]]:
    effort = plan.effort

    def pose_to_beam() -> Iterator[Row]:
        # Needs ROS 2; everything else does not.
        from nf_isac_ros.bench import live
        return live.rows(effort, plan.recordings)

    def long() -> Iterator[Row]:
        from nf_isac_ros.bench import live
        yield from cycling.long_memory_rows(effort, motions)
        yield from live.long_rows(effort, plan.recordings)

    runs: dict[str, Callable[[], Iterator[Row]]] = {
        'solve': lambda: solving.cold_rows(effort, motions, plan.peers),
        'warm': lambda: solving.warm_rows(effort, motions),
        'zero-forcing': lambda: solving.zero_forcing_rows(effort, motions),
        'threads': lambda: chain(solving.thread_rows(effort, motions, plan.peers),
                                 solving.concurrent_rows(effort, motions)),
        'build': lambda: building.rows(effort),
        'antennas': lambda: solving.antenna_rows(effort, building.SIDES),
        'cycle': lambda: cycling.rows(effort, motions),
        'memory': lambda: chain(cycling.memory_rows(effort, motions),
                                cycling.repeat_rows(effort, motions)),
        'extended': lambda: extended.rows(effort, plan.peers),
        'replay': lambda: replaying.rows(effort, motions),
        'pose-to-beam': pose_to_beam,
        'long': long,
    }
    return {name: runs[name] for name in PARTS}


def _line(row: Row, seconds: float) -> str:
    """Return one line for whoever waits."""
    words = [f'{seconds:6.0f} s ', row['bench']]
    if 'targets' in row:
        words.append(f'K={row["targets"]} U={row["users"]}')
    for key, form in (('design', '{}'), ('antennas', 'N={}'), ('mode', '{}'),
                      ('gap_required', 'gap {:g}'),
                      ('rate_hz', '{:g} Hz'), ('p50_ms', 'p50 {} ms'), ('p99_ms', 'p99 {} ms'),
                      ('gap_max', 'largest gap {:.1e}'), ('iterations_p50', '{:g} iterations'),
                      ('bytes_per_cycle', '{} bytes per cycle'),
                      ('cycles_per_second', '{} cycles per second'),
                      ('throughput_ratio', '{:g} times the throughput'),
                      ('different', '{} different'),
                      ('fresh_user_without_beam', '{} without beams'), ('failed', 'failed: {}')):
        if row.get(key) is not None:
            words.append(form.format(row[key]))
    words += [f'{name} {peer["p50_ms"]} ms' for name, peer in row.get('peers', {}).items()
              if peer['p50_ms'] is not None]
    return ' '.join(words)


def write(results: dict[str, Any], folder: Path, table: Path) -> list[Path]:
    """
    Write results, table and pictures.

    Parameters
    ----------
    results : dict
        As `measure` returns it.
    folder : Path
        For latest.json and the pictures; made if it is not there.
    table : Path
        Markdown file.

    Returns
    -------
    list of Path
        What was written.

    """
    folder.mkdir(parents=True, exist_ok=True)
    table.parent.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + '\n', encoding='utf-8')
    pictures = draw(results['rows'], folder)
    relative = Path(os.path.relpath(folder, table.parent)).as_posix()
    table.write_text(markdown(results, '' if relative == '.' else f'{relative}/'),
                     encoding='utf-8')
    return [path, table, *pictures]
