"""What a history holds, and what is wrong with it."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from fiduciary.data.faults import Fault
from fiduciary.data.quality import inspect
from fiduciary.data.tables import check_rows

if TYPE_CHECKING:
    from fiduciary.data.history import History


class Holding(NamedTuple):
    """One table of a history.

    Attributes:
        table: its name.
        rows: as known now.
        versions: with all that was known before.
        symbols: distinct values of its first key.
        first, last: event times, UTC; None in an empty table.
        known_first, known_last: the earliest and the latest `known_time` of `rows`, UTC.
        sources: where they came from.
        adjustment: what was done to prices, in words.
        licences: of the pulls that brought them.
        assumptions: when rows count as known, as the pulls said.
        quarantined: rows that were refused.
    """

    table: str
    rows: int
    versions: int
    symbols: int
    first: datetime | None
    last: datetime | None
    known_first: datetime | None
    known_last: datetime | None
    sources: tuple[str, ...]
    adjustment: str
    licences: tuple[str, ...]
    assumptions: tuple[str, ...]
    quarantined: int


def holdings(history: "History") -> tuple[Holding, ...]:
    """Summarise every table.

    Raises:
        DataError: a damaged file or log.
    """
    return tuple(_holding(history, table) for table in history.tables())


def _holding(history: "History", name: str) -> Holding:
    table, commits = history.schema(name), history.commits(name)
    rows = history.read(name, columns=["event_time", "known_time", "source", table.keys[0]])
    notes = [json.loads(note) for note in commits["note"].drop_nulls()]
    told = {key: tuple(sorted({note[key] for note in notes if key in note})) for key in ("licence", "known")}
    times = {
        f"{prefix}{end}": getattr(rows[column], how)()
        for column, prefix in (("event_time", ""), ("known_time", "known_"))
        for end, how in (("first", "min"), ("last", "max"))
    }
    return Holding(
        table=name, rows=rows.height, versions=int(commits["rows"].sum()), symbols=rows[table.keys[0]].n_unique(), **times,
        sources=tuple(sorted(rows["source"].unique())), adjustment=table.adjustment, licences=told["licence"],
        assumptions=told["known"], quarantined=history.quarantined(name).height,
    )  # fmt: skip


def audit(history: "History", table: str, *, now: datetime, exchange: str = "") -> list[Fault]:
    """Hold a table to its schema, to its freshness, and to all that `inspect` looks for.

    Args:
        history: the store.
        table: its name.
        now: the present, UTC.
        exchange: whose calendar bars must keep; "" = no calendar is asked.

    Raises:
        ConfigError: no such table or exchange.
        DataError: a damaged file or log.
    """
    schema, rows = history.schema(table), history.read(table)
    checked = check_rows(rows, schema)
    broken = [
        Fault(
            "broken rule",
            "error",
            table,
            row["event_time"] or "",
            row["reason"],
            "the row passed no door: find who wrote it",
        )
        for row in checked.refused.iter_rows(named=True)
    ]
    return broken + [anomaly.fault for anomaly in inspect(checked.good, schema, exchange=exchange, now=now)]
