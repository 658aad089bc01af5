"""Errors of the core; a node maps each to a fallback, a diagnostic and one throttled warning."""

from __future__ import annotations

from typing import Any


class NfIsacError(Exception):
    """
    Base of all errors that this package raises on purpose.

    Attributes
    ----------
    reason : str
        A few lower-case words joined by hyphens, by which diagnostics count the error.

    """

    reason = 'error'

    def __reduce__(self) -> tuple[Any, ...]:
        """Make copies without the constructor, whose arguments are not those of the message."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[NfIsacError], args: tuple[Any, ...],
              values: dict[str, Any]) -> NfIsacError:
    """Error as it was when it was pickled, in another process say."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(values)
    return error


class RejectedError(NfIsacError, ValueError):
    """
    Something that came in and cannot be right; it is rejected whole.

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


class ArrayError(NfIsacError, ValueError):
    """An antenna array that cannot be: no elements, wrong shape, not finite."""

    reason = 'bad-array'


class SceneError(NfIsacError, ValueError):
    """
    A scene for which no channel or bound exists.

    Parameters
    ----------
    message : str
        Names the key, the value and what is allowed.
    reason : str
        How diagnostics count it.
    body : str
        Id of the body at fault, or empty.

    """

    def __init__(self, message: str, reason: str = 'bad-scene', body: str = '') -> None:
        super().__init__(message)
        self.reason = reason
        self.body = body


class InfeasibleError(NfIsacError):
    """
    The required SINRs cannot be met with the given power.

    Attributes
    ----------
    max_common_sinr_scale_db : float
        By how much every threshold would have to move to become feasible [dB]; negative.

    """

    reason = 'infeasible-sinr'

    def __init__(self, max_common_sinr_scale_db: float) -> None:
        super().__init__(
            'the required SINRs cannot be met: every threshold would have to move by '
            f'{max_common_sinr_scale_db:.4f} dB')
        self.max_common_sinr_scale_db = max_common_sinr_scale_db


class SolverError(NfIsacError, RuntimeError):
    """A solver ended without a usable point."""

    reason = 'solver-failed'


def failure_text(error: Exception) -> str:
    """Tell why there is no design: a solver that failed, or a scene that the design is not for."""
    reason = getattr(error, 'reason', SolverError.reason)
    return str(error) if reason != SolverError.reason else f'the solver failed: {error}'


class UnsuitableDesignError(SolverError):
    """
    A scene that a design is not made for.

    Parameters
    ----------
    message : str
        Names the key, the value and what is allowed.
    reason : str
        How diagnostics count it: 'too-many-elements', 'extended-target'.

    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
