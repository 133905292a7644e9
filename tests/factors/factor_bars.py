"""Random bars with suspensions, and one expression for each operator."""

from dataclasses import replace

import numpy as np

from fiduciary.data import Panel

FIELDS = ("open", "high", "low", "close", "volume", "industry")
WINDOWED = {
    "ts_sum": "close, {n}", "ts_mean": "close, {n}", "ts_product": "close / open, {n}", "ts_var": "close, {n}",
    "ts_std": "close, {n}", "ts_skew": "close, {n}", "ts_kurt": "close, {n}", "ts_mad": "close, {n}",
    "ts_min": "low, {n}", "ts_max": "high, {n}", "ts_argmin": "low, {n}", "ts_argmax": "high, {n}", "ts_rank": "close, {n}",
    "ts_quantile": "close, {n}, 0.8", "ts_med": "close, {n}", "ts_count": "close > open, {n}",
    "ts_cov": "close, volume, {n}", "ts_corr": "close, volume, {n}", "ts_slope": "close, {n}", "ts_resid": "close, {n}",
    "ts_rsquare": "close, {n}", "wma": "close, {n}", "ema": "close, {n}", "wilder": "close, {n}", "ewm": "close, {n}",
    "ref": "close, {n}", "delta": "close, {n}",
}  # fmt: skip
PLAIN = (
    "-close", "abs(close - open)", "close + open - low * high / volume", "close ** 0.5", "2 ** (close / open)",
    "log(close)", "exp(close / open)", "sqrt(close)", "sign(close - open)", "power(close, 2)", "signed_power(close - open, 2)",
    "minimum(open, close)", "maximum(open, 20)", "clip(close, 19, 21)", "close > open", "close >= open", "close < open",
    "close <= open", "close == open", "close != open", "(close > open) & (volume > 0)", "close > open | volume",
    "where(close > ref(close, 1), close, open)", "isnan(log(close - open))", "fillna(log(close - open), 0)", "cumsum(volume)",
    "~(close > open)",
)  # fmt: skip
CROSS = (
    "cs_rank(close)", "cs_zscore(close / ref(close, 3))", "cs_demean(close)", "cs_scale(close - open, 2)",
    "cs_neutralise(close, industry)", "ts_corr(cs_rank(close), cs_rank(volume), 6)", "cs_rank(ts_mean(cs_demean(close), 4))",
)  # fmt: skip
EVERY = tuple(f"{op}({args.format(n=7)})" for op, args in WINDOWED.items()) + PLAIN + CROSS


def market(seed: int = 0, length: int = 60, symbols: int = 5, holes: float = 0.0) -> Panel:
    """Prices and volumes with five digits, so that equal values occur; suspensions are absent bars."""
    rng = np.random.default_rng(seed)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.03, (length, symbols)), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, close.shape))
    high, low = np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99
    volume = rng.integers(1, 10_000, close.shape)
    industry = np.broadcast_to(np.arange(symbols) % 2, close.shape)
    values = np.stack([*np.round((opened, high, low, close), 3), volume, industry], axis=-1)
    return holed(panel(values), rng.random(close.shape) >= holes)


def panel(values: np.ndarray) -> Panel:
    """A panel [T, N, 6] without holes."""
    dates = np.datetime64("2020-01-01") + np.arange(len(values))
    names = tuple(f"S{n}" for n in range(values.shape[1]))
    return Panel(dates, names, FIELDS, values.astype(np.float64), np.ones(values.shape[:2], bool))


def holed(full: Panel, mask: np.ndarray) -> Panel:
    """`full` without the bars that are not under `mask`."""
    return replace(full, values=np.where(mask[..., None], full.values, np.nan), mask=mask)
