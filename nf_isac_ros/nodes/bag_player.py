"""Node that plays the poses of a recording, and tells the truth that the recording knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import count, groupby
from pathlib import Path
import statistics
import threading
import time
import traceback
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock as ClockMessage
from std_srvs.srv import Trigger

from nf_isac_msgs.msg import TrackArray
from nf_isac_ros.conversions.messages import time_message, track_array_message
from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.core.tracking import PoseSample, Role
from nf_isac_ros.files.deployment import BodySettings, load_deployment
from nf_isac_ros.nodes.diagnostics import Diagnostics, Health, Level
from nf_isac_ros.nodes.parameters import Parameter, ParameterError, declare, values
from nf_isac_ros.nodes.qos import TRACKS, overridable, poses_out
from nf_isac_ros.nodes.spin import run
from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.playback import Pace, parse_cuts
from nf_isac_ros.recording.reader import Recording
from nf_isac_ros.recording.trajectories import (
    SAME_CLOCK,
    read_trajectories,
    set_stamps,
)

PARAMETERS = (
    Parameter('deployment_file', '', 'Deployment file whose bodies name the topics to play',
              read_only=True),
    Parameter('bag', '', 'Recording: rosbag2 folder, .mcap or .db3 file', read_only=True),
    Parameter('rate', 1.0, 'How much faster than recorded it is played; velocities are scaled '
              'alike', minimum=0.01, maximum=100.0, read_only=True),
    Parameter('loop', False, 'Start again at the end, after a pause in which bodies are dropped',
              read_only=True),
    Parameter('restamp', True, 'Stamps are moved to the present by a constant offset; else they '
              'stay, and /clock is published', read_only=True),
    Parameter('cut', (), 'Intervals in which a topic is silent, TOPIC:START:LENGTH with times in '
              'seconds since the start of the recording; the truth goes on', read_only=True),
    Parameter('start_delay_s', 0.5, 'Time from the start of the node to the first message: '
              'subscribers are found meanwhile', 's', minimum=0.0, maximum=3600.0,
              read_only=True),
    Parameter('start_paused', False, 'The recording begins, start_delay_s later, when the '
              'service ~/resume is called', read_only=True),
    Parameter('truth_rate_hz', 60.0, 'Rate of the truth', 'Hz', minimum=50.0, maximum=500.0,
              read_only=True),
)

CLOCK_PERIOD = 0.004   # [s]

# Beyond the time after which a body is dropped, so that one is surely dropped between laps [s].
SEAM = 0.2


@dataclass(frozen=True)
class Entry:
    """One message to play: its time of recording [ns], topic, and bytes."""

    log_time: int
    topic: str
    data: bytes


def message_class(type_name: str) -> type:
    """
    Message class of a type.

    Raises
    ------
    RecordingError
        If its package is not installed.

    """
    package, _, name = type_name.partition('/msg/')
    try:
        return getattr(import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise RecordingError(
            f'message type {type_name!r} is not installed, so it cannot be played') from error


def topics_to_play(recording: Recording, bodies: Sequence[BodySettings],
                   reader: PoseReader) -> dict[str, str]:
    """
    Types of the topics of a recording that a deployment names.

    Parameters
    ----------
    recording : Recording
    bodies : sequence of BodySettings
        Whose topics the recording must have, with the types that they say.
    reader : PoseReader
        Names topics of transforms besides, which the recording may have.

    Raises
    ------
    RecordingError
        Names the topic and lists what the recording has.

    """
    for body in bodies:
        if body.topic is None:
            continue
        found = recording.type_of(body.topic)
        if found is None:
            known = ', '.join(f'{t.name} ({t.type_name})' for t in recording.topics) or 'nothing'
            raise RecordingError(f'topic {body.topic} of body {body.id!r} is not in the recording '
                                 f'{recording.path}, which has: {known}')
        if body.type != found:
            raise RecordingError(
                f'topic {body.topic} of body {body.id!r} has the type {found} in the recording '
                f'{recording.path}, the deployment says {body.type}')
    return {topic: found for topic in reader.topics
            if (found := recording.type_of(topic)) is not None}


class BagPlayer(Node):
    """Plays poses from a thread that sleeps until the next is due."""

    def __init__(self) -> None:
        super().__init__('bag_player')
        declare(self, PARAMETERS)
        settings = values(self, PARAMETERS)
        for name in ('deployment_file', 'bag'):
            if not getattr(settings, name):
                raise ParameterError(f'parameter {name} is empty, must be a path')
        deployment = load_deployment(Path(settings.deployment_file))
        self._frame = deployment.world_frame
        self._bodies = [body for body in deployment.bodies if body.topic is not None]
        if not self._bodies:
            raise ParameterError(f'parameter deployment_file is {settings.deployment_file!r}, '
                                 'but none of its bodies has a topic')
        self._reader = PoseReader(
            self._bodies, deployment.world_frame, deployment.transforms)
        self._cuts = parse_cuts(settings.cut, list(self._reader.topics))
        self._loop = settings.loop
        self._restamp = settings.restamp
        # With stamps kept, /clock runs at the pace, and time in stamps is as recorded.
        self._clock_rate = 1.0 if settings.restamp else settings.rate
        self._stamp_rate = settings.rate if settings.restamp else 1.0
        gap = round(1e9 * (deployment.tracking.drop + SEAM))
        self._load(Path(settings.bag), gap)
        self._published = self._cut_out = self._laps = 0
        self._finished = False
        self._outputs = {
            topic: self.create_publisher(
                message_class(kind), topic, poses_out(topic, kind),
                qos_overriding_options=overridable())
            for topic, kind in self._types.items()}
        self._truth: dict[Role, Publisher] = {
            role: self.create_publisher(TrackArray, f'truth/{role.value}s', TRACKS,
                                        qos_overriding_options=overridable())
            for role in Role}
        self._clock_out = None if settings.restamp else self.create_publisher(
            ClockMessage, '/clock', QoSProfile(
                depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
        self._delay = round(1e9 * settings.start_delay_s)
        self._resumed = threading.Event()
        if not settings.start_paused:
            self._resumed.set()
        self._steady_start = 0
        # Where playing time 0 lies on the clock of the stamps.
        self._base = self._pace.start
        self.failed = False
        self._begun = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name='player', daemon=True)
        self.create_timer(1.0 / settings.truth_rate_hz, self._on_truth,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_service(Trigger, '~/resume', self._on_resume)
        self._diagnostics = Diagnostics(self, self._health)
        self._thread.start()

    def _load(self, path: Path, gap: int) -> None:
        """Read everything that will be played: poses are small."""
        with Recording(path) as recording:
            for note in recording.notes:
                self.get_logger().warning(note)
            self._types = topics_to_play(recording, self._bodies, self._reader)
            raw = list(recording.raw_messages(self._types))
            if not raw:
                raise RecordingError(f'recording {path} has no message on any of '
                                     f'{", ".join(self._types)}')
            self._entries = [Entry(m.log_time, m.topic, m.data) for m in raw]
            self._report = read_trajectories(recording.messages(self._types), self._reader)
            self._pace = Pace(recording.start, recording.end, self._stamp_rate, gap)
        lag = statistics.median(self._report.lags) if self._report.lags else 0.0
        self._lag = 0 if abs(lag) <= SAME_CLOCK else round(1e9 * lag)
        if self._lag and self._restamp:
            self.get_logger().warning(
                f'stamps are {lag:.3f} s before the time of recording: they are from another '
                'clock, and are moved to that of the recording')
        if not self._restamp:
            self._lag = 0
        if self._report.rejected:
            self.get_logger().warning(
                f'poses that cannot be used: {dict(self._report.rejected)}')
        self.get_logger().info(
            f'{len(raw)} poses of {len(self._report.trajectories)} bodies in '
            f'{1e-9 * (self._pace.end - self._pace.start):.1f} s from {path}')

    def _begin(self) -> None:
        """Wait for the beginning of the recording, and set it."""
        self._resumed.wait()
        self._steady_start = time.monotonic_ns() + self._delay
        if self._restamp:
            self._base = self.get_clock().now().nanoseconds + self._delay
        self._begun.set()

    def _on_resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        response.message = 'playing already' if self._resumed.is_set() else 'playing'
        self._resumed.set()
        return response

    def _playing(self) -> int:
        """Present playing time [ns]: on the clock of the node, or as fast as /clock runs."""
        if self._restamp:
            return self.get_clock().now().nanoseconds - self._base
        return round((time.monotonic_ns() - self._steady_start) * self._clock_rate)

    def _play(self) -> None:
        """Play, and end the node if that goes wrong: a silent player looks like lost poses."""
        try:
            self._play_all()
        except Exception:  # noqa: BLE001  whatever it is, it must be seen
            # What fails because the context has ended is no failure of ours.
            if not self._stop.is_set() and self.context.ok():
                self.failed = True
                self.get_logger().fatal('playing failed:\n' + traceback.format_exc())
                rclpy.try_shutdown()

    def _play_all(self) -> None:
        """Publish each message when it is due; the body of the thread."""
        self._begin()
        self._tick()
        for lap in count() if self._loop else range(1):
            self._laps = lap
            for log_time, entries in groupby(self._entries, lambda entry: entry.log_time):
                # Ready before they are due: the poses of one moment go out one right after the
                # other, and none later than it was stamped.
                ready = self._ready(entries, lap)
                if not self._wait(self._pace.due(log_time, lap)):
                    return
                for publisher, message in ready:
                    publisher.publish(message)
                    self._published += 1
        self._finished = True
        self.get_logger().info(
            f'the recording has ended: {self._published} poses published, {self._cut_out} cut')
        # Time goes on, so that what was played last can grow old.
        while self._clock_out is not None and not self._stop.wait(CLOCK_PERIOD):
            self._tick()

    def _wait(self, due: int) -> bool:
        """Sleep until a playing time [ns]; False: the node ends."""
        while not self._stop.is_set():
            left = 1e-9 * (due - self._playing()) / self._clock_rate
            if left <= 0:
                return True
            # Short naps also where /clock is not ours: a clock that jumps is noticed.
            self._stop.wait(min(left, CLOCK_PERIOD if self._clock_out is not None else 0.1))
            self._tick()
        return False

    def _tick(self) -> None:
        if self._clock_out is not None and not self._stop.is_set():
            now = self._base + max(0, self._playing())
            self._clock_out.publish(ClockMessage(clock=time_message(1e-9 * now)))

    def _ready(self, entries: Iterable[Entry], lap: int) -> list[tuple[Publisher, Any]]:
        """Messages of one moment, stamped, and where they go."""
        ready = []
        for entry in entries:
            since_start = 1e-9 * (entry.log_time - self._pace.start)
            if any(cut.hides(entry.topic, since_start) for cut in self._cuts):
                self._cut_out += 1
                continue
            publisher = self._outputs[entry.topic]
            try:
                message = deserialize_message(entry.data, publisher.msg_type)
            except Exception:   # noqa: BLE001  damaged bytes; counted when the truth was read
                continue
            self._move(message, lap)
            ready.append((publisher, message))
        return ready

    def _move(self, message: Any, lap: int) -> None:
        shift = self._base + lap * self._pace.lap_length
        set_stamps(message, shift, self._stamp_rate, self._pace.start - self._lag)

    def _on_truth(self) -> None:
        if not self._begun.is_set():
            return
        playing = self._playing()
        recorded = self._pace.recorded(playing, self._loop)
        if recorded is None:
            return
        now = 1e-9 * (self._base + playing)
        for role in Role:
            samples = list(self._true_poses(role, 1e-9 * (recorded - self._lag), now))
            if samples:
                self._truth[role].publish(track_array_message(samples, now, self._frame))

    def _true_poses(self, role: Role, recorded: float, now: float) -> Iterator[PoseSample]:
        for body in self._bodies:
            trajectory = self._report.trajectories.get((role, body.id))
            found = trajectory.at(recorded) if trajectory and body.role == role.value else None
            if trajectory is None or found is None:
                continue
            position, velocity = found
            yield PoseSample(
                body.id, role, now, position, self._stamp_rate * velocity,
                orientation_xyzw=trajectory.orientation(recorded),
                reflection=body.reflection if role is Role.TARGET else None,
                min_sinr_db=body.min_sinr_db, kind=body.kind, contour=body.contour,
                size_scale=body.size_scale)

    def _health(self) -> Health:
        return Health(
            Level.WARN if self._report.rejected else Level.OK,
            'finished' if self._finished else 'playing' if self._begun.is_set() else (
                'paused'),
            {'published': self._published, 'cut': self._cut_out, 'lap': self._laps,
             'playing [s]': 1e-9 * self._playing() if self._begun.is_set() else 0.0,
             **self._report.rejected})

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._resumed.set()
        self._thread.join(timeout=2.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run(BagPlayer, argv)
