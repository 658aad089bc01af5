"""
Which beams the radio takes, and for how long it emits them.

Nothing here knows a clock or a thread: times are arguments, so that every order of events can be
tested. All times are whole nanoseconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.radio.command import (
    BeamCommand,
    Beams,
    eirp_bound,
    element_powers,
)
from nf_isac_ros.radio.lease import Lease

# What float32 weights may differ from the power that their message states, relative.
STATED_POWER_TOLERANCE = 1e-3
WAVELENGTH_TOLERANCE = 1e-6

NOT_ARMED = 'not-armed'
NO_BEAMS = 'no-beams-yet'
LEASE_OVER = 'lease-over'
CLOCK_JUMP = 'clock-jump'


class BeamError(NfIsacError, ValueError):
    """
    Beams that the radio refuses.

    Parameters
    ----------
    message : str
        Names the field, the value and what is allowed.
    reason : str
        How diagnostics count it.

    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """
    What the radio allows.

    Attributes
    ----------
    n_elements : int
        Of the transmit array.
    layout_hash : str
        Of the transmit array.
    wavelength : float
        [m].
    power : float
        Cap on the total power [W].
    power_margin : float
        By how much the cap may be exceeded, relative: room for rounding.
    max_lease : int
        A longer lease is refused [ns].
    max_age : int
        Beams that were published longer ago are refused [ns].
    max_skew : int
        Stamps may be this far in the future; node time may go back this far unnoticed [ns].

    """

    n_elements: int
    layout_hash: str
    wavelength: float
    power: float
    power_margin: float = 1e-3
    max_lease: int = 2_000_000_000
    max_age: int = 1_000_000_000
    max_skew: int = 50_000_000

    @property
    def power_cap(self) -> float:
        """Largest total power that is emitted [W]."""
        return self.power * (1.0 + self.power_margin)


@dataclass(frozen=True)
class CheckedBeams:
    """
    Beams whose content has passed, with what they radiate.

    Attributes
    ----------
    command : BeamCommand
        What was asked for.
    beams : ndarray, shape (N, U + r)
        [sqrt(W)].
    power, max_element_power, eirp : float
        Total, of the strongest element, and upper bound over all directions [W].

    """

    command: BeamCommand
    beams: Beams
    power: float
    max_element_power: float
    eirp: float


def check_content(command: BeamCommand, limits: Limits) -> CheckedBeams:
    """
    Check everything about a command that does not depend on the time.

    Raises
    ------
    BeamError
        With the reason bad-shape, not-finite, power-exceeded, power-mismatch, wrong-wavelength
        or layout-mismatch.

    """
    columns = command.n_users + command.n_sensing
    if command.n_elements != limits.n_elements:
        raise BeamError(f'n_elements is {command.n_elements}, must be {limits.n_elements}',
                        'bad-shape')
    if columns < 1 or command.n_users < 0 or command.n_sensing < 0:
        raise BeamError(f'{command.n_users} user beams and {command.n_sensing} sensing beams, '
                        'must be at least one together', 'bad-shape')
    if command.weights.shape != (2 * command.n_elements * columns,):
        raise BeamError(f'weights have {command.weights.size} values, must be '
                        f'2 x {command.n_elements} x {columns}', 'bad-shape')
    if len(command.user_ids) != command.n_users or len(set(command.user_ids)) != command.n_users:
        raise BeamError(f'user_ids are {list(command.user_ids)}, must be {command.n_users} '
                        'different ones', 'bad-shape')
    if not np.isfinite(command.weights).all():
        raise BeamError('a weight is not finite', 'not-finite')
    beams = command.matrix()
    powers = element_powers(beams)
    power = float(powers.sum())
    if not power <= limits.power_cap:
        raise BeamError(f'power is {power:.6g} W, must be at most {limits.power:.6g} W',
                        'power-exceeded')
    if not abs(command.power - power) <= STATED_POWER_TOLERANCE * limits.power:
        raise BeamError(f'stated power is {command.power:.6g} W, the weights have {power:.6g} W',
                        'power-mismatch')
    if not abs(command.wavelength - limits.wavelength) <= (
            WAVELENGTH_TOLERANCE * limits.wavelength):
        raise BeamError(f'wavelength is {command.wavelength} m, must be {limits.wavelength} m',
                        'wrong-wavelength')
    if command.layout_hash != limits.layout_hash:
        raise BeamError(f'layout_hash is {command.layout_hash!r}, must be '
                        f'{limits.layout_hash!r}', 'layout-mismatch')
    return CheckedBeams(command, beams, power, float(powers.max()), eirp_bound(beams))


def check_times(command: BeamCommand, limits: Limits, node_now: int) -> None:
    """
    Check the lease that a command asks for, except whether it is over already.

    Raises
    ------
    BeamError
        With the reason bad-lease, lease-too-long, too-old or future-stamp.

    """
    length = command.valid_until - command.publish_stamp
    if length <= 0:
        raise BeamError(f'the lease ends {-length} ns before it was published', 'bad-lease')
    if length > limits.max_lease:
        raise BeamError(f'the lease lasts {length / 1e9:.3f} s, must be at most '
                        f'{limits.max_lease / 1e9:.3f} s', 'lease-too-long')
    age = node_now - command.publish_stamp
    if age > limits.max_age:
        raise BeamError(f'published {age / 1e9:.3f} s ago, must be at most '
                        f'{limits.max_age / 1e9:.3f} s', 'too-old')
    if -age > limits.max_skew:
        raise BeamError(f'published {-age / 1e9:.3f} s in the future, must be at most '
                        f'{limits.max_skew / 1e9:.3f} s', 'future-stamp')


class Verdict(Enum):
    """What became of a command."""

    APPLIED = 'applied'
    LATE = 'late'
    NOT_ARMED = 'not-armed'


class BeamGate:
    """
    Decides at every instant what the radio may emit: nothing, or the beams of a running lease.

    Starts disarmed, and so muted. Not safe to be used from several threads at once.

    Sequence numbers must rise while a lease runs. Once the radio is muted, a lower number is
    taken for the start of a new stream (the designer was activated again) if it was published
    later than everything before.

    Parameters
    ----------
    limits : Limits
        What the radio allows.
    steady_now : int
        Present time of the steady clock [ns].

    Attributes
    ----------
    armed : bool
        May emit.
    applied, late, dropped : int
        Commands taken; commands that came after the end of their lease; sequence numbers that
        never came.
    rejected : Counter
        Commands refused, by reason.
    last_sequence : int
        Of the command that was applied last; 0: none.

    """

    def __init__(self, limits: Limits, steady_now: int) -> None:
        self.limits = limits
        self.armed = False
        self.applied = self.late = self.dropped = 0
        self.rejected: Counter[str] = Counter()
        self.last_sequence = 0
        self._mute_reason = NOT_ARMED
        self._beams: CheckedBeams | None = None
        self._lease = Lease(0, 0)
        self._muted_since = steady_now
        self._muted_before = 0
        self._forget_stream()
        self._latest_node_time: int | None = None

    def _forget_stream(self) -> None:
        self._newest: BeamCommand | None = None
        self._refused_since = 0

    def arm(self, steady_now: int) -> None:
        """Allow to emit, from the next command on."""
        if not self.armed:
            self.armed = True
            self._stop(NO_BEAMS, steady_now)

    def disarm(self, steady_now: int) -> None:
        """Mute, and stay muted until armed."""
        self.armed = False
        self._stop(NOT_ARMED, steady_now)

    def reject(self, reason: str) -> None:
        """Count a command whose content was refused."""
        self.rejected[reason] += 1
        self._refused_since += 1

    def offer(self, beams: CheckedBeams, node_now: int, steady_now: int) -> Verdict:
        """
        Offer beams whose content has passed.

        Parameters
        ----------
        beams : CheckedBeams
            From `check_content`.
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
        command = beams.command
        try:
            check_times(command, self.limits, node_now)
            self._check_order(command, emitting)
        except BeamError as error:
            self.reject(error.reason)
            raise
        self._follow(command)
        lease = Lease.granted(command.publish_stamp, command.valid_until, steady_now)
        if lease.remaining(node_now, steady_now) <= 0:
            self.late += 1
            return Verdict.LATE
        if not self.armed:
            return Verdict.NOT_ARMED
        if not emitting:
            self._muted_before += steady_now - self._muted_since
        self._beams, self._lease = beams, lease
        self.applied += 1
        self.last_sequence = command.sequence
        return Verdict.APPLIED

    def _check_order(self, command: BeamCommand, emitting: bool) -> None:
        newest = self._newest
        if newest is None:
            return
        if command.publish_stamp < newest.publish_stamp:
            raise BeamError(
                f'publish_stamp is {(newest.publish_stamp - command.publish_stamp) / 1e9:.3f} s '
                'before that of an earlier message', 'stamp-regression')
        if command.sequence <= newest.sequence and (
                emitting or command.publish_stamp == newest.publish_stamp):
            raise BeamError(f'sequence is {command.sequence}, must be above {newest.sequence}',
                            'sequence-regression')

    def _follow(self, command: BeamCommand) -> None:
        if self._newest is not None and command.sequence > self._newest.sequence:
            missing = command.sequence - self._newest.sequence - 1
            self.dropped += max(0, missing - self._refused_since)
        self._newest = command
        self._refused_since = 0

    def emission(self, node_now: int, steady_now: int) -> CheckedBeams | None:
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
            self._stop(CLOCK_JUMP, steady_now)
        else:
            self._latest_node_time = node_now if latest is None else max(latest, node_now)
        if self._beams is not None and self._lease.remaining(node_now, steady_now) <= 0:
            self._stop(LEASE_OVER, steady_now)
        return self._beams

    def remaining(self, node_now: int, steady_now: int) -> int:
        """Time until the lease that runs is over [ns]; 0: muted."""
        if self._beams is None:
            return 0
        return max(0, self._lease.remaining(node_now, steady_now))

    @property
    def mute_reason(self) -> str:
        """Why nothing is emitted; empty while beams are."""
        return '' if self._beams is not None else self._mute_reason

    def muted_duration(self, steady_now: int) -> float:
        """Time muted since the gate was made [s]."""
        now = 0 if self._beams is not None else steady_now - self._muted_since
        return (self._muted_before + now) / 1e9

    def _stop(self, reason: str, steady_now: int) -> None:
        if self._beams is not None:
            self._beams = None
            self._muted_since = steady_now
        self._mute_reason = reason if self.armed else NOT_ARMED
