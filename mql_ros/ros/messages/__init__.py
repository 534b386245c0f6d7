"""ROS messages as plain data, and back."""
