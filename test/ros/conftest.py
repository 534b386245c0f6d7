from importlib.util import find_spec

# The message packages come with ROS 2; without it there is nothing to convert.
collect_ignore_glob = [] if find_spec("rclpy") else ["test_*.py"]
