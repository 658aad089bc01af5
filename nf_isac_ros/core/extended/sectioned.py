"""A problem section by section, as the compiled zero forcing takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled, compiled_sum, compiled_within
from nf_isac_ros.core.extended.gram import fisher_of_blocks, separated
from nf_isac_ros.core.extended.problem import distinct
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers import extended_kernels as kernels
from nf_isac_ros.core.solvers.extended_kernels import Forced, Task, section_pairs
from nf_isac_ros.core.truncation import truncation

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.int64]


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
    task, lost = _task_of_all(*_flat(problem), *_evenness(ratio))
    _require_known(problem, lost)
    return task


def forced_beams(problem: Problem, ratio: float | None, tolerance: float, gap: float,
                 share: float, data_only: bool) -> Forced:
    """
    Run the compiled zero forcing on a problem.

    Parameters
    ----------
    problem : Problem
        With extended targets, and no others.
    ratio : float or None
        As for `sectioned_task`.
    tolerance : float
        As for `Problem.truncation`.
    gap, share, data_only
        As for `extended_kernels.forced_beams`.

    Raises
    ------
    SceneError
        As for `sectioned_task`.

    """
    found, lost = _forced(
        *_flat(problem), *_evenness(ratio), np.ascontiguousarray(problem.fisher.transmit),
        np.ascontiguousarray(problem.user_channels), problem.user_noise, problem.sinr, tolerance,
        gap, share, data_only)
    _require_known(problem, lost)
    return found


def _flat(problem: Problem) -> tuple[Complex, Complex, Indices, Real, Indices]:
    """Coordinates (d, ..), selectors and E of all targets in a row, with the shapes of each."""
    coordinates, blocks, wanted = [], [], []
    objective = problem.scene.options.objective
    for body, fisher, seen in zip(
            problem.scene.extended, problem.extended, problem.extended_coordinates, strict=True):
        coordinates.append(seen)
        blocks.append(fisher.blocks)
        wanted.append(fisher.selection(objective)[:fisher.wanted] * body.weight ** 0.5)
    side_by_side = coordinates[0] if len(coordinates) == 1 else np.hstack(coordinates)
    return (np.ascontiguousarray(side_by_side), _in_a_row(blocks), _shapes(blocks),
            _in_a_row(wanted), _shapes(wanted))


def _in_a_row(arrays: list[Any]) -> Any:
    return (arrays[0].ravel() if len(arrays) == 1
            else np.concatenate([array.ravel() for array in arrays]))


def _shapes(arrays: list[Any]) -> Indices:
    return np.array([array.shape for array in arrays])


def _evenness(ratio: float | None) -> tuple[float, bool]:
    """Ratio, and whether there is one."""
    return (1.0, False) if ratio is None else (ratio, True)


def _require_known(problem: Problem, lost: int) -> None:
    """Raise SceneError, 'not-localisable', if a target is one that cannot be estimated."""
    if lost >= 0:
        problem.extended[lost].refuse()


@compiled_sum
def _forced(coordinates: Complex, blocks: Complex, block_shapes: Indices, wanted: Real,
            wanted_shapes: Indices, ratio: float, even: bool, transmit: Complex,
            channels: Complex, noise: Real, sinr: Real, tolerance: float, gap: float,
            share: float, data_only: bool) -> tuple[Forced, int]:
    """One step from the problem to its beams: each call from Python takes tens of microseconds."""
    task, lost = _task_of_all(
        coordinates, blocks, block_shapes, wanted, wanted_shapes, ratio, even)
    # No points, and no dimension to keep to; as literals these numbers would have types of their
    # own, for which the function would be compiled once more.
    nothing = np.zeros((0, 0), dtype=np.complex128)
    basis = truncation(
        transmit, channels, len(nothing), nothing, tolerance, len(nothing) - 1)
    if lost >= 0:
        return kernels.nothing_found(len(basis), basis.shape[1]), lost
    return kernels.forced_beams(
        task, basis, channels, noise, sinr, gap, share, data_only), lost


@compiled
def _task_of_all(coordinates: Complex, blocks: Complex, block_shapes: Indices, wanted: Real,
                 wanted_shapes: Indices, ratio: float, even: bool) -> tuple[Task, int]:
    """Task of all targets, and the last that something wanted of cannot be estimated, or -1."""
    column = block = entry = 0
    lost = -1
    for t in range(len(block_shapes)):
        k, n, r, c = block_shapes[t, 0], block_shapes[t, 1], block_shapes[t, 2], block_shapes[t, 3]
        known, w = wanted_shapes[t, 0], wanted_shapes[t, 1]
        own, missing = _task_of(
            np.ascontiguousarray(coordinates[:, column:column + r * k]),
            blocks[block:block + k * n * r * c].reshape((k, n, r, c)),
            wanted[entry:entry + known * w].reshape((known, w)), ratio, even)
        column, block, entry = column + r * k, block + k * n * r * c, entry + known * w
        if missing:
            lost = t
        if t == 0:
            task = own
        else:
            task = _joined(task, own)
    return task, lost


@compiled_within
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


@compiled
def _joined(first: Task, second: Task) -> Task:
    """Put the targets of two tasks into one."""
    d = len(first.columns)
    n_first, n_second = len(first.pairs), len(second.pairs)
    total = n_first + n_second
    n_local = max(first.pairs.shape[1], second.pairs.shape[1])
    r = max(first.pairs.shape[3], second.pairs.shape[3])
    rows, chosen = first.spans[-1], first.chosen[-1]
    n, w = rows + second.spans[-1], chosen + second.chosen[-1]
    columns = np.zeros((d, total, r), dtype=np.complex128)
    pairs = np.zeros((total, n_local, n_local, r, r), dtype=np.complex128)
    places = np.zeros((total, n_local), dtype=np.int64)
    forms = -np.ones((total, n_local, w), dtype=np.int64)
    selection = np.zeros((n, w))
    lit = np.empty(len(first.lit) + len(second.lit), dtype=np.int64)
    section = row = form = offset = place = 0
    for task in (first, second):
        count, own_local, _, own_r, _ = task.pairs.shape
        own_w = task.forms.shape[2]
        for s in range(count):
            for p in range(d):
                for i in range(own_r):
                    columns[p, section + s, i] = task.columns[p, s * own_r + i]
            for a in range(own_local):
                # Filled places have nothing in them.
                places[section + s, a] = task.places[s, a] + row
                for b in range(own_local):
                    for i in range(own_r):
                        for j in range(own_r):
                            pairs[section + s, a, b, i, j] = task.pairs[s, a, b, i, j]
                for k in range(own_w):
                    if task.forms[s, a, k] >= 0:
                        forms[section + s, a, offset + k] = task.forms[s, a, k] + form
        for i in range(len(task.selection)):
            for k in range(own_w):
                selection[row + i, offset + k] = task.selection[i, k]
        for i in range(len(task.lit)):
            lit[place + i] = (task.lit[i] // own_r + section) * r + task.lit[i] % own_r
        section, row, offset = section + count, row + len(task.selection), offset + own_w
        form, place = form + task.n_forms, place + len(task.lit)
    n_owners = 0
    for i in range(len(first.owners)):
        n_owners = max(n_owners, first.owners[i] + 1)
    return Task(
        columns.reshape((d, total * r)), pairs, places, forms, form,
        np.concatenate((first.spans, rows + second.spans[1:])),
        np.concatenate((first.chosen, chosen + second.chosen[1:])), selection, first.metric,
        first.least, lit, np.concatenate((first.gains, second.gains)),
        np.concatenate((first.owners, second.owners + n_owners)), first.ratio)
