"""
What a user may say about the radio: the section `radio_backend` of a deployment file, validated.

Each backend has a model of its own, derived from `Options`; docs/deployment.md has the keys of
those in this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Len
from pydantic import Discriminator, Tag, model_validator

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.scene import Radio
from nf_isac_ros.files.models import MAX_ELEMENTS, between
from nf_isac_ros.files.parsing import FileError, StrictModel, fault, nearest, validate
from nf_isac_ros.radio.calibration import Calibration, load_calibration
from nf_isac_ros.radio.front_end import MAX_BITS, MAX_GAIN_RANGE, FrontEnd, Quantisation

SECTION = 'radio_backend'
# A block that is being handed over cannot be called back: no longer than this [s].
LONGEST_BLOCK = 0.01


class OptionError(NfIsacError, ValueError):
    """Options that the radio cannot have; names the key, the value and what is allowed."""

    reason = 'bad-option'


class Options(StrictModel):
    """Base of all options: no unknown keys, no text for numbers, nothing infinite."""


Model = TypeVar('Model', bound=Options)
Bits = Annotated[int, between(0, MAX_BITS)]


def read_options(model: type[Model], values: Mapping[str, Any], key: str) -> Model:
    """
    Validate the options of one part of the radio.

    Parameters
    ----------
    model : type
        What is allowed.
    values : mapping
        What was given.
    key : str
        Where it was given: 'zmq', say.

    Raises
    ------
    OptionError
        Names the key, the value and what is allowed.

    """
    try:
        return validate(dict(values), model)
    except FileError as error:
        raise OptionError(f'{SECTION}.{key}.{error}') from error


class FrontEndOptions(Options):
    """Calibration and quantisation; see `FrontEnd`."""

    calibration: str | None = None
    phase_bits: Bits = 0
    gain_bits: Bits = 0
    gain_range_db: Annotated[float, between(0.0, MAX_GAIN_RANGE)] = 31.5
    iq_bits: Bits = 0

    def front_end(self, array: AntennaArray, folder: Path) -> FrontEnd:
        """Front end of an array; a relative path of the calibration starts from the folder."""
        if self.calibration is None:
            calibration = Calibration.identity(len(array))
        else:
            calibration = load_calibration(folder / self.calibration, len(array),
                                           array.layout_hash)
        return FrontEnd(calibration, Quantisation(
            self.phase_bits, self.gain_bits, self.gain_range_db, self.iq_bits))


class SampleOptions(Options):
    """
    Samples that are sent, and how many streams of them; see `Waveform`.

    There is one sample for each symbol.
    """

    sample_rate_hz: Annotated[float, between(1e3, 1e9)] = 1e6
    block_length: Annotated[int, between(1, 100_000)] = 1000
    constellation: Literal['qpsk', '16qam', '64qam', '256qam', 'gaussian'] = 'qpsk'
    seed: Annotated[int, between(0, 2 ** 63 - 1)] = 1
    rows: Annotated[
        Annotated[Literal['elements', 'streams'], Tag('-word')]
        | Annotated[list[Annotated[int, between(0, MAX_ELEMENTS - 1)]],
                    Len(1, MAX_ELEMENTS), Tag('-list')],
        Discriminator(lambda value: '-list' if isinstance(value, list) else '-word')] = 'elements'
    streams: Annotated[int, between(1, 256)] = 16

    @model_validator(mode='after')
    def _short_blocks(self) -> SampleOptions:
        if self.block_length > LONGEST_BLOCK * self.sample_rate_hz:
            raise fault(['block_length'], self.block_length, 'must be at most '
                        f'{int(LONGEST_BLOCK * self.sample_rate_hz)}: '
                        f'{1e3 * LONGEST_BLOCK:g} ms at the sample rate')
        if isinstance(self.rows, list) and len(set(self.rows)) < len(self.rows):
            raise fault(['rows'], self.rows, 'must be different elements')
        return self

    def elements(self, array: AntennaArray) -> list[int] | None:
        """Elements that the rows of samples belong to; None: rows are streams."""
        if self.rows == 'streams':
            return None
        if self.rows == 'elements':
            return list(range(len(array)))
        assert isinstance(self.rows, list)
        if max(self.rows) >= len(array):
            raise OptionError(f'{SECTION}.samples.rows: is {max(self.rows)}, must be elements of '
                              f'the transmit array, 0 to {len(array) - 1}')
        return list(self.rows)


@dataclass(frozen=True)
class Site:
    """
    What every backend is given.

    Attributes
    ----------
    transmit_array, receive_array : AntennaArray
        With their poses in the world frame.
    radio : Radio
        Wavelength, symbols of a sensing period, noise.
    front_end : FrontEnd
        Of the transmit array.
    samples : SampleOptions

    """

    transmit_array: AntennaArray
    receive_array: AntennaArray
    radio: Radio
    front_end: FrontEnd
    samples: SampleOptions = SampleOptions()

    @classmethod
    def ideal(cls, array: AntennaArray, radio: Radio) -> Site:
        """Monostatic radio with an ideal front end."""
        return cls(array, array, radio, FrontEnd.ideal(len(array)))


def read_site(transmit_array: AntennaArray, receive_array: AntennaArray, radio: Radio,
              section: Mapping[str, Any], folder: Path) -> Site:
    """
    Site of a deployment.

    Parameters
    ----------
    transmit_array, receive_array, radio
        As in `Site`.
    section : mapping
        The section `radio_backend` of the deployment file.
    folder : Path
        That relative paths start from.

    Raises
    ------
    OptionError, CalibrationError, FrontEndError
        Name the key or the file, the value and what is allowed.

    """
    samples = read_options(SampleOptions, part(section, 'samples'), 'samples')
    samples.elements(transmit_array)
    front_end = read_options(FrontEndOptions, part(section, 'front_end'), 'front_end')
    return Site(transmit_array, receive_array, radio,
                front_end.front_end(transmit_array, folder), samples)


def part(section: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Part of the section `radio_backend`; OptionError if it is no mapping."""
    values = section.get(key, {})
    if not isinstance(values, Mapping):
        raise OptionError(f'{SECTION}.{key}: is {values!r}, must be a mapping of keys to values')
    return values


def check_parts(section: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise OptionError if the section has a part that nobody knows."""
    for key in section:
        if key not in known:
            raise OptionError(f'{SECTION}.{key}: no such key, {nearest(key, known)}')
