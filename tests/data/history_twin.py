"""The historical store as a list of versions, slow and plain, for tests and rows that compare the two."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from fiduciary.data.tables import Column, Table

LEVELS = Table(
    "levels", (Column("symbol", "text"), Column("level"), Column("note", "text", optional=True)), ("symbol",)
)
START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = 10_000
"""A day after all days that rows claim: that of corrections known from their append on."""


class Row(NamedTuple):
    """What a source says: the level of a symbol on a day, and the day on which that was known."""

    day: int
    symbol: str
    level: float
    known: int


class Twin:
    """Versions in the order in which they came."""

    def __init__(self) -> None:
        self.versions: list[Row] = []

    def append(self, rows: Iterable[Row]) -> None:
        """A claim that is there adds nothing; one that contradicts it is known now, and adds nothing if that is known now."""
        stated, now = {(row.day, row.symbol, row.known): row.level for row in self.versions}, NOW + len(self.versions)
        told = [(row, stated.get((row.day, row.symbol, row.known))) for row in rows]
        self.versions += [row for row, there in told if there is None]
        late = [row._replace(known=now + row.known) for row, there in told if there not in (None, row.level)]
        for row in sorted(late, key=lambda row: row.known):
            if self.read(row.known).get((row.day, row.symbol)) != row.level:
                self.versions.append(row)

    def read(self, as_of: int) -> dict[tuple[int, str], float]:
        """{(day, symbol): level} as known at the end of a day."""
        seen = sorted((row for row in self.versions if row.known <= as_of), key=lambda row: row.known)
        return {(row.day, row.symbol): row.level for row in seen}


def frame(rows: Iterable[tuple[object, ...]]) -> pl.DataFrame:
    """Rows of (day, symbol, level, day known), or without the last, for `History.append`."""
    rows = list(rows)
    names = ("event_time", "symbol", "level", "known_time")[: len(rows[0])]
    times = [name for name in names if name.endswith("time")]
    return pl.DataFrame(rows, names, orient="row").with_columns(
        (pl.lit(START) + pl.duration(days=pl.col(name))).alias(name) for name in times
    )


def held(rows: pl.DataFrame) -> dict[tuple[int, str], float]:
    """{(day, symbol): level} of rows that a store returned."""
    return {
        ((time - START).days, symbol): level for time, symbol, level in rows["event_time", "symbol", "level"].rows()
    }
