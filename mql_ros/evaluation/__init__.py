"""How well a policy does: suites of objects, methods, their runs, statistics."""
