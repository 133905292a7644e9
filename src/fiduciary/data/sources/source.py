"""What every source is: a name, its terms, the tables it offers with their columns, and how one question is asked.

An adapter says, as data, which vendor column is which of ours (`Offer`), and implements `ask`: one request -> the vendor's
rows. It translates; it never fills, sorts or adjusts. Prices are asked for as traded where the vendor has them so, and
`adjustment` says in words what they are.

    for piece in Fred().macro(["GDP"], start=date(2000, 1, 1)):
        piece.frame, piece.problem
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, ClassVar, TypedDict, Unpack

from fiduciary.core.errors import ConfigError, nearest
from fiduciary.data.sources.cache import Cache, Licence, Piece, Request
from fiduciary.data.sources.fetch import PATIENCE, NoRowsError, Patience, TransientError, fetch
from fiduciary.data.tables import Column, Table

if TYPE_CHECKING:
    import polars as pl

CALENDAR = Table("calendar", (Column("exchange", "text"), Column("open", "bool")), ("exchange",))
"""An exchange's days as its vendor states them; `event_time` is the day."""


@dataclass(frozen=True)
class Offer:
    """One table of a source.

    Attributes:
        table: ours; its `adjustment` is set from the source's.
        columns: {our column: the vendor's}, `event_time` among them, and `known_time` where the vendor tells the release.
        scale: {our column: factor that turns the vendor's unit into ours}, such as {"volume": 100.0} for lots.
        asked: our column that holds what a request asks about; "" = not checked.
        empty: whether no rows may be an answer: a company without dividends, a day without news.
        whole: whether it may be asked for without a name, for all of them.
        zone: time zone of times of day that the vendor writes without one; a date alone is that day at midnight UTC.
    """

    table: Table
    columns: Mapping[str, str]
    scale: Mapping[str, float] = field(default_factory=dict)
    asked: str = "symbol"
    empty: bool = False
    whole: bool = False
    zone: str = "UTC"


ONCE = Patience(attempts=1)
ISO = "%Y-%m-%dT%H:%M:%S%.6fZ"


class How(TypedDict, total=False):
    """What every question may say beside its names: first and last day (both included), where pieces are kept, patience."""

    start: date | None
    stop: date | None
    cache: Cache | None
    patience: Patience


class Source(ABC):
    """A source of rows; adapters are frozen dataclasses whose fields are settings, the rest is `ClassVar`.

    Attributes:
        name: as plans and tables call it: the class's name in lower case.
        rate: questions per second at most; 0 = no limit.
        remote: whether answers are worth keeping and asking for again; False for files and databases.
    """

    name: ClassVar[str]
    rate: ClassVar[float] = 0.0
    remote: ClassVar[bool] = True

    @property
    @abstractmethod
    def licence(self) -> Licence:
        """On what terms the data come."""

    @property
    @abstractmethod
    def offers(self) -> tuple[Offer, ...]:
        """The tables that it has."""

    @property
    def adjustment(self) -> str:
        """What was done to its prices, in words."""
        return "as traded"

    @property
    def place(self) -> str:
        """Base URL, path or setting that changes an answer, without secrets; "" where there is none."""
        return ""

    @property
    def troubles(self) -> tuple[type[Exception], ...]:
        """Exceptions of the client library that mean no answer or a broken one; they are asked again, like OSError."""
        return ()

    @abstractmethod
    def ask(self, request: Request) -> "pl.DataFrame":
        """Put one question to the vendor.

        Returns:
            The vendor's rows under the vendor's column names, and a column with the symbol where the vendor leaves it out.
            `event_time` and `known_time` as dates, datetimes (without a zone = UTC) or ISO text.

        Raises:
            TransientError: no answer, or one that is cut short, late, of another symbol or no data at all.
            RefusalError: an answer that asking again cannot change.
            ConfigError: the source cannot be asked: no library, no token.
        """

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """The questions that get `table`: one per name, unless the vendor is asked otherwise.

        Raises:
            ConfigError: the source does not offer the table, or not without names.
        """
        offer = self.offer(table)
        if not names and not offer.whole:
            raise ConfigError(f"{self.name} must be told whose {table} to get", "no name", remedy="give `symbols`")
        singles: list[tuple[str, ...]] = [(name,) for name in names] or [()]
        return tuple(Request(self.name, table, single, start, stop, self.place) for single in singles)

    def offer(self, table: str) -> Offer:
        """What this source says of `table`.

        Raises:
            ConfigError: it does not have the table; the message names sources that do.
        """
        for offer in self.offers:
            if offer.table.name == table:
                return replace(offer, table=replace(offer.table, adjustment=self.adjustment))
        from fiduciary.data.sources import offering

        names, others = [offer.table.name for offer in self.offers], offering(table)
        near = nearest(table, names)
        raise ConfigError(
            f"a table of {self.name} must be one of {', '.join(names)}", repr(table),
            cause=f"it is offered by {', '.join(others)}" if others else "",
            remedy=f"did you mean {near!r}?" if near and not others else "",
        )  # fmt: skip

    def rows(self, request: Request) -> "pl.DataFrame":
        """Ask, translate, leave out days that were not asked for, and refuse an answer that is none.

        Returns:
            Rows in the table's columns; `event_time` and `known_time` in UTC microseconds. Where a cell is no time, all of
            `event_time` is text, that cell as it came, for the door to refuse; such a `known_time` is null.

        Raises:
            TransientError: no rows, a column short, another symbol's rows; and all that `ask` raises.
        """
        offer = self.offer(request.table)
        frame = _within(translated(self.ask(request), offer, self.name), request)
        if frame.is_empty() and not offer.empty:
            raise NoRowsError(
                f"{request} must have rows", "an empty answer",
                cause="no network, an unknown symbol, or nothing in these days", remedy="check the name and the dates",
            )  # fmt: skip
        if offer.asked and request.symbols:
            strange = set(frame[offer.asked].unique().to_list()) - set(request.symbols)
            if strange:
                raise TransientError(f"the answer must be {request}", f"rows of {', '.join(sorted(map(str, strange)))}")
        return frame

    def answers(self, requests: Sequence[Request], *, cache: Cache | None, patience: Patience) -> Iterator[Piece]:
        """One piece per request; see `fetch`. Files and databases are asked once, and nothing of them is kept."""
        return fetch(
            self.rows, requests, rate=self.rate, cache=cache if self.remote else None,
            patience=patience if self.remote else ONCE, troubles=self.troubles,
        )  # fmt: skip

    def pieces(self, table: str, names: Sequence[str] = (), **how: Unpack[How]) -> Iterator[Piece]:
        """Rows of `table` about `names`, one piece per request."""
        asked = self.requests(table, names, start=how.get("start"), stop=how.get("stop"))
        return self.answers(asked, cache=how.get("cache"), patience=how.get("patience", PATIENCE))

    def bars(self, symbols: Sequence[str], *, every: str = "1d", **how: Unpack[How]) -> Iterator[Piece]:
        """Bars of one length: "1d", "1h", "5m", "1m"."""
        return self.pieces(f"bars_{every}", symbols, **how)

    def corporate_actions(self, symbols: Sequence[str], **how: Unpack[How]) -> Iterator[Piece]:
        """Splits and dividends by ex date."""
        return self.pieces("corporate_actions", symbols, **how)

    def fundamentals(self, symbols: Sequence[str], **how: Unpack[How]) -> Iterator[Piece]:
        """Reported items by period, with their release where the vendor tells it."""
        return self.pieces("fundamentals", symbols, **how)

    def news(self, symbols: Sequence[str] = (), **how: Unpack[How]) -> Iterator[Piece]:
        """News and posts as timed text."""
        return self.pieces("news", symbols, **how)

    def macro(self, series: Sequence[str], **how: Unpack[How]) -> Iterator[Piece]:
        """Macro-economic series, one row per vintage where the vendor keeps them."""
        return self.pieces("macro", series, **how)

    def calendar(self, exchanges: Sequence[str], **how: Unpack[How]) -> Iterator[Piece]:
        """Days of exchanges, open or not."""
        return self.pieces("calendar", exchanges, **how)


def translated(frame: "pl.DataFrame", offer: Offer, source: str) -> "pl.DataFrame":
    """The vendor's rows under our names and in our units.

    Raises:
        TransientError: a column of the declared mapping is missing, a sign of a page that is no data.
    """
    import polars as pl

    missing = [theirs for theirs in offer.columns.values() if theirs not in frame.columns]
    if missing and not frame.is_empty():
        raise TransientError(
            f"{offer.table.name} from {source} must have the columns {', '.join(offer.columns.values())}",
            f"none of the name {missing[0]!r} among {', '.join(frame.columns)}",
            cause="the answer is no data, or the vendor has changed its columns",
        )  # fmt: skip
    if missing:
        frame = pl.DataFrame(schema=dict.fromkeys(offer.columns.values(), pl.String))
    ours = frame.select(pl.col(theirs).alias(name) for name, theirs in offer.columns.items())
    times = [_utc(name, ours.schema[name], offer.zone) for name in ("event_time", "known_time") if name in ours.columns]
    done = ours.with_columns(
        *times, *(pl.col(name).cast(pl.Float64, strict=False) * by for name, by in offer.scale.items())
    )
    return done.with_columns(_with_strange(done["event_time"], ours["event_time"], offer.zone))


def _with_strange(times: "pl.Series", cells: "pl.Series", zone: str) -> "pl.Series":
    """The times, as text where cells beside them are none; one that no clock of the zone shows names the zone, too."""
    import polars as pl

    if times.null_count() == cells.null_count():
        return times
    text = cells.cast(pl.String, strict=False).str.strip_chars().replace("", None)
    # Without its zone the door would take it for a time in UTC.
    text = (text + f" {zone}").zip_with(text.str.contains(r"^\d{4}-\d\d-\d\d[ T]\d\d:"), text)
    strange = times.is_null() & text.is_not_null()
    return times.dt.strftime(ISO).zip_with(~strange, text).alias("event_time") if strange.any() else times


def apart(frame: "pl.DataFrame") -> "tuple[pl.DataFrame, pl.DataFrame]":
    """Rows of a source with their times, and those whose `event_time` is no time."""
    import polars as pl

    if frame.schema["event_time"] != pl.String:
        return frame, frame.clear()
    times = frame["event_time"].str.to_datetime(ISO, time_unit="us", strict=False).dt.replace_time_zone("UTC")
    strange = times.is_null() & frame["event_time"].is_not_null()
    return frame.with_columns(times).filter(~strange), frame.filter(strange)


def _utc(name: str, dtype: "pl.DataType", zone: str) -> "pl.Expr":
    """A column of dates, datetimes, ISO text or whole numbers YYYYMMDD as UTC microseconds; what is none becomes null."""
    import polars as pl

    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return (
            (column if dtype.time_zone else _in_zone(column, zone)).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        )
    if dtype in (pl.Date, pl.Null):
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    # Any other number counts seconds, days or what else: only its owner knows. As text it reads as a day or not at all.
    column = column.cast(pl.String, strict=False)
    plain = column.str.strip_chars().str.replace("T", " ").str.replace(r" ?(Z|UTC)$", "+0000")
    days = [plain.str.to_datetime(form, time_unit="us", strict=False) for form in ("%Y-%m-%d", "%Y%m%d")]
    local = [
        plain.str.to_datetime(form, time_unit="us", strict=False) for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    ]
    zoned = [
        plain.str.to_datetime(form, time_unit="us", strict=False)
        for form in ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
    ]
    return pl.coalesce(
        pl.coalesce(days).dt.replace_time_zone("UTC"),
        _in_zone(pl.coalesce(local), zone).dt.convert_time_zone("UTC"),
        *zoned,
    ).alias(name)


def _in_zone(column: "pl.Expr", zone: str) -> "pl.Expr":
    """Times of day of a zone; the hour that a clock shows twice is its first, one that it never shows is null."""
    return column.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _within(frame: "pl.DataFrame", request: Request) -> "pl.DataFrame":
    """Rows from `start` to `stop`; one without a time is kept, for the door to refuse."""
    import polars as pl

    event = pl.col("event_time")
    day = (
        event.dt.date()
        if frame.schema["event_time"] != pl.String
        else event.str.head(10).str.to_date("%Y-%m-%d", strict=False)
    )
    after = pl.lit(True) if request.start is None else day >= request.start
    before = pl.lit(True) if request.stop is None else day <= request.stop
    return frame.filter((after & before).fill_null(True))


def secret(given: str, variable: str, source: str) -> str:
    """A token: `given`, or what the environment holds.

    Raises:
        ConfigError: neither; the message names the variable.
    """
    if token := given or os.environ.get(variable, ""):
        return token
    raise ConfigError(f"{source} must be given a token", f"none in ${variable}", remedy=f"set ${variable}")
