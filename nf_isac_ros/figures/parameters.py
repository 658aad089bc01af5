"""Parameters of the figures: the paper's by default, all of them to be changed by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
import math
from typing import Any, get_type_hints

from nf_isac_ros.figures.errors import FigureError


def parameter(default: Any, text: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """Field of a parameter class with its description and its range, both ends allowed."""
    return field(default=default, metadata={'text': text, 'low': low, 'high': high})


# Smallest positive number worth allowing; zero itself is not.
POSITIVE = 1e-300


@dataclass(frozen=True)
class Settings:
    """What can be changed of every figure."""

    gap: float = parameter(1e-6, 'certified relative gap of every design', 1e-12, 0.1)


@dataclass(frozen=True)
class Common(Settings):
    """
    What the figures of the near-field paper share.

    The paper takes c = 3e8 m/s, which its printed lengths follow from, and does not give L.
    """

    carrier_hz: float = parameter(28e9, 'carrier frequency [Hz]', POSITIVE)
    speed_m_s: float = parameter(3e8, 'speed of light [m/s]', POSITIVE)
    power_dbm: float = parameter(10.0, 'transmit power [dBm]', -300, 300)
    user_noise_dbm: float = parameter(-50.0, 'noise power at a user [dBm]', -300, 300)
    sensing_noise_dbm: float = parameter(
        -50.0, 'noise power at a receive element [dBm]', -300, 300)
    symbols: int = parameter(100, 'symbols per sensing period L; bounds scale as 1 / L', 1, 10**9)
    depth_m: float = parameter(2.47, 'distance D_z of the two arrays [m]', POSITIVE)

    @property
    def wavelength(self) -> float:
        """Wavelength [m]."""
        return self.speed_m_s / self.carrier_hz


@dataclass(frozen=True)
class Planar(Common):
    """What the figures with two large planar arrays and beam patterns share."""

    n_x: int = parameter(48, 'elements along x, of both arrays', 1, 1024)
    n_y: int = parameter(48, 'elements along y, of both arrays', 1, 1024)
    cells_y: int = parameter(120, 'cells of a beam pattern along y', 1, 4096)
    cells_z: int = parameter(240, 'cells of a beam pattern along z', 1, 4096)
    view_m: float = parameter(0.6, 'beam patterns reach from -view_m to view_m in y [m]', POSITIVE)


def describe(kind: type[Settings]) -> Iterator[tuple[str, object, str]]:
    """Yield name, default and description of each parameter."""
    for item in fields(kind):
        yield item.name, item.default, item.metadata['text']


def changed(defaults: Settings, settings: Iterable[tuple[str, str]]) -> Settings:
    """
    Change parameters.

    Parameters
    ----------
    defaults : Settings
    settings : iterable of (str, str)
        Names and values as text; names that these parameters do not have are passed over.

    Returns
    -------
    Settings

    Raises
    ------
    FigureError
        If a value is no number of the right kind or out of range.

    """
    kinds = get_type_hints(type(defaults))
    known = {item.name: item for item in fields(defaults)}
    values: dict[str, object] = {}
    for name, text in settings:
        if name in known:
            values[name] = _value(name, text, kinds[name], known[name].metadata)
    return replace(defaults, **values)


def split_settings(settings: Sequence[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """
    Split `name=value` texts.

    Raises
    ------
    FigureError
        If one has no '=', or a name that none of the figures has.

    """
    names = sorted(set(known))
    pairs = []
    for setting in settings:
        name, equals, text = setting.partition('=')
        if not equals:
            raise FigureError(f'--set: is {setting!r}; must be NAME=VALUE')
        if name not in names:
            raise FigureError(f'--set: names {name!r}; must be one of {", ".join(names)}')
        pairs.append((name, text))
    return pairs


def _value(name: str, text: str, kind: Any, limits: Any) -> object:
    """Read one number or, where the default is a tuple, several with commas between them."""
    if kind not in (int, float):
        parts = [part for part in text.split(',') if part.strip()]
        if not parts:
            raise FigureError(f'--set {name}: is {text!r}; must be at least one number')
        inner = kind.__args__[0]
        return tuple(_value(name, part, inner, limits) for part in parts)
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not limits['low'] <= value <= limits['high']:
        word = 'whole number' if kind is int else 'number'
        low, high = limits['low'], limits['high']
        range_ = ('positive' if low == POSITIVE and high == math.inf
                  else 'finite' if low == -math.inf and high == math.inf
                  else f'from {low:g} to {high:g}')
        raise FigureError(f'--set {name}: is {text!r}; must be a {word}, {range_}')
    if not math.isfinite(value):
        raise FigureError(f'--set {name}: is {text!r}; must be finite')
    return value
