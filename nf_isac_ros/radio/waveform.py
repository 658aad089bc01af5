"""From beams to samples: symbols of every stream, and what the elements are fed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.radio.base import NO_UPDATE, BackendError, BeamUpdate
from nf_isac_ros.radio.command import Beams
from nf_isac_ros.radio.front_end import FrontEnd

Samples = NDArray[np.complex64]
Constellation = Literal['qpsk', '16qam', '64qam', '256qam', 'gaussian']


def _square(order: int) -> Samples:
    """Points of a square constellation of unit mean power, shape (order,)."""
    side = np.arange(1 - int(np.sqrt(order)), int(np.sqrt(order)), 2)
    points = (side[:, None] + 1j * side).ravel()
    return (points / np.sqrt(np.mean(np.abs(points) ** 2))).astype(np.complex64)


_POINTS = {'qpsk': _square(4), '16qam': _square(16), '64qam': _square(64), '256qam': _square(256)}


@dataclass(frozen=True)
class SymbolSource:
    """
    Symbols of every stream, as many as anybody wants, the same for everybody who asks.

    Each stream has a generator of its own, keyed by seed and name, and each block a place of its
    own in its sequence: no block depends on which ones were drawn before, nor on other streams.

    Attributes
    ----------
    constellation : str
        'qpsk', '16qam', '64qam', '256qam', or 'gaussian': circular complex Gaussian. Of unit
        mean power.
    seed : int

    """

    constellation: Constellation = 'qpsk'
    seed: int = 1

    def block(self, streams: Sequence[str], index: int, count: int) -> Samples:
        """
        Symbols of one block.

        Parameters
        ----------
        streams : sequence of str
            Names; see `OnAir.streams`.
        index : int
            Number of the block, not negative.
        count : int
            Symbols of each stream.

        Returns
        -------
        ndarray of complex64, shape (len(streams), count)

        """
        symbols = np.empty((len(streams), count), dtype=np.complex64)
        for row, name in zip(symbols, streams, strict=True):
            rng = np.random.Generator(np.random.Philox(
                key=_key(self.seed, name), counter=index << 128))
            if self.constellation == 'gaussian':
                rng.standard_normal(dtype=np.float32, out=row.view(np.float32))
                row *= np.float32(np.sqrt(0.5))
            else:
                points = _POINTS[self.constellation]
                # A power of two of points: some bits of a byte each.
                bits = np.frombuffer(rng.bytes(count), np.uint8) & np.uint8(len(points) - 1)
                row[:] = points[bits]
        return symbols


def _key(seed: int, name: str) -> int:
    digest = hashlib.blake2b(f'{seed} {name}'.encode(), digest_size=16).digest()
    return int.from_bytes(digest, 'little')


@dataclass(frozen=True)
class OnAir:
    """
    Beams on the air.

    Attributes
    ----------
    beams : ndarray of complex64, shape (N, U + r)
        As the elements radiate them, users first [sqrt(W)].
    user_ids : tuple of str
        U ids.
    update : BeamUpdate
        Where they come from.

    """

    beams: Beams
    user_ids: tuple[str, ...]
    update: BeamUpdate = NO_UPDATE

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams: a user keeps its own whatever its place in the order."""
        sensing = self.beams.shape[1] - len(self.user_ids)
        return (*(f'user {name}' for name in self.user_ids),
                *(f'sensing {number}' for number in range(sensing)))

    @cached_property
    def power(self) -> float:
        """Total radiated power [W]."""
        flat = self.beams.ravel(order='K').view(np.float32)
        return float(np.square(flat).sum(dtype=np.float64))


@dataclass(frozen=True)
class SampleBlock:
    """
    Samples of one block.

    Attributes
    ----------
    index : int
        Blocks before it since the radio was made, whether muted or not.
    samples : ndarray of complex64, shape (L, rows)
        One row of samples an instant [sqrt(W)]; zero while mute.
    on_air : OnAir or None
        What they were made of; None: mute.

    """

    index: int
    samples: Samples
    on_air: OnAir | None


@dataclass(frozen=True)
class Feed:
    """
    Beams on the air, and what every block of them needs.

    Attributes
    ----------
    on_air : OnAir
    weights : ndarray of complex64, shape (U + r, rows)
        Rows of samples for one symbol of each stream [sqrt(W)].

    """

    on_air: OnAir
    weights: Samples


class Waveform:
    """
    Makes blocks of samples of the beams that are on the air.

    Samples are those that the elements are fed with, X = W S: before their gains, after
    quantisation (`FrontEnd.settings`). New beams begin with a block.

    Parameters
    ----------
    front_end : FrontEnd
    source : SymbolSource
    block_length : int
        L, samples of a block.
    elements : sequence of int, or None
        Which elements; None: the streams themselves, each with its digital amplitude, as radios
        want them that have the codes of `FrontEnd.settings` in hardware.
    streams : int
        Rows if they are streams; those that are not used are zero.

    """

    def __init__(self, front_end: FrontEnd, source: SymbolSource, block_length: int,
                 elements: Sequence[int] | None, streams: int = 16) -> None:
        self._front_end = front_end
        self._source = source
        self.block_length = block_length
        self._elements = None if elements is None else np.array(elements, dtype=np.intp)
        self.rows = streams if elements is None else len(elements)
        self._silence = np.zeros((block_length, self.rows), dtype=np.complex64)
        self._silence.setflags(write=False)

    def feed(self, on_air: OnAir) -> Feed:
        """Prepare for blocks of beams; BackendError if there are too many of them."""
        if self._elements is None and on_air.beams.shape[1] > self.rows:
            raise BackendError(
                f'{on_air.beams.shape[1]} beams, must be at most {self.rows}, the rows of '
                'samples (radio_backend.samples.streams)')
        settings = self._front_end.settings(on_air.beams)
        if self._elements is not None:
            return Feed(on_air, np.ascontiguousarray(settings.weights[self._elements].T))
        weights = np.zeros((len(settings.amplitudes), self.rows), dtype=np.complex64)
        np.fill_diagonal(weights, settings.amplitudes)
        return Feed(on_air, weights)

    def block(self, feed: Feed | None, index: int) -> SampleBlock:
        """Samples of a block; None: of silence."""
        if feed is None:
            return SampleBlock(index, self._silence, None)
        symbols = self.symbols(feed.on_air, index)
        return SampleBlock(index, symbols.T @ feed.weights, feed.on_air)

    def symbols(self, on_air: OnAir, index: int) -> Samples:
        """Symbols of a block, shape (U + r, L)."""
        return self._source.block(on_air.streams, index, self.block_length)
