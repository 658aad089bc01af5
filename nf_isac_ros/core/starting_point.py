"""A design that needs no solver: least power for the users, sensing where no user sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, factor, no_beams
from nf_isac_ros.core.exceptions import InfeasibleError
from nf_isac_ros.core.problem import Problem

# Share of the sensing power that goes to the targets' responses and tangents; the rest lights all
# of the null space evenly, so that the Fisher matrix stays regular.
FOCUSED = 0.7


def users_first_beams(problem: Problem) -> ReducedBeams:
    """
    Serve the users with least power and sense with the rest in the null space of their channels.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    ReducedBeams
        With the whole budget used. Where the users' channels span everything there is no sensing
        beam, and the users get the rest too.

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.

    """
    users = problem.least_power
    if users is None:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    covariance = null_space_covariance(problem)
    if covariance is None:
        return ReducedBeams(users.beams, no_beams(problem)).with_full_power()
    sensing = factor(covariance) * np.sqrt(max(1.0 - users.power, 0.0))
    return ReducedBeams(users.beams, sensing).with_full_power()


def even_covariance(problem: Problem) -> NDArray[np.complex128]:
    """
    Serve the users with least power and spread the rest evenly: of the right size everywhere.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    ndarray, shape (d, d)
        About which a general solver is scaled.

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.

    """
    beams = users_first_beams(problem)
    left = np.linalg.norm(beams.sensing) ** 2
    return beams.covariance + left * np.eye(problem.dimension) / problem.dimension


def null_space_covariance(problem: Problem) -> NDArray[np.complex128] | None:
    """
    Spread sensing power where no user receives it, most of it at the targets.

    Returns
    -------
    ndarray, shape (d, d), or None
        Trace one; None if the users' channels span everything.

    """
    rank = int(np.count_nonzero(np.abs(problem.user_channels).sum(axis=1)))
    free = problem.dimension - rank
    if not free:
        return None
    covariance = np.zeros((problem.dimension, problem.dimension), dtype=complex)
    covariance[rank:, rank:] = (1 - FOCUSED) * np.eye(free) / free
    seen = problem.fisher.transmit[rank:]
    norms = np.linalg.norm(seen, axis=0)
    seen = seen[:, norms > 0] / norms[norms > 0]
    if seen.size:
        focused = seen @ seen.conj().T
        covariance[rank:, rank:] += FOCUSED * focused / np.trace(focused).real
    return covariance / np.trace(covariance).real
