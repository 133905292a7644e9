"""What a panel holds, in numbers that a reader can check against the source."""

from typing import NamedTuple

import numpy as np

from fiduciary.data.faults import Fault
from fiduciary.data.panel import Panel

DAYS_PER_YEAR = 365.25


class SymbolSummary(NamedTuple):
    """One symbol of a panel.

    Attributes:
        symbol: its name.
        first, last: ISO dates of its first and last bar.
        bars: how many it has.
        missing: dates between first and last on which another symbol has a bar and it has none.
        min_close, max_close, last_close: money, as adjusted as the panel is.
        total_return: close of the last bar / close of the first - 1.
        volatility: annualised: standard deviation of log returns between its own bars * sqrt(bars a year), with
            bars a year = (bars - 1) * 365.25 / days from first to last, so weekly data count as weekly; NaN below
            3 bars.
    """

    symbol: str
    first: str
    last: str
    bars: int
    missing: int
    min_close: float
    max_close: float
    last_close: float
    total_return: float
    volatility: float


class Description(NamedTuple):
    """What `fiduciary data describe` shows.

    Attributes:
        source: where the bars came from, in words.
        currency: unit of the prices.
        fields: names of the fields.
        first, last: ISO dates of the calendar.
        dates: its length.
        symbols: one summary each, in the panel's order.
        faults: what validation let pass.
        digest: SHA-256, the identity of the data in a record.
    """

    source: str
    currency: str
    fields: tuple[str, ...]
    first: str
    last: str
    dates: int
    symbols: tuple[SymbolSummary, ...]
    faults: tuple[Fault, ...]
    digest: str


def describe(panel: Panel) -> Description:
    """Summarise a panel that has a close; symbols without any bar are left out.

    Raises:
        ConfigError: the panel has no field `close`.
    """
    close = panel["close"]
    present = np.flatnonzero(panel.mask.any(axis=0))
    return Description(
        panel.source, panel.currency, panel.fields, str(panel.dates[0]), str(panel.dates[-1]), len(panel.dates),
        tuple(_summary(panel, close[:, n], int(n)) for n in present), panel.faults, panel.digest(),
    )  # fmt: skip


def _summary(panel: Panel, close: np.ndarray, n: int) -> SymbolSummary:
    rows = np.flatnonzero(panel.mask[:, n])
    own = close[rows]
    return SymbolSummary(
        panel.symbols[n], str(panel.dates[rows[0]]), str(panel.dates[rows[-1]]), len(rows),
        int(rows[-1] - rows[0] + 1 - len(rows)), float(own.min()), float(own.max()), float(own[-1]),
        float(own[-1] / own[0] - 1), _volatility(own, panel.dates[rows]),
    )  # fmt: skip


def _volatility(close: np.ndarray, dates: np.ndarray) -> float:
    """std(log returns) * sqrt(bars a year) of one symbol's own bars [M]."""
    if len(close) < 3:
        return float("nan")
    return float(np.diff(np.log(close)).std(ddof=1) * np.sqrt(_bars_per_year(dates)))


def _bars_per_year(dates: np.ndarray) -> float:
    """Bars that a year of this calendar holds; dates [M] datetime64[D] with M > 1."""
    return float((len(dates) - 1) * DAYS_PER_YEAR / ((dates[-1] - dates[0]) / np.timedelta64(1, "D")))
