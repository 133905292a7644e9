"""Timing rules for one stock: in the market or in cash, by what its own prices did. Actions are 0 hold, 1 buy, 2 sell.

Each rule says at the close of t whether it wants to be in (buys if it may), out (sells if it may) or neither (holds), and
holds until its look-back is filled. Indicators are TA-Lib's, begun at the first bar of a finite look-back instead of the
first bar of history: what came before it is forgotten. Every rule is the same in any unit of price.

Rules read raw prices (`View.history`); `fields` are the names of the quotes, in the world's order.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.agents.rules import quoted
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, Policy
from fiduciary.data.panel import BARS

HOLD, BUY, SELL = 0, 1, 2
MEMORY = 10
"""Look-back of an exponential average, in periods: its start then weighs e^-20 (alpha = 2 / (n + 1)) or e^-10 (1 / n)."""


@dataclass(frozen=True)
class Momentum:
    """In when the price rose from bar t - `lookback` to t - `skip`, out when it fell.

        r = P_(t - skip) / P_(t - lookback) - 1

    252 and 21 are the "12-1 months" of Jegadeesh and Titman (1993), on one series as in Moskowitz, Ooi and Pedersen (2012).
    """

    lookback: int = 252
    skip: int = 21
    fields: tuple[str, ...] = BARS

    def __post_init__(self) -> None:
        if not 0 <= self.skip < self.lookback:
            raise ConfigError("`skip` must lie in [0, lookback)", f"{self.skip} with lookback {self.lookback}")

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64."""
        price = quoted(obs, "close", self.lookback + 1, self.fields)
        was, now = price[:, 0], price[:, -1 - self.skip]
        return _order(obs, now > was, now < was), carry


@dataclass(frozen=True)
class MovingAverage:
    """In while the mean of the last `fast` closes is above that of the last `slow`, out while below (Brock et al. 1992)."""

    fast: int = 50
    slow: int = 200
    fields: tuple[str, ...] = BARS

    def __post_init__(self) -> None:
        _increasing(fast=self.fast, slow=self.slow)

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64."""
        price = quoted(obs, "close", self.slow, self.fields)
        fast, slow = price[:, -self.fast :].mean(-1), price.mean(-1)
        return _order(obs, fast > slow, fast < slow), carry


@dataclass(frozen=True)
class Bollinger:
    """Mean reversion: in when the close falls below the lower band, out when it is back at the mean or above.

    mean_t - width sigma_t, both over the last `period` closes, sigma with divisor n (Bollinger 2001; TA-Lib's BBANDS)
    """

    period: int = 20
    width: float = 2.0
    fields: tuple[str, ...] = BARS

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64."""
        price = quoted(obs, "close", self.period, self.fields)
        mean, sigma = price.mean(-1), price.std(-1, correction=0)
        return _order(obs, price[:, -1] < mean - self.width * sigma, price[:, -1] >= mean), carry


@dataclass(frozen=True)
class MACD:
    """In while MACD is above its signal line, out while below (Appel 1979).

    MACD = EMA_fast(P) - EMA_slow(P),  signal = EMA_signal(MACD),  over the last `MEMORY` * slow closes
    """

    fast: int = 12
    slow: int = 26
    signal: int = 9
    fields: tuple[str, ...] = BARS

    def __post_init__(self) -> None:
        _increasing(fast=self.fast, slow=self.slow)

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64."""
        excess = self.histogram(quoted(obs, "close", MEMORY * self.slow, self.fields))
        return _order(obs, excess > 0, excess < 0), carry

    def histogram(self, price: Tensor) -> Tensor:
        """MACD less its signal at the last of the bars `price` [B, L] money: [B] money."""
        # Averages are linear in prices, so the histogram is one weighted sum of the closes.
        weights = _macd_weights(price.shape[-1], self.fast, self.slow, self.signal)
        # Weights add up to 0: from the present close on, rounding is relative to moves, and flat prices give 0.
        return (price - price[:, -1:]) @ weights.to(price.device)


@dataclass(frozen=True)
class RSI:
    """Mean reversion: in when the relative strength index falls below `low`, out when it rises above `high` (Wilder 1978).

    RSI = 100 G / (G + L)      G, L: Wilder's averages (alpha = 1 / period) of rises and falls of the close
    """

    period: int = 14
    low: float = 30.0
    high: float = 70.0
    fields: tuple[str, ...] = BARS

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64."""
        index = self.index(quoted(obs, "close", MEMORY * self.period + 1, self.fields))
        return _order(obs, index < self.low, index > self.high), carry

    def index(self, price: Tensor) -> Tensor:
        """RSI [B], 0 to 100, at the last of the bars `price` [B, L] money; 0 where nothing moved, as TA-Lib has it."""
        move = price.diff(dim=-1)
        weights = _average(move.shape[-1], self.period, 1.0 / self.period).to(price.device)
        rise, path = move.clamp(min=0.0) @ weights, move.abs() @ weights
        return 100.0 * rise / torch.where(path == 0, 1.0, path)


@dataclass(frozen=True)
class DualThrust:
    """Range breakout: in when the close is above the upper line of its day, out when it is below the lower (Chalek's rule).

        Range = max(HH - LC, HC - LL)      highest high, lowest close, highest close, lowest low of the `days` days before t
        buy line = open_t + k1 Range,  sell line = open_t - k2 Range

    The daily version: the original trades when a price crosses a line within the day, this one sees it at the close, and its
    order is filled when the environment fills orders. Out means cash; the original goes short.
    """

    days: int = 4
    k1: float = 0.5
    k2: float = 0.5
    fields: tuple[str, ...] = BARS

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64."""
        opening, high, low, close = (
            quoted(obs, f, self.days + 1, self.fields) for f in ("open", "high", "low", "close")
        )
        up = high[:, :-1].amax(-1) - close[:, :-1].amin(-1)
        spread = torch.maximum(up, close[:, :-1].amax(-1) - low[:, :-1].amin(-1))
        start, now = opening[:, -1], close[:, -1]
        return _order(obs, now > start + self.k1 * spread, now < start - self.k2 * spread), carry


@dataclass(frozen=True)
class RandomTrades:
    """Luck at a given pace: in cash it buys with probability `buy` at each bar, in the stock it sells with `sell`.

    Attributes:
        buy, sell: probabilities per bar.
        seed: of its own stream, which it uses when asked without a generator: the same trades each time.
    """

    buy: float
    sell: float
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("buy", "sell"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"`{name}` must be a probability", repr(getattr(self, name)))

    @classmethod
    def matching(
        cls, traded: NDArray[np.float64], wealth: NDArray[np.float64], exposure: NDArray[np.float64], *, seed: int = 0
    ) -> "RandomTrades":
        """The rule that expects as many trades n and as many bars in the stock H as a trajectory of T steps had.

            E[H] = sum_t pi_t,  E[n] = a (T - H) + b H      pi_t+1 = pi_t (1 - b) + (1 - pi_t) a,  pi_0 = 0

        a = `buy`, b = `sell`. Both exactly where some pace has both (few do for a handful of trades), else as near as the
        bounds allow. Where the market refuses orders (limits, holding days) it trades a little less.

        Args:
            traded: [T] money of each step's fill, 0 = none.
            wealth: [T+1] money; not needed for all-in trades.
            exposure: [T+1] fraction of wealth at risk, from the opening on.
            seed: of the rule's stream.
        """
        steps, trades, held = len(traded), int(np.count_nonzero(traded)), int(np.count_nonzero(exposure[:-1]))
        if not held:  # never in, or in on the last step alone
            return cls(min(1.0, trades / max(steps, 1)), 0.0, seed)
        idle = steps - held
        if not idle:
            raise ConfigError("a trajectory to match must open in cash", "an account that never was")
        low, high = max(0.0, (trades - held) / idle), min(1.0, trades / idle)
        for _ in range(60):  # bars in the stock rise with `buy`, since each purchase more is a sale less
            middle = (low + high) / 2
            enough = _bars_held(middle, (trades - middle * idle) / held, steps) >= held
            low, high = (low, middle) if enough else (middle, high)
        return cls(high, min(1.0, max(0.0, (trades - high * idle) / held)), seed)

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """[B] int64."""
        if rng is None:
            carry = carry if carry is not None else torch.Generator(obs.legal.device).manual_seed(self.seed)
        luck = torch.rand(len(obs.legal), generator=rng or carry, device=obs.legal.device, dtype=torch.float64)
        return _order(obs, luck < self.buy, luck < self.sell), carry


def _order(obs: Obs, into: Tensor, out: Tensor) -> Tensor:
    """[B] int64: buy where `into` and legal, sell where `out` and legal, else hold; unknown (NaN) compares as neither."""
    buy, sell = into & obs.legal[:, BUY], out & obs.legal[:, SELL]
    return torch.where(buy, BUY, torch.where(sell, SELL, HOLD))


def _average(length: int, period: int, alpha: float) -> Tensor:
    """[L] weights of an exponential average at the last of L bars, begun as the mean of the first `period` of them."""
    age = torch.arange(length - 1, -1, -1, dtype=torch.float64)
    begun = (1.0 - alpha) ** (length - period) / period
    return torch.where(age >= length - period, begun, alpha * (1.0 - alpha) ** age)


@cache
def _macd_weights(length: int, fast: int, slow: int, signal: int) -> Tensor:
    """[L] weights of closes in the MACD histogram; all averages begin together, when the slow one is first known."""
    lines = torch.zeros(length - slow + 1, length, dtype=torch.float64)
    for row, line in enumerate(lines):
        line[slow - fast : slow + row] += _average(fast + row, fast, 2.0 / (fast + 1))
        line[: slow + row] -= _average(slow + row, slow, 2.0 / (slow + 1))
    return lines[-1] - _average(len(lines), signal, 2.0 / (signal + 1)) @ lines


def _bars_held(buy: float, sell: float, steps: int) -> float:
    """Expected bars in the stock out of `steps`, begun in cash: pi_t = a (1 - lambda^t) / (a + b), lambda = 1 - a - b."""
    pace = buy + sell
    return 0.0 if pace == 0 else buy / pace * (steps - (1.0 - (1.0 - pace) ** steps) / pace)


def _increasing(**periods: int) -> None:
    (small, fast), (large, slow) = periods.items()
    if not 0 < fast < slow:
        raise ConfigError(f"`{small}` must be at least 1 and below `{large}`", f"{fast} and {slow}")


TIMING: dict[str, Policy] = {
    "momentum": Momentum(),
    "momentum-short": Momentum(lookback=20, skip=0),
    "moving-average": MovingAverage(),
    "bollinger": Bollinger(),
    "macd": MACD(),
    "rsi": RSI(),
    "dual-thrust": DualThrust(),
}
"""Timing rules by name, with their textbook settings; none was tuned on our data."""
