"""The transmitter with real threads: it mutes by itself, whoever else hangs."""

import threading
import time

import numpy as np
import pytest
from radio_commands import ARRAY, CAPS, LIMITS, MS, SHAPER, WAVELENGTH, command

from nf_isac_ros.core.propagation import warm_up
from nf_isac_ros.radio.base import Backend
from nf_isac_ros.radio.checks import BeamError
from nf_isac_ros.radio.emission import Shaper
from nf_isac_ros.radio.gate import State, Verdict
from nf_isac_ros.radio.keep_out import KeepOut, KeepOutVolume
from nf_isac_ros.radio.transmitter import POLL, Transmitter

# What the issue allows beyond one period, and what a loaded machine may need on top [s].
LATENESS = POLL + 0.005 + 0.1
PATIENCE = 80   # with the backend [ms]


class Recorder(Backend):
    """Backend that notes when it is muted."""

    def __init__(self):
        self.beams = 'not muted yet'
        self.update = None
        self.muted = threading.Event()
        self.muted_at = None
        # What it does wrong: an event that a call waits for, or an exception.
        self.hang, self.error = {}, {}
        self.words = ''
        self.calls = []

    def _begin(self, call):
        self.calls.append(call)
        if call in self.error:
            raise self.error[call]
        if call in self.hang:
            self.hang[call].wait(10.0)

    def transmit(self, beams, user_ids, update):
        self._begin('transmit')
        self.muted.clear()
        self.beams, self.update = beams, update

    def mute(self):
        self._begin('mute')
        self._mute()

    def cut_off(self):
        self._begin('cut_off')
        self._mute()

    def _mute(self):
        self.beams = None
        self.muted_at = time.monotonic()
        self.muted.set()

    def fault(self):
        return self.words

    def wait_until_on_air(self, sequence=None):
        wait_until(lambda: self.beams is not None and (
            sequence is None or self.update.sequence == sequence))


def wait_until(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def backend():
    return Recorder()


@pytest.fixture
def make(backend):
    """Make transmitters that are closed at the end."""
    made = []

    def build(node_clock=time.time_ns, shaper=SHAPER):
        made.append(Transmitter(backend, LIMITS, shaper, node_clock,
                                backend_timeout=PATIENCE * MS))
        assert backend.muted.wait(5.0)
        return made[-1]

    yield build
    for event in backend.hang.values():
        event.set()
    for transmitter in made:
        transmitter.close()


def test_starts_muted_and_unarmed(make, backend):
    transmitter = make()
    assert backend.beams is None
    assert transmitter.state().mute_reason == 'not-armed'
    assert transmitter.take(command(publish=time.time_ns())) is Verdict.NOT_ARMED
    assert backend.beams is None


def test_lease_ends_without_any_call(make, backend):
    transmitter = make()
    transmitter.arm()
    begin = time.monotonic()
    assert transmitter.take(command(publish=time.time_ns(), lease=150 * MS)) is Verdict.APPLIED
    backend.wait_until_on_air()
    assert backend.muted.wait(5.0)
    assert 0.15 - 0.02 <= backend.muted_at - begin <= 0.15 + LATENESS
    state = transmitter.state()
    assert (state.mute_reason, state.emission) == ('lease-over', None)


def test_stopped_node_clock_does_not_keep_it_on_the_air(make, backend):
    transmitter = make(lambda: 10 ** 15)
    transmitter.arm()
    begin = time.monotonic()
    transmitter.take(command(publish=10 ** 15, lease=150 * MS))
    backend.wait_until_on_air()
    assert backend.muted.wait(5.0)
    assert 0.15 <= backend.muted_at - begin <= 0.15 + LATENESS


def test_node_clock_that_jumps_ahead_mutes_at_once(make, backend):
    now = [10 ** 15]
    transmitter = make(lambda: now[0])
    transmitter.arm()
    transmitter.take(command(publish=10 ** 15, lease=1900 * MS))
    backend.wait_until_on_air()
    begin = time.monotonic()
    now[0] += 2000 * MS
    assert backend.muted.wait(5.0)
    assert backend.muted_at - begin <= LATENESS


def test_new_beams_prolong_the_lease(make, backend):
    transmitter = make()
    transmitter.arm()
    for sequence in range(1, 8):
        transmitter.take(command(sequence, publish=time.time_ns(), lease=400 * MS))
        time.sleep(0.1)
        assert backend.beams is not None
    state = transmitter.state()
    assert state.tally.applied == state.last.command.sequence == 7
    assert state.last.command.publish_stamp <= state.last.received <= state.last.handed_over
    assert state.muted_duration < 0.5


def test_disarming_mutes_now(make, backend):
    transmitter = make()
    transmitter.arm()
    transmitter.take(command(publish=time.time_ns(), lease=1900 * MS))
    backend.wait_until_on_air()
    transmitter.disarm()
    assert backend.muted.wait(5.0)
    assert transmitter.state().mute_reason == 'not-armed'


def test_closing_mutes_for_good(make, backend):
    transmitter = make()
    transmitter.arm()
    transmitter.take(command(publish=time.time_ns(), lease=1900 * MS))
    transmitter.close()
    assert backend.beams is None
    transmitter.arm()
    assert transmitter.take(
        command(2, publish=time.time_ns(), lease=1900 * MS)) is Verdict.NOT_ARMED
    assert backend.beams is None


def test_refused_beams_leave_the_others_on_the_air(make, backend):
    transmitter = make()
    transmitter.arm()
    transmitter.take(command(1, publish=time.time_ns(), lease=1900 * MS))
    backend.wait_until_on_air()
    on_air = backend.beams
    with pytest.raises(BeamError):
        transmitter.take(command(2, publish=time.time_ns(), radiated=1.5))
    with pytest.raises(BeamError):
        transmitter.take(command(1, publish=time.time_ns()))
    assert backend.beams is on_air
    assert transmitter.state().tally.rejected == {'power-exceeded': 1, 'sequence-regression': 1}


def test_state_tells_what_is_radiated(make):
    transmitter = make()
    transmitter.arm()
    transmitter.take(command(4, publish=time.time_ns(), lease=1900 * MS, radiated=0.9))
    state = transmitter.state()
    assert state.armed
    assert state.emission.power == pytest.approx(0.9)
    assert np.shares_memory(state.emission.beams, state.emission.command.weights)
    tally = state.tally
    assert (tally.applied, tally.late, tally.dropped) == (1, 0, 0)
    assert state.state is State.TRANSMITTING


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_clock_that_fails_mutes_for_good(make, backend):
    failing = threading.Event()

    def clock():
        if failing.is_set():
            raise RuntimeError('the context is gone')
        return 10 ** 15

    transmitter = make(clock)
    transmitter.arm()
    transmitter.take(command(publish=10 ** 15, lease=1900 * MS))
    backend.wait_until_on_air()
    failing.set()
    assert backend.muted.wait(5.0)
    failing.clear()
    # Nobody watches leases any more, so there are none.
    time.sleep(0.05)
    transmitter.arm()
    assert transmitter.take(command(2, publish=10 ** 15)) is Verdict.NOT_ARMED
    assert backend.beams is None
    state = transmitter.state()
    assert (state.state, state.mute_reason) == (State.FAULT, 'internal-error')
    assert state.mute_detail == 'RuntimeError: the context is gone'
    assert not transmitter.reset()[0]


def on_air(make, backend, **keywords):
    transmitter = make(**keywords)
    transmitter.arm()
    transmitter.take(command(1, publish=time.time_ns(), lease=1900 * MS))
    backend.wait_until_on_air()
    return transmitter


def send(transmitter, sequence, lease=1900):
    return transmitter.take(command(sequence, publish=time.time_ns(), lease=lease * MS))


def test_a_backend_that_hangs_in_transmit_does_not_keep_it_on_the_air(make, backend):
    transmitter = on_air(make, backend)
    backend.hang['transmit'] = threading.Event()
    begin = time.monotonic()
    send(transmitter, 2, lease=40)
    assert time.monotonic() - begin < 0.04 + LATENESS, 'who brings commands is not held up'
    # Muted while the call hangs, at the end of the lease, before the backend's time is up.
    assert backend.muted.wait(5.0)
    assert backend.muted_at - begin <= 0.04 + LATENESS
    wait_until(lambda: transmitter.state().state is State.FAULT)
    state = transmitter.state()
    assert (state.mute_reason, state.muted) == ('backend-silent', True)
    assert 'transmit of the backend did not return within 0.08 s' in state.mute_detail
    assert send(transmitter, 3) is Verdict.HELD_BACK
    assert transmitter.reset() == (
        False, 'the backend still fails, does not answer, or cannot be muted')
    # It comes back, and puts its beams on the air: they are muted again.
    backend.muted.clear()
    backend.hang.pop('transmit').set()
    assert backend.muted.wait(5.0)
    wait_until(lambda: transmitter.reset() == (True, 'cleared backend-silent'))
    send(transmitter, 4)
    backend.wait_until_on_air(4)


def test_a_backend_that_hangs_in_mute_is_cut_off(make, backend):
    transmitter = on_air(make, backend)
    backend.hang['mute'] = threading.Event()
    transmitter.disarm()
    assert not transmitter.state().muted, 'nobody has said so yet'
    assert transmitter.state().emission is not None
    assert backend.muted.wait(5.0)
    assert 'cut_off' in backend.calls
    wait_until(lambda: transmitter.state().muted)
    assert transmitter.state().faults[0].name == 'backend-silent'
    transmitter.arm()
    assert not transmitter.reset()[0], 'a mute still hangs'
    backend.hang.pop('mute').set()
    wait_until(lambda: transmitter.reset()[0])
    send(transmitter, 2)
    backend.wait_until_on_air(2)


def test_a_backend_that_hangs_in_everything_is_muted_again_and_again(make, backend):
    transmitter = on_air(make, backend)
    backend.hang = {'mute': threading.Event(), 'cut_off': threading.Event()}
    transmitter.disarm()
    wait_until(lambda: backend.calls.count('cut_off') == 3)
    time.sleep(3 * PATIENCE / 1000)
    assert backend.calls.count('cut_off') == 3, 'no thread more'
    assert not transmitter.state().muted
    backend.hang['cut_off'].set()
    wait_until(lambda: transmitter.state().muted)


@pytest.mark.parametrize('call', ['transmit', 'mute'])
def test_a_backend_that_fails_latches(make, backend, call):
    transmitter = on_air(make, backend)
    backend.error[call] = OSError('no such radio')
    if call == 'transmit':
        send(transmitter, 2)
    else:
        transmitter.disarm()
        transmitter.arm()
    assert backend.muted.wait(5.0)
    wait_until(lambda: transmitter.state().faults)
    fault, = transmitter.state().faults
    assert (fault.name, fault.detail) == ('backend-error', f'{call}: OSError: no such radio')
    assert ('cut_off' in backend.calls) == (call == 'mute')
    del backend.error[call]
    wait_until(lambda: transmitter.reset()[0])
    send(transmitter, 3)
    backend.wait_until_on_air(3)


def test_a_backend_that_tells_of_a_fault_latches_until_it_tells_no_more(make, backend):
    transmitter = on_air(make, backend)
    backend.words = 'the disk is full'
    assert backend.muted.wait(5.0)
    wait_until(lambda: transmitter.state().faults)
    assert transmitter.state().mute_detail == 'fault: BackendError: the disk is full'
    assert not transmitter.reset()[0]
    backend.words = ''
    wait_until(lambda: transmitter.reset()[0])
    send(transmitter, 2)
    backend.wait_until_on_air(2)


def test_closing_ends_with_a_backend_that_hangs(make, backend):
    transmitter = on_air(make, backend)
    backend.hang['mute'] = backend.hang['cut_off'] = threading.Event()
    begin = time.monotonic()
    assert not transmitter.close()
    assert time.monotonic() - begin < 10.0


def test_a_designer_that_mutes_is_obeyed(make, backend):
    transmitter = on_air(make, backend)
    transmitter.designer_heard(True, 1, 'no-bodies')
    assert backend.muted.wait(5.0)
    assert transmitter.state().mute_reason == 'designer-mute'


def test_people_who_move_are_looked_after_while_beams_are_on_the_air(make, backend):
    warm_up()
    places = {('user', 'u1'): ARRAY.centre + [0.0, 0.0, 30.0]}
    shaper = Shaper(CAPS, KeepOut((KeepOutVolume('person', 0.05, 0.2, role='user'),), ARRAY,
                                  WAVELENGTH, lambda: places))
    transmitter = on_air(make, backend, shaper=shaper)
    assert transmitter.state().emission.scale == 1.0
    places['user', 'u1'] = ARRAY.centre + [0.0, 0.0, 1.0]
    transmitter.keep_clear()
    state = transmitter.state()
    assert state.emission.limited_by == ('keep-out',)
    assert state.emission.scale < 0.5
    wait_until(lambda: backend.beams is state.emission.beams)
    places['user', 'u1'] = None
    transmitter.keep_clear()
    assert backend.muted.wait(5.0)
    assert transmitter.state().mute_reason == 'keep-out-unknown'
    transmitter.keep_clear()


def test_a_front_end_that_fails_mutes_and_latches(make, backend):
    broken = []

    def front_end(beams):
        if broken:
            raise ZeroDivisionError('a fault')
        return beams

    transmitter = on_air(make, backend, shaper=Shaper(CAPS, KeepOut((), ARRAY, WAVELENGTH),
                                                      front_end))
    broken.append(True)
    with pytest.raises(ZeroDivisionError):
        send(transmitter, 2)
    assert backend.muted.wait(5.0)
    assert transmitter.state().mute_reason == 'internal-error'
    broken.clear()
    assert transmitter.reset()[0]
    send(transmitter, 3)
    backend.wait_until_on_air(3)
