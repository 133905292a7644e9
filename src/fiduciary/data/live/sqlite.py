"""The real-time store in one file: SQLite with a write-ahead log; one writer at a time, many readers, no server."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fiduciary.core.errors import DataError
from fiduciary.data.live.engine import Cursor
from fiduciary.data.live.sql import Dialect, Layout

T = TypeVar("T")
POLL_S = 0.002


class Sqlite:
    """One connection, for one thread.

    `synchronous = FULL`: a batch that was acknowledged survives a loss of power, as far as the disk keeps its word.

    Args:
        path: the file; made if there is none. Its folder must exist, and must not be on a network.
        patience_s: how long to wait for another writer.
    """

    dialect = Dialect(
        mark="?", same="IS", number="INTEGER PRIMARY KEY AUTOINCREMENT", after=" STRICT",
        types={"float": "REAL", "int": "INTEGER", "text": "TEXT", "bool": "INTEGER", "time": "INTEGER"},
    )  # fmt: skip

    def __init__(self, path: Path, patience_s: float) -> None:
        self._path, self._patience_s = path, patience_s
        if not path.parent.is_dir():
            raise DataError(
                "a real-time store must lie in a folder that exists", f"{path}", remedy="make the folder first"
            )
        with self._named():
            self._connection = sqlite3.connect(path, timeout=patience_s, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = FULL")

    def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` on one consistent state of the store."""
        with self._transaction("BEGIN") as cursor:
            return work(cursor)

    def write(self, name: str, work: Callable[[Cursor], T]) -> T:
        """Run `work` in a transaction, with no other writer; back when it is on disk."""
        with self._transaction("BEGIN IMMEDIATE") as cursor:
            return work(cursor)

    def fill(self, cursor: Cursor, layout: Layout, rows: list[tuple[Any, ...]]) -> None:
        """Make the stage hold these rows and no others."""
        cursor.execute(layout.create_stage)
        cursor.execute(f"DELETE FROM {layout.stage}")
        if rows:
            cursor.executemany(f"INSERT INTO {layout.stage} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    def now(self, cursor: Cursor) -> int:
        """Microseconds since 1970, UTC, by the machine's clock."""
        return time.time_ns() // 1_000

    def names(self) -> list[str]:
        """Of all tables of the file."""
        return self.read(
            lambda cursor: [
                str(name)
                for (name,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            ]
        )

    def prepare(self) -> None:
        """From now on with a write-ahead log."""
        until = time.monotonic() + self._patience_s
        with self._named():
            while not self._logged(last=time.monotonic() >= until):
                time.sleep(POLL_S)

    def _logged(self, *, last: bool) -> bool:
        """Of several that make the file at once, SQLite does not let this one statement wait for the others."""
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if last or not _busy(error):
                raise
            return False
        return True

    @contextmanager
    def watching(self) -> Iterator[Callable[[float], None]]:
        """A function that waits until another connection has written since it last returned, or so many seconds."""
        seen = self._version()

        def wait(seconds: float) -> None:
            nonlocal seen
            until = time.monotonic() + seconds
            while (now := self._version()) == seen and (left := until - time.monotonic()) > 0:
                time.sleep(min(POLL_S, left))
            seen = now

        yield wait

    def close(self) -> None:
        """End the connection; the last one to leave folds the log into the file."""
        self._connection.close()

    def _version(self) -> int:
        with self._named():
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Cursor]:
        with self._named(), self._connection:
            cursor = self._connection.cursor()
            cursor.execute(begin)
            yield cursor

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the library as ours, with the file's name."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            busy = _busy(error)
            raise DataError(
                "a real-time store must be a whole SQLite file that can be written", f"{error} in {self._path}",
                cause="another process held it for too long" if busy else "",
                remedy="let it finish" if busy else "restore it, or give another path; the file was left as it is",
            ) from error  # fmt: skip


def _busy(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
