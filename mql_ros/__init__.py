"""Meta-Q-Learning for robot grasping with a depth camera, over ROS 2."""

__version__ = "0.1.0"
