"""Messages that cannot be right."""

from __future__ import annotations

from nf_isac_ros.core.exceptions import RejectedError


class MessageError(RejectedError):
    """A message that cannot be right; it is rejected whole."""
