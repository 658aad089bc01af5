"""A problem section by section, as the compiled zero forcing takes it."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.extended.gram import fisher_of_blocks, separated
from nf_isac_ros.core.extended.problem import distinct
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.extended_kernels import Task, section_pairs

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


def sectioned_task(problem: Problem, ratio: float | None) -> Task:
    """
    Arrays of a problem, without users.

    Parameters
    ----------
    problem : Problem
        With extended targets; what else it has is not looked at.
    ratio : float or None
        Largest over smallest illumination of the sections of a target; None: not limited.

    Returns
    -------
    Task
        Its columns in the coordinates of the problem.

    Raises
    ------
    SceneError
        'no-orientation', 'not-localisable': as for `extended_problem`.

    """
    tasks = []
    for body, fisher, coordinates in zip(
            problem.scene.extended, problem.extended, problem.extended_coordinates, strict=True):
        wanted = fisher.selection(problem.scene.options.objective)
        task, lost = _task_of(np.ascontiguousarray(coordinates), fisher.blocks,
                              wanted[:fisher.wanted] * body.weight ** 0.5,
                              1.0 if ratio is None else ratio, ratio is not None)
        if lost:
            fisher.refuse()
        tasks.append(task)
    return reduce(_joined, tasks)


@compiled
def _task_of(coordinates: Complex, blocks: Complex, wanted: Real, ratio: float,
             even: bool) -> tuple[Task, bool]:
    """Task of one target, and whether something that is wanted of it cannot be estimated."""
    n_sections, _, r, _ = blocks.shape
    d = len(coordinates)
    columns = np.empty((d, n_sections * r), dtype=np.complex128)
    grams = np.zeros((n_sections, r, r), dtype=np.complex128)
    for p in range(d):
        for s in range(n_sections):
            for i in range(r):
                columns[p, s * r + i] = coordinates[p, i * n_sections + s]
    for p in range(d):
        for s in range(n_sections):
            for i in range(r):
                for j in range(r):
                    grams[s, i, j] += np.conj(columns[p, s * r + i]) * columns[p, s * r + j] / d
    combine, lost = separated(fisher_of_blocks(blocks, grams), wanted)
    pairs, told = section_pairs(blocks, combine)
    selection = np.ascontiguousarray(combine[:len(wanted)].T) @ wanted

    w = selection.shape[1]
    places = told.copy()
    forms = -np.ones((n_sections, told.shape[1], w), dtype=np.int64)
    for s in range(n_sections):
        for a in range(told.shape[1]):
            # Places that are not filled have nothing in them.
            places[s, a] = max(told[s, a], 0)
            for k in range(w):
                if told[s, a] >= 0:
                    forms[s, a, k] = told[s, a] * w + k
    n_lit = 0
    lit = np.empty(n_sections, dtype=np.int64)
    apart, unit = distinct(np.ascontiguousarray(coordinates[:, :n_sections]))
    for s in range(n_sections):
        if apart[s]:
            lit[n_lit] = s * r
            n_lit += 1
    if not even or n_lit == 1:
        n_lit = 0
    return Task(
        columns, pairs, places, forms, selection.size, np.array([0, len(selection)]),
        np.array([0, w]), selection, np.eye(d, dtype=np.complex128), np.zeros(0),
        lit[:n_lit].copy(), np.full(n_lit, unit), np.zeros(n_lit, dtype=np.int64), ratio), lost


def _joined(first: Task, second: Task) -> Task:
    """Put the targets of two tasks into one."""
    both = (first, second)
    counts = [len(task.pairs) for task in both]
    n_local, r = (max(task.pairs.shape[axis] for task in both) for axis in (1, 3))
    rows, chosen = (np.concatenate([one, one[-1] + other[1:]]) for one, other in (
        (first.spans, second.spans), (first.chosen, second.chosen)))
    total, d = sum(counts), len(first.columns)
    columns = np.zeros((d, total, r), dtype=complex)
    pairs = np.zeros((total, n_local, n_local, r, r), dtype=complex)
    places = np.zeros((total, n_local), dtype=np.int64)
    forms = np.full((total, n_local, chosen[-1]), -1)
    selection = np.zeros((rows[-1], chosen[-1]))
    lit = []
    end = row = column = form = 0
    for task, count in zip(both, counts, strict=True):
        own = slice(end, end + count)
        (n, w), k = task.forms.shape[1:], task.pairs.shape[3]
        columns[:, own, :k] = task.columns.reshape(d, count, k)
        pairs[own, :n, :n, :k, :k] = task.pairs
        # Filled places have nothing in them.
        places[own, :n] = task.places + row
        forms[own, :n, column:column + w] = np.where(task.forms < 0, -1, task.forms + form)
        selection[row:row + len(task.selection), column:column + w] = task.selection
        lit.append((task.lit // k + end) * r + task.lit % k)
        end, row, column = own.stop, row + len(task.selection), column + w
        form += task.n_forms
    return Task(
        columns=columns.reshape(d, -1), pairs=pairs, places=places, forms=forms, n_forms=form,
        spans=rows, chosen=chosen, selection=selection, metric=first.metric, least=first.least,
        lit=np.concatenate(lit), gains=np.concatenate([first.gains, second.gains]),
        owners=np.concatenate([first.owners, second.owners + first.owners.max(initial=-1) + 1]),
        ratio=first.ratio)
