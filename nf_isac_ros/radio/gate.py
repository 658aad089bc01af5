"""
What the radio may emit at every instant: the state machine of docs/safety.md.

Nothing here knows a clock or a thread: times are arguments, so that every order of events can be
tested. All times are whole nanoseconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from nf_isac_ros.radio.checks import BeamError, Limits, check_times
from nf_isac_ros.radio.command import BeamCommand
from nf_isac_ros.radio.emission import KEEP_OUT, Emission
from nf_isac_ros.radio.faults import (
    CLOCK_JUMP,
    MALFORMED_STREAM,
    REGRESSING_STREAM,
    REPEATED_EXCESS,
    Fault,
    LossWindow,
    Repeats,
    Repetition,
)
from nf_isac_ros.radio.lease import Lease

# Why an armed radio without a fault is muted.
NOT_ARMED = 'not-armed'
NO_BEAMS = 'no-beams-yet'
LEASE_OVER = 'lease-over'
STALE_POSES = 'stale-poses'
LOST_MESSAGES = 'lost-messages'
DESIGNER_MUTE = 'designer-mute'
DESIGNER_LOST = 'designer-lost'

SEQUENCE_REGRESSION = 'sequence-regression'
STAMP_REGRESSION = 'stamp-regression'
REGRESSIONS = frozenset({SEQUENCE_REGRESSION, STAMP_REGRESSION})
# Refused as well, but what is wrong may be the clock or the network, and passes by itself.
UNTIMELY = frozenset({'too-old', 'future-stamp'})


class State(IntEnum):
    """What the radio does; the values are those of RadioStatus.msg."""

    DISARMED = 0
    MUTED = 1
    TRANSMITTING = 2
    FAULT = 3


class Verdict(Enum):
    """What became of a command."""

    APPLIED = 'applied'
    LATE = 'late'
    NOT_ARMED = 'not-armed'
    HELD_BACK = 'held-back'


@dataclass(frozen=True)
class Watching:
    """
    What the gate takes for a condition or a fault.

    Attributes
    ----------
    excess, malformed, regressing : Repetition
        When scaled-down beams, refused content, and a stream that goes back are faults.
    loss_window : int
        How many messages are looked back upon for lost ones.
    max_loss : float
        Largest share of them that may be lost.
    designer_timeout : int
        A designer that has not been heard for so long is said to be lost [ns].

    """

    excess: Repetition = Repetition()
    malformed: Repetition = Repetition()
    regressing: Repetition = Repetition()
    loss_window: int = 20
    max_loss: float = 0.8
    designer_timeout: int = 1_000_000_000


@dataclass
class Tally:
    """
    What the gate has decided so far.

    Attributes
    ----------
    applied, late, dropped, restarts : int
        Commands taken; commands that came after the end of their lease; sequence numbers that
        never came; streams that began anew.
    rejected : Counter
        Commands refused, by reason.
    held_back : Counter
        Good commands that were not emitted, by condition or fault.
    limited : Counter
        Commands that were turned down, by cap.
    mutes : Counter
        How often transmission ended, by reason.

    """

    applied: int = 0
    late: int = 0
    dropped: int = 0
    restarts: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    held_back: Counter[str] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    mutes: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Tally:
        """Tally as it is now."""
        return Tally(self.applied, self.late, self.dropped, self.restarts,
                     self.rejected.copy(), self.held_back.copy(), self.limited.copy(),
                     self.mutes.copy())


class BeamGate:
    """
    Decides at every instant what the radio may emit: nothing, or the beams of a running lease.

    Starts disarmed, and so muted. Not safe to be used from several threads at once.

    Sequence numbers must rise while a lease runs. Once the radio is muted, a lower number is
    taken for the start of a new stream (the designer was activated again) if it was published
    later than everything before. Two designers that send at once look like a stream that goes
    back, or that begins anew, again and again: a fault.

    Parameters
    ----------
    limits : Limits
        What a message may ask for.
    steady_now : int
        Present time of the steady clock [ns].
    watching : Watching
        What is taken for a condition or a fault.

    Attributes
    ----------
    armed : bool
        May emit.
    faults : dict of str to Fault
        What has latched, the first one first.
    tally : Tally
        What was decided so far.
    last : Emission or None
        Of the command that was applied last.

    """

    def __init__(self, limits: Limits, steady_now: int,
                 watching: Watching | None = None) -> None:
        self.limits = limits
        self.armed = False
        self.faults: dict[str, Fault] = {}
        self.tally = Tally()
        self.last: Emission | None = None
        self._watching = watching or Watching()
        self._excess = Repeats(self._watching.excess)
        self._malformed = Repeats(self._watching.malformed)
        self._regressing = Repeats(self._watching.regressing)
        self._losses = LossWindow(self._watching.loss_window, self._watching.max_loss)
        self._reason = NO_BEAMS
        self._detail = ''
        self._emission: Emission | None = None
        self._lease = Lease(0, 0)
        self._heard = steady_now
        self._muted_since = steady_now
        self._muted_before = 0
        self._latest_node_time: int | None = None
        self._forget_stream()

    def _forget_stream(self) -> None:
        self._newest: BeamCommand | None = None
        self._refused_since = 0
        self._losses.forget()

    # What operators do

    def arm(self, steady_now: int) -> None:
        """Allow to emit, from the next command on."""
        if not self.armed:
            self._stop(NO_BEAMS, '', steady_now)
            self.armed = True

    def disarm(self, steady_now: int) -> None:
        """Mute, and stay muted until armed."""
        self._stop(NOT_ARMED, '', steady_now)
        self.armed = False

    def reset(self, steady_now: int) -> tuple[str, ...]:
        """
        Clear all faults; what is armed emits again from the next command on.

        Returns
        -------
        tuple of str
            Names of the faults that had latched.

        """
        cleared = tuple(self.faults)
        if cleared:
            self.faults.clear()
            self._stop(NO_BEAMS, '', steady_now)
        for repeats in (self._excess, self._malformed, self._regressing):
            repeats.forget()
        return cleared

    # What happens

    def latch(self, name: str, detail: str, steady_now: int) -> None:
        """Mute, and stay muted until reset."""
        if name not in self.faults:
            self.faults[name] = Fault(name, detail)
            self._stop(name, detail, steady_now)

    def reject(self, reason: str, detail: str, steady_now: int) -> None:
        """Count a command that was refused; many of them are a fault."""
        self._heard = steady_now
        self.tally.rejected[reason] += 1
        self._refused_since += 1
        if reason in REGRESSIONS:
            if self._regressing.note(steady_now):
                self.latch(REGRESSING_STREAM, detail, steady_now)
        elif reason not in UNTIMELY and self._malformed.note(steady_now):
            self.latch(MALFORMED_STREAM, detail, steady_now)

    def designer_heard(self, muted: bool, sequence: int, detail: str, steady_now: int) -> None:
        """
        Take note of the status of the designer.

        Parameters
        ----------
        muted : bool
            Its latest cycle ended without beams.
        sequence : int
            Of the latest command before that.
        detail : str
            Why.
        steady_now : int
            Present time of the steady clock [ns].

        """
        self._heard = steady_now
        # It may be heard after the lease, and tells why nothing came in its place.
        concerned = self._emission is not None or self._reason == LEASE_OVER
        if muted and concerned and self.last is not None and (
                sequence >= self.last.command.sequence):
            self._stop(DESIGNER_MUTE, detail, steady_now)

    def offer(self, emission: Emission, node_now: int, steady_now: int) -> Verdict:
        """
        Offer what was made of a command whose content has passed.

        Parameters
        ----------
        emission : Emission
            Within all caps, or blocked.
        node_now, steady_now : int
            Present node time and present time of the steady clock [ns].

        Returns
        -------
        Verdict
            Only APPLIED beams are emitted.

        Raises
        ------
        BeamError
            If the beams are refused: the reasons of `check_times`, sequence-regression or
            stamp-regression. It has been counted.

        """
        emitting = self.emission(node_now, steady_now) is not None
        self._heard = steady_now
        command = emission.command
        try:
            check_times(command, self.limits, node_now)
            self._check_order(command, emitting)
        except BeamError as error:
            self.reject(error.reason, str(error), steady_now)
            raise
        self._follow(command, steady_now)
        lease = Lease.granted(command.publish_stamp, command.valid_until, steady_now)
        if lease.remaining(node_now, steady_now) <= 0:
            self.tally.late += 1
            return Verdict.LATE
        self._count_limits(emission, steady_now)
        reason, detail = self._obstacle(emission, node_now)
        if reason:
            self.tally.held_back[reason] += 1
            self._stop(reason, detail, steady_now)
            return Verdict.HELD_BACK if self.armed else Verdict.NOT_ARMED
        if self._emission is None:
            self._muted_before += steady_now - self._muted_since
        self._emission, self._lease, self.last = emission, lease, emission
        self.tally.applied += 1
        return Verdict.APPLIED

    def replace(self, present: Emission, changed: Emission, steady_now: int) -> bool:
        """
        Put a changed emission in the place of the present one: turned down further, or blocked.

        Returns
        -------
        bool
            False: there was another one by now, and nothing was done.

        """
        if self._emission is not present:
            return False
        if changed.blocked:
            self._stop(changed.blocked, _blocked_detail(changed), steady_now)
        else:
            self._emission = self.last = changed
        return True

    def end_lease(self, steady_now: int) -> None:
        """Mute as at the end of the lease: that of what the backend still emits is over."""
        self._stop(LEASE_OVER, '', steady_now)

    @property
    def lease(self) -> Lease:
        """Of the command that was applied last."""
        return self._lease

    def _check_order(self, command: BeamCommand, emitting: bool) -> None:
        newest = self._newest
        if newest is None:
            return
        if command.publish_stamp < newest.publish_stamp:
            raise BeamError(
                f'publish_stamp is {(newest.publish_stamp - command.publish_stamp) / 1e9:.3f} s '
                'before that of an earlier message (two publishers?)', STAMP_REGRESSION)
        if command.sequence <= newest.sequence and (
                emitting or command.publish_stamp == newest.publish_stamp):
            raise BeamError(f'sequence is {command.sequence}, must be above {newest.sequence} '
                            '(two publishers?)', SEQUENCE_REGRESSION)

    def _follow(self, command: BeamCommand, steady_now: int) -> None:
        if self._newest is not None and command.sequence <= self._newest.sequence:
            self.tally.restarts += 1
            if self._regressing.note(steady_now):
                self.latch(REGRESSING_STREAM,
                           f'the stream began anew at the sequence {command.sequence}, again and '
                           'again (two publishers?)', steady_now)
            self._losses.forget()
        missing = 0 if self._newest is None else max(
            0, command.sequence - self._newest.sequence - 1 - self._refused_since)
        self.tally.dropped += missing
        self._losses.note(missing)
        self._newest = command
        self._refused_since = 0

    def _count_limits(self, emission: Emission, steady_now: int) -> None:
        self.tally.limited.update(emission.limited_by)
        caps = [name for name in emission.limited_by if name != KEEP_OUT]
        # People who come close are no fault of the designer.
        if caps and self._excess.note(steady_now):
            self.latch(REPEATED_EXCESS, f'{caps[0]}: beams had to be turned down again and again, '
                       f'to {emission.scale:.3g} of their power at last', steady_now)

    def _obstacle(self, emission: Emission, node_now: int) -> tuple[str, str]:
        """Why an emission may not be on the air now, with details; empty: it may."""
        if not self.armed:
            return NOT_ARMED, ''
        for fault in self.faults.values():
            return fault.name, fault.detail
        if emission.blocked:
            return emission.blocked, _blocked_detail(emission)
        if self._poses_left(emission, node_now) <= 0:
            age = (node_now - emission.command.oldest_track_stamp) / 1e9
            return STALE_POSES, f'the oldest pose is {age:.3f} s old' if age < 1e6 else (
                'the designer does not say how old the poses are')
        if self._losses.too_much:
            return LOST_MESSAGES, (f'{self._losses.share:.0%} of the latest messages never came, '
                                   f'must be at most {self._watching.max_loss:.0%}')
        return '', ''

    # What is so now

    def emission(self, node_now: int, steady_now: int) -> Emission | None:
        """
        Beams that may be emitted at this instant; None: the radio has to be mute.

        Parameters
        ----------
        node_now, steady_now : int
            Present node time and present time of the steady clock [ns].

        """
        latest = self._latest_node_time
        if latest is not None and node_now < latest - self.limits.max_skew:
            # Stamps of before mean nothing now, neither of the lease nor of the stream.
            self._forget_stream()
            self._latest_node_time = node_now
            self.latch(CLOCK_JUMP, f'the clock went back by {(latest - node_now) / 1e9:.3f} s',
                       steady_now)
        else:
            self._latest_node_time = node_now if latest is None else max(latest, node_now)
        if self._emission is not None:
            if self._lease.remaining(node_now, steady_now) <= 0:
                self._stop(LEASE_OVER, '', steady_now)
            elif self._poses_left(self._emission, node_now) <= 0:
                self._stop(STALE_POSES, '', steady_now)
        return self._emission

    def remaining(self, node_now: int, steady_now: int) -> int:
        """Time until the present emission ends by itself [ns]; 0: muted."""
        if self._emission is None:
            return 0
        return max(0, min(self._lease.remaining(node_now, steady_now),
                          self._poses_left(self._emission, node_now)))

    def _poses_left(self, emission: Emission, node_now: int) -> int:
        return emission.command.oldest_track_stamp + self.limits.max_track_age - node_now

    @property
    def state(self) -> State:
        """State of the radio."""
        if self.faults:
            return State.FAULT
        if not self.armed:
            return State.DISARMED
        return State.MUTED if self._emission is None else State.TRANSMITTING

    def mute_reason(self, steady_now: int) -> str:
        """Why nothing is emitted; empty while beams are."""
        if self._emission is not None:
            return ''
        if self.faults:
            return next(iter(self.faults))
        if not self.armed:
            return NOT_ARMED
        silent = steady_now - self._heard > self._watching.designer_timeout
        return DESIGNER_LOST if silent and self._reason != NO_BEAMS else self._reason

    @property
    def mute_detail(self) -> str:
        """Further words on why nothing is emitted; empty: there are none."""
        if self._emission is not None:
            return ''
        for fault in self.faults.values():
            return fault.detail
        return self._detail

    def muted_duration(self, steady_now: int) -> float:
        """Time muted since the gate was made [s]."""
        now = 0 if self._emission is not None else steady_now - self._muted_since
        return (self._muted_before + now) / 1e9

    def _stop(self, reason: str, detail: str, steady_now: int) -> None:
        if self._emission is not None:
            self._emission = None
            self._muted_since = steady_now
            self.tally.mutes[reason] += 1
        self._reason, self._detail = reason, detail


def _blocked_detail(emission: Emission) -> str:
    return ', '.join(f'{report.name}: {report.density:.3g} W/m^2 of {report.limit:.3g} W/m^2'
                     for report in emission.keep_out if not report.margin >= 1.0)
