"""A small problem with several assets in one account: weights on a simplex, or long and short in a box."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fiduciary.core.types import Fold, Ledger, Obs, Source, Spec, Split, View, transition


class Held(NamedTuple):
    """State: present bar, wealth, weights of the assets."""

    t: Tensor
    wealth: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class TwoAssets:
    """One account over returns [M, N] of N assets, one bar a day from 2000-01-01; 10 basis points on all that is traded."""

    returns: np.ndarray
    space: Literal["box", "simplex"] = "simplex"
    dates: tuple[int, int] | None = None
    fee: float = 0.001

    @property
    def spec(self) -> Spec:
        assets = tuple(f"asset-{n}" for n in range(self.returns.shape[1]))
        first, last = self._span()
        return Spec(
            name="two-assets", actions=("cash", *assets) if self.space == "simplex" else assets, features=("return",),
            account=("at-risk",), window=2, horizon=last - first, currency="EUR", assumptions=("Filled at once.",),
            space=self.space, assets=assets,
        )  # fmt: skip

    def sources(self) -> list[Source]:
        return [Source("made up", "EUR", "00", self.spec.assets, "2000-01-01", "2001-01-01", ())]

    def folds(self, split: Split) -> dict[str, Fold]:
        part = {name: replace(self, dates=_days(range_)) for name, range_ in split._asdict().items() if range_}
        return {"portfolio": Fold(part["train"], part["train"], part["test"], part.get("valid"))}

    def init(self, batch: int, rng: torch.Generator) -> Held:
        wealth = torch.full((batch,), 1_000.0, dtype=torch.float64)
        weights = torch.zeros(batch, self.returns.shape[1], dtype=torch.float64)
        return Held(torch.full((batch,), self._span()[0]), wealth, weights)

    def observe(self, state: Held) -> Obs:
        bars = torch.from_numpy(self.returns).float().unsqueeze(-1)
        legal = torch.ones(len(state.t), len(self.spec.actions), dtype=torch.bool)
        return Obs(View(bars, state.t, 2), state.weights.sum(-1, keepdim=True).float(), legal)

    def step(self, state: Held, action: Tensor) -> tuple[Held, object]:
        weights = (action[:, 1:] if self.space == "simplex" else action).double()
        traded = (weights - state.weights) * state.wealth.unsqueeze(-1)
        fees = -self.fee * traded.abs().sum(-1)
        r = torch.from_numpy(self.returns)[state.t + 1]
        pnl = state.wealth * (weights * r).sum(-1)
        after = Held(state.t + 1, state.wealth + pnl + fees, weights)
        nothing = torch.zeros_like(pnl)
        last = after.t >= self._span()[1]
        return after, transition(pnl + fees, last=last, ledger=Ledger(pnl, fees, nothing, nothing), traded=traded)

    def wealth(self, state: Held) -> Tensor:
        return state.wealth

    def mark(self, state: Held) -> Tensor:
        return torch.from_numpy(np.cumprod(1 + self.returns, axis=0)).mean(-1)[state.t]

    def when(self, state: Held) -> Tensor:
        return state.t + _FIRST

    def perturb(self, state: Held, rng: torch.Generator) -> "TwoAssets":
        later = self.returns.copy()
        t = int(state.t[0])
        later[t + 1 :] = torch.randn(later[t + 1 :].shape, generator=rng).numpy() * 0.05
        return replace(self, returns=later)

    def _span(self) -> tuple[int, int]:
        return self.dates or (1, len(self.returns) - 1)


@dataclass(frozen=True)
class Constant:
    """The same weights every day."""

    weights: tuple[float, ...]

    def act(self, obs: Obs, carry: object, rng: torch.Generator | None) -> tuple[Tensor, object]:
        return torch.tensor(self.weights, dtype=torch.float64).expand(len(obs.legal), -1), carry


_FIRST = int(np.datetime64("2000-01-01").astype("datetime64[D]").astype(int))


def _days(bounds: tuple[str, str]) -> tuple[int, int]:
    first, last = (int(np.datetime64(day, "D").astype(int)) - _FIRST for day in bounds)
    return first, last
