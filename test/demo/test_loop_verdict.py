"""A closed loop passes only if it held every target."""

from __future__ import annotations

import math

import pytest

from nf_isac_ros.demo.loop import unheld

HELD = {'rmse_m': 0.004, 'root_crb_m': 0.005, 'echo_rmse_m': 0.006, 'lost_s': 0.5, 'seen': 100}


def test_held_targets_pass() -> None:
    """Within both limits there is no reason."""
    assert unheld({'t1': HELD, 't2': HELD}, 10.0) == []


@pytest.mark.parametrize(('change', 'word'), [
    ({'seen': 0, 'echo_rmse_m': math.nan}, 'never seen'),
    ({'lost_s': 1.1}, 'lost for 1.1 of 10.0 s'),
    ({'echo_rmse_m': 0.016}, 'off by 0.016 m'),
    ({'echo_rmse_m': math.inf}, 'off by inf'),
    ({'root_crb_m': math.nan}, 'bound of nan'),
])
def test_target_that_was_not_held_is_named(change: dict[str, float], word: str) -> None:
    """One bad target among good ones fails the run, and the reason names it."""
    reason, = unheld({'t1': HELD, 't2': HELD | change}, 10.0)
    assert 't2' in reason
    assert word in reason


def test_nothing_to_judge_is_no_success() -> None:
    """Without a truth nothing was shown."""
    assert unheld({}, 10.0)
