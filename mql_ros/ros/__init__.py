"""The ROS 2 side: messages in, functions of the other rooms, messages out."""
