"""Runs independent tasks on Dask, on the cores of this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
import logging
import os
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from nf_isac_ros.core.exceptions import NfIsacError


class SchedulerError(NfIsacError, ValueError):
    """No scheduler where one was said to be, or no such number of workers."""

    reason = 'bad-scheduler'


class WorkerError(NfIsacError, RuntimeError):
    """The processes did not do their work."""

    reason = 'worker-lost'


class Task(Protocol):
    """A piece of work that needs nothing but itself."""

    def run(self) -> Any:
        """Do it."""


# Hands out each task with its result as it is ready.
Runner = Callable[[Iterable[Any]], Iterator[tuple[Any, Any]]]

# A process of ours has one core: more threads than that only wait for each other.
ONE_THREAD = {name: '1' for name in (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'RAYON_NUM_THREADS',
    'NUMBA_NUM_THREADS')}
# Longest time to wait for a scheduler [s].
CONNECT = 20.0
# Tasks that are handed out for each thread of the workers: none of them waits for the next one,
# and a source of tasks that never ends does not fill the memory.
AHEAD = 3
MAX_WORKERS = 1024


def here(tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
    """Run tasks in this process, one after the other."""
    with threadpool_limits(1):
        for task in tasks:
            yield task, task.run()


@contextmanager
def cluster(scheduler: str | None, workers: int) -> Iterator[Runner]:
    """
    Runner on Dask.

    Parameters
    ----------
    scheduler : str or None
        Address of a running scheduler, whose workers have this package; None: processes of this
        machine, started for the occasion.
    workers : int
        Number of those processes; 0: none, all runs in this one.

    Yields
    ------
    Runner
        Takes tasks, no more of them at a time than the workers need, in any order.

    Raises
    ------
    SchedulerError
        If there is no scheduler at that address.
    WorkerError
        From the runner, if a process ends before its work.

    """
    if scheduler is None and workers == 0:
        yield here
        return
    # Half a second that `--workers 0` saves.
    from distributed import Client

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT)
        except (OSError, ValueError, TimeoutError) as error:
            raise SchedulerError(
                f'--scheduler: is {scheduler!r}; must be the address of a running Dask '
                f'scheduler, as tcp://host:8786 ({type(error).__name__})') from error
        with client:
            yield _on(client)
        return
    with _local(workers) as processes, Client(processes) as client:
        yield _on(client)


@contextmanager
def _local(workers: int) -> Iterator[object]:
    """Processes of this machine, with one thread each."""
    import dask
    from distributed import LocalCluster

    with dask.config.set({'distributed.nanny.pre-spawn-environ': ONE_THREAD}), LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True,
            dashboard_address='127.0.0.1:0', silence_logs=logging.ERROR) as processes:
        yield processes


def _on(client: Any) -> Runner:
    """Runner on the workers of a client."""
    from distributed import CancelledError, KilledWorker, as_completed

    def run(tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        waiting, running, futures = iter(tasks), as_completed(), {}

        def hand_out() -> None:
            # Anew each time: a cluster may grow.
            most = AHEAD * max(1, sum(client.nthreads().values()))
            for task in islice(waiting, max(0, most - len(futures))):
                future = client.submit(_run, task, pure=False)
                futures[future] = task
                running.add(future)

        hand_out()
        for future in running:
            try:
                found = future.result()
            except (KilledWorker, CancelledError, OSError) as error:
                raise WorkerError(f'a process was lost at its work: {error}') from error
            task = futures.pop(future)
            # The worker may forget it.
            future.release()
            hand_out()
            yield task, found

    return run


def _run(task: Task) -> Any:
    """Run a task on a worker, whose process may have been started by others."""
    with threadpool_limits(1):
        return task.run()


def worthwhile_workers(n_tasks: int) -> int:
    """Number of processes to start for so many tasks: 0 for one, which waits for none."""
    workers = min(n_tasks, len(os.sched_getaffinity(0)))
    return workers if workers > 1 else 0


def worker_count(text: str | None, scheduler: str | None) -> int | None:
    """
    Read the option --workers; None: it was not given.

    Raises
    ------
    SchedulerError
        If it is no number, or there is a cluster, which has workers of its own.

    """
    if text is None:
        return None
    if scheduler is not None:
        raise SchedulerError('--workers: goes with --scheduler; must be left out, since the '
                             'cluster has its own')
    if not text.isdecimal() or int(text) > MAX_WORKERS:
        raise SchedulerError(
            f'--workers: is {text!r}; must be a whole number from 0 to {MAX_WORKERS}')
    return int(text)
