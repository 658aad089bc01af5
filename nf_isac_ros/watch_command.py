"""`nf-isac watch`: its command line. What it does is in watch/."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys

USAGE_ERROR = 2

ADDRESS, PORT, RATE = '127.0.0.1', 8765, 10.0
MOST_HZ = 60.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `watch` to a parser."""
    parser = subparsers.add_parser(
        'watch', help='show the running graph on a web page',
        description='Serves a page with scene, SINR, bounds, timing and radio state of a running '
                    'graph. It can only be looked at, and only on this machine unless --address '
                    'says otherwise. Ctrl-C ends it.')
    parser.add_argument('--port', type=int, default=PORT, metavar='N',
                        help='port of the page; 0: any that is free (default: %(default)s)')
    parser.add_argument('--address', default=ADDRESS, metavar='IP',
                        help='interface to listen on (default: %(default)s, this machine only)')
    parser.add_argument('--allow-host', action='append', default=[], metavar='NAME',
                        help='name of this machine that browsers may use, besides its addresses; '
                             'repeatable')
    parser.add_argument('--config', type=Path, metavar='FILE',
                        help='deployment file (default: that of the running beamformer)')
    parser.add_argument('--namespace', default='', metavar='NS',
                        help='namespace of the graph (default: none)')
    parser.add_argument('--rate', type=float, default=RATE, metavar='HZ',
                        help='pictures per second (default: %(default)g)')
    parser.add_argument('--use-sim-time', action='store_true', help='follow /clock')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """
    Run the command.

    Returns
    -------
    int
        0: ended by Ctrl-C or SIGTERM; 1: listening has failed; 2: wrong usage, or the address
        cannot be listened on.

    """
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        os.environ.setdefault(name, '1')
    import asyncio

    from nf_isac_ros.core.exceptions import NfIsacError
    from nf_isac_ros.files.deployment import load_deployment
    from nf_isac_ros.files.parsing import FileError
    try:
        from rclpy.exceptions import InvalidNamespaceException

        from nf_isac_ros.watch.session import Plan, serve
        if not 0 <= args.port <= 65535:
            raise FileError(f'--port: is {args.port}; must be from 0 to 65535')
        if not 0.1 <= args.rate <= MOST_HZ:
            raise FileError(f'--rate: is {args.rate:g}; must be from 0.1 to {MOST_HZ:g} Hz')
        plan = Plan(
            address=args.address, port=args.port, names=args.allow_host, rate=args.rate,
            deployment=load_deployment(args.config) if args.config is not None else None,
            namespace=args.namespace, use_sim_time=args.use_sim_time)
        try:
            return asyncio.run(serve(plan))
        except InvalidNamespaceException as error:
            raise FileError(f'--namespace: is {args.namespace!r}; '
                            f'{" ".join(str(error).split())}') from error
    except NfIsacError as error:
        print(f'nf-isac watch: {error}', file=sys.stderr)
    except ImportError as error:
        print(f'nf-isac watch: {error}: build the workspace, and source it or use '
              '.venv/bin/nf-isac', file=sys.stderr)
    return USAGE_ERROR
