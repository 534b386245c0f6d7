"""What is heard from the arm driver, what it is told, and whether the arm may move."""
