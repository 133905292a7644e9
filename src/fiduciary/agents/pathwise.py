"""Pathwise: the gradient of any utility of wealth, taken straight through the simulator.

`Env.step` is differentiable in continuous actions, so a policy w_t = pi(h_t, account_t) is trained by ascending

    J = U(R_1, ..., R_H)        R_t = W_t / W_tm1 - 1 along paths of H bars of many accounts

with the exact gradient dJ/dtheta, costs and drift included: no value function, no exploration (Moody and Saffell 1998,
"Performance functions and reinforcement learning for trading systems"; Buehler et al. 2019, "Deep hedging"). Bars are
encoded once per update, outside the loop over time. Accounts go on from where the last update left them; the gradient
ends there, or every `truncate` bars.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fiduciary.agents import ops
from fiduciary.agents.nets import LSTM, AnyBody, Net
from fiduciary.agents.policies import NetPolicy, Rule, softmax, squash
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, train
from fiduciary.core import trees
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Policy, Watch

Utility = Literal["log", "mean-variance", "cvar", "sharpe", "reward"]
PRIOR_VARIANCE = 1e-4
"""Moments of the differential Sharpe ratio start from no mean and 1 % a bar."""


@dataclass(frozen=True)
class Pathwise:
    """Learns weights by following the gradient of a utility through the environment.

    Attributes:
        net: description of the network.
        utility: "log", expected log growth of wealth a bar; "mean-variance", mean return a bar less half `risk_aversion`
            times its variance; "cvar", mean log growth over the worst share `tail` of the paths, a bar; "sharpe", the
            differential Sharpe ratio, whose moments decay by `forget` a bar; "reward", mean reward a bar, of problems whose
            reward is the utility: paths should then be whole episodes, since nothing stands for what comes after them.
        risk_aversion: of "mean-variance".
        tail: share of the paths of "cvar", in (0, 1].
        forget: eta of the differential Sharpe ratio.
        updates: gradient steps.
        accounts: paths side by side.
        horizon: H, bars of a path.
        truncate: bars after which the gradient through the account is cut; 0 = not within a path.
        checkpoint: recompute each step in the backward pass instead of keeping it: memory for time, on long paths.
        sequence: encode each path in one pass of a recurrent body, not a window for every bar.
        lr: Adam's learning rate.
        training: checkpoints, validation, schedule, clipping.

    Raises:
        ConfigError: an option is out of range; at `fit`, actions are not continuous or no gradient comes through `step`.
    """

    net: AnyBody = field(default_factory=lambda: LSTM(32, 16))
    utility: Utility = "log"
    risk_aversion: float = 1.0
    tail: float = 0.1
    forget: float = 0.01
    updates: int = 200
    accounts: int = 64
    horizon: int = 16
    truncate: int = 0
    checkpoint: bool = False
    sequence: bool = True
    lr: float = 1e-2
    training: Training = field(default_factory=lambda: Training(validate_every=20, clip=1.0))

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "accounts", "horizon", "lr", "tail", "forget")
        demand_share(self, "tail", "forget")
        if self.utility not in get_args(Utility):
            raise ConfigError(f"`utility` must be one of {', '.join(get_args(Utility))}", repr(self.utility))
        if self.truncate < 0 or self.risk_aversion < 0:
            what = f"{self.truncate}, {self.risk_aversion}"
            raise ConfigError("`truncate` and `risk_aversion` must not be negative", what)

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`, whose step must be differentiable in the action; see `training.train`."""
        if env.spec.space == "discrete":
            raise ConfigError(
                "Pathwise needs continuous actions", f"{env.spec.name} with actions {', '.join(env.spec.actions)}",
                remedy="use PortfolioWeights, or DQN, PPO or ExoQ here",
            )  # fmt: skip
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid, goal=self.utility_on)

    @torch.no_grad()
    def utility_on(self, env: Env[Any], policy: Policy, *, device: torch.device) -> float:
        """The utility of 16 whole episodes of the greedy policy: what validation looks at."""
        state, carry = env.init(16, torch.Generator(device).manual_seed(0)), None
        wealth, rewards, alive = [env.wealth(state)], [], [torch.ones(16, dtype=torch.bool, device=device)]
        while alive[-1].any():
            action, carry = policy.act(env.observe(state), carry, None)
            state, step = env.step(state, action)
            wealth.append(env.wealth(state))
            rewards.append(step.reward)
            alive.append(alive[-1] & ~step.last)
        moments = _prior_moments(16, torch.device(device))
        return float(_utility(self, torch.stack(wealth), torch.stack(rewards), torch.stack(alive[:-1]), moments)[0])


class _Run:
    """One fit in progress."""

    def __init__(self, agent: Pathwise, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.env, self.rng, self.spec, self.done = agent, env, rng, env.spec, 0
        self.rule: Rule = softmax if env.spec.space == "simplex" else squash
        self.net: Net = build(lambda: agent.net.build(env.spec, len(env.spec.actions)), rng)
        self.optimiser = Optimiser(self.net, agent.lr, agent.training, updates=agent.updates)
        self.present = env.init(agent.accounts, rng)
        self.moments = self._fresh = _prior_moments(agent.accounts, rng.device)
        self.means = Means()

    @property
    def steps(self) -> int:
        """Account-steps so far."""
        return self.done * self.agent.accounts * self.agent.horizon

    def advance(self) -> None:
        """One path of every account and one step up the gradient of its utility."""
        start = self.env.wealth(self.present)
        h = self._encode(self.env.observe(self.present))
        state, wealth, rewards, alive = self.present, [start], [], []
        ended = torch.zeros_like(start, dtype=torch.bool)
        for k in range(self.agent.horizon):
            if self.agent.truncate and k and k % self.agent.truncate == 0:
                state = trees.rebuild(state, [leaf.detach() for leaf in trees.leaves(state)])
            alive.append(~ended)
            state, reward, last = self._step(state, h[:, k])
            wealth.append(self.env.wealth(state))
            rewards.append(reward)
            ended = ended | last
        paths = torch.stack(wealth), torch.stack(rewards), torch.stack(alive)
        utility, self.moments = _utility(self.agent, *paths, self.moments)
        if not utility.requires_grad:
            raise ConfigError(
                "Pathwise needs an environment whose step is differentiable in the action", self.spec.name,
                remedy="use PortfolioWeights, or PPO, SAC or TD3 here",
            )  # fmt: skip
        self.optimiser.step(-utility, features=h.detach(), wealth=paths[0].detach())
        self.means.add(utility=utility)
        self.present = trees.rebuild(state, [leaf.detach() for leaf in trees.leaves(state)])
        if ended.any():
            fresh = self.env.init(self.agent.accounts, self.rng)
            self.present = trees.where(ended, fresh, self.present)
            self.moments = torch.where(ended, self._fresh, self.moments)

    def _encode(self, obs: Obs) -> Tensor:
        """Encodings [B, H, size] of the bars that each account is about to see; accounts that end early ignore theirs."""
        world, horizon = obs.world, self.agent.horizon
        ahead = torch.arange(horizon, device=world.bar.device)
        if self.agent.sequence:
            lead = torch.arange(1 - world.length, horizon, device=world.bar.device)
            bars = (world.bar.unsqueeze(-1) + lead).clamp(max=len(world.bars) - 1)
            return self.net.stretch(world.bars[bars], world.length)
        bars = (world.bar.unsqueeze(-1) + ahead).clamp(max=len(world.bars) - 1)
        each, place = torch.unique(bars, return_inverse=True)
        return self.net.encode(world._replace(bar=each).window())[place]

    def _step(self, state: Any, h: Tensor) -> tuple[Any, Tensor, Tensor]:
        if self.agent.checkpoint:
            leaves, reward, last = checkpoint(self._bar, state, h, *trees.leaves(state), use_reentrant=False)
        else:
            leaves, reward, last = self._bar(state, h, *trees.leaves(state))
        return trees.rebuild(state, leaves), reward, last

    def _bar(self, like: Any, h: Tensor, *leaves: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """One bar from the state with these leaves; returns the next one's, the reward and which accounts ended."""
        state = trees.rebuild(like, list(leaves))
        obs = self.env.observe(state)
        after, step = self.env.step(state, self.rule(self.net.head(h, obs.account), obs, None))
        return trees.leaves(after), step.reward, step.last

    def figures(self) -> dict[str, float]:
        """Mean utility since the last call."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """The weights of the network, as they are."""
        return NetPolicy(self.net, self.spec, self.agent.net, self.rule, len(self.spec.actions))

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "net": self.net.state_dict(), "optimiser": self.optimiser.state(), "means": self.means.state(),
            "present": trees.leaves(self.present), "moments": self.moments, "rng": self.rng.get_state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load(state["optimiser"])
        self.means.load(state["means"])
        self.present = trees.rebuild(self.present, state["present"])
        self.moments = state["moments"]
        self.rng.set_state(state["rng"])


def _prior_moments(accounts: int, device: torch.device) -> Tensor:
    mean = torch.zeros(accounts, dtype=torch.float64, device=device)
    return torch.stack((mean, mean + PRIOR_VARIANCE))


def _utility(agent: Pathwise, wealth: Tensor, rewards: Tensor, alive: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
    """Utility of wealth [T+1, B] or rewards [T, B], and the moments after it; `alive` [T, B] marks steps that were taken."""
    before, taken = wealth[:-1], alive.sum()
    if agent.utility == "reward":
        return torch.where(alive, rewards, 0.0).sum() / taken, moments
    r = torch.where(alive, wealth[1:] / torch.where(before > 0, before, 1.0) - 1.0, 0.0)
    growth = torch.log1p(r.clamp(min=-0.999999))
    if agent.utility == "log":
        return growth.sum() / taken, moments
    if agent.utility == "mean-variance":
        mean = r.sum() / taken
        return mean - 0.5 * agent.risk_aversion * (torch.where(alive, r - mean, 0.0) ** 2).sum() / taken, moments
    if agent.utility == "cvar":
        paths = torch.cat([part.sum(0) for part in growth.split(agent.horizon)])
        return ops.worst_mean(paths, agent.tail) / agent.horizon, moments
    return ops.differential_sharpe(r, moments, agent.forget, alive)
