"""Scenes of the paper: two equal planar arrays that face each other, bodies between them."""

from __future__ import annotations

from collections.abc import Sequence

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.figures.parameters import Common


def watts(dbm: float) -> float:
    """Power [W] of a level in dBm."""
    return 10 ** (dbm / 10 - 3)


def facing_arrays(parameters: Common, n_x: int, n_y: int, targets: Sequence[PointTarget],
                  users: Sequence[User]) -> Scene:
    """
    Scene of Fig. 2(a): transmit array in z = 0, receive array in z = D_z, both centred.

    Parameters
    ----------
    parameters : Common
    n_x, n_y : int
        Elements of either array; the spacing is half a wavelength.
    targets : sequence of PointTarget
        Positions in the frame of the transmit array [m].
    users : sequence of User

    Returns
    -------
    Scene

    """
    transmit, receive = (
        AntennaArray(planar_elements(n_x, n_y, parameters.wavelength / 2, (0.0, 0.0, z)))
        for z in (0.0, parameters.depth_m))
    radio = Radio(
        wavelength=parameters.wavelength, power=watts(parameters.power_dbm),
        symbols=parameters.symbols, user_noise=watts(parameters.user_noise_dbm),
        sensing_noise=SensingNoise(power=watts(parameters.sensing_noise_dbm)))
    return Scene(transmit, receive, radio, tuple(targets), tuple(users))
