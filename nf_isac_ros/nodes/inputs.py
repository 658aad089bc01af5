"""Subscriptions that bring poses and channels: every message is taken whole or refused whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import importlib
import threading
import traceback
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription

from nf_isac_msgs.msg import TrackArray, UserChannelArray
from nf_isac_ros.conversions.adapters import read_track_array
from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.conversions.reading import read_user_channels
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import ChannelStore, PoseSample, Role, TrackStore
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.nodes.diagnostics import Counts
from nf_isac_ros.nodes.qos import NO_EVENTS_IN, TRACKS, overridable, poses_in
from nf_isac_ros.nodes.transforms import transform_buffer


class InputError(NfIsacError):
    """A topic of the deployment that cannot be subscribed."""

    reason = 'bad-input-topic'


def message_class(type_name: str) -> Any:
    """
    Class of a message type.

    Parameters
    ----------
    type_name : str
        Such as 'geometry_msgs/msg/PoseStamped'.

    Raises
    ------
    InputError
        If its package is not installed or has no such message.

    """
    package, _, name = type_name.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f'message type {type_name!r} is not installed: {error}') from error


class PoseInputs:
    """
    Feeds the stores of tracks and channels from all topics of a deployment.

    The topics `targets` and `users` carry TrackArrays, `users/channels` channels; bodies with a
    topic of their own come through the adapter for their message type.

    Parameters
    ----------
    node : Node
        Whose executor runs the callbacks.
    deployment : Deployment
        Names topics and bodies.
    tracks : TrackStore
        Gets the poses.
    channels : ChannelStore
        Gets the channels.
    rejected : Counts
        Counts the messages that were refused.
    lock : threading.Lock
        Held while the stores change: others read them in threads of their own.
    on_news : callable
        Called after a message that was news, without the lock.

    Raises
    ------
    InputError
        If a topic of its own is configured for poses, or a type is not installed.
    MessageError
        If there is no adapter for a type, or two types are configured on one topic.

    """

    def __init__(self, node: Node, deployment: Deployment, tracks: TrackStore,
                 channels: ChannelStore, rejected: Counts, lock: threading.Lock,
                 on_news: Callable[[], None]) -> None:
        self._node = node
        self._deployment = deployment
        self._tracks = tracks
        self._channels = channels
        self._rejected = rejected
        self._lock = lock
        self._on_news = on_news
        self._subscriptions: list[Subscription] = []
        readers: dict[str, tuple[Any, Callable[[Any], None]]] = {
            f'{role.value}s': (TrackArray, self._track_array_reader(role)) for role in Role}
        readers['users/channels'] = (UserChannelArray, self._read_channels)
        poses = PoseReader(deployment.bodies, deployment.world_frame, deployment.transforms,
                           transform_buffer)
        qualities = dict.fromkeys(readers, TRACKS)
        for topic, type_name in poses.topics.items():
            if topic in readers:
                raise InputError(f'topic {topic!r} is configured for several message types, must '
                                 'have one')
            readers[topic] = (message_class(type_name), self._pose_reader(poses, topic))
            qualities[topic] = poses_in(topic, type_name)
        for topic, (kind, read) in readers.items():
            self._subscriptions.append(node.create_subscription(
                kind, topic, self._guarded(topic, read), qualities[topic],
                event_callbacks=NO_EVENTS_IN, qos_overriding_options=overridable()))

    def destroy(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _now(self) -> float:
        return self._node.get_clock().now().nanoseconds * 1e-9

    def _guarded(self, topic: str, read: Callable[[Any], None]) -> Callable[[Any], None]:
        def callback(message: Any) -> None:
            try:
                read(message)
            except NfIsacError as error:
                self._rejected.add(error.reason, f'{topic}: {error}')
            except Exception:  # noqa: BLE001  a message that nobody thought of
                self._rejected.add('internal-error', f'{topic}:\n{traceback.format_exc()}')
        return callback

    def _take(self, samples: Sequence[PoseSample]) -> None:
        with self._lock:
            before = self._tracks.jumps
            news = self._tracks.update(samples, self._now())
            jumps = self._tracks.jumps
        if news:
            self._on_news()
        if jumps > before:
            self._node.get_logger().warning(
                f'{jumps - before} of the bodies {[sample.id for sample in samples]} jumped; '
                f'{jumps} jumps so far', throttle_duration_sec=1.0)

    def _track_array_reader(self, role: Role) -> Callable[[Any], None]:
        def read(message: Any) -> None:
            self._take(read_track_array(
                message, role, self._deployment.bodies, self._deployment.world_frame))
        return read

    def _pose_reader(self, poses: PoseReader, topic: str) -> Callable[[Any], None]:
        def read(message: Any) -> None:
            samples = poses.read(topic, message)
            if samples:   # transforms may be those of somebody else
                self._take(samples)
        return read

    def _read_channels(self, message: Any) -> None:
        array = self._deployment.transmit_array
        samples = read_user_channels(message, array.layout_hash, len(array))
        with self._lock:
            news = self._channels.update(samples, self._now())
        if news:
            self._on_news()

