"""Frames: poses are taken in the world frame only."""

from __future__ import annotations

from nf_isac_ros.conversions.errors import MessageError


def require_frame(frame: str, world_frame: str, what: str) -> None:
    """
    Refuse a pose that is not given in the world frame.

    Parameters
    ----------
    frame : str
        `header.frame_id` of the pose; a leading slash, as ROS 1 wrote it, is passed over.
    world_frame : str
        Frame of the deployment.
    what : str
        Start of the error text.

    Raises
    ------
    MessageError
        'unknown-frame'.

    """
    if frame.lstrip('/') != world_frame.lstrip('/'):
        raise MessageError(
            f'{what} is in frame {frame!r}, must be in the world frame {world_frame!r}',
            'unknown-frame')
