"""Roll-over: closed days of the real-time store move into the history, each exactly once.

    live                                      history
    1  claim: note which rows, their hash
    2                                         append once, under the name of the claim
    3                                         read back, count and hash
    4  release: delete them and note it

Killed after any step, the next roll-over begins again with the same claim: 2 does nothing the second time, 4 is one
transaction. Rows that come for a day after it has moved are its next generation.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.history import History
from fiduciary.data.history.files import When, among, asked
from fiduciary.data.history.log import agreed
from fiduciary.data.live import Claim, Live, digest
from fiduciary.data.panel import position

if TYPE_CHECKING:
    import polars as pl


class Moved(NamedTuple):
    """One day of one table that is in the history now.

    Attributes:
        table: its name.
        day: UTC day of `event_time`.
        generation: 1, and one more for every time that late rows came after it had moved.
        rows: versions that moved.
        repeated: of these, what the history knew already and did not add.
        sha256: of the rows, as `Live.days` gives it.
    """

    table: str
    day: date
    generation: int
    rows: int
    repeated: int
    sha256: str


def rollover(live: Live, history: History, *, before: date, tables: Sequence[str] | None = None) -> tuple[Moved, ...]:
    """Move every day before `before` (UTC), with all its versions and their `known_time`.

    Args:
        live: where from.
        history: where to.
        before: the first day that stays; today at the latest.
        tables: names; None = all.

    Raises:
        ConfigError: `before` is in the future, or there is no such table.
        DataError: the history does not say what the real-time store said; the day stays where it is.
    """
    today = datetime.now(UTC).date()
    if before > today:
        raise ConfigError("only days that are over may move", f"before={before}, today is {today} (UTC)")
    names = live.tables() if tables is None else tables
    claims = (live.claim(name, day) for name in names for day in live.dates(name) if day < before)
    return tuple(_move(live, history, claim) for claim in claims if claim)


def both(
    live: Live, history: History, table: str, *, as_of: When | None = None, start: When | None = None,
    stop: When | None = None, where: Mapping[str, Any] | None = None,
) -> "pl.DataFrame":  # fmt: skip
    """What both stores together knew at `as_of`: as `read` of either.

    Raises:
        ConfigError: neither has the table, or it has no such column.
    """
    import polars as pl

    # The real-time store first: a day that moves meanwhile is then seen twice rather than never.
    stores = [store for store in (live, history) if table in store.tables()]
    if not stores:
        position(table, sorted({*live.tables(), *history.tables()}), "table")
    keys = ["event_time", *stores[0].schema(table).keys]
    wanted = asked(where, agreed(stores[0].schema(table), stores[-1].schema(table)))
    about = {key: wanted.pop(key) for key in keys if key in wanted}
    parts = [store.read(table, as_of=as_of, start=start, stop=stop, where=about) for store in stores]
    # Of two versions with one `known_time` the history's counts; the other is known from its move on.
    rows = pl.concat(parts, how="diagonal").sort(*keys, "known_time", maintain_order=True)
    latest = rows.unique(keys, keep="last", maintain_order=True)
    return latest.filter(True, *(among(name, values) for name, values in wanted.items()))


def _move(live: Live, history: History, claim: Claim) -> Moved:
    table, day = claim.table.name, claim.day
    note = {"day": str(day), "generation": claim.generation, "rows": len(claim.rows), "sha256": claim.sha256}
    # The hash tells the claims of two real-time stores apart.
    once = f"{table}/{day}/{claim.generation}/{claim.sha256}"
    commit = history.append(claim.table, claim.rows, source="", once=once, note=note)
    lost = _lost(claim, history.log(table, start=day, stop=day))
    if len(lost):
        raise DataError(
            f"the history must say of {table!r} on {day} what the real-time store said",
            f"{len(lost)} of {len(claim.rows)} rows missing, {commit.refused} refused", cause="its schema is stricter",
            remedy="see History.quarantined; the day stays in the real-time store",
        )  # fmt: skip
    live.release(claim)
    return Moved(table, day, claim.generation, len(claim.rows), commit.repeated, claim.sha256)


def _lost(claim: Claim, log: "pl.DataFrame") -> "pl.DataFrame":
    """Claimed rows that the history did not know when they were known, nor later: late ones may have been restamped."""
    rows, keys = claim.rows, ["event_time", *claim.table.keys]
    known = rows.select(*keys, "known_time", "source").join_asof(
        log.drop("source").with_columns(found=True), on="known_time", by=keys, check_sortedness=False
    )
    known = known.filter("found").select(rows.columns)
    if digest(known) == claim.sha256:
        return rows.clear()
    said = [name for name in rows.columns if name not in ("known_time", "source")]
    return rows.join(known, on=rows.columns, how="anti", nulls_equal=True).join(
        log, on=said, how="anti", nulls_equal=True
    )
