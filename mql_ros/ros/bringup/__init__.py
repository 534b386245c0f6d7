"""Starting the graph, talking to it, and checking a driver."""
