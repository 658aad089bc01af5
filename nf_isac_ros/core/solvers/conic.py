"""Conic programs for Clarabel, cone by cone, and the objective of sum-CRB minimisation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import clarabel
import numpy as np
from numpy.typing import NDArray
import scipy.sparse as sp

from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.fisher import whitening
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.hermitian import (
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
# The certified gap is some ten times what Clarabel believes its gap to be.
TOLERANCE = 0.02


class InfeasibleProgramError(SolverError):
    """The solver has a proof that nothing meets the constraints."""


class Program:
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

    def run(self, cost: Real, gap: float, budget: float | None,
            options: Mapping[str, object]) -> tuple[Real, Real, clarabel.DefaultSolution]:
        """
        Run Clarabel.

        Parameters
        ----------
        cost : ndarray, shape (n_variables,)
        gap : float
            Relative gap to aim for.
        budget : float or None
            Time limit [s].
        options : mapping
            Settings of Clarabel on top of those made here.

        Returns
        -------
        x, z : ndarray
            Its last point and multipliers; nothing in them is to be trusted.
        solution : clarabel.DefaultSolution

        Raises
        ------
        InfeasibleProgramError, SolverError

        """
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
        solution = solver.solve()
        status, x, z = str(solution.status), np.array(solution.x), np.array(solution.z)
        message = f'Clarabel ended with {status} after {solution.iterations} iterations'
        if status in ('PrimalInfeasible', 'AlmostPrimalInfeasible'):
            raise InfeasibleProgramError(message)
        if status not in USABLE or not (np.isfinite(x).all() and np.isfinite(z).all()):
            raise SolverError(message)
        return x, z, solution


def triangle(order: int) -> int:
    """Entries of the triangle of a symmetric matrix."""
    return order * (order + 1) // 2


@lru_cache(maxsize=32)
def symmetric_placement(order: int, start: int, stop: int) -> sp.csc_matrix:
    """Map the triangle of a symmetric matrix to a diagonal block of a larger one's triangle."""
    index = triangle_index(order)[start:stop, start:stop]
    column, row = np.tril_indices(stop - start)
    where = index[row, column]
    return sp.csc_matrix(
        (np.ones(len(where)), (where, np.arange(len(where)))),
        shape=(triangle(order), len(where)))


class CrbObjective:
    """
    Least tr(E^T F(S)^-1 E), and the problem's further rows, as part of a conic program.

    S is a sum of linear images of variables; its coordinates are such that it is about the
    identity. Further variables are Z, T and the free scalars of the rows: least tr T subject to
    [[F_ll - Z, F_lb], [F_bl, F_bb]] >= 0, [[Z, E], [E^T, T]] >= 0, which is the Schur complement
    of [[F, E], [E^T, T]] >= 0 with the parameters b that E leaves out eliminated.

    Attributes
    ----------
    n_variables : int
        How many there are besides those of S.
    unit : float
        Multipliers in the program times this are on the scale of the objective.

    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        order, self._n_wanted = problem.nuisance_first
        self._whitening = whitening(
            problem.fisher.of_covariance(np.eye(problem.fisher.transmit.shape[0])), order)
        self._target = (self._whitening @ problem.selection)[-self._n_wanted:]
        # Unit columns of E keep T near one; their squares go to the cost.
        self._norms = np.linalg.norm(self._target, axis=0)
        self.unit = float(np.sum(self._norms ** 2))
        self._z_size = triangle(self._n_wanted)
        self._t_size = triangle(len(self._norms))
        n_levels = 0 if problem.rows is None else problem.rows.levels.shape[1]
        self.n_variables = self._z_size + self._t_size + n_levels
        self._at = self._information = self._epigraph = self._rows = -1

    def add_to(self, program: Program, at: int,
               maps: Mapping[int, sp.spmatrix | None]) -> None:
        """
        Add objective and rows to a program.

        Parameters
        ----------
        program : Program
        at : int
            Offset of the variables Z, T and the free scalars.
        maps : mapping
            Offset of variables to their share in `to_vector` of S, None for the identity.

        """
        self._at = at
        n, n_parameters = self._n_wanted, len(self._whitening)
        both = n + len(self._norms)
        fisher = _fisher_rows(self._problem, self._whitening)
        self._information = program.add(
            {**_images(fisher, maps),
             at: -symmetric_placement(n_parameters, n_parameters - n, n_parameters)},
            np.zeros(triangle(n_parameters)), clarabel.PSDTriangleConeT(n_parameters))
        corner = np.zeros((both, both))
        corner[:n, n:] = self._target / self._norms
        corner += corner.T
        self._epigraph = program.add(
            {at: symmetric_placement(both, 0, n),
             at + self._z_size: symmetric_placement(both, n, both)},
            symmetric_to_vector(corner), clarabel.PSDTriangleConeT(both))
        rows = self._problem.rows
        if rows is not None:
            # The reference gives the points about one.
            self._row_unit = float(np.mean(np.linalg.norm(rows.points, axis=0) ** 2))
            received = to_vector(np.einsum('dk,ek->kde', rows.points, rows.points.conj()))
            received *= (rows.signs / self._row_unit)[:, None]
            self._rows = program.add(
                {**_images(received, maps), at + self._z_size + self._t_size: -rows.levels},
                np.zeros(len(rows.signs)), clarabel.NonnegativeConeT(len(rows.signs)))

    def cost(self, program: Program) -> Real:
        """Cost of all variables, shape (n,)."""
        cost = np.zeros(program.n_variables)
        begin = self._at + self._z_size
        cost[begin:begin + self._t_size] = symmetric_to_vector(
            np.diag(self._norms ** 2 / self.unit))
        return cost

    def weights(self, program: Program, z: Real) -> Real | None:
        """Dual estimate of V = F(S)^-1 E from the multipliers of the program."""
        information = symmetric_from_vector(z[program.spans[self._information]])
        epigraph = symmetric_from_vector(z[program.spans[self._epigraph]])
        n = self._n_wanted
        rows = information[:, -n:]
        try:
            inner = np.linalg.solve(rows[-n:], -epigraph[:n, n:])
        except np.linalg.LinAlgError:
            return None
        weights: Real = self._whitening.T @ rows @ inner * (self.unit / self._norms)
        return weights if bool(np.isfinite(weights).all()) else None

    def row_multipliers(self, program: Program, z: Real) -> Real | None:
        """Multipliers of the further rows; None without them."""
        if self._rows < 0:
            return None
        multipliers: Real = z[program.spans[self._rows]] * (self.unit / self._row_unit)
        return multipliers


def _images(rows: Real, maps: Mapping[int, sp.spmatrix | None]) -> dict[int, sp.spmatrix | Real]:
    """Rows on `to_vector` of S as rows on the variables that make it up."""
    return {offset: rows if image is None else (image.T @ rows.T).T
            for offset, image in maps.items()}


def _fisher_rows(problem: Problem, scaling: Real) -> Real:
    """Triangle of the whitened Fisher matrix as rows on `to_vector` of S."""
    coefficients = to_vector(problem.fisher.coefficients())
    mixed = np.tensordot(scaling, coefficients, axes=(1, 0))
    mixed = np.tensordot(scaling, mixed, axes=(1, 1)).transpose(1, 0, 2)
    column, row = np.tril_indices(len(scaling))
    scale = np.where(row == column, 1.0, np.sqrt(2.0))
    return mixed[row, column] * scale[:, None]
