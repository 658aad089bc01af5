"""From core records to the messages of nf_isac_msgs; `reading` goes the other way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseWithCovariance, Quaternion, TwistWithCovariance, Vector3
import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from nf_isac_msgs.msg import (
    Beamformer,
    Count,
    CrbArray,
    CrbEntry,
    DesignStatus,
    EchoEstimate,
    EchoEstimateArray,
    EchoSamples,
    StageTime,
    Track,
    TrackArray,
    TrackStatus,
    TransmitCovariance,
    UserChannel,
    UserChannelArray,
    UserStatus,
)
from nf_isac_ros.conversions.adapters import KINDS
from nf_isac_ros.conversions.matrices import pack
from nf_isac_ros.conversions.reading import ECHO_STATES, ROLES
from nf_isac_ros.core.localisation import echoes
from nf_isac_ros.core.localisation.localiser import LocatedTarget
from nf_isac_ros.core.reports import (
    BoundReport,
    CovarianceReport,
    CycleReport,
    DesignedBeams,
)
from nf_isac_ros.core.solution import TargetReport, UserReport
from nf_isac_ros.core.tracking import ChannelSample, PoseSample

# Parameters of a bound that are no lengths.
ANGLES = ('direction', 'orientation')

Vector = NDArray[np.float64]


def time_message(seconds: float) -> Time:
    """Time in seconds as a message; NaN, which no stamp can hold, becomes 0."""
    if not np.isfinite(seconds):
        return Time()
    whole = int(seconds // 1)
    nanoseconds = round((seconds - whole) * 1e9)
    return Time(sec=whole + nanoseconds // 10 ** 9, nanosec=nanoseconds % 10 ** 9)


def header(seconds: float, frame: str) -> Header:
    """Header with a stamp in seconds."""
    return Header(stamp=time_message(seconds), frame_id=frame)


def _point(position: Vector) -> Point:
    x, y, z = (float(value) for value in position)
    return Point(x=x, y=y, z=z)


def _nan_if_none(value: float | None) -> float:
    return nan if value is None else float(value)


def _six_by_six(block: Vector | None) -> list[float]:
    """Covariance of a pose or twist from its first block; None: all zero, unknown."""
    full = np.zeros((6, 6))
    if block is not None:
        full[:3, :3] = block
    return [float(value) for value in full.ravel()]


def track_array_message(
        samples: Sequence[PoseSample], stamp: float, frame: str) -> TrackArray:
    """
    Poses of bodies of one role.

    Parameters
    ----------
    samples : sequence of PoseSample
        Their positions are those of the points that count: no offset is applied here.
    stamp : float
        Time of sending [s].
    frame : str
        World frame.

    """
    tracks = []
    for sample in samples:
        x, y, z, w = sample.orientation_xyzw or (0.0, 0.0, 0.0, 1.0)
        velocity = (nan, nan, nan) if sample.velocity is None else (
            float(value) for value in sample.velocity)
        pose = PoseWithCovariance(covariance=_six_by_six(sample.position_covariance))
        pose.pose.position = _point(sample.position)
        pose.pose.orientation = Quaternion(x=float(x), y=float(y), z=float(z), w=float(w))
        twist = TwistWithCovariance(covariance=_six_by_six(None))
        vx, vy, vz = velocity
        twist.twist.linear = Vector3(x=vx, y=vy, z=vz)
        tracks.append(Track(
            header=header(sample.stamp, frame), id=sample.id, kind=KINDS.index(sample.kind),
            pose=pose, twist=twist,
            reflection_re=nan if sample.reflection is None else float(sample.reflection.real),
            reflection_im=nan if sample.reflection is None else float(sample.reflection.imag),
            contour=sample.contour, size_scale=float(sample.size_scale),
            min_sinr_db=_nan_if_none(sample.min_sinr_db)))
    return TrackArray(header=header(stamp, frame), tracks=tracks)


def user_channel_array_message(
        samples: Sequence[ChannelSample], stamp: float, frame: str,
        layout_hash: str) -> UserChannelArray:
    """Channels of users; `frame` and `layout_hash` are those of the transmit array."""
    return UserChannelArray(header=header(stamp, frame), channels=[
        UserChannel(header=header(sample.stamp, frame), id=sample.id, layout_hash=layout_hash,
                    n_elements=len(sample.channel), channel=pack(sample.channel),
                    min_sinr_db=_nan_if_none(sample.min_sinr_db))
        for sample in samples])


def beamformer_message(beams: DesignedBeams) -> Beamformer:
    """Beams and their lease."""
    weights = np.hstack([beams.communication, beams.sensing])
    return Beamformer(
        header=header(beams.transmit_time, beams.frame), sequence=beams.sequence,
        design_stamp=time_message(beams.design_stamp),
        oldest_track_stamp=time_message(beams.oldest_track_stamp),
        cycle_stamp=time_message(beams.cycle_stamp),
        publish_stamp=time_message(beams.publish_stamp),
        valid_until=time_message(beams.valid_until),
        design=beams.design, quality=int(beams.quality), fallback_reason=beams.reason,
        user_ids=list(beams.user_ids), n_elements=len(weights),
        n_users=beams.communication.shape[1], n_sensing=beams.sensing.shape[1],
        weights=pack(weights), power=float(beams.power), power_limit=float(beams.power_limit),
        wavelength=float(beams.wavelength), array_id=beams.array_id,
        layout_hash=beams.layout_hash, calibration_epoch=beams.calibration_epoch)


def covariance_message(report: CovarianceReport) -> TransmitCovariance:
    """Covariance of the transmitted signal."""
    rows, rank = report.factor.shape
    return TransmitCovariance(
        header=header(report.transmit_time, report.frame), sequence=report.sequence,
        n_elements=rows, rank=rank, factor=pack(report.factor),
        eigenvalues=[float(value) for value in report.eigenvalues], trace=report.trace,
        layout_hash=report.layout_hash)


def crb_array_message(report: BoundReport) -> CrbArray:
    """Bounds of all targets."""
    return CrbArray(
        header=header(report.transmit_time, report.frame), sequence=report.sequence,
        design_stamp=time_message(report.design_stamp),
        entries=[_crb_entry(target) for target in report.targets],
        sum_crb=float(report.sum_crb), isotropic_sum_crb=float(report.isotropic_sum_crb),
        bound=float(report.bound), objective=float(report.objective), gap=float(report.gap))


def _crb_entry(target: TargetReport) -> CrbEntry:
    names, covariance = ('x', 'y', 'z'), target.crb
    if target.bounds is not None:
        names, covariance = target.bounds.names, target.bounds.covariance
    return CrbEntry(
        id=target.id,
        kind=CrbEntry.KIND_POINT if target.bounds is None else CrbEntry.KIND_EXTENDED,
        field=CrbEntry.FIELD_NEAR if target.near_field else CrbEntry.FIELD_FAR,
        position=_point(target.position), parameters=list(names),
        units=['rad' if name in ANGLES else 'm' for name in names],
        covariance=[float(value) for value in np.ravel(covariance)],
        crb=float(np.trace(target.crb)), isotropic_crb=float(target.isotropic_crb),
        illumination=float(target.illumination))


def count_messages(counts: Mapping[str, int]) -> list[Count]:
    """Counts by reason, in alphabetical order."""
    return [Count(reason=reason, count=count) for reason, count in sorted(counts.items())]


def user_status_messages(users: Sequence[UserReport]) -> list[UserStatus]:
    """Required and achieved SINR of users."""
    return [UserStatus(id=user.id, required_sinr_db=float(user.required_sinr_db),
                       sinr_db=float(user.sinr_db), field=_field(user.near_field))
            for user in users]


def _field(near: bool | None) -> int:
    if near is None:
        return UserStatus.FIELD_UNKNOWN
    return UserStatus.FIELD_NEAR if near else UserStatus.FIELD_FAR


def design_status_message(report: CycleReport) -> DesignStatus:
    """What a cycle did."""
    return DesignStatus(
        header=header(report.transmit_time, report.frame), sequence=report.sequence,
        cycle=report.cycle, design=report.design, outcome=int(report.quality),
        fallback_reason=report.reason, users=user_status_messages(report.users),
        tracks=[TrackStatus(id=track.id, role=ROLES.index(track.role), state=int(track.state),
                            age=float(track.age)) for track in report.tracks],
        objective=float(report.objective), bound=float(report.bound), gap=float(report.gap),
        power=float(report.power), iterations=report.iterations, warm=report.warm,
        cycle_ms=float(report.cycle_ms), pose_to_beam_ms=float(report.pose_to_beam_ms),
        stages=[StageTime(stage=stage, duration_ms=float(duration))
                for stage, duration in report.stages_ms.items()],
        overruns=report.overruns, fallbacks=count_messages(report.fallbacks),
        rejected=count_messages(report.rejected))


def echo_estimate_array_message(estimates: Sequence[LocatedTarget], stamp: float, frame: str,
                                sequence: int, publish_stamp: float = nan) -> EchoEstimateArray:
    """Position estimates; `sequence` is that of the Beamformer that lit the targets."""
    return EchoEstimateArray(
        header=header(stamp, frame), sequence=sequence, publish_stamp=time_message(publish_stamp),
        estimates=[EchoEstimate(
            id=estimate.id, position=_point(estimate.position),
            covariance=[float(value) for value in np.ravel(estimate.covariance)],
            log_likelihood_ratio=float(estimate.log_likelihood_ratio),
            state=ECHO_STATES.index(estimate.state), threshold=float(estimate.threshold),
            reflection_re=estimate.reflection.real, reflection_im=estimate.reflection.imag)
            for estimate in estimates])


def echo_samples_message(samples: echoes.EchoSamples, stamp: float, sequence: int,
                         sensor: echoes.Sensor) -> EchoSamples:
    """
    Compressed echoes of one sensing period.

    Parameters
    ----------
    samples : core EchoSamples
    stamp : float
        Middle of the period [s].
    sequence : int
        Of the Beamformer that was on the air.
    sensor : Sensor
        Whose arrays they belong to.

    """
    return EchoSamples(
        header=header(stamp, sensor.receive_array.name), sequence=sequence,
        symbols=samples.symbols, n_elements=samples.samples.shape[0],
        n_transmit=samples.excitation.shape[0], n_streams=samples.samples.shape[1],
        samples=pack(samples.samples), excitation=pack(samples.excitation),
        transmit_layout_hash=sensor.transmit_array.layout_hash,
        receive_layout_hash=sensor.receive_array.layout_hash)
