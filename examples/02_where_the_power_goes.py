"""Beam patterns: the power of each user's beam and of the sensing beams, at points and planes."""

import argparse
from pathlib import Path

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.beampattern import GridPlane, PatternEvaluator
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User

WAVELENGTH = 3e8 / 28e9   # [m]
# Both users lie in one direction, at two distances.
USERS = (User('near', 25.0, (0.0, 0.0, 0.63)), User('far', 25.0, (0.0, 0.0, 1.27)))
TARGETS = (PointTarget('t1', (0.0, 0.0, 1.9)), PointTarget('t2', (0.0, 0.32, 0.85)))


def main() -> None:
    """Print the power at the bodies; draw a plane, if asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--picture', type=Path, metavar='FILE.png')
    args = parser.parse_args()

    transmit, receive = (AntennaArray(planar_elements(16, 96, WAVELENGTH / 2, (0.0, 0.0, z)))
                         for z in (0.0, 2.54))
    radio = Radio(wavelength=WAVELENGTH, power=0.01, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-8))
    scene = Scene(transmit, receive, radio, TARGETS, USERS)
    solution = solve(build_problem(scene), DESIGNS['crb-min'], gap=1e-6, budget=None)

    # v^T w w^H v^* at points: what an isotropic antenna there would receive.
    bodies = [*USERS, *TARGETS]
    evaluator = PatternEvaluator(transmit.positions, WAVELENGTH,
                                 [body.position for body in bodies])
    parts = evaluator.components(solution.communication, solution.sensing)
    for u, user in enumerate(USERS):
        own, other = parts.users[u, u], parts.users[1 - u, u]
        print(f'user {user.id}: {10 * np.log10(own / 1e-3):.1f} dBm of its own beam; '
              f"the other's is below the noise: {other < radio.user_noise}")
    share = parts.sensing / parts.total
    print(f'share of the sensing beams: {100 * share[2]:.1f} % at t1, '
          f'{100 * share[3]:.1f} % at t2')

    if args.picture is not None:
        draw(transmit, solution.weights, args.picture)


def draw(array: AntennaArray, weights: np.ndarray, path: Path) -> None:
    """Draw the plane x = 0; the same works for a GridVolume."""
    from matplotlib.figure import Figure

    plane = GridPlane((0.0, 0.0, 1.27), (0.0, 1.2, 0.0), (0.0, 0.0, 2.54), (120, 240))
    power = PatternEvaluator(array.positions, WAVELENGTH, plane.points, memory=0).power(weights)
    figure = Figure(figsize=(6.0, 3.6), layout='constrained')
    axes = figure.add_subplot()
    image = axes.imshow(10 * np.log10(power.reshape(plane.cells) / 1e-3), origin='lower',
                        extent=(0.0, 2.54, -0.6, 0.6), aspect='auto', vmin=-65, vmax=-25)
    for body, colour in (*((user, 'white') for user in USERS),
                         *((target, 'black') for target in TARGETS)):
        axes.plot(body.position[2], body.position[1], 'o', color=colour)
    axes.set(xlabel='z [m]', ylabel='y [m]')
    figure.colorbar(image, label='power [dBm]')
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()
