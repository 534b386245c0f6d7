"""Sessions of trials in policy_server: decisions, rewards, contexts and policy changes in their order."""
