"""Points of an earlier central path, carried over to a new scene."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.carrying_kernels import Bodies, carried, farthest
from nf_isac_ros.core.solvers.kernels import Form, History, State

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Where on an earlier path to start: decimal logarithm of the promised gap, against the decimal
# logarithm of how many wavelengths bodies moved. Nearer the end there is no room for the mismatch.
LEVEL_DISTANCES = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.25)
LEVELS = (-2.7, -2.5, -2.1, -1.8, -1.4, -0.3)
# The same for scenes with extended targets, whose many sections change little as a whole, and
# whose iterations cost ten times as much.
EXTENDED_DISTANCES = (-1.0, 0.0, 0.5, 1.0, 1.5)
EXTENDED_LEVELS = (-3.0, -2.5, -2.0, -2.0, -0.3)


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
    with them the users receive the same, exactly, after S has been zero-forced again; what is left
    of the mismatch grows with the distance that bodies moved, and a point further back on the path
    has more room for it.

    """
    old = path.problem
    moved = displacement(old, problem)
    if moved is None or problem.dimension > old.dimension:
        return None
    distances, levels = ((EXTENDED_DISTANCES, EXTENDED_LEVELS) if problem.extended
                         else (LEVEL_DISTANCES, LEVELS))
    level = _interpolated(log10(max(moved, 1e-9)), distances, levels)
    if level >= levels[-1]:
        return None
    begun, value = carried(form, path.history, path.count, path.ratio, level, _bodies(old),
                           _bodies(problem))
    return (form._replace(scale=path.ratio * value), begun) if value < np.inf else None


def _interpolated(at: float, places: tuple[float, ...], values: tuple[float, ...]) -> float:
    """What numpy.interp gives, in a tenth of the time for one number."""
    after = bisect(places, at)
    if after in (0, len(places)):
        return values[min(after, len(values) - 1)]
    share = (at - places[after - 1]) / (places[after] - places[after - 1])
    return values[after - 1] + share * (values[after] - values[after - 1])


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
