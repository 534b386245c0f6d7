"""The simulator behind the topics of arm and camera drivers."""
