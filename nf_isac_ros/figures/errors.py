"""What is wrong with a request for figures."""

from nf_isac_ros.core.exceptions import NfIsacError


class FigureError(NfIsacError, ValueError):
    """A figure, parameter, folder or scheduler that cannot be; names key, value, allowed."""

    reason = 'bad-figure'


class SweepError(NfIsacError, RuntimeError):
    """The processes of a sweep did not do their work."""

    reason = 'sweep-failed'
