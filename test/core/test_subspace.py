import numpy as np
import pytest
from scenes import random_scene

from nf_isac_ros.core.subspace import gram_matrix, reduced_basis, subspace


def random_columns(n_rows, n_columns, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, n_columns)) + 1j * rng.normal(size=(n_rows, n_columns))


def check(basis, rank, channels, steering):
    d = basis.shape[1]
    np.testing.assert_allclose(basis.conj().T @ basis, np.eye(d), atol=1e-12)
    users = basis[:, :rank]
    np.testing.assert_allclose(users @ (users.conj().T @ channels), channels, atol=1e-8)
    both = np.hstack([channels, steering])
    np.testing.assert_allclose(basis @ (basis.conj().T @ both), both, atol=1e-7)


def test_independent_columns_keep_their_number():
    channels, steering = random_columns(20, 3), random_columns(20, 8, 1)
    basis, rank = reduced_basis(channels, steering)
    assert (basis.shape[1], rank) == (11, 3)
    check(basis, rank, channels, steering)


def test_a_user_at_the_place_of_a_target_costs_one_dimension():
    steering = random_columns(20, 4)
    channels = 1e-6 * steering[:, :1]
    basis, rank = reduced_basis(channels, steering)
    assert (basis.shape[1], rank) == (4, 1)
    check(basis, rank, channels, steering)


def test_identical_users_have_rank_one():
    column = random_columns(20, 1)
    basis, rank = reduced_basis(np.hstack([column, 2j * column]), random_columns(20, 4, 2))
    assert (basis.shape[1], rank) == (5, 1)


def test_more_columns_than_antennas():
    channels, steering = random_columns(6, 4), random_columns(6, 12, 1)
    basis, rank = reduced_basis(channels, steering)
    assert (basis.shape[1], rank) == (6, 4)
    check(basis, rank, channels, steering)


@pytest.mark.parametrize('separation', [1e-6, 1e-4])
def test_nearly_equal_columns_are_kept(separation):
    column = random_columns(20, 1)
    steering = np.hstack([column, column + separation * random_columns(20, 1, 3)])
    assert reduced_basis(random_columns(20, 0), steering)[0].shape[1] == 2


def near_dependent(separation, seed=0):
    """Three channels and four other columns, two of which are nearly a channel."""
    columns = random_columns(40, 7, seed)
    columns[:, 4] = 1e3 * (columns[:, 1] + separation * columns[:, 4])
    columns[:, 6] = 1e-4 * (columns[:, 2] + separation * columns[:, 6])
    return columns


@pytest.mark.parametrize('separation', [1.0, 1e-2, 3e-5, 1e-6, 1e-8, 0.0])
def test_cholesky_factors_give_the_basis_that_a_pivoted_qr_gives(separation):
    columns = near_dependent(separation)
    space = subspace(columns, gram_matrix(columns), 3)
    expected, rank = reduced_basis(columns[:, :3], columns[:, 3:])
    assert space.basis.shape == expected.shape
    assert (space.basis.shape[1], space.rank) == ((5 if separation == 0.0 else 7), rank)
    check(space.basis, space.rank, columns[:, :3], columns[:, 3:])
    norms = np.linalg.norm(columns, axis=0)
    np.testing.assert_allclose(
        space.basis @ space.coordinates / norms, columns / norms, atol=1e-9)
    np.testing.assert_allclose(
        space.coordinates / norms, space.basis.conj().T @ columns / norms, atol=1e-12)


@pytest.mark.parametrize('faintest', [1e-3, 1e-5, 1e-10], ids=str)
def test_many_dependent_columns_are_spanned_to_1e_7(faintest):
    # Three channels, one of them a mixture of the targets' columns; singular values that fall.
    rng = np.random.default_rng(5)
    left = np.linalg.qr(random_columns(60, 40, 1))[0]
    steering = (left * np.geomspace(1.0, faintest, 40)) @ random_columns(40, 45, 2)
    channels = random_columns(60, 3, 3)
    channels[:, 1] = steering @ rng.normal(size=45)
    columns = np.hstack([channels, steering])
    space = subspace(columns, gram_matrix(columns), 3)
    d = space.basis.shape[1]
    np.testing.assert_allclose(space.basis.conj().T @ space.basis, np.eye(d), atol=1e-12)
    assert space.rank == 3
    own = space.basis[:, :3]
    np.testing.assert_allclose(own @ (own.conj().T @ channels), channels, atol=1e-9)
    norms = np.linalg.norm(columns, axis=0)
    np.testing.assert_allclose(space.basis @ space.coordinates / norms, columns / norms,
                               atol=3e-7)
    # No more than there are, and none that would be seen missing.
    values = np.linalg.svd(columns / norms, compute_uv=False)
    assert np.sum(values > 1e-6 * values[0]) <= d <= np.sum(values > 1e-9 * values[0])


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('n_elements', [4, 6, 9])
def test_many_columns_on_few_antennas_have_an_orthonormal_basis(n_elements, seed):
    # Two users almost alike: rounding in the rest must not be taken for directions of its own.
    channels = random_columns(n_elements, 5, seed)
    channels[:, 1] = channels[:, 0] + 1e-5 * channels[:, 1]
    steering = random_columns(n_elements, 24, seed + 100)
    columns = np.asfortranarray(np.hstack([channels, steering]))
    found = subspace(columns, gram_matrix(columns), 5)
    assert found.basis.shape == (n_elements, n_elements)
    check(found.basis, found.rank, channels, steering)


def test_no_columns_have_no_subspace():
    space = subspace(random_columns(20, 0), gram_matrix(random_columns(20, 0)), 0)
    assert (space.basis.shape, space.rank) == ((20, 0), 0)


def test_dimension_of_a_scene_is_4k_plus_u():
    from nf_isac_ros.core.problem import build_problem

    assert build_problem(random_scene(0, 2, 3)).dimension == 11
