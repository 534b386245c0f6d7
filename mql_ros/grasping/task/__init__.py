"""The grasping task: what is observed and decided, the course of a trial, the reward."""
