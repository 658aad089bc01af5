"""`nf-isac figures`: its command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from nf_isac_ros.figures import catalogue
from nf_isac_ros.figures.errors import FigureError

if TYPE_CHECKING:
    from nf_isac_ros.figures.parameters import Settings
    from nf_isac_ros.figures.session import Job
    from nf_isac_ros.parallel import Runner

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INFEASIBLE = 3


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    describe(commands.add_parser('figures', help='make the figures of both papers anew'))


def describe(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands to a parser."""
    parser.description = (
        'Computes figures of the papers on near-field ISAC and on extended targets, and writes a '
        'table (CSV) and a picture (PNG, SVG) of each panel. Exit codes: 0 made, 1 a computation '
        'failed, 2 bad input, 3 an SINR that a beam pattern is to be of cannot be met.')
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'{catalogue.allowed()}')
    parser.add_argument('--out', type=Path, default=Path('out/figures'), metavar='DIR',
                        help='folder of the results (default: %(default)s)')
    parser.add_argument('--set', action='append', default=[], dest='settings',
                        metavar='PARAMETER=VALUE',
                        help='change a parameter of all figures that have it; repeatable')
    parser.add_argument('--list', action='store_true', dest='listing',
                        help='make nothing: list panels, parameters and their values')
    parser.add_argument('--scheduler', metavar='ADDRESS',
                        help='run the sweeps on this Dask cluster, as tcp://host:8786')
    parser.add_argument('--workers', metavar='N',
                        help='processes for the sweeps on this machine (default: one a core); '
                             '0: none beside this one')
    parser.set_defaults(run=run)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command by itself; returns its exit code."""
    parser = argparse.ArgumentParser(prog='python -m nf_isac_ros.figures')
    describe(parser)
    return run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from nf_isac_ros.core.exceptions import (
        ArrayError,
        InfeasibleError,
        NfIsacError,
        SceneError,
        UnsuitableDesignError,
    )
    from nf_isac_ros.parallel import SchedulerError

    try:
        if args.listing:
            _list(catalogue.panels(args.names or ['all']), args.settings)
            return EXIT_OK
        _make(args)
    except (FigureError, SchedulerError, SceneError, ArrayError,
            UnsuitableDesignError) as error:
        return _report(str(error), EXIT_BAD_INPUT)
    except InfeasibleError as error:
        return _report(str(error), EXIT_INFEASIBLE)
    except OSError as error:
        return _report(f'--out: {error}', EXIT_BAD_INPUT)
    except (NfIsacError, ArithmeticError, MemoryError) as error:
        return _report(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return _report('interrupted', EXIT_FAILED)
    return EXIT_OK


def _report(line: str, code: int) -> int:
    print('nf-isac figures: ' + ' '.join(line.splitlines()), file=sys.stderr)
    return code


def _parameters(wanted: dict[str, str], settings: Sequence[str]) -> dict[str, Settings]:
    """Parameters of each figure; FigureError if a setting fits none of them."""
    from nf_isac_ros.figures.parameters import changed, describe, split_settings

    kinds = {name: catalogue.figure(name).parameters for name in wanted}
    known = {parameter for kind in kinds.values() for parameter, *_ in describe(kind)}
    pairs = split_settings(settings, known)
    return {name: changed(kind(), pairs) for name, kind in kinds.items()}


def _list(wanted: dict[str, str], settings: Sequence[str]) -> None:
    """Print panels and parameters."""
    from nf_isac_ros.figures.parameters import describe

    for name, values in _parameters(wanted, settings).items():
        figure = catalogue.figure(name)
        print(f'{name}  {figure.title}')
        for letter in wanted[name]:
            print(f'  {name}{letter}  {figure.panels[letter].caption}')
        for parameter, _, text in describe(type(values)):
            value = getattr(values, parameter)
            shown = ','.join(map(str, value)) if isinstance(value, tuple) else f'{value:.12g}'
            print(f'    {parameter}={shown}  {text}')


def _make(args: argparse.Namespace) -> None:
    """Make figures; raises NfIsacError and OSError."""
    from nf_isac_ros import parallel
    from nf_isac_ros.figures import session

    workers = parallel.worker_count(args.workers, args.scheduler)
    wanted = catalogue.panels(args.names)
    listed = session.jobs(wanted, _parameters(wanted, args.settings))
    swept = [job for job in listed if not job.panel.timed]
    timed = [job for job in listed if job.panel.timed]
    if swept:
        if workers is None:
            workers = parallel.worthwhile_workers(len(session.unique_tasks(swept)))
        with parallel.cluster(args.scheduler, workers) as runner:
            _with_progress('sweeps', swept, runner, args.out)
    if timed:
        # After the processes of the sweeps have ended.
        _with_progress('timing', timed, parallel.here, args.out)


def _with_progress(title: str, listed: list[Job], runner: Runner, folder: Path) -> None:
    """Make panels, with a bar that tells how far it is."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    from nf_isac_ros.figures import session

    console = Console(stderr=True)
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(title, total=len(session.unique_tasks(listed)))

        def said(path: Path) -> None:
            if path.suffix == '.png':
                console.print(f'written: {path.with_suffix("")}.csv .png .svg', highlight=False)

        advance: Callable[[], None] = lambda: bar.advance(task)  # noqa: E731
        session.make(listed, runner, folder, said, advance)
