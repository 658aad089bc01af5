"""Power density that beams give at points in space, v^T R_X v^* of Eq. (24)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.propagation import responses

Vector = NDArray[np.float64]
ComplexMatrix = NDArray[np.complexfloating]

# Responses whose intermediate results stay in the cache of a core.
CACHE_ENTRIES = 1 << 14

# Responses evaluated at once. The intermediate results of one response take up to 100 bytes.
CHUNK_ENTRIES = 1 << 20

# A point at just one wavelength may fall on either side by rounding.
NEAR_MARGIN = 1.0 + 1e-9


@dataclass(frozen=True)
class GridPlane:
    """
    A parallelogram in space, divided into cells.

    Attributes
    ----------
    centre : ndarray, shape (3,)
        Centre in the scene frame [m].
    edge_u, edge_v : ndarray, shape (3,)
        The two edges, from end to end [m].
    cells : tuple of int
        Cells along u and along v.

    """

    centre: Vector
    edge_u: Vector
    edge_v: Vector
    cells: tuple[int, int] = (60, 60)

    def __post_init__(self) -> None:
        """Check and freeze the vectors."""
        _freeze_vectors(self, 'plane', ('centre', 'edge_u', 'edge_v'))
        if np.linalg.norm(np.cross(self.edge_u, self.edge_v)) <= 0.0:
            raise SceneError('edge_u and edge_v of a plane must span an area', 'bad-plane')
        _check_cells(self.cells, 'plane', 2)

    @cached_property
    def points(self) -> Vector:
        """Centres of the cells in the scene frame, shape (n_u * n_v, 3), u index slowest [m]."""
        u, v = (((np.arange(n) + 0.5) / n - 0.5) for n in self.cells)
        points: Vector = (
            self.centre + u[:, None, None] * self.edge_u + v[None, :, None] * self.edge_v)
        return points.reshape(-1, 3)


@dataclass(frozen=True)
class GridVolume:
    """
    A parallelepiped in space, divided into cells.

    Attributes
    ----------
    centre : ndarray, shape (3,)
        Centre in the scene frame [m].
    edge_u, edge_v, edge_w : ndarray, shape (3,)
        The three edges, from end to end [m].
    cells : tuple of int
        Cells along u, v and w.

    """

    centre: Vector
    edge_u: Vector
    edge_v: Vector
    edge_w: Vector
    cells: tuple[int, int, int] = (40, 40, 40)

    def __post_init__(self) -> None:
        """Check and freeze the vectors."""
        _freeze_vectors(self, 'volume', ('centre', 'edge_u', 'edge_v', 'edge_w'))
        if abs(np.dot(np.cross(self.edge_u, self.edge_v), self.edge_w)) <= 0.0:
            raise SceneError('edge_u, edge_v and edge_w of a volume must span a volume',
                             'bad-volume')
        _check_cells(self.cells, 'volume', 3)

    @cached_property
    def points(self) -> Vector:
        """Centres of the cells in the scene frame, shape (n_u n_v n_w, 3), u slowest [m]."""
        u, v, w = (((np.arange(n) + 0.5) / n - 0.5) for n in self.cells)
        points: Vector = (
            self.centre + u[:, None, None, None] * self.edge_u
            + v[None, :, None, None] * self.edge_v + w[None, None, :, None] * self.edge_w)
        return points.reshape(-1, 3)


def _freeze_vectors(grid: GridPlane | GridVolume, kind: str, keys: Sequence[str]) -> None:
    """Turn the vectors of a grid into read-only arrays; SceneError if one is none."""
    for key in keys:
        vector = np.array(getattr(grid, key), dtype=float)
        if vector.shape != (3,) or not np.isfinite(vector).all():
            raise SceneError(f'{key} of a {kind} is {getattr(grid, key)}, must be three '
                             'finite numbers [m]', f'bad-{kind}')
        vector.setflags(write=False)
        object.__setattr__(grid, key, vector)


def _check_cells(cells: Sequence[int], kind: str, number: int) -> None:
    if len(cells) != number or min(cells) < 1:
        raise SceneError(f'cells of a {kind} is {cells}, must be {number} counts of at least 1',
                         f'bad-{kind}')


@dataclass(frozen=True)
class PatternComponents:
    """
    Power density by the part of the transmission that it comes from.

    Attributes
    ----------
    users : ndarray, shape (U, K)
        Of each user's beam, v^T w_u w_u^H v^* [W].
    sensing : ndarray, shape (K,)
        Of the sensing covariance, v^T R_d v^* [W].

    """

    users: Vector
    sensing: Vector

    @property
    def total(self) -> Vector:
        """Of the whole covariance, v^T R_X v^*, shape (K,) [W]."""
        return self.users.sum(axis=0) + self.sensing


class PatternEvaluator:
    """
    Power density at fixed points for beams that change.

    The responses are evaluated once and kept in single precision as far as they fit into
    `memory`; the others are evaluated anew each time, a chunk at a time, so that an array of
    16384 elements needs no more memory than a small one.

    Parameters
    ----------
    elements : array_like, shape (N, 3)
        Element positions in the scene frame [m].
    wavelength : float
        [m].
    points : array_like, shape (K, 3)
        In the scene frame [m]. A point within a wavelength of an element has no response; its
        power density is NaN.
    memory : int
        Bytes that kept responses may take; 0 keeps none.

    Notes
    -----
    Single precision makes an error of less than 1e-6 |v| |B| in the amplitude v^T B, that is,
    nulls are resolved down to 120 dB below the largest power that the array could give there.

    """

    def __init__(self, elements: ArrayLike, wavelength: float, points: ArrayLike,
                 memory: int = 256 << 20) -> None:
        self._elements = np.asarray(elements, dtype=float)
        self._wavelength = float(wavelength)
        self.points = np.asarray(points, dtype=float).reshape(-1, 3)
        if not np.isfinite(self.points).all():
            raise SceneError('a point of the beam pattern is not finite', 'not-finite')
        distance, _ = cKDTree(self._elements).query(self.points)
        self._valid = np.flatnonzero(distance > self._wavelength * NEAR_MARGIN)
        self._kept: list[NDArray[np.complex64]] = []
        self._isotropic: Vector | None = None
        self._memory = memory

    @property
    def kept_bytes(self) -> int:
        """Bytes that the kept responses take now."""
        return sum(chunk.nbytes for chunk in self._kept)

    def _chunks(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.complex64]]]:
        """Yield indices of points and their responses, shape (chunk, N)."""
        size = max(1, CHUNK_ENTRIES // len(self._elements))
        for number, start in enumerate(range(0, len(self._valid), size)):
            indices = self._valid[start:start + size]
            if number < len(self._kept):
                yield indices, self._kept[number]
                continue
            chunk = _single_responses(self._elements, self.points[indices], self._wavelength)
            # Chunks are kept in order: one that does not fit ends the keeping.
            if number == len(self._kept) and self.kept_bytes + chunk.nbytes <= self._memory:
                self._kept.append(chunk)
            yield indices, chunk

    @property
    def isotropic(self) -> Vector:
        """
        Power density of isotropic transmission of 1 W, |v|^2 / N, shape (K,).

        Isotropic means R_X = I / N: equal, uncorrelated signals on all elements.
        """
        if self._isotropic is None:
            self._isotropic = np.full(len(self.points), np.nan)
            for indices, chunk in self._chunks():
                self._isotropic[indices] = np.einsum(
                    'kn,kn->k', chunk, chunk.conj()).real / len(self._elements)
        return self._isotropic

    def power(self, weights: ComplexMatrix) -> Vector:
        """
        Power density of beams.

        Parameters
        ----------
        weights : ndarray, shape (N, B)
            Beams [sqrt(W)].

        Returns
        -------
        ndarray, shape (K,)
            v^T B B^H v^* [W]: what an isotropic antenna would receive; NaN where there is no
            response.

        Raises
        ------
        SceneError
            If the number of rows is not that of the elements.

        """
        power = np.full(len(self.points), np.nan)
        for indices, by_beam in self._by_beam(weights):
            power[indices] = by_beam.sum(axis=1)
        return power

    def components(self, communication: ComplexMatrix,
                   sensing: ComplexMatrix) -> PatternComponents:
        """
        Power density of each user's beam and of the sensing beams together, in one pass.

        Parameters
        ----------
        communication : ndarray, shape (N, U)
            Beams w_u [sqrt(W)].
        sensing : ndarray, shape (N, r)
            Beams without data [sqrt(W)].

        Returns
        -------
        PatternComponents
            NaN where there is no response.

        Raises
        ------
        SceneError
            If the number of rows is not that of the elements.

        """
        n_users = communication.shape[1]
        users = np.full((n_users, len(self.points)), np.nan)
        sensed = np.full(len(self.points), np.nan)
        for indices, by_beam in self._by_beam(np.hstack([communication, sensing])):
            users[:, indices] = by_beam[:, :n_users].T
            sensed[indices] = by_beam[:, n_users:].sum(axis=1)
        return PatternComponents(users, sensed)

    def _by_beam(self, weights: ComplexMatrix) -> Iterator[tuple[NDArray[np.intp], Vector]]:
        """Yield indices of points and the power density of each beam there, (chunk, B)."""
        weights = np.asarray(weights, dtype=np.complex64)
        if weights.ndim != 2 or len(weights) != len(self._elements):
            raise SceneError(f'weights have shape {weights.shape}, must be '
                             f'({len(self._elements)}, B)', 'bad-weights')
        for indices, chunk in self._chunks():
            amplitudes = (chunk @ weights).astype(np.complex128)
            yield indices, amplitudes.real ** 2 + amplitudes.imag ** 2

    def gain(self, weights: ComplexMatrix) -> Vector:
        """
        Gain over isotropic transmission of the same total power from the same place.

        Parameters
        ----------
        weights : ndarray, shape (N, B)
            Beams [sqrt(W)].

        Returns
        -------
        ndarray, shape (K,)
            Between 0 and N; NaN where there is no response or no power.

        """
        total = float((np.abs(np.asarray(weights, dtype=np.complex128)) ** 2).sum())
        if total == 0.0:
            return np.full(len(self.points), np.nan)
        gain: Vector = self.power(weights) / (total * self.isotropic)
        return gain


def _single_responses(elements: Vector, points: Vector,
                      wavelength: float) -> NDArray[np.complex64]:
    """
    Responses in single precision, shape (K, N): eight times as fast as `responses`.

    The distance has to be known to a small part of a wavelength, which takes double precision
    [m]; a phase within one turn does not.
    """
    response = np.empty((len(points), len(elements)), dtype=np.complex64)
    rows = max(1, CACHE_ENTRIES // len(elements))
    for start in range(0, len(points), rows):
        block = points[start:start + rows]
        turns = np.zeros((len(block), len(elements)))
        for axis in range(3):
            offset = block[:, None, axis] - elements[None, :, axis]
            offset *= offset
            turns += offset
        np.sqrt(turns, out=turns)
        turns /= wavelength
        amplitude = np.reciprocal(turns.astype(np.float32))
        amplitude *= np.float32(1 / (4 * np.pi))
        turns -= np.floor(turns)
        phase = turns.astype(np.float32)
        phase *= np.float32(-2 * np.pi)
        np.multiply(amplitude, np.cos(phase), out=response.real[start:start + rows])
        np.multiply(amplitude, np.sin(phase), out=response.imag[start:start + rows])
    return response


def power_density(elements: ArrayLike, wavelength: float, weights: ComplexMatrix,
                  points: ArrayLike) -> Vector:
    """
    Power density of beams at points, in double precision and without keeping anything.

    Parameters
    ----------
    elements : array_like, shape (N, 3)
        Element positions in the scene frame [m].
    wavelength : float
        [m].
    weights : ndarray, shape (N, B)
        Beams [sqrt(W)].
    points : array_like, shape (K, 3)
        In the scene frame [m].

    Returns
    -------
    ndarray, shape (K,)
        v^T B B^H v^* [W].

    Raises
    ------
    SceneError
        If a point lies within a wavelength of an element.

    Notes
    -----
    Eq. (24) of Hua, Xu, Zhang.

    """
    elements = np.asarray(elements, dtype=float)
    points = np.asarray(points, dtype=float).reshape(-1, 3)
    weights = np.asarray(weights, dtype=np.complex128)
    size = max(1, CHUNK_ENTRIES // len(elements))
    power = np.empty(len(points))
    for start in range(0, len(points), size):
        amplitudes = responses(elements, points[start:start + size], wavelength).T @ weights
        power[start:start + size] = (np.abs(amplitudes) ** 2).sum(axis=1)
    return power


def decibels(ratio: ArrayLike, floor: float, ceiling: float) -> Vector:
    """
    Decibels within a fixed range, so that colours mean the same in each picture.

    Parameters
    ----------
    ratio : array_like
        Power ratio.
    floor, ceiling : float
        Range [dB]; what lies outside is set to its ends.

    Returns
    -------
    ndarray
        [dB]; NaN stays NaN.

    """
    with np.errstate(divide='ignore', invalid='ignore'):
        level: Vector = 10.0 * np.log10(np.asarray(ratio, dtype=float))
    return level.clip(floor, ceiling)
