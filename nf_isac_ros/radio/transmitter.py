"""A backend under its lease: what is on the air is what the gate allows, at every instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time

from nf_isac_ros.radio.base import Backend
from nf_isac_ros.radio.checks import (
    BeamError,
    BeamGate,
    CheckedBeams,
    Limits,
    Verdict,
    check_content,
)
from nf_isac_ros.radio.command import BeamCommand

# While beams are on the air the clocks are read at least this often [s]: node time may jump.
POLL = 0.002


@dataclass(frozen=True)
class TransmitterState:
    """
    What a transmitter does at one instant.

    Attributes
    ----------
    armed : bool
        May transmit.
    mute_reason : str
        Empty while transmitting.
    emission : CheckedBeams or None
        What is on the air.
    last_sequence, applied, late, dropped : int
        As in `BeamGate`.
    rejected : dict
        Commands refused, by reason.
    muted_duration : float
        Since the start [s].

    """

    armed: bool
    mute_reason: str
    emission: CheckedBeams | None
    last_sequence: int
    applied: int
    late: int
    dropped: int
    rejected: dict[str, int]
    muted_duration: float


class Transmitter:
    """
    Drives a backend, and mutes it from a thread of its own when the lease ends.

    The thread needs nobody: it does its work while whoever calls the other methods hangs.

    Parameters
    ----------
    backend : Backend
        Is muted at once.
    limits : Limits
        What the radio allows.
    node_clock, steady_clock : callable
        Present node time, and present time of the steady clock [ns].

    """

    def __init__(self, backend: Backend, limits: Limits, node_clock: Callable[[], int],
                 steady_clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._backend = backend
        self._limits = limits
        self._node_clock = node_clock
        self._steady_clock = steady_clock
        self._gate = BeamGate(limits, steady_clock())
        self._changed = threading.Condition()
        self._on_air = False
        self._ending = False
        backend.mute()
        self._thread = threading.Thread(target=self._watch, name='lease', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Mute for good."""
        with self._changed:
            self._ending = True
            self._gate.disarm(self._steady_clock())
            self._enforce()
            self._changed.notify_all()
        self._thread.join(timeout=2.0)

    def arm(self) -> None:
        """Transmit from the next command on."""
        with self._changed:
            if not self._ending:
                self._gate.arm(self._steady_clock())

    def disarm(self) -> None:
        """Mute until armed."""
        with self._changed:
            self._gate.disarm(self._steady_clock())
            self._enforce()

    def take(self, command: BeamCommand) -> Verdict:
        """
        Check a command, and transmit its beams if they pass.

        Raises
        ------
        BeamError
            If it is refused; it has been counted.

        """
        try:
            # The long part, before the lock is taken: it must not keep the other thread.
            checked = check_content(command, self._limits)
        except BeamError as error:
            with self._changed:
                self._gate.reject(error.reason)
            raise
        with self._changed:
            verdict = self._gate.offer(checked, self._node_clock(), self._steady_clock())
            if verdict is Verdict.APPLIED:
                self._backend.transmit(checked.beams, command.user_ids)
                self._on_air = True
                self._changed.notify_all()
        return verdict

    def state(self) -> TransmitterState:
        """State at this instant."""
        with self._changed:
            emission = self._enforce()
            gate = self._gate
            return TransmitterState(
                gate.armed, gate.mute_reason, emission, gate.last_sequence, gate.applied,
                gate.late, gate.dropped, dict(gate.rejected),
                gate.muted_duration(self._steady_clock()))

    def _enforce(self) -> CheckedBeams | None:
        """Mute the backend if nothing may be on the air; the lock is held."""
        emission = self._gate.emission(self._node_clock(), self._steady_clock())
        if emission is None and self._on_air:
            self._backend.mute()
            self._on_air = False
        return emission

    def _watch(self) -> None:
        try:
            with self._changed:
                while not self._ending:
                    self._enforce()
                    left = 1e-9 * self._gate.remaining(self._node_clock(), self._steady_clock())
                    self._changed.wait(min(left, POLL) if self._on_air else None)
        finally:
            # However this thread ends, nothing is on the air behind it, now or later.
            self._backend.mute()
            with self._changed:
                self._ending = True
                self._gate.disarm(self._steady_clock())
