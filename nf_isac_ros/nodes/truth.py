"""Where bodies truly are, as a simulation or a tracking system of its own tells it."""

from __future__ import annotations

from rclpy.node import Node

from nf_isac_msgs.msg import TrackArray
from nf_isac_ros.conversions.adapters import read_track_array
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import PredictedBody, Role, TrackStore
from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.nodes.diagnostics import Counts
from nf_isac_ros.nodes.polled import Polled
from nf_isac_ros.nodes.qos import TRACKS


class Truth:
    """
    True bodies of one role, read when they are asked for.

    Parameters
    ----------
    node : Node
        Subscribes to `truth/targets` or `truth/users`.
    role : Role
    deployment : Deployment
        World frame, and how long a track lasts.
    faults : Counts
        Counts messages that are refused.

    """

    def __init__(self, node: Node, role: Role, deployment: Deployment, faults: Counts) -> None:
        self._role, self._frame, self._faults = role, deployment.world_frame, faults
        self._tracks = TrackStore(deployment.tracking)
        self._messages = Polled(node, TrackArray, f'truth/{role.value}s', TRACKS)

    def destroy(self) -> None:
        """End the subscription."""
        self._messages.destroy()

    def at(self, now: float) -> tuple[PredictedBody, ...]:
        """All bodies that are told of, as the newest message has them, at a node time [s]."""
        try:
            message = self._messages.newest()
            if message is not None:
                # Positions in the truth are those of the antennas or scatterers: no offset.
                self._tracks.update(read_track_array(message, self._role, (), self._frame), now)
        except NfIsacError as error:
            self._faults.add(error.reason, str(error))
        self._tracks.advance(now)
        return tuple(self._tracks.predict(now))
