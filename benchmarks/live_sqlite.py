"""Rows per second into the real-time store in one file: through the door, staged, on disk before each batch is acknowledged."""

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from fiduciary.data.live import connect
from fiduciary.data.tables import BARS_1M
from rows import Figure, row

BATCH, REPEATS, SYMBOLS = 500, 5, 100
ROWS = {1: 500, BATCH: 100_000, 10_000: 100_000}
START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def bars(first: int, rows: int) -> pl.DataFrame:
    """So many one-minute bars of `SYMBOLS` symbols from bar `first` on; a random walk, so that no two are alike."""
    rng, number = np.random.default_rng(first), np.arange(first, first + rows)
    close = 100 * np.exp(0.001 * rng.standard_normal(rows))
    times = START.replace(tzinfo=None) + (number // SYMBOLS) * timedelta(minutes=1)
    prices = {
        "open": close,
        "high": close * 1.001,
        "low": close * 0.999,
        "close": close,
        "volume": 1e4 * rng.random(rows),
    }
    return pl.DataFrame({"event_time": times, "symbol": [f"S{n % SYMBOLS:03}" for n in number], **prices})


def rate(url: str, batch: int) -> float:
    """Rows acknowledged per second of one writer, into a new store."""
    frames = [bars(first, batch) for first in range(0, ROWS[batch], batch)]
    with connect(url) as live:
        live.append(BARS_1M, frames[0].clear(), source="row")
        started = time.perf_counter()
        kept = sum(live.append(BARS_1M, frame, source="row").new for frame in frames)
        seconds = time.perf_counter() - started
    assert kept == ROWS[batch]
    return kept / seconds


def figure(place: Callable[[], str], target: float, what: str) -> Figure:
    """Median rate at batches of `BATCH`, and those at others in the note."""
    rates = {batch: [rate(place(), batch) for _ in range(REPEATS)] for batch in ROWS}
    middle = {batch: statistics.median(found) for batch, found in rates.items()}
    others = ", ".join(f"{middle[batch]:,.0f} at {batch:,}" for batch in ROWS if batch != BATCH)
    note = (
        f"rows/s acknowledged by {what}, one writer, batches of {BATCH} one-minute bars, every row through `check_rows`; "
        f"by batch: {others}; median and range of {REPEATS} runs of {ROWS[BATCH]:,} rows"
    )
    return Figure(
        round(middle[BATCH]), "rows/s", target, "higher", REPEATS, note, (min(rates[BATCH]), max(rates[BATCH]))
    )


def measure() -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        files = (str(Path(folder) / f"{k}.db") for k in range(100))
        return figure(lambda: next(files), 20_000, "SQLite in a file (write-ahead log, synchronous=FULL)")


if __name__ == "__main__":
    row(5, measure)
