"""From recordings to a table, what-if comparisons and a report; needs no ROS."""
