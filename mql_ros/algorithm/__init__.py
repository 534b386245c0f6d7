"""Meta-Q-Learning (Fakoor et al., ICLR 2020). Knows no ROS, no simulator and no grasping."""
