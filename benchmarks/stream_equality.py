"""Batch against stream over the whole library: the worst relative difference of any factor, and what one bar costs.

Every factor of `LIBRARY` is tabulated over bars of which a tenth is suspended, and streamed over the same bars one by one.
Both must be unknown in the same places. A difference is relative to the value, or to the factor's root mean square where
the value is smaller: near zero a difference of two prices has no digits left. Where TA-Lib computes the batch, its
running sums are what differs. The latency is that of the ten factors of the stock study, one bar of 100 symbols.
"""

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fiduciary.data import Panel
from fiduciary.factors import SIM, SIM_RELATIVE, Factor, Formula, Stream, tabulate
from fiduciary.factors.library import LIBRARY
from rows import Figure, row

RUNS = ((300, 500, 16), (3_000, 1_800, 4))
"""Longest look-back, bars and symbols: the few long factors on a long history."""
SUSPENDED = 0.1
PUSHES, WIDE = 3_000, 100


def market(needs: set[str], bars: int, symbols: int, seed: int = 0) -> Panel:
    """Prices that walk, and a positive number for every other field that some factor needs."""
    rng = np.random.default_rng(seed)
    shape = (bars, symbols)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, shape))
    high, low = (np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99)
    known = {
        "open": opened, "high": high, "low": low, "close": close, "vwap": (high + low + close) / 3,
        "volume": np.round(1e5 * np.exp(rng.normal(0, 0.5, shape))), "industry": np.broadcast_to(np.arange(symbols) % 5, shape),
    }  # fmt: skip
    fields = tuple(sorted(needs | set(known)))
    values = np.stack([known.get(field, np.exp(rng.normal(0, 0.3, shape))) for field in fields], axis=-1)
    mask = rng.random(shape) >= SUSPENDED
    dates = np.datetime64("2015-01-01") + np.arange(bars)
    names = tuple(f"S{n}" for n in range(symbols))
    return Panel(dates, names, fields, np.where(mask[..., None], values, np.nan), mask)


class Worst(NamedTuple):
    """The largest relative difference of a factor."""

    difference: float
    name: str


def library() -> list[Factor | Formula]:
    """Every factor, named with its family."""
    families = {**LIBRARY, "sim": SIM, "sim_relative": SIM_RELATIVE}
    return [replace(factor, name=f"{family}.{factor.name}") for family in families for factor in families[family]]


def compared(factors: list[Factor | Formula], bars: int, symbols: int) -> list[Worst]:
    """How far each factor's stream is from its batch."""
    panel = market({field for factor in factors for field in factor.needs}, bars, symbols)
    batch, stream = tabulate(panel, factors), Stream(factors, panel.symbols).replay(panel)
    return [Worst(gap(batch[name], stream[name]), name) for name in batch.names]


def gap(batch: np.ndarray, stream: np.ndarray) -> float:
    """The worst relative difference; infinite where they are not known in the same places, or nowhere."""
    known = ~np.isnan(batch)
    if not known.any() or (known != ~np.isnan(stream)).any():
        return np.inf
    a, b = batch[known], stream[known]
    off = np.abs(a - b) / np.maximum(np.abs(a), max(np.sqrt(np.mean(a**2)), np.finfo(float).tiny))
    return float(off.max())


def latency() -> np.ndarray:
    """[PUSHES] seconds of one push."""
    bars = market(set(), PUSHES, WIDE)
    stream, seconds = Stream(SIM, bars.symbols), np.empty(PUSHES)
    for t in range(PUSHES):
        bar = {field: bars.values[t, :, f] for f, field in enumerate(bars.fields)}
        started = time.perf_counter()
        stream.push(bar, bars.mask[t])
        seconds[t] = time.perf_counter() - started
    return seconds


def measure() -> dict[str, Figure]:
    worst, shortest = [], 0
    for longest, bars, symbols in RUNS:
        factors = [factor for factor in library() if shortest < factor.lookback <= longest]
        worst, shortest = worst + compared(factors, bars, symbols), longest
    worst.sort(reverse=True)
    exact = sum(found.difference == 0 for found in worst)
    tail = ", ".join(f"{found.name} {found.difference:.1e}" for found in worst[:3])
    note = f"worst of {len(worst)} factors, a tenth of the bars suspended; {exact} equal to the last bit; {tail}"
    p50, p99 = np.quantile(latency() * 1e3, [0.5, 0.99])
    what = f"p99 of one bar of {WIDE} symbols, the ten factors of the stock study; p50 {p50:.2f} ms"
    return {
        "worst": Figure(float(worst[0].difference), "relative", 1e-9, "lower", len(worst), note),
        "push_p99": Figure(float(p99), "ms", 5, "lower", PUSHES, what),
    }


if __name__ == "__main__":
    row(5, measure)
