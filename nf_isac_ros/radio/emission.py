"""From checked beams to what is emitted: front end, caps, keep-out; scaled down, and labelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nf_isac_ros.radio.caps import Caps, Radiation, scaled
from nf_isac_ros.radio.checks import BeamError, CheckedBeams
from nf_isac_ros.radio.command import BeamCommand, Beams
from nf_isac_ros.radio.keep_out import KeepOut, KeepOutReport

FrontEnd = Callable[[Beams], Beams]

KEEP_OUT = 'keep-out'


@dataclass(frozen=True)
class Emission:
    """
    What is to be on the air for one message.

    Attributes
    ----------
    command : BeamCommand
        What was asked for.
    beams : ndarray, shape (N, U + r)
        After calibration and quantisation, scaled [sqrt(W)].
    radiation : Radiation
        Of these beams.
    scale : float
        Factor on the power of what the front end made; 1: as it was.
    limited_by : tuple of str
        Caps that were exceeded before, the one that asked for the least power first.
    keep_out : tuple of KeepOutReport
        Power density at people, of these beams.
    blocked : str
        Why none of it may be emitted after all, such as keep-out-unknown; empty: it may.

    """

    command: BeamCommand
    beams: Beams
    radiation: Radiation
    scale: float = 1.0
    limited_by: tuple[str, ...] = ()
    keep_out: tuple[KeepOutReport, ...] = ()
    blocked: str = ''

    @property
    def power(self) -> float:
        """Total radiated power [W]."""
        return self.radiation.power

    @property
    def max_element_power(self) -> float:
        """Of the strongest element [W]."""
        return self.radiation.max_element_power

    @property
    def eirp(self) -> float:
        """Upper bound over all directions [W]."""
        return self.radiation.eirp


def identity(beams: Beams) -> Beams:
    """Front end that changes nothing."""
    return beams


class Shaper:
    """
    Applies the front end, then measures and limits what comes out of it.

    Parameters
    ----------
    caps : Caps
        On what is radiated.
    keep_out : KeepOut
        Where people are.
    front_end : callable
        Calibration and quantisation: beams, shape (N, B), to beams of the same shape.

    """

    def __init__(self, caps: Caps, keep_out: KeepOut, front_end: FrontEnd = identity) -> None:
        self.caps = caps
        self._keep_out = keep_out
        self._front_end = front_end

    def shape(self, checked: CheckedBeams) -> Emission:
        """
        Make what is emitted for a message.

        Raises
        ------
        BeamError
            not-finite: the front end made something of the beams that is no number; bad-shape:
            it changed their shape.

        """
        beams = self._front_end(checked.beams)
        if beams.shape != checked.beams.shape:
            raise BeamError(f'the front end made {beams.shape} of beams of the shape '
                            f'{checked.beams.shape}', 'bad-shape')
        radiation = Radiation.of(beams)
        if not radiation.finite:
            raise BeamError('the front end made a weight that is not finite', 'not-finite')
        factors = self.caps.exceeded(radiation)
        emission = self._turned_down(Emission(checked.command, beams, radiation), factors)
        return self.keep_clear(emission)

    def keep_clear(self, emission: Emission) -> Emission:
        """Limit an emission to what people may be exposed to, where they are now."""
        if not self._keep_out.volumes:
            return emission
        found = self._keep_out.look(emission.beams, emission.radiation.power)
        emission = replace(emission, keep_out=found.reports, blocked=found.blocked)
        if found.blocked or found.factor >= 1.0:
            return emission
        down = self._turned_down(emission, {KEEP_OUT: found.factor})
        return replace(down, keep_out=tuple(
            report.times(found.factor) for report in found.reports))

    @staticmethod
    def _turned_down(emission: Emission, factors: dict[str, float]) -> Emission:
        """Scale an emission so that it meets the caps that it exceeds."""
        if not factors:
            return emission
        order = sorted(factors, key=lambda name: factors[name])
        factor = factors[order[0]]
        beams = scaled(emission.beams, factor)
        return replace(
            emission, beams=beams, radiation=Radiation.of(beams), scale=emission.scale * factor,
            limited_by=(*order, *(name for name in emission.limited_by if name not in order)))
