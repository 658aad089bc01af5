"""What a decibel for the user costs the target: the ends of the tradeoff and the curve between."""

import argparse
from pathlib import Path

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User
from nf_isac_ros.core.tradeoff import common_thresholds, end_points, sweep

WAVELENGTH = 3e8 / 28e9   # [m]
DEPTH = 2.47              # distance of the arrays, that face each other [m]


def main() -> None:
    """Print ends and points of the curve; draw it, if asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--picture', type=Path, metavar='FILE.png')
    args = parser.parse_args()

    transmit, receive = (AntennaArray(planar_elements(48, 48, WAVELENGTH / 2, (0.0, 0.0, z)))
                         for z in (0.0, DEPTH))
    radio = Radio(wavelength=WAVELENGTH, power=0.01, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-8))
    target = PointTarget('t1', (0.0, 23.5 * WAVELENGTH, DEPTH / 2))
    user = User('u1', 0.0, (0.0, -DEPTH / 12, 2 * DEPTH / 3))
    scene = Scene(transmit, receive, radio, (target,), (user,))

    ends = end_points(scene)
    largest = ends.communication.users[0].sinr_db
    print(f'for free: {ends.sensing.users[0].sinr_db:.2f} dB at '
          f'{ends.sensing.sum_crb:.3e} m2')
    print(f'at most: {largest:.2f} dB at {ends.communication.sum_crb:.3e} m2')

    # From high to low: beams for more than is asked for are a good start.
    values = np.arange(27.0, 0.0, -3.0)
    points = list(sweep(scene, DESIGNS['crb-min'], common_thresholds(scene, values), gap=1e-6))
    for point in points:
        print(f'{point.thresholds_db[0]:4.0f} dB: {point.solution.sum_crb:.3e} m2, '
              f'{point.status.value}')

    if args.picture is not None:
        draw(points, args.picture)


def draw(points: list, path: Path) -> None:
    """Draw the curve as the paper does: bound to the right, SINR upwards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.4), layout='constrained')
    axes = figure.add_subplot()
    axes.semilogx([point.solution.sum_crb for point in points],
                  [point.thresholds_db[0] for point in points], 'o-')
    axes.set(xlabel='sum of position bounds [m²]', ylabel='required SINR [dB]')
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()
