"""Sum-CRB minimisation by a direct call of Clarabel on the compact form: no modelling language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import clarabel
import numpy as np
from numpy.typing import NDArray
import scipy.sparse as sp

from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.fisher import whitening
from nf_isac_ros.core.problem import Problem, Rows
from nf_isac_ros.core.solvers.hermitian import (
    embedding,
    from_vector,
    symmetric_from_vector,
    symmetric_to_vector,
    to_vector,
    triangle_index,
    upper_triangle,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Ends from which the last iterate is worth repairing and certifying; the certificate, not the
# status, decides what is claimed.
USABLE = ('Solved', 'AlmostSolved', 'InsufficientProgress', 'MaxIterations', 'MaxTime',
          'NumericalError')


# The certified gap is some ten times what Clarabel believes its gap to be.
TOLERANCE = 0.02


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


class _Program:
    """Rows of a conic program, collected cone by cone."""

    def __init__(self, n_variables: int) -> None:
        self.n_variables = n_variables
        self._rows: list[sp.csc_matrix] = []
        self._rights: list[Real] = []
        self._cones: list[object] = []
        self.spans: list[slice] = []

    def add(self, blocks: dict[int, sp.spmatrix | Real], right: Real, cone: object) -> int:
        """Require right + sum of blocks times variables from their offsets to lie in the cone."""
        parts = []
        at = 0
        for offset in sorted(blocks):
            block = sp.csc_matrix(blocks[offset])
            if offset > at:
                parts.append(sp.csc_matrix((len(right), offset - at)))
            parts.append(-block)
            at = offset + block.shape[1]
        parts.append(sp.csc_matrix((len(right), self.n_variables - at)))
        start = self.spans[-1].stop if self.spans else 0
        self.spans.append(slice(start, start + len(right)))
        self._rows.append(sp.hstack(parts, format='csc'))
        self._rights.append(right)
        self._cones.append(cone)
        return len(self.spans) - 1

    def solve(self, cost: Real, gap: float, budget: float | None,
              options: Mapping[str, object]) -> clarabel.DefaultSolution:
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        # Equilibration made every scene that failed fail: the rows are scaled here already.
        settings.equilibrate_enable = False
        settings.tol_gap_rel = settings.tol_gap_abs = settings.tol_feas = TOLERANCE * gap
        settings.tol_ktratio = min(1e-6, gap)
        settings.max_iter = 200
        if budget is not None:
            settings.time_limit = max(budget, 1e-3)
        for name, value in options.items():
            setattr(settings, name, value)
        quadratic = sp.csc_matrix((self.n_variables, self.n_variables))
        solver = clarabel.DefaultSolver(
            quadratic, cost, sp.vstack(self._rows, format='csc'),
            np.concatenate(self._rights), self._cones, settings)
        return solver.solve()


def _triangle(order: int) -> int:
    """Entries of the triangle of a symmetric matrix."""
    return order * (order + 1) // 2


@lru_cache(maxsize=32)
def _symmetric_placement(order: int, start: int, stop: int) -> sp.csc_matrix:
    """Map the triangle of a symmetric matrix to a diagonal block of a larger one's triangle."""
    index = triangle_index(order)[start:stop, start:stop]
    column, row = np.tril_indices(stop - start)
    where = index[row, column]
    return sp.csc_matrix(
        (np.ones(len(where)), (where, np.arange(len(where)))),
        shape=(_triangle(order), len(where)))


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
    Variables are S, X_0..X_U (U x U, X_0 = G^H S G - sum X_u what the users receive from sensing),
    Z and T: minimise tr T subject to [[F_ll - Z, F_lb], [F_bl, F_bb]] >= 0, [[Z, E], [E^T, T]] >=
    0, which is the Schur complement of [[F, E], [E^T, T]] >= 0 with the parameters b that E leaves
    out (the reflection coefficients) eliminated. With one user nothing but g^H S g >= Gamma noise
    is left of the X_u.

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
        self._part_size = self._n_users ** 2 if self._n_users > 1 else 0
        self._n_parts = self._n_users + 1 if self._n_users > 1 else 0
        self._at_parts = d * d
        self._at_own = self._at_parts + self._n_parts * self._part_size
        self._program = _Program(self._at_own + n_own)
        self._scalings = _part_scalings(problem.sinr)
        self._program.add({0: -to_vector(power_metric[None])}, np.ones(1),
                          clarabel.NonnegativeConeT(1))
        self._program.add({0: embedding(d)}, np.zeros(d * (2 * d + 1)),
                          clarabel.PSDTriangleConeT(2 * d))
        self._sinr_rows = self._add_users()

    def _add_users(self) -> int | None:
        """Add what the users receive and their SINRs; returns the number of the SINR cone."""
        n, sinr = self._n_users, self._problem.sinr
        # In units of the least power that a user needs: noise times required SINR.
        received = self._problem.user_channels / np.sqrt(sinr * self._problem.user_noise)
        if n == 0:
            return None
        if n == 1:
            row = to_vector((received @ received.conj().T)[None])
            return self._program.add({0: row}, -np.ones(1), clarabel.NonnegativeConeT(1))
        units = np.stack([from_vector(unit) for unit in np.eye(self._part_size)])
        blocks: dict[int, sp.spmatrix | Real] = {
            0: to_vector(received @ units @ received.conj().T)}
        at = [self._at_parts + k * self._part_size for k in range(n + 1)]
        for offset, scaling in zip(at, self._scalings):
            blocks[offset] = -_scaled_identity(scaling)
        self._program.add(blocks, np.zeros(self._part_size), clarabel.ZeroConeT(self._part_size))
        for offset in at:
            self._program.add({offset: embedding(n)}, np.zeros(n * (2 * n + 1)),
                              clarabel.PSDTriangleConeT(2 * n))
        return self._program.add({self._at_parts: _sinr_rows(sinr, self._scalings)}, -np.ones(n),
                                 clarabel.NonnegativeConeT(n))

    def _run(self, cost: Real, gap: float, budget: float | None,
             options: Mapping[str, object]) -> tuple[Real, Real, clarabel.DefaultSolution]:
        """Run Clarabel; its last point, multipliers, and what else it says."""
        solution = self._program.solve(cost, gap, budget, options)
        x, z = np.array(solution.x), np.array(solution.z)
        if str(solution.status) not in USABLE or not (
                np.isfinite(x).all() and np.isfinite(z).all()):
            raise SolverError(
                f'Clarabel ended with {solution.status} after {solution.iterations} iterations')
        return x, z, solution

    def _multipliers(self, z: Real, unit: float) -> Real:
        """Multipliers mu of the SINR constraints for an objective in this unit."""
        if self._sinr_rows is None:
            return np.zeros(0)
        # The certificate's constraint in its own units: the row here times the noise.
        rows = z[self._program.spans[self._sinr_rows]]
        multipliers: Real = rows / self._problem.user_noise * unit
        return multipliers

    def _parts(self, x: Real, covariance: Complex) -> Complex:
        """Read X_1..X_U, shape (U, U, U)."""
        n, g = self._n_users, self._problem.user_channels
        if n == 1:
            return (g.conj().T @ covariance @ g)[None]
        parts = np.zeros((n, n, n), dtype=complex)
        unit = np.sqrt(self._problem.sinr * self._problem.user_noise)
        for u in range(n):
            begin = self._at_parts + (u + 1) * self._part_size
            scaling = self._scalings[u + 1] * unit
            parts[u] = from_vector(x[begin:begin + self._part_size]) * np.outer(scaling, scaling)
        return parts


class _CrbForm(_CompactForm):
    """The same with the sum of position bounds."""

    def __init__(self, problem: Problem, power_metric: Complex) -> None:
        order, self._n_wanted = problem.nuisance_first
        information = problem.fisher.of_covariance(np.eye(len(power_metric)))
        self._whitening = whitening(information, order)
        target = (self._whitening @ problem.selection)[-self._n_wanted:]
        # Unit columns of E keep T near one; their squares go to the cost.
        self._norms = np.linalg.norm(target, axis=0)
        self._total = float(np.sum(self._norms ** 2))
        z_size, t_size = _triangle(self._n_wanted), _triangle(target.shape[1])
        n_levels = 0 if problem.rows is None else problem.rows.levels.shape[1]
        super().__init__(problem, power_metric, z_size + t_size + n_levels)
        self._at_z, self._at_t = self._at_own, self._at_own + z_size
        self._at_levels = self._at_t + t_size
        self._rows = None if problem.rows is None else self._add_rows(problem.rows)
        self._information, self._epigraph = self._add_information(target)

    def _add_rows(self, rows: Rows) -> int:
        """Add the further rows; returns the number of their cone."""
        n = len(rows.signs)
        # The reference gives the points about one.
        self._row_unit = float(np.mean(np.linalg.norm(rows.points, axis=0) ** 2))
        received = to_vector(np.einsum('dk,ek->kde', rows.points, rows.points.conj()))
        return self._program.add(
            {0: received * (rows.signs / self._row_unit)[:, None], self._at_levels: -rows.levels},
            np.zeros(n), clarabel.NonnegativeConeT(n))

    def _add_information(self, target: Real) -> tuple[int, int]:
        """Add the two matrix inequalities of the objective; returns the numbers of their cones."""
        n, n_parameters = self._n_wanted, len(self._whitening)
        both = n + target.shape[1]
        information = self._program.add(
            {0: _fisher_rows(self._problem, self._whitening),
             self._at_z: -_symmetric_placement(n_parameters, n_parameters - n, n_parameters)},
            np.zeros(_triangle(n_parameters)), clarabel.PSDTriangleConeT(n_parameters))
        corner = np.zeros((both, both))
        corner[:n, n:] = target / self._norms
        corner += corner.T
        epigraph = self._program.add(
            {self._at_z: _symmetric_placement(both, 0, n),
             self._at_t: _symmetric_placement(both, n, both)},
            symmetric_to_vector(corner), clarabel.PSDTriangleConeT(both))
        return information, epigraph

    def solve(self, gap: float, budget: float | None,
              options: Mapping[str, object]) -> CompactPoint:
        """Run Clarabel and read its last point."""
        cost = np.zeros(self._program.n_variables)
        cost[self._at_t:self._at_levels] = symmetric_to_vector(
            np.diag(self._norms ** 2 / self._total))
        x, z, solution = self._run(cost, gap, budget, options)
        spans = self._program.spans
        covariance = from_vector(x[:self._at_parts])
        weights = _dual_weights(
            symmetric_from_vector(z[spans[self._information]]),
            symmetric_from_vector(z[spans[self._epigraph]]), self._whitening, self._n_wanted,
            self._total / self._norms)
        row_multipliers: Real | None = None
        if self._rows is not None:
            row_multipliers = z[spans[self._rows]] * (self._total / self._row_unit)
        return CompactPoint(
            covariance, self._parts(x, covariance), weights, self._multipliers(z, self._total),
            row_multipliers, int(solution.iterations), str(solution.status),
            float(solution.solve_time))


class _MaxMinForm(_CompactForm):
    """The same with the least power at some points."""

    def __init__(self, problem: Problem, power_metric: Complex, points: Complex) -> None:
        super().__init__(problem, power_metric, 1)
        powers = np.einsum('dk,dk->k', points.conj(), points).real
        # The reference gives the weakest point one.
        self._unit = float(powers.min())
        rows = to_vector(np.einsum('dk,ek->kde', points, points.conj())) / self._unit
        self._rows = self._program.add({0: rows, self._at_own: -np.ones((len(powers), 1))},
                                       np.zeros(len(powers)),
                                       clarabel.NonnegativeConeT(len(powers)))

    def solve(self, gap: float, budget: float | None,
              options: Mapping[str, object]) -> MaxMinPoint:
        """Run Clarabel and read its last point."""
        cost = np.zeros(self._program.n_variables)
        cost[self._at_own] = -1.0
        x, z, solution = self._run(cost, gap, budget, options)
        covariance = from_vector(x[:self._at_parts])
        return MaxMinPoint(
            covariance, self._parts(x, covariance), z[self._program.spans[self._rows]],
            self._multipliers(z, self._unit), int(solution.iterations), str(solution.status))


def _fisher_rows(problem: Problem, scaling: Real) -> Real:
    """Triangle of the whitened Fisher matrix as rows on `to_vector` of S."""
    coefficients = to_vector(problem.fisher.coefficients())
    mixed = np.tensordot(scaling, coefficients, axes=(1, 0))
    mixed = np.tensordot(scaling, mixed, axes=(1, 1)).transpose(1, 0, 2)
    column, row = np.tril_indices(len(scaling))
    scale = np.where(row == column, 1.0, np.sqrt(2.0))
    return mixed[row, column] * scale[:, None]


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


def _sinr_rows(sinr: Real, scalings: list[Real]) -> Real:
    """Rows [X_u]_uu - Gamma_u sum_{k != u} [X_k]_uu on the stacked vectors of X~_0..X~_U."""
    n = len(sinr)
    rows = np.zeros((n, n + 1, n * n))
    for u in range(n):
        rows[u, :, u] = [-sinr[u] * scaling[u] ** 2 for scaling in scalings]
        rows[u, u + 1, u] = 1.0
    return rows.reshape(n, -1)


def _dual_weights(information: Real, epigraph: Real, scaling: Real, n_wanted: int,
                  scale: Real) -> Real | None:
    """Estimate V = F^-1 E from the multipliers of the two matrix inequalities."""
    rows = information[:, -n_wanted:]
    try:
        inner = np.linalg.solve(rows[-n_wanted:], -epigraph[:n_wanted, n_wanted:])
    except np.linalg.LinAlgError:
        return None
    weights: Real = scaling.T @ rows @ inner * scale
    return weights if bool(np.isfinite(weights).all()) else None
