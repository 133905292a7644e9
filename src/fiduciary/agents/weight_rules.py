"""Baselines for problems whose action is a row of weights, cash first: rules that need no training.

Where the environment lets weights go short (w_i = (1 + N s) p_i - s), give the rules the same `short` s.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fiduciary.core.types import Obs


@dataclass(frozen=True)
class EqualWeight:
    """1/n in each of the n assets that trade, at every bar (DeMiguel, Garlappi and Uppal 2009); cash if none does."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        return _equal(obs.legal), carry


@dataclass(frozen=True)
class HoldWeights:
    """Buy equal weights once, as soon as something trades, then ask for the weights that are held.

    Attributes:
        short: s of the environment.
    """

    short: float = 0.0

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights. The account is read in float32, so a hold may trade a ten-millionth of wealth."""
        exposure, weights = obs.account[:, :1].double(), obs.account[:, 1:].double()
        # The division in `_point` takes out N s, and what short weights beyond the bound leave over.
        return torch.where(exposure > 0, _point(weights, self.short), _equal(obs.legal)), carry


@dataclass(frozen=True)
class CashWeights:
    """Sell whatever is held and keep cash.

    Attributes:
        short: s of the environment.
    """

    short: float = 0.0

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, A] float64 weights."""
        return _point(torch.zeros_like(obs.account[:, 1:], dtype=torch.float64), self.short), carry


@dataclass(frozen=True)
class BuyShares:
    """Of a problem in shares: buy as many of every stock, as fast as orders and cash allow, and never sell."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B, N] float64, the largest order for every stock."""
        return torch.ones(obs.legal.shape, dtype=torch.float64, device=obs.legal.device), carry


def _equal(legal: Tensor) -> Tensor:
    """[B, A] equal weights of the legal assets; cash where there is none."""
    assets = legal[:, 1:].double()
    count = assets.sum(-1, keepdim=True)
    return torch.cat(((count == 0).double(), assets / count.clamp(min=1.0)), dim=-1)


def _point(weights: Tensor, short: float) -> Tensor:
    """The action [B, N+1] that asks for asset weights [B, N], nearest to them where they are out of bounds."""
    idle = 1.0 - weights.sum(-1, keepdim=True)
    shifted = torch.cat((idle, weights + short), dim=-1).clamp(min=0.0)
    return shifted / shifted.sum(-1, keepdim=True)
