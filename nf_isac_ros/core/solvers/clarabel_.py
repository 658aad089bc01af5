"""Sum-CRB minimisation by a direct call of Clarabel on the compact form: no modelling language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import clarabel
import numpy as np
from numpy.typing import NDArray
import scipy.sparse as sp

from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.conic import CrbObjective, Program
from nf_isac_ros.core.solvers.hermitian import (
    embedding,
    from_vector,
    to_vector,
    upper_triangle,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


# Singular values of the channels, in units of the users' needs, that are as good as zero.
DEPENDENT = 1e-9


@dataclass(frozen=True)
class CompactPoint:
    """
    Point of the compact form of sum-CRB minimisation.

    Attributes
    ----------
    covariance : ndarray, shape (d, d)
        S.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G.
    weights : ndarray, of the shape of E, or None
        Dual estimate of V = F(S)^-1 E for the lower bound.
    multipliers : ndarray, shape (U,)
        Multipliers mu of the SINR constraints, for the objective in m^2.
    row_multipliers : ndarray, shape (R,), or None
        Those of the further rows; None without them.
    iterations : int
    status : str
        The solver's own word.
    solve_time : float
        What the solver says it took, without building the program [s].

    """

    covariance: Complex
    parts: Complex
    weights: Real | None
    multipliers: Real
    row_multipliers: Real | None
    iterations: int
    status: str
    solve_time: float


@dataclass(frozen=True)
class MaxMinPoint:
    """
    Point of the compact form of max-min power.

    Attributes
    ----------
    covariance : ndarray, shape (d, d)
        S.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G.
    shares : ndarray, shape (K,)
        Multipliers of the points, nonnegative, of sum one but for rounding.
    multipliers : ndarray, shape (U,)
        Multipliers mu of the SINR constraints, for the objective in the unit of the points.
    iterations : int
    status : str
        The solver's own word.

    """

    covariance: Complex
    parts: Complex
    shares: Real
    multipliers: Real
    iterations: int
    status: str


@dataclass(frozen=True)
class PatternPoint:
    """
    Point of the compact form of a fit to a pattern.

    Attributes
    ----------
    covariance : ndarray, shape (d, d)
        S.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G.
    level : float
        e.
    iterations : int

    """

    covariance: Complex
    parts: Complex
    level: float
    iterations: int


def solve_crb(problem: Problem, reference: Complex, gap: float, budget: float | None = None,
              options: Mapping[str, object] | None = None) -> CompactPoint:
    """
    Minimise tr(E^T F(S)^-1 E) subject to power, SINRs and the problem's further rows.

    Parameters
    ----------
    problem : Problem
        Feasible, with at least one target.
    reference : ndarray, shape (d, d)
        A covariance of about the right size in every direction, positive semidefinite; the program
        is scaled so that it becomes the identity.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].
    options : mapping, optional
        Settings of Clarabel on top of those made here.

    Returns
    -------
    CompactPoint
        The solver's last point; nothing in it is to be trusted before it is repaired and
        certified.

    Raises
    ------
    SolverError
        If the solver ended without numbers.

    Notes
    -----
    Variables are S, X_0..X_U (U x U, X_0 = G^H S G - sum X_u what the users receive from sensing)
    and those of `conic.CrbObjective`. With one user nothing but g^H S g >= Gamma noise is left of
    the X_u.

    """
    factor = _square_root(reference)
    scaled = replace(
        problem, user_channels=factor.conj().T @ problem.user_channels,
        fisher=problem.fisher.with_transmit(factor.conj().T @ problem.fisher.transmit),
        rows=None if problem.rows is None else problem.rows.in_coordinates(factor))
    form = _CrbForm(scaled, factor.conj().T @ factor)
    point = form.solve(gap, budget, options or {})
    return replace(point, covariance=factor @ point.covariance @ factor.conj().T)


def solve_max_min(problem: Problem, points: Complex, reference: Complex, gap: float,
                  budget: float | None = None,
                  options: Mapping[str, object] | None = None) -> MaxMinPoint:
    """
    Maximise the least p_k^H S p_k subject to power and SINRs.

    Parameters
    ----------
    problem : Problem
        Feasible.
    points : ndarray, shape (d, K)
        The vectors p_k, at least one.
    reference : ndarray, shape (d, d)
        As for `solve_crb`.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].
    options : mapping, optional
        Settings of Clarabel on top of those made here.

    Returns
    -------
    MaxMinPoint
        The solver's last point; nothing in it is to be trusted before it is repaired and
        certified.

    Raises
    ------
    SolverError
        If the solver ended without numbers.

    Notes
    -----
    Variables are S, X_0..X_U as for `solve_crb`, and a scalar tau: maximise tau subject to
    p_k^H S p_k >= tau.

    """
    factor = _square_root(reference)
    scaled = replace(problem, user_channels=factor.conj().T @ problem.user_channels)
    form = _MaxMinForm(scaled, factor.conj().T @ factor, factor.conj().T @ points)
    point = form.solve(gap, budget, options or {})
    return replace(point, covariance=factor @ point.covariance @ factor.conj().T)


def solve_pattern(problem: Problem, points: Complex, wanted: Real, reference: Complex, gap: float,
                  budget: float | None = None) -> PatternPoint:
    """
    Fit what points receive to a pattern of free level, with the whole power, subject to SINRs.

    Parameters
    ----------
    problem : Problem
        Feasible.
    points : ndarray, shape (d, K)
        The vectors p_k.
    wanted : ndarray, shape (K,)
        Shape of the pattern.
    reference : ndarray, shape (d, d)
        As for `solve_crb`.
    gap : float
        Accuracy to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    PatternPoint
        The solver's last point; nothing in it is to be trusted before it is repaired.

    Raises
    ------
    SolverError
        If the solver ended without numbers.

    Notes
    -----
    Least sum_k (p_k^H S p_k - e wanted_k)^2 over S and e >= 0 with trace one.

    """
    factor = _square_root(reference)
    scaled = replace(problem, user_channels=factor.conj().T @ problem.user_channels)
    form = _PatternForm(
        scaled, factor.conj().T @ factor, factor.conj().T @ points, wanted)
    point = form.solve(gap, budget)
    return replace(point, covariance=factor @ point.covariance @ factor.conj().T)


def _square_root(reference: Complex) -> Complex:
    """Factor L with L L^H the reference, no direction of it smaller than a millionth."""
    values, vectors = np.linalg.eigh(reference)
    return vectors * np.sqrt(np.maximum(values, 1e-6 * values[-1]))


class _CompactForm:
    """
    Power and users of a program, for coordinates in which S is about the identity.

    Its variables are S, the X_k, and those of an objective.
    """

    def __init__(self, problem: Problem, power_metric: Complex, n_own: int) -> None:
        self._problem = problem
        d, self._n_users = problem.user_channels.shape
        # In units of what each user receives of the reference. That is about what it needs, noise
        # times required SINR, or much more where it needs next to nothing.
        needs = problem.sinr * problem.user_noise
        self._units = np.maximum(np.linalg.norm(problem.user_channels, axis=0) ** 2, needs)
        self._needs = needs / self._units
        self._probes, self._mixing = _user_frame(problem.user_channels / np.sqrt(self._units))
        order = len(self._mixing)
        self._part_size = order ** 2 if self._n_users > 1 else 0
        self._n_parts = self._n_users + 1 if self._n_users > 1 else 0
        self._at_parts = d * d
        self._at_own = self._at_parts + self._n_parts * self._part_size
        self._program = Program(self._at_own + n_own)
        self._scalings: list[Real] = [np.ones(order) for _ in range(self._n_users + 1)]
        if order == self._n_users:
            self._scalings = _part_scalings(problem.sinr)
        self._program.add({0: -to_vector(power_metric[None])}, np.ones(1),
                          clarabel.NonnegativeConeT(1))
        self._program.add({0: embedding(d)}, np.zeros(d * (2 * d + 1)),
                          clarabel.PSDTriangleConeT(2 * d))
        self._sinr_rows = self._add_users()

    def _add_users(self) -> int | None:
        """Add what the users receive and their SINRs; returns the number of the SINR cone."""
        n, order = self._n_users, len(self._mixing)
        if n == 0:
            return None
        if n == 1:
            row = to_vector((self._probes @ self._probes.conj().T)[None])
            return self._program.add({0: row}, -self._needs, clarabel.NonnegativeConeT(1))
        units = np.stack([from_vector(unit) for unit in np.eye(self._part_size)])
        blocks: dict[int, sp.spmatrix | Real] = {
            0: to_vector(self._probes @ units @ self._probes.conj().T)}
        at = [self._at_parts + k * self._part_size for k in range(n + 1)]
        for offset, scaling in zip(at, self._scalings):
            blocks[offset] = -_scaled_identity(scaling)
        self._program.add(blocks, np.zeros(self._part_size), clarabel.ZeroConeT(self._part_size))
        for offset in at:
            self._program.add({offset: embedding(order)}, np.zeros(order * (2 * order + 1)),
                              clarabel.PSDTriangleConeT(2 * order))
        rows = _sinr_rows(self._problem.sinr, self._mixing, self._scalings)
        return self._program.add(
            {self._at_parts: rows}, -self._needs, clarabel.NonnegativeConeT(n))

    def _multipliers(self, z: Real, unit: float) -> Real:
        """Multipliers mu of the SINR constraints for an objective in this unit."""
        if self._sinr_rows is None:
            return np.zeros(0)
        # The certificate's constraint is the row here times the unit over the required SINR.
        rows = z[self._program.spans[self._sinr_rows]]
        multipliers: Real = rows * self._problem.sinr / self._units * unit
        return multipliers

    def _parts(self, x: Real, covariance: Complex) -> Complex:
        """Read X_1..X_U, shape (U, U, U)."""
        n, g = self._n_users, self._problem.user_channels
        if n == 1:
            return (g.conj().T @ covariance @ g)[None]
        parts = np.zeros((n, n, n), dtype=complex)
        unit = np.sqrt(self._units)
        for u in range(n):
            begin = self._at_parts + (u + 1) * self._part_size
            mixing = self._scalings[u + 1][:, None] * self._mixing * unit
            parts[u] = mixing.conj().T @ from_vector(x[begin:begin + self._part_size]) @ mixing
        return parts


class _CrbForm(_CompactForm):
    """The same with the sum of position bounds."""

    def __init__(self, problem: Problem, power_metric: Complex) -> None:
        self._objective = CrbObjective(problem)
        super().__init__(problem, power_metric, self._objective.n_variables)
        self._objective.add_to(self._program, self._at_own, {0: None})

    def solve(self, gap: float, budget: float | None,
              options: Mapping[str, object]) -> CompactPoint:
        """Run Clarabel and read its last point."""
        objective = self._objective
        x, z, solution = self._program.run(objective.cost(self._program), gap, budget, options)
        covariance = from_vector(x[:self._at_parts])
        return CompactPoint(
            covariance, self._parts(x, covariance), objective.weights(self._program, z),
            self._multipliers(z, objective.unit), objective.row_multipliers(self._program, z),
            int(solution.iterations), str(solution.status), float(solution.solve_time))


class _MaxMinForm(_CompactForm):
    """The same with the least power at some points."""

    def __init__(self, problem: Problem, power_metric: Complex, points: Complex) -> None:
        super().__init__(problem, power_metric, 1)
        powers = np.einsum('dk,dk->k', points.conj(), points).real
        # At the reference tau is about one; each row is in units of its own.
        self._unit = float(powers.min())
        self._shares = self._unit / powers
        rows = to_vector(np.einsum('dk,ek->kde', points, points.conj())) / powers[:, None]
        self._rows = self._program.add({0: rows, self._at_own: -self._shares[:, None]},
                                       np.zeros(len(powers)),
                                       clarabel.NonnegativeConeT(len(powers)))

    def solve(self, gap: float, budget: float | None,
              options: Mapping[str, object]) -> MaxMinPoint:
        """Run Clarabel and read its last point."""
        cost = np.zeros(self._program.n_variables)
        cost[self._at_own] = -1.0
        x, z, solution = self._program.run(cost, gap, budget, options)
        covariance = from_vector(x[:self._at_parts])
        return MaxMinPoint(
            covariance, self._parts(x, covariance),
            z[self._program.spans[self._rows]] * self._shares,
            self._multipliers(z, self._unit), int(solution.iterations), str(solution.status))


class _PatternForm(_CompactForm):
    """The same with the distance of what points receive from a pattern."""

    def __init__(self, problem: Problem, power_metric: Complex, points: Complex,
                 wanted: Real) -> None:
        # The level, and the distance.
        super().__init__(problem, power_metric, 2)
        n = len(wanted)
        powers = np.einsum('dk,dk->k', points.conj(), points).real
        self._unit = float(powers.mean())
        rows = to_vector(np.einsum('dk,ek->kde', points, points.conj())) / self._unit
        # All of the power is used: without that, less of it fits better.
        self._program.add({0: to_vector(power_metric[None])}, -np.ones(1), clarabel.ZeroConeT(1))
        self._program.add({self._at_own: np.eye(1)}, np.zeros(1), clarabel.NonnegativeConeT(1))
        own = np.zeros((n + 1, 2))
        own[0, 1], own[1:, 0] = 1.0, -wanted
        self._program.add({0: np.vstack([np.zeros((1, rows.shape[1])), rows]), self._at_own: own},
                          np.zeros(n + 1), clarabel.SecondOrderConeT(n + 1))

    def solve(self, gap: float, budget: float | None) -> PatternPoint:
        """Run Clarabel and read its last point."""
        cost = np.zeros(self._program.n_variables)
        cost[self._at_own + 1] = 1.0
        x, _, solution = self._program.run(cost, gap, budget, {})
        covariance = from_vector(x[:self._at_parts])
        return PatternPoint(covariance, self._parts(x, covariance),
                            float(x[self._at_own]) * self._unit, int(solution.iterations))


def _part_scalings(sinr: Real) -> list[Real]:
    """
    Diagonals D_k with X_k = D_k X~_k D_k, for k = 0..U.

    In units of noise times required SINR what a user receives of others is 1 / Gamma of what it
    receives for itself; unscaled, the differences drown in rounding at high Gamma.
    """
    off = np.minimum(1.0, 1.0 / np.sqrt(sinr))
    scalings = [off.copy()]
    for u in range(len(sinr)):
        own = off.copy()
        own[u] = 1.0
        scalings.append(own)
    return scalings


def _scaled_identity(scaling: Real) -> sp.csc_matrix:
    """Map `to_vector` of X~ to that of D X~ D."""
    row, column = upper_triangle(len(scaling))
    both = scaling[row] * scaling[column]
    return sp.diags(np.concatenate([scaling ** 2, both, both]), format='csc')


def _user_frame(received: Complex) -> tuple[Complex, Complex]:
    """
    Vectors whose X_k = P^H W_k P describe the users, and the users in terms of them.

    Returns
    -------
    probes : ndarray, shape (d, r)
        P: the channels themselves or, if these are dependent, as many combinations of them as are
        not. With dependent channels X_k = G^H W_k G have no interior.
    mixing : ndarray, shape (r, U)
        C with G = P C.

    """
    n_users = received.shape[1]
    left, values, right = np.linalg.svd(received, full_matrices=False)
    rank = int(np.count_nonzero(values > DEPENDENT * values.max(initial=0.0)))
    if rank == n_users:
        return received, np.eye(n_users, dtype=complex)
    return left[:, :rank] * values[:rank], right[:rank]


def _sinr_rows(sinr: Real, mixing: Complex, scalings: list[Real]) -> Real:
    """Rows c_u^H (X_u - Gamma_u sum_{k != u} X_k) c_u on the stacked vectors of X~_0..X~_U."""
    n = len(sinr)
    rows = np.zeros((n, n + 1, len(mixing) ** 2))
    for u in range(n):
        for k, scaling in enumerate(scalings):
            own: Complex = scaling * mixing[:, u]
            image: Complex = own[:, None] * own.conj()
            rows[u, k] = to_vector(image) * (1.0 if k == u + 1 else -sinr[u])
    return rows.reshape(n, -1)
