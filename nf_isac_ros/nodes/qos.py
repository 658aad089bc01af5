"""Qualities of service of this package's topics; each may be overridden by parameter."""

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from nf_isac_ros.conversions.pose_reader import STATIC, is_transform

# Best effort is compatible with both kinds of publishers, and only the newest pose counts.
TRACKS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

# Reliable, so that subscribers of both kinds get them.
POSES = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)

# A message of transforms may name any of many frames, so that the newest one is not enough; the
# depths are those of tf2's own listeners.
TRANSFORMS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
STATIC_TRANSFORMS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE,
                               durability=DurabilityPolicy.TRANSIENT_LOCAL)

# A radio that was held up takes what came meanwhile, and counts what is late.
BEAMS_IN = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)

RADIO_STATUS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                          durability=DurabilityPolicy.TRANSIENT_LOCAL)


def poses_in(topic: str, type_name: str) -> QoSProfile:
    """Quality of a subscription to poses of a type, static transforms among them."""
    if not is_transform(type_name):
        return TRACKS
    return STATIC_TRANSFORMS if topic.endswith(STATIC) else TRANSFORMS


def poses_out(topic: str, type_name: str) -> QoSProfile:
    """Quality of a publisher of poses of a type, static transforms among them."""
    static = is_transform(type_name) and topic.endswith(STATIC)
    return STATIC_TRANSFORMS if static else POSES


# rclpy's own callbacks warn when the other side has another type or quality of service; so does
# the other side. A node that takes hundreds of messages a second spends more than half of its
# executor's time on waiting for these events.
NO_EVENTS_IN = SubscriptionEventCallbacks(use_default_callbacks=False)
NO_EVENTS_OUT = PublisherEventCallbacks(use_default_callbacks=False)


def overridable() -> QoSOverridingOptions:
    """Options that declare the usual override parameters of a publisher or a subscription."""
    return QoSOverridingOptions.with_default_policies()

# A recorder must lose nothing while the disk is slow.
RECORDER_DEPTH = 200
