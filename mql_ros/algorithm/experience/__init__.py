"""What was experienced: sessions, the replay that holds them, and training batches drawn from it."""
