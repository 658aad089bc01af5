"""After the warm-up nothing is compiled any more."""

import importlib
import pkgutil

from extended_scenes import VEHICLE
from numba.core.dispatcher import Dispatcher
import numpy as np
import pytest
from scenes import planar, radio, random_scene

import nf_isac_ros.core
from nf_isac_ros.core import cycle, propagation
from nf_isac_ros.core.arrays import Pose
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.scene import ExtendedTarget, PointTarget, Scene, SensingNoise, User


def signatures():
    """Compiled signatures of every function of the core, by name."""
    found = {}
    for module in pkgutil.walk_packages(nf_isac_ros.core.__path__, 'nf_isac_ros.core.'):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Dispatcher):
                found[f'{module.name}.{name}'] = list(value.signatures)
    return found


def scenes():
    known = planar(12, 12)
    place = np.array([0.1, 0.2, 1.0])
    return {
        'bistatic': random_scene(1, 2, 2),
        'monostatic': random_scene(2, 1, 3, monostatic=True),
        'no users': random_scene(3, 2, 0),
        'no targets': random_scene(4, 0, 2),
        # Arrays of one column are in both orders: types of their own, if the order counts.
        'one user alone': random_scene(6, 0, 1),
        'one target alone': random_scene(7, 1, 0),
        'coloured noise': random_scene(
            5, 1, 1, noise=SensingNoise(diagonal=np.linspace(1e-8, 2e-8, 144))),
        'extended': Scene(
            known, known, radio(), (PointTarget('t', place),),
            (User('a', 3.0, -place + [0, 0, 3]),),
            extended=(ExtendedTarget(
                'car', VEHICLE, Pose(np.array([1.0, 0.0, 6.0]), (0.5, 0.5, 0.5, 0.5)),
                path_power=1e-9, model='near-field'),)),
        'only extended': Scene(
            known, known, radio(), users=(User('a', 3.0, -place + [0, 0, 3]),),
            extended=(ExtendedTarget(
                'car', VEHICLE, Pose(np.array([1.0, 0.0, 6.0]), (0.5, 0.5, 0.5, 0.5)),
                path_power=1e-9),)),
        'user at target, known channel': Scene(
            known, known, radio(), (PointTarget('t', place),),
            (User('a', 3.0, place), User('b', 3.0, channel=np.exp(1j * np.arange(144.0)) * 1e-3))),
    }


@pytest.mark.parametrize('name', scenes())
@pytest.mark.parametrize('design', ['crb-min', 'zero-forcing', 'users-first', 'sinr-max'])
def test_nothing_is_compiled_after_the_warm_up(name, design):
    scene = scenes()[name]
    if design == 'sinr-max' and not scene.users:
        pytest.skip('needs users')
    cycle.warm_up()
    before = signatures()
    assert before['nf_isac_ros.core.propagation._wave']
    DesignCycle(DesignSettings(design)).step(scene)
    # Cut short by the clock.
    DesignCycle(DesignSettings(design, budget=1e-6)).step(scene)
    if scene.extended and not scene.targets:
        DesignCycle(DesignSettings('extended-zero-forcing')).step(scene)
        DesignCycle(DesignSettings('extended-crb-min')).step(scene)
    propagation.responses(scene.transmit_array.positions, np.array([[0.0, 0.3, 2.0]]), 0.01)
    assert signatures() == before
