"""A single target: designs of (P1) in closed form, where the closed form is optimal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from nf_isac_ros.core.beams import SINR_MARGIN, ReducedBeams, no_beams, repair
from nf_isac_ros.core.certificate import tangent_weights
from nf_isac_ros.core.fisher import FisherMap
from nf_isac_ros.core.problem import Problem

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# A user whose channel has no larger part outside the target's response stands at the target.
COLLOCATED = 1e-12


def focusing_ratio(problem: Problem) -> float:
    """
    What listening tells about the position of a single target, against what lighting could.

    With all power on conj(v) the position is learnt from the receive array alone. Power that is
    moved to the tangents of v teaches by the transmit array instead.

    Parameters
    ----------
    problem : Problem
        With one target, a point.

    Returns
    -------
    float
        Largest c with Re(G_a) / |a|^2 >= c Re(G_v) / |v|^2 in the Loewner order, where G_a (in the
        metric of the noise) and G_v are the Gram matrices of the decorrelated derivatives; 0 if
        the receive array alone cannot locate the target. From 1 on, R_X = P_T conj(v) v^T / |v|^2
        is optimal without users, whatever the weights.

    Notes
    -----
    Proposition 5 of Hua, Xu, Zhang without its symmetry: docs/maths.md, single target. Identical
    transmit and receive arrays have exactly 1.

    """
    listening = _spread(problem.full_fisher.receive_gram)
    lighting = _spread(problem.gram[problem.point_columns, problem.point_columns])
    scale = 1.0 / np.sqrt(np.maximum(np.diag(listening), np.finfo(float).tiny))
    try:
        largest = eigh(lighting * scale * scale[:, None], listening * scale * scale[:, None],
                       eigvals_only=True)[-1]
    except np.linalg.LinAlgError:
        return 0.0
    return float(1.0 / largest) if largest > 0 else np.inf


def _spread(gram: Complex) -> Real:
    """Gram matrix of the derivatives over that of the response, real part, shape (3, 3)."""
    return gram[1:, 1:].real / gram[0, 0].real


def closed_form(problem: Problem) -> tuple[ReducedBeams, Real] | None:
    """
    Beams for a single target that no solver is needed for.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    beams : ReducedBeams
        Feasible.
    multipliers : ndarray, shape (U,)
        With which `certificate.crb_bound` is tight if the beams are optimal: only that tells
        whether they are.

    None if there is more to estimate than one point, or there are no such beams.

    Notes
    -----
    All power goes to conj(v), shared by the users, if that meets every SINR. If it does not and
    there is one user, a single beam in the plane of conj(v) and h lights the target as much as the
    SINR allows. docs/maths.md, single target, says when these are optimal.

    """
    if len(problem.scene.targets) != 1 or not isinstance(problem.fisher, FisherMap):
        return None
    focus = problem.fisher.transmit[:, 0] / np.linalg.norm(problem.fisher.transmit[:, 0])
    gains = np.abs(problem.user_channels.conj().T @ focus) ** 2
    if not len(gains):
        return ReducedBeams(no_beams(problem), focus[:, None]), np.zeros(0)
    if gains.min() > 0:
        # p_u >= Gamma_u ((1 - p_u) + n_u / gain_u): the other shares interfere.
        share = problem.sinr / (1.0 + problem.sinr) * (1.0 + problem.user_noise / gains)
        total = share.sum() * (1.0 + SINR_MARGIN)
        if total <= 1.0:
            beams = focus[:, None] * np.sqrt(share / share.sum())
            return ReducedBeams(beams, no_beams(problem)), np.zeros(len(gains))
    if len(gains) > 1 or problem.least_power is None:
        return None
    return _tilted(problem, focus)


def _tilted(problem: Problem, focus: Complex) -> tuple[ReducedBeams, Real] | None:
    """One beam, tilted from the target towards the one user as far as its SINR wants it."""
    channel = problem.user_channels[:, 0]
    seen = np.vdot(channel, focus)
    towards = focus * np.exp(-1j * np.angle(seen))
    across = towards - abs(seen) * channel
    sine = float(np.linalg.norm(across))
    if sine < COLLOCATED:
        return None
    across /= sine
    # |g^H w|^2 that the SINR wants, a little more for the rounding.
    wanted = problem.sinr[0] * problem.user_noise[0] * (1.0 + 2.0 * SINR_MARGIN)
    power = min(1.0, float(wanted))
    beam = np.sqrt(power) * channel + np.sqrt(1.0 - power) * across
    beams = repair(problem, ReducedBeams(beam[:, None], no_beams(problem)))
    weights = tangent_weights(problem, beams.covariance)
    if weights is None:
        return None
    # Stationary in the plane: C + mu / Gamma g g^H has the beam as an eigenvector.
    beside = np.sqrt(power) * across - np.sqrt(1.0 - power) * channel
    slope = np.vdot(beside, problem.fisher.adjoint(weights @ weights.T) @ beam)
    leverage = np.vdot(beside, channel) * np.vdot(channel, beam)
    if leverage == 0:
        return None
    return beams, np.maximum([float((-problem.sinr[0] * slope / leverage).real)], 0.0)
