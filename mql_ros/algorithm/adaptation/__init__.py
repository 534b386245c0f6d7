"""Adapting a policy to a new task: propensity of old data, and updates on new and old."""
