"""Figures of an account, as pure functions of its wealth. Returns are simple and per bar unless the name says annual.

Annual figures use the calendar of the account itself: `bars_per_year` counts its bars against elapsed days, so daily
shares, weekly funds and round-the-clock coins are each annualised by what they are.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DAYS_PER_YEAR = 365.25
DUST = 1e-6
RANGE = {
    "rate_of_return": (-1.0, np.inf),
    "annual_return": (-1.0, np.inf),
    "train_return": (-1.0, np.inf),
    "valid_return": (-1.0, np.inf),
    "volatility": (0.0, np.inf),
    "annual_volatility": (0.0, np.inf),
    "max_drawdown": (-1.0, 0.0),
    "turnover": (0.0, np.inf),
    "trades": (0.0, np.inf),
    "fees": (0.0, np.inf),
    "exposure": (0.0, 1.0),
    "final_wealth": (0.0, np.inf),
}
"""What a figure of a long-only, unlevered account can be; figures not named here can be anything."""


def returns(wealth: Floats) -> Floats:
    """r_t = W_t / W_tm1 - 1; wealth [T+1] -> [T]."""
    return wealth[1:] / wealth[:-1] - 1.0


def log_returns(wealth: Floats) -> Floats:
    """log(W_t / W_tm1); wealth [T+1] -> [T]."""
    return np.diff(np.log(wealth))


def bars_per_year(days: NDArray[np.int64]) -> float:
    """Bars that a year of this calendar holds; days [T+1] since any origin."""
    return float((len(days) - 1) * DAYS_PER_YEAR / (days[-1] - days[0]))


def rate_of_return(wealth: Floats) -> float:
    """W_T / W_0 - 1."""
    return float(wealth[-1] / wealth[0] - 1.0)


def annual_return(wealth: Floats, days: NDArray[np.int64]) -> float:
    """(W_T / W_0)^(1 / years) - 1, geometric."""
    return float((wealth[-1] / wealth[0]) ** (DAYS_PER_YEAR / (days[-1] - days[0])) - 1.0)


def volatility(r: Floats) -> float:
    """Sample standard deviation of returns r [T], per bar."""
    return float(np.std(r, ddof=1))


def sharpe(r: Floats, risk_free: Floats | float = 0.0) -> float:
    """mean(r - f) / std(r - f), per bar (Sharpe 1994); NaN when the excess return never moves."""
    excess = r - risk_free
    spread = float(np.std(excess, ddof=1))
    # A difference of two equal accounts is rounding noise, not a tiny risk with a huge ratio.
    return float(np.mean(excess) / spread) if spread > 1e-12 else float("nan")


def drawdowns(wealth: Floats) -> Floats:
    """W_t / max_{s <= t} W_s - 1, never positive; [T+1] -> [T+1]."""
    return wealth / np.maximum.accumulate(wealth) - 1.0


def max_drawdown(wealth: Floats) -> float:
    """The deepest fall from a previous high, as a negative fraction."""
    return float(drawdowns(wealth).min())


def turnover(traded: Floats, wealth: Floats, years: float) -> float:
    """Money traded, both ways, over mean wealth, per year; traded: money of every fill, in any order."""
    return float(np.abs(traded).sum() / wealth.mean() / years)


def summary(
    days: NDArray[np.int64], wealth: Floats, risk_free: Floats, traded: Floats, fees: Floats
) -> dict[str, float]:
    """The figures of one account, or of several added up, that a report shows.

    Args:
        days: [T+1] days since any origin.
        wealth: [T+1] money.
        risk_free: [T] return of idle cash over the same bars.
        traded: signed money of every fill of every account; less than `DUST` of mean wealth is rounding, not a trade.
        fees: [T] money, not positive.
    """
    r, per_year = returns(wealth), bars_per_year(days)
    daily = sharpe(r, risk_free)
    return {
        "rate_of_return": rate_of_return(wealth),
        "annual_return": annual_return(wealth, days),
        "volatility": volatility(r),
        "annual_volatility": volatility(r) * per_year**0.5,
        "sharpe": daily,
        "annual_sharpe": daily * per_year**0.5,
        "max_drawdown": max_drawdown(wealth),
        "turnover": turnover(traded, wealth, len(r) / per_year),
        "trades": float(np.count_nonzero(np.abs(traded) > DUST * wealth.mean())),
        "fees": float(-fees.sum()),
        "final_wealth": float(wealth[-1]),
    }
