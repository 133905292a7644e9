"""The real-time store: append-only, every version of every row kept, many readers."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fiduciary.core.errors import DataError
from fiduciary.data.history.files import When, among, asked, ends
from fiduciary.data.history.log import agreed
from fiduciary.data.live.engine import Cursor, Engine
from fiduciary.data.live.results import Appended, Claim, Day, Followed
from fiduciary.data.live.rows import EPOCH, cells_of, digest, framed, microseconds
from fiduciary.data.live.sql import DAY_US, Layout
from fiduciary.data.panel import position
from fiduciary.data.tables import Table, check_rows, parsed, written

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
FEW = 2_000
"""Values of one column by which the database chooses rows."""


class Live:
    """A real-time store; `connect` makes it. One connection, for one thread: let every thread and process connect.

    What is acknowledged (`append` came back) survives the death of this process and of the server. Reading and writing do not
    wait for each other; writers of one table do. The state is the connection and the schemas that it has seen.

    Args:
        engine: the back end.

    Raises:
        DataError: at construction, if the place holds something else than a store, or one of a newer format.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._layouts = engine, dict[str, Layout]()
        names = engine.names()
        if "store.format" not in names:
            if names:
                raise DataError(
                    "a real-time store must be made in an empty place", f"tables {', '.join(sorted(names)[:5])}",
                    cause="the database belongs to another program", remedy="give another path or URL",
                )  # fmt: skip
            engine.prepare()
            engine.write("store", self._found)
        newest = engine.read(lambda cursor: _rows(cursor, 'SELECT "version" FROM "store.format"'))[0][0]
        if newest > FORMAT:
            raise DataError(
                f"a real-time store must have format {FORMAT} or earlier", f"format {newest}",
                cause="a newer version of Fiduciary made it", remedy="upgrade Fiduciary; the store was left as it is",
            )  # fmt: skip

    def __enter__(self) -> "Live":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._engine.close()

    # --- writing -----------------------------------------------------------------------------------------------------

    def append(
        self, table: Table | str, frame: "pl.DataFrame", *, source: str, known: datetime | None = None
    ) -> Appended:
        """Keep rows; back when they are on disk.

        A row adds nothing if it states its `known_time` and is there already, or if it does not state it and says what was last
        known of its keys: a batch may be sent again. Other values under the same keys are a correction, known later; if they
        claim the same `known_time`, they are known from now on. Order does not matter.

        Args:
            table: the schema, kept with the first append; later only optional columns may be added. A name = the kept schema,
                or that of `TABLES`.
            frame: rows as `check_rows` wants them; with `known_time` and `source` where the rows differ in these.
            source: of rows that do not say.
            known: of rows that do not say; None = when the store takes them, by its clock.

        Raises:
            ConfigError: no such schema, or a name that a database would cut.
            DataError: a column is missing or unknown, the table is kept under another schema, the store is out of reach.
        """
        import polars as pl

        layout = self._open(table)
        stamps = {"known_time": ends(known or datetime.now(UTC))[0], "source": source}
        missing = [name for name in stamps if name not in frame.columns]
        stamped = frame.hstack([pl.Series(name, [stamps[name]]).new_from_index(0, len(frame)) for name in missing])
        good, bad = check_rows(stamped, layout.table)
        cells = dict(zip(good.columns, cells_of(good), strict=True))
        clocked = known is None and "known_time" in missing
        # Restamped versions of one key settle one after another; a batch with one `known_time` has one version of each.
        rounds = [0] * len(good) if "known_time" in missing else _rounds(good, layout.keys)
        count = max(rounds, default=0) + 1
        taken: list[int] = []  # at the first try; after a lost connection a batch that was kept must look the same

        def work(cursor: Cursor) -> Appended:
            if clocked and not taken:
                taken.append(self._engine.now(cursor))
                cells["known_time"] = taken * len(good)
            if len(bad):
                _keep_apart(cursor, layout, bad.drop(missing), source)
            self._engine.fill(cursor, layout, list(zip(*cells.values(), rounds, strict=True)))
            first = (layout.settle_stamped, (0,)) if clocked else (layout.settle, ())
            new: int = cursor.execute(*first).rowcount
            if new < len(good):
                present = self._engine.now(cursor)
                cursor.execute(layout.restamp, (present, present, count))
                new += sum(cursor.execute(layout.settle_stamped, (k,)).rowcount for k in range(count, 2 * count))
            return Appended(new, len(frame) - new - len(bad), len(bad))

        return self._engine.write(layout.table.name, work)

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(
        self, table: str, *, as_of: When | None = None, start: When | None = None, stop: When | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> "pl.DataFrame":  # fmt: skip
        """The latest version of every key that was known at `as_of`, sorted by `event_time` and keys.

        Times in words and dates mean the whole of their period, as in `History.read`.

        Args:
            table: its name.
            as_of: None = now, by the store's clock.
            start: rows from this `event_time` on.
            stop: rows before this `event_time`; in words or as a date, up to its end.
            where: {column: value, or several of which one must be met}; None = the cell is empty.

        Raises:
            ConfigError: no such table or column, or a value that the column cannot hold.
        """
        layout = self._layout(table)
        wanted = asked(where, layout.table)
        few = {name: several for name, several in wanted.items() if len(several) <= FEW}
        tests, values = self._tests(layout, start, stop, few)

        def work(cursor: Cursor) -> list[Any]:
            known = microseconds(ends(as_of)[1]) if as_of else self._engine.now(cursor)
            return _rows(cursor, layout.latest(tests), (known, *values, known))

        # No database takes any number of values in one statement.
        rest = [among(name, several) for name, several in wanted.items() if name not in few]
        return framed(self._engine.read(work), layout.table).filter(True, *rest)

    def log(self, table: str, *, start: When | None = None, stop: When | None = None) -> "pl.DataFrame":
        """Every version of every row, sorted by `event_time`, keys and `known_time`; `start` and `stop` as in `read`."""
        layout = self._layout(table)
        tests, values = self._tests(layout, start, stop, {})
        rows = self._engine.read(lambda cursor: _rows(cursor, layout.versions(tests), values))
        return framed([row[1:] for row in rows], layout.table)

    def follow(self, table: str, after: int = 0, *, limit: int = 10_000, wait_s: float = 0.0) -> Followed:
        """The next rows in the order of their arrival; no row is ever skipped, whoever writes.

        Args:
            table: its name.
            after: the cursor of the call before; 0 = from the first row that is still here.
            limit: at most so many rows.
            wait_s: how long to wait for a first row.

        Raises:
            DataError: rows after the cursor have moved into the history unseen.
        """
        layout, until = self._layout(table), monotonic() + wait_s

        def work(cursor: Cursor) -> list[Any]:
            moved = _rows(cursor, _MOVED.format(mark=layout.dialect.mark), (table,))[0][0]
            if after and moved is not None and moved > after:
                raise DataError(
                    f"a reader of {table!r} must keep up with the roll-over", f"cursor {after}; rows to {moved} have moved",
                    remedy="read what it missed from the history, and start again from 0",
                )  # fmt: skip
            return _rows(cursor, layout.following, (after, limit))

        rows = self._engine.read(work)
        if not rows and wait_s > 0:
            with self._engine.watching() as wait:
                while not (rows := self._engine.read(work)) and (left := until - monotonic()) > 0:
                    wait(left)
        return Followed(framed([row[1:] for row in rows], layout.table), rows[-1][0] if rows else after)

    def tables(self) -> tuple[str, ...]:
        """Names of all tables."""
        rows = self._engine.read(lambda cursor: _rows(cursor, 'SELECT "name" FROM "store.tables" ORDER BY "name"'))
        return tuple(name for (name,) in rows)

    def schema(self, table: str) -> Table:
        """The schema under which a table is kept.

        Raises:
            ConfigError: no such table.
        """
        return self._layout(table).table

    def quarantined(self, table: str) -> "pl.DataFrame":
        """Rows of a table that were refused: `received`, `source`, `reason` and `row`, the row as JSON. Each is kept once."""
        import polars as pl

        layout = self._layout(table)
        statement = (
            'SELECT "received", "source", "reason", "row" FROM "store.refused" '
            f'WHERE "name" = {layout.dialect.mark} ORDER BY "received", "sha256"'
        )
        rows = self._engine.read(lambda cursor: _rows(cursor, statement, (table,)))
        text = dict.fromkeys(("source", "reason", "row"), pl.String)
        return pl.DataFrame(rows, {"received": pl.Int64, **text}, orient="row").with_columns(
            pl.col("received").cast(pl.Datetime("us", "UTC"))
        )

    def dates(self, table: str) -> tuple[date, ...]:
        """The days that hold rows."""
        layout = self._layout(table)
        starts = self._engine.read(lambda cursor: _rows(cursor, layout.days))
        return tuple((EPOCH + timedelta(microseconds=start)).date() for (start,) in starts)

    def days(self, table: str) -> tuple[Day, ...]:
        """The days that hold rows, with count and hash."""
        rows = {day: self.log(table, start=day, stop=day) for day in self.dates(table)}
        return tuple(Day(day, len(of), digest(of)) for day, of in rows.items())

    # --- moving out --------------------------------------------------------------------------------------------------

    def claim(self, table: str, day: date) -> Claim | None:
        """Fix which rows of a day are to move; None where there are none. An unreleased claim is given again.

        Raises:
            DataError: the rows of an unreleased claim are no longer the same.
        """
        layout, start = self._layout(table), microseconds(ends(day)[0])
        mark = layout.dialect.mark
        span = [f"r.event_time >= {mark}", f"r.event_time < {mark}"]

        def work(cursor: Cursor) -> Claim | None:
            past = _rows(cursor, _CLAIMS.format(mark=mark), (table, start))
            numbered = _rows(cursor, layout.versions(span), (start, start + DAY_US))
            if past and not past[-1][-1]:
                generation, last_row, count, sha256, _ = past[-1]
                rows = framed([row[1:] for row in numbered if row[0] <= last_row], layout.table)
                if (len(rows), digest(rows)) != (count, sha256):
                    raise DataError(
                        f"rows of {table!r} on {day} must stay as they were claimed", f"{len(rows)} rows, claimed {count}",
                        cause="they were changed by another program", remedy="restore the store from a backup",
                    )  # fmt: skip
                return Claim(layout.table, day, generation, last_row, rows, sha256)
            if not numbered:
                return None
            rows, last_row = framed([row[1:] for row in numbered], layout.table), max(row[0] for row in numbered)
            claim = Claim(layout.table, day, len(past) + 1, last_row, rows, digest(rows))
            values = (table, start, claim.generation, last_row, len(rows), claim.sha256, 0)
            cursor.execute(f'INSERT INTO "store.moved" VALUES ({", ".join([mark] * len(values))})', values)
            return claim

        return self._engine.write(table, work)

    def release(self, claim: Claim) -> None:
        """Delete the rows of a claim, which the history has, and note it: in one transaction."""
        layout, start = self._layout(claim.table.name), microseconds(ends(claim.day)[0])

        def work(cursor: Cursor) -> None:
            cursor.execute(layout.delete, (start, start + DAY_US, claim.last_row))
            cursor.execute(_DONE.format(mark=layout.dialect.mark), (claim.table.name, start, claim.generation))

        self._engine.write(claim.table.name, work)

    # --- schemas -----------------------------------------------------------------------------------------------------

    def _found(self, cursor: Cursor) -> None:
        for statement in self._engine.dialect.store():
            cursor.execute(statement)
        cursor.execute(f'INSERT INTO "store.format" SELECT {FORMAT} WHERE NOT EXISTS (SELECT 1 FROM "store.format")')

    def _open(self, table: Table | str) -> Layout:
        """The layout of a table, which is made or widened where need be."""
        name = table if isinstance(table, str) else table.name
        if name not in self._layouts or table not in (name, self._layouts[name].table):
            kept = self._engine.read(lambda cursor: self._schema(cursor, name))
            if kept is None or agreed(kept, table) != kept:
                kept = self._engine.write("store", lambda cursor: self._made(cursor, table))
            self._layouts[name] = Layout(kept, self._engine.dialect)
        return self._layouts[name]

    def _made(self, cursor: Cursor, given: Table | str) -> Table:
        """The schema of a table that now exists and has all its columns."""
        mark = self._engine.dialect.mark
        kept = self._schema(cursor, given if isinstance(given, str) else given.name)
        layout = Layout(agreed(kept, given), self._engine.dialect)
        if kept is None:
            cursor.execute(
                f'INSERT INTO "store.tables" VALUES ({mark}, {mark})', (layout.table.name, written(layout.table))
            )
            cursor.execute(layout.create)
        elif kept != layout.table:
            for statement in layout.widen(len(kept.columns)):
                cursor.execute(statement)
            statement = f'UPDATE "store.tables" SET "schema" = {mark} WHERE "name" = {mark}'
            cursor.execute(statement, (written(layout.table), kept.name))
        return layout.table

    def _layout(self, name: str) -> Layout:
        if name not in self._layouts:
            kept = self._engine.read(lambda cursor: self._schema(cursor, name))
            if kept is None:
                position(name, self.tables(), "table")
            else:
                self._layouts[name] = Layout(kept, self._engine.dialect)
        return self._layouts[name]

    def _schema(self, cursor: Cursor, name: str) -> Table | None:
        statement = f'SELECT "schema" FROM "store.tables" WHERE "name" = {self._engine.dialect.mark}'
        found = _rows(cursor, statement, (name,))
        return parsed(found[0][0]) if found else None

    @staticmethod
    def _tests(
        layout: Layout, start: When | None, stop: When | None, where: Mapping[str, Sequence[Any]]
    ) -> tuple[list[str], tuple[Any, ...]]:
        """Conditions on a row `r`, and their values."""
        mark, tests, values = layout.dialect.mark, [], list[Any]()
        if start is not None:
            tests.append(f"r.event_time >= {mark}")
            values.append(microseconds(ends(start)[0]))
        if stop is not None:
            tests.append(f"r.event_time {'<' if isinstance(stop, datetime) else '<='} {mark}")
            values.append(microseconds(ends(stop)[1]))
        for name, wanted in where.items():
            several = [microseconds(v) if isinstance(v, datetime) else v for v in wanted if v is not None]
            empty = f' OR r."{name}" IS NULL' if len(several) < len(wanted) else ""
            tests.append(f'(r."{name}" IN ({", ".join([mark] * len(several)) or "NULL"}){empty})')
            values += several
        return tests, tuple(values)


_MOVED = 'SELECT max("last_row") FROM "store.moved" WHERE "name" = {mark} AND "done" = 1'
_CLAIMS = (
    'SELECT "generation", "last_row", "rows", "sha256", "done" FROM "store.moved" '
    'WHERE "name" = {mark} AND "day" = {mark} ORDER BY "generation"'
)
_DONE = 'UPDATE "store.moved" SET "done" = 1 WHERE "name" = {mark} AND "day" = {mark} AND "generation" = {mark}'


def _rows(cursor: Cursor, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    # Without values `%` is itself in psycopg's statements too.
    cursor.execute(statement, *([values] if values else []))
    return cursor.fetchall()


def _rounds(rows: "pl.DataFrame", keys: Sequence[str]) -> list[int]:
    """Of every row the number of versions of its key that were known before it."""
    import polars as pl

    return rows.select(pl.int_range(pl.len()).over(keys, order_by="known_time")).to_series().to_list()


def _keep_apart(cursor: Cursor, layout: Layout, refused: "pl.DataFrame", source: str) -> None:
    """Refused rows and their reasons -> the quarantine; the same row for the same reason is kept once."""
    mark, now = layout.dialect.mark, microseconds(datetime.now(UTC))
    for text, reason in zip(refused.drop("reason").write_ndjson().splitlines(), refused["reason"], strict=True):
        sha256 = hashlib.sha256(f"{layout.table.name}\n{reason}\n{text}".encode()).hexdigest()
        values = (sha256, layout.table.name, now, source, reason, text)
        cursor.execute(
            f'INSERT INTO "store.refused" VALUES ({", ".join([mark] * len(values))}) ON CONFLICT DO NOTHING', values
        )
