"""Fig. 5: as Fig. 4, with a path from the array to the user by way of the target, Eq. (51)."""

from __future__ import annotations

from dataclasses import dataclass

from nf_isac_ros.figures import fig4_separated
from nf_isac_ros.figures.panels import Figure
from nf_isac_ros.figures.parameters import parameter


@dataclass(frozen=True)
class Parameters(fig4_separated.Parameters):
    """Section VI-B, with scattering."""

    scattering: float = parameter(
        0.3, 'coefficient eta of the path by way of the target', -1e3, 1e3)


FIGURE = Figure('One target, one user elsewhere, and a scattered path', Parameters,
                fig4_separated.PANELS)
