"""Which beam messages pass, and why the others do not."""

from dataclasses import replace

import numpy as np
import pytest
from radio_commands import LIMITS, MS, command

from nf_isac_ros.radio.checks import BeamError, check_content, check_size, check_times
from nf_isac_ros.radio.lease import Lease


def weights_with(value, index=5):
    weights = command().weights.copy()
    weights[index] = value
    return weights


def test_good_beams_pass_without_a_copy():
    asked = command(radiated=0.9)
    checked = check_content(asked, LIMITS)
    assert checked.beams.shape == (6, 3)
    assert np.shares_memory(checked.beams, asked.weights)


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
    ({'n_users': 0, 'user_ids': (), 'n_sensing': 300}, 'oversized'),
    ({'calibration_epoch': 8}, 'calibration-mismatch'),
], ids=lambda value: value if isinstance(value, str) else '-'.join(value))
def test_wrong_content_is_refused_with_a_reason(changes, reason):
    with pytest.raises(BeamError) as error:
        check_content(command(**changes), replace(LIMITS, calibration_epoch=7))
    assert error.value.reason == reason


@pytest.mark.parametrize(('ours', 'theirs'), [(7, 7), (0, 7), (7, 0)])
def test_calibrations_are_compared_where_both_sides_have_one(ours, theirs):
    check_content(command(calibration_epoch=theirs), replace(LIMITS, calibration_epoch=ours))


def test_largest_message_that_can_pass_may_be_read_and_no_larger_one():
    # 256 beams of six elements: 8 bytes a weight, and names.
    assert 256 * 6 * 8 < LIMITS.max_bytes < 256 * 6 * 8 + 100_000
    check_size(LIMITS.max_bytes, LIMITS)
    with pytest.raises(BeamError) as error:
        check_size(LIMITS.max_bytes + 1, LIMITS)
    assert error.value.reason == 'oversized'


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


def test_poses_of_the_future_are_refused():
    with pytest.raises(BeamError) as error:
        check_times(command(oldest_track_stamp=51 * MS), LIMITS, 0)
    assert error.value.reason == 'future-stamp'
