"""Rows a second that the historical store takes: typed, checked, compared with what it holds, sorted, written, committed."""

import tempfile
import time

import numpy as np

from fiduciary.data.history import History
from fiduciary.data.tables import BARS_1D
from history_data import bars
from rows import SCRATCH, Figure, row

SYMBOLS, YEARS, DAYS = 3_000, 5, 252
START = np.datetime64("2000-01-01", "us")


def measure() -> Figure:
    labels = START + np.arange(YEARS * DAYS + 20) * np.timedelta64(1, "D")
    frames = list(bars(labels[: YEARS * DAYS], SYMBOLS, block=DAYS))
    days = list(bars(labels[YEARS * DAYS :], SYMBOLS, block=1))
    rates, daily = [], []
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        history = History(folder)
        for frame in [*frames, *days]:
            began = time.perf_counter()
            rows = history.append(BARS_1D, frame, source="random walk").rows
            (rates if rows > SYMBOLS else daily).append(rows / (time.perf_counter() - began))
        began = time.perf_counter()
        again = history.append(BARS_1D, frames[0], source="random walk")
        repeated = again.repeated / (time.perf_counter() - began)
    note = (
        f"daily bars of {SYMBOLS:,} symbols through the door into one commit per year of {DAYS} days; one day a commit: "
        f"{np.median(daily):,.0f} rows/s ({SYMBOLS / np.median(daily) * 1e3:.0f} ms); a year that is known already: "
        f"{repeated:,.0f} rows/s"
    )
    spread = (round(min(rates[1:])), round(max(rates[1:])))
    # The first append pays for loading libraries.
    return Figure(round(float(np.median(rates[1:]))), "rows/s", 1e6, "higher", len(rates) - 1, note, spread)


if __name__ == "__main__":
    row(5, measure)
