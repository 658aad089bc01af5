"""The paper's own programs in cvxpy: slow, written as they are printed, trusted in tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
import warnings

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.fisher import whitening
from nf_isac_ros.core.information import InformationMap
from nf_isac_ros.core.problem import Problem, Rows
from nf_isac_ros.core.solvers.hermitian import to_vector, upper_triangle

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Of the largest coefficient of a program: what is smaller is rounding.
ROUNDING = 1e-14


@dataclass(frozen=True)
class PaperPoint:
    """
    Point of a program of the paper.

    Attributes
    ----------
    objective : float
        Sum of the auxiliary variables t [m^2], weights included; of max-min power the least power
        in the unit of the gains times W.
    user_covariances : ndarray, shape (U, n, n)
        W_u, for a power budget of 1, on the space that the program is on.
    sensing_covariance : ndarray, shape (n, n)
        R_d, likewise.
    multipliers : ndarray, shape (U,)
        Multipliers mu of the SINR constraints, as `certificate.crb_bound` takes them.
    weights : ndarray or None
        Of sum-CRB minimisation, from the multipliers of the matrix inequalities: V of
        `certificate.crb_bound`.
    status : str
        The solver's own word.
    solve_time : float
        What the solver says it took, its set-up included [s].
    iterations : int

    """

    objective: float
    user_covariances: Complex
    sensing_covariance: Complex
    multipliers: Real
    weights: Real | None
    status: str
    solve_time: float
    iterations: int


def solve_sdr12(problem: Problem, solver: str = 'CLARABEL', **options: Any) -> PaperPoint:
    """
    Solve (SDR1.2), sum-CRB minimisation with blocks of N x N; see `solve_sdr13`.

    Not reduced: of the problem's basis nothing is used.
    """
    channels, transmit = _unreduced(problem)
    rows = None if problem.rows is None else replace(
        problem.rows, points=problem.basis @ problem.rows.points)
    return _least_bounds(problem, channels, problem.fisher.with_transmit(transmit), rows,
                         '(SDR1.2)', solver, options)


def solve_sdr13(problem: Problem, solver: str = 'CLARABEL', **options: Any) -> PaperPoint:
    """
    Solve (SDR1.3): one d x d block per user and one for sensing, 3 K matrix inequalities.

    Parameters
    ----------
    problem : Problem
        With at least one target.
    solver : str
        Name of a cvxpy solver: 'CLARABEL', 'SCS'.
    **options
        Handed to the solver.

    Returns
    -------
    PaperPoint

    Raises
    ------
    SolverError
        If the solver gives no point.

    Notes
    -----
    Minimise sum_i t_i subject to [[F(R), e_i], [e_i^T, t_i]] >= 0 for each position parameter i,
    h_u^H W_u h_u >= Gamma_u (h_u^H (sum_{j != u} W_j + R_d) h_u + sigma_u^2), and the power
    budget, with R = sum W_u + R_d; Hua, Xu, Zhang. The only liberties: power, noise
    and parameters are scaled, or solvers fail, and the Fisher matrix is one matrix product, since
    entry by entry cvxpy needs minutes.

    """
    return _least_bounds(
        problem, problem.user_channels, problem.fisher, problem.rows, '(SDR1.3)', solver, options)


def solve_sdr21(problem: Problem, gains: Real, solver: str = 'CLARABEL',
                **options: Any) -> PaperPoint:
    """
    Solve (SDR2.1), max-min power at the targets, with blocks of N x N.

    Parameters
    ----------
    problem : Problem
        With at least one target; of its basis nothing is used.
    gains : ndarray, shape (K,)
        Factors on the illumination of each target: ones for (P2), |a|^2 |b|^2 for (P3).
    solver : str
        Name of a cvxpy solver.
    **options
        Handed to the solver.

    Returns
    -------
    PaperPoint

    Raises
    ------
    SolverError
        If the solver gives no point.

    """
    channels, transmit = _unreduced(problem)
    program = _Transmission(channels, problem)
    points = transmit[:, :len(gains)] * np.sqrt(gains)
    # The least of what maximum-ratio transmission gives each target keeps mu near one.
    unit = float((np.linalg.norm(points, axis=0) ** 2).min())
    least = cp.Variable()
    for point in points.T / np.sqrt(unit):
        program.constraints.append(
            cp.real(cp.trace(np.outer(point, point.conj()) @ program.total)) >= least)
    program.solve(cp.Maximize(least), '(SDR2.1)', solver, options)
    return program.point(unit, None)


def _unreduced(problem: Problem) -> tuple[Complex, Complex]:
    """Unit channels (N, U) and directions of the Fisher map (N, c) at full size."""
    n_users = len(problem.sinr)
    channels = problem.channels / np.linalg.norm(problem.channels, axis=0)
    transmit = problem.columns[:, n_users:] * np.sqrt(problem.scene.radio.power)
    return channels, transmit


class _Transmission:
    """Covariances that meet power and SINRs, without the rank-one constraints."""

    def __init__(self, channels: Complex, problem: Problem) -> None:
        n, n_users = channels.shape
        self._beams = [cp.Variable((n, n), hermitian=True) for _ in range(n_users + 1)]
        self.total = sum(self._beams[1:], self._beams[0])
        self.constraints = [block >> 0 for block in self._beams]
        self.constraints.append(cp.real(cp.trace(self.total)) <= 1)
        self._sinr = []
        for u in range(n_users):
            matrix = np.outer(channels[:, u], channels[:, u].conj())
            wanted = cp.real(cp.trace(matrix @ self._beams[u + 1]))
            received = cp.real(cp.trace(matrix @ self.total))
            self._sinr.append(
                wanted / problem.sinr[u] >= received - wanted + problem.user_noise[u])
        self.constraints += self._sinr

    def solve(self, objective: cp.Minimize | cp.Maximize, name: str, solver: str,
              options: Mapping[str, Any]) -> None:
        self._program = cp.Problem(objective, self.constraints)
        try:
            with warnings.catch_warnings():
                # That a point may be inaccurate is for its certificate to say.
                warnings.simplefilter('ignore', UserWarning)
                self._program.solve(solver=solver, **options)
        except cp.SolverError as error:
            raise SolverError(f'{solver} on {name}: {error}') from error
        if self._beams[0].value is None:
            raise SolverError(f'{solver} on {name} ended with {self._program.status}')

    def point(self, unit: float, weights: Real | None) -> PaperPoint:
        values = [np.asarray(block.value) for block in self._beams]
        stats = self._program.solver_stats
        return PaperPoint(
            float(self._program.value) * unit,
            np.array(values[1:]).reshape(-1, *values[0].shape), values[0],
            np.array([float(row.dual_value) for row in self._sinr]) * unit, weights,
            str(self._program.status), float(stats.solve_time) + float(stats.setup_time or 0.0),
            int(stats.num_iters))


def _without_rounding(values: Real) -> Real:
    """Zeros in place of rounding errors: solvers scale the rows of a program, and fail on them."""
    return np.where(np.abs(values) > ROUNDING * np.abs(values).max(), values, 0.0)


def _least_bounds(problem: Problem, channels: Complex, information: InformationMap,
                  rows: Rows | None, name: str, solver: str,
                  options: Mapping[str, Any]) -> PaperPoint:
    """Sum-CRB minimisation, and further rows, on the space of these channels."""
    program = _Transmission(channels, problem)
    n, n_parameters = len(channels), len(problem.selection)
    row, column = upper_triangle(n)
    real, imaginary = cp.real(program.total), cp.imag(program.total)
    # Not cp.diag, which makes a matrix of what has one entry, and no parts that are empty.
    coordinates = cp.hstack([real[np.arange(n), np.arange(n)], *(
        [np.sqrt(2) * real[row, column], np.sqrt(2) * imaginary[row, column]] if n > 1 else [])])
    scaling = whitening(
        information.of_covariance(np.eye(n) / n), problem.nuisance_first[0])
    coefficients = np.einsum('ia,abx,jb->ijx', scaling, to_vector(information.coefficients()),
                             scaling, optimize=True)
    coefficients = _without_rounding(0.5 * (coefficients + coefficients.transpose(1, 0, 2)))
    fisher = cp.reshape(coefficients.reshape(n_parameters ** 2, -1) @ coordinates,
                        (n_parameters, n_parameters), order='C')
    selection = _without_rounding(scaling @ problem.selection)
    bounds = cp.Variable(problem.selection.shape[1])
    # t in units of the isotropic value keeps the matrix inequalities well scaled.
    unit = float(np.sum(selection ** 2))
    inequalities = []
    for i, unit_vector in enumerate(selection.T / np.sqrt(unit)):
        corner = cp.reshape(bounds[i], (1, 1), order='C')
        side = unit_vector[:, None]
        inequalities.append(cp.bmat([[fisher, side], [side.T, corner]]) >> 0)
    program.constraints += inequalities
    if rows is not None:
        levels = cp.Variable(rows.levels.shape[1])
        # What isotropic transmission gives the points keeps the rows near one.
        unit_power = float(np.mean(np.linalg.norm(rows.points, axis=0) ** 2)) / n
        received = to_vector(np.einsum('dk,ek->kde', rows.points, rows.points.conj()))
        program.constraints.append(cp.multiply(
            rows.signs, received @ coordinates) / unit_power >= rows.levels @ levels)
    program.solve(cp.Minimize(cp.sum(bounds)), name, solver, options)
    # At an optimum each multiplier is (F^-1 e, -1) times its transpose.
    duals = [np.asarray(inequality.dual_value) for inequality in inequalities]
    weights = -np.sqrt(unit) * scaling.T @ np.column_stack([
        dual[:n_parameters, -1] / dual[-1, -1] for dual in duals])
    return program.point(unit, weights)
