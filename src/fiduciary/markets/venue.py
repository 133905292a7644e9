"""What a market allows: lots, days between purchase and sale, daily price limits."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError

_LIMIT_SLACK = 0.002
"""Limit prices are rounded to the tick, so a locked bar can print up to 0.2 % inside its limit."""


@dataclass(frozen=True)
class Venue:
    """Trading rules of one market.

    Attributes:
        lot: units in which purchases are made; 0 allows fractions. Sales empty the holding, odd lots included.
        hold_days: a sale may be filled this many bars after its purchase or later; 1 forbids it on the same day.
        price_limit: largest move from the previous close at which orders are still filled; None = no limit.

    Raises:
        ConfigError: a rule is negative or no number.
    """

    lot: float = 1.0
    hold_days: int = 0
    price_limit: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lot) and self.lot >= 0):
            raise ConfigError("`lot` must be 0 (fractions) or a positive number of units", str(self.lot))
        if self.hold_days < 0:
            raise ConfigError("`hold_days` must not be negative", str(self.hold_days))
        if self.price_limit is not None and not _LIMIT_SLACK < self.price_limit < 1:
            raise ConfigError(
                f"`price_limit` must lie between {_LIMIT_SLACK} and 1", str(self.price_limit), remedy="0.1 means 10 %"
            )

    def whole_lots(self, units: Tensor) -> Tensor:
        """Round units [B] down to whole lots."""
        return torch.floor(units / self.lot) * self.lot if self.lot else units

    def enough(self, units: Tensor) -> Tensor:
        """[B] bool: `units` [B], unrounded, hold a whole lot, or anything at all where fractions are allowed."""
        return units >= self.lot if self.lot else units > 0.0

    def buyable(self, price: Tensor, previous_close: Tensor) -> Tensor:
        """[B] bool: not locked at the upper limit."""
        return price < previous_close * (1.0 + self._limit())

    def sellable(self, price: Tensor, previous_close: Tensor) -> Tensor:
        """[B] bool: not locked at the lower limit."""
        return price > previous_close * (1.0 - self._limit())

    def _limit(self) -> float:
        return math.inf if self.price_limit is None else self.price_limit - _LIMIT_SLACK


CHINA_A = Venue(lot=100, hold_days=1, price_limit=0.10)
"""Shanghai and Shenzhen main boards: 100-share lots, no sale on the day of purchase, a 10 % daily limit."""

US = Venue()
"""Whole shares, nothing else."""
