"""A problem section by section, as the compiled zero forcing takes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.extended.problem import sections_apart
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.extended_kernels import Task

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


def sectioned_task(problem: Problem) -> Task:
    """
    Arrays of a problem, without users and without coverage.

    Parameters
    ----------
    problem : Problem
        With extended targets; what else it has is not looked at.

    Returns
    -------
    Task
        Its columns in the coordinates of the problem.

    Raises
    ------
    SceneError
        'no-orientation', 'not-localisable': as for `extended_problem`.

    """
    scene, d = problem.scene, problem.dimension
    bodies = list(zip(scene.extended, problem.extended, problem.extended_coordinates, strict=True))
    parts = []
    for body, fisher, coordinates in bodies:
        isotropic = fisher.of_gram(coordinates.conj().T @ coordinates / d)
        wanted = fisher.selection(scene.options.objective) * np.sqrt(body.weight)
        parts.append(fisher.sectioned(isotropic, wanted))
    locals_ = [_local(blocks) for blocks, _ in parts]
    n_local = max(places.shape[1] for _, places in locals_)
    r = max(blocks.shape[2] for blocks, _ in parts)
    counts = [len(blocks) for blocks, _ in parts]
    spans = np.cumsum([0, *[blocks.shape[1] for blocks, _ in parts]])
    chosen = np.cumsum([0, *[selection.shape[1] for _, selection in parts]])
    columns = np.zeros((d, sum(counts), r), dtype=complex)
    pairs = np.zeros((sum(counts), n_local, n_local, r, r), dtype=complex)
    places = np.zeros((sum(counts), n_local), dtype=np.int64)
    selection = np.zeros((spans[-1], chosen[-1]))
    numbers = -np.ones((spans[-1], chosen[-1]), dtype=np.int64)
    n_forms, first = 0, 0
    for t, ((_, _, coordinates), (_, wanted), (mixed, where)) in enumerate(
            zip(bodies, parts, locals_, strict=True)):
        own, k = slice(first, first + counts[t]), mixed.shape[3]
        columns[:, own, :k] = coordinates.reshape(d, k, counts[t]).transpose(0, 2, 1)
        n = where.shape[1]
        pairs[own, :n, :n, :k, :k] = mixed
        places[own, :n] = where + spans[t]
        places[own, n:] = spans[t]
        span, chose = slice(spans[t], spans[t + 1]), slice(chosen[t], chosen[t + 1])
        selection[span, chose] = wanted
        block = numbers[span, chose]
        block[:] = n_forms + np.arange(block.size).reshape(block.shape)
        n_forms += block.size
        first += counts[t]
    forms = numbers[places]
    # Filled places have nothing in them.
    forms[~pairs.any(axis=(2, 3, 4))] = -1
    return Task(
        columns=np.ascontiguousarray(columns.reshape(d, -1)), pairs=pairs, places=places,
        forms=forms, n_forms=n_forms, spans=spans.astype(np.int64),
        chosen=chosen.astype(np.int64), selection=selection, metric=np.eye(d, dtype=complex),
        least=np.zeros(0), lit=np.zeros(0, dtype=np.int64), gains=np.zeros(0),
        owners=np.zeros(0, dtype=np.int64), ratio=1.0)


def with_coverage(task: Task, problem: Problem, ratio: float) -> Task:
    """
    Add the coverage.

    Parameters
    ----------
    task : Task
        Of the problem.
    problem : Problem
    ratio : float
        Largest over smallest illumination of the sections of a target.

    """
    r = task.pairs.shape[3]
    lit, gains, owners, first, owner = [], [], [], 0, 0
    for fisher, (kept, unit) in zip(problem.extended, sections_apart(problem), strict=True):
        if len(kept) > 1:
            lit += [(first + k) * r for k in kept]
            gains += [unit] * len(kept)
            owners += [owner] * len(kept)
            owner += 1
        first += len(fisher.sections)
    return task._replace(
        lit=np.array(lit, dtype=np.int64), gains=np.array(gains),
        owners=np.array(owners, dtype=np.int64), ratio=ratio)


def _local(blocks: Complex) -> tuple[Complex, NDArray[np.int64]]:
    """Hermitian H_ab of the parameters that a section tells of, (K, l, l, r, r), and which."""
    tells = blocks.any(axis=(2, 3))
    n_local = int(tells.sum(axis=1).max())
    # Those it tells of come first.
    places = np.argsort(~tells, axis=1, kind='stable')[:, :n_local]
    own = np.take_along_axis(blocks, places[:, :, None, None], axis=1)
    k, n, r, c = own.shape
    flat = own.reshape(k, n * r, c)
    pairs = (flat @ flat.conj().swapaxes(1, 2)).reshape(k, n, r, n, r).transpose(0, 1, 3, 2, 4)
    return 0.5 * (pairs + pairs.swapaxes(1, 2)), places
