"""From covariances to beams: rank-one recovery, repair, sensing beams, and what beams achieve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core import beam_kernels
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import Problem

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Sensing beams with less than this fraction of the power budget are rounding. Not more: where an
# optimum all but hides a target, a beam of 1e-12 of the power decides its bound.
NEGLIGIBLE_POWER = 1e-15
# Sensing beams below such parts of the power are what an interior point keeps of every direction.
WEAK_POWERS = (1e-3, 1e-4, 1e-5)
# Repaired designs exceed each required SINR by this ratio, so that rounding in the recomputation
# at full size cannot turn "met" into "missed".
SINR_MARGIN = 1e-10
# Steps in which beams are raised to meet their SINRs; a few do, or else many would not.
MAX_RAISES = 20


def _dense(matrix: Complex | Real) -> Complex:
    """As the compiled steps take it."""
    return np.ascontiguousarray(matrix, dtype=np.complex128)


def sinr(channels: Complex, communication: Complex, sensing: Complex, noise: Real) -> Real:
    """
    SINR of each user, sensing beams counted as interference.

    Parameters
    ----------
    channels : ndarray, shape (N, U)
        Channels h; user u receives h_u^H x.
    communication : ndarray, shape (N, U)
        Beam u carries the data of user u [sqrt(W)].
    sensing : ndarray, shape (N, r)
        Beams without data [sqrt(W)].
    noise : ndarray, shape (U,)
        Noise power at each user [W].

    Returns
    -------
    ndarray, shape (U,)
        Linear.

    Notes
    -----
    Eq. (10) of Hua, Xu, Zhang.

    """
    received = channels.conj().T
    return received_sinr(
        np.hstack([received @ communication, received @ sensing]), noise)


def received_sinr(received: Complex, noise: Real) -> Real:
    """
    SINR of each user from what it receives of each beam.

    Parameters
    ----------
    received : ndarray, shape (U, U + r)
        h_u^H w of each user (row) and beam (column), communication beams first [sqrt(W)].
    noise : ndarray, shape (U,)
        [W].

    Returns
    -------
    ndarray, shape (U,)
        Linear.

    """
    return beam_kernels.received_sinr(_dense(received), np.ascontiguousarray(noise, dtype=float))


@dataclass(frozen=True)
class ReducedBeams:
    """
    Beams in the coordinates of the reduced basis, for a power budget of 1.

    Attributes
    ----------
    communication : ndarray, shape (d, U)
    sensing : ndarray, shape (d, r)

    """

    communication: Complex
    sensing: Complex

    @property
    def covariance(self) -> Complex:
        """Covariance S of the signal, shape (d, d)."""
        return beam_kernels.covariance(_dense(self.communication), _dense(self.sensing))

    @property
    def power(self) -> float:
        """Total power as a fraction of the budget."""
        return float(np.vdot(self.communication, self.communication).real
                     + np.vdot(self.sensing, self.sensing).real)

    def with_full_power(self) -> ReducedBeams:
        """Scale all beams so that they use the whole budget; no SINR falls."""
        scale = 1.0 / np.sqrt(self.power)
        return ReducedBeams(self.communication * scale, self.sensing * scale)


def no_beams(problem: Problem) -> Complex:
    """Matrix (d, 0): no sensing."""
    return np.zeros((problem.dimension, 0), dtype=np.complex128)


def factor(covariance: Complex) -> Complex:
    """
    Split a covariance into beams by its eigenvalues, the strongest first.

    Parameters
    ----------
    covariance : ndarray, shape (d, d)
        Hermitian; negative eigenvalues, which are rounding, are dropped.

    Returns
    -------
    ndarray, shape (d, r)
        Orthogonal columns; those below NEGLIGIBLE_POWER are left out.

    """
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.conj().T))
    keep = np.flatnonzero(values > NEGLIGIBLE_POWER)[::-1]
    return vectors[:, keep] * np.sqrt(values[keep])


def split(problem: Problem, covariance: Complex, user_parts: Complex) -> ReducedBeams:
    """
    Split a covariance into one beam per user and sensing beams.

    Parameters
    ----------
    problem : Problem
    covariance : ndarray, shape (d, d)
        S, positive semidefinite.
    user_parts : ndarray, shape (U, d)
        Rows W_u g_u, where W_u is the part of S that carries the data of user u.

    Returns
    -------
    ReducedBeams
        w_u = W_u g_u / sqrt(g_u^H W_u g_u), and the eigenvectors of what is left.

    Notes
    -----
    Proposition 3 of Hua, Xu, Zhang: W_u - w_u w_u^H stays positive semidefinite and unseen by
    user u, so the SINRs and the covariance stay as they were.

    """
    return ReducedBeams(*beam_kernels.split(
        _dense(covariance), _dense(problem.user_channels),
        _dense(user_parts), NEGLIGIBLE_POWER))


def user_shares(problem: Problem, covariance: Complex, parts: Complex) -> Complex:
    """
    Recover W_u g_u from the compact form.

    Parameters
    ----------
    problem : Problem
    covariance : ndarray, shape (d, d)
        S.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G.

    Returns
    -------
    ndarray, shape (U, d)
        Rows W_u g_u, W_u = S G M^+ X_u M^+ G^H S with M = G^H S G.

    """
    return beam_kernels.shares(
        _dense(covariance), _dense(problem.user_channels),
        _dense(parts))


def recovered(problem: Problem, covariance: Complex, parts: Complex) -> ReducedBeams:
    """
    Turn a solver's point of the compact form into beams that meet the power and every SINR.

    Parameters
    ----------
    problem : Problem
        Feasible.
    covariance : ndarray, shape (d, d)
        S, positive semidefinite but for rounding.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G.

    Returns
    -------
    ReducedBeams

    Raises
    ------
    SolverError
        If there is nothing that could be beams.

    """
    powers, communication, sensing, spare = beam_kernels.recover(
        _dense(covariance), _dense(problem.user_channels), _dense(parts), NEGLIGIBLE_POWER,
        problem.sinr, problem.user_noise)
    if not powers > 0.0:
        raise SolverError('the solver ended without a covariance')
    beams = ReducedBeams(communication, sensing)
    return beams if spare >= SINR_MARGIN else repair(problem, beams)


def trimmed(problem: Problem, beams: ReducedBeams,
            limit: float | None = None) -> tuple[ReducedBeams, float]:
    """
    Leave out weak sensing beams, and give their power to all others, where no bound rises by that.

    An interior point radiates a little in every direction of the subspace. As a rule that is a
    loss; where an optimum all but hides a target the weakest beam may be what it is seen by.

    Parameters
    ----------
    problem : Problem
        With something to estimate.
    beams : ReducedBeams
        With the whole budget used.
    limit : float or None
        What the objective may be without the weak beams [m^2], at most what it is with them; None:
        that.

    Returns
    -------
    ReducedBeams
        With the whole budget used. No SINR falls and the objective is no larger; beams that have
        to meet further rows come back as they are.
    float
        Their objective [m^2]; infinite if singular.

    """
    most = problem.objective(beams.covariance) if limit is None else limit
    for weak in WEAK_POWERS if problem.rows is None else ():
        communication, sensing, covariance = beam_kernels.without_weak(
            _dense(beams.communication), _dense(beams.sensing), weak)
        if sensing.shape == beams.sensing.shape:
            break
        reached = problem.objective(covariance)
        if reached <= most:
            return ReducedBeams(communication, sensing), reached
    return beams, most if limit is None else problem.objective(beams.covariance)


def slack(problem: Problem, beams: ReducedBeams) -> Real:
    """
    How far each SINR constraint is from being active, relative to the noise.

    Returns
    -------
    ndarray, shape (U,)
        (1 + 1/Gamma_u) |g_u^H w_u|^2 - g_u^H S g_u - noise_u, over noise_u; negative if violated.

    """
    return beam_kernels.slack(
        _dense(problem.user_channels), _dense(beams.communication),
        _dense(beams.sensing), problem.sinr, problem.user_noise)


def repair(problem: Problem, beams: ReducedBeams) -> ReducedBeams:
    """
    Make beams meet the power budget and every SINR.

    Solvers return points that miss an SINR by 1e-7 to 1e-5 of the power. Constraints are linear in
    the covariances, so a mixture with the least-power beams, scaled up to the full budget and
    hence strictly feasible, meets them; a rank-one recovery turns the mixture into beams again.
    For a user that needs next to nothing that is a large part of its need, and little power: beams
    are first raised as they are, if less has to be mixed in then.

    Parameters
    ----------
    problem : Problem
        Feasible.
    beams : ReducedBeams

    Returns
    -------
    ReducedBeams
        With the whole budget used and every SINR met.

    """
    beams = beams.with_full_power()
    users = problem.least_power
    if users is None or not len(problem.sinr):
        return beams
    # The required interior: SINR_MARGIN, or half of what the scene leaves near infeasibility.
    room = 1.0 / users.power - 1.0
    wanted = min(SINR_MARGIN, 0.5 * room)
    missing = wanted - slack(problem, beams)
    if missing.max() <= 0:
        return beams
    safe = ReducedBeams(users.beams, no_beams(problem)).with_full_power()

    def needed(missing: Real) -> float:
        # slack is affine in the mixture: (1 - t) slack + t room >= wanted.
        missing = np.maximum(missing, 0.0)
        return min(1.0, float(np.max(missing / (missing + room - wanted), initial=0.0)))

    share = needed(missing)
    raised = _raised(problem, beams, 1.0 + wanted)
    if raised is not None:
        missing = wanted - slack(problem, raised)
        if needed(missing) < share:
            beams, share = raised, needed(missing)
    if share >= 1.0:
        return safe
    if share <= 0.0:
        return beams
    covariance = (1 - share) * beams.covariance + share * safe.covariance
    g = problem.user_channels
    parts = np.stack([
        (1 - share) * mine * (mine.conj() @ g[:, u]) + share * other * (other.conj() @ g[:, u])
        for u, (mine, other) in enumerate(zip(
            beams.communication.T, safe.communication.T, strict=True))])
    return split(problem, covariance, parts).with_full_power()


def _raised(problem: Problem, beams: ReducedBeams, noise_factor: float) -> ReducedBeams | None:
    """
    Raise the beams of users that lack power, then scale all to the budget; None if that is vain.

    Scaling takes from each SINR again, but only as much as the beams had to be raised.
    """
    received = np.abs(problem.user_channels.conj().T @ beams.communication) ** 2
    own = np.diag(received).copy()
    np.fill_diagonal(received, 0.0)
    rest = (np.abs(problem.user_channels.conj().T @ beams.sensing) ** 2).sum(axis=1)
    rest += noise_factor * problem.user_noise
    if not own.all():
        return None
    factors = np.ones(len(own))
    for _ in range(MAX_RAISES):
        before = factors
        # Monotone: each user's need grows with the power of the others.
        factors = np.maximum(1.0, problem.sinr * (received @ factors + rest) / own)
        if np.abs(factors - before).max() <= np.finfo(float).eps * factors.max():
            break
    raised = ReducedBeams(beams.communication * np.sqrt(factors), beams.sensing)
    return raised.with_full_power() if np.isfinite(raised.power) else None
