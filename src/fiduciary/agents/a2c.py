"""Advantage actor-critic: the plain policy gradient on short rollouts (Mnih et al. 2016, section 4, synchronous)."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from fiduciary.agents.nets import MLP, AnyBody, Head
from fiduciary.agents.policies import NetPolicy
from fiduciary.agents.ppo import PPO
from fiduciary.agents.training import Training
from fiduciary.core.types import Env, Watch


@dataclass(frozen=True)
class A2C:
    """PPO with one pass over whole rollouts and nothing clipped is A2C (Huang et al. 2022, arXiv:2205.09123).

    Departs from the paper in the optimiser, Adam instead of RMSprop. Attributes are those of `PPO`.

    Raises:
        ConfigError: an option is out of range.
    """

    net: AnyBody = field(default_factory=lambda: MLP(head=Head((64,), "tanh")))
    updates: int = 5_000
    accounts: int = 64
    steps: int = 5
    gamma: float = 0.99
    trace: float = 1.0
    entropy: float = 0.0
    value_weight: float = 0.5
    normalize: bool = False
    scale_rewards: bool = False
    orthogonal: bool = True
    std: float = 0.5
    sequence: bool = False
    lr: float = 1e-3
    training: Training = field(default_factory=lambda: Training(keep_every=1_000, clip=0.5))

    def __post_init__(self) -> None:
        self.as_ppo()

    def as_ppo(self) -> PPO:
        """The same learner."""
        return PPO(**vars(self), batch=self.accounts * self.steps, epochs=1, clip_ratio=math.inf)

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        return self.as_ppo().fit(env, rng=rng, watch=watch, valid=valid)
