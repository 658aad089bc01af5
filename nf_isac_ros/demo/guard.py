"""
Last resort against processes that outlive their supervisor.

Run as a program of its own, with the read end of a pipe as standard input. The supervisor writes
one line, `add PID`, for each process that it starts and `remove PID` for each that it has seen
ending. When the pipe closes, whatever the reason (also SIGKILL), everything that is still there
is asked to end, and killed if it does not.

A pipe and not PR_SET_PDEATHSIG: that sends a single signal, so it can either ask (and leave a
hanging node behind) or kill (and leave a recording without its end); it goes by the thread and
not by the process that started the child; and it would have to be set between fork and exec.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

# How long each signal may take to have its effect [s].
LADDER = ((signal.SIGINT, 4.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0))


def _end(processes: dict[int, int]) -> None:
    """
    End processes, by asking first.

    Parameters
    ----------
    processes : dict
        Pid -> file descriptor of the process, which cannot come to mean another one.

    """
    waiting = dict(processes)
    for number, patience in LADDER:
        for pid, descriptor in waiting.items():
            try:
                if number == signal.SIGKILL:
                    # Each node leads a group of its own: take along what it started.
                    os.killpg(pid, number)
                else:
                    signal.pidfd_send_signal(descriptor, number)
            except (ProcessLookupError, PermissionError):
                pass
        deadline = time.monotonic() + patience
        while waiting and (left := deadline - time.monotonic()) > 0:
            ended = select.select(list(waiting.values()), [], [], left)[0]
            waiting = {pid: fd for pid, fd in waiting.items() if fd not in ended}


def main() -> None:
    """Watch the pipe."""
    # Ctrl-C and friends are for the supervisor; its end is what counts here.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes: dict[int, int] = {}
    for line in sys.stdin:
        word, _, text = line.partition(' ')
        pid = int(text)
        if word == 'add':
            try:
                processes[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        elif word == 'remove' and pid in processes:
            os.close(processes.pop(pid))
    _end(processes)


if __name__ == '__main__':
    main()
