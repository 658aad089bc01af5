"""Errors of reading and writing recordings."""

from nf_isac_ros.core.exceptions import NfIsacError


class RecordingError(NfIsacError, ValueError):
    """A recording that cannot be opened or made; the message names the path and says why."""

    reason = 'bad-recording'
