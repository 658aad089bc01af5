"""The table of docs/benchmarks.md, made from the results and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nf_isac_ros.bench.pictures import ANTENNAS, BODIES
from nf_isac_ros.bench.sampling import Row

PEERS = (('clarabel_compact', 'Clarabel, compact form'),
         ('clarabel_compact_primal_certificate', 'the same, certified from the primal point'),
         ('clarabel_sdr13', 'Clarabel, (SDR1.3)'),
         ('scs_sdr13', 'SCS, (SDR1.3)'))
NOTHING = '-'


def markdown(results: Mapping[str, Any], pictures: str = '') -> str:
    """
    Write results as Markdown.

    Parameters
    ----------
    results : mapping
        As in latest.json.
    pictures : str
        Relative path of the folder of the pictures, with a slash at the end, or empty.

    """
    return '\n'.join(_lines(results, pictures)).rstrip() + '\n'


def _lines(results: Mapping[str, Any], pictures: str) -> Iterator[str]:
    rows: Sequence[Row] = results['rows']
    yield '# Benchmarks'
    yield ''
    yield ('Made by `make bench` from `benchmarks/latest.json`; not to be edited. Times are wall '
           'times in milliseconds on a shared machine: the ratios, measured in one run, count.')
    yield ''
    yield from _provenance(results)
    for title, text, part in (
            ('Solve', SOLVE, _solve), ('Other solvers in the same run', OTHERS, _peers),
            ('Warm start on moving bodies', WARM, _warm), ('Zero forcing', ZERO, _zero),
            ('Extended targets', EXTENDED, _extended),
            ('Two threads', THREADS, _threads),
            ('Two solvers at once', CONCURRENT, _concurrent),
            ('Channels, basis and Fisher map', BUILD, _build),
            ('Scaling', '', lambda rows: _scaling(rows, pictures)),
            ('Whole cycle', CYCLE, _cycle), ('From pose to beam, across processes', LIVE, _live),
            ('Replay', REPLAY, _replay), ('Long runs', LONG, _long),
            ('Memory', MEMORY, _memory), ('Repeated', REPEAT, _repeat)):
        found = list(part(rows))
        if found:
            yield f'## {title}'
            yield ''
            if text:
                yield text
                yield ''
            yield from found
            yield ''
    if results.get('skipped'):
        yield '## Not run'
        yield ''
        for name, reason in results['skipped'].items():
            yield f'- {name}: {reason}'


SOLVE = ('`crb-min` from a problem that is built: starting point, feasibility, iterations, beams, '
         'repair and certificate included, nothing known from before. K targets, U users, '
         'N = M antennas. *beams* is what lifting and evaluating them at full size takes on top. '
         'A gap that exceeds the required one is in bold.')
OTHERS = ('The other solvers run on scenes of the rows above, between our runs, one thread each, '
          'stopped at the loosest tolerance at which their repaired design keeps the same gap: '
          'the compact form certified by its own duals, (SDR1.3) judged by a bound of ours. Times '
          'are those of the solver alone; *with build* adds what comes before it, for '
          'cvxpy its canonicalisation. *ratio* is theirs over ours on the '
          'same scene, one right after the other; the median of these.')
WARM = ('Started from the solution of the scene 20 ms before (*previous*), or from that of a '
        'scene predicted then at constant velocity (*predicted*: solving ahead, which '
        'is done before the poses arrive). Beside each, a cold solve of the same scene.')
ZERO = 'Update of the design `zero-forcing` on consecutive scenes; the gap is the certified loss.'
EXTENDED = ('`extended-crb-min` at a gap of 1e-4 and `extended-zero-forcing` from problems that '
            'are built, cold: a vehicle at 20 m, Nt antennas, C users, K sections. *gap*: '
            'certified, for zero forcing its loss. *faster*: than the optimal design. *unknowns*: '
            'real ones of the program that is solved, and of the program that the paper prints; '
            'the paper solves its zero forcing K^C times. Near field: gap 1e-2.')
THREADS = 'As above, with two threads for the linear algebra.'
BUILD = ('`build_problem`, and in the same loop the bare numpy operations: one complex '
         'exponential per antenna and body, the Gram matrix of the 4K + U columns, '
         'and one product of these columns with a square matrix.')
CYCLE = ('`DesignCycle.step` on moving bodies at a gap of 1e-3, without a time limit: '
         'problem, design, beams, evaluation. *missed* counts steps longer than the period.')
LIVE = ('Player, beamformer and a listener as three processes. From the stamp of a pose to the '
        'receipt, in the listener, of the first beams that know it; the wait for the next cycle '
        'is in it. *every beam*: from the newest pose to the end of publishing, for all beams, '
        'also those that no newer pose preceded. *missed*: cycles that took longer than a '
        'period.')
CONCURRENT = ('Two threads of one process, each solving scene after scene cold, beside one alone: '
              'the kernels release the interpreter lock. *throughput*: solves per second of both '
              'over those of one.')
LONG = ('`make bench LONG=1`: player, beamformer and radio driver, lap after lap. *without '
        'beams*: cycles that ended without beams though the pose of a user was fresh; *not '
        'served*: those, and cycles whose beams leave such a user out. Shares are of the cycles '
        'that had beams or ought to have had some; between laps there are no poses.')
REPLAY = ('Cycles of a motion that are designed again in a second, as `nf-isac replay` does it, '
          'to full accuracy: in one process, and in several with one thread each.')
MEMORY = ('Resident memory of one process over many cycles, after a tenth as many to warm up. '
          '*bytes per cycle*: slope of the line of least squares.')
REPEAT = 'Cycles done twice in one process: how many gave beams that differ in any bit.'


def _provenance(results: Mapping[str, Any]) -> Iterator[str]:
    machine = results['machine']
    yield (f'- {results["date"]}, effort `{results["effort"]}`, '
           f'{results["seconds"]:.0f} s, other solvers: {results["peers"]}')
    yield (f'- {machine["cpu"]}, {machine["cores"]} cores, {machine["memory_gib"]} GiB, '
           f'{machine["system"]} {machine["architecture"]}, Python {machine["python"]}, '
           f'{", ".join(machine["blas"])}')
    yield (f'- load average at the start {_load(machine["load_start"])}, at the end '
           f'{_load(machine["load_end"])} (the benchmark itself is 1, or more with the nodes)')
    yield '- ' + ', '.join(f'{name} {value}' for name, value in results['versions'].items())
    yield ''


def _load(values: Sequence[float]) -> str:
    return ' / '.join(f'{value:.2f}' for value in values)


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    if body:
        yield '| ' + ' | '.join(head) + ' |'
        yield '|' + ' --- |' * len(head)
        for line in body:
            yield '| ' + ' | '.join(line) + ' |'


def _ms(value: float | None) -> str:
    if value is None:
        return NOTHING
    if value >= 100:
        return f'{value:.0f}'
    return f'{value:.1f}' if value >= 10 else f'{value:.2f}' if value >= 0.1 else f'{value:.3f}'


def _gap(row: Row) -> str:
    value, required = row.get('gap_max'), row.get('gap_required')
    if value is None:
        return '**none**'
    text = f'{value:.1e}'
    return f'**{text}**' if required is not None and value > required else text


def _number(value: float | None, form: str = 'g') -> str:
    return NOTHING if value is None else format(value, form)


def _of(rows: Sequence[Row], bench: str, **wanted: object) -> list[Row]:
    return [row for row in rows if row['bench'] == bench
            and all(row.get(key) == value for key, value in wanted.items())]


def _times(row: Row) -> list[str]:
    return [_ms(row['p50_ms']), _ms(row['p99_ms']), _ms(row['max_ms'])]


def _ratio(theirs: float | None, ours: float | None) -> str:
    if theirs is None or not ours:
        return NOTHING
    ratio = theirs / ours
    return f'{ratio:.0f}' if ratio >= 10 else f'{ratio:.1f}'


def _solve(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'N', 'scenes', 'gap', 'largest gap', 'iterations', 'p50', 'p99', 'max', 'runs',
         'build', 'beams'),
        [(f'{row["targets"]}, {row["users"]}', str(row['antennas']), row['scenes'],
          f'{row["gap_required"]:g}', _gap(row),
          f'{row["iterations_p50"]:g} / {row["iterations_max"]}', *_times(row),
          str(row['runs']), _ms(row['build_p50_ms']), _ms(row['beams_p50_ms']))
         for row in _of(rows, 'solve', mode='cold')])


def _peers(rows: Sequence[Row]) -> Iterator[str]:
    body = []
    for row in _of(rows, 'solve', mode='cold'):
        for name, title in PEERS:
            peer = row['peers'].get(name)
            if peer is None:
                continue
            body.append((
                f'{row["targets"]}, {row["users"]}', f'{row["gap_required"]:g}',
                _ms(row['p50_ms']), title, _ms(peer['p50_ms']),
                _ratio(peer['ratio_p50'], 1.0), _ms(peer['with_build_p50_ms']),
                _ratio(peer['with_build_ratio_p50'], 1.0), _runs(peer)))
    yield from _table(('K, U', 'gap', 'ours', 'solver', 'p50', 'ratio', 'with build', 'ratio',
                       'runs'), body)


def _runs(peer: Row) -> str:
    failed = peer.get('not_certified', 0)
    return f'{peer["runs"]}' + (f', {failed} failed' if failed else '')


def _warm(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'motion', 'start', 'gap', 'largest gap', 'iterations', 'cold', 'p50', 'p99',
         'max', 'cold p50', 'ratio', 'runs', 'started warm'),
        [(f'{row["targets"]}, {row["users"]}', row['scenes'], row['start'],
          f'{row["gap_required"]:g}', _gap(row), f'{row["iterations_p50"]:g}',
          f'{row["cold_iterations_p50"]:g}', *_times(row), _ms(row['cold_p50_ms']),
          _ratio(row['cold_p50_ms'], row['p50_ms']), str(row['runs']), str(row['started_warm']))
         for row in (*_of(rows, 'solve', mode='warm'), *_of(rows, 'solve-ahead'))])


def _zero(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'motion', 'p50', 'p99', 'max', 'gap p50', 'largest gap', 'runs', 'fallbacks'),
        [(f'{row["targets"]}, {row["users"]}', row['scenes'], *_times(row),
          _number(row['gap_p50'], '.1e'), _number(row['gap_max'], '.1e'), str(row['runs']),
          str(row['fallbacks'])) for row in _of(rows, 'zero-forcing')])


def _extended(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('design', 'C', 'Nt', 'K', 'p50', 'p99', 'max', 'faster', 'gap, median', 'gap',
         'unknowns', 'in the paper', 'programs in the paper', 'runs'),
        [(f'`{row["design"]}`', str(row['users']), str(row['antennas']), str(row['sections']),
          *_times(row), _faster(row), _number(row.get('gap_p50'), '.1e'),
          _number(row['gap_max'], '.1e'), str(row['unknowns']), str(row['paper_unknowns']),
          str(row.get('paper_programs', 1)), str(row['runs']))
         for row in _of(rows, 'extended')])
    for row in _of(rows, 'extended'):
        for name, peer in row.get('peers', {}).items():
            yield ''
            yield (f'{name}, C = {row["users"]}, Nt = {row["antennas"]}, K = {row["sections"]}: '
                   f'{_ms(peer["p50_ms"])} ms, solver alone {_ms(peer["solver_p50_ms"])} ms, '
                   f'{_number(peer["ratio"])} times ours ({peer["runs"]} scenes).')
    near = _of(rows, 'extended-near')
    if near:
        yield ''
        yield from _table(
            ('near field', 'C', 'N', 'K', 'dimensions', 'p50', 'p99', 'max', 'faster', 'gap',
             'runs'),
            [(f'`{row["design"]}`', str(row['users']), str(row['antennas']),
              str(row['sections']), str(row['subspace_dimension']), *_times(row),
              _faster(row), _number(row['gap_max'], '.1e'), str(row['runs'])) for row in near])


def _faster(row: Row) -> str:
    """How many times faster than the optimal design in the same run; nothing for that itself."""
    return '' if row.get('sdr_ratio') is None else f'{row["sdr_ratio"]:.1f} x'


def _threads(rows: Sequence[Row]) -> Iterator[str]:
    body = []
    for row in _of(rows, 'solve-two-threads'):
        peer = row['peers'].get('clarabel_compact', {})
        body.append((f'{row["targets"]}, {row["users"]}', f'{row["gap_required"]:g}', _gap(row),
                     *_times(row), str(row['runs']), _ms(peer.get('p50_ms')),
                     _ratio(peer.get('ratio_p50'), 1.0)))
    yield from _table(('K, U', 'gap', 'largest gap', 'p50', 'p99', 'max', 'runs',
                       'Clarabel, compact form', 'ratio'), body)


def _build(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('N', 'K, U', 'p50', 'p99', 'max', 'exponentials', 'products', 'over both', 'runs'),
        [(str(row['antennas']), f'{row["targets"]}, {row["users"]}', *_times(row),
          _ms(row['floor']['exponentials_p50_ms']), _ms(row['floor']['products_p50_ms']),
          _ratio(row['p50_ms'], row['floor']['p50_ms']), str(row['runs']))
         for row in _of(rows, 'build')])


def _scaling(rows: Sequence[Row], pictures: str) -> Iterator[str]:
    if _of(rows, 'build') or _of(rows, 'solve'):
        yield f'![Time against the number of antennas]({pictures}{ANTENNAS})'
        yield ''
        yield f'![Time against the number of targets and users]({pictures}{BODIES})'


def _cycle(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'motion', 'largest gap', 'p50', 'p99', 'max', 'missed at 50, 100, 200 Hz',
         'stages (p50)', 'runs', 'warm', 'fallbacks'),
        [(f'{row["targets"]}, {row["users"]}', row['scenes'], _gap(row), *_times(row),
          ', '.join(map(str, row['deadline_misses'].values())), _stages(row), str(row['runs']),
          str(row['warm']), str(row['fallbacks'])) for row in _of(rows, 'cycle')])


def _stages(row: Row) -> str:
    return ', '.join(f'{name} {_ms(value)}' for name, value in row['stages_p50_ms'].items())


def _share(value: float | None) -> str:
    return NOTHING if value is None else f'{100 * value:.1f} %'


def _pair(times: Row) -> str:
    return f'{_ms(times["p50_ms"])} / {_ms(times["p99_ms"])}'


def _live(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, 'pose-to-beam')
    part: Callable[[Row, str], str] = lambda row, gap: _share(row['certified'][gap])  # noqa: E731
    yield from _table(
        ('poses', 'K, U', 'Hz', 'budget', 'p50', 'p99', 'max', 'every beam p50 / p99',
         'cycle p50 / p99', 'missed', 'cycles', 'to 1e-3', 'to 1e-2', 'memory, MiB'),
        [(row['scenes'], f'{row["targets"]}, {row["users"]}',
          f'{row["rate_hz"]:g} ({_number(row["rate_reached_hz"])})', _ms(row['budget_ms']),
          *_times(row), _pair(row['every_beam']),
          _pair(row['cycle']),
          str(row['deadline_misses']), str(row['cycles']), part(row, '0.001'), part(row, '0.01'),
          f'{row["rss_start_mib"]:.0f} - {row["rss_end_mib"]:.0f}')
         for row in found if 'failed' not in row])
    yield from _failed(found)


def _concurrent(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'scenes', 'gap', 'alone p50 / p99', 'p50', 'p99', 'max', 'runs',
         'solves per second', 'throughput'),
        [(f'{row["targets"]}, {row["users"]}', row['scenes'], f'{row["gap_required"]:g}',
          _pair(row['alone']), *_times(row), str(row['runs']),
          _number(row['solves_per_second']), _number(row['throughput_ratio'], '.2f'))
         for row in _of(rows, 'solve-concurrently')])


def _replay(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'scenes', 'gap', 'cycles', 'one process, per second', 'processes', 'per second',
         'ratio'),
        [(f'{row["targets"]}, {row["users"]}', row['scenes'], f'{row["gap_required"]:g}',
          str(row['cycles']), _number(row['alone_cycles_per_second']), str(row['workers']),
          _number(row['cycles_per_second']), _number(row['throughput_ratio'], '.2f'))
         for row in _of(rows, 'replay')])


def _long(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, 'long-run')
    yield from _table(
        ('poses', 'K, U', 'Hz', 'budget', 's', 'cycles', 'with fresh user', 'without beams',
         'not served', 'to 1e-3', 'to 1e-2', 'p50', 'p99', 'max', 'memory, MiB',
         'bytes per cycle', 'radio muted, s'),
        [(row['scenes'], f'{row["targets"]}, {row["users"]}', f'{row["rate_hz"]:g}',
          _ms(row['budget_ms']), f'{row["seconds"]:.0f}', str(row['cycles']),
          str(row['with_fresh_user']), str(row['fresh_user_without_beam']),
          str(row['fresh_user_not_served']), _share(row['certified']['0.001']),
          _share(row['certified']['0.01']), *_times(row),
          f'{row["rss_start_mib"]:.0f} - {row["rss_end_mib"]:.0f}',
          f'{row["bytes_per_cycle"]:.1f}', _number(row['radio_muted_s']))
         for row in found if 'failed' not in row])
    yield from _failed(found)


def _failed(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if 'failed' in row:
            yield ''
            yield f'Failed: {row["scenes"]} at {row["rate_hz"]:g} Hz: {row["failed"]}'


def _repeat(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'motion', 'cycles', 'different'),
        [(f'{row["targets"]}, {row["users"]}', row['scenes'], str(row['cycles']),
          str(row['different'])) for row in _of(rows, 'repeat')])


def _memory(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ('K, U', 'cycles', 'start, MiB', 'end, MiB', 'bytes per cycle'),
        [(f'{row["targets"]}, {row["users"]}', str(row['cycles']),
          f'{row["rss_start_mib"]:.1f}', f'{row["rss_end_mib"]:.1f}',
          f'{row["bytes_per_cycle"]:.1f}') for row in _of(rows, 'memory')])
