"""ROS 2 nodes: parameters, QoS, callbacks and timers; no mathematics."""
