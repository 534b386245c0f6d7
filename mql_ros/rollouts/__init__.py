"""Sessions of trials in simulation, by one process or many."""
