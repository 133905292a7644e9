"""What a market charges for a trade. Rates are in basis points of the money traded (1 bp = 0.01 %)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError


@dataclass(frozen=True)
class Costs:
    """Proportional costs with an optional minimum per order.

    Attributes:
        commission_bps: charged on purchases and sales.
        stamp_duty_bps: charged on sales only.
        slippage_bps: worse price than quoted, on purchases and sales; booked as impact, not as a fee.
        minimum_fee: least commission of one order, in money.

    Raises:
        ConfigError: a cost is negative or above 100 %.
    """

    commission_bps: float = 0.0
    stamp_duty_bps: float = 0.0
    slippage_bps: float = 0.0
    minimum_fee: float = 0.0

    def __post_init__(self) -> None:
        for name in ("commission_bps", "stamp_duty_bps", "slippage_bps"):
            if not 0 <= getattr(self, name) < 10_000:
                raise ConfigError(f"`{name}` must lie in [0, 10000) basis points", str(getattr(self, name)))
        if not 0 <= self.minimum_fee < math.inf:
            raise ConfigError("`minimum_fee` must be a number, not negative", str(self.minimum_fee))

    def times(self, multiple: float) -> "Costs":
        """Every cost times `multiple`; 0 = free.

        Raises:
            ConfigError: `multiple` is negative or no number, or makes a cost of 100 % or more.
        """
        if not 0 <= multiple < math.inf:
            raise ConfigError("costs must be multiplied by a number, not negative", str(multiple))
        return Costs(**{name: multiple * cost for name, cost in vars(self).items()})

    def fees(self, traded: Tensor) -> Tensor:
        """Commission and duty on signed money `traded` [B] (positive bought): [B], never negative."""
        fees = traded.abs() * (self.commission_bps * 1e-4)
        if self.minimum_fee:
            fees = torch.where(traded == 0, 0.0, fees.clamp(min=self.minimum_fee))
        if self.stamp_duty_bps:
            fees = fees - traded.clamp(max=0.0) * (self.stamp_duty_bps * 1e-4)
        return fees

    def impact(self, traded: Tensor) -> Tensor:
        """Slippage on signed money `traded` [B]: [B], never negative."""
        return traded.abs() * (self.slippage_bps * 1e-4) if self.slippage_bps else torch.zeros_like(traded)

    def affordable(self, cash: Tensor, price: Tensor) -> Tensor:
        """Most units [B], unrounded, whose price, commission and slippage `cash` [B] money can pay at `price` [B]."""
        slip = self.slippage_bps * 1e-4
        units = cash / (price * (1.0 + self.commission_bps * 1e-4 + slip))
        if self.minimum_fee:
            units = torch.minimum(units, (cash - self.minimum_fee) / (price * (1.0 + slip)))
        return units.clamp(min=0.0)


def linear(bps: float) -> Costs:
    """The same `bps` on every trade, both ways."""
    return Costs(commission_bps=bps)


CHINA_A = Costs(commission_bps=2.5, stamp_duty_bps=10.0)
"""Commission 0.025 % each way and 0.1 % stamp duty on sales (card 1.1; the duty was halved in August 2023)."""
