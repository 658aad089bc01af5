"""A problem section by section, as the compiled zero forcing takes it."""

from __future__ import annotations

import numpy as np

from nf_isac_ros.core.extended.problem import sections_apart
from nf_isac_ros.core.information import spans
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.extended_kernels import Task, section_pairs


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
    parts, selections, pieces = [], [], []
    for body, fisher, coordinates in zip(
            scene.extended, problem.extended, problem.extended_coordinates, strict=True):
        isotropic = fisher.of_gram(coordinates.conj().T @ coordinates / d)
        wanted = fisher.selection(scene.options.objective) * np.sqrt(body.weight)
        combine, selection = fisher.sectioned(isotropic, wanted)
        parts.append(section_pairs(fisher.blocks, combine))
        selections.append(selection)
        r = fisher.blocks.shape[2]
        pieces.append(coordinates.reshape(d, r, -1).transpose(0, 2, 1))
    n_local = max(places.shape[1] for _, places in parts)
    r = max(piece.shape[2] for piece in pieces)
    sections = spans([len(places) for _, places in parts])
    rows, chosen = (np.cumsum([0, *(one.shape[axis] for one in selections)]) for axis in (0, 1))
    columns = np.zeros((d, sections[-1].stop, r), dtype=complex)
    pairs = np.zeros((sections[-1].stop, n_local, n_local, r, r), dtype=complex)
    places = np.zeros((sections[-1].stop, n_local), dtype=np.int64)
    forms = -np.ones((*places.shape, chosen[-1]), dtype=np.int64)
    selection = np.zeros((rows[-1], chosen[-1]))
    n_forms = 0
    for t, ((own, where), piece, one) in enumerate(zip(parts, pieces, selections, strict=True)):
        n, k = where.shape[1], own.shape[3]
        columns[:, sections[t], :k] = piece
        pairs[sections[t], :n, :n, :k, :k] = own
        selection[rows[t]:rows[t + 1], chosen[t]:chosen[t + 1]] = one
        told = where >= 0
        places[sections[t], :n] = np.where(told, where, 0) + rows[t]
        places[sections[t], n:] = rows[t]
        # Filled places have nothing in them.
        numbers = n_forms + where[:, :, None] * one.shape[1] + np.arange(one.shape[1])
        forms[sections[t], :n, chosen[t]:chosen[t + 1]] = np.where(told[:, :, None], numbers, -1)
        n_forms += one.size
    return Task(
        columns=columns.reshape(d, -1), pairs=pairs, places=places, forms=forms, n_forms=n_forms,
        spans=rows, chosen=chosen, selection=selection,
        metric=np.eye(d, dtype=complex), least=np.zeros(0), lit=np.zeros(0, dtype=np.int64),
        gains=np.zeros(0), owners=np.zeros(0, dtype=np.int64), ratio=1.0)


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
