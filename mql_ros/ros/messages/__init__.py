"""What is in a message: conversions between ROS messages and plain data."""
