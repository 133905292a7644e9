"""Baselines in the same slot as learners: rules that need no training. Actions are 0 hold, 1 buy, 2 sell."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fiduciary.core.types import Obs


@dataclass(frozen=True)
class BuyAndHold:
    """Buy with all cash as soon as it is legal, never sell."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Action 1 where legal, else 0."""
        return obs.legal[:, 1].long(), carry


@dataclass(frozen=True)
class Cash:
    """Never trade: idle cash at whatever rate the environment pays."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Action 0."""
        return torch.zeros(len(obs.legal), dtype=torch.int64), carry


@dataclass(frozen=True)
class Random:
    """Uniform over the legal actions; with `rng` None it uses its own fixed stream and so decides the same each time."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """A legal action, drawn uniformly."""
        if rng is None:
            carry = carry if carry is not None else torch.Generator().manual_seed(0)
        return torch.multinomial(obs.legal.double(), 1, generator=rng or carry).squeeze(-1), carry
