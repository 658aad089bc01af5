"""Compiled pieces of the interior-point method against plain linear algebra."""

import numpy as np
import pytest
from scenes import random_scene

from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.solvers.cones import (
    longest_affine_step,
    longest_step,
    pack,
    pack_outer,
    unpack,
)
from nf_isac_ros.core.solvers.kernels import (
    _complete_frame,
    _lower_products,
    _products,
    fisher_factor,
    turned_by,
)
from nf_isac_ros.core.solvers.starting_kernels import adjoints, first_weights
from nf_isac_ros.core.solvers.starting_state import compact_form, starting_state


def hermitian(rng, n):
    matrix = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    return matrix + matrix.conj().T


@pytest.mark.parametrize('turned, factor', [(0.0, 1.0), (1.0, 1j)])
def test_outer_products_are_packed_like_matrices(turned, factor):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 5)) + 1j * rng.normal(size=(2, 5))
    product = factor * np.outer(x.conj(), y)
    out = np.empty(25)
    pack_outer(x, y, turned, 0.7, out)
    other = hermitian(rng, 5)
    coordinates = np.empty(25)
    pack(other, 1.0, coordinates)
    # The vectors keep the inner product Re tr(A B) of Hermitian parts.
    assert out @ coordinates == pytest.approx(
        0.7 * np.trace(0.5 * (product + product.conj().T) @ other).real, rel=1e-12)
    np.testing.assert_allclose(unpack(coordinates, 5), other, atol=1e-12)


@pytest.mark.parametrize('n', [1, 2, 3, 6])
def test_longest_steps_end_where_an_eigenvalue_is_zero_and_not_beyond_the_most(n):
    rng = np.random.default_rng(n)
    values, step = rng.uniform(0.5, 2.0, n), hermitian(rng, n)
    # A step with eigenvalues of both signs, or one that shrinks the only one.
    step = step if n > 1 else -2.0 * values[:, np.newaxis].astype(complex)
    for find, most, parts in ((longest_step, 1e3, (step,)),
                              (longest_affine_step, 1.0, (step, -np.diag(values) - step))):
        length = find(values, step, most)
        lowest = min(np.linalg.eigvalsh(np.diag(values) + length * part)[0] for part in parts)
        assert lowest == pytest.approx(0.0, abs=1e-9 * length)
        assert find(values, step, 0.9 * length) == 0.9 * length
        assert find(values, step, min(1.01 * length, most)) == pytest.approx(length, rel=1e-12)


@pytest.mark.parametrize('n, w', [(10, 6), (5, 3), (3, 3), (1, 1)])
def test_a_frame_diagonalises_the_matrix_that_it_was_made_for(n, w):
    matrix = np.random.default_rng(n).normal(size=(n, w))
    order, values = _complete_frame(matrix)
    np.testing.assert_allclose(order @ order.T, np.eye(n), atol=1e-12)
    gram = order @ matrix @ matrix.T @ order.T
    expected = np.zeros((n, n))
    expected[:w, :w] = np.diag(values)
    np.testing.assert_allclose(gram, expected, atol=1e-11 * values.max())


def test_the_fisher_factor_is_that_of_the_fisher_matrix():
    problem = build_problem(random_scene(3, 2, 1, side=8, min_sinr_db=0.0))
    np.testing.assert_allclose(problem.fisher.responses,
                               problem.fisher.transmit @ problem.fisher.patterns, atol=1e-12)
    values = np.random.default_rng(3).uniform(1e-3, 1.0, problem.dimension)
    expected = problem.fisher.of_covariance(np.diag(values))
    low = fisher_factor(adjoints(np.ascontiguousarray(problem.fisher.responses)), values)
    np.testing.assert_allclose(low @ low.T, expected, rtol=1e-9, atol=1e-9)
    assert not np.triu(low, 1).any()


def test_responses_are_turned_and_multiplied_like_complex_matrices():
    rng = np.random.default_rng(5)
    responses, factor = (rng.normal(size=(*shape, 2)) @ [1.0, 1j]
                         for shape in ((4, 5, 3), (5, 6)))
    adjoint = adjoints(responses)
    np.testing.assert_array_equal(adjoint, responses.conj().swapaxes(1, 2))
    np.testing.assert_allclose(turned_by(adjoint, factor), adjoint @ factor, atol=1e-13)
    # Rows: the first two; columns: all.
    expected = np.hstack([np.vstack([one @ other for one in responses[:2]])
                          for other in adjoint])
    np.testing.assert_allclose(_products(adjoint, 2), expected, atol=1e-13)


@pytest.mark.parametrize('n_objective', [1, 24, 25, 60])
def test_products_below_the_diagonal_are_those_of_all_rows(n_objective):
    rows = np.random.default_rng(n_objective).normal(size=(n_objective + 3, 20))
    rows[:n_objective, 16:] = 0.0
    products = _lower_products(rows, np.ascontiguousarray(rows[:n_objective, :16]))
    np.testing.assert_allclose(np.tril(products), np.tril(rows @ rows.T), atol=1e-12)


def test_the_first_weights_are_those_of_the_starting_point():
    problem = build_problem(random_scene(4, 2, 2, side=8, min_sinr_db=0.0))
    form, state = starting_state(problem, compact_form(problem))
    weights, value = first_weights(form, state.covariance)
    inverse = np.linalg.inv(problem.fisher.of_covariance(state.covariance))
    assert value == pytest.approx(problem.objective(state.covariance), rel=1e-9)
    np.testing.assert_allclose(weights * value, inverse @ problem.selection, rtol=1e-6, atol=1e-9)
