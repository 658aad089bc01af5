"""A simulated radio: exact near-field channels to where users and targets truly are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Annotated

import numpy as np

from nf_isac_ros.core.beams import received_sinr
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.localisation.echoes import (
    EchoSamples,
    Sensor,
    doppler_turns,
    simulate_echo_samples,
)
from nf_isac_ros.core.propagation import responses
from nf_isac_ros.files.models import between
from nf_isac_ros.radio.base import NO_UPDATE, Backend, BeamUpdate, Reception, Scatterer, Vector
from nf_isac_ros.radio.command import Beams
from nf_isac_ros.radio.options import Options, Site
from nf_isac_ros.radio.receivers import measure
from nf_isac_ros.radio.waveform import OnAir, SymbolSource


class SimulatedOptions(Options):
    """
    How true to life the simulation is.

    Gain and phase errors are those of a calibration that is out of date: standard deviations over
    the elements, drawn once.
    """

    receiver_symbols: Annotated[int, between(3, 100_000)] = 1000
    doppler: bool = False
    gain_error_db: Annotated[float, between(0.0, 20.0)] = 0.0
    phase_error_deg: Annotated[float, between(0.0, 180.0)] = 0.0
    seed: Annotated[int, between(0, 2 ** 63 - 1)] = 1


DEFAULTS = SimulatedOptions()


class SimulatedBackend(Backend):
    """
    Line-of-sight spherical waves from every element to every user, by every target and back.

    Parameters
    ----------
    site : Site
    options : SimulatedOptions

    """

    OPTIONS = SimulatedOptions

    def __init__(self, site: Site, options: SimulatedOptions = DEFAULTS) -> None:
        self._site = site
        self._options = options
        self._sensor = Sensor(site.transmit_array, site.receive_array, site.radio.wavelength,
                              site.radio.sensing_noise)
        self._source = SymbolSource(site.samples.constellation, site.samples.seed)
        self._rng = np.random.default_rng(options.seed)
        self._errors = self._element_errors()
        # Receivers and echoes have blocks of their own: neither depends on the other's calls.
        self._reception_blocks, self._echo_blocks = count(0, 2), count(1, 2)
        # One reference, replaced as a whole: `mute` never waits for a computation.
        self._on_air: OnAir | None = None

    def _element_errors(self) -> Beams | None:
        """Factors on the elements, shape (N, 1), which the calibration does not know."""
        options = self._options
        if not (options.gain_error_db or options.phase_error_deg):
            return None
        gain_db, phase = self._rng.standard_normal((2, len(self._site.transmit_array), 1))
        return (10.0 ** (options.gain_error_db * gain_db / 20.0)
                * np.exp(1j * np.deg2rad(options.phase_error_deg) * phase)).astype(np.complex64)

    @property
    def emitted(self) -> Beams | None:
        """Beams on the air now, shape (N, U + r) [sqrt(W)]; None: mute."""
        on_air = self._on_air
        return None if on_air is None else on_air.beams

    def transmit(self, beams: Beams, user_ids: tuple[str, ...],
                 update: BeamUpdate = NO_UPDATE) -> None:
        """Emit these beams from now on; see `Backend.transmit`."""
        if self._errors is not None:
            beams = beams * self._errors
        self._on_air = OnAir(beams, user_ids, update)

    def mute(self) -> None:
        """Emit nothing from now on."""
        self._on_air = None

    def received_sinr(self, users: Mapping[str, Vector]) -> dict[str, float]:
        """
        SINR of the users that a beam is meant for; see `Backend.received_sinr`.

        The beams of users whose place is not known disturb the others all the same. A user that
        stands on an antenna has no channel and is left out.
        """
        on_air = self._on_air
        if on_air is None:
            return {}
        received = self._received(on_air, users)
        if not received:
            return {}
        known = [column for column, _ in received.values()]
        others = [column for column in range(on_air.beams.shape[1]) if column not in known]
        seen = np.array([seen for _, seen in received.values()])[:, known + others]
        ratios = received_sinr(seen, np.full(len(known), self._site.radio.user_noise))
        return dict(zip(received, ratios.tolist(), strict=True))

    def receptions(self, users: Mapping[str, Vector]) -> dict[str, Reception]:
        """
        SINR and EVM from as many symbols as `receiver_symbols`; see `Backend.receptions`.

        Each call is a block of new symbols, the same for all users.
        """
        on_air = self._on_air
        if on_air is None:
            return {}
        n = self._options.receiver_symbols
        received = self._received(on_air, users)
        if not received:
            return {}
        symbols = self._source.block(on_air.streams, next(self._reception_blocks), n)
        scale = np.float32(np.sqrt(0.5 * self._site.radio.user_noise))
        out = {}
        for name, (column, seen) in received.items():
            noise = self._rng.standard_normal(2 * n, dtype=np.float32).view(np.complex64)
            out[name] = measure(seen.astype(np.complex64) @ symbols + scale * noise,
                                symbols[column])
        return out

    def echoes(self, targets: Sequence[Scatterer],
               rng: np.random.Generator) -> EchoSamples | None:
        """
        Compressed echoes with noise of the covariance Q; see `Backend.echoes`.

        A target that stands on an antenna gives no echo.

        Raises
        ------
        EchoError
            'dependent-streams' if a period has fewer symbols than there are beams.

        """
        on_air = self._on_air
        if on_air is None:
            return None
        symbols = self._source.block(
            on_air.streams, next(self._echo_blocks), self._site.radio.symbols)
        seen = [target for target in targets if self._is_clear(target)]
        positions = np.array([target.position for target in seen]).reshape(-1, 3)
        velocities = np.array([target.velocity for target in seen]).reshape(-1, 3)
        turns = None
        if self._options.doppler:
            turns = doppler_turns(self._sensor, positions, velocities,
                                  1.0 / self._site.samples.sample_rate_hz)
        return simulate_echo_samples(
            self._sensor, positions, np.array([target.reflection for target in seen]),
            on_air.beams, symbols, rng, turns, [target.id for target in seen])

    def _is_clear(self, target: Scatterer) -> bool:
        """Tell whether a target is at least a wavelength away from every element."""
        return all(
            ((array.positions - target.position) ** 2).sum(axis=1).min()
            >= self._site.radio.wavelength ** 2
            for array in (self._site.transmit_array, self._site.receive_array))

    def _received(self, on_air: OnAir, users: Mapping[str, Vector]
                  ) -> dict[str, tuple[int, Beams]]:
        """Own column, and amplitudes of all beams (U + r,), of users that are served and known."""
        out = {}
        for column, name in enumerate(on_air.user_ids):
            if name not in users:
                continue
            try:
                channel = responses(self._site.transmit_array.positions, users[name][None],
                                    self._site.radio.wavelength)
            except SceneError:
                continue
            out[name] = column, channel[:, 0] @ on_air.beams
        return out
