"""How well a policy does: methods, their runs, statistics."""
