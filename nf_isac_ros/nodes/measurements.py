"""What users measure, and what the front end costs: computed beside the driver's other work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
import threading
import time
import traceback

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from nf_isac_msgs.msg import SignalStatus, UserReception
from nf_isac_ros.conversions.messages import time_message
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.solution import UserReport
from nf_isac_ros.core.tracking import Role, TrackState
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.nodes.diagnostics import Counts
from nf_isac_ros.nodes.truth import Truth
from nf_isac_ros.radio.base import Backend, Reception, Scatterer
from nf_isac_ros.radio.cost import Performance, performances
from nf_isac_ros.radio.emission import Emission
from nf_isac_ros.radio.options import Site

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class _Moment:
    """What is true at one instant."""

    stamp: float
    emission: Emission
    users: Mapping[str, Vector]
    targets: tuple[Scatterer, ...]
    designed: Mapping[str, float]


class Measurements:
    """
    Measures in a thread of its own: neither beams nor status wait for it.

    Parameters
    ----------
    node : Node
        Subscribes to `truth/targets`.
    deployment : Deployment
    site : Site
    backend : Backend
        Is asked for receptions.
    rate : float
        Most measurements per second [Hz].
    faults : Counts
        Counts what went wrong.

    """

    def __init__(self, node: Node, deployment: Deployment, site: Site, backend: Backend,
                 rate: float, faults: Counts) -> None:
        self._reflections = {body.id: body.reflection for body in deployment.bodies
                             if body.role == Role.TARGET.value}
        self._site, self._backend, self._faults = site, backend, faults
        self._period = 1.0 / rate
        self._truth = Truth(node, Role.TARGET, deployment, faults)
        self._changed = threading.Condition()
        self._waiting = False
        self._moment: _Moment | None = None
        self._latest: SignalStatus | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._work, name='measurements', daemon=True)
        self._thread.start()

    def destroy(self) -> None:
        """End subscription and thread."""
        self._truth.destroy()
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(timeout=2.0)

    def offer(self, now: float, emission: Emission | None, users: Mapping[str, Vector],
              designed: Sequence[UserReport]) -> SignalStatus:
        """
        Offer what is on the air, to be measured when it is time for that.

        Parameters
        ----------
        now : float
            Node time [s].
        emission : Emission or None
            None: mute.
        users : mapping of str to ndarray, shape (3,)
            True positions [m].
        designed : sequence of UserReport
            What the designer promised for this emission.

        Returns
        -------
        SignalStatus
            The newest measurement; nothing is known while mute.

        """
        with self._changed:
            if emission is None:
                self._moment = self._latest = None
                return nothing_measured(self._site)
            latest, due = self._latest, self._waiting and self._moment is None
        if due:
            moment = _Moment(now, emission, users, self._true_targets(now),
                             {user.id: user.sinr_db for user in designed})
            with self._changed:
                self._moment = moment
                self._changed.notify_all()
        return latest or nothing_measured(self._site)

    def _true_targets(self, now: float) -> tuple[Scatterer, ...]:
        return tuple(
            Scatterer(body.id, body.position, body.velocity, (
                body.reflection if body.reflection is not None
                else self._reflections.get(body.id, 1.0 + 0.0j)))
            for body in self._truth.at(now)
            if body.state is TrackState.FRESH and body.kind == 'point')

    def _work(self) -> None:
        while True:
            with self._changed:
                self._waiting = True
                self._changed.wait_for(lambda: self._ending or self._moment is not None)
                if self._ending:
                    return
                moment, self._moment, self._waiting = self._moment, None, False
                assert moment is not None
            started = time.monotonic()
            try:
                status = self._measured(moment)
            except NfIsacError as error:
                self._faults.add(error.reason, str(error))
            except Exception:  # noqa: BLE001  a measurement must not end the next one
                self._faults.add('internal-error', traceback.format_exc())
            else:
                with self._changed:
                    self._latest = status
            with self._changed:
                self._changed.wait_for(
                    lambda: self._ending, max(0.0, started + self._period - time.monotonic()))

    def _measured(self, moment: _Moment) -> SignalStatus:
        emission = moment.emission
        asked = emission.command.matrix() * np.float32(math.sqrt(emission.scale))
        before, after = performances(
            self._site, [asked, emission.beams], emission.command.user_ids, moment.users,
            moment.targets)
        receptions = self._backend.receptions(moment.users)
        message = nothing_measured(self._site)
        message.stamp = time_message(moment.stamp)
        message.sequence = emission.command.sequence
        message.asked_sum_crb, message.sum_crb = before.sum_crb, after.sum_crb
        message.users = [
            _reception(name, moment.designed.get(name, math.nan), before, after,
                       receptions.get(name)) for name in emission.command.user_ids]
        return message


def nothing_measured(site: Site) -> SignalStatus:
    """Make the status of a radio of which nothing is known but its calibration."""
    return SignalStatus(calibration_epoch=site.front_end.calibration.epoch,
                        asked_sum_crb=math.nan, sum_crb=math.nan)


def _reception(name: str, designed: float, asked: Performance, radiated: Performance,
               found: Reception | None) -> UserReception:
    message = UserReception(
        id=name, designed_sinr_db=designed, asked_sinr_db=asked.sinr_db.get(name, math.nan),
        sinr_db=radiated.sinr_db.get(name, math.nan), measured_sinr_db=math.nan,
        measured_sinr_low_db=math.nan, measured_sinr_high_db=math.nan, evm=math.nan)
    if found is not None:
        message.measured_sinr_db = decibels(found.sinr)
        message.measured_sinr_low_db = decibels(found.sinr_low)
        message.measured_sinr_high_db = decibels(found.sinr_high)
        message.evm = float(found.evm)
        message.symbols = found.symbols
    return message


def decibels(ratio: float) -> float:
    """Ratio in dB; minus infinity for zero."""
    return 10.0 * math.log10(ratio) if ratio > 0 else -math.inf

