"""`nf-isac tradeoff`: bounds against SINRs, a scene file in, a table out."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
import csv
import io
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from nf_isac_ros.core.tradeoff import EndPoints, TradeoffPoint

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INFEASIBLE = 3

MAX_POINTS = 10000
# As for thresholds in scene files.
MAX_DB = 100.0
LARGEST = 'max'

COLUMNS = ('design', 'status', 'sum_crb_m2', 'min_illumination_w', 'min_echo_power_w',
           'min_sinr_db', 'least_power_w', 'power_w', 'objective', 'bound', 'gap', 'iterations',
           'solve_ms')


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'tradeoff', help='bounds against SINRs: one design for many thresholds',
        description='Runs designs on a scene for many SINR thresholds and writes one row a point. '
                    'Exit codes: 0 at least one point solved, 1 the solver failed at a point, 2 '
                    'bad input, 3 no point is feasible.')
    parser.add_argument('scene', type=Path, help='scene file, JSON or YAML')
    parser.add_argument('--design', action='append', metavar='NAME',
                        help='as for solve; repeatable (default: crb-min)')
    swept = parser.add_mutually_exclusive_group(required=True)
    swept.add_argument('--sinr-db', metavar='VALUES',
                       help='one threshold for all users [dB]: first:last:step, last may be '
                            '"max", the largest feasible one; or a list 0,3,10. With a negative '
                            'first value: --sinr-db=-5:30:1')
    swept.add_argument('--offset-db', metavar='VALUES',
                       help='added to the thresholds of the scene [dB]; written alike')
    parser.add_argument('--out', type=Path, metavar='TABLE.csv',
                        help='the table (default: standard output)')
    parser.add_argument('--end-points', type=Path, metavar='CORNERS.csv',
                        help='also write the corner designs of one target and one user')
    # Text, so that a bad number ends in one line like every other bad input.
    parser.add_argument('--gap', default='1e-6',
                        help='certified relative gap to aim for (default 1e-6)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from numpy.linalg import LinAlgError

    from nf_isac_ros.core.exceptions import NfIsacError, SolverError, failure_text
    from nf_isac_ros.core.tradeoff import PointStatus

    try:
        rows = _rows(args)
    except (SolverError, LinAlgError) as error:
        return _report(f'{args.scene}: {failure_text(error)}', EXIT_FAILED)
    except MemoryError as error:
        return _report(f'{args.scene}: not enough memory: {error}', EXIT_FAILED)
    except NfIsacError as error:
        return _report(str(error), EXIT_BAD_INPUT)
    seen = {row['status'] for row in rows}
    if PointStatus.FAILED.value in seen:
        return _report(f'{args.scene}: the solver failed at some points', EXIT_FAILED)
    if seen == {PointStatus.INFEASIBLE.value}:
        return _report(f'{args.scene}: the required SINRs cannot be met at any point',
                       EXIT_INFEASIBLE)
    return EXIT_OK


def _report(line: str, code: int) -> int:
    print('nf-isac tradeoff: ' + ' '.join(line.splitlines()), file=sys.stderr)
    return code


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the table, which is written; raises NfIsacError subclasses."""
    from nf_isac_ros.core.designs import DESIGNS
    from nf_isac_ros.core.exceptions import SceneError, UnsuitableDesignError
    from nf_isac_ros.core.tradeoff import (
        common_thresholds,
        end_points,
        largest_feasible_offset_db,
        scaled_thresholds,
        sweep,
    )
    from nf_isac_ros.files.parsing import FileError
    from nf_isac_ros.files.scene_file import load_scene
    from nf_isac_ros.options import check_design, check_outputs, gap_of

    names = args.design or ['crb-min']
    for name in names:
        check_design(name)
    gap = gap_of(args.gap)
    check_outputs(args.scene, {'--out': args.out, '--end-points': args.end_points})
    option, text, column, thresholds_of = (
        ('--sinr-db', args.sinr_db, 'sinr_db', common_thresholds) if args.sinr_db is not None
        else ('--offset-db', args.offset_db, 'offset_db', scaled_thresholds))
    # Before the scene is read, which may take a while.
    first = _values(option, text, MAX_DB)
    scene = load_scene(args.scene)
    try:
        values = first if LARGEST not in text else _values(
            option, text, largest_feasible_offset_db(scene, thresholds_of(scene, [0.0])[0]))
        # The highest thresholds first: warm starts like that.
        values = values[::-1]
        thresholds = thresholds_of(scene, values)
        rows = []
        for name in names:
            points = sweep(scene, DESIGNS[name], thresholds, gap)
            rows += [{column: value, 'design': name, **_row(point)}
                     for value, point in zip(values.tolist(), points, strict=True)][::-1]
        corners = end_points(scene) if args.end_points is not None else None
    except (SceneError, UnsuitableDesignError) as error:
        raise FileError(f'{args.scene}: {error}') from error
    _write('--out', args.out, (column, *COLUMNS), rows)
    if corners is not None:
        records = _corner_rows(corners)
        _write('--end-points', args.end_points, tuple(records[0]), records)
    return rows


def _values(option: str, text: str, largest: float) -> np.ndarray:
    """
    Values of a sweep, rising [dB].

    Parameters
    ----------
    option : str
        For error messages.
    text : str
        `first:last:step` or a list; a last value 'max' stands for `largest`.
    largest : float
        [dB].

    """
    import numpy as np

    from nf_isac_ros.files.parsing import FileError

    def fault(allowed: str) -> FileError:
        return FileError(f'{option}: is {text!r}; must {allowed}')

    parts = text.split(':')
    separator = ':' if len(parts) > 1 else ','
    words = text.split(separator)
    try:
        numbers = [largest if word.strip() == LARGEST and i == 1 and separator == ':'
                   else float(word) for i, word in enumerate(words)]
    except ValueError:
        raise fault('be first:last:step or a list of numbers, as in 0:30:2 or 0,3,10 [dB]'
                    ) from None
    if separator == ',':
        values = np.unique(numbers)
    else:
        if len(numbers) != 3:
            raise fault('have three parts, first:last:step')
        first, last, step = numbers
        if not step > 0 or not np.isfinite(numbers).all():
            raise fault('have finite limits and a positive step')
        count = np.floor((last - first) / step + 1e-9) + 1
        if count > MAX_POINTS:
            raise fault(f'hold at most {MAX_POINTS} values, not {count:.0f}')
        values = first + step * np.arange(max(count, 0))
        if words[1].strip() == LARGEST and largest >= first:
            values = np.unique([*values[values < largest - 1e-9], largest])
        if not len(values):
            raise fault(f'hold at least one value: the last one, {last:g} dB, lies before the '
                        'first')
    if not (np.abs(values) <= MAX_DB).all():
        raise fault(f'lie between {-MAX_DB:g} and {MAX_DB:g} dB')
    return values


def _row(point: TradeoffPoint) -> dict[str, Any]:
    solution = point.solution
    row: dict[str, Any] = {'status': point.status.value, 'least_power_w': point.least_power,
                           'solve_ms': round(1e3 * point.solve_time, 3)}
    if solution is not None:
        row |= {
            'sum_crb_m2': solution.sum_crb,
            'min_illumination_w': min(target.illumination for target in solution.targets),
            'min_echo_power_w': min(target.echo_power for target in solution.targets),
            'min_sinr_db': min(user.sinr_db for user in solution.users),
            'power_w': solution.power, 'objective': solution.objective, 'bound': solution.bound,
            'gap': solution.gap, 'iterations': solution.iterations}
    return row


def _corner_rows(corners: EndPoints) -> list[dict[str, Any]]:
    return [
        {'corner': solution.design, 'sinr_db': solution.users[0].sinr_db,
         'sum_crb_m2': solution.sum_crb, 'illumination_w': solution.targets[0].illumination,
         'line_search_sinr_db': search, 'focusing_ratio': corners.focusing_ratio}
        for solution, search in ((corners.sensing, corners.line_search_sinr_db),
                                 (corners.illumination, None), (corners.communication, None))]


def _write(option: str, path: Path | None, columns: tuple[str, ...],
           rows: Iterable[dict[str, Any]]) -> None:
    """Write a table, to standard output without a path; what is not known stays empty."""
    from nf_isac_ros.files.parsing import FileError

    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator='\n')
    writer.writeheader()
    # Only NaN differs from itself.
    writer.writerows({key: value for key, value in row.items() if value == value} for row in rows)
    if path is None:
        sys.stdout.write(stream.getvalue())
        return
    try:
        path.write_text(stream.getvalue(), encoding='utf-8')
    except OSError as error:
        raise FileError(f'{option}: cannot write {path}: {error.strerror}') from error
