"""Recordings of what the elements are fed with, in the Signal Metadata Format (SigMF)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
import hashlib
import os
from pathlib import Path
import time
from typing import Annotated, Any

from pydantic import Field

from nf_isac_ros import __version__
from nf_isac_ros.files.models import SPEED_OF_LIGHT, between
from nf_isac_ros.radio.base import BackendError
from nf_isac_ros.radio.options import Options, Site
from nf_isac_ros.radio.pump import PumpedBackend
from nf_isac_ros.radio.waveform import OnAir, SampleBlock

# Of the fields that SigMF has no name for; docs/adding_a_radio.md lists them.
NAMESPACE = 'nf_isac'
# While recording, the metadata is written so often [s], if that takes next to none of the time.
METADATA_PERIOD = 2.0
METADATA_SHARE = 0.05

Fields = dict[str, Any]


class SigmfOptions(Options):
    """Where recordings go, and how long they may get."""

    path: Annotated[str, Field(pattern=r'[^/]$', max_length=4000)] = 'radio'
    max_bytes: Annotated[int, between(1, 2 ** 50)] = 2 ** 30
    description: Annotated[str, Field(max_length=1000)] = ''
    author: Annotated[str, Field(max_length=1000)] = ''


DEFAULTS = SigmfOptions()


class SigmfBackend(PumpedBackend):
    """
    Writes samples as cf32_le, one channel for each row, and what they are.

    While mute nothing is written; an annotation marks the place. Each time the radio comes on, and
    after blocks that were skipped, a capture begins, with its time. Each message's beams have an
    annotation. On a full disk, or whatever else ends the process, what was written is a valid
    recording. At `max_bytes` the recording ends, the radio goes on.

    Parameters
    ----------
    site : Site
    options : SigmfOptions

    Raises
    ------
    BackendError
        If nothing can be written there, or the library sigmf is not installed.

    """

    OPTIONS = SigmfOptions

    def __init__(self, site: Site, options: SigmfOptions = DEFAULTS) -> None:
        super().__init__(site)
        try:
            # Here: nodes that have another radio start without the library.
            import sigmf
        except ImportError as error:
            raise BackendError('sigmf is not installed; pip install sigmf') from error
        self._began = datetime.now(timezone.utc)
        self._recording = _Recording(self, options, sigmf)
        self.start()

    @property
    def path(self) -> Path:
        """Of the samples; the metadata lies beside them."""
        return self._recording.data_path

    def diagnostics(self) -> dict[str, str | int | float]:
        """Size and end of the recording, besides what `PumpedBackend` tells."""
        return {**super().diagnostics(), 'recording': str(self.path),
                'recorded [B]': self._recording.bytes,
                'recording ended': self._recording.full}

    def time_of(self, index: int) -> datetime:
        """Time at which a block begins."""
        return self._began + timedelta(seconds=index * self.period)

    def hand_over(self, block: SampleBlock) -> None:
        """Write a block."""
        self._recording.add(block)

    def finish(self) -> None:
        """End the recording."""
        self._recording.close()


class _Recording:
    """One pair of files."""

    def __init__(self, radio: SigmfBackend, options: SigmfOptions, sigmf: Any) -> None:
        self._radio = radio
        self._sigmf = sigmf
        self._max_bytes = options.max_bytes
        stem = f'{options.path}_{radio.time_of(0):%Y%m%dT%H%M%S.%fZ}'
        self.data_path = Path(stem + '.sigmf-data')
        self._meta_path = Path(stem + '.sigmf-meta')
        self._metadata: dict[str, Any] = {
            'global': _global_fields(radio, options, sigmf), 'captures': [], 'annotations': []}
        self.full = False
        self._row_bytes = 8 * radio.waveform.rows
        self._count = 0
        self._next_index: int | None = None
        self._on_air: OnAir | None = None
        self._hash = hashlib.sha512()
        self._written_at, self._write_took = time.monotonic(), 0.0
        try:
            # Unbuffered: a full disk shows itself where it can be told.
            self._data = open(self.data_path, 'xb', buffering=0)
            sigmf.SigMFFile(metadata=self._metadata).validate()
            self._write_metadata()
        except OSError as error:
            raise BackendError(f'radio_backend.sigmf.path: is {options.path!r}; cannot write '
                               f'{self.data_path} ({error.strerror})') from error

    @property
    def bytes(self) -> int:
        """Size of the samples."""
        return self._count * self._row_bytes

    def add(self, block: SampleBlock) -> None:
        if self.full:
            return
        if block.on_air is None:
            self._stop(block.index)
            return
        if self.bytes + block.samples.nbytes > self._max_bytes:
            self._stop(block.index)
            self.full = True
            self.close()
            return
        if self._next_index != block.index:
            self._metadata['captures'].append({
                'core:sample_start': self._count,
                'core:frequency': SPEED_OF_LIGHT / self._radio.site.radio.wavelength,
                'core:datetime': _text(self._radio.time_of(block.index)),
                f'{NAMESPACE}:block': block.index})
        if self._on_air is not block.on_air:
            self._metadata['annotations'].append(
                {'core:sample_start': self._count, **_beam_fields(block.on_air)})
        self._write(block)
        self._on_air, self._next_index = block.on_air, block.index + 1
        self._metadata['annotations'][-1]['core:sample_count'] = (
            self._count - self._metadata['annotations'][-1]['core:sample_start'])
        self._keep_metadata(METADATA_PERIOD)

    def _stop(self, index: int) -> None:
        if self._on_air is None:
            return
        self._metadata['annotations'].append({
            'core:sample_start': self._count, 'core:sample_count': 0, 'core:label': 'muted',
            f'{NAMESPACE}:datetime': _text(self._radio.time_of(index))})
        self._on_air = self._next_index = None
        self._keep_metadata(0.0)

    def _write(self, block: SampleBlock) -> None:
        left = content = memoryview(block.samples).cast('B')
        try:
            while left:
                left = left[self._data.write(left):]
        except OSError:
            # Part of a sample is none. Where that cannot be mended, the metadata still knows how
            # many samples are whole.
            with suppress(OSError):
                self._data.truncate(self.bytes)
            raise
        self._hash.update(content)
        self._count += len(block.samples)

    def close(self) -> None:
        """End the recording; a second time does nothing."""
        if self._data.closed:
            return
        if self._next_index is not None:
            self._stop(self._next_index)
        self._data.close()
        if self.data_path.stat().st_size == self.bytes:
            self._metadata['global']['core:sha512'] = self._hash.hexdigest()
        self._write_metadata()

    def _keep_metadata(self, period: float) -> None:
        """Write the metadata, unless it was within the period [s] or takes too much time."""
        since = time.monotonic() - self._written_at
        if since > max(period, self._write_took / METADATA_SHARE):
            self._write_metadata()

    def _write_metadata(self) -> None:
        """Write the metadata, whole or not at all."""
        started = time.monotonic()
        metadata = self._sigmf.SigMFFile(metadata=self._metadata)
        draft = self._meta_path.with_suffix('.draft')
        try:
            with open(draft, 'w', encoding='utf-8') as stream:
                metadata.dump(stream, pretty=False)
            os.replace(draft, self._meta_path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._written_at = time.monotonic()
        self._write_took = self._written_at - started


def _text(moment: datetime) -> str:
    return f'{moment:%Y-%m-%dT%H:%M:%S.%fZ}'


def _global_fields(radio: SigmfBackend, options: SigmfOptions, sigmf: Any) -> Fields:
    site, samples = radio.site, radio.site.samples
    array, quantisation = site.transmit_array, site.front_end.quantisation
    own: Fields = {
        'array_name': array.name, 'layout_hash': array.layout_hash, 'n_elements': len(array),
        'array_position': array.pose.position.tolist(),
        'array_orientation_xyzw': list(array.pose.orientation_xyzw),
        'wavelength': site.radio.wavelength, 'power_limit': site.radio.power,
        'calibration_epoch': site.front_end.calibration.epoch, **asdict(quantisation),
        'constellation': samples.constellation, 'seed': samples.seed,
        'block_length': samples.block_length}
    if radio.elements is None:
        own['rows'] = 'streams'
    else:
        own['rows'] = radio.elements
        own['element_positions'] = array.elements[radio.elements].tolist()
    given = {'core:description': options.description, 'core:author': options.author}
    return {
        'core:datatype': 'cf32_le', 'core:version': sigmf.__specification__,
        'core:sample_rate': samples.sample_rate_hz, 'core:num_channels': radio.waveform.rows,
        'core:recorder': f'nf_isac_ros {__version__}',
        'core:hw': f'{len(array)} elements, array {array.name}',
        'core:extensions': [{'name': NAMESPACE, 'version': __version__, 'optional': True}],
        **{key: text for key, text in given.items() if text},
        **{f'{NAMESPACE}:{key}': value for key, value in own.items()}}


def _beam_fields(on_air: OnAir) -> Fields:
    update = on_air.update
    own = {'sequence': update.sequence, 'design': update.design,
           'publish_stamp': update.publish_stamp, 'valid_until': update.valid_until,
           'calibration_epoch': update.calibration_epoch, 'user_ids': list(on_air.user_ids),
           'n_sensing': on_air.beams.shape[1] - len(on_air.user_ids), 'power': on_air.power}
    return {'core:label': 'beams', 'core:comment': f'{update.design} {update.sequence}'.strip(),
            **{f'{NAMESPACE}:{key}': value for key, value in own.items()}}
