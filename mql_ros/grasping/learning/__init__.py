"""What grasping adds to the algorithm: search, hindsight labels, symmetries."""
