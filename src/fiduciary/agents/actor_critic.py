"""What DDPG, TD3 and SAC share: an actor and its critics, their slow copies, and a replay to learn from off policy.

Continuous actions only. An actor's outputs become an action by tanh (box) or softmax (simplex); a critic reads the action
beside the account. Replay holds indices of bars; every distinct bar of a batch is gathered and encoded once per network.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from fiduciary.agents import ops
from fiduciary.agents.accounts import Accounts
from fiduciary.agents.nets import AnyBody, Ensemble, Net, encode_once
from fiduciary.agents.policies import NetPolicy, Rule, softmax, squash
from fiduciary.agents.replay import Replay, Transitions
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share
from fiduciary.core.checks import random_action
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Space, Spec, View


@dataclass(frozen=True, match_args=False)
class Options(Protocol):
    """The options that all three have; described at `DDPG`."""

    net: AnyBody
    updates: int
    accounts: int
    updates_per_step: int
    batch: int
    replay: int
    warm_up: int
    gamma: float
    tau: float
    reward_scale: float
    lr: float
    training: Training


def unclipped() -> Training:
    """Gradients as they are, as in all three papers: critics of large rewards learn worse under the usual bound of 10."""
    return Training(clip=1e9)


def demand_options(agent: Options) -> None:
    """Raise a ConfigError where a shared option is out of range."""
    positive = ("updates", "accounts", "updates_per_step", "batch", "replay", "warm_up", "reward_scale", "lr", "tau")
    demand_positive(agent, *positive)
    demand_share(agent, "gamma", "tau")
    if max(agent.accounts, agent.warm_up) > agent.replay - agent.replay % agent.accounts:
        raise ConfigError(
            "`warm_up` must fit into `replay`, in whole steps of `accounts`", f"{agent.warm_up} > {agent.replay}"
        )


def demand_continuous(agent: object, spec: Spec) -> None:
    """Raise a ConfigError where actions are discrete."""
    if spec.space == "discrete":
        raise ConfigError(
            f"{type(agent).__name__} needs continuous actions", f"{spec.name} with actions {', '.join(spec.actions)}",
            remedy="use PortfolioWeights, or DQN, PPO or ExoQ here",
        )  # fmt: skip


def nearest(space: Space, x: Tensor) -> Tensor:
    """The point of the action space nearest to `x` [B, A]: cut off at the walls of a box, or projected onto the simplex."""
    return x.clamp(-1.0, 1.0) if space == "box" else ops.project_simplex(x)


class Seen(NamedTuple):
    """What networks read of B accounts at one time: an `Obs` without what is legal."""

    world: View
    account: Tensor


class Batch(NamedTuple):
    """B transitions from t-1 to t, as losses read them.

    Attributes:
        s_tm1, s_t: what was seen before and after.
        a_tm1: [B, A] float32.
        r_t: [B] float32, times `reward_scale`.
        discount_t: [B] float32: gamma, or 0 where the step terminated.
    """

    s_tm1: Seen
    a_tm1: Tensor
    r_t: Tensor
    discount_t: Tensor
    s_t: Seen


class ActorCritic(nn.Module):
    """Networks of one description: an actor and C critics."""

    critic: Net
    actor: Net

    def __init__(self, body: AnyBody, spec: Spec, *, outputs: int, critics: int) -> None:
        super().__init__()
        self.actor = body.build(spec, outputs)
        several = body if critics == 1 else Ensemble(body, critics)
        self.critic = several.build(spec, 1, extra=len(spec.actions))

    def outputs(self, s: Seen) -> Tensor:
        """What the actor says, [B, O]."""
        return self.actor.read(s.world, s.account)

    def q(self, s: Seen, action: Tensor) -> Tensor:
        """Values [C, B] of actions [B, A]."""
        joined = torch.cat((s.account, action), dim=-1)
        return self.critic.members(encode_once(self.critic, s.world), joined).squeeze(-1)


class OffPolicy(ABC):
    """One fit in progress. An algorithm says how to `explore` and what to `learn` from a batch; see `training.Learning`.

    Args:
        agent: options.
        env: problem.
        rng: source of all randomness.
        outputs: numbers that the actor gives for each component of an action.
        critics: C.
        delay: updates of the critics for each one of the actor.
    """

    def __init__(
        self, agent: Options, env: Env[Any], rng: torch.Generator, *, outputs: int = 1, critics: int, delay: int = 1
    ) -> None:
        self.options, self.rng, self.spec, self.done = agent, rng, env.spec, 0
        self.rule: Rule = softmax if env.spec.space == "simplex" else squash
        self.width = outputs * len(env.spec.actions)
        self.online, self.frozen = (build(lambda: self._nets(critics), rng) for _ in range(2))
        self.frozen.load_state_dict(self.online.state_dict())
        self.frozen.requires_grad_(False)
        # Walking through modules costs as much as their arithmetic in small networks, so it is done once.
        self.judges = list(self.online.critic.parameters())
        self.leading: list[Tensor] = list(self.online.parameters())
        self.following: list[Tensor] = list(self.frozen.parameters())
        how, updates = agent.training, agent.updates
        self.optimisers = {
            "critic": Optimiser(self.online.critic, agent.lr, how, updates=updates),
            "actor": Optimiser(self.online.actor, agent.lr, how, updates=math.ceil(updates / delay)),
        }
        self.replay = Replay(agent.replay, accounts=agent.accounts)
        self.accounts = Accounts(env, agent.accounts, rng, compiled=agent.training.compiled)
        self.means = Means()

    def _nets(self, critics: int) -> ActorCritic:
        return ActorCritic(self.options.net, self.spec, outputs=self.width, critics=critics)

    # --- what an algorithm says --------------------------------------------------------------------------------------

    @abstractmethod
    def explore(self, s: Seen) -> Tensor:
        """Actions [B, A] that gather experience."""

    @abstractmethod
    def learn(self, now: Batch) -> None:
        """One update."""

    # --- pieces ------------------------------------------------------------------------------------------------------

    def action(self, outputs: Tensor) -> Tensor:
        """tanh or softmax of scores [..., A]."""
        return outputs.tanh() if self.spec.space == "box" else outputs.softmax(-1)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape of `like`."""
        return torch.randn(like.shape, generator=self.rng, device=like.device, dtype=like.dtype)

    def descend_critics(self, now: Batch, y: Tensor) -> None:
        """One step of all critics towards `y` [B]."""
        with self.options.training.precision(y.device):
            q_tm1 = self.online.q(now.s_tm1, now.a_tm1)
            loss = ops.critics_loss(q_tm1, y)
        seen = {"account": now.s_tm1.account, "reward": now.r_t, "target": y, "q": q_tm1.detach()}
        self.optimisers["critic"].step(loss, **seen)
        self.means.add(loss=loss)

    def ascend_actor(self, objective: Tensor) -> None:
        """One step of the actor up the mean of `objective` [B]."""
        value = objective.mean()
        self.optimisers["actor"].step(-value)
        self.means.add(objective=value)

    def judge(self, s: Seen, action: Tensor) -> Tensor:
        """As `online.q`, [C, B], with a gradient for the action and none for the critics."""
        for parameter in self.judges:
            parameter.requires_grad_(False)
        q = self.online.q(s, action)
        for parameter in self.judges:
            parameter.requires_grad_(True)
        return q

    @torch.no_grad()
    def follow(self) -> None:
        """theta' <- (1 - tau) theta' + tau theta (Lillicrap et al. 2016, algorithm 1)."""
        torch._foreach_lerp_(self.following, self.leading, self.options.tau)

    # --- the loop ----------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.accounts.steps

    def advance(self) -> None:
        """One update, after a step of all accounts where one is due, or several until the replay is warm."""
        if self.done % self.options.updates_per_step == 0:
            while self.accounts.steps < self.options.warm_up:
                self._collect(random_action(self.spec.space, self.accounts.obs.legal, self.rng).float())
            with torch.no_grad():
                obs = self.accounts.obs
                action = self.explore(Seen(obs.world, obs.account))
            self._collect(action)
        self.learn(self._batch(self.replay.sample(self.options.batch, self.rng)))

    def _collect(self, action: Tensor) -> None:
        obs = self.accounts.obs
        step, after = self.accounts.step(action)
        outcome = (step.reward.float(), step.discount.float(), after.world.bar, after.account, after.legal)
        self.replay.add(Transitions(obs.world.bar, obs.account, action, *outcome))
        self.means.add(reward=step.reward.mean())

    def _batch(self, drawn: Transitions) -> Batch:
        world: View = self.accounts.obs.world
        before, after = world._replace(bar=drawn.bar_tm1), world._replace(bar=drawn.bar_t)
        r_t, discount_t = self.options.reward_scale * drawn.r_t, self.options.gamma * drawn.discount_t
        s_tm1, s_t = Seen(before, drawn.account_tm1), Seen(after, drawn.account_t)
        return Batch(s_tm1, drawn.a_tm1, r_t, discount_t, s_t)

    # --- the rest of the contract ------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Means since the last call: loss of the critics, what the actor ascends, training reward."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """The actor without exploration."""
        return NetPolicy(self.online.actor, self.spec, self.options.net, self.rule, self.width)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "online": self.online.state_dict(), "frozen": self.frozen.state_dict(),
            "optimisers": {name: optimiser.state() for name, optimiser in self.optimisers.items()},
            "replay": self.replay.state(), "accounts": self.accounts.state(), "means": self.means.state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        for part in ("online", "frozen"):
            getattr(self, part).load_state_dict(state[part])
        for name, optimiser in self.optimisers.items():
            optimiser.load(state["optimisers"][name])
        for part in ("replay", "accounts", "means"):
            getattr(self, part).load(state[part])
