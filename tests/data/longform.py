"""Small frames of bars in long form, for the tests of this folder."""

from datetime import date, timedelta

import numpy as np
import polars as pl

START = date(2020, 1, 1)


def sound(seed=0, length=8, symbol="A", start=0):
    """Bars without fault: small moves, low <= open, close <= high."""
    rng = np.random.default_rng(seed)
    close = 10 * np.exp(np.cumsum(rng.uniform(-0.02, 0.02, length)))
    opened = close * rng.uniform(0.99, 1.01, length)
    return pl.DataFrame(
        {
            "date": [START + timedelta(days=start + k) for k in range(length)],
            "symbol": [symbol] * length,
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
            "volume": rng.integers(1, 1000, length).astype(float),
        }
    )


def put(frame, row, **cells):
    for name, value in cells.items():
        column = frame[name].to_list()
        column[row] = value
        frame = frame.with_columns(pl.Series(name, column, dtype=frame[name].dtype))
    return frame
