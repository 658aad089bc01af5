"""Maps from covariances to Fisher matrices: what designs rely on, whatever is estimated."""

import numpy as np
import pytest
from scenes import random_scene

from nf_isac_ros.core.information import BlockMap, GramMap
from nf_isac_ros.core.problem import build_problem


def complex_normal(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def any_map(rng, n_parameters=3, n=6, c=4, m=5):
    return GramMap(complex_normal(rng, n, c), complex_normal(rng, n_parameters, c, m))


def points(rng):
    problem = build_problem(random_scene(0, 2, 1, side=6))
    return problem.fisher.with_transmit(complex_normal(rng, 6, 8) / 5)


def mixture(rng):
    return BlockMap((points(rng), any_map(rng), any_map(rng, 2, 6, 3, 7)))


@pytest.fixture(params=[any_map, points, mixture], ids=['gram', 'points', 'blocks'])
def information(request):
    return request.param(np.random.default_rng(3))


def random_covariance(rng, n=6):
    root = complex_normal(rng, n, n)
    return root @ root.conj().T


def test_the_matrix_is_that_of_the_responses(information):
    covariance = random_covariance(np.random.default_rng(1))
    seen = information.responses
    expected = np.einsum('jam,ab,ibm->ij', seen.conj(), covariance, seen).real
    np.testing.assert_allclose(information.of_covariance(covariance), expected,
                               rtol=1e-10, atol=1e-12 * np.abs(expected).max())


def test_the_adjoint_is_the_adjoint(information):
    rng = np.random.default_rng(2)
    covariance = random_covariance(rng)
    n = information.n_parameters
    weights = rng.normal(size=(n, n))
    weights += weights.T
    cost = information.adjoint(weights)
    np.testing.assert_allclose(cost, cost.conj().T, atol=1e-12 * np.abs(cost).max())
    assert np.trace(cost @ covariance).real == pytest.approx(
        np.sum(weights * information.of_covariance(covariance)), rel=1e-10)


def test_coefficients_and_factors_give_the_same_matrix(information):
    rng = np.random.default_rng(4)
    factor = complex_normal(rng, 6, 3)
    expected = information.of_covariance(factor @ factor.conj().T)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(information.of_factor(factor), expected, atol=1e-12 * scale)
    np.testing.assert_allclose(
        np.einsum('ijab,ba->ij', information.coefficients(), factor @ factor.conj().T).real,
        expected, atol=1e-11 * scale)


def test_units_of_the_parameters_scale_rows_and_columns(information):
    rng = np.random.default_rng(5)
    covariance, units = random_covariance(rng), rng.uniform(0.5, 2, information.n_parameters)
    np.testing.assert_allclose(
        information.rescaled(units).of_covariance(covariance),
        information.of_covariance(covariance) * units * units[:, None], rtol=1e-12)


def test_blocks_know_nothing_of_each_other():
    both = mixture(np.random.default_rng(3))
    covariance = random_covariance(np.random.default_rng(6))
    fisher = both.of_covariance(covariance)
    for i, (block, own) in enumerate(zip(both.blocks, both.parameter_spans, strict=True)):
        np.testing.assert_allclose(fisher[own, own], block.of_covariance(covariance), rtol=1e-12)
        for j, other in enumerate(both.parameter_spans):
            assert i == j or not fisher[own, other].any()


def test_a_change_of_basis_changes_nothing(information):
    rng = np.random.default_rng(7)
    basis = np.linalg.qr(complex_normal(rng, 9, 6))[0]
    covariance = random_covariance(rng)
    larger = information.with_transmit(basis @ information.transmit)
    np.testing.assert_allclose(
        larger.of_covariance(basis @ covariance @ basis.conj().T),
        information.of_covariance(covariance), rtol=1e-10,
        atol=1e-10 * np.abs(information.of_covariance(covariance)).max())
