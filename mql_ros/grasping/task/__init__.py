"""The grasping task: observations, actions, the course of a trial, the reward."""
