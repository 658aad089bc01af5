"""What every radio backend can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.radio.command import Beams

Vector = NDArray[np.float64]


class Backend(ABC):
    """
    A radio that emits beams.

    A backend starts mute. `mute` may be called from another thread than the other methods and
    must return within a millisecond, whatever they are doing.
    """

    @abstractmethod
    def transmit(self, beams: Beams, user_ids: tuple[str, ...]) -> None:
        """
        Emit these beams from now on.

        Parameters
        ----------
        beams : ndarray, shape (N, U + r)
            Communication beams, then sensing beams [sqrt(W)].
        user_ids : tuple of str
            U ids, one for each communication beam.

        """

    @abstractmethod
    def mute(self) -> None:
        """Emit nothing from now on."""

    def received_sinr(self, users: Mapping[str, Vector]) -> dict[str, float]:
        """
        SINR that users receive now, where the backend can tell.

        Parameters
        ----------
        users : mapping from str to ndarray, shape (3,)
            True positions by id, in the world frame [m].

        Returns
        -------
        dict
            Linear SINR by id; users that it is not known for are left out.

        """
        return {}
