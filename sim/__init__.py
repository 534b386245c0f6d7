"""The PyBullet world: objects, depth camera, Gymnasium environment, simulator node (import name: mql_sim)."""
