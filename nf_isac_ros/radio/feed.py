"""A backend behind threads of its own: one that hangs or fails holds nobody up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
import threading

from nf_isac_ros.radio.base import Backend, BackendError, BeamUpdate
from nf_isac_ros.radio.command import Beams
from nf_isac_ros.radio.faults import BACKEND_ERROR, BACKEND_SILENT, Fault

TRANSMIT, MUTE, LOOK = 'transmit', 'mute', 'fault'
# How often a backend that got nothing new is asked whether it still works [s].
LOOK_PERIOD = 0.05
# How many mutes may be under way at once; each one that hangs costs a thread.
MUTE_ATTEMPTS = 4
# How long after a mute that failed the next one is tried [s].
RETRY = 0.01
# How long a thread may take to end [s].
JOIN = 0.2
# Between two looks of `watch` no more than this counts as waiting [ns]: a process that was
# stopped did not wait.
LONGEST_LOOK = 20_000_000


@dataclass(frozen=True, eq=False)
class _Job:
    """Beams to hand over; each is one of its own."""

    beams: Beams
    user_ids: tuple[str, ...]
    update: BeamUpdate


class BackendFeed:
    """
    Hands beams to a backend, and mutes it.

    `emit` and `silence` return at once. One thread hands beams over, newest first, and another
    one mutes; the backend sees `mute` while its `transmit` is under way. Nothing is handed over
    before every mute that was asked for has been answered, and a backend that was muted while it
    took beams is muted again afterwards, since it may have put them on the air last.

    A backend that raises, tells of a fault, or does not answer in time is in trouble (`watch`).
    A mute that is not answered in time is repeated from further threads by `Backend.cut_off`,
    until one is answered.

    Parameters
    ----------
    backend : Backend
        Is muted at once.
    timeout : int
        How long a call may take [ns].
    on_trouble : callable
        Called from the threads, without a lock: `watch` has something to tell.

    """

    def __init__(self, backend: Backend, timeout: int,
                 on_trouble: Callable[[], None] = lambda: None) -> None:
        self._backend = backend
        self._timeout = timeout
        self._on_trouble = on_trouble
        self._changed = threading.Condition()
        self._ending = self._given_up = False
        self._job: _Job | None = None
        self._handed_over: _Job | None = None
        self._confirmed: Beams | None = None
        # Mutes that were asked for, the newest of them that was answered, and those under way.
        self._asked = self._answered = self._attempts = 0
        # How long calls that are under way, or due, have been waited for [ns].
        self._waited: dict[str, int] = {}
        self._late: set[str] = set()
        self._broken = False
        self._looked: int | None = None
        self._troubles: list[Fault] = []
        self.silence()
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for run, name in (
            (self._feed, 'feed'), (self._mute_on_demand, 'mute'))]
        for thread in self._threads:
            thread.start()

    def emit(self, beams: Beams, user_ids: tuple[str, ...], update: BeamUpdate) -> None:
        """Emit beams from now on; see `Backend.transmit`."""
        with self._changed:
            if not self._ending:
                self._job = _Job(beams, user_ids, update)
                self._changed.notify_all()

    def silence(self) -> None:
        """Emit nothing from now on."""
        with self._changed:
            self._job = None
            self._ask_to_mute()

    @property
    def silent(self) -> bool:
        """Whether the backend has answered that it is muted, and got nothing since."""
        with self._changed:
            return self._silent

    @property
    def broken(self) -> bool:
        """Whether the backend does not answer, or tells of a fault, even now."""
        with self._changed:
            return self._broken or bool(self._late)

    @property
    def calls(self) -> frozenset[str]:
        """Calls that are under way or due: `watch` has to look after them."""
        with self._changed:
            return frozenset(self._waited) | ({TRANSMIT} if self._due else frozenset())

    @property
    def confirmed(self) -> Beams | None:
        """Beams that `transmit` of the backend has returned from last; None: it is muted."""
        with self._changed:
            return self._confirmed

    def wait_silent(self, seconds: float) -> bool:
        """Wait until the backend has answered that it is muted; tell whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._silent, seconds)

    def close(self, seconds: float) -> bool:
        """Mute for good, end the threads, and tell whether the backend has answered."""
        with self._changed:
            if not self._given_up:
                self._job = None
                self._ask_to_mute()
            self._ending = True
            silent = self._changed.wait_for(lambda: self._silent, seconds)
            self._given_up = True
            self._changed.notify_all()
        for thread in self._threads:
            # One that hangs in the backend ends with the process.
            thread.join(min(seconds, JOIN))
        return silent

    def watch(self, steady_now: int) -> list[Fault]:
        """
        Look after calls that are under way, and repeat mutes that are not answered.

        Parameters
        ----------
        steady_now : int
            Present time of the steady clock [ns].

        Returns
        -------
        list of Fault
            Troubles since the last call.

        """
        with self._changed:
            step = 0 if self._looked is None else min(steady_now - self._looked, LONGEST_LOOK)
            self._looked = steady_now
            for call, waited in self._waited.items():
                self._waited[call] = waited + step
                if waited <= self._timeout < waited + step:
                    self._call_is_late(call)
            troubles, self._troubles = self._troubles, []
            return troubles

    # All that follows down to the threads: the lock is held.

    @property
    def _silent(self) -> bool:
        return self._answered == self._asked and self._handed_over is None

    def _ask_to_mute(self) -> None:
        self._asked += 1
        self._waited.setdefault(MUTE, 0)
        self._changed.notify_all()

    def _call_is_late(self, call: str) -> None:
        if call not in self._late:
            self._late.add(call)
            self._troubles.append(Fault(
                BACKEND_SILENT,
                f'{call} of the backend did not return within {self._timeout / 1e9:g} s'))
        if call == MUTE:
            self._waited[MUTE] = 0
            if self._attempts < MUTE_ATTEMPTS:
                threading.Thread(target=self._attempt, args=(self._backend.cut_off,),
                                 name='cut-off', daemon=True).start()

    # Threads

    def _feed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._due, LOOK_PERIOD)
                if self._ending:
                    return
                job, asked = self._job if self._due else None, self._asked
                call = LOOK if job is None else TRANSMIT
                self._handed_over = job or self._handed_over
                self._waited[call] = 0
            trouble = self._failed(call, self._look if job is None else partial(
                self._backend.transmit, job.beams, job.user_ids, job.update))
            with self._changed:
                del self._waited[call]
                self._late.discard(call)
                if job is None:
                    self._broken = trouble
                if trouble:
                    self._job = None
                elif job is not None:
                    self._confirmed = job.beams
                if trouble or (job is not None and self._asked != asked):
                    # Whether the mute or these beams came last, nobody knows.
                    self._handed_over = job
                    self._ask_to_mute()

    def _look(self) -> None:
        words = self._backend.fault()
        if words:
            raise BackendError(words)

    @property
    def _due(self) -> bool:
        return self._job is not None and self._job is not self._handed_over and (
            self._answered == self._asked)

    def _mute_on_demand(self) -> None:
        failed = False
        while True:
            with self._changed:
                if failed:
                    self._changed.wait_for(lambda: self._given_up, RETRY)
                self._changed.wait_for(lambda: self._answered < self._asked or self._given_up)
                if self._answered == self._asked or (self._given_up and failed):
                    return
            # What did not work is not tried again the same way.
            failed = self._attempt(self._backend.cut_off if failed else self._backend.mute)

    def _attempt(self, mute: Callable[[], None]) -> bool:
        """Mute; tell whether that failed."""
        with self._changed:
            asked = self._asked
            self._attempts += 1
        failed = self._failed(MUTE, mute)
        with self._changed:
            self._attempts -= 1
            if not failed and asked > self._answered:
                self._answered = asked
                self._handed_over = self._confirmed = None
            if self._answered == self._asked:
                self._waited.pop(MUTE, None)
            if not self._attempts:
                self._late.discard(MUTE)
            self._changed.notify_all()
        return failed

    def _failed(self, name: str, call: Callable[[], None]) -> bool:
        """Call the backend; tell whether that failed, which `watch` reports."""
        try:
            call()
        except Exception as error:  # noqa: BLE001  whatever a backend raises
            with self._changed:
                self._troubles.append(
                    Fault(BACKEND_ERROR, f'{name}: {type(error).__name__}: {error}'))
            self._on_trouble()
            return True
        return False
