"""Dummy programs in place of nodes: what counts is how processes begin and end."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

from nf_isac_ros.demo.supervisor import Program, Supervisor, SupervisorError, executable

QUICK = ((signal.SIGINT, 1.0), (signal.SIGTERM, 1.0), (signal.SIGKILL, 2.0))

# Each says 'ready' when its signal handlers are in place.
OBEDIENT = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print('ready', flush=True)
time.sleep(60)
"""
ONLY_TERM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('ready', flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
while True:
    time.sleep(60)
"""
SLOW_TO_CLOSE = """
import signal, sys, time
from pathlib import Path
def close(*_):
    time.sleep(0.3)
    Path(sys.argv[1]).write_text('closed')
    sys.exit(0)
signal.signal(signal.SIGINT, close)
print('ready', flush=True)
time.sleep(60)
"""
WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print('ready', child.pid, flush=True)
time.sleep(60)
"""


def program(name: str, code: str) -> Program:
    return Program(name, (sys.executable, '-S', '-c', code))


def wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def ready(folder: Path, name: str) -> str:
    log = folder / f'{name}.log'
    assert wait_for(lambda: log.exists() and 'ready' in log.read_text()), f'{name} did not start'
    return log.read_text()


def is_there(pid: int) -> bool:
    """Zombies have ended: whoever inherits them decides when they disappear."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != 'Z'


def poll_until_ended(supervisor: Supervisor):
    ended = []
    assert wait_for(lambda: ended.extend(supervisor.poll()) or ended)
    return ended


def test_a_node_that_fails_is_noticed_with_code_and_last_lines(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program('loser', "print('one'); print('two'); raise SystemExit(7)"))
        ended, = poll_until_ended(supervisor)
    assert (ended.name, ended.exit_code, ended.signal, ended.clean) == ('loser', 7, '', False)
    assert ended.cause == 'exit code 7'
    assert ended.last_lines == ('one', 'two')


def test_a_node_that_is_killed_is_noticed_with_the_signal(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program('victim', OBEDIENT))
        ready(tmp_path, 'victim')
        os.kill(supervisor.pid('victim'), signal.SIGSEGV)
        ended, = poll_until_ended(supervisor)
        assert supervisor.running == ()
    assert (ended.exit_code, ended.signal, ended.cause) == (None, 'SIGSEGV', 'killed by SIGSEGV')
    assert not ended.clean


def test_a_node_that_ends_without_being_asked_has_died_even_with_success(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program('short', 'pass'))
        ended, = poll_until_ended(supervisor)
    assert (ended.exit_code, ended.clean) == (0, False)


@pytest.mark.parametrize(('code', 'exit_code', 'signal_name', 'clean'), [
    (OBEDIENT, 0, '', True),
    (ONLY_TERM, 0, '', True),
    (DEAF, None, 'SIGKILL', False),
], ids=['by_asking', 'by_asking_harder', 'by_force'])
def test_every_node_is_ended(tmp_path, code, exit_code, signal_name, clean):
    with Supervisor(tmp_path, ladder=QUICK) as supervisor:
        supervisor.start(program('node', code))
        ready(tmp_path, 'node')
        pid = supervisor.pid('node')
        ended, = supervisor.stop()
    assert not is_there(pid)
    assert (ended.exit_code, ended.signal, ended.clean) == (exit_code, signal_name, clean)


def test_a_stopped_node_is_ended(tmp_path):
    with Supervisor(tmp_path, ladder=QUICK) as supervisor:
        supervisor.start(program('node', OBEDIENT))
        ready(tmp_path, 'node')
        os.kill(supervisor.pid('node'), signal.SIGSTOP)
        ended, = supervisor.stop()
    assert ended.clean


def test_leaving_the_context_ends_what_a_node_started(tmp_path):
    with Supervisor(tmp_path, ladder=QUICK) as supervisor:
        supervisor.start(program('parent', WITH_CHILD))
        child = int(ready(tmp_path, 'parent').split()[1])
    assert wait_for(lambda: not is_there(child), 2.0)


def test_some_nodes_can_be_ended_before_the_others(tmp_path):
    with Supervisor(tmp_path, ladder=QUICK) as supervisor:
        for name in ('first', 'last'):
            supervisor.start(program(name, OBEDIENT))
            ready(tmp_path, name)
        assert [ended.name for ended in supervisor.stop({'first'})] == ['first']
        assert supervisor.running == ('last',)


def test_a_node_can_be_started_again_and_keeps_its_log(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        for _ in range(2):
            supervisor.start(program('again', "print('life')"))
            poll_until_ended(supervisor)
    assert (tmp_path / 'again.log').read_text() == 'life\nlife\n'


def test_a_missing_executable_is_said(tmp_path):
    with Supervisor(tmp_path) as supervisor, pytest.raises(
            SupervisorError, match='ghost cannot be started: /no/such/file'):
        supervisor.start(Program('ghost', ('/no/such/file',)))


@pytest.mark.parametrize('prefixes', [None, '', '/no/such/folder'],
                         ids=['not_set', 'empty', 'elsewhere'])
def test_a_package_that_is_not_sourced_is_said(monkeypatch, prefixes):
    pytest.importorskip('ament_index_python')
    if prefixes is None:
        monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    else:
        monkeypatch.setenv('AMENT_PREFIX_PATH', prefixes)
    with pytest.raises(SupervisorError, match='not in AMENT_PREFIX_PATH'):
        executable('beamformer')


# The supervisor in a process of its own, so that it can be killed.
HOST = """
import sys, time
from pathlib import Path
from nf_isac_ros.demo.supervisor import Program, Supervisor
folder = Path(sys.argv[1])
with Supervisor(folder / 'logs') as supervisor:
    for name in ('slow', 'deaf'):
        code = (folder / f'{name}.py').read_text()
        supervisor.start(Program(name, (sys.executable, '-S', '-c', code, str(folder / 'closed'))))
        print(name, supervisor.pid(name), flush=True)
    time.sleep(60)
"""


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path):
    (tmp_path / 'slow.py').write_text(SLOW_TO_CLOSE)
    (tmp_path / 'deaf.py').write_text(DEAF)
    host = subprocess.Popen([sys.executable, '-c', HOST, str(tmp_path)],
                            stdout=subprocess.PIPE, text=True)
    try:
        pids = [int(host.stdout.readline().split()[1]) for _ in range(2)]
        for name in ('slow', 'deaf'):
            ready(tmp_path / 'logs', name)
        host.send_signal(signal.SIGKILL)
        host.wait()
        # The one is given the time to close its file, the other is killed in the end.
        assert wait_for(lambda: not is_there(pids[0]), 4.0)
        assert (tmp_path / 'closed').read_text() == 'closed'
        assert wait_for(lambda: not is_there(pids[1]), 12.0)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()


def test_a_program_that_dies_unasked_is_started_again_a_few_times(tmp_path, monkeypatch):
    monkeypatch.setattr('nf_isac_ros.demo.supervisor.RESTART_DELAY', 0.05)
    monkeypatch.setattr('nf_isac_ros.demo.supervisor.MAX_RESTARTS', 2)
    dies = "print('ready', flush=True); raise SystemExit(3)"
    with Supervisor(tmp_path, ladder=QUICK) as supervisor:
        supervisor.start(replace(program('mortal', dies), restart=True))
        supervisor.start(program('gone', dies))
        supervisor.start(replace(program('steady', OBEDIENT), restart=True))

        def ended(times):
            supervisor.poll()
            supervisor.revive()
            return (tmp_path / 'mortal.log').read_text().count('ready') == times and (
                'mortal' not in supervisor.running)

        assert wait_for(lambda: ended(3))
        assert wait_for(lambda: not supervisor.reviving)
        time.sleep(0.1)
        assert supervisor.revive() == []
        assert supervisor.restarts == {'mortal': 2}
        assert supervisor.running == ('steady',)
        supervisor.stop()
        assert not supervisor.reviving, 'what was asked to end stays ended'
    assert [ending.name for ending in supervisor.endings].count('mortal') == 3
