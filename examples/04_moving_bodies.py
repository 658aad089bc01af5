"""Bodies that move: one design after the other, in time, each begun where the last one ended."""

from collections import Counter

import numpy as np
from threadpoolctl import threadpool_limits

from nf_isac_ros.core.arrays import AntennaArray, planar_elements
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings, warm_up
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise, User

WAVELENGTH = 3e8 / 28e9   # [m]
RATE = 50.0   # [Hz]


def main() -> None:
    """Walk for a second and print what the worst cycle gave."""
    array = AntennaArray(planar_elements(48, 48, WAVELENGTH / 2))
    radio = Radio(wavelength=WAVELENGTH, power=0.01, symbols=100, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-8))
    warm_up()               # what is compiled is compiled now
    threadpool_limits(1)    # the matrices are small: more threads only wait for each other

    # A certified gap of 1e-3, or the best that 15 ms allow.
    cycle = DesignCycle(DesignSettings('crb-min', gap=1e-3, budget=0.015, rate=RATE))
    solutions = []
    for step in range(int(RATE)):
        t = step / RATE
        target = PointTarget('t1', (0.3 * np.cos(t), 0.3 * np.sin(t), 1.2))
        user = User('u1', 20.0, (-0.2 + 0.1 * t, -0.2, 1.6))
        solutions.append(cycle.step(Scene(array, array, radio, (target,), (user,), stamp=t)))

    # A cycle never ends without beams or a reason: quality and reason say what it was.
    counted = Counter(solution.quality.name for solution in solutions)
    print('cycles: ' + ', '.join(f'{n} {name}' for name, n in counted.most_common()))
    print(f'least SINR: {min(s.users[0].sinr_db for s in solutions):.2f} dB')
    median = np.median([sum(s.times_ms.values()) for s in solutions])
    print(f'median time of a cycle: {median:.1f} ms')

    # Nobody to sense: all power serves the user. Nobody at all: the radio is mute, and says why.
    alone = Scene(array, array, radio, (), (User('u1', 20.0, (0.0, 0.0, 1.0)),))
    print(f'without targets: {cycle.step(alone).design}')
    print(f'with nobody: {cycle.step(Scene(array, array, radio)).reason}')


if __name__ == '__main__':
    main()
