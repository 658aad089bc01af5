"""Sum-CRB minimisation by a direct call of Clarabel on the compact form: no modelling language."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
import scipy.sparse as sp

from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.hermitian import (
    embedding,
    from_vector,
    symmetric_from_vector,
    symmetric_to_vector,
    to_vector,
    triangle_index,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Ends from which the last iterate is worth repairing and certifying; the certificate, not the
# status, decides what is claimed.
USABLE = ('Solved', 'AlmostSolved', 'InsufficientProgress', 'MaxIterations', 'MaxTime',
          'NumericalError')


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
    weights : ndarray, shape (5 K, 3 K), or None
        Dual estimate of V = F(S)^-1 E for the lower bound.
    multipliers : ndarray, shape (U,)
        Multipliers mu of the SINR constraints, for the objective in m^2.
    iterations : int
    status : str
        The solver's own word.

    """

    covariance: Complex
    parts: Complex
    weights: Real | None
    multipliers: Real
    iterations: int
    status: str


class _Program:
    """Rows of a conic program, collected cone by cone."""

    def __init__(self, n_variables: int) -> None:
        self._n = n_variables
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
        parts.append(sp.csc_matrix((len(right), self._n - at)))
        start = self.spans[-1].stop if self.spans else 0
        self.spans.append(slice(start, start + len(right)))
        self._rows.append(sp.hstack(parts, format='csc'))
        self._rights.append(right)
        self._cones.append(cone)
        return len(self.spans) - 1

    def solve(self, cost: Real, gap: float, budget: float | None) -> clarabel.DefaultSolution:
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        # Equilibration made every scene that failed fail: the rows are scaled here already.
        settings.equilibrate_enable = False
        settings.tol_gap_rel = settings.tol_gap_abs = settings.tol_feas = 0.1 * gap
        settings.tol_ktratio = min(1e-6, gap)
        settings.max_iter = 200
        if budget is not None:
            settings.time_limit = max(budget, 1e-3)
        solver = clarabel.DefaultSolver(
            sp.csc_matrix((self._n, self._n)), cost, sp.vstack(self._rows, format='csc'),
            np.concatenate(self._rights), self._cones, settings)
        return solver.solve()


@lru_cache(maxsize=32)
def _symmetric_placement(order: int, start: int, stop: int) -> sp.csc_matrix:
    """Map the triangle of a symmetric matrix to a diagonal block of a larger one's triangle."""
    index = triangle_index(order)[start:stop, start:stop]
    column, row = np.tril_indices(stop - start)
    where = index[row, column]
    return sp.csc_matrix(
        (np.ones(len(where)), (where, np.arange(len(where)))),
        shape=(order * (order + 1) // 2, len(where)))


def solve_crb(problem: Problem, gap: float, budget: float | None = None) -> CompactPoint:
    """
    Minimise tr(E^T F(S)^-1 E) subject to power and SINRs.

    Parameters
    ----------
    problem : Problem
        Feasible, with at least one target.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

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
    0, which is the Schur complement of [[F, E], [E^T, T]] >= 0 with the reflection coefficients
    eliminated. X_k is scaled by Gamma^-1/2 off its own user, and one user needs only
    g^H S g >= Gamma noise.

    """
    d, n_users = problem.user_channels.shape
    n = problem.fisher.n_targets
    n_position, n_parameters = 3 * n, 5 * n
    whitening, target = _whitened(problem)
    # Unit columns of E keep T near one; their squares go to the cost.
    norms = np.linalg.norm(target, axis=0)
    total = float(np.sum(norms ** 2))

    part_size = n_users ** 2 if n_users > 1 else 0
    at_parts = d * d
    at_z = at_parts + (n_users + 1) * part_size
    z_size = n_position * (n_position + 1) // 2
    at_t = at_z + z_size
    program = _Program(at_t + z_size)
    cost = np.zeros(at_t + z_size)
    cost[at_t:] = symmetric_to_vector(np.diag(norms ** 2 / total))

    g, sinr, noise = problem.user_channels, problem.sinr, problem.user_noise
    scalings = _part_scalings(sinr)
    if n_users > 1:
        units = np.stack([from_vector(unit) for unit in np.eye(part_size)])
        received = to_vector(g @ units @ g.conj().T)
        blocks: dict[int, sp.spmatrix | Real] = {0: received}
        for k, scaling in enumerate(scalings):
            blocks[at_parts + k * part_size] = -_scaled_identity(scaling)
        program.add(blocks, np.zeros(part_size), clarabel.ZeroConeT(part_size))
    power_row = np.concatenate([-np.ones(d), np.zeros(d * d - d)])[None]
    program.add({0: power_row}, np.ones(1), clarabel.NonnegativeConeT(1))
    sinr_rows = None
    row_scale: Real = np.ones(n_users)
    if n_users == 1:
        row_scale = 1.0 / (sinr * noise)
        row = to_vector((g @ g.conj().T)[None]) * row_scale[:, None]
        sinr_rows = program.add({0: row}, -row_scale * sinr * noise,
                                clarabel.NonnegativeConeT(1))
    elif n_users > 1:
        sinr_rows = program.add(
            {at_parts: _sinr_rows(sinr, scalings)}, -sinr * noise,
            clarabel.NonnegativeConeT(n_users))
    program.add({0: embedding(d)}, np.zeros(d * (2 * d + 1)), clarabel.PSDTriangleConeT(2 * d))
    for k in range(n_users + 1 if n_users > 1 else 0):
        program.add({at_parts + k * part_size: embedding(n_users)},
                    np.zeros(n_users * (2 * n_users + 1)), clarabel.PSDTriangleConeT(2 * n_users))

    fisher_rows = _fisher_rows(problem, whitening)
    information = program.add(
        {0: fisher_rows,
         at_z: -_symmetric_placement(n_parameters, n_parameters - n_position, n_parameters)},
        np.zeros(n_parameters * (n_parameters + 1) // 2),
        clarabel.PSDTriangleConeT(n_parameters))
    corner = np.zeros((2 * n_position, 2 * n_position))
    corner[:n_position, n_position:] = target / norms
    corner += corner.T
    epigraph = program.add(
        {at_z: _symmetric_placement(2 * n_position, 0, n_position),
         at_t: _symmetric_placement(2 * n_position, n_position, 2 * n_position)},
        symmetric_to_vector(corner), clarabel.PSDTriangleConeT(2 * n_position))

    solution = program.solve(cost, gap, budget)
    status = str(solution.status)
    x, z = np.array(solution.x), np.array(solution.z)
    if status not in USABLE or not np.isfinite(x).all():
        raise SolverError(f'Clarabel ended with {status} after {solution.iterations} iterations')
    covariance = from_vector(x[:d * d])
    parts = np.zeros((n_users, n_users, n_users), dtype=complex)
    if n_users == 1:
        parts[0] = g.conj().T @ covariance @ g
    for k in range(1, n_users + 1 if n_users > 1 else 0):
        scaling = scalings[k]
        begin = at_parts + k * part_size
        parts[k - 1] = from_vector(x[begin:begin + part_size]) * np.outer(scaling, scaling)
    multipliers: Real = np.zeros(n_users)
    if sinr_rows is not None:
        # The certificate's constraint is the row here over Gamma.
        multipliers = z[program.spans[sinr_rows]] * row_scale * sinr * total
    weights = _dual_weights(
        symmetric_from_vector(z[program.spans[information]]),
        symmetric_from_vector(z[program.spans[epigraph]]), whitening, n_position,
        total / norms)
    return CompactPoint(covariance, parts, weights, multipliers, int(solution.iterations), status)


def _whitened(problem: Problem) -> tuple[Real, Real]:
    """
    Parameters in which the isotropic Fisher matrix is the identity, reflection first.

    Returns
    -------
    whitening : ndarray, shape (5 K, 5 K)
        S with S F S^T to be used for F.
    target : ndarray, shape (3 K, 3 K)
        S E, of which only the rows of the positions are not zero.

    """
    n_position = 3 * problem.fisher.n_targets
    d = problem.dimension
    # With the reflection coefficients first the lower-triangular factor keeps E in the rows of
    # the positions.
    order = np.roll(np.arange(len(problem.selection)), -n_position)
    isotropic = problem.fisher.of_covariance(np.eye(d) / d)
    chol = np.linalg.cholesky(isotropic[np.ix_(order, order)])
    permutation = np.eye(len(order))[order]
    whitening: Real = solve_triangular(chol, permutation, lower=True)
    return whitening, (whitening @ problem.selection)[-n_position:]


def _fisher_rows(problem: Problem, whitening: Real) -> Real:
    """Triangle of the whitened Fisher matrix as rows on `to_vector` of S."""
    coefficients = to_vector(problem.fisher.coefficients())
    n = len(whitening)
    mixed = np.tensordot(whitening, coefficients, axes=(1, 0))
    mixed = np.tensordot(whitening, mixed, axes=(1, 1)).transpose(1, 0, 2)
    column, row = np.tril_indices(n)
    scale = np.where(row == column, 1.0, np.sqrt(2.0))
    return mixed[row, column] * scale[:, None]


def _part_scalings(sinr: Real) -> list[Real]:
    """Diagonals D_k with X_k = D_k X~_k D_k, for k = 0..U."""
    off = np.minimum(1.0, 1.0 / np.sqrt(sinr))
    scalings = [off.copy()]
    for u in range(len(sinr)):
        own = off.copy()
        own[u] = 1.0
        scalings.append(own)
    return scalings


def _scaled_identity(scaling: Real) -> sp.csc_matrix:
    """Map `to_vector` of X~ to that of D X~ D."""
    both = np.outer(scaling, scaling)
    upper = to_vector((np.sqrt(0.5) * (1 + 1j) * both)[None])[0]
    n = len(scaling)
    upper[:n] = np.diag(both)
    half = (len(upper) - n) // 2
    row = upper[n:n + half]
    return sp.diags(np.concatenate([upper[:n], row, row]), format='csc')


def _sinr_rows(sinr: Real, scalings: list[Real]) -> Real:
    """Rows [X_u]_uu - Gamma_u sum_{k != u} [X_k]_uu on the stacked vectors of X~_0..X~_U."""
    n = len(sinr)
    rows = np.zeros((n, n + 1, n * n))
    for u in range(n):
        rows[u, :, u] = [-sinr[u] * scaling[u] ** 2 for scaling in scalings]
        rows[u, u + 1, u] = 1.0
    return rows.reshape(n, -1)


def _dual_weights(information: Real, epigraph: Real, whitening: Real, n_position: int,
                  scale: Real) -> Real | None:
    """Estimate V = F^-1 E from the multipliers of the two matrix inequalities."""
    rows = information[:, -n_position:]
    try:
        inner = np.linalg.solve(rows[-n_position:], -epigraph[:n_position, n_position:])
    except np.linalg.LinAlgError:
        return None
    weights: Real = whitening.T @ rows @ inner * scale
    return weights if bool(np.isfinite(weights).all()) else None
