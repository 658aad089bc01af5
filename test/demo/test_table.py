from __future__ import annotations

import io
import math

import demo_messages as make
import pytest
from rich.console import Console

from nf_isac_ros.demo.runlog import RunLog
from nf_isac_ros.demo.table import (
    Screen,
    Tally,
    angle,
    decibel,
    length,
    picture,
    radio_state,
    status_line,
)

NODES = {'beamformer': 'active', 'markers': 'running'}


@pytest.fixture
def log() -> RunLog:
    """Ten designs in 1.1 s; the last one is a fallback in which t2 was dropped."""
    log = RunLog(begin=100.0, end=120.0)
    for number in range(10):
        time, last = 100.1 + 0.1 * number, number == 9
        log.add('status', make.status(
            time, number + 1, make.FALLBACK if last else make.OPTIMAL, cycle_ms=10.0 + number,
            fallback_reason='infeasible-sinr' if last else '', gap=math.nan if last else 5e-4,
            users=[make.user('u1', 20.0, 19.0 if last else 20.0)],
            tracks=[make.track('u1', make.USER, make.HELD, 0.3),
                    make.track('t1', make.TARGET),
                    make.track('t2', make.TARGET, make.DROPPED, 0.7)]), time)
        log.add('crb', make.bounds(time, number + 1, [
            make.bound('t1', 4e-6, 4e-2), make.bound('t2', 1e-6, 1e-2)]), time)
    log.add('radio/status', make.radio(
        101.0, 10, 9, late=1, users=[make.user('u1', 20.0, 18.5)],
        rejected=make.counts(too_old=4)), 101.0)
    return log


def shot(log: RunLog, phase: str = 'measuring', dead: tuple[str, ...] = ()):
    return Tally(log).snapshot('scenario x', phase, 20.0, 101.1, NODES, dead)


def drawn(snapshot, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(picture(snapshot))
    return console.file.getvalue()


@pytest.mark.parametrize(('metres', 'text'), [
    (4.2e-5, '42 µm'), (1.234e-3, '1.23 mm'), (0.5, '500 mm'), (2.0, '2 m'),
    (math.inf, 'not identifiable'), (math.nan, '-'),
])
def test_lengths_have_a_unit_that_suits_them(metres, text):
    assert length(metres) == text


@pytest.mark.parametrize(('value', 'text'), [(20.004, '20.00 dB'), (math.nan, '-')])
def test_what_is_not_known_is_a_dash(value, text):
    assert decibel(value) == text


def test_the_table_shows_what_was_published(log):
    text = drawn(shot(log))
    for part in ('scenario x', '1.1 of 20 s', '9.1 Hz', 'optimal 9', 'fallback 1',
                 'infeasible-sinr 1', 'radio: too-old 4', '1 W of 1 W', 'applied 9, late 1',
                 'at most 5.0e-04'):
        assert part in text, part
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines['u1'] == ['u1', '20.00', 'dB', '19.00', 'dB', '18.50', 'dB', 'held,', '300', 'ms']
    # 10 lg(4e-2 / 4e-6) = 40 dB
    assert lines['t1'][:7] == ['t1', '2', 'mm', '200', 'mm', '40.0', 'dB']
    assert lines['t2'][:4] == ['t2', '-', '-', '-']


def test_the_table_fits_into_80_columns_and_24_lines(log):
    lines = drawn(shot(log, dead=('markers',))).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24


def test_dead_nodes_are_shown(log):
    assert '✗ markers: running' in drawn(shot(log, dead=('markers',)))


def test_before_the_first_message_there_is_the_start_up():
    text = drawn(Tally(RunLog()).snapshot('scenario x', 'starting', 20.0, 5.0, {
        'beamformer': 'configuring', 'markers': 'running'}))
    assert '1 of 2 up' in text
    assert 'beamformer\N{NO-BREAK SPACE}configuring' in text


def test_a_status_line_has_it_all(log):
    line = status_line(shot(log))
    assert '\n' not in line
    assert 't2' not in line  # dropped
    for part in ('1.1/20 s', '9.1 Hz', 'optimal 9 fallback 1', 'u1 19.0/18.5 dB', 't1 2 mm',
                 'radio 1 W of 1 W'):
        assert part in line, part


def test_records_are_counted_once(log):
    tally = Tally(log)
    arguments = ('x', 'measuring', 20.0, 101.1, NODES)
    tally.snapshot(*arguments)
    assert tally.snapshot(*arguments).outcomes['optimal'] == 9


def test_a_muted_radio_says_why(log):
    log.add('radio/status', make.radio(
        101.0, 10, 9, muted=True, mute_reason='lease-over'), 101.0)
    assert radio_state(log.radio[-1]) == 'muted (lease-over)'


def test_without_a_terminal_lines_are_printed(log):
    console = Console(file=io.StringIO(), force_terminal=False)
    with Screen(console) as screen:
        screen.show(shot(log))
        screen.show(shot(log))
        assert not screen.due
    assert console.file.getvalue().count('\n') == 1
    assert '\x1b' not in console.file.getvalue()


def test_cycles_before_the_window_are_not_counted(log):
    tally, begin = Tally(log), log.begin
    log.begin = -math.inf
    arguments = ('x', 'measuring', 20.0, 101.1, NODES)
    assert tally.snapshot(*arguments).outcomes['optimal'] == 0
    log.begin = begin + 0.55
    assert tally.snapshot(*arguments).outcomes['optimal'] == 4


def test_what_comes_after_the_window_is_not_shown(log):
    log.end = 101.05
    log.add('radio/status', make.radio(
        101.1, 10, 10, muted=True, mute_reason='not-armed'), 101.1)
    assert not shot(log, 'done').radio.muted


def test_an_extended_target_has_its_angles_in_a_line_of_its_own(log):
    log.add('crb', make.bounds(101.05, 11, [
        make.extended_bound('t1', 2e-3, 4e-4, 5e-2)]), 101.05)
    rows = [line.split() for line in drawn(shot(log)).splitlines()]
    assert ['direction', '400', 'µrad'] in rows
    assert ['orientation', '50', 'mrad'] in rows
    assert any(row[:3] == ['t1', '2', 'mm'] for row in rows)


@pytest.mark.parametrize(('radians', 'text'), [
    (2.0, '2 rad'), (0.02, '20 mrad'), (3e-6, '3 µrad'), (math.nan, '-'),
    (math.inf, 'not identifiable')])
def test_angles_have_units_that_suit_them(radians, text):
    assert angle(radians) == text
