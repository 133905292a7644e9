"""The panel: one read-only block [T, N, F] of bars, with the calendar, symbols and fields that name its axes."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.data.faults import Fault

PRICES = ("open", "high", "low", "close")
BARS = (*PRICES, "volume")
LISTED = 40
"""Names that an error lists."""
LABEL = {"identity": False}
"""Marks fields that describe data without being data: the same bars under another path are the same bars."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Bars of N symbols over T dates. Nothing is filled: where `mask` is False the values are NaN.

    Attributes:
        dates: [T] datetime64, strictly increasing: every date on which any symbol has a bar. Days ([D]) of daily bars; starts
            ([us], UTC) of bars within the day.
        symbols: N names.
        fields: F names.
        values: [T, N, F] float64, read-only. Prices in `currency`, volume in units traded.
        mask: [T, N] bool, True where the symbol has a bar on that date.
        source: where the bars came from, in words.
        currency: unit of the prices.
        faults: what validation found and let pass (errors never get this far).

    Raises:
        DataError: at construction, if shapes disagree, dates do not increase, a name occurs twice, a bar under the mask
            is not finite or a value outside it is not NaN.
    """

    dates: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    fields: tuple[str, ...]
    values: NDArray[np.float64]
    mask: NDArray[np.bool_]
    source: str = field(default="", metadata=LABEL)
    currency: str = "USD"
    faults: tuple[Fault, ...] = field(default=(), repr=False, metadata=LABEL)

    def __post_init__(self) -> None:
        shape = (len(self.dates), len(self.symbols), len(self.fields))
        if self.values.shape != shape or self.mask.shape != shape[:2]:
            raise DataError(
                f"a panel's values must be [T, N, F] = {shape} and its mask [T, N]",
                f"{self.values.shape}, {self.mask.shape}",
            )
        if len(self.dates) > 1 and not (np.diff(self.dates) > np.timedelta64(0, "D")).all():
            raise DataError("a panel's dates must strictly increase", "dates out of order or twice")
        for noun, names in (("symbols", self.symbols), ("fields", self.fields)):
            if len(set(names)) < len(names):
                raise DataError(f"a panel's {noun} must be distinct", ", ".join(names))
        for first, values, mask in _blocks(self.values, self.mask):
            if not np.isnan(values[~mask]).all():
                raise DataError(
                    "a panel's values must be NaN where there is no bar", "numbers", remedy="set them to NaN"
                )
            t, n, f = np.argwhere(~np.isfinite(values) & mask[..., None])[0]
            raise DataError(
                "every bar under the mask must be finite",
                f"{values[t, n, f]} in {self.fields[f]} of {self.symbols[n]} on {self.dates[first + t]}",
                remedy="mask the bar or repair the source",
            )
        for array in (self.dates, self.values, self.mask):
            array.setflags(write=False)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """[T, N] values of one field, NaN where there is no bar."""
        return self.values[:, :, position(name, self.fields, "field")]

    def between(self, start: str | None, stop: str | None) -> "Panel":
        """Bars with start <= date <= stop; `"2010"` and `"2010-03"` mean the whole year or month.

        Bars within the day take `"2010-03-01T10:30"` too: the whole minute.
        """
        return self._rows(span(self.dates, start, stop))

    def asof(self, date: str) -> "Panel":
        """What was known at the close of `date`: the bars up to it, no symbol and no fault that first shows later.

        Adjusted prices keep one constant scale per symbol that later splits and dividends have set; see `sample`.
        """
        past = self.between(None, date)
        known = tuple(fault for fault in past.faults if fault.date <= str(past.dates[-1]))
        seen = past.mask.any(axis=0)
        return replace(past, faults=known).select([past.symbols[n] for n in np.flatnonzero(seen)])

    def select(self, symbols: Sequence[str]) -> "Panel":
        """The same panel with these symbols only, in this order; dates on which none of them has a bar are dropped."""
        columns = [position(symbol, self.symbols, "symbol") for symbol in symbols]
        narrow = replace(
            self, symbols=tuple(symbols), values=self.values[:, columns], mask=self.mask[:, columns],
            faults=tuple(fault for fault in self.faults if fault.symbol in symbols),
        )  # fmt: skip
        return narrow._rows(np.asarray(narrow.mask.any(axis=1)))

    def digest(self) -> str:
        """SHA-256 over axes, values and mask: the identity of the data in a record."""
        total = hashlib.sha256(repr((self.symbols, self.fields, self.currency)).encode())
        dates = self.dates.astype("datetime64[D]")
        if not np.array_equal(dates, self.dates):
            total.update(b"within the day")
            dates = self.dates.astype("datetime64[us]")
        for array in (dates.astype(np.int64), self.values, self.mask):
            total.update(np.ascontiguousarray(array).reshape(-1).data)
        return total.hexdigest()

    def _rows(self, keep: NDArray[np.bool_] | slice) -> "Panel":
        return replace(self, dates=self.dates[keep], values=self.values[keep], mask=self.mask[keep])


def span(dates: NDArray[np.datetime64], start: str | None, stop: str | None) -> slice:
    """The slice of increasing `dates` with start <= date <= stop, whole years and months allowed at both ends.

    Raises:
        ConfigError: a bound is no date, or no date lies between them.
    """
    unit = np.datetime_data(dates.dtype)[0]
    first = 0 if start is None else int(np.searchsorted(dates, moment(start, unit=unit)[0], side="left"))
    last = len(dates) if stop is None else int(np.searchsorted(dates, moment(stop, unit=unit)[1], side="left"))
    if first >= last:
        known = f"{dates[0]} to {dates[-1]}" if len(dates) else "no date at all"
        raise ConfigError(
            f"there must be bars between {start or 'the start'} and {stop or 'the end'}",
            f"none: the panel holds {known}",
            remedy="move the dates or load more history",
        )
    return slice(first, last)


def moment(text: str, *, unit: str = "D") -> tuple[np.datetime64, np.datetime64]:
    """A date, month or year -> its first day and the day after its last one.

    With a `unit` finer than the day, a minute or second as well, and both ends in that unit.
    """
    days = unit == "D"
    rule = "a date must read YYYY, YYYY-MM or YYYY-MM-DD" + (
        "" if days else ", a time YYYY-MM-DDTHH:MM or YYYY-MM-DDTHH:MM:SS"
    )
    # NumPy would also take "now" and other forms; none is a day that a record can repeat.
    if not re.fullmatch(
        r"(?!0000)(\d{4}(-\d{2}){0,2}" + (")" if days else r"|\d{4}-\d{2}-\d{2}T\d{2}(:\d{2}){1,2})"), str(text)
    ):
        raise ConfigError(rule, repr(text))
    try:
        period = np.datetime64(str(text))
    except ValueError as problem:
        raise ConfigError(rule, repr(text), cause=str(problem)) from None
    return period.astype(f"datetime64[{unit}]"), (period + 1).astype(f"datetime64[{unit}]")


def position(name: str, names: Sequence[str], noun: str) -> int:
    """Where `name` stands in `names`.

    Raises:
        ConfigError: it is not there; the message names the nearest one.
    """
    if name in names:
        return list(names).index(name)
    near, few = nearest(name, names), ", ".join(list(names)[:LISTED])
    listed = few if len(names) <= LISTED else f"{few}, and {len(names) - LISTED} more"
    raise ConfigError(f"a {noun} must be one of {listed}", repr(name), remedy=f"did you mean {near!r}?" if near else "")


def _blocks(
    values: NDArray[np.float64], mask: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.bool_]]]:
    """Blocks of rows, with the number of their first, in which numbers and mask disagree; each is read once, in the cache."""
    step = max(1, 2**17 // max(1, values[:1].size))
    for first in range(0, len(values), step):
        block, bars = values[first : first + step], mask[first : first + step]
        empty, none = np.isnan(block), ~bars
        agree = all(np.array_equal(empty[..., f], none) for f in range(block.shape[2]))
        if not agree or np.isinf(block).any():
            yield first, block, bars
