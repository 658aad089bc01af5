"""
Localisation of a point target by its echo: error of maximum likelihood beside the bound.

(a) against the SNR: above a threshold errors are those of the bound; (b) against the distance. Not
of the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.localisation.echoes import Sensor, qpsk_symbols, simulate_echo_samples
from nf_isac_ros.core.localisation.likelihood import Likelihood
from nf_isac_ros.core.localisation.localiser import EchoState, ExpectedTarget, locate
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise
from nf_isac_ros.figures.designing import design
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table
from nf_isac_ros.figures.parameters import POSITIVE, Settings, parameter
from nf_isac_ros.figures.style import Look, curve, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ('noise_w', 'distance_m', 'log_likelihood_ratio', 'root_crb_m', 'rmse_m', 'missed',
           'trials')
ERROR = Look('maximum likelihood, of those detected', '#0072B2', 'o')
BOUND = Look('root-CRB of the beams', '#000000', '', '--')
MISSED = Look('share that was not detected', '#D55E00', 's', ':')


@dataclass(frozen=True)
class Parameters(Settings):
    """One target off the boresight of a monostatic array."""

    wavelength_m: float = parameter(0.0107, 'wavelength [m]', POSITIVE)
    side: int = parameter(24, 'elements along x and y', 2, 64)
    symbols: int = parameter(1000, 'symbols per sensing period', 1, 10**6)
    power_w: float = parameter(1.0, 'transmit power [W]', POSITIVE)
    noise_w: float = parameter(1e-12, 'noise power at a receive element in (b) [W]', POSITIVE)
    least_noise_w: float = parameter(1e-12, 'least noise power in (a) [W]', POSITIVE)
    most_noise_w: float = parameter(1e-6, 'largest noise power in (a) [W]', POSITIVE)
    noises: int = parameter(19, 'noise powers, even in decibels', 2, 1000)
    distance_m: float = parameter(2.0, 'distance of the target in (a) [m]', POSITIVE)
    nearest_m: float = parameter(0.5, 'least distance in (b) [m]', POSITIVE)
    farthest_m: float = parameter(8.0, 'largest distance in (b) [m]', POSITIVE)
    distances: int = parameter(12, 'distances, even on a logarithmic scale', 2, 10_000)
    track_m: float = parameter(0.05, 'standard deviation of the tracks [m]', POSITIVE, 10.0)
    trials: int = parameter(300, 'echoes at each point', 1, 10**7)
    seed: int = parameter(1, 'of the noise', 0, 2**32 - 1)


def at_point(parameters: Parameters, noise: float, distance: float, place: int) -> Table:
    """Bound and error at one noise power [W] and distance [m]."""
    p = parameters
    array = AntennaArray(planar_elements(p.side, p.side, p.wavelength_m / 2))
    position = distance * np.array([0.3, 0.2, np.sqrt(1 - 0.13)])
    white = SensingNoise(power=noise)
    scene = Scene(array, array, Radio(p.wavelength_m, p.power_w, p.symbols, 1e-8, white),
                  (PointTarget('t1', position),))
    solution = design(scene, 'crb-min', p.gap)
    sensor = Sensor(array, array, p.wavelength_m, white)
    rng = np.random.default_rng((p.seed, place))
    weights = solution.weights
    beams = weights[:, np.abs(weights).sum(axis=0) > 0]
    covariance = p.track_m ** 2 * np.eye(3)
    errors, ratios = [], []
    for _ in range(p.trials):
        echoes = simulate_echo_samples(sensor, position[None], np.ones(1), beams, qpsk_symbols(
            rng, beams.shape[1], p.symbols), rng)
        track = position + p.track_m * rng.standard_normal(3)
        found, = locate(Likelihood(sensor, echoes), [ExpectedTarget('t1', track, covariance)])
        ratios.append(found.log_likelihood_ratio)
        if found.state is EchoState.DETECTED:
            errors.append(np.linalg.norm(found.position - position))
    return table(
        noise_w=noise, distance_m=distance, log_likelihood_ratio=np.mean(ratios),
        root_crb_m=np.sqrt(solution.targets[0].crb.trace()),
        rmse_m=np.sqrt(np.mean(np.square(errors))) if errors else np.nan,
        missed=1 - len(errors) / p.trials, trials=p.trials)


def by_noise(parameters: Parameters) -> Sequence[Task]:
    p = parameters
    noises = np.geomspace(p.least_noise_w, p.most_noise_w, p.noises)
    return [Task(at_point, (p, float(noise), p.distance_m, place))
            for place, noise in enumerate(noises)]


def by_distance(parameters: Parameters) -> Sequence[Task]:
    p = parameters
    return [Task(at_point, (p, p.noise_w, float(distance), 1000 + place)) for place, distance in
            enumerate(np.geomspace(p.nearest_m, p.farthest_m, p.distances))]


def draw(axes: Axes, x: NDArray[np.float64], rows: Table, label: str, scale: str) -> None:
    curve(axes, x, rows['rmse_m'], ERROR, marks=30)
    curve(axes, x, rows['root_crb_m'], BOUND)
    finish(axes, label, 'position error [m]', logarithmic=scale)
    if not rows['missed'].any():
        return
    right = axes.twinx()
    curve(right, x, rows['missed'], MISSED, marks=30)
    right.set_ylim(0.0, 1.02)
    right.set_ylabel('share that was not detected', color=MISSED.colour)


def draw_noise(axes: Axes, rows: Table, parameters: Parameters) -> None:
    # Ratio of the echo's energy to the noise, after the matched filter.
    base = rows['log_likelihood_ratio'][0] * rows['noise_w'][0]
    draw(axes, 10 * np.log10(base / rows['noise_w']), rows, 'SNR after the matched filter [dB]',
         'y')


def draw_distance(axes: Axes, rows: Table, parameters: Parameters) -> None:
    draw(axes, rows['distance_m'], rows, 'distance of the target [m]', 'xy')
    # One power of ten alone says little.
    axes.xaxis.set_minor_formatter('{x:g}')
    axes.xaxis.set_major_formatter('{x:g}')


FIGURE = Figure('Localisation by echoes: error and bound', Parameters, {
    'a': Panel('Error of the position against the SNR', COLUMNS, by_noise, draw_noise),
    'b': Panel('Error of the position against the distance', COLUMNS, by_distance,
               draw_distance),
})
