"""What there is to grasp: objects by name and from files, and their hidden properties."""
