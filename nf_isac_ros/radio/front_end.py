"""
Between the beams that are asked for and what the elements radiate: calibration, quantisation.

Each beam is a stream of symbols that reaches every element through a setting of its own, one for
each element and beam: a complex digital weight (I and Q of so many bits), or a phase shifter and
an attenuator. The amplitude of a whole stream is digital and fine; it takes up whatever the
settings change of the beam's power. So a beam radiates the power that was asked for, to rounding.

Everything is float32 and whole arrays at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.radio.calibration import Calibration
from nf_isac_ros.radio.command import Beams

Real32 = NDArray[np.float32]
Integers = NDArray[np.int32]

MAX_BITS = 16
MAX_GAIN_RANGE = 120.0
# By how much the power of a beam may differ from what was asked for, relative: rounding of
# float32 settings.
POWER_ROUNDING = 1e-5


class FrontEndError(NfIsacError, ValueError):
    """A front end that cannot be."""

    reason = 'bad-front-end'


@dataclass(frozen=True)
class Quantisation:
    """
    How finely the weights of one beam can be set.

    Attributes
    ----------
    phase_bits : int
        Of the phase shifters: 2^bits equal steps of a turn; 0: any phase.
    gain_bits : int
        Of the attenuators: 2^bits levels, equal steps in dB from 0 to -gain_range_db below the
        strongest element of the beam; 0: any gain. A weaker weight gets the lowest level, one of
        zero is switched off.
    gain_range_db : float
        0: all elements of a beam have the same gain, whatever the gain_bits.
    iq_bits : int
        Of real and imaginary part of a digital weight: two's complement without its lowest code,
        full scale at the largest part of the beam; 0: any. Not together with the others.

    Raises
    ------
    FrontEndError
        If a value is not allowed.

    """

    phase_bits: int = 0
    gain_bits: int = 0
    gain_range_db: float = 31.5
    iq_bits: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        for key, least in (('phase_bits', 1), ('gain_bits', 1), ('iq_bits', 2)):
            bits = getattr(self, key)
            if bits != 0 and not least <= bits <= MAX_BITS:
                raise FrontEndError(
                    f'{key} is {bits}, must be 0 (not quantised) or from {least} to {MAX_BITS}')
        if not 0.0 <= self.gain_range_db <= MAX_GAIN_RANGE:
            raise FrontEndError(f'gain_range_db is {self.gain_range_db}, must be from 0 to '
                                f'{MAX_GAIN_RANGE:g} dB')
        if self.iq_bits and (self.phase_bits or self.gain_bits):
            raise FrontEndError(
                f'iq_bits is {self.iq_bits} with phase_bits {self.phase_bits} and gain_bits '
                f'{self.gain_bits}, must be 0 with either of them')

    @property
    def exact(self) -> bool:
        """Tell whether every weight can be set."""
        return not (self.phase_bits or self.gain_bits or self.iq_bits)

    @property
    def gain_step_db(self) -> float:
        """Step of the attenuators [dB]."""
        return self.gain_range_db / (2 ** self.gain_bits - 1) if self.gain_bits else 0.0

    @cached_property
    def phasors(self) -> Beams:
        """Unit phasor of each phase code, shape (2^phase_bits,)."""
        n = 2 ** self.phase_bits
        return np.exp(2j * np.pi / n * np.arange(n)).astype(np.complex64)

    @cached_property
    def gains(self) -> Real32:
        """Amplitude of each gain code, shape (2^gain_bits,)."""
        levels = self.gain_step_db * np.arange(2 ** self.gain_bits)
        return (10.0 ** (-levels / 20.0)).astype(np.float32)

    @property
    def largest_code(self) -> int:
        """Largest code of I and Q; the least is its negative."""
        return 2 ** (self.iq_bits - 1) - 1


@dataclass(frozen=True)
class Settings:
    """
    What the hardware is told.

    Attributes
    ----------
    weights : ndarray, shape (N, B)
        Signal that each element is fed with of each stream of unit power [sqrt(W) at an element
        of unit gain]: amplitude of the stream times what the codes below stand for.
    amplitudes : ndarray, shape (B,)
        Digital amplitude of each stream: `weights` of codes at full scale [sqrt(W)].
    phase, gain : ndarray, shape (N, B), or None
        Codes of phase shifters (a turn has 2^phase_bits) and attenuators (steps below full
        scale); None: not quantised. An element that is switched off has a weight of zero.
    in_phase, quadrature : ndarray, shape (N, B), or None
        Codes of digital weights; None: not quantised.

    """

    weights: Beams
    amplitudes: Real32
    phase: Integers | None = None
    gain: Integers | None = None
    in_phase: Integers | None = None
    quadrature: Integers | None = None


@dataclass(frozen=True)
class FrontEnd:
    """
    Calibrates and quantises beams.

    Attributes
    ----------
    calibration : Calibration
        Complex gain of every element.
    quantisation : Quantisation

    """

    calibration: Calibration
    quantisation: Quantisation = field(default_factory=Quantisation)

    @classmethod
    def ideal(cls, n_elements: int) -> FrontEnd:
        """Front end that radiates what is asked for."""
        return cls(Calibration.identity(n_elements))

    @property
    def transparent(self) -> bool:
        """Tell whether beams come out as they went in."""
        return self.calibration.is_identity and self.quantisation.exact

    def apply(self, beams: Beams) -> Beams:
        """
        Beams as the elements radiate them.

        Parameters
        ----------
        beams : ndarray of complex64, shape (N, B)
            What was asked for [sqrt(W)].

        Returns
        -------
        ndarray of complex64, shape (N, B)
            [sqrt(W)]. Each beam has the power that was asked of the elements that work, within
            POWER_ROUNDING. What comes out goes through again unchanged, to rounding.

        Raises
        ------
        FrontEndError
            If the beams have another number of elements.

        """
        if self.transparent:
            self._check(beams)
            return beams
        return self.settings(beams).weights * self.calibration.gains[:, None]

    def settings(self, beams: Beams) -> Settings:
        """
        What the hardware must be told in order to radiate beams.

        Parameters
        ----------
        beams : ndarray of complex64, shape (N, B)
            What is to be radiated [sqrt(W)]: as asked for, or as `apply` returned it.

        """
        self._check(beams)
        fed = beams * self.calibration.inverse[:, None]
        if self.quantisation.iq_bits:
            settings = self._digital(fed)
        else:
            settings = self._analog(fed)
        working = self.calibration.working[:, None]
        wanted = _powers(np.where(working, beams, 0))
        radiated = _powers(settings.weights * self.calibration.gains[:, None])
        scale = np.sqrt(np.divide(wanted, radiated, out=np.zeros_like(wanted),
                                  where=radiated > 0)).astype(np.float32)
        return Settings(settings.weights * scale, settings.amplitudes * scale, settings.phase,
                        settings.gain, settings.in_phase, settings.quadrature)

    def _check(self, beams: Beams) -> None:
        n = len(self.calibration.gains)
        if beams.ndim != 2 or len(beams) != n:
            raise FrontEndError(
                f'beams have the shape {beams.shape}, must be ({n}, B): one row an element')

    def _digital(self, fed: Beams) -> Settings:
        largest = self.quantisation.largest_code
        scale = np.maximum(np.abs(fed.real).max(axis=0), np.abs(fed.imag).max(axis=0))
        step = np.where(scale > 0, scale, np.float32(1)) / np.float32(largest)
        real, imag = np.rint(fed.real / step), np.rint(fed.imag / step)
        weights = np.empty_like(fed)
        weights.real, weights.imag = real * step, imag * step
        return Settings(weights, scale, in_phase=real.astype(np.int32),
                        quadrature=imag.astype(np.int32))

    def _analog(self, fed: Beams) -> Settings:
        q = self.quantisation
        size = np.abs(fed)
        largest = size.max(axis=0)
        phase = gain = None
        if q.phase_bits:
            n = 2 ** q.phase_bits
            turns = np.angle(fed) * np.float32(n / (2 * np.pi))
            phase = np.rint(turns).astype(np.int32) & (n - 1)
            direction = q.phasors[phase]
        else:
            direction = np.divide(fed, size, out=np.zeros_like(fed), where=size > 0)
        if q.gain_bits:
            gain = _gain_codes(size, largest, q)
            size = np.where(size > 0, q.gains[gain] * largest, np.float32(0))
        return Settings(direction * size, largest, phase, gain)


def _gain_codes(size: Real32, largest: Real32, quantisation: Quantisation) -> Integers:
    """Nearest attenuator codes, in dB, of amplitudes (N, B) below the largest ones (B,)."""
    if not quantisation.gain_step_db:
        return np.zeros(size.shape, dtype=np.int32)
    tiny = np.finfo(np.float32).tiny
    # Zero stays finite: it is far below the last level, and is switched off by the caller.
    below = np.log10(np.maximum(largest, tiny)) - np.log10(np.maximum(size, tiny))
    codes = np.rint(below * np.float32(20.0 / quantisation.gain_step_db))
    return np.clip(codes, 0, 2 ** quantisation.gain_bits - 1).astype(np.int32)


def _powers(weights: Beams) -> NDArray[np.float64]:
    """Power of each column, shape (B,) [W]."""
    return (np.square(weights.real).sum(axis=0, dtype=np.float64)
            + np.square(weights.imag).sum(axis=0, dtype=np.float64))
