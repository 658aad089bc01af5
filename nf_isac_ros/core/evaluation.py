"""What beams achieve, recomputed at full size from the beams alone."""

from __future__ import annotations

from math import dist, inf, log10

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import zgemm

from nf_isac_ros.core.arrays import rayleigh_distance
from nf_isac_ros.core.beams import received_sinr
from nf_isac_ros.core.designs.base import Design, Outcome
from nf_isac_ros.core.fisher import position_bounds
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.solution import Quality, Solution, TargetReport, UserReport

Complex = NDArray[np.complex128]

# Closed forms are optimal to rounding. How far that of the reduced and of the full problem differ
# grows with the condition of the Fisher matrix: 3e-12 has been seen.
ROUNDING = 1e-10


def evaluate(problem: Problem, design: Design, outcome: Outcome, gap: float,
             times_ms: dict[str, float] | None = None) -> Solution:
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
    times_ms : dict, optional
        Wall time of each stage so far [ms]; the solution keeps it, so that this one can be added.

    Returns
    -------
    Solution

    """
    problem = outcome.problem or problem
    power = problem.scene.radio.power
    dimension = outcome.subspace_dimension or problem.dimension
    reduced = np.concatenate((outcome.beams.communication, outcome.beams.sensing), axis=1)
    weights = _product(np.sqrt(power), problem.basis, reduced, 0)
    targets, users = achieved(problem, weights)
    used = _square(weights)
    objective = design.objective(problem, targets, users, used)
    bound = _settled(design, objective, outcome.bound)
    relative = (abs(objective - bound) / abs(objective)
                if np.isfinite(objective) else np.nan)
    quality = Quality.OPTIMAL if relative <= gap else Quality.EARLY
    return Solution(
        design=design.name, quality=Quality.FALLBACK if outcome.reason else quality,
        reason=outcome.reason,
        communication=weights[:, :outcome.beams.communication.shape[1]],
        sensing=weights[:, outcome.beams.communication.shape[1]:], targets=targets, users=users,
        objective=objective, bound=bound, gap=relative,
        sum_crb=sum((float(target.crb.trace()) for target in targets), 0.0),
        isotropic_sum_crb=sum((target.isotropic_crb for target in targets), 0.0),
        power=used, power_limit=power,
        subspace_dimension=dimension, iterations=outcome.iterations, warm=outcome.warm,
        times_ms={} if times_ms is None else times_ms, coverage_limit=outcome.coverage_limit)


def achieved(problem: Problem, weights: Complex
             ) -> tuple[tuple[TargetReport, ...], tuple[UserReport, ...]]:
    """
    What beams achieve at targets and users.

    Parameters
    ----------
    problem : Problem
    weights : ndarray, shape (N, U + r)
        One beam for each user of the scene, then sensing beams [sqrt(W)].

    Returns
    -------
    tuple of TargetReport, tuple of UserReport
        Points first, then extended targets; in the order of the scene.

    """
    scene = problem.scene
    n_users = len(scene.users)
    # The one pass over the elements besides the one that makes the beams.
    received = _product(1.0, problem.columns, weights, 2)

    near = _reaches(scene)
    centre, reach = near[0]
    targets = (*_point_reports(problem, received, near),
               *(_extended_report(problem, i, received[own], near)
                 for i, own in enumerate(problem.extended_columns)))
    ratios = received_sinr(received[:n_users], problem.noise_power)
    users = tuple(
        UserReport(user.id, user.min_sinr_db, 10 * log10(ratio) if ratio > 0 else -inf,
                   None if user.position is None else dist(user.position, centre) < reach)
        for user, ratio in zip(scene.users, ratios.tolist(), strict=True))
    return targets, users


def _settled(design: Design, objective: float, bound: float) -> float:
    """Bound without the rounding that puts it on the wrong side of an exact optimum."""
    beyond = bound - objective if design.minimise else objective - bound
    return objective if 0.0 < beyond <= ROUNDING * abs(objective) else bound


def _product(factor: float, left: Complex, right: Complex, transposed: int) -> Complex:
    """Factor times left (0) or left^H (2) times right, columns contiguous."""
    if not (left.shape[1] and right.shape[1]):
        rows = left.shape[1] if transposed else len(left)
        return np.zeros((rows, right.shape[1]), dtype=complex)
    return zgemm(factor, left, right, trans_a=transposed)


def _square(matrix: Complex) -> float:
    flat = matrix.ravel(order='K')
    return float(np.vdot(flat, flat).real)


Reaches = list[tuple[NDArray[np.float64], float]]


def _reaches(scene: Scene) -> Reaches:
    """Centre and Rayleigh distance of each array, the transmit array first [m]."""
    arrays = {id(array): array for array in (scene.transmit_array, scene.receive_array)}
    return [(array.centre, rayleigh_distance(array.aperture, scene.radio.wavelength))
            for array in arrays.values()]


def _point_reports(problem: Problem, received: Complex,
                   near: Reaches) -> tuple[TargetReport, ...]:
    """Reports from what the columns of the problem receive of each beam."""
    scene, n = problem.scene, len(problem.scene.targets)
    if not n:
        return ()
    own = received[problem.point_columns]
    bounds = position_bounds(problem.full_fisher.of_gram(own @ own.conj().T), n)
    averages = _averaged_bounds(problem, received)
    illumination = (np.abs(own[:n]) ** 2).sum(axis=1).tolist()
    isotropic = np.trace(problem.isotropic_bounds, axis1=1, axis2=2).tolist()
    return tuple(
        TargetReport(
            target.id, target.position, bounds[k], isotropic[k], illumination[k],
            float(problem.echo_gains[k]) * illumination[k],
            any(dist(target.position, centre) < reach for centre, reach in near),
            region_crb=None if averages is None else averages[k])
        for k, target in enumerate(scene.targets))


def _averaged_bounds(problem: Problem, received: Complex) -> NDArray[np.float64] | None:
    """Bounds of the points, averaged over their sigma points, (K, 3, 3); None without those."""
    if not problem.sigma_points:
        return None
    average = np.zeros((len(problem.scene.targets), 3, 3))
    for point in problem.sigma_points:
        seen = received[point.own]
        average += point.share * position_bounds(
            point.full_fisher.of_gram(seen @ seen.conj().T), len(average))
    return average


def _extended_report(problem: Problem, index: int, received: Complex,
                     near: Reaches) -> TargetReport:
    """Report from what the columns of an extended target receive of each beam."""
    scene, fisher = problem.scene, problem.extended[index]
    target = scene.extended[index]
    information, bounds, illumination = fisher.achieved(received)
    # What is known of the logarithm of a gain is twice the energy of its echo over the noise.
    echo = sum(information[i, i] for i in fisher.log_gains) / (2 * scene.radio.symbols)
    noise = scene.radio.sensing_noise.power
    return TargetReport(
        target.id, target.position, bounds.centre, problem.isotropic_centre_bounds[index],
        float(illumination.sum()) / len(illumination),
        np.nan if noise is None else float(noise * echo),
        any(dist(target.position, centre) < reach for centre, reach in near), bounds,
        illumination)
