"""Meta-Q-Learning (Fakoor et al., ICLR 2020): it knows no ROS, no simulator and no grasping."""
