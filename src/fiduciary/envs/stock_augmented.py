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

from fiduciary.core import trees
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Policy, Source, Spec, Step

STOCK = "stock"


class Stocked(NamedTuple):
    """State of B accounts.

    Attributes:
        inner: state of the plain problem.
        stock: [B] float64, c, in units of reward.
    """

    inner: Any
    stock: Tensor


class Choice(NamedTuple):
    """The stock that serves one level of CVaR best, and the CVaR that it reached in simulation."""

    stock: float
    cvar: float


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

    def serve(
        self, policy: Policy, tau: float, *, rng: torch.Generator, episodes: int = 1_000, stocks: int = 81
    ) -> Choice:
        """Which c_0 = -b reaches the largest b + E[(G - b)_-] / tau under `policy`: the tail mean of level tau.

        Tries `stocks` values, evenly between the lowest and the highest, each on the same `episodes` worlds.

        Raises:
            ConfigError: `tau` outside (0, 1].
        """
        if not 0 < tau <= 1:
            raise ConfigError("`tau` must lie in (0, 1]", repr(tau))
        tried = torch.linspace(*self.stock, stocks, dtype=torch.float64, device=rng.device)
        inner = self.env.init(episodes, rng)
        leaves = [leaf.repeat(stocks, *[1] * (leaf.dim() - 1)) for leaf in trees.leaves(inner)]
        state = Stocked(trees.rebuild(inner, leaves), tried.repeat_interleave(episodes))
        total, alive, carry = torch.zeros_like(state.stock), torch.ones_like(state.stock), None
        for k in range(self.spec.horizon):
            action, carry = policy.act(self.observe(state), carry, None)
            state, step = self.step(state, action)
            total += alive * self.gamma**k * step.reward
            alive *= ~step.last
        b = -tried
        cvar = b + (total.view(stocks, episodes) - b.unsqueeze(-1)).clamp(max=0.0).mean(-1) / tau
        best = cvar.argmax()
        return Choice(float(tried[best]), float(cvar[best]))

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
