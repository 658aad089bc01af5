"""
From the messages of nf_isac_msgs to core records; `messages` goes the other way.

Nothing is imported from message packages, so that messages which `rosbags` read from a recording
are understood where there is no ROS. Tracks are read by `adapters.read_track_array`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.conversions.adapters import seconds
from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.conversions.matrices import unpack
from nf_isac_ros.core.extended.gram import ExtendedBounds
from nf_isac_ros.core.localisation.echoes import EchoSamples, Sensor
from nf_isac_ros.core.localisation.localiser import EchoState, LocatedTarget
from nf_isac_ros.core.reports import (
    BoundReport,
    CovarianceReport,
    CycleReport,
    DesignedBeams,
    TrackReport,
)
from nf_isac_ros.core.solution import Quality, TargetReport, UserReport
from nf_isac_ros.core.tracking import ChannelSample, Role, TrackState

# EchoEstimate.STATE_DETECTED, ...
ECHO_STATES = (EchoState.DETECTED, EchoState.LOST, EchoState.NEW)
ROLES = (Role.TARGET, Role.USER)   # TrackStatus.ROLE_TARGET, TrackStatus.ROLE_USER
FIELD_UNKNOWN, FIELD_NEAR = 0, 1   # of CrbEntry and UserStatus
KIND_EXTENDED = 1                  # of CrbEntry


def _xyz(point: Any) -> NDArray[np.float64]:
    return np.array([point.x, point.y, point.z], dtype=float)


def read_user_channels(message: Any, layout_hash: str, n_elements: int) -> list[ChannelSample]:
    """
    Channels of a UserChannelArray.

    Parameters
    ----------
    message : nf_isac_msgs/msg/UserChannelArray
        Live or read from a bag.
    layout_hash : str
        Of the transmit array.
    n_elements : int
        Of the transmit array.

    Raises
    ------
    MessageError
        If a channel belongs to another array ('layout-mismatch'), has the wrong length
        ('bad-shape') or no stamp ('no-stamp').
    TrackError
        If a channel is zero or not finite.

    """
    samples = []
    for channel in message.channels:
        what = f'channel of user {channel.id!r}'
        if channel.layout_hash != layout_hash:
            raise MessageError(f'{what} has the layout {channel.layout_hash!r}, must have '
                               f'{layout_hash!r}', 'layout-mismatch')
        if channel.n_elements != n_elements:
            raise MessageError(f'{what} has {channel.n_elements} elements, must have {n_elements}',
                               'bad-shape')
        stamp = seconds(channel.header.stamp)
        if stamp == 0.0:
            raise MessageError(f'{what} has no stamp (0)', 'no-stamp')
        samples.append(ChannelSample(
            channel.id, stamp, unpack(channel.channel, n_elements, 1)[:, 0],
            None if isnan(channel.min_sinr_db) else float(channel.min_sinr_db)))
    return samples


def read_beamformer(message: Any) -> DesignedBeams:
    """
    Beams of a Beamformer message.

    The matrices share memory with the message: read them only.

    Raises
    ------
    MessageError
        If the weights have not the stated shape ('bad-shape'), or the quality is none
        ('bad-quality').

    """
    columns = message.n_users + message.n_sensing
    weights = unpack(message.weights, message.n_elements, columns)
    if len(message.user_ids) != message.n_users:
        raise MessageError(f'{len(message.user_ids)} user ids, must be as many as n_users, '
                           f'{message.n_users}', 'bad-shape')
    if message.quality not in (Quality.OPTIMAL, Quality.EARLY, Quality.FALLBACK):
        raise MessageError(f'quality is {message.quality}, must be 0, 1 or 2', 'bad-quality')
    return DesignedBeams(
        frame=message.header.frame_id, sequence=int(message.sequence),
        transmit_time=seconds(message.header.stamp), design_stamp=seconds(message.design_stamp),
        oldest_track_stamp=seconds(message.oldest_track_stamp),
        cycle_stamp=seconds(message.cycle_stamp), publish_stamp=seconds(message.publish_stamp),
        valid_until=seconds(message.valid_until), design=message.design,
        quality=Quality(message.quality), reason=message.fallback_reason,
        user_ids=tuple(message.user_ids), communication=weights[:, :message.n_users],
        sensing=weights[:, message.n_users:], power=message.power,
        power_limit=message.power_limit, wavelength=message.wavelength,
        array_id=message.array_id, layout_hash=message.layout_hash,
        calibration_epoch=int(message.calibration_epoch))


def read_covariance(message: Any) -> CovarianceReport:
    """Covariance of a TransmitCovariance message; MessageError if the shape does not fit."""
    if len(message.eigenvalues) != message.rank:
        raise MessageError(f'{len(message.eigenvalues)} eigenvalues, must be as many as rank, '
                           f'{message.rank}', 'bad-shape')
    return CovarianceReport(
        frame=message.header.frame_id, sequence=int(message.sequence),
        transmit_time=seconds(message.header.stamp),
        factor=unpack(message.factor, message.n_elements, message.rank),
        eigenvalues=np.array(message.eigenvalues, dtype=float), layout_hash=message.layout_hash)


def read_crb_array(message: Any) -> BoundReport:
    """Bounds of a CrbArray message; MessageError if a covariance does not fit its parameters."""
    targets = []
    for entry in message.entries:
        names = tuple(entry.parameters)
        covariance = np.array(entry.covariance, dtype=float)
        if names[:3] != ('x', 'y', 'z') or covariance.size != len(names) ** 2:
            raise MessageError(
                f'covariance of {entry.id!r} has {covariance.size} values for {list(names)}, must '
                'have one for each pair of x, y, z and others', 'bad-shape')
        covariance = covariance.reshape(len(names), len(names))
        bounds = None if entry.kind != KIND_EXTENDED else ExtendedBounds(names, covariance)
        targets.append(TargetReport(
            id=entry.id, position=_xyz(entry.position),
            crb=covariance[:3, :3] if bounds is None else bounds.centre,
            isotropic_crb=entry.isotropic_crb, illumination=entry.illumination, echo_power=nan,
            near_field=entry.field == FIELD_NEAR, bounds=bounds))
    return BoundReport(
        frame=message.header.frame_id, sequence=int(message.sequence),
        transmit_time=seconds(message.header.stamp), design_stamp=seconds(message.design_stamp),
        targets=tuple(targets), sum_crb=message.sum_crb,
        isotropic_sum_crb=message.isotropic_sum_crb, objective=message.objective,
        bound=message.bound, gap=message.gap)


def read_user_status(users: Sequence[Any]) -> tuple[UserReport, ...]:
    """Required and achieved SINR of users."""
    return tuple(UserReport(user.id, user.required_sinr_db, user.sinr_db,
                            None if user.field == FIELD_UNKNOWN else user.field == FIELD_NEAR)
                 for user in users)


def read_counts(counts: Sequence[Any]) -> dict[str, int]:
    """Counts by reason."""
    return {count.reason: int(count.count) for count in counts}


def read_design_status(message: Any) -> CycleReport:
    """What a cycle did; MessageError if a constant is none of those of the message."""
    try:
        quality = Quality(message.outcome)
        tracks = tuple(TrackReport(track.id, ROLES[track.role], TrackState(track.state),
                                   track.age) for track in message.tracks)
    except (ValueError, IndexError) as error:
        raise MessageError(f'DesignStatus: {error}', 'bad-constant') from error
    return CycleReport(
        frame=message.header.frame_id, transmit_time=seconds(message.header.stamp),
        sequence=int(message.sequence), cycle=int(message.cycle), design=message.design,
        quality=quality, reason=message.fallback_reason, users=read_user_status(message.users),
        tracks=tracks, objective=message.objective, bound=message.bound, gap=message.gap,
        power=message.power, iterations=int(message.iterations), warm=bool(message.warm),
        cycle_ms=message.cycle_ms, pose_to_beam_ms=message.pose_to_beam_ms,
        stages_ms={stage.stage: stage.duration_ms for stage in message.stages},
        overruns=int(message.overruns), fallbacks=read_counts(message.fallbacks),
        rejected=read_counts(message.rejected))


def read_echo_estimates(message: Any) -> tuple[LocatedTarget, ...]:
    """Position estimates of an EchoEstimateArray; MessageError if a state is none of those."""
    estimates = []
    for estimate in message.estimates:
        if not 0 <= estimate.state < len(ECHO_STATES):
            raise MessageError(f'state of estimate {estimate.id!r} is {estimate.state}, must be '
                               '0, 1 or 2', 'bad-constant')
        estimates.append(LocatedTarget(
            estimate.id, ECHO_STATES[estimate.state], _xyz(estimate.position),
            np.array(estimate.covariance, dtype=float).reshape(3, 3),
            complex(estimate.reflection_re, estimate.reflection_im),
            estimate.log_likelihood_ratio, estimate.threshold))
    return tuple(estimates)


def read_echo_samples(message: Any, sensor: Sensor) -> EchoSamples:
    """
    Compressed echoes of an EchoSamples message.

    Parameters
    ----------
    message : nf_isac_msgs/msg/EchoSamples
        Live or read from a bag; the matrices share memory with it.
    sensor : Sensor
        Whose arrays they must belong to.

    Raises
    ------
    MessageError
        If they belong to other arrays ('layout-mismatch'), or a matrix has not the stated shape
        ('bad-shape').
    EchoError
        'not-finite', or 'bad-shape' if there is no stream.

    """
    for name, found, array in (
            ('transmit', message.transmit_layout_hash, sensor.transmit_array),
            ('receive', message.receive_layout_hash, sensor.receive_array)):
        if found != array.layout_hash:
            raise MessageError(f'{name}_layout_hash is {found!r}, must be {array.layout_hash!r}',
                               'layout-mismatch')
    for name, found, array in (('n_elements', message.n_elements, sensor.receive_array),
                               ('n_transmit', message.n_transmit, sensor.transmit_array)):
        if found != len(array):
            raise MessageError(f'{name} is {found}, must be {len(array)}', 'bad-shape')
    return EchoSamples(
        unpack(message.samples, message.n_elements, message.n_streams),
        unpack(message.excitation, message.n_transmit, message.n_streams), int(message.symbols))
