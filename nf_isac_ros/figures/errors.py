"""What is wrong with a request for figures."""

from nf_isac_ros.core.exceptions import NfIsacError


class FigureError(NfIsacError, ValueError):
    """A figure, parameter or folder that cannot be; names key, value, allowed."""

    reason = 'bad-figure'
