"""The Fisher matrix against numerical differentiation of the received mean, and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import WAVELENGTH, planar, radio, random_scene

from nf_isac_ros.core.fisher import FisherMap, jacobi_inverse, position_bounds, stack
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.propagation import response_derivatives, responses
from nf_isac_ros.core.scene import PointTarget, Scene, SensingNoise


def mean_echo(scene, positions, reflections, signal):
    """Noise-free received samples (M, L): sum_k b_k a_k v_k^T X."""
    transmit = responses(scene.transmit_array.positions, positions, WAVELENGTH)
    receive = responses(scene.receive_array.positions, positions, WAVELENGTH)
    return (receive * reflections) @ transmit.T @ signal


def numerical_fisher(scene, signal, noise):
    """Slepian-Bangs: 2 Re (d mu / d i)^H Q^-1 (d mu / d j), by central differences."""
    n = len(scene.targets)
    positions = np.array([target.position for target in scene.targets])
    reflections = np.array([target.reflection for target in scene.targets])
    slopes = []
    step = 2e-6
    for axis in range(3):
        for k in range(n):
            shift = np.zeros((n, 3))
            shift[k, axis] = step

            def at(factor, shift=shift):
                return mean_echo(scene, positions + factor * shift, reflections, signal)

            slopes.append((8 * (at(1) - at(-1)) - at(2) + at(-2)) / (12 * step))
    for unit in (1.0, 1.0j):
        for k in range(n):
            slopes.append(mean_echo(scene, positions, unit * np.eye(n)[k], signal))
    stacked = np.stack([slope.ravel() for slope in slopes])
    whitened = np.stack([np.linalg.solve(noise, slope).ravel() for slope in slopes])
    return 2 * (stacked.conj() @ whitened.T).real


def hermitian_noise(n, rng):
    root = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    return 1e-9 * (root @ root.conj().T + n * np.eye(n))


@pytest.mark.parametrize('n_targets', [1, 2, 3])
@pytest.mark.parametrize('kind', ['white', 'diagonal', 'full', 'monostatic'])
def test_fisher_matrix_is_the_slepian_bangs_formula(n_targets, kind):
    rng = np.random.default_rng(n_targets)
    scene = random_scene(n_targets, n_targets, 1, side=8, monostatic=kind == 'monostatic')
    noise, covariance = {
        'diagonal': lambda d: (SensingNoise(diagonal=d), np.diag(d)),
        'full': lambda d: (SensingNoise(covariance=hermitian_noise(64, np.random.default_rng(7))),
                           hermitian_noise(64, np.random.default_rng(7))),
    }.get(kind, lambda d: (SensingNoise(power=1e-8), 1e-8 * np.eye(64)))(
        rng.uniform(1e-9, 1e-8, 64))
    scene = replace(scene, radio=radio(noise))
    problem = build_problem(scene)
    # Four streams with a sample covariance that is theirs exactly: unitary symbol blocks.
    beams = rng.normal(size=(64, 4)) + 1j * rng.normal(size=(64, 4))
    symbols = np.linalg.qr(rng.normal(size=(100, 4)) + 1j * rng.normal(size=(100, 4)))[0]
    signal = beams @ symbols.T * np.sqrt(100)

    # Undecorrelated responses: the same parameters that the numerical derivatives take.
    points = np.array([target.position for target in scene.targets])
    sent = stack(*response_derivatives(scene.transmit_array.positions, points, WAVELENGTH)).conj()
    seen = stack(*response_derivatives(scene.receive_array.positions, points, WAVELENGTH))
    plain = FisherMap(seen.conj().T @ np.linalg.solve(covariance, seen), sent,
                      problem.full_fisher.reflections, 100.0, np.ones(5 * n_targets))

    expected = numerical_fisher(scene, signal, covariance)
    units = 1 / np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        plain.of_factor(beams) * units * units[:, None], expected * units * units[:, None],
        atol=2e-7)
    # Decorrelation changes the parametrisation of the nuisance only: same position bounds, as far
    # as the inverse of the plain matrix, the ill-conditioned one, can be known.
    condition = np.linalg.cond(expected * units * units[:, None])
    np.testing.assert_allclose(
        position_bounds(problem.full_fisher.of_factor(beams), n_targets),
        position_bounds(plain.of_factor(beams), n_targets), rtol=1e-6 + 1e-15 * condition)


def test_factor_gram_covariance_and_coefficients_are_the_same_map():
    problem = build_problem(random_scene(3, 2, 1, side=4))
    rng = np.random.default_rng(0)
    d = problem.dimension
    factor = rng.normal(size=(d, 3)) + 1j * rng.normal(size=(d, 3))
    covariance = factor @ factor.conj().T
    by_factor = problem.fisher.of_factor(factor)
    np.testing.assert_allclose(problem.fisher.of_covariance(covariance), by_factor, rtol=1e-9,
                               atol=1e-12)
    by_coefficients = np.einsum(
        'ijmn,nm->ij', problem.fisher.coefficients(), covariance).real
    np.testing.assert_allclose(by_coefficients, by_factor, rtol=1e-9, atol=1e-12)


def test_adjoint_has_the_inner_products_of_the_map():
    problem = build_problem(random_scene(4, 2, 1, side=4))
    rng = np.random.default_rng(1)
    d, n = problem.dimension, len(problem.selection)
    weights = rng.normal(size=(n, n))
    weights += weights.T
    root = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    covariance = root @ root.conj().T
    adjoint = problem.fisher.adjoint(weights)
    np.testing.assert_allclose(adjoint, adjoint.conj().T, atol=1e-12 * np.abs(adjoint).max())
    assert np.trace(adjoint @ covariance).real == pytest.approx(
        np.sum(weights * problem.fisher.of_covariance(covariance)), rel=1e-10)


def test_reduced_map_gives_the_physical_bounds():
    problem = build_problem(random_scene(5, 2, 2, side=5))
    rng = np.random.default_rng(2)
    factor = rng.normal(size=(problem.dimension, 4)) + 1j * rng.normal(size=(problem.dimension, 4))
    factor /= np.linalg.norm(factor)
    beams = problem.basis @ factor * np.sqrt(problem.scene.radio.power)
    bounds = position_bounds(problem.full_fisher.of_factor(beams), 2)
    assert problem.objective(factor @ factor.conj().T) == pytest.approx(
        np.trace(bounds, axis1=1, axis2=2).sum(), rel=1e-9)


def test_broadside_angle_bound_of_a_small_array_is_the_textbook_one():
    # Far on the axis the bound on y is r^2 times that on the sine of the angle, with
    # 1 / (2 L snr nu^2 sum y^2) for the latter (Stoica, Nehorai, IEEE Trans. ASSP 37, 1989);
    # near-field terms are of the order (y / r)^2.
    n, distance = 16, 50.0
    y = (np.arange(n) - (n - 1) / 2) * WAVELENGTH / 2
    receive = planar(n, n)
    scene = Scene(planar(n, n), receive, radio(), (PointTarget('t', np.array([0, 0, distance])),))
    problem = build_problem(scene)
    amplitude = WAVELENGTH / (4 * np.pi * distance)
    echo = 0.01 * amplitude ** 4 / 1e-8
    nu = 2 * np.pi / WAVELENGTH
    # Transmit and receive diversity both carry angle information: n^2 elements each.
    spread = n * np.sum(y ** 2)
    information = 2 * 100 * echo * (nu / distance) ** 2 * 2 * spread
    bound = problem.isotropic_bounds[0]
    assert bound[1, 1] == pytest.approx(1 / information, rel=2e-3)
    assert bound[0, 0] == pytest.approx(bound[1, 1], rel=1e-6)


def test_an_unidentifiable_position_has_an_infinite_bound():
    singular = np.diag([1.0, 1.0, 0.0, 1.0, 1.0])
    assert jacobi_inverse(singular) is None
    assert np.isinf(position_bounds(singular, 1)).all()


def test_inverse_survives_twenty_decades():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(10, 10))
    units = 10.0 ** rng.uniform(-10, 10, 10)
    matrix = (root @ root.T + np.eye(10)) * units * units[:, None]
    product = jacobi_inverse(matrix) @ matrix
    np.testing.assert_allclose(product * units[:, None] / units, np.eye(10), atol=1e-8)
