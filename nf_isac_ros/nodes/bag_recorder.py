"""Node that records this package's topics as a rosbag2 folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidTopicNameException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from nf_isac_msgs.msg import (
    Beamformer,
    CrbArray,
    DesignStatus,
    EchoEstimateArray,
    RadioStatus,
    TrackArray,
    TransmitCovariance,
    UserChannelArray,
)
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.nodes.diagnostics import Diagnostics, Health, Level
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values
from nf_isac_ros.nodes.qos import RECORDER_DEPTH, overridable
from nf_isac_ros.nodes.spin import run
from nf_isac_ros.recording.writer import STORAGES, RecordingWriter

_BEST_EFFORT = QoSProfile(depth=RECORDER_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
_RELIABLE = QoSProfile(depth=RECORDER_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=RECORDER_DEPTH, reliability=ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.TRANSIENT_LOCAL)

# The package's own topics: a name without a type in the parameter `topics` is one of these.
KNOWN: dict[str, tuple[type, QoSProfile]] = {
    'targets': (TrackArray, _BEST_EFFORT),
    'users': (TrackArray, _BEST_EFFORT),
    'channels': (UserChannelArray, _BEST_EFFORT),
    'beamformer': (Beamformer, _RELIABLE),
    'covariance': (TransmitCovariance, _RELIABLE),
    'crb': (CrbArray, _RELIABLE),
    'status': (DesignStatus, _RELIABLE),
    'radio/status': (RadioStatus, _LATCHED),
    'echo/estimates': (EchoEstimateArray, _BEST_EFFORT),
    'tracks/tentative': (TrackArray, _BEST_EFFORT),
    'truth/targets': (TrackArray, _BEST_EFFORT),
    'truth/users': (TrackArray, _BEST_EFFORT),
    '/diagnostics': (DiagnosticArray, _RELIABLE),
}

# The covariance is computed only while somebody subscribes; it follows from the beams.
DEFAULT = tuple(name for name in KNOWN if name != 'covariance')

PARAMETERS = (
    Parameter('output', '', 'Folder to make; must not exist', read_only=True),
    Parameter('topics', DEFAULT, "Topics to record: the package's own by name, others as "
              'NAME:PACKAGE/msg/TYPE', read_only=True),
    Parameter('deployment_file', '', 'The topics of the bodies of this deployment file are '
              'recorded as well; empty: none', read_only=True),
    Parameter('storage', 'mcap', 'Storage plugin', choices=tuple(STORAGES), read_only=True),
)

FLUSH_PERIOD = 1.0   # [s]


def topic_type(entry: str) -> tuple[str, type, QoSProfile]:
    """
    Name, message class and quality of service of an entry of the parameter `topics`.

    Raises
    ------
    ParameterError
        If the entry is neither known nor says an installed type.

    """
    name, _, type_name = entry.partition(':')
    if not type_name:
        if name not in KNOWN:
            raise ParameterError(
                f'parameter topics has {entry!r}, must be one of {", ".join(KNOWN)}, or '
                'NAME:PACKAGE/msg/TYPE')
        return (name, *KNOWN[name])
    package, _, kind = type_name.partition('/msg/')
    try:
        return name, getattr(import_module(f'{package}.msg'), kind), _BEST_EFFORT
    except (ImportError, AttributeError, ValueError) as error:
        raise ParameterError(f'parameter topics has {entry!r}, but the type {type_name!r} is not '
                             'installed') from error


class BagRecorder(Node):
    """Writes messages as they come, without looking into them."""

    def __init__(self) -> None:
        super().__init__('bag_recorder')
        declare(self, PARAMETERS)
        settings = values(self, PARAMETERS)
        if not settings.output:
            raise ParameterError('parameter output is empty, must be the path of a new folder')
        entries = list(settings.topics)
        if settings.deployment_file:
            bodies = load_deployment(Path(settings.deployment_file)).bodies
            entries += [f'{body.topic}:{body.type}' for body in bodies if body.topic is not None]
        topics = [topic_type(entry) for entry in dict.fromkeys(entries)]
        self._writer = RecordingWriter(Path(settings.output), settings.storage)
        try:
            for name, kind, quality in topics:
                self._follow(name, kind, quality)
        except BaseException:
            self._writer.close()
            raise
        self._reported = ''
        self.create_timer(FLUSH_PERIOD, self._flush, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._diagnostics = Diagnostics(self, self._health)
        self.get_logger().info(f'{len(topics)} topics to {settings.output}')

    def _follow(self, name: str, kind: type, quality: QoSProfile) -> None:
        try:
            topic = self.resolve_topic_name(name)
        except InvalidTopicNameException as error:
            raise ParameterError(
                f'parameter topics has {name!r}, which is no topic name') from error
        package = kind.__module__.partition('.')[0]
        self._writer.add_topic(topic, f'{package}/msg/{kind.__name__}')
        self.create_subscription(kind, name, self._recorder(topic), quality, raw=True,
                                 qos_overriding_options=overridable())

    def _recorder(self, topic: str) -> Callable[[bytes], None]:
        clock, write = self.get_clock(), self._writer.write

        def record(data: bytes) -> None:
            write(topic, data, clock.now().nanoseconds)

        return record

    def _flush(self) -> None:
        self._writer.flush()
        error = self._writer.last_error
        if error and error != self._reported:
            self.get_logger().error(f'recording {self._writer.path}: {error}')
            self._reported = error

    def _health(self) -> Health:
        writer = self._writer
        lost = writer.lost.total()
        failing = writer.behind
        level = Level.ERROR if failing else Level.WARN if lost else Level.OK
        summary = f'not writing: {writer.last_error}' if failing else (
            f'{lost} messages lost' if lost else 'recording')
        return Health(level, summary, {
            'written': writer.written.total(), 'lost': lost, **writer.errors,
            **{f'written {topic}': count for topic, count in sorted(writer.written.items())}})

    def close(self) -> None:
        """Finish the recording."""
        writer = self._writer
        writer.close()
        # The node's own logger would publish on /rosout, and the context may have ended by now.
        logger = get_logger(f'{self.get_name()}.end')
        logger.info(
            f'{writer.written.total()} messages in {writer.path}, {writer.lost.total()} lost')
        if writer.behind:
            logger.error(f'the recording has no proper end: {writer.last_error}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(BagRecorder, argv)
