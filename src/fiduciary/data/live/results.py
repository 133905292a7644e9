"""What the real-time store answers."""

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from fiduciary.data.tables import Table

if TYPE_CHECKING:
    import polars as pl


class Appended(NamedTuple):
    """What became of the rows of one batch.

    Attributes:
        new: kept, as first or as later versions.
        repeated: they said what was known already; nothing was added.
        refused: kept apart with the reason; see `Live.quarantined`.
    """

    new: int
    repeated: int
    refused: int


class Followed(NamedTuple):
    """Rows that arrived after a cursor.

    Attributes:
        rows: in the order of their arrival.
        after: the cursor for the next call.
    """

    rows: "pl.DataFrame"
    after: int


class Day(NamedTuple):
    """One UTC day of a table.

    Attributes:
        day: of `event_time`.
        rows: versions of all its rows.
        sha256: `digest` of them.
    """

    day: date
    rows: int
    sha256: str


class Claim(NamedTuple):
    """Rows of one day that are about to move into the history; the same ones until they are released.

    Attributes:
        table: its schema.
        day: of `event_time`.
        generation: 1, and one more for every time that late rows came after the day had moved.
        last_row: number of the last row.
        rows: every version, sorted by `event_time`, keys and `known_time`.
        sha256: `digest` of the rows.
    """

    table: Table
    day: date
    generation: int
    last_row: int
    rows: "pl.DataFrame"
    sha256: str
