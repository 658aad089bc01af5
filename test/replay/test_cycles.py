"""When cycles begin, and how they are cut into pieces."""

import numpy as np
import pytest
import replay_data as data

from nf_isac_ros.core.tracking import PoseSample, Role, TrackState
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.replay.cycles import PATH_POINTS, Cycle, CyclePlanner, Path, chunks
from nf_isac_ros.replay.inputs import Counts, Event

NONE = (np.zeros(0), np.zeros(0))


@pytest.fixture
def deployment(tmp_path):
    return load_deployment(data.deployment_file(tmp_path))   # 20 Hz, predicted 0.25 s


def events(begin, end, step=0.02, body='u1', role=Role.USER):
    return [Event(t + 0.001, f'/{body}', [PoseSample(body, role, t, np.array([t % 7, 3.0, 0.5]))])
            for t in np.arange(begin, end, step)]


def plan(deployment, found, recorded=NONE):
    planner, counts = CyclePlanner(deployment, recorded), Counts()
    return list(planner.cycles(found, counts)), planner, counts


def test_cycles_come_at_the_rate_of_the_deployment(deployment):
    cycles, _, _ = plan(deployment, events(100.0, 110.0))
    # A few may be ahead of their turn.
    assert 200 <= len(cycles) <= 206
    assert [cycle.number for cycle in cycles] == list(range(len(cycles)))
    ahead = [cycle.transmit_time - cycle.stamp for cycle in cycles]
    assert np.allclose(ahead, 0.075)   # one and a half periods


def test_a_cycle_knows_the_poses_before_it_and_no_others(deployment):
    cycles, _, _ = plan(deployment, events(100.0, 103.0))
    for cycle in cycles:
        body, = cycle.bodies
        assert body.stamp + 0.001 <= cycle.stamp + 1e-9
        assert cycle.stamp - body.stamp < 0.02 + 0.003
        assert body.age == pytest.approx(cycle.transmit_time - body.stamp)


def test_ten_hours_without_poses_cost_a_handful_of_cycles(deployment):
    found = events(100.0, 101.0) + events(36100.0, 36101.0)
    cycles, planner, _ = plan(deployment, found)
    between = [cycle for cycle in cycles if 101.1 < cycle.stamp < 36099.0]
    # The last pose is of 100.98 s; for transmit times after 101.48 s it is dropped, and the first
    # cycle of those says so. Cycles are up to one and a half periods apart.
    assert 5 <= len(between) <= 8
    assert 101.48 < between[-1].transmit_time < 101.48 + 0.075 + 1e-6
    assert between[-1].idle and not between[-2].idle
    assert [body.state for body in between[-1].bodies] == [TrackState.DROPPED]
    silent, = (each for each in planner.happenings if each.reason == 'silent-body')
    assert silent.end - silent.begin == pytest.approx(35999.02, abs=0.1)


def test_recorded_cycles_begin_when_they_did(deployment):
    starts = np.array([100.1, 100.2, 100.37, 102.5])
    cycles, _, _ = plan(deployment, events(100.0, 101.0), (starts, starts + 0.03))
    assert [cycle.stamp for cycle in cycles] == list(starts)
    assert [cycle.transmit_time for cycle in cycles] == list(starts + 0.03)
    assert cycles[2].bodies[0].stamp == pytest.approx(100.36)
    assert cycles[3].idle


def test_stamps_out_of_order_are_refused_and_counted(deployment):
    found = events(100.0, 101.0)
    found[20], found[24] = found[24]._replace(time=found[20].time), found[20]._replace(
        time=found[24].time)
    _, planner, counts = plan(deployment, found)
    # The late one, the ones that it overtook; the one from the future.
    assert counts.rejected['future-stamp'] + counts.rejected['stamp-regression'] >= 2
    assert {each.kind for each in planner.happenings} == {'rejected'}


def test_a_clock_that_goes_back_starts_anew(deployment):
    cycles, planner, counts = plan(deployment, events(500.0, 501.0) + events(100.0, 101.0))
    assert [each.reason for each in planner.happenings] == ['clock-jump']
    assert not counts.rejected
    late = [cycle for cycle in cycles if cycle.stamp < 200.0]
    assert len(late) >= 20 and all(cycle.bodies[0].stamp < 200.0 for cycle in late)


def test_pieces_hold_every_cycle_once_and_begin_with_those_before():
    cycles = [Cycle(k, float(k), float(k), (), ()) for k in range(23)]
    pieces = list(chunks(cycles, 10, 3))
    assert [cycle.number for _, piece in pieces for cycle in piece] == list(range(23))
    assert [[cycle.number for cycle in before] for before, _ in pieces] == [
        [], [7, 8, 9], [17, 18, 19]]


def test_paths_are_thinned_evenly():
    path = Path()
    for k in range(50 * PATH_POINTS):
        path.add(float(k), np.zeros(3))
    assert PATH_POINTS // 2 <= len(path.times) < PATH_POINTS
    assert len(set(np.diff(path.times))) == 1
    assert path.times[-1] > 49 * PATH_POINTS
