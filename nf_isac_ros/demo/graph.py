"""Which nodes a demo consists of, and with which arguments they are started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
import fcntl
import json
import os
from pathlib import Path
import random
import socket
import tempfile

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.demo.supervisor import SINGLE_THREADED, Program, executable, package_share

LIFECYCLE_NODES = ('radio_driver', 'beamformer')
RECORDER = 'bag_recorder'
SCENARIO, PLAYER = 'scenario', 'bag_player'
LOCALIZER, TRACKER = 'localizer', 'tracker'
NODES = (SCENARIO, PLAYER, *LIFECYCLE_NODES, LOCALIZER, TRACKER, 'markers', RECORDER)
RADIO = 'radio_driver'
# A recording has an end, and a recorder would find its folder taken.
NOT_RESTARTED = (PLAYER, RECORDER)

OPEN, CLOSED = 'open', 'closed'
LOOPS = (OPEN, CLOSED)

DEFAULT_SCENARIO = 'crossing'
# What it is with a closed loop.
CLOSED_SCENARIO = 'closed_loop'
# Designs and sensing periods per second along a recording whose loop is closed, where its
# deployment wants more [Hz], and how much of a period a design may take: echoes, estimates and
# tracks want their share of the processor.
CLOSED_RATE = 10.0
CLOSED_SHARE = 0.6

# Domains whose ports are below those that Linux hands out to anybody.
DOMAINS = range(1, 102)


class UsageError(NfIsacError):
    """The command line asks for something that cannot be."""

    reason = 'usage'


@dataclass(frozen=True)
class Cut:
    """
    An interval in which a topic of a recording is left out.

    Attributes
    ----------
    topic : str
    start, length : float
        Since the beginning of the recording [s].

    """

    topic: str
    start: float
    length: float

    def __str__(self) -> str:
        """Write it as the player reads it."""
        return f'{self.topic}:{self.start:g}:{self.length:g}'


@dataclass(frozen=True)
class Source:
    """
    Where the poses come from.

    Attributes
    ----------
    deployment : Path
        Deployment file.
    scenario : str
        Name of the built-in scene; empty: none.
    bag : Path or None
        Recording that is played.
    cuts : tuple of Cut
    rate : float
        Factor on the pace of a recording.
    repeat : bool
        Play a recording again when it ends.
    seed : int or None
        Of a scenario's noise; None: the node's default.
    loop : str
        'open': the source tells the designer where targets are; 'closed': their echoes do.

    """

    deployment: Path
    scenario: str = ''
    bag: Path | None = None
    cuts: tuple[Cut, ...] = ()
    rate: float = 1.0
    repeat: bool = False
    seed: int | None = None
    loop: str = OPEN

    @property
    def title(self) -> str:
        """A few words."""
        if self.bag is not None:
            return f'recording {self.bag.name}'
        return f'scenario {self.scenario or self.deployment.name}'


def scenario_file(name: str) -> Path:
    """
    Find the deployment file of a built-in scene.

    Raises
    ------
    UsageError
        If there is none of that name; lists those that exist.

    """
    folder = package_share() / 'config' / 'scenarios'
    names = sorted(path.stem for path in folder.glob('*.yaml'))
    if name not in names:
        raise UsageError(f'there is no scenario {name!r}; there is {", ".join(names) or "none"}')
    return folder / f'{name}.yaml'


def recording_file(bag: Path) -> Path:
    """
    Find the deployment file that ships for a recording.

    Raises
    ------
    UsageError
        If none ships.

    """
    folder = package_share() / 'config' / 'recordings'
    path = folder / f'{bag.name}.yaml'
    if not path.is_file():
        names = ', '.join(sorted(file.stem for file in folder.glob('*.yaml'))) or 'none'
        raise UsageError(f'no configuration ships for the recording {bag.name!r} (there is '
                         f'{names}); name one with --config FILE')
    return path


def bag_folder(text: str) -> Path:
    """
    Find the folder of a recording.

    Parameters
    ----------
    text : str
        The folder, or a file in it.

    Raises
    ------
    UsageError
        If there is nothing of that name.

    """
    path = Path(text).expanduser().resolve()
    if not path.exists():
        raise UsageError(f'there is no recording {text}')
    return path if path.is_dir() else path.parent


def parse_cut(text: str) -> Cut:
    """
    Read TOPIC:START:LENGTH.

    Raises
    ------
    UsageError
        If it is something else.

    """
    try:
        topic, start, length = text.rsplit(':', 2)
        cut = Cut(topic, float(start), float(length))
        valid = topic.startswith('/') and cut.start >= 0 and 0 < cut.length < float('inf')
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f'--cut {text!r}: must be TOPIC:START:LENGTH, such as '
                         '/vicon/robot4/pose:5:0.5 (seconds since the start of the recording, '
                         'the length above 0)')
    return cut


def parse_setting(text: str) -> tuple[str, str, str]:
    """
    Read node.parameter=value.

    Returns
    -------
    node, parameter, value : str

    Raises
    ------
    UsageError
        If it is something else, or if a demo has no such node.

    """
    name, equals, value = text.partition('=')
    node, dot, parameter = name.partition('.')
    if not (equals and dot and parameter):
        raise UsageError(f'--set {text!r}: must be node.parameter=value')
    if node not in NODES:
        raise UsageError(f'--set {text!r}: there is no node {node!r}; there is '
                         f'{", ".join(NODES)}')
    return node, parameter, value


def programs(source: Source, recording: Path,
             settings: tuple[tuple[str, str, str], ...] = (),
             rate: float = 50.0) -> tuple[Program, ...]:
    """
    List what is to be started, in this order.

    Parameters
    ----------
    source : Source
        Of the poses.
    recording : Path
        Folder that the recorder makes.
    settings : tuple of (node, parameter, value)
        Parameters on top of the parameter file.
    rate : float
        Designs per second of the deployment [Hz]. A closed loop has as many sensing periods.

    Returns
    -------
    tuple of Program

    Raises
    ------
    SupervisorError
        If the package is not installed.

    """
    shared = package_share() / 'config' / 'nf_isac.yaml'
    deployment: dict[str, object] = {'deployment_file': str(source.deployment)}
    parameters: dict[str, dict[str, object]] = {
        RECORDER: {'output': str(recording)},
        **{name: dict(deployment) for name in (*LIFECYCLE_NODES, 'markers')},
    }
    if source.bag is not None:
        parameters[PLAYER] = {
            **deployment, 'bag': str(source.bag), 'rate': float(source.rate),
            'loop': source.repeat,
            # However long the others take to start, nothing of the recording is missed, and its
            # cuts are where they are expected.
            'start_paused': True, 'start_delay_s': 0.0}
        # A parameter list cannot be empty on the command line: it would have no type.
        if source.cuts:
            parameters[PLAYER]['cut'] = [str(cut) for cut in source.cuts]
    else:
        parameters[SCENARIO] = dict(deployment)
        if source.seed is not None:
            parameters[SCENARIO]['seed'] = source.seed
    if source.loop == CLOSED:
        parameters['beamformer']['target_topics'] = False
        if source.bag is not None and rate > CLOSED_RATE:
            rate = CLOSED_RATE
            parameters['beamformer'] |= {
                'rate_hz': rate, 'budget_ms': 1e3 * CLOSED_SHARE / rate}
        parameters['radio_driver']['echo_rate_hz'] = float(rate)
        parameters |= {name: dict(deployment) for name in (LOCALIZER, TRACKER)}
        # Without an echo tracks come once a period all the same.
        parameters[TRACKER]['rate_hz'] = max(2.0 * rate, 1.0)
        if source.seed is not None:
            parameters[TRACKER]['seed'] = source.seed
            parameters['radio_driver']['echo_seed'] = source.seed
    extra: dict[str, list[str]] = {name: [] for name in parameters}
    if source.loop == CLOSED and SCENARIO in extra:
        # What the scenario would tell of targets stays out of the loop.
        extra[SCENARIO] += ['-r', f'targets:={SCENARIO}/targets']
    for node, parameter, value in settings:
        if node not in extra:
            raise UsageError(f'--set {node}.{parameter}: {node} is not part of this demo')
        extra[node] += ['-p', f'{parameter}:={value}']
    return tuple(
        Program(name=name, command=(
            str(executable(name)), '--ros-args', '-r', '__ns:=/', '--params-file', str(shared),
            # JSON is YAML, which is what the argument is read as; it quotes what must be quoted.
            *(word for key, value in values.items()
              for word in ('-p', f'{key}:={json.dumps(value)}')),
            *extra[name]), restart=name not in NOT_RESTARTED)
        for name, values in parameters.items())


def environment(present: Mapping[str, str], domain: int) -> dict[str, str]:
    """
    Return what the nodes need on top of an environment.

    Parameters
    ----------
    present : mapping
        The environment; what it says about ROS is kept.
    domain : int
        ROS domain, if it names none.

    Returns
    -------
    dict

    """
    added = {**SINGLE_THREADED, 'PYTHONUNBUFFERED': '1', 'RCUTILS_COLORIZED_OUTPUT': '0'}
    if not present.get('ROS_AUTOMATIC_DISCOVERY_RANGE'):
        added['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if not present.get('ROS_DOMAIN_ID'):
        added['ROS_DOMAIN_ID'] = str(domain)
    return added


@contextmanager
def reserved_domain() -> Iterator[int]:
    """
    Choose a ROS domain that nobody on this machine seems to use, and keep others from it.

    Others are those who ask by the same lock files: a second demo, and `make test`.

    Yields
    ------
    int
        One of DOMAINS.

    """
    candidates = list(DOMAINS)
    random.Random(os.getpid()).shuffle(candidates)
    for domain in candidates:
        name = f'nf_isac_ros_domain_{domain}_{os.getuid()}.lock'
        with ExitStack() as stack:
            try:
                lock = stack.enter_context((Path(tempfile.gettempdir()) / name).open('a'))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _unused(domain):
                    continue
            except OSError:
                continue
            yield domain
            return
    raise UsageError('every ROS domain on this machine is in use: set ROS_DOMAIN_ID')


def _unused(domain: int) -> bool:
    # Well-known port of the first participant of a domain (RTPS 2.2, section 9.6.1).
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', 7410 + 250 * domain))
        except OSError:
            return False
    return True
