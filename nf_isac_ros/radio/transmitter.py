"""A backend under its lease: what is on the air is what the gate allows, at every instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time

from nf_isac_ros.radio.base import Backend, BeamUpdate
from nf_isac_ros.radio.checks import BeamError, Limits, check_content
from nf_isac_ros.radio.command import BeamCommand
from nf_isac_ros.radio.emission import Emission, Shaper
from nf_isac_ros.radio.faults import INTERNAL_ERROR, Fault
from nf_isac_ros.radio.feed import BackendFeed
from nf_isac_ros.radio.gate import BeamGate, State, Tally, Verdict, Watching

# While beams are on the air the clocks are read at least this often [s]: node time may jump.
POLL = 0.002
# How long the backend may take to be muted for good [s].
CLOSING = 2.0


@dataclass(frozen=True)
class Applied:
    """
    Stages of the message that was applied last, in node time [ns].

    Attributes
    ----------
    command : BeamCommand
        With its own stamps.
    received, handed_over : int
        When `take` was called, and when it had given the beams to the backend's thread.

    """

    command: BeamCommand
    received: int
    handed_over: int


@dataclass(frozen=True)
class TransmitterState:
    """
    What a transmitter does at one instant.

    Attributes
    ----------
    armed : bool
        May transmit.
    state : State
        Of the interlock.
    muted : bool
        Nothing is on the air, and the backend has answered so.
    mute_reason, mute_detail : str
        Empty while transmitting; the detail is for people.
    faults : tuple of Fault
        What has latched.
    emission : Emission or None
        What is on the air, or may be: the last one is named until the backend has answered that
        it is muted.
    last : Applied or None
        Of the message that was applied last.
    tally : Tally
        What was decided so far.
    muted_duration : float
        Since the start [s].

    """

    armed: bool
    state: State
    muted: bool
    mute_reason: str
    mute_detail: str
    faults: tuple[Fault, ...]
    emission: Emission | None
    last: Applied | None
    tally: Tally
    muted_duration: float


class Transmitter:
    """
    Drives a backend, and mutes it from a thread of its own when the lease ends.

    That thread needs nobody: it does its work while whoever calls the other methods, or the
    backend itself, hangs. It never calls the backend; the threads of the feed do.

    Parameters
    ----------
    backend : Backend
        Is muted at once.
    limits : Limits
        What a message may ask for.
    shaper : Shaper
        Front end, caps and keep-out.
    node_clock, steady_clock : callable
        Present node time, and present time of the steady clock [ns].
    watching : Watching
        What is taken for a condition or a fault.
    backend_timeout : int
        How long a call of the backend may take [ns].

    """

    def __init__(self, backend: Backend, limits: Limits, shaper: Shaper,
                 node_clock: Callable[[], int],
                 steady_clock: Callable[[], int] = time.monotonic_ns,
                 watching: Watching | None = None, backend_timeout: int = 250_000_000) -> None:
        self._limits = limits
        self._shaper = shaper
        self._node_clock = node_clock
        self._steady_clock = steady_clock
        self._gate = BeamGate(limits, steady_clock(), watching)
        self._last: Applied | None = None
        self._changed = threading.Condition()
        self._on_air: Emission | None = None
        # Of the beams that the backend is known to emit.
        self._lease = self._gate.lease
        self._ending = False
        self._feed = BackendFeed(backend, backend_timeout, self._wake)
        self._thread = threading.Thread(target=self._watch, name='lease', daemon=True)
        self._thread.start()

    def close(self) -> bool:
        """Mute for good; tell whether the backend has answered."""
        with self._changed:
            self._ending = True
            self._gate.disarm(self._steady_clock())
            self._enforce()
            self._changed.notify_all()
        silent = self._feed.close(CLOSING)
        self._thread.join(CLOSING)
        return silent

    def arm(self) -> None:
        """Transmit from the next command on, unless a fault has latched."""
        with self._changed:
            if not self._ending:
                self._gate.arm(self._steady_clock())

    def disarm(self) -> None:
        """Mute until armed."""
        with self._changed:
            self._gate.disarm(self._steady_clock())
            self._enforce()

    def wait_silent(self, seconds: float) -> bool:
        """Wait until the backend has answered that it is muted; tell whether it has."""
        return self._feed.wait_silent(seconds)

    def reset(self) -> tuple[bool, str]:
        """
        Clear the faults that have latched, if their causes have ended.

        Returns
        -------
        success : bool
        message : str
            What was cleared, or why it was not.

        """
        with self._changed:
            if self._ending:
                return False, 'the radio has been shut down'
            self._enforce()
            if self._feed.broken or not (self._on_air or self._feed.silent):
                return False, 'the backend still fails, does not answer, or cannot be muted'
            cleared = self._gate.reset(self._steady_clock())
        return True, f'cleared {", ".join(cleared)}' if cleared else 'no fault had latched'

    def take(self, command: BeamCommand) -> Verdict:
        """
        Check a command, and transmit its beams if they pass.

        Raises
        ------
        BeamError
            If it is refused; it has been counted.

        """
        received = self._node_clock()
        try:
            # The long part, before the lock is taken: it must not keep the other thread.
            emission = self._shaper.shape(check_content(command, self._limits))
        except BeamError as error:
            self.refuse(error)
            raise
        except Exception as error:
            # Nothing is known of beams that could not be measured.
            self.latch(INTERNAL_ERROR, f'{type(error).__name__}: {error}')
            raise
        with self._changed:
            if self._ending:
                return Verdict.NOT_ARMED
            try:
                verdict = self._gate.offer(emission, self._node_clock(), self._steady_clock())
            finally:
                self._enforce()
            if verdict is Verdict.APPLIED:
                self._last = Applied(command, received, self._node_clock())
        return verdict

    def refuse(self, error: BeamError) -> None:
        """Count a message that was refused before it became a command."""
        with self._changed:
            self._gate.reject(error.reason, str(error), self._steady_clock())
            self._enforce()

    def designer_heard(self, muted: bool, sequence: int, detail: str) -> None:
        """Take note of the status of the designer; see `BeamGate.designer_heard`."""
        with self._changed:
            self._gate.designer_heard(muted, sequence, detail, self._steady_clock())
            self._enforce()

    def keep_clear(self) -> None:
        """Look after people who move while beams are on the air."""
        with self._changed:
            present = self._enforce()
        if present is None:
            return
        changed = self._shaper.keep_clear(present)
        with self._changed:
            if not self._gate.replace(present, changed, self._steady_clock()):
                return
            if changed.beams is not present.beams or changed.beams is not self._feed.confirmed:
                # What the backend emits until it has taken the new beams was not looked at.
                self._feed.silence()
                self._on_air = None
            self._enforce()

    def latch(self, name: str, detail: str) -> None:
        """Mute until reset."""
        with self._changed:
            self._gate.latch(name, detail, self._steady_clock())
            self._enforce()

    def state(self) -> TransmitterState:
        """State at this instant."""
        with self._changed:
            emission, gate, steady = self._enforce(), self._gate, self._steady_clock()
            muted = emission is None and self._feed.silent
            return TransmitterState(
                gate.armed, gate.state, muted, gate.mute_reason(steady), gate.mute_detail,
                tuple(gate.faults.values()), gate.last if emission is None and not muted
                else emission, self._last, gate.tally.copy(), gate.muted_duration(steady))

    @property
    def calls(self) -> frozenset[str]:
        """Names of the calls of the backend that are under way, or due."""
        return self._feed.calls

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _enforce(self) -> Emission | None:
        """Give the backend what the gate allows at this instant; the lock is held."""
        steady = self._steady_clock()
        emission = self._gate.emission(self._node_clock(), steady)
        for trouble in self._feed.watch(steady):
            self._gate.latch(trouble.name, trouble.detail, steady)
            emission = None
        if emission is not None and self._outlived(emission, steady):
            self._gate.end_lease(steady)
            emission = None
        if emission is not self._on_air:
            if emission is None:
                self._feed.silence()
            else:
                self._feed.emit(emission.beams, emission.command.user_ids,
                                _update(emission.command))
            self._on_air = emission
            self._changed.notify_all()
        return emission

    def _outlived(self, emission: Emission, steady: int) -> bool:
        """
        Tell whether the backend emits earlier beams past their lease; the lock is held.

        It does so while it takes the new ones, for however long that may be.
        """
        confirmed = self._feed.confirmed
        if confirmed is None or confirmed is emission.beams:
            self._lease = self._gate.lease
            return False
        return self._lease.remaining(self._node_clock(), steady) <= 0

    def _watch(self) -> None:
        try:
            with self._changed:
                while not self._ending:
                    self._enforce()
                    left = 1e-9 * self._gate.remaining(self._node_clock(), self._steady_clock())
                    on_air = self._on_air is not None
                    self._changed.wait(
                        min(left, POLL) if on_air else POLL if self._feed.calls else None)
        except BaseException as error:
            # However this thread ends, nothing is on the air behind it, now or later.
            self._feed.close(0.0)
            with self._changed:
                self._ending = True
                self._gate.latch(INTERNAL_ERROR, f'{type(error).__name__}: {error}',
                                 self._steady_clock())
                self._on_air = None
            raise


def _update(command: BeamCommand) -> BeamUpdate:
    return BeamUpdate(command.sequence, command.design, command.publish_stamp,
                      command.valid_until, command.calibration_epoch)
