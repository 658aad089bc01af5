"""
No sequence of events makes the driver emit outside its caps, past a lease, or unasked.

The whole driver below the node, with its threads: transmitter, gate, caps, keep-out, feed. The
clocks are made up and jump as hypothesis likes; the backend notes what is on the air, and may
raise, hang, and put beams on the air at the last moment. What may be on the air is computed here
from the commands alone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import threading
import time

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
import numpy as np
from radio_commands import ARRAY, LIMITS, MS, WAVELENGTH, command

from nf_isac_ros.radio.base import Backend
from nf_isac_ros.radio.caps import Caps
from nf_isac_ros.radio.checks import BeamError
from nf_isac_ros.radio.command import BeamCommand
from nf_isac_ros.radio.emission import Shaper
from nf_isac_ros.radio.faults import Repetition
from nf_isac_ros.radio.gate import State, Watching
from nf_isac_ros.radio.keep_out import KeepOut, KeepOutVolume
from nf_isac_ros.radio.transmitter import Transmitter

POWER, ELEMENT_POWER, EIRP, DENSITY = 0.95, 0.12, 4.0, 0.08
RADIUS = 0.2
TIMEOUT = 5 * MS
FEW = Repetition(4, 2000 * MS)
PLACES = {'near': ARRAY.centre + [0.0, 0.0, 0.8], 'far': ARRAY.centre + [0.1, 0.0, 40.0],
          'touching': ARRAY.centre + [0.0, 0.0, 0.1], 'unknown': None}
HELD = 10.0   # how long the test waits for a thread on a loaded machine [s]


class MoodyBackend(Backend):
    """Notes what is on the air; a transmit that was held up puts its beams there at its end."""

    def __init__(self):
        self.on_air = self.origin = None
        self.raises = set()
        self.free = threading.Event()
        self.free.set()

    def transmit(self, beams, user_ids, update):
        self.free.wait(HELD)
        self.on_air, self.origin = beams, update
        if 'transmit' in self.raises:   # half of its work done
            raise OSError('the radio is not there')

    def mute(self):
        if 'mute' in self.raises:
            raise OSError('the radio does not listen')
        self.on_air = None

    def cut_off(self):
        self.on_air = None


@dataclass
class Sent:
    """A command that was offered."""

    command: BeamCommand
    steady: int      # when it came
    era: int         # of node time: jumps back begin a new one
    permit: int      # of the operator: arming, disarming, faults and resets begin a new one


class Driver(RuleBasedStateMachine):

    def __init__(self):
        super().__init__()
        self.node, self.steady = 10 ** 12, 5 * 10 ** 9
        self.latest, self.era, self.permit = self.node, 0, 0
        self.armed = False
        self.faulty = False
        self.place = 'far'
        self.sequence = 0
        self.sent: list[Sent] = []
        self.backend = MoodyBackend()
        volume = KeepOutVolume('person', DENSITY, RADIUS, role='user')
        shaper = Shaper(
            Caps(POWER, ELEMENT_POWER, EIRP),
            KeepOut((volume,), ARRAY, WAVELENGTH,
                    lambda: {('user', 'someone'): PLACES[self.place]}),
            lambda beams: beams * np.complex64(1.02))
        self.transmitter = Transmitter(
            self.backend, LIMITS, shaper, lambda: self.node, lambda: self.steady,
            Watching(FEW, FEW, FEW, loss_window=5), TIMEOUT)

    # Operators

    @rule()
    def arm(self):
        self.permit += not self.armed
        self.armed = True
        self.transmitter.arm()

    @rule()
    def disarm(self):
        self.permit += 1
        self.armed = False
        self.transmitter.disarm()

    @rule()
    def reset(self):
        success, words = self.transmitter.reset()
        assert words
        if success and self.faulty:
            self.faulty = False
            self.permit += 1

    # Designers

    @rule(step=st.sampled_from([1, 1, 1, 1, 2, 4, 0, -3]),
          age=st.sampled_from([0, 0, 0, 1, 30, 300, 1100, -20, -80]),
          lease=st.sampled_from([50, 50, 200, 1000, 1999, 0, -10, 2500]),
          poses=st.sampled_from([0, 0, 100, 1900, 3900, 5000]),
          power=st.sampled_from([0.3, 0.6, 0.8, 1.0, 1.0009, 1.1, 50.0, np.nan, np.inf]),
          uneven=st.sampled_from([1.0, 1.0, 1.5]))
    def command_comes(self, step, age, lease, poses, power, uneven):
        self.sequence = max(0, self.sequence + step)
        publish = self.node - age * MS
        asked = command(self.sequence, publish, lease * MS, power,
                        oldest_track_stamp=publish - poses * MS)
        asked.weights[::12] *= uneven   # the first element of each beam
        with np.errstate(all='ignore'):
            asked = command(
                self.sequence, publish, lease * MS, weights=asked.weights,
                power=float((asked.weights.astype(float) ** 2).sum()),
                oldest_track_stamp=publish - poses * MS)
        self.sent.append(Sent(asked, self.steady, self.era, self.permit))
        with suppress(BeamError):
            self.transmitter.take(asked)

    @rule(count=st.integers(1, 5), lease=st.sampled_from([30, 200, 1000]),
          power=st.sampled_from([0.5, 0.8]))
    def a_stream_that_is_as_it_should_be(self, count, lease, power):
        for _ in range(count):
            self.time_passes(10, 10)
            self._settled()
            self.command_comes(1, 0, lease, 20, power, 1.0)

    @rule(lease=st.sampled_from([30, 200, 1000]), poses=st.sampled_from([20, 3500]))
    def all_is_well_again(self, lease, poses):
        self.backend_works()
        self.place = 'far'
        self._settled()
        self.reset()
        self.arm()
        for _ in range(6):   # as many as a window for lost messages
            self.time_passes(10, 10)
            self._settled()
            self.command_comes(1, 0, lease, poses, 0.5, 1.0)
            self._settled()

    @rule(muted=st.booleans(), ahead=st.integers(-1, 1))
    def designer_tells(self, muted, ahead):
        self.transmitter.designer_heard(muted, max(0, self.sequence + ahead), 'no-bodies')

    # Time and people

    @rule(node=st.sampled_from([0, 1, 20, 20, 60, 500, -20, -49, -51, -400]),
          steady=st.sampled_from([0, 1, 20, 20, 60, 500]))
    def time_passes(self, node, steady):
        self.node, self.steady = self.node + node * MS, self.steady + steady * MS
        if self.node < self.latest - LIMITS.max_skew:
            self.era += 1
            self.latest = self.node
        self.latest = max(self.latest, self.node)

    @rule(place=st.sampled_from([*PLACES, 'far', 'far']))
    def somebody_walks(self, place):
        self.place = place
        self.transmitter.keep_clear()

    # The backend

    @rule(raises=st.sets(st.sampled_from(['transmit', 'mute']), max_size=2))
    def backend_fails(self, raises):
        self.backend.raises = raises

    @precondition(lambda self: self.backend.free.is_set())
    @rule()
    def backend_hangs(self):
        self.backend.free.clear()

    @rule()
    def backend_works(self):
        self.backend.raises = set()
        self.backend.free.set()

    # What must be so

    @invariant()
    def what_is_on_the_air_may_be_there(self):
        state = self._settled()
        if state.faults and not self.faulty:
            self.faulty = True
            self.permit += 1
        beams = self.backend.on_air
        if beams is None:
            return
        self._within_caps(beams.astype(complex))
        sent = self._origin()
        assert self.armed and not state.faults
        assert sent.permit == self.permit, 'from before it was armed, or before a reset'
        assert sent.era == self.era, 'from before the clock jumped'
        asked = sent.command
        assert asked.publish_stamp < asked.valid_until
        assert self.node < asked.valid_until
        length = asked.valid_until - asked.publish_stamp
        assert self.steady - sent.steady < length <= LIMITS.max_lease
        assert self.node - asked.oldest_track_stamp < LIMITS.max_track_age

    def _settled(self):
        """State once the threads have done what is due; the made-up clocks stand still."""
        deadline = time.monotonic() + HELD
        while True:
            state = self.transmitter.state()
            free = self.backend.free.is_set()
            # A transmit that hangs is all that may be left to do; a mute never hangs here.
            done = not self.transmitter.calls - (set() if free else {'transmit'})
            if state.state == State.TRANSMITTING:
                if done and (not free or self.backend.on_air is state.emission.beams):
                    return state
            elif done and state.muted:
                return state
            assert time.monotonic() < deadline, (state, self.transmitter.calls)
            time.sleep(0.0002)

    def _within_caps(self, beams):
        powers = (np.abs(beams) ** 2).sum(axis=1)
        assert powers.sum() <= POWER * (1 + 1e-6)
        assert powers.max() <= ELEMENT_POWER * (1 + 1e-6)
        # The beams are in phase: straight ahead is where they are strongest.
        assert (np.abs(beams.sum(axis=0)) ** 2).sum() <= EIRP * (1 + 1e-6)
        centre = PLACES[self.place]
        assert centre is not None
        for point in centre + RADIUS * np.vstack([np.eye(3), -np.eye(3), np.zeros(3)]):
            distance = np.linalg.norm(ARRAY.positions - point, axis=1)
            assert distance.min() > WAVELENGTH
            field = (np.exp(-2j * np.pi * distance / WAVELENGTH) / distance) @ beams
            assert (np.abs(field) ** 2).sum() / (4 * np.pi) <= DENSITY * (1 + 1e-6)

    def _origin(self):
        """Newest command that the beams on the air can come from."""
        origin = self.backend.origin
        return next(sent for sent in reversed(self.sent) if (
            sent.command.sequence, sent.command.publish_stamp, sent.command.valid_until) == (
            origin.sequence, origin.publish_stamp, origin.valid_until))

    def teardown(self):
        self.backend.raises = set()
        self.backend.free.set()
        assert self.transmitter.close()
        assert self.backend.on_air is None


Driver.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None)
TestDriver = Driver.TestCase
