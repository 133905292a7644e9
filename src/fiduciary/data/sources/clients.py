"""What the adapters over vendors' client libraries share: one kind of trouble, an end to waiting, their frames as ours.

A client library raises whatever its parsing meets in an answer that is none (KeyError, TypeError, a bare Exception), and some
wait for ever. `answer` makes both a `TransientError`; an adapter's `judge` tells what its library says better.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from fiduciary.core.errors import DataError, FiduciaryError
from fiduciary.data.sources.cache import Request
from fiduciary.data.sources.fetch import TransientError, scrubbed
from fiduciary.data.sources.source import Offer
from fiduciary.data.tables import bars

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
LENGTHS = {
    "1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "15m": timedelta(minutes=15), "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1), "4h": timedelta(hours=4), "1d": timedelta(days=1),
}  # fmt: skip
"""How long a bar is."""


def answer(
    vendor: str,
    call: Callable[[], T],
    *,
    seconds: float,
    judge: Callable[[BaseException], DataError | None] = lambda trouble: None,
) -> T:
    """What a client library's function returns.

    Args:
        vendor: the source's name.
        call: the function; when time is up it is left to end by itself, in a thread that no exit waits for.
        seconds: how long it may take.
        judge: what an exception of the library means; None = no answer, or a broken one.

    Raises:
        TransientError, RefusalError: it raised, or did not return in time.
        ConfigError: it raised one: the source cannot be asked.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as trouble:  # noqa: BLE001  judged below, in the thread that waits
            future.set_exception(trouble)

    threading.Thread(target=run, name=f"answer of {vendor}", daemon=True).start()
    try:
        trouble = future.exception(seconds)
    except TimeoutError:
        trouble = TimeoutError(f"nothing within {seconds:g} s")
    if trouble is None:
        return future.result()
    if isinstance(trouble, FiduciaryError):
        raise trouble
    raise judge(trouble) or TransientError(
        f"{vendor} must answer", scrubbed(f"{type(trouble).__name__} ({trouble})")[:300],
        cause="no network, or an answer that is late, cut short or no data",
    ) from None  # fmt: skip


def bar_offers(lengths: Iterable[str], columns: Mapping[str, str], **how: Any) -> tuple[Offer, ...]:
    """Offers of bars of several lengths under one mapping; `how` are further fields of `Offer`."""
    return tuple(Offer(bars(every), columns, **how) for every in lengths)


def are_daily(table: str, times: "pl.Series") -> bool:
    """Whether a table of shorter bars holds daily ones: every one of several times is midnight UTC."""
    shorter = LENGTHS.get(table.removeprefix("bars_"), LENGTHS["1d"]) < LENGTHS["1d"]
    return shorter and times.drop_nulls().n_unique() > 1 and bool((times == times.dt.truncate("1d")).all())


def length(request: Request) -> str:
    """The length of the bars that a request asks for, such as "1d"."""
    return request.table.removeprefix("bars_")


def taken(frame: Any) -> "pl.DataFrame":
    """A pandas frame without its index, as polars, without pyarrow; NaN, NaT and None are null."""
    import polars as pl

    def cells(column: Any) -> list[Any]:
        return [None if gap else cell for cell, gap in zip(column, column.isna(), strict=True)]

    return pl.DataFrame([pl.Series(str(name), cells(frame[name]), strict=False) for name in frame.columns])


def end_of_day(day: "pl.Expr", zone: str) -> "pl.Expr":
    """When a date is over in a zone, in UTC: the latest that something of that day was known."""
    import polars as pl

    midnight = day.cast(pl.Date).dt.offset_by("1d").cast(pl.Datetime("us"))
    return midnight.dt.replace_time_zone(zone).dt.convert_time_zone("UTC")


def over(frame: "pl.DataFrame", column: str, *, every: str, zone: str) -> "pl.DataFrame":
    """The bars that have ended: vendors send the one that is still being traded, too.

    Args:
        frame: bars.
        column: their starts, as dates or local datetimes without a zone.
        every: their length; a day ends at midnight.
        zone: time zone of the starts.
    """
    import polars as pl

    now = datetime.now(ZoneInfo(zone)).replace(tzinfo=None)
    return frame.filter(pl.col(column).cast(pl.Datetime("us")) <= now - LENGTHS[every])
