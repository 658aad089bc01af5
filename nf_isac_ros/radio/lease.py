"""The permission to transmit, which ends by itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lease:
    """
    Permission to transmit until the first of two clocks says that it is over.

    Node time may stop (a /clock that is no longer published) or jump; the steady clock does
    neither, but knows nothing of the time that the message took to arrive.

    Attributes
    ----------
    node_end : int
        End in node time [ns].
    steady_end : int
        End on the steady clock [ns].

    """

    node_end: int
    steady_end: int

    @classmethod
    def granted(cls, publish_stamp: int, valid_until: int, received: int) -> Lease:
        """
        Lease of a message.

        Parameters
        ----------
        publish_stamp, valid_until : int
            Of the message, in node time [ns].
        received : int
            Time of reception on the steady clock [ns].

        """
        return cls(valid_until, received + (valid_until - publish_stamp))

    def remaining(self, node_now: int, steady_now: int) -> int:
        """Time left on the clock that ends first [ns]; zero or less: the lease is over."""
        return min(self.node_end - node_now, self.steady_end - steady_now)
