"""What the tests of the beamformer share: a deployment, a tracker, and the channel."""

from __future__ import annotations

import threading

import numpy as np

from nf_isac_msgs.msg import (
    Beamformer,
    CrbArray,
    DesignStatus,
    TrackArray,
)
from nf_isac_ros.conversions import messages
from nf_isac_ros.core.tracking import PoseSample, Role

NODE = '/beamformer'
WAVELENGTH = 0.01
NOISE = 1e-8
POWER = 2.0
RATE = 20.0

DEPLOYMENT = f"""
world_frame: map
array:
  upa: {{elements: [8, 8], spacing_m: 0.005}}
  position_m: [0, 0, 1]
  orientation_xyzw: [-0.7071067811865476, 0, 0, 0.7071067811865476]
radio: {{wavelength_m: {WAVELENGTH}, power_w: {POWER}, symbols: 1000, user_noise_w: 1.0e-8,
         sensing_noise: {{power_w: 1.0e-12}}}}
design: {{name: crb-min, rate_hz: {RATE}, gap: 1.0e-3}}
tracking: {{predict_s: 0.4, drop_s: 0.8, max_clock_skew_s: 0.05}}
bodies:
  - {{id: u1, role: user, min_sinr_db: 10}}
  - {{id: u2, role: user, min_sinr_db: 10}}
  - {{id: t1, role: target}}
  - {{id: p1, role: user, topic: p1/pose, type: geometry_msgs/msg/PoseStamped,
     offset_m: [0, 0, 0.5], min_sinr_db: 6}}
"""

# Elements of that array in the world frame: boresight along world +y puts array x on world x,
# array y on world -z.
OFFSETS = (np.arange(8) - 3.5) * 0.005
ELEMENTS = np.array([[x, 0.0, 1.0 - y] for x in OFFSETS for y in OFFSETS])

T1 = (-0.5, 3.0, 1.2)
U1 = (0.5, 3.0, 1.0)
U2 = (0.9, 2.0, 1.1)


def channel(position):
    """Near-field channel of a user, from the spherical wave itself."""
    r = np.linalg.norm(ELEMENTS - position, axis=1)
    return np.conj(WAVELENGTH / (4 * np.pi * r) * np.exp(-2j * np.pi * r / WAVELENGTH))


def weights_of(message):
    """Weights as a matrix, taken apart number by number."""
    values = np.array(message.weights, dtype=float)
    columns = message.n_users + message.n_sensing
    matrix = np.zeros((message.n_elements, columns), complex)
    for column in range(columns):
        for row in range(message.n_elements):
            k = 2 * (column * message.n_elements + row)
            matrix[row, column] = values[k] + 1j * values[k + 1]
    return matrix


def seconds(stamp):
    return stamp.sec + 1e-9 * stamp.nanosec


def counted(counts):
    return {count.reason: count.count for count in counts}


def sample(body, role, stamp, position, **rest):
    return PoseSample(body, role, stamp, np.array(position, dtype=float), **rest)


class Tracker:
    """Tells a beamformer where bodies are, and collects what it publishes."""

    def __init__(self, probe):
        self.probe = probe
        self.beams = probe.collect(Beamformer, 'beamformer')
        self.status = probe.collect(DesignStatus, 'status')
        self.bounds = probe.collect(CrbArray, 'crb')
        self.publishers = {role: probe.publisher(TrackArray, f'{role.value}s') for role in Role}
        self.bodies = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.02):
            self.send(self.bodies)

    def send(self, bodies, **rest):
        """Tell positions once and return their stamp."""
        now = self.probe.now()
        for role in Role:
            samples = [sample(body, role, now, position, **rest)
                       for (body_role, body), position in dict(bodies).items()
                       if body_role is role]
            if samples:
                self.publishers[role].publish(messages.track_array_message(samples, now, 'map'))
        return now

    def follow(self, targets=None, users=None):
        """Tell these positions from now on, and forget what was published before."""
        self.bodies = {(Role.TARGET, body): p for body, p in (targets or {}).items()} | {
            (Role.USER, body): p for body, p in (users or {}).items()}

    def close(self):
        self._stop.set()
        self._thread.join()
        for publisher in self.publishers.values():
            self.probe.node.destroy_publisher(publisher)
