"""Fisher information of an extended target as a linear map of the transmit covariance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.plane import PlanarPose
from nf_isac_ros.core.extended.sections import Sections
from nf_isac_ros.core.fisher import SINGULAR_PIVOT
from nf_isac_ros.core.scene import BoundWeights
from nf_isac_ros.core.small_matrices import scaled_inverse

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

Nuisance = Literal['none', 'common', 'common-complex', 'section']

# How the coefficients of an unknown contour are named.
SHAPE = ('cosine', 'sine')

# An eigenvalue of a Fisher matrix with a unit diagonal below this is rounding.
SINGULAR = 1e-13
# A parameter with more than this of its direction in the null space cannot be estimated.
_OUTSIDE = 1e-5


def shape_names(harmonics: int) -> list[str]:
    """Names of the coefficients of an unknown contour."""
    return [f'{part} {q}' for part in SHAPE for q in range(1, harmonics + 1)]


@dataclass(frozen=True)
class ExtendedBounds:
    """
    Cramér-Rao bounds of an extended target.

    Attributes
    ----------
    names : tuple of str
        x, y, z of the centre in the scene frame, range, direction, then the orientation, unless
        the shape is near circular, and the coefficients of an unknown shape.
    covariance : ndarray, shape (n, n)
        Of these [m], [rad]. What cannot be estimated has an infinite variance, and NaN for its
        covariances.

    """

    names: tuple[str, ...]
    covariance: Real

    def variance(self, name: str) -> float:
        """Variance of one of the names; NaN if it is not among them."""
        if name not in self.names:
            return np.nan
        place = self.names.index(name)
        return float(self.covariance[place, place])

    @property
    def range(self) -> float:
        """Bound of the range [m^2]; infinite, like the others, if it cannot be estimated."""
        return self.variance('range')

    @property
    def direction(self) -> float:
        """Bound of the direction [rad^2]."""
        return self.variance('direction')

    @property
    def orientation(self) -> float:
        """Bound of the orientation [rad^2]; NaN for near-circular shapes, which have none."""
        return self.variance('orientation')

    @cached_property
    def centre(self) -> Real:
        """Bound of the centre's position, shape (3, 3) [m^2]; infinite if a part of it is."""
        block = self.covariance[:3, :3]
        return block if isfinite(block.trace()) else np.full((3, 3), np.inf)


@dataclass(frozen=True)
class ExtendedFisher:
    """
    Fisher matrix F_ij(R) = Re tr(Q_j^H R Q_i) of one extended target.

    Section k scatters by u_k g_k^H, a column of receive responses times a row of transmit
    responses; `columns` holds g_k and its derivatives, and the sections do not mix. So only the
    (r, r) Gram matrices G_k = [g_k, dg_k ..]^H R [g_k, dg_k ..] enter, and Q_i = `columns` @
    `selectors[i]`.

    Attributes
    ----------
    target : str
        Id of the target.
    sections : Sections
        K of them.
    plane : PlanarPose
        Where the target is.
    columns : ndarray, shape (N, r K)
        g_1..g_K, then their first derivatives, and so on.
    blocks : ndarray, shape (K, n, r, c)
        Selectors of section k for the n parameters.
    names : tuple of str
        Of the n parameters, the wanted ones first.
    wanted : int
        How many parameters are no nuisance.
    report : ndarray, shape (wanted, 2 or 3)
        Derivatives of range, direction and orientation by the wanted parameters.
    centre : ndarray, shape (wanted, 3)
        Derivatives of the centre's position in the scene frame by the wanted parameters.

    """

    target: str
    sections: Sections
    plane: PlanarPose
    columns: Complex
    blocks: Complex
    names: tuple[str, ...]
    wanted: int
    report: Real
    centre: Real

    @property
    def steering(self) -> Complex:
        """Responses g_k of the sections, shape (N, K); P_k = g_k^H R g_k."""
        return self.columns[:, :len(self.sections)]

    @cached_property
    def selectors(self) -> Complex:
        """Matrices with Q_i = columns @ selectors[i], shape (n, r K, c K)."""
        return _spread(self.blocks)

    def responses(self, basis: Complex | None = None) -> Complex:
        """
        Return the factors Q_i.

        Parameters
        ----------
        basis : ndarray, shape (N, d), or None
            Orthonormal; Q_i are wanted in its coordinates.

        Returns
        -------
        ndarray, shape (n, d, c K)

        """
        columns = self.columns if basis is None else basis.conj().T @ self.columns
        return columns @ self.selectors

    def of_gram(self, gram: Complex) -> Real:
        """Fisher matrix (n, n) for columns^H R columns = gram, shape (r K, r K) [W]."""
        k, _, r, _ = self.blocks.shape
        return fisher_of_blocks(self.blocks, np.ascontiguousarray(
            np.einsum('ikjk->kij', gram.reshape(r, k, r, k))))

    def of_factor(self, factor: Complex) -> Real:
        """Fisher matrix (n, n) for R = W W^H, W of shape (N, s) [sqrt(W)]."""
        return self.of_received(self.columns.conj().T @ factor)

    def of_received(self, received: Complex) -> Real:
        """Fisher matrix (n, n) for columns^H W = received, shape (r K, s) [sqrt(W)]."""
        return fisher_of_blocks(self.blocks, _section_grams(
            np.ascontiguousarray(received), self.blocks.shape[2]))

    def achieved(self, received: Complex) -> tuple[Real, ExtendedBounds, Real]:
        """
        Return all that beams achieve.

        Parameters
        ----------
        received : ndarray, shape (r K, s)
            columns^H W [sqrt(W)].

        Returns
        -------
        ndarray, shape (n, n)
            Fisher matrix.
        ExtendedBounds
        ndarray, shape (K,)
            Illuminations P_k of the sections [W].

        """
        information, covariance, illumination = _achieved(
            self.blocks, np.ascontiguousarray(received), self._reported)
        return information, self._bounds(information, covariance), illumination

    def of_covariance(self, covariance: Complex | Real) -> Real:
        """Fisher matrix (n, n) for a covariance (N, N) [W]."""
        return self.of_gram(self.columns.conj().T @ covariance @ self.columns)

    def isotropic(self, power: float) -> Real:
        """Fisher matrix (n, n) for a power [W] that is spread evenly over all elements."""
        gram = self.columns.conj().T @ self.columns
        return self.of_gram(gram * (power / len(self.columns)))

    def illumination(self, factor: Complex) -> Real:
        """P_k of the sections for R = W W^H, W of shape (N, s) [sqrt(W)], shape (K,) [W]."""
        seen = factor.conj().T @ self.steering
        return np.einsum('sk,sk->k', seen.conj(), seen).real

    def effective(self, fisher: Real) -> Real:
        """
        Eliminate the nuisance parameters.

        Parameters
        ----------
        fisher : ndarray, shape (n, n)

        Returns
        -------
        ndarray, shape (wanted, wanted)
            Schur complement. Nuisance parameters without any information, of sections that get no
            light, are passed over.

        """
        w = self.wanted
        diagonal = np.diag(fisher)[w:]
        lit = diagonal > SINGULAR * diagonal.max(initial=0.0)
        if not lit.any():
            return fisher[:w, :w]
        scale = 1.0 / np.sqrt(diagonal[lit])
        block = fisher[w:, w:][np.ix_(lit, lit)] * scale * scale[:, None]
        mixed = fisher[w:, :w][lit] * scale[:, None]
        return fisher[:w, :w] - mixed.T @ np.linalg.solve(block, mixed)

    def bounds(self, fisher: Real) -> ExtendedBounds:
        """Cramér-Rao bounds of a Fisher matrix, shape (n, n)."""
        return self._bounds(
            fisher, _reported_covariance(np.ascontiguousarray(fisher), self._reported))

    def _bounds(self, fisher: Real, covariance: Real) -> ExtendedBounds:
        """Bounds, of `_reported_covariance` where it has found one."""
        if len(covariance):
            return ExtendedBounds(self._reported_names, covariance)
        inverse = singular_inverse(self.effective(fisher))
        reported = self._reported
        # Of what cannot be estimated nothing may be needed.
        known = np.isfinite(np.diag(inverse))
        finite = ~(reported[~known] != 0).any(axis=0)
        out = np.full((reported.shape[1],) * 2, np.nan)
        np.fill_diagonal(out, np.inf)
        used = reported[np.ix_(known, finite)]
        out[np.ix_(finite, finite)] = used.T @ inverse[np.ix_(known, known)] @ used
        return ExtendedBounds(self._reported_names, out)

    @cached_property
    def _reported_names(self) -> tuple[str, ...]:
        """Of what has bounds."""
        names = ('x', 'y', 'z', 'range', 'direction', 'orientation')[:3 + self.report.shape[1]]
        return names + tuple(
            name for name in self.names[:self.wanted] if name.startswith(SHAPE))

    @cached_property
    def _reported(self) -> Real:
        """Derivatives of what has bounds by the wanted parameters."""
        shape = np.eye(self.wanted)[:, [name.startswith(SHAPE) for name in
                                        self.names[:self.wanted]]]
        return np.ascontiguousarray(np.hstack([self.centre, self.report, shape]))

    @cached_property
    def log_gains(self) -> list[int]:
        """Which parameters are logarithms of gains."""
        return [i for i, name in enumerate(self.names) if name.startswith('log gain')]

    def selection(self, objective: Literal['direction', 'centre'] | BoundWeights) -> Real:
        """
        Matrix E with the objective tr(E^T F^-1 E).

        Parameters
        ----------
        objective : str or BoundWeights
            As in `ExtendedOptions`.

        Returns
        -------
        ndarray, shape (n, w)

        Raises
        ------
        SceneError
            'no-orientation': the orientation has a weight and the shape is near circular.

        """
        if objective == 'direction':
            chosen = self.report[:, 1:2]
        elif objective == 'centre':
            chosen = self.centre
        else:
            assert isinstance(objective, BoundWeights)
            weights = np.array([objective.range, objective.direction, objective.orientation])
            if weights[2] > 0 and self.report.shape[1] < 3:
                raise SceneError(
                    f'weight of the orientation is {weights[2]:g} for {self.target!r}, must be 0: '
                    'its contour is near circular', 'no-orientation', self.target)
            n = self.report.shape[1]
            chosen = (self.report * np.sqrt(weights[:n]))[:, weights[:n] > 0]
        out = np.zeros((len(self.names), chosen.shape[1]))
        out[:self.wanted] = chosen
        return out

    def conditioned(self, fisher: Real, selection: Real) -> tuple[Complex, Real]:
        """
        Recombine the parameters so that a Fisher matrix becomes the identity.

        What cannot be estimated at that Fisher matrix is gone afterwards. The objective
        tr(E^T F^-1 E) stays the same for every covariance.

        Parameters
        ----------
        fisher : ndarray, shape (n, n)
            At a covariance of full rank, such as the isotropic one.
        selection : ndarray, shape (n, w)
            E.

        Returns
        -------
        selectors : ndarray, shape (m, r K, c K)
            m <= n.
        selection : ndarray, shape (m, w)
            E for them.

        Raises
        ------
        SceneError
            'not-localisable': a wanted quantity cannot be estimated.

        """
        known = np.diag(fisher) > 0
        scale = 1.0 / np.sqrt(np.diag(fisher)[known])
        values, vectors = np.linalg.eigh(fisher[np.ix_(known, known)] * scale * scale[:, None])
        kept = values > SINGULAR
        wanted = selection[known] * scale[:, None]
        lost = (np.linalg.norm(vectors[:, ~kept].T @ wanted)
                > _OUTSIDE * np.linalg.norm(wanted))
        if lost or selection[~known].any():
            self.refuse()
        turn = vectors[:, kept] / np.sqrt(values[kept])
        combine = np.zeros((len(self.names), turn.shape[1]))
        combine[known] = scale[:, None] * turn
        return _spread(self._combined(combine)), combine.T @ selection

    def refuse(self) -> NoReturn:
        """Raise SceneError, 'not-localisable': a wanted quantity cannot be estimated."""
        raise SceneError(
            f'what is to be estimated of {self.target!r} cannot be with these arrays: no '
            'covariance gives a finite bound', 'not-localisable', self.target)

    def _combined(self, combine: Real) -> Complex:
        """Blocks of recombined parameters, (K, m, r, c), for a matrix of shape (n, m)."""
        # Section by section, and as real numbers: the combination is real.
        k, _, r, c = self.blocks.shape
        mixed = np.ascontiguousarray(combine.T) @ self.blocks.view(float).reshape(
            k, len(combine), -1)
        return mixed.view(complex).reshape(k, -1, r, c)


@compiled
def fisher_of_blocks(blocks: Complex, grams: Complex) -> Real:
    """
    Fisher matrix of the Gram matrices of the sections.

    Parameters
    ----------
    blocks : ndarray, shape (K, n, r, c)
        As in `ExtendedFisher`.
    grams : ndarray, shape (K, r, r)
        Hermitian [W].

    Returns
    -------
    ndarray, shape (n, n)

    """
    n_sections, n, r, c = blocks.shape
    out = np.zeros((n, n))
    filtered = np.empty((r, c), dtype=np.complex128)
    told = np.empty(n, dtype=np.bool_)
    for s in range(n_sections):
        # In the near field most parameters are gains of other sections.
        for a in range(n):
            told[a] = False
            for i in range(r):
                for j in range(c):
                    told[a] |= blocks[s, a, i, j] != 0.0
        for a in range(n):
            if not told[a]:
                continue
            for i in range(r):
                for j in range(c):
                    entry = 0.0j
                    for p in range(r):
                        entry += grams[s, i, p] * blocks[s, a, p, j]
                    filtered[i, j] = entry
            for b in range(a + 1):
                if not told[b]:
                    continue
                total = 0.0
                for i in range(r):
                    for j in range(c):
                        total += (blocks[s, b, i, j].real * filtered[i, j].real
                                  + blocks[s, b, i, j].imag * filtered[i, j].imag)
                out[a, b] += total
    for a in range(n):
        for b in range(a):
            out[b, a] = out[a, b]
    return out


@compiled
def _section_grams(received: Complex, r: int) -> Complex:
    """Gram matrices (K, r, r) of what the columns of each section receive, shape (r K, s)."""
    n, beams = received.shape
    k = n // r
    out = np.zeros((k, r, r), dtype=np.complex128)
    for s in range(k):
        for i in range(r):
            for j in range(i + 1):
                total = 0.0j
                for b in range(beams):
                    total += received[i * k + s, b] * np.conj(received[j * k + s, b])
                out[s, i, j], out[s, j, i] = total, np.conj(total)
    return out


@compiled
def _achieved(blocks: Complex, received: Complex, reported: Real) -> tuple[Real, Real, Real]:
    """Fisher matrix, `_reported_covariance` and illuminations."""
    grams = _section_grams(received, blocks.shape[2])
    information = fisher_of_blocks(blocks, grams)
    illumination = np.empty(len(grams))
    for k in range(len(grams)):
        illumination[k] = grams[k, 0, 0].real
    return information, _reported_covariance(information, reported), illumination


@compiled
def _reported_covariance(information: Real, reported: Real) -> Real:
    """Covariance of what is reported; shape (0, 0) if the Fisher matrix is singular."""
    inverse = np.empty_like(information)
    if not scaled_inverse(information, SINGULAR_PIVOT, inverse):
        return np.empty((0, 0))
    wanted, n = reported.shape
    covariance = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for a in range(wanted):
                for b in range(wanted):
                    total += reported[a, i] * inverse[a, b] * reported[b, j]
            covariance[i, j] = covariance[j, i] = total
    return covariance


@compiled
def separated(fisher: Real, selection: Real) -> tuple[Real, bool]:
    """
    Recombine the wanted parameters so that what is known of them becomes the identity.

    Nuisance parameters are not mixed with anything: sections stay as sparse as they are. The
    objective tr(E^T F^-1 E) stays the same for every covariance.

    Parameters
    ----------
    fisher : ndarray, shape (n, n)
        At a covariance of full rank, such as the isotropic one.
    selection : ndarray, shape (wanted, w)

    Returns
    -------
    ndarray, shape (n, m)
        Columns: the recombined parameters, then the nuisance parameters in units of their own;
        those that nothing is known of are left out.
    bool
        Whether the selection needs one of those.

    """
    n, wanted = len(fisher), len(selection)
    scale = np.zeros(n)
    for i in range(n):
        if fisher[i, i] > 0.0:
            scale[i] = 1.0 / np.sqrt(fisher[i, i])
    unit = fisher * scale
    for i in range(n):
        unit[i] *= scale[i]
    others = np.flatnonzero(scale[wanted:]) + wanted
    alone = unit[:wanted, :wanted].copy()
    if len(others):
        block = np.empty((len(others), len(others)))
        mixed = np.empty((len(others), wanted))
        for i in range(len(others)):
            mixed[i] = unit[others[i], :wanted]
            for j in range(len(others)):
                block[i, j] = unit[others[i], others[j]]
        alone -= np.ascontiguousarray(mixed.T) @ np.linalg.solve(block, mixed)
    values, vectors = np.linalg.eigh(0.5 * (alone + alone.T))
    needed = np.zeros_like(selection)
    outside = 0.0
    for i in range(wanted):
        # A parameter that nothing is known of has no unit either.
        needed[i] = selection[i] * scale[i]
        if scale[i] == 0.0 and np.any(selection[i] != 0.0):
            outside = np.inf
    size = np.sum(needed ** 2)
    n_kept = 0
    for k in range(wanted):
        if values[k] > SINGULAR:
            n_kept += 1
        else:
            for j in range(selection.shape[1]):
                outside += np.sum(vectors[:, k] * needed[:, j]) ** 2
    combine = np.zeros((n, n_kept + len(others)))
    at = 0
    for k in range(wanted):
        if values[k] > SINGULAR:
            for i in range(wanted):
                combine[i, at] = scale[i] * vectors[i, k] / np.sqrt(values[k])
            at += 1
    for i in range(len(others)):
        combine[others[i], at + i] = scale[others[i]]
    return combine, bool(outside > _OUTSIDE ** 2 * size)


def _spread(blocks: Complex) -> Complex:
    """Selectors (n, r K, c K) of blocks (K, n, r, c), zero between sections."""
    k, n, r, c = blocks.shape
    out = np.zeros((n, r, k, k, c), dtype=complex)
    for i in range(k):
        out[:, :, i, i, :] = blocks[i]
    return out.reshape(n, r * k, k * c)


def singular_inverse(fisher: Real) -> Real:
    """
    Inverse of a Fisher matrix that may be singular.

    Parameters
    ----------
    fisher : ndarray, shape (n, n)
        Positive semidefinite.

    Returns
    -------
    ndarray, shape (n, n)
        Of a parameter that cannot be estimated, the variance is infinite and the covariances are
        NaN; the others have what they would have without it.

    """
    out = np.full(fisher.shape, np.nan)
    np.fill_diagonal(out, np.inf)
    known = np.flatnonzero(np.diag(fisher) > 0)
    scale = 1.0 / np.sqrt(np.diag(fisher)[known])
    values, vectors = np.linalg.eigh(fisher[np.ix_(known, known)] * scale * scale[:, None])
    kept = values > SINGULAR
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T * scale * scale[:, None]
    found = np.linalg.norm(vectors[:, ~kept], axis=1) < _OUTSIDE
    out[np.ix_(known[found], known[found])] = inverse[np.ix_(found, found)]
    return out


def section_blocks(receive_gram: Complex, slopes: Real, range_slopes: Real, energy: Real,
                   delay_information: Real, nuisance: Nuisance) -> tuple[Complex, tuple[str, ...]]:
    """
    Selectors of the sections, and the names of their nuisance parameters.

    Parameters
    ----------
    receive_gram : ndarray, shape (K, r, r)
        U_k^H Q^-1 U_k of receive responses and derivatives U_k = [u_k, du_k ..] [1/W].
    slopes : ndarray, shape (K, w, r - 1)
        How the coordinates that u_k and g_k are differentiated by change with the w wanted
        parameters.
    range_slopes : ndarray, shape (K, w)
        How the length of the path changes with them.
    energy : ndarray, shape (K,)
        2 L beta^2 l_k.
    delay_information : ndarray, shape (K,)
        Information on the length of the path over energy and P_k [1/(W m^2)].
    nuisance : str
        'none'; 'common': one unknown real gain of all sections; 'common-complex'; 'section': a
        complex one for each.

    Returns
    -------
    blocks : ndarray, shape (K, w + nuisance, r, r + 1)
    names : tuple of str

    Notes
    -----
    With D_i = U_k C_i G_k^H the derivative of u_k g_k^H by parameter i and L L^H = U_k^H Q^-1 U_k,
    the information is energy Re tr(Q_j^H R Q_i), Q_i = G_k C_i^H L. One column more holds the
    information of the delay.

    """
    n_sections, n_wanted, _ = slopes.shape
    r = receive_gram.shape[1]
    names = {
        'none': (), 'common': ('log gain',), 'common-complex': ('log gain', 'phase'),
        'section': tuple(f'{part} gain {k}' for k in range(n_sections)
                         for part in ('log', 'phase of')),
    }[nuisance]
    inner = np.zeros((n_sections, n_wanted + len(names), r, r), dtype=complex)
    inner[:, :n_wanted, 1:, 0] = slopes
    inner[:, :n_wanted, 0, 1:] = slopes
    if nuisance == 'section':
        each = np.arange(n_sections)
        inner[each, n_wanted + 2 * each, 0, 0] = 1.0
        inner[each, n_wanted + 2 * each + 1, 0, 0] = 1.0j
    elif nuisance != 'none':
        inner[:, n_wanted:, 0, 0] = np.array([1.0, 1.0j])[:len(names)]
    root = _roots(receive_gram)
    blocks = np.zeros((n_sections, n_wanted + len(names), r, r + 1), dtype=complex)
    blocks[..., :r] = inner.conj().swapaxes(-1, -2) @ root[:, None]
    blocks[:, :n_wanted, 0, r] = range_slopes * np.sqrt(delay_information)[:, None]
    return blocks * np.sqrt(energy)[:, None, None, None], names


def _roots(grams: Complex) -> Complex:
    """
    Matrices L with L L^H = G, for Gram matrices (K, r, r) that may be singular.

    A linear array answers to turns about its own axis with nothing: no Cholesky factor then.
    """
    scale = np.sqrt(np.einsum('kii->ki', grams).real)
    unit = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(grams / (unit[:, :, None] * unit[:, None, :]))
    return scale[:, :, None] * vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
