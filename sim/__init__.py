"""The PyBullet world, its objects, the Gymnasium environment and the simulator node (import name: mql_sim)."""
