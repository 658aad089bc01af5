"""`nf-isac bench`: its command line. What it measures is in the room bench."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys

EXIT_OK = 0
EXIT_BAD_INPUT = 2

# One thread per process, as in the nodes: two-thread rows ask for more at run time. RAYON is what
# Clarabel's parallel linear algebra reads.
SINGLE_THREADED = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS',
                   'RAYON_NUM_THREADS')
# The part that is run on request only.
LONG = 'long'
PEERS = ('none', 'short', 'medium', 'all')
PARTS = ('solve', 'warm', 'zero-forcing', 'threads', 'build', 'antennas', 'cycle', 'memory',
         'extended', 'replay', 'pose-to-beam', 'long')


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'bench', help='measure solver, cycle and nodes, beside other solvers',
        description='Measures solver, cycle and nodes, and in the same run other solvers on the '
                    'same scenes. Writes latest.json, a table in Markdown and two pictures.')
    parser.add_argument('--out', type=Path, default=Path('out/bench'), metavar='DIR',
                        help='folder for latest.json and the pictures (default: %(default)s)')
    parser.add_argument('--table', type=Path, metavar='FILE.md',
                        help='the table (default: benchmarks.md in the folder)')
    parser.add_argument('--quick', action='store_true', help='ends within two minutes')
    parser.add_argument('--long', action='store_true',
                        help='ten minutes of each recording through the nodes, and 100000 cycles, '
                             'as well; with --quick 20 s and 2000')
    parser.add_argument('--peers', choices=PEERS,
                        help='other solvers: none; short, those that take a second (default with '
                             '--quick); medium, a minute (default); all, many minutes')
    parser.add_argument('--recordings', type=Path, metavar='DIR',
                        help='folder with recordings; without it bodies walk in circles')
    parser.add_argument('--only', action='append', choices=PARTS, metavar='PART',
                        help=f'one part; repeatable: {", ".join(PARTS)}')
    parser.add_argument('--redraw', action='store_true',
                        help='measure nothing: table and pictures from latest.json in --out')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    # Before numpy comes in.
    for name in SINGLE_THREADED:
        os.environ[name] = '1'
    import json

    from nf_isac_ros.bench.sampling import FULL, QUICK
    from nf_isac_ros.bench.session import RESULTS, Plan, measure, write

    def say(line: str) -> None:
        print(line, flush=True)

    table = args.table or args.out / 'benchmarks.md'
    try:
        if args.redraw:
            results = json.loads((args.out / RESULTS).read_text(encoding='utf-8'))
        else:
            peers = args.peers or ('short' if args.quick else 'medium')
            there = args.recordings is not None and args.recordings.is_dir()
            parts = args.only or [part for part in PARTS if part != LONG or args.long]
            results = measure(Plan(
                QUICK if args.quick else FULL, peers,
                args.recordings.resolve() if there else None, tuple(parts)), say)
        for path in write(results, args.out, table):
            say(f'written: {path}')
    except (OSError, ValueError) as error:
        print(f'nf-isac bench: {error}', file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_OK
