"""Rows of replays: cycles that are designed again in a second, on one core and on two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
import time

import numpy as np

from nf_isac_ros.bench.sampling import Effort, Row, number
from nf_isac_ros.bench.scenes import Motion, walking
from nf_isac_ros.bench.solving import DESIGN, PERIOD, SEED
from nf_isac_ros.core.cycle import DesignSettings
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.tracking import PredictedBody, Role, TrackingSettings, TrackState
from nf_isac_ros.files.deployment import Deployment, MarkerSettings
from nf_isac_ros.parallel import Runner, cluster, here
from nf_isac_ros.replay.cycles import Cycle, chunks
from nf_isac_ros.replay.redesign import OVERLAP, Chunk
from nf_isac_ros.replay.session import FULL_ACCURACY
from nf_isac_ros.replay.whatif import Variant

SIZE = (2, 3)
WORKERS = 2
# Pieces that each process gets.
PIECES = 6
_NOWHERE = np.zeros((3, 3))


def rows(effort: Effort, motions: dict[tuple[int, int], Motion],
         size: tuple[int, int] = SIZE, workers: int = WORKERS) -> Iterator[Row]:
    """Design the cycles of a motion again, in one process, and in several."""
    motion = motions.get(size) or walking(SEED, *size)
    scenes = list(islice(motion.steps(0.0, int(motion.length / PERIOD), PERIOD), 4 * effort.runs))
    variant = Variant(_deployment(scenes[0]))
    cycles = [_cycle(k, scene) for k, scene in enumerate(scenes)]
    pieces = [Chunk(motion.name, k, before, piece, variant, keep_beams=False)
              for k, (before, piece) in enumerate(
                  chunks(cycles, max(1, len(cycles) // (PIECES * max(1, workers))), OVERLAP))]
    alone = _rate(pieces, here, 1)
    with cluster(None, workers) as runner:
        together = _rate(pieces, runner, workers)
    yield {
        'bench': 'replay', 'targets': size[0], 'users': size[1],
        'antennas': len(scenes[0].transmit_array), 'gap_required': FULL_ACCURACY,
        'cycles': len(cycles), 'workers': workers, 'cycles_per_second': number(together),
        'alone_cycles_per_second': number(alone), 'throughput_ratio': number(together / alone),
        'scenes': motion.name}


def _rate(pieces: Sequence[Chunk], runner: Runner, processes: int) -> float:
    """Cycles per second; what a process needs to begin at all does not count."""
    for _ in runner(pieces[:1] * max(1, processes)):
        pass
    started = time.perf_counter()
    for _ in runner(pieces):
        pass
    return sum(len(piece.cycles) for piece in pieces) / (time.perf_counter() - started)


def _deployment(scene: Scene) -> Deployment:
    return Deployment(
        Path(), 'map', scene.transmit_array, scene.receive_array, scene.radio,
        DesignSettings(DESIGN, FULL_ACCURACY, None, 1.0 / PERIOD), TrackingSettings(), (),
        MarkerSettings())


def _cycle(k: int, scene: Scene) -> Cycle:
    """Cycle that a scene would come from."""
    bodies = [_body(target.id, Role.TARGET, target.position, scene, target.reflection, None)
              for target in scene.targets]
    bodies += [_body(user.id, Role.USER, user.position, scene, None, user.min_sinr_db)
               for user in scene.users if user.position is not None]
    return Cycle(k, scene.stamp, scene.stamp, tuple(bodies), ())


def _body(name: str, role: Role, position: np.ndarray, scene: Scene, reflection: complex | None,
          min_sinr_db: float | None) -> PredictedBody:
    return PredictedBody(name, role, TrackState.FRESH, 0.0, scene.stamp, position, np.zeros(3),
                         _NOWHERE, None, reflection, min_sinr_db, 'point', '', 1.0)
