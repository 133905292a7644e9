"""Rows and schemas between frames, SQL and JSON."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fiduciary.data.live.sql import kinds
from fiduciary.data.tables import Table

if TYPE_CHECKING:
    import polars as pl

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARTS = 100_000
"""Rows that are hashed at a time."""


def digest(rows: "pl.DataFrame") -> str:
    """SHA-256 of rows as JSON lines, in their order; the store gives them sorted."""
    total = hashlib.sha256()
    for part in rows.iter_slices(PARTS):
        total.update(part.write_ndjson().encode())
    return total.hexdigest()


def microseconds(moment: datetime) -> int:
    """Since 1970, UTC."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def framed(rows: list[Any], table: Table) -> "pl.DataFrame":
    """Rows of the database, typed."""
    import polars as pl

    stored = {"float": pl.Float64, "int": pl.Int64, "text": pl.String, "bool": pl.Boolean, "time": pl.Int64}
    of = kinds(table)
    cells = zip(*rows, strict=True) if rows else [()] * len(of)
    made = [pl.Series(name, column, stored[of[name]], strict=False) for name, column in zip(of, cells, strict=True)]
    return pl.DataFrame([each.cast(pl.Datetime("us", "UTC")) if of[each.name] == "time" else each for each in made])


def cells_of(frame: "pl.DataFrame") -> list[list[Any]]:
    """Each column as the database takes it. Without an expression, as in `framed`: on a small batch their set-up costs most."""
    import polars as pl

    return [(column.cast(pl.Int64) if column.dtype.is_temporal() else column).to_list() for column in frame]
