"""A simulated radio: exact near-field channels to where the users truly are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.beams import sinr
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.core.scene import Radio
from nf_isac_ros.radio.base import Backend, Vector
from nf_isac_ros.radio.command import Beams


class SimulatedBackend(Backend):
    """
    Line-of-sight spherical waves from every element to every user.

    Parameters
    ----------
    array : AntennaArray
        Transmit array, with its pose in the world frame.
    radio : Radio
        Wavelength and noise of the users.

    """

    def __init__(self, array: AntennaArray, radio: Radio) -> None:
        self._array = array
        self._radio = radio
        # One reference, replaced as a whole: `mute` never waits for a computation.
        self._emitted: tuple[Beams, tuple[str, ...]] | None = None

    @property
    def emitted(self) -> Beams | None:
        """Beams on the air now, shape (N, U + r) [sqrt(W)]; None: mute."""
        emitted = self._emitted
        return None if emitted is None else emitted[0]

    def transmit(self, beams: Beams, user_ids: tuple[str, ...]) -> None:
        """Emit these beams from now on; see `Backend.transmit`."""
        self._emitted = (beams, user_ids)

    def mute(self) -> None:
        """Emit nothing from now on."""
        self._emitted = None

    def received_sinr(self, users: Mapping[str, Vector]) -> dict[str, float]:
        """
        SINR of the users that a beam is meant for; see `Backend.received_sinr`.

        The beams of users whose place is not known disturb the others all the same. A user that
        stands on an antenna has no channel and is left out.
        """
        emitted = self._emitted
        if emitted is None:
            return {}
        beams, user_ids = emitted
        known, channels = [], []
        for column, name in enumerate(user_ids):
            if name not in users:
                continue
            try:
                channels.append(responses(self._array.positions, users[name][None],
                                          self._radio.wavelength).conj())
            except SceneError:
                continue
            known.append(column)
        if not known:
            return {}
        others = [column for column in range(beams.shape[1]) if column not in known]
        ratios = sinr(np.hstack(channels), beams[:, known], beams[:, others],
                      np.full(len(known), self._radio.user_noise))
        return {user_ids[column]: float(ratio)
                for column, ratio in zip(known, ratios, strict=True)}
