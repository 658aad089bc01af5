"""
Messages in and out without the interpreter lock.

rclpy keeps the lock while a message is handed to the middleware, or taken from it, and the
middleware may have to wait there: Fast DDS pushes into another process' shared memory under a lock
that all its writers share, and one that is stopped while it holds it makes the others wait for
about a second. Threads that must be on time, like that of a lease, would wait as long. The
functions of rcl that rclpy calls are called through ctypes here, which gives the lock away.
"""

from __future__ import annotations

import ctypes
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.serialization import deserialize_message, serialize_message

OK = 0
# RCL_RET_SUBSCRIPTION_TAKE_FAILED: there is none, or none any more.
TAKE_FAILED = 401


class _Allocator(ctypes.Structure):
    """`rcutils_allocator_t`."""

    _fields_ = [(name, ctypes.c_void_p) for name in (
        'allocate', 'deallocate', 'reallocate', 'zero_allocate', 'state')]


class _Bytes(ctypes.Structure):
    """`rcl_serialized_message_t`, which is `rcutils_uint8_array_t`."""

    _fields_ = [('buffer', ctypes.c_void_p), ('length', ctypes.c_size_t),
                ('capacity', ctypes.c_size_t), ('allocator', _Allocator)]


class _Error(ctypes.Structure):
    """`rcutils_error_string_t`."""

    _fields_ = [('text', ctypes.c_char * 1024)]


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


# Both are in the process already: rclpy is linked to them.
_RCL, _RCUTILS = ctypes.CDLL('librcl.so'), ctypes.CDLL('librcutils.so')
_Data = ctypes.POINTER(_Bytes)
_publish = _function(_RCL, 'rcl_publish_serialized_message', ctypes.c_int,
                     ctypes.c_void_p, _Data, ctypes.c_void_p)
_take = _function(_RCL, 'rcl_take_serialized_message', ctypes.c_int,
                  ctypes.c_void_p, _Data, ctypes.c_void_p, ctypes.c_void_p)
_free = _function(_RCUTILS, 'rcutils_uint8_array_fini', ctypes.c_int, _Data)
_error = _function(_RCUTILS, 'rcutils_get_error_string', _Error)
_reset_error = _function(_RCUTILS, 'rcutils_reset_error', None)
_ALLOCATOR = _function(_RCUTILS, 'rcutils_get_default_allocator', _Allocator)()


def publish(publisher: Any, message: Any) -> None:
    """
    Publish a message, like `publisher.publish`.

    Parameters
    ----------
    publisher : rclpy.publisher.Publisher
        Nothing is published by one of a lifecycle node that is not active.
    message : message
        Of the publisher's type.

    Raises
    ------
    TypeError
        If it is of another type.
    RCLError
        If the middleware refuses it.

    """
    if not isinstance(message, publisher.msg_type):
        raise TypeError(f'message is a {type(message).__name__}, must be a '
                        f'{publisher.msg_type.__name__}')
    if not getattr(publisher, 'is_activated', True):
        return
    data = serialize_message(message)
    content = _Bytes(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), len(data),
                     _ALLOCATOR)
    with publisher.handle:
        _check(_publish(publisher.handle.pointer, content, None), 'publish')


def take(subscription: Any) -> Any | None:
    """
    Take the next message of a subscription.

    Parameters
    ----------
    subscription : rclpy.subscription.Subscription

    Returns
    -------
    message, bytes, or None
        Bytes if the subscription is raw; None if there is no message.

    Raises
    ------
    RCLError
        If the middleware, or the type support, fails.

    """
    content = _Bytes(None, 0, 0, _ALLOCATOR)
    try:
        with subscription.handle:
            result = _take(subscription.handle.pointer, content, None, None)
        if result == TAKE_FAILED:
            _reset_error()
            return None
        _check(result, 'take a message')
        data = ctypes.string_at(content.buffer, content.length)
    finally:
        _free(content)
    return data if subscription.raw else deserialize_message(data, subscription.msg_type)


def _check(result: int, what: str) -> None:
    if result != OK:
        text = _error().text.decode(errors='replace')
        _reset_error()
        raise rclpy_implementation.RCLError(f'failed to {what}: {text}')
