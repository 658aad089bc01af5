"""What beams radiate, and how far they have to be turned down to stay below the caps."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np

from nf_isac_ros.radio.command import Beams, eirp_bound, element_powers

TOTAL_POWER = 'total-power'
ELEMENT_POWER = 'element-power'
EIRP = 'eirp'

# Scaled beams stay this far below a cap, relative: float32 weights round upwards as well.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Radiation:
    """
    What beams radiate.

    Attributes
    ----------
    power, max_element_power, eirp : float
        Total, of the strongest element, and upper bound over all directions [W].

    """

    power: float
    max_element_power: float
    eirp: float

    @classmethod
    def of(cls, beams: Beams) -> Radiation:
        """Evaluate beams, shape (N, B) [sqrt(W)]."""
        powers = element_powers(beams)
        return cls(float(powers.sum()), float(powers.max()), eirp_bound(beams))

    @property
    def finite(self) -> bool:
        """Whether all of it is a number."""
        return math.isfinite(self.power) and math.isfinite(self.eirp)


@dataclass(frozen=True)
class Caps:
    """
    Limits on what is radiated, whatever the direction.

    Attributes
    ----------
    power, element_power, eirp : float
        Of all elements together, of each element, over all directions [W]; inf: none.
    power_margin : float
        By how much the total power may exceed its cap, relative: room for rounding.

    """

    power: float = math.inf
    element_power: float = math.inf
    eirp: float = math.inf
    power_margin: float = 0.0

    def exceeded(self, radiation: Radiation) -> dict[str, float]:
        """
        Caps that beams exceed.

        Returns
        -------
        dict
            By name, the factor below 1 on the power that meets the cap.

        """
        found = {
            TOTAL_POWER: (radiation.power, self.power, self.power_margin),
            ELEMENT_POWER: (radiation.max_element_power, self.element_power, 0.0),
            EIRP: (radiation.eirp, self.eirp, 0.0)}
        # Written so that NaN exceeds every cap.
        return {name: (1.0 - ROUNDING) * cap / value
                for name, (value, cap, margin) in found.items()
                if not value <= cap * (1.0 + margin)}


def scaled(beams: Beams, factor: float) -> Beams:
    """Beams, shape (N, B), with their power times a factor: the same pattern, turned down."""
    if factor == 1.0:
        return beams
    weights: Beams = beams * np.float32(math.sqrt(factor))
    return weights
