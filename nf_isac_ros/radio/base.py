"""What every radio backend can do; docs/adding_a_radio.md shows how one is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.localisation.echoes import EchoSamples
from nf_isac_ros.radio.command import Beams
from nf_isac_ros.radio.options import Options

Vector = NDArray[np.float64]


class BackendError(NfIsacError, RuntimeError):
    """A radio that cannot do what it is asked to; the driver mutes and latches."""

    reason = 'backend-error'


@dataclass(frozen=True)
class BeamUpdate:
    """
    Which message beams come from; recordings and logs name it.

    Attributes
    ----------
    sequence : int
        Of the Beamformer message.
    design : str
        crb-min, isotropic, ...; empty: not known.
    publish_stamp, valid_until : int
        Start and end of the lease, in node time [ns].
    calibration_epoch : int
        Of the calibration that was applied; 0: none.

    """

    sequence: int = 0
    design: str = ''
    publish_stamp: int = 0
    valid_until: int = 0
    calibration_epoch: int = 0


NO_UPDATE = BeamUpdate()


@dataclass(frozen=True)
class Reception:
    """
    What one user measures of its own stream.

    Attributes
    ----------
    sinr : float
        Estimated from the known symbols, linear.
    sinr_low, sinr_high : float
        Ends of its 95 % confidence interval, linear.
    evm : float
        Root mean square error vector over the root mean square symbol, after equalisation.
    symbols : int
        How many symbols the estimate rests on.

    """

    sinr: float
    sinr_low: float
    sinr_high: float
    evm: float
    symbols: int


@dataclass(frozen=True)
class Scatterer:
    """
    A point target as it truly is.

    Attributes
    ----------
    id : str
    position, velocity : ndarray, shape (3,)
        In the world frame [m], [m/s].
    reflection : complex
        Reflection coefficient.

    """

    id: str
    position: Vector
    velocity: Vector
    reflection: complex


class Backend(ABC):
    """
    A radio that emits beams.

    The constructor takes a `Site` and the options of the backend, validated by `OPTIONS`; it
    raises BackendError if the radio cannot be used. A backend starts mute. `mute`, `cut_off` and
    `fault` may be called from another thread than the other methods, and must return within a
    millisecond whatever they are doing. `transmit` is called from a thread of its own; if it takes
    longer than the driver's `backend_timeout_s`, the radio is muted and that fault latches, as for
    an exception that leaves one of the three. After `close` nothing is called any more.

    Attributes
    ----------
    OPTIONS : type
        Which options there are; see docs/deployment.md.

    """

    OPTIONS: ClassVar[type[Options]] = Options

    @abstractmethod
    def transmit(self, beams: Beams, user_ids: tuple[str, ...],
                 update: BeamUpdate = NO_UPDATE) -> None:
        """
        Emit these beams from now on.

        Parameters
        ----------
        beams : ndarray of complex64, shape (N, U + r)
            Communication beams, then sensing beams, as the elements are to radiate them
            [sqrt(W)]: calibrated, quantised and checked. `FrontEnd.settings` has what to tell the
            hardware, without further rounding. Not to be changed, neither here nor by the caller.
        user_ids : tuple of str
            U ids, one for each communication beam.
        update : BeamUpdate
            Where they come from.

        Raises
        ------
        BackendError
            If the radio cannot; it is muted then.

        """

    @abstractmethod
    def mute(self) -> None:
        """Emit nothing from now on."""

    def cut_off(self) -> None:
        """
        Emit nothing from now on, by other means than `mute`.

        Called, from further threads, when `mute` has failed or does not return: switch off a
        power supply, open a relay, end the process of the radio. What has no such means is muted
        once more.
        """
        self.mute()

    def fault(self) -> str:
        """Why the radio does not work any more, in words; empty while it does."""
        return ''

    def diagnostics(self) -> dict[str, str | int | float]:
        """Counts and states for /diagnostics, by name with unit; not to be waited for."""
        return {}

    def close(self) -> None:
        """Give everything back; the radio stays mute."""
        self.mute()

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

    def receptions(self, users: Mapping[str, Vector]) -> dict[str, Reception]:
        """
        What users measure of the symbols that are sent now, where the backend can tell.

        Parameters
        ----------
        users : mapping from str to ndarray, shape (3,)
            True positions by id, in the world frame [m].

        Returns
        -------
        dict
            By id; users that nothing is known for are left out.

        """
        return {}

    def echoes(self, targets: Sequence[Scatterer],
               rng: np.random.Generator) -> EchoSamples | None:
        """
        Echoes of one sensing period that ends now, where the backend has a receive array.

        Parameters
        ----------
        targets : sequence of Scatterer
            As they are in the middle of the period: for radios that make the echoes up.
        rng : numpy.random.Generator
            Of symbols and noise: for radios that make them up.

        Returns
        -------
        EchoSamples or None
            None: mute, or no receive array.

        """
        return None
