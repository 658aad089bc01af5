"""`nf-isac replay`: its command line. What it does is in the room replay."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'replay', help='analyse recordings: what the beams achieved, or would have',
        description='Reads recordings (rosbag2, rosbag1, TUM or CSV trajectories), designs every '
                    'cycle again, and writes tables and a report; needs no ROS. Exit codes: 0 '
                    'done, 1 interrupted or failed, 2 bad input. The same command goes on where '
                    'an interrupted one was.')
    parser.add_argument('bags', nargs='+', type=Path, metavar='BAG',
                        help='recording: rosbag2 folder, .mcap, .db3, .bag; trajectories (.tum, '
                             '.txt, .csv) together are one')
    parser.add_argument('--config', type=Path, required=True, metavar='FILE',
                        help='deployment file')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR',
                        help='folder of the results')
    parser.add_argument('--mode', default='both', metavar='MODE',
                        help='recorded: what was published; redesigned: every cycle designed '
                             'again; both (default)')
    parser.add_argument('--realtime', action='store_true',
                        help='each design ends at the budget of the deployment (default: it takes '
                             'as long as it takes)')
    parser.add_argument('--gap', metavar='GAP',
                        help='certified relative gap to aim for (default 1e-6; with --realtime '
                             'that of the deployment)')
    parser.add_argument('--sweep', action='append', default=[], metavar='KEY=VALUES',
                        help='what-if: all combinations of these values of the deployment; '
                             'repeatable. design=crb-min,zero-forcing min_sinr_db=5:25:5 '
                             'elements=16x16,48x48 power_w=0.5,1 ...; docs/replay.md has all keys')
    parser.add_argument('--scheduler', metavar='ADDRESS',
                        help='design on this Dask cluster, as tcp://host:8786')
    parser.add_argument('--workers', metavar='N',
                        help='processes on this machine (default: one a core); 0: none beside '
                             'this one')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from nf_isac_ros.core.exceptions import NfIsacError
    from nf_isac_ros.parallel import WorkerError

    try:
        summary = _replay(args)
    except WorkerError as error:
        return _report(str(error), EXIT_FAILED)
    except NfIsacError as error:
        return _report(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        return _report(f'--out: {error}', EXIT_BAD_INPUT)
    except (ArithmeticError, MemoryError) as error:
        return _report(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return _report('interrupted; the same command goes on from here', EXIT_FAILED)
    print(f'{args.out / "report.html"}: {summary["cycles"]} cycles, '
          f'{sum(summary["incidents"].values())} incidents, {summary["seconds"]:.1f} s')
    return EXIT_OK


def _report(line: str, code: int) -> int:
    print('nf-isac replay: ' + ' '.join(line.splitlines()), file=sys.stderr)
    return code


def _replay(args: argparse.Namespace) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from nf_isac_ros import parallel
    from nf_isac_ros.options import gap_of
    from nf_isac_ros.replay.errors import ReplayError
    from nf_isac_ros.replay.session import MODES, Request, replay

    if args.mode not in MODES:
        raise ReplayError(f'--mode: is {args.mode!r}; must be one of {", ".join(MODES)}')
    workers = parallel.worker_count(args.workers, args.scheduler)
    if workers is None:
        workers = parallel.worthwhile_workers(parallel.MAX_WORKERS)
    gap = None if args.gap is None else gap_of(args.gap)
    request = Request(args.bags, args.config, args.out, args.mode, args.realtime, gap, args.sweep)
    console = Console(stderr=True)
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        return replay(request, lambda: parallel.cluster(args.scheduler, workers), _Bar(bar))


class _Bar:
    """Shows on a terminal how far a replay is."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._reading: dict[str, Any] = {}
        self._designing = bar.add_task('designing', total=None)
        self._planned = 0

    def read(self, bag: str, done: int, total: int) -> None:
        """Take note of messages that were read."""
        if bag not in self._reading:
            self._reading[bag] = self._bar.add_task(f'reading {bag}', total=total or None)
        self._bar.update(self._reading[bag], completed=done)

    def planned(self, cycles: int) -> None:
        """Take note of designs that are to be made."""
        self._planned += cycles
        self._bar.update(self._designing, total=self._planned)

    def designed(self, cycles: int) -> None:
        """Take note of designs that were made."""
        self._bar.advance(self._designing, cycles)

    def stage(self, text: str) -> None:
        """Take note of what comes now."""
        self._bar.console.print(f'writing: {text}', highlight=False)
