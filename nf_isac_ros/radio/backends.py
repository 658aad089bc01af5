"""The backends by name."""

from __future__ import annotations

from collections.abc import Callable

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.scene import Radio
from nf_isac_ros.radio.base import Backend
from nf_isac_ros.radio.simulated import SimulatedBackend

BACKENDS: dict[str, Callable[[AntennaArray, Radio], Backend]] = {
    'simulated': SimulatedBackend,
}
