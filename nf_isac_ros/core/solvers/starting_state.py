"""Where the interior-point method begins: a problem's compact form, and a point inside it."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import InfeasibleError, SolverError
from nf_isac_ros.core.feasibility import roomy_beams
from nf_isac_ros.core.information import BlockMap
from nf_isac_ros.core.problem import Problem, Rows
from nf_isac_ros.core.solvers.kernels import Form, State
from nf_isac_ros.core.solvers.starting_kernels import (
    adjoints,
    channel_rank,
    dual_channels,
    first_state,
)

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Shares of what the least power for the users leaves. Margin bought with least-power
# beams alone costs a dozen iterations; beams at a good part of the power cure it.
MARGIN_SHARE = 0.5
USER_SHARE = 0.2
INITIAL_GAP = 5.0
# Slack that a further row which the starting point does not meet is taken to have, in units of
# the mean of what points receive.
ASSUMED_SLACK = 0.3
# Level of a max-min problem at the start, in units of the least that points receive.
FIRST_LEVEL = 0.5


def compact_form(problem: Problem) -> Form:
    """Arrays of a problem in the form that the kernels take; the scale is still open."""
    channels = np.ascontiguousarray(problem.user_channels)
    rows = _no_rows(problem.dimension) if problem.rows is None else problem.rows
    return Form(
        adjoints=adjoints(np.ascontiguousarray(problem.fisher.responses)),
        selection=np.ascontiguousarray(problem.selection), blocks=_blocks(problem),
        channels=channels,
        dual_channels=(
            dual_channels(channels) if channel_rank(channels) == channels.shape[1]
            else np.ascontiguousarray(np.linalg.pinv(channels).conj().T)),
        noise=problem.user_noise, sinr=problem.sinr, share=problem.sinr / (1 + problem.sinr),
        points=np.ascontiguousarray(rows.points), signs=np.ascontiguousarray(rows.signs),
        levels=np.ascontiguousarray(rows.levels), aim=np.zeros(rows.levels.shape[1]), scale=1.0)


@cache
def _no_rows(dimension: int) -> Rows:
    return Rows(np.zeros((dimension, 0), dtype=complex), np.zeros(0), np.zeros((0, 0)))


def _blocks(problem: Problem) -> NDArray[np.int64]:
    """Where the diagonal blocks of the Fisher matrix begin and end; as in `Form`."""
    fisher = problem.fisher
    if not isinstance(fisher, BlockMap):
        end = (*problem.selection.shape, fisher.responses.shape[2])
        return np.array(((0, 0, 0), end), dtype=np.int64)
    blocks = fisher.blocks
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
    SolverError
        If users have the same channel, the SINRs take all power, or no covariance has a bound.

    """
    if channel_rank(form.channels) < form.channels.shape[1]:
        raise SolverError('users with the same channel: the X_u have no interior')
    informed = len(form.adjoints) > 0
    state, value = first_state(form, _user_beams(problem), np.ascontiguousarray(
        problem.fisher.transmit if informed else form.points), informed, INITIAL_GAP)
    if not state.slacks.min() > 0:
        raise SolverError('no strictly feasible starting point: the SINRs take all of the power')
    if len(form.signs):
        slacks, levels = _first_levels(form, state.covariance)
        # What the kernel promises of each slack.
        level = state.slacks[0] * state.slacks_dual[0]
        state = state._replace(
            slacks=np.append(state.slacks, slacks), levels=levels,
            slacks_dual=np.append(state.slacks_dual, level / slacks))
    if not informed:
        return form, state
    if not np.isfinite(value):
        raise SolverError('the starting point has no finite bound')
    return form._replace(scale=value), state


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


def _user_beams(problem: Problem) -> Complex:
    """Beams for the users with some SINR to spare and some power left."""
    least = problem.least_power
    if least is None:
        raise InfeasibleError(problem.max_common_sinr_scale_db)
    if not len(problem.sinr):
        return least.beams
    return roomy_beams(
        problem.unit_noise_channels, problem.sinr, least.power, MARGIN_SHARE, USER_SHARE)
