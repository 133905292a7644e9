"""Twin delayed DDPG: three cures for values that are too good to be true (Fujimoto et al. 2018, arXiv:1802.09477).

    a'     = pi'(s_t) + clamp(N(0, smoothing^2), -clip, clip)         target smoothing
    y      = r_t + gamma d_t min(Q'_1(s_t, a'), Q'_2(s_t, a'))        twin critics
    critics: descend sum_c mean (y - Q_c(s_tm1, a_tm1))^2
    actor  : ascend  mean Q_1(s_tm1, pi(s_tm1)) and move the copies   every `delay` updates

Everything else, departures included, is DDPG's. On the simplex a' is the nearest point to the noisy one.
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
class TD3:
    """Learns a deterministic policy from the smaller of two learned values.

    Attributes are those of `DDPG`, and:
        delay: updates of the critics for each one of the actor and of the frozen networks.
        smoothing: standard deviation of the noise on the action that targets are read at.
        smoothing_clip: the most that it may be, either way.

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
    delay: int = 2
    smoothing: float = 0.2
    smoothing_clip: float = 0.5
    reward_scale: float = 1.0
    lr: float = 1e-3
    training: Training = field(default_factory=unclipped)

    def __post_init__(self) -> None:
        demand_options(self)
        demand_positive(self, "noise", "delay", "smoothing", "smoothing_clip")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        demand_continuous(self, env.spec)
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class _Run(OffPolicy):
    """One fit in progress."""

    def __init__(self, agent: TD3, env: Env[Any], rng: torch.Generator) -> None:
        super().__init__(agent, env, rng, critics=2, delay=agent.delay)
        self.agent = agent

    def explore(self, s: Seen) -> Tensor:
        """What the actor would do, and noise."""
        action = self.action(self.online.outputs(s))
        return nearest(self.spec.space, action + self.agent.noise * self.noise(action))

    def learn(self, now: Batch) -> None:
        """One step of the critics and, when it is due, one of the actor."""
        with torch.no_grad():
            y = ops.min_td_target(now.r_t, now.discount_t, self.frozen.q(now.s_t, self._smoothed(now.s_t)))
        self.descend_critics(now, y)
        if (self.done + 1) % self.agent.delay == 0:
            self.ascend_actor(self.judge(now.s_tm1, self.action(self.online.outputs(now.s_tm1)))[0])
            self.follow()

    def _smoothed(self, s: Seen) -> Tensor:
        """The frozen actor's action [B, A] and a little noise, so that similar actions get similar targets."""
        action, clip = self.action(self.frozen.outputs(s)), self.agent.smoothing_clip
        noise = (self.agent.smoothing * self.noise(action)).clamp(-clip, clip)
        return nearest(self.spec.space, action + noise)
