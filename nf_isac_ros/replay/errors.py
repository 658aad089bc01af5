"""What is wrong with a request for a replay."""

from nf_isac_ros.core.exceptions import NfIsacError


class ReplayError(NfIsacError, ValueError):
    """An option, recording or folder that cannot be; names key, value and what is allowed."""

    reason = 'bad-replay'
