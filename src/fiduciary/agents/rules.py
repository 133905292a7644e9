"""Baselines in the same slot as learners: rules that need no training. Actions are 0 hold, 1 buy, 2 sell."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fiduciary.core.checks import random_action
from fiduciary.core.types import Obs, Space


@dataclass(frozen=True)
class BuyAndHold:
    """Buy with all cash as soon as it is legal, never sell."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Action 1 where legal, else 0."""
        return obs.legal[:, 1].long(), carry


@dataclass(frozen=True)
class Cash:
    """Never trade, or hold no position: idle cash at whatever rate the environment pays.

    Attributes:
        space: of the problem's actions.
    """

    space: Space = "discrete"

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Action 0; no order in a box; all weight on the first component, cash, of a simplex."""
        if self.space == "discrete":
            return torch.zeros(len(obs.legal), dtype=torch.int64, device=obs.legal.device), carry
        nothing = torch.zeros(obs.legal.shape, dtype=torch.float64, device=obs.legal.device)
        if self.space == "simplex":
            nothing[:, 0] = 1.0
        return nothing, carry


@dataclass(frozen=True)
class Random:
    """Uniform over the legal actions; with `rng` None it uses its own fixed stream and so decides the same each time.

    Attributes:
        space: of the problem's actions.
    """

    space: Space = "discrete"

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """A legal action, drawn uniformly."""
        if rng is None:
            carry = carry if carry is not None else torch.Generator(obs.legal.device).manual_seed(0)
        return random_action(self.space, obs.legal, rng or carry), carry
