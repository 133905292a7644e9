"""Quality: what is wrong with rows that are sound one by one, and where they go: to quarantine, never away.

    for anomaly in inspect(history.read("bars_1d"), exchange="XNYS"):
        print(anomaly.fault)

    quarantine(history, "bars_1d", anomalies)                     # from here on `trusted` leaves their rows out

Rules of single rows are `tables.check_rows`'s; rules of daily bars are `validation`'s; what one symbol's rows say together is
in `detectors`, copied snapshots in `snapshots`, and here is what needs more than one symbol or a clock.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fiduciary.data import validation
from fiduciary.data.faults import Fault
from fiduciary.data.panel import Panel
from fiduciary.data.quality.detectors import DETECTORS, Hit
from fiduciary.data.quality.snapshots import copied, meaning
from fiduciary.data.reference import sessions
from fiduciary.data.sources.clients import are_daily
from fiduciary.data.tables import BARS_1D, DAY, Column, Table, stale

if TYPE_CHECKING:
    import polars as pl

Times = NDArray[np.datetime64]

MANY = 20
"""Common dates, or dates of one retrieval, below which nothing is concluded from their agreement."""
SAME, SAME_DIGITS = 0.8, 5
"""Share of a symbol's log returns that another has too, to this many digits (float32 keeps 6), that makes them one series."""
HOUR = np.timedelta64(3_600_000_000, "us")
NIGHT = 5 * HOUR
"""Longest pause within a session; lunch in Asia takes up to two hours."""
SHIFTS = sorted((h for h in range(-14, 15) if h), key=abs)
"""Whole hours by which clocks are set wrong, the likeliest first."""


class Anomaly(NamedTuple):
    """Something suspicious.

    Attributes:
        fault: what, how grave, whose, when first, the remedy, and how many rows.
        times: [M] datetime64[us] event times of the rows that `quarantine` would take; none where no row is wrong by itself,
            such as a gap.
        item: the item of a table of items, "" for bars.
    """

    fault: Fault
    times: Times
    item: str = ""


def inspect(
    rows: "pl.DataFrame | Panel", table: Table = BARS_1D, *, exchange: str = "", bars: Panel | None = None,
    now: datetime | None = None,
) -> list[Anomaly]:  # fmt: skip
    """Everything suspicious in rows of one table.

    Args:
        rows: sound rows of the table (`check_rows`), each key once, as `History.read` returns them; or a panel.
        table: its schema. Tables with a `close` are bars; those with `item` and `value` are items, such as fundamentals.
        exchange: whose calendar the bars must keep; "" = dates are compared between symbols only, and clocks not at all.
        bars: prices that items and columns such as a 52-week low must agree with; None = those of `rows` if it is a panel.
        now: the present, to say whether the table is stale; None = not asked.

    Raises:
        ConfigError: no such exchange, or its calendar does not reach so far.
    """
    import polars as pl

    if isinstance(rows, Panel):
        bars, frame = rows, long_form(rows).rename({"date": "event_time"})
        frame = frame.with_columns(pl.col("event_time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    else:
        frame = rows
    if not len(frame):
        return []
    found: list[Anomaly] = []
    newest = frame["event_time"].max()
    if now is not None and isinstance(newest, datetime) and (fault := stale(table, newest, now=now)):
        found.append(Anomaly(fault, _times(frame)[:0]))
    if are_daily(table.name, frame["event_time"]):
        fault = Fault(
            "daily bars", "error", table.name, str(frame["event_time"].min())[:10],
            "every bar of several days begins at midnight UTC",
            "pull them as daily bars: here they count as known minutes after their day began", len(frame),
        )  # fmt: skip
        found.append(Anomaly(fault, _times(frame)[:0]))
    if "close" in frame.columns:
        found += _of_bars(frame, exchange)
    if "item" in frame.columns:
        found += [*_at_once(frame, table)]
        found += [*_snapshots(frame, bars)] if bars is not None else []
    elif bars is not None:
        found += [*_snapshots(_items(frame), bars)]
    return found


def _of_bars(frame: "pl.DataFrame", exchange: str) -> Iterator[Anomaly]:
    import polars as pl

    numbers = [name for name, dtype in frame.schema.items() if dtype == pl.Float64 and frame[name].null_count() == 0]
    long = frame.select(pl.col("event_time").dt.date().alias("date"), "symbol", *numbers)
    # Twice a day is a fault of daily bars, every day it is their nature.
    daily = len(long) < 1.5 * long.select(pl.struct("date", "symbol").n_unique()).item()
    hours = sessions(exchange, *_first_and_last(long["date"])) if exchange else None
    calendar = None if hours is None else hours["session"].to_numpy().astype("datetime64[D]")
    rules = DAILY if daily else PRESENCE if exchange else ()
    for fault in validation.check(long, rules, calendar=calendar if hours is not None and len(hours) else None):
        yield Anomaly(fault, np.empty(0, "datetime64[us]"))
    for part, own in zip(
        frame.partition_by("symbol", maintain_order=True), long.partition_by("symbol", maintain_order=True), strict=True
    ):
        history, times = validation.history_of(own), _times(part)
        hits = [hit for detector in DETECTORS for hit in detector(history)]
        hits += [*(_day_labels(times, calendar) if daily else _clock(times, exchange))]
        hits += [*_known_too_soon(part, hours if daily else None)]
        yield from (_anomaly(hit, history.symbol, times) for hit in hits)
    yield from _same_series(frame)


def _anomaly(hit: Hit, symbol: str, times: Times, item: str = "") -> Anomaly:
    first = str(times[hit.rows[0]].astype("datetime64[D]"))
    fault = Fault(hit.kind, hit.severity, symbol, first, hit.fact, hit.remedy, len(hit.rows))
    return Anomaly(fault, times[hit.rows], item)


def _first_and_last(days: "pl.Series") -> tuple[date, date]:
    first, last = days.min(), days.max()
    assert isinstance(first, date) and isinstance(last, date)
    return first, last


def _times(frame: "pl.DataFrame") -> Times:
    return frame["event_time"].to_numpy().astype("datetime64[us]")


def long_form(panel: Panel) -> "pl.DataFrame":
    """The bars of a panel as rows `date`, `symbol` and its fields, by date and in the panel's order of symbols."""
    import polars as pl

    t, n = np.nonzero(panel.mask)
    axes = {"date": panel.dates[t], "symbol": pl.Series(np.array(panel.symbols)[n], dtype=pl.String)}
    return pl.DataFrame(axes | {name: panel[name][t, n] for name in panel.fields})


PRESENCE = (validation.gaps, validation.holes)
DAILY = (*validation.ERRORS, *PRESENCE, validation.late_start, validation.early_end, validation.suspended)
"""Rules of validation; its jumps are judged by `detectors.jumps`, which looks at what follows them."""


# --- clocks ----------------------------------------------------------------------------------------------------------


def _day_labels(times: Times, calendar: Times | None) -> Iterator[Hit]:
    """Days that are not at midnight UTC, or no sessions though the day beside them is one: midnight of another zone."""
    off = np.flatnonzero(times != times.astype("datetime64[D]"))
    if len(off):
        late = np.unique((times - times.astype("datetime64[D]"))[off] / HOUR)
        yield Hit(
            "time-zone slip", "error", off, f"days labelled {', '.join(f'{hour:g}' for hour in late[:3])} h UTC",
            "midnight of another zone: label a bar by its session's date at midnight UTC",
        )  # fmt: skip
    elif calendar is not None:
        off = np.flatnonzero(~np.isin(times.astype("datetime64[D]"), calendar))
        for shift in (1, -1):
            moved = times.astype("datetime64[D]") + shift
            region = np.arange(off[0], off[-1] + 1) if len(off) else off
            if len(off) > 1 and np.isin(moved[region], calendar).mean() > SAME:
                yield Hit(
                    "time-zone slip", "error", region, f"{len(off)} labels are no sessions, and {shift:+d} day makes them such",
                    "midnight of another zone was cut to a date: label a bar by its session's date",
                )  # fmt: skip
                return
        if len(off):
            yield Hit(
                "off session", "warning", off, "a bar on a day on which the exchange was closed",
                "check the calendar's name and the date",
            )  # fmt: skip


def _clock(times: Times, exchange: str) -> Iterator[Hit]:
    """Sessions whose bars lie outside trading hours, and inside after a shift by whole hours: a zone, or summer time."""
    if not exchange:
        return
    first, last = (moment.astype("datetime64[D]").item() for moment in (times[0], times[-1]))
    # A wrong clock moves bars into the day beside theirs; not into another year, which the calendar may not know.
    beside = max(first - DAY, first.replace(month=1, day=1)), min(last + DAY, last.replace(month=12, day=31))
    hours = sessions(exchange, *beside)
    opens, closes = (hours[name].to_numpy().astype("datetime64[us]") for name in ("open", "close"))
    group = np.cumsum(np.diff(times, prepend=times[0]) > NIGHT)
    outside = ~_within(times, opens, closes)
    wrong, left = np.unique(group[outside]), np.zeros(len(times), bool)
    slipped: dict[int, list[int]] = {}
    for each in wrong.tolist():
        own = np.flatnonzero(group == each)
        shift = next((h for h in SHIFTS if _within(times[own] + h * HOUR, opens, closes).all()), 0)
        if shift:
            slipped.setdefault(shift, []).extend(own.tolist())
        else:
            left[own] = outside[own]
    for shift, rows in slipped.items():
        yield Hit(
            "time-zone slip", "error", np.array(rows), f"bars lie outside trading hours, and within them {shift:+d} h",
            "another zone was taken for UTC, or summer time was left out: convert with the exchange's zone",
        )  # fmt: skip
    if left.any():
        yield Hit(
            "off session", "warning", np.flatnonzero(left), "bars outside trading hours",
            "before and after hours need their own table; otherwise check the clock",
        )  # fmt: skip


def _within(times: Times, opens: Times, closes: Times) -> NDArray[np.bool_]:
    """[M] whether a session is open; its close counts, for bars that are labelled by their end."""
    session = np.searchsorted(opens, times, side="right")
    ended = np.append(np.datetime64(0, "us"), closes)
    return np.asarray((session > 0) & (times <= ended[session]))


def _known_too_soon(part: "pl.DataFrame", hours: "pl.DataFrame | None") -> Iterator[Hit]:
    """Bars that were known before they ended: who asks as of that time sees the future."""
    import polars as pl

    if "known_time" not in part.columns:
        return
    known, ended = part["known_time"].to_numpy().astype("datetime64[us]"), _times(part)
    if hours is not None:
        # Known at the close is in time; a day that is no session is too soon at its label.
        just_before = (pl.col("close") - timedelta(microseconds=1)).dt.replace_time_zone(None)
        days = part.select(session=pl.col("event_time").dt.date())
        closes = days.join(hours.select("session", just_before), on="session", how="left", maintain_order="left")
        ended = closes["close"].fill_null(pl.Series(ended)).to_numpy().astype("datetime64[us]")
    rows = np.flatnonzero(known <= ended)
    if len(rows):
        yield Hit(
            "known too soon", "error", rows, f"said to be known at {known[rows[0]]}Z, before the bar ended",
            "set `known_time` to the close or later; as-of queries show these bars while they are still made",
        )  # fmt: skip


# --- several symbols -------------------------------------------------------------------------------------------------


def _same_series(frame: "pl.DataFrame") -> Iterator[Anomaly]:
    """Two symbols whose returns agree, bar by bar, on nearly all of their common dates."""
    import polars as pl

    move = (pl.col("close") / pl.col("close").shift(1)).log().over("symbol").round(SAME_DIGITS)
    moves = frame.select("event_time", "symbol", move=move).filter(pl.col("move").is_finite() & (pl.col("move") != 0))
    count = dict(moves.group_by("symbol").len().rows())
    both = moves.join(moves, on=["event_time", "move"], suffix="_2").filter(pl.col("symbol") < pl.col("symbol_2"))
    pairs = both.group_by("symbol", "symbol_2").len().filter(pl.col("len") >= MANY).sort("symbol", "symbol_2")
    for one, two, equal in pairs.rows():
        if equal >= SAME * min(count[one], count[two]):
            times = _times(frame.filter(pl.col("symbol") == two))
            fault = Fault(
                "same series", "error", two, str(times[0].astype("datetime64[D]")),
                f"moves as {one} does on {equal} dates", "one of two names of one share: keep one", len(times),
            )  # fmt: skip
            yield Anomaly(fault, times)


# --- items -----------------------------------------------------------------------------------------------------------


def _items(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Columns of bars that must follow the bars, one item each, as rows of items."""
    named = [name for name in frame.columns if meaning(name)]
    return frame.unpivot(named, index=["event_time", "symbol"], variable_name="item").drop_nulls()


def _snapshots(items: "pl.DataFrame", bars: Panel) -> Iterator[Anomaly]:
    """Late readings copied to early dates; see `snapshots`."""
    for part in items.sort("event_time").partition_by("symbol", "item", maintain_order=True):
        symbol, item = part["symbol"][0], part["item"][0]
        of = meaning(item)
        if of and symbol in bars.symbols:
            times = _times(part)
            for hit in copied(
                times.astype("datetime64[D]"), part["value"].to_numpy(), bars, bars.symbols.index(symbol), of
            ):
                yield _anomaly(hit._replace(fact=f"{item}: {hit.fact}"), symbol, times, item)


def _at_once(frame: "pl.DataFrame", table: Table) -> Iterator[Anomaly]:
    """Items of many dates that all say they were known on their own date, though one retrieval brought them."""
    import polars as pl

    if not {"known_time", "batch"} <= set(frame.columns):
        return
    instant = pl.col("known_time") == pl.col("event_time")
    sums = frame.group_by("batch", maintain_order=True).agg(instant.all(), dates=pl.col("event_time").n_unique())
    for batch in sums.filter(pl.col("known_time") & (pl.col("dates") >= MANY))["batch"]:
        times = _times(frame.filter(pl.col("batch") == batch))
        yield Anomaly(
            Fault(
                "knowledge assumed", "warning", table.name, str(times.min().astype("datetime64[D]")),
                "rows of many dates came in one retrieval, each said to be known on its own date",
                "set `known_time` to the release, or to the retrieval: nobody can say what was known before", len(times),
            ),
            times[:0],
        )  # fmt: skip


# --- quarantine ------------------------------------------------------------------------------------------------------

SUSPECTS = Table(
    "suspects",
    (Column("of", "text"), Column("symbol", "text"), Column("item", "text"), Column("kind", "text"), Column("fact", "text"),
     Column("held", "bool")),
    ("of", "symbol", "item", "kind"),
)  # fmt: skip
"""Rows of other tables that are held back: `of` names the table, `event_time` is the row's; known when they were suspected."""


class Store(Protocol):
    """What `data.history.History` offers, as far as it is needed here."""

    def append(self, table: Table | str, frame: "pl.DataFrame", *, source: str) -> Any:
        """Add rows, known from now on."""
        ...

    def read(self, table: str, *, as_of: Any = None, start: Any = None, stop: Any = None,
             where: Mapping[str, Any] | None = None) -> "pl.DataFrame":  # fmt: skip
        """The latest version of every key that was known at `as_of`."""
        ...

    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        ...


def quarantine(store: Store, table: str, anomalies: Iterable[Anomaly], *, held: bool = True) -> int:
    """Hold the rows of some anomalies back, or (`held=False`) let them go again; nothing is deleted or changed.

    Which are worth it is for the caller to say, such as those whose `fault.severity` is "error". What is held is written to
    the table `suspects`, known from now on: `trusted` as of an earlier time still shows what was trusted then.

    Returns:
        How many rows of `table` are named.
    """
    import polars as pl

    parts = [
        pl.DataFrame({
            "event_time": anomaly.times, "of": table, "symbol": anomaly.fault.symbol, "item": anomaly.item,
            "kind": anomaly.fault.kind, "fact": anomaly.fault.fact, "held": held,
        })
        for anomaly in anomalies
        if len(anomaly.times)
    ]  # fmt: skip
    if not parts:
        return 0
    # Two runs of one kind may touch in one bar.
    rows = pl.concat(parts).unique(["event_time", *SUSPECTS.keys], keep="first", maintain_order=True)
    store.append(SUSPECTS, rows, source="fiduciary.data.quality")
    return len(rows)


def trusted(
    store: Store, table: str, *, as_of: Any = None, start: Any = None, stop: Any = None,
    where: Mapping[str, Any] | None = None,
) -> "pl.DataFrame":  # fmt: skip
    """What `store.read` returns, without rows that were held back at `as_of`."""
    import polars as pl

    rows = store.read(table, as_of=as_of, start=start, stop=stop, where=where)
    if SUSPECTS.name not in store.tables():
        return rows
    suspects = store.read(SUSPECTS.name, as_of=as_of, where={"of": table}).filter(pl.col("held"))
    return rows.join(
        suspects, on=[name for name in ("event_time", "symbol", "item") if name in rows.columns], how="anti",
        maintain_order="left",
    )  # fmt: skip
