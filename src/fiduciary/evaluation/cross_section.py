"""Cross-sections: every symbol of a date against every other, for one factor at a time; NumPy on [T, N] in blocks of dates.

What is asked of a factor at the close of date t is what came after: orders fill at the open (or close) of the next date on
which the market has a bar, t + 1, and are undone h dates later,

    r_{t,h} = price_{t+1+h} / price_{t+1} - 1.

A symbol is in the cross-section of t when it is in the universe then, has a bar at t, and one at t + 1 at which it can be
bought; one that has no bar when its position is undone is valued at its last close: what is suspended or delisted stays in
the figures and its money waits. So the symbols of a date are the same for every horizon.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.data.panel import Panel

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]
Entry = Literal["open", "close"]
_AT_ONCE = 200_000
"""Values handled at once: few enough for the processor's cache."""


class Future(NamedTuple):
    """What came after every date, the same for all factors.

    Attributes:
        entered: [T, N] bool, the cross-section.
        step: [T, N] return over the bar after entry, price_{t+2} / price_{t+1} - 1, of all that have a price; 0 elsewhere.
        forward: [H, T, N] returns r_{t,h}; 0 outside the cross-section.
        doubled: [H, T, N] int32, twice their average rank from the lowest, 2 up; 0 outside the cross-section.
        horizons: H horizons in bars.
    """

    entered: Marks
    step: Floats
    forward: Floats
    doubled: NDArray[np.int32]
    horizons: tuple[int, ...]

    def known(self, horizon: int) -> int:
        """Dates, from the first, after which a return over `horizon` bars is known."""
        return max(0, len(self.step) - 1 - horizon)


def future(panel: Panel, horizons: Sequence[int], *, entry: Entry = "open", universe: Marks | None = None) -> Future:
    """What came after every date of `panel`.

    Args:
        panel: [T, N, F] bars with `close`, and `open` where orders fill there.
        horizons: in bars of the panel's calendar.
        entry: price at which orders fill.
        universe: [T, N] bool, members as known at each date; None = every symbol with a bar.
    """
    price, close, mask = panel[entry], panel["close"], panel.mask
    last = np.maximum.accumulate(np.where(mask, np.arange(len(mask))[:, None], 0), axis=0)
    marked = np.where(mask, price, np.take_along_axis(close, last, axis=0))
    entered = mask.copy() if universe is None else mask & universe
    entered[:-1] &= mask[1:] & (price[1:] > 0)
    entered[-1] = False
    step = np.zeros(mask.shape)
    step[:-2] = _return(marked[2:], marked[1:-1], np.ones_like(mask[2:]))
    forward = np.zeros((len(horizons), *mask.shape))
    for out, h in zip(forward, horizons, strict=True):
        out[: -h - 1] = _return(marked[h + 1 :], marked[1:-h], entered[: -h - 1])
    doubled = np.empty(forward.shape, np.int32)
    for h in range(len(horizons)):
        for rows in blocks(*mask.shape):
            doubled[h, rows] = 2 * ranks(forward[h, rows], entered[rows])
    return Future(entered, step, forward, doubled, tuple(horizons))


def _return(later: Floats, now: Floats, where: Marks) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(where & (now > 0), later / now - 1.0, 0.0)


def blocks(dates: int, symbols: int) -> Iterator[slice]:
    """Rows that fit the processor's cache, block by block."""
    size = max(1, _AT_ONCE // max(1, symbols))
    return (slice(start, min(start + size, dates)) for start in range(0, dates, size))


def ranks(x: Floats, known: Marks) -> Floats:
    """Average ranks, 1 the lowest, of the known values of every row of x [B, N]; 0 where unknown."""
    places = np.arange(1.0, x.shape[1] + 1)
    keyed = np.where(known, x, np.inf)
    order = np.argsort(keyed, axis=1)
    ordered = np.take_along_axis(keyed, order, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < np.inf)
    placed = np.broadcast_to(places, x.shape)
    tied = np.flatnonzero(repeated.any(axis=1))
    if len(tied):
        placed = placed.copy()
        fresh = np.ones((len(tied), x.shape[1]), dtype=bool)
        fresh[:, 1:] = ~repeated[tied]
        first = np.maximum.accumulate(np.where(fresh, places, 0.0), axis=1)
        ending = np.roll(fresh, -1, axis=1)
        ending[:, -1] = True
        final = np.minimum.accumulate(np.where(ending, places, np.inf)[:, ::-1], axis=1)[:, ::-1]
        placed[tied] = (first + final) / 2
    out = np.empty_like(keyed)
    np.put_along_axis(out, order, placed, axis=1)
    return np.where(known, out, 0.0)


class Section(NamedTuple):
    """One factor against the future, date by date; NaN where a date says nothing.

    Attributes:
        ranks: [T, N] float32, average ranks of the known values; 0 where unknown.
        known: [T] symbols in the cross-section whose factor is known.
        ic: [H, T] Pearson correlation of factor and forward return.
        rank_ic: [H, T] Spearman correlation.
    """

    ranks: NDArray[np.float32]
    known: NDArray[np.int64]
    ic: Floats
    rank_ic: Floats


def correlate(x: NDArray[np.floating], future: Future, *, fewest: int) -> Section:
    """Information coefficients of a factor x [T, N] over every horizon, on dates with at least `fewest` symbols."""
    dates, horizons = len(x), len(future.horizons)
    ranked, count = np.empty(x.shape, np.float32), np.zeros(dates, np.int64)
    ic, rank_ic = np.full((2, horizons, dates), np.nan)
    for rows in blocks(*x.shape):
        values, entered = x[rows].astype(np.float64), future.entered[rows]
        known = entered & np.isfinite(values)
        own, n = ranks(values, known), known.sum(axis=1)
        ranked[rows], count[rows] = own, n
        weight = known.astype(np.float64)
        centred_ranks = (own - (n[:, None] + 1) / 2) * weight
        values = np.where(known, values, 0.0)
        centred = (values - values.sum(axis=1, keepdims=True) / np.maximum(n, 1)[:, None]) * weight
        ranks_of = _subset(known, entered)
        for h in range(horizons):
            ic[h, rows] = _correlation(centred, future.forward[h, rows], weight, n)
            rank_ic[h, rows] = _correlation(centred_ranks, ranks_of(future.doubled[h, rows]), weight, n)
    for h, horizon in enumerate(future.horizons):
        # Ranks have no spread exactly where all values are the same; rounding leaves a speck of one in the values.
        unsaid = (count < fewest) | (np.arange(dates) >= future.known(horizon)) | np.isnan(rank_ic[h])
        ic[h, unsaid] = rank_ic[h, unsaid] = np.nan
    return Section(ranked, count, ic, rank_ic)


def _correlation(x: Floats, y: Floats, weight: Floats, n: NDArray[np.int64]) -> Floats:
    """Pearson correlation of rows of x [B, N], centred and 0 where not weighted, and y where weighted; NaN without spread."""
    total, squares = _dot(weight, y), _dot(weight * y, y)
    spread = _dot(x, x) * (squares - total**2 / np.maximum(n, 1))
    scale = np.sqrt(np.where(spread > 0, spread, np.nan))
    return np.asarray(_dot(x, y) / scale)


def _dot(x: Floats, y: Floats) -> Floats:
    return np.asarray(np.einsum("bn,bn->b", x, y))


def _subset(known: Marks, entered: Marks) -> Callable[[NDArray[np.int32]], Floats]:
    """A function from twice the ranks [B, N] among all `entered` symbols to the ranks among the `known`.

    A rank falls by the missing below it and by half the missing equal to it; counting the few is much less than sorting again.
    """
    size = 2 * known.shape[1] + 1
    row, symbol = np.nonzero(entered & ~known)
    start = (np.arange(len(known)) * size)[:, None]

    def ranks_of(doubled: NDArray[np.int32]) -> Floats:
        if not len(row):
            return doubled / 2.0
        missing = np.bincount(row * size + doubled[row, symbol], minlength=len(known) * size).reshape(-1, size)
        fall = np.cumsum(missing, axis=1)
        fall *= 2
        fall -= missing
        return np.asarray((doubled - fall.ravel().take(doubled + start)) * 0.5)

    return ranks_of


# --- portfolios ------------------------------------------------------------------------------------------------------


def quantiles(section: Section, number: int) -> NDArray[np.int8]:
    """[T, N] 1 (lowest) to `number` of every known value, 0 elsewhere: `pandas.qcut` of the ranks, equals together."""
    n = section.known[:, None].astype(np.float32)
    share = (section.ranks - 1) * number / np.maximum(n - 1, 1)
    return np.asarray(np.where(section.ranks > 0, np.maximum(np.ceil(share), 1), 0), np.int8)


def by_quantile(labels: NDArray[np.int8], returns: Floats, number: int) -> Floats:
    """Mean return of each quantile and date, [number, T]; NaN where it is empty."""
    dates = len(labels)
    place = (labels + np.arange(dates)[:, None] * (number + 1)).ravel()
    size = dates * (number + 1)
    total, count = np.bincount(place, returns.ravel(), size), np.bincount(place, minlength=size)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return np.asarray(mean.reshape(dates, number + 1)[:, 1:].T)


class Held(NamedTuple):
    """A portfolio, bar by bar after entry: gross returns [T] and what was traded for them [T], both per unit of money."""

    gross: Floats
    traded: Floats


def hold(weights: NDArray[np.float32], step: Floats, bars: int) -> Held:
    """Portfolios formed at every date and held for `bars`, the money spread evenly over the `bars` that overlap.

    S_t = (w_t + ... + w_{t-bars+1}) / bars earns sum_n S_{t,n} step_{t,n} and trades sum_n |S_{t,n} - S_{t-1,n}| to get there.
    Every portfolio is set back to its weights at each bar; the little that drift alone would trade is not counted.

    Args:
        weights: [T, N] formed at each close, rows that form nothing 0.
        step: [T, N] return over the bar after entry.
        bars: how long each is held.

    Source: Jegadeesh and Titman (1993), Returns to buying winners and selling losers, Journal of Finance 48(1), section I.
    """
    dates, symbols = weights.shape
    gross, traded = np.zeros((2, dates))
    for columns in blocks(symbols, dates):  # whole histories of a few symbols
        held = weights[:, columns].astype(np.float64)
        if bars > 1:
            held = np.cumsum(held, axis=0)
            held[bars:] -= held[:-bars].copy()
            held /= bars
        gross += np.einsum("tn,tn->t", held, step[:, columns])
        traded[0] += np.abs(held[0]).sum()
        traded[1:] += np.abs(np.diff(held, axis=0)).sum(axis=1)
    return Held(gross, traded)


# --- stability -------------------------------------------------------------------------------------------------------


def autocorrelation(section: Section, lag: int) -> Floats:
    """[T] correlation of a date's ranks with those `lag` dates before, over the symbols in both; NaN where there is none."""
    out = np.full(len(section.ranks), np.nan)
    for rows in blocks(*section.ranks[lag:].shape):
        now, then = (section.ranks[slice(rows.start + k, rows.stop + k)].astype(np.float64) for k in (lag, 0))
        both = (now > 0) & (then > 0)
        n = both.sum(axis=1)
        weight = both.astype(np.float64)
        centred = (now - _dot(now, weight)[:, None] / np.maximum(n, 1)[:, None]) * weight
        out[rows.start + lag : rows.stop + lag] = _correlation(centred, then, weight, n)
    return out


def replaced(inside: Marks) -> Floats:
    """[T] share of the members inside [T, N] who were not in it at the date before; NaN where one of the two is empty."""
    size = inside.sum(axis=1)
    stayed = (inside[1:] & inside[:-1]).sum(axis=1)
    out = np.full(len(inside), np.nan)
    both = (size[1:] > 0) & (size[:-1] > 0)
    out[1:][both] = 1.0 - stayed[both] / size[1:][both]
    return out
