"""A writer in a process of its own, for tests that kill it: `python killed_historian.py FOLDER FIRST LAST`.

It says which batches are safe. Of batch k, row B is refused where 3 divides k.
"""

import sys
from collections.abc import Iterator

import polars as pl

import history_twin
from fiduciary.data.history import History


def batch(k: int) -> list[tuple[int, str, float]]:
    """The rows of day k."""
    return [(k, "A", float(k)), (k, "B", -1.0 if k % 3 else float("inf"))]


def faults(history: History, batches: int) -> tuple[int, int]:
    """(rows of the first batches that are neither in the log nor in quarantine, rows that are there too often)."""
    sent = [(day, symbol) for k in range(batches) for day, symbol, _ in batch(k)]
    log, apart = history.log("levels"), history.quarantined("levels")
    times = pl.concat([log["event_time"], apart["event_time"].str.to_datetime(time_zone="UTC", time_unit="us")])
    found = list(
        zip([(time - history_twin.START).days for time in times], [*log["symbol"], *apart["symbol"]], strict=True)
    )
    return len(set(sent) - set(found)), len(found) - len(set(found))


def _write(folder: str, first: int, last: int) -> Iterator[int]:
    history = History(folder)
    for k in range(first, last):
        history.append(history_twin.LEVELS, history_twin.frame(batch(k)), source="killed writer", once=f"batch {k}")
        yield k


if __name__ == "__main__":
    for k in _write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])):
        sys.stdout.write(f"{k}\n")
        sys.stdout.flush()
