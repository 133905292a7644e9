"""Deep deterministic policy gradient: climb the critic's slope in the action (Lillicrap et al. 2016, arXiv:1509.02971).

    y      = r_t + gamma d_t Q'(s_t, pi'(s_t))
    critic : descend mean (y - Q(s_tm1, a_tm1))^2
    actor  : ascend  mean Q(s_tm1, pi(s_tm1))
    copies : theta' <- (1 - tau) theta' + tau theta

Departures: exploration by Gaussian noise without memory instead of Ornstein-Uhlenbeck's, as later work found enough (Fujimoto
et al. 2018, section 6.1); many accounts side by side; no batch normalisation, no weight decay.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fiduciary.agents import ops
from fiduciary.agents.actor_critic import Batch, OffPolicy, Seen, demand_continuous, demand_options, nearest, unclipped
from fiduciary.agents.nets import MLP, AnyBody
from fiduciary.agents.policies import NetPolicy
from fiduciary.agents.training import Training, demand_positive, train
from fiduciary.core.types import Env, Watch


@dataclass(frozen=True)
class DDPG:
    """Learns a deterministic policy from the gradient of a learned value.

    Attributes:
        net: description of the actor and of the critic.
        updates: gradient steps.
        accounts: accounts that step side by side.
        updates_per_step: gradient steps for each step of all accounts; `accounts` = one for each environment step.
        batch: transitions per update.
        replay: capacity, in transitions.
        warm_up: transitions under random actions before the first update.
        gamma: discount per bar.
        tau: share of the way that the frozen networks go towards the learned ones in every update.
        noise: standard deviation of what is added to an action to explore. The sum is cut off at the walls of a box, or
            projected onto the simplex.
        reward_scale: factor on rewards; daily returns are of the order 0.01 where critics like 1.
        lr: Adam's learning rate.
        training: checkpoints, validation, schedule, clipping (none by default here).

    Raises:
        ConfigError: an option is out of range; at `fit`, actions are not continuous.
    """

    net: AnyBody = field(default_factory=MLP)
    updates: int = 5_000
    accounts: int = 16
    updates_per_step: int = 1
    batch: int = 128
    replay: int = 200_000
    warm_up: int = 1_000
    gamma: float = 0.99
    tau: float = 0.005
    noise: float = 0.1
    reward_scale: float = 1.0
    lr: float = 1e-3
    training: Training = field(default_factory=unclipped)

    def __post_init__(self) -> None:
        demand_options(self)
        demand_positive(self, "noise")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        demand_continuous(self, env.spec)
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class _Run(OffPolicy):
    """One fit in progress."""

    def __init__(self, agent: DDPG, env: Env[Any], rng: torch.Generator) -> None:
        super().__init__(agent, env, rng, critics=1)
        self.agent = agent

    def explore(self, s: Seen) -> Tensor:
        """What the actor would do, and noise."""
        action = self.action(self.online.outputs(s))
        return nearest(self.spec.space, action + self.agent.noise * self.noise(action))

    def learn(self, now: Batch) -> None:
        """One step of the critic and one of the actor."""
        with torch.no_grad():
            a_t = self.action(self.frozen.outputs(now.s_t))
            y = ops.min_td_target(now.r_t, now.discount_t, self.frozen.q(now.s_t, a_t))
        self.descend_critics(now, y)
        self.ascend_actor(self.judge(now.s_tm1, self.action(self.online.outputs(now.s_tm1)))[0])
        self.follow()
