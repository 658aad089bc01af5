"""
Poses of the bodies of a deployment, from the messages of all its topics.

The one place that knows which topic belongs to which body: nodes, the bag player and the replay
hand their messages to a `PoseReader`. TF needs a memory, which lies here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import isinf
from typing import Any

from nf_isac_ros.conversions.adapters import (
    TRANSFORM_MESSAGE,
    Body,
    adapter_for,
    check_stamp,
    make_sample,
    name_of,
    pose_of_transform,
    seconds,
)
from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.conversions.transform_buffer import TransformBuffer, Transforms, compose
from nf_isac_ros.core.arrays import Pose
from nf_isac_ros.core.tracking import PoseSample

TRANSFORM_TYPE = f'tf2_msgs/msg/{TRANSFORM_MESSAGE}'
STATIC = '_static'

# A pose may be so much newer than the transform of its frame [s]: they travel separately.
FRAME_SLACK = 0.1


def is_transform(type_name: str) -> bool:
    """Tell whether messages of a type are transforms."""
    return type_name.rsplit('/', maxsplit=1)[-1] == TRANSFORM_MESSAGE


class PoseReader:
    """
    Reads the poses of configured bodies.

    Parameters
    ----------
    bodies : sequence of Body
        Those without a topic are passed over.
    world_frame : str
        Frame that poses must be in.
    transforms_topic : str or None
        Topic of transforms (`/tf`) that bring poses in other frames into the world frame; None:
        such poses are refused.
    make_buffer : callable
        Makes a memory of transforms; there is one for each topic of transforms, since robots with
        a topic each may all call their frames alike.

    Attributes
    ----------
    topics : mapping of str to str
        Message type by topic: all that `read` wants to be given. To a topic of transforms belongs
        that of the static ones, of the same name with `_static` behind it.

    Raises
    ------
    MessageError
        If there is no adapter for a type ('unknown-type'), or bodies of one topic have several
        ('several-types').

    """

    def __init__(self, bodies: Sequence[Body], world_frame: str,
                 transforms_topic: str | None = None,
                 make_buffer: Callable[[], Transforms] = TransformBuffer) -> None:
        self._world = world_frame.lstrip('/')
        topics: dict[str, str] = {}
        by_topic: dict[str, list[Body]] = {}
        for body in bodies:
            if body.topic is None or body.type is None:
                continue
            if topics.setdefault(body.topic, body.type) != body.type:
                raise MessageError(
                    f'topic {body.topic!r} is configured with the types {topics[body.topic]} and '
                    f'{body.type}, must have one', 'several-types')
            by_topic.setdefault(body.topic, []).append(body)
        if transforms_topic is not None and not is_transform(
                topics.setdefault(transforms_topic, TRANSFORM_TYPE)):
            raise MessageError(
                f'topic {transforms_topic!r} is configured with the types {TRANSFORM_TYPE} and '
                f'{topics[transforms_topic]}, must have one', 'several-types')
        self._adapters = {topic: (adapter_for(kind), by_topic[topic])
                          for topic, kind in topics.items() if not is_transform(kind)}
        self._frames: dict[str, _FrameReader] = {}
        for topic, kind in list(topics.items()):
            if not is_transform(kind):
                continue
            dynamic = topic.removesuffix(STATIC)
            reader = self._frames.setdefault(dynamic, _FrameReader(self._world, make_buffer()))
            reader.bodies += by_topic.get(topic, [])
            topics.setdefault(dynamic, kind)
            topics.setdefault(dynamic + STATIC, kind)
        self._around = None if transforms_topic is None else (
            self._frames[transforms_topic.removesuffix(STATIC)].buffer)
        self.topics: Mapping[str, str] = topics

    def read(self, topic: str, message: Any) -> list[PoseSample]:
        """
        Poses in a message.

        Parameters
        ----------
        topic : str
            One of `topics`.
        message : object
            Live or read from a bag.

        Returns
        -------
        list of PoseSample
            In the world frame. Empty if the message says nothing new of any configured body.

        Raises
        ------
        MessageError, TrackError
            If the message cannot be right or cannot be used; the reason says how.

        """
        if topic not in self._adapters:
            frames = self._frames[topic.removesuffix(STATIC)]
            return frames.read(message, static=topic.endswith(STATIC))
        adapter, bodies = self._adapters[topic]
        frame = message.header.frame_id.lstrip('/')
        if self._around is None or frame == self._world:
            return adapter(message, bodies, self._world)
        return [_seen_from(self._world, frame, self._around, sample)
                for sample in adapter(message, bodies, frame)]


def _seen_from(world: str, frame: str, transforms: Transforms, sample: PoseSample) -> PoseSample:
    """Bring a pose from a frame into the world; the transform's uncertainty is not counted."""
    if transforms.chain(world, frame) is None:
        raise MessageError(
            f'pose of {sample.id!r} is in frame {frame!r}, which no transform connects with the '
            f'world frame {world!r}', 'unknown-frame')
    placed = transforms.lookup(world, frame, sample.stamp, FRAME_SLACK)
    turn = placed.rotation
    moves = not isinf(transforms.latest(world, frame))
    turned = sample.orientation_xyzw and compose(
        placed, Pose(orientation_xyzw=sample.orientation_xyzw)).orientation_xyzw
    return replace(
        sample, position=placed.to_outer(sample.position), orientation_xyzw=turned,
        # A velocity against a frame that moves itself is none in the world.
        velocity=None if sample.velocity is None or moves else turn @ sample.velocity,
        position_covariance=None if sample.position_covariance is None else
        turn @ sample.position_covariance @ turn.T)


class _FrameReader:
    """
    Bodies that are frames of one tree of transforms.

    A body is told of at the newest time for which its whole chain of transforms is known; one
    that is fixed to the world by static transforms alone, at the newest time of those that move.
    Transforms that have nothing to do with any body may be as wrong as they like.
    """

    def __init__(self, world: str, buffer: Transforms) -> None:
        self.bodies: list[Body] = []
        self.buffer = buffer
        self._world = world
        self._told: dict[tuple[str, str], float] = {}

    def read(self, message: Any, static: bool) -> list[PoseSample]:
        """Take the transforms of a TFMessage in, and return the bodies that have moved on."""
        faults, stamps = self._take(message, static)
        latest: dict[str, float] = {}
        for frame in {name_of(body) for body in self.bodies}:
            # Static transforms come first, and once: the way to the world may be still to come.
            if self._connected(frame, () if static else message.transforms, faults):
                latest[frame] = self.buffer.latest(self._world, frame)
        moving = [stamp for stamp in latest.values() if not isinf(stamp)]
        present = max(moving or stamps, default=0.0)
        samples = []
        for body in self.bodies:
            frame = name_of(body)
            stamp = min(latest.get(frame, 0.0), present)
            if stamp == 0.0 or self._told.get((body.role, body.id)) == stamp:
                continue
            pose = self.buffer.lookup(self._world, frame, stamp)
            samples.append(make_sample(body, stamp, pose.position, pose.orientation_xyzw))
        self._told.update({(sample.role.value, sample.id): sample.stamp for sample in samples})
        return samples

    def _take(self, message: Any,
              static: bool) -> tuple[dict[str, MessageError], Collection[float]]:
        """Fill the buffer; what is wrong, by child frame, and the stamps of what is not."""
        faults: dict[str, MessageError] = {}
        seen: set[tuple[str, float]] = set()
        for item in message.transforms:
            child = str(item.child_frame_id).lstrip('/')
            try:
                stamp = seconds(item.header.stamp) if static else check_stamp(
                    item.header, f'transform of {child!r}')
                if (child, stamp) in seen:
                    raise MessageError(f'a TFMessage names {child!r} twice at {stamp:.6f} s, must '
                                       'name it once', 'duplicate-id')
                self.buffer.put(str(item.header.frame_id).lstrip('/'), child, stamp,
                                pose_of_transform(item), static)
                seen.add((child, stamp))
            except MessageError as error:
                faults[child] = error
        return faults, [stamp for _, stamp in seen]

    def _connected(self, frame: str, transforms: Sequence[Any],
                   faults: Mapping[str, MessageError]) -> bool:
        """
        Tell whether a frame is connected with the world.

        Raises what is wrong with a transform in between, or with where they lead instead.
        """
        chain = self.buffer.chain(self._world, frame)
        for child in (frame, *(chain or ())):
            if child in faults:
                raise faults[child]
        if chain is None:
            for item in transforms:
                if str(item.child_frame_id).lstrip('/') == frame:
                    raise MessageError(
                        f'frame {frame!r} is in frame {item.header.frame_id!r}, which no '
                        f'transform connects with the world frame {self._world!r}',
                        'unknown-frame')
        return chain is not None
