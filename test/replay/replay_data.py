"""Small recordings that the tests of the replay make themselves."""

from __future__ import annotations

from math import cos, pi, sin
from pathlib import Path

import numpy as np
from recorded_room import POSE, ROOM, STORE, cdr, header, pose, write_text
from rosbags.interfaces import Nodetype

from nf_isac_ros.recording.writer import RecordingWriter

START = 1_700_000_000 * 10 ** 9   # [ns]
PERIOD = 20_000_000               # [ns]
SHARED = Path(__file__).parents[2].parent / 'shared' / 'data' / 'recordings'

DEPLOYMENT = ROOM + """\
design: {name: crb-min, rate_hz: 20, budget_ms: 40}
bodies:
  - {id: u1, role: user, topic: /u1/pose, type: geometry_msgs/msg/PoseStamped,
     min_sinr_db: 10}
  - {id: t1, role: target, topic: /t1/pose, type: geometry_msgs/msg/PoseStamped}
"""


def deployment_file(folder: Path, text: str = DEPLOYMENT) -> Path:
    return write_text(folder, text)


def place(body: str, time: float) -> tuple[float, float, float]:
    """Where a body is, so many seconds after the start [m]: slow circles before the array."""
    if body == 'u1':
        return (cos(pi * time / 5), 3.0 + sin(pi * time / 5), 0.5)
    return (1.0 + 0.5 * sin(pi * time / 4), 4.0 + 0.5 * cos(pi * time / 4), 0.5)


def entries(seconds: float = 2.0, frame: str = 'map', lag: int = 1_000_000,
            begin: float = 0.0) -> list[tuple[str, int, bytes]]:
    """Topic, log time, bytes of poses of both bodies at 50 Hz."""
    found = []
    for k in range(round(seconds * 1e9 / PERIOD)):
        stamp = START + round(begin * 1e9) + k * PERIOD
        for body in ('u1', 't1'):
            at = place(body, begin + k * PERIOD * 1e-9)
            found.append((f'/{body}/pose', stamp + lag, cdr(pose(stamp, at, frame))))
    return found


def write_bag(path: Path, found: list[tuple[str, int, bytes]], storage: str = 'mcap',
              types: dict[str, str] | None = None, flush: int = 50) -> Path:
    with RecordingWriter(path, storage) as writer:
        for topic in dict.fromkeys(topic for topic, *_ in found):
            writer.add_topic(topic, (types or {}).get(topic, POSE))
        for number, (topic, time, data) in enumerate(found):
            assert writer.write(topic, data, time)
            if number % flush == flush - 1:
                writer.flush()
    return path


def small_bag(folder: Path, **options: object) -> Path:
    """Two seconds of a user and a target."""
    return write_bag(folder / 'bag', entries(**options))


def filled(type_name: str, **values: object) -> object:
    """Message whose other fields are zero, false or empty."""
    for name, (kind, detail) in STORE.fielddefs[type_name][1]:
        if name not in values:
            values[name] = (
                filled(detail) if kind == Nodetype.NAME else [] if kind != Nodetype.BASE else
                {'string': '', 'bool': False, 'float64': 0.0, 'float32': 0.0}.get(detail[0], 0))
    return STORE.types[type_name](**values)


OWN = {'/status': 'nf_isac_msgs/msg/DesignStatus', '/crb': 'nf_isac_msgs/msg/CrbArray',
       '/radio/status': 'nf_isac_msgs/msg/RadioStatus'}
HAS_MESSAGES = OWN['/status'] in STORE.fielddefs


def results(cycles: int = 30, period: int = 50_000_000, muted: tuple[int, ...] = (10, 11, 12),
            ) -> list[tuple[str, int, bytes]]:
    """Status, bounds and radio of cycles as a node would have published them."""
    types = STORE.types
    found = []
    nan = float('nan')
    for k in range(cycles):
        begin = START + 5_000_000 + k * period
        mute = k in muted
        head = header(begin + 30_000_000)
        status = types[OWN['/status']](
            header=head, sequence=k, cycle=k, design='crb-min', outcome=3 if mute else 0,
            fallback_reason='tracks-dropped' if mute else '', users=[] if mute else [
                types['nf_isac_msgs/msg/UserStatus']('u1', 10.0, 10.5 if k % 2 else 9.0, 1)],
            tracks=[types['nf_isac_msgs/msg/TrackStatus']('u1', 1, 0, 0.03),
                    types['nf_isac_msgs/msg/TrackStatus']('t1', 0, 0, 0.03)],
            objective=nan, bound=nan, gap=1e-4, power=0.0 if mute else 1.0, iterations=5,
            warm=True, cycle_ms=4.0, pose_to_beam_ms=6.0,
            stages=[types['nf_isac_msgs/msg/StageTime']('solve', 2.0)], overruns=0,
            fallbacks=[], rejected=[types['nf_isac_msgs/msg/Count']('future-stamp', 2)])
        if not mute:
            entry = types['nf_isac_msgs/msg/CrbEntry'](
                id='t1', kind=0, field=1,
                position=types['geometry_msgs/msg/Point'](1.0, 4.0, 0.5),
                parameters=['x', 'y', 'z'], units=['m', 'm', 'm'],
                covariance=np.diag([1e-6, 4e-6, 4e-6]).ravel(), crb=9e-6, isotropic_crb=9e-2,
                illumination=1.0)
            found.append(('/crb', begin + 4_000_000, cdr(types[OWN['/crb']](
                header=head, sequence=k, design_stamp=head.stamp, entries=[entry], sum_crb=9e-6,
                isotropic_sum_crb=9e-2, bound=nan, objective=nan, gap=1e-4), OWN['/crb'])))
        found.append(('/status', begin + 4_000_000, cdr(status, OWN['/status'])))
        found.append(('/radio/status', begin + 5_000_000, cdr(filled(
            OWN['/radio/status'], header=head, armed=True, muted=mute,
            mute_reason='lease-ended' if mute else '', power=1.0,
            users=[types['nf_isac_msgs/msg/UserStatus']('u1', 10.0, 9.5, 1)]),
            OWN['/radio/status'])))
    return found


def full_bag(folder: Path) -> Path:
    """Poses, and what was published."""
    found = sorted([*entries(), *results()], key=lambda entry: entry[1])
    return write_bag(folder / 'full', found, types=OWN)
