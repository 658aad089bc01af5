"""The least change of beams that makes them meet power, SINRs and coverage to rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import SINR_MARGIN, ReducedBeams, slack
from nf_isac_ros.core.problem import Problem

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Newton's method doubles the digits; beams that need more steps were not close.
MAX_STEPS = 25
# Constraints within this of their limits are kept from moving, relative to the noise, the level
# of the coverage and the power.
NEAR = 1e-5


@dataclass(frozen=True)
class _Constraints:
    """Values that must not be negative, and their gradients (n, d, r) by the beams."""

    values: Real
    gradients: Complex
    levels: Real


def restored(problem: Problem, beams: ReducedBeams,
             projectors: Complex | None = None) -> ReducedBeams | None:
    """
    Make beams that almost meet all requirements meet them.

    Parameters
    ----------
    problem : Problem
    beams : ReducedBeams
        Beams that carry no data stay without.
    projectors : ndarray, shape (n, d, d), or None
        Onto what each of the beams may change by; None: anything.

    Returns
    -------
    ReducedBeams or None
        With the whole budget used; None if the beams were too far from feasible.

    Notes
    -----
    Newton's method for the constraints that are violated or close to it, each step the shortest
    one: unlike a mixture of covariances it needs no strictly feasible design, and it keeps the
    number of beams.

    """
    n_users = len(problem.sinr)
    beams = beams.with_full_power()
    levels = _first_levels(problem, beams)
    for _ in range(MAX_STEPS):
        if feasible(problem, beams):
            return beams.with_full_power()
        stacked = np.hstack([beams.communication, beams.sensing])
        constraints = _linearised(problem, beams, levels)
        if projectors is not None:
            constraints = replace(constraints, gradients=np.einsum(
                'rij,njr->nir', projectors, constraints.gradients))
        step, move = _shortest(constraints)
        stacked = stacked + step
        levels = levels + move
        if not (np.isfinite(stacked).all() and (levels > 0).all()):
            return None
        beams = ReducedBeams(stacked[:, :n_users], stacked[:, n_users:])
    return None


def feasible(problem: Problem, beams: ReducedBeams) -> bool:
    """Whether beams, scaled to the whole budget, meet SINRs and rows with nothing to spare."""
    if beams.power > 1.0 + 1e-13:
        return False
    scaled = beams.with_full_power()
    if len(problem.sinr) and slack(problem, scaled).min() < 0.0:
        return False
    return row_violation(problem, scaled) <= 0.0


def row_violation(problem: Problem, beams: ReducedBeams) -> float:
    """By how much some ratio of illuminations is larger than allowed, relatively; at most 0."""
    rows = problem.rows
    if rows is None:
        return -1.0
    received = rows.received(beams.covariance)
    worst = -1.0
    for level in rows.levels.T:
        above = (received[level > 0] / level[level > 0]).min()
        below = (received[level < 0] / -level[level < 0]).max()
        worst = max(worst, below / above - 1.0 if above > 0 else np.inf)
    return float(worst)


def _first_levels(problem: Problem, beams: ReducedBeams) -> Real:
    """Free scalars that violate the rows of each target evenly, shape (T,)."""
    rows = problem.rows
    if rows is None:
        return np.zeros(0)
    received = rows.received(beams.covariance)
    out = np.empty(rows.levels.shape[1])
    for t, level in enumerate(rows.levels.T):
        above = (received[level > 0] / level[level > 0]).min()
        below = (received[level < 0] / -level[level < 0]).max()
        out[t] = np.sqrt(max(above, 1e-6 * below) * below)
    return out


def _linearised(problem: Problem, beams: ReducedBeams, levels: Real) -> _Constraints:
    """Constraints at the beams, in units in which the requirements are one."""
    stacked = np.hstack([beams.communication, beams.sensing])
    g, n_users = problem.user_channels, len(problem.sinr)
    values = [1.0 - beams.power]
    gradients = [-2.0 * stacked]
    by_level = [np.zeros(len(levels))]
    received = g.conj().T @ stacked
    for u in range(n_users):
        factors = np.full(stacked.shape[1], -1.0)
        factors[u] = 1.0 / problem.sinr[u]
        powers = factors * np.abs(received[u]) ** 2 / problem.user_noise[u]
        values.append(float(powers.sum()) - 1.0 - 2.0 * SINR_MARGIN)
        gradients.append(2.0 / problem.user_noise[u] * np.outer(g[:, u], factors * received[u]))
        by_level.append(np.zeros(len(levels)))
    rows = problem.rows
    if rows is not None:
        seen = rows.points.conj().T @ stacked
        for k, level in enumerate(rows.levels):
            unit = float(level @ levels)
            # Aimed at a little more, so that rounding cannot undo it.
            values.append(float(rows.signs[k] * np.sum(np.abs(seen[k]) ** 2) - unit)
                          / abs(unit) - 2.0 * SINR_MARGIN)
            gradients.append(
                2.0 * rows.signs[k] / abs(unit) * np.outer(rows.points[:, k], seen[k]))
            by_level.append(-level / abs(unit))
    return _Constraints(np.array(values), np.array(gradients), np.array(by_level))


def _shortest(constraints: _Constraints) -> tuple[Complex, Real]:
    """Shortest step of the beams that takes the constraints in question to their limits."""
    chosen = constraints.values < NEAR
    gradients = constraints.gradients[chosen]
    n, n_levels = len(gradients), constraints.levels.shape[1]
    flat = gradients.reshape(n, -1)
    norms = np.linalg.norm(flat, axis=1)
    norms[norms == 0] = 1.0
    flat = flat / norms[:, None]
    levels = constraints.levels[chosen] / norms[:, None]
    # What is not violated may stay where it is.
    wanted = np.maximum(-constraints.values[chosen], 0.0) / norms
    system = np.zeros((n + n_levels, n + n_levels))
    system[:n, :n] = (flat.conj() @ flat.T).real
    system[:n, n:] = levels
    system[n:, :n] = levels.T
    solution = np.linalg.lstsq(
        system, np.concatenate([wanted, np.zeros(n_levels)]), rcond=1e-12)[0]
    step = np.tensordot(solution[:n], flat.reshape(gradients.shape), axes=1)
    return step, solution[n:]
