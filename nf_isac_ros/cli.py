"""The command `nf-isac`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import importlib
import sys

from nf_isac_ros import __version__

# Command -> module with `add_parser(subparsers)` and, behind it, `run(args) -> int`. The modules
# import what they need inside `run`, so that help is instant and solving needs no ROS.
COMMANDS = {
    'solve': 'nf_isac_ros.solve_command',
    'tradeoff': 'nf_isac_ros.tradeoff_command',
    'demo': 'nf_isac_ros.demo.command',
    'watch': 'nf_isac_ros.watch_command',
    'bench': 'nf_isac_ros.bench_command',
    'figures': 'nf_isac_ros.figures.command',
    'replay': 'nf_isac_ros.replay_command',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='nf-isac',
        description='Near-field integrated sensing and communication: tracked poses in, radio '
                    'beams out.')
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for module in COMMANDS.values():
        importlib.import_module(module).add_parser(commands)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


if __name__ == '__main__':
    sys.exit(main())
