"""The simulator behind the topics of an arm driver."""
