"""What the figures of the extended-target paper share: parameters, channels, scenes, designs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray, linear_elements
from nf_isac_ros.core.designs.zero_forcing import ZeroForcingError
from nf_isac_ros.core.exceptions import InfeasibleError
from nf_isac_ros.core.extended.channels import saleh_valenzuela
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.gram import ExtendedBounds
from nf_isac_ros.core.extended.plane import pose_in_plane
from nf_isac_ros.core.scene import (
    ExtendedOptions,
    ExtendedTarget,
    Lengths,
    Radio,
    Scene,
    SensingNoise,
    User,
)
from nf_isac_ros.core.solution import Solution
from nf_isac_ros.figures.designing import design
from nf_isac_ros.figures.errors import FigureError
from nf_isac_ros.figures.parameters import POSITIVE, Settings, parameter
from nf_isac_ros.figures.scenes import watts

CRB_MIN, ZERO_FORCING = 'extended-crb-min', 'extended-zero-forcing'
BENCHMARKS = ('average', 'average-null')
VEHICLE, UAV, POINT = 'vehicle', 'uav', 'point'

# A design's word for less coverage than was asked for.
RELAXED = 'coverage-relaxed'

# Share of the power below which a beam without data is none: the benchmarks, which may send such
# beams, make no use of them.
ROUNDING = 1e-4

# A circle so small that it is a point at every range of interest [m].
POINT_RADIUS = 1e-4


@dataclass(frozen=True)
class Extended(Settings):
    """Section V of the paper; numbers that its text has lost are choices of ours."""

    transmit_elements: int = parameter(16, 'transmit elements', 2, 256)
    receive_elements: int = parameter(20, 'receive elements', 2, 256)
    wavelength_m: float = parameter(
        0.01, 'wavelength [m]; the elements are half of it apart', POSITIVE)
    power_dbm: float = parameter(30.0, 'transmit power [dBm]', -300, 300)
    user_noise_dbm: float = parameter(-80.0, 'noise power at a user [dBm]', -300, 300)
    sensing_noise_dbm: float = parameter(
        -80.0, 'noise power at a receive element [dBm]', -300, 300)
    symbols: int = parameter(1000, 'symbols per sensing period; bounds scale as 1 / L', 1, 10**9)
    bandwidth_hz: float = parameter(1e8, 'effective bandwidth [Hz]', POSITIVE)
    sinr_db: float = parameter(10.0, 'required SINR [dB]', -100, 100)
    user_directions_deg: tuple[float, ...] = parameter(
        (-60.0, -30.0, 30.0, 60.0), 'directions of the users [deg]', -90, 90)
    path_loss_db: float = parameter(100.0, 'mean path loss of a user [dB]', -300, 300)
    sight_share: float = parameter(
        0.8, 'share of the line of sight in the mean power at a user', 0, 1)
    paths: int = parameter(4, 'paths to a user, the line of sight included', 1, 1000)
    distance_m: float = parameter(20.0, 'distance of the target, centre to centre [m]', POSITIVE)
    direction_deg: float = parameter(0.0, 'direction of the target [deg]', -80, 80)
    orientation_deg: float = parameter(30.0, 'orientation of the target [deg]', -360, 360)
    snr_distance_m: float = parameter(
        20.0, 'distance whose path loss, by the radar equation, echoes have from anywhere [m]',
        POSITIVE)
    sections: int = parameter(8, 'sections K of the visible contour', 1, 128)
    vehicle_cosine: tuple[float, ...] = parameter(
        (2.05, -0.002, 0.5, 0.0, 0.056, 0.001, -0.125, 0.003),
        'cosine coefficients of the vehicle [m]')
    vehicle_sine: tuple[float, ...] = parameter(
        (1.24, -0.001, 0.335, -0.001, 0.124, -0.001, 0.018, 0.0),
        'sine coefficients of the vehicle [m]')
    uav_cosine: tuple[float, ...] = parameter(
        (0.797, 0.0, -0.153, 0.0, -0.272, 0.0, -0.12, 0.0, 0.045),
        'cosine coefficients of the UAV [m]')
    uav_sine: tuple[float, ...] = parameter(
        (0.797, 0.0, 0.153, 0.0, -0.272, 0.0, 0.12, 0.0, 0.045),
        'sine coefficients of the UAV [m]')
    coverage_ratio: float = parameter(
        2.0, 'largest over smallest illumination of the sections in CRB-min designs', 1, 1e6)
    exact: int = parameter(
        0, "derivatives of the sections by the pose: 0 the paper's far approximation, 1 exact", 0,
        1)
    seed: int = parameter(1, 'of all random numbers', 0, 2**32 - 1)
    gap: float = parameter(1e-4, 'certified relative gap of every design', 1e-12, 0.1)

    def contour(self, shape: str) -> Contour:
        """Contour of a vehicle, a UAV or a point."""
        if shape == POINT:
            return Contour((POINT_RADIUS,), (POINT_RADIUS,))
        return Contour(getattr(self, f'{shape}_cosine'), getattr(self, f'{shape}_sine'))


Channels = Sequence[NDArray[np.complex128]]


def arrays(p: Extended) -> tuple[AntennaArray, AntennaArray]:
    """Linear transmit and receive array, with the same centre."""
    spacing = p.wavelength_m / 2
    return (AntennaArray(linear_elements(p.transmit_elements, spacing)),
            AntennaArray(linear_elements(p.receive_elements, spacing)))


def generator(p: Extended, *which: int) -> np.random.Generator:
    """Random numbers that depend on the seed and on what they are for, and on nothing else."""
    return np.random.default_rng([p.seed, *which])


def channels(p: Extended, draw: int) -> Channels:
    """
    Channels of the users.

    Parameters
    ----------
    p : Extended
    draw : int
        Number of the realisation; that of a user does not depend on how many there are.

    """
    transmit, _ = arrays(p)
    return [saleh_valenzuela(transmit, np.deg2rad(direction), p.wavelength_m, p.path_loss_db,
                             p.sight_share, p.paths, generator(p, 0, draw, user))
            for user, direction in enumerate(p.user_directions_deg)]


def scene(p: Extended, shape: str, distance: float, users: Channels, lengths: Lengths = 'metres'
          ) -> Scene:
    """
    Scene with one target.

    Parameters
    ----------
    p : Extended
    shape : str
        'vehicle', 'uav' or 'point'.
    distance : float
        Of the target [m]; the radar SNR does not depend on it.
    users : sequence of ndarray, shape (N,)
        Channels.
    lengths : str
        Of the sections: in 'metres', or 'normalised' to a sum of one. A point has one of one.

    """
    transmit, receive = arrays(p)
    radio = Radio(
        wavelength=p.wavelength_m, power=watts(p.power_dbm), symbols=p.symbols,
        user_noise=watts(p.user_noise_dbm),
        sensing_noise=SensingNoise(power=watts(p.sensing_noise_dbm)), bandwidth=p.bandwidth_hz)
    pose = pose_in_plane(transmit, distance, np.deg2rad(p.direction_deg),
                         np.deg2rad(p.orientation_deg))
    echo = p.wavelength_m ** 2 / ((4 * pi) ** 3 * p.snr_distance_m ** 4)
    point = shape == POINT
    target = ExtendedTarget(
        'target', p.contour(shape), pose, path_power=echo, sections=1 if point else p.sections,
        lengths='normalised' if point else lengths)
    options = ExtendedOptions(
        coverage_ratio=p.coverage_ratio, geometry='exact' if p.exact else 'far',
        sensing_stream=False)
    return Scene(
        transmit, receive, radio, extended=(target,), options=options,
        users=tuple(User(f'u{i + 1}', p.sinr_db, channel=one) for i, one in enumerate(users)))


def required(p: Extended, placed: Scene, name: str) -> Solution:
    """
    Run a design.

    Raises
    ------
    InfeasibleError, SolverError
        As `designing.design`.
    FigureError
        If it cannot cover the target as asked.

    """
    found = design(placed, name, p.gap)
    if found.reason == RELAXED:
        raise FigureError(f'--set coverage_ratio: is {p.coverage_ratio:g}; must be '
                          f'{found.coverage_limit:.4g} or more with these users')
    return found


def designed(p: Extended, placed: Scene, name: str) -> Solution | None:
    """Run a design; None if it cannot serve the users or cover the target as asked."""
    try:
        return required(p, placed, name)
    except (InfeasibleError, ZeroForcingError, FigureError):
        return None


def beams(solution: Solution) -> NDArray[np.complex128]:
    """Beams, with data or without, but for what a solver's rounding leaves, shape (N, s)."""
    sensing = np.linalg.norm(solution.sensing, axis=0) ** 2 > ROUNDING * solution.power_limit
    return np.hstack([solution.communication, solution.sensing[:, sensing]])


def one_cell(placed: Scene) -> Scene:
    """Scene whose echoes lie in a single range cell."""
    return replace(placed, radio=replace(placed.radio, bandwidth=None))


def bounds(solution: Solution) -> ExtendedBounds:
    """Bounds of the one target."""
    found = solution.targets[0].bounds
    assert found is not None
    return found
