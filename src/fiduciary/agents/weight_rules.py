"""Baselines for problems whose action is a row of weights, cash first: rules that need no training, and what rules share.

Where the environment lets weights go short (w_i = (1 + N s) p_i - s), give the rules the same `short` s.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.agents.rules import Cash, quoted
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, Policy
from fiduciary.data.panel import position

MONTH = 21
"""Bars in a month."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EqualWeight:
    """1/n in each of the n assets that trade, at every bar (DeMiguel, Garlappi and Uppal 2009); cash if none does."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        return equal(obs.legal), carry


@dataclass(frozen=True)
class HoldWeights:
    """Buy equal weights once, as soon as something trades, then ask for the weights that are held.

    Attributes:
        short: s of the environment.
    """

    short: float = 0.0

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights. The account is read in float32, so a hold may trade a ten-millionth of wealth."""
        # The division in `point` takes out N s, and what short weights beyond the bound leave over.
        return torch.where(obs.account[:, :1] > 0, point(held(obs), self.short), equal(obs.legal)), carry


@dataclass(frozen=True)
class CashWeights:
    """Sell whatever is held and keep cash.

    Attributes:
        short: s of the environment.
    """

    short: float = 0.0

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        return Cash("simplex", self.short).act(obs, carry, rng)


@dataclass(frozen=True)
class Every:
    """Ask `rule` at the first bar and then every `bars` bars; hold in between, weights drifting with prices.

    Attributes:
        rule: any rule over weights.
        bars: between two questions.
        short: s of the environment.
    """

    rule: Policy
    bars: int = MONTH
    short: float = 0.0

    def __post_init__(self) -> None:
        if self.bars < 1:
            raise ConfigError("`bars` must be at least 1", repr(self.bars))

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        waited, inner = carry or (0, None)
        if waited % self.bars:
            return point(held(obs), self.short), (waited + 1, inner)
        action, inner = self.rule.act(obs, inner, rng)
        return action, (waited + 1, inner)


@dataclass(frozen=True)
class FixedMix:
    """The same fractions of wealth at every bar, the rest in cash; `mix` makes one from names.

    Attributes:
        shares: of each asset, in the problem's order; a single one is divided equally among the assets that trade.
        short: s of the environment.

    Raises:
        ConfigError: a share is negative, or they add up to more than 1.
    """

    shares: tuple[float, ...] = (0.6,)
    short: float = 0.0

    def __post_init__(self) -> None:
        if not (all(share >= 0 for share in self.shares) and math.fsum(self.shares) <= 1 + 1e-9):
            raise ConfigError("shares of a mix must not be negative nor exceed 1 together", str(self.shares))

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        if len(self.shares) == 1:
            return point(self.shares[0] * equal(obs.legal)[:, 1:], self.short), carry
        shares = torch.tensor(self.shares, dtype=torch.float64, device=obs.legal.device)
        return point(shares.expand(len(obs.legal), -1), self.short), carry


def mix(assets: Sequence[str], shares: Mapping[str, float], *, short: float = 0.0) -> FixedMix:
    """The mix of named assets, `mix(env.spec.assets, {"SPY": 0.6, "AGG": 0.4})`; assets not named get nothing.

    Raises:
        ConfigError: a name is not among `assets`; the message names the nearest.
    """
    for name in shares:
        position(name, assets, "asset of a mix")
    return FixedMix(tuple(shares.get(asset, 0.0) for asset in assets), short)


@dataclass(frozen=True)
class RandomWeights:
    """Luck at a given pace: buy weights drawn at random, walk towards others, and one step away from them draw again.

    An aim is a point drawn uniformly from those that leave 1 - `exposure` in cash.

    Attributes:
        turnover: money traded at each bar, both ways, over wealth: the mean of traded / wealth of the trajectory to match,
            after its opening.
        exposure: of the aims: its mean exposure.
        seed: of its own stream, which it uses when asked without a generator: the same weights each time.
        short: s of the environment.
    """

    turnover: float
    exposure: float = 1.0
    seed: int = 0
    short: float = 0.0

    @classmethod
    def matching(cls, traded: Floats, wealth: Floats, exposure: Floats, *, seed: int = 0) -> "RandomWeights":
        """The rule with the pace and the mean exposure of a trajectory: traded [T] money, unsigned; the others [T+1]."""
        return cls(float(np.mean(traded[1:] / wealth[1:-1])), min(1.0, float(np.mean(exposure[1:]))), seed)

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        now = held(obs)
        stream, aim, pace = carry or (torch.Generator(now.device).manual_seed(self.seed), now, torch.inf)
        near = (aim - now).abs().sum(-1, keepdim=True) <= self.turnover
        luck = torch.rand(now.shape, generator=rng or stream, dtype=torch.float64, device=now.device)
        drawn = -torch.log1p(-luck)  # exponential: uniform on the simplex, once divided by their sum
        aim = torch.where(near, self.exposure * drawn / drawn.sum(-1, keepdim=True), aim)
        way = aim - now
        part = (pace / way.abs().sum(-1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)
        return point(now + part * way, self.short), (stream, aim, self.turnover)


@dataclass(frozen=True)
class BuyShares:
    """Of a problem in shares: buy as many of every stock, as fast as orders and cash allow, and never sell."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, N] float64, the largest order for every stock."""
        return torch.ones(obs.legal.shape, dtype=torch.float64, device=obs.legal.device), carry


def equal(legal: Tensor) -> Tensor:
    """[B, A] equal weights of the legal assets; cash where there is none."""
    assets = legal[:, 1:].double()
    count = assets.sum(-1, keepdim=True)
    return torch.cat(((count == 0).double(), assets / count.clamp(min=1.0)), dim=-1)


def point(weights: Tensor, short: float) -> Tensor:
    """The action [B, N+1] that asks for asset weights [B, N], nearest to them where they are out of bounds."""
    idle = 1.0 - weights.sum(-1, keepdim=True)
    shifted = torch.cat((idle, weights + short), dim=-1).clamp(min=0.0)
    return shifted / shifted.sum(-1, keepdim=True)


def held(obs: Obs) -> Tensor:
    """[B, N] float64, the weights that drift has made of what is held."""
    return obs.account[:, 1:].double()


def closes(obs: Obs, length: int, fields: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The last `length` closes [B, L, N] money, and which assets have all of them and trade now [B, N] bool.

    A day without a bar repeats the close before it, at the start of the window one of at most `MONTH` bars earlier.
    """
    price = quoted(obs, "close", length + MONTH, fields)
    rows = torch.arange(length + MONTH, device=price.device).view(1, -1, 1)
    last = torch.where(price.isfinite(), rows, 0).cummax(1).values
    price = price.gather(1, last)[:, MONTH:]
    return price, price[:, 0].isfinite() & obs.legal[:, 1:]
