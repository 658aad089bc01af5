"""Compiled linear algebra against LAPACK."""

import numpy as np
import pytest

from nf_isac_ros.core.small_matrices import (
    cholesky,
    eigh,
    lu_factor,
    lu_solve,
    scaled_inverse,
    smallest_eigenvalue,
    solve_m_matrix,
    triangular_inverse,
)


def positive(n, seed, real):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n)) + (0 if real else 1j * rng.normal(size=(n, n)))
    return root @ root.conj().T + 0.1 * np.eye(n)


@pytest.mark.parametrize('real', [True, False])
@pytest.mark.parametrize('n', [1, 2, 7, 40])
def test_cholesky_factor_and_its_inverse(n, real):
    matrix = positive(n, n, real)
    expected = np.linalg.cholesky(matrix)
    low = np.ascontiguousarray(matrix)
    smallest = cholesky(low)
    np.testing.assert_allclose(np.tril(low), expected, atol=1e-12 * n)
    assert smallest == pytest.approx(np.diag(expected).real.min() ** 2, rel=1e-9)
    np.testing.assert_allclose(
        triangular_inverse(low) @ expected, np.eye(n), atol=1e-12 * n)


@pytest.mark.parametrize('bad', [0.0, -1.0, np.nan])
def test_cholesky_stops_at_a_pivot_that_is_not_positive(bad):
    assert not cholesky(np.diag([2.0, bad, 1.0])) > 0


def test_m_matrices_are_solved_entry_by_entry():
    rng = np.random.default_rng(0)
    scales = 10.0 ** np.array([-6.0, 0.0, 3.0, 8.0])
    coupling = 0.2 * rng.random((4, 4)) * scales[:, None] / scales
    solution = scales * rng.random(4)
    np.fill_diagonal(coupling, 0.0)
    right = solution - coupling @ solution
    # Rounding in the right side, not in the elimination, is what the tolerance is for.
    np.testing.assert_allclose(
        solve_m_matrix(np.eye(4) - coupling, right.copy()), solution, rtol=1e-11)


def test_a_singular_m_matrix_has_no_finite_positive_solution():
    x = solve_m_matrix(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([1.0, 1.0]))
    assert not (np.isfinite(x).all() and (x > 0).all())


@pytest.mark.parametrize('n', [1, 2, 3, 4, 5, 7, 8, 20, 32, 33])
@pytest.mark.parametrize('spectrum', [
    lambda n: np.linspace(-1.0, 2.0, n), np.ones, np.zeros,
    lambda n: np.logspace(0, -12, n), lambda n: np.arange(n) // 2 - 0.5],
    ids=['both-signs', 'one-value', 'zero', 'graded', 'in-pairs'])
def test_eigenvectors_diagonalise(n, spectrum):
    expected = np.sort(spectrum(n))
    unitary, _ = np.linalg.qr(np.random.default_rng(n).normal(size=(n, n, 2)) @ [1.0, 1j])
    matrix = (unitary * expected) @ unitary.conj().T
    matrix = 0.5 * (matrix + matrix.conj().T)
    values, vectors = eigh(matrix)
    size = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(values, expected, atol=1e-14 * size)
    assert smallest_eigenvalue(matrix) == pytest.approx(expected[0], abs=1e-14 * size)
    np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(n), atol=1e-14)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=2e-14 * size)


@pytest.mark.parametrize('n', [5, 8, 32, 33])
def test_matrices_that_are_diagonal_or_come_apart_have_eigenvectors_too(n):
    diagonal = np.random.default_rng(n).permutation(n) - 2.0
    for matrix in (np.diag(diagonal).astype(complex),
                   np.diag(diagonal) + np.diag(1j * (np.arange(n - 1) % 2), 1)
                   - np.diag(1j * (np.arange(n - 1) % 2), -1)):
        values, vectors = eigh(matrix)
        expected = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(values, expected, atol=1e-13)
        assert smallest_eigenvalue(matrix) == pytest.approx(expected[0], abs=1e-13)
        np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-13)
        np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(n), atol=1e-14)


@pytest.mark.parametrize('n', [2, 10, 40, 64, 65])
def test_the_smallest_eigenvalue_whatever_the_rank(n):
    rng = np.random.default_rng(n)
    for rank in (1, n // 2, n - 1, n):
        root = rng.normal(size=(n, rank, 2)) @ [1.0, 1j]
        for matrix in (root @ root.conj().T, -root @ root.conj().T):
            expected = np.linalg.eigvalsh(matrix)
            assert smallest_eigenvalue(matrix) == pytest.approx(
                expected[0], abs=1e-14 * n * np.abs(expected).max())


@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('n', [5, 20, 33])
@pytest.mark.parametrize('function', [eigh, smallest_eigenvalue])
def test_what_is_not_finite_has_no_eigenvalues(n, function, bad):
    for place in ((0, 0), (n - 1, n - 1), (1, 0), (n - 1, 2)):
        matrix = np.eye(n, dtype=complex)
        matrix[place] = matrix[place[::-1]] = bad
        with pytest.raises(np.linalg.LinAlgError):
            function(matrix)


@pytest.mark.parametrize('n', [1, 2, 7, 40])
def test_systems_are_solved_with_pivots(n):
    rng = np.random.default_rng(n)
    matrix, right = rng.normal(size=(n, n)), rng.normal(size=(n, 3))
    # Nothing on the diagonal: without an exchange of rows there is no first pivot.
    matrix[0, 0] = 0.0 if n > 1 else 2.0
    factored = matrix.copy()
    pivots = lu_factor(factored)
    np.testing.assert_allclose(
        lu_solve(factored, pivots, right), np.linalg.solve(matrix, right), rtol=1e-9)


def test_a_singular_system_has_no_finite_solution():
    factored = np.ones((2, 2))
    pivots = lu_factor(factored)
    assert not np.isfinite(lu_solve(factored, pivots, np.array([[1.0], [2.0]]))).all()


def test_entries_may_span_many_decades():
    scale = 10.0 ** np.arange(-20, 20, 8)
    matrix = positive(5, 3, True)
    inverse = np.empty((5, 5))
    assert scaled_inverse(matrix * scale * scale[:, None], 1e-14, inverse)
    np.testing.assert_allclose(inverse * scale * scale[:, None], np.linalg.inv(matrix), rtol=1e-9)


@pytest.mark.parametrize('matrix', [
    np.ones((2, 2)), np.diag([1.0, 0.0]), np.diag([1.0, np.nan]), np.diag([1.0, -1.0])],
    ids=['dependent', 'zero', 'nan', 'negative'])
def test_a_matrix_that_is_not_positive_definite_has_no_scaled_inverse(matrix):
    assert not scaled_inverse(matrix, 1e-14, np.empty((2, 2)))
