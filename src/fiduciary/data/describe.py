"""What a panel holds, in numbers that a reader can check against the source."""

from typing import NamedTuple

import numpy as np

from fiduciary.data.faults import Fault
from fiduciary.data.panel import Panel

BARS_A_YEAR = 252


class SymbolSummary(NamedTuple):
    """One symbol of a panel.

    Attributes:
        symbol: its name.
        first, last: ISO dates of its first and last bar.
        bars: how many it has.
        missing: dates between first and last on which another symbol has a bar and it has none.
        min_close, max_close, last_close: money, as adjusted as the panel is.
        total_return: close of the last bar / close of the first - 1.
        volatility: annualised: standard deviation of log returns between its own bars * sqrt(252); NaN below 3 bars.
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
    spread = np.diff(np.log(own)).std(ddof=1) if len(own) > 2 else np.nan
    return SymbolSummary(
        panel.symbols[n], str(panel.dates[rows[0]]), str(panel.dates[rows[-1]]), len(rows),
        int(rows[-1] - rows[0] + 1 - len(rows)), float(own.min()), float(own.max()), float(own[-1]),
        float(own[-1] / own[0] - 1), float(spread * np.sqrt(BARS_A_YEAR)),
    )  # fmt: skip
