"""Meta-training on grasping."""
