"""Smaller problems made of one: on a subspace where an optimum lives, or without users."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.subspace import reduced_basis

Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Confined:
    """
    A problem confined to a subspace of its own.

    Attributes
    ----------
    problem : Problem
        In coordinates of the subspace.
    inclusion : ndarray, shape (d, d')
        Orthonormal: the subspace in the coordinates of the problem that it was made of.

    """

    problem: Problem
    inclusion: Complex

    def lifted(self, beams: ReducedBeams) -> ReducedBeams:
        """Beams in the coordinates of the problem that this was made of."""
        return ReducedBeams(
            self.inclusion @ beams.communication, self.inclusion @ beams.sensing)


def confined(problem: Problem, directions: Complex) -> Confined:
    """
    Confine a problem to the span of its users' channels and some directions.

    Parameters
    ----------
    problem : Problem
    directions : ndarray, shape (d, n)

    Returns
    -------
    Confined

    """
    inclusion, rank = reduced_basis(problem.user_channels, directions)
    lower = inclusion.conj().T
    channels = lower @ problem.user_channels
    # Exactly, as in every problem: the users' directions come first.
    channels[rank:] = 0.0
    return Confined(replace(
        problem, basis=problem.basis @ inclusion, user_channels=channels,
        fisher=problem.fisher.with_transmit(lower @ problem.fisher.transmit),
        rows=None if problem.rows is None else problem.rows.in_coordinates(inclusion)), inclusion)


def without_users(problem: Problem) -> Problem:
    """Problem of the same targets in the same coordinates, where no user is to be served."""
    n_users = len(problem.sinr)
    return replace(
        problem, scene=replace(problem.scene, users=()), columns=problem.columns[:, n_users:],
        gram=problem.gram[n_users:, n_users:], user_channels=problem.user_channels[:, :0],
        noise_power=problem.noise_power[:0], user_noise=problem.user_noise[:0],
        sinr=problem.sinr[:0])
