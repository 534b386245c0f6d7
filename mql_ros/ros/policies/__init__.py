"""Which policy is in force, the history that it is conditioned on, and its adaptation."""
