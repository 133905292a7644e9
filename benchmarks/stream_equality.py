"""Batch against stream over the whole library: the worst relative difference of any factor, and what one bar costs.

Every factor of `LIBRARY` is tabulated over 700 bars of 24 symbols, a tenth of them suspended, and streamed over the same
bars one by one. Both must be unknown in the same places. A difference is relative to the value, or to a millionth of the
factor's root mean square where the value is smaller still: near zero a difference of two prices has no digits left.
The latency is that of the ten factors of the stock study, one bar of 100 symbols.
"""

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from rows import Figure, row

from fiduciary.data import Panel
from fiduciary.factors import SIM, SIM_RELATIVE, Stream, tabulate
from fiduciary.factors.library import LIBRARY

BARS, SYMBOLS, SUSPENDED, TINY = 700, 24, 0.1, 1e-6
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


def compared(panel: Panel) -> list[Worst]:
    """Every factor of the library, the worst first."""
    factors = [
        replace(factor, name=f"{family}.{factor.name}")
        for family, members in {**LIBRARY, "sim": SIM, "sim_relative": SIM_RELATIVE}.items()
        for factor in members
    ]
    batch, stream = tabulate(panel, factors), Stream(factors, panel.symbols).replay(panel)
    found = []
    for name, a, b in zip(batch.names, batch.values, stream.values, strict=True):
        known = ~np.isnan(a)
        same = known.any() and (known == ~np.isnan(b)).all()
        scale = np.maximum(np.abs(a[known]), TINY * np.sqrt(np.mean(a[known] ** 2)))
        gap = np.abs(a - b)[known]
        found.append(Worst(float(np.max(gap / np.where(gap == 0, 1, scale))) if same else np.inf, name))
    return sorted(found, reverse=True)


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
    needs = {field for members in LIBRARY.values() for factor in members for field in factor.needs}
    worst = compared(market(needs, BARS, SYMBOLS))
    exact = sum(found.difference == 0 for found in worst)
    tail = ", ".join(f"{found.name} {found.difference:.1e}" for found in worst[:3])
    note = f"worst of {len(worst)} factors, {SYMBOLS} symbols, {BARS} bars, a tenth suspended; {exact} equal to the last bit; {tail}"
    p50, p99 = np.quantile(latency() * 1e3, [0.5, 0.99])
    what = f"p99 of one bar of {WIDE} symbols, the ten factors of the stock study; p50 {p50:.2f} ms"
    return {
        "worst": Figure(worst[0].difference, "relative", 1e-9, "lower", len(worst), note),
        "push_p99": Figure(p99, "ms", 5, "lower", PUSHES, what),
    }


if __name__ == "__main__":
    row(5, measure)
