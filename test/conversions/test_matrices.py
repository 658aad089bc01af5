"""Complex matrices on the wire."""

from __future__ import annotations

import array
import struct

import numpy as np
import pytest

from nf_isac_ros.conversions.errors import MessageError
from nf_isac_ros.conversions.matrices import pack, unpack


def test_order_is_column_major_with_re_and_im_interleaved():
    matrix = np.array([[1 + 2j, 5 + 6j], [3 + 4j, 7 + 8j]])
    packed = pack(matrix)
    assert isinstance(packed, array.array)
    assert packed.typecode == 'f'
    assert list(packed) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert packed.tobytes() == struct.pack('<8f', *range(1, 9))


@pytest.mark.parametrize('shape', [(1, 1), (5, 3), (3, 5), (4, 0)])
@pytest.mark.parametrize('container', [lambda x: x, np.array], ids=['array', 'numpy'])
def test_round_trip(shape, container):
    rng = np.random.default_rng(3)
    matrix = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    np.testing.assert_array_equal(unpack(container(pack(matrix)), *shape), matrix)


def test_reading_copies_nothing():
    field = pack(np.zeros((2, 2)))
    view = unpack(field, 2, 2)
    field[2] = 9.0
    assert view[1, 0] == 9.0


@pytest.mark.parametrize('length', [0, 7, 9, 16])
def test_wrong_length_is_refused(length):
    with pytest.raises(MessageError, match='must have 2 x 2 x 2 = 8') as caught:
        unpack(array.array('f', [0.0] * length), 2, 2)
    assert caught.value.reason == 'bad-shape'
