"""Deep Q-network over an LSTM, with experience replay and a frozen target network.

Implements cards 0.1 and 1.1: Mnih et al. 2015 (Nature 518) with the constant exploration of the stock paper. Options, all
of which combine: double (van Hasselt et al. 2016) and dueling (Wang et al. 2016) heads; n-step returns, without correction
for what the behaviour policy did on the way (as in Hessel et al. 2018); prioritised replay (Schaul et al. 2016); quantiles
of the return (Dabney et al. 2018); exploration that falls in a line. Departures, for speed and stated so that they can be
judged: many accounts step side by side instead of one; the behaviour policy is the frozen copy, at most `copy_every`
updates old, so that acting and bootstrapping read encodings that were computed once per copy; an episode that is cut off
by the end of the data bootstraps, since nothing ended but the data.

Sequence mode (`sequence` = L) draws an account and a time instead of a transition, and learns from the L transitions that
follow: the network runs once over W - 1 + L bars, the first W - 1 of which only lead in, where the windowed form runs over L
windows of W bars (burn-in: Kapturowski et al. 2019, section 3). Equal to the windowed form: acting, targets and the learned
policy, which always read windows; the loss at the first bar of a stretch; and the loss at every bar for bodies without
memory beyond the window (all but LSTM and GRU). Different: at later bars a recurrent body has seen up to L - 1 bars more
than its window, so it is trained with a longer memory than it is asked with; `double` chooses its action with that memory,
too; the transitions of an update come in runs and are less independent. Bars that lie outside their stretch, since
an account began again elsewhere, do not count in the loss.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fiduciary.agents import ops
from fiduciary.agents.accounts import Accounts
from fiduciary.agents.nets import LSTM, AnyBody, Encodings, Net
from fiduciary.agents.policies import NetPolicy, greedy, quantiles
from fiduciary.agents.replay import Priorities, Replay, Transitions
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, train
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, View, Watch


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
        epsilon: probability of a random legal action.
        epsilon_last: what it falls to, in a line over `epsilon_decay` updates.
        epsilon_decay: updates; 0 = `epsilon` throughout.
        copy_every: updates between copies into the frozen network (c in the paper).
        lr: Adam's learning rate.
        n_step: rewards summed before the target bootstraps.
        quantiles: N of each action's return; 0 = its mean, by squared errors.
        kappa: threshold of the quantile Huber loss.
        prioritised: draw transitions in proportion to |error|^alpha, not uniformly.
        alpha: how much priorities count.
        beta: how much of the bias that they bring is corrected at first; rises in a line to 1.
        sequence: L, transitions drawn in a row and encoded in one pass; 0 = windowed, one by one.
        training: checkpoints, validation, schedule, clipping.

    Raises:
        ConfigError: an option is out of range, or (from `fit`) the problem is not one for this agent.
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
    epsilon_last: float = 0.05
    epsilon_decay: int = 0
    copy_every: int = 200
    lr: float = 1e-3
    n_step: int = 1
    quantiles: int = 0
    kappa: float = 1.0
    prioritised: bool = False
    alpha: float = 0.6
    beta: float = 0.4
    sequence: int = 0
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "accounts", "batch", "replay", "copy_every", "lr", "n_step", "kappa")
        demand_share(self, "gamma", "epsilon", "epsilon_last", "alpha", "beta")
        for name in ("epsilon_decay", "quantiles", "sequence"):
            if getattr(self, name) < 0:
                raise ConfigError(f"`{name}` must not be negative", repr(getattr(self, name)))
        if self.accounts > self.replay:
            raise ConfigError("`replay` must hold a step of every account", f"{self.replay} < {self.accounts}")
        if self.warm_up > (whole := self.replay - self.replay % self.accounts):
            raise ConfigError(
                "`warm_up` must fit into `replay`, in whole steps of `accounts`", f"{self.warm_up} > {whole}"
            )
        if self.sequence and self.batch % self.sequence:
            raise ConfigError("`batch` must be a multiple of `sequence`", f"{self.batch}, {self.sequence}")

    def exploration(self, updates: int) -> float:
        """Probability of a random action after `updates` updates."""
        left = max(0.0, 1.0 - updates / self.epsilon_decay) if self.epsilon_decay else 1.0
        return self.epsilon * left + self.epsilon_last * (1.0 - left)

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on `env`; see `training.train`."""
        if env.spec.space != "discrete":
            raise ConfigError("DQN needs discrete actions", f"{env.spec.name} takes a {env.spec.space}")
        if self.sequence and not env.spec.features:
            raise ConfigError("`sequence` needs a world to read", f"{env.spec.name} shows none", remedy="leave it at 0")
        return train(_Run(self, env, rng), self.updates, self.training, watch=watch, valid=valid)


class _Run:
    """One fit in progress. Network outputs are read as [..., A, N] quantiles; N = 1 is the mean."""

    def __init__(self, agent: DQN, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.rng, self.spec, self.done = agent, rng, env.spec, 0
        self.outputs = len(env.spec.actions) * max(1, agent.quantiles)
        self.online, self.frozen = (build(self._net, rng) for _ in range(2))
        self.optimiser = Optimiser(self.online, agent.lr, agent.training, updates=agent.updates)
        self.replay = Replay(agent.replay, accounts=agent.accounts)
        self.priorities = Priorities(self.replay.capacity, agent.alpha, rng.device) if agent.prioritised else None
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
        if self.optimiser.done % self.agent.copy_every == 0:
            self._copy()

    def _net(self) -> Net:
        return self.agent.net.build(self.spec, self.outputs, duel=self.agent.dueling)

    def _z(self, outputs: Tensor) -> Tensor:
        """[B, A * N] -> [B, A, N]."""
        z: Tensor = outputs.unflatten(-1, (len(self.spec.actions), -1))
        return z

    def _collect(self) -> None:
        obs = self.accounts.obs
        q = self._z(self.encodings.read(obs.world.bar, obs.account)).mean(-1)
        action = ops.epsilon_greedy(q, obs.legal, self.agent.exploration(self.optimiser.done), self.rng)
        step, after = self.accounts.step(action)
        outcome = (step.reward.float(), step.discount.float(), after.world.bar, after.account, after.legal)
        place = self.replay.add(Transitions(obs.world.bar, obs.account, action, *outcome), step.last)
        if self.priorities:
            self.priorities.add(place)
        self.means.add(reward=step.reward.mean())

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Places [S, L] of transitions, L = 1 in the windowed form, and importance weights [S, 1]."""
        length = max(1, self.agent.sequence)
        size = self.agent.batch // length
        if self.priorities is None:
            start = self.replay.draw(size, self.rng)
            weight = torch.ones(size, device=start.device)
        else:
            beta = self.agent.beta + (1.0 - self.agent.beta) * self.optimiser.done / self.agent.updates
            start, weight = self.priorities.draw(size, self.rng, beta=beta)
        return self.replay.along(start, length), weight.unsqueeze(-1)

    def _update(self) -> None:
        agent = self.agent
        place, weight = self._draw()
        now = self.replay.returns(place.flatten(), agent.n_step, agent.gamma)
        with agent.training.precision(now.r_t.device):
            z_t = self._z(self.encodings.read(now.bar_t, now.account_t))
            online = self._online(now)
            z_tm1 = self._z(online.read(now.bar_tm1, now.account_tm1))
            y = ops.quantile_td_target(now.r_t, now.discount_t, z_t, self._chooser(online, now, z_t), now.legal_t)
            z_a = z_tm1[torch.arange(len(y), device=y.device), now.a_tm1]
            error = (y - z_a).mean(-1)
            each = ops.quantile_huber_loss(z_a, y, agent.kappa) if agent.quantiles else error**2
            counts = online.covers(now.bar_tm1).view_as(place)
            loss = (weight * counts * each.view_as(place)).sum() / counts.sum()
        self.optimiser.step(loss, account=now.account_tm1, reward=now.r_t, target=y, q=z_a.detach())
        self.means.add(loss=loss)
        if self.priorities:
            self.priorities.update(place[:, 0], ops.sequence_priority(error.detach().view_as(place), counts))

    def _online(self, now: Transitions) -> "_Windows | _Stretches":
        world, agent = self.accounts.obs.world, self.agent
        if not agent.sequence:
            return _Windows(self.online, world)
        bars = [bar.view(-1, agent.sequence) for bar in (now.bar_tm1, now.bar_t)[: 1 + agent.double]]
        reach = agent.sequence + agent.n_step * agent.double
        return _Stretches(self.online, world, torch.cat(bars, dim=-1), reach)

    def _chooser(self, online: "_Windows | _Stretches", now: Transitions, z_t: Tensor) -> Tensor:
        """Values [B, A] by which the bootstrap action is chosen: the frozen network's, or, doubly, the online network's."""
        q_t = z_t.mean(-1)
        if not self.agent.double:
            return q_t
        with torch.no_grad():
            q_online_t = self._z(online.read(now.bar_t, now.account_t)).mean(-1)
        return torch.where(online.covers(now.bar_t).unsqueeze(-1), q_online_t, q_t)

    def _copy(self) -> None:
        self.frozen.load_state_dict(self.online.state_dict())
        self.encodings.refresh()

    def figures(self) -> dict[str, float]:
        """Mean loss and training reward since the last call."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """Greedy in the online network."""
        rule = quantiles if self.agent.quantiles else greedy
        return NetPolicy(self.online, self.spec, self.agent.net, rule, self.outputs, self.agent.dueling)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "online": self.online.state_dict(), "frozen": self.frozen.state_dict(), "optimiser": self.optimiser.state(),
            "replay": self.replay.state(), "accounts": self.accounts.state(), "means": self.means.state(),
            # Recomputing the encodings in other batches would move the last bit, so they are kept too.
            "encodings": (self.encodings.table, self.encodings.known),
            "priorities": self.priorities.state() if self.priorities else None,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.online.load_state_dict(state["online"])
        self.frozen.load_state_dict(state["frozen"])
        for part in ("optimiser", "replay", "accounts", "means"):
            getattr(self, part).load(state[part])
        self.encodings.table, self.encodings.known = state["encodings"]
        if self.priorities:
            self.priorities.load(state["priorities"])


class _Windows:
    """The network over windows: reads any bar."""

    def __init__(self, net: Net, world: View) -> None:
        self.net, self.world = net, world

    def covers(self, bar: Tensor) -> Tensor:
        return torch.ones_like(bar, dtype=torch.bool)

    def read(self, bar: Tensor, account: Tensor) -> Tensor:
        return self.net.read(self.world._replace(bar=bar), account)


class _Stretches:
    """The network over S stretches in one pass each: reads, row by row, the bars that lie in them.

    Args:
        net: whose outputs are read.
        world: holds the bars.
        wanted: [S, _] int64, bars that will be asked for; each stretch begins at the first of its row.
        reach: bars of a stretch, those that lead in not counted.
    """

    def __init__(self, net: Net, world: View, wanted: Tensor, reach: int) -> None:
        self.net, self.first, self.reach = net, wanted[:, :1], reach
        # Beyond the last bar wanted may lie another symbol's, whose look-back is not filled: NaN would reach the gradient.
        last = torch.where(self._inside(wanted - self.first), wanted, self.first).amax(-1, keepdim=True)
        bar = self.first + torch.arange(1 - world.length, reach, device=wanted.device)
        self.h = net.stretch(world.bars[torch.minimum(bar, last)], world.length)

    def covers(self, bar: Tensor) -> Tensor:
        """[S * L] bool, whether `bar` [S * L] lies in the stretch of its row."""
        return self._inside(self._offset(bar)).flatten()

    def read(self, bar: Tensor, account: Tensor) -> Tensor:
        """Outputs [S * L, _]; of no meaning where the stretch does not cover `bar`."""
        offset = self._offset(bar).clamp(0, self.reach - 1)
        row = torch.arange(len(offset), device=bar.device).unsqueeze(-1)
        return self.net.head(self.h[row, offset].flatten(0, 1), account)

    def _offset(self, bar: Tensor) -> Tensor:
        return bar.view(len(self.first), -1) - self.first

    def _inside(self, offset: Tensor) -> Tensor:
        return (offset >= 0) & (offset < self.reach)
