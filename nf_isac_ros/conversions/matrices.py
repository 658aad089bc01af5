"""Complex matrices as one float32[]: interleaved re, im, column major."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.conversions.errors import MessageError


def pack(matrix: NDArray[np.complexfloating]) -> array.array[float]:
    """
    Flatten a matrix for a message field.

    Parameters
    ----------
    matrix : ndarray, shape (N, K) or (N,)
        Complex.

    Returns
    -------
    array.array
        Type code 'f', 2 N K values. A message setter takes such an array as it is; a list or a
        numpy array it would walk through element by element, which takes a hundred times longer.

    """
    columns = np.asarray(matrix, dtype=np.complex64).ravel(order='F')
    return array.array('f', columns.view(np.float32).tobytes())


def unpack(field: Sequence[float] | NDArray[np.float32], rows: int,
           columns: int) -> NDArray[np.complex64]:
    """
    View a message field as a matrix, without copying it.

    Parameters
    ----------
    field : array.array or ndarray of float32
        As `pack` makes it.
    rows, columns : int
        Shape that the message states.

    Returns
    -------
    ndarray, shape (rows, columns)
        Read it only; it shares memory with the message.

    Raises
    ------
    MessageError
        If the field has another length ('bad-shape').

    """
    if len(field) != 2 * rows * columns:
        raise MessageError(
            f'matrix field has {len(field)} values, must have 2 x {rows} x {columns} = '
            f'{2 * rows * columns}', 'bad-shape')
    if not len(field):
        return np.zeros((rows, columns), np.complex64)
    values = np.frombuffer(field, dtype=np.float32)   # type: ignore[call-overload]
    return values.view(np.complex64).reshape((rows, columns), order='F')
