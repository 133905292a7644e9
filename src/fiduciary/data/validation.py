"""What can be wrong with daily bars in long form, found before anything is computed from them.

Nothing is repaired, sorted or filled: an error stops the load, a warning travels with the panel into the report. Each
rule sees one symbol's rows in the order of the file and reports the first offender with a count.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fiduciary.data.faults import Fault
from fiduciary.data.panel import PRICES

if TYPE_CHECKING:
    import polars as pl

Bools = NDArray[np.bool_]
Dates = NDArray[np.datetime64]
Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""Relative slack of the order low <= open, close <= high: index publishers round each price on its own. Of `JUMP` too."""

JUMP = 0.3
"""Relative move between two bars beyond which prices are doubted; A-shares may not move more than 20 % a day.

Bonus issues such as 10 + 2 and 10 + 3 (1/1.2, 1/1.3) stay within it: nothing tells them from real moves.
"""

HOLE_DAYS = 14
"""Days between two bars up to which no hole is suspected: China's New Year took 12 in 2005 and 2006, 13 in 2004."""

HOLE_STEPS = 5
"""The same in multiples of the symbol's median step, so that weekly and monthly bars are judged by their own calendar."""

SPLITS = (
    *(Fraction(new, old) for new, old in ((3, 2), (8, 5), (9, 5), (5, 2))),
    *(Fraction(new) for new in (2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 100)),
)
"""New shares for each old one in common splits; the price falls by as much. Reverse splits are their inverses."""

SPLIT_SLACK = 0.02
"""Relative distance to a split ratio within which a jump counts as one: the day's own move lies on top of it."""


@dataclass(frozen=True, eq=False)
class History:
    """One symbol's rows, in the order of the file.

    Attributes:
        symbol: whose rows.
        dates: [M] datetime64[D].
        columns: {field: [M] float64}; prices in money, volume in units.
    """

    symbol: str
    dates: Dates
    columns: dict[str, Floats]

    def prices(self) -> dict[str, Floats]:
        """The price columns present, the source's adjusted close included."""
        return {name: self.columns[name] for name in (*PRICES, "adj_close") if name in self.columns}


Rule = Callable[[History, Dates], Iterator[Fault]]


def check(
    frame: "pl.DataFrame", rules: "tuple[Rule, ...] | None" = None, *, calendar: Dates | None = None
) -> list[Fault]:
    """Faults of bars in long form, symbol after symbol in the order of the file.

    Args:
        frame: columns `date` (Date), `symbol` (String) and float64 fields; any of open, high, low, close, adj_close,
            volume are judged by what they mean, other fields must only be finite.
        rules: which rules to apply; None = `ERRORS + WARNINGS`.
        calendar: increasing dates on which bars are expected; None = those on which any symbol has one.
    """
    histories = [history_of(part) for part in frame.partition_by("symbol", maintain_order=True)]
    if calendar is None:
        calendar = np.unique(np.concatenate([np.empty(0, "datetime64[D]"), *(h.dates for h in histories)]))
    applied = ERRORS + WARNINGS if rules is None else rules
    return [fault for history in histories for rule in applied for fault in rule(history, calendar)]


def history_of(part: "pl.DataFrame") -> History:
    """One symbol's rows of the long form."""
    fields = [name for name in part.columns if name not in ("date", "symbol")]
    dates = part["date"].to_numpy().astype("datetime64[D]")
    return History(str(part["symbol"][0]), dates, {name: _floats(part, name) for name in fields})


def _floats(part: "pl.DataFrame", name: str) -> Floats:
    """[M] float64 of one column; an empty cell is NaN."""
    return np.asarray(part[name].to_numpy(), dtype=np.float64)


# --- errors ----------------------------------------------------------------------------------------------------------


def duplicates(history: History, _: Dates) -> Iterator[Fault]:
    """A date on which the symbol has a bar already."""
    again = np.ones(len(history.dates), bool)
    again[np.unique(history.dates, return_index=True)[1]] = False
    yield from _first(
        history, again, "duplicate bar", lambda _: "a second bar on one date", "keep one bar per symbol and date"
    )  # fmt: skip


def disorder(history: History, _: Dates) -> Iterator[Fault]:
    """A date earlier than one before it in the file; another symbol's rows in between do not matter."""
    latest = np.maximum.accumulate(history.dates)
    back = np.zeros(len(history.dates), bool)
    back[1:] = history.dates[1:] < latest[:-1]
    yield from _first(
        history, back, "unsorted dates", lambda row: f"follows {latest[row - 1]} in the file",
        "sort the file by date within each symbol, after finding out why it was not",
    )  # fmt: skip


def missing_values(history: History, _: Dates) -> Iterator[Fault]:
    """An empty cell, NaN or infinity in any field."""
    for name, column in history.columns.items():
        yield from _first(
            history, ~np.isfinite(column), "non-finite value", partial(_listing, {name: column}),
            "leave out the bars that do not exist instead of writing empty ones",
        )  # fmt: skip


def worthless(history: History, _: Dates) -> Iterator[Fault]:
    """A price of zero or less."""
    prices = history.prices()
    if prices:
        lowest = np.fmin.reduce(list(prices.values()))  # fmin: a missing price hides no other
        yield from _first(
            history, lowest <= 0, "non-positive price", partial(_listing, prices),
            "a history adjusted by subtracting dividends goes below zero and its returns mean nothing; "
            "get unadjusted or multiplicatively adjusted prices",
        )  # fmt: skip


def crossed(history: History, _: Dates) -> Iterator[Fault]:
    """low > high, or open or close outside [low, high], beyond rounding. Other rules judge bars with bad prices."""
    prices = {name: history.columns[name] for name in PRICES if name in history.columns}
    if len(prices) > 1:
        # Without one of its ends the range cannot be broken on that side.
        top = prices.get("high", np.full(len(history.dates), np.inf))
        bottom = prices.get("low", np.zeros(len(history.dates)))
        stack = np.stack(list(prices.values()))
        sound = (np.isfinite(stack) & (stack > 0)).all(axis=0)
        over = stack.max(axis=0) > top * (1 + ROUNDING)
        under = stack.min(axis=0) < bottom * (1 - ROUNDING)
        yield from _first(
            history, sound & (over | under), "crossed prices", partial(_listing, prices),
            "low <= open, close <= high must hold; the columns may be swapped, or only the close adjusted",
        )  # fmt: skip


def negative_volume(history: History, _: Dates) -> Iterator[Fault]:
    """A volume below zero."""
    if (volume := history.columns.get("volume")) is not None:
        yield from _first(
            history, volume < 0, "negative volume", lambda row: f"volume = {volume[row]:g}",
            "volume counts units traded; an overflow of 32-bit integers looks like this",
        )  # fmt: skip


# --- warnings --------------------------------------------------------------------------------------------------------


def gaps(history: History, calendar: Dates) -> Iterator[Fault]:
    """Dates between the symbol's first and last bar on which others have a bar and it has none."""
    inside = calendar[(calendar >= history.dates.min()) & (calendar <= history.dates.max())]
    absent = ~np.isin(inside, history.dates)
    if absent.any():
        start, length = _longest_run(absent)
        yield Fault(
            "gap", "warning", history.symbol, str(inside[absent][0]),
            f"no bar on a date that others traded, longest gap {length} dates from {inside[start]}",
            "a suspension is normal; otherwise repair the source: nothing is filled", int(absent.sum()),
        )  # fmt: skip


def holes(history: History, calendar: Dates) -> Iterator[Fault]:
    """A long stretch between the symbol's first and last bar in which nobody has a bar; the rest is for `gaps`."""
    own = np.unique(history.dates)
    if len(own) < 2:
        return
    inside = calendar[(calendar >= own[0]) & (calendar <= own[-1])]
    steps = np.diff(inside).astype(np.int64)
    wide = np.flatnonzero(steps > max(HOLE_DAYS, HOLE_STEPS * np.median(np.diff(own).astype(np.int64))))
    if len(wide):
        longest = wide[np.argmax(steps[wide])]
        # Dated by the bar that ends it: before that nobody could know of it, and `Panel.asof` tells nothing sooner.
        yield Fault(
            "hole", "warning", history.symbol, str(inside[wide[0] + 1]),
            f"no symbol has a bar for {steps[longest]} days after {inside[longest]}, the longest hole",
            "a market that was closed needs nothing; otherwise repair the source: nothing is filled", len(wide),
        )  # fmt: skip


def late_start(history: History, calendar: Dates) -> Iterator[Fault]:
    """The symbol's first bar is later than the panel's."""
    if (first := history.dates.min()) > calendar[0]:
        yield Fault(
            "late start", "warning", history.symbol, str(first), f"the panel starts {calendar[0]}",
            "a listing is normal; comparisons with the other symbols must start no earlier",
        )  # fmt: skip


def early_end(history: History, calendar: Dates) -> Iterator[Fault]:
    """The symbol's last bar is earlier than the panel's."""
    if (last := history.dates.max()) < calendar[-1]:
        yield Fault(
            "early end", "warning", history.symbol, str(last), f"the panel ends {calendar[-1]}",
            "a delisting is normal, but its final return may be missing; otherwise load more history",
        )  # fmt: skip


def suspended(history: History, _: Dates) -> Iterator[Fault]:
    """Bars without trade: nobody could have dealt at their prices."""
    if (volume := history.columns.get("volume")) is not None:
        yield from _first(
            history, volume == 0, "suspended day", lambda _: "volume 0",
            "nothing to do where it is true: no order is filled on it", severity="warning",
        )  # fmt: skip


def split_like(history: History, _: Dates) -> Iterator[Fault]:
    """A move of more than `JUMP` from the last close to the next open or close that is nearly a common split ratio."""
    facts = _split_words(history)
    yield from _first(
        history, np.isin(np.arange(len(history.dates)), list(facts)), "split-like jump", facts.__getitem__,
        "prices look unadjusted: map `adj_close` or load adjusted prices; a real move needs nothing",
        severity="warning",
    )  # fmt: skip


def large_jump(history: History, _: Dates) -> Iterator[Fault]:
    """A move of more than `JUMP` from close to close on a bar that `split_like` does not report."""
    if (close := history.columns.get("close")) is not None:
        jumps = np.zeros(len(close), bool)
        jumps[1:] = _jumps(_ratio(close[:-1], close[1:]))
        jumps[list(_split_words(history))] = False
        yield from _first(
            history, jumps, "large jump",
            lambda row: f"close {close[row - 1]:g} -> {close[row]:g}, {close[row] / close[row - 1]:.4g}-fold",
            "check the source: unadjusted prices and typing errors look like this; a real move needs nothing",
            severity="warning",
        )  # fmt: skip


ERRORS: tuple[Rule, ...] = (duplicates, disorder, missing_values, worthless, crossed, negative_volume)
WARNINGS: tuple[Rule, ...] = (gaps, holes, late_start, early_end, suspended, split_like, large_jump)


# --- helpers ---------------------------------------------------------------------------------------------------------


def _first(
    history: History, where: Bools, kind: str, fact: Callable[[int], str], remedy: str,
    *, severity: Literal["error", "warning"] = "error",
) -> Iterator[Fault]:  # fmt: skip
    """At most one fault: the first row of `where` (an [M] mask) in words, with the count of all."""
    rows = np.flatnonzero(where)
    if len(rows):
        row = int(rows[0])
        yield Fault(kind, severity, history.symbol, str(history.dates[row]), fact(row), remedy, len(rows))


def _listing(columns: dict[str, Floats], row: int) -> str:
    return ", ".join(f"{name} {column[row]:g}" for name, column in columns.items())


def _longest_run(absent: Bools) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], absent, [False]))))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    best = int(np.argmax(lengths))
    return int(starts[best]), int(lengths[best])


_RATIOS = [1 / split for split in SPLITS] + list(SPLITS)
_LEVELS = np.array([float(ratio) for ratio in _RATIOS])


def _ratio(before: Floats, after: Floats) -> Floats:
    """[M-1] after / before; 1 where a price is broken, which is left to other rules."""
    sound = np.isfinite(before) & np.isfinite(after) & (before > 0) & (after > 0)
    return np.asarray(np.divide(after, before, out=np.ones_like(before), where=sound))


def _jumps(ratio: Floats) -> Bools:
    return np.asarray(np.abs(ratio - 1) > JUMP + ROUNDING)


def _split_words(history: History) -> dict[int, str]:
    """{row: fact} of the moves that are nearly a split, in the order of the file."""
    found: dict[int, str] = {}
    if "close" not in history.columns:
        return found
    before = history.columns["close"][:-1]
    for name in ("close", "open"):  # the open last: it is the cleaner evidence, so its words stay
        if name in history.columns:
            after = history.columns[name][1:]
            ratio = _ratio(before, after)
            near = (np.abs(ratio[:, None] / _LEVELS - 1) <= SPLIT_SLACK).any(axis=1)
            for row in np.flatnonzero(near & _jumps(ratio)):
                found[int(row) + 1] = _near_words(name, before[row], after[row])
    return found


def _near_words(name: str, before: float, after: float) -> str:
    nearest = int(np.argmin(np.abs(after / before / _LEVELS - 1)))
    return f"close {before:g} -> {name} {after:g}, nearly {_RATIOS[nearest]}"
