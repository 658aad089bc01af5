"""
Compile the kernels of the core into the cache of Numba, beside their sources.

What every design needs comes first; then processes side by side: the interior-point method, the
designs for extended targets, zero forcing for points and the designs that solve for users alone.
None of them takes much longer than a third of all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import multiprocessing
import sys

from numba.core.caching import IndexDataCacheFile

from nf_isac_ros.bench.scenes import random_scenes
from nf_isac_ros.core import cycle
from nf_isac_ros.core.localisation import likelihood
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.solvers import interior_point


def interior_point_method(scene: Scene) -> None:
    interior_point.warm_up()
    cycle.step_twice('crb-min', scene)


def simpler_designs(scene: Scene) -> None:
    cycle.step_twice('zero-forcing', scene)
    cycle.step_twice('users-first', scene)


def what_is_left() -> None:
    cycle.warm_up()
    likelihood.warm_up()


def save_in_turns() -> None:
    """Let one process at a time change an index of the cache: two lose what the other wrote."""
    lock, save = multiprocessing.Lock(), IndexDataCacheFile.save

    def save_alone(cache: IndexDataCacheFile, key: object, data: object) -> None:
        with lock:
            save(cache, key, data)

    IndexDataCacheFile.save = save_alone


def side_by_side(*functions: Callable[[], None]) -> None:
    """Call each in a process of its own; SystemExit if one fails, which has said why."""
    fork = multiprocessing.get_context('fork')
    processes = [fork.Process(target=function, daemon=True) for function in functions]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit(1)


if __name__ == '__main__':
    save_in_turns()
    # Found by building its problem, which all have in common and inherit.
    scene = next(random_scenes(seed=0, n_targets=1, n_users=1, side=4))
    side_by_side(partial(interior_point_method, scene), cycle.warm_up_fallbacks,
                 partial(simpler_designs, scene))
    what_is_left()
