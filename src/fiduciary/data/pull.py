"""Source -> door -> history: a pull keeps what it has got, says what each symbol brought, and continues when it was stopped.

    plan = Plan(Files(Path("prices")), table="bars_1d")
    pulled = pull(plan, History("history"))
    pulled = update(plan, History("history"))           # later: from the last event held, with an overlap

When do rows count as known? `known="retrieved"` (the default, and the only answer that assumes nothing): when the answer
came. `known="published"` is an assumption, written into every commit's note: a bar is known `delay` after its session's
close, a release when its vendor says that it came out, anything else at its event; never later than the retrieval. A value
that differs from one held already is a correction, and known when it was retrieved, whatever the assumption.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from fiduciary.core.errors import ConfigError, DataError, FiduciaryError, nearest
from fiduciary.data.intake import DAY, Knowledge, compared, dated
from fiduciary.data.reference import sessions
from fiduciary.data.sources import Akshare, Alpaca, Ccxt, Files, Fred, Kaggle, Posts, Sql, Tushare, Yahoo
from fiduciary.data.sources.cache import Cache, Piece, Request
from fiduciary.data.sources.clients import are_daily
from fiduciary.data.sources.fetch import PATIENCE, Patience
from fiduciary.data.sources.source import apart
from fiduciary.data.tables import Checked, Table, check_rows

if TYPE_CHECKING:
    import polars as pl

    from fiduciary.data.history import History

AnySource = Files | Kaggle | Sql | Posts | Fred | Yahoo | Tushare | Akshare | Alpaca | Ccxt
ABOUT = "about"
"""Column, while rows are counted, with the name that a request asked about."""
REVISED = ("fundamentals", "macro", "corporate_actions", "instruments", "membership")
AT_ONCE = 50
"""Requests whose rows make one commit: few commits for many symbols, and little to do again after a kill."""


@dataclass(frozen=True)
class Plan:
    """What to get, from where, and what to assume.

    Attributes:
        source: where from.
        table: as the source calls it.
        symbols: whose rows; () = all, where the source knows all.
        start, stop: first and last day, both included. Without `stop` a pull ends yesterday (UTC) and an update today.
        known: "retrieved" or "published"; see above.
        exchange: calendar of `exchange_calendars` whose closes date daily bars under "published", such as "XNYS"; "" = a
            day's bar is known from the midnight (UTC) after it.
        delay_minutes: after a bar's close, under "published".
        into: name of the table in the history; "" = the source's, with the source's name behind it where prices are not as
            traded: adjusted prices stand beside raw ones, never among them.
        overlap_days: what an update asks for again before the last event held, to catch corrections. Tables whose old rows
            are revised at any time (`REVISED`) are asked for whole, from `start` on.

    Raises:
        ConfigError: the source does not offer the table or tells no releases that "published" could go by; there is no such
            exchange; a delay below zero, or a first day after the last.
    """

    source: AnySource
    table: str = "bars_1d"
    symbols: tuple[str, ...] = ()
    start: date | None = None
    stop: date | None = None
    known: Literal["retrieved", "published"] = "retrieved"
    exchange: str = ""
    delay_minutes: float = 15.0
    into: str = ""
    overlap_days: int = 7

    def __post_init__(self) -> None:
        if self.known == "published" and self.table in ("fundamentals", "macro") and not self.tells_releases:
            raise ConfigError(
                f"`known` of {self.table} from {self.source.name} must be 'retrieved'", repr(self.known),
                cause="the source does not tell when a value was released",
            )  # fmt: skip
        self.target  # noqa: B018  the table must be one of the source's
        if not self.delay_minutes >= 0:
            raise ConfigError("`delay_minutes` must be zero or more", str(self.delay_minutes))
        if self.start and self.stop and self.start > self.stop:
            raise ConfigError("`start` must not be after `stop`", f"{self.start} and {self.stop}")
        if self.exchange:
            sessions(self.exchange, date(2020, 1, 6), date(2020, 1, 10))

    @property
    def target(self) -> Table:
        """The table of the history that takes the rows."""
        table = self.source.offer(self.table).table
        beside = table.name.startswith("bars_") and table.adjustment != "as traded"
        return table.named(self.into or (f"{table.name}_{self.source.name}" if beside else table.name))

    @property
    def tells_releases(self) -> bool:
        """Whether the vendor says when each row was released."""
        return "known_time" in self.source.offer(self.table).columns

    @property
    def knowledge(self) -> Knowledge:
        """When rows count as known."""
        return Knowledge(self.known, self.exchange, timedelta(minutes=self.delay_minutes))


class Outcome(NamedTuple):
    """What one symbol brought.

    Attributes:
        symbol: or series, universe, exchange.
        new: rows about something that was not held.
        corrections: rows that say something else than what was held.
        same: rows that were held already.
        refused: rows that broke a rule of the table; they are in quarantine.
        problem: why there is no answer, or "".
    """

    symbol: str
    new: int = 0
    corrections: int = 0
    same: int = 0
    refused: int = 0
    problem: str = ""


class Pulled(NamedTuple):
    """What became of a pull.

    Attributes:
        table: of the history.
        outcomes: one per symbol, in the order asked.
        asked: questions put to the source.
        notes: corrupt pieces that were set aside.
        stop: the last day asked for; rows of later days are left out: neither stored, refused nor counted.
    """

    table: str
    outcomes: tuple[Outcome, ...]
    asked: int
    notes: tuple[str, ...]
    stop: date

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Symbols without an answer."""
        return tuple(outcome for outcome in self.outcomes if outcome.problem)


class Means(NamedTuple):
    """How a pull goes about it.

    Attributes:
        cache: folder of pieces; None = none is kept, and a killed pull asks again.
        patience: how long to go on asking.
        watch: called with each piece as it comes, and the number of requests.
    """

    cache: Path | None = None
    patience: Patience = PATIENCE
    watch: Callable[[Piece, int], None] = lambda piece, requests: None


MEANS = Means()


def pull(plan: Plan, history: "History", means: Means = MEANS) -> Pulled:
    """Get all that the plan names; the same call continues where one was killed.

    Raises:
        ConfigError: the source cannot be asked so; nothing was written.
    """
    stop = plan.stop or datetime.now(UTC).date() - DAY
    requests = plan.source.requests(plan.table, plan.symbols, start=plan.start, stop=stop)
    return _carry(plan, history, requests, means, stop)


def update(plan: Plan, history: "History", means: Means = MEANS) -> Pulled:
    """Get what came since the last event held of each symbol, and `overlap_days` before it; a new symbol is got whole.

    Raises:
        ConfigError: the source cannot be asked so, or the history does not hold the table; nothing was written.
    """
    if plan.target.name not in (held := history.tables()):
        near = nearest(plan.target.name, held)
        raise ConfigError(
            f"an update needs table {plan.target.name!r} in {history.url}", f"tables {', '.join(held)}" if held else "no table",
            remedy=f"did you mean {near!r}?" if near else "check the store's path, or pull first",
        )  # fmt: skip
    stop = plan.stop or datetime.now(UTC).date()
    last = _last_days(history, plan, stop)
    starts: dict[date | None, list[str]] = {}
    for name in plan.symbols or sorted(last):
        day = None if plan.table in REVISED else last.get(name)
        since = day - timedelta(days=plan.overlap_days) if day else plan.start
        starts.setdefault(max(since, plan.start) if since and plan.start else since, []).append(name)
    requests = [
        request
        for start, names in (starts or {plan.start: []}).items()
        for request in plan.source.requests(plan.table, names, start=start, stop=stop)
    ]
    return _carry(plan, history, requests, means, stop)


def _last_days(history: "History", plan: Plan, stop: date) -> dict[str, date | None]:
    """{symbol: day of its last event held up to `stop`}; nothing where no column tells whose rows they are."""
    import polars as pl

    table, asked = plan.target.name, plan.source.offer(plan.table).asked
    if not asked:
        return {}
    held = history.read(table, columns=["event_time", asked])
    day = pl.col("event_time").dt.date()
    # A row of the future, mistyped, must not keep the bars up to it away.
    return dict(held.group_by(asked).agg(day.filter(day <= stop).max()).iter_rows())


def _carry(plan: Plan, history: "History", requests: Sequence[Request], means: Means, stop: date) -> Pulled:
    """Ask, and store what comes, batch by batch."""
    cache = Cache(means.cache, plan.source.licence) if means.cache else None
    pieces = _watched(plan.source.answers(requests, cache=cache, patience=means.patience), len(requests), means)
    outcomes: list[Outcome] = []
    notes: list[str] = []
    asked = 0
    while batch := list(islice(pieces, AT_ONCE)):
        outcomes += _stored(plan, history, batch)
        notes += [piece.note for piece in batch if piece.note]
        asked += sum(piece.attempts for piece in batch)
    return Pulled(plan.target.name, _added(outcomes), asked, tuple(notes), stop)


def _watched(pieces: Iterator[Piece], requests: int, means: Means) -> Iterator[Piece]:
    for piece in pieces:
        means.watch(piece, requests)
        yield piece


def _stored(plan: Plan, history: "History", batch: Sequence[Piece]) -> list[Outcome]:
    """Append one batch: rows that are new or correct something, and refused ones, which go to quarantine."""
    import polars as pl

    table, asked = plan.target, plan.source.offer(plan.table).asked
    tried = [(piece, _dated(plan, table, piece)) for piece in batch]
    outcomes = [
        Outcome(name, problem=str(fault))
        for piece, fault in tried if not isinstance(fault, Checked) for name in piece.request.symbols or ("all",)
    ]  # fmt: skip
    answers = [(piece, checked) for piece, checked in tried if isinstance(checked, Checked)]
    if not answers:
        return outcomes
    goods, bads = [], []
    for piece, checked in answers:
        alone = len(piece.request.symbols) == 1 or not asked
        about = (pl.lit("".join(piece.request.symbols) or "all") if alone else pl.col(asked)).alias(ABOUT)
        goods.append(checked.good.with_columns(about))
        bads.append(checked.refused.with_columns(about))
    good, bad = pl.concat(goods), pl.concat(bads)
    releases = plan.tells_releases and plan.known == "published"
    rows = compared(good, _held(plan, history, good), table, releases=releases)
    useful = rows.filter("use").drop("state", "use", ABOUT)
    _append(plan, history, [piece for piece, _ in answers], useful, bad.drop(ABOUT))
    return outcomes + _outcomes(plan, [piece.request for piece, _ in answers], rows, bad)


def _dated(plan: Plan, table: Table, piece: Piece) -> Checked | FiduciaryError | None:
    """The rows of one answer, dated and checked; or why there are none: no answer, or days that no calendar knows."""
    import polars as pl

    if piece.frame is None:
        return piece.problem
    sound, strange = apart(piece.frame)
    try:
        _demand_length(plan.table, sound)
        checked = dated(sound, table, name=plan.table, retrieved=piece.retrieved, knowledge=plan.knowledge)
    except (ConfigError, DataError) as problem:
        return problem
    if strange.is_empty():
        return checked
    refused = check_rows(strange.with_columns(known_time=pl.lit(piece.retrieved)), table).refused
    return Checked(checked.good, pl.concat([checked.refused, refused]))


def _demand_length(name: str, frame: "pl.DataFrame") -> None:
    """Daily bars in a table of shorter ones would count as known minutes after their day began."""
    if are_daily(name, frame["event_time"]):
        raise DataError(
            f"rows of {name} must have times of day", "midnight UTC in every row of several days",
            cause="daily bars, or a column of dates without the time", remedy='pull daily bars with table = "bars_1d"',
        )  # fmt: skip


def _held(plan: Plan, history: "History", good: "pl.DataFrame") -> "pl.DataFrame | None":
    """What is held about the same symbols and days."""
    import polars as pl

    name, asked = plan.target.name, plan.source.offer(plan.table).asked
    if good.is_empty() or name not in history.tables():
        return None
    first, last = good.select(first=pl.col("event_time").min(), last=pl.col("event_time").max()).row(0)
    whose = {asked: good[asked].unique().to_list()} if asked else {}
    return history.read(name, start=first, stop=last + timedelta(microseconds=1), where=whose)


def _append(
    plan: Plan, history: "History", pieces: Sequence[Piece], useful: "pl.DataFrame", bad: "pl.DataFrame"
) -> None:  # fmt: skip
    """Two commits at most. A second attempt with the same answers adds nothing; a later answer with the same words may.

    Refused rows are not checked again: what was a number when it came may pass as the text that is kept of it.
    """
    what = [plan.target.name, str(plan.knowledge), *((piece.request.key, piece.sha256) for piece in pieces)]
    when = [piece.retrieved.isoformat() for piece in pieces]
    licence, source = plan.source.licence, plan.source
    note = {
        "known": str(plan.knowledge), "licence": licence.text, "redistribution": str(licence.redistribution),
        "adjustment": source.adjustment, "retrieved": max(piece.retrieved for piece in pieces).isoformat(),
        "place": source.place,
    }  # fmt: skip
    refused, added = (hashlib.sha256(json.dumps([*what, last]).encode()).hexdigest() for last in ("refused", when))
    if not bad.is_empty():
        history.quarantine(plan.target, bad, source=source.name, once=refused)
    if not useful.is_empty():
        history.append(plan.target, useful, source=source.name, once=added, note=note)


def _outcomes(
    plan: Plan, requests: Sequence[Request], rows: "pl.DataFrame", bad: "pl.DataFrame"
) -> list[Outcome]:  # fmt: skip
    """Counts per symbol; one that was asked for and brought nothing says so, unless that may be."""
    counts: dict[str, dict[str, int]] = {name: {} for request in requests for name in request.symbols}
    for name, state, count in rows.group_by(ABOUT, "state", maintain_order=True).len().iter_rows():
        counts.setdefault(name, {})[state] = count
    for name, count in bad.group_by(ABOUT, maintain_order=True).len().iter_rows():
        counts.setdefault(str(name), {})["refused"] = count
    none = "" if plan.source.offer(plan.table).empty else "the answer holds no row of it"
    return [
        Outcome(
            name, found.get("new", 0), found.get("correction", 0), found.get("same", 0), found.get("refused", 0),
            problem="" if found else none,
        )
        for name, found in counts.items()
    ]  # fmt: skip


def _added(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """One outcome per symbol, of as many requests as it took."""
    total: dict[str, Outcome] = {}
    for each in outcomes:
        before = total.get(each.symbol, Outcome(each.symbol))
        total[each.symbol] = Outcome(
            each.symbol, before.new + each.new, before.corrections + each.corrections, before.same + each.same,
            before.refused + each.refused, "; ".join(dict.fromkeys(filter(None, (before.problem, each.problem)))),
        )  # fmt: skip
    return tuple(total.values())
