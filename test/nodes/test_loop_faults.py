"""
Faults put into a running closed loop: the users keep their beams, and the target is found again.

One loop of five processes for all tests; each of them leaves it tracking. The radio's own faults
are those of test_interlock_faults.py.
"""

from __future__ import annotations

import signal

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='no ROS environment')

from beamformer_setup import T1, U1, seconds  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from nf_isac_msgs.msg import (  # noqa: E402
    DesignStatus,
    EchoEstimate,
    EchoEstimateArray,
    RadioStatus,
)
from nf_isac_ros.nodes.qos import TRACKS  # noqa: E402

RATE = 10.0
# How long a track goes on without echoes [s].
COAST = 3.0
# Beyond the end of a lease: 5 ms are allowed, and a loaded machine may need more [s].
LATENESS = 0.005 + 0.25
POWER = 2.0

DEPLOYMENT = f"""
world_frame: map
array:
  upa: {{elements: [12, 12], spacing_m: 0.005}}
  position_m: [0, 0, 1]
  orientation_xyzw: [-0.7071067811865476, 0, 0, 0.7071067811865476]
receive_array: same
radio: {{wavelength_m: 0.01, power_w: {POWER}, symbols: 10000, user_noise_w: 1.0e-8,
         sensing_noise: {{power_w: 1.0e-14}}}}
design: {{name: crb-min, rate_hz: {RATE}, budget_ms: 60, gap: 1.0e-3}}
tracking: {{predict_s: 0.4, drop_s: 0.8, max_clock_skew_s: 0.05}}
bodies:
  - {{id: u1, role: user, min_sinr_db: 10, motion: {{fixed: {{position_m: {list(U1)}}}}}}}
  - {{id: t1, role: target, reflection: [1.0, 0.0], motion: {{fixed: {{position_m: {list(T1)}}}}}}}
search: {{lower_m: [-1.0, 2.5, 0.5], upper_m: [1.0, 3.5, 1.9]}}
"""


class Loop:
    """Scenario, radio, localizer, tracker and beamformer, each in a process of its own."""

    def __init__(self, graph, probe):
        self.graph, self.probe = graph, probe
        self.deployment = graph.folder / 'loop.yaml'
        self.deployment.write_text(DEPLOYMENT)
        self.processes = {}
        for name in ('radio_driver', 'beamformer', 'localizer', 'tracker', 'scenario'):
            self.start(name)
        self.status = probe.collect(RadioStatus, 'radio/status')
        self.designs = probe.collect(DesignStatus, 'status')
        self.estimates = probe.collect(EchoEstimateArray, 'echo/estimates', TRACKS)
        self.diagnostics = probe.collect(DiagnosticArray, '/diagnostics')
        for name in ('radio_driver', 'beamformer'):
            probe.activate(f'/{name}')
        self.arm(True)

    def start(self, name):
        special = {
            'radio_driver': {'echo_rate_hz': RATE, 'autoarm': False},
            'beamformer': {'target_topics': False},
            'tracker': {'rate_hz': 2 * RATE, 'coast_s': COAST},
            'localizer': {'search_points': 1000, 'max_age_s': 1.0},
        }
        # What the scenario tells of targets stays out of the loop.
        arguments = ['-r', 'targets:=scenario/targets'] if name == 'scenario' else []
        self.processes[name] = self.graph.start(
            name, {'deployment_file': self.deployment, **special.get(name, {})}, arguments)

    def arm(self, on):
        assert self.probe.call(SetBool, 'radio/arm', SetBool.Request(data=on)).success

    def tracking(self, known_as=''):
        """
        Wait for one target that is where it is by its echoes, and for beams for it and users.

        `known_as` is what its name begins with.
        """
        for heard in (self.status, self.designs, self.estimates):
            heard.clear()
        # What the track is called may change on the way: what the beams are for in the end counts.
        (design,) = self.designs.wait(
            lambda m: not m.fallback_reason and len(self.bodies(m) - {'u1'}) == 1
            and 'u1' in self.bodies(m)
            and min(self.bodies(m) - {'u1'}).startswith(known_as))
        name = min(self.bodies(design) - {'u1'})
        self.estimates.clear()
        self.estimates.wait(lambda m: [
            entry.id for entry in m.estimates
            if entry.state == EchoEstimate.STATE_DETECTED and np.linalg.norm(np.subtract(
                [entry.position.x, entry.position.y, entry.position.z], T1)) < 0.05] == [name])
        self.transmitting()

    @staticmethod
    def bodies(status):
        """Those that beams were made for."""
        return {track.id for track in status.tracks
                if track.state != track.STATE_DROPPED}

    def transmitting(self):
        self.status.clear()
        self.status.wait(lambda m: m.state == RadioStatus.STATE_TRANSMITTING)

    def told(self, node, words):
        """Wait for a warning of a node, from now on."""
        self.diagnostics.clear()
        self.diagnostics.wait(lambda m: any(
            entry.name == f'/{node}' and entry.level == b'\x01' and words in entry.message
            for entry in m.status))

    def users_only(self):
        """Wait for designs that know that the target is gone, and for beams for the user."""
        self.designs.clear()
        (design,) = self.designs.wait(lambda m: self.bodies(m) == {'u1'})
        assert design.outcome != DesignStatus.OUTCOME_MUTE
        assert [user.id for user in design.users] == ['u1']
        assert design.users[0].sinr_db >= 10 - 0.01
        self.transmitting()

    def check(self):
        """Nothing was on the air past its lease or with too much power; no fault latched."""
        for status in list(self.status.messages):
            assert not status.faults
            if not status.muted:
                assert seconds(status.header.stamp) <= seconds(status.valid_until) + LATENESS
                assert status.power <= POWER * 1.001


@pytest.fixture(scope='module')
def loop(shared_graph, shared_probe):
    return Loop(shared_graph, shared_probe)


@pytest.fixture(autouse=True)
def safe(loop):
    yield
    loop.check()


def test_tracker_stopped_and_continued(loop):
    loop.tracking()
    with loop.processes['tracker'].held():
        loop.users_only()
        loop.told('localizer', 'no track to look for')
    loop.tracking()


def test_tracker_killed_and_started_again(loop):
    loop.tracking()
    loop.processes['tracker'].stop(signal.SIGKILL)
    loop.users_only()
    loop.start('tracker')
    loop.tracking('t1')


def test_localizer_stopped_and_continued(loop):
    loop.tracking()
    with loop.processes['localizer'].held():
        loop.told('tracker', 'no echo of')
        loop.transmitting()
    loop.tracking()


def test_localizer_killed_and_started_again(loop):
    loop.tracking()
    loop.processes['localizer'].stop(signal.SIGKILL)
    loop.told('tracker', 'no echo of')
    # The track coasts to its end; the beams are for the user alone then.
    loop.told('tracker', 'no confirmed track')
    loop.users_only()
    loop.start('localizer')
    # By the search alone.
    loop.tracking('new-')


def test_nobody_tells_of_echoes_where_the_radio_is_muted(loop):
    loop.tracking()
    loop.arm(False)
    loop.status.wait(lambda m: m.muted)
    loop.told('localizer', 'no echoes for')
    loop.arm(True)
    loop.tracking()
