"""What the radio takes and emits, in every order of events that hypothesis can think of."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from radio_commands import ARRAY, LIMITS, MS, command

from nf_isac_ros.radio.checks import (
    BeamError,
    BeamGate,
    Limits,
    Verdict,
    check_content,
    check_times,
)
from nf_isac_ros.radio.command import eirp_bound, element_powers, total_power
from nf_isac_ros.radio.lease import Lease


def weights_with(value, index=5):
    weights = command().weights.copy()
    weights[index] = value
    return weights


def test_good_beams_pass_with_their_powers():
    checked = check_content(command(radiated=0.9), LIMITS)
    assert checked.beams.shape == (6, 3)
    assert checked.power == pytest.approx(0.9, rel=1e-6)
    assert checked.max_element_power == pytest.approx(0.9 / 6, rel=1e-6)
    # Three beams of six in-phase elements, each weight of the power 0.9 / 18.
    assert checked.eirp == pytest.approx(3 * 36 * 0.9 / 18, rel=1e-6)


def test_columns_come_out_in_order():
    weights = np.arange(36, dtype=np.float32) / 200
    power = float((weights.astype(float) ** 2).sum())
    beams = check_content(command(weights=weights, power=power), LIMITS).beams
    assert beams[0, 0] == np.complex64(0 + 0.005j)
    assert beams[5, 0] == np.complex64(10 / 200 + 11j / 200)
    assert beams[0, 1] == np.complex64(12 / 200 + 13j / 200)


@pytest.mark.parametrize(('changes', 'reason'), [
    ({'n_elements': 5}, 'bad-shape'),
    ({'n_users': 3}, 'bad-shape'),
    ({'n_users': 0, 'n_sensing': 0, 'user_ids': (), 'weights': np.zeros(0, np.float32),
      'power': 0.0}, 'bad-shape'),
    ({'n_users': -1, 'n_sensing': 4}, 'bad-shape'),
    ({'weights': np.zeros(35, np.float32)}, 'bad-shape'),
    ({'user_ids': ('u1',)}, 'bad-shape'),
    ({'user_ids': ('u1', 'u1')}, 'bad-shape'),
    ({'weights': weights_with(np.nan)}, 'not-finite'),
    ({'weights': weights_with(-np.inf)}, 'not-finite'),
    ({'weights': weights_with(0.5)}, 'power-exceeded'),
    ({'weights': weights_with(3e38), 'power': 1.0}, 'power-exceeded'),
    ({'weights': command(radiated=1.002).weights, 'power': 1.0}, 'power-exceeded'),
    ({'power': 0.9}, 'power-mismatch'),
    ({'power': np.nan}, 'power-mismatch'),
    ({'wavelength': 0.0101}, 'wrong-wavelength'),
    ({'wavelength': np.nan}, 'wrong-wavelength'),
    ({'layout_hash': 'other'}, 'layout-mismatch'),
], ids=lambda value: value if isinstance(value, str) else '-'.join(value))
def test_wrong_content_is_refused_with_a_reason(changes, reason):
    with pytest.raises(BeamError) as error:
        check_content(command(**changes), LIMITS)
    assert error.value.reason == reason


def test_rounding_is_no_excess():
    check_content(command(radiated=1.0005), LIMITS)


@pytest.mark.parametrize(('publish', 'lease', 'now', 'reason'), [
    (0, 0, 0, 'bad-lease'),
    (0, -5, 0, 'bad-lease'),
    (0, 2001 * MS, 0, 'lease-too-long'),
    (0, 100 * MS, 1001 * MS, 'too-old'),
    (51 * MS, 100 * MS, 0, 'future-stamp'),
    (0, 2000 * MS, 1000 * MS, None),
    (50 * MS, 100 * MS, 0, None),
])
def test_leases_are_checked(publish, lease, now, reason):
    if reason is None:
        check_times(command(publish=publish, lease=lease), LIMITS, now)
        return
    with pytest.raises(BeamError) as error:
        check_times(command(publish=publish, lease=lease), LIMITS, now)
    assert error.value.reason == reason


@pytest.mark.parametrize(('node', 'steady', 'left'), [
    (30, 70, 20), (5, 70, 30), (50, 70, 0), (30, 160, -60),
], ids=['node time first', 'steady first', 'node over', 'steady over'])
def test_lease_ends_on_the_first_clock(node, steady, left):
    # Published at 10, valid until 50, received when the steady clock said 60: until 100 there.
    assert Lease.granted(10, 50, 60).remaining(node, steady) == left


def armed_gate(limits=LIMITS):
    gate = BeamGate(limits, 0)
    gate.arm(0)
    return gate


def offer(gate, now, **changes):
    return gate.offer(check_content(command(**{'publish': now, **changes}), LIMITS), now, now)


def test_boots_muted_until_armed():
    gate = BeamGate(LIMITS, 0)
    assert gate.mute_reason == 'not-armed'
    assert offer(gate, 0) is Verdict.NOT_ARMED
    assert gate.emission(1, 1) is None
    gate.arm(1)
    assert gate.mute_reason == 'no-beams-yet'
    assert gate.emission(2, 2) is None, 'beams from before arming must not come on'
    assert offer(gate, 3, sequence=2) is Verdict.APPLIED
    assert gate.emission(4, 4).command.sequence == 2
    assert gate.mute_reason == ''
    gate.disarm(5)
    assert gate.emission(5, 5) is None
    assert gate.mute_reason == 'not-armed'


def test_lease_ends_by_itself_and_mute_time_adds_up():
    gate = armed_gate()
    offer(gate, 50 * MS)
    assert gate.remaining(100 * MS, 100 * MS) == 50 * MS
    assert gate.emission(150 * MS - 1, 150 * MS - 1) is not None
    assert gate.emission(150 * MS, 150 * MS) is None
    assert gate.mute_reason == 'lease-over'
    assert gate.remaining(160 * MS, 160 * MS) == 0
    assert gate.muted_duration(170 * MS) == pytest.approx(0.07)
    offer(gate, 180 * MS, sequence=2)
    assert gate.muted_duration(200 * MS) == pytest.approx(0.08)


@pytest.mark.parametrize(('node', 'steady'), [(0, 100 * MS), (100 * MS, 0)],
                         ids=['node time stopped', 'steady alone'])
def test_either_clock_ends_the_lease(node, steady):
    gate = armed_gate()
    offer(gate, 0)
    assert gate.emission(node, steady) is None


def test_late_beams_are_counted_and_not_emitted():
    gate = armed_gate()
    checked = check_content(command(publish=0), LIMITS)
    assert gate.offer(checked, 100 * MS, 0) is Verdict.LATE
    assert (gate.late, gate.applied) == (1, 0)
    assert gate.emission(100 * MS, 0) is None


def test_missing_sequence_numbers_are_dropped_once():
    gate = armed_gate()
    offer(gate, 0, sequence=5)
    offer(gate, 1, sequence=6)
    offer(gate, 2, sequence=9)
    assert gate.dropped == 2
    gate.reject('not-finite')   # that was number 10
    offer(gate, 3, sequence=12)
    assert gate.dropped == 3
    assert gate.last_sequence == 12


@pytest.mark.parametrize('sequence', [3, 7])
def test_old_sequence_is_refused_while_the_lease_runs(sequence):
    gate = armed_gate()
    offer(gate, 0, sequence=7)
    with pytest.raises(BeamError) as error:
        offer(gate, 10, sequence=sequence)
    assert error.value.reason == 'sequence-regression'
    assert gate.rejected == {'sequence-regression': 1}
    assert gate.emission(11, 11).command.sequence == 7


def test_new_stream_is_taken_once_muted():
    gate = armed_gate()
    offer(gate, 0, sequence=70)
    assert offer(gate, 100 * MS, sequence=1) is Verdict.APPLIED
    assert gate.dropped == 0
    assert gate.last_sequence == 1


def test_copy_of_a_message_is_refused_even_when_muted():
    gate = armed_gate()
    offer(gate, 0, sequence=7, lease=10)
    with pytest.raises(BeamError) as error:
        gate.offer(check_content(command(sequence=7, publish=0, lease=10), LIMITS), 9, 11)
    assert error.value.reason == 'sequence-regression'


def test_older_publish_stamp_is_refused():
    gate = armed_gate()
    offer(gate, 10 * MS, sequence=1)
    with pytest.raises(BeamError) as error:
        offer(gate, 9 * MS, sequence=2)
    assert error.value.reason == 'stamp-regression'


def test_clock_that_jumps_back_mutes_and_starts_anew():
    gate = armed_gate()
    offer(gate, 10_000 * MS, sequence=5)
    assert gate.emission(9_940 * MS, 10_001 * MS) is None
    assert gate.mute_reason == 'clock-jump'
    assert offer(gate, 9_941 * MS, sequence=1) is Verdict.APPLIED


def test_clock_that_wavers_is_no_jump():
    gate = armed_gate()
    offer(gate, 10_000 * MS)
    assert gate.emission(9_960 * MS, 10_001 * MS) is not None


@given(st.lists(st.complex_numbers(max_magnitude=10), min_size=6, max_size=6),
       st.integers(1, 3))
def test_eirp_bound_holds_in_every_direction(values, columns):
    rng = np.random.default_rng(3)
    beams = (np.array(values)[:, None] * rng.standard_normal(columns)).astype(np.complex64)
    directions = rng.standard_normal((50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    steering = np.exp(2j * np.pi / 0.01 * ARRAY.elements @ directions.T)
    seen = (np.abs(steering.T @ beams) ** 2).sum(axis=1)
    assert seen.max() <= eirp_bound(beams) * (1 + 1e-5)
    assert total_power(beams) == pytest.approx(np.linalg.norm(beams.astype(complex)) ** 2)
    assert element_powers(beams).shape == (6,)


# The property that matters: whatever comes, whenever, on whatever clocks.
TIMES = st.integers(-60, 250).map(lambda ms: ms * MS)
EVENTS = st.one_of(
    st.tuples(st.just('arm')),
    st.tuples(st.just('disarm')),
    st.tuples(st.just('wait'), TIMES, st.integers(0, 250).map(lambda ms: ms * MS)),
    st.tuples(
        st.just('offer'),
        st.integers(0, 6),                                              # sequence
        TIMES,                                                          # age when it arrives
        st.sampled_from([-10, 0, 1, 20, 100, 1999, 2001, 10 ** 6]),     # lease [ms]
        st.sampled_from([0.0, 0.5, 1.0, 1.0009, 1.1, 50.0, np.nan, np.inf])),   # power [W]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_nothing_makes_it_emit_past_a_lease_or_above_the_cap(events):
    limits = replace(LIMITS)
    node, steady, armed = 10 ** 12, 5 * 10 ** 9, False
    gate = BeamGate(limits, steady)
    received = {}   # reception on the steady clock, by identity of the weights
    for event in events:
        match event:
            case ('arm',):
                gate.arm(steady)
                armed = True
            case ('disarm',):
                gate.disarm(steady)
                armed = False
            case ('wait', on_node, on_steady):
                node, steady = node + on_node, steady + on_steady
            case ('offer', sequence, age, lease, power):
                asked = command(sequence, node - age, lease * MS, power)
                received[id(asked)] = (asked, steady)
                try:
                    gate.offer(check_content(asked, limits), node, steady)
                except BeamError as error:
                    assert error.reason
        emission = gate.emission(node, steady)
        assert (emission is None) == bool(gate.mute_reason)
        if emission is None:
            assert gate.remaining(node, steady) == 0
            continue
        asked, arrival = received[id(emission.command)]
        assert armed
        assert (np.abs(emission.beams.astype(complex)) ** 2).sum() <= 1.001 * limits.power
        assert node < asked.valid_until
        assert steady - arrival < asked.valid_until - asked.publish_stamp <= limits.max_lease
        left = gate.remaining(node, steady)
        assert left > 0
        assert node + left <= asked.valid_until


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_applied_and_dropped_account_for_every_message(arrives):
    gate = armed_gate()
    for number, there in enumerate([True, *arrives, True]):
        if there:
            offer(gate, number * MS, sequence=number)
    assert gate.applied == 2 + sum(arrives)
    assert gate.dropped == len(arrives) - sum(arrives)


def test_cap_has_its_margin():
    assert Limits(1, '', 1.0, power=2.0, power_margin=0.01).power_cap == pytest.approx(2.02)
