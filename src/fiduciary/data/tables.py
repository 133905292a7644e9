"""Tables: what a row must look like before any store takes it; good rows pass, the others are kept apart with the reason.

Every stored row carries, beside its table's own columns,

    event_time   when what it says was so: a bar's label, an ex date, the end of a fiscal quarter
    known_time   when we could first have acted on it: never before we learned it, unless a pull states an assumption
    source       where it came from, in words

both times as UTC microseconds. A daily bar is labelled by its session's date at midnight; it is known at the close or later.
A correction is another row with the same keys and a later `known_time`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.data.faults import Fault
from fiduciary.data.panel import position

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["float", "int", "text", "bool", "time"]
SYSTEM = ("event_time", "known_time", "source")
RAW = "raw "
"""Prefix of the cells as they came, while they are checked; no column may have it."""
LONGEST_KEY = 1_000
"""Characters of a text that rows are found by: an index of PostgreSQL takes no more than some 2,700 bytes."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as stored.
        kind: "float" (float64), "int" (int64), "text", "bool" or "time" (UTC microseconds).
        unit: in words, "" where there is none.
        low, high: closed range of a number; None = no bound. Numbers must be finite in any case.
        optional: may be null, or missing altogether.
    """

    name: str
    kind: Kind = "float"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A schema: columns, what a row is about, rules between columns, how fresh it must be.

    Attributes:
        name: as stored; lower case letters, digits and `_`.
        columns: its own, without the three of `SYSTEM`.
        keys: columns that, with `event_time`, say what a row is about; one value per key and `known_time`.
        rules: {name of the fault: SQL condition over the columns that sound rows meet}.
        fresh: the newest event may be this old before `fiduciary data check` calls the table stale; None = any age.
        adjustment: what was done to prices, in words: "as traded" unless it says otherwise.

    Raises:
        ConfigError: a name that is not plain, a key that is no column or an optional one, a column twice or with a system name.
    """

    name: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    rules: Mapping[str, str] = field(default_factory=dict)
    fresh: timedelta | None = None
    adjustment: str = "as traded"

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for name in (self.name, *names):
            if not (name.isascii() and name.isidentifier() and name == name.lower()):
                raise ConfigError("names of tables and columns must be lower case letters, digits and _", repr(name))
        if len({*names, *SYSTEM}) < len(names) + len(SYSTEM):
            raise ConfigError(f"columns of {self.name!r} must be distinct and none of {', '.join(SYSTEM)}", str(names))
        optional = {column.name for column in self.columns if column.optional}
        for key in self.keys:
            position(key, [name for name in names if name not in optional], "key")

    def __hash__(self) -> int:
        return hash((self.name, self.columns, self.keys))

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the float columns: what a panel of this table may hold."""
        return tuple(column.name for column in self.columns if column.kind == "float")

    def named(self, name: str, *, adjustment: str = "") -> "Table":
        """The same schema under another name: one vendor's adjusted bars beside another's raw ones."""
        return replace(self, name=name, adjustment=adjustment or self.adjustment)


class Checked(NamedTuple):
    """Rows that passed and rows that did not.

    Attributes:
        good: `event_time`, the table's columns, and `known_time` and `source` where given; typed.
        refused: the same columns as text, as they came, and `reason`, the faults of the row in words.
    """

    good: "pl.DataFrame"
    refused: "pl.DataFrame"


PRICES_MAKE_SENSE = {"crossed prices": "low <= open AND low <= close AND open <= high AND close <= high"}
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def bars(every: str, *, fresh: timedelta | None = WEEK) -> Table:
    """Bars of one length: "1d", "1h", "5m", "1m"; the table is called `bars_1d` and so on. `event_time` is the bar's start."""
    price = [Column(name, unit="currency of the instrument", low=1e-12) for name in ("open", "high", "low", "close")]
    volume = Column("volume", unit="units traded", low=0)
    amount = Column("amount", unit="currency of the instrument", low=0, optional=True)
    return Table(
        f"bars_{every}", (Column("symbol", "text"), *price, volume, amount), ("symbol",), PRICES_MAKE_SENSE, fresh
    )


BARS_1D = bars("1d")
BARS_1M = bars("1m", fresh=DAY)
TICKS = Table(
    "ticks",
    (Column("symbol", "text"), Column("sequence", "int", low=0), Column("price", low=1e-12), Column("size", low=0),
     Column("side", "text", optional=True)),
    ("symbol", "sequence"), fresh=DAY,
)  # fmt: skip
DECISIONS = Table(
    "decisions",
    (Column("policy", "text"), Column("symbol", "text"), Column("action", unit="as the policy's environment says"),
     Column("value", unit="Q of the action", optional=True), Column("cost", unit="C of the action", optional=True),
     Column("alternative", "text", optional=True), Column("confidence", low=0, high=1, optional=True),
     Column("explanation", "text", optional=True)),
    ("policy", "symbol"),
)  # fmt: skip
CORPORATE_ACTIONS = Table(
    "corporate_actions",
    (Column("symbol", "text"), Column("kind", "text"), Column("value", unit="new shares per old, or cash per share", low=0),
     Column("currency", "text", optional=True)),
    ("symbol", "kind"), {"unknown kind": "kind IN ('split', 'dividend')", "empty split": "kind <> 'split' OR value > 0"},
)  # fmt: skip
"""`event_time` is the ex date: the first session that trades without the right."""
FUNDAMENTALS = Table(
    "fundamentals",
    (Column("symbol", "text"), Column("item", "text"), Column("value"), Column("unit", "text", optional=True)),
    ("symbol", "item"), {"known before it ended": "known_time >= event_time"},
)  # fmt: skip
"""`event_time` is the end of the period, `known_time` its release; a restatement is another row, known later."""
MACRO = Table(
    "macro", (Column("series", "text"), Column("value"), Column("unit", "text", optional=True)), ("series",),
)  # fmt: skip
"""`event_time` is the start of the reference period, `known_time` the release; a vintage is another row, known later."""
NEWS = Table(
    "news",
    (Column("id", "text"), Column("symbol", "text", optional=True), Column("headline", "text"),
     Column("body", "text", optional=True), Column("url", "text", optional=True), Column("author", "text", optional=True)),
    ("id",), fresh=DAY,
)  # fmt: skip
"""News and posts as timed text; `event_time` is the publication."""
INSTRUMENTS = Table(
    "instruments",
    (Column("symbol", "text"), Column("name", "text", optional=True), Column("exchange", "text", optional=True),
     Column("currency", "text", optional=True), Column("kind", "text", optional=True),
     Column("industry", "text", optional=True), Column("listed", "time", optional=True),
     Column("delisted", "time", optional=True)),
    ("symbol",),
)  # fmt: skip
"""`event_time` is the day from which the description holds."""
MEMBERSHIP = Table(
    "membership", (Column("universe", "text"), Column("symbol", "text"), Column("member", "bool")), ("universe", "symbol"),
)  # fmt: skip
"""`event_time` is the day from which the symbol is in, or out."""
CURRENCIES = Table(
    "currencies", (Column("base", "text"), Column("quote", "text"), Column("rate", unit="quote per base", low=1e-12)),
    ("base", "quote"), fresh=WEEK,
)  # fmt: skip

TABLES = {
    table.name: table
    for table in (
        BARS_1D, BARS_1M, TICKS, DECISIONS, CORPORATE_ACTIONS, FUNDAMENTALS, MACRO, NEWS, INSTRUMENTS, MEMBERSHIP, CURRENCIES
    )
}  # fmt: skip


def check_rows(frame: "pl.DataFrame", table: Table) -> Checked:
    """Hold every row to its table: types, nulls, finite numbers, ranges, rules, one row per key and `known_time`.

    Text that reads as a number, a truth value or an ISO time is taken as one. A time with a zone is converted to UTC, one
    without is UTC. A number is no time: whether it counts seconds or spells a date is the source's knowledge. Text holds no NUL
    character, and that of a key is at most `LONGEST_KEY` long, so that every store can take it. A rule over an
    empty cell passes, as in SQL. An exact repetition of a row is kept once; two rows that say different things under one key
    and `known_time` are both refused. Reasons and errors name columns and bounds, never what a cell holds.

    Args:
        frame: rows with `event_time`, the columns of the table, and perhaps `known_time` and `source`.
        table: the schema.

    Raises:
        DataError: a column is missing, or there is one that the table does not know; the nearest is named.
    """
    import polars as pl

    kinds: dict[str, Kind] = {"event_time": "time"}
    kinds |= {column.name: column.kind for column in table.columns}
    system: dict[str, Kind] = {"known_time": "time", "source": "text"}
    kinds |= {name: kind for name, kind in system.items() if name in frame.columns}
    _demand_columns(frame, table, kinds)
    # Without a query where it can be: on a small frame its set-up costs more than its work.
    raw = pl.DataFrame(
        [_cells(frame[name]) if name in frame.columns else _empty(name, kinds[name], frame) for name in kinds]
    )
    strange = [(dtype, name) for name, dtype in raw.schema.items() if dtype != _dtype(kinds[name])]
    typed = raw.with_columns(_typed(dtype, name, kinds[name]) for dtype, name in strange) if strange else raw
    both = pl.DataFrame([*typed, *(column.alias(RAW + column.name) for column in raw)])
    faults, anywhere = _conditions(table, tuple(kinds.items()))
    met = both.select(anywhere).row(0)
    broken = [fault for fault, any_row in zip(faults, met, strict=True) if any_row]
    key = [name for name in ("event_time", *table.keys, "known_time") if name in kinds]
    # Equal keys have equal hashes: as many hashes as rows, and no two rows share a key.
    if not broken and pl.DataFrame([typed[name] for name in key]).hash_rows().n_unique() == len(typed):
        return Checked(typed, pl.DataFrame(schema=dict.fromkeys((*kinds, "reason"), pl.String)))
    words: list[pl.Expr] = [pl.when(where).then(pl.lit(name)) for name, where in broken] or [pl.lit("")]
    reason = pl.concat_str(words, separator="; ", ignore_nulls=True)
    marked = both.with_columns(reason.alias("reason")).filter(pl.struct(pl.all()).is_first_distinct())
    sound = marked.filter(pl.col("reason") == "").filter(pl.struct(typed.columns).is_first_distinct())
    clash = pl.struct(key).is_duplicated()
    bad, crossed = marked.filter(pl.col("reason") != ""), sound.filter(clash)
    refused = [_as_text(bad, kinds, bad["reason"]), _as_text(crossed, kinds, "two values under one key")]
    return Checked(sound.filter(~clash).select(typed.columns), pl.concat(refused))


def known_rows(frame: "pl.DataFrame", table: Table) -> "pl.DataFrame":
    """The rows, all of them sound and each saying when it was known.

    Raises:
        DataError: one is not, or there is no column `known_time`; and what `check_rows` raises.
    """
    good, refused = check_rows(frame, table)
    if len(refused) or "known_time" not in good.columns:
        raise DataError(
            f"rows of table {table.name!r} must be sound and say when they were known",
            f"{len(refused)} refused, the first for: {refused['reason'][0]}"
            if len(refused)
            else "no column `known_time`",
        )
    return good


def written(table: Table) -> str:
    """A schema as JSON."""
    return json.dumps(asdict(table), default=timedelta.total_seconds)


def parsed(text: str) -> Table:
    """JSON of `written` -> the schema."""
    plain = json.loads(text)
    columns = tuple(Column(**column) for column in plain.pop("columns"))
    keys, fresh = tuple(plain.pop("keys")), plain.pop("fresh")
    return Table(columns=columns, keys=keys, fresh=None if fresh is None else timedelta(seconds=fresh), **plain)


def stale(table: Table, newest: datetime, *, now: datetime) -> Fault | None:
    """What is wrong with a table whose newest event is this old; None where it may be, or may have any age.

    Args:
        newest: the latest `event_time` in it, with its zone.
        now: the present, with its zone.
    """
    if table.fresh is None or now - newest <= table.fresh:
        return None
    return Fault(
        "stale table", "warning", table.name, f"{newest:%Y-%m-%d}",
        f"the newest event is {(now - newest) / DAY:.1f} days old, {table.fresh / DAY:g} are allowed",
        "update it from its source",
    )  # fmt: skip


def _demand_columns(frame: "pl.DataFrame", table: Table, kinds: Mapping[str, Kind]) -> None:
    needed = ["event_time", *(column.name for column in table.columns if not column.optional)]
    for name in needed:
        if name not in frame.columns:
            near = nearest(name, [other for other in frame.columns if other not in kinds])
            raise DataError(
                f"rows of table {table.name!r} must have a column {name!r}", f"columns {', '.join(frame.columns)}",
                remedy=f"rename {near!r}" if near else "map the source's column to it",
            )  # fmt: skip
    for name in frame.columns:
        if name not in kinds:
            raise DataError(
                f"rows of table {table.name!r} must have its columns only", repr(name),
                remedy=f"did you mean {nearest(name, kinds)!r}?" if nearest(name, kinds) else f"known: {', '.join(kinds)}",
            )  # fmt: skip


def _cells(column: "pl.Series") -> "pl.Series":
    """Python objects, lists and bytes become their text, which no other kind will take for its own."""
    import polars as pl

    if column.dtype in (pl.Object, pl.Binary) or column.dtype.is_nested():
        return pl.Series(column.name, [None if cell is None else str(cell) for cell in column], pl.String)
    return column


def _empty(name: str, kind: Kind, frame: "pl.DataFrame") -> "pl.Series":
    import polars as pl

    return pl.Series(name, [None], _dtype(kind)).new_from_index(0, len(frame))


def _as_text(rows: "pl.DataFrame", kinds: Iterable[str], reason: "pl.Series | str") -> "pl.DataFrame":
    """The cells as they came, and why they did not pass."""
    import polars as pl

    why = pl.lit(reason, pl.String).alias("reason")
    return rows.select(*(pl.col(RAW + name).cast(pl.String).alias(name) for name in kinds), why)


def _typed(dtype: "pl.DataType", name: str, kind: Kind) -> "pl.Expr":
    """The column as its kind; a cell that cannot be read becomes null."""
    import polars as pl

    column, target = pl.col(name), _dtype(kind)
    if dtype in (target, pl.Null) or kind == "text":
        return column.cast(target)
    if kind == "time":
        if isinstance(dtype, pl.Datetime) and dtype.time_zone:
            return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        if dtype in (pl.Date, pl.Datetime):
            return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        if dtype == pl.String:
            return _moment(column)
    elif kind == "bool":
        words = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
        return column.cast(pl.String).str.to_lowercase().replace_strict(words, default=None, return_dtype=target)
    elif kind == "int" and dtype.is_float():
        return pl.when(column == column.floor()).then(column).cast(target, strict=False)
    elif dtype.is_numeric() or dtype == pl.String:
        return column.cast(target, strict=False)
    return pl.lit(None, target).alias(name)


def _dtype(kind: Kind) -> "pl.DataType":
    import polars as pl

    kinds: dict[Kind, pl.DataType] = {
        "float": pl.Float64(), "int": pl.Int64(), "text": pl.String(), "bool": pl.Boolean(), "time": pl.Datetime("us", "UTC")
    }  # fmt: skip
    return kinds[kind]


def _moment(text: "pl.Expr") -> "pl.Expr":
    """2024-01-02T09:30:00.5-05:00, 2024-01-02 09:30, 2024-01-02 and 20240102 as UTC; without a zone they are in UTC."""
    full = (
        text.str.strip_chars()
        .str.replace(r"^(\d{4})(\d\d)(\d\d)$", "${1}-${2}-${3}")
        .str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1} 00:00:00")
        .str.replace("T", " ", literal=True)
        .str.replace("Z$", "+00:00")
        .str.replace(r"^(.{10} \d\d:\d\d)([+-]|$)", "${1}:00${2}")
        .str.replace(r"^(.{10} .{8}(\.\d+)?)$", "${1}+00:00")
    )
    return full.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", strict=False)


@lru_cache
def _conditions(table: Table, kinds: tuple[tuple[str, Kind], ...]) -> "tuple[list[tuple[str, pl.Expr]], list[pl.Expr]]":
    """The faults of a row, and whether any row has them; small batches spend their time on making these."""
    faults = list(_faults(table, dict(kinds)))
    return faults, [where.any().alias(str(k)) for k, (_, where) in enumerate(faults)]


def _faults(table: Table, kinds: Mapping[str, Kind]) -> "Iterator[tuple[str, pl.Expr]]":
    """(fault in words, where it holds) of every column by itself, then of the table's rules."""
    import polars as pl

    own = {column.name: column for column in table.columns}
    for name, kind in kinds.items():
        column, typed, given = own.get(name, Column(name)), pl.col(name), pl.col(RAW + name).is_not_null()
        yield f"{name} is no {kind}", typed.is_null() & given
        if not column.optional:
            yield f"{name} is missing", ~given
        if kind == "float":
            yield f"{name} is not finite", ~typed.is_finite()
        if kind == "text":  # PostgreSQL cannot hold it
            yield f"{name} holds a NUL character", typed.str.contains("\0", literal=True)
        if kind == "text" and name in table.keys:
            yield f"{name} is longer than {LONGEST_KEY} characters", typed.str.len_chars() > LONGEST_KEY
        if column.low is not None:
            yield f"{name} is below {column.low:g}", typed < column.low
        if column.high is not None:
            yield f"{name} is above {column.high:g}", typed > column.high
    for fault, rule in table.rules.items():
        if "known_time" in kinds or "known_time" not in rule:
            yield fault, ~pl.sql_expr(rule)
