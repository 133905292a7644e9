"""The Black-Scholes world: one price that follows a geometric Brownian motion, and exact expectations over it.

S_t = S_tm1 exp((r - sigma^2 / 2) dt + sigma sqrt(dt) Z_t),   Z_t standard normal           (Black and Scholes 1973)
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError

REACH = 8.0
"""Standard deviations beyond which a normal variable is not followed: 1e-15 of its probability."""


@dataclass(frozen=True)
class Brownian:
    """A price watched on T + 1 dates, under the measure whose drift is the rate.

    Attributes:
        spot: price on date 0.
        sigma: volatility, per square root of a year.
        rate: r, continuously compounded, per year.
        dt: years between dates.
        steps: T.
        shift: [T+1] added to log prices, date by date. Set by `redrawn`.

    Raises:
        ConfigError: a price, a volatility, an interval or a number of dates is not positive.
    """

    spot: float
    sigma: float
    rate: float
    dt: float
    steps: int
    shift: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("spot", "sigma", "dt", "steps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive", repr(getattr(self, name)))

    @property
    def drift(self) -> float:
        """Of the log price, per step."""
        return (self.rate - 0.5 * self.sigma**2) * self.dt

    @property
    def sd(self) -> float:
        """Standard deviation of the log price, per step."""
        return self.sigma * math.sqrt(self.dt)

    def draw(self, batch: int, rng: torch.Generator) -> Tensor:
        """Prices [B, T+1] float64 of `batch` worlds."""
        z = torch.randn((batch, self.steps), generator=rng, dtype=torch.float64, device=rng.device)
        moves = torch.nn.functional.pad(self.drift + self.sd * z, (1, 0))
        return self.spot * moves.cumsum(-1).exp()

    def at(self, price: Tensor, t: Tensor) -> Tensor:
        """Prices [B] on dates `t` [B], of worlds `price` [B, T+1]."""
        now = price.gather(-1, t.unsqueeze(-1)).squeeze(-1)
        return now if self.shift is None else now * self.shift[t].exp()

    def redrawn(self, t: Tensor, rng: torch.Generator) -> "Brownian":
        """The same world, whose price leaves on another path after date `t` [1]."""
        z = torch.randn(self.steps + 1, generator=rng, dtype=torch.float64, device=rng.device)
        later = torch.arange(self.steps + 1, device=rng.device) > t
        return replace(self, shift=(self.sd * later * z).cumsum(0).to(t.device))

    def lattice(self, per_sd: int) -> "Lattice":
        """Log prices that dates can reach, `per_sd` nodes to a standard deviation of one step; the middle one is the spot."""
        size = self.sd / per_sd
        half = math.ceil(REACH * math.sqrt(self.steps) * per_sd)
        nodes = torch.arange(-half, half + 1, dtype=torch.float64)
        reach = math.ceil(REACH * per_sd + abs(self.drift) / size)
        offset = size * torch.arange(-reach, reach + 1, dtype=torch.float64)
        weight = torch.exp(-0.5 * ((offset - self.drift) / self.sd) ** 2)
        return Lattice(math.log(self.spot) + size * nodes, weight / weight.sum())


class Lattice(NamedTuple):
    """An even grid of log prices, and the probabilities of one step over it.

    Attributes:
        log_price: [n] float64, ascending.
        weight: [2 m + 1] probability of a move by -m .. m nodes.
    """

    log_price: Tensor
    weight: Tensor

    def expected(self, value: Tensor) -> Tensor:
        """E[value(S_t) | S_tm1] on the grid, [..., n]: the trapezoid rule, whose error falls faster than any power of the
        distance between nodes for smooth values, and with its square at a kink. Beyond its ends a value is taken as constant.
        """
        reach = len(self.weight) // 2
        rows = torch.nn.functional.pad(value.reshape(-1, 1, value.shape[-1]), (reach, reach), mode="replicate")
        return torch.nn.functional.conv1d(rows, self.weight.view(1, 1, -1)).reshape(value.shape)


def call(spot: Tensor, strike: float, *, sigma: float, years: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Price, delta and gamma of a European call without interest, [B] each (Black and Scholes 1973).

    With no time left they are the payoff, 1 in the money, else 0, and 0.

    Args:
        spot: [B] price now.
        strike: K.
        sigma: volatility, per square root of a year.
        years: [B] until expiry.
    """
    sd = (sigma * years.clamp(min=0.0).sqrt()).clamp(min=1e-12)
    d1 = (spot / strike).log() / sd + 0.5 * sd
    delta = torch.special.ndtr(d1)
    gamma = torch.exp(-0.5 * d1**2) / (math.sqrt(2.0 * math.pi) * spot * sd)
    return spot * delta - strike * torch.special.ndtr(d1 - sd), delta, gamma
