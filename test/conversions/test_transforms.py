"""Static transforms of the arrays."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='nf_isac_msgs is not built')

from nf_isac_ros.conversions.transforms import array_transforms  # noqa: E402
from nf_isac_ros.core.arrays import AntennaArray, Pose, linear_elements  # noqa: E402


def test_each_array_once_from_the_world_frame():
    pose = Pose(np.array([1.0, 2.0, 3.0]), (0.0, 0.0, 0.6, 0.8))
    array = AntennaArray(linear_elements(4, 0.005), pose, 'transmit_array')
    transform, = array_transforms([array, array], 'map', 12.5)
    assert (transform.header.frame_id, transform.child_frame_id) == ('map', 'transmit_array')
    assert (transform.header.stamp.sec, transform.header.stamp.nanosec) == (12, 500_000_000)
    moved, turned = transform.transform.translation, transform.transform.rotation
    assert (moved.x, moved.y, moved.z) == (1.0, 2.0, 3.0)
    assert (turned.x, turned.y, turned.z, turned.w) == (0.0, 0.0, 0.6, 0.8)
    other = AntennaArray(linear_elements(4, 0.005), name='receive_array')
    assert [t.child_frame_id for t in array_transforms([array, other], 'map', 0.0)] == [
        'transmit_array', 'receive_array']
