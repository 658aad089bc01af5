"""One beam for each user, and no others, from the relaxed covariances of a design."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import time

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.beams import ReducedBeams, no_beams, split, user_shares
from nf_isac_ros.core.certificate import tangent_weights
from nf_isac_ros.core.exceptions import SolverError
from nf_isac_ros.core.extended.restoration import restored
from nf_isac_ros.core.problem import Problem
from nf_isac_ros.core.solvers.clarabel_blocks import solve_blocks
from nf_isac_ros.core.solvers.hermitian import from_vector, to_vector

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Eigenvalues of a part below this share of its power do not count to its rank.
NEGLIGIBLE = 1e-7
# Slacks, relative to their constraint, below which it is active.
ACTIVE = 1e-6
# Weights of the rank penalty, in units of the objective per budget of power.
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 10.0, 10.0)
# Gap of the penalised programs: they need not be better than what is left to be won.
PENALTY_GAP = 1e-6
# Draws of the randomisation.
DRAWS = 24
# Methods that solve programs.
PROGRAMS = ('rank-penalty', 'randomisation')
# Columns of a basis shorter than this, relatively, are rounding.
RANK_TOLERANCE = 1e-5


def user_factors(problem: Problem, covariance: Complex, parts: Complex) -> list[Complex]:
    """
    Factors V_c of covariances W_c = V_c V_c^H that add up to S and meet every SINR.

    Parameters
    ----------
    problem : Problem
        With users.
    covariance : ndarray, shape (d, d)
        S, positive semidefinite but for rounding.
    parts : ndarray, shape (U, U, U)
        X_u = G^H W_u G of the compact form.

    Returns
    -------
    list of ndarray, shape (d, r_c)
        What carries no data in the compact form is given to the first user: that raises its SINR
        and changes no other.

    """
    g = problem.user_channels
    seen = covariance @ g
    inner = g.conj().T @ seen
    projected = seen @ np.linalg.pinv(0.5 * (inner + inner.conj().T), rcond=1e-12, hermitian=True)
    shares = [projected @ part @ projected.conj().T for part in parts]
    shares[0] = shares[0] + covariance - sum(shares)
    return [_factor(share) for share in shares]


def _factor(covariance: Complex) -> Complex:
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.conj().T))
    keep = values > NEGLIGIBLE * max(values[-1], 0.0)
    keep[-1] = True
    return vectors[:, keep] * np.sqrt(np.maximum(values[keep], 0.0))


def data_beams(problem: Problem, covariance: Complex, parts: Complex, enough: float,
               rng: np.random.Generator, deadline: float | None = None,
               now: Callable[[], float] = time.perf_counter
               ) -> tuple[ReducedBeams, str] | None:
    """
    Find one beam for each user whose covariance does what S does, or almost.

    Parameters
    ----------
    problem : Problem
        With users.
    covariance, parts
        Of the relaxed optimum.
    enough : float
        Objective at which the search ends.
    rng : numpy.random.Generator
        For the randomisation.
    deadline : float or None
        No program is begun after it.
    now : callable
        Its clock [s].

    Returns
    -------
    beams : ReducedBeams
        The best that were found; they meet power, SINRs and rows.
    how : str
        'principal', 'rank-reduction', 'rank-penalty' or 'randomisation'.

    None if none are feasible.

    Notes
    -----
    In this order: the beams that the relaxed optimum implies, if it is tight; a reduction of the
    ranks that leaves objective and constraints as they are; a penalty on all but the largest
    eigenvalue of each part, in programs whose other constraints are exact; drawn directions with
    optimal powers. All of them end in `restored`, which makes them feasible to rounding.

    """
    best: tuple[ReducedBeams, str] | None = None
    lowest = np.inf
    factors = user_factors(problem, covariance, parts)

    def reduced() -> Iterator[Complex]:
        yield _principal(rank_reduced(problem, factors))

    methods: tuple[tuple[str, Callable[[], Iterator[Complex]]], ...] = (
        ('principal', lambda: _implied(problem, covariance, parts)),
        ('rank-reduction', reduced),
        ('rank-penalty', lambda: _penalised(problem, factors)),
        ('randomisation', lambda: _drawn(problem, factors, rng)))
    for how, method in methods:
        if deadline is not None and now() >= deadline and how in PROGRAMS:
            break
        for beams in method():
            candidate = restored(problem, ReducedBeams(beams, no_beams(problem)))
            if candidate is None:
                continue
            value = problem.objective(candidate.covariance)
            if value < lowest:
                best, lowest = (candidate, how), value
            if lowest <= enough:
                return best
            if deadline is not None and now() >= deadline:
                break
    return best


def _implied(problem: Problem, covariance: Complex, parts: Complex) -> Iterator[Complex]:
    """Beams w_c = W_c g_c / sqrt(g_c^H W_c g_c); what is left of S is dropped."""
    shares = user_shares(problem, covariance, parts)
    yield split(problem, covariance, shares).communication


def _principal(factors: list[Complex]) -> Complex:
    """Strongest direction of each part, with the power of all of it, shape (d, U)."""
    out = []
    for factor in factors:
        left, values, _ = np.linalg.svd(factor, full_matrices=False)
        out.append(left[:, 0] * np.linalg.norm(values))
    return np.stack(out, axis=1)


def rank_reduced(problem: Problem, factors: list[Complex]) -> list[Complex]:
    """
    Lower the ranks of the parts without changing objective or constraints.

    Parameters
    ----------
    problem : Problem
    factors : list of ndarray, shape (d, r_c)
        Of an optimum.

    Returns
    -------
    list of ndarray, shape (d, r_c')

    Notes
    -----
    W_c <- V_c (I + x D_c) V_c^H for Hermitian D_c that change neither F(S) V, V = F^-1 E, nor the
    power, nor any active constraint; x takes one part to a lower rank, or one more constraint to
    its limit. Ends where no such D is left: Pataki's bound on the ranks.

    """
    while any(factor.shape[1] > 1 for factor in factors):
        total = sum((factor @ factor.conj().T for factor in factors),
                    start=np.zeros((problem.dimension,) * 2, dtype=complex))
        weights = tangent_weights(problem, total)
        if weights is None:
            return factors
        fixed, limited = _functionals(problem, factors, weights)
        _, values, right = np.linalg.svd(fixed)
        rank = int(np.count_nonzero(values > 1e-9 * values[0]))
        if rank == fixed.shape[1]:
            return factors
        shorter = _stepped(factors, right[rank], limited)
        if shorter is None:
            return factors
        factors = shorter
    return factors


def _functionals(problem: Problem, factors: list[Complex],
                 weights: Real) -> tuple[Real, list[tuple[Real, float]]]:
    """
    Linear functionals of the vectors of all D_c.

    Returns
    -------
    fixed : ndarray, shape (m, n)
        What must not change.
    limited : list of (ndarray, shape (n,), float)
        Slacks of the inactive constraints: change for D, and value.

    """
    g, d = problem.user_channels, problem.dimension
    total = sum((factor @ factor.conj().T for factor in factors),
                start=np.zeros((d, d), dtype=complex))
    information = np.einsum('ijab,jw->iwab', problem.fisher.coefficients(), weights)
    same = [*information.reshape(-1, d, d), np.eye(d)]
    fixed = [_on_parts(factors, [matrix] * len(factors)) for matrix in same]
    limited = []
    for u in range(g.shape[1]):
        own = np.outer(g[:, u], g[:, u].conj()) / problem.user_noise[u]
        matrices = [-own] * len(factors)
        matrices[u] = own / problem.sinr[u]
        value = sum(float(np.sum(matrix.T * (factor @ factor.conj().T)).real)
                    for matrix, factor in zip(matrices, factors, strict=True)) - 1.0
        row = _on_parts(factors, matrices)
        if value < ACTIVE:
            fixed.append(row)
        else:
            limited.append((row, value))
    rows = problem.rows
    if rows is not None:
        received = rows.received(total)
        for level in rows.levels.T:
            bounds = np.where(level != 0, received / np.where(level != 0, np.abs(level), 1), 0)
            lowest = int(np.argmin(np.where(level > 0, bounds, np.inf)))
            for k in np.flatnonzero(level):
                if k == lowest:
                    continue
                # Relative to what the darkest section receives.
                sign = np.sign(level[k])
                matrix = sign * (
                    np.outer(rows.points[:, k], rows.points[:, k].conj()) / abs(level[k])
                    - np.outer(rows.points[:, lowest], rows.points[:, lowest].conj())
                    / level[lowest]) / bounds[lowest]
                value = sign * (bounds[k] / bounds[lowest] - 1.0)
                row = _on_parts(factors, [matrix] * len(factors))
                if value < ACTIVE:
                    fixed.append(row)
                else:
                    limited.append((row, float(value)))
    return np.array(fixed), limited


def _on_parts(factors: list[Complex], matrices: list[Complex]) -> Real:
    """Functional sum_c tr(A_c V_c D_c V_c^H) on the stacked vectors of the D_c."""
    return np.concatenate([
        to_vector((factor.conj().T @ matrix @ factor)[None])[0]
        for factor, matrix in zip(factors, matrices, strict=True)])


def _stepped(factors: list[Complex], direction: Real,
             limited: list[tuple[Real, float]]) -> list[Complex] | None:
    """Go along a direction to where a part loses rank or a slack ends; None if nowhere."""
    at, changes = 0, []
    for factor in factors:
        size = factor.shape[1] ** 2
        changes.append(from_vector(direction[at:at + size]))
        at += size
    spectra = np.concatenate([np.linalg.eigvalsh(change) for change in changes])
    if np.abs(spectra).max() == 0.0:
        return None
    # The sign that reaches a lower rank first.
    sign = 1.0 if -spectra.min() >= spectra.max() else -1.0
    step = 1.0 / max((-sign * spectra).max(), 1e-300)
    for row, value in limited:
        slope = sign * float(row @ direction)
        if slope < 0.0:
            step = min(step, -value / slope)
    out = []
    for factor, change in zip(factors, changes, strict=True):
        values, vectors = np.linalg.eigh(np.eye(len(change)) + sign * step * change)
        out.append(_factor_of(factor @ (vectors * np.sqrt(np.maximum(values, 0.0)))))
    return out


def _factor_of(root: Complex) -> Complex:
    """Drop the directions of a factor that carry next to nothing."""
    left, values, _ = np.linalg.svd(root, full_matrices=False)
    keep = values ** 2 > NEGLIGIBLE * values[0] ** 2
    keep[0] = True
    return left[:, keep] * values[keep]


def _penalised(problem: Problem, factors: list[Complex]) -> Iterator[Complex]:
    """Principal beams of programs with a growing penalty on all but the largest eigenvalue."""
    basis = _span([*factors, problem.user_channels])
    blocks = [basis.conj().T @ factor for factor in factors]
    covariances = [block @ block.conj().T for block in blocks]
    for penalty in PENALTIES:
        matrices: list[Complex] = []
        for covariance in covariances:
            top = np.linalg.eigh(covariance)[1][:, -1]
            rest: Complex = np.eye(len(top), dtype=complex) - np.outer(top, top.conj())
            matrices.append(penalty * rest)
        try:
            point = solve_blocks(problem, [basis] * len(blocks), PENALTY_GAP, None, matrices)
        except SolverError:
            return
        covariances = list(point.blocks)
        yield basis @ _principal([_factor(covariance) for covariance in covariances])


def _span(columns: list[Complex]) -> Complex:
    """Orthonormal basis of what columns span together, each set by its own scale."""
    stacked = np.hstack([column / np.linalg.norm(column) for column in columns])
    left, values, _ = np.linalg.svd(stacked, full_matrices=False)
    return left[:, values > RANK_TOLERANCE * values[0]]


def _drawn(problem: Problem, factors: list[Complex], rng: np.random.Generator
           ) -> Iterator[Complex]:
    """Draw directions from the parts, with the best powers for each draw."""
    for _ in range(DRAWS):
        drawn = []
        for factor in factors:
            r = factor.shape[1]
            draw = factor @ (rng.normal(size=r) + 1j * rng.normal(size=r))
            drawn.append(draw[:, None] / np.linalg.norm(draw))
        try:
            point = solve_blocks(problem, drawn, PENALTY_GAP)
        except SolverError:
            continue
        yield np.hstack([direction * np.sqrt(max(float(block[0, 0].real), 0.0))
                         for direction, block in zip(drawn, point.blocks, strict=True)])
