"""Sum-CRB minimisation over given spans for each user's beams, by direct calls of Clarabel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import clarabel
import numpy as np
from numpy.typing import NDArray
import scipy.sparse as sp

from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.conic import CrbObjective, Program, triangle
from nf_isac_ros.core.solvers.hermitian import embedding, from_vector, to_vector

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class BlockPoint:
    """
    Where a program over blocks ended.

    Attributes
    ----------
    blocks : tuple of ndarray, shape (r, r)
        Z_c, positive semidefinite but for rounding.
    weights : ndarray, of the shape of E, or None
        Dual estimate of V = F(S)^-1 E.
    multipliers : ndarray, shape (U,)
        Of the SINR constraints.
    row_multipliers : ndarray, shape (R,), or None
        Of the further rows.
    objective : float
        As the solver sees it.
    iterations : int

    """

    blocks: tuple[Complex, ...]
    weights: Real | None
    multipliers: Real
    row_multipliers: Real | None
    objective: float
    iterations: int


def solve_blocks(problem: Problem, bases: Sequence[Complex], gap: float,
                 budget: float | None = None,
                 penalties: Sequence[Complex] | None = None) -> BlockPoint:
    """
    Minimise tr(E^T F(S)^-1 E) for S = sum_c B_c Z_c B_c^H, where Z_c carries the data of user c.

    Parameters
    ----------
    problem : Problem
        With U users.
    bases : sequence of ndarray, shape (d, r_c)
        B_c, one for each user, and one more at most: that one carries no data.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].
    penalties : sequence of ndarray, shape (r_c, r_c), or None
        Hermitian matrices P_c: tr(P_c Z_c), in units of the objective at a covariance that lights
        all bases evenly, is added to the objective.

    Returns
    -------
    BlockPoint

    Raises
    ------
    InfeasibleProgramError, SolverError

    Notes
    -----
    With bases of one column the power allocation of given beams, with bases of two columns
    problem (28) of the extended-target paper's zero forcing for one set of directions, in the
    exact lifting of its pairs of variables to 2 x 2 matrices; with the unit matrix the relaxation
    in the form that the paper prints.

    """
    # About the identity: every column of the bases has its share of the power.
    total = sum(basis.shape[1] for basis in bases)
    scaled = [basis / np.sqrt(total * np.maximum(np.sum(np.abs(basis) ** 2, axis=0), 1e-300))
              for basis in bases]
    root = _root(sum((basis @ basis.conj().T for basis in scaled),
                     start=np.zeros((problem.dimension,) * 2, dtype=complex)))
    objective = CrbObjective(_in_coordinates(problem, root))
    inward = np.linalg.pinv(root)
    sizes = [basis.shape[1] ** 2 for basis in scaled]
    offsets = np.cumsum([0, *sizes]).tolist()
    program = Program(offsets[-1] + objective.n_variables)
    images: dict[int, sp.spmatrix | None] = {
        offset: sp.csc_matrix(_image(inward @ basis))
        for offset, basis in zip(offsets, scaled)}
    program.add({offset: -to_vector((basis.conj().T @ basis)[None])
                 for offset, basis in zip(offsets, scaled)}, np.ones(1),
                clarabel.NonnegativeConeT(1))
    for offset, basis in zip(offsets, scaled):
        _add_positive(program, offset, basis.shape[1])
    sinr_rows = _add_sinr(program, problem, scaled, offsets)
    objective.add_to(program, offsets[-1], images)
    cost = objective.cost(program)
    if penalties is not None:
        for offset, size, basis, plain, penalty in zip(
                offsets, sizes, scaled, bases, penalties):
            factors = np.linalg.norm(basis, axis=0) / np.linalg.norm(plain, axis=0)
            cost[offset:offset + size] += to_vector(
                (penalty * factors * factors[:, None])[None])[0]
    x, z, solution = program.run(cost, gap, budget, {})
    blocks = []
    for offset, size, basis, plain in zip(offsets, sizes, scaled, bases):
        factors = np.linalg.norm(basis, axis=0) / np.linalg.norm(plain, axis=0)
        blocks.append(from_vector(x[offset:offset + size]) * factors * factors[:, None])
    multipliers = z[program.spans[sinr_rows]] / problem.user_noise
    return BlockPoint(
        tuple(blocks), objective.weights(program, z), multipliers * objective.unit,
        objective.row_multipliers(program, z), float(solution.obj_val) * objective.unit,
        int(solution.iterations))


def solve_zero_forcing(problem: Problem, served: Complex, free: Complex, gap: float,
                       budget: float | None = None) -> BlockPoint:
    """
    Minimise tr(E^T F(S)^-1 E) for zero-forcing beams of any directions.

    Parameters
    ----------
    problem : Problem
        With U users.
    served : ndarray, shape (d, U)
        F with G^H F = I.
    free : ndarray, shape (d, n)
        Orthonormal, unseen by every user.
    gap : float
        Relative gap to aim for.
    budget : float or None
        Time limit [s].

    Returns
    -------
    BlockPoint
        One block M of order U + n: S = [F, free] M [F, free]^H.

    Raises
    ------
    InfeasibleProgramError, SolverError

    Notes
    -----
    Relaxation of the zero forcing of the extended-target paper over all sets of directions at
    once and all mixtures of them: M >= 0 with a diagonal upper left block diag(p), p_u >= Gamma_u
    noise_u. Exact whenever M has rank U.

    """
    n_users, n = served.shape[1], served.shape[1] + free.shape[1]
    basis = np.hstack([served, free])
    norms = np.linalg.norm(basis, axis=0)
    shares = np.full(n, 1.0 / n)
    basis = basis / norms * np.sqrt(shares)
    objective = CrbObjective(_in_coordinates(problem, basis))
    # Off the diagonal of the upper left block there are no variables.
    kept = np.flatnonzero(_allowed(n, n_users))
    pick = sp.csc_matrix((np.ones(len(kept)), (kept, np.arange(len(kept)))),
                         shape=(n * n, len(kept)))
    program = Program(len(kept) + objective.n_variables)
    program.add({0: -to_vector((basis.conj().T @ basis)[None])[:, kept]}, np.ones(1),
                clarabel.NonnegativeConeT(1))
    program.add({0: embedding(n) @ pick}, np.zeros(triangle(2 * n)),
                clarabel.PSDTriangleConeT(2 * n))
    # What a user needs, in units of its even share of the power.
    gains = shares[:n_users] / norms[:n_users] ** 2 / (problem.sinr * problem.user_noise)
    powers = np.zeros((n_users, len(kept)))
    powers[np.arange(n_users), np.arange(n_users)] = gains
    sinr_rows = program.add({0: powers}, -np.ones(n_users), clarabel.NonnegativeConeT(n_users))
    objective.add_to(program, len(kept), {0: pick})
    x, z, solution = program.run(objective.cost(program), gap, budget, {})
    vector = np.zeros(n * n)
    vector[kept] = x[:len(kept)]
    factors = np.sqrt(shares) / norms
    multipliers = z[program.spans[sinr_rows]] / problem.user_noise
    return BlockPoint(
        (from_vector(vector) * factors * factors[:, None],), objective.weights(program, z),
        multipliers * objective.unit, objective.row_multipliers(program, z),
        float(solution.obj_val) * objective.unit, int(solution.iterations))


def _allowed(n: int, n_users: int) -> NDArray[np.bool_]:
    """Which entries of `to_vector` are not off the diagonal of the upper left block, (n^2,)."""
    inside = np.zeros((n, n), dtype=complex)
    inside[:n_users, :n_users] = 1.0 + 1.0j
    inside[np.tril_indices(n, -1)] = inside.T[np.tril_indices(n, -1)].conj()
    np.fill_diagonal(inside, 0.0)
    allowed: NDArray[np.bool_] = to_vector(inside[None])[0] == 0.0
    return allowed


def _root(reference: Complex) -> Complex:
    """L with L L^H the reference, of full column rank, shape (d, r)."""
    values, vectors = np.linalg.eigh(reference)
    kept = values > 1e-12 * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])


def _in_coordinates(problem: Problem, basis: Complex) -> Problem:
    """Problem for S' where S = basis S' basis^H."""
    left = basis.conj().T
    return replace(
        problem, user_channels=left @ problem.user_channels,
        fisher=problem.fisher.with_transmit(left @ problem.fisher.transmit),
        rows=None if problem.rows is None else problem.rows.in_coordinates(basis))


def _image(basis: Complex) -> Real:
    """Matrix that takes `to_vector` of Z to that of B Z B^H, shape (d^2, r^2)."""
    r = basis.shape[1]
    units = np.stack([from_vector(unit) for unit in np.eye(r * r)])
    return to_vector(basis @ units @ basis.conj().T).T


def _add_positive(program: Program, offset: int, n: int) -> None:
    """Require Z >= 0 of a block."""
    if n == 1:
        program.add({offset: np.eye(1)}, np.zeros(1), clarabel.NonnegativeConeT(1))
    elif n == 2:
        root = np.sqrt(2.0)
        rows = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0],
                         [0.0, 0.0, root, 0.0], [0.0, 0.0, 0.0, root]])
        program.add({offset: rows}, np.zeros(4), clarabel.SecondOrderConeT(4))
    else:
        program.add({offset: embedding(n)}, np.zeros(triangle(2 * n)),
                    clarabel.PSDTriangleConeT(2 * n))


def _add_sinr(program: Program, problem: Problem, bases: Sequence[Complex],
              offsets: Sequence[int]) -> int:
    """Require every SINR, in units of noise times required SINR."""
    n_users = len(problem.sinr)
    rows: dict[int, sp.spmatrix | Real] = {}
    for c, (basis, offset) in enumerate(zip(bases, offsets)):
        seen = basis.conj().T @ problem.user_channels
        gains = to_vector(np.einsum('au,bu->uab', seen, seen.conj()))
        factors = -1.0 / problem.user_noise
        if c < n_users:
            factors[c] = 1.0 / (problem.user_noise[c] * problem.sinr[c])
        rows[offset] = gains * factors[:, None]
    return program.add(rows, -np.ones(n_users), clarabel.NonnegativeConeT(n_users))
