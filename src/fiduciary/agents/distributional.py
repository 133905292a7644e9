"""Distributional Q-learning with stock augmentation: one network that serves every risk level.

The network learns the quantiles z_1..z_N of the return G from (state, stock c, action) and acts for a utility f of c + G:

    a*(s, c) = argmax_a mean_i f(c + z_i(s, c, a))
    y_j      = r + gamma z_j(s', c', a*(s', c')),   c' = (c + r) / gamma        by quantile regression on y

(Bellemare et al. 2025, arXiv 2501.13028, section 6, the agent D-eta-N; card 4.24). With f(x) = min(x, 0) the policy that
starts from c_0 = -b maximises E[(G - b)_-], and the tail mean of level tau is reached by the best b:

    CVaR_tau = max_b { b + E[(G - b)_-] / tau }          Rockafellar and Uryasev 2000

so one training serves every tau; `StockAugmented.serve` chooses b by simulation, since N quantiles blur rare outcomes. The
stock is the account's own arithmetic, so each replayed transition is also true of any other stock: `relabel` draws stocks
anew for every update.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fiduciary.agents import ops, policies
from fiduciary.agents.accounts import Accounts
from fiduciary.agents.nets import MLP, AnyBody, Encodings, Head, Net
from fiduciary.agents.policies import NetPolicy
from fiduciary.agents.replay import Replay, Transitions
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, totals, train
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Policy, Watch

Utility = Literal["shortfall", "target"]


@dataclass(frozen=True)
class Distributional:
    """Learns return distributions on an environment whose last account feature is a stock (`envs.StockAugmented`).

    Attributes:
        net: description of the network.
        utility: "shortfall", f(x) = min(x, 0), for every level of CVaR; "target", f(x) = -|x|, for a return of -c_0.
        quantiles: N of each action's return.
        kappa: threshold of the quantile Huber loss; small against rewards, so that quantiles are quantiles.
        relabel: draw the stocks of replayed transitions anew, from the range seen so far.
        updates, accounts, batch, replay, warm_up, gamma, copy_every, lr, training: as in `DQN`; `gamma` must be the
            environment's.
        epsilon: probability of a random legal action.

    Raises:
        ConfigError: an option is out of range; at `fit`, actions are not discrete or there is no stock.
    """

    net: AnyBody = field(default_factory=lambda: MLP((64,), Head((64, 64))))
    utility: Utility = "shortfall"
    quantiles: int = 32
    kappa: float = 0.01
    relabel: bool = True
    updates: int = 2_000
    accounts: int = 64
    batch: int = 256
    replay: int = 50_000
    warm_up: int = 2_000
    gamma: float = 1.0
    epsilon: float = 0.2
    copy_every: int = 50
    lr: float = 1e-3
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        demand_positive(
            self, "quantiles", "kappa", "updates", "accounts", "batch", "replay", "copy_every", "lr", "gamma"
        )
        demand_share(self, "gamma", "epsilon")
        if self.utility not in get_args(Utility):
            raise ConfigError(f"`utility` must be one of {', '.join(get_args(Utility))}", repr(self.utility))
        if not max(self.accounts, self.warm_up) <= self.replay:
            raise ConfigError("`warm_up` and `accounts` must fit into `replay`", f"{self.warm_up}, {self.accounts}")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        if env.spec.space != "discrete" or env.spec.account[-1:] != ("stock",):
            raise ConfigError(
                "a distributional agent needs discrete actions and a stock as last account feature", env.spec.name,
                remedy="wrap a discrete problem: envs.StockAugmented(env, stock=(low, high))",
            )  # fmt: skip
        self._demand_same_discount(env)
        run = _Run(self, env, rng)
        return train(run, self.updates, self.training, watch=watch, valid=valid, goal=run.utility)

    def _demand_same_discount(self, env: Env[Any]) -> None:
        """One step tells how the environment carries its stock."""
        before = env.init(1, torch.Generator().manual_seed(0))
        after, step = env.step(before, env.observe(before).legal.int().argmax(-1))
        stock, carried = (float(env.observe(state).account[0, -1]) for state in (before, after))
        if abs(carried * self.gamma - stock - float(step.reward)) > 1e-4 * max(1.0, abs(stock)):
            raise ConfigError(
                "`gamma` must be that of the environment's stock", f"{self.gamma}",
                remedy="give both the same, as in StockAugmented(env, stock, gamma=0.99)",
            )  # fmt: skip


class _Run:
    """One fit in progress."""

    def __init__(self, agent: Distributional, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.rng, self.spec, self.done = agent, rng, env.spec, 0
        self.outputs = len(env.spec.actions) * agent.quantiles
        self.online, self.frozen = (build(self._net, rng) for _ in range(2))
        self.optimiser = Optimiser(self.online, agent.lr, agent.training, updates=agent.updates)
        self.replay = Replay(agent.replay)
        self.accounts = Accounts(env, agent.accounts, rng, compiled=agent.training.compiled)
        self.encodings = Encodings(self.frozen, self.accounts.obs.world)
        self.means = Means()
        self._copy()

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.accounts.steps

    def advance(self) -> None:
        """Collect until the replay is warm, then one collection step and one update."""
        self._collect()
        while len(self.replay) < self.agent.warm_up:
            self._collect()
        self._update()
        if (self.done + 1) % self.agent.copy_every == 0:
            self._copy()

    def utility(self, env: Env[Any], policy: Policy, *, device: torch.device) -> float:
        """Mean utility of stock plus return: what validation looks at."""
        stock = env.observe(env.init(16, torch.Generator(device).manual_seed(0))).account[:, -1]
        total = totals(env, policy, gamma=self.agent.gamma, device=device)
        return float(policies.UTILITIES[self.agent.utility](stock + total).mean())

    def _net(self) -> Net:
        return self.agent.net.build(self.spec, self.outputs)

    def _z(self, outputs: Tensor) -> Tensor:
        """[B, A * N] -> [B, A, N]."""
        z: Tensor = outputs.unflatten(-1, (len(self.spec.actions), -1))
        return z

    def _values(self, z: Tensor, account: Tensor) -> Tensor:
        """Mean utility of every action, [B, A]."""
        return policies.UTILITIES[self.agent.utility](account[:, -1:, None] + z).mean(-1)

    def _collect(self) -> None:
        obs = self.accounts.obs
        values = self._values(self._z(self.encodings.read(obs.world.bar, obs.account)), obs.account)
        action = ops.epsilon_greedy(values, obs.legal, self.agent.epsilon, self.rng)
        step, after = self.accounts.step(action)
        outcome = (step.reward.float(), step.discount.float(), after.world.bar, after.account, after.legal)
        self.replay.add(Transitions(obs.world.bar, obs.account, action, *outcome))
        self.means.add(reward=step.reward.mean())

    def _update(self) -> None:
        agent, now = self.agent, self.replay.sample(self.agent.batch, self.rng)
        account_tm1, account_t = (self._restocked if agent.relabel else _as_lived)(now)
        with agent.training.precision(now.r_t.device):
            z_t = self._z(self.encodings.read(now.bar_t, account_t))
            best = ops.mask_illegal(self._values(z_t, account_t), now.legal_t).argmax(-1)
            rows = torch.arange(len(best), device=best.device)
            y = now.r_t.unsqueeze(-1) + agent.gamma * now.discount_t.unsqueeze(-1) * z_t[rows, best]
            world = self.accounts.obs.world._replace(bar=now.bar_tm1)
            z_a = self._z(self.online.read(world, account_tm1))[rows, now.a_tm1]
            loss = ops.quantile_huber_loss(z_a, y, agent.kappa).mean()
        self.optimiser.step(loss, account=account_tm1, reward=now.r_t, target=y, quantiles=z_a.detach())
        self.means.add(loss=loss)

    def _restocked(self, now: Transitions) -> tuple[Tensor, Tensor]:
        """The accounts of a batch with stocks drawn anew: before, and carried forward by the same rewards."""
        seen = self.replay.ring[Transitions._fields.index("account_tm1")][: len(self.replay), -1]
        low, high = seen.min(), seen.max()
        share = torch.rand(now.r_t.shape, generator=self.rng, device=self.rng.device)
        before, after = now.account_tm1.clone(), now.account_t.clone()
        before[:, -1] = low + share * (high - low)
        after[:, -1] = (before[:, -1] + now.r_t) / self.agent.gamma
        return before, after

    def _copy(self) -> None:
        self.frozen.load_state_dict(self.online.state_dict())
        self.encodings.refresh()

    def figures(self) -> dict[str, float]:
        """Mean loss and training reward since the last call."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """Greedy in the mean utility of stock and return."""
        return NetPolicy(self.online, self.spec, self.agent.net, policies.RULES[self.agent.utility], self.outputs)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "online": self.online.state_dict(), "frozen": self.frozen.state_dict(), "optimiser": self.optimiser.state(),
            "replay": self.replay.state(), "accounts": self.accounts.state(), "means": self.means.state(),
            "encodings": (self.encodings.table, self.encodings.known),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.online.load_state_dict(state["online"])
        self.frozen.load_state_dict(state["frozen"])
        for part in ("optimiser", "replay", "accounts", "means"):
            getattr(self, part).load(state[part])
        self.encodings.table, self.encodings.known = state["encodings"]


def _as_lived(now: Transitions) -> tuple[Tensor, Tensor]:
    return now.account_tm1, now.account_t
