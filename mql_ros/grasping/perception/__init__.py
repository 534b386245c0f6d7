"""What the arm sees: a depth image becomes points, one object's points, and its height map."""
