"""Sessions of trials in policy_server: views, decisions, rewards, contexts and policy changes in their order."""
