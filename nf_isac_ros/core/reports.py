"""What the designer sends to radio and onlookers, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.solution import Quality, TargetReport, UserReport
from nf_isac_ros.core.tracking import Role, TrackState

Vector = NDArray[np.float64]
Complex = NDArray[np.complexfloating]


@dataclass(frozen=True)
class DesignedBeams:
    """
    Beams to transmit with, and the lease under which they may be used.

    Attributes
    ----------
    frame : str
        Frame of the transmit array.
    sequence : int
        Counts up by one with each message of one activation.
    transmit_time : float
        Time for which the scene was predicted [s].
    design_stamp, oldest_track_stamp : float
        Stamps of the newest and the oldest pose that were used [s].
    cycle_stamp, publish_stamp : float
        When the cycle began and when the message was sent [s].
    valid_until : float
        End of the lease [s].
    design : str
        Name of the design.
    quality : Quality
        Not MUTE: without beams there is no message.
    reason : str
        Why the quality is FALLBACK; empty otherwise.
    user_ids : tuple of str
        One for each column of `communication`.
    communication : ndarray, shape (N, U)
        [sqrt(W)].
    sensing : ndarray, shape (N, r)
        [sqrt(W)].
    power, power_limit : float
        Total radiated power and its limit [W].
    wavelength : float
        [m].
    array_id, layout_hash : str
        Name of the transmit array and hash of its element positions.
    calibration_epoch : int
        Calibration that the beams assume; 0: none.

    """

    frame: str
    sequence: int
    transmit_time: float
    design_stamp: float
    oldest_track_stamp: float
    cycle_stamp: float
    publish_stamp: float
    valid_until: float
    design: str
    quality: Quality
    reason: str
    user_ids: tuple[str, ...]
    communication: Complex
    sensing: Complex
    power: float
    power_limit: float
    wavelength: float
    array_id: str
    layout_hash: str
    calibration_epoch: int = 0


@dataclass(frozen=True)
class CovarianceReport:
    """
    Covariance of the transmitted signal as its low-rank factor.

    Attributes
    ----------
    frame : str
        Frame of the transmit array.
    sequence : int
        Of the DesignedBeams that it belongs to.
    transmit_time : float
        [s].
    factor : ndarray, shape (N, r)
        B with orthogonal columns, by falling power; R_X = B B^H [sqrt(W)].
    eigenvalues : ndarray, shape (r,)
        Of R_X, falling [W].
    layout_hash : str
        Hash of the element positions.

    """

    frame: str
    sequence: int
    transmit_time: float
    factor: Complex
    eigenvalues: Vector
    layout_hash: str

    @property
    def trace(self) -> float:
        """Total power [W]."""
        return float(self.eigenvalues.sum())


def orthogonal_factor(weights: Complex) -> tuple[NDArray[np.complex128], Vector]:
    """
    Factor of a covariance with orthogonal columns.

    Parameters
    ----------
    weights : ndarray, shape (N, k)
        Any factor B of R_X = B B^H [sqrt(W)].

    Returns
    -------
    factor : ndarray, shape (N, r)
        Another factor of R_X, columns orthogonal and by falling power [sqrt(W)].
    eigenvalues : ndarray, shape (r,)
        The powers of the columns, which are the eigenvalues of R_X [W]; those below 1e-12 of the
        largest are rounding and left out.

    """
    weights = np.asarray(weights, dtype=np.complex128)
    # R_X and the small Gram matrix have the same eigenvalues, but for zeros.
    eigenvalues, vectors = np.linalg.eigh(weights.conj().T @ weights)
    kept = np.flatnonzero(eigenvalues > 1e-12 * eigenvalues.max(initial=0.0))[::-1]
    return weights @ vectors[:, kept], eigenvalues[kept]


@dataclass(frozen=True)
class BoundReport:
    """
    Cramér-Rao bounds that the published beams give.

    Attributes
    ----------
    frame : str
        World frame.
    sequence : int
        Of the DesignedBeams that they belong to.
    transmit_time, design_stamp : float
        [s].
    targets : tuple of TargetReport
        Their `echo_power` does not travel: NaN after reading.
    sum_crb, isotropic_sum_crb : float
        Sum of the traces, and the same for isotropic transmission [m^2].
    objective, bound, gap : float
        As in `Solution`.

    """

    frame: str
    sequence: int
    transmit_time: float
    design_stamp: float
    targets: tuple[TargetReport, ...]
    sum_crb: float
    isotropic_sum_crb: float
    objective: float
    bound: float
    gap: float


@dataclass(frozen=True)
class TrackReport:
    """
    What was made of one body.

    Attributes
    ----------
    id, role, state
        As in `PredictedBody`.
    age : float
        Transmit time minus stamp of the newest pose [s].

    """

    id: str
    role: Role
    state: TrackState
    age: float


@dataclass(frozen=True)
class CycleReport:
    """
    What a design cycle did, whether it made beams or not.

    Attributes
    ----------
    frame : str
        World frame.
    transmit_time : float
        [s].
    sequence : int
        Of the DesignedBeams; after a mute cycle of the last one before.
    cycle : int
        Counts all cycles of one activation.
    design : str
        Design that was asked for.
    quality : Quality
    reason : str
        Why the quality is FALLBACK or MUTE; empty otherwise.
    users : tuple of UserReport
    tracks : tuple of TrackReport
        All known bodies.
    objective, bound, gap, power
        As in `Solution`.
    iterations, warm
        As in `Solution`.
    cycle_ms : float
        From the start of the cycle to the end of publishing [ms].
    pose_to_beam_ms : float
        From the stamp of the newest pose to the end of publishing [ms]; NaN: no pose.
    stages_ms : mapping of str to float
        Wall time of each stage [ms].
    overruns : int
        Periods that were lost, because a cycle that was due had to wait for the one before.
    fallbacks, rejected : mapping of str to int
        Fallback cycles and rejected messages since the activation, by reason.

    """

    frame: str
    transmit_time: float
    sequence: int
    cycle: int
    design: str
    quality: Quality
    reason: str
    users: tuple[UserReport, ...] = ()
    tracks: tuple[TrackReport, ...] = ()
    objective: float = nan
    bound: float = nan
    gap: float = nan
    power: float = 0.0
    iterations: int = 0
    warm: bool = False
    cycle_ms: float = nan
    pose_to_beam_ms: float = nan
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    overruns: int = 0
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
