"""A scene turned into the small matrices that designs, solvers and certificates work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.feasibility import UserBeams, largest_common_scale, least_power
from nf_isac_ros.core.fisher import (
    FisherMap,
    decorrelate,
    jacobi_inverse,
    position_bounds,
    stack,
    whiten,
)
from nf_isac_ros.core.propagation import response_derivatives, user_channels
from nf_isac_ros.core.scene import Scene
from nf_isac_ros.core.subspace import reduced_basis

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Problem:
    """
    Reduced form of a scene.

    A covariance R_X = P_T B S B^H with trace(S) <= 1 stands behind each S. Channels are scaled to
    unit norm, Fisher parameters so that an isotropic S gives a unit diagonal: entries in SI units
    span ten decades, and solvers fail on them.

    Attributes
    ----------
    scene : Scene
    channels : ndarray, shape (N, U)
        User channels h; user u receives h_u^H x.
    steering : ndarray, shape (N, K)
        conj(v) of the targets.
    echo_gains : ndarray, shape (K,)
        |a|^2 |b|^2: echo power over illumination.
    full_fisher : FisherMap
        For covariances (N, N) in W, in physical units.
    basis : ndarray, shape (N, d)
        B: orthonormal, the users' directions first.
    user_channels : ndarray, shape (d, U)
        g = B^H h / |h|.
    user_noise : ndarray, shape (U,)
        sigma_u^2 / (P_T |h_u|^2).
    sinr : ndarray, shape (U,)
        Required SINRs, linear.
    fisher : FisherMap
        For S, in scaled units.
    selection : ndarray, shape (5 K, 3 K)
        E: the objective is tr(E^T F(S)^-1 E) [m^2], weights included.

    """

    scene: Scene
    channels: Complex
    steering: Complex
    echo_gains: Real
    full_fisher: FisherMap
    basis: Complex
    user_channels: Complex
    user_noise: Real
    sinr: Real
    fisher: FisherMap
    selection: Real

    @property
    def dimension(self) -> int:
        """Dimension d of the reduced subspace."""
        return self.basis.shape[1]

    @cached_property
    def unit_noise_channels(self) -> Complex:
        """Channels scaled so that budget and noise are 1, shape (d, U)."""
        return self.user_channels / np.sqrt(self.user_noise)

    @cached_property
    def balanced(self) -> tuple[float, UserBeams]:
        """Largest common factor on the required SINRs, and the beams that reach it."""
        return largest_common_scale(self.unit_noise_channels, self.sinr)

    @cached_property
    def max_common_sinr_scale_db(self) -> float:
        """By how much all required SINRs can be raised together [dB]; infinite without users."""
        if not len(self.sinr):
            return np.inf
        return float(10 * np.log10(self.balanced[0]))

    @cached_property
    def least_power(self) -> UserBeams | None:
        """Beams of least power that meet every SINR; None if the budget does not allow it."""
        return least_power(self.unit_noise_channels, self.sinr)

    @cached_property
    def isotropic_bounds(self) -> Real:
        """Bounds of the positions for R_X = P_T / N, shape (K, 3, 3) [m^2]."""
        n = len(self.scene.transmit_array)
        transmit = self.full_fisher.transmit
        gram = transmit.conj().T @ transmit * (self.scene.radio.power / n)
        return position_bounds(self.full_fisher.of_gram(gram), len(self.scene.targets))

    def objective(self, covariance: Complex) -> float:
        """Weighted sum of position bounds of S, shape (d, d) [m^2]; infinite if singular."""
        inverse = jacobi_inverse(self.fisher.of_covariance(covariance))
        if inverse is None:
            return np.inf
        return float(np.einsum('ia,ij,ja->', self.selection, inverse, self.selection))


def build_problem(scene: Scene) -> Problem:
    """
    Build channels, reduced basis and Fisher map of a scene.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    Problem

    Raises
    ------
    SceneError
        If a body lies on an antenna, a channel is zero, a reflection coefficient is zero, or no
        covariance at all can locate the targets.

    Notes
    -----
    Propositions 1 and 2 of Hua, Xu, Zhang.

    """
    radio, targets = scene.radio, scene.targets
    for target in targets:
        if target.reflection == 0:
            raise SceneError(f'reflection of {target.id!r} is 0: it gives no echo',
                             'zero-reflection', target.id)
    points = np.array([target.position for target in targets]).reshape(-1, 3)
    names = [target.id for target in targets]
    reflections = np.array([target.reflection for target in targets], dtype=complex)

    transmit, transmit_slope = response_derivatives(
        scene.transmit_array.positions, points, radio.wavelength, names)
    if scene.monostatic:
        receive, receive_slope = transmit, transmit_slope
    else:
        receive, receive_slope = response_derivatives(
            scene.receive_array.positions, points, radio.wavelength, names)
    channels = user_channels(scene, transmit)

    # Whitened first, so that the decorrelation is orthogonal in the metric of the noise.
    white = whiten(radio.sensing_noise, receive)
    white_slope = np.stack([whiten(radio.sensing_noise, slope) for slope in receive_slope])
    seen = stack(white, decorrelate(white, white_slope))
    sent = stack(transmit, decorrelate(transmit, transmit_slope)).conj()
    full_fisher = FisherMap(seen.conj().T @ seen, sent, reflections, float(radio.symbols),
                            np.ones(5 * len(targets)))

    basis, rank = reduced_basis(channels, sent)
    norms = np.linalg.norm(channels, axis=0)
    reduced = basis.conj().T @ channels / norms
    reduced[rank:] = 0.0
    noise = np.array([radio.user_noise if user.noise_power is None else user.noise_power
                      for user in scene.users])
    fisher, selection = _scaled(full_fisher, basis, radio.power, scene)
    return Problem(
        scene=scene, channels=channels, steering=transmit.conj(),
        echo_gains=np.einsum('mk,mk->k', receive.conj(), receive).real * np.abs(reflections) ** 2,
        full_fisher=full_fisher, basis=basis, user_channels=reduced,
        user_noise=noise / (radio.power * norms ** 2),
        sinr=10 ** (np.array([user.min_sinr_db for user in scene.users]) / 10),
        fisher=fisher, selection=selection)


def _first_not_localisable(fisher: Real, n_targets: int) -> int:
    """First target with which the Fisher matrix of it and those before it is singular."""
    by_target = fisher.reshape(5, n_targets, 5, n_targets)
    for k in range(n_targets):
        if jacobi_inverse(by_target[:, :k + 1, :, :k + 1].reshape(5 * (k + 1), -1)) is None:
            return k
    return n_targets - 1


def _scaled(full: FisherMap, basis: Complex, power: float, scene: Scene) -> tuple[FisherMap, Real]:
    """Fisher map for S with a unit diagonal at the isotropic S, and the matching selection E."""
    n = full.n_targets
    fisher = replace(full, transmit=basis.conj().T @ full.transmit * np.sqrt(power))
    if not n:
        return fisher, np.zeros((0, 0))
    isotropic = fisher.of_covariance(np.eye(basis.shape[1]) / basis.shape[1])
    if jacobi_inverse(isotropic) is None:
        culprit = _first_not_localisable(isotropic, n)
        others = [target.id for target in scene.targets[:culprit]]
        raise SceneError(
            f'position of {scene.targets[culprit].id!r} cannot be estimated with these arrays'
            + (f' beside {others}' if others else '') + ': no covariance gives a finite bound',
            'not-localisable', scene.targets[culprit].id)
    scale = 1.0 / np.sqrt(np.diag(isotropic))
    weights = np.tile([target.weight for target in scene.targets], 3)
    selection = np.zeros((5 * n, 3 * n))
    selection[:3 * n] = np.diag(np.sqrt(weights) * scale[:3 * n])
    return replace(fisher, scale=scale), selection
