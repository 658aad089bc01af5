"""A scene turned into the small matrices that designs, solvers and certificates work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.core.extended.gram import ExtendedFisher
from nf_isac_ros.core.feasibility import UserBeams, largest_common_scale, least_power
from nf_isac_ros.core.fisher import (
    FisherMap,
    decorrelate,
    jacobi_inverse,
    position_bounds,
    stack,
    whiten,
)
from nf_isac_ros.core.information import BlockMap, GramMap, InformationMap, spans
from nf_isac_ros.core.propagation import (
    response_derivatives,
    write_decorrelated,
    write_user_channels,
)
from nf_isac_ros.core.scene import BoundWeights, Scene
from nf_isac_ros.core.subspace import RANK_TOLERANCE, gram_matrix, subspace
from nf_isac_ros.core.truncation import n_rows, truncation, unit_columns

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Rows:
    """
    Further requirements on what points receive: sign_k p_k^H S p_k >= sum_t levels_kt tau_t.

    The tau_t are free. Two rows for each of some points, (1, 1) and (-1, -eta), keep the largest
    of their illuminations within eta times the smallest.

    Attributes
    ----------
    points : ndarray, shape (d, R)
        p_k.
    signs : ndarray, shape (R,)
        1 or -1.
    levels : ndarray, shape (R, T)

    """

    points: Complex
    signs: Real
    levels: Real

    def in_coordinates(self, basis: Complex) -> Rows:
        """Same requirements on S' where S = basis S' basis^H, basis of shape (d, d')."""
        return replace(self, points=basis.conj().T @ self.points)

    def received(self, covariance: Complex) -> Real:
        """p_k^H S p_k, shape (R,)."""
        received: Real = np.einsum(
            'ik,ij,jk->k', self.points.conj(), covariance, self.points).real
        return received

    def balanced(self, multipliers: Real) -> Real:
        """Multipliers >= 0 whose sums with each column of the levels are zero, shape (R,)."""
        out = np.maximum(multipliers, 0.0)
        for level in self.levels.T:
            up, down = level > 0, level < 0
            above, below = level[up] @ out[up], -(level[down] @ out[down])
            larger, share = (up, below / above) if above > below else (
                down, above / below if below else 0.0)
            out[larger] *= share
        return out


@dataclass(frozen=True)
class SigmaPoint:
    """
    Where the point targets may be instead of where they are expected.

    Attributes
    ----------
    share : float
        Weight in the average.
    full_fisher : FisherMap
        As that of the `Problem`.
    own : slice
        Which of its `columns` are those of `full_fisher`.

    """

    share: float
    full_fisher: FisherMap
    own: slice


@dataclass(frozen=True)
class Places:
    """
    Where all bodies of a scene are.

    Attributes
    ----------
    names : tuple of (str, str, int)
        Role and id of each, and how many points it has: an extended target its visible sections.
    points : ndarray, shape (n, 3)
        Of all, in that order [m].

    """

    names: tuple[tuple[str, str, int], ...]
    points: Real


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
    columns : ndarray, shape (N, U + 4 K + ...)
        `channels`, `full_fisher.transmit` and the columns of the extended targets side by side,
        each column contiguous.
    gram : ndarray, shape (U + 4 K + ..., U + 4 K + ...)
        Their Gram matrix.
    echo_gains : ndarray, shape (K,)
        |a|^2 |b|^2: echo power over illumination.
    full_fisher : FisherMap
        Of the point targets, for covariances (N, N) in W, in physical units.
    extended : tuple of ExtendedFisher
        Of the extended targets, the same.
    basis : ndarray, shape (N, d)
        B: orthonormal, the users' directions first.
    user_channels : ndarray, shape (d, U)
        g = B^H h / |h|.
    noise_power : ndarray, shape (U,)
        sigma_u^2 [W].
    user_noise : ndarray, shape (U,)
        sigma_u^2 / (P_T |h_u|^2).
    sinr : ndarray, shape (U,)
        Required SINRs, linear.
    fisher : InformationMap
        For S, in scaled units; of the point targets jointly and of each extended target.
    selection : ndarray, shape (5 K + ..., 3 K + ...)
        E: the objective is tr(E^T F(S)^-1 E) [m^2], weights included.
    rows : Rows or None
        Requirements besides power and SINRs.
    unlocated : tuple of str
        Extended targets whose centre cannot be estimated: the objective has their direction, or
        what else `ExtendedOptions` says, instead.
    singular : SceneError or None
        Why no covariance at all can locate the point targets; None if one can. Designs whose
        objective is a bound raise it, `require_bounds`; the others need no bound.
    sigma_points : tuple of SigmaPoint
        If the objective is an average over where the targets may be; see core/region.py.

    """

    scene: Scene
    columns: Complex
    gram: Complex
    echo_gains: Real
    full_fisher: FisherMap
    extended: tuple[ExtendedFisher, ...]
    basis: Complex
    user_channels: Complex
    noise_power: Real
    user_noise: Real
    sinr: Real
    fisher: InformationMap
    selection: Real
    rows: Rows | None = None
    unlocated: tuple[str, ...] = ()
    singular: SceneError | None = None
    sigma_points: tuple[SigmaPoint, ...] = ()

    @property
    def channels(self) -> Complex:
        """User channels h, shape (N, U); user u receives h_u^H x."""
        return self.columns[:, :len(self.scene.users)]

    @property
    def steering(self) -> Complex:
        """conj(v) of the targets, shape (N, K)."""
        n_users = len(self.scene.users)
        return self.columns[:, n_users:n_users + len(self.scene.targets)]

    @cached_property
    def point_columns(self) -> slice:
        """Which of `columns` are those of the point targets."""
        first = len(self.scene.users)
        return slice(first, first + 4 * len(self.scene.targets))

    @cached_property
    def extended_columns(self) -> tuple[slice, ...]:
        """Which of `columns` are those of each extended target."""
        return spans([fisher.columns.shape[1] for fisher in self.extended],
                     self.point_columns.stop)

    @property
    def extended_coordinates(self) -> tuple[Complex, ...]:
        """Reduced columns of each extended target, (d, p), times the root of the power budget."""
        blocks = (self.fisher.blocks if isinstance(self.fisher, BlockMap) else (self.fisher,))
        n = len(self.extended)
        return tuple(block.transmit for block in blocks[len(blocks) - n:])

    @property
    def dimension(self) -> int:
        """Dimension d of the reduced subspace."""
        return self.basis.shape[1]

    @cached_property
    def places(self) -> Places:
        """Of point targets, extended targets and users; a user with but a channel has no point."""
        scene = self.scene
        names = [('target', target.id, 1) for target in scene.targets]
        points = [target.position for target in scene.targets]
        for body, fisher in zip(scene.extended, self.extended, strict=True):
            names.append(('target', body.id, len(fisher.sections)))
            points += list(body.position + fisher.sections.points @ body.pose.rotation[:, :2].T)
        names += [('user', user.id, int(user.position is not None)) for user in scene.users]
        points += [user.position for user in scene.users if user.position is not None]
        return Places(tuple(names), np.array(points).reshape(-1, 3))

    @cached_property
    def phases(self) -> Complex:
        """
        Of what the array's middle sees of each transmit column, and of the users, last; size one.

        Derivatives have the phase of the response that they are of.
        """
        seen = np.ascontiguousarray(self.columns[self.scene.transmit_array.middle])
        points = self.point_columns
        owners = _point_owners(points.start, points.stop, len(self.scene.targets))
        if self.extended:
            owners = np.vstack([owners, *(
                (own.start, own.stop, len(fisher.sections))
                for own, fisher in zip(self.extended_columns, self.extended, strict=True))])
        return _phases(seen, owners, len(self.scene.users))

    @cached_property
    def nuisance_first(self) -> tuple[NDArray[np.intp], int]:
        """Parameters, those that the objective leaves out first; how many it does not."""
        wanted = self.selection.any(axis=1)
        return np.argsort(wanted, kind='stable'), int(np.count_nonzero(wanted))

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
        """Bounds of the points' positions for R_X = P_T / N, shape (K, 3, 3) [m^2]."""
        n, own = len(self.scene.transmit_array), self.point_columns
        gram = self.gram[own, own] * (self.scene.radio.power / n)
        return position_bounds(self.full_fisher.of_gram(gram), len(self.scene.targets))

    @cached_property
    def isotropic_centre_bounds(self) -> list[float]:
        """Traces of the same of the centres of the extended targets [m^2]."""
        share = self.scene.radio.power / len(self.scene.transmit_array)
        return [float(fisher.bounds(fisher.of_gram(self.gram[own, own] * share)).centre.trace())
                for fisher, own in zip(self.extended, self.extended_columns, strict=True)]

    def truncated(self, tolerance: float, usual: int | None = None) -> tuple[Problem, Complex]:
        """
        Restrict the covariance to the better part of the reduced subspace.

        Parameters
        ----------
        tolerance : float
            Singular values of the unit columns of `fisher.transmit`, off the users' channels,
            that are smaller are left out; beside extended targets nothing of points is.
        usual : int or None
            Dimension to keep to where that is about the same, so that one problem is like the
            one before.

        Returns
        -------
        problem : Problem
            What is feasible in it is feasible here, with the same bounds and SINRs.
        basis : ndarray, shape (d, d')
            Orthonormal; S = basis S' basis^H.

        """
        basis = self.truncation(tolerance, usual)
        left = basis.conj().T
        return replace(
            self, basis=self.basis @ basis, user_channels=left @ self.user_channels,
            fisher=self.fisher.with_transmit(left @ self.fisher.transmit),
            rows=None if self.rows is None else self.rows.in_coordinates(basis)), basis

    def truncation(self, tolerance: float, usual: int | None = None) -> Complex:
        """Basis of `truncated` alone, shape (d, d'), the users' directions first."""
        transmit = np.ascontiguousarray(self.fisher.transmit)
        channels = np.ascontiguousarray(self.user_channels)
        # Ranges of points rest on directions that have next to nothing in their columns.
        first = 4 * len(self.scene.targets) if self.extended else 0
        turned: Complex = np.zeros((0, 0), dtype=complex)
        if first:
            turned, _ = np.linalg.qr(
                unit_columns(transmit, n_rows(channels))[:, :first], mode='complete')
        return truncation(transmit, channels, first, turned, tolerance,
                          -1 if usual is None else usual)

    def require_bounds(self) -> None:
        """Raise SceneError, 'not-localisable', if no covariance can locate the point targets."""
        if self.singular is not None:
            raise self.singular

    def objective(self, covariance: Complex) -> float:
        """Weighted sum of position bounds of S, shape (d, d) [m^2]; infinite if singular."""
        inverse = jacobi_inverse(self.fisher.of_covariance(covariance))
        if inverse is None:
            return np.inf
        return float(np.vdot(self.selection, inverse @ self.selection))


@cache
def _point_owners(first: int, end: int, n_targets: int) -> NDArray[np.int64]:
    """Owners for `_phases` of the columns of the point targets."""
    owners = [(first, end, n_targets)] if n_targets else []
    return np.array(owners, dtype=np.int64).reshape(-1, 3)


@compiled
def _phases(seen: Complex, owners: NDArray[np.int64], n_users: int) -> Complex:
    """
    Phases of `Problem.phases`.

    Owners are where columns begin and end, and how many responses come before derivatives.
    """
    unit = np.empty(len(seen), dtype=np.complex128)
    for i in range(len(seen)):
        size = abs(seen[i])
        unit[i] = seen[i] / size if size > 0.0 else 1.0
    out = np.empty(np.sum(owners[:, 1] - owners[:, 0]) + n_users, dtype=np.complex128)
    at = 0
    for k in range(len(owners)):
        for column in range(owners[k, 1] - owners[k, 0]):
            out[at] = unit[owners[k, 0] + column % owners[k, 2]]
            at += 1
    for u in range(n_users):
        out[at + u] = unit[u]
    return out


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
        If a body lies on an antenna, a channel is zero, or a reflection coefficient is zero.

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

    extended = tuple(build_extended_fisher(scene, target) for target in scene.extended)
    n_users, n_elements = len(scene.users), len(scene.transmit_array)
    end = n_users + 4 * len(targets)
    places = spans([fisher.columns.shape[1] for fisher in extended], end)
    rows = np.empty((places[-1].stop if places else end, n_elements), dtype=complex)
    write_decorrelated(
        scene.transmit_array.axes, points, radio.wavelength, names, rows[n_users:end])
    write_user_channels(scene, rows[n_users:n_users + len(targets)], rows[:n_users])
    for fisher, place in zip(extended, places, strict=True):
        rows[place] = fisher.columns.T
    columns = rows.T
    gram = gram_matrix(columns)
    receive_gram, receive_powers = receive_side(
        scene, points, names, gram[n_users:end, n_users:end])
    full_fisher = FisherMap(receive_gram, columns[:, n_users:end], reflections,
                            float(radio.symbols), np.ones(5 * len(targets)))

    space = subspace(columns, gram, n_users)
    powers = gram.diagonal()[:n_users].real
    reduced = space.coordinates[:, :n_users] / np.sqrt(powers)
    reduced[space.rank:] = 0.0
    noise = np.array([radio.user_noise if user.noise_power is None else user.noise_power
                      for user in scene.users])
    blocks: list[tuple[InformationMap, Real]] = []
    unlocated: list[str] = []
    singular: SceneError | None = None
    if targets or not extended:
        located = space.coordinates[:, n_users:end]
        try:
            blocks.append(scaled_block(full_fisher, located, scene))
        except SceneError as error:
            singular = error
            blocks.append((replace(full_fisher, transmit=located * np.sqrt(radio.power)),
                           np.zeros((5 * len(targets), 3 * len(targets)))))
    for body, fisher, place in zip(scene.extended, extended, places, strict=True):
        coordinates = space.coordinates[:, place] * np.sqrt(radio.power)
        try:
            block, wanted = conditioned_block(fisher, coordinates, 'centre')
        except SceneError:
            # A single section tells its direction, but not range and orientation apart.
            block, wanted = conditioned_block(fisher, coordinates, scene.options.objective)
            unlocated.append(body.id)
        blocks.append((block, wanted * np.sqrt(body.weight)))
    information, selection = joined(blocks)
    return Problem(
        scene=scene, columns=columns, gram=gram,
        echo_gains=receive_powers * np.abs(reflections) ** 2, full_fisher=full_fisher,
        extended=extended, basis=space.basis, user_channels=reduced, noise_power=noise,
        user_noise=noise / (radio.power * powers),
        sinr=10 ** (np.array([user.min_sinr_db for user in scene.users]) / 10),
        fisher=information, selection=selection, unlocated=tuple(unlocated), singular=singular)


def conditioned_block(fisher: ExtendedFisher, coordinates: Complex,
                      objective: Literal['direction', 'centre'] | BoundWeights,
                      ) -> tuple[GramMap, Real]:
    """
    Reduced Fisher map of an extended target, the identity at an isotropic S.

    Parameters
    ----------
    fisher : ExtendedFisher
    coordinates : ndarray, shape (d, p)
        Of its columns in the reduced basis, times the root of the power budget.
    objective : str or BoundWeights
        As in `ExtendedOptions`.

    Returns
    -------
    GramMap
        For S.
    ndarray, shape (n, w)
        E for the objective.

    """
    isotropic = fisher.of_gram(coordinates.conj().T @ coordinates / len(coordinates))
    selection = fisher.selection(objective)
    # Turned, so that no column is left for what cannot move, as across the plane of a contour.
    _, values, right = np.linalg.svd(selection, full_matrices=False)
    shapes, selection = fisher.conditioned(
        isotropic, selection @ right[values > RANK_TOLERANCE * values[0]].T)
    return GramMap(coordinates, shapes), selection


def joined(blocks: Sequence[tuple[InformationMap, Real]]) -> tuple[InformationMap, Real]:
    """Put Fisher maps and their E side by side."""
    if len(blocks) == 1:
        return blocks[0]
    return (BlockMap(tuple(block for block, _ in blocks)),
            block_diag(*(selection for _, selection in blocks)))


def receive_side(scene: Scene, points: Real, names: Sequence[str],
                 transmit_gram: Complex) -> tuple[Complex, Real]:
    """
    What the receive array contributes to the Fisher map of points.

    Parameters
    ----------
    scene : Scene
    points : ndarray, shape (K, 3)
        [m].
    names : sequence of str
        Names of the points for error messages.
    transmit_gram : ndarray, shape (4 K, 4 K)
        Gram matrix of the points' columns at the transmit array.

    Returns
    -------
    ndarray, shape (4 K, 4 K)
        A^H Q^-1 A of the stacked receive responses.
    ndarray, shape (K,)
        |a|^2.

    """
    noise, array, n = scene.radio.sensing_noise, scene.receive_array, len(points)
    if noise.power is None:
        receive, slope = response_derivatives(
            array.positions, points, scene.radio.wavelength, names)
        # Whitened first, so that the decorrelation is orthogonal in the metric of the noise.
        white = whiten(noise, receive)
        seen = stack(white, decorrelate(white, np.stack([whiten(noise, by) for by in slope])))
        return (np.ascontiguousarray(seen.conj().T @ seen),
                np.einsum('mk,mk->k', receive.conj(), receive).real)
    if scene.monostatic:
        gram = transmit_gram
    else:
        rows = np.empty((4 * n, len(array)), dtype=complex)
        write_decorrelated(array.axes, points, scene.radio.wavelength, names, rows)
        gram = gram_matrix(rows.T)
    # Of the conjugate columns.
    return np.ascontiguousarray(gram.conj()) / noise.power, gram.diagonal()[:n].real


def _first_not_localisable(fisher: Real, n_targets: int) -> int:
    """First target with which the Fisher matrix of it and those before it is singular."""
    by_target = fisher.reshape(5, n_targets, 5, n_targets)
    for k in range(n_targets):
        if jacobi_inverse(by_target[:, :k + 1, :, :k + 1].reshape(5 * (k + 1), -1)) is None:
            return k
    return n_targets - 1


def scaled_block(full: FisherMap, transmit: Complex, scene: Scene) -> tuple[FisherMap, Real]:
    """
    Reduced Fisher map of point targets with a unit diagonal at the isotropic S.

    Parameters
    ----------
    full : FisherMap
        In physical units.
    transmit : ndarray, shape (d, 4 K)
        Coordinates of its columns in the reduced basis.
    scene : Scene
        Power, weights, and names for error messages.

    Returns
    -------
    FisherMap
        For S.
    ndarray, shape (5 K, 3 K)
        E, weights included.

    Raises
    ------
    SceneError
        If no covariance at all can locate the targets.

    """
    n = full.n_targets
    transmit = transmit * np.sqrt(scene.radio.power)
    fisher = replace(full, transmit=transmit)
    if not n:
        return fisher, np.zeros((0, 0))
    isotropic = fisher.of_gram(transmit.conj().T @ transmit / len(transmit))
    if jacobi_inverse(isotropic) is None:
        culprit = _first_not_localisable(isotropic, n)
        others = [target.id for target in scene.targets[:culprit]]
        raise SceneError(
            f'position of {scene.targets[culprit].id!r} cannot be estimated with these arrays'
            + (f' beside {others}' if others else '') + ': no covariance gives a finite bound',
            'not-localisable', scene.targets[culprit].id)
    scale = 1.0 / np.sqrt(np.diag(isotropic))
    weights = np.array([target.weights for target in scene.targets]).T.ravel()
    selection = np.zeros((5 * n, 3 * n))
    selection[:3 * n] = np.diag(np.sqrt(weights) * scale[:3 * n])
    return replace(fisher, scale=scale), selection
