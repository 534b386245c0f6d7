"""Starting the graph, a client for it, and the check of a driver."""
