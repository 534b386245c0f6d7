"""The ROS 2 nodes: messages in, functions of the algorithm and the task, messages out."""
