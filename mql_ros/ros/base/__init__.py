"""The base of every node: life cycle, parameters, qualities of service, service calls, child processes."""
