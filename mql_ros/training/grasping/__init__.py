"""Meta-training on grasping: rounds of collecting, training and validation."""
