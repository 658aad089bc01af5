"""When design cycles begin: as soon as poses are news, or by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf

# Poses of one moment come as one message per body: a cycle waits this long for the next of them,
# and no longer than this in all [s].
QUIET = 0.4e-3
PATIENCE = 2e-3
# How many cycles may begin before it is their turn, at the mean rate, where poses come in clumps.
BURST = 4
# The longest time between two beginnings, in periods, while earlier cycles are paid off.
LONGEST = 1.5


@dataclass(frozen=True)
class Beginning:
    """
    What is known of a cycle when it begins.

    Attributes
    ----------
    waited : float
        Since the first of the poses that no cycle knew before [s]; 0 if there is none.
    lost : int
        Periods that went by while this cycle was due and the one before was still at work.

    """

    waited: float
    lost: int


class CycleSchedule:
    """
    Tells when the next cycle begins.

    Without poses, one begins every period. With `on_poses`, one also begins as soon as poses that
    are news have come, but on the mean no more often than once a period: a cycle that poses
    begin may be ahead of its turn by `BURST` periods, and those of the clock then come up to
    half a period later, so that they do not get in the way of the poses.

    Two clocks are in use: that of the node, which may be simulated, stand still or jump, for the
    periods; the steady clock for the fraction of a millisecond in which poses belong together.

    Parameters
    ----------
    period : float
        On the clock of the node [s].
    on_poses : bool
        Poses begin cycles.
    now : float
        On the clock of the node [s]. The first cycle that the clock begins is due one period
        later.

    Notes
    -----
    The limit is the generic cell rate algorithm (ITU-T I.371) with the tolerance `BURST` periods.

    """

    def __init__(self, period: float, on_poses: bool, now: float) -> None:
        self._period = period
        self._on_poses = on_poses
        self._restart(now)

    def _restart(self, now: float) -> None:
        # Theoretical arrival time of the algorithm, or the next tick of the clock.
        self._turn = now + self._period
        self._begun = now
        self._free = now
        self._first: float | None = None
        self._first_steady = self._latest_steady = 0.0
        self._together = False

    def arrived(self, now: float, steady: float, together: bool) -> None:
        """
        Take note of a message with poses that are news.

        Parameters
        ----------
        now, steady : float
            On the clock of the node, and on the steady one [s].
        together : bool
            The poses of all bodies are now of one and the same time: no other is to come.

        """
        if self._first is None:
            self._first, self._first_steady = now, steady
        self._latest_steady = steady
        self._together = together

    def wait(self, now: float, steady: float) -> float:
        """
        Time until the next cycle begins [s]; 0 or less: now.

        Parameters
        ----------
        now, steady : float
            On the clock of the node, and on the steady one [s].

        """
        if now < self._begun - self._period:
            # The clock went back. What it was due for then has no meaning any more.
            self._restart(now)
        wait = self._tick() - now
        if self._on_poses and self._first is not None:
            allowed = self._turn - BURST * self._period - now
            wait = min(wait, max(allowed, self._gathered() - steady))
        return wait

    def _tick(self) -> float:
        """When the clock begins the next cycle, if poses do not [s]."""
        if not self._on_poses:
            return self._turn
        return min(max(self._turn, self._begun + self._period),
                   self._begun + LONGEST * self._period)

    def _gathered(self) -> float:
        """When the poses that belong together are there, on the steady clock [s]."""
        if self._together:
            return -inf
        return min(self._latest_steady + QUIET, self._first_steady + PATIENCE)

    def begin(self, now: float, steady: float) -> Beginning:
        """
        Begin a cycle, due or not.

        Parameters
        ----------
        now, steady : float
            On the clock of the node, and on the steady one [s].

        """
        due, waited = self._tick(), 0.0
        news = self._first is not None
        if self._on_poses and self._first is not None:
            due = min(due, max(self._first, self._turn - BURST * self._period))
            waited = steady - self._first_steady
        lost = max(0, floor((self._free - due) / self._period))
        if not self._on_poses:
            # The next tick that lies ahead; those that went by are left out.
            behind = max(0, floor((now - self._turn) / self._period))
            self._turn += (behind + 1) * self._period
        elif news:
            self._turn = max(self._turn, now) + self._period
        else:
            self._turn = max(self._turn, now + self._period)
        self._begun, self._first = now, None
        return Beginning(waited, lost)

    def ended(self, now: float) -> None:
        """Take note of the end of a cycle, on the clock of the node [s]."""
        self._free = now
