"""Commands for the tests of the radio: a good one, and what can be wrong with it."""

from dataclasses import replace

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.radio.caps import Caps
from nf_isac_ros.radio.checks import Limits, check_content
from nf_isac_ros.radio.command import BeamCommand
from nf_isac_ros.radio.emission import Shaper
from nf_isac_ros.radio.keep_out import KeepOut

MS = 1_000_000
ARRAY = AntennaArray(planar_elements(3, 2, 0.005))
WAVELENGTH = 0.01
LIMITS = Limits(len(ARRAY), ARRAY.layout_hash, WAVELENGTH, power=1.0,
                max_track_age=4_000_000_000)
CAPS = Caps(power=1.0, power_margin=1e-3)
NOBODY = KeepOut((), ARRAY, WAVELENGTH)
SHAPER = Shaper(CAPS, NOBODY)


def command(sequence=1, publish=0, lease=100 * MS, radiated=1.0, **changes):
    """Two users and one sensing beam with equal weights everywhere."""
    weights = np.full(2 * 6 * 3, np.sqrt(radiated / 36), np.float32)
    good = BeamCommand(sequence, publish, publish + lease, publish, publish, 6, 2, 1,
                       ('u1', 'u2'), weights, radiated, WAVELENGTH, ARRAY.layout_hash)
    return replace(good, **changes)


def emission(shaper=SHAPER, **changes):
    """What a command becomes if its content passes."""
    return shaper.shape(check_content(command(**changes), LIMITS))
