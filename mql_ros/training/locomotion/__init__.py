"""The published locomotion benchmarks of Meta-Q-Learning, on the same algorithm code as grasping."""
