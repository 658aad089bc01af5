"""A thread that makes blocks of samples at the sample rate, as a radio consumes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
import threading
import time

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.radio.base import NO_UPDATE, Backend, BackendError, BeamUpdate
from nf_isac_ros.radio.command import Beams
from nf_isac_ros.radio.options import Site
from nf_isac_ros.radio.waveform import Feed, OnAir, SampleBlock, SymbolSource, Waveform

# Blocks are left out, and counted, when the thread is later than this [s]: time goes on.
MOST_BEHIND = 0.25
# A thread that has not come round for so long does not work any more [s].
SILENT = 1.0
# Between two looks at requests and at the end [s].
POLL = 0.01


class PumpedBackend(Backend, ABC):
    """
    Base of radios that want samples.

    Blocks are made when they are due: block n begins n block lengths after the radio was made,
    muted or not. `mute` takes effect before the next block is handed over; one that is being
    handed over at that instant, at most, still carries samples.

    Parameters
    ----------
    site : Site

    Attributes
    ----------
    next_block : int
        Number of the next block.
    skipped : int
        Blocks that were due too long ago to be made.

    """

    def __init__(self, site: Site) -> None:
        samples = site.samples
        self.site = site
        self.elements = samples.elements(site.transmit_array)
        self.waveform = Waveform(
            site.front_end, SymbolSource(samples.constellation, samples.seed),
            samples.block_length, self.elements, samples.streams)
        self.period = samples.block_length / samples.sample_rate_hz
        self.next_block = 0
        self.skipped = 0
        # One reference, replaced as a whole: `mute` never waits for a block.
        self._feed: Feed | None = None
        self._failure = ''
        self._ending = threading.Event()
        self._round = time.monotonic()
        self._thread = threading.Thread(target=self._run, name='samples', daemon=True)

    def start(self) -> None:
        """Begin with block 0; to be called last by the constructor of a radio."""
        self._thread.start()

    def transmit(self, beams: Beams, user_ids: tuple[str, ...],
                 update: BeamUpdate = NO_UPDATE) -> None:
        """Emit these beams from the next block on; see `Backend.transmit`."""
        if self.fault():
            raise BackendError(self.fault())
        self._feed = self.waveform.feed(OnAir(beams, user_ids, update))

    def mute(self) -> None:
        """Hand over no more samples but zeros."""
        self._feed = None

    def fault(self) -> str:
        """Why there are no samples any more."""
        if self._failure:
            return self._failure
        late = time.monotonic() - self._round
        if self._thread.is_alive() and late > SILENT:
            return f'no block of samples for {late:.1f} s'
        return ''

    def diagnostics(self) -> dict[str, str | int | float]:
        """Blocks that came too late to be made."""
        return {'blocks skipped': self.skipped}

    def close(self) -> None:
        """Mute, end the thread, and wait for it."""
        self.mute()
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    @abstractmethod
    def hand_over(self, block: SampleBlock) -> None:
        """
        Take a block; called from the thread, in order, as soon as the block is due.

        Raises
        ------
        BackendError, OSError
            If that is not possible any more: the thread ends, and `fault` says why.

        """

    def wait(self, seconds: float) -> None:
        """Let time pass until the next block is due; called from the thread."""
        self._ending.wait(seconds)

    def finish(self) -> None:
        """Give everything back; called from the thread when it ends, whatever ended it."""

    def _run(self) -> None:
        try:
            try:
                self._make_blocks()
            finally:
                self._feed = None
                self.finish()
        except (NfIsacError, OSError) as error:
            self._failure = f'{type(error).__name__}: {error}'

    def _make_blocks(self) -> None:
        start = time.monotonic()
        while not self._ending.is_set():
            now = self._round = time.monotonic()
            due = start + self.next_block * self.period
            if now < due:
                self.wait(min(due - now, POLL))
                continue
            if now - due > MOST_BEHIND:
                present = int((now - start) / self.period)
                self.skipped += present - self.next_block
                self.next_block = present
            feed = self._feed
            block = self.waveform.block(feed, self.next_block)
            if feed is not None and self._feed is None:
                block = self.waveform.block(None, self.next_block)
            self.hand_over(block)
            self.next_block += 1
