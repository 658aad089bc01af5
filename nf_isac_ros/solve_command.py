"""`nf-isac solve`: one design without ROS, file in, file out."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nf_isac_ros.core.scene import Scene
    from nf_isac_ros.core.solution import Solution

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INFEASIBLE = 3

# The beams of an isotropic design are N x N: 1 GiB.
MAX_ISOTROPIC_BEAMS = 8192

# A design that promises SINRs and the power is believed if it keeps them this well.
MAX_VIOLATION = 1e-6


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'solve', help='run one design on a scene file',
        description='Run one design on a scene file. Exit codes: 0 solved (status optimal or '
                    'early), 1 the solver failed, 2 bad input, 3 the SINRs cannot be met.')
    parser.add_argument('scene', type=Path, help='scene file, JSON or YAML')
    parser.add_argument('--design', default='crb-min', metavar='NAME',
                        help='crb-min (default), max-min-illumination, max-min-echo, sinr-max, '
                             'least-power, sensing-only, ...; docs/scenes.md has all of them')
    parser.add_argument('--out', type=Path, metavar='RESULT.json',
                        help='result file (default: standard output)')
    parser.add_argument('--weights', type=Path, metavar='WEIGHTS.npz',
                        help='also write the beams: comm (N, U), sensing (N, r), sqrt(W)')
    # Text, so that a bad number ends in one line like every other bad input.
    parser.add_argument('--gap', default='1e-6',
                        help='certified relative gap to aim for (default 1e-6)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from numpy.linalg import LinAlgError

    from nf_isac_ros.core.exceptions import (
        InfeasibleError,
        NfIsacError,
        SolverError,
        failure_text,
    )
    from nf_isac_ros.files.scene_file import infeasible_record, solution_record, write_record

    try:
        gap = _checked(args)
        try:
            solution = _solve(args, gap)
        except InfeasibleError as error:
            record = infeasible_record(args.design, error.max_common_sinr_scale_db)
            write_record(record, args.out)
            return _report(f'{args.scene}: {error}', EXIT_INFEASIBLE)
        if args.weights is not None:
            _write_weights(solution, args.weights)
        write_record(solution_record(solution), args.out)
    except (SolverError, LinAlgError) as error:
        return _report(f'{args.scene}: {failure_text(error)}', EXIT_FAILED)
    except MemoryError as error:
        return _report(f'{args.scene}: not enough memory: {error}', EXIT_FAILED)
    except NfIsacError as error:
        return _report(str(error), EXIT_BAD_INPUT)
    return EXIT_OK


def _report(line: str, code: int) -> int:
    print('nf-isac solve: ' + ' '.join(line.splitlines()), file=sys.stderr)
    return code


def _checked(args: argparse.Namespace) -> float:
    """Gap that was asked for, as a number; FileError if an option cannot be."""
    from nf_isac_ros.options import check_design, check_outputs, gap_of

    check_design(args.design)
    gap = gap_of(args.gap)
    check_outputs(args.scene, {'--out': args.out, '--weights': args.weights})
    return gap


def _solve(args: argparse.Namespace, gap: float) -> Solution:
    """Solution of the scene; raises NfIsacError subclasses."""
    from dataclasses import replace
    from time import perf_counter

    from nf_isac_ros.core.cycle import full_rank_isotropic, solve
    from nf_isac_ros.core.designs import DESIGNS
    from nf_isac_ros.core.exceptions import SceneError, SolverError, UnsuitableDesignError
    from nf_isac_ros.core.problem import build_problem
    from nf_isac_ros.files.parsing import FileError
    from nf_isac_ros.files.scene_file import load_scene

    scene = load_scene(args.scene)
    design = DESIGNS[args.design]
    if design.needs_targets and not scene.senses:
        # Nothing to sense: the users get all of the power, docs/scenes.md.
        design = DESIGNS['sinr-max']
    isotropic = design.name == 'isotropic'
    if isotropic and args.weights is not None:
        _check_isotropic_beams(scene)
    started = perf_counter()
    try:
        if not scene.senses and not scene.users:
            raise SceneError('targets, users: are both empty; must hold at least one body')
        problem = build_problem(scene)
        built = perf_counter()
        solution = solve(problem, design, gap, None)
    except (SceneError, UnsuitableDesignError) as error:
        raise FileError(f'{args.scene}: {error}') from error
    if design.meets_sinr and solution.max_violation > MAX_VIOLATION:
        raise SolverError(f'its beams violate the SINRs or the power by the factor '
                          f'{1 + solution.max_violation:.3g}')
    if isotropic:
        # The design carries the part of R_X = P_T / N that reaches targets and users. The power
        # is that of all of it; its N x N beams are made only for those who want them.
        full = full_rank_isotropic(solution).sensing if args.weights else solution.sensing
        solution = replace(solution, sensing=full, power=scene.radio.power)
    return replace(
        solution, times_ms={'channels': 1e3 * (built - started), **solution.times_ms})


def _check_isotropic_beams(scene: Scene) -> None:
    from nf_isac_ros.files.parsing import FileError

    n = len(scene.transmit_array)
    if n > MAX_ISOTROPIC_BEAMS:
        raise FileError(f'--weights: an isotropic design of {n} elements has {n} beams; must be '
                        f'left out above {MAX_ISOTROPIC_BEAMS} elements')


def _write_weights(solution: Solution, path: Path) -> None:
    import numpy as np

    from nf_isac_ros.files.parsing import FileError

    try:
        with open(path, 'wb') as stream:
            np.savez(stream, comm=solution.communication, sensing=solution.sensing)
    except OSError as error:
        raise FileError(f'--weights: cannot write {path}: {error.strerror}') from error
