"""Fields that a panel needs before some families can read it: what they are made of, and when it was known.

A panel's values are known wherever it has a bar, so bars at which an added field is not yet known leave its mask; compute
factors of prices alone on the panel without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import DataError
from fiduciary.data.panel import Panel, position
from fiduciary.data.tables import BARS_1M, FUNDAMENTALS, MACRO, known_rows

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
DAY, MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")


class Known(TypedDict, total=False):
    """How a release is joined to a date.

    Attributes:
        until: how long after the label of a bar, midnight UTC of its date or its start, a release still counts. 0 is safe for
            every exchange: news may come a day late and never too early.
        ages: also fields `<item>_age`, days from the release to the date.
    """

    until: timedelta
    ages: bool


def with_fields(panel: Panel, fields: Mapping[str, NDArray[np.generic]]) -> Panel:
    """The panel with more fields.

    Args:
        panel: [T, N, F].
        fields: {name: values that broadcast to [T, N]}: [T, 1] for all symbols alike, [N] for what never changes.

    Raises:
        DataError: a name is there already, or no bar is left where all values are finite.
    """
    added = np.stack([np.broadcast_to(np.asarray(v, np.float64), panel.mask.shape) for v in fields.values()], axis=-1)
    mask = panel.mask & np.isfinite(added).all(axis=-1)
    if not mask.any():
        raise DataError("an added field must be known at some bar", f"none for {', '.join(fields)}")
    values = np.where(mask[..., None], np.concatenate((panel.values, added), axis=-1), np.nan)
    return replace(panel, fields=(*panel.fields, *fields), values=values, mask=mask)


def vwap(bars: Mapping[str, Floats]) -> Floats:
    """amount / volume; (high + low + close) / 3 where nothing was traded or there is no `amount`: our substitute."""
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3
    if "amount" not in bars:
        return typical
    return np.divide(bars["amount"], bars["volume"], out=typical, where=bars["volume"] > 0)


def with_vwap(panel: Panel) -> Panel:
    """The panel with a field `vwap`, in the currency of its prices, in which `amount` must be too; see `vwap`."""
    names = [name for name in ("high", "low", "close", "volume", "amount") if name in panel.fields]
    return with_fields(panel, {"vwap": vwap({name: panel[name] for name in names})})


def with_calendar(panel: Panel, sessions: NDArray[np.datetime64] | None = None) -> Panel:
    """The panel with what is known of its dates beforehand.

        day_of_week       0 Monday to 6 Sunday
        month             1 to 12
        session_of_month  1 for the first session of the month
        sessions_left     sessions of the month after this one
        pre_holiday       1 where the next weekday is no session, else 0

    Args:
        panel: bars of one exchange.
        sessions: increasing dates on which it opens, published ahead, from before the month of the panel's first date until
            after the month of its last. None: every weekday. A calendar written afterwards also knows closures that nobody
            foresaw (New York, 2001-09-11 to 14): count these days as sessions.

    Raises:
        DataError: a date of the panel is no session, or the sessions do not reach far enough.
    """
    dates = panel.dates.astype("datetime64[D]")
    month = dates.astype("datetime64[M]")
    first, last = month.astype("datetime64[D]"), (month + MONTH).astype("datetime64[D]")
    if sessions is None:
        days = np.arange(first[0] - 10 * DAY, last[-1] + 10 * DAY)
        sessions = days[np.is_busday(days)]
    following = np.busday_offset(dates, 1, roll="backward")
    known = np.isin(dates, sessions)
    if not known.all() or sessions[0] >= first[0] or sessions[-1] < max(last[-1], following[-1]):
        raise DataError(
            "sessions must hold every date of a panel and reach from before its first month until after its last",
            f"{dates[~known][0]} is missing" if not known.all() else f"they run from {sessions[0]} to {sessions[-1]}",
            remedy="take them from the exchange's calendar",
        )
    here = np.searchsorted(sessions, dates)
    return with_fields(
        panel,
        {
            "day_of_week": ((dates.astype(np.int64) + 3) % 7)[:, None],
            "month": (month.astype(np.int64) % 12 + 1)[:, None],
            "session_of_month": (here - np.searchsorted(sessions, first) + 1)[:, None],
            "sessions_left": (np.searchsorted(sessions, last) - here - 1)[:, None],
            "pre_holiday": ~np.isin(following, sessions)[:, None],
        },
    )


def with_fundamentals(panel: Panel, frame: "pl.DataFrame", *, items: Sequence[str] = (), **how: Unpack[Known]) -> Panel:
    """The panel with what was known of its symbols: the newest period released, in its latest restatement.

    Args:
        panel: bars.
        frame: rows of table `fundamentals` with their `known_time`, the release.
        items: which, each a field of its name; all that occur if empty.
        how: see `Known`.

    Raises:
        DataError: a row is not as its table says, or no bar is left where all items are known.
        ConfigError: an item does not occur.
    """
    return _with_known(panel, known_rows(frame, FUNDAMENTALS), items, **how)


def with_series(panel: Panel, frame: "pl.DataFrame", *, items: Sequence[str] = (), **how: Unpack[Known]) -> Panel:
    """The panel with macro series, the same for all symbols: the newest period released, in its latest revision.

    `frame` holds rows of table `macro` with their `known_time`; `items` are series. The rest is as in `with_fundamentals`.
    """
    import polars as pl

    rows = known_rows(frame, MACRO).rename({"series": "item"})
    return _with_known(panel, rows.with_columns(pl.lit("").alias("symbol")), items, **how)


def realised_variance(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Intraday bars -> rows for `with_fundamentals`: item `realised_variance` of every symbol and UTC day.

    log(close / open)^2 of the first bar of the day plus the sum of log(close_k / close_{k-1})^2 of the others: the night is
    left out. Known with the last bar, so `until=timedelta(days=1)` gives a date its own value.

    Args:
        frame: rows of a table of bars with their `known_time`.

    Raises:
        DataError: a row is not as its table says.
    """
    import polars as pl

    day = ["symbol", pl.col("event_time").dt.truncate("1d")]
    before = pl.col("close").shift(1).over(day).fill_null(pl.col("open"))
    return (
        known_rows(frame, BARS_1M)
        .sort("symbol", "event_time")
        .with_columns((pl.col("close") / before).log().pow(2).alias("value"))
        .group_by(day, maintain_order=True)
        .agg(pl.col("known_time").max(), pl.col("value").sum())
        .with_columns(pl.lit("realised_variance").alias("item"))
    )


def _with_known(
    panel: Panel, rows: "pl.DataFrame", items: Sequence[str], *, until: timedelta = timedelta(0), ages: bool = False
) -> Panel:
    """Join (symbol, item) as of each date; symbol "" stands for all."""
    import polars as pl

    present = sorted(rows["item"].unique().to_list())
    if not present:
        raise DataError("there must be released rows to join", "none", remedy="see what the rows were filtered by")
    # A period older than one that was already released comes too late to matter.
    newest = pl.col("event_time") >= pl.col("event_time").cum_max().over("symbol", "item")
    rows = rows.sort("known_time", "event_time").filter(newest)
    symbols = pl.Series("symbol", panel.symbols if "" not in rows["symbol"] else [""], pl.String)
    at = pl.Series("at", panel.dates.astype("datetime64[us]")).dt.replace_time_zone("UTC") + until
    grid = at.to_frame().join(symbols.to_frame(), how="cross", maintain_order="left_right")
    shape, added = (len(at), len(symbols)), {}
    for item in items or present:
        position(item, present, "released item")
        known = rows.filter(item=item).select("symbol", "value", "known_time")
        joined = grid.join_asof(
            known, left_on="at", right_on="known_time", by="symbol", coalesce=False, check_sortedness=False
        )
        added[item] = joined["value"].to_numpy().reshape(shape)
        if ages:
            added[f"{item}_age"] = ((joined["at"] - joined["known_time"]) / timedelta(days=1)).to_numpy().reshape(shape)
    return with_fields(panel, added)
