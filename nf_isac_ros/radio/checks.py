"""
Which beam messages the radio takes.

Times are arguments, in whole nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nf_isac_ros.core.exceptions import RejectedError
from nf_isac_ros.radio.command import BeamCommand, Beams, total_power

# What float32 weights may differ from the power that their message states, relative.
STATED_POWER_TOLERANCE = 1e-3
WAVELENGTH_TOLERANCE = 1e-6

# Bytes of a Beamformer message that are neither weights nor the names of users, at most.
MESSAGE_OVERHEAD = 4096
NAME_BYTES = 300


class BeamError(RejectedError):
    """Beams that the radio refuses."""


@dataclass(frozen=True)
class Limits:
    """
    What a message may ask for.

    Attributes
    ----------
    n_elements : int
        Of the transmit array.
    layout_hash : str
        Of the transmit array.
    wavelength : float
        [m].
    power : float
        That the designer has to spend [W].
    power_margin : float
        By how much it may be exceeded, relative: room for rounding.
    max_lease : int
        A longer lease is refused [ns].
    max_age : int
        Beams that were published longer ago are refused [ns].
    max_skew : int
        Stamps may be this far in the future; node time may go back this far unnoticed [ns].
    max_track_age : int
        Nothing is emitted for poses older than this [ns].
    max_beams : int
        Most columns of a message.
    calibration_epoch : int
        Of the radio; 0: it has none, and that of the message is not compared.

    """

    n_elements: int
    layout_hash: str
    wavelength: float
    power: float
    power_margin: float = 1e-3
    max_lease: int = 2_000_000_000
    max_age: int = 1_000_000_000
    max_skew: int = 50_000_000
    max_track_age: int = 1_000_000_000
    max_beams: int = 256
    calibration_epoch: int = 0

    @property
    def max_bytes(self) -> int:
        """Size of the largest message that can pass, serialised; more is not even read."""
        return 8 * self.n_elements * self.max_beams + NAME_BYTES * self.max_beams + (
            MESSAGE_OVERHEAD)


@dataclass(frozen=True)
class CheckedBeams:
    """
    Beams whose content has passed.

    Attributes
    ----------
    command : BeamCommand
        What was asked for.
    beams : ndarray, shape (N, U + r)
        [sqrt(W)].

    """

    command: BeamCommand
    beams: Beams


def check_size(size: int, limits: Limits) -> None:
    """
    Check the size of a serialised message, before anything is made of it.

    Parameters
    ----------
    size : int
        Bytes.
    limits : Limits

    Raises
    ------
    BeamError
        With the reason oversized.

    """
    if size > limits.max_bytes:
        raise BeamError(f'message of {size} bytes, must be at most {limits.max_bytes} '
                        f'({limits.max_beams} beams)', 'oversized')


def check_content(command: BeamCommand, limits: Limits) -> CheckedBeams:
    """
    Check everything about a command that does not depend on the time.

    Raises
    ------
    BeamError
        With the reason bad-shape, oversized, not-finite, power-exceeded, power-mismatch,
        wrong-wavelength, layout-mismatch or calibration-mismatch.

    """
    _check_shape(command, limits)
    if not np.isfinite(command.weights).all():
        raise BeamError('a weight is not finite', 'not-finite')
    beams = command.matrix()
    power = total_power(beams)
    if not power <= limits.power * (1.0 + limits.power_margin):
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
    if 0 not in (command.calibration_epoch, limits.calibration_epoch) and (
            command.calibration_epoch != limits.calibration_epoch):
        raise BeamError(f'calibration_epoch is {command.calibration_epoch}, must be '
                        f'{limits.calibration_epoch}, or 0', 'calibration-mismatch')
    return CheckedBeams(command, beams)


def _check_shape(command: BeamCommand, limits: Limits) -> None:
    columns = command.n_users + command.n_sensing
    if command.n_elements != limits.n_elements:
        raise BeamError(f'n_elements is {command.n_elements}, must be {limits.n_elements}',
                        'bad-shape')
    if columns < 1 or command.n_users < 0 or command.n_sensing < 0:
        raise BeamError(f'{command.n_users} user beams and {command.n_sensing} sensing beams, '
                        'must be at least one together', 'bad-shape')
    if columns > limits.max_beams:
        raise BeamError(f'{columns} beams, must be at most {limits.max_beams}', 'oversized')
    if command.weights.shape != (2 * command.n_elements * columns,):
        raise BeamError(f'weights have {command.weights.size} values, must be '
                        f'2 x {command.n_elements} x {columns}', 'bad-shape')
    if len(command.user_ids) != command.n_users or len(set(command.user_ids)) != command.n_users:
        raise BeamError(f'user_ids are {list(command.user_ids)}, must be {command.n_users} '
                        'different ones', 'bad-shape')


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
    for name, stamp in (('published', command.publish_stamp),
                        ('poses', command.oldest_track_stamp)):
        if stamp - node_now > limits.max_skew:
            raise BeamError(f'{name} {(stamp - node_now) / 1e9:.3f} s in the future, must be at '
                            f'most {limits.max_skew / 1e9:.3f} s', 'future-stamp')
