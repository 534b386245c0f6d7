"""May the arm make this motion? Limits and clearances all along a plan."""
