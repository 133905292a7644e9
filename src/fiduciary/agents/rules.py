"""Baselines in the same slot as learners: rules that need no training. Actions are 0 hold, 1 buy, 2 sell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fiduciary.core.checks import random_action
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, Space
from fiduciary.data.panel import position


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
        short: `Spec.short` of the problem.
    """

    space: Space = "discrete"
    short: float = 0.0

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Action 0; no order in a box; all weight on the first component, cash, of a simplex."""
        if self.space == "discrete":
            return torch.zeros(len(obs.legal), dtype=torch.int64, device=obs.legal.device), carry
        nothing = torch.zeros(obs.legal.shape, dtype=torch.float64, device=obs.legal.device)
        if self.space == "simplex":
            nothing += self.short
            nothing[:, 0] = 1.0
            nothing /= nothing.sum(-1, keepdim=True)
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


def quoted(obs: Obs, name: str, length: int, fields: Sequence[str]) -> Tensor:
    """One raw price over the last `length` bars, [B, L] or [B, L, N] money, the present last; NaN where there was none.

    Args:
        obs: what the rule sees.
        name: of the price.
        length: L, in bars.
        fields: names of the world's quotes, in order (`Spec.quotes`). A world with a single quote quotes its close.

    Raises:
        ConfigError: the world quotes no prices, not this one, or another number than `fields` names.
    """
    quotes = obs.world.history(length)
    if quotes.shape[-1] == 1:
        fields = ("close",)
    if quotes.shape[-1] != len(fields):
        raise ConfigError(
            "`fields` of a rule must name the quotes of its world", f"{', '.join(fields)} for {quotes.shape[-1]} quotes",
            remedy="give the rule fields=env.spec.quotes",
        )  # fmt: skip
    return quotes[..., position(name, fields, "price that a rule reads")]
