"""Messages that cannot be right."""

from __future__ import annotations

from nf_isac_ros.core.exceptions import NfIsacError


class MessageError(NfIsacError, ValueError):
    """
    A message that cannot be right; it is rejected whole.

    Parameters
    ----------
    message : str
        Names the field, the value and what is allowed.
    reason : str
        How diagnostics count it.

    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
