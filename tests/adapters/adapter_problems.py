"""A small problem in any of the three spaces that ends early where money runs out: both kinds of end in one world."""

from dataclasses import KW_ONLY, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fiduciary.core.types import Ledger, Obs, Space, Spec, Step, View


class State(NamedTuple):
    """t, end [B] int64; wealth [B] float64; held [B, N] float64, fractions of wealth held over the last bar."""

    t: Tensor
    end: Tensor
    wealth: Tensor
    held: Tensor


@dataclass(frozen=True, eq=False)
class Ruin:
    """Hold fractions of wealth in N assets for one bar at a time; below `floor` of the capital everything is over.

    Discrete: nothing, asset 1 or asset 2, the last only on even bars; box and simplex: fractions of each.
    """

    space: Space
    _: KW_ONLY
    returns: Tensor
    floor: float = 0.9
    window: int = 3
    length: int = 12
    starts: str = "random"

    @property
    def spec(self) -> Spec:
        n = self.returns.shape[1]
        actions = ("nothing", "one", "two") if self.space == "discrete" else tuple(f"w{i}" for i in range(n))
        assets = tuple(f"X{i}" for i in range(n))
        return Spec(
            "ruin", actions, ("return",), ("exposure",), self.window, self.length, "USD", (), (), self.space, assets
        )

    def init(self, batch: int, rng: torch.Generator) -> State:
        latest = len(self.returns) - self.length
        t = torch.full((batch,), self.window)
        if self.starts == "random":
            t = torch.randint(self.window, latest, (batch,), generator=rng)
        end = t + self.length - torch.arange(batch) % 4
        return State(t, end, torch.full((batch,), 100.0).double(), torch.zeros(batch, self.returns.shape[1]).double())

    def observe(self, state: State) -> Obs:
        legal = torch.ones(len(state.t), len(self.spec.actions), dtype=torch.bool)
        if self.space == "discrete":
            legal[:, 2] = state.t % 2 == 0
        bars = self.returns.float().unsqueeze(-1)
        return Obs(View(bars, state.t, self.window), state.held.sum(-1, keepdim=True).float(), legal)

    def step(self, state: State, action: Tensor) -> tuple[State, Step]:
        if self.space == "discrete":
            action = torch.where((action == 2) & (state.t % 2 == 1), 0, action)
            action = torch.nn.functional.one_hot(action, 3)[:, 1:]
        alive = (state.t < state.end) & (state.wealth >= 100 * self.floor)
        held = torch.where(alive.unsqueeze(-1), action.double(), 0.0)
        t = torch.where(alive, state.t + 1, state.t)
        fees = -1e-3 * state.wealth * (held - state.held).abs().sum(-1) * alive
        pnl = state.wealth * (held * self.returns[t]).sum(-1)
        wealth, nothing = state.wealth + pnl + fees, torch.zeros_like(pnl)
        ruined = wealth < 100 * self.floor
        ledger = Ledger(pnl, fees, nothing, nothing)
        step = Step(
            pnl + fees, (~ruined).double(), ruined | (t >= state.end), ledger, held * state.wealth.unsqueeze(-1)
        )
        return State(t, state.end, wealth, held), step

    def wealth(self, state: State) -> Tensor:
        return state.wealth

    def mark(self, state: State) -> Tensor:
        return torch.ones_like(state.wealth)

    def when(self, state: State) -> Tensor:
        return state.t

    def perturb(self, state: State, rng: torch.Generator) -> "Ruin":
        later = torch.arange(len(self.returns)) > state.t
        other = 0.03 * torch.randn(self.returns.shape, generator=rng, dtype=torch.float64)
        return replace(self, returns=torch.where(later.unsqueeze(-1), other, self.returns))


def ruin(space: Space, **changes: object) -> Ruin:
    """One fixed world of 60 bars and two wild assets."""
    returns = 0.04 * torch.randn(60, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return replace(Ruin(space, returns=returns), **changes)
