"""Reading and writing of rosbag2 recordings; needs no ROS."""
