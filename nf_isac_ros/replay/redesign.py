"""
Designs the cycles of a recording again, piece by piece, with the code that the node has.

A piece has CHUNK cycles. Solvers begin where the scene before ended, and so a piece depends on its
past: its solver begins cold, OVERLAP cycles before the piece. What it finds is the same whoever
computes it, and when.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import hashlib
from math import nan
import pickle
import time
import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow as pa

from nf_isac_ros import __version__
from nf_isac_ros.core.cycle import DesignCycle, warm_up
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.planning import PlannedDesign, PlannedScene, design_for, plan_scene
from nf_isac_ros.core.reports import BoundReport, CycleReport
from nf_isac_ros.core.solution import Quality, Solution
from nf_isac_ros.figures.style import spread
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.replay.cycles import Cycle
from nf_isac_ros.replay.table import REDESIGNED, Row, cycle_row, place, table_of
from nf_isac_ros.replay.whatif import Variant

CHUNK = 250
OVERLAP = 5
# Cycles of a piece whose beams are kept for the pictures.
PICTURED = 4
# Raised with every change of what a piece of the table holds.
FORMAT = 2


@dataclass(frozen=True)
class Beams:
    """
    Beams of one cycle, for the pictures.

    Attributes
    ----------
    cycle : int
    transmit_time : float
        [s].
    weights : ndarray, shape (N, U + r)
        complex64 [sqrt(W)].

    """

    cycle: int
    transmit_time: float
    weights: NDArray[np.complex64]


@dataclass(frozen=True)
class Piece:
    """
    What became of a chunk.

    Attributes
    ----------
    table : Table
        A row for each cycle.
    beams : tuple of Beams
        Of some cycles, spread evenly; those without beams are left out.
    failures : tuple of str
        What went wrong in an unforeseen way.

    """

    table: pa.Table
    beams: tuple[Beams, ...] = ()
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Chunk:
    """
    Cycles that are designed one after the other; a task for `parallel`.

    Attributes
    ----------
    bag : str
        Name of the recording.
    number : int
        From 0 in each recording.
    warm_up, cycles : tuple of Cycle
        What the solver begins with, and what counts.
    variant : Variant
        What is designed, for which deployment.
    keep_beams : bool
        The pictures need some.

    """

    bag: str
    number: int
    warm_up: tuple[Cycle, ...]
    cycles: tuple[Cycle, ...]
    variant: Variant
    keep_beams: bool = True

    @property
    def token(self) -> str:
        """Name that no chunk has which differs in what is designed, how, or for whom."""
        inputs = pickle.dumps((FORMAT, __version__, self.bag, self.number, self.keep_beams,
                               self.warm_up, self.cycles), protocol=5)
        return hashlib.sha256(self.variant.token.encode() + inputs).hexdigest()[:32]

    def run(self) -> Piece:
        """Design all cycles."""
        warm_up()
        cycle = DesignCycle(self.variant.deployment.design)
        for before in self.warm_up:
            _design(before, self.variant, cycle)
        rows, failures = [], []
        pictured = {self.cycles[k].number for k in spread(len(self.cycles), PICTURED + 1)[1:]}
        beams = []
        for each in self.cycles:
            row, solution, failure = _design(each, self.variant, cycle)
            rows.append({'bag': self.bag, 'mode': REDESIGNED, 'cycle': each.number,
                         'cycle_stamp_s': each.stamp, **self.variant.values, **row})
            if failure:
                failures.append(failure)
            if self.keep_beams and solution is not None and each.number in pictured:
                beams.append(Beams(each.number, each.transmit_time,
                                   solution.weights.astype(np.complex64)))
        return Piece(table_of(rows, self.variant.types), tuple(beams), tuple(failures))


def _design(cycle: Cycle, variant: Variant,
            designer: DesignCycle) -> tuple[Row, Solution | None, str]:
    """Row of a cycle, its beams if there are any, and what went wrong in an unforeseen way."""
    started = time.perf_counter()
    plan: PlannedScene | None = None
    failure = ''
    try:
        plan = plan_scene(variant.deployment, variant.bodies(cycle.bodies),
                          variant.channels(cycle.channels), cycle.transmit_time)
        planned = time.perf_counter()
        design = design_for(plan, designer)
    except NfIsacError as error:
        report = _mute(cycle, plan, variant, error.reason)
    except Exception:  # noqa: BLE001  as in the node: no beams, a row that says so, and on
        report = _mute(cycle, plan, variant, 'internal-error')
        failure = traceback.format_exc()
    else:
        stages = {'plan': 1e3 * (planned - started), **design.solution.times_ms}
        took = 1e3 * (time.perf_counter() - started)
        row = _row(plan, design, variant, stages, took)
        return _with_places(row, cycle), (
            None if design.solution.quality is Quality.MUTE else design.solution), ''
    row = cycle_row(replace(report, cycle_ms=1e3 * (time.perf_counter() - started)), None, None)
    return _with_places(row, cycle), None, failure


def _row(plan: PlannedScene, design: PlannedDesign, variant: Variant,
         stages: dict[str, float], took: float) -> Row:
    solution, frame = design.solution, variant.deployment.world_frame
    muted = solution.quality is Quality.MUTE
    report = CycleReport(
        frame=frame, transmit_time=plan.scene.stamp, sequence=0, cycle=0,
        design=variant.deployment.design.name, quality=solution.quality, reason=solution.reason,
        users=solution.users, tracks=plan.tracks, objective=solution.objective,
        bound=solution.bound, gap=solution.gap, power=0.0 if muted else solution.power,
        iterations=solution.iterations, warm=solution.warm, cycle_ms=took, stages_ms=stages)
    bounds = None if muted else BoundReport(
        frame=frame, sequence=0, transmit_time=plan.scene.stamp,
        design_stamp=nan if plan.newest_stamp is None else plan.newest_stamp,
        targets=solution.targets, sum_crb=solution.sum_crb,
        isotropic_sum_crb=solution.isotropic_sum_crb, objective=solution.objective,
        bound=solution.bound, gap=solution.gap)
    return {**cycle_row(report, bounds, None), 'designed_as': solution.design}


def _with_places(row: Row, cycle: Cycle) -> Row:
    """Row with the predicted positions, and without what only a live node has."""
    for key in ('sequence', 'overruns'):
        row[key] = None
    for body in cycle.bodies:
        place(row, body.role, body.id, body.position)
    return row


def _mute(cycle: Cycle, plan: PlannedScene | None, variant: Variant, reason: str) -> CycleReport:
    return CycleReport(
        frame=variant.deployment.world_frame, transmit_time=cycle.transmit_time, sequence=0,
        cycle=0, design=variant.deployment.design.name, quality=Quality.MUTE, reason=reason,
        tracks=() if plan is None else plan.tracks)


def settled(deployment: Deployment, realtime: bool, gap: float | None) -> Deployment:
    """
    Deployment whose design settings are those of a replay.

    Parameters
    ----------
    deployment : Deployment
    realtime : bool
        Keep the budget of each design; else a design takes as long as it takes.
    gap : float or None
        Certified relative gap; None: that of the deployment.

    """
    changes: dict[str, Any] = {} if realtime else {'budget': None}
    if gap is not None:
        changes['gap'] = gap
    return replace(deployment, design=replace(deployment.design, **changes))
