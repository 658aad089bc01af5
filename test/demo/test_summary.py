from __future__ import annotations

import json
import math

import demo_messages as make
import numpy as np
import pytest

from nf_isac_ros.demo.runlog import TOPICS, RunLog, matrix_from_floats
from nf_isac_ros.demo.summary import (
    Death,
    RunFacts,
    increase,
    percentiles,
    summarise,
    write_json,
)

BEGIN = 100.0
# sqrt(W): two elements, one column, 1 W in total.
ONE_WATT = np.array([[0.6], [0.8j]])


def healthy_run(seconds: int = 5, rate: int = 10) -> RunLog:
    """Every design is optimal, one user is served 0.5 dB above 20 dB, everything is applied."""
    log = RunLog(begin=BEGIN, end=BEGIN + seconds)
    for number in range(seconds * rate):
        time, sequence = BEGIN + (number + 0.5) / rate, number + 1
        log.add('beamformer', make.beams(time, sequence, ONE_WATT), time)
        log.add('status', make.status(
            time, sequence, users=[make.user('u1', 20.0, 20.5)],
            tracks=[make.track('u1', make.USER), make.track('t1', make.TARGET)]), time)
        log.add('crb', make.bounds(time, sequence, [make.bound('t1', 4e-6, 9e-2)]), time)
        log.add('radio/status', make.radio(
            time + 0.01, sequence, sequence, users=[make.user('u1', 20.0, 20.25)]), time + 0.01)
    return log


def verdict(log: RunLog, **facts) -> list[str]:
    summary = summarise(log, RunFacts(**facts))
    assert summary['verdict']['passed'] == (not summary['verdict']['reasons'])
    return summary['verdict']['reasons']


def replace_last(log: RunLog, topic: str, message, time: float) -> None:
    {'status': log.designs, 'radio/status': log.radio, 'beamformer': log.beams}[topic].pop()
    log.add(topic, message, time)


def test_a_healthy_run_passes_with_the_numbers_that_went_in():
    summary = summarise(healthy_run(), RunFacts())
    assert summary['verdict'] == {'passed': True, 'reasons': []}
    assert (summary['cycles'], summary['designs'], summary['rate_hz']) == (50, 50, 10.0)
    assert summary['duration_s'] == 5.0
    assert summary['design'] == 'crb-min'
    assert summary['quality'] == {'optimal': 50, 'early': 0, 'fallback': 0, 'mute': 0}
    assert summary['cycle_ms'] == {'p50': 10.0, 'p99': 10.0, 'max': 10.0}
    assert summary['pose_to_beam_ms']['p99'] == 20.0
    assert (summary['sinr_violations'], summary['power_violations']) == (0, 0)
    assert summary['fallbacks'] == summary['rejected'] == summary['mutes'] == {}
    assert summary['radio']['applied'] == 49  # since the first status of the window
    assert summary['radio']['applied_share'] == 1.0
    user, = summary['users']
    assert (user['id'], user['required_sinr_db']) == ('u1', 20.0)
    assert user['designed_sinr_db'] == {'min': 20.5, 'p01': 20.5, 'p05': 20.5, 'p50': 20.5}
    assert user['seen_sinr_db']['p50'] == 20.25
    assert (user['designed_below'], user['seen_below_share']) == (0, 0.0)
    assert user['cycles'] == {'fresh': 50, 'held': 0, 'dropped': 0}
    target, = summary['targets']
    assert target['root_crb_m']['p50'] == pytest.approx(2e-3)
    assert target['isotropic_root_crb_m']['p50'] == pytest.approx(0.3)
    assert (target['near_field_share'], target['not_identifiable']) == (1.0, 0)


def test_counters_before_the_window_are_their_starting_point():
    log = RunLog(begin=BEGIN, end=BEGIN + 5)
    readings = ((99.0, 7, 1, 4.0), (101.0, 17, 1, 4.5), (104.0, 40, 3, 4.5))
    for time, applied, late, muted in readings:
        log.add('radio/status', make.radio(
            time, applied, applied, late=late, dropped=2, muted_duration=muted), time)
    radio = summarise(log, RunFacts())['radio']
    assert (radio['applied'], radio['late'], radio['dropped']) == (33, 2, 0)
    assert radio['muted_s'] == pytest.approx(0.5)


@pytest.mark.parametrize(('readings', 'expected'), [
    ([], 0), ([5], 0), ([5, 7, 7, 12], 7), ([5, 9, 2, 3], 7),
], ids=['nothing', 'one_reading', 'rising', 'node_started_again'])
def test_a_counter_that_starts_again_is_followed(readings, expected):
    assert increase(readings) == expected


def test_percentiles_leave_out_what_is_not_known():
    found = percentiles([math.nan, 1.0, 2.0, 3.0, math.inf], 5, 50)
    assert found == {'p05': pytest.approx(1.1), 'p50': 2.0, 'max': 3.0}
    assert all(math.isnan(value) for value in percentiles([math.nan], 50).values())


@pytest.mark.parametrize(('sinr', 'outcome', 'reason', 'unlabelled', 'labelled'), [
    (19.991, make.OPTIMAL, '', 0, 0),
    (19.989, make.OPTIMAL, '', 1, 0),
    (19.0, make.EARLY, '', 1, 0),
    (math.nan, make.OPTIMAL, '', 1, 0),
    (19.0, make.FALLBACK, 'infeasible-sinr', 0, 1),
    (19.0, make.FALLBACK, '', 1, 0),
], ids=['within_tolerance', 'beyond_tolerance', 'early', 'not_known', 'labelled', 'no_reason'])
def test_missing_a_required_sinr_must_be_said(sinr, outcome, reason, unlabelled, labelled):
    log = healthy_run()
    replace_last(log, 'status', make.status(
        BEGIN + 4.9, 50, outcome, fallback_reason=reason,
        users=[make.user('u1', 20.0, sinr)]), BEGIN + 4.9)
    summary = summarise(log, RunFacts())
    assert summary['sinr_violations'] == unlabelled
    assert summary['sinr_violations_labelled'] == labelled
    assert summary['verdict']['passed'] is (unlabelled == 0)
    if unlabelled:
        reason, = summary['verdict']['reasons']
        assert reason.startswith('1 of 50 designs miss a required SINR')


def test_muted_cycles_are_counted_by_reason_and_violate_nothing():
    log = healthy_run()
    log.add('status', make.status(
        BEGIN + 4.95, 50, make.MUTE, fallback_reason='no-bodies', cycle_ms=0.1,
        users=[make.user('u1', 20.0, math.nan)]), BEGIN + 4.95)
    summary = summarise(log, RunFacts())
    assert summary['verdict']['passed']
    assert (summary['cycles'], summary['designs']) == (51, 50)
    assert summary['mutes'] == {'no-bodies': 1}
    assert summary['cycle_ms']['p50'] == 10.0  # of designs only


@pytest.mark.parametrize(('power', 'muted', 'violations'), [
    (1.0 + 5e-7, False, 0), (1.00001, False, 1), (2.0, True, 0), (math.nan, False, 1),
], ids=['rounding', 'above', 'muted', 'not_known'])
def test_too_much_power_fails(power, muted, violations):
    log = healthy_run()
    replace_last(log, 'radio/status', make.radio(
        BEGIN + 4.96, 50, 50, power=power, muted=muted), BEGIN + 4.96)
    assert summarise(log, RunFacts())['power_violations'] == violations
    assert len(verdict(log)) == violations


def test_the_limit_of_the_deployment_counts_even_if_the_radio_states_a_higher_one():
    log = healthy_run()
    reason, = verdict(log, power_limit=0.5)
    assert reason.startswith('the radio was driven beyond the power limit')


def test_applied_weights_beyond_the_limit_fail_even_if_the_radio_does_not_notice():
    log = healthy_run()
    replace_last(log, 'beamformer', make.beams(
        BEGIN + 4.95, 50, 1.1 * ONE_WATT), BEGIN + 4.95)
    assert summarise(log, RunFacts())['power_violations'] == 1


@pytest.mark.parametrize(('missed', 'passes'), [(3, True), (5, False)], ids=['few', 'many'])
def test_nine_of_ten_designs_after_the_first_second_must_be_applied(missed, passes):
    log = RunLog(begin=BEGIN, end=BEGIN + 5)
    for number in range(50):
        time, sequence = BEGIN + (number + 0.5) / 10, number + 1
        log.add('beamformer', make.beams(time, sequence, ONE_WATT), time)
        # 40 designs after the first second, of which the first few are not applied.
        applied = sequence if number < 10 else max(10, sequence - missed)
        log.add('radio/status', make.radio(time + 0.01, sequence, applied), time + 0.01)
    summary = summarise(log, RunFacts())
    assert summary['radio']['applied_share'] == pytest.approx((40 - missed) / 40)
    reasons = verdict(log)
    assert reasons == ([] if passes else
                       [f'{40 - missed} of 40 designs after the first 1 s were applied '
                        f'({1 - missed / 40:.0%}), must be 90%'])


def test_the_first_second_is_not_judged():
    log = healthy_run()
    log.radio[:] = [status for status in log.radio if status.time > BEGIN + 0.9]
    assert verdict(log) == []


def test_designs_that_nobody_applies_fail():
    log = healthy_run()
    log.radio.clear()
    for number in range(50):
        time = BEGIN + (number + 0.6) / 10
        log.add('radio/status', make.radio(time, 0, 0, muted=True, mute_reason='not-armed'), time)
    summary = summarise(log, RunFacts())
    assert summary['radio']['applied'] == 0
    assert summary['radio']['mute_reasons']['not-armed'] == pytest.approx(4.9)
    assert verdict(log)[0].startswith('0 of ')


def test_designs_that_the_log_missed_count_as_published():
    log = healthy_run()
    # Nine of ten messages never arrived here, and the radio applied only those that did.
    log.beams[:] = log.beams[::10]
    log.radio[:] = []
    for place, beam in enumerate(log.beams):
        log.add('radio/status', make.radio(
            beam.time + 0.01, beam.sequence, place + 1), beam.time + 0.01)
    assert summarise(log, RunFacts())['radio']['applied_share'] < 0.2


def test_a_run_without_designs_fails():
    assert verdict(RunLog(begin=BEGIN, end=BEGIN + 5)) == [
        'no design was published after the first 1 s']


def test_a_dead_node_fails_and_is_named():
    death = Death('markers', 'killed by SIGSEGV', None, 'SIGSEGV', 2.0, ('last words',))
    log = healthy_run()
    assert verdict(log, deaths=(death,)) == ['markers died: killed by SIGSEGV']
    assert summarise(log, RunFacts(deaths=(death,)))['nodes_died'][0]['last_lines'] == (
        'last words',)


def test_other_problems_fail():
    assert verdict(healthy_run(), problems=('there is no complete recording',)) == [
        'there is no complete recording']


def test_rejections_of_designer_and_radio_are_kept_apart():
    log = healthy_run()
    replace_last(log, 'status', make.status(
        BEGIN + 4.9, 50, rejected=make.counts(not_finite=3, future_stamp=0)), BEGIN + 4.9)
    replace_last(log, 'radio/status', make.radio(
        BEGIN + 4.96, 50, 50, rejected=make.counts(too_strong=2)), BEGIN + 4.96)
    summary = summarise(log, RunFacts())
    assert summary['rejected'] == {'not-finite': 3}
    assert summary['radio']['rejected'] == {'too-strong': 2}


def test_the_largest_gap_is_that_of_any_design_that_has_one():
    log = healthy_run()
    for sequence, gap in ((51, math.nan), (52, 0.25)):
        log.add('status', make.status(
            BEGIN + 4.9, sequence, make.FALLBACK, fallback_reason='deadline', gap=gap),
            BEGIN + 4.9)
    summary = summarise(log, RunFacts())
    assert (summary['gap_max'], summary['uncertified']) == (0.25, 1)
    assert summary['fallbacks'] == {'deadline': 2}


def test_the_file_is_strict_json(tmp_path):
    summary = summarise(RunLog(begin=BEGIN, end=BEGIN + 1), RunFacts())
    write_json(summary, tmp_path / 'summary.json')

    def refuse(name):
        raise AssertionError(f'{name} is not JSON')
    read = json.loads((tmp_path / 'summary.json').read_text(), parse_constant=refuse)
    assert read['gap_max'] is None
    assert list(read) == list(summary)


def test_weights_are_read_column_by_column():
    matrix = matrix_from_floats([1, 2, 3, 4, 5, 6, 7, 8], 2, 2)
    assert matrix.tolist() == [[1 + 2j, 5 + 6j], [3 + 4j, 7 + 8j]]
    with pytest.raises(ValueError, match='6 values'):
        matrix_from_floats([1] * 6, 2, 2)


def test_paths_of_bodies_are_kept_by_role():
    log = RunLog()
    log.add('truth/targets', make.tracks(5.0, t1=(1.0, 2.0, 3.0)), 5.1)
    log.add('truth/users', make.tracks(6.0, t1=(4.0, 5.0, 6.0)), 6.1)
    point, = log.truth['target', 't1']
    assert (point.time, point.stamp, point.position) == (5.1, 5.0, (1.0, 2.0, 3.0))
    assert log.target_ids == log.user_ids == ['t1']


def test_a_message_that_cannot_be_read_is_counted():
    log = healthy_run()
    broken = make.beams(BEGIN, 99, ONE_WATT)
    broken.n_elements = 3
    log.add('beamformer', broken, BEGIN)
    assert summarise(log, RunFacts())['unreadable_messages'] == 1
    assert log.beams[-1].sequence == 50


def test_messages_of_ros_and_of_rosbags_give_the_same_log():
    """Serialise with rclpy, read with rosbags: the log must not tell the difference."""
    serialization = pytest.importorskip('rclpy.serialization')
    pytest.importorskip('nf_isac_msgs.msg')
    from nf_isac_msgs.msg import Beamformer, CrbArray, DesignStatus, RadioStatus, TrackArray
    from nf_isac_ros.demo.monitor import message_class
    from nf_isac_ros.recording.types import standard_store

    live, read = RunLog(), RunLog()
    typestore = standard_store()
    for topic, message in _ros_messages(
            Beamformer, CrbArray, DesignStatus, RadioStatus, TrackArray):
        assert isinstance(message, message_class(TOPICS[topic]))
        raw = serialization.serialize_message(message)
        live.add(topic, message, 1.0)
        read.add(topic, typestore.deserialize_cdr(raw, TOPICS[topic]), 1.0)
    assert live.ignored == read.ignored == 0
    assert (len(live.designs), len(live.bounds), len(live.beams), len(live.radio)) == (1, 1, 1, 1)
    for name in ('designs', 'beams', 'radio', 'truth'):
        assert getattr(live, name) == getattr(read, name)
    assert np.array_equal(live.weights, read.weights)
    assert live.bounds[0].targets[0].covariance.tolist() == (
        read.bounds[0].targets[0].covariance.tolist())


def _ros_messages(beamformer_class, crb_class, status_class, radio_class, tracks_class):
    from array import array

    from nf_isac_msgs.msg import Count, CrbEntry, StageTime, Track, TrackStatus, UserStatus
    beams = beamformer_class(sequence=3, n_elements=2, n_users=1, power=1.0, power_limit=1.0,
                             user_ids=['u1'], weights=array('f', [0.6, 0, 0, 0.8]))
    beams.header.stamp.sec = 7
    user = UserStatus(id='u1', required_sinr_db=20.0, sinr_db=20.5)
    status = status_class(sequence=3, cycle=4, outcome=2, fallback_reason='deadline', gap=0.1,
                          users=[user], tracks=[TrackStatus(id='t1', state=1, age=0.3)],
                          stages=[StageTime(stage='solve', duration_ms=4.0)],
                          rejected=[Count(reason='not-finite', count=2)])
    bounds = crb_class(sequence=3, entries=[CrbEntry(
        id='t1', parameters=['x', 'y', 'z'], covariance=[float(n) for n in range(9)], crb=1.0)])
    radio = radio_class(muted=True, mute_reason='lease', applied=3, users=[user])
    track = Track(id='t1')
    track.pose.pose.position.x = 1.5
    return (('beamformer', beams), ('status', status), ('crb', bounds), ('radio/status', radio),
            ('truth/targets', tracks_class(tracks=[track])))


def test_an_extended_target_has_bounds_of_range_direction_and_orientation():
    log = RunLog(begin=100.0, end=110.0)
    for number in range(4):
        log.add('crb', make.bounds(101.0 + number, number, [
            make.extended_bound('car', 1e-3 * (number + 1), 2e-4, math.inf),
            make.bound('post', 1e-4, 1e-2)]), 101.0 + number)
    car, post = summarise(log, RunFacts())['targets']
    assert car['range_bound_m'] == pytest.approx(
        {'p50': 2.5e-3, 'p90': 3.7e-3, 'p99': 3.97e-3, 'max': 4e-3})
    assert car['direction_bound_rad']['p50'] == pytest.approx(2e-4)
    assert math.isnan(car['orientation_bound_rad']['p50'])
    assert not {'range_bound_m', 'direction_bound_rad'} & post.keys()
