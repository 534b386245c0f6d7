"""The grasping task, shared by training and by the nodes: no ROS, no simulator."""
