"""Rows of what comes before the solver: channels, basis and Fisher map, against N."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import time

import numpy as np

from nf_isac_ros.bench.sampling import Effort, Row, milliseconds, paced
from nf_isac_ros.bench.scenes import SIDE, random_scenes
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import Scene

SIDES = (8, 16, 32, SIDE, 64, 96, 128)
SIZES = ((2, 2), (4, 4))
SEED = 2


def rows(effort: Effort, sides: Sequence[int] = SIDES,
         sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Row]:
    """Build problems of square arrays, and time beside it what cannot be left out."""
    for side in sides:
        for size in sizes:
            times, exponentials, products = [], [], []
            # A few scenes in turn: drawing feasible ones takes longer than building them.
            drawn = list(paced(random_scenes(SEED, *size, side), 5, effort.seconds))
            build_problem(drawn[0])
            scenes = (drawn[i % len(drawn)] for i in range(effort.runs))
            for scene in paced(scenes, effort.runs, effort.seconds):
                started = time.perf_counter()
                build_problem(scene)
                times.append(1e3 * (time.perf_counter() - started))
                floor = bare(scene)
                exponentials.append(floor[0])
                products.append(floor[1])
            floors = np.add(exponentials, products)
            yield {
                'bench': 'build', 'targets': size[0], 'users': size[1], 'antennas': side * side,
                **milliseconds(times), 'runs': len(times),
                'floor': {'p50_ms': milliseconds(floors)['p50_ms'],
                          'exponentials_p50_ms': milliseconds(exponentials)['p50_ms'],
                          'products_p50_ms': milliseconds(products)['p50_ms']}}


def bare(scene: Scene) -> tuple[float, float]:
    """
    Time of the bare numpy operations of a problem.

    Returns
    -------
    exponentials : float
        One complex exponential per antenna and body [ms].
    products : float
        Gram matrix of all 4 K + U columns, and those columns times a square matrix, which is the
        least that an orthonormal basis takes [ms].

    """
    bodies = len(scene.targets) + len(scene.users)
    columns = 4 * len(scene.targets) + len(scene.users)
    rng = np.random.default_rng(SEED)
    phase = rng.uniform(0.0, 1e4, (len(scene.transmit_array), bodies))
    started = time.perf_counter()
    wave = np.exp(1j * phase)
    exponentials = time.perf_counter() - started
    stacked = np.ascontiguousarray(np.tile(wave, (1, 5))[:, :columns])
    square = np.eye(columns, dtype=complex)
    started = time.perf_counter()
    stacked.conj().T @ stacked  # noqa: B018  only its time counts
    stacked @ square  # noqa: B018
    return 1e3 * exponentials, 1e3 * (time.perf_counter() - started)
