"""The design problem of extended targets: their bounds, and an even light on their sections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.exceptions import UnsuitableDesignError
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.problem import Problem, Rows, conditioned_block, joined
from nf_isac_ros.core.scene import ExtendedTarget

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Sections whose responses differ by less than this, relatively, are lit alike.
SAME_POINT = 1e-6
# Radius of a circle that counts as a point [m]; a smaller one has no visible side, to rounding.
POINT_RADIUS = 1e-3
# A ratio of one leaves a design no interior; 0.004 dB do.
LEAST_RATIO = 1.001


def extended_problem(problem: Problem, coverage_ratio: float | None) -> Problem:
    """
    Turn a problem to the objective and the coverage of its extended targets.

    Parameters
    ----------
    problem : Problem
        With extended targets, and no others.
    coverage_ratio : float or None
        Largest over smallest illumination of the sections of a target; None: not limited.

    Returns
    -------
    Problem
        Whose objective is that of `ExtendedOptions`, with the coverage as its rows.

    Raises
    ------
    UnsuitableDesignError
        'no-extended-targets'; 'mixed-targets': there are points too.
    SceneError
        'no-orientation': it has a weight, and a shape is near circular.

    Notes
    -----
    (P29) of the extended-target paper; the scalar form tau <= P_k <= eta tau of the coverage.

    """
    require_extended(problem)
    scene = problem.scene
    blocks = []
    for target, fisher, coordinates in zip(
            scene.extended, problem.extended, problem.extended_coordinates, strict=True):
        block, selection = conditioned_block(fisher, coordinates, scene.options.objective)
        blocks.append((block, selection * np.sqrt(target.weight)))
    information, selection = joined(blocks)
    return replace(problem, fisher=information, selection=selection,
                   rows=None if coverage_ratio is None else coverage_rows(problem, coverage_ratio))


def require_extended(problem: Problem) -> None:
    """Raise UnsuitableDesignError unless all targets are extended, and there are some."""
    scene = problem.scene
    if not scene.extended:
        raise UnsuitableDesignError(
            'targets: none is extended; must be at least one for this design',
            'no-extended-targets')
    if scene.targets:
        raise UnsuitableDesignError(
            f'targets: {[target.id for target in scene.targets]} are points; must be extended for '
            'this design; crb-min takes both', 'mixed-targets')


def coverage_rows(problem: Problem, ratio: float) -> Rows | None:
    """
    Keep the illuminations of each extended target's sections within a ratio of each other.

    Parameters
    ----------
    problem : Problem
    ratio : float
        eta, at least 1.

    Returns
    -------
    Rows or None
        Two for each section, a free scalar for each target; None if no target has more than one.

    """
    points, signs, levels = [], [], []
    for index, seen in enumerate(distinct_sections(problem)):
        if seen.shape[1] < 2:
            continue
        n = seen.shape[1]
        points.append(np.hstack([seen, seen]))
        signs.append(np.repeat([1.0, -1.0], n))
        level = np.zeros((2 * n, len(problem.extended)))
        level[:, index] = np.repeat([1.0, -ratio], n)
        levels.append(level)
    if not points:
        return None
    stacked = np.vstack(levels)
    return Rows(np.hstack(points), np.concatenate(signs), stacked[:, stacked.any(axis=0)])


def distinct_sections(problem: Problem) -> list[Complex]:
    """
    Reduced responses of the sections that are not lit alike, for each extended target.

    Returns
    -------
    list of ndarray, shape (d, K)
        In units that give the sections of a target a mean square norm of one.

    """
    return [(coordinates * np.sqrt(unit))[:, kept] for coordinates, (kept, unit) in zip(
        problem.extended_coordinates, sections_apart(problem), strict=True)]


def sections_apart(problem: Problem) -> list[tuple[list[int], float]]:
    """
    Which sections of each extended target are not lit alike.

    Returns
    -------
    list of (list of int, float)
        Their numbers, and one over the mean square norm of the responses of all of them.

    """
    out = []
    for fisher, coordinates in zip(problem.extended, problem.extended_coordinates, strict=True):
        apart, unit = distinct(np.ascontiguousarray(coordinates[:, :len(fisher.sections)]))
        out.append((np.flatnonzero(apart).tolist(), unit))
    return out


@compiled
def distinct(seen: Complex) -> tuple[NDArray[np.bool_], float]:
    """Which columns are like none before them, and one over their mean square norm."""
    gram = np.conj(seen.T) @ seen
    count = len(gram)
    mean = np.trace(gram).real / count
    apart = np.zeros(count, dtype=np.bool_)
    for k in range(count):
        apart[k] = True
        for j in range(k):
            # |a - b e^{j phase}|^2 at the phase that brings them closest.
            distance = gram[j, j].real + gram[k, k].real - 2.0 * abs(gram[j, k])
            if apart[j] and distance <= SAME_POINT ** 2 * mean:
                apart[k] = False
                break
    return apart, 1.0 / mean


def as_point(target: ExtendedTarget) -> ExtendedTarget:
    """
    Return a target of the same echo at the same place without extent, for comparison.

    Parameters
    ----------
    target : ExtendedTarget

    Returns
    -------
    ExtendedTarget
            A small circle of one section: without orientation, with lengths normalised.

    """
    return replace(
        target, contour=Contour((POINT_RADIUS,), (POINT_RADIUS,)), sections=1,
        lengths='normalised')
