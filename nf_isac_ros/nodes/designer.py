"""Solver thread of the beamformer: designs for the newest poses, and publishes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nan
from statistics import median
import threading
import time
import traceback

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher

from nf_isac_ros.conversions.messages import (
    beamformer_message,
    covariance_message,
    crb_array_message,
    design_status_message,
)
from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.planning import PlannedDesign, PlannedScene, design_for
from nf_isac_ros.core.reports import (
    BoundReport,
    CovarianceReport,
    CycleReport,
    DesignedBeams,
    orthogonal_factor,
)
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.schedule import Beginning, CycleSchedule
from nf_isac_ros.core.solution import Quality
from nf_isac_ros.nodes.cycle_thread import CycleThread
from nf_isac_ros.nodes.diagnostics import Counts
from nf_isac_ros.nodes.unlocked import publish

# Cycles that `Designer.recent` looks back on.
RECENT_CYCLES = 20
# How much of the idle time the next scene may be solved in, and the least that is worth it [s].
IDLE_SHARE = 0.7
LEAST_IDLE = 0.002
# Time for the second design of a cycle whose first one came too late: enough to begin it, so that
# it ends with a rung that is quick [s].
HURRY = 1e-3


@dataclass(frozen=True)
class Job:
    """
    A scene to design for.

    Attributes
    ----------
    plan : PlannedScene
        At the transmit time.
    settings : DesignSettings
        What is to be designed.
    clock_jumps : int
        How often the clock had gone back when the cycle began.
    started : float
        When the cycle began, on the steady clock [s].
    stamp : float
        When the cycle began, in node time [s].
    lease : float
        How long after the transmit time the beams may be used [s].
    calibration_epoch : int
        Calibration of the radio that the beams assume.
    ahead : Scene or None
        The next scene, as far as it can be told now, to be solved in idle time.
    idle_until : float
        When the next cycle begins, on the steady clock [s].

    """

    plan: PlannedScene
    settings: DesignSettings
    clock_jumps: int
    started: float
    stamp: float
    lease: float
    calibration_epoch: int
    ahead: Scene | None = None
    idle_until: float = 0.0

    @property
    def valid_until(self) -> float:
        """End of the lease, in node time [s]."""
        return self.plan.scene.stamp + self.lease


@dataclass(frozen=True)
class Outputs:
    """Publishers of what the solver thread makes."""

    beamformer: Publisher
    covariance: Publisher
    crb: Publisher
    status: Publisher


class UnusableBeamsError(NfIsacError):
    """Beams that must not leave the node."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Designer:
    """
    Designs and publishes from one activation to the deactivation.

    Parameters
    ----------
    node : Node
        Has the clock and the log.
    world_frame : str
        Frame of bounds and status.
    outputs : Outputs
        Where the results go.
    fallbacks, rejected : Counts
        Published in the status; this class adds to `fallbacks`.
    next_job : callable
        Gives what is to be designed now; called in the solver thread when a cycle begins.
    clock_jumps : callable
        Tells how often the clock has gone back.
    schedule : CycleSchedule
        Tells when cycles begin.

    """

    def __init__(self, node: Node, world_frame: str, outputs: Outputs, fallbacks: Counts,
                 rejected: Counts, next_job: Callable[[Designer], Job],
                 clock_jumps: Callable[[], int], schedule: CycleSchedule) -> None:
        self._node = node
        self._next_job = next_job
        self._clock_jumps = clock_jumps
        self._world_frame = world_frame
        self._outputs = outputs
        self._fallbacks = fallbacks
        self._rejected = rejected
        # Held while publishing: after `close` or a jump of the clock nothing old goes out.
        self._gate = threading.Lock()
        self._closed = False
        self._jumps_seen = clock_jumps()
        self._sequence = 0
        self._number = 0
        self._overruns = 0
        self._cycle: DesignCycle | None = None
        self._last: CycleReport | None = None
        self._durations: deque[float] = deque(maxlen=RECENT_CYCLES)
        self._thread = CycleThread(node.get_clock(), schedule, self._work, 'solver')

    @property
    def last(self) -> CycleReport | None:
        """What the latest cycle did; None before the first."""
        return self._last

    @property
    def recent(self) -> float:
        """Median duration of the latest cycles [s]; NaN before the first."""
        durations = tuple(self._durations)
        return median(durations) if durations else nan

    def arrived(self, together: bool) -> None:
        """Take note of poses that are news; arguments as for `CycleSchedule.arrived`."""
        self._thread.arrived(together)

    def reschedule(self, schedule: CycleSchedule) -> None:
        """Begin cycles by another schedule from now on."""
        self._thread.reschedule(schedule)

    def close(self, timeout: float) -> bool:
        """
        Stop publishing at once, and end.

        Parameters
        ----------
        timeout : float
            How long to wait for a design that is under way [s].

        Returns
        -------
        bool
            False if the thread is still at work; what it finds is thrown away.

        """
        with self._gate:
            self._closed = True
        return self._thread.stop(timeout)

    def _now(self) -> float:
        return self._node.get_clock().now().nanoseconds * 1e-9

    def _work(self, beginning: Beginning) -> None:
        """Do one cycle."""
        self._number += 1
        self._overruns += beginning.lost
        job: Job | None = None
        try:
            job = self._next_job(self)
            self._design(job, beginning)
            self._look_ahead(job)
        except NfIsacError as error:
            self._fail(job, error.reason, str(error))
        except Exception:  # noqa: BLE001  whatever it was: no beams, a status, and on
            self._fail(job, 'internal-error', traceback.format_exc())

    def _design(self, job: Job, beginning: Beginning) -> None:
        if self._cycle is None or self._cycle.settings != job.settings:
            self._cycle = DesignCycle(job.settings)
        elif self._jumps_seen != job.clock_jumps:
            self._cycle.reset()
        if self._jumps_seen != job.clock_jumps:
            self._jumps_seen = job.clock_jumps
            self._fallbacks.add('clock-jump', 'the clock went back; all tracks were forgotten')
        stages = {'wait': 1e3 * beginning.waited,
                  'plan': 1e3 * (time.perf_counter() - job.started)}
        design = design_for(job.plan, self._cycle)
        if self._now() >= job.valid_until and job.clock_jumps == self._clock_jumps():
            # The machine was held up. Users whose poses are fresh are not left without beams.
            job = self._next_job(self)
            design = in_a_hurry(job.plan, self._cycle)
        stages |= design.solution.times_ms
        with self._gate:
            if self._closed:
                return
            if design.solution.quality is Quality.MUTE:
                reason = design.solution.reason
                # Nobody to design for is no error, and may last.
                self._fallbacks.add(reason, '; '.join(map(str, design.removed)),
                                    quiet=reason == 'no-bodies')
                self._report(self._muted(job, reason, stages))
            else:
                self._publish(job, design, stages)

    def _look_ahead(self, job: Job) -> None:
        """Use the rest of the period for the next scene, if the rest is long enough."""
        left = IDLE_SHARE * (job.idle_until - time.perf_counter())
        if (job.ahead is not None and self._cycle is not None and not self._closed
                and left > LEAST_IDLE):
            self._cycle.prepare(job.ahead, left)

    def _publish(self, job: Job, design: PlannedDesign, stages: dict[str, float]) -> None:
        publishing = time.perf_counter()
        now = self._now()
        beams = self._beams(job, design, now)
        publish(self._outputs.beamformer, beamformer_message(beams))
        self._sequence = beams.sequence
        published = time.perf_counter()
        stages['publish'] = 1e3 * (published - publishing)
        self._durations.append(published - job.started)
        pose_to_beam = self._now() - beams.design_stamp
        self._publish_bounds(job, design, beams)
        solution = design.solution
        if solution.quality is Quality.FALLBACK:
            self._fallbacks.add(solution.reason, '; '.join(map(str, design.removed)))
        self._report(CycleReport(
            frame=self._world_frame, transmit_time=beams.transmit_time, sequence=beams.sequence,
            cycle=self._number, design=job.settings.name, quality=solution.quality,
            reason=solution.reason, users=solution.users, tracks=job.plan.tracks,
            objective=solution.objective, bound=solution.bound, gap=solution.gap,
            power=solution.power, iterations=solution.iterations, warm=solution.warm,
            cycle_ms=1e3 * (published - job.started), pose_to_beam_ms=1e3 * pose_to_beam,
            stages_ms=stages, overruns=self._overruns, fallbacks=self._fallbacks.snapshot(),
            rejected=self._rejected.snapshot()))

    def _beams(self, job: Job, design: PlannedDesign, now: float) -> DesignedBeams:
        solution, plan = design.solution, job.plan
        array: AntennaArray = plan.scene.transmit_array
        if not now < job.valid_until:
            raise UnusableBeamsError(
                f'the design took until {now - job.valid_until:.3f} s after the end of its lease',
                'too-late')
        if now < job.stamp or job.clock_jumps != self._clock_jumps():
            raise UnusableBeamsError('the clock went back during the design', 'clock-jump')
        if not np.isfinite(solution.weights).all():
            raise UnusableBeamsError('the design has weights that are not finite',
                                     'internal-error')
        assert plan.newest_stamp is not None
        assert plan.oldest_stamp is not None
        return DesignedBeams(
            frame=array.name, sequence=self._sequence + 1, transmit_time=plan.scene.stamp,
            design_stamp=plan.newest_stamp, oldest_track_stamp=plan.oldest_stamp,
            cycle_stamp=job.stamp, publish_stamp=now, valid_until=job.valid_until,
            design=solution.design, quality=solution.quality, reason=solution.reason,
            # Isotropic beams carry no data.
            user_ids=design.user_ids if solution.communication.shape[1] else (),
            communication=solution.communication, sensing=solution.sensing,
            power=solution.power, power_limit=solution.power_limit,
            wavelength=plan.scene.radio.wavelength, array_id=array.name,
            layout_hash=array.layout_hash, calibration_epoch=job.calibration_epoch)

    def _publish_bounds(self, job: Job, design: PlannedDesign, beams: DesignedBeams) -> None:
        solution = design.solution
        publish(self._outputs.crb, crb_array_message(BoundReport(
            frame=self._world_frame, sequence=beams.sequence, transmit_time=beams.transmit_time,
            design_stamp=beams.design_stamp, targets=solution.targets, sum_crb=solution.sum_crb,
            isotropic_sum_crb=solution.isotropic_sum_crb, objective=solution.objective,
            bound=solution.bound, gap=solution.gap)))
        if self._outputs.covariance.get_subscription_count() > 0:
            factor, eigenvalues = orthogonal_factor(solution.weights)
            publish(self._outputs.covariance, covariance_message(CovarianceReport(
                frame=beams.frame, sequence=beams.sequence, transmit_time=beams.transmit_time,
                factor=factor, eigenvalues=eigenvalues, layout_hash=beams.layout_hash)))

    def _muted(self, job: Job, reason: str, stages: dict[str, float]) -> CycleReport:
        newest = job.plan.newest_stamp
        return CycleReport(
            frame=self._world_frame, transmit_time=job.plan.scene.stamp, sequence=self._sequence,
            cycle=self._number, design=job.settings.name, quality=Quality.MUTE, reason=reason,
            tracks=job.plan.tracks, cycle_ms=1e3 * (time.perf_counter() - job.started),
            pose_to_beam_ms=nan if newest is None else 1e3 * (self._now() - newest),
            stages_ms=stages, overruns=self._overruns, fallbacks=self._fallbacks.snapshot(),
            rejected=self._rejected.snapshot())

    def _fail(self, job: Job | None, reason: str, details: str) -> None:
        try:
            with self._gate:
                if self._closed:
                    return
                if job is None:
                    # Not even poses: nothing can be said of the cycle.
                    self._fallbacks.add(reason, details)
                    return
                self._durations.append(time.perf_counter() - job.started)
                self._fallbacks.add(reason, details)
                self._report(self._muted(job, reason, {}))
        except Exception:  # noqa: BLE001  the middleware fails us while the process ends
            if not self._closed and self._node.context.ok():
                self._node.get_logger().error(
                    f'no status could be published:\n{traceback.format_exc()}',
                    throttle_duration_sec=1.0)

    def _report(self, report: CycleReport) -> None:
        self._last = report
        publish(self._outputs.status, design_status_message(report))


def in_a_hurry(plan: PlannedScene, cycle: DesignCycle) -> PlannedDesign:
    """Design with next to no time, and say that the design before came too late."""
    design = design_for(plan, cycle, HURRY)
    if design.solution.quality is Quality.MUTE:
        return design
    return replace(design, solution=replace(
        design.solution, quality=Quality.FALLBACK, reason='too-late'))
