"""The state machine of the interlock: what mutes, what latches, and what ends it."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from radio_commands import ARRAY, CAPS, LIMITS, MS, NOBODY, WAVELENGTH, command, emission

from nf_isac_ros.radio.caps import Caps
from nf_isac_ros.radio.checks import BeamError
from nf_isac_ros.radio.emission import Shaper
from nf_isac_ros.radio.faults import Repetition
from nf_isac_ros.radio.gate import BeamGate, State, Verdict, Watching
from nf_isac_ros.radio.keep_out import KeepOut, KeepOutVolume

THRICE = Repetition(3, 1000 * MS)
WATCHING = Watching(THRICE, THRICE, THRICE, loss_window=4, max_loss=0.5,
                    designer_timeout=500 * MS)
ELEMENT_CAP = Shaper(replace(CAPS, element_power=0.1), NOBODY)


def armed_gate(watching=WATCHING):
    gate = BeamGate(LIMITS, 0, watching)
    gate.arm(0)
    return gate


def offer(gate, now, shaper=None, **changes):
    made = emission(**({} if shaper is None else {'shaper': shaper}),
                    **{'publish': now, **changes})
    return gate.offer(made, now, now)


def refused(gate, now, **changes):
    with pytest.raises(BeamError) as error:
        offer(gate, now, **changes)
    return error.value.reason


def test_boots_muted_until_armed():
    gate = BeamGate(LIMITS, 0)
    assert (gate.state, gate.mute_reason(0)) == (State.DISARMED, 'not-armed')
    assert offer(gate, 0) is Verdict.NOT_ARMED
    assert gate.emission(1, 1) is None
    gate.arm(1)
    assert (gate.state, gate.mute_reason(1)) == (State.MUTED, 'no-beams-yet')
    assert gate.emission(2, 2) is None, 'beams from before arming must not come on'
    assert offer(gate, 3, sequence=2) is Verdict.APPLIED
    assert gate.emission(4, 4).command.sequence == 2
    assert (gate.state, gate.mute_reason(4)) == (State.TRANSMITTING, '')
    gate.disarm(5)
    assert gate.emission(5, 5) is None
    assert gate.mute_reason(5) == 'not-armed'
    assert gate.tally.mutes == {'not-armed': 1}


def test_lease_ends_by_itself_and_mute_time_adds_up():
    gate = armed_gate()
    offer(gate, 50 * MS)
    assert gate.remaining(100 * MS, 100 * MS) == 50 * MS
    assert gate.emission(150 * MS - 1, 150 * MS - 1) is not None
    assert gate.emission(150 * MS, 150 * MS) is None
    assert gate.mute_reason(150 * MS) == 'lease-over'
    assert gate.remaining(160 * MS, 160 * MS) == 0
    assert gate.muted_duration(170 * MS) == pytest.approx(0.07)
    offer(gate, 180 * MS, sequence=2)
    assert gate.muted_duration(200 * MS) == pytest.approx(0.08)
    assert gate.tally.mutes == {'lease-over': 1}


@pytest.mark.parametrize(('node', 'steady'), [(0, 100 * MS), (100 * MS, 0)],
                         ids=['node time stopped', 'steady alone'])
def test_either_clock_ends_the_lease(node, steady):
    gate = armed_gate()
    offer(gate, 0)
    assert gate.emission(node, steady) is None


def test_late_beams_are_counted_and_not_emitted():
    gate = armed_gate()
    assert gate.offer(emission(publish=0), 100 * MS, 0) is Verdict.LATE
    assert (gate.tally.late, gate.tally.applied) == (1, 0)
    assert gate.emission(100 * MS, 0) is None


def test_designer_that_is_silent_is_said_to_be_lost():
    gate = armed_gate()
    assert gate.mute_reason(10_000 * MS) == 'no-beams-yet'
    offer(gate, 10_000 * MS)
    gate.emission(10_200 * MS, 10_200 * MS)
    assert gate.mute_reason(10_400 * MS) == 'lease-over'
    assert gate.mute_reason(10_501 * MS) == 'designer-lost'
    gate.designer_heard(False, 1, '', 10_600 * MS)
    assert gate.mute_reason(10_700 * MS) == 'lease-over'
    assert offer(gate, 10_700 * MS, sequence=2) is Verdict.APPLIED


def test_designer_that_mutes_is_obeyed_at_once_and_its_next_beams_too():
    gate = armed_gate()
    offer(gate, 0, sequence=5)
    gate.designer_heard(False, 5, '', 1 * MS)
    gate.designer_heard(True, 4, 'of a cycle before these beams', 2 * MS)
    assert gate.emission(2 * MS, 2 * MS) is not None
    gate.designer_heard(True, 5, 'tracks-dropped', 3 * MS)
    assert gate.emission(3 * MS, 3 * MS) is None
    assert (gate.mute_reason(3 * MS), gate.mute_detail) == ('designer-mute', 'tracks-dropped')
    assert offer(gate, 4 * MS, sequence=6) is Verdict.APPLIED


def test_poses_that_are_too_old_mute_also_while_a_lease_runs():
    gate = BeamGate(replace(LIMITS, max_track_age=300 * MS), 0, WATCHING)
    gate.arm(0)
    offer(gate, 0, sequence=1, lease=1000 * MS, oldest_track_stamp=-200 * MS)
    assert gate.remaining(10 * MS, 10 * MS) == 90 * MS
    assert gate.emission(99 * MS, 99 * MS) is not None
    assert gate.emission(100 * MS, 100 * MS) is None
    assert gate.mute_reason(100 * MS) == 'stale-poses'
    assert offer(gate, 110 * MS, sequence=2, oldest_track_stamp=-200 * MS) is Verdict.HELD_BACK
    assert gate.tally.held_back == {'stale-poses': 1}
    assert 'pose is 0.310 s old' in gate.mute_detail
    assert offer(gate, 120 * MS, sequence=3) is Verdict.APPLIED, 'clears by itself'


def test_lost_messages_mute_until_enough_arrive_again():
    gate = armed_gate()
    for now, sequence in enumerate((1, 2, 3, 4)):
        offer(gate, now, sequence=sequence)
    assert offer(gate, 4, sequence=6) is Verdict.APPLIED, 'one of four is lost'
    assert offer(gate, 5, sequence=10) is Verdict.HELD_BACK
    assert gate.emission(5, 5) is None
    assert gate.mute_reason(5) == 'lost-messages'
    assert '75%' in gate.mute_detail
    assert offer(gate, 6, sequence=11) is Verdict.APPLIED
    assert gate.tally.dropped == 4


def test_missing_sequence_numbers_are_dropped_once():
    gate = armed_gate(Watching())
    offer(gate, 0, sequence=5)
    offer(gate, 1, sequence=6)
    offer(gate, 2, sequence=9)
    assert gate.tally.dropped == 2
    gate.reject('not-finite', '', 2)   # that was number 10
    offer(gate, 3, sequence=12)
    assert gate.tally.dropped == 3
    assert gate.last.command.sequence == 12


@pytest.mark.parametrize('sequence', [3, 7])
def test_old_sequence_is_refused_while_the_lease_runs(sequence):
    gate = armed_gate()
    offer(gate, 0, sequence=7)
    assert refused(gate, 10, sequence=sequence) == 'sequence-regression'
    assert gate.tally.rejected == {'sequence-regression': 1}
    assert gate.emission(11, 11).command.sequence == 7


def test_new_stream_is_taken_once_muted():
    gate = armed_gate()
    offer(gate, 0, sequence=70)
    assert offer(gate, 100 * MS, sequence=1) is Verdict.APPLIED
    assert (gate.tally.dropped, gate.tally.restarts) == (0, 1)
    assert gate.last.command.sequence == 1


def test_copy_of_a_message_is_refused_even_when_muted():
    gate = armed_gate()
    offer(gate, 0, sequence=7, lease=10)
    with pytest.raises(BeamError) as error:
        gate.offer(emission(sequence=7, publish=0, lease=10), 9, 11)
    assert error.value.reason == 'sequence-regression'


def test_older_publish_stamp_is_refused():
    gate = armed_gate()
    offer(gate, 10 * MS, sequence=1)
    assert refused(gate, 9 * MS, sequence=2) == 'stamp-regression'


def latched(gate, name, now):
    assert gate.emission(now, now) is None
    assert (gate.state, gate.mute_reason(now)) == (State.FAULT, name)
    assert offer(gate, now + MS, sequence=10 ** 6) is Verdict.HELD_BACK
    assert gate.tally.held_back[name] >= 1
    assert gate.reset(now + 2 * MS) == (name,)
    assert gate.state is State.MUTED
    assert offer(gate, now + 3 * MS, sequence=10 ** 6 + 1) is Verdict.APPLIED


@pytest.mark.parametrize('sequences', [
    # A sends 100, 101, ..; B begins at 1.
    [100, 1, 101, 2, 102, 3],
    [1, 100, 2, 101, 3, 102, 4],
], ids=['the other one behind', 'the other one ahead'])
def test_two_designers_on_one_topic_latch(sequences):
    gate = armed_gate(replace(WATCHING, max_loss=1.0))
    for now, sequence in enumerate(sequences):
        if not gate.faults:
            try:
                offer(gate, now * MS, sequence=sequence)
            except BeamError:
                pass
    latched(gate, 'regressing-stream', 6 * MS)


def test_two_slow_designers_whose_leases_do_not_overlap_latch():
    gate = armed_gate(replace(WATCHING, max_loss=1.0))
    for i in range(3):
        offer(gate, 40 * i * MS, sequence=100 + i, lease=10 * MS)
        offer(gate, (40 * i + 20) * MS, sequence=1 + i, lease=10 * MS)
    latched(gate, 'regressing-stream', 200 * MS)


def test_a_few_wrong_messages_are_refused_many_latch():
    gate = armed_gate()
    offer(gate, 0, sequence=1, lease=1900 * MS)
    gate.reject('bad-shape', 'first', 1 * MS)
    gate.reject('not-finite', 'second', 2 * MS)
    gate.reject('too-old', 'a clock that is behind is no malformed stream', 3 * MS)
    assert gate.emission(3 * MS, 3 * MS) is not None
    # The first one is too long ago by now.
    gate.reject('bad-shape', 'third', 1500 * MS)
    assert gate.emission(1500 * MS, 1500 * MS) is not None
    gate.reject('bad-shape', '', 1501 * MS)
    gate.reject('bad-shape', 'the last one', 1502 * MS)
    assert gate.mute_detail == 'the last one'
    latched(gate, 'malformed-stream', 1502 * MS)


def test_clock_that_jumps_back_latches_and_starts_anew():
    gate = armed_gate()
    offer(gate, 10_000 * MS, sequence=5)
    assert gate.emission(9_940 * MS, 10_001 * MS) is None
    assert gate.mute_reason(10_001 * MS) == 'clock-jump'
    assert offer(gate, 9_941 * MS, sequence=6) is Verdict.HELD_BACK
    gate.reset(10_002 * MS)
    assert offer(gate, 9_942 * MS, sequence=7) is Verdict.APPLIED


def test_clock_that_wavers_is_no_jump():
    gate = armed_gate()
    offer(gate, 10_000 * MS)
    assert gate.emission(9_960 * MS, 10_001 * MS) is not None


def test_excess_of_a_cap_is_scaled_down_and_latches_when_it_repeats():
    gate = armed_gate()
    # 1/6 W an element, 0.1 W are allowed.
    assert offer(gate, 0, ELEMENT_CAP, sequence=1) is Verdict.APPLIED
    found = gate.emission(1, 1)
    assert found.limited_by == ('element-power',)
    assert found.scale == pytest.approx(0.6, rel=1e-4)
    assert found.max_element_power == pytest.approx(0.1, rel=1e-4) and (
        found.max_element_power <= 0.1)
    assert found.power == pytest.approx(0.6, rel=1e-4)
    assert offer(gate, 1 * MS, sequence=2, radiated=0.5) is Verdict.APPLIED
    assert offer(gate, 2 * MS, ELEMENT_CAP, sequence=3) is Verdict.APPLIED
    assert offer(gate, 3 * MS, ELEMENT_CAP, sequence=4) is Verdict.HELD_BACK
    assert gate.tally.limited == {'element-power': 3}
    latched(gate, 'repeated-excess', 3 * MS)


def test_people_who_come_close_do_not_latch():
    near = KeepOut((KeepOutVolume('desk', 1e-3, 0.1, centre=ARRAY.centre + [0, 0, 2.0]),), ARRAY,
                   WAVELENGTH)
    gate = armed_gate()
    for now in range(6):
        assert offer(gate, now, Shaper(Caps(), near), sequence=now + 1) is Verdict.APPLIED
    found = gate.emission(6, 6)
    assert found.limited_by == ('keep-out',)
    assert gate.tally.limited == {'keep-out': 6}
    assert not gate.faults


def test_unknown_people_mute_until_they_are_known():
    places = {('user', 'u1'): None}
    shaper = Shaper(Caps(), KeepOut((KeepOutVolume('person', 10.0, 0.4, role='user'),), ARRAY,
                                    WAVELENGTH, lambda: places))
    gate = armed_gate()
    offer(gate, 0, sequence=1)
    assert offer(gate, 1, shaper, sequence=2) is Verdict.HELD_BACK
    assert gate.emission(1, 1) is None
    assert gate.mute_reason(1) == 'keep-out-unknown'
    assert 'person (u1)' in gate.mute_detail
    places['user', 'u1'] = ARRAY.centre + [0, 0, 30.0]
    assert offer(gate, 2, shaper, sequence=3) is Verdict.APPLIED


def test_only_the_present_emission_can_be_turned_down():
    gate = armed_gate()
    offer(gate, 0, sequence=1)
    first = gate.emission(0, 0)
    lower = replace(first, scale=0.5)
    assert gate.replace(first, lower, 1)
    assert gate.emission(1, 1) is lower
    offer(gate, 2, sequence=2)
    assert not gate.replace(lower, replace(lower, blocked='keep-out-unknown'), 3)
    assert gate.emission(3, 3).command.sequence == 2
    assert gate.replace(gate.emission(3, 3), replace(lower, blocked='keep-out-unknown'), 4)
    assert gate.mute_reason(4) == 'keep-out-unknown'


def test_faults_latch_whatever_is_armed_and_arming_does_not_clear_them():
    gate = BeamGate(LIMITS, 0)
    gate.latch('backend-error', 'first', 0)
    gate.latch('backend-error', 'second', 1)
    gate.latch('clock-jump', '', 2)
    gate.arm(3)
    assert gate.state is State.FAULT
    assert (gate.mute_reason(3), gate.mute_detail) == ('backend-error', 'first')
    assert gate.reset(4) == ('backend-error', 'clock-jump')
    assert (gate.state, gate.reset(5)) == (State.MUTED, ())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_applied_and_dropped_account_for_every_message(arrives):
    gate = armed_gate(Watching(max_loss=1.0))
    for number, there in enumerate([True, *arrives, True]):
        if there:
            offer(gate, number * MS, sequence=number)
    assert gate.tally.applied == 2 + sum(arrives)
    assert gate.tally.dropped == len(arrives) - sum(arrives)


def test_a_repetition_of_zero_never_latches():
    gate = armed_gate(replace(WATCHING, malformed=Repetition(0)))
    for now in range(100):
        gate.reject('bad-shape', '', now)
    assert not gate.faults
    assert gate.tally.rejected == {'bad-shape': 100}


def test_command_without_a_stamp_of_its_poses_is_stale():
    gate = armed_gate()
    now = 10 ** 18
    assert gate.offer(emission(publish=now, oldest_track_stamp=0), now, now) is Verdict.HELD_BACK
    assert 'does not say' in gate.mute_detail
    assert command().oldest_track_stamp == 0
