"""Any problem with a stock beside the account: what has been earned so far, carried forward at the discount rate.

    c_0 given,  c_t+1 = (c_t + r_t+1) / gamma        so that  c_0 + G = gamma^t (c_t + G_t)  at every t

A policy that sees c can be optimal for goals that no policy of the plain state can reach: conditional value at risk, a
target, any expected utility of c_0 + G that does not mind mixtures and gamma (Bellemare et al. 2025, "Optimizing return
distributions with distributional dynamic programming", arXiv 2501.13028, section 3; card 4.24). Rewards stay as they are.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Source, Spec, Step

STOCK = "stock"


class Stocked(NamedTuple):
    """State of B accounts.

    Attributes:
        inner: state of the plain problem.
        stock: [B] float64, c, in units of reward.
    """

    inner: Any
    stock: Tensor


@dataclass(frozen=True, eq=False)
class StockAugmented:
    """`env` with a stock as its last account feature.

    Attributes:
        env: the plain problem.
        stock: lowest and highest c_0; drawn uniformly between them when an episode begins.
        gamma: discount per step, that of the learner; 1 where episodes end.

    Raises:
        ConfigError: a range that runs backwards, or a discount outside (0, 1].
    """

    env: Env[Any]
    stock: tuple[float, float]
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not self.stock[0] <= self.stock[1]:
            raise ConfigError("`stock` must be its lowest and highest value", repr(self.stock), remedy="swap them")
        if not 0 < self.gamma <= 1:
            raise ConfigError("`gamma` must lie in (0, 1]", repr(self.gamma))

    @cached_property
    def spec(self) -> Spec:
        """Of the plain problem, with the stock as last account feature."""
        plain = self.env.spec
        return replace(plain, name=f"{plain.name} with a stock", account=(*plain.account, STOCK))

    def fixed(self, stock: float) -> "StockAugmented":
        """The same problem in which every episode begins with `stock`."""
        return replace(self, stock=(stock, stock))

    def sources(self) -> list[Source]:
        """The data behind the plain problem."""
        sources: list[Source] = self.env.sources()  # type: ignore[attr-defined]
        return sources

    def init(self, batch: int, rng: torch.Generator) -> Stocked:
        """Open accounts and draw their stocks."""
        inner, (low, high) = self.env.init(batch, rng), self.stock
        share = torch.rand(batch, generator=rng, dtype=torch.float64, device=rng.device)
        return Stocked(inner, low + share * (high - low))

    def observe(self, state: Stocked) -> Obs:
        """What the plain problem shows, and the stock."""
        obs = self.env.observe(state.inner)
        return obs._replace(account=torch.cat((obs.account, state.stock.unsqueeze(-1).float()), dim=-1))

    def step(self, state: Stocked, action: Tensor) -> tuple[Stocked, Step]:
        """Step the plain problem and carry the stock forward."""
        inner, step = self.env.step(state.inner, action)
        return Stocked(inner, (state.stock + step.reward) / self.gamma), step

    def wealth(self, state: Stocked) -> Tensor:
        """Of the plain problem."""
        return self.env.wealth(state.inner)

    def mark(self, state: Stocked) -> Tensor:
        """Of the plain problem."""
        return self.env.mark(state.inner)

    def when(self, state: Stocked) -> Tensor:
        """Of the plain problem."""
        return self.env.when(state.inner)

    def perturb(self, state: Stocked, rng: torch.Generator) -> "StockAugmented":
        """The plain problem's future redrawn."""
        return replace(self, env=self.env.perturb(state.inner, rng))
