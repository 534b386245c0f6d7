"""The programs: one file a node."""
