"""The grasping policy: candidate grasps, networks, choice among proposals, and ways to grasp without learning."""
