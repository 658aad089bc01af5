"""Several designs for one scene: what each is best at, and what it costs elsewhere."""

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.cycle import solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import InfeasibleError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User

WAVELENGTH = 3e8 / 28e9   # [m]
NAMES = ('crb-min', 'max-min-illumination', 'max-min-echo', 'zero-forcing', 'sinr-max',
         'isotropic')


def scene(min_sinr_db: float) -> Scene:
    """Two targets, two users, one array that hears its own echoes."""
    array = AntennaArray(planar_elements(48, 48, WAVELENGTH / 2))
    radio = Radio(wavelength=WAVELENGTH, power=0.01, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-8))
    targets = (PointTarget('t1', (0.1, 0.25, 1.2)), PointTarget('t2', (-0.3, 0.1, 1.5)))
    users = (User('u1', min_sinr_db, (0.0, -0.2, 1.6)), User('u2', min_sinr_db, (0.35, 0.05, 1.1)))
    return Scene(array, array, radio, targets, users)


def main() -> None:
    """Print a table of the designs, and what happens if too much is asked for."""
    problem = build_problem(scene(15.0))
    print('design                 position [mm]  illumination [uW]  SINR [dB]')
    for name in NAMES:
        solution = solve(problem, DESIGNS[name], gap=1e-6, budget=None)
        deviation = 1e3 * np.sqrt(solution.sum_crb)
        lit = 1e6 * min(target.illumination for target in solution.targets)
        sinr = min(user.sinr_db for user in solution.users)
        print(f'{name:22s} {deviation:13.1f} {lit:18.4f} {sinr:10.2f}')

    try:
        solve(build_problem(scene(30.0)), DESIGNS['crb-min'], gap=1e-6, budget=None)
    except InfeasibleError as error:
        print(f'30 dB for both: {-error.max_common_sinr_scale_db:.2f} dB too much')


if __name__ == '__main__':
    main()
