"""Does the driver of an arm do what is expected of it? Checks and their report."""
