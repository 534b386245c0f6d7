"""How fast things are. Benchmarks, never tests."""
