"""Meta-training."""
