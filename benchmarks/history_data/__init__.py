"""Bars for the rows of the historical store, and its readers each in a process of its own, whose memory can be told apart."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import numpy as np
import polars as pl

from fiduciary.data.history import History
from fiduciary.data.tables import Table
from rows import SCRATCH, Figure

READS = 7

CHILD = """
import json, sys, time
import polars, deltalake
from fiduciary.data.history import History
url, table = sys.argv[1:]
began = time.perf_counter()
panel = History(url).panel(table)
seconds = time.perf_counter() - began
# Unlike ru_maxrss, the high-water mark in /proc starts anew with the program.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
print(json.dumps([seconds, peak, panel.values.nbytes + panel.mask.nbytes, int(panel.mask.sum()), *panel.values.shape]))
"""


class Read(NamedTuple):
    """One reading: wall time, peak resident memory and size of the panel in bytes, bars, shape."""

    seconds: float
    peak: int
    panel: int
    bars: int
    dates: int
    symbols: int
    fields: int


def bars(labels: np.ndarray, symbols: int, *, block: int, seed: int = 0) -> Iterator[pl.DataFrame]:
    """Random walks of several symbols in cents, `block` labels at a time; each bar is known an hour after its label.

    Args:
        labels: [T] datetime64[us].
    """
    rng = np.random.default_rng(seed)
    names, last = pl.Series([f"S{n:05d}" for n in range(symbols)]), rng.uniform(5, 200, symbols)
    for first in range(0, len(labels), block):
        times = labels[first : first + block]
        close = last * np.exp(np.cumsum(rng.normal(0, 0.01, (len(times), symbols)), axis=0))
        opened = np.vstack([last, close[:-1]])
        last = close[-1]
        high, low = np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998
        prices = {
            name: (np.round(np.maximum(price, 0.01), 2)).ravel()
            for name, price in zip(("open", "high", "low", "close"), (opened, high, low, close), strict=True)
        }
        time = np.repeat(times, symbols)
        yield pl.DataFrame(
            {"event_time": time, "symbol": names.gather(np.tile(np.arange(symbols), len(times)))} | prices
            | {"volume": np.round(np.exp(rng.normal(12, 1, len(time)))), "known_time": time + np.timedelta64(1, "h")}
        )  # fmt: skip


def readings(table: Table, labels: np.ndarray, symbols: int, *, block: int, seconds: float) -> dict[str, Figure]:
    """Fill a store, read everything `READS` times, each in a fresh process with its libraries loaded.

    The store has one file or more for every append of `block` labels, and one that corrects every 1,000th of all rows.
    """
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        history, late = History(folder), []
        for frame in bars(labels, symbols, block=block):
            history.append(table, frame, source="random walk")
            late.append(frame.gather_every(1000).with_columns(pl.col("volume") + 1).drop("known_time"))
        corrected = history.append(table, pl.concat(late), source="correction").rows
        reads = [_read(history, table.name) for _ in range(READS)]
    one, time = reads[0], sorted(read.seconds for read in reads)
    what = (
        f"{one.bars:,} bars, {one.dates:,} times x {one.symbols:,} symbols x {one.fields} fields, {one.panel / 1e6:,.0f} MB, "
        f"{corrected:,} of them corrected later; files in the page cache"
    )
    ratios = sorted(read.peak / read.panel for read in reads)
    return {
        "seconds": Figure(
            round(median(time), 2), "s", seconds, "lower", READS, what, (round(time[0], 2), round(time[-1], 2))
        ),
        "memory": Figure(
            round(ratios[-1], 2), "panels", 2, "lower", READS,
            f"the most of {READS} processes, interpreter and libraries included; {what}",
        ),
    }  # fmt: skip


def _read(history: History, table: str) -> Read:
    command = [sys.executable, "-c", CHILD, str(history.url), table]
    return Read(*json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
