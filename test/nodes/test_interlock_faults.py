"""
Faults put into a running graph of real processes: muted or safe in time, labelled, and back again.

One graph for all tests, which run in order; each of them leaves it transmitting.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
import multiprocessing
import os
import resource
import signal
import time

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

from beamformer_setup import T1, U1, U2, Tracker, counted, seconds  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from nf_isac_msgs.msg import Beamformer, DesignStatus, RadioStatus, TrackArray  # noqa: E402
from nf_isac_ros.conversions import messages  # noqa: E402
from nf_isac_ros.core.tracking import PoseSample, Role  # noqa: E402

LATCHED = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Beyond the end of a lease: 5 ms are allowed, and a loaded machine may need more [s].
LATENESS = 0.005 + 0.25
# [W]
POWER, ELEMENT_POWER = 2.0, 0.5

DEPLOYMENT = f"""
world_frame: map
array:
  upa: {{elements: [8, 8], spacing_m: 0.005}}
  position_m: [0, 0, 1]
  orientation_xyzw: [-0.7071067811865476, 0, 0, 0.7071067811865476]
radio: {{wavelength_m: 0.01, power_w: {POWER}, symbols: 1000, user_noise_w: 1.0e-8,
         sensing_noise: {{power_w: 1.0e-12}}}}
limits:
  element_power_w: {ELEMENT_POWER}
  keep_out: [{{name: desk, centre_m: [0, 40, 1], radius_m: 1, density_w_m2: 10}}]
design: {{name: crb-min, rate_hz: 20, gap: 1.0e-3}}
tracking: {{predict_s: 0.3, drop_s: 0.6, max_clock_skew_s: 0.05}}
bodies:
  - {{id: u1, role: user, min_sinr_db: 10, motion: {{fixed: {{position_m: [0.5, 3, 1]}}}}}}
  - {{id: u2, role: user, min_sinr_db: 10, motion: {{fixed: {{position_m: [0.9, 2, 1.1]}}}}}}
  - {{id: t1, role: target, motion: {{fixed: {{position_m: [-0.5, 3, 1.2]}}}}}}
"""

# A backend that does not come back from transmit while a file is there.
MOODY = """
from pathlib import Path
import time
from nf_isac_ros.radio.simulated import SimulatedBackend
transmit = SimulatedBackend.transmit
def moody(self, *arguments):
    while Path({hang!r}).exists():
        time.sleep(0.005)
    return transmit(self, *arguments)
SimulatedBackend.transmit = moody
"""


class World:
    """Beamformer, radio driver and a tracker; the driver on its own two feet all the time."""

    def __init__(self, graph, probe):
        self.graph, self.probe = graph, probe
        self.hang = graph.folder / 'hang'
        self.deployment = graph.folder / 'small.yaml'
        self.deployment.write_text(DEPLOYMENT)
        self.parameters = {'deployment_file': self.deployment}
        self.processes = {}
        # When the process of the driver last went on after a stop [s].
        self.resumed = -np.inf
        for name in ('radio_driver', 'beamformer'):
            self.start(name)
        # As above, on a clock of the tests' own.
        self.sim = [graph.start(name, {**self.parameters, 'use_sim_time': True},
                                ['-r', '__ns:=/sim']) for name in ('radio_driver', 'beamformer')]
        self.status = probe.collect(RadioStatus, 'radio/status', LATCHED)
        self.diagnostics = probe.collect(DiagnosticArray, '/diagnostics')
        self.activate('radio_driver')
        self.activate('beamformer')
        self.tracker = Tracker(probe)
        self.beams = self.tracker.beams
        self.as_usual()

    def start(self, name):
        before = MOODY.format(hang=str(self.hang)) if name == 'radio_driver' else ''
        self.processes[name] = self.graph.start(name, self.parameters, before=before)

    def activate(self, name):
        """Bring up; services of a process that was killed stay visible, and take requests."""
        def bring_up():
            with suppress(AssertionError):
                state = self.probe.state(f'/{name}')
                if state != 'active':
                    self.probe.change_state(
                        f'/{name}', 'configure' if state == 'unconfigured' else 'activate', 4.0)
                return state == 'active'
            return False

        self.probe.wait_until(bring_up, f'{name} is active', 90.0)

    def as_usual(self):
        self.tracker.follow({'t1': T1}, {'u1': U1})

    def call(self, kind, service, **request):
        """Call a service until it answers with success, as `activate` does."""
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            with suppress(AssertionError):
                response = self.probe.call(kind, service, kind.Request(**request), 3.0)
                if response.success:
                    return response
        raise AssertionError(f'{service} does not succeed')

    def arm(self):
        return self.call(SetBool, 'radio/arm', data=True)

    def reset(self, namespace=''):
        """Press the button until it works: what made the fault may still be on its way."""
        self.call(Trigger, f'{namespace}/radio/reset')

    def signal(self, name, number):
        os.kill(self.processes[name].process.pid, number)

    def on_air(self):
        """Wait for beams on the air from now on; a test that is run by itself has to arm."""
        self.status.clear()
        if self.status.wait()[0].state == RadioStatus.STATE_DISARMED:
            self.arm()
            # Armed, but without beams yet: that is before.
            self.status.wait(lambda m: m.state == RadioStatus.STATE_TRANSMITTING)
            self.status.clear()
        (status,) = self.status.wait(lambda m: m.state == RadioStatus.STATE_TRANSMITTING)
        assert (status.muted, status.mute_reason, list(status.faults)) == (False, '', [])
        return status

    def muted(self, reason):
        """Wait for a mute by that reason, since `on_air`."""
        (status,) = self.status.wait(lambda m: m.muted and m.mute_reason == reason)
        return status

    def off(self):
        """Wait for the end of the lease, since `on_air`."""
        (status,) = self.status.wait(lambda m: m.muted)
        assert status.mute_reason in ('lease-over', 'designer-lost')
        return status

    def lateness(self, off):
        """
        Seconds from the end of the lease to the mute that a status was the first to tell.

        The status itself may have had to wait, for a process that was stopped while it held a
        lock of the middleware's shared memory.
        """
        on = next(m for m in reversed(self.status.messages)
                  if m.state == RadioStatus.STATE_TRANSMITTING
                  and seconds(m.header.stamp) < seconds(off.header.stamp))
        muted = off.muted_duration - on.muted_duration
        return seconds(off.header.stamp) - muted - seconds(off.valid_until)

    def check_leases(self):
        """Nothing that was ever told was on the air past its lease, or outside of caps."""
        for status in list(self.status.messages):
            if not status.muted and status.state != RadioStatus.STATE_FAULT:
                # A driver that is stopped cannot mute: it has to once it goes on.
                end = max(seconds(status.valid_until), self.resumed)
                assert seconds(status.header.stamp) <= end + LATENESS
                assert status.power <= POWER * 1.001
                assert status.max_element_power <= ELEMENT_POWER
            if status.muted:
                assert status.power == status.eirp == 0.0
                assert status.mute_reason

    def designs(self, wanted):
        self.tracker.status.clear()
        return self.tracker.status.wait(wanted)[0]


@pytest.fixture(scope='module')
def world(shared_graph, shared_probe):
    made = World(shared_graph, shared_probe)
    try:
        yield made
    finally:
        made.tracker.close()


@pytest.fixture(autouse=True)
def leases_are_kept(world):
    yield
    world.check_leases()


def test_boots_muted_and_is_armed_by_a_service(world):
    (first,) = world.status.wait()
    assert (first.state, first.mute_reason) == (RadioStatus.STATE_DISARMED, 'not-armed')
    world.beams.wait()
    time.sleep(0.2)
    assert all(message.muted for message in world.status.messages)
    assert world.arm().message == 'armed'
    status = world.on_air()
    assert status.scale == 1.0
    assert status.keep_out[0].name == 'desk'
    assert 0 < status.keep_out[0].density < status.keep_out[0].limit == 10
    stages = [seconds(stamp) for stamp in (
        status.design_stamp, status.publish_stamp, status.receive_stamp, status.apply_stamp,
        status.header.stamp, status.valid_until)]
    assert stages == sorted(stages)
    (promised,) = world.status.wait(lambda m: m.designed_users)
    assert promised.designed_users[0].id == 'u1'
    assert promised.designed_users[0].sinr_db >= 10 - 0.01


def test_beamformer_killed_and_started_again(world):
    world.on_air()
    world.signal('beamformer', signal.SIGKILL)
    try:
        off = world.off()
        assert world.lateness(off) < LATENESS
        world.muted('designer-lost')
    finally:
        world.start('beamformer')
        world.activate('beamformer')
    status = world.on_air()
    assert status.restarts == 1, 'its sequence began anew, which is no fault'


def test_beamformer_stopped_and_continued(world):
    world.on_air()
    with world.processes['beamformer'].held():
        off = world.off()
        assert world.lateness(off) < LATENESS
        world.muted('designer-lost')
    world.on_air()


def test_radio_driver_stopped_and_continued(world):
    before = world.on_air()
    world.signal('radio_driver', signal.SIGSTOP)
    time.sleep(1.0)
    world.status.clear()
    world.resumed = world.probe.now()
    world.signal('radio_driver', signal.SIGCONT)
    # What it held is over; of what waited for it the newest may still be good.
    (status,) = world.status.wait(lambda m: m.state == RadioStatus.STATE_TRANSMITTING and (
        counted(m.mutes)['lease-over'] > counted(before.mutes).get('lease-over', 0)))
    assert status.late + status.dropped > before.late + before.dropped


def test_radio_driver_killed_and_started_again_is_disarmed(world):
    world.on_air()
    world.signal('radio_driver', signal.SIGKILL)
    world.processes['radio_driver'].wait()
    world.status.clear()
    world.start('radio_driver')
    world.activate('radio_driver')
    world.muted('not-armed')
    world.arm()
    world.on_air()


def test_poses_freeze_and_come_back(world):
    world.on_air()
    world.tracker.follow()
    off = world.muted('designer-mute')
    assert off.mute_detail == 'tracks-dropped'
    world.as_usual()
    world.on_air()


def test_one_body_drops_out_and_comes_back(world):
    world.tracker.follow({}, {'u1': U1})
    world.designs(lambda m: m.fallback_reason == 'held-track')
    world.designs(lambda m: m.outcome != DesignStatus.OUTCOME_MUTE and any(
        track.state == 2 for track in m.tracks))
    world.on_air()
    world.as_usual()
    world.designs(lambda m: m.tracks and all(track.state == 0 for track in m.tracks))
    world.on_air()


def test_pose_that_is_no_number_is_refused(world):
    before = counted(world.designs(lambda m: True).rejected).get('not-finite', 0)
    message = messages.track_array_message(
        [PoseSample('u1', Role.USER, world.probe.now(), np.array(U1))], world.probe.now(), 'map')
    message.tracks[0].pose.pose.position.x = float('nan')
    # Of tracks the newest count: one message may be overtaken by the next before it is read.
    world.tracker.status.clear()
    stop = time.monotonic() + 30.0
    while not any(counted(m.rejected).get('not-finite', 0) > before
                  for m in list(world.tracker.status.messages)):
        assert time.monotonic() < stop
        world.tracker.publishers[Role.USER].publish(message)
        time.sleep(0.03)
    world.on_air()


def test_pose_that_steps_by_a_metre_is_followed(world):
    world.on_air()
    world.tracker.follow({'t1': T1}, {'u1': np.add(U1, [1.0, 0.0, 0.0])})
    world.designs(lambda m: m.outcome == DesignStatus.OUTCOME_OPTIMAL)
    world.on_air()
    world.as_usual()


def test_users_that_coincide_are_labelled(world):
    world.tracker.follow({'t1': T1}, {'u1': U1, 'u2': U1})
    # Until then the filter may believe that u1 still moves, after its step in the test before:
    # where the beams are for, the users do not coincide yet.
    time.sleep(1.0)
    status = world.designs(lambda m: len(m.users) == 2)
    assert status.fallback_reason == 'infeasible-sinr'
    world.on_air()
    world.tracker.follow({'t1': T1}, {'u1': U1, 'u2': U2})
    world.designs(lambda m: m.outcome == DesignStatus.OUTCOME_OPTIMAL and len(m.users) == 2)
    world.as_usual()


def test_sinr_that_cannot_be_is_labelled(world):
    stop = time.monotonic() + 15.0
    world.tracker.follow({'t1': T1})
    found = None
    while found is None and time.monotonic() < stop:
        world.tracker.send({(Role.USER, 'u1'): U1}, min_sinr_db=90.0)
        found = next((m for m in world.tracker.status.messages
                      if m.fallback_reason == 'infeasible-sinr' and len(m.users) == 1), None)
        time.sleep(0.02)
    assert found is not None
    assert found.users[0].sinr_db < 90.0
    world.as_usual()
    world.designs(lambda m: m.outcome == DesignStatus.OUTCOME_OPTIMAL)
    world.on_air()


def burn(stop):
    while not stop.is_set():
        pass


def test_busy_machine_is_survived(world):
    stop = multiprocessing.get_context('fork').Event()
    burners = [multiprocessing.get_context('fork').Process(target=burn, args=(stop,))
               for _ in range(os.cpu_count() or 2)]
    for burner in burners:
        burner.start()
    try:
        time.sleep(1.5)
    finally:
        stop.set()
        for burner in burners:
            burner.join()
    world.on_air()


def wrong(world, **changes):
    """Message that is wrong only where it is changed."""
    now = world.probe.node.get_clock().now().to_msg()
    return Beamformer(**{
        'sequence': 1, 'n_elements': 64, 'n_users': 1, 'user_ids': ['u1'], 'publish_stamp': now,
        'design_stamp': now, 'oldest_track_stamp': now, 'wavelength': 0.01,
        'valid_until': messages.time_message(seconds(now) + 0.2), **changes})


def latched(world, name, stop):
    """Wait for a fault, end its cause, see it stay, reset it."""
    (status,) = world.status.wait(lambda m: m.state == RadioStatus.STATE_FAULT and m.muted)
    assert (status.mute_reason, [fault.name for fault in status.faults]) == (name, [name])
    assert status.faults[0].detail
    (array,) = world.diagnostics.wait(lambda m: any(
        entry.name == '/radio_driver' and name in entry.message for entry in m.status))
    assert array.status[0].level == b'\x02'
    stop()
    world.status.clear()
    time.sleep(0.1)
    assert all(m.muted and m.state == RadioStatus.STATE_FAULT for m in world.status.messages)
    world.reset()
    world.on_air()


@contextmanager
def publishing(world, make, period=0.01):
    """Publish on the topic of the beams besides the beamformer."""
    publisher = world.probe.publisher(Beamformer, 'beamformer')
    stream = {'make': make}
    timer = world.probe.node.create_timer(
        period, lambda: stream['make'] and publisher.publish(stream['make']()))
    try:
        yield lambda: stream.update(make=None)
    finally:
        world.probe.node.destroy_timer(timer)
        world.probe.node.destroy_publisher(publisher)


def test_two_publishers_on_the_topic_of_the_beams_latch(world):
    status = world.on_air()
    # A second designer: everything about its messages is right, but for their place in a stream.
    array = world.beams.wait()[-1]

    def second():
        weights = np.full(128, np.sqrt(0.5 / 128), np.float32)
        message = wrong(world, layout_hash=array.layout_hash, power=0.5,
                        sequence=1 + status.last_sequence // 2)
        message.weights.frombytes(weights.tobytes())
        return message

    with publishing(world, second, 0.05) as stop:
        latched(world, 'regressing-stream', stop)


@pytest.mark.parametrize('changes', [
    {'weights': [float('nan')] * 128}, {'weights': [0.1] * 127}, {'n_elements': 2 ** 32 - 1},
], ids=['nan', 'short', 'elements'])
def test_malformed_beams_are_refused(world, changes):
    before = world.on_air()
    publisher = world.probe.publisher(Beamformer, 'beamformer')
    publisher.publish(wrong(world, **changes))
    (status,) = world.status.wait(lambda m: sum(counted(m.rejected).values()) > sum(
        counted(before.rejected).values()))
    assert status.state == RadioStatus.STATE_TRANSMITTING
    world.probe.node.destroy_publisher(publisher)


def test_malformed_beams_that_repeat_latch(world):
    world.on_air()
    with publishing(world, lambda: wrong(world, n_users=2)) as stop:
        latched(world, 'malformed-stream', stop)


def test_oversized_beams_are_refused_unread(world):
    before = world.on_air()
    publisher = world.probe.publisher(Beamformer, 'beamformer')
    message = wrong(world)
    message.weights.frombytes(bytes(4 << 20))
    publisher.publish(message)
    (status,) = world.status.wait(lambda m: 'oversized' in counted(m.rejected))
    assert counted(status.rejected)['oversized'] == 1
    assert not before.faults
    world.probe.node.destroy_publisher(publisher)
    world.on_air()


def test_backend_that_stops_answering_latches(world):
    world.on_air()
    world.hang.touch()
    latched(world, 'backend-silent', world.hang.unlink)


def test_recorder_on_a_full_disk_harms_nobody_and_goes_on_when_there_is_room(world):
    limit = 60_000
    recorder = world.graph.start(
        'bag_recorder', {'output': world.graph.folder / 'recording'}, before=f"""
import resource
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
""")

    def health(level):
        world.diagnostics.clear()
        return world.diagnostics.wait(lambda m: any(
            entry.name == '/bag_recorder' and entry.level == level for entry in m.status))[0]

    assert 'not writing' in health(b'\x02').status[0].message
    world.on_air()
    resource.prlimit(recorder.process.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    world.diagnostics.clear()
    world.diagnostics.wait(lambda m: any(
        entry.name == '/bag_recorder' and entry.level != b'\x02' for entry in m.status))
    assert recorder.stop() == 0
    assert sum(file.stat().st_size for file in (
        world.graph.folder / 'recording').iterdir()) > limit


def test_scenario_killed_stopped_and_started_again(world):
    world.tracker.follow()
    world.muted('designer-mute')
    scenario = world.graph.start('scenario', world.parameters)
    world.on_air()
    with scenario.held():
        world.muted('designer-mute')
    world.on_air()
    scenario.process.kill()
    world.muted('designer-mute')
    scenario = world.graph.start('scenario', world.parameters)
    world.on_air()
    assert scenario.stop() == 0
    world.as_usual()
    world.on_air()


class SimTime:
    """A clock and a user for the nodes under /sim."""

    def __init__(self, world):
        self.probe = world.probe
        self.now = 1000.0
        self.running = True
        self._clock = world.probe.publisher(Clock, '/clock')
        # The beamformer listens once it is configured, for which it needs the clock.
        self._users = world.probe.publisher(TrackArray, '/sim/users', subscribers=0)
        self._timer = world.probe.node.create_timer(0.01, self._tick)

    def _tick(self):
        if self.running:
            self.now += 0.01
            self._clock.publish(Clock(clock=messages.time_message(self.now)))
            self._users.publish(messages.track_array_message(
                [PoseSample('u1', Role.USER, self.now, np.array(U1))], self.now, 'map'))

    def close(self):
        self.probe.node.destroy_timer(self._timer)


def test_simulated_clock_that_stops_or_goes_back(world):
    probe = world.probe
    status = probe.collect(RadioStatus, '/sim/radio/status', LATCHED)
    clock = SimTime(world)
    try:
        for name in ('radio_driver', 'beamformer'):
            probe.activate(f'/sim/{name}')
        world.call(SetBool, '/sim/radio/arm', data=True)
        status.wait(lambda m: not m.muted)
        clock.running = False
        status.clear()
        (off,) = status.wait(lambda m: m.muted)
        # Node time stands still before the end of the lease: the steady clock ended it.
        assert off.mute_reason == 'lease-over'
        assert seconds(off.header.stamp) < seconds(off.valid_until)
        clock.running = True
        status.clear()
        status.wait(lambda m: not m.muted)
        clock.now -= 300.0
        status.wait(lambda m: m.state == RadioStatus.STATE_FAULT
                    and m.mute_reason == 'clock-jump' and m.muted)
        status.clear()
        time.sleep(0.3)
        assert all(m.muted for m in status.messages), 'it latches'
        world.reset('/sim')
        status.clear()
        status.wait(lambda m: not m.muted)
    finally:
        clock.close()
