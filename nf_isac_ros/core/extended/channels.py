"""Channels of users with few paths: a line of sight and scatterers in random directions."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.far_field import plane_wave_responses

Complex = NDArray[np.complex128]


def saleh_valenzuela(array: AntennaArray, direction: float, wavelength: float, path_loss_db: float,
                     sight_share: float, paths: int, rng: np.random.Generator) -> Complex:
    """
    Draw a channel of the Saleh-Valenzuela model.

    Parameters
    ----------
    array : AntennaArray
    direction : float
        Of the user, from the array's z axis towards its y axis [rad].
    wavelength : float
        [m].
    path_loss_db : float
        Mean loss from one element to the user [dB].
    sight_share : float
        Share of the line of sight in the mean power; 0: there is none, and all paths scatter.
    paths : int
        L, the line of sight included.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (N,)
        Channel h; the user receives h^H x.

    Raises
    ------
    SceneError
        'bad-channel'.

    Notes
    -----
    Eq. (5) of Wang, Tao, Sun, arXiv 2406.01937. Scattered paths have complex Gaussian gains of
    equal mean power, and sines of their directions are uniform from -1 to 1: choices of ours.

    """
    if not 0.0 <= sight_share <= 1.0:
        raise SceneError(f'share of the line of sight is {sight_share}, must be from 0 to 1',
                         'bad-channel')
    scattered = paths - 1 if sight_share > 0 else paths
    if scattered < (1 if sight_share < 1 else 0):
        raise SceneError(f'paths is {paths} with a share of {sight_share} in sight, must leave '
                         'one that is scattered', 'bad-channel')
    phase = rng.uniform(0.0, 2 * np.pi)
    gains = rng.normal(size=(scattered, 2)) @ [1.0, 1.0j] / sqrt(2.0)
    directions = np.arcsin(rng.uniform(-1.0, 1.0, scattered))
    weights = np.concatenate([
        [sqrt(sight_share) * np.exp(1j * phase)],
        sqrt((1.0 - sight_share) / max(scattered, 1)) * gains])
    response, _ = plane_wave_responses(
        array, array.pose.rotation[:, [2, 1]], np.concatenate([[direction], directions]),
        wavelength)
    return 10 ** (-path_loss_db / 20) * (response @ weights)
