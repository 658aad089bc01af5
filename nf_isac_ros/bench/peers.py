"""
The public way to solve the same problem: general conic solvers, as fast as they will go.

Each is stopped at the loosest of its tolerances at which its design, repaired like ours, keeps the
gap that ours keeps. The compact form has to certify that; (SDR1.3), whose duals the
modelling language hides, is measured against a bound of ours, in its favour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
import math
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.bench.sampling import Row, milliseconds, number
from nf_isac_ros.core.beams import ReducedBeams, repair, split, user_shares
from nf_isac_ros.core.certificate import crb_bound, tangent_weights
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_ import CompactPoint, solve_crb
from nf_isac_ros.core.starting_point import users_first_beams

Complex = NDArray[np.complex128]

# Tolerances that are tried, from the loosest on, over the gap. Those of the compact form are
# `gap` arguments of `solve_crb`, which asks Clarabel for a fiftieth of it.
COMPACT_LADDER = (
    1000.0, 300.0, 100.0, 30.0, 10.0, 5.0, 2.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
# Where the first scene begins from so many targets and users on, for which one run takes seconds.
LARGE, FIRST_IF_LARGE = 8, COMPACT_LADDER.index(0.03)
# Clarabel on the compact form is fastest without the refinement of its linear systems, and more
# accurate with it: where both keep the gap, the faster of the two counts.
COMPACT_VARIANTS = ({'iterative_refinement_enable': False}, {})
PAPER_LADDER = (10.0, 1.0, 0.1, 0.01)


@dataclass(frozen=True)
class Attempt:
    """One run of a solver: its time, that with building [ms], and the gap of its design."""

    solver_ms: float
    whole_ms: float
    gap: float


@dataclass
class Peer:
    """
    What one way to solve took.

    Attributes
    ----------
    times : list of float
        Of the solver alone, where it kept the gap [ms].
    whole : list of float
        With the building of its program [ms].
    ours : list of float
        What our solver took on the same scenes, right before [ms].
    tolerances : list of float
        At which it kept the gap, over the gap.
    gaps : list of float
        That it kept.
    failures : int
        Scenes on which no tolerance kept the gap.

    """

    times: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    tolerances: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    failures: int = 0

    def add(self, climbs: Iterable[tuple[float, Attempt] | None], ours: float) -> None:
        """Take note of the fastest of the variants that kept the gap, and of our time [ms]."""
        kept = [climb for climb in climbs if climb is not None]
        if not kept:
            self.failures += 1
            return
        step, attempt = min(kept, key=lambda climb: climb[1].solver_ms)
        self.times.append(attempt.solver_ms)
        self.whole.append(attempt.whole_ms)
        self.ours.append(ours)
        self.tolerances.append(step)
        self.gaps.append(max(attempt.gap, 0.0))

    def row(self) -> Row:
        """Return what goes into the results."""
        return {
            **milliseconds(self.times), 'with_build_p50_ms': milliseconds(self.whole)['p50_ms'],
            'ratio_p50': self._ratio(self.times), 'with_build_ratio_p50': self._ratio(self.whole),
            'runs': len(self.times), 'not_certified': self.failures,
            'gap_max': number(max(self.gaps)) if self.gaps else None,
            'tolerance_over_gap_p50':
                number(float(np.median(self.tolerances))) if self.tolerances else None}

    def _ratio(self, times: list[float]) -> float | None:
        ratios = [theirs / ours for theirs, ours in zip(times, self.ours)]
        return number(float(np.median(ratios))) if ratios else None


def reference(problem: Problem) -> Complex:
    """Covariance about which the compact form is scaled; made before the clock starts."""
    beams = users_first_beams(problem)
    left = np.linalg.norm(beams.sensing) ** 2
    return beams.covariance + left * np.eye(problem.dimension) / problem.dimension


def repaired(problem: Problem, covariance: Complex, parts: Complex) -> ReducedBeams:
    """Beams of a point, made feasible."""
    values, vectors = np.linalg.eigh(covariance)
    covariance = (vectors * np.maximum(values, 0.0)) @ vectors.conj().T
    return repair(problem, split(
        problem, covariance, user_shares(problem, covariance, parts)))


def certified_gaps(problem: Problem, point: CompactPoint) -> tuple[float, float]:
    """Gap with the better of all weights, and with V = F^-1 E of the design alone."""
    beams = repaired(problem, point.covariance, point.parts)
    achieved = problem.objective(beams.covariance)
    tangent = tangent_weights(problem, beams.covariance)
    if tangent is None or not math.isfinite(achieved):
        return math.inf, math.inf
    plain = crb_bound(problem, tangent, point.multipliers)
    best = plain if point.weights is None else max(
        plain, crb_bound(problem, point.weights, point.multipliers))
    return (achieved - best) / achieved, (achieved - plain) / achieved


@dataclass
class Ladder:
    """The steps of a solver from loose to tight; begins near where it kept the gap last time."""

    steps: tuple[float, ...]
    first: int = 0

    def climb(self, run: Callable[[float], Attempt], gap: float) -> tuple[float, Attempt] | None:
        """Run at rising accuracy until the gap is kept; return that step and run, or None."""
        for at in range(self.first, len(self.steps)):
            try:
                attempt = run(self.steps[at])
            except NfIsacError:
                continue
            if attempt.gap <= gap:
                # One step looser: the next scene may be content with less.
                self.first = max(0, at - 1)
                return self.steps[at], attempt
        return None


class Peers:
    """
    The other solvers on the scenes of one row.

    Parameters
    ----------
    gap : float
        That is to be kept.
    names : tuple of str
        'clarabel_compact', 'clarabel_sdr13', 'scs_sdr13'.
    time_limit : float
        Of one run of SCS, which may otherwise go on for many minutes [s].
    seconds : float
        Time after which a solver is not begun again, each for itself [s].

    """

    def __init__(self, gap: float, names: tuple[str, ...], time_limit: float,
                 seconds: float = math.inf) -> None:
        self._time_limit = time_limit
        self._seconds = seconds
        self._spent: dict[str, float] = {}
        self._gap = gap
        self._names = names
        self._peers: dict[str, Peer] = {}
        self._ladders: dict[tuple[str, int], Ladder] = {}

    def run(self, problem: Problem, bound: float, ours: float) -> None:
        """
        Run all of them on a problem.

        Parameters
        ----------
        problem : Problem
        bound : float
            On the objective [m^2], tighter than the gap, for those that certify nothing.
        ours : float
            What our solver took [ms].

        """
        if 'clarabel_compact' in self._names:
            start = reference(problem)
            bodies = len(problem.scene.targets) + len(problem.scene.users)
            for name, best in (('clarabel_compact', True),
                               ('clarabel_compact_primal_certificate', False)):
                self._climb(name, COMPACT_LADDER, [
                    partial(self._compact, problem, start, best, variant)
                    for variant in COMPACT_VARIANTS], ours,
                    FIRST_IF_LARGE if bodies >= LARGE else 0)
        for name, solver in (('clarabel_sdr13', 'CLARABEL'), ('scs_sdr13', 'SCS')):
            if name in self._names:
                self._climb(name, PAPER_LADDER, [partial(self._paper, problem, solver, bound)],
                            ours)

    def _climb(self, name: str, steps: tuple[float, ...],
               variants: Sequence[Callable[[float], Attempt]], ours: float,
               first: int = 0) -> None:
        if self._spent.get(name, 0.0) > self._seconds:
            return
        started = time.monotonic()
        self._peers.setdefault(name, Peer()).add([
            self._ladders.setdefault((name, at), Ladder(steps, first)).climb(run, self._gap)
            for at, run in enumerate(variants)], ours)
        self._spent[name] = self._spent.get(name, 0.0) + time.monotonic() - started

    def _compact(self, problem: Problem, start: Complex, best: bool,
                 options: Mapping[str, object], step: float) -> Attempt:
        started = time.perf_counter()
        point = solve_crb(problem, start, min(step * self._gap, 0.9), None, options)
        whole = time.perf_counter() - started
        gaps = certified_gaps(problem, point)
        return Attempt(1e3 * point.solve_time, 1e3 * whole, gaps[0 if best else 1])

    def _paper(self, problem: Problem, solver: str, bound: float, step: float) -> Attempt:
        # Late: cvxpy is a tool of tests, and takes a second to load.
        from nf_isac_ros.core.solvers.cvxpy_ import solve_sdr13

        tolerance = step * self._gap
        options = {'eps_abs': tolerance, 'eps_rel': tolerance, 'max_iters': 1_000_000,
                   'time_limit_secs': self._time_limit} if (
            solver == 'SCS') else {
                'tol_gap_rel': tolerance, 'tol_gap_abs': tolerance, 'tol_feas': tolerance,
                'equilibrate_enable': False}
        started = time.perf_counter()
        point = solve_sdr13(problem, solver, **options)
        whole = time.perf_counter() - started
        g = problem.user_channels
        covariance = point.user_covariances.sum(axis=0) + point.sensing_covariance
        beams = repaired(problem, covariance, g.conj().T @ point.user_covariances @ g)
        achieved = problem.objective(beams.covariance)
        gap = (achieved - bound) / achieved if math.isfinite(achieved) else math.inf
        return Attempt(1e3 * point.solve_time, 1e3 * whole, gap)

    def rows(self) -> dict[str, Row]:
        """Return what goes into the results, by name; cvxpy's whole time has a name of its own."""
        return dict(self._rows())

    def _rows(self) -> Iterator[tuple[str, Row]]:
        for name, peer in self._peers.items():
            row = peer.row()
            yield name, row
            if name.endswith('_sdr13'):
                yield f'cvxpy_{name}', {**milliseconds(peer.whole), 'runs': row['runs']}
