"""What every node stands on: life cycle, parameters, service calls, child processes."""
