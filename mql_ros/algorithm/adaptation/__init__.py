"""Adapting a policy to a new task: propensity, updates, and how new trials are explored."""
