"""`nf-isac solve`: one design without ROS, file in, file out."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INFEASIBLE = 3


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'solve', help='run one design on a scene file',
        description='Run one design on a scene file. Exit codes: 0 solved (status optimal or '
                    'early), 1 the solver failed, 2 bad input, 3 the SINRs cannot be met.')
    parser.add_argument('scene', type=Path, help='scene file, JSON or YAML')
    parser.add_argument('--design', default='crb-min', metavar='NAME',
                        help='crb-min (default), sinr-max, isotropic, users-first')
    parser.add_argument('--out', type=Path, metavar='RESULT.json',
                        help='result file (default: standard output)')
    parser.add_argument('--weights', type=Path, metavar='WEIGHTS.npz',
                        help='also write the beams: comm (N, U), sensing (N, r), sqrt(W)')
    parser.add_argument('--gap', type=float, default=1e-6,
                        help='certified relative gap to aim for (default 1e-6)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from nf_isac_ros.core.exceptions import InfeasibleError, NfIsacError, SolverError
    from nf_isac_ros.files.scene_file import infeasible_record, solution_record

    try:
        solution = _solve(args)
        record = solution_record(solution)
        if args.weights is not None:
            _write_weights(solution, args.weights)
        code = EXIT_OK
    except InfeasibleError as error:
        print(f'nf-isac solve: {args.scene}: {error}', file=sys.stderr)
        record, code = infeasible_record(args.design, error.max_common_sinr_scale_db), \
            EXIT_INFEASIBLE
    except SolverError as error:
        print(f'nf-isac solve: {args.scene}: {error}', file=sys.stderr)
        return EXIT_FAILED
    except NfIsacError as error:
        print(f'nf-isac solve: {error}', file=sys.stderr)
        return EXIT_BAD_INPUT
    return _write(record, args.out, code)


def _solve(args: argparse.Namespace):
    """Solution of the scene; raises NfIsacError subclasses."""
    from dataclasses import replace
    from time import perf_counter

    from nf_isac_ros.core.cycle import full_rank_isotropic, solve
    from nf_isac_ros.core.designs import DESIGNS
    from nf_isac_ros.core.exceptions import SceneError
    from nf_isac_ros.core.problem import build_problem
    from nf_isac_ros.files.parsing import FileError
    from nf_isac_ros.files.scene_file import load_scene

    if args.design not in DESIGNS:
        raise FileError(f'--design: is {args.design!r}, must be one of {", ".join(DESIGNS)}')
    if not 0 < args.gap < 1:
        raise FileError(f'--gap: is {args.gap}, must lie between 0 and 1')
    for key, path in (('--out', args.out), ('--weights', args.weights)):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileError(f'{key}: folder {path.parent} does not exist')
    scene = load_scene(args.scene)
    started = perf_counter()
    try:
        if not scene.targets and not scene.users:
            raise SceneError('targets, users: both are empty, must hold at least one body')
        problem = build_problem(scene)
        design = DESIGNS[args.design]
        if design.needs_targets and not scene.targets:
            # Nothing to sense: the users get all of the power, docs/scenes.md.
            design = DESIGNS['sinr-max']
        built = perf_counter()
        solution = solve(problem, design, args.gap, None)
    except SceneError as error:
        raise FileError(f'{args.scene}: {error}') from error
    if solution.design == 'isotropic':
        solution = full_rank_isotropic(solution)
    return replace(
        solution, times_ms={'channels': 1e3 * (built - started), **solution.times_ms})


def _write_weights(solution, path: Path) -> None:
    import numpy as np

    from nf_isac_ros.files.parsing import FileError

    try:
        with open(path, 'wb') as stream:
            np.savez(stream, comm=solution.communication, sensing=solution.sensing)
    except OSError as error:
        raise FileError(f'{path}: {error.strerror}') from error


def _write(record: dict, path: Path | None, code: int) -> int:
    import json

    from nf_isac_ros.files.parsing import FileError
    from nf_isac_ros.files.scene_file import write_record

    if path is None:
        print(json.dumps(record, indent=1))
        return code
    try:
        write_record(record, path)
    except FileError as error:
        print(f'nf-isac solve: {error}', file=sys.stderr)
        return EXIT_BAD_INPUT
    return code
