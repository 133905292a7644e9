"""Policies and learners; one file per algorithm."""

from fiduciary.agents.a2c import A2C
from fiduciary.agents.allocation_rules import ALLOCATION
from fiduciary.agents.bandits import KLUCB, UCB1, LinThompson, LinUCB, Thompson
from fiduciary.agents.cloning import Cloning
from fiduciary.agents.ddpg import DDPG
from fiduciary.agents.distributional import Distributional
from fiduciary.agents.dqn import DQN
from fiduciary.agents.evolution import CMAES
from fiduciary.agents.exoq import ExoQ
from fiduciary.agents.gorp import GORP
from fiduciary.agents.hindsight import Hindsight
from fiduciary.agents.nets import EIIE, GRU, LSTM, MLP, TCN, Head, Transformer
from fiduciary.agents.pathwise import Pathwise
from fiduciary.agents.policies import NetPolicy, load
from fiduciary.agents.ppo import PPO
from fiduciary.agents.sac import SAC
from fiduciary.agents.sqirl import SQIRL
from fiduciary.agents.td3 import TD3
from fiduciary.agents.timing_rules import TIMING
from fiduciary.agents.training import Training

__all__ = [
    "A2C", "ALLOCATION", "CMAES", "Cloning", "DDPG", "DQN", "Distributional", "EIIE", "ExoQ", "GORP", "GRU", "Head",
    "Hindsight", "KLUCB", "LSTM", "LinThompson", "LinUCB", "MLP", "NetPolicy", "PPO", "Pathwise", "SAC", "SQIRL", "TCN", "TD3",
    "TIMING", "Thompson", "Training", "Transformer", "UCB1", "load",
]  # fmt: skip
