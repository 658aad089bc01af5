"""How functions of the core are compiled: once per machine, into a cache, if there is a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar('Function', bound=Callable[..., Any])

# Products may go into sums unrounded, here and there alike.
_FUSED = frozenset({'contract'})
# Sums may be taken in another order, so that they run several elements at a time. NaN and infinity
# keep their meaning.
_REORDERED = frozenset({'reassoc', 'contract', 'nsz'})


def compiled(function: Function) -> Function:
    """
    Compile a short function at its first call.

    It keeps the interpreter lock: to give it away for microseconds can cost milliseconds, until
    the thread that took it hands it back.
    """
    return _compiled(function, error_model='numpy')


def compiled_step(function: Function) -> Function:
    """Compile a part of a step that takes long enough for other threads to run meanwhile."""
    return _compiled(function, error_model='numpy', nogil=True)


def compiled_within(function: Function) -> Function:
    """
    Compile a step as a part of the one function that calls it.

    Numba optimises a function once more in each that calls it; what is large is better compiled
    but once.
    """
    return _compiled(function, error_model='numpy', nogil=True, inline='always')


def compiled_loop(function: Function) -> Function:
    """Compile a loop over the elements of an array; other threads run meanwhile."""
    return _compiled(function, error_model='numpy', nogil=True, fastmath=set(_FUSED))


def compiled_sum(function: Function) -> Function:
    """Compile a loop that adds up over the elements, in whatever order is fastest."""
    return _compiled(function, error_model='numpy', nogil=True, fastmath=set(_REORDERED))


def _compiled(function: Function, **options: Any) -> Function:
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither the folder of the module nor that of the user can be written to.
        return njit(**options)(function)
