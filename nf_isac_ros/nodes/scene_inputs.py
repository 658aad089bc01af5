"""Everything that a view of the running graph listens to, and what of it is true at present."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
import math
import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from nf_isac_msgs.msg import Beamformer, CrbArray, DesignStatus, RadioStatus, TrackArray
from nf_isac_ros.conversions.adapters import read_track_array
from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.extended.outline import Outline, outline
from nf_isac_ros.core.planning import extended_target
from nf_isac_ros.core.tracking import PoseSample, Role
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.nodes.inputs import message_class
from nf_isac_ros.nodes.polled import OnDemand
from nf_isac_ros.nodes.qos import overridable, poses_in
from nf_isac_ros.nodes.transforms import transform_buffer
from nf_isac_ros.nodes.unlocked import take

# One message may name one body only, so that the newest one is not enough.
POSES = QoSProfile(depth=64, reliability=ReliabilityPolicy.BEST_EFFORT)

# A body of which nothing was heard for this long is gone, and so is a radio [s].
FORGET_AFTER = 2.0

TRACKED, TRUTH = 'tracked', 'truth'


class Inbox:
    """
    Newest messages of one topic, taken and decoded only when somebody looks at them.

    Parameters
    ----------
    topic : str
    kind : type
        Message class.
    quality : QoSProfile
        Its depth is the number of messages that wait for a look.
    newest : bool
        Only the newest of them is decoded; the others are just counted.

    Attributes
    ----------
    received : float
        When a message was found last, on the steady clock [s].
    count : int
        Messages so far.

    """

    def __init__(self, topic: str, kind: type, quality: QoSProfile, newest: bool = False) -> None:
        self.topic = topic
        self.received = -math.inf
        self.count = 0
        self._kind = kind
        self._quality = quality
        self._newest = newest
        self._subscription: Subscription | None = None

    def open(self, node: Node, group: OnDemand) -> None:
        """Subscribe."""
        self._subscription = node.create_subscription(
            self._kind, self.topic, lambda message: None, self._quality, raw=True,
            callback_group=group, qos_overriding_options=overridable())

    def close(self, node: Node) -> None:
        """End the subscription."""
        node.destroy_subscription(self._subscription)
        self._subscription = None

    def take(self) -> list[Any]:
        """Return the messages since the last call, oldest first."""
        if self._subscription is None:
            return []
        raw: list[bytes] = []
        # Not more than were there: a fast publisher must not keep the view from drawing.
        while len(raw) < self._quality.depth and (
                data := take(self._subscription)) is not None:
            raw.append(data)
        if not raw:
            return []
        self.received = time.monotonic()
        self.count += len(raw)
        return [deserialize_message(data, self._kind) for data in raw[-1 if self._newest else 0:]]


@dataclass(frozen=True)
class PoseInput:
    """
    A topic that tells where bodies are.

    Attributes
    ----------
    source : str
        `tracked` or `truth`.
    inbox : Inbox
    read : callable
        Turns a message into samples.

    """

    source: str
    inbox: Inbox
    read: Callable[[Any], list[PoseSample]]


@dataclass(frozen=True)
class Lease:
    """
    How long beams may be in use: until both clocks say that they may not.

    Attributes
    ----------
    until : int
        On the clock of the node [ns].
    steady_until : float
        On the steady clock [s].

    """

    until: int
    steady_until: float

    def held(self, now: int) -> bool:
        """Tell whether the lease goes on at a time of the node's clock [ns]."""
        return now < self.until and time.monotonic() < self.steady_until


class SceneInputs:
    """
    Subscriptions of a view, opened and closed together.

    Parameters
    ----------
    node : Node
        Whose context the subscriptions belong to; `read` is called from one thread.
    deployment : Deployment or None
        Names topics, bodies and frame; None: the topics of TrackArrays only, in any frame.
    on_fault : callable
        Gets reason and text of a message that cannot be used.
    depth : int
        How many messages of beams, bounds and states wait for a look. All are counted; of beams
        and bounds the newest counts, so that 1 will do for who draws only.

    Attributes
    ----------
    beams : Beamformer or None
    bounds : CrbArray or None
    status : DesignStatus or None
    recent : list of DesignStatus
        All that came with the last call of `read`.
    radio : RadioStatus or None
        None: no driver, or one that has gone silent.

    """

    def __init__(self, node: Node, deployment: Deployment | None,
                 on_fault: Callable[[str, str], None], depth: int = 1) -> None:
        self._node = node
        self._deployment = deployment
        self._on_fault = on_fault
        self.beams: Beamformer | None = None
        self.bounds: CrbArray | None = None
        self.status: DesignStatus | None = None
        self.recent: list[DesignStatus] = []
        self.radio: RadioStatus | None = None
        self._lease: Lease | None = None
        self._listening = False
        self._heard: dict[tuple[str, str, str], tuple[float, PoseSample]] = {}
        self._group = OnDemand()
        waiting = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
        self._beamformer = Inbox('beamformer', Beamformer, waiting, newest=True)
        self._crb = Inbox('crb', CrbArray, waiting, newest=True)
        self._status = Inbox('status', DesignStatus, waiting)
        self._radio = Inbox('radio/status', RadioStatus, QoSProfile(
            depth=depth, reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL), newest=True)
        self._poses = self._pose_inputs()

    def _pose_inputs(self) -> list[PoseInput]:
        deployment = self._deployment
        inputs = []
        for role in Role:
            for source, topic, bodies in (
                    # The truth is told of the point that counts: it has its offset already.
                    (TRUTH, f'truth/{role.value}s', ()),
                    (TRACKED, f'{role.value}s', deployment.bodies if deployment else ())):
                inputs.append(PoseInput(
                    source, Inbox(topic, TrackArray, POSES),
                    partial(self._read_tracks, role=role, bodies=bodies)))
        if deployment is None:
            return inputs
        reader = PoseReader(deployment.bodies, deployment.world_frame, deployment.transforms,
                            transform_buffer)
        return inputs + [PoseInput(
            TRACKED, Inbox(topic, message_class(kind), poses_in(topic, kind)),
            partial(reader.read, topic)) for topic, kind in reader.topics.items()]

    def _read_tracks(self, message: TrackArray, role: Role,
                     bodies: Any) -> list[PoseSample]:
        frame = (self._deployment.world_frame if self._deployment
                 else message.header.frame_id)
        return read_track_array(message, role, bodies, frame)

    @property
    def _inboxes(self) -> list[Inbox]:
        return [self._beamformer, self._crb, self._status, self._radio,
                *(poses.inbox for poses in self._poses)]

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages so far, by topic."""
        return {inbox.topic: inbox.count for inbox in self._inboxes}

    @property
    def ages(self) -> Mapping[str, float]:
        """Time since the last message, by topic [s]; infinite: none came so far."""
        now = time.monotonic()
        return {inbox.topic: now - inbox.received for inbox in self._inboxes}

    def listen(self, wanted: bool) -> None:
        """Subscribe while somebody looks."""
        if wanted == self._listening:
            return
        self._listening = wanted
        for inbox in self._inboxes:
            if wanted:
                inbox.open(self._node, self._group)
            else:
                inbox.close(self._node)

    def read(self) -> None:
        """Take in what came since the last call, and forget what is old."""
        if not self._listening:
            return
        # Poses, of which there are most, come first: what is true for a short time only, such as a
        # lease, must not have to wait for them.
        for poses in self._poses:
            for message in poses.inbox.take():
                try:
                    samples = poses.read(message)
                except NfIsacError as error:
                    self._on_fault(error.reason, str(error))
                    continue
                for sample in samples:
                    key = (poses.source, f'{sample.role.value}s', sample.id)
                    self._heard[key] = (poses.inbox.received, sample)
        for message in self._crb.take():
            self.bounds = message
        self.recent = self._status.take()
        if self.recent:
            self.status = self.recent[-1]
        for message in self._radio.take():
            self.radio = message
        for message in self._beamformer.take():
            self.beams = message
            length = nanoseconds(message.valid_until) - nanoseconds(message.publish_stamp)
            self._lease = Lease(nanoseconds(message.valid_until),
                                self._beamformer.received + 1e-9 * length)
        oldest = time.monotonic() - FORGET_AFTER
        if self._radio.received < oldest:
            self.radio = None
        self._heard = {key: entry for key, entry in self._heard.items() if entry[0] > oldest}

    def live(self, now: int) -> bool:
        """Tell whether the beams may be in use at a time of the node's clock [ns]."""
        return self._lease is not None and self._lease.held(now)

    def samples(self, source: str) -> dict[tuple[str, str], PoseSample]:
        """
        Newest poses by role (`targets`, `users`) and id.

        Parameters
        ----------
        source : str
            `tracked`: as the designer is told, or as it is where nobody tells; `truth`: as it is.

        """
        found = {(role, name): sample
                 for (kind, role, name), (_, sample) in self._heard.items() if kind == source}
        return found if source == TRUTH else {**self.samples(TRUTH), **found}

    def outlines(self) -> dict[str, Outline]:
        """Outlines of the extended targets of known contour and heading, by id."""
        deployment = self._deployment
        if deployment is None:
            return {}
        configured = {body.id: body for body in deployment.bodies
                      if body.role == Role.TARGET.value}
        outlines = {}
        for (role, name), sample in self.samples(TRACKED).items():
            if role != 'targets':
                continue
            target = extended_target(sample, configured.get(name), deployment.contours)
            if target is not None:
                outlines[name] = outline(target, deployment.transmit_array)
        return outlines


def nanoseconds(stamp: Any) -> int:
    """Time of a builtin_interfaces/Time [ns]."""
    return int(stamp.sec) * 10 ** 9 + int(stamp.nanosec)
