"""Meta-Q-Learning for robot grasping over ROS 2."""

__version__ = "0.1.0"
