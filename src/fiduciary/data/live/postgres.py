"""The real-time store in PostgreSQL, for several processes and machines; its tables lie in the schema `fiduciary`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fiduciary.core.errors import DataError
from fiduciary.core.extras import need
from fiduciary.data.live.engine import Cursor
from fiduciary.data.live.sql import Dialect, Layout

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
CONNECT_S, FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 0.05, 2.0


class Postgres:
    """One connection, for one thread, made again when it is lost.

    Writers of a table queue for a lock that each holds to its commit: rows become visible in the order of their numbers, so a
    reader that remembers the last number it saw misses none. A batch is acknowledged when the server says that it is on disk
    (`synchronous_commit` must not be off).

    Args:
        url: postgresql://user@host:port/database.
        patience_s: how long to try to get a lost connection back.
    """

    dialect = Dialect(
        mark="%s", same="IS NOT DISTINCT FROM", number="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        types={"float": "DOUBLE PRECISION", "int": "BIGINT", "text": 'TEXT COLLATE "C"', "bool": "BOOLEAN", "time": "BIGINT"},
    )  # fmt: skip

    def __init__(self, url: str, patience_s: float) -> None:
        self._psycopg, self._url, self._patience_s = need("psycopg", extra="server", what="PostgreSQL"), url, patience_s
        try:
            self._connection = self._connect()
        except self._psycopg.Error as error:
            raise self._out_of_reach(error) from error

    def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` on one consistent state of the store."""

        def once(connection: "psycopg.Connection[Any]") -> T:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return work(cursor)

        return self._persist(once)

    def write(self, name: str, work: Callable[[Cursor], T]) -> T:
        """Run `work` in a transaction, with no other writer of `name`; back when it is on disk."""

        def once(connection: "psycopg.Connection[Any]") -> T:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"fiduciary.{name}",))
                result = work(cursor)
                cursor.execute("NOTIFY fiduciary")
                return result

        return self._persist(once)

    def fill(self, cursor: Cursor, layout: Layout, rows: list[tuple[Any, ...]]) -> None:
        """Make the stage hold these rows and no others; it is emptied at every commit."""
        cursor.execute(f"{layout.create_stage} ON COMMIT DELETE ROWS")
        with cursor.copy(f"COPY {layout.stage} FROM STDIN") as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row(row)

    def now(self, cursor: Cursor) -> int:
        """Microseconds since 1970, UTC, by the server's clock."""
        cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT")
        return int(cursor.fetchall()[0][0])

    def names(self) -> list[str]:
        """Of all tables of the schema `fiduciary`."""
        return self.read(
            lambda cursor: [
                str(name)
                for (name,) in cursor.execute(
                    "SELECT tablename FROM pg_tables WHERE schemaname = 'fiduciary'"
                ).fetchall()
            ]
        )

    def prepare(self) -> None:
        """Make the schema."""
        self.write("store", lambda cursor: cursor.execute("CREATE SCHEMA IF NOT EXISTS fiduciary"))

    @contextmanager
    def watching(self) -> Iterator[Callable[[float], None]]:
        """A function that waits until a connection has written since it last returned, or so many seconds."""

        def wait(seconds: float) -> None:
            # A connection made anew does not listen: look again after a second at the latest.
            self._persist(lambda it: list(it.notifies(timeout=min(seconds, 1.0), stop_after=1)))

        self._persist(lambda it: it.execute("LISTEN fiduciary"))
        try:
            yield wait
        finally:
            self._persist(lambda it: it.execute("UNLISTEN fiduciary"))

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _connect(self) -> "psycopg.Connection[Any]":
        connection: psycopg.Connection[Any] = self._psycopg.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_S
        )
        connection.execute("SET search_path TO fiduciary")
        return connection

    def _persist(self, once: "Callable[[psycopg.Connection[Any]], T]") -> T:
        """Run it; if the connection is lost on the way, make another, ever more slowly, and run it again.

        What was lost with the connection may have been committed: the store takes a repeated batch as one.
        """
        until, pause = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            try:
                if self._connection.closed:
                    self._connection = self._connect()
                return once(self._connection)
            except self._psycopg.OperationalError as error:
                if not self._connection.closed or time.monotonic() + pause > until:
                    raise self._out_of_reach(error) from error
            except self._psycopg.Error as error:
                raise self._out_of_reach(error) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _out_of_reach(self, error: Exception) -> DataError:
        login, _, address = self._url.partition("://")[2].rpartition("@")
        place, password = address.partition("?")[0], login.partition(":")[2]
        fact = str(error).strip().replace(password, "***") if password else str(error).strip()
        return DataError(
            "a PostgreSQL store must be in reach and writable", f"{fact} at {place}",
            remedy="check the URL, the server and the rights of its user",
        )  # fmt: skip
