"""Largest common SINR and least power, by closed forms, cone programs and reference data."""

import cvxpy as cp
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import needs_reference, reference, reference_names

from nf_isac_ros.core.beams import sinr as achieved_sinr
from nf_isac_ros.core.feasibility import largest_common_scale, least_power
from nf_isac_ros.core.problem import build_problem


def channels_of(seed, d, n, gain=10.0):
    rng = np.random.default_rng(seed)
    return gain * (rng.normal(size=(d, n)) + 1j * rng.normal(size=(d, n))) / np.sqrt(2 * d)


def conic_least_power(channels, sinr):
    """Least power as a second-order cone program (Bengtsson, Ottersten 1999)."""
    d, n = channels.shape
    beams = cp.Variable((d, n), complex=True)
    constraints = []
    for u in range(n):
        received = channels[:, u].conj() @ beams
        constraints += [
            cp.imag(received[u]) == 0,
            cp.real(received[u]) * np.sqrt(1 + 1 / sinr[u])
            >= cp.norm(cp.hstack([received, np.ones(1)]))]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(beams)), constraints)
    problem.solve(solver='CLARABEL')
    return problem.value if problem.status == 'optimal' else None


def test_one_user_gets_maximum_ratio_transmission():
    channel = channels_of(0, 6, 1)
    scale, users = largest_common_scale(channel, np.array([4.0]))
    gain = float(np.linalg.norm(channel) ** 2)
    assert scale == pytest.approx(gain / 4.0, rel=1e-12)
    overlap = abs(users.beams[:, 0].conj() @ channel[:, 0])
    assert overlap == pytest.approx(np.sqrt(gain), rel=1e-12)
    assert least_power(channel, np.array([4.0])).power == pytest.approx(4.0 / gain, rel=1e-12)


def test_orthogonal_users_do_not_disturb_each_other():
    channels = np.diag([3.0, 4.0]).astype(complex)
    required = np.array([2.0, 1.0])
    assert least_power(channels, required).power == pytest.approx(2 / 9 + 1 / 16, rel=1e-12)
    assert largest_common_scale(channels, required)[0] == pytest.approx(
        1 / (2 / 9 + 1 / 16), rel=1e-10)


@pytest.mark.parametrize('n', [2, 3, 5])
def test_identical_users_share_by_their_noise(n):
    # One direction, gain G: SINR_u = G p_u / (G (P - p_u) + 1), equal for equal powers.
    channels = np.full((1, n), 5.0 + 0j)
    expected = 25 / n / (25 * (n - 1) / n + 1)
    assert largest_common_scale(channels, np.ones(n))[0] == pytest.approx(expected, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10 ** 6), d=st.integers(1, 6), n=st.integers(1, 5),
       required_db=st.lists(st.floats(-15, 12), min_size=5, max_size=5))
def test_balanced_beams_reach_the_scale_with_the_whole_budget(seed, d, n, required_db):
    channels = channels_of(seed, d, n)
    required = 10 ** (np.array(required_db[:n]) / 10)
    scale, users = largest_common_scale(channels, required)
    ratios = achieved_sinr(channels, users.beams, np.zeros((d, 0)), np.ones(n)) / required
    np.testing.assert_allclose(ratios, scale, rtol=1e-7)
    assert np.linalg.norm(users.beams) ** 2 == pytest.approx(1.0, rel=1e-9)
    # Feasible exactly up to the scale, on either side of it.
    least = least_power(channels, required * scale * (1 - 1e-6))
    assert least is not None and least.power <= 1 + 1e-9
    assert least_power(channels, required * scale * (1 + 1e-6)) is None


@pytest.mark.parametrize('seed', range(6))
def test_least_power_is_that_of_the_cone_program(seed):
    rng = np.random.default_rng(seed)
    d, n = 5, int(rng.integers(2, 5))
    channels = channels_of(seed, d, n)
    required = 10 ** (rng.uniform(-5, 8, n) / 10)
    users, expected = least_power(channels, required), conic_least_power(channels, required)
    if users is None:
        assert expected is None or expected > 1 - 1e-6
        return
    assert users.power == pytest.approx(expected, rel=1e-6)
    ratios = achieved_sinr(channels, users.beams, np.zeros((d, 0)), np.ones(n)) / required
    np.testing.assert_allclose(ratios, 1.0, rtol=1e-9)


def test_no_users_need_no_power():
    users = least_power(np.zeros((4, 0), dtype=complex), np.zeros(0))
    assert users.power == 0 and users.beams.shape == (4, 0)


@needs_reference
@pytest.mark.parametrize('name', reference_names())
def test_margin_of_the_reference_scenes(name):
    case = reference(name)
    assert build_problem(case.scene).max_common_sinr_scale_db == pytest.approx(
        case.expected['max_common_sinr_scale_db'], abs=1e-6)
