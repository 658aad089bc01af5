"""A small recording that the tests make themselves, and the deployment that goes with it."""

from __future__ import annotations

from math import pi
from pathlib import Path

import numpy as np
from recorded_room import POSE, ROOM, STORE, bare_pose, cdr, header, pose, write_text

from nf_isac_ros.core.motion import Circle
from nf_isac_ros.recording.writer import RecordingWriter

ODOMETRY = 'nav_msgs/msg/Odometry'
START = 1_200_000_000 * 10 ** 9   # [ns]
RATE = 50.0
LENGTH = 3.0                      # [s]

USER = Circle([0.0, 3.0, 0.0], 1.0, 6.0)            # 1.05 m/s, PoseStamped
TARGET = Circle([1.0, 4.0, 0.0], 0.5, 3.0, phase=1.0)   # 1.05 m/s, Odometry

DEPLOYMENT = ROOM + """\
design: {name: crb-min, rate_hz: 10, budget_ms: 80}
bodies:
  - {id: u1, role: user, topic: /u1/pose, type: geometry_msgs/msg/PoseStamped,
     offset_m: [0, 0, 0.5], min_sinr_db: 10}
  - {id: t1, role: target, topic: /t1/odom, type: nav_msgs/msg/Odometry, reflection: [0.5, 0.5]}
"""


def write_deployment(folder: Path, text: str = DEPLOYMENT) -> Path:
    """Deployment file of the small recording."""
    return write_text(folder, text)


def write_bag(folder: Path) -> Path:
    """Write three seconds of a user and a target, 150 poses each, half a step apart."""
    types = STORE.types
    vector = types['geometry_msgs/msg/Vector3']
    path = folder / 'small'
    with RecordingWriter(path) as writer:
        writer.add_topic('/u1/pose', POSE)
        writer.add_topic('/t1/odom', ODOMETRY)
        for index in range(int(LENGTH * RATE)):
            time = index / RATE
            stamp = START + round(1e9 * time)
            position, _ = USER.at(time)
            writer.write('/u1/pose', cdr(pose(stamp, position)), stamp)
            time += 0.5 / RATE
            stamp = START + round(1e9 * time)
            position, velocity = TARGET.at(time)
            speed = float(np.linalg.norm(velocity))
            yaw = 2 * pi * time / TARGET.period + TARGET.phase + pi / 2
            odometry = types[ODOMETRY](
                header=header(stamp), child_frame_id='t1',
                pose=types['geometry_msgs/msg/PoseWithCovariance'](
                    bare_pose(position, yaw), np.zeros(36)),
                twist=types['geometry_msgs/msg/TwistWithCovariance'](
                    types['geometry_msgs/msg/Twist'](
                        vector(speed, 0.0, 0.0), vector(0.0, 0.0, 0.0)), np.zeros(36)))
            writer.write('/t1/odom', cdr(odometry, ODOMETRY), stamp)
    return path
