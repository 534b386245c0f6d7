"""Measurements from the arm driver, commands to it, and permission to move."""
