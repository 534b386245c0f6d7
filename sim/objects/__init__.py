"""What there is to grasp."""
