"""Contours of extended targets as truncated Fourier series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nf_isac_ros.core.compiled import compiled_step
from nf_isac_ros.core.exceptions import SceneError

Vector = NDArray[np.float64]

# Vertices of the polygon that stands for a contour where visibility and crossings are decided.
VERTICES = 1440

# A shape whose distance from its centre varies by less than this share is taken for a circle: its
# orientation cannot be seen, whatever a model of sections fixed to the body says.
NEAR_CIRCULAR = 0.02

# Nodes of the quadrature between two vertices, where the speed of a contour is all but a parabola.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)

_FIT_ROUNDS = 200
_FIT_TOLERANCE = 1e-12


class ContourError(SceneError):
    """A contour that cannot be: see `reason`."""


@dataclass(frozen=True)
class Contour:
    """
    Closed curve m(u) = [sum_q A_q cos(q u), sum_q B_q sin(q u)] in the frame of a body.

    x is the heading. There is no constant term: the frame has its origin in the centre. Such a
    curve is its own mirror image about the heading.

    Attributes
    ----------
    cosine, sine : tuple of float
        A_1..A_Q and B_1..B_Q [m].

    Raises
    ------
    ContourError
        'bad-contour': not as many sines as cosines, none at all, not finite, or A_1 or B_1 not
        positive; 'clockwise-contour', 'self-crossing-contour'.

    Notes
    -----
    Eq. (7) of Wang, Tao, Sun, "Cramér-Rao bound analysis and beamforming design for integrated
    sensing and communication with extended targets", arXiv 2406.01937; derived in docs/maths.md.

    """

    cosine: tuple[float, ...]
    sine: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the coefficients and the shape."""
        for key in ('cosine', 'sine'):
            object.__setattr__(self, key, tuple(float(value) for value in getattr(self, key)))
        if len(self.cosine) != len(self.sine) or not self.cosine:
            raise ContourError(
                f'contour has {len(self.cosine)} cosine and {len(self.sine)} sine coefficients, '
                'must have as many of both, at least one', 'bad-contour')
        for key in ('cosine', 'sine'):
            values = getattr(self, key)
            if not np.isfinite(values).all():
                raise ContourError(f'contour {key} is {list(values)}, must be finite [m]',
                                   'bad-contour')
            if not values[0] > 0:
                raise ContourError(
                    f'contour {key}[0] is {values[0]:g} m, must be positive: the contour runs '
                    'anticlockwise', 'bad-contour')
        _check_shape(self.cosine, self.sine)

    @property
    def harmonics(self) -> int:
        """Number of harmonics Q."""
        return len(self.cosine)

    def points(self, parameter: ArrayLike) -> Vector:
        """Points m(u) in the body frame, shape (..., 2) [m]."""
        angle = np.multiply.outer(np.asarray(parameter, dtype=float), self._orders)
        return np.stack([np.cos(angle) @ self.cosine, np.sin(angle) @ self.sine], axis=-1)

    def tangents(self, parameter: ArrayLike) -> Vector:
        """Derivatives m'(u), shape (..., 2) [m]."""
        angle = np.multiply.outer(np.asarray(parameter, dtype=float), self._orders)
        return np.stack([-np.sin(angle) @ (self._orders * self.cosine),
                         np.cos(angle) @ (self._orders * self.sine)], axis=-1)

    @cached_property
    def _orders(self) -> Vector:
        return np.arange(1.0, len(self.cosine) + 1, dtype=np.float64)

    @cached_property
    def polygon(self) -> Vector:
        """Points at u = 2 pi m / VERTICES, shape (VERTICES, 2) [m]."""
        return self.points(np.arange(VERTICES) * (2 * np.pi / VERTICES))

    @cached_property
    def _arc(self) -> Vector:
        """Arc length from u = 0 to each vertex, shape (VERTICES + 1,) [m]."""
        step = 2 * np.pi / VERTICES
        nodes = (np.arange(VERTICES)[:, None] + (1 + _NODES) / 2) * step
        speed = np.linalg.norm(self.tangents(nodes), axis=-1)
        return np.concatenate([[0.0], np.cumsum(speed @ _WEIGHTS * (step / 2))])

    @property
    def perimeter(self) -> float:
        """Length of the whole contour [m]."""
        return float(self._arc[-1])

    @cached_property
    def extent(self) -> tuple[float, float]:
        """Length along the heading and width across it [m]."""
        length, width = np.ptp(self.polygon, axis=0)
        return float(length), float(width)

    @cached_property
    def radius(self) -> float:
        """Largest distance of the contour from its centre [m]."""
        return float(np.linalg.norm(self.polygon, axis=1).max())

    @cached_property
    def near_circular(self) -> bool:
        """Tell whether the shape is so near to a circle that its orientation cannot be seen."""
        distance = np.linalg.norm(self.polygon, axis=1)
        return bool(np.ptp(distance) < NEAR_CIRCULAR * distance.mean())

    def arc_length(self, parameter: ArrayLike) -> Vector:
        """Arc length from u = 0 to each parameter, any real number, shape (...) [m]."""
        u = np.asarray(parameter, dtype=float)
        cells = u * (VERTICES / (2 * np.pi))
        turns, cell = np.divmod(np.floor(cells), VERTICES)
        start = np.floor(cells) * (2 * np.pi / VERTICES)
        half = 0.5 * (u - start)
        nodes = start[..., None] + half[..., None] * (1 + _NODES)
        rest = np.linalg.norm(self.tangents(nodes), axis=-1) @ _WEIGHTS * half
        return turns * self.perimeter + self._arc[cell.astype(int)] + rest

    def parameter_at(self, length: ArrayLike) -> Vector:
        """Parameters u at which the arc length from u = 0 has given values, shape (...)."""
        length = np.asarray(length, dtype=float)
        turns, rest = np.divmod(length, self.perimeter)
        u = np.interp(rest, self._arc, np.linspace(0.0, 2 * np.pi, VERTICES + 1))
        # The table is good to its spacing squared; Newton's method doubles the digits.
        for _ in range(3):
            speed = np.linalg.norm(self.tangents(u), axis=-1)
            u = u - (self.arc_length(u) - rest) / np.maximum(speed, 1e-12 * self.radius)
        return u + 2 * np.pi * turns

    def scaled(self, factor: float) -> Contour:
        """
        Contour of a body of the same shape and another size.

        Raises
        ------
        ContourError
            If the factor is not positive and finite.

        """
        if not (np.isfinite(factor) and factor > 0):
            raise ContourError(f'size scale is {factor}, must be positive', 'bad-contour')
        return self if factor == 1.0 else _scaled(self, float(factor))


@lru_cache(maxsize=256)
def _scaled(contour: Contour, factor: float) -> Contour:
    # Cached: a cycle scales the same contour again and again, and each one keeps its tables.
    return Contour(tuple(factor * a for a in contour.cosine),
                   tuple(factor * b for b in contour.sine))


@lru_cache(maxsize=256)
def _check_shape(cosine: tuple[float, ...], sine: tuple[float, ...]) -> None:
    orders = np.arange(1, len(cosine) + 1)
    angle = np.multiply.outer(np.arange(VERTICES) * (2 * np.pi / VERTICES), orders)
    x, y = np.cos(angle) @ np.array(cosine), np.sin(angle) @ np.array(sine)
    crossing = _first_crossing(x, y)
    if crossing >= 0:
        raise ContourError(
            f'contour crosses itself near x = {x[crossing]:.3g} m, y = {y[crossing]:.3g} m, must '
            'be a simple curve', 'self-crossing-contour')
    if float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) <= 0:
        raise ContourError('contour runs clockwise, must run anticlockwise', 'clockwise-contour')


@compiled_step
def _first_crossing(x: Vector, y: Vector) -> int:
    """First edge of a closed polygon that another one crosses or touches; -1 if none does."""
    n = len(x)
    for i in range(n):
        ax, ay = x[i], y[i]
        bx, by = x[(i + 1) % n], y[(i + 1) % n]
        left, right = min(ax, bx), max(ax, bx)
        low, high = min(ay, by), max(ay, by)
        for j in range(i + 2, n):
            if i == 0 and j == n - 1:
                continue
            cx, cy = x[j], y[j]
            dx, dy = x[(j + 1) % n], y[(j + 1) % n]
            if (max(cx, dx) < left or min(cx, dx) > right
                    or max(cy, dy) < low or min(cy, dy) > high):
                continue
            c = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
            d = (bx - ax) * (dy - ay) - (by - ay) * (dx - ax)
            a = (dx - cx) * (ay - cy) - (dy - cy) * (ax - cx)
            b = (dx - cx) * (by - cy) - (dy - cy) * (bx - cx)
            if c * d <= 0 and a * b <= 0:
                return i
    return -1


@dataclass(frozen=True)
class ContourFit:
    """
    A contour that was fitted to points.

    Attributes
    ----------
    contour : Contour
    offset : float
        Where the centre of the contour lies on the x axis of the points [m].
    rms : float
        Root mean square distance of the points from the contour [m].

    """

    contour: Contour
    offset: float
    rms: float


def fit_contour(points: ArrayLike, harmonics: int) -> ContourFit:
    """
    Fit a contour to points of an outline by least squares of their distances.

    Each point has a foot on the contour; the coefficients move by the method of Levenberg and
    Marquardt, the feet are found anew after each step.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        In order along the outline, either way round, in a frame whose x axis is the axis of
        symmetry and the heading [m].
    harmonics : int
        Q.

    Returns
    -------
    ContourFit

    Raises
    ------
    ContourError
        'too-few-points': fewer than 2 Q + 1; 'not-closed': the outline has a gap; and what
        `Contour` raises.

    """
    outline = np.array(points, dtype=float)
    if outline.ndim != 2 or outline.shape[1] != 2 or not np.isfinite(outline).all():
        raise ContourError(f'points have shape {outline.shape}, must be (n, 2) and finite [m]',
                           'bad-contour')
    if harmonics < 1 or len(outline) < 2 * harmonics + 1:
        raise ContourError(
            f'{len(outline)} points for {harmonics} harmonics, must be at least one harmonic and '
            f'{2 * max(harmonics, 1) + 1} points', 'too-few-points')
    _check_closed(outline)
    x, y = outline.T
    if float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) < 0:
        outline = outline[::-1]
    parameter = _first_parameters(outline)
    fits = []
    # By arc length at once, and harmonic by harmonic: each start misses the best fit now and then.
    for first in (harmonics, 1):
        angle = np.multiply.outer(parameter, np.arange(1.0, first + 1))
        even = np.column_stack([np.ones(len(outline)), np.cos(angle)])
        shape = np.concatenate([np.linalg.lstsq(even, outline[:, 0], rcond=None)[0],
                                np.linalg.lstsq(np.sin(angle), outline[:, 1], rcond=None)[0]])
        shape, feet, square = _descend(outline, parameter, shape)
        for q in range(first, harmonics):
            shape, feet, square = _descend(
                outline, feet, np.insert(shape, [q + 1, 2 * q + 1], 0.0))
        fits.append((square, shape))
    square, shape = min(fits, key=lambda fit: fit[0])
    return ContourFit(Contour(tuple(shape[1:harmonics + 1]), tuple(shape[harmonics + 1:])),
                      float(shape[0]), float(np.sqrt(square / len(outline))))


def _descend(outline: Vector, parameter: Vector, shape: Vector) -> tuple[Vector, Vector, float]:
    """
    Move offset, cosines and sines by the method of Levenberg and Marquardt.

    Returns
    -------
    shape : ndarray, shape (1 + 2 Q,)
    parameter : ndarray, shape (n,)
        Of the feet.
    square : float
        Sum of the squared distances [m^2].

    """
    q = len(shape) // 2
    orders = np.arange(1.0, q + 1)
    parameter, off = _project(outline, parameter, shape)
    square, damping = float((off ** 2).sum()), 1e-3
    for _ in range(_FIT_ROUNDS):
        angle = np.multiply.outer(parameter, orders)
        slope = np.stack([-np.sin(angle) @ (orders * shape[1:q + 1]),
                          np.cos(angle) @ (orders * shape[q + 1:])], axis=1)
        normal = np.stack([slope[:, 1], -slope[:, 0]], axis=1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        # Points are free to slide along the contour, so only distances along the normal count.
        by_shape = np.hstack([normal[:, :1], normal[:, :1] * np.cos(angle),
                              normal[:, 1:] * np.sin(angle)])
        curvature = by_shape.T @ by_shape
        step = np.linalg.solve(
            curvature + damping * np.mean(np.diag(curvature)) * np.eye(len(shape)),
            -by_shape.T @ np.einsum('ni,ni->n', off, normal))
        trial_parameter, trial_off = _project(outline, parameter, shape + step)
        trial = float((trial_off ** 2).sum())
        if trial > square:
            damping *= 10
            if damping > 1e6:
                break
            continue
        settled = square - trial < _FIT_TOLERANCE * square
        shape, parameter, off = shape + step, trial_parameter, trial_off
        square, damping = trial, damping / 10
        if settled:
            break
    return shape, parameter, square


def _check_closed(outline: Vector) -> None:
    gaps = np.linalg.norm(outline - np.roll(outline, 1, axis=0), axis=1)
    largest = float(gaps[1:].max())
    if gaps[0] > 4 * largest and gaps[0] > 0.05 * gaps.sum():
        raise ContourError(
            f'outline ends {gaps[0]:.3g} m from where it starts, must be closed: its other gaps '
            f'are at most {largest:.3g} m', 'not-closed')


def _first_parameters(outline: Vector) -> Vector:
    """Parameters by arc length, each side of the axis of symmetry half a turn."""
    front = int(np.argmax(outline[:, 0] - 0.2 * np.abs(outline[:, 1])))
    ordered = np.roll(outline, -front, axis=0)
    steps = np.linalg.norm(np.diff(ordered, axis=0, append=ordered[:1]), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    # u = 0 is where the outline crosses the axis at the front, u = pi where it does at the back.
    heights = np.append(ordered[:, 1], ordered[0, 1])
    if heights[0] * heights[1] <= 0 and heights[0] != heights[1]:
        start = arc[1] * heights[0] / (heights[0] - heights[1])
    else:
        last = steps[-1] * heights[0] / (heights[0] - heights[-2]) if (
            heights[-2] != heights[0]) else 0.0
        start = -last
    crossings = [i for i in range(1, len(ordered)) if heights[i] > 0 >= heights[i + 1]]
    if not crossings:
        raise ContourError('outline does not enclose a part of its x axis, must be symmetric '
                           'about it', 'bad-contour')
    back = crossings[-1]
    share = heights[back] / (heights[back] - heights[back + 1])
    middle = arc[back] + share * steps[back]
    position = arc[:-1]
    upper = np.pi * (position - start) / (middle - start)
    lower = np.pi * (1 + (position - middle) / (arc[-1] + start - middle))
    return np.roll(np.where(position < middle, upper, lower), front)


def _project(points: Vector, parameter: Vector, shape: Vector) -> tuple[Vector, Vector]:
    """
    Move each parameter to the foot of its point, by damped steps of Newton's method.

    Returns
    -------
    parameter : ndarray, shape (n,)
    off : ndarray, shape (n, 2)
        From each point to its foot [m].

    """
    q = len(shape) // 2
    orders, cosine, sine = np.arange(1.0, q + 1), shape[1:q + 1], shape[q + 1:]

    def residuals(u: Vector) -> tuple[Vector, Vector, Vector]:
        angle = np.multiply.outer(u, orders)
        cos, sin = np.cos(angle), np.sin(angle)
        curve = np.stack([shape[0] + cos @ cosine, sin @ sine], axis=-1)
        slope = np.stack([-sin @ (orders * cosine), cos @ (orders * sine)], axis=-1)
        bend = np.stack([-cos @ (orders ** 2 * cosine), -sin @ (orders ** 2 * sine)], axis=-1)
        return curve - points, slope, bend

    off, slope, bend = residuals(parameter)
    square = np.einsum('ni,ni->n', off, off)
    for _ in range(10):
        gradient = np.einsum('ni,ni->n', off, slope)
        steep = np.einsum('ni,ni->n', slope, slope)
        curvature = steep + np.einsum('ni,ni->n', off, bend)
        # Far from the foot the curvature may be negative: the step of Gauss and Newton then.
        step = -gradient / np.where(curvature > 0.1 * steep, curvature, steep + 1e-300)
        step = np.clip(step, -0.2, 0.2)
        trial = residuals(parameter + step)
        lower = np.einsum('ni,ni->n', trial[0], trial[0])
        better = lower < square
        parameter = np.where(better, parameter + step, parameter)
        off, slope, bend = (np.where(better[:, None], new, old)
                            for new, old in zip(trial, (off, slope, bend), strict=True))
        square = np.where(better, lower, square)
    return parameter, off
