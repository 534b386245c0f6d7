"""The course of a session of trials in the policy server."""
