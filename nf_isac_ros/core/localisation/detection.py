"""
Is there a target? Thresholds with a stated rate of false alarms, and where to look for new ones.

Notes
-----
The log-likelihood ratio of one target of unknown reflection at a known place is exponentially
distributed without a target. Its maximum over a volume exceeds a level u / 2 about as often as
the expected Euler characteristic of the set above it says (Worsley, Adv. Appl. Prob. 26, 1994):

    P = sum_d mu_d rho_d(u),   rho_0 = e^(-u/2),               rho_1 = (u / 2 pi)^(1/2) e^(-u/2),
    rho_2 = (u - 1) e^(-u/2) / 2 pi,   rho_3 = (u^2 - 3 u) u^(-1/2) e^(-u/2) / (2 pi)^(3/2)

for a chi-square field of two degrees of freedom, where the mu_d are the intrinsic volumes of the
volume (of a box with sides a, b, c: 1, a + b + c, a b + b c + c a, a b c) in coordinates in which
the echo changes at unit speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, pi, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.localisation.echoes import EchoError, Sensor

Real = NDArray[np.float64]

# Largest ratio that a threshold is looked for at; e^-200 is no rate of false alarms.
_HIGHEST = 200.0
# Points of a search grid; more would take longer than a target stays.
MAX_POINTS = 200_000


def false_alarm_rate(ratio: float, sides: Real) -> float:
    """
    Expected number of places in a box at which noise alone exceeds a log-likelihood ratio.

    Parameters
    ----------
    ratio : float
        At least 1.5: below, the formula means nothing.
    sides : ndarray, shape (3,)
        Of the box, in units in which the echo changes at unit speed; see `Hypothesis.metric`.

    """
    u = 2.0 * ratio
    a, b, c = (float(side) for side in sides)
    density = (1.0, sqrt(u / (2 * pi)), (u - 1) / (2 * pi), (u - 3) * sqrt(u) / (2 * pi) ** 1.5)
    volume = (1.0, a + b + c, a * b + b * c + c * a, a * b * c)
    return exp(-ratio) * sum(x * y for x, y in zip(density, volume, strict=True))


def detection_threshold(rate: float, sides: Real) -> float:
    """
    Log-likelihood ratio that noise alone exceeds somewhere in a box at a given rate.

    Parameters
    ----------
    rate : float
        Expected false alarms each time that the box is looked at, below 0.5.
    sides : ndarray, shape (3,)
        As for `false_alarm_rate`.

    """
    lowest = max(-log(rate), 1.5)
    if false_alarm_rate(lowest, sides) <= rate:
        return lowest
    # A tenth of a second, which every node would spend when it starts.
    from scipy.optimize import brentq

    return float(brentq(lambda ratio: log(false_alarm_rate(ratio, sides)) - log(rate), lowest,
                        _HIGHEST))


@dataclass(frozen=True)
class SearchGrid:
    """
    Points at which new targets are looked for.

    Attributes
    ----------
    points : ndarray, shape (P, 3)
        In the world frame [m].
    sides : ndarray, shape (3,)
        Of a box as large as the volume, as for `detection_threshold`.

    """

    points: Real
    sides: Real


def search_grid(sensor: Sensor, lower: Real, upper: Real, step: float = 1.0) -> SearchGrid:
    """
    Grid over a box: even in direction cosines and in inverse range, as arrays resolve.

    Parameters
    ----------
    sensor : Sensor
    lower, upper : ndarray, shape (3,)
        Corners of the box in the world frame [m]. What lies behind the receive array, or within a
        wavelength of an element, is left out.
    step : float
        Distance of neighbours: 1 loses at most half of a ratio between them, and a quarter on the
        mean.

    Returns
    -------
    SearchGrid

    Raises
    ------
    EchoError
        'bad-volume' if the box has no volume in front of the array, or if it would take more than
        `MAX_POINTS` points.

    """
    if not (np.isfinite([lower, upper]).all() and (np.asarray(upper) > lower).all()):
        raise EchoError(f'search volume from {list(lower)} to {list(upper)} m, must have a length '
                        'along each axis', 'bad-volume')
    array = sensor.receive_array
    rate = np.sqrt(sum(_rates(each, sensor.wavelength) ** 2
                       for each in (sensor.transmit_array, sensor.receive_array)))
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True), indexing='ij'))
    nearest = np.clip(array.centre, lower, upper)
    reach = np.linalg.norm(corners.reshape(3, -1).T - array.centre, axis=1).max()
    closest = max(float(np.linalg.norm(nearest - array.centre)), array.aperture / 2,
                  2 * sensor.wavelength)
    spans = (np.array([-1.0, 1.0]), np.array([-1.0, 1.0]), np.array([1 / reach, 1 / closest]))
    counts = [max(int(np.ceil(np.ptp(span) * speed / step)), 1)
              for span, speed in zip(spans, rate, strict=True)]
    if prod(counts) > 50 * MAX_POINTS:
        raise EchoError('the search volume is too large for this array', 'bad-volume')
    x, y, inverse = np.meshgrid(*(
        span[0] + np.ptp(span) * (np.arange(count) + 0.5) / count
        for span, count in zip(spans, counts, strict=True)), indexing='ij')
    ahead = x ** 2 + y ** 2 < 1.0
    x, y, inverse = x[ahead], y[ahead], inverse[ahead]
    directions = np.stack([x, y, np.sqrt(1.0 - x ** 2 - y ** 2)], axis=1)
    middle = array.pose.to_inner(array.centre)
    points = array.pose.to_outer(middle + directions / inverse[:, None])
    inside = ((points >= lower) & (points <= upper)).all(axis=1)
    for each in (sensor.transmit_array, sensor.receive_array):
        inside &= _apart(each, points, sensor.wavelength)
    if not inside.any() or inside.sum() > MAX_POINTS:
        raise EchoError(f'the search volume has {inside.sum()} points in front of the array, must '
                        f'be from 1 to {MAX_POINTS}', 'bad-volume')
    cells = np.array([len(np.unique(values[inside])) for values in (x, y, inverse)], dtype=float)
    # As many cells as there are points, in the proportions of their bounding box.
    cells *= (inside.sum() / prod(cells)) ** (1 / 3)
    return SearchGrid(np.ascontiguousarray(points[inside]), cells * step)


def _rates(array: AntennaArray, wavelength: float) -> Real:
    """How fast a response turns with the direction cosines and the inverse range, shape (3,)."""
    place = array.elements - array.elements.mean(axis=0)
    across = place[:, :2].std(axis=0)
    depth = 0.5 * (place ** 2).sum(axis=1).std()
    return 2 * pi / wavelength * np.array([*across, depth])


def _apart(array: AntennaArray, points: Real, wavelength: float) -> NDArray[np.bool_]:
    """Tell which points are far enough from every element, without a look at each element."""
    inside = array.pose.to_inner(points)
    low, high = array.elements.min(axis=0) - wavelength, array.elements.max(axis=0) + wavelength
    return ~((inside >= low) & (inside <= high)).all(axis=1)
