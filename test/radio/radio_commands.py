"""Commands for the tests of the radio: a good one, and what can be wrong with it."""

from dataclasses import replace

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.radio.checks import Limits
from nf_isac_ros.radio.command import BeamCommand

MS = 1_000_000
ARRAY = AntennaArray(planar_elements(3, 2, 0.005))
LIMITS = Limits(len(ARRAY), ARRAY.layout_hash, 0.01, power=1.0)


def command(sequence=1, publish=0, lease=100 * MS, radiated=1.0, **changes):
    """Two users and one sensing beam with equal weights everywhere."""
    weights = np.full(2 * 6 * 3, np.sqrt(radiated / 36), np.float32)
    good = BeamCommand(sequence, publish, publish + lease, 6, 2, 1, ('u1', 'u2'), weights,
                       radiated, 0.01, ARRAY.layout_hash)
    return replace(good, **changes)
