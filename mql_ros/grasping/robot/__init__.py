"""Which robot: the profile of an arm with its gripper, and the file that it is read from."""
