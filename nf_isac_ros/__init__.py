"""Near-field integrated sensing and communication for ROS 2: tracked poses in, radio beams out."""

__version__ = '0.1.0'
