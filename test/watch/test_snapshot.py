"""What the live page is told: what JSON can hold, nothing old, nothing without bound."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

from builtin_interfaces.msg import Time  # noqa: E402

from nf_isac_msgs.msg import (  # noqa: E402
    CrbArray,
    CrbEntry,
    DesignStatus,
    RadioStatus,
    TrackStatus,
    UserStatus,
)
from nf_isac_ros.watch.snapshot import Memory, number, state  # noqa: E402

NOW = 1_000_000_000_000   # [ns]
NAN = math.nan


class Inputs:
    """As SceneInputs, just read."""

    def __init__(self, live=True, age=0.1):
        self._live = live
        self.ages = dict.fromkeys(('status', 'crb', 'radio/status', 'beamformer'), age)
        self.counts = dict.fromkeys(self.ages, 0)
        self.beams = SimpleNamespace(user_ids=['u1'])
        self.bounds = CrbArray(sum_crb=math.inf, entries=[CrbEntry(
            id='t1', parameters=['x', 'y', 'z', 'direction'], crb=math.inf, isotropic_crb=NAN,
            covariance=np.full(16, np.inf).tolist())])
        self.status = DesignStatus(
            gap=NAN, pose_to_beam_ms=NAN, cycle_ms=3.0,
            users=[UserStatus(id='u1', required_sinr_db=10.0, sinr_db=NAN)],
            tracks=[TrackStatus(id='t9', role=TrackStatus.ROLE_TARGET, age=0.1)])
        self.status.header.stamp = Time(sec=NOW // 10 ** 9)
        self.radio = RadioStatus(armed=True, eirp=math.inf)
        self.radio.header.stamp = Time(sec=NOW // 10 ** 9)
        self.recent = [self.status]

    def live(self, now):
        return self._live

    def samples(self, source):
        return {}

    def outlines(self):
        return {}


def test_what_is_not_finite_is_null_in_strict_json():
    inputs = Inputs()
    shown = state(inputs, NOW) | Memory().look(inputs, 5.0)
    again = json.loads(json.dumps(shown, allow_nan=False))
    target = next(target for target in again['targets'] if target['id'] == 't1')
    assert (target['bounded'], target['root_crb_m'], target['covariance_m2']) == (True, None, None)
    assert target['angles_rad'] == {'direction': None}
    assert (again['design']['gap'], again['radio']['eirp_w']) == (None, None)
    assert not again['users'][0]['met']


def test_without_a_lease_there_are_no_bounds_and_no_sinr():
    shown = state(Inputs(live=False), NOW)
    assert [target['id'] for target in shown['targets']] == ['t9']
    assert shown['users'] == []


def test_bodies_of_an_old_status_are_not_there():
    assert [target['id'] for target in state(Inputs(live=False, age=5.0), NOW)['targets']] == []


def test_age_counts_from_the_stamp_of_a_message_that_was_long_under_way():
    assert state(Inputs(age=0.2), NOW + 7 * 10 ** 9)['design']['age_s'] == 7.0
    assert state(Inputs(age=0.2), NOW)['design']['age_s'] == 0.2


def test_rates_count_the_messages_of_two_seconds():
    memory, inputs = Memory(), Inputs()
    for k in range(100):
        inputs.counts['status'] = 5 * k + (40 * (k - 50) if k > 50 else 0)
        told = memory.look(inputs, 0.1 * k)
    rate = next(topic['rate_hz'] for topic in told['topics'] if topic['name'] == 'status')
    assert rate == pytest.approx(450)


def test_times_are_those_of_ten_seconds():
    memory, inputs = Memory(), Inputs()
    for k in range(400):
        inputs.recent = [DesignStatus(cycle_ms=1000.0 if k < 200 else float(k % 2 + 1),
                                      outcome=DesignStatus.OUTCOME_EARLY)]
        told = memory.look(inputs, 0.1 * k)
    timing = told['timing']
    assert timing['cycle_ms'] == {'p50': pytest.approx(1.5, abs=0.5), 'p99': 2.0, 'max': 2.0}
    assert timing['cycles'] == timing['outcomes']['early'] == pytest.approx(100, abs=1)


def test_history_is_a_minute_at_five_a_second_at_most():
    memory, inputs = Memory(), Inputs()
    for k in range(3000):
        memory.remember(state(inputs, NOW) | memory.look(inputs, 0.05 * k))
    rows = memory.history()
    assert len(rows) == 300
    assert rows[-1]['steady_s'] - rows[0]['steady_s'] == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize(('value', 'kept'), [
    (1.23456789012345, 1.23456789), (NAN, None), (-math.inf, None), (0.0, 0.0)])
def test_numbers_have_nine_digits(value, kept):
    assert number(value) == kept
