"""Runs the tasks of a sweep on Dask, on the cores of this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
import logging
import os

from threadpoolctl import threadpool_limits

from nf_isac_ros.figures.errors import FigureError, SweepError
from nf_isac_ros.figures.panels import Table, Task

# Hands out each task with its table as it is ready.
Runner = Callable[[Collection[Task]], Iterator[tuple[Task, Table]]]

# A process of a sweep has one core: more threads than that only wait for each other.
ONE_THREAD = {name: '1' for name in (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'RAYON_NUM_THREADS',
    'NUMBA_NUM_THREADS')}
# Longest time to wait for a scheduler [s].
CONNECT = 20.0


def here(tasks: Collection[Task]) -> Iterator[tuple[Task, Table]]:
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

    Raises
    ------
    FigureError
        If there is no scheduler at that address.
    SweepError
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
            raise FigureError(
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


def _on(client: object) -> Runner:
    """Runner on the workers of a client."""
    from distributed import CancelledError, KilledWorker, as_completed

    def run(tasks: Collection[Task]) -> Iterator[tuple[Task, Table]]:
        futures = {client.submit(_run, task, pure=False): task for task in tasks}
        for future in as_completed(futures):
            try:
                found = future.result()
            except (KilledWorker, CancelledError, OSError) as error:
                raise SweepError(f'a process of the sweep was lost: {error}') from error
            yield futures[future], found
            # The worker may forget it.
            future.release()

    return run


def _run(task: Task) -> Table:
    """Run a task on a worker, whose process may have been started by others."""
    with threadpool_limits(1):
        return task.run()


def worthwhile_workers(n_tasks: int) -> int:
    """Number of processes to start for so many tasks: 0 for one, which waits for none."""
    workers = min(n_tasks, len(os.sched_getaffinity(0)))
    return workers if workers > 1 else 0
