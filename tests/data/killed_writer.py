"""A writer in a process of its own, for tests that kill it: `python killed_writer.py URL FIRST` says which batches are safe."""

import sys
from datetime import UTC, datetime, timedelta

import polars as pl

from fiduciary.data.live import connect
from fiduciary.data.tables import BARS_1M

SYMBOLS = 20
START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def batch(k: int) -> pl.DataFrame:
    """The bars of minute k, which say k."""
    prices = {name: pl.lit(100.0 + k) for name in ("open", "high", "low", "close")}
    symbols = pl.DataFrame({"symbol": [f"S{n:02}" for n in range(SYMBOLS)]})
    return symbols.with_columns(event_time=pl.lit(START + timedelta(minutes=k)), volume=pl.lit(1.0 + k), **prices)


def faults(log: pl.DataFrame, acknowledged: int) -> tuple[int, int]:
    """(rows of acknowledged batches that are not there, rows that are there twice or belong to half a batch)."""
    whole = pl.concat([pl.DataFrame(schema=batch(0).schema), *(batch(k) for k in range(acknowledged))])
    keys = ["event_time", "symbol", "close", "volume"]
    lost = len(whole.join(log, on=keys, how="anti"))
    per_minute = log.group_by("event_time").len()["len"]
    return lost, int((per_minute - SYMBOLS).abs().sum()) + len(log) - log.select(keys[:2]).n_unique()


if __name__ == "__main__":
    k = int(sys.argv[2])
    with connect(sys.argv[1]) as live:
        while True:
            live.append(BARS_1M, batch(k), source="killed writer")
            k += 1
            sys.stdout.write(f"{k}\n")
            sys.stdout.flush()
