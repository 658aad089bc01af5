"""A small radio for the tests of the backends."""

from dataclasses import replace

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements
from nf_isac_ros.core.scene import Radio, SensingNoise
from nf_isac_ros.radio.base import BeamUpdate
from nf_isac_ros.radio.options import SampleOptions, Site
from nf_isac_ros.radio.waveform import OnAir, SymbolSource, Waveform

WAVELENGTH = 0.01
ARRAY = AntennaArray(planar_elements(4, 3, 0.005), Pose([1.0, -2.0, 0.5], (0.6, 0.0, 0.0, 0.8)))
RADIO = Radio(WAVELENGTH, 1.0, 100, 1e-8, SensingNoise(power=1e-12))
UPDATE = BeamUpdate(sequence=41, design='crb-min', publish_stamp=10 ** 18 + 1,
                    valid_until=10 ** 18 + 10 ** 8, calibration_epoch=3)


def site(**samples):
    """Twelve ideal elements; blocks of 2 ms unless told otherwise."""
    return replace(Site.ideal(ARRAY, RADIO), samples=SampleOptions(
        **{'sample_rate_hz': 1e5, 'block_length': 200, 'rows': [0, 5, 7], **samples}))


def random_beams(seed=7, columns=4):
    rng = np.random.default_rng(seed)
    return (0.1 * (rng.standard_normal((12, columns))
                   + 1j * rng.standard_normal((12, columns)))).astype(np.complex64)


def expected_block(where, beams, user_ids, index):
    """Samples of one block, (L, rows), from the beams and the symbols."""
    options = where.samples
    waveform = Waveform(where.front_end, SymbolSource(options.constellation, options.seed),
                        options.block_length, options.rows)
    symbols = waveform.symbols(OnAir(beams, user_ids), index)
    return (beams[options.rows] @ symbols).T
