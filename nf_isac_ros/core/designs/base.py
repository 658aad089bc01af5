"""What a design is: a problem in, beams and a certified bound out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math

from nf_isac_ros.core.beams import ReducedBeams
from nf_isac_ros.core.exceptions import UnsuitableDesignError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solution import TargetReport, UserReport


@dataclass(frozen=True)
class Outcome:
    """
    Beams of a design before they are recomputed at full size.

    Attributes
    ----------
    beams : ReducedBeams
        Feasible.
    bound : float
        Certified bound on the objective of any feasible design; NaN if there is none.
    iterations : int
        Of the solver.
    warm : bool
        The solver was started from an earlier problem.
    subspace_dimension : int or None
        Dimension of the subspace that the design keeps to; None: that of the problem.
    coverage_limit : float
        See `Solution`; what was asked for, or more if `reason` says so.
    reason : str
        What the design had to relax; empty if nothing.
    problem : Problem or None
        In whose coordinates the beams are; None: in those of the problem that was given.

    """

    beams: ReducedBeams
    bound: float
    iterations: int = 0
    warm: bool = False
    subspace_dimension: int | None = None
    coverage_limit: float = math.inf
    reason: str = ''
    problem: Problem | None = None


def require_point_targets(problem: Problem, design: str) -> None:
    """Raise UnsuitableDesignError for a scene with extended targets."""
    if problem.extended:
        ids = [target.id for target in problem.scene.extended]
        raise UnsuitableDesignError(
            f'targets: {ids} are extended; must be points for {design}', 'extended-target')


Solve = Callable[[Problem, float, 'float | None'], Outcome]


@dataclass(frozen=True)
class Design:
    """
    A design problem and the way to solve it.

    Attributes
    ----------
    name : str
        As in scene files and messages.
    minimise : bool
        Whether the objective is to be small.
    needs_targets : bool
        Whether the objective means nothing without targets.
    solve : callable
        (problem, gap, budget in s or None) -> Outcome; raises InfeasibleError, SolverError.
    objective : callable
        (problem, target reports, user reports, power [W]) -> value, recomputed from what the beams
        achieve.
    meets_sinr : bool
        Whether its beams meet every required SINR, or else it raises InfeasibleError.
    remembering : callable or None
        Makes a `solve` that begins each problem where the one before ended; None: there is nothing
        to remember.

    """

    name: str
    minimise: bool
    needs_targets: bool
    solve: Solve
    objective: Callable[[Problem, Sequence[TargetReport], Sequence[UserReport], float], float]
    meets_sinr: bool = True
    remembering: Callable[[], Solve] | None = None
