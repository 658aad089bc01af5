"""When a recorded message is due, and what is cut."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.playback import Cut, Pace, parse_cuts

S = 10 ** 9


@pytest.mark.parametrize(('recorded', 'lap', 'due'), [
    (100 * S, 0, 0), (104 * S, 0, 2 * S), (110 * S, 0, 5 * S), (100 * S, 1, 6 * S),
    (104 * S, 3, 20 * S)])
def test_messages_are_due_at_the_pace_and_laps_go_on_upwards(recorded, lap, due):
    assert Pace(100 * S, 110 * S, rate=2.0, gap=S).due(recorded, lap) == due


@pytest.mark.parametrize(('playing', 'recorded'), [
    (-1, None), (0, 100 * S), (2 * S, 104 * S), (5 * S, 110 * S), (5 * S + 1, None),
    (6 * S - 1, None), (6 * S, 100 * S), (8 * S, 104 * S)])
def test_playing_time_tells_the_recorded_time_except_between_laps(playing, recorded):
    assert Pace(100 * S, 110 * S, rate=2.0, gap=S).recorded(playing, laps=True) == recorded


def test_without_laps_there_is_nothing_after_the_end():
    pace = Pace(100 * S, 110 * S, gap=S)
    assert pace.recorded(10 * S, laps=False) == 110 * S
    assert pace.recorded(11 * S, laps=False) is None


@given(st.integers(0, 10 * S), st.integers(0, 1000), st.floats(0.01, 100))
def test_due_and_recorded_are_inverse(since_start, lap, rate):
    pace = Pace(7 * S, 17 * S, rate, gap=S // 2)
    recorded = pace.recorded(pace.due(7 * S + since_start, lap), laps=True)
    # The last instant may be rounded out of the recording.
    if recorded is not None:
        assert recorded - 7 * S == pytest.approx(since_start, abs=rate + 1)
    else:
        assert since_start == pytest.approx(10 * S, abs=rate + 1)


@pytest.mark.parametrize(('topic', 'time', 'hidden'), [
    ('/a', 0.99, False), ('/a', 1.0, True), ('/a', 1.49, True), ('/a', 1.5, False),
    ('/b', 1.2, False)])
def test_cut_hides_its_interval_of_its_topic(topic, time, hidden):
    assert Cut('/a', 1.0, 0.5).hides(topic, time) == hidden


def test_cuts_are_read():
    assert parse_cuts(['/a:1:0.5', '/b/c:0:12'], ['/a', '/b/c']) == (
        Cut('/a', 1.0, 0.5), Cut('/b/c', 0.0, 12.0))


@pytest.mark.parametrize('text', [
    '', '/a', '/a:1', '/a:x:1', '/a:1:', '/a:-1:1', '/a:1:0', '/a:1:inf', '/a:nan:1', '/c:1:1'])
def test_wrong_cut_is_named(text):
    with pytest.raises(RecordingError) as error:
        parse_cuts(['/b:1:1', text], ['/a', '/b'])
    assert repr(text) in str(error.value)
