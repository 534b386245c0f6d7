"""The PyBullet world: physics, robot, pictures."""
