"""Deep Q-network over an LSTM, with experience replay and a frozen target network.

Implements cards 0.1 and 1.1: Mnih et al. 2015 (Nature 518) with the constant exploration of the stock paper, and double
(van Hasselt et al. 2016) and dueling (Wang et al. 2016) heads as options. Departures, for speed and stated so that they can
be judged: many accounts step side by side instead of one; the behaviour policy is the frozen copy, at most `copy_every`
updates old, so that acting and bootstrapping read encodings that were computed once per copy; an episode that is cut off
by the end of the data bootstraps, since nothing ended but the data.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from fiduciary.agents import ops
from fiduciary.agents.accounts import Accounts
from fiduciary.agents.nets import LSTM, AnyBody, Encodings, Net
from fiduciary.agents.policies import NetPolicy, greedy
from fiduciary.agents.replay import Replay, Transitions
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, train
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Watch


@dataclass(frozen=True)
class DQN:
    """Learns action values by replaying transitions.

    Attributes:
        net: description of the network.
        double: choose the bootstrap action by the online network.
        dueling: separate state value and advantages.
        updates: gradient steps; each is preceded by one step of `accounts` accounts.
        accounts: accounts that step side by side.
        batch: transitions per update.
        replay: capacity, in transitions.
        warm_up: transitions before the first update.
        gamma: discount per bar.
        epsilon: constant probability of a random legal action.
        copy_every: updates between copies into the frozen network (c in the paper).
        lr: Adam's learning rate.
        training: checkpoints, validation, schedule, clipping.

    Raises:
        ConfigError: an option is out of range.
    """

    net: AnyBody = field(default_factory=LSTM)
    double: bool = False
    dueling: bool = False
    updates: int = 2_000
    accounts: int = 64
    batch: int = 64
    replay: int = 100_000
    warm_up: int = 2_000
    gamma: float = 0.99
    epsilon: float = 0.15
    copy_every: int = 200
    lr: float = 1e-3
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "accounts", "batch", "replay", "copy_every", "lr")
        demand_share(self, "gamma", "epsilon")
        if self.accounts > self.replay:
            raise ConfigError("`replay` must hold a step of every account", f"{self.replay} < {self.accounts}")
        if self.warm_up > self.replay:
            raise ConfigError("`warm_up` must fit into `replay`", f"{self.warm_up} > {self.replay}")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class _Run:
    """One fit in progress."""

    def __init__(self, agent: DQN, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.rng, self.spec, self.done = agent, rng, env.spec, 0
        self.online, self.frozen = (build(self._net, rng) for _ in range(2))
        self.optimiser = Optimiser(self.online, agent.lr, agent.training, updates=agent.updates)
        self.replay = Replay(agent.replay)
        self.accounts = Accounts(env, agent.accounts, rng)
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
        if self.optimiser.done % self.agent.copy_every == 0:
            self._copy()

    def _net(self) -> Net:
        return self.agent.net.build(self.spec, len(self.spec.actions), duel=self.agent.dueling)

    def _collect(self) -> None:
        obs = self.accounts.obs
        q = self.encodings.read(obs.world.bar, obs.account)
        action = ops.epsilon_greedy(q, obs.legal, self.agent.epsilon, self.rng)
        step, after = self.accounts.step(action)
        outcome = (step.reward.float(), step.discount.float(), after.world.bar, after.account, after.legal)
        self.replay.add(Transitions(obs.world.bar, obs.account, action, *outcome))
        self.means.add(reward=step.reward.mean())

    def _update(self) -> None:
        agent, now = self.agent, self.replay.sample(self.agent.batch, self.rng)
        world = self.accounts.obs.world
        with agent.training.precision(now.r_t.device):
            q_t = self.encodings.read(now.bar_t, now.account_t)
            discount = agent.gamma * now.discount_t
            if agent.double:
                with torch.no_grad():
                    q_online_t = self.online.read(world._replace(bar=now.bar_t), now.account_t)
                y = ops.double_td_target(now.r_t, discount, q_t, q_online_t, now.legal_t)
            else:
                y = ops.td_target(now.r_t, discount, q_t, now.legal_t)
            q_tm1 = self.online.read(world._replace(bar=now.bar_tm1), now.account_tm1)
            loss = ops.squared_td_loss(q_tm1, now.a_tm1, y)
        self.optimiser.step(loss, account=now.account_tm1, reward=now.r_t, target=y, q=q_tm1.detach())
        self.means.add(loss=loss)

    def _copy(self) -> None:
        self.frozen.load_state_dict(self.online.state_dict())
        self.encodings.refresh()

    def figures(self) -> dict[str, float]:
        """Mean loss and training reward since the last call."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """Greedy in the online network."""
        return NetPolicy(self.online, self.spec, self.agent.net, greedy, len(self.spec.actions), self.agent.dueling)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "online": self.online.state_dict(), "frozen": self.frozen.state_dict(), "optimiser": self.optimiser.state(),
            "replay": self.replay.state(), "accounts": self.accounts.state(), "means": self.means.state(),
            # Recomputing the encodings in other batches would move the last bit, so they are kept too.
            "encodings": (self.encodings.table, self.encodings.known),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.online.load_state_dict(state["online"])
        self.frozen.load_state_dict(state["frozen"])
        for part in ("optimiser", "replay", "accounts", "means"):
            getattr(self, part).load(state[part])
        self.encodings.table, self.encodings.known = state["encodings"]
