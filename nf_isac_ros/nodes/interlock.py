"""From parameters and a deployment to the interlock, and from its state to messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
import math
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time

from nf_isac_msgs.msg import DesignStatus, KeepOutStatus, RadioFault, RadioStatus
from nf_isac_ros.conversions.messages import count_messages, header, user_status_messages
from nf_isac_ros.core.solution import UserReport
from nf_isac_ros.core.tracking import TrackState, TrackStore
from nf_isac_ros.files.deployment import BodySettings, Deployment
from nf_isac_ros.nodes.diagnostics import Health, Level
from nf_isac_ros.nodes.parameters import Parameter
from nf_isac_ros.radio.caps import Caps
from nf_isac_ros.radio.checks import Limits
from nf_isac_ros.radio.emission import FrontEnd, Shaper, identity
from nf_isac_ros.radio.faults import Repetition
from nf_isac_ros.radio.gate import Watching
from nf_isac_ros.radio.keep_out import Bodies, KeepOut, KeepOutVolume
from nf_isac_ros.radio.transmitter import TransmitterState

INTERLOCK_PARAMETERS = (
    Parameter('autoarm', False, 'The radio is armed as soon as the node is active; else by the '
              'service radio/arm', read_only=True),
    Parameter('power_margin', 1e-3, 'By how much beams may exceed a limit on the total power, '
              'relative: room for rounding', minimum=0.0, maximum=0.1, read_only=True),
    Parameter('max_lease_s', 2.0, 'Beams with a longer lease are refused', 's', minimum=0.01,
              maximum=60.0, read_only=True),
    Parameter('max_age_s', 1.0, 'Beams that were published longer ago are refused', 's',
              minimum=0.01, maximum=60.0, read_only=True),
    Parameter('max_track_age_s', math.nan, 'Nothing is emitted for poses older than this; .nan: '
              'half a second above drop_s of the deployment', 's', minimum=0.01, maximum=3600.0,
              read_only=True),
    Parameter('max_beams', 256, 'Messages with more beams are refused', minimum=1, maximum=65536,
              read_only=True),
    Parameter('loss_window', 20, 'How many messages are looked back upon for lost ones',
              minimum=2, maximum=10000, read_only=True),
    Parameter('max_loss', 0.8, 'Largest share of them that may be lost; above it the radio is '
              'muted', minimum=0.0, maximum=1.0, read_only=True),
    Parameter('designer_timeout_s', 1.0, 'A designer that is silent for so long is said to be '
              'lost', 's', minimum=0.01, maximum=60.0, read_only=True),
    Parameter('repeat_window_s', 5.0, 'In this time so many events are a fault', 's',
              minimum=0.01, maximum=3600.0, read_only=True),
    Parameter('excess_count', 10, 'Beams turned down for a cap within repeat_window_s that are a '
              'fault; 0: never', minimum=0, maximum=10000, read_only=True),
    Parameter('malformed_count', 10, 'Messages refused for their content within repeat_window_s '
              'that are a fault; 0: never', minimum=0, maximum=10000, read_only=True),
    Parameter('regressing_count', 10, 'Messages refused for their order, and streams that begin '
              'anew, within repeat_window_s that are a fault; 0: never', minimum=0, maximum=10000,
              read_only=True),
    Parameter('backend_timeout_s', 0.25, 'A backend that takes longer for a call is muted, and '
              'that fault latches', 's', minimum=0.005, maximum=60.0, read_only=True),
    Parameter('keep_out_points', 400, 'Most points at which the power density in one keep-out '
              'volume is evaluated; fewer: faster, and a larger margin', minimum=1,
              maximum=100000, read_only=True),
)


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds of a duration [s]."""
    return round(1e9 * seconds)


def message_limits(deployment: Deployment, settings: SimpleNamespace,
                   calibration_epoch: int = 0) -> Limits:
    """Make what a Beamformer message may ask for."""
    radio, array, tracking = deployment.radio, deployment.transmit_array, deployment.tracking
    oldest = settings.max_track_age_s
    return Limits(
        n_elements=len(array), layout_hash=array.layout_hash, wavelength=radio.wavelength,
        power=radio.power, power_margin=settings.power_margin,
        max_lease=nanoseconds(settings.max_lease_s), max_age=nanoseconds(settings.max_age_s),
        max_skew=nanoseconds(tracking.max_clock_skew),
        max_track_age=nanoseconds(tracking.drop + 0.5 if math.isnan(oldest) else oldest),
        max_beams=settings.max_beams, calibration_epoch=calibration_epoch)


def watching(settings: SimpleNamespace) -> Watching:
    """Make what is taken for a condition or a fault."""
    window = nanoseconds(settings.repeat_window_s)
    return Watching(
        Repetition(settings.excess_count, window), Repetition(settings.malformed_count, window),
        Repetition(settings.regressing_count, window), settings.loss_window, settings.max_loss,
        nanoseconds(settings.designer_timeout_s))


def make_shaper(deployment: Deployment, settings: SimpleNamespace, people: People,
                front_end: FrontEnd = identity) -> Shaper:
    """Make caps and keep-out of a deployment."""
    limits = deployment.limits
    caps = Caps(min(limits.power, deployment.radio.power), limits.element_power, limits.eirp,
                settings.power_margin)
    volumes = tuple(
        KeepOutVolume(volume.name, volume.density, volume.radius, volume.height, volume.centre,
                      volume.role, volume.body, volume.offset) for volume in limits.keep_out)
    return Shaper(caps, KeepOut(
        volumes, deployment.transmit_array, deployment.radio.wavelength, people.places,
        settings.keep_out_points), front_end)


class People:
    """
    Where the bodies are that keep-out volumes go with.

    Parameters
    ----------
    deployment : Deployment
    tracks : TrackStore
        Gets their poses.
    now : callable
        Present node time [s].

    """

    def __init__(self, deployment: Deployment, tracks: TrackStore, now: Any) -> None:
        self._volumes = [v for v in deployment.limits.keep_out if v.centre is None]
        self._tracks = tracks
        self._now = now
        self.bodies = tuple(body for body in deployment.bodies if any(
            v.role == body.role or v.body == body.id for v in self._volumes))

    @property
    def tracked(self) -> bool:
        """Whether any volume goes with bodies."""
        return bool(self._volumes)

    def places(self) -> Bodies:
        """
        Where they are now; see `KeepOut`.

        One that is configured and was never seen, or whose newest pose is older than `predict_s`,
        is somewhere.
        """
        now = self._now()
        self._tracks.advance(now)
        places: dict[tuple[str, str], Any] = {
            (body.role.value, body.id): body.position if body.state is TrackState.FRESH else None
            for body in self._tracks.predict(now)}
        for body in self.bodies:
            places.setdefault(_key(body), None)
        return places


def _key(body: BodySettings) -> tuple[str, str]:
    return body.role, body.id


class Promises:
    """What the designer has told of the SINR of its latest beams."""

    def __init__(self) -> None:
        self._latest: deque[tuple[int, Sequence[UserReport]]] = deque(maxlen=16)

    def take(self, status: DesignStatus) -> None:
        """Keep what a status says."""
        self._latest.append((status.sequence, [
            UserReport(user.id, user.required_sinr_db, user.sinr_db) for user in status.users]))

    def turned_down(self, sequence: int, scale: float) -> list[UserReport]:
        """
        SINR of beams that are emitted with a part of their power: at least this.

        Noise stays while signal and interference are turned down together, so that the ratio
        falls by no more than the power does.
        """
        for number, users in reversed(self._latest):
            if number == sequence:
                loss = 10.0 * math.log10(scale)
                return [UserReport(user.id, user.required_sinr_db, user.sinr_db + loss)
                        for user in users]
        return []


def radio_status(state: TransmitterState, deployment: Deployment, now: float,
                 designed: Sequence[UserReport], users: Sequence[UserReport]) -> RadioStatus:
    """Make the message of a state."""
    limits, beams, tally, last = deployment.limits, state.emission, state.tally, state.last
    message = RadioStatus(
        header=header(now, deployment.transmit_array.name),
        state=int(state.state), armed=state.armed, muted=state.muted,
        mute_reason=state.mute_reason, mute_detail=state.mute_detail,
        faults=[RadioFault(name=fault.name, detail=fault.detail) for fault in state.faults],
        applied=tally.applied, late=tally.late, dropped=tally.dropped, restarts=tally.restarts,
        rejected=count_messages(tally.rejected), held_back=count_messages(tally.held_back),
        limited=count_messages(tally.limited), mutes=count_messages(tally.mutes),
        power=0.0 if beams is None else beams.power,
        power_limit=min(limits.power, deployment.radio.power),
        max_element_power=0.0 if beams is None else beams.max_element_power,
        element_power_limit=_nan_if_none(limits.element_power),
        eirp=0.0 if beams is None else beams.eirp, eirp_limit=_nan_if_none(limits.eirp),
        scale=math.nan if beams is None else beams.scale,
        limited_by=[] if beams is None else list(beams.limited_by),
        keep_out=[] if beams is None else [
            KeepOutStatus(name=report.name, density=report.density, limit=report.limit)
            for report in beams.keep_out],
        muted_duration=state.muted_duration,
        designed_users=user_status_messages(designed), users=user_status_messages(users))
    if last is not None:
        message.last_sequence = last.command.sequence
        for field, stamp in (
                ('design_stamp', last.command.design_stamp),
                ('publish_stamp', last.command.publish_stamp),
                ('receive_stamp', last.received), ('apply_stamp', last.handed_over),
                ('valid_until', last.command.valid_until)):
            setattr(message, field, Time(sec=stamp // 10 ** 9, nanosec=stamp % 10 ** 9))
    return message


def health(state: TransmitterState, others: Mapping[str, object]) -> Health:
    """Diagnose a state."""
    tally, beams = state.tally, state.emission
    values: dict[str, object] = {
        'state': state.state.name.lower(), 'armed': state.armed, 'applied': tally.applied,
        'late': tally.late, 'dropped': tally.dropped, 'restarts': tally.restarts,
        'muted [s]': state.muted_duration}
    if beams is not None:
        values |= {'power [W]': beams.power, 'element power [W]': beams.max_element_power,
                   'EIRP [W]': beams.eirp, 'scale': beams.scale}
        values |= {f'density {report.name} [W/m^2]': report.density for report in beams.keep_out}
    for name, counts in (('beams', tally.rejected), ('held back', tally.held_back),
                         ('limited', tally.limited), ('muted', tally.mutes)):
        values |= {f'{name} {reason}': count for reason, count in counts.items()}
    values |= {f'fault {fault.name}': fault.detail for fault in state.faults} | dict(others)
    if state.faults:
        summary = f'fault: {", ".join(fault.name for fault in state.faults)}'
        return Health(Level.ERROR, summary if state.muted else f'{summary}; NOT MUTED', values)
    if state.mute_reason:
        return Health(Level.WARN, f'muted: {state.mute_reason}', values)
    if beams is not None and beams.limited_by:
        return Health(Level.WARN, f'turned down for {", ".join(beams.limited_by)}', values)
    return Health(Level.OK, 'transmitting', values)


def _nan_if_none(limit: float) -> float:
    return math.nan if math.isinf(limit) else limit
