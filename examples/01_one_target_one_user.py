"""One array, one target, one user: the best beams, what they achieve, and how one knows."""

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, planar_elements, rayleigh_distance
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User

WAVELENGTH = 3e8 / 28e9   # [m]


def main() -> None:
    """Design for one scene and print what comes out."""
    # 48 x 48 elements, half a wavelength apart: a quarter of a metre wide.
    array = AntennaArray(planar_elements(48, 48, WAVELENGTH / 2))
    print(f'far field from {rayleigh_distance(array.aperture, WAVELENGTH):.1f} m on')

    # 10 mW to send, 100 symbols to listen; noise of -50 dBm at the user and at each element.
    radio = Radio(wavelength=WAVELENGTH, power=0.01, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-8))
    target = PointTarget('t1', position=(0.1, 0.25, 1.2))   # +z is the boresight [m]
    user = User('u1', min_sinr_db=20.0, position=(0.0, -0.2, 1.6))
    scene = Scene(array, array, radio, (target,), (user,))   # the array hears its own echoes

    # Channels, reduced basis and Fisher map; the covariance has 5 x 5 entries that count, not
    # 2304 x 2304.
    problem = build_problem(scene)
    print(f'{len(array)} elements, {problem.dimension} directions that matter')

    solution = solve(problem, DESIGNS['crb-min'], gap=1e-6, budget=None)
    print(f'SINR of the user: {solution.users[0].sinr_db:.2f} dB')
    print(f'standard deviation of the position, at least: '
          f'{1e3 * np.sqrt(solution.sum_crb):.1f} mm')
    print(f'with equal power from all elements: '
          f'{1e3 * np.sqrt(solution.isotropic_sum_crb):.0f} mm')

    # Nothing has to be believed: a bound that no beams can beat comes with the beams.
    print(f'proved to be optimal within 1e-6: {solution.gap <= 1e-6}')
    print(f'beams: {solution.communication.shape[1]} with data, '
          f'{solution.sensing.shape[1]} without, {1e3 * solution.power:.3f} mW in all')


if __name__ == '__main__':
    main()
