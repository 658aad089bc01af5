"""The section `limits` of a deployment file: what the radio may radiate, and where people are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nf_isac_ros.files.models import MAX_BODIES, Name, Point, Positive, between
from nf_isac_ros.files.parsing import FileError, StrictModel

Vector = NDArray[np.float64]
Metres = Annotated[float, between(0.01, 100.0)]


@dataclass(frozen=True)
class KeepOutSettings:
    """
    A volume in which the power density is limited.

    Attributes
    ----------
    name : str
    density : float
        Largest power density in it [W/m^2].
    radius, height : float
        Of an upright cylinder; height 0: of a sphere [m].
    centre : ndarray, shape (3,), or None
        Of a fixed volume, in the world frame [m]; None: it goes with bodies.
    body, role : str
        Which bodies it goes with: of that id, or of that role; one of the two is empty.
    offset : ndarray, shape (3,)
        From the tracked point to the centre, in the world frame [m].

    """

    name: str
    density: float
    radius: float
    height: float = 0.0
    centre: Vector | None = None
    body: str = ''
    role: str = ''
    offset: Vector = field(default_factory=lambda: np.zeros(3))


@dataclass(frozen=True)
class LimitSettings:
    """
    What the radio may radiate, whatever a design asks for.

    Attributes
    ----------
    power, element_power, eirp : float
        Of all elements together, of each, over all directions [W]; inf: no limit.
    keep_out : tuple of KeepOutSettings

    """

    power: float = math.inf
    element_power: float = math.inf
    eirp: float = math.inf
    keep_out: tuple[KeepOutSettings, ...] = ()


class KeepOutModel(StrictModel):
    """One volume of `limits.keep_out`."""

    name: Name
    body: Name | None = None
    role: Literal['target', 'user'] | None = None
    centre_m: Point | None = None
    offset_m: Point = [0.0, 0.0, 0.0]
    radius_m: Metres
    height_m: Metres | None = None
    density_w_m2: Positive

    @model_validator(mode='after')
    def _one_place(self) -> KeepOutModel:
        self.exactly_one('body', 'role', 'centre_m')
        return self

    def value(self) -> KeepOutSettings:
        """Return the settings of a volume."""
        return KeepOutSettings(
            self.name, self.density_w_m2, self.radius_m, self.height_m or 0.0,
            None if self.centre_m is None else np.array(self.centre_m), self.body or '',
            self.role or '', np.array(self.offset_m))


class LimitsModel(StrictModel):
    """The section `limits`."""

    power_w: Positive | None = None
    element_power_w: Positive | None = None
    eirp_w: Positive | None = None
    keep_out: Annotated[list[KeepOutModel], Field(max_length=MAX_BODIES)] = []

    def value(self, bodies: Collection[str]) -> LimitSettings:
        """
        Return the settings of the section.

        Parameters
        ----------
        bodies : collection of str
            Ids that a volume may go with.

        Raises
        ------
        FileError
            If a volume goes with a body that is not among them.

        """
        for i, volume in enumerate(self.keep_out):
            if volume.body is not None and volume.body not in bodies:
                known = ', '.join(sorted(bodies)) or 'none'
                raise FileError(f'limits.keep_out[{i}].body: is "{volume.body}"; must be the id '
                                f'of one of the bodies ({known})')

        def limit(value: float | None) -> float:
            return math.inf if value is None else value

        return LimitSettings(limit(self.power_w), limit(self.element_power_w),
                             limit(self.eirp_w), tuple(v.value() for v in self.keep_out))
