"""A panel that every family of the library can read: prices that walk, and numbers of the right kind for all other fields."""

import numpy as np

from fiduciary.data import Panel
from fiduciary.factors.library import LIBRARY

FACTORS = {factor.name: factor for family in LIBRARY.values() for factor in family}
CODES = {"industry": 3, "city": 3, "day_of_week": 5, "month": 12, "session_of_month": 21, "sessions_left": 21,
         "pre_holiday": 2, "months_behind": 3}  # fmt: skip
PRICES = ("open", "high", "low", "close", "volume")


def prices(rng, shape, volatility=0.02):
    """{field: [T, N]} of plausible bars."""
    close = 50 * np.exp(np.cumsum(rng.normal(0, volatility, shape), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(opened, close) * (1 + rng.uniform(0.001, 0.02, shape))
    low = np.minimum(opened, close) * (1 - rng.uniform(0.001, 0.02, shape))
    return {"open": opened, "high": high, "low": low, "close": close, "volume": rng.uniform(1e3, 1e6, shape)}


def market(seed, length, symbols, holes=0.0, *, fields=None):
    """[T, N, F] panel; `fields` None is all that the library needs. `holes` is the share of bars that are absent."""
    rng = np.random.default_rng(seed)
    shape = (length, symbols)
    values = prices(rng, shape)
    values["vwap"] = (values["high"] + values["low"] + values["close"]) / 3 * np.exp(rng.normal(0, 0.001, shape))
    needed = sorted({field for factor in FACTORS.values() for field in factor.needs}) if fields is None else fields
    for field in needed:
        if field in CODES:
            values[field] = rng.integers(0, CODES[field], shape).astype(float)
        elif field not in values:
            values[field] = np.exp(rng.normal(3, 0.5, (1, symbols)) + np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    return panel(
        {field: values[field] for field in (*PRICES, *(f for f in needed if f not in PRICES))},
        rng.random(shape) >= holes,
    )


def panel(values, mask=None, first="2000-01-03"):
    """{field: [T, N]} -> Panel of consecutive days."""
    table = np.stack(list(values.values()), axis=-1)
    mask = np.ones(table.shape[:2], bool) if mask is None else mask
    dates = np.datetime64(first) + np.arange(len(table)).astype("timedelta64[D]")
    names = tuple(f"S{n}" for n in range(table.shape[1]))
    return Panel(dates, names, tuple(values), np.where(mask[..., None], table, np.nan), mask)
