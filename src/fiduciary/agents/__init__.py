"""Policies and learners; one file per algorithm."""

from fiduciary.agents.dqn import DQN, QPolicy, load
from fiduciary.agents.nets import LSTM

__all__ = ["DQN", "LSTM", "QPolicy", "load"]
