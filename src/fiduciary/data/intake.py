"""What a pull makes of an answer: when its rows count as known, which of them are new, and which correct what is held."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from fiduciary.data.reference import sessions
from fiduciary.data.sources.clients import LENGTHS
from fiduciary.data.tables import Checked, Table, check_rows

if TYPE_CHECKING:
    import polars as pl

DAY = timedelta(days=1)


class Knowledge(NamedTuple):
    """When rows count as known.

    Attributes:
        known: "retrieved", or "published" where that can be assumed; never after the retrieval.
        exchange: whose closes end daily bars; "" = the midnight (UTC) after the day.
        delay: from a bar's end to the moment when it can be had.
    """

    known: Literal["retrieved", "published"] = "retrieved"
    exchange: str = ""
    delay: timedelta = timedelta(minutes=15)

    def __str__(self) -> str:
        if self.known == "retrieved":
            return "retrieved: when the answer came"
        end = f"the close of {self.exchange}" if self.exchange else "their end"
        return f"published: bars {self.delay} after {end}, releases as the vendor dates them, other rows at their event"


def dated(frame: "pl.DataFrame", table: Table, *, name: str, retrieved: datetime, knowledge: Knowledge) -> Checked:
    """Give the rows of one answer their `known_time` and hold them to their table.

    Under "retrieved" a vendor's releases are dropped, and of several vintages only the latest is left: what the vendor
    showed when it was asked.

    Args:
        frame: rows in the table's columns, `known_time` among them where the vendor tells it.
        table: that takes them.
        name: what the source calls the table: "bars_1d" and so on.
        retrieved: when the answer came, UTC.
        knowledge: when rows count as known.

    Returns:
        Good rows, with a column `retrieved` beside the table's, and refused ones.
    """
    import polars as pl

    learned = pl.lit(retrieved).dt.cast_time_unit("us")
    if knowledge.known == "retrieved" and "known_time" in frame.columns:
        keys = ["event_time", *table.keys]
        frame = frame.sort("known_time", maintain_order=True).unique(keys, keep="last", maintain_order=True)
    if knowledge.known == "retrieved":
        frame = frame.with_columns(known_time=learned)
    else:
        released = frame if "known_time" in frame.columns else _published(frame, name, knowledge)
        frame = released.with_columns(pl.min_horizontal(pl.col("known_time").fill_null(learned), learned))
    checked = check_rows(frame, table)
    return Checked(checked.good.with_columns(retrieved=learned), checked.refused)


def _published(frame: "pl.DataFrame", name: str, knowledge: Knowledge) -> "pl.DataFrame":
    """The rows with the time at which each could first be had, if the exchange and the vendor did as they say."""
    import polars as pl

    event, day = pl.col("event_time"), pl.col("event_time").dt.date()
    length = LENGTHS.get(name.removeprefix("bars_")) if name.startswith("bars_") else None
    if length is None:
        return frame.with_columns(known_time=event + (DAY if name == "currencies" else timedelta(0)))
    first, last = frame.select(first=day.min(), last=day.max()).row(0)
    if length != DAY or not knowledge.exchange or first is None:
        return frame.with_columns(known_time=event + length + knowledge.delay)
    closes = sessions(knowledge.exchange, first, last).select(pl.col("session"), pl.col("close").alias("known_time"))
    both = frame.with_columns(session=day).join(closes, on="session", how="left", maintain_order="left").drop("session")
    return both.with_columns(pl.col("known_time").fill_null(event + DAY) + knowledge.delay)


def compared(
    good: "pl.DataFrame", held: "pl.DataFrame | None", table: Table, *, releases: bool = False
) -> "pl.DataFrame":
    """Tell new rows and corrections from what is held.

    A value that differs is known when it was retrieved, unless its vendor says that it was released later than the held one:
    a date that we assume may be later only because another plan assumed less. An answer that
    is older than what is held corrects nothing, nor does an old vintage that the vendor has rewritten: only the newest
    vintage says what is so.

    Args:
        good: rows of `dated`; several of one key are vintages.
        held: the latest version of each row held; None = nothing is held.
        table: of both.
        releases: whether each `known_time` is the vendor's own word: then also one that says the same as the held one is of
            use, because an older vintage may still come between them.

    Returns:
        `good` without `retrieved`, with the columns `state` ("new", "correction" or "same") and `use`: whether it may be of
        use to the history.
    """
    import polars as pl

    keys = ["event_time", *table.keys]
    good = good.unique([*keys, "known_time"], keep="last", maintain_order=True)
    if held is None:
        return good.drop("retrieved").with_columns(state=pl.lit("new"), use=pl.lit(True))
    values = [column.name for column in table.columns if column.name not in keys and column.name in held.columns]
    latest = held.select(*keys, pl.col("known_time", *values).name.prefix("held "))
    both = good.join(latest, on=keys, how="left", maintain_order="left")
    fresh, later = pl.col("held known_time").is_null(), pl.col("known_time") > pl.col("held known_time")
    other = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"held {name}")) for name in values)
    newest = pl.col("known_time") == pl.col("known_time").max().over(keys)
    corrects = ~fresh & other & newest & (pl.col("retrieved") > pl.col("held known_time"))
    state = pl.when(fresh).then(pl.lit("new")).when(other & (corrects | later)).then(pl.lit("correction"))
    assumed = ~later if releases else pl.lit(True)
    known = pl.when(corrects & assumed).then("retrieved").otherwise("known_time")
    return both.with_columns(
        state=state.otherwise(pl.lit("same")), use=fresh | corrects | (later & (other | releases)), known_time=known
    ).select(*good.drop("retrieved").columns, "state", "use")
