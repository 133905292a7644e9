"""Soft actor-critic: earn as much as possible while staying as random as that allows (Haarnoja et al. 2018a, b).

    a_t    ~ pi(. | s_t)
    y      = r_t + gamma d_t (min_c Q'_c(s_t, a_t) - alpha log pi(a_t | s_t))
    critics: descend sum_c mean (y - Q_c(s_tm1, a_tm1))^2
    actor  : ascend  mean (min_c Q_c(s_tm1, a) - alpha log pi(a | s_tm1)),  a ~ pi(. | s_tm1) reparametrised
    alpha  : descend -log alpha mean (log pi + target entropy)

2018a: arXiv:1801.01290; 2018b: arXiv:1812.05905, with the automatic temperature. In a box a = tanh(u), on the simplex a =
softmax(u), u a diagonal Gaussian: the squashed Gaussian of the paper and the logistic normal, each with its exact density in
the action space. The finished policy takes u at its mean.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fiduciary.agents import ops
from fiduciary.agents.actor_critic import Batch, OffPolicy, Seen, demand_continuous, demand_options, unclipped
from fiduciary.agents.nets import MLP, AnyBody
from fiduciary.agents.policies import NetPolicy
from fiduciary.agents.training import Optimiser, Training, build, demand_positive, train
from fiduciary.core.types import Env, Spec, Watch

LOG_STD = (-20.0, 2.0)
"""Bounds of the logarithm of the Gaussian's spread."""


@dataclass(frozen=True)
class SAC:
    """Learns a stochastic policy whose entropy is held at a target.

    Attributes are those of `DDPG` but for `noise`, and:
        temperature: alpha at the start, reward (scaled) per nat.
        entropy: target in nats; None = 1 + log 2 nats below the uniform policy for each free component, which is the -A of
            the paper in a box, and -(1 + log 2) (A - 1) - log (A - 1)! on the simplex. Lower = closer to a corner.

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
    temperature: float = 1.0
    entropy: float | None = None
    reward_scale: float = 1.0
    lr: float = 1e-3
    training: Training = field(default_factory=unclipped)

    def __post_init__(self) -> None:
        demand_options(self)
        demand_positive(self, "temperature")

    def target(self, spec: Spec) -> float:
        """Target entropy, nats."""
        if self.entropy is not None:
            return self.entropy
        a = len(spec.actions)
        return -float(a) if spec.space == "box" else -(1.0 + math.log(2.0)) * (a - 1) - math.lgamma(a)

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        demand_continuous(self, env.spec)
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class Draw(NamedTuple):
    """Actions drawn from the policy.

    Attributes:
        action: [B, A], differentiable in the actor.
        log_prob: [B] logarithm of its density.
    """

    action: Tensor
    log_prob: Tensor


class Temperature(nn.Module):
    """alpha, learned by its logarithm."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))

    @property
    def alpha(self) -> Tensor:
        """Without gradient; scalar."""
        return self.log_alpha.detach().exp()


class _Run(OffPolicy):
    """One fit in progress."""

    def __init__(self, agent: SAC, env: Env[Any], rng: torch.Generator) -> None:
        super().__init__(agent, env, rng, outputs=2, critics=2)
        self.agent, self.target = agent, agent.target(env.spec)
        self.temperature = build(lambda: Temperature(agent.temperature), rng)
        self.optimisers["temperature"] = Optimiser(self.temperature, agent.lr, agent.training, updates=agent.updates)

    def explore(self, s: Seen) -> Tensor:
        """A draw from the policy."""
        return self.draw(s).action

    def learn(self, now: Batch) -> None:
        """One step of the critics, of the actor and of the temperature."""
        alpha = self.temperature.alpha
        with torch.no_grad():
            then = self.draw(now.s_t)
            q_t = self.frozen.q(now.s_t, then.action)
            y = ops.soft_td_target(now.r_t, now.discount_t, q_t, then.log_prob, alpha)
        self.descend_critics(now, y)
        drawn = self.draw(now.s_tm1)
        self.ascend_actor(self.judge(now.s_tm1, drawn.action).amin(0) - alpha * drawn.log_prob)
        loss = ops.temperature_loss(self.temperature.log_alpha, drawn.log_prob, self.target)
        self.optimisers["temperature"].step(loss)
        self.follow()
        self.means.add(alpha=alpha, entropy=-drawn.log_prob.mean())

    def draw(self, s: Seen) -> Draw:
        """Actions of the present policy."""
        mean, log_std = self.online.outputs(s).chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD)
        u = mean + log_std.exp() * self.noise(mean)
        density = ops.squashed_log_prob if self.spec.space == "box" else ops.logistic_normal_log_prob
        return Draw(self.action(u), density(u, mean, log_std))

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {**super().state(), "temperature": self.temperature.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        super().load(state)
        self.temperature.load_state_dict(state["temperature"])
