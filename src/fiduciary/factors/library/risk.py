"""Market risk and liquidity of a stock among the others of its panel; a year is 252 bars, a month 21.

The market is the mean return of the panel's symbols on the date, so these depend on who is in the panel.
"""

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import Panel
from fiduciary.factors.library.define import formulas
from fiduciary.factors.library.momentum import WORDS

RISK = formulas(
    {
        "beta": ("BETA", "slope of the return on the market's over a year"),
        "beta_down": (
            "ts_cov(minimum(R, 0), minimum(M, 0), 252) / ts_var(minimum(M, 0), 252)",
            "the same of losses alone, after Ang, Chen and Xing, Rev. Fin. Studies 19, 2006",
        ),
        "idiosyncratic": (
            "ts_std(R, 252) * sqrt(1 - ts_corr(R, M, 252) ** 2)",
            "Ang, Hodrick, Xing and Zhang, J. Finance 61, 2006, with one factor: volatility beside the market, per bar",
        ),
        "skewness": ("ts_skew(R, 252)", "sample skewness of a year's returns"),
        "kurtosis": ("ts_kurt(R, 252)", "sample excess kurtosis of a year's returns"),
    },
    WORDS,
)  # fmt: skip
"""5 formulas over close."""

LIQUIDITY = formulas(
    {
        "illiquidity": (
            "1e6 * ts_mean(abs(R) / (close * volume), 21)",
            "Amihud, J. Fin. Markets 5, 2002: absolute return per million of currency traded, mean of a month",
        ),
        "dollar_volume": ("log(ts_mean(close * volume, 21))", "log of the mean currency traded per bar"),
        "volume_trend": ("ts_mean(volume, 5) / ts_mean(volume, 63)", "volume of a week over that of a quarter"),
        "turnover": ("ts_mean(volume / shares, 21)", "Datar, Naik and Radcliffe, J. Fin. Markets 1, 1998; field `shares`"),
        "zero_returns": ("ts_mean(R == 0, 63)", "Lesmond, Ogden and Trzcinka, Rev. Fin. Studies 12, 1999: share of still bars"),
        "roll_spread": (
            "2 * sqrt(maximum(0 - ts_cov(log(close / ref(close, 1)), log(ref(close, 1) / ref(close, 2)), 63), 0))",
            "Roll, J. Finance 39, 1984: effective spread as a share of the price, 0 where the covariance is positive",
        ),
    },
    WORDS,
)  # fmt: skip
"""6 formulas over close and volume; one needs `shares`."""


def absorption_ratio(panel: Panel, *, lookback: int = 252, share: float = 0.2) -> NDArray[np.float64]:
    """Share of the variance of returns that the largest principal components absorb: how tightly markets are coupled.

    sum of the largest eigenvalues / sum of all, of the sample covariance of the last `lookback` returns of the symbols that
    have a bar on each of those dates; the largest are `share` of their number, at least one. Source: Kritzman, Li, Page
    and Rigobon, "Principal Components as a Measure of Systemic Risk", J. Portfolio Management 37(4), 2011, with equal weights
    where they let the past fade.

    Returns:
        [T] float64 in (0, 1]; NaN for the first `lookback` dates and where no symbol qualifies. Made of closes up to t; as a
        field of every symbol: `with_fields(panel, {"absorption_ratio": ratio[:, None]})`.

    Raises:
        ConfigError: fewer than two dates of look-back, or a share outside (0, 1].
    """
    if lookback < 2 or not 0 < share <= 1:
        raise ConfigError("`lookback` must be at least 2 and `share` in (0, 1]", f"{lookback}, {share}")
    close = panel["close"]
    r = close[1:] / close[:-1] - 1.0
    out = np.full(len(close), np.nan)
    for t in range(lookback, len(close)):
        window = r[t - lookback : t]
        window = window[:, np.isfinite(window).all(axis=0)]
        if window.shape[1]:
            variance = np.linalg.svd(window - window.mean(axis=0), compute_uv=False) ** 2
            out[t] = variance[: max(1, round(share * window.shape[1]))].sum() / variance.sum()
    return out
