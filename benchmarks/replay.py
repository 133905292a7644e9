"""A day of minute bars at 1,000 times real time through the real-time store and the ten factors of the stock study."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from fiduciary.data.live import connect
from fiduciary.data.tables import BARS_1M
from fiduciary.factors import SIM
from fiduciary.factors.feed import Feed, replay
from rows import Figure, row

SYMBOLS, MINUTES, WARM, SPEED = 100, 390, 30, 1_000
START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def day(minutes: int, seed: int) -> pl.DataFrame:
    """[minutes * SYMBOLS] seeded random walks."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.001 * rng.standard_normal((minutes, SYMBOLS)), axis=0)).ravel()
    prices = {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close}
    times = np.datetime64(START.replace(tzinfo=None), "us") + np.arange(minutes) * np.timedelta64(1, "m")
    symbols = np.tile([f"S{n:03}" for n in range(SYMBOLS)], minutes)
    volume = 1e4 * rng.random(minutes * SYMBOLS)
    moments = pl.Series(np.repeat(times, SYMBOLS)).dt.replace_time_zone("UTC")
    return pl.DataFrame({"event_time": moments, "symbol": symbols, **prices, "volume": volume})


def measure() -> dict[str, Figure]:
    with tempfile.TemporaryDirectory() as folder, connect(Path(folder) / "live.db") as live:
        live.append(BARS_1M, day(0, 0), source="row")
        feed = Feed(live, "bars_1m", SIM, [f"S{n:03}" for n in range(SYMBOLS)])
        eve = day(WARM, 0).with_columns(pl.col("event_time") - timedelta(days=1))
        replay(feed, eve, speed=10 * SPEED)  # imports and first calls
        told = replay(feed, day(MINUTES, 1), speed=SPEED)
    what = (
        f"ms from the time a bar is due to its ten factor values (SIM), {SYMBOLS} symbols x {MINUTES} one-minute bars, each "
        f"minute's bars one batch, at {SPEED:,} times real time; through the door into SQLite on disk, `follow`, `Feed`; "
        f"worst {told.worst_ms:.1f}, waited at most {told.behind_ms:.1f} for those before"
    )
    return {
        "p50": Figure(round(told.p50_ms, 2), "ms", None, "lower", told.bars, what),
        "p99": Figure(round(told.p99_ms, 2), "ms", 5, "lower", told.bars, what),
    }


row(5, measure)
