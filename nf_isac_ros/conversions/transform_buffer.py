"""
Transforms between frames over time: what tf2 does, where there is no tf2.

A tree of frames, each link known at some times; between two of them positions are interpolated
on a straight line and orientations on a great circle. Recordings are read with it everywhere, and
live messages where tf2 is not installed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.core.arrays import Pose

# How long a link is remembered [s]; tf2's default.
KEEP = 10.0

# More frames are refused: a source that makes up names must not fill the memory.
MAX_FRAMES = 4096
# A source that repeats its stamps ever more finely must not either.
MAX_TIMES = 10_000


class Transforms(Protocol):
    """What readers of poses need of a buffer; tf2 has it in a wrapper (`nodes.transforms`)."""

    def put(self, parent: str, child: str, stamp: float, pose: Pose, static: bool) -> None:
        """Take in where a frame is in its parent at a time [s], or always."""

    def chain(self, target: str, source: str) -> list[str] | None:
        """Child frames of the links between two frames; None: they are not connected."""

    def latest(self, target: str, source: str) -> float:
        """Newest time at which all links between two frames are known [s]; inf: all static."""

    def lookup(self, target: str, source: str, time: float, slack: float = 0.0) -> Pose:
        """Pose of the source frame in the target frame at a time."""


@dataclass
class _Link:
    """Where a frame is in its parent: times and poses, the times rising; static: one pose."""

    parent: str
    static: bool
    times: list[float] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)

    def put(self, stamp: float, pose: Pose, keep: float) -> None:
        if self.static or (self.times and stamp < self.times[-1] - keep):
            # Static, or the clock went back: what was known before means nothing any more.
            self.times, self.poses = [stamp], [pose]
            return
        place = bisect_left(self.times, stamp)
        if place < len(self.times) and self.times[place] == stamp:
            self.poses[place] = pose
            return
        self.times.insert(place, stamp)
        self.poses.insert(place, pose)
        outdated = max(bisect_left(self.times, self.times[-1] - keep),
                       len(self.times) - MAX_TIMES)
        if outdated > 0:
            del self.times[:outdated], self.poses[:outdated]

    def at(self, time: float, slack: float, child: str) -> Pose:
        if self.static:
            return self.poses[0]
        first, last = self.times[0], self.times[-1]
        if not first <= time <= last:
            if not first - slack <= time <= last + slack:
                raise MessageError(
                    f'transform of {child!r} is asked for at {time:.6f} s, but is known from '
                    f'{first:.6f} to {last:.6f} s only', 'extrapolation')
            time = min(max(time, first), last)
        after = bisect_right(self.times, time)
        if self.times[after - 1] == time:
            return self.poses[after - 1]
        begin, end = self.times[after - 1], self.times[after]
        return _between(self.poses[after - 1], self.poses[after], (time - begin) / (end - begin))


def _between(a: Pose, b: Pose, share: float) -> Pose:
    ends = Rotation.from_quat([a.orientation_xyzw, b.orientation_xyzw])
    turned = Slerp([0.0, 1.0], ends)(share)
    return Pose(a.position + share * (b.position - a.position), _xyzw(turned))


def _xyzw(rotation: Rotation) -> tuple[float, float, float, float]:
    x, y, z, w = (float(value) for value in rotation.as_quat())
    return (x, y, z, w)


def compose(outer: Pose, inner: Pose) -> Pose:
    """Pose in the outermost frame of what `inner` places in the frame of `outer`."""
    turned = Rotation.from_quat(outer.orientation_xyzw) * Rotation.from_quat(
        inner.orientation_xyzw)
    return Pose(outer.to_outer(inner.position), _xyzw(turned))


def inverse(pose: Pose) -> Pose:
    """Pose of the outer frame in the frame of a pose."""
    return Pose(pose.to_inner(np.zeros(3)),
                _xyzw(Rotation.from_quat(pose.orientation_xyzw).inv()))


class TransformBuffer:
    """
    A tree of frames that remembers for a while.

    A frame has one parent: another one replaces it, with all that was known. A stamp further back
    than the buffer remembers starts its link anew, as after a jump of the clock.

    Parameters
    ----------
    keep : float
        How long each link is remembered, counted back from its newest stamp [s].

    """

    def __init__(self, keep: float = KEEP) -> None:
        self._keep = keep
        self._links: dict[str, _Link] = {}

    def put(self, parent: str, child: str, stamp: float, pose: Pose, static: bool) -> None:
        """
        Take in where a frame is in its parent.

        Parameters
        ----------
        parent, child : str
            Names of the frames.
        stamp : float
            When this is so [s]; of a static link, passed over.
        pose : Pose
            Of the child in the parent.
        static : bool
            The pose holds at all times.

        Raises
        ------
        MessageError
            If a name is empty or both are the same ('bad-transform'), if the link would close a
            circle ('tf-cycle'), or if there are too many frames ('too-many-frames'). Nothing was
            changed then.

        """
        if not parent or not child or parent == child:
            raise MessageError(f'transform from {parent!r} to {child!r}: must have two different '
                               'frames', 'bad-transform')
        link = self._links.get(child)
        if link is None or link.parent != parent or link.static != static:
            if child in self._ancestors(parent):
                raise MessageError(
                    f'transform from {parent!r} to {child!r} closes a circle of frames, must '
                    'form a tree', 'tf-cycle')
            if link is None and len(self._links) >= MAX_FRAMES:
                raise MessageError(f'transform of {child!r}: there are {MAX_FRAMES} frames '
                                   'already, must be at most that many', 'too-many-frames')
            link = self._links[child] = _Link(parent, static)
        link.put(stamp, pose, self._keep)

    def _ancestors(self, frame: str) -> Iterator[str]:
        """Frame, its parent, and so on up to the root; there are no circles."""
        yield frame
        while frame in self._links:
            frame = self._links[frame].parent
            yield frame

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Frames from the target, and from the source, up to below where both ways meet."""
        up = list(self._ancestors(target))
        down = list(self._ancestors(source))
        if up[-1] != down[-1]:
            raise MessageError(f'frame {source!r} is not connected with {target!r}',
                               'unknown-frame')
        while up and down and up[-1] == down[-1]:
            up.pop()
            down.pop()
        return up, down

    def chain(self, target: str, source: str) -> list[str] | None:
        """
        Links between two frames.

        Returns
        -------
        list of str or None
            Their child frames; empty for a frame and itself. None: the frames are not connected.

        """
        try:
            up, down = self._path(target, source)
        except MessageError:
            return None
        return up + down

    def latest(self, target: str, source: str) -> float:
        """
        Newest time at which all links between two frames are known.

        Returns
        -------
        float
            [s]; infinite if all of them are static.

        Raises
        ------
        MessageError
            If the frames are not connected ('unknown-frame').

        """
        up, down = self._path(target, source)
        return min((self._links[child].times[-1] for child in up + down
                    if not self._links[child].static), default=inf)

    def lookup(self, target: str, source: str, time: float, slack: float = 0.0) -> Pose:
        """
        Pose of the source frame in the target frame.

        Parameters
        ----------
        target, source : str
            Names of the frames.
        time : float
            [s]; of no account where all links are static.
        slack : float
            So far outside what is known of a link its first or last pose is taken [s].

        Returns
        -------
        Pose

        Raises
        ------
        MessageError
            If the frames are not connected ('unknown-frame'), or a link is not known at that
            time ('extrapolation').

        """
        up, down = self._path(target, source)
        placed = self._down(down, time, slack)
        return compose(inverse(self._down(up, time, slack)), placed) if up else placed

    def _down(self, children: list[str], time: float, slack: float) -> Pose:
        """Pose of the first of several frames, each in the next, in the parent of the last."""
        pose: Pose | None = None
        for child in children:
            link = self._links[child].at(time, slack, child)
            pose = link if pose is None else compose(link, pose)
        return pose or Pose()
