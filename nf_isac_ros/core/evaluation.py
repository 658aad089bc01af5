"""What beams achieve, recomputed at full size from the beams alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import rayleigh_distance
from nf_isac_ros.core.beams import sinr
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.fisher import position_bounds
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solution import Quality, Solution, TargetReport, UserReport


def evaluate(problem: Problem, design: Design, outcome: Outcome, gap: float,
             times_ms: Mapping[str, float] | None = None) -> Solution:
    """
    Turn the outcome of a design into a solution that carries its own certificate.

    Parameters
    ----------
    problem : Problem
    design : Design
    outcome : Outcome
        Nothing of it is believed but the beams and the bound.
    gap : float
        Relative gap that was asked for.
    times_ms : mapping, optional
        Wall time of each stage so far [ms].

    Returns
    -------
    Solution

    """
    scene, power = problem.scene, problem.scene.radio.power
    lift = problem.basis * np.sqrt(power)
    communication = lift @ outcome.beams.communication
    sensing = lift @ outcome.beams.sensing

    targets = _target_reports(problem, np.hstack([communication, sensing]))
    ratios = sinr(problem.channels, communication, sensing,
                  problem.user_noise * power * np.linalg.norm(problem.channels, axis=0) ** 2)
    with np.errstate(divide='ignore'):
        users = tuple(
            UserReport(user.id, user.min_sinr_db, float(10 * np.log10(ratio)))
            for user, ratio in zip(scene.users, ratios, strict=True))
    objective = design.objective(problem, targets, users)
    relative = (abs(objective - outcome.bound) / abs(objective)
                if np.isfinite(objective) else np.nan)
    return Solution(
        design=design.name,
        quality=Quality.OPTIMAL if relative <= gap else Quality.EARLY, reason='',
        communication=communication, sensing=sensing, targets=targets, users=users,
        objective=objective, bound=outcome.bound, gap=relative,
        sum_crb=float(sum(np.trace(target.crb) for target in targets)),
        isotropic_sum_crb=float(sum(target.isotropic_crb for target in targets)),
        power=float(np.linalg.norm(communication) ** 2 + np.linalg.norm(sensing) ** 2),
        power_limit=power,
        covariance_eigenvalues=np.maximum(
            np.linalg.eigvalsh(outcome.beams.covariance)[::-1], 0.0) * power,
        subspace_dimension=problem.dimension, iterations=outcome.iterations,
        times_ms=dict(times_ms or {}))


def _target_reports(problem: Problem, weights: NDArray[np.complex128]) -> tuple[TargetReport, ...]:
    scene = problem.scene
    bounds = position_bounds(problem.full_fisher.of_factor(weights), len(scene.targets))
    illumination = (np.abs(weights.conj().T @ problem.steering) ** 2).sum(axis=0)
    reports = []
    for k, target in enumerate(scene.targets):
        near = any(
            np.linalg.norm(target.position - array.positions.mean(axis=0))
            < rayleigh_distance(array.aperture, scene.radio.wavelength)
            for array in (scene.transmit_array, scene.receive_array))
        reports.append(TargetReport(
            target.id, target.position, bounds[k], float(np.trace(problem.isotropic_bounds[k])),
            float(illumination[k]), float(problem.echo_gains[k] * illumination[k]), near))
    return tuple(reports)
