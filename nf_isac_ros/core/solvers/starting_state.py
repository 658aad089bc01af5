"""Where the interior-point method begins: a problem's compact form, and a point inside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.certificate import tangent_weights
from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.feasibility import largest_common_scale, least_power
from nf_isac_ros.core.information import BlockMap
from nf_isac_ros.core.problem import Problem, Rows
from nf_isac_ros.core.solvers.kernels import Form, State, degree, split_powers

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Shares of what the least power for the users leaves. Margin bought with least-power
# beams alone costs a dozen iterations; beams at a good part of the power cure it.
MARGIN_SHARE = 0.5
USER_SHARE = 0.3
SENSING_SHARE = 0.8
INITIAL_GAP = 5.0
# At least this much of the sensing power is spread evenly; steps of the rule that splits the rest.
EVEN_SHARE = 0.3
SPLIT_STEPS = 3
# Without a Fisher matrix the rest goes to the points.
POINT_SHARE = 0.7
# Slack that a further row which the starting point does not meet is taken to have, in units of
# the mean of what points receive.
ASSUMED_SLACK = 0.3
# Level of a max-min problem at the start, in units of the least that points receive.
FIRST_LEVEL = 0.5


def compact_form(problem: Problem) -> Form:
    """Arrays of a problem in the form that the kernels take; the scale is still open."""
    channels = np.ascontiguousarray(problem.user_channels)
    rows = problem.rows
    if rows is None:
        rows = Rows(np.zeros((problem.dimension, 0), dtype=complex), np.zeros(0),
                    np.zeros((0, 0)))
    return Form(
        responses=np.ascontiguousarray(problem.fisher.responses),
        selection=np.ascontiguousarray(problem.selection), blocks=_blocks(problem),
        channels=channels,
        dual_channels=np.ascontiguousarray(np.linalg.pinv(channels).conj().T),
        noise=problem.user_noise, sinr=problem.sinr, share=problem.sinr / (1 + problem.sinr),
        points=np.ascontiguousarray(rows.points), signs=np.ascontiguousarray(rows.signs),
        levels=np.ascontiguousarray(rows.levels), aim=np.zeros(rows.levels.shape[1]), scale=1.0)


def _blocks(problem: Problem) -> NDArray[np.int64]:
    """Where the diagonal blocks of the Fisher matrix begin and end; as in `Form`."""
    fisher = problem.fisher
    blocks = fisher.blocks if isinstance(fisher, BlockMap) else (fisher,)
    ends = np.cumsum([(0, 0)] + [
        (block.n_parameters, block.patterns.shape[2]) for block in blocks], axis=0)
    # The columns of E are ordered like the parameters they choose from.
    chosen = [int(np.count_nonzero(problem.selection[:end].any(axis=0))) for end in ends[:, 0]]
    return np.column_stack([ends[:, 0], chosen, ends[:, 1]]).astype(np.int64)


def starting_state(problem: Problem, form: Form) -> tuple[Form, State]:
    """
    Build a well-centred starting point, strictly feasible but for further rows.

    Returns
    -------
    Form
        With its scale.
    State

    Raises
    ------
    InfeasibleError
        If the SINRs cannot be met.

    """
    d, n = form.channels.shape
    rank = int(np.count_nonzero(np.abs(form.channels).sum(axis=1)))
    if rank < n:
        raise SolverError('users with the same channel: the X_u have no interior')
    parts = np.zeros((n + 1 if n else 0, n, n), dtype=complex)
    factor: Complex = np.zeros((d, 0), dtype=complex)
    if n:
        beams = _user_beams(problem)
        received = form.channels.conj().T @ beams
        powers = np.abs(received) ** 2
        slack = np.diag(powers) - form.share * (powers.sum(axis=1) + form.noise)
        # A little of everything in the users' space, so that no X_k is singular.
        gram = form.channels.conj().T @ form.channels
        spread = min(0.4 * float(slack.min()),
                     SENSING_SHARE * (1.0 - np.linalg.norm(beams) ** 2) / d)
        if spread <= 0:
            raise SolverError('no strictly feasible starting point: the SINRs take all power')
        factor = np.hstack([beams, np.sqrt(spread) * np.eye(d, rank)])
        parts[:] = spread / (n + 1) * gram
        for u in range(n):
            parts[u + 1] += np.outer(received[:, u], received[:, u].conj())
    covariance = factor @ factor.conj().T
    if rank < d:
        left = SENSING_SHARE * (1.0 - np.trace(covariance).real)
        covariance += left * _sensing(problem, form, factor, rank, left)

    slacks = np.empty(n + 1 + len(form.signs))
    slacks[n] = 1.0 - np.trace(covariance).real
    total = parts.sum(axis=0)
    for u in range(n):
        slacks[u] = parts[u + 1, u, u].real - form.share[u] * (total[u, u].real + form.noise[u])
    slacks[n + 1:], levels = _first_levels(form, covariance)
    if slacks.min() <= 0:
        raise SolverError('no strictly feasible starting point: the SINRs take all of the power')
    level = INITIAL_GAP / degree(form)
    weights: Real = np.zeros((0, 0))
    if len(form.responses):
        weights, scale = first_weights(problem, covariance)
        form = form._replace(scale=scale)
    return form, State(
        covariance, level * np.linalg.inv(covariance), parts, level * np.linalg.inv(parts),
        slacks, level / slacks, levels, weights)


def _sensing(problem: Problem, form: Form, factor: Complex, rank: int, power: float) -> Complex:
    """Covariance of trace one where no user receives it, most of it where it is worth most."""
    d = len(form.channels)
    columns = problem.fisher.transmit if len(form.responses) else form.points
    seen = columns[rank:]
    norms = np.linalg.norm(seen, axis=0)
    directions = np.zeros((d, np.count_nonzero(norms)), dtype=complex)
    directions[rank:] = seen[:, norms > 0] / norms[norms > 0]
    even = np.eye(d, d - rank, -rank, dtype=complex)
    count = directions.shape[1]
    shares = np.full(count + 1, POINT_SHARE / max(count, 1))
    if len(form.responses):
        try:
            shares = (1.0 - EVEN_SHARE) * split_powers(
                form, factor, directions, even, power, SPLIT_STEPS)
        except np.linalg.LinAlgError:
            # Nothing to choose by; the solver will say what is wrong with the Fisher matrix.
            pass
    shares[count] = 1.0 - shares[:count].sum()
    return (directions * shares[:count]) @ directions.conj().T + (
        shares[count] / (d - rank)) * (even @ even.conj().T)


def _first_levels(form: Form, covariance: Complex) -> tuple[Real, Real]:
    """Slacks that the further rows are taken to have, and the free scalars."""
    received = np.einsum(
        'ik,ij,jk->k', form.points.conj(), covariance, form.points).real
    n_free = form.levels.shape[1]
    levels, slacks = np.zeros(n_free), form.signs * received
    for t, level in enumerate(form.levels.T):
        lower, upper = level > 0, level < 0
        reached = received / np.where(level == 0, 1.0, np.abs(level))
        if upper.any():
            # Between what the weakest gets and what the strongest asks for.
            levels[t] = np.sqrt(reached[lower].min() * reached[upper].max())
        else:
            levels[t] = FIRST_LEVEL * reached[lower].min()
    slacks -= form.levels @ levels
    assumed = ASSUMED_SLACK * received.mean() if len(received) else 0.0
    return np.where(slacks > 0, slacks, assumed), levels


def first_weights(problem: Problem, covariance: Complex) -> tuple[Real, float]:
    """F(S)^-1 E / f(S), shape (n, w), and f(S); raises SolverError if there is none."""
    weights = tangent_weights(problem, covariance)
    if weights is None:
        raise SolverError('the starting point has no finite bound')
    value = float(np.sum(problem.selection * weights))
    return np.ascontiguousarray(weights / value), value


def _user_beams(problem: Problem) -> Complex:
    """Beams for the users with some SINR to spare and some power left."""
    channels, sinr = problem.unit_noise_channels, problem.sinr
    least = problem.least_power
    if least is None:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    ample = least.power + MARGIN_SHARE * (1.0 - least.power)
    users = least_power(channels * np.sqrt(ample), 2.0 * sinr)
    if users is None:
        users = largest_common_scale(channels * np.sqrt(ample), sinr)[1]
    beams = users.beams * np.sqrt(ample)
    power = float(np.linalg.norm(beams) ** 2)
    wanted = least.power + USER_SHARE * (1.0 - least.power)
    return beams * np.sqrt(max(1.0, wanted / power))
