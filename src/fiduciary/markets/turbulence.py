"""Financial turbulence: how unusual a day's returns are, given those of the days before it."""

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import Panel


def turbulence(panel: Panel, *, lookback: int = 252) -> NDArray[np.float64]:
    """Mahalanobis distance of every day's returns from those of the `lookback` days before it.

    d_t = (y_t - mu_t)' S_t^+ (y_t - mu_t), with mu_t and the sample covariance S_t over y_{t-lookback}, ..., y_{t-1}.
    Source: Kritzman and Li, "Skulls, Financial Turbulence, and Risk Management", Financial Analysts Journal 66(5), 2010,
    equation 1, with the moments of a rolling past instead of the whole sample.

    Args:
        panel: bars with a `close`. A suspended symbol keeps its last price; one listed within the look-back is left out.
        lookback: days behind the moments.

    Returns:
        [T] float64, no unit; NaN for the first `lookback` + 1 dates. The value at t is made of closes up to t.

    Raises:
        ConfigError: fewer than two days of look-back.
    """
    if lookback < 2:
        raise ConfigError("`lookback` must be at least 2 days", str(lookback))
    close = last_known(panel["close"])
    y = close[1:] / close[:-1] - 1.0
    out = np.full(len(close), np.nan)
    for t in range(lookback + 1, len(close)):
        listed = np.isfinite(close[t - lookback - 1])
        if listed.any():
            past, now = y[t - lookback - 1 : t - 1, listed], y[t - 1, listed]
            gap = now - past.mean(axis=0)
            out[t] = gap @ np.linalg.pinv(np.atleast_2d(np.cov(past.T)), hermitian=True) @ gap
    return out


def last_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry the last number forward along the first axis of [T, ...]; NaN stays before the first one."""
    days = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    known = np.maximum.accumulate(np.where(np.isnan(values), 0, days), axis=0)
    return np.take_along_axis(values, known, axis=0)
