"""Deep Q-network over an LSTM, with experience replay and a frozen target network.

Implements cards 0.1 and 1.1: Mnih et al. 2015 (Nature 518) with the constant exploration of the stock paper, and double
(van Hasselt et al. 2016) and dueling (Wang et al. 2016) heads as options. Departures, for speed and stated so that they can
be judged: many accounts step side by side instead of one; the behaviour policy is the frozen copy, at most `copy_every`
updates old, so that acting and bootstrapping read encodings that were computed once per copy; an episode that is cut off
by the end of the data bootstraps, since nothing ended but the data.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fiduciary.agents import ops
from fiduciary.agents.nets import LSTM, Encodings, QNet
from fiduciary.agents.replay import Replay, Transitions
from fiduciary.core import trees
from fiduciary.core.errors import ConfigError, NumericsError
from fiduciary.core.types import Env, Obs, Spec, Watch


@dataclass(frozen=True)
class DQN:
    """Learns action values by replaying transitions.

    Attributes:
        net: widths of the network.
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
        clip: largest gradient norm.
        keep_every: updates between checkpoints.

    Raises:
        ConfigError: an option is out of range.
    """

    net: LSTM = field(default_factory=LSTM)
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
    clip: float = 10.0
    keep_every: int = 500

    def __post_init__(self) -> None:
        for name in ("updates", "accounts", "batch", "replay", "copy_every", "keep_every", "lr", "clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive", repr(getattr(self, name)))
        for name in ("gamma", "epsilon"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`{name}` must lie in [0, 1]", repr(getattr(self, name)))
        if self.accounts > self.replay:
            raise ConfigError("`replay` must hold a step of every account", f"{self.replay} < {self.accounts}")
        if self.warm_up > self.replay:
            raise ConfigError("`warm_up` must fit into `replay`", f"{self.warm_up} > {self.replay}")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> "QPolicy":
        """Learn on `env`; continues from `watch.restore()` and then ends with the numbers of an unbroken run.

        Raises:
            NumericsError: the loss became NaN or infinite.
        """
        run = _Run(self, env, rng)
        kept = watch.restore() if watch else None
        if kept:
            run.load(kept)
        while run.done < self.updates:
            run.advance()
            if run.done % 50 == 0 or run.done == self.updates:
                figures = run.figures()  # names a loss that exploded, watched or not
                if watch:
                    watch.progress(run.done, self.updates, figures)
            if watch and run.done % self.keep_every == 0 and run.done < self.updates:
                watch.keep(run.state())
        return QPolicy(run.online, env.spec, self.net, self.dueling)


class _Run:
    """One fit in progress: everything that changes, and how it is kept and continued."""

    def __init__(self, agent: DQN, env: Env[Any], rng: torch.Generator) -> None:
        self.agent, self.env, self.rng, self.done = agent, env, rng, 0
        spec = env.spec
        self.online = _build(agent, spec, int(torch.randint(2**62, (1,), generator=rng)))
        self.frozen = _build(agent, spec, 0)
        self.optimiser = torch.optim.Adam(self.online.parameters(), lr=agent.lr, fused=True)
        self.replay = Replay(agent.replay)
        self.accounts = env.init(agent.accounts, rng)
        self.obs = env.observe(self.accounts)
        self.encodings = Encodings(self.frozen, self.obs.world.bars, self.obs.world.length)
        self.losses: list[Tensor] = []
        self.rewards: list[Tensor] = []
        self._copy()

    def advance(self) -> None:
        """Collect until the replay is warm, then one collection step and one update."""
        self._collect()
        while len(self.replay) < self.agent.warm_up:
            self._collect()
        self._update()
        self.done += 1
        if self.done % self.agent.copy_every == 0:
            self._copy()

    def _collect(self) -> None:
        obs, env = self.obs, self.env
        q = self.encodings.q(obs.world.bar, obs.account)
        action = ops.epsilon_greedy(q, obs.legal, self.agent.epsilon, self.rng)
        self.accounts, step = env.step(self.accounts, action)
        after = env.observe(self.accounts)
        outcome = (step.reward.float(), step.discount.float(), after.world.bar, after.account, after.legal)
        self.replay.add(Transitions(obs.world.bar, obs.account, action, *outcome))
        self.rewards.append(step.reward.mean())
        if step.last.any():
            fresh = env.init(self.agent.accounts, self.rng)
            self.accounts = trees.where(step.last, fresh, self.accounts)
            after = env.observe(self.accounts)
        self.obs = after

    def _update(self) -> None:
        agent, now = self.agent, self.replay.sample(self.agent.batch, self.rng)
        q_t = self.encodings.q(now.bar_t, now.account_t)
        discount = agent.gamma * now.discount_t
        if agent.double:
            with torch.no_grad():
                q_online_t = self.online(self._windows(now.bar_t), now.account_t)
            y = ops.double_td_target(now.r_t, discount, q_t, q_online_t, now.legal_t)
        else:
            y = ops.td_target(now.r_t, discount, q_t, now.legal_t)
        loss = ops.squared_td_loss(self.online(self._windows(now.bar_tm1), now.account_tm1), now.a_tm1, y)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.online.parameters(), agent.clip)
        self.optimiser.step()
        self.losses.append(loss.detach())

    def _windows(self, bar: Tensor) -> Tensor:
        return self.obs.world._replace(bar=bar).window()

    def _copy(self) -> None:
        self.frozen.load_state_dict(self.online.state_dict())
        self.encodings.refresh()

    def figures(self) -> dict[str, float]:
        """Mean loss and training reward since the last call.

        Raises:
            NumericsError: either is not finite.
        """
        figures = {"loss": float(torch.stack(self.losses).mean()), "reward": float(torch.stack(self.rewards).mean())}
        self.losses, self.rewards = [], []
        for name, value in figures.items():
            if not math.isfinite(value):
                raise NumericsError(
                    f"the {name} must stay finite while learning", f"{value} after {self.done} updates",
                    cause="too large a learning rate, or a feature that is not finite", remedy="lower `lr` or run `check`",
                )  # fmt: skip
        return figures

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "done": self.done, "online": self.online.state_dict(), "frozen": self.frozen.state_dict(),
            "optimiser": self.optimiser.state_dict(), "replay": self.replay.state(),
            "accounts": trees.leaves(self.accounts), "rng": self.rng.get_state(),
            "losses": self.losses, "rewards": self.rewards,
            # Recomputing the encodings in other batches would move the last bit, so they are kept too.
            "encodings": (self.encodings.table, self.encodings.known),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.done, self.losses, self.rewards = state["done"], state["losses"], state["rewards"]
        self.online.load_state_dict(state["online"])
        self.frozen.load_state_dict(state["frozen"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.replay.load(state["replay"])
        self.accounts = trees.rebuild(self.accounts, state["accounts"])
        self.obs = self.env.observe(self.accounts)
        self.rng.set_state(state["rng"])
        self.encodings.table, self.encodings.known = state["encodings"]


def _build(agent: DQN, spec: Spec, seed: int) -> QNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return agent.net.build(len(spec.features), len(spec.account), len(spec.actions), duel=agent.dueling)


@dataclass(frozen=True, eq=False)
class QPolicy:
    """Greedy in the learned action values; feed-forward over the window, so it carries nothing."""

    net: QNet
    spec: Spec
    widths: LSTM
    duel: bool

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The legal action with the largest Q; ties go to the lower number, hold first."""
        return ops.mask_illegal(self.values(obs), obs.legal).argmax(-1), carry

    @torch.no_grad()
    def values(self, obs: Obs) -> Tensor:
        """Q [B, A] of all actions, legal or not."""
        q: Tensor = self.net(obs.world.window(), obs.account)
        return q

    def save(self, path: str) -> None:
        """Write weights and shape to one safetensors file."""
        from safetensors.torch import save_file

        meta = {"first": self.widths.first, "second": self.widths.second, "duel": int(self.duel), **_problem(self.spec)}
        save_file(self.net.state_dict(), path, metadata={name: str(value) for name, value in meta.items()})


def _problem(spec: Spec) -> dict[str, str]:
    """What a policy was trained to read and to do; the scaling of its features stays with the environment."""
    names = {"features": spec.features, "account": spec.account, "actions": spec.actions}
    return {**{key: " ".join(value) for key, value in names.items()}, "window": str(spec.window)}


def load(path: str, spec: Spec) -> QPolicy:
    """Read a policy that `QPolicy.save` wrote, for a problem described by `spec`.

    Raises:
        ConfigError: the file holds no policy, or one that was trained on another problem.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} must hold a policy", str(error)) from None
    for key, wanted in _problem(spec).items():
        if meta.get(key) != wanted:
            raise ConfigError(f"a policy must fit its problem's {key} ({wanted})", repr(meta.get(key)))
    widths, duel = LSTM(int(meta["first"]), int(meta["second"])), meta["duel"] == "1"
    net = widths.build(len(spec.features), len(spec.account), len(spec.actions), duel=duel)
    net.load_state_dict(weights)
    return QPolicy(net, spec, widths, duel)
