"""What an array sees of a contour, cut into sections that each count as one scatterer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.compiled import compiled_step
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.contour import VERTICES, Contour

Vector = NDArray[np.float64]
Split = Literal['parameter', 'arc']
Lengths = Literal['metres', 'normalised']

SPLITS: tuple[Split, ...] = ('parameter', 'arc')

# Ranges that differ by less, relative to the scene, are equal.
RANGE_TOLERANCE = 1e-9

_INSIDE = -1


@dataclass(frozen=True)
class Sections:
    """
    Visible pieces of a contour, fixed to the body.

    Attributes
    ----------
    parameter : ndarray, shape (K,)
        u_k of the representative points.
    width : ndarray, shape (K,)
        Widths in u.
    length : ndarray, shape (K,)
        Arc lengths l_k [m]; or shares of their sum, where they were normalised.
    points : ndarray, shape (K, 2)
        m_k in the body frame [m].
    runs : int
        Visible intervals of the contour that they come from.

    """

    parameter: Vector
    width: Vector
    length: Vector
    points: Vector
    runs: int

    def __len__(self) -> int:
        """Return the number of sections K."""
        return len(self.parameter)

    def take(self, chosen: NDArray[np.bool_]) -> Sections:
        """Return the chosen sections."""
        return Sections(self.parameter[chosen], self.width[chosen], self.length[chosen],
                        self.points[chosen], self.runs)


def visible_edges(polygon: Vector, viewpoint: Vector) -> NDArray[np.bool_]:
    """
    Find the edges of a polygon that can be seen from a point outside.

    An edge can be seen if it faces the point and the ray to its middle crosses no other edge
    before. Only edges that share a bucket of azimuths with the ray are tried, which gives the same
    answer as all of them.

    Parameters
    ----------
    polygon : ndarray, shape (n, 2)
        Vertices, anticlockwise [m].
    viewpoint : ndarray, shape (2,)
        [m].

    Returns
    -------
    ndarray of bool, shape (n,)
        Edge m goes from vertex m to the next.

    Raises
    ------
    SceneError
        'inside-contour'.

    """
    relative = polygon - np.asarray(viewpoint, dtype=float)
    visible = np.zeros(len(polygon), dtype=np.bool_)
    if _look(np.ascontiguousarray(relative[:, 0]), np.ascontiguousarray(relative[:, 1]),
             visible) == _INSIDE:
        raise SceneError('the array lies inside the contour, must be outside', 'inside-contour')
    return visible


def visible_runs(contour: Contour, viewpoint: Vector) -> Vector:
    """
    Find the intervals of u in which the contour can be seen from a point.

    Parameters
    ----------
    contour : Contour
    viewpoint : ndarray, shape (2,)
        In the body frame [m].

    Returns
    -------
    ndarray, shape (R, 2)
        Start and end of each; an end may exceed 2 pi.

    Raises
    ------
    SceneError
        'inside-contour'; 'invisible-target': nothing is seen.

    """
    visible = visible_edges(contour.polygon, viewpoint)
    starts = np.flatnonzero(visible & ~np.roll(visible, 1))
    if not len(starts):
        raise SceneError('nothing of the contour can be seen from the array', 'invisible-target')
    ends = np.flatnonzero(visible & ~np.roll(visible, -1)) + 1
    if ends[0] <= starts[0]:
        ends = np.append(ends[1:], ends[0] + VERTICES)
    return np.stack([starts, ends], axis=1) * np.float64(2 * np.pi / VERTICES)


def split_sections(contour: Contour, viewpoint: Vector, sections: int,
                   split: Split = 'parameter', lengths: Lengths = 'metres') -> Sections:
    """
    Cut what can be seen of a contour into sections.

    No section reaches over a gap. Runs shorter than |U| / (4 K), of the visible measure |U|, are
    left out; of more runs than sections the longest ones stay.

    Parameters
    ----------
    contour : Contour
    viewpoint : ndarray, shape (2,)
        In the body frame [m].
    sections : int
        K.
    split : str
        'parameter': equal widths in u, or 'arc': equal arc lengths, within each visible run.
    lengths : str
        'metres', or 'normalised' to a sum of one, for targets of different shape that shall return
        the same energy.

    Returns
    -------
    Sections

    Raises
    ------
    SceneError
        'bad-sections', 'inside-contour', 'invisible-target'.

    Notes
    -----
    docs/maths.md, "Extended targets".

    """
    if sections < 1:
        raise SceneError(f'sections is {sections}, must be at least 1', 'bad-sections')
    if split not in SPLITS:
        raise SceneError(f'split is {split!r}, must be one of {", ".join(SPLITS)}', 'bad-sections')
    runs = visible_runs(contour, viewpoint)
    measure = contour.arc_length if split == 'arc' else np.asarray
    bounds = measure(runs)
    sizes = bounds[:, 1] - bounds[:, 0]
    # The longest is never left out: one section of six equal runs is that of one of them.
    kept = sizes >= min(sizes.sum() / (4 * sections), sizes.max())
    if kept.sum() > sections:
        kept = np.isin(np.arange(len(sizes)), np.argsort(-sizes, kind='stable')[:sections])
    bounds, sizes = bounds[kept], sizes[kept]
    counts = _allot(sizes, sections)
    edges = np.concatenate([np.linspace(start, end, count + 1)[:-1]
                            for (start, end), count in zip(bounds, counts, strict=True)])
    steps = np.repeat(sizes / counts, counts)
    if split == 'arc':
        start, middle, end = contour.parameter_at(
            np.stack([edges, edges + 0.5 * steps, edges + steps]))
        length = steps
    else:
        start, middle, end = edges, edges + 0.5 * steps, edges + steps
        length = np.diff(contour.arc_length(np.stack([start, end])), axis=0)[0]
    if lengths == 'normalised':
        length = length / length.sum()
    turns = np.floor(middle / (2 * np.pi))
    return Sections(middle - 2 * np.pi * turns, end - start, length, contour.points(middle),
                    len(sizes))


def _allot(sizes: Vector, total: int) -> NDArray[np.int64]:
    """Share a number of sections out by size, by largest remainder, at least one each."""
    ideal = sizes / sizes.sum() * total
    counts = np.maximum(np.floor(ideal).astype(int), 1)
    while counts.sum() > total:
        # Too many ones: from the run whose share is exceeded most among those that can give.
        excess = np.where(counts > 1, counts - ideal, -np.inf)
        counts[int(np.argmax(excess))] -= 1
    while counts.sum() < total:
        counts[int(np.argmax(ideal - counts))] += 1
    return counts


def warm_up() -> None:
    """Compile or load the kernel, so that the first call does not."""
    square = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    visible_edges(square, np.array([3.0, 0.0]))


@compiled_step
def _look(x: Vector, y: Vector, visible: NDArray[np.bool_]) -> int:
    """Mark the edges of a polygon that the origin sees; -1 if it lies inside or on it."""
    n = len(x)
    # Azimuth of each vertex, continued from the first, and the turn of each edge.
    azimuth = np.empty(n + 1)
    cross = np.empty(n)
    azimuth[0] = 0.0
    low = high = 0.0
    scale = 0.0
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        cross[i] = x[i] * y[j] - y[i] * x[j]
        dot = x[i] * x[j] + y[i] * y[j]
        if cross[i] == 0.0 and dot <= 0.0:
            return _INSIDE
        azimuth[i + 1] = azimuth[i] + np.arctan2(cross[i], dot)
        low, high = min(low, azimuth[i + 1]), max(high, azimuth[i + 1])
        scale = max(scale, x[i] * x[i] + y[i] * y[i])
    if abs(azimuth[n]) > np.pi:
        return _INSIDE
    tolerance = RANGE_TOLERANCE * np.sqrt(scale)

    # Buckets of azimuth; a contour that winds round the origin without enclosing it comes back to
    # the first one.
    buckets = n
    around = high - low >= 2.0 * np.pi - 1e-6
    span = 2.0 * np.pi if around else high - low
    per_angle = buckets / (span * (1.0 + 1e-9))
    first = np.empty(n, dtype=np.int64)
    last = np.empty(n, dtype=np.int64)
    count = np.zeros(buckets + 1, dtype=np.int64)
    for i in range(n):
        a, b = azimuth[i] - low, azimuth[i + 1] - low
        # One bucket more on either side than rounding could ask for.
        first[i] = int(np.floor(min(a, b) * per_angle - 1e-6))
        last[i] = int(np.floor(max(a, b) * per_angle + 1e-6))
        if not around:
            first[i], last[i] = max(first[i], 0), min(last[i], buckets - 1)
        for k in range(first[i], last[i] + 1):
            count[k % buckets + 1] += 1
    for k in range(buckets):
        count[k + 1] += count[k]
    filled = count[:buckets].copy()
    members = np.empty(count[buckets], dtype=np.int64)
    for i in range(n):
        for k in range(first[i], last[i] + 1):
            members[filled[k % buckets]] = i
            filled[k % buckets] += 1

    for i in range(n):
        # On an anticlockwise contour the azimuth falls along the edges that face the origin.
        if cross[i] >= 0.0:
            continue
        j = i + 1 if i + 1 < n else 0
        mx, my = 0.5 * (x[i] + x[j]), 0.5 * (y[i] + y[j])
        distance = np.sqrt(mx * mx + my * my)
        rx, ry = mx / distance, my / distance
        middle = azimuth[i] + np.arctan2(x[i] * my - y[i] * mx, x[i] * mx + y[i] * my)
        bucket = int(np.floor((middle - low) * per_angle))
        bucket = bucket % buckets if around else min(max(bucket, 0), buckets - 1)
        hidden = False
        for k in range(count[bucket], count[bucket + 1]):
            m = members[k]
            if m == i:
                continue
            e = m + 1 if m + 1 < n else 0
            here = rx * y[m] - ry * x[m]
            there = rx * y[e] - ry * x[e]
            if (here > 0.0) == (there > 0.0):
                continue
            reach = cross[m] / (there - here)
            if 0.0 < reach < distance - tolerance:
                hidden = True
                break
        visible[i] = not hidden
    return 0
