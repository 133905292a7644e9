"""The historical store: every version of every row, and when it was known.

    history = History("history")                                        # a folder, or s3://bucket/prefix
    history.append(BARS_1D, frame, source="vendor")                     # learned now
    history.read("bars_1d", as_of="2024-03-01", where={"symbol": "AAPL"})
    history.panel("bars_1d", start="2010", symbols=["AAPL", "MSFT"])

Each table is a Delta Lake table: Parquet files and a log of commits, readable by any Delta reader. An append is one commit,
whole or not at all, beside any number of other writers; nothing is overwritten. The slow twin of every reader is to keep the
rows with `known_time` <= `as_of` and of each key the last.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from random import uniform
from time import sleep, time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.data.history.files import (
    TICK,
    VERSION,
    Files,
    Query,
    When,
    among,
    asked,
    ends,
    groups,
    meeting,
    pieces,
    place,
)
from fiduciary.data.history.log import COMMIT, agreed, commit, kept, listed, made, opened, set_aside
from fiduciary.data.history.panels import scatter
from fiduciary.data.panel import Panel, position
from fiduciary.data.tables import Table, check_rows

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

QUARANTINE = ".quarantine"
"""Suffix of the folder that keeps refused rows; no table can have such a name."""
APPEND, COMPACT = "fiduciary.append", "fiduciary.compact"
"""Delta detects two writers of one transaction number: of two appends at once the second sees what the first has added."""
TRIES, FIRST_PAUSE_S, LONGEST_PAUSE_S = 100, 0.005, 0.2
FEW = 1_000
"""Values by which rows are chosen faster than they are held."""
FOREVER = datetime.max.replace(tzinfo=UTC)


class Commit(NamedTuple):
    """What an append did.

    Attributes:
        version: of the table.
        rows: added.
        repeated: left out, because they are there or say what was known already, or because `once` was there.
        restamped: of the added, corrections that claimed the `known_time` of what they correct; known from the append on.
        refused: put into quarantine.
        known_time: of the rows that did not say theirs.
    """

    version: int
    rows: int
    repeated: int
    restamped: int
    refused: int
    known_time: datetime


class Compacted(NamedTuple):
    """What a compaction did: version of the table, number of its files before and after."""

    version: int
    before: int
    after: int


class _News(NamedTuple):
    rows: "pl.DataFrame"
    repeated: int
    restamped: int


@dataclass(frozen=True)
class History:
    """A folder or a prefix of an object store with one Delta table per table.

    Attributes:
        url: a folder, or a URL that deltalake and Polars both take: s3://, az://, gs://.
        options: of the object store, such as `aws_region`; those in the environment need not be named.
    """

    url: str | PathLike[str]
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    # --- writing -----------------------------------------------------------------------------------------------------

    def append(
        self, table: Table | str, frame: "pl.DataFrame", *, source: str, known: datetime | None = None, once: str = "",
        note: Mapping[str, Any] | None = None, skip_known: bool = True,
    ) -> Commit:  # fmt: skip
        """Add rows in one commit. Rows that break the schema go to quarantine, and the others are added all the same.

        A row adds nothing and is left out if it states its `known_time` and is there already, or if it does not state it and
        says what was last known of its key. One that says something else than is there under the same key and `known_time` is
        a correction that nobody can have known then: it is known from this append on, as if it had not stated it.

        Args:
            table: the schema, kept with the first append; later only optional columns may be added. A name = the kept schema,
                or that of `TABLES`.
            frame: rows as `check_rows` wants them, with `known_time` and `source` where they differ.
            source: of rows that do not say.
            known: when the rows that do not say became known; None = now. An earlier time is an assumption; see the docs.
            once: a name for this append; where it is in the log already, nothing happens.
            note: kept with the commit, as JSON.
            skip_known: False adds every row as it is; between two with one key and `known_time` the later append counts.

        Raises:
            ConfigError: no such schema.
            DataError: columns are missing or unknown, the schema differs, the store is damaged or out of reach.
        """
        import polars as pl

        batch, arrived = time_ns(), ends(known or datetime.now(UTC))[0]
        stated = known is not None or "known_time" in frame.columns
        delta = opened(self._place(table if isinstance(table, str) else table.name), self.options)
        files = self._files(agreed(kept(delta) if delta else None, table))
        stamps = {"known_time": pl.lit(arrived), "source": pl.lit(source)}
        stamped = frame.with_columns(value.alias(name) for name, value in stamps.items() if name not in frame.columns)
        good, refused = check_rows(stamped, files.table)
        delta = made(files, delta)
        if once and delta.transaction_version(once) is not None:
            return Commit(delta.version(), 0, len(frame), 0, 0, arrived)
        self._set_aside(files, refused, once)
        rows = good.with_columns(pl.lit(batch).alias("batch")).sort(files.order)
        parts = [rows[piece] for piece in pieces(rows["event_time"])]

        def news(index: pl.DataFrame, now: datetime) -> list[_News]:
            own = parts if stated else [part.with_columns(pl.lit(now).alias("known_time")) for part in parts]
            if not skip_known:
                return [_News(part, 0, 0) for part in own]
            return [_news(files, index, part, now, stated=stated) for part in own]

        told = {"batch": batch, "source": source, "once": once, "note": dict(note or {}), "refused": len(refused)}
        done = _added(files, delta, news, told, once)
        if done is None:
            return Commit(delta.version(), 0, len(frame), 0, 0, arrived)
        counts, now = done
        return Commit(delta.version(), **counts, refused=len(refused), known_time=arrived if stated else now)

    def quarantine(self, table: Table | str, refused: "pl.DataFrame", *, source: str, once: str = "") -> None:
        """Keep rows apart that `check_rows` has refused elsewhere, as they are.

        Args:
            table: as in `append`.
            refused: what `Checked.refused` holds.
            source: of rows that do not say.
            once: as in `append`.
        """
        import polars as pl

        delta = opened(self._place(table if isinstance(table, str) else table.name), self.options)
        files = self._files(agreed(kept(delta) if delta else None, table))
        made(files, delta)
        missing = [pl.lit(source).alias("source")] if "source" not in refused.columns else []
        self._set_aside(files, refused.with_columns(missing), once)

    def compact(self, table: str) -> Compacted:
        """Rewrite small or overlapping files as full sorted ones with the same rows; no answer changes, and no version goes.

        The old files stay until `vacuum`, for readers that are at it.

        Raises:
            ConfigError: no such table.
            DataError: a damaged file; another compaction was faster.
        """
        from deltalake.transaction import RemoveAction

        delta, files = self._table(table)
        index = listed(delta)
        stale = groups(index)
        actions: list[Any] = []
        for group in stale:
            times = files.gather(group, ["event_time"], Query(FOREVER))["event_time"].sort()
            for piece in pieces(times):
                event = times[piece.start], times[piece.stop - 1]
                part = meeting(group, {"event_time": event})
                rows = files.gather(part, list(files.schema), Query(FOREVER, event))
                actions.append(files.write(rows.sort(files.order), news=False))
            for path, size in group.select("path", "size_bytes").iter_rows():
                actions.append(RemoveAction(path, False, time_ns() // 1_000_000, size))
        if actions:
            # Delta detects two writers of one transaction: of two compactions at once, one fails and changes nothing.
            number = (delta.transaction_version(COMPACT) or 0) + 1
            if not commit(delta, actions, {"compacted": sum(map(len, stale))}, {COMPACT: number}):
                raise DataError(
                    f"one compaction of {table!r} must end before the next", "another one was faster",
                    remedy="nothing was changed; try again if there is need",
                )  # fmt: skip
        return Compacted(delta.version(), len(index), len(listed(delta)))

    def vacuum(self, table: str, *, older: timedelta = timedelta(days=7)) -> tuple[str, ...]:
        """Delete files that no version needs: those of killed writers, and those that a compaction has replaced.

        Args:
            table: its name.
            older: files younger than this stay, because a writer or a reader may be at work on them.

        Returns:
            What was deleted.
        """
        hours = math.ceil(older / timedelta(hours=1))
        return tuple(self._table(table)[0].vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True))

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(
        self, table: str, *, as_of: When | None = None, start: When | None = None, stop: When | None = None,
        where: Mapping[str, Any] | None = None, columns: Sequence[str] | None = None,
    ) -> "pl.DataFrame":  # fmt: skip
        """The latest version of every key that was known at `as_of`, sorted by `event_time` and keys.

        A time in words means the whole of its year, month, day or minute, a date its day: `start="2010", stop="2010"` is the
        year, `as_of="2024-03-01"` the end of that day.

        Args:
            table: its name.
            as_of: rows with a later `known_time` do not exist; None = now.
            start: rows from this `event_time` on.
            stop: rows before this `event_time`; in words or as a date, up to its end.
            where: {column: value, or several of which one must be met}, of the latest versions; None = the cell is empty.
            columns: those wanted; None = all.

        Raises:
            ConfigError: no such table or column, or a value that the column cannot hold.
            DataError: a damaged file or log.
        """
        import polars as pl

        delta, files = self._table(table)
        wanted = asked(where, files.table)
        for name in columns or ():
            position(name, files.columns, "column")
        keys = ("event_time", *files.table.keys)
        query = _query(as_of, start, stop, {key: values for key, values in wanted.items() if key in files.table.keys})
        needed = [
            name for name in list(files.schema) if columns is None or name in {*columns, *wanted, *keys, *VERSION}
        ]
        rows = files.gather(query.files(listed(delta)), needed, query).sort(files.order)
        # Of rows sorted by key and knowledge, the last of its key differs from the next one.
        last = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift(-1)) for key in keys)
        rest = [among(name, values) for name, values in wanted.items() if name not in query.where]
        return rows.filter(last).filter(True, *rest).select(columns or files.columns)

    def panel(
        self, table: str, *, as_of: When | None = None, start: When | None = None, stop: When | None = None,
        symbols: Sequence[str] | None = None, fields: Sequence[str] | None = None, currency: str = "USD",
    ) -> Panel:  # fmt: skip
        """What `read` returns, as a panel.

        Args:
            table: name of a table whose only key is `symbol`.
            as_of, start, stop: as in `read`.
            symbols: the axis, in this order; None = all that have a row, by name.
            fields: F columns of numbers, none of them empty in any row; None = all that cannot be.
            currency: unit of the prices.

        Returns:
            Its dates are days if every row is labelled by a midnight (UTC), else microseconds.

        Raises:
            ConfigError: no such table, field or symbol; no row.
            DataError: a damaged file or log; a field that is empty in a row.
        """
        delta, files = self._table(table)
        if files.table.keys != ("symbol",):
            raise ConfigError("a panel must be of a table with the key symbol", f"{table!r} with {files.table.keys}")
        numbers = {column.name: column for column in files.table.columns if column.kind == "float"}
        for name in fields or ():
            position(name, list(numbers), "field")
        full = [name for name, column in numbers.items() if not column.optional]
        query = _query(as_of, start, stop, {} if symbols is None else asked({"symbol": symbols}, files.table))
        source = f"{table} of {self.url}, as of {query.known:%Y-%m-%d %H:%M:%S} UTC"
        index = query.files(listed(delta))
        return scatter(files, index, query, fields or full, symbols=symbols, source=source, currency=currency)

    def log(self, table: str, *, start: When | None = None, stop: When | None = None) -> "pl.DataFrame":
        """Every version of every row, sorted by `event_time`, keys and `known_time`; `batch` names the append.

        Args:
            table: its name.
            start, stop: of `event_time`, as in `read`.
        """
        delta, files = self._table(table)
        query = _query(FOREVER, start, stop, {})
        return files.gather(query.files(listed(delta)), list(files.schema), query).sort(files.order)

    def quarantined(self, table: str) -> "pl.DataFrame":
        """Refused rows: the cells as text, as they came, the `reason`, and when they were `received`; oldest first."""
        import polars as pl

        _, files = self._table(table)
        delta = opened(self._place(table + QUARANTINE), self.options)
        if delta is None:
            text = dict.fromkeys((*files.columns, "reason"), pl.String)
            return pl.DataFrame(schema=text | {"received": pl.Datetime("us", "UTC")})
        return pl.read_delta(delta).sort("received", maintain_order=True)

    def tables(self) -> tuple[str, ...]:
        """Names of all tables."""
        import polars as pl

        pattern = self._place("*/_delta_log")
        if "://" in pattern:
            first = f"{pattern}/{0:020}.json"
            logs = pl.scan_ndjson(
                first, schema={"add": pl.Null}, include_file_paths="path", storage_options=dict(self.options)
            )
            names = [path.split("/")[-3] for path in logs.select("path").collect()["path"].unique()]
        else:
            names = [path.parent.name for path in Path(self.url).glob("*/_delta_log")]
        return tuple(sorted(name for name in names if not name.endswith(QUARANTINE)))

    def schema(self, table: str) -> Table:
        """The schema under which a table is kept."""
        return self._table(table)[1].table

    def commits(self, table: str) -> "pl.DataFrame":
        """Every commit, newest first: `version`, `time`, what it was, and what an append says of itself; `note` is JSON."""
        import polars as pl

        rows = [
            {"version": entry["version"], "time": entry["timestamp"], "operation": entry["operation"]}
            | {"note": json.dumps(told.pop("note", {})), **told}
            for entry in self._table(table)[0].history()
            for told in [dict(entry.get(COMMIT, {}))]
        ]
        return pl.DataFrame(rows, infer_schema_length=None).with_columns(
            pl.from_epoch("time", "ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
        )

    def _place(self, name: str) -> str:
        return place(self.url, name)

    def _set_aside(self, files: Files, refused: "pl.DataFrame", once: str) -> None:
        import polars as pl

        if len(refused):
            rows = refused.with_columns(pl.lit(datetime.now(UTC)).alias("received"))
            set_aside(self._place(files.table.name + QUARANTINE), self.options, rows, once)

    def _files(self, table: Table) -> Files:
        return Files(self._place(table.name), self.options, table)

    def _table(self, name: str) -> "tuple[DeltaTable, Files]":
        delta = opened(self._place(name), self.options)
        if delta is None:
            known = self.tables()
            near = nearest(name, known)
            raise ConfigError(
                f"a table must be one of those in {self.url}: {', '.join(known) or 'none'}", repr(name),
                remedy=f"did you mean {near!r}?" if near else "append to it first",
            )  # fmt: skip
        return delta, self._files(kept(delta))


def _added(
    files: Files, delta: "DeltaTable", news: "Callable[[pl.DataFrame, datetime], list[_News]]", told: Mapping[str, Any],
    once: str,
) -> tuple[dict[str, int], datetime] | None:  # fmt: skip
    """Commit what is new now; where another append was faster, what is new after it. None: `once` is there."""
    import polars as pl

    written: list[pl.DataFrame] = []
    actions: list[Any] = []
    for k in range(TRIES):
        # The clock is read after the log: who commits later is stamped later.
        number, index, now = (delta.transaction_version(APPEND) or 0) + 1, listed(delta), datetime.now(UTC)
        parts = news(index, now)
        fresh = [part.rows for part in parts if len(part.rows)]
        if len(fresh) != len(written) or not all(map(pl.DataFrame.equals, fresh, written)):
            actions, written = [files.write(rows) for rows in fresh], fresh
        counts = {
            "rows": sum(len(part.rows) for part in parts), "repeated": sum(part.repeated for part in parts),
            "restamped": sum(part.restamped for part in parts),
        }  # fmt: skip
        numbers = {APPEND: number} | ({once: 1} if once else {})
        if not (actions or once) or commit(delta, actions, {**told, **counts}, numbers):
            return counts, now
        if once and delta.transaction_version(once) is not None:
            return None
        sleep(uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**k)))
    raise DataError(
        "an append must find its turn", f"{TRIES} others were faster at {files.uri}",
        remedy="nothing was added; append again, with fewer writers at once",
    )  # fmt: skip


def _news(files: Files, index: "pl.DataFrame", rows: "pl.DataFrame", now: datetime, *, stated: bool) -> _News:
    """Rows that add something, with corrections stamped as known after now; see `History.append`."""
    import polars as pl

    keys, columns = ["event_time", *files.table.keys], rows.columns
    values = [column.name for column in files.table.columns if column.name not in files.table.keys]
    ranges = {name: (rows[name].min(), rows[name].max()) for name in keys}
    # One symbol's rows may lie over every file: of those only its own need to be held.
    own = {key: rows[key].unique().to_list() for key in files.table.keys[:1] if rows[key].n_unique() <= FEW}
    past = files.gather(meeting(index, ranges), columns, Query(FOREVER, ranges["event_time"], own))
    past = past.join(rows.select(keys), on=keys, how="semi")
    there = past.sort(files.order).unique([*keys, "known_time"], keep="last").select(*keys, "known_time", *values)
    claim = rows.join(
        there, on=[*keys, "known_time"], how="left", suffix=" then", maintain_order="left", coalesce=False
    )
    differs = pl.any_horizontal(False, *(pl.col(name).ne_missing(pl.col(f"{name} then")) for name in values))
    taken = claim["known_time then"].is_not_null()
    clash = taken & claim.select(differs).to_series()
    after = pl.max_horizontal("known_time", pl.lit(now)) + pl.duration(
        microseconds=1 + pl.int_range(pl.len()).over(keys)
    )
    late = rows.filter(clash).with_columns(after.alias("known_time"))
    # Whether a stated version repeats the one before it, a later append may change: it stays. What is stamped here comes last.
    origin = {"past": past, "stated" if stated else "stamped": rows.filter(~taken), "late": late}
    versions = pl.concat(part.with_columns(origin=pl.lit(name)) for name, part in origin.items()).sort(files.order)
    repeats = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in (*keys, *values))
    adds = (pl.col("origin") == "stated") | (pl.col("origin").is_in(["stamped", "late"]) & ~repeats)
    news = versions.filter(adds)
    restamped = int((news["origin"] == "late").sum())
    return _News(news.select(columns), len(rows) - len(news), restamped)


def _query(as_of: When | None, start: When | None, stop: When | None, where: Mapping[str, Sequence[Any]]) -> Query:
    known = datetime.now(UTC) if as_of is None else ends(as_of)[1]
    first = None if start is None else ends(start)[0]
    last = None if stop is None else ends(stop)[1] - (TICK if isinstance(stop, datetime) else timedelta(0))
    return Query(known, (first, last), where)
