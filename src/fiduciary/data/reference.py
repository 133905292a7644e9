"""Reference data, point in time: members of universes, sessions of exchanges, splits and dividends, exchange rates.

    reference = Reference(history)
    member = reference.members("index", panel.dates, panel.symbols)                    # [T, N], of each date
    panel = within(adjust(panel, reference.actions(), policy="splits"), member)

`Reference` reads the tables `instruments`, `membership`, `corporate_actions` and `currencies` of a store, as known at a time;
the functions below it are pure and take such rows from anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.data.panel import PRICES, Panel
from fiduciary.data.tables import CORPORATE_ACTIONS, CURRENCIES, Table, check_rows

if TYPE_CHECKING:
    import polars as pl

Bools = NDArray[np.bool_]
Dates = NDArray[np.datetime64]
Floats = NDArray[np.float64]
Policy = Literal["as traded", "splits", "total return"]

MEMBER = "member"
"""Field that `within` adds to a panel: 1 where the symbol is in the universe, 0 where it is not."""
PER_SHARE = (*PRICES, "vwap")
"""Fields in money per share; an adjustment multiplies them and divides the volume, and leaves the amount."""
MONEY = (*PER_SHARE, "amount")
"""Fields in money; a conversion multiplies them."""


class Rows(Protocol):
    """A bitemporal store: what `data.history.History` offers, as far as it is needed here."""

    def read(
        self, table: str, *, as_of: datetime | None = None, where: Mapping[str, Any] | None = None
    ) -> "pl.DataFrame":
        """The version of every row that was the latest at `as_of`."""
        ...

    def log(self, table: str) -> "pl.DataFrame":
        """Every version of every row."""
        ...


@dataclass(frozen=True)
class Reference:
    """The reference tables of a store.

    Attributes:
        history: the store.
    """

    history: Rows

    def instruments(self, *, on: date, as_of: datetime | None = None) -> "pl.DataFrame":
        """One row per symbol: the description that holds on a day, as known at `as_of`; sorted by symbol."""
        import polars as pl

        rows = self.history.read("instruments", as_of=as_of).filter(pl.col("event_time").dt.date() <= on)
        return rows.sort("symbol", "event_time").unique("symbol", keep="last", maintain_order=True)

    def universe(self, name: str, *, on: date, as_of: datetime | None = None) -> tuple[str, ...]:
        """Symbols that are in a universe on a day, as known at `as_of`; sorted.

        Raises:
            ConfigError: no membership of that universe is known.
        """
        rows = self._membership(name, self.history.read("membership", as_of=as_of))
        symbols = rows["symbol"].unique().sort().to_list()
        inside = standing(rows, np.array([on], "datetime64[D]"), symbols, value="member")[0] == 1
        return tuple(np.array(symbols)[inside].tolist())

    def members(
        self, universe: str, dates: Dates, symbols: Sequence[str], *, as_of: datetime | None = None, then: bool = False
    ) -> Bools:
        """Who is in a universe on each date.

        Args:
            universe: its name.
            dates: [T] datetime64[D], increasing.
            symbols: N names.
            as_of: what was known then; None = all that is known now.
            then: on each date only by what was known before its midnight (UTC). Announcements count from their release, a
                correction from its own. A membership that was loaded later, with no earlier `known_time`, does not count.

        Returns:
            [T, N].

        Raises:
            ConfigError: no membership of that universe is known; `as_of` and `then` are both given.
        """
        if then and as_of is not None:
            raise ConfigError("`as_of` and `then` are two ways to say when", "both", remedy="leave one out")
        rows = self.history.log("membership") if then else self.history.read("membership", as_of=as_of)
        rows = self._membership(universe, rows)
        return np.equal(standing(rows, dates, symbols, value="member", then=then), 1)

    def actions(self, symbols: Sequence[str] | None = None, *, as_of: datetime | None = None) -> "pl.DataFrame":
        """Splits and dividends known at `as_of`, sorted by ex date; None = of all symbols."""
        where = None if symbols is None else {"symbol": list(symbols)}
        return self.history.read("corporate_actions", as_of=as_of, where=where)

    def rates(self, *, as_of: datetime | None = None) -> "pl.DataFrame":
        """Exchange rates known at `as_of`, for `convert`."""
        return self.history.read("currencies", as_of=as_of)

    def _membership(self, name: str, rows: "pl.DataFrame") -> "pl.DataFrame":
        import polars as pl

        own = rows.filter(pl.col("universe") == name)
        if not len(own):
            known = rows["universe"].unique().sort().to_list()
            near = nearest(name, known)
            raise ConfigError(
                f"a universe must have known members; there are {', '.join(known) or 'none'}", repr(name),
                remedy=f"did you mean {near!r}?" if near else "append its membership, or ask as of a later time",
            )  # fmt: skip
        return own


def standing(
    rows: "pl.DataFrame", dates: Dates, names: Sequence[str], *, value: str, key: str = "symbol", then: bool = False
) -> Floats:
    """The value that stands on each date: that of the latest event up to it, in its latest version.

    Args:
        rows: `event_time`, the key, the value, and `known_time` where there are versions.
        dates: [T] datetime64[D], increasing.
        names: N values of the key.
        value: a numeric or boolean column.
        key: the column that `names` are of.
        then: count a row only on dates that begin (midnight UTC) after it was known.

    Returns:
        [T, N], NaN where nothing stands yet.
    """
    import polars as pl

    order = ["event_time", *(name for name in ("known_time",) if name in rows.columns)]
    own = rows.filter(pl.col(key).is_in(list(names))).sort(order, maintain_order=True)
    since = own["event_time"].dt.date().to_numpy().astype("datetime64[D]")
    if then:
        known = own["known_time"].to_numpy().astype("datetime64[us]")
        since = np.maximum(since, -((-known.astype(np.int64)) // 86_400_000_000) * np.timedelta64(1, "D") + EPOCH)
    t = np.searchsorted(dates, since)
    column = {name: n for n, name in enumerate(names)}
    n = np.array([column[name] for name in own[key]], np.int64)
    seen = t < len(dates)
    # Rows are sorted by event and version, so of those that count by a date the last one stands.
    place = np.full((len(dates), len(names)), -1)
    np.maximum.at(place, (t[seen], n[seen]), np.flatnonzero(seen))
    values = np.append(own[value].cast(pl.Float64).to_numpy(), np.nan)
    return np.asarray(values[np.maximum.accumulate(place, axis=0)])


EPOCH = np.datetime64("1970-01-01", "D")


def within(panel: Panel, member: Bools) -> Panel:
    """The panel with the field `member`, without symbols that never are one.

    No bar is taken away. Those before a symbol enters are known and feed look-backs; those after it leaves price a position
    that is still open, which must be sold at a price that was there and not vanish. What membership forbids is to open one:
    rank and buy where `member` is 1.

    Args:
        panel: [T, N, F].
        member: [T, N] bool.

    Raises:
        ConfigError: another shape, or nobody is ever a member.
    """
    if member.shape != panel.mask.shape or not (member & panel.mask).any():
        raise ConfigError(
            f"`member` must be [T, N] = {panel.mask.shape} and True on some bar",
            f"{member.shape}, {int(member.sum())} True",
        )
    flag = np.where(panel.mask, member, np.nan)[..., None]
    marked = replace(panel, fields=(*panel.fields, MEMBER), values=np.concatenate((panel.values, flag), axis=-1))
    return marked.select([panel.symbols[n] for n in np.flatnonzero((member & panel.mask).any(axis=0))])


# --- exchanges -------------------------------------------------------------------------------------------------------


def sessions(exchange: str, start: date, stop: date) -> "pl.DataFrame":
    """Trading sessions with start <= date <= stop, by the library `exchange_calendars`.

    Args:
        exchange: ISO 10383 code or a usual alias: "XNYS", "NYSE", "XSHG", "24/7".
        start, stop: first and last day.

    Returns:
        Columns `session` (Date), `open`, `break_start`, `break_end`, `close` (UTC microseconds; no break = null), `early`
        (it closes sooner than usual).

    Raises:
        ConfigError: no such calendar; it does not reach so far back or ahead: it would be a guess where an exchange has not
            yet said when it is closed (Shanghai's ends on 2026-12-31); `stop` lies before `start`.
    """
    import polars as pl

    if stop < start:
        raise ConfigError("`stop` must not lie before `start`", f"{start} to {stop}")
    return _calendar(exchange, start.year, stop.year).filter(pl.col("session").is_between(start, stop))


@lru_cache(maxsize=32)
def _calendar(exchange: str, first: int, last: int) -> "pl.DataFrame":
    """All sessions of these years."""
    import exchange_calendars as xc
    import polars as pl

    try:
        calendar = xc.get_calendar(exchange, start=f"{first}-01-01", end=f"{last}-12-31")
    except xc.errors.InvalidCalendarName:
        near = nearest(exchange, xc.get_calendar_names())
        raise ConfigError(
            "an exchange must have a calendar", repr(exchange),
            remedy=f"did you mean {near!r}?" if near else "use its ISO 10383 code, such as XNYS",
        ) from None  # fmt: skip
    except ValueError as problem:
        raise ConfigError(
            f"the calendar of {exchange} must reach from {first} to {last}", "less", cause=str(problem),
            remedy="ask for years that it knows",
        ) from None  # fmt: skip
    schedule = calendar.schedule
    made = {"session": schedule.index.to_numpy()} | {
        name: schedule[name].dt.tz_convert(None).to_numpy() for name in schedule
    }
    return pl.DataFrame(made).select(
        pl.col("session").cast(pl.Date),
        pl.col("open", "break_start", "break_end", "close").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        pl.Series("early", schedule.index.isin(calendar.early_closes)),
    )


# --- shares ----------------------------------------------------------------------------------------------------------


def adjust(
    panel: Panel, actions: "pl.DataFrame", *, policy: Policy, anchor: Literal["first", "last"] = "last"
) -> Panel:
    """Bars as if splits, or splits and reinvested dividends, had always been; see `adjustment`.

    Prices are multiplied by the factor and volume is divided by it, so that money turnover stays what it was.

    Args:
        panel: bars as traded.
        actions: rows of `corporate_actions` as known at one time (`Reference.actions`): what was not known then is not in.
        policy: "as traded" (nothing is done), "splits", or "total return".
        anchor: the bar whose prices stay as traded: each symbol's last (today's prices; every later action rescales the
            past) or first (the past stays as it is whatever happens later, prices are in units of the first day's share).

    Raises:
        ConfigError: no such policy or anchor, or the panel has no close.
        DataError: an action is not sound, pays as much as the share cost, or is in another currency than the panel.
    """
    if policy == "as traded":
        return panel
    factor = adjustment(panel, actions, policy=policy, anchor=anchor)
    values = panel.values.copy()
    for f, name in enumerate(panel.fields):
        if name in PER_SHARE:
            values[:, :, f] *= factor
        elif name == "volume":
            values[:, :, f] /= factor
    return replace(panel, values=values, source=f"{panel.source}, adjusted: {policy}")


def adjustment(
    panel: Panel, actions: "pl.DataFrame", *, policy: Policy, anchor: Literal["first", "last"] = "last"
) -> Floats:
    """Factors that make prices of different dates comparable.

    With C the last close before an ex date e, r new shares for each old one, and D the cash per share that trades on e,

        split:     step_e = 1 / r,   C <- C / r             dividend:  step_e = (C - D) / C,   C <- C - D
        factor_t = product of step_e over t < e <= T,       divided by factor_first if the anchor is the first bar

    the ratio of adjusted to raw close that data vendors publish (CRSP, Yahoo); a split comes before a dividend of its day.

    Returns:
        [T, N], NaN where there is no bar. Arguments and errors are those of `adjust`.
    """
    if policy not in ("splits", "total return") or anchor not in ("first", "last"):
        raise ConfigError(
            "adjustment must be for 'splits' or 'total return', anchored 'first' or 'last'", f"{policy!r}, {anchor!r}"
        )
    close = panel["close"]
    factor = np.where(panel.mask, 1.0, np.nan)
    for (symbol,), own in _sound(actions, CORPORATE_ACTIONS).partition_by("symbol", as_dict=True).items():
        if symbol in panel.symbols:
            n = panel.symbols.index(symbol)
            bars = np.flatnonzero(panel.mask[:, n])
            step = _steps(panel, own, close[bars, n], panel.dates[bars], dividends=policy == "total return")
            later = np.append(np.cumprod(step[:0:-1])[::-1], 1.0)
            factor[bars, n] = later / later[0] if anchor == "first" else later
    return factor


def _steps(panel: Panel, actions: "pl.DataFrame", close: Floats, dates: Dates, *, dividends: bool) -> Floats:
    """[M] factor that each own bar puts on all bars before it."""
    step, left = np.ones(len(dates)), close.copy()
    ordered = actions.sort("event_time", "kind", descending=(False, True))
    for time, symbol, kind, value, currency in ordered.select(
        "event_time", "symbol", "kind", "value", "currency"
    ).rows():
        bar = int(np.searchsorted(dates, np.datetime64(time.date(), "D")))
        if not 0 < bar < len(dates):
            continue  # before the first bar there is nothing to adjust, after the last nothing to adjust to
        if kind == "split":
            step[bar] /= value
            left[bar - 1] /= value
        elif dividends:
            if currency not in (None, panel.currency) or value >= left[bar - 1]:
                raise DataError(
                    f"a dividend must be in the panel's currency, {panel.currency}, and below the price of the share",
                    f"{value:g} {currency or ''} of {symbol} on {time:%Y-%m-%d} at {left[bar - 1]:g}",
                    remedy="convert it, or correct the action; prices must be as traded",
                )
            step[bar] *= (left[bar - 1] - value) / left[bar - 1]
            left[bar - 1] -= value
    return step


# --- money -----------------------------------------------------------------------------------------------------------


def convert(panel: Panel, rates: "pl.DataFrame", *, to: str) -> Panel:
    """The panel in another currency, every date at the latest rate up to it; bars within the day at one of a day before.

    A pair may stand either way round, or go through one third currency. Prices, `vwap` and `amount` are converted.

    Args:
        panel: bars in `panel.currency`.
        rates: rows of `currencies` as known at one time (`Reference.rates`); `rate` is quote per base.
        to: the currency wanted.

    Raises:
        DataError: no pair leads there, or a date has no rate at most a week old.
    """
    if to == panel.currency:
        return panel
    sound = _sound(rates, CURRENCIES)
    values = panel.values.copy()
    values[:, :, [name in MONEY for name in panel.fields]] *= _rate(sound, panel.dates, panel.currency, to)[
        :, None, None
    ]
    return replace(panel, values=values, currency=to)


def _rate(rates: "pl.DataFrame", dates: Dates, base: str, quote: str) -> Floats:
    """[T] quote per base, directly, inverted or through a third currency."""
    pairs = set(rates.select("base", "quote").unique().rows())
    known = dict.fromkeys(pairs, 1) | {(b, a): -1 for a, b in pairs if (b, a) not in pairs}
    paths = [[(base, quote)], *([(base, via), (via, quote)] for via in sorted({a for pair in pairs for a in pair}))]
    path = next((path for path in paths if all(leg in known for leg in path)), None)
    if path is None:
        raise DataError(
            f"rates must lead from {base} to {quote}", ", ".join(f"{a}/{b}" for a, b in sorted(pairs)) or "none"
        )
    legs = [_leg(rates, dates, *(leg if known[leg] > 0 else leg[::-1])) ** known[leg] for leg in path]
    return np.asarray(np.prod(legs, axis=0))


def _leg(rates: "pl.DataFrame", dates: Dates, base: str, quote: str) -> Floats:
    import polars as pl

    own = rates.filter((pl.col("base") == base) & (pl.col("quote") == quote))
    if np.datetime_data(dates.dtype)[0] != "D":  # a day's rate is known when the day is over
        own = own.with_columns(pl.col("event_time") + timedelta(days=1))
    own = own.with_columns(day=pl.col("event_time").dt.date().cast(pl.Int32))
    rate, day = (standing(own, dates, [base], value=name, key="base")[:, 0] for name in ("rate", "day"))
    assert CURRENCIES.fresh is not None
    # NaN, where there is no rate yet, compares as too old.
    old = ~(dates.astype("datetime64[D]").astype(np.int64) - day <= CURRENCIES.fresh.days)
    if old.any():
        raise DataError(
            f"every date must have a rate {base}/{quote} at most {CURRENCIES.fresh.days} days old",
            f"none for {dates[old][0]}, {int(old.sum())} dates in all", remedy="load the rates or shorten the panel",
        )  # fmt: skip
    return rate


def _sound(rows: "pl.DataFrame", table: Table) -> "pl.DataFrame":
    """The rows without their versions, all of them sound and one per key."""
    # Two versions of one action would be applied twice.
    checked = check_rows(rows.drop("known_time", strict=False), table)
    if len(checked.refused):
        raise DataError(
            f"rows of {table.name!r} must be sound, one per key",
            f"{len(checked.refused)} that are not: {checked.refused['reason'][0]}",
            remedy="read them from a store as of one time",
        )
    return checked.good
