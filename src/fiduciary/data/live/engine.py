"""What a back end does for the real-time store."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from fiduciary.data.live.sql import Dialect, Layout

T = TypeVar("T")


class Cursor(Protocol):
    """The part of DB-API 2.0 cursors that we use."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""

    def execute(self, statement: str, values: Sequence[Any] = ...) -> Any:
        """One statement."""

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> Any:
        """One statement for each of many rows of values."""

    def fetchall(self) -> list[Any]:
        """Rows of the last query."""


class Engine(Protocol):
    """One connection to one store. `work` may be run again after a lost connection, so it must change nothing but the store.

    Every method raises DataError where the store is damaged, locked or out of reach.
    """

    dialect: Dialect

    def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` on one consistent state of the store."""

    def write(self, name: str, work: Callable[[Cursor], T]) -> T:
        """Run `work` in a transaction, with no other writer of `name`; back when it is on disk."""

    def fill(self, cursor: Cursor, layout: Layout, rows: list[tuple[Any, ...]]) -> None:
        """Make the stage hold these rows and no others."""

    def now(self, cursor: Cursor) -> int:
        """Microseconds since 1970, UTC, by the one clock of all connections."""

    def names(self) -> list[str]:
        """Of all tables there are where the store keeps its own."""

    def prepare(self) -> None:
        """Make an empty place fit for a store's tables."""

    def watching(self) -> AbstractContextManager[Callable[[float], None]]:
        """A function that waits until another connection has written since it last returned, or so many seconds."""

    def close(self) -> None:
        """End the connection."""
