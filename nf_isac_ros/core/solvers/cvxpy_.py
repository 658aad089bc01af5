"""The paper's own program in cvxpy: slow, written as it is printed, trusted in tests."""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.fisher import whitening
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.hermitian import to_vector, upper_triangle

Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class PaperPoint:
    """
    Point of (SDR1.3).

    Attributes
    ----------
    objective : float
        Sum of the auxiliary variables t [m^2], weights included.
    user_covariances : ndarray, shape (U, d, d)
        Reduced W_u, for a power budget of 1.
    sensing_covariance : ndarray, shape (d, d)
        Reduced R_d.
    status : str
        The solver's own word.
    solve_time : float
        What the solver says it took, its set-up included [s].
    iterations : int

    """

    objective: float
    user_covariances: Complex
    sensing_covariance: Complex
    status: str
    solve_time: float
    iterations: int


def solve_sdr13(problem: Problem, solver: str = 'CLARABEL', **options: float) -> PaperPoint:
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
    d, n_users = problem.user_channels.shape
    n_parameters = len(problem.selection)
    beams = [cp.Variable((d, d), hermitian=True) for _ in range(n_users + 1)]
    total = sum(beams[1:], beams[0])
    constraints = [block >> 0 for block in beams]
    constraints.append(cp.real(cp.trace(total)) <= 1)
    for u in range(n_users):
        matrix = np.outer(problem.user_channels[:, u], problem.user_channels[:, u].conj())
        wanted = cp.real(cp.trace(matrix @ beams[u + 1]))
        received = cp.real(cp.trace(matrix @ total))
        constraints.append(
            wanted / problem.sinr[u] >= received - wanted + problem.user_noise[u])

    row, column = upper_triangle(d)
    coordinates = cp.hstack([
        cp.real(cp.diag(total)), np.sqrt(2) * cp.real(total)[row, column],
        np.sqrt(2) * cp.imag(total)[row, column]])
    coefficients = to_vector(problem.fisher.coefficients()).reshape(n_parameters ** 2, -1)
    fisher = cp.reshape(coefficients @ coordinates, (n_parameters, n_parameters), order='C')
    scaling = whitening(
        problem.fisher.of_covariance(np.eye(d) / d), problem.nuisance_first[0])
    fisher = scaling @ fisher @ scaling.T
    fisher = 0.5 * (fisher + fisher.T)
    selection = scaling @ problem.selection
    bounds = cp.Variable(problem.selection.shape[1])
    # t in units of the isotropic value keeps the matrix inequalities well scaled.
    unit = float(np.sum(selection ** 2))
    for i, unit_vector in enumerate(selection.T / np.sqrt(unit)):
        corner = cp.reshape(bounds[i], (1, 1), order='C')
        side = unit_vector[:, None]
        constraints.append(cp.bmat([[fisher, side], [side.T, corner]]) >> 0)
    program = cp.Problem(cp.Minimize(cp.sum(bounds)), constraints)
    try:
        program.solve(solver=solver, **options)
    except cp.SolverError as error:
        raise SolverError(f'{solver} on (SDR1.3): {error}') from error
    if bounds.value is None:
        raise SolverError(f'{solver} on (SDR1.3) ended with {program.status}')
    values = [np.asarray(block.value) for block in beams]
    stats = program.solver_stats
    return PaperPoint(
        float(program.value) * unit,
        np.array(values[1:]).reshape(n_users, d, d), values[0], str(program.status),
        float(stats.solve_time) + float(stats.setup_time or 0.0), int(stats.num_iters))
