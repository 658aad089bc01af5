"""Points of an earlier central path, carried over to a new scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.carrying_kernels import IN_GRAM, Bodies, carried, farthest
from nf_isac_ros.core.solvers.kernels import Form, History, State

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Where on an earlier path to start: decimal logarithm of the promised gap, against that of the
# largest change of an inner product of two unit columns. Nearer the end there is no room for the
# mismatch, and for what a path that was itself begun so has left of its own; beyond the last
# change a start from nothing is as good.
LEVELS = np.array([
    (-3.75, -3.25, -2.75, -2.25, -1.75, -1.25, -0.75, -0.5),
    (-3.0, -2.7, -2.1, -1.7, -1.3, -1.1, -0.85, -0.7)])
# The same for scenes with extended targets, whose many sections change little as a whole, and
# whose iterations cost ten times as much: against how many wavelengths bodies moved.
EXTENDED_LEVELS = np.array([(-1.0, 0.0, 0.5, 1.0, 1.5), (-3.0, -2.5, -2.0, -2.0, -0.3)])


@dataclass(frozen=True)
class Path:
    """
    Points on the way to an optimum, for a similar scene to start from.

    Attributes
    ----------
    problem : Problem
        What was solved.
    ratio : float
        f_0 / f at the end.
    history : History
        The points from the start to the end.
    count : int
        How many of them.

    """

    problem: Problem
    ratio: float
    history: History
    count: int


def transported(path: Path, problem: Problem, form: Form) -> tuple[Form, State] | None:
    """
    Carry a point of an earlier central path over to a new scene.

    Parameters
    ----------
    path : Path
        Of a scene with the same bodies.
    problem : Problem
        The new scene.
    form : Form
        Its compact form.

    Returns
    -------
    tuple of Form and State, or None
        A strictly feasible starting point, and the form with its scale; None if the scenes are
        too different.

    Notes
    -----
    A millimetre turns the phases between bodies, but hardly anything else: in a frame that turns
    with them the users receive the same, exactly, after S has been zero-forced again. What is left
    of the mismatch is what unitary maps leave: the Gram matrix of the columns; a point further
    back on the path has more room for it.

    """
    old = path.problem
    if problem.dimension > old.dimension:
        return None
    if problem.extended:
        apart, levels = displacement(old, problem), EXTENDED_LEVELS
    else:
        apart, levels = (IN_GRAM if _same_points(old, problem) else None), LEVELS
    if apart is None:
        return None
    begun, value = carried(form, path.history, path.count, path.ratio, apart, levels,
                           _bodies(old), _bodies(problem))
    return (form._replace(scale=path.ratio * value), begun) if value < np.inf else None


def _same_points(old: Problem, new: Problem) -> bool:
    """Whether both scenes have the same point targets and users, and nothing else."""
    before, after = (
        ([target.id for target in problem.scene.targets],
         [user.id for user in problem.scene.users], len(problem.extended))
        for problem in (old, new))
    return before == after


def displacement(old: Problem, new: Problem) -> float | None:
    """Largest distance that a body moved, in wavelengths; None if the bodies are not the same."""
    if old.user_channels.shape != new.user_channels.shape:
        return None
    before, after = old.places, new.places
    if before.names != after.names:
        # An extended target may also show another number of sections.
        return None
    moved = farthest(before.points, after.points) / new.scene.radio.wavelength
    return max(moved, _channel_change(old, new))


def _channel_change(old: Problem, new: Problem) -> float:
    """
    Change of the channels of users without a position, as a distance in wavelengths.

    Of unit norm, and in phase at the array's middle, where a move by a wavelength turns others by
    a turn at most.
    """
    users = [u for u, user in enumerate(new.scene.users) if user.position is None]
    if not users:
        return 0.0
    if len(old.channels) != len(new.channels):
        return np.inf
    before, after = (_unit_channels(problem, users) for problem in (old, new))
    return float(np.linalg.norm(after - before, axis=0).max()) / (2.0 * np.pi)


def _unit_channels(problem: Problem, users: list[int]) -> Complex:
    seen = problem.channels[:, users]
    phases = problem.phases[len(problem.phases) - len(problem.scene.users):][users]
    return seen * (phases.conj() / np.linalg.norm(seen, axis=0))


def _bodies(problem: Problem) -> Bodies:
    return Bodies(np.ascontiguousarray(problem.fisher.transmit),
                  np.ascontiguousarray(problem.user_channels), problem.phases)
