"""
Echoes of extended targets, simulated, and what can be estimated from them.

A snapshot is one use of all antennas with known symbols at one offset from the carrier: a
subcarrier, or a sample of the spectrum of one long waveform. The delay of an echo turns its phase
from one offset to the next; offsets of zero stand for echoes that lie in one range cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from nf_isac_ros.core.arrays import Pose
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.build import build_extended_fisher
from nf_isac_ros.core.extended.far_field import (
    SPEED_OF_LIGHT,
    plane_wave_responses,
    section_geometry,
    visible_sections,
)
from nf_isac_ros.core.extended.gram import ExtendedBounds, singular_inverse
from nf_isac_ros.core.extended.plane import PlanarPose, planar_pose, pose_of
from nf_isac_ros.core.extended.sections import Sections
from nf_isac_ros.core.fisher import whiten
from nf_isac_ros.core.localisation.echoes import qpsk_symbols
from nf_isac_ros.core.propagation import response_derivatives
from nf_isac_ros.core.scene import ExtendedTarget, Scene

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Largest slope of the likelihood by coordinates whose errors are about one: at which the search
# ends, and at which it counts as a maximum.
_TOLERANCE = 1e-3
# Sections for each resolution cell, and at most.
_PER_CELL = 4.0
_MOST_SECTIONS = 96
_FLAT = 0.05
# Points of the matched filter's first search for each lobe; those that come so close to the
# largest are looked at again, on the whole grid.
_PER_LOBE = 16
_NEARLY = 0.99
_MOST_STEPS = 200
# Orientations that a search with a prior begins from, in standard deviations of the aspect.
_TURNS = (0.0, -0.7, 0.7, -1.4, 1.4)


@dataclass(frozen=True)
class Echo:
    """
    What was sent, and what came back.

    Attributes
    ----------
    received : ndarray, shape (M, L)
        [sqrt(W)].
    sent : ndarray, shape (N, L)
        [sqrt(W)].
    offset : ndarray, shape (L,)
        From the carrier frequency [Hz].

    """

    received: Complex
    sent: Complex
    offset: Real


@dataclass(frozen=True)
class _Paths:
    """
    Echo paths of the sections, and how they change with q coordinates of each section.

    Attributes
    ----------
    seen, seen_slope : ndarray, shapes (M, K), (q, M, K)
        Receive responses times the amplitude of the path; their derivatives.
    sent, sent_slope : ndarray, shapes (K, N), (q, K, N)
        Rows g^H of the transmit responses; their derivatives.
    distance, distance_slope : ndarray, shapes (K,), (q, K)
        [m].
    moves : ndarray, shape (K, q, 3)
        Derivatives of the coordinates by range, direction and orientation.

    """

    seen: Complex
    seen_slope: Complex
    sent: Complex
    sent_slope: Complex
    distance: Real
    distance_slope: Real
    moves: Real


def _amplitude(scene: Scene, target: ExtendedTarget, sections: Sections) -> Real:
    """
    Amplitudes of the sections' echoes between responses, shape (K,).

    Those of spherical waves carry lambda / (4 pi r); beta^2 already holds the loss to the centre.
    """
    wavelength = scene.radio.wavelength
    if target.model == 'far-field':
        distance = planar_pose(scene.transmit_array, target.pose).range
        gain = 1.0
    else:
        reach = [float(np.linalg.norm(target.position - array.positions.mean(axis=0)))
                 for array in (scene.transmit_array, scene.receive_array)]
        distance = sqrt(reach[0] * reach[1])
        gain = (4 * pi / wavelength * distance) ** 2
    return gain * np.sqrt(sections.length * target.path_power_at(distance, wavelength))


def _paths(scene: Scene, target: ExtendedTarget, sections: Sections, amplitude: Real) -> _Paths:
    plane = planar_pose(scene.transmit_array, target.pose)
    if target.model == 'far-field':
        where = section_geometry(plane, sections, 'exact')
        axes, wavelength = plane.axes[:, :2], scene.radio.wavelength
        sent, sent_slope = plane_wave_responses(
            scene.transmit_array, axes, where.direction, wavelength)
        seen, seen_slope = plane_wave_responses(
            scene.receive_array, axes, where.direction, wavelength)
        none = np.zeros_like
        return _Paths(
            amplitude * seen.conj(),
            np.stack([amplitude * seen_slope.conj(), none(seen)]),
            sent.conj().T, np.stack([sent_slope.conj().T, none(sent.T)]),
            where.distance, np.stack([none(where.distance), np.ones_like(where.distance)]),
            np.stack([where.direction_slopes, where.range_slopes], axis=1))
    return _near_paths(scene, target, sections, plane, amplitude)


def _near_paths(scene: Scene, target: ExtendedTarget, sections: Sections, plane: PlanarPose,
                amplitude: Real) -> _Paths:
    wavelength, frame = scene.radio.wavelength, target.pose.rotation[:, :2]
    offset = sections.points @ frame.T
    points = target.position + offset
    names = [target.id] * len(points)
    arrays = scene.transmit_array, scene.receive_array
    (sent, sent_by), (seen, seen_by) = (
        response_derivatives(array.positions, points, wavelength, names) for array in arrays)
    centres = [array.positions.mean(axis=0) for array in arrays]
    ways = [points - centre for centre in centres]
    lengths = [np.linalg.norm(way, axis=1) for way in ways]
    sights = [way / length[:, None] for way, length in zip(ways, lengths, strict=True)]
    turn = np.cross(target.pose.rotation[:, 2], offset)
    moves = np.stack([np.broadcast_to(plane.radial, turn.shape),
                      np.broadcast_to(plane.range * plane.transverse, turn.shape), turn], axis=2)
    return _Paths(
        amplitude * seen, np.einsum('uq,umk->qmk', frame, seen_by) * amplitude,
        sent.T, np.einsum('uq,unk->qkn', frame, sent_by),
        0.5 * (lengths[0] + lengths[1]), (0.5 * (sights[0] + sights[1]) @ frame).T,
        np.einsum('uq,kuw->kqw', frame, moves))


def simulate_echo(scene: Scene, target: ExtendedTarget, weights: Complex,
                  rng: np.random.Generator) -> Echo:
    """
    Draw an echo of an extended target.

    Parameters
    ----------
    scene : Scene
        Its radio has the snapshot count, noise and bandwidth; without a bandwidth all offsets are
        zero.
    target : ExtendedTarget
        At its true pose; each section has an independent complex Gaussian coefficient.
    weights : ndarray, shape (N, s)
        Beams [sqrt(W)], each with a stream of its own of QPSK symbols.
    rng : numpy.random.Generator

    Returns
    -------
    Echo

    Raises
    ------
    SceneError
        'inside-contour', 'invisible-target', 'body-on-antenna'.

    """
    radio = scene.radio
    n = radio.symbols
    plane = planar_pose(scene.transmit_array, target.pose)
    sections = visible_sections(target, plane)
    paths = _paths(scene, target, sections, _amplitude(scene, target, sections))
    # Uniform over a band whose rms width is the effective bandwidth.
    band = sqrt(3.0) * (radio.bandwidth or 0.0)
    offset = band * (2 * (np.arange(n) + 0.5) / n - 1)
    sent = weights @ qpsk_symbols(rng, weights.shape[1], n)
    lit = paths.sent @ sent * np.exp(-4j * pi / SPEED_OF_LIGHT * np.outer(paths.distance, offset))
    coefficients = complex_normal(rng, (len(lit),))
    noise = complex_normal(rng, (len(paths.seen), n))
    return Echo(paths.seen @ (coefficients[:, None] * lit) + _coloured(scene, noise), sent, offset)


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Complex:
    """Independent circular complex Gaussian numbers of unit variance."""
    return np.asarray(rng.normal(size=(*shape, 2)) @ np.array([1.0, 1.0j]) / sqrt(2.0))


def _coloured(scene: Scene, noise: Complex) -> Complex:
    given = scene.radio.sensing_noise
    if given.power is not None:
        return noise * sqrt(given.power)
    if given.diagonal is not None:
        return noise * np.sqrt(given.diagonal)[:, None]
    assert given.covariance is not None
    return np.linalg.cholesky(given.covariance) @ noise


class MatchedFilter:
    """
    Matched filter for the direction of a target, as if it were a point, on a grid.

    Parameters
    ----------
    scene : Scene
    target : ExtendedTarget
        As expected; its direction is the middle of the search.
    half_width, step : float
        Of the search [rad].
    normalised : bool
        Divide by the amplitude that is sent in each direction: the generalised likelihood ratio
        of a point.
    beams : ndarray, shape (N, s), or None
        W, where what is sent is X = W S; None: the identity.

    Attributes
    ----------
    grid : ndarray, shape (g,)
        Directions in the target's plane, as `PlanarPose` has them [rad].

    Notes
    -----
    Eq. (45) of Wang, Tao, Sun, arXiv 2406.01937: argmax |b^H Y X^H a|.

    """

    def __init__(self, scene: Scene, target: ExtendedTarget, half_width: float = pi / 3,
                 step: float = np.deg2rad(0.01), normalised: bool = False,
                 beams: Complex | None = None) -> None:
        plane = planar_pose(scene.transmit_array, target.pose)
        count = 2 * int(half_width / step) + 1
        self.grid = np.asarray(
            plane.direction + step * (np.arange(count) - count // 2), dtype=np.float64)
        axes, wavelength = plane.axes[:, :2], scene.radio.wavelength
        sent, _ = plane_wave_responses(scene.transmit_array, axes, self.grid, wavelength)
        self._sent = sent if beams is None else beams.conj().T @ sent
        self._seen, _ = plane_wave_responses(scene.receive_array, axes, self.grid, wavelength)
        self._normalised = normalised
        aperture = scene.transmit_array.aperture + scene.receive_array.aperture
        width = wavelength / max(aperture, wavelength)
        self._stride = max(int(width / _PER_LOBE / step), 1)

    def score(self, correlated: Complex, energy: Complex,
              places: NDArray[np.int64] | slice = slice(None)) -> Real:
        """
        |b^H Y X^H a| in the directions of the grid.

        Parameters
        ----------
        correlated : ndarray, shape (M, s)
            Y S^H.
        energy : ndarray, shape (s, s)
            S S^H.
        places : ndarray of int or slice
            Which directions.

        """
        sent, seen = self._sent[:, places], self._seen[:, places]
        score: Real = np.abs(np.einsum('gs,sg->g', seen.T @ correlated, sent))
        if self._normalised:
            power = np.einsum('sg,sg->g', sent.conj(), energy @ sent).real
            score = score / np.sqrt(np.maximum(power, 1e-12 * power.max()))
        return score

    def direction(self, correlated: Complex, energy: Complex) -> float:
        """Direction of the largest score [rad]; parameters as for `score`."""
        last = len(self.grid) - 1
        coarse = np.append(np.arange(0, last, self._stride), last)
        found = self.score(correlated, energy, coarse)
        near = coarse[found >= _NEARLY * found.max()]
        around = np.arange(-self._stride, self._stride + 1)
        fine = np.unique(np.clip(near[:, None] + around, 0, last))
        return float(self.grid[fine[int(np.argmax(self.score(correlated, energy, fine)))]])


def matched_filter_direction(scene: Scene, target: ExtendedTarget, echo: Echo,
                             half_width: float = pi / 3, step: float = np.deg2rad(0.01),
                             normalised: bool = False) -> float:
    """
    Estimate the direction of a target as if it were a point.

    Parameters
    ----------
    scene, target, half_width, step, normalised
        As for `MatchedFilter`.
    echo : Echo
        Its delays are taken out at the target's range: one range cell.

    Returns
    -------
    float
        Direction in the target's plane, as `PlanarPose` has it [rad].

    """
    found = MatchedFilter(scene, target, half_width, step, normalised)
    return found.direction(*correlations(scene, target, echo))


def correlations(scene: Scene, target: ExtendedTarget, echo: Echo) -> tuple[Complex, Complex]:
    """Y X^H, its delays taken out at the target's range, and X X^H."""
    distance = planar_pose(scene.transmit_array, target.pose).range
    aligned = echo.received * np.exp(4j * pi / SPEED_OF_LIGHT * distance * echo.offset)
    return aligned @ echo.sent.conj().T, echo.sent @ echo.sent.conj().T


def matched_filter_errors(scene: Scene, target: ExtendedTarget, weights: Complex, trials: int,
                          rng: np.random.Generator, step: float = np.deg2rad(0.01)) -> Real:
    """
    Draw errors of the matched filter for echoes that lie in one range cell.

    Instead of an echo Y of X = W S, Y S^H is drawn, all that the filter sees of it: the errors
    have the distribution of those of `simulate_echo` without a bandwidth, at a tenth of the cost.

    Parameters
    ----------
    scene : Scene
    target : ExtendedTarget
        At its true pose.
    weights : ndarray, shape (N, s)
        Beams W [sqrt(W)], each with a stream of its own of QPSK symbols.
    trials : int
    rng : numpy.random.Generator
    step : float
        Of the search [rad].

    Returns
    -------
    ndarray, shape (trials,)
        [rad].

    Raises
    ------
    SceneError
        'inside-contour', 'invisible-target', 'body-on-antenna'.

    """
    plane = planar_pose(scene.transmit_array, target.pose)
    sections = visible_sections(target, plane)
    paths = _paths(scene, target, sections, _amplitude(scene, target, sections))
    lit = paths.sent @ weights
    matched = MatchedFilter(scene, target, step=step, beams=weights)
    errors = np.empty(trials)
    for i in range(trials):
        symbols = qpsk_symbols(rng, weights.shape[1], scene.radio.symbols)
        energy = symbols @ symbols.conj().T
        values, vectors = np.linalg.eigh(energy)
        noise = _coloured(scene, complex_normal(rng, (len(paths.seen), len(values))))
        coefficients = complex_normal(rng, (len(lit),))
        correlated = (paths.seen * coefficients) @ (lit @ energy) + (
            noise * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T
        errors[i] = matched.direction(correlated, energy) - plane.direction
    return errors


@dataclass(frozen=True)
class PoseEstimate:
    """
    Pose of an extended target, estimated from its echo.

    Attributes
    ----------
    pose : Pose
        In the scene frame.
    range, direction, orientation : float
        The same, as the transmit array sees it [m], [rad], [rad].
    gain : float
        Of the echo, over the expected amplitude.
    converged : bool
        Whether the likelihood is at a maximum.
    evaluations : int
        Of the likelihood.

    """

    pose: Pose
    range: float
    direction: float
    orientation: float
    gain: float
    converged: bool
    evaluations: int


def resolved_sections(scene: Scene, target: ExtendedTarget) -> int:
    """
    Count of sections that a continuous contour looks like: a few for each resolution cell.

    A cell is as long as the band resolves in range, or as wide as both apertures together resolve
    across it, whichever is finer.
    """
    plane = planar_pose(scene.transmit_array, target.pose)
    visible = visible_sections(replace(target, lengths='metres'), plane).length.sum()
    aperture = scene.transmit_array.aperture + scene.receive_array.aperture
    cell = plane.range * scene.radio.wavelength / max(aperture, scene.radio.wavelength)
    if scene.radio.bandwidth:
        cell = min(cell, SPEED_OF_LIGHT / (4 * sqrt(3.0) * scene.radio.bandwidth))
    return min(max(int(np.ceil(_PER_CELL * visible / cell)), 1), _MOST_SECTIONS)


def estimate_pose(scene: Scene, track: ExtendedTarget, echo: Echo,
                  sections: Sequence[int] | None = None,
                  deviation: Real | None = None) -> PoseEstimate:
    """
    Estimate range, direction and orientation by maximum likelihood, starting from a track.

    The coefficients of the sections are integrated out: the echo is Gaussian with zero mean, and
    its covariance depends on the pose and on a common gain. Sections are those that are seen from
    the track's pose, then those from the estimated one. The shape counts as known.

    Parameters
    ----------
    scene : Scene
    track : ExtendedTarget
        At the pose that the track predicts; its model says how echoes come about.
    echo : Echo
    sections : sequence of int or None
        How many sections the contour has in each search, which starts where the one before ended;
        None: `resolved_sections` twice, which suits bodies that scatter all along
        their contour. The number in a scene suits its simulated echoes.
    deviation : ndarray, shape (3,), or None
        Standard deviations of range [m], direction and orientation [rad] of the track. With them
        the estimate is that of the largest posterior density, and the search begins anew from
        several orientations: which sections are seen depends on it in jumps. None: the track is
        where to start, and nothing else.

    Returns
    -------
    PoseEstimate
        Without a bandwidth, or for a near-circular contour, what cannot be seen stays as the
        track has it.

    Raises
    ------
    SceneError
        'inside-contour', 'invisible-target', 'body-on-antenna'.

    Notes
    -----
    Stochastic maximum likelihood; docs/maths.md derives the gradient.

    """
    if sections is None:
        sections = (resolved_sections(scene, track),) * 2
    white = whiten(scene.radio.sensing_noise, echo.received)
    expected = planar_pose(scene.transmit_array, track.pose)
    prior = None if deviation is None else _Prior(expected, np.asarray(deviation, dtype=float))
    turns: Sequence[float] = (0.0,)
    if prior is not None:
        turns = [turn * float(np.hypot(*prior.deviation[1:])) for turn in _TURNS]
    found = [
        _searched(scene, replace(track, pose=pose_of(
            replace(expected, orientation=expected.orientation + turn))),
            echo, white, sections, prior)
        for turn in turns]
    best = min(found, key=lambda end: end[0])
    return replace(best[1], evaluations=sum(end[1].evaluations for end in found))


@dataclass(frozen=True)
class _Prior:
    """What a track says of the pose: independent Gaussian errors."""

    expected: PlanarPose
    deviation: Real

    def at(self, plane: PlanarPose) -> tuple[float, Real]:
        """Negative logarithm of the density, and its derivatives by pose and gain, (4,)."""
        here = (plane.range, plane.direction, plane.orientation)
        there = (self.expected.range, self.expected.direction, self.expected.orientation)
        scaled = (np.array(here) - np.array(there)) / self.deviation
        return 0.5 * float(scaled @ scaled), np.append(scaled / self.deviation, 0.0)


def _searched(scene: Scene, track: ExtendedTarget, echo: Echo, white: Complex,
              sections: Sequence[int], prior: _Prior | None) -> tuple[float, PoseEstimate]:
    """Search from one pose: the value that is smallest, and where."""
    pose, gain, evaluations, converged = track.pose, 0.0, 0, False
    for count in sections:
        there = replace(track, pose=pose, sections=count)
        start = planar_pose(scene.transmit_array, pose)
        likelihood = _Likelihood(scene, there, visible_sections(there, start), echo, white)
        units = _units(scene, there, echo)

        def at(x: Real, start: PlanarPose = start, units: Real = units, gain: float = gain,
               likelihood: _Likelihood = likelihood) -> tuple[float, Real]:
            shift = units @ x
            plane = _shifted(start, shift)
            try:
                value, slope = likelihood.at(plane, gain + shift[3])
            except np.linalg.LinAlgError:
                # A trial step to where rounding hides the noise: too long.
                return np.inf, np.zeros(len(x))
            if prior is not None:
                more, tilt = prior.at(plane)
                value, slope = value + more, slope + tilt
            return value, slope @ units

        found = minimize(at, np.zeros(units.shape[1]), jac=True, method='BFGS',
                         options={'gtol': _TOLERANCE, 'maxiter': _MOST_STEPS})
        shift = units @ found.x
        plane, gain = _shifted(start, shift), gain + float(shift[3])
        pose = pose_of(plane)
        evaluations += int(found.nfev)
        # BFGS also stops, with another word for it, where rounding hides further progress.
        converged = bool(np.abs(found.jac).max() < _FLAT)
    return float(found.fun), PoseEstimate(
        pose, plane.range, plane.direction, plane.orientation, float(np.exp(gain)),
        converged, evaluations)


def marginal_bounds(scene: Scene, target: ExtendedTarget, weights: Complex,
                    rng: np.random.Generator, deviation: Real | None = None) -> Real:
    """
    Bounds of one echo whose reflections are integrated out, as the estimator sees it.

    The bounds of `ExtendedFisher` take the powers of the reflections for their means, and their
    phases for something that can be told apart section by section; where sections are not
    resolved that is optimistic.

    Parameters
    ----------
    scene : Scene
    target : ExtendedTarget
        At its true pose.
    weights : ndarray, shape (N, s)
        Beams [sqrt(W)], each with a stream of its own of QPSK symbols.
    rng : numpy.random.Generator
        For the symbols.
    deviation : ndarray, shape (3,), or None
        Standard deviations of a track that is known besides, of range [m], direction and
        orientation [rad].

    Returns
    -------
    ndarray, shape (3,)
        Variances of range [m^2], direction and orientation [rad^2]; a common gain is unknown.

    Raises
    ------
    SceneError
        'inside-contour', 'invisible-target', 'body-on-antenna'.

    Notes
    -----
    For R = I + A A^H of the whitened echo, F_ij = tr(R^-1 dR_i R^-1 dR_j); with N_i = A^H R^-1
    dA_i that is 2 Re(tr(N_i N_j) + tr(A^H R^-1 A dA_i^H R^-1 dA_j)).

    """
    echo = simulate_echo(scene, target, weights, rng)
    sections = visible_sections(target, planar_pose(scene.transmit_array, target.pose))
    paths = _paths(scene, target, sections, _amplitude(scene, target, sections))
    noise = scene.radio.sensing_noise
    seen = whiten(noise, paths.seen)
    lit, lit_slope = _lit(paths, echo)
    n_sections = len(sections)

    def columns(receive: Complex, transmit: Complex) -> Complex:
        return (receive[:, None] * transmit.T).reshape(-1, n_sections)

    whole = columns(seen, lit)
    by_coordinate = [
        columns(whiten(noise, slope), lit) + columns(seen, change)
        for slope, change in zip(paths.seen_slope, lit_slope, strict=True)]
    changes = [sum((by * paths.moves[:, q, i] for q, by in enumerate(by_coordinate)),
                   start=np.zeros_like(whole)) for i in range(3)] + [whole]
    inner = np.linalg.inv(np.eye(n_sections) + whole.conj().T @ whole)
    filtered = [change - whole @ (inner @ (whole.conj().T @ change)) for change in changes]
    mixed = [whole.conj().T @ one for one in filtered]
    information = np.array([[
        2.0 * (np.trace(mixed[i] @ mixed[j])
               + np.trace(mixed[3] @ (changes[i].conj().T @ filtered[j]))).real
        for j in range(4)] for i in range(4)])
    if deviation is not None:
        information[:3, :3] += np.diag(1.0 / np.asarray(deviation, dtype=float) ** 2)
    return np.diag(singular_inverse(information))[:3]


def _lit(paths: _Paths, echo: Echo) -> tuple[Complex, Complex]:
    """What the sections receive of an echo's signal, (K, L), and derivatives, (q, K, L)."""
    turns = -4j * pi / SPEED_OF_LIGHT * echo.offset
    wave = np.exp(np.outer(paths.distance, turns))
    lit = (paths.sent @ echo.sent) * wave
    return lit, (paths.sent_slope @ echo.sent) * wave + (
        paths.distance_slope[:, :, None] * turns) * lit


def _units(scene: Scene, target: ExtendedTarget, echo: Echo) -> Real:
    """
    Coordinates in which the errors of an estimate are about one and independent.

    Returns
    -------
    ndarray, shape (4, free)
        Columns: shifts of range, direction, orientation and the logarithm of the gain. What
        cannot be estimated is not among them.

    """
    fisher = build_extended_fisher(scene, replace(target, motion='plane', shape='known'))
    sample = echo.sent / sqrt(echo.sent.shape[1])
    information = fisher.effective(fisher.of_factor(sample))
    covariance = singular_inverse(information)
    known = np.flatnonzero(np.isfinite(np.diag(covariance)))
    root = np.linalg.cholesky(covariance[np.ix_(known, known)])
    units = np.zeros((4, len(known) + 1))
    units[known, :-1] = root
    units[3, -1] = 1.0 / sqrt(2.0 * len(fisher.sections))
    return units


def _shifted(plane: PlanarPose, shift: Real) -> PlanarPose:
    """Move range, direction and orientation; a range stays positive."""
    distance = plane.range + float(shift[0])
    if not distance > 0:
        raise SceneError(f'range is {distance:.3g} m, must be positive', 'bad-estimate')
    return replace(plane, range=distance, direction=plane.direction + float(shift[1]),
                   orientation=plane.orientation + float(shift[2]))


@dataclass(frozen=True)
class EstimationErrors:
    """
    Errors over independent echoes, beside the bound.

    Attributes
    ----------
    matched_filter : ndarray, shape (n,)
        Of the direction [rad].
    likelihood : ndarray, shape (n, 3)
        Of range [m], direction [rad] and orientation [rad].
    converged : ndarray of bool, shape (n,)
        Whether the likelihood was at a maximum.
    bounds : ExtendedBounds
        For the same beams.

    """

    matched_filter: Real
    likelihood: Real
    converged: NDArray[np.bool_]
    bounds: ExtendedBounds


def estimation_errors(scene: Scene, target: ExtendedTarget, weights: Complex, trials: int,
                      rng: np.random.Generator, track_deviation: Real | None = None,
                      step: float = np.deg2rad(0.01)) -> EstimationErrors:
    """
    Draw echoes and estimate from each.

    Parameters
    ----------
    scene : Scene
    target : ExtendedTarget
        At its true pose.
    weights : ndarray, shape (N, s)
        Beams [sqrt(W)].
    trials : int
    rng : numpy.random.Generator
    track_deviation : ndarray, shape (3,), or None
        Standard deviations of range [m], direction and orientation [rad] of the track that the
        estimates start from; None: it knows the pose, and so the sections.
    step : float
        Of the search of the matched filter [rad].

    """
    true = planar_pose(scene.transmit_array, target.pose)
    fisher = build_extended_fisher(scene, target)
    filtered, errors, converged = np.empty(trials), np.empty((trials, 3)), np.empty(trials, bool)
    for i in range(trials):
        echo = simulate_echo(scene, target, weights, rng)
        track = target
        if track_deviation is not None:
            track = replace(target, pose=pose_of(
                _shifted(true, rng.normal(size=3) * track_deviation)))
        filtered[i] = matched_filter_direction(scene, track, echo, step=step) - true.direction
        stages = [target.sections]
        if track_deviation is not None:
            # As a continuum first: single scatterers give the likelihood many maxima.
            stages = [resolved_sections(scene, track)] + 2 * stages
        found = estimate_pose(scene, track, echo, stages)
        errors[i] = (found.range - true.range, found.direction - true.direction,
                     np.angle(np.exp(1j * (found.orientation - true.orientation))))
        converged[i] = found.converged
    return EstimationErrors(filtered, errors, converged,
                            fisher.bounds(fisher.of_factor(weights)))


class _Likelihood:
    """
    Negative logarithm of the likelihood of an echo, given the pose, and its gradient.

    With A the (M L, K) matrix of whitened echoes of unit coefficients, y the whitened echo,
    G = (I + A^H A)^-1 and w = G A^H y: log det(I + A^H A) - y^H A w.
    """

    def __init__(self, scene: Scene, target: ExtendedTarget, sections: Sections, echo: Echo,
                 white: Complex) -> None:
        self._scene = scene
        self._target = target
        self._sections = sections
        # Fixed at the start: how it changes with the range is no information, the gain is unknown.
        self._amplitude = _amplitude(scene, target, sections)
        self._echo = echo
        self._white = white

    def _terms(self, plane: PlanarPose, gain: float
               ) -> tuple[Complex, Complex, Complex, Complex, Real]:
        """A^H A, A^H y, and for each coordinate dA^H A, dA^H y; and the moves."""
        target = replace(self._target, pose=pose_of(plane))
        paths = _paths(self._scene, target, self._sections, self._amplitude)
        noise, scale = self._scene.radio.sensing_noise, np.exp(gain)
        seen = scale * whiten(noise, paths.seen)
        seen_slope = scale * np.stack([whiten(noise, slope) for slope in paths.seen_slope])
        lit, lit_slope = _lit(paths, self._echo)
        received = seen.conj().T @ self._white
        gram = (seen.conj().T @ seen) * (lit.conj() @ lit.T)
        filtered = np.einsum('kl,kl->k', lit.conj(), received)
        gram_slope = (
            (seen_slope.conj().swapaxes(1, 2) @ seen) * (lit.conj() @ lit.T)
            + (seen.conj().T @ seen) * (lit_slope.conj() @ lit.T))
        filtered_slope = (
            np.einsum('kl,qkl->qk', lit.conj(),
                      seen_slope.conj().swapaxes(1, 2) @ self._white)
            + np.einsum('qkl,kl->qk', lit_slope.conj(), received))
        return gram, filtered, gram_slope, filtered_slope, paths.moves

    def at(self, plane: PlanarPose, gain: float) -> tuple[float, Real]:
        """Value, and derivatives by range, direction, orientation and logarithm of the gain."""
        gram, filtered, gram_slope, filtered_slope, moves = self._terms(plane, gain)
        lower = np.linalg.cholesky(np.eye(len(gram)) + gram)
        inverse = np.linalg.inv(lower)
        inverse = inverse.conj().T @ inverse
        weights = inverse @ filtered
        value = (2 * np.log(np.diag(lower).real).sum()
                 - float((filtered.conj() @ weights).real))

        def slope(gram_by: Complex, filtered_by: Complex) -> Real:
            # Of the column of each section by itself.
            determinant = np.einsum('...kj,jk->...k', gram_by, inverse).real
            return 2 * (determinant - (filtered_by.conj() * weights).real
                        + (weights.conj() * (gram_by @ weights)).real)

        by_coordinate = slope(gram_slope, filtered_slope)
        by_pose = np.einsum('qk,kqw->w', by_coordinate, moves)
        return value, np.append(by_pose, slope(gram, filtered).sum())
