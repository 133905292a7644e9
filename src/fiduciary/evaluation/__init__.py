"""Judges: rollout, splits, metrics, inference. A judge never learns and never imports an agent."""
