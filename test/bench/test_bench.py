"""The harness of the benchmarks, run as small as it goes: what it writes, not how fast it is."""

from __future__ import annotations

from dataclasses import replace
import itertools
import json
from pathlib import Path
import socket

import numpy as np
import pytest

from nf_isac_ros.bench import building, cycling, machine, replaying, solving
from nf_isac_ros.bench.peers import Attempt, Ladder, Peer, Peers, certified_gaps, reference
from nf_isac_ros.bench.report import markdown
from nf_isac_ros.bench.sampling import TINY, milliseconds, paced
from nf_isac_ros.bench.scenes import extrapolated, feasible, random_scenes, walking
from nf_isac_ros.bench.session import PARTS, RESULTS, write
from nf_isac_ros.bench_command import PARTS as COMMAND_PARTS
from nf_isac_ros.bench_command import PEERS as COMMAND_PEERS
from nf_isac_ros.cli import main
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.solvers.clarabel_ import solve_crb

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / 'benchmarks' / RESULTS
TIMES = ('p50_ms', 'p99_ms', 'max_ms')


@pytest.fixture(scope='module')
def results() -> dict:
    sizes = ((1, 1), (2, 2))
    rows = [
        *solving.cold_rows(TINY, {}, 'short', sizes[:1]),
        *solving.cold_rows(TINY, {}, 'none', sizes[1:]),
        *solving.warm_rows(TINY, {}, sizes[:1]),
        *solving.zero_forcing_rows(TINY, {}, sizes[:1]),
        *solving.antenna_rows(TINY, (16,)),
        *building.rows(TINY, (8, 16), sizes[:1]),
        *cycling.rows(TINY, {}, sizes[:1]),
        *cycling.memory_rows(TINY, {}, (1, 1)),
        *cycling.long_memory_rows(TINY, {}, (1, 1)),
        *cycling.repeat_rows(TINY, {}, sizes[:1]),
        *solving.concurrent_rows(TINY, {}, sizes[:1]),
        *replaying.rows(TINY, {}, (1, 1), workers=0),
    ]
    where = {**machine.describe(), 'load_end': machine.load()}
    return {'machine': where, 'date': '2026-01-01T00:00:00+00:00',
            'versions': machine.versions(), 'effort': 'tiny', 'peers': 'short', 'threads': 1,
            'seconds': 1.0, 'skipped': {}, 'rows': rows}


def solve_rows(results: dict) -> list[dict]:
    return [row for row in results['rows'] if row['bench'] == 'solve']


def check_contract(results: dict) -> None:
    assert {'machine', 'date', 'versions', 'rows'} <= set(results)
    assert {'cpu', 'cores', 'memory_gib', 'python'} <= set(results['machine'])
    assert {'numpy', 'clarabel', 'scs', 'cvxpy', 'numba'} <= set(results['versions'])
    assert solve_rows(results)
    for row in solve_rows(results):
        for key in ('targets', 'users', 'antennas'):
            assert isinstance(row[key], int)
        assert row['mode'] in ('cold', 'warm')
        assert row['gap_required'] in (1e-3, 1e-6)
        assert 0 <= row['gap_max']
        # A single target has a closed form.
        assert row['iterations_p50'] >= (1 if row['targets'] > 1 else 0)
        assert 0 < row['p50_ms'] <= row['p99_ms'] <= row['max_ms']
        for peer in row['peers'].values():
            assert 'p50_ms' in peer


def test_results_keep_the_contract(results):
    check_contract(json.loads(json.dumps(results, allow_nan=False)))


@pytest.mark.skipif(not PUBLISHED.exists(), reason='no benchmark was published yet')
def test_published_results_keep_the_contract():
    published = json.loads(PUBLISHED.read_text())
    check_contract(published)
    sizes = {(row['targets'], row['users']) for row in solve_rows(published)
             if row['antennas'] == 2304 and row['mode'] == 'cold'}
    assert {(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (8, 8)} <= sizes


@pytest.mark.skipif(not PUBLISHED.exists(), reason='no benchmark was published yet')
def test_published_table_is_that_of_the_published_results():
    table = (ROOT / 'docs' / 'benchmarks.md').read_text()
    assert table == markdown(json.loads(PUBLISHED.read_text()), '../benchmarks/')


def test_every_timed_run_kept_its_gap_and_its_constraints(results):
    for row in solve_rows(results):
        assert row['gap_max'] <= row['gap_required']
        assert row['violation_max'] < 1e-6


def test_other_solvers_are_beside_ours(results):
    first = solve_rows(results)[0]
    assert {'clarabel_sdr13', 'scs_sdr13', 'cvxpy_clarabel_sdr13', 'clarabel_compact'} <= set(
        first['peers'])
    assert first['peers']['clarabel_compact']['gap_max'] <= first['gap_required']
    assert first['peers']['clarabel_compact']['p50_ms'] > 0


def test_what_names_this_machine_stays_out(results):
    text = json.dumps(results)
    assert socket.gethostname() not in text
    assert str(ROOT) not in text
    assert '/home' not in text
    assert 'libopenblas' not in text


def test_table_has_the_numbers_and_ratios_of_the_results():
    row = {'bench': 'solve', 'targets': 2, 'users': 2, 'antennas': 2304, 'mode': 'cold',
           'gap_required': 1e-3, 'gap_max': 2e-3, 'iterations_p50': 5, 'iterations_max': 6,
           'p50_ms': 1.25, 'p99_ms': 2.5, 'max_ms': 3.75, 'runs': 7, 'scenes': 'random',
           'build_p50_ms': 0.5, 'beams_p50_ms': 0.25,
           'peers': {'clarabel_compact': {
               'p50_ms': 50.0, 'with_build_p50_ms': 62.5, 'ratio_p50': 40.0,
               'with_build_ratio_p50': 50.0, 'runs': 3}}}
    text = markdown({
        'machine': {'cpu': 'a cpu', 'cores': 2, 'memory_gib': 8, 'system': 'Linux',
                    'architecture': 'x', 'python': '3', 'blas': ['b'], 'load_start': [0, 0, 0],
                    'load_end': [1, 1, 1]},
        'date': 'today', 'versions': {'numpy': '2'}, 'effort': 'full', 'peers': 'medium',
        'seconds': 3.0, 'rows': [row]})
    assert '| 2, 2 | 2304 | random | 0.001 | **2.0e-03** | 5 / 6 | 1.25 | 2.50 | 3.75 |' in text
    assert '| Clarabel, compact form | 50.0 | 40 | 62.5 | 50 | 3 |' in text
    assert 'a cpu' in text


def test_table_and_pictures_are_made_from_the_results(results, tmp_path):
    written = write(results, tmp_path / 'numbers', tmp_path / 'table.md')
    assert json.loads((tmp_path / 'numbers' / RESULTS).read_text())['rows']
    text = (tmp_path / 'table.md').read_text()
    for path in written:
        assert path.stat().st_size > 0
        if path.suffix == '.svg':
            assert f'(numbers/{path.name})' in text
    again = write(results, tmp_path / 'again', tmp_path / 'again.md')
    for path, other in zip(written[2:], again[2:]):
        assert path.read_bytes() == other.read_bytes()


def test_the_command_draws_again_what_was_measured(results, tmp_path, capsys):
    write(results, tmp_path, tmp_path / 'benchmarks.md')
    (tmp_path / 'benchmarks.md').unlink()
    assert main(['bench', '--redraw', '--out', str(tmp_path)]) == 0
    assert (tmp_path / 'benchmarks.md').exists()
    assert main(['bench', '--redraw', '--out', str(tmp_path / 'nowhere')]) == 2
    assert 'nowhere' in capsys.readouterr().err


def test_command_and_rooms_agree_on_parts_and_peers():
    assert tuple(COMMAND_PARTS) == tuple(PARTS)
    assert set(COMMAND_PEERS) == set(solving.PEER_SIZES)


def test_random_scenes_are_seeded_and_feasible():
    first, second = (list(itertools.islice(random_scenes(3, 2, 2, 16), 3)) for _ in range(2))
    for a, b in zip(first, second):
        assert all(np.array_equal(x.position, y.position) for x, y in zip(a.targets, b.targets))
        assert feasible(a)
    assert not np.array_equal(first[0].users[0].position, first[1].users[0].position)


def test_bodies_walk_at_the_speed_of_people():
    motion = walking(1, 2, 2)
    before, after = motion.at(1.0), motion.at(1.02)
    for a, b in zip(before.targets + before.users, after.targets + after.users):
        assert 0.3 < np.linalg.norm(b.position - a.position) / 0.02 < 1.5


def test_extrapolation_goes_straight_on():
    motion = walking(1, 1, 1)
    before, now = motion.at(1.0), motion.at(1.1)
    ahead = extrapolated(before, now, 0.5)
    for a, b, c in zip(before.targets + before.users, now.targets + now.users,
                       ahead.targets + ahead.users):
        np.testing.assert_allclose(c.position, 1.5 * b.position - 0.5 * a.position)


def test_warm_rows_name_their_start_and_a_cold_time(results):
    warm = [row for row in results['rows'] if row.get('mode') == 'warm']
    assert {row.get('start') for row in warm if row['bench'].startswith('solve')} <= {
        'previous', 'predicted'}
    for row in warm:
        if row['bench'].startswith('solve'):
            assert row['cold_p50_ms'] > 0
            assert row['gap_max'] <= row['gap_required']


def rows_of(results: dict, bench: str) -> list[dict]:
    return [row for row in results['rows'] if row['bench'] == bench]


def test_memory_is_watched_over_as_many_cycles_as_were_asked_for(results):
    # The first may end early, for its time is limited; the long one may not.
    assert rows_of(results, 'memory')[1]['cycles'] == TINY.long_cycles


def test_growth_of_the_memory_is_the_slope_through_all_samples():
    at, base = np.arange(0, 1000, 10), 400 * cycling.MIB
    grows = cycling.memory_use(at, [base + 100 * n for n in at])
    assert grows['bytes_per_cycle'] == pytest.approx(100.0)
    assert (grows['rss_start_mib'], grows['rss_end_mib']) == (400.0, 400.1)
    # A step that goes back again is no growth, but it is seen.
    bump = [base + (10 * cycling.MIB if 480 <= n <= 510 else 0) for n in at]
    flat = cycling.memory_use(at, bump)
    assert abs(flat['bytes_per_cycle']) < 10 * cycling.MIB / 1000 / 10
    assert flat['rss_max_mib'] == 410.0
    assert cycling.memory_use([0], [base])['bytes_per_cycle'] == 0.0


def test_cycles_are_repeated_and_compared(results):
    row, = rows_of(results, 'repeat')
    assert (row['cycles'], row['different']) == (TINY.repeats, 0)


def test_cycles_that_differ_are_counted(monkeypatch):
    step, calls = cycling.DesignCycle.step, itertools.count()

    def wavering(self, scene, *rest):
        solution = step(self, scene, *rest)
        if next(calls) == 5:
            return replace(solution, communication=solution.communication * (1 + 1e-15))
        return solution

    monkeypatch.setattr(cycling.DesignCycle, 'step', wavering)
    row, = cycling.repeat_rows(TINY, {}, ((1, 1),))
    assert row['different'] == 1


def test_solvers_at_once_are_beside_one_alone(results):
    row, = rows_of(results, 'solve-concurrently')
    assert row['solvers'] == 2
    assert row['runs'] >= 4
    assert row['alone']['runs'] >= 2
    assert row['throughput_ratio'] == pytest.approx(
        row['solves_per_second'] / row['alone']['solves_per_second'], rel=0.02)


def test_replay_says_how_many_cycles_a_second(results):
    row, = (row for row in results['rows'] if row['bench'] == 'replay')
    assert row['cycles'] == 4 * TINY.runs
    assert row['cycles_per_second'] > 0 and row['alone_cycles_per_second'] > 0
    assert row['throughput_ratio'] == pytest.approx(
        row['cycles_per_second'] / row['alone_cycles_per_second'], rel=0.02)
    assert '## Replay' in markdown(results)


def test_long_runs_are_on_request(monkeypatch, tmp_path):
    asked = []

    def measure(plan, say):
        asked.append(plan)
        raise OSError('enough')

    monkeypatch.setattr('nf_isac_ros.bench.session.measure', measure)
    for options in ([], ['--long', '--quick'], ['--only', 'long']):
        assert main(['bench', '--out', str(tmp_path), *options]) == 2
    assert 'long' not in asked[0].parts
    assert set(asked[1].parts) == set(PARTS)
    assert asked[1].effort.long_seconds < asked[0].effort.long_seconds == 600
    assert asked[0].effort.long_cycles == 100_000
    assert tuple(asked[2].parts) == ('long',)


def test_percentiles_are_those_of_the_samples():
    found = milliseconds(list(range(101)))
    assert [found[name] for name in TIMES] == [50.0, 99.0, 100.0]
    assert milliseconds([])['p50_ms'] is None


def test_time_limits_leave_the_least_number_of_runs():
    assert len(list(paced(range(100), 50, 0.0, 3))) == 3
    assert len(list(paced(range(100), 5, 60.0))) == 5


def test_a_peer_counts_with_its_loosest_sufficient_tolerance():
    ladder, tried = Ladder((100.0, 10.0, 1.0, 0.1)), []

    def run(step: float) -> Attempt:
        tried.append(step)
        return Attempt(step, 2 * step, 1e-4 * step)

    assert ladder.climb(run, 2e-4) == (1.0, Attempt(1.0, 2.0, 1e-4))
    assert tried == [100.0, 10.0, 1.0]
    # Next time from one step looser on.
    assert ladder.climb(run, 2e-4) is not None
    assert tried[3:] == [10.0, 1.0]
    assert ladder.climb(run, 1e-9) is None


def test_of_the_variants_of_a_peer_the_fastest_counts():
    peer = Peer()
    peer.add([(10.0, Attempt(5.0, 6.0, 1e-4)), None, (1.0, Attempt(3.0, 9.0, 2e-4))], 0.5)
    peer.add([None, None], 0.5)
    row = peer.row()
    assert (row['p50_ms'], row['with_build_p50_ms'], row['gap_max']) == (3.0, 9.0, 2e-4)
    assert (row['runs'], row['not_certified']) == (1, 1)
    assert (row['ratio_p50'], row['with_build_ratio_p50']) == (6.0, 18.0)


def test_peers_are_certified_like_ours():
    problem = build_problem(next(random_scenes(4, 1, 2, 16)))
    point = solve_crb(problem, reference(problem), 1e-4)
    best, plain = certified_gaps(problem, point)
    assert -1e-9 <= best <= plain
    assert best <= 1e-3


def test_a_bound_that_is_too_high_for_a_peer_is_noticed():
    # (SDR1.3) is judged by our bound: one far below its value leaves a gap that nothing closes.
    problem = build_problem(next(random_scenes(4, 1, 1, 16)))
    peers = Peers(1e-3, ('clarabel_sdr13',), 10.0)
    peers.run(problem, 0.0, 1.0)
    assert peers.rows()['clarabel_sdr13']['not_certified'] == 1


@pytest.mark.parametrize('frame', ['array', 'a', 'seven77', 'a name of some length'])
def test_stamp_is_read_from_the_bytes_of_a_message(frame):
    serialization = pytest.importorskip('rclpy.serialization')
    messages = pytest.importorskip('nf_isac_msgs.msg')
    from nf_isac_ros.bench.live import design_stamp
    message = messages.Beamformer()
    message.header.frame_id = frame
    message.sequence = 2 ** 40 + 1
    message.design_stamp.sec, message.design_stamp.nanosec = 1_700_000_000, 250_000_000
    message.weights = [1.0] * 8
    assert design_stamp(serialization.serialize_message(message)) == 1_700_000_000.25


def test_a_pose_counts_with_the_first_beams_that_know_it():
    pytest.importorskip('rclpy')
    from nf_isac_ros.bench.live import first_beams
    assert first_beams([(1.0, 5.0), (1.0, 15.0), (2.0, 6.0), (2.0, 9.0)]) == [5.0, 6.0]


def long_run(records: list[dict]) -> dict:
    """Row of a run of a second; each record changes a cycle that went well."""
    pytest.importorskip('rclpy')
    from nf_isac_ros.bench.live import Measured, long_row
    from nf_isac_ros.demo.runlog import BodyState, DesignRecord, RunLog, UserSinr

    log = RunLog(begin=100.0, end=101.0)
    fine = DesignRecord(
        time=0.0, stamp=0.0, sequence=1, cycle=0, design='crb-min', outcome='optimal', reason='',
        users=(UserSinr('u', 10.0, 10.0),),
        bodies=(BodyState('u', 'user', 'fresh', 0.01), BodyState('t', 'target', 'fresh', 0.01)),
        objective=1.0, bound=1.0, gap=5e-4, power=1.0, iterations=5, warm=False, cycle_ms=4.0,
        pose_to_beam_ms=6.0, stages={}, overruns=0, rejected={})
    log.designs = [replace(fine, time=100.0 + 0.02 * i, cycle=i + 1, **changes)
                   for i, changes in enumerate(records)]
    measured = Measured(log, [(99.9, 6.0), (99.9, 26.0), (99.95, 8.0)],
                        [(0.0, 2 ** 20), (0.5, 2 ** 20), (1.0, 2 ** 20)])
    return long_row('a recording', 50.0, 10.0, measured)


def test_long_run_counts_cycles_that_left_a_fresh_user_without_beams():
    from nf_isac_ros.demo.runlog import BodyState
    nobody = {'outcome': 'mute', 'reason': 'no-bodies', 'bodies': (), 'users': (),
              'gap': float('nan')}
    dropped = {**nobody, 'reason': 'tracks-dropped', 'bodies': (
        BodyState('u', 'user', 'dropped', 0.6), BodyState('t', 'target', 'fresh', 0.1))}
    left_out = {'users': (), 'outcome': 'fallback', 'reason': 'body-on-antenna'}
    row = long_run([{}, {'outcome': 'mute', 'reason': 'too-late', 'users': (),
                         'gap': float('nan')}, nobody, dropped, left_out,
                    {'gap': 5e-3, 'outcome': 'early'}, {'gap': 0.1, 'outcome': 'early'}, {}])
    assert row['fresh_user_without_beam'] == 1
    assert row['fresh_user_not_served'] == 2
    assert row['with_fresh_user'] == 6
    # Not between laps: six cycles had beams or ought to have had some.
    assert row['certified'] == {'0.001': 0.5, '0.01': pytest.approx(4 / 6, abs=1e-3)}
    assert row['optimal_not_certified'] == 0
    assert (row['cycles'], row['status_lost'], row['bytes_per_cycle']) == (8, 0, 0.0)
    assert (row['p50_ms'], row['max_ms']) == (7.0, 8.0)
    assert long_run([{}, {'gap': 2e-3}])['optimal_not_certified'] == 1


def test_long_run_is_in_the_table(results):
    text = markdown({**results, 'rows': [long_run([{}, {}])]})
    assert '| a recording | 1, 1 | 50 | 10.0 | 1 | 2 | 2 | 0 | 0 | 100.0 % |' in text
    failed = {'bench': 'long-run', 'scenes': 'a recording', 'rate_hz': 50.0, 'failed': 'not up'}
    assert 'Failed: a recording at 50 Hz: not up' in markdown({**results, 'rows': [failed]})
