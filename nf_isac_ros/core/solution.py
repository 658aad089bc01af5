"""The outcome of a design, recomputed from the beams themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.extended.gram import ExtendedBounds


class Quality(IntEnum):
    """How good a design is; the values are those of DesignStatus.OUTCOME_*."""

    OPTIMAL = 0
    """Certified within the gap that was asked for."""
    EARLY = 1
    """Feasible and certified, but not within the gap that was asked for."""
    FALLBACK = 2
    """A lesser design; `Solution.reason` says why."""
    MUTE = 3
    """No beams; `Solution.reason` says why."""


@dataclass(frozen=True)
class TargetReport:
    """
    What the beams achieve at one target.

    Attributes
    ----------
    id : str
    position : ndarray, shape (3,)
        In the scene frame [m].
    crb : ndarray, shape (3, 3)
        Cramér-Rao bound on the covariance of the estimated position [m^2]; infinite if the
        position cannot be estimated.
    isotropic_crb : float
        Trace of the bound for isotropic transmission of the same power budget [m^2].
    illumination : float
        Power at the target, v^T R_X conj(v) [W], Eq. (24) of Hua, Xu, Zhang.
    echo_power : float
        |a|^2 |b|^2 times the illumination [W], Eq. (25), corrected.
    near_field : bool
        Within the Rayleigh distance of the transmit or the receive array.
    bounds : ExtendedBounds or None
        Of an extended target, whose position is its centre; None for a point.
    section_illumination : ndarray, shape (K,)
        Power at each section of an extended target [W], or with plane waves that power over the
        path loss; its mean is the target's illumination. Empty for a point.
    region_crb : ndarray, shape (3, 3), or None
        The bound averaged over where the target may be [m^2]; None: the design did not look there.

    """

    id: str
    position: NDArray[np.float64]
    crb: NDArray[np.float64]
    isotropic_crb: float
    illumination: float
    echo_power: float
    near_field: bool
    bounds: ExtendedBounds | None = None
    section_illumination: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    region_crb: NDArray[np.float64] | None = None

    @property
    def coverage_ratio(self) -> float:
        """Largest over smallest illumination of the sections; 1 for a point."""
        if not len(self.section_illumination):
            return 1.0
        smallest = float(self.section_illumination.min())
        return float(self.section_illumination.max()) / smallest if smallest > 0 else np.inf


@dataclass(frozen=True)
class UserReport:
    """
    What the beams achieve at one user.

    Attributes
    ----------
    id : str
    required_sinr_db, sinr_db : float
        [dB]; minus infinity without a beam.
    near_field : bool or None
        Within the Rayleigh distance of the transmit array; None: known by its channel only.

    """

    id: str
    required_sinr_db: float
    sinr_db: float
    near_field: bool | None = None

    @property
    def violation_db(self) -> float:
        """By how much the requirement is missed [dB]; negative if it is met."""
        return self.required_sinr_db - self.sinr_db


@dataclass(frozen=True)
class Solution:
    """
    Beams and what they achieve.

    Attributes
    ----------
    design : str
        Name of the design that made the beams.
    quality : Quality
    reason : str
        Why the quality is FALLBACK or MUTE; empty otherwise.
    communication : ndarray, shape (N, U)
        One beam per user, in the order of the scene [sqrt(W)].
    sensing : ndarray, shape (N, r)
        Beams without data [sqrt(W)].
    targets : tuple of TargetReport
    users : tuple of UserReport
    objective, bound, gap : float
        Achieved objective, certified bound on it, abs(objective - bound) / abs(objective); NaN if
        there is none.
    sum_crb, isotropic_sum_crb : float
        Sum of the traces of the targets' bounds, and the same for isotropic transmission [m^2].
    power, power_limit : float
        [W].
    subspace_dimension : int
        Dimension d of the reduced subspace.
    iterations : int
        Of the solver.
    warm : bool
        The solver was started from an earlier solution.
    times_ms : mapping of str to float
        Wall time of each stage [ms].
    coverage_limit : float
        Largest ratio between illuminations of the sections of an extended target that the design
        allows; infinite if it does not care.

    """

    design: str
    quality: Quality
    reason: str
    communication: NDArray[np.complex128]
    sensing: NDArray[np.complex128]
    targets: tuple[TargetReport, ...]
    users: tuple[UserReport, ...]
    objective: float
    bound: float
    gap: float
    sum_crb: float
    isotropic_sum_crb: float
    power: float
    power_limit: float
    subspace_dimension: int
    iterations: int = 0
    warm: bool = False
    times_ms: Mapping[str, float] = field(default_factory=dict)
    coverage_limit: float = np.inf

    @property
    def weights(self) -> NDArray[np.complex128]:
        """All beams, communication first, shape (N, U + r) [sqrt(W)]."""
        return np.hstack([self.communication, self.sensing])

    @cached_property
    def covariance_eigenvalues(self) -> NDArray[np.float64]:
        """Those of R_X on the reduced subspace, falling, shape (d,) [W]."""
        weights = self.weights
        smaller = min((weights.conj().T, weights), key=len)
        found = np.maximum(np.linalg.eigvalsh(smaller @ smaller.conj().T)[::-1], 0.0)
        out = np.zeros(self.subspace_dimension)
        out[:len(found)] = found[:len(out)]
        return out

    @property
    def coverage_ratio(self) -> float:
        """Largest over smallest illumination of the sections of one target."""
        return max((target.coverage_ratio for target in self.targets), default=1.0)

    @property
    def max_violation(self) -> float:
        """
        Largest violation of a requirement; 0 if there is none.

        Of power and coverage the relative one, of an SINR the ratio minus one.
        """
        worst = max(0.0, self.power / self.power_limit - 1.0)
        if np.isfinite(self.coverage_limit):
            worst = max(worst, self.coverage_ratio / self.coverage_limit - 1.0)
        for user in self.users:
            worst = max(worst, float(np.expm1(np.log(10.0) / 10.0 * user.violation_db)))
        return worst
