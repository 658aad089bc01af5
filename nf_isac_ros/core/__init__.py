"""Mathematics of the beams: numpy, scipy and solvers; no ROS, no plotting, no wall clock."""
