"""The leak of late snapshots: one reading of today's fundamentals written to every past date.

A 52-week low, a market value, a P/E or a dividend yield that a vendor shows today is often stored under all dates asked for.
An agent that reads it in January then knows the low of April. Three signs, of items dated by `event_time`:

    frozen      the item must move with the price (or the low of 52 weeks), which moved, and the item did not
    prophecy    a 52-week low below every low of the 52 weeks up to its date, and equal to one of the year after
    too at once rows of many dates say they were known on their own date, though one retrieval brought them all

Found in the wild in the cache of StockBench (arXiv 2510.02209), where the low of 2025-04-08 stands under 2025-01-02.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fiduciary.data.panel import Panel
from fiduciary.data.quality.detectors import Hit

if TYPE_CHECKING:
    pass

Dates = NDArray[np.datetime64]
Floats = NDArray[np.float64]
Meaning = Literal["low", "high", "moves"]

MANY = 65
"""Dates in a row: a reading refreshed each quarter and carried forward is old, but knows no future."""
MOVED = 0.02
"""Relative range, beside twice the item's rounding, of what an item must follow over which it cannot have stood still."""
YEAR = np.timedelta64(365, "D")
ROUNDING = 1e-5
"""Relative difference of one price told twice: float32, cents. A later low hits an older one this closely by no chance."""
REMEDY = "drop it, or rebuild it from the bars of each day; what was trained on it knew the future"
LOWS = ("low52w", "52wlow", "52weeklow", "week52low", "fiftytwoweeklow", "yearlow")
HIGHS = ("high52w", "52whigh", "52weekhigh", "week52high", "fiftytwoweekhigh", "yearhigh")
MOVING = (
    "marketcap", "marketvalue", "totalmv", "circmv", "enterprisevalue", "pe", "pettm", "peratio", "trailingpe", "forwardpe",
    "priceearnings", "pb", "pbratio", "pricetobook", "ps", "psttm", "pricetosales", "dividendyield", "dvratio", "dvttm",
)  # fmt: skip
MEANINGS: dict[str, Meaning] = (
    dict.fromkeys(LOWS, "low") | dict.fromkeys(HIGHS, "high") | dict.fromkeys(MOVING, "moves")  # type: ignore[assignment]
)


def meaning(item: str) -> Meaning | None:
    """What an item of this name must follow: the low or high of 52 weeks, the price, or nothing that we know of."""
    return MEANINGS.get(re.sub(r"[^a-z0-9]", "", item.lower()))


def copied(days: Dates, values: Floats, bars: Panel, n: int, of: Meaning) -> Iterator[Hit]:
    """Signs that one item of one symbol is a late reading copied to earlier dates.

    Args:
        days: [M] datetime64[D], increasing: the dates that the values claim.
        values: [M], finite.
        bars: has a close, and low and high for the extremes, on the item's scale.
        n: the symbol's place in `bars`.
        of: what the item must follow.
    """
    own = np.flatnonzero(bars.mask[:, n])
    dates = bars.dates[own]
    judged = np.flatnonzero(days >= dates[0]) if len(own) else own
    if not len(judged):
        return
    days, values = days[judged], values[judged]
    if of == "moves":
        hits = [*_frozen(values, bars["close"][own, n][np.searchsorted(dates, days, side="right") - 1])]
    else:
        extreme, sign = bars[of if of in bars.fields else "close"][own, n], 1 if of == "low" else -1
        first, present = (np.searchsorted(dates, bound, side="right") for bound in (days - YEAR, days))
        windows = zip(first.tolist(), present.tolist(), strict=True)
        known = np.array([sign * (sign * extreme[a:b]).min() if a < b else np.nan for a, b in windows])
        # Of dates with less than a year of bars before them the true extreme is not known.
        full = np.flatnonzero((days - YEAR >= dates[0]) & np.isfinite(known))
        hits = [hit._replace(rows=full[hit.rows]) for hit in _frozen(values[full], known[full])]
        hits += _prophecy(days, values, dates, extreme, known, sign=sign)
    for hit in hits:
        yield hit._replace(rows=judged[hit.rows])


def _frozen(values: Floats, truth: Floats) -> Iterator[Hit]:
    """The longest run of one value, if what it must follow moved too far for it."""
    if len(values) < MANY:
        return
    bounds = np.append(np.flatnonzero(np.diff(values, prepend=np.nan) != 0), len(values))
    longest = int(np.argmax(np.diff(bounds)))
    run = np.arange(bounds[longest], bounds[longest + 1])
    if len(run) < MANY:
        return
    least, most = truth[run].min(), truth[run].max()
    if most / least - 1 > max(MOVED, 2 * _rounding(values[run[0]])):
        yield Hit(
            "snapshot copied", "error", run, f"{values[run[0]]:.6g} on {len(run)} dates in a row, while what it must follow "
            f"went between {least:.6g} and {most:.6g}", REMEDY,
        )  # fmt: skip


def _rounding(value: float) -> float:
    """Relative weight of the last digit that a value shows: 0.1 for 10, 0.01 / 0.44 for 0.44."""
    digits, _, exponent = f"{value:.11e}".partition("e")
    shown = len(digits.lstrip("-").rstrip("0").replace(".", ""))
    return float(10.0 ** (int(exponent) - max(shown, 1) + 1) / abs(value)) if value else np.inf


def _prophecy(days: Dates, values: Floats, dates: Dates, extreme: Floats, known: Floats, *, sign: int) -> Iterator[Hit]:
    """Dates whose value lies beyond the extreme known up to them, and is one that the year after them will show."""
    slack = ROUNDING * np.abs(values)
    first = len(dates)
    rows = []
    for m in np.flatnonzero(sign * (known - values) > slack).tolist():
        coming = np.flatnonzero((dates > days[m]) & (dates <= days[m] + YEAR))
        met = coming[np.abs(extreme[coming] - values[m]) <= slack[m]]
        if len(met):
            first = min(first, int(met[0]))
            rows.append(m)
    if rows:
        # With less than a year of bars behind it, the true extreme may lie before them, and meet a later one by chance.
        sure = bool((days[rows] - YEAR >= dates[0]).any())
        yield Hit(
            "snapshot copied", "error" if sure else "warning", np.array(rows),
            f"52-week {'low' if sign > 0 else 'high'} {values[rows[0]]:.6g}, which the price first reached on {dates[first]}",
            REMEDY,
        )  # fmt: skip
