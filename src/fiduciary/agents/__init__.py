"""Policies and learners; one file per algorithm."""

from fiduciary.agents.dqn import DQN
from fiduciary.agents.nets import EIIE, GRU, LSTM, MLP, TCN, Head, Transformer
from fiduciary.agents.policies import NetPolicy, load
from fiduciary.agents.training import Training

__all__ = ["DQN", "EIIE", "GRU", "Head", "LSTM", "MLP", "NetPolicy", "TCN", "Training", "Transformer", "load"]
