"""Measurements from the arm driver, frames, commands, and permission to move."""
