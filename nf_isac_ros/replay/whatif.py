"""What-if: the same motion with other values of the deployment file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import KnownChannel, PredictedBody, Role
from nf_isac_ros.files.deployment import Deployment, DeploymentModel
from nf_isac_ros.files.parsing import read_data, validate
from nf_isac_ros.replay.errors import ReplayError

# More comparisons than this are a mistake.
MAX_VARIANTS = 1000

Raw = dict[str, Any]


@dataclass(frozen=True)
class SweepKey:
    """
    A key of the deployment that can be swept.

    Attributes
    ----------
    text : str
        What it is, and an example.
    read : callable
        Value of a text; raises ValueError.
    set : callable
        (deployment as mapping, value) puts it in; raises ReplayError where it has no place.
    type : DataType
        Of its column, which is called sweep_KEY.

    """

    text: str
    read: Callable[[str], Any]
    set: Callable[[Raw, Any], None]
    type: pa.DataType = field(default_factory=pa.float64)

    @property
    def label(self) -> str:
        """What it is, without the example."""
        return self.text.partition(':')[0]


def _design(raw: Raw, value: str) -> None:
    raw.setdefault('design', {})['name'] = value


def _gap(raw: Raw, value: float) -> None:
    raw.setdefault('design', {})['gap'] = value


def _budget(raw: Raw, value: float) -> None:
    raw.setdefault('design', {})['budget_ms'] = value


def _min_sinr(raw: Raw, value: float) -> None:
    for body in raw.get('bodies', []):
        if body['role'] == Role.USER.value:
            body['min_sinr_db'] = value


def _radio(key: str) -> Callable[[Raw, float], None]:
    def put(raw: Raw, value: float) -> None:
        raw['radio'][key] = int(value) if key == 'symbols' else value
    return put


def _sensing_noise(raw: Raw, value: float) -> None:
    raw['radio']['sensing_noise'] = {'power_w': value}


def _planar(raw: Raw, key: str) -> dict[str, Any]:
    planar = raw[key].get('upa')
    if planar is None:
        raise ReplayError(f'--sweep elements: {key} of the deployment is {sorted(raw[key])}; must '
                          'be a upa')
    return dict(planar)


def _elements(raw: Raw, value: str) -> None:
    counts = [int(part) for part in value.split('x')]
    for key in ('array', 'receive_array'):
        if isinstance(raw.get(key), dict):
            raw[key] = {**raw[key], 'upa': {**_planar(raw, key), 'elements': counts}}


def _spacing(raw: Raw, value: float) -> None:
    for key in ('array', 'receive_array'):
        if isinstance(raw.get(key), dict):
            planar = _planar(raw, key)
            planar.pop('spacing_m', None)
            raw[key] = {**raw[key], 'upa': {**planar, 'spacing_wavelengths': value}}


def _number(text: str) -> float:
    value = float(text)
    if not np.isfinite(value):
        raise ValueError('not finite')
    return value


def _counts(text: str) -> str:
    n_x, n_y = (int(part) for part in text.lower().split('x'))
    if min(n_x, n_y) < 1:
        raise ValueError('less than one element')
    return f'{n_x}x{n_y}'


SWEEPS: Mapping[str, SweepKey] = {
    'design': SweepKey('name of a design: crb-min,zero-forcing', str.strip, _design, pa.string()),
    'min_sinr_db': SweepKey('required SINR of all users [dB]: 5:25:5', _number, _min_sinr),
    'elements': SweepKey('elements of planar arrays: 16x16,48x48', _counts, _elements,
                         pa.string()),
    'spacing_wavelengths': SweepKey('spacing of planar arrays [wavelengths]: 0.5,1', _number,
                                    _spacing),
    'power_w': SweepKey('radiated power [W]: 0.5,1,2', _number, _radio('power_w')),
    'symbols': SweepKey('symbols per sensing period: 100,1000', _number, _radio('symbols')),
    'user_noise_w': SweepKey('noise of users [W]: 1e-9,1e-8', _number, _radio('user_noise_w')),
    'sensing_noise_w': SweepKey('sensing noise [W]: 1e-13,1e-12', _number, _sensing_noise),
    'gap': SweepKey('certified relative gap: 1e-6,1e-3', _number, _gap),
    'budget_ms': SweepKey('time for one design [ms], with --realtime: 1,2,5', _number, _budget),
}
PREFIX = 'sweep_'


def allowed() -> str:
    """What can be swept, for help and errors."""
    return '; '.join(f'{key} ({what.text})' for key, what in SWEEPS.items())


@dataclass(frozen=True, eq=False)
class Variant:
    """
    A deployment to design for, and what it differs in.

    Attributes
    ----------
    deployment : Deployment
        With the design settings of the replay.
    values : mapping of str to value
        By column, sweep_KEY; empty: nothing was changed.

    """

    deployment: Deployment
    values: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def token(self) -> str:
        """Name that no other variant has; the path of the file does not count."""
        from dask.base import tokenize

        return str(tokenize(replace(self.deployment, path=Path()), dict(self.values)))

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Types of the columns of the values."""
        return {name: SWEEPS[name.removeprefix(PREFIX)].type for name in self.values}

    @property
    def label(self) -> str:
        """Values in words."""
        return ', '.join(f'{name.removeprefix(PREFIX)} {value:g}' if isinstance(value, float)
                         else f'{name.removeprefix(PREFIX)} {value}'
                         for name, value in self.values.items())

    @property
    def _sinr(self) -> float | None:
        return self.values.get(f'{PREFIX}min_sinr_db')

    def bodies(self, bodies: Sequence[PredictedBody]) -> Sequence[PredictedBody]:
        """Bodies with the required SINR of the variant, which also stands above their messages."""
        if self._sinr is None:
            return bodies
        return [body if body.role is Role.TARGET else replace(body, min_sinr_db=self._sinr)
                for body in bodies]

    def channels(self, channels: Sequence[KnownChannel]) -> Sequence[KnownChannel]:
        """Channels, alike."""
        if self._sinr is None:
            return channels
        return [replace(channel, sample=replace(channel.sample, min_sinr_db=self._sinr))
                for channel in channels]


def parse_sweeps(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """
    Read options --sweep.

    Parameters
    ----------
    texts : sequence of str
        KEY=VALUES; values are separated by commas, or FIRST:LAST:STEP.

    Returns
    -------
    dict
        Values by key, without repetitions.

    Raises
    ------
    ReplayError
        Names the text and what is allowed.

    """
    sweeps: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        key, equals, values = text.partition('=')
        key = key.strip()
        if not equals or key not in SWEEPS:
            raise ReplayError(f'--sweep: is {text!r}; must be KEY=VALUES with a key of '
                              f'{allowed()}')
        if key in sweeps:
            raise ReplayError(
                f'--sweep {key}: is there twice; must be there once, with all values')
        sweeps[key] = tuple(dict.fromkeys(_values(key, values)))
    return sweeps


def _values(key: str, text: str) -> list[Any]:
    what = SWEEPS[key]
    found: list[Any] = []
    for part in text.split(','):
        try:
            if what.read is _number and ':' in part:
                found += _range(part)
            else:
                if not part.strip():
                    raise ValueError('empty')
                found.append(what.read(part))
        except ValueError:
            raise ReplayError(
                f'--sweep {key}: has {part!r}; must be values of {what.text}') from None
    return found


def _range(text: str) -> list[float]:
    first, last, step = map(_number, text.split(':'))
    count = (last - first) / step if step else -1.0
    if not 0 <= count < MAX_VARIANTS:
        raise ValueError('no range')
    # The last value belongs to it, rounding or not.
    return [float(f'{first + k * step:.12g}') for k in range(int(count + 1e-9) + 1)]


def variants(path: Path, sweeps: Mapping[str, Sequence[Any]],
             settle: Callable[[Deployment], Deployment]) -> list[Variant]:
    """
    All combinations of the values of sweeps.

    Parameters
    ----------
    path : Path
        Deployment file.
    sweeps : mapping of str to sequence
        As `parse_sweeps` returns them.
    settle : callable
        Gives a deployment the design settings of the replay; what is swept wins.

    Raises
    ------
    ReplayError
        If there are too many, or a value has no place in the deployment or is not allowed there.

    """
    if not sweeps:
        return []
    count = int(np.prod([len(values) for values in sweeps.values()]))
    if count > MAX_VARIANTS:
        raise ReplayError(f'--sweep: makes {count} combinations; must be at most {MAX_VARIANTS}')
    base = read_data(path)
    made = []
    for values in product(*sweeps.values()):
        raw = deepcopy(base)
        chosen = dict(zip(sweeps, values))
        for key, value in chosen.items():
            SWEEPS[key].set(raw, value)
        words = ', '.join(f'{key}={value}' for key, value in chosen.items())
        try:
            deployment = validate(raw, DeploymentModel).value(path)
        except NfIsacError as error:
            raise ReplayError(f'--sweep {words}: {error}') from error
        settled = settle(deployment)
        kept = {'gap': deployment.design.gap} if 'gap' in chosen else {}
        if kept:
            settled = replace(settled, design=replace(settled.design, **kept))
        made.append(Variant(settled, {f'{PREFIX}{key}': value for key, value in chosen.items()}))
    return made
