"""A roll-over in a process of its own, for tests that kill it: `python killed_rollover.py URL HISTORY` says when it begins."""

import sys
from datetime import UTC, datetime, timedelta

import polars as pl

from fiduciary.data.history import History
from fiduciary.data.live import Live, connect
from fiduciary.data.rollover import rollover

MINUTES = 50
START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
KEYS = ["event_time", "symbol"]


def bars(days: int, first: int = 0) -> pl.DataFrame:
    """`MINUTES` bars of two symbols on each day from the first on; every bar is told by its volume."""
    minutes = [(d, m) for d in range(first, first + days) for m in range(MINUTES)]
    frame = pl.DataFrame({"event_time": [START + timedelta(days=d, minutes=m) for d, m in minutes]}).join(
        pl.DataFrame({"symbol": ["A", "B"]}), how="cross"
    )
    prices = {name: pl.lit(100.0) for name in ("open", "high", "low", "close")}
    number = 2 * MINUTES * first + pl.int_range(pl.len())
    return frame.with_columns(volume=number.cast(pl.Float64), **prices)


def faults(live: Live, history: History, days: int) -> tuple[int, int]:
    """(rows that neither store has, rows that are there twice)."""
    logs = [store.log("bars_1m").select(*KEYS, "volume") for store in (live, history) if "bars_1m" in store.tables()]
    found = pl.concat(logs)
    return len(bars(days).join(found, on=[*KEYS, "volume"], how="anti")), len(found) - found.n_unique()


if __name__ == "__main__":
    with connect(sys.argv[1]) as live:
        sys.stdout.write("begins\n")
        sys.stdout.flush()
        rollover(live, History(sys.argv[2]), before=datetime.now(UTC).date())
