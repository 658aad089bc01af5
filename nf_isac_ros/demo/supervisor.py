"""
Starts nodes as child processes, notices when one dies, and ends them in order.

Knows processes, not ROS: what a node does is the monitor's matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.demo import guard

PACKAGE = 'nf_isac_ros'
# How many lines of a log say why a node died.
LAST_LINES = 6
# How long after its end a program is started again [s], and how often.
RESTART_DELAY = 1.0
MAX_RESTARTS = 5
# How long a node may take to end after each signal [s].
STOP_LADDER = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))
# One thread per process: the nodes share the cores, and a solve is too small to be split.
SINGLE_THREADED = {name: '1' for name in (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')}


class SupervisorError(NfIsacError):
    """A node cannot be started."""

    reason = 'cannot-start'


@dataclass(frozen=True)
class Program:
    """
    What is to be run.

    Attributes
    ----------
    name : str
        Node name; also names the log file.
    command : tuple of str
        Executable and its arguments.
    restart : bool
        Start it again if it ends without having been asked to.

    """

    name: str
    command: tuple[str, ...]
    restart: bool = False


@dataclass(frozen=True)
class Ending:
    """
    How a process ended.

    Attributes
    ----------
    name : str
    exit_code : int or None
        None: by a signal.
    signal : str
        Name of the signal; empty: none.
    asked : bool
        It had been asked to end.
    time : float
        time.monotonic() at which that was noticed [s].
    last_lines : tuple of str
        End of its log.

    """

    name: str
    exit_code: int | None
    signal: str
    asked: bool
    time: float
    last_lines: tuple[str, ...]

    @property
    def cause(self) -> str:
        """A few words."""
        if self.signal:
            words = f'killed by {self.signal}'
        else:
            words = f'exit code {self.exit_code}'
        return f'{words} when asked to stop' if self.asked else words

    @property
    def clean(self) -> bool:
        """Tell whether it was asked to end and did so by itself."""
        # 130 and SIGINT: how programs end that leave Ctrl-C to the shell or the interpreter.
        return self.asked and (self.exit_code in (0, 130) or self.signal == 'SIGINT')


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    log: Path
    asked: bool = False


def executable(name: str) -> Path:
    """
    Find an executable of this package through the ament index.

    Raises
    ------
    SupervisorError
        If the package or the executable is not installed.

    """
    path = _package_prefix() / 'lib' / PACKAGE / name
    if not os.access(path, os.X_OK):
        raise SupervisorError(f'{path} is not an executable: build the workspace again')
    return path


def package_share() -> Path:
    """
    Find the folder of the files that the package installs, through the ament index.

    Raises
    ------
    SupervisorError
        If the package is not installed.

    """
    return _package_prefix() / 'share' / PACKAGE


def _package_prefix() -> Path:
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    try:
        return Path(get_package_prefix(PACKAGE))
    except (PackageNotFoundError, OSError):   # OSError: the variable is not set at all
        raise SupervisorError(
            f'package {PACKAGE} is not in AMENT_PREFIX_PATH: build the workspace, and source it '
            'or use .venv/bin/nf-isac') from None


def last_lines(log: Path, count: int = LAST_LINES) -> tuple[str, ...]:
    """Return the last lines of a log that are not empty."""
    try:
        with log.open('rb') as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 8192))
            text = stream.read().decode('utf-8', errors='replace')
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-count:]


@dataclass
class Supervisor:
    """
    Runs programs and ends them; a context manager that leaves nothing behind.

    Each process leads a group of its own, so that Ctrl-C in the terminal reaches the supervisor
    alone, which then ends the processes in order. Should the supervisor itself be killed, the
    guard ends them (see guard.py).

    Attributes
    ----------
    logs : Path
        Folder for the log files, which are appended to.
    environment : mapping
        On top of the supervisor's own.
    ladder : tuple of (signal, float)
        Signals to end a process with, and how long each may take [s].
    endings : list of Ending
        All processes that have ended, in the order in which that was noticed.
    restarts : Counter
        How often each program was started again.

    """

    logs: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ladder: Sequence[tuple[signal.Signals, float]] = STOP_LADDER
    endings: list[Ending] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    _fallen: dict[str, tuple[Program, float]] = field(default_factory=dict)
    _children: dict[str, _Child] = field(default_factory=dict)
    _guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> Supervisor:
        """Start the guard."""
        self.logs.mkdir(parents=True, exist_ok=True)
        # -S -E: it needs the standard library alone, and starts in a third of the time.
        self._guard = subprocess.Popen(
            [sys.executable, '-S', '-E', guard.__file__], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True)
        return self

    def __exit__(self, *exception: object) -> None:
        """End what still runs, then the guard."""
        self.stop()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait()

    def start(self, program: Program) -> None:
        """
        Start a program.

        Raises
        ------
        SupervisorError
            If one of that name runs already, or if it cannot be started.

        """
        if program.name in self._children:
            raise SupervisorError(f'{program.name} is running already')
        log = self.logs / f'{program.name}.log'
        with log.open('ab') as stream:
            try:
                process = subprocess.Popen(
                    program.command, stdin=subprocess.DEVNULL, stdout=stream,
                    stderr=subprocess.STDOUT, env={**os.environ, **self.environment},
                    start_new_session=True)
            except OSError as error:
                raise SupervisorError(
                    f'{program.name} cannot be started: {program.command[0]}: '
                    f'{error.strerror}') from None
        self._children[program.name] = _Child(program, process, log)
        self._tell_guard('add', process.pid)

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the programs that have not been seen ending."""
        return tuple(self._children)

    def pid(self, name: str) -> int:
        """Return the process id of a running program."""
        return self._children[name].process.pid

    def poll(self) -> list[Ending]:
        """Return the processes that have ended since the last call."""
        ended = []
        for name, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                continue
            # What the node started is no use without it.
            _signal_group(child.process.pid, signal.SIGKILL)
            self._tell_guard('remove', child.process.pid)
            ended.append(Ending(
                name=name,
                exit_code=code if code >= 0 else None,
                signal=_signal_name(-code) if code < 0 else '',
                asked=child.asked,
                time=time.monotonic(),
                last_lines=last_lines(child.log)))
            del self._children[name]
            if child.program.restart and not child.asked and self.restarts[name] < MAX_RESTARTS:
                self._fallen[name] = child.program, time.monotonic() + RESTART_DELAY
        self.endings += ended
        return ended

    @property
    def reviving(self) -> bool:
        """Whether a program is about to be started again."""
        return bool(self._fallen)

    def revive(self) -> list[str]:
        """
        Start programs again that ended unasked, a moment ago.

        Returns
        -------
        list of str
            Their names.

        Raises
        ------
        SupervisorError
            If one cannot be started any more.

        """
        due = [name for name, (_, since) in self._fallen.items() if time.monotonic() >= since]
        for name in due:
            program, _ = self._fallen.pop(name)
            self.start(program)
            self.restarts[name] += 1
        return due

    def stop(self, names: Iterable[str] | None = None) -> list[Ending]:
        """
        End programs: ask, ask harder, kill; each with a time limit.

        Parameters
        ----------
        names : iterable of str or None
            None: all.

        Returns
        -------
        list of Ending
            How they ended; those that had ended before, unnoticed, are among them.

        """
        ended = self.poll()
        wanted = set(self._children if names is None else names)
        for number, patience in self.ladder:
            waiting = wanted & set(self._children)
            for name in waiting:
                child = self._children[name]
                child.asked = True
                if number == signal.SIGKILL:
                    _signal_group(child.process.pid, number)
                else:
                    child.process.send_signal(number)
                    # A stopped process hears nothing but SIGKILL until it goes on.
                    child.process.send_signal(signal.SIGCONT)
            deadline = time.monotonic() + patience
            while wanted & set(self._children) and time.monotonic() < deadline:
                ended += self.poll()
                time.sleep(0.01)
        return ended

    def _tell_guard(self, word: str, pid: int) -> None:
        if self._guard is None or self._guard.stdin is None:
            return
        try:
            self._guard.stdin.write(f'{word} {pid}\n')
            self._guard.stdin.flush()
        except BrokenPipeError:
            # Somebody killed the guard; the supervisor itself still ends its children.
            self._guard.wait()
            self._guard = None


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'
