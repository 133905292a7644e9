"""ExoQ: counterfactual Q-learning over all bars, positions and actions at once, with no exploration and no replay.

Actions do not move the world, so the outcome of every action at every bar is known once the bar is over. Each update backs
up all (bar, account state, action) triples of the training dates in one sweep:

    y[t, p, a] = r[t, p, a] + gamma d[t, p, a] max_a' Q'(t+1, p'(t, p, a), a')        over legal a'
    loss       = mean over legal triples of (y - Q(t, p, a))^2

Q reads only what `observe` shows at t; the maximum is over the frozen network's opinion at t+1, not over what the price did
later, so hindsight enters as one bar of outcome and never as foresight. Problems with exogenous inputs: Dietterich et al.
2018 (ICML), Sinclair et al. 2022 (arXiv 2207.06272), whose hindsight values we do not use: they look ahead.

Full information memorises history fastest of all, so keep it honest: give validation dates (learning stops by them), an
ensemble on resampled blocks of bars, noise on what is observed. The report sets the return in training beside the test's.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fiduciary.agents import ops
from fiduciary.agents.nets import LSTM, AnyBody, Body, Ensemble, Net
from fiduciary.agents.policies import NetPolicy, greedy
from fiduciary.agents.training import Means, Optimiser, Training, build, demand_positive, demand_share, train
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Spec, Sweep, Sweepable, Watch


@dataclass(frozen=True)
class ExoQ:
    """Learns action values from what every action would have led to.

    Attributes:
        net: description of the network.
        updates: sweeps over the training dates.
        gamma: discount per bar; low, since what an action is worth after costs shows within days and luck adds up after.
        lr: Adam's learning rate.
        copy_every: updates between copies into the frozen network.
        ensemble: networks whose mean decides; with more than one, each learns on bars resampled in blocks.
        block: bars in a block.
        noise: standard deviation of noise added to the scaled features, drawn anew in every update.
        sequence: read stretches of this many bars in one pass of a recurrent body; 0 = a window for every bar.
        training: checkpoints, validation, schedule, clipping.

    Raises:
        ConfigError: an option is out of range; at `fit`, the problem has too many account states to try them all.
    """

    net: AnyBody = field(default_factory=lambda: LSTM(32, 16))
    updates: int = 100
    gamma: float = 0.9
    lr: float = 1e-2
    copy_every: int = 5
    ensemble: int = 1
    block: int = 20
    noise: float = 0.0
    sequence: int = 64
    training: Training = field(default_factory=lambda: Training(validate_every=10))

    def __post_init__(self) -> None:
        demand_positive(self, "updates", "lr", "copy_every", "ensemble", "block")
        demand_share(self, "gamma")
        if self.noise < 0 or self.sequence < 0:
            raise ConfigError("`noise` and `sequence` must not be negative", f"{self.noise}, {self.sequence}")

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> NetPolicy:
        """Learn on all training dates of `env`; see `training.train`."""
        if not isinstance(env, Sweepable):
            raise ConfigError(
                "ExoQ needs a problem that can try every action in every account state (`Sweepable`)", env.spec.name,
                remedy="use DQN, PPO or Pathwise here",
            )  # fmt: skip
        sweep = Sweep(*(part.to(rng.device) for part in env.sweep()))
        return train(_Run(self, sweep, env.spec, rng), self.updates, self.training, watch=watch, valid=valid)


class _Run:
    """One fit in progress."""

    def __init__(self, agent: ExoQ, sweep: Sweep, spec: Spec, rng: torch.Generator) -> None:
        self.agent, self.sweep, self.spec, self.rng, self.done = agent, sweep, spec, rng, 0
        self.body: Body = agent.net if agent.ensemble == 1 else Ensemble(agent.net, agent.ensemble)
        self.online, self.frozen = (build(lambda: self.body.build(spec, len(spec.actions)), rng) for _ in range(2))
        self.optimiser = Optimiser(self.online, agent.lr, agent.training, updates=agent.updates)
        self.means = Means()
        self.rows, bars = _stretches(sweep, spec.window, agent.sequence)
        self.bars = sweep.bars[bars]
        self.account = sweep.account[self.rows]
        self.reward = sweep.reward[self.rows].float()
        # The account state that follows is read at the next row; rows without one in the data carry no weight.
        following = (self.rows + 1).clamp(max=len(sweep.bar) - 1)
        self.place = (following.unsqueeze(-1).unsqueeze(-1), sweep.following[self.rows])
        self.discount = agent.gamma * sweep.discount[self.rows].float()
        legal = sweep.legal[self.rows] & sweep.chained[self.rows].unsqueeze(-1).unsqueeze(-1)
        times = torch.bincount(self.rows)[self.rows]  # stretches may overlap; every row counts once
        self.weight = legal / times[:, None, None] * self._resampled(rng)
        self.weight /= self.weight.sum((1, 2, 3), keepdim=True)
        self.value = sweep.reward.new_zeros(0)
        self._copy()

    @property
    def steps(self) -> int:
        """Triples backed up so far."""
        return self.done * self.reward.numel()

    def advance(self) -> None:
        """One sweep."""
        q = self._q(self.online, self._noisy())
        y = self.reward + self.discount * self.value[:, *self.place]
        loss = (self.weight * (y - q) ** 2).sum((1, 2, 3)).sum()
        self.optimiser.step(loss, features=self.bars, reward=self.reward, target=y, q=q.detach())
        self.means.add(loss=loss.detach() / self.agent.ensemble)
        if (self.done + 1) % self.agent.copy_every == 0:
            self._copy()

    def _q(self, net: Net, bars: Tensor) -> Tensor:
        """Action values [E, R, P, A] of E members at every row."""
        h = net.stretch(bars, self.spec.window).flatten(0, 1) if self.agent.sequence else net.encode(bars)
        return net.members(h.unsqueeze(1).expand(-1, self.account.shape[1], -1), self.account)

    def _noisy(self) -> Tensor:
        if not self.agent.noise:
            return self.bars
        drawn = torch.randn(self.bars.shape, generator=self.rng, device=self.rng.device)
        return self.bars + self.agent.noise * drawn

    def _resampled(self, rng: torch.Generator) -> Tensor:
        """How often each member's resample holds each row, [E, R, 1, 1]: moving blocks (Kuensch 1989); ones for one member."""
        members, rows, block = self.agent.ensemble, len(self.rows), min(self.agent.block, len(self.rows))
        if members == 1:
            return torch.ones(1, 1, 1, 1, device=rng.device)
        shape = (members, -(-rows // block))
        starts = torch.randint(rows - block + 1, shape, generator=rng, device=rng.device).unsqueeze(-1)
        drawn = (starts + torch.arange(block, device=rng.device)).flatten(1)
        counts = torch.zeros(members, rows, device=rng.device)
        return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=counts.dtype))[..., None, None]

    @torch.no_grad()
    def _copy(self) -> None:
        """Freeze the network and read from it the value of every account state at every bar, [E, T, P]."""
        self.frozen.load_state_dict(self.online.state_dict())
        q = self._q(self.frozen, self.bars)
        best = ops.mask_illegal(q, self.sweep.legal[self.rows]).amax(-1)
        self.value = best.new_zeros(len(best), *self.sweep.account.shape[:2])
        self.value[:, self.rows] = best

    def figures(self) -> dict[str, float]:
        """Mean loss since the last call."""
        return self.means.read()

    def policy(self) -> NetPolicy:
        """Greedy in the online network, or in the mean of the ensemble."""
        return NetPolicy(self.online, self.spec, self.body, greedy, len(self.spec.actions))

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue to the same numbers."""
        return {
            "online": self.online.state_dict(), "frozen": self.frozen.state_dict(), "optimiser": self.optimiser.state(),
            "means": self.means.state(), "rng": self.rng.get_state(), "value": self.value, "weight": self.weight,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.online.load_state_dict(state["online"])
        self.frozen.load_state_dict(state["frozen"])
        self.optimiser.load(state["optimiser"])
        self.means.load(state["means"])
        self.rng.set_state(state["rng"])
        self.value, self.weight = state["value"], state["weight"]


def _stretches(sweep: Sweep, window: int, length: int) -> tuple[Tensor, Tensor]:
    """Rows of the sweep and the bars to read for them.

    With `length` 0, every row and its window: [T] and [T, W]. Else contiguous stretches of at most `length` rows, which
    cover every row and may overlap at a chain's end, and their bars with the lead-in: [S * L] and [S, W - 1 + L].
    """
    device = sweep.bar.device
    if not length:
        rows = torch.arange(len(sweep.bar), device=device)
        return rows, sweep.bar.unsqueeze(-1) + torch.arange(1 - window, 1, device=device)
    ends = (~sweep.chained).nonzero().squeeze(-1).tolist()
    chains = list(zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True))
    length = min(length, *(last - first + 1 for first, last in chains))
    starts = [min(at, last + 1 - length) for first, last in chains for at in range(first, last + 1, length)]
    start = torch.tensor(starts, device=device).unsqueeze(-1)
    rows = start + torch.arange(length, device=device)
    return rows.flatten(), sweep.bar[start] + torch.arange(1 - window, length, device=device)
