"""A thread that always works on the newest item."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')


class NewestOnly(Generic[Item]):
    """
    One worker thread with a single slot: an item that nobody took is overwritten by the next.

    Parameters
    ----------
    work : callable
        Called in the thread with one item at a time. Must not raise.
    name : str
        Of the thread.

    """

    def __init__(self, work: Callable[[Item], None], name: str) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._stopped = False
        # A daemon, because a solver that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> bool:
        """Hand an item over; tell whether it replaced one that nobody had taken."""
        with self._changed:
            overwritten = self._item is not None
            self._item = item
            self._changed.notify()
        return overwritten

    def stop(self, timeout: float) -> bool:
        """
        End the thread after the item that it works on.

        Parameters
        ----------
        timeout : float
            How long to wait for it [s].

        Returns
        -------
        bool
            False if the thread is still at work; it ends as soon as it is done.

        """
        with self._changed:
            self._stopped = True
            self._item = None
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._item is None and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                item, self._item = self._item, None
            assert item is not None
            self._work(item)
