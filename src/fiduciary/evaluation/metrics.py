"""Figures of an account, as pure functions of its wealth or its returns. All are per bar unless the name says annual.

Shapes: wealth is [..., T+1] money at the closes of bars 0 to T, r is [..., T] simple returns of bars 1 to T; every figure
is taken along the last axis, so that thousands of resampled histories are judged in one call. A figure that is not defined
(a ratio without any risk) is NaN, never a huge number.

Annual figures use the calendar of the account itself: `bars_per_year` counts its bars against elapsed days, so daily
shares, weekly funds and round-the-clock coins are each annualised by what they are. docs/metrics.md says where other
libraries define a figure differently.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DAYS_PER_YEAR = 365.25
DUST = 1e-6
TAIL = 0.05
# Two equal accounts differ by rounding: below this a return is none, and a spread no risk.
NOISE = 1e-12
RANGE = {
    "rate_of_return": (-1.0, np.inf),
    "annual_return": (-1.0, np.inf),
    "train_return": (-1.0, np.inf),
    "valid_return": (-1.0, np.inf),
    "volatility": (0.0, np.inf),
    "annual_volatility": (0.0, np.inf),
    "max_drawdown": (-1.0, 0.0),
    "max_drawdown_days": (0.0, np.inf),
    "omega": (0.0, np.inf),
    "var": (-np.inf, 1.0),
    "cvar": (-np.inf, 1.0),
    "hit_rate": (0.0, 1.0),
    "tail_ratio": (0.0, np.inf),
    "stability": (0.0, 1.0),
    "kurtosis": (-2.0, np.inf),
    "turnover": (0.0, np.inf),
    "trades": (0.0, np.inf),
    "fees": (0.0, np.inf),
    "exposure": (0.0, 1.0),
    "final_wealth": (0.0, np.inf),
}
"""What a figure of a long-only, unlevered account can be; figures not named here can be anything."""


# --- growth ----------------------------------------------------------------------------------------------------------


def returns(wealth: Floats) -> Floats:
    """r_t = W_t / W_tm1 - 1; wealth [..., T+1] -> [..., T]."""
    return wealth[..., 1:] / wealth[..., :-1] - 1.0


def log_returns(wealth: Floats) -> Floats:
    """log(W_t / W_tm1); wealth [..., T+1] -> [..., T]."""
    return np.diff(np.log(wealth))


def growth(r: Floats) -> Floats:
    """Wealth of 1 put in at the start, W_t = prod_{s <= t} (1 + r_s), W_0 = 1; r [..., T] -> [..., T+1]."""
    return np.concatenate((np.ones_like(r[..., :1]), np.cumprod(1.0 + r, axis=-1)), axis=-1)


def bars_per_year(days: NDArray[np.int64]) -> float:
    """Bars that a year of this calendar holds; days [T+1] since any origin."""
    return float((len(days) - 1) * DAYS_PER_YEAR / (days[-1] - days[0]))


def rate_of_return(wealth: Floats) -> Floats:
    """W_T / W_0 - 1; wealth [..., T+1] -> [...]."""
    return np.asarray(wealth[..., -1] / wealth[..., 0] - 1.0)[()]


def annual_return(wealth: Floats, years: float) -> Floats:
    """(W_T / W_0)^(1 / years) - 1, geometric; wealth [..., T+1] -> [...]."""
    return np.asarray((wealth[..., -1] / wealth[..., 0]) ** (1.0 / years) - 1.0)[()]


# --- risk ------------------------------------------------------------------------------------------------------------


def volatility(r: Floats) -> Floats:
    """Sample standard deviation of returns, T - 1 in the denominator; r [..., T] -> [...]."""
    return np.asarray(np.std(r, axis=-1, ddof=1))[()]


def drawdowns(wealth: Floats) -> Floats:
    """W_t / max_{s <= t} W_s - 1, never positive; [..., T+1] -> [..., T+1]."""
    return wealth / np.maximum.accumulate(wealth, axis=-1) - 1.0


def max_drawdown(wealth: Floats) -> Floats:
    """The deepest fall from a previous high, as a negative fraction; wealth [..., T+1] -> [...]."""
    return np.asarray(drawdowns(wealth).min(axis=-1))[()]


def max_drawdown_days(days: NDArray[np.int64], wealth: Floats) -> int:
    """How long the deepest fall lasted: days from the high before it to the recovery, or to the end where there is none.

    Args:
        days: [T+1] since any origin.
        wealth: [T+1] money.
    """
    fallen = drawdowns(wealth)
    lowest = int(fallen.argmin())
    dry = np.flatnonzero(fallen == 0.0)
    high = dry[np.searchsorted(dry, lowest, side="right") - 1]
    back = dry[dry >= lowest]
    return int(days[back[0] if len(back) else -1] - days[high])


def var(r: Floats, tail: float = TAIL) -> Floats:
    """Historical value at risk: the smallest loss -r that is not exceeded in a share 1 - tail of the bars; r [..., T] -> [...].

    The lower quantile of losses, inf {l : share(-r <= l) >= 1 - tail}; positive = a loss. Source: McNeil, Frey and Embrechts
    (2015), Quantitative Risk Management, definition 2.8.
    """
    k = _whole(tail * r.shape[-1])[0]
    return -np.partition(r, k, axis=-1)[..., k]


def cvar(r: Floats, tail: float = TAIL) -> Floats:
    """Conditional value at risk: mean loss in the worst share `tail` of the bars; r [..., T] -> [...], positive = a loss.

    -(sum of the k = floor(tail T) lowest r + (tail T - k) of the next) / (tail T): the bar at the edge counts in part, as
    coherence asks. Source: Rockafellar and Uryasev (2002), Conditional value-at-risk for general loss distributions,
    proposition 8.
    """
    k, part = _whole(tail * r.shape[-1])
    lowest = np.partition(r, k, axis=-1)
    worst = lowest[..., :k].sum(axis=-1) + part * lowest[..., k]
    return np.asarray(-worst / (tail * r.shape[-1]))[()]


def skew(r: Floats) -> Floats:
    """m_3 / m_2^1.5 of central moments (Fisher's g_1, biased); r [..., T] -> [...]; NaN where r never moves."""
    return _moment(r, 3)


def kurtosis(r: Floats) -> Floats:
    """Excess kurtosis m_4 / m_2^2 - 3 (Fisher's g_2, biased), 0 for a normal; r [..., T] -> [...]; NaN where r never moves."""
    return _moment(r, 4) - 3.0


def tail_ratio(r: Floats) -> Floats:
    """|95 % quantile| / |5 % quantile|, interpolated: above 1, gains reach further than losses; r [..., T] -> [...]."""
    low, high = np.abs(np.quantile(r, (TAIL, 1.0 - TAIL), axis=-1))
    return _over(high, low)


def stability(r: Floats) -> Floats:
    """R^2 of log wealth, sum_{s <= t} log(1 + r_s), on a line in t; r [..., T] -> [...]; NaN where wealth never moves."""
    log_wealth = np.cumsum(np.log1p(r), axis=-1)
    off = log_wealth - log_wealth.mean(axis=-1, keepdims=True)
    t = np.arange(r.shape[-1]) - (r.shape[-1] - 1) / 2.0
    return _over(off @ t, np.sqrt((t @ t) * np.square(off).sum(axis=-1))) ** 2


# --- return for risk -------------------------------------------------------------------------------------------------


def sharpe(r: Floats, risk_free: Floats | float = 0.0) -> Floats:
    """mean(r - f) / std(r - f) (Sharpe 1994); r [..., T] -> [...]; NaN when the excess return never moves."""
    excess = r - risk_free
    return _over(excess.mean(axis=-1), volatility(excess))


def sortino(r: Floats, risk_free: Floats | float = 0.0) -> Floats:
    """mean(r - f) / sqrt(mean(min(r - f, 0)^2)); r [..., T] -> [...]; NaN where it never fell below f.

    Source: Sortino and Price (1994), Performance measurement in a downside risk framework; all T bars count in the mean.
    """
    excess = r - risk_free
    return _over(excess.mean(axis=-1), np.sqrt(np.square(np.minimum(excess, 0.0)).mean(axis=-1)))


def omega(r: Floats, risk_free: Floats | float = 0.0) -> Floats:
    """sum max(r - f, 0) / sum max(f - r, 0); r [..., T] -> [...]; NaN where it never fell below f.

    Source: Keating and Shadwick (2002), A universal performance measure, with f as the threshold.
    """
    excess = r - risk_free
    return _over(np.maximum(excess, 0.0).sum(axis=-1), np.maximum(-excess, 0.0).sum(axis=-1))


def calmar(wealth: Floats, years: float) -> Floats:
    """Annual return over the deepest fall (Young 1991); wealth [..., T+1] -> [...]; NaN where it never fell."""
    return _over(annual_return(wealth, years), -max_drawdown(wealth))


def hit_rate(r: Floats, risk_free: Floats | float = 0.0) -> Floats:
    """Share of bars that earned more than idle cash; r [..., T] -> [...]."""
    return np.asarray(np.mean(r - risk_free > NOISE, axis=-1))[()]


# --- against a benchmark ---------------------------------------------------------------------------------------------


def beta(r: Floats, benchmark: Floats, risk_free: Floats | float = 0.0) -> Floats:
    """cov(r - f, b - f) / var(b - f), the slope of the CAPM (Sharpe 1964); r, b [..., T] -> [...]."""
    own, market = r - risk_free, benchmark - risk_free
    off = market - market.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(off).mean(axis=-1))
    return _over(_over((off * own).mean(axis=-1), spread), spread)


def alpha(r: Floats, benchmark: Floats, risk_free: Floats | float = 0.0) -> Floats:
    """mean(r - f) - beta mean(b - f), Jensen's alpha (1968); r, b [..., T] -> [...]."""
    own, market = (r - risk_free).mean(axis=-1), (benchmark - risk_free).mean(axis=-1)
    return np.asarray(own - beta(r, benchmark, risk_free) * market)[()]


def information_ratio(r: Floats, benchmark: Floats) -> Floats:
    """mean(r - b) / std(r - b) (Goodwin 1998); r, b [..., T] -> [...]; NaN for a copy of the benchmark."""
    return sharpe(r, benchmark)


def against(r: Floats, benchmark: Floats, risk_free: Floats | float, per_year: float) -> dict[str, Floats]:
    """Figures of returns r [..., T] next to those of a benchmark [..., T]; annual alpha compounds that of a bar."""
    return {
        "annual_alpha": np.asarray((1.0 + alpha(r, benchmark, risk_free)) ** per_year - 1.0)[()],
        "beta": beta(r, benchmark, risk_free),
        "annual_information_ratio": information_ratio(r, benchmark) * per_year**0.5,
    }


# --- trading ---------------------------------------------------------------------------------------------------------


def turnover(traded: Floats, wealth: Floats, years: float) -> float:
    """Money traded, both ways, over mean wealth, per year; traded: money of every fill, in any order."""
    return float(np.abs(traded).sum() / wealth.mean() / years)


def capacity(
    edge: float, traded: Floats, *, wealth: float, years: float, volatility: Floats | float, volume: Floats | float,
    k: float = 1.0,
) -> float:  # fmt: skip
    """Wealth at which impact by the square-root law eats the edge: larger accounts lose.

    An order of x money moves the price by k sigma sqrt(x / V) and so costs k sigma x^1.5 / V^0.5. Scaled by m, the account
    pays sqrt(m) times its cost per unit of wealth, so cost meets edge at m = (edge years W / sum_i k sigma_i x_i^1.5 /
    V_i^0.5)^2, and the capacity is m W. Source: Grinold and Kahn (2000), Active Portfolio Management, chapter 16; Toth et al.
    (2011), Anomalous price impact and the critical nature of liquidity.

    Args:
        edge: annual return over the benchmark before impact; none, or a negative one, has no capacity.
        traded: [K] signed money of every fill.
        wealth: mean money of the account that made them.
        years: over which they were made.
        volatility: sigma, of a day's return: one or [K].
        volume: V, money that changes hands in a day: one or [K].
        k: impact of a day's whole volume, in daily volatilities.
    """
    cost = float(np.sum(k * np.asarray(volatility) * np.abs(traded) ** 1.5 / np.sqrt(volume)))
    if edge <= 0.0:
        return 0.0
    return float("inf") if cost == 0.0 else wealth * (edge * years * wealth / cost) ** 2


# --- all together ----------------------------------------------------------------------------------------------------


OF_RETURNS: dict[str, Callable[[Floats, Floats | float, float], Floats]] = {
    "annual_return": lambda r, f, n: np.prod(1.0 + r, axis=-1) ** (n / r.shape[-1]) - 1.0,
    "annual_volatility": lambda r, f, n: volatility(r) * n**0.5,
    "annual_sharpe": lambda r, f, n: sharpe(r, f) * n**0.5,
    "annual_sortino": lambda r, f, n: sortino(r, f) * n**0.5,
    "sortino": lambda r, f, n: sortino(r, f),
    "calmar": lambda r, f, n: calmar(growth(r), r.shape[-1] / n),
    "omega": lambda r, f, n: omega(r, f),
    "var": lambda r, f, n: var(r),
    "cvar": lambda r, f, n: cvar(r),
    "max_drawdown": lambda r, f, n: max_drawdown(growth(r)),
    "hit_rate": lambda r, f, n: hit_rate(r, f),
    "tail_ratio": lambda r, f, n: tail_ratio(r),
    "stability": lambda r, f, n: stability(r),
    "skew": lambda r, f, n: skew(r),
    "kurtosis": lambda r, f, n: kurtosis(r),
}
"""Figures that depend on returns alone: (r [..., T], risk-free [T] or [..., T], bars per year) -> [...]."""


def summary(
    days: NDArray[np.int64], wealth: Floats, risk_free: Floats, traded: Floats, fees: Floats, *, per_year: float = 0.0
) -> dict[str, float]:
    """The figures of one account, or of several added up, that a report shows.

    Args:
        days: [T+1] days since any origin.
        wealth: [T+1] money.
        risk_free: [T] return of idle cash over the same bars.
        traded: signed money of every fill of every account; less than `DUST` of mean wealth is rounding, not a trade.
        fees: [T] money, not positive.
        per_year: bars in a year of its calendar; 0 = `bars_per_year` of `days`, which must then have no gaps.
    """
    r, per_year = returns(wealth), per_year or bars_per_year(days)
    of_returns = {name: float(figure(r, risk_free, per_year)) for name, figure in OF_RETURNS.items()}
    return {
        "rate_of_return": float(rate_of_return(wealth)),
        "volatility": float(volatility(r)),
        "sharpe": float(sharpe(r, risk_free)),
        **of_returns,
        "max_drawdown_days": float(max_drawdown_days(days, wealth)),
        "turnover": turnover(traded, wealth, len(r) / per_year),
        "trades": float(np.count_nonzero(np.abs(traded) > DUST * wealth.mean())),
        "fees": float(-fees.sum()),
        "final_wealth": float(wealth[-1]),
    }


def _over(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where `whole` is rounding noise or nothing."""
    return np.asarray(part / np.where(whole > NOISE, whole, np.nan))[()]


def _moment(r: Floats, order: Literal[3, 4]) -> Floats:
    """Central moment over the power of the standard deviation, both biased."""
    off = r - r.mean(axis=-1, keepdims=True)
    square = off * off
    spread = np.sqrt(square.mean(axis=-1))
    # Products: a general power takes ten times as long.
    moment = (square * (off if order == 3 else square)).mean(axis=-1)
    return np.asarray(moment / np.where(spread > NOISE, spread, np.nan) ** order)[()]


def _whole(x: float) -> tuple[int, float]:
    """Whole and fractional part of x >= 0, where 0.05 * 100 is 5 and not a hair less or more."""
    k = int(np.floor(x + NOISE))
    return k, max(x - k, 0.0)
