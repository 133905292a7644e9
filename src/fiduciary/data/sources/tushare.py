"""Tushare Pro, through tushare: Chinese shares, with the days on which things were announced.

The client takes any HTTP error for an empty frame and raises a bare Exception with what the server says; both are told apart
here. It also sends the token over plain HTTP, which its users should know.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fiduciary.core.errors import DataError
from fiduciary.core.extras import need
from fiduciary.data.sources.cache import Licence, Request
from fiduciary.data.sources.clients import LENGTHS, answer, bar_offers, end_of_day, length, taken
from fiduciary.data.sources.fetch import RefusalError, TransientError
from fiduciary.data.sources.source import CALENDAR, Offer, Source, secret
from fiduciary.data.tables import CORPORATE_ACTIONS, CURRENCIES, FUNDAMENTALS, INSTRUMENTS, MEMBERSHIP, NEWS

if TYPE_CHECKING:
    import polars as pl

ZONE = "Asia/Shanghai"
BARS = {
    "event_time": "trade_date", "symbol": "ts_code", "open": "open", "high": "high", "low": "low", "close": "close",
    "volume": "vol", "amount": "amount",
}  # fmt: skip
ACTIONS = {"event_time": "ex_date", "symbol": "ts_code", "kind": "kind", "value": "value", "known_time": "known"}
ITEMS = {
    "event_time": "end_date",
    "symbol": "ts_code",
    "item": "item",
    "value": "value",
    "unit": "unit",
    "known_time": "known",
}
STORIES = {"event_time": "datetime", "id": "id", "headline": "title", "body": "content", "author": "src"}
DAYS = {"event_time": "cal_date", "exchange": "exchange", "open": "open"}
SHARES = {
    "event_time": "list_date", "symbol": "ts_code", "name": "name", "exchange": "exchange", "currency": "curr_type",
    "industry": "industry", "listed": "list_date", "delisted": "delist_date",
}  # fmt: skip
MEMBERS = {
    "event_time": "trade_date",
    "universe": "index_code",
    "symbol": "con_code",
    "member": "member",
    "known_time": "known",
}
RATES = {"event_time": "trade_date", "base": "base", "quote": "quote", "rate": "mid"}

PAGE = {
    "daily": 5000, "stk_mins": 8000, "dividend": 2000, "income": 500, "balancesheet": 500, "cashflow": 500, "news": 1000,
    "trade_cal": 2000, "stock_basic": 5000, "index_weight": 5000, "fx_daily": 1000,
}  # fmt: skip
"""Rows per answer, not more than an interface gives at once (tushare.pro/document/2)."""
UNITS = {
    "income": "CNY since the start of the year", "cashflow": "CNY since the start of the year",
    "balancesheet": "CNY at the end of the period",
}  # fmt: skip
NAMES = {
    "total_assets": "total_assets", "total_hldr_eqy_exc_min_int": "book_equity", "total_cur_assets": "current_assets",
    "total_cur_liab": "current_liabilities", "lt_borr": "long_term_debt", "total_share": "shares",
}  # fmt: skip
"""Items whose meaning the factor library shares; the others are called statement_item."""
NO_ITEMS = {
    "ts_code",
    "ann_date",
    "f_ann_date",
    "end_date",
    "report_type",
    "comp_type",
    "end_type",
    "update_flag",
    "known",
}
SNAPSHOT = timedelta(days=45)
"""The members of an index come once a month: the snapshot before a day lies no farther back."""
BUSY = ("每分钟", "每小时", "每天")
"""A minute, hour or day, in what the server says to too many requests."""


@dataclass(frozen=True)
class Tushare(Source):
    """Chinese shares by Tushare's codes ("600000.SH"), and its indices, exchanges, news channels and pairs.

    Attributes:
        token: of the account; default: $TUSHARE_TOKEN.
        seconds: of silence.
    """

    name: ClassVar[str] = "tushare"
    rate: ClassVar[float] = 3.0
    licence: ClassVar[Licence] = Licence(
        "Tushare's terms (tushare.pro/document/1): for the account's own use, by its points"
    )
    offers: ClassVar[tuple[Offer, ...]] = (
        *bar_offers(("1d",), BARS, scale={"volume": 100.0, "amount": 1000.0}),
        *bar_offers(("1h", "30m", "15m", "5m", "1m"), {**BARS, "event_time": "start"}, zone=ZONE),
        Offer(CORPORATE_ACTIONS, ACTIONS, empty=True),
        Offer(FUNDAMENTALS, ITEMS),
        Offer(NEWS, STORIES, asked="author", empty=True, zone=ZONE),
        Offer(CALENDAR, DAYS, asked="exchange"),
        Offer(INSTRUMENTS, SHARES, whole=True),
        Offer(MEMBERSHIP, MEMBERS, asked="universe", empty=True),
        Offer(CURRENCIES, RATES, asked=""),
    )

    token: str = field(default="", repr=False)
    seconds: float = 30.0

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """One question per name; instruments are described as they are now, whatever the days."""
        days = {} if table == INSTRUMENTS.name else {"start": start, "stop": stop}
        return super().requests(table, names, **days)

    def ask(self, request: Request) -> "pl.DataFrame":
        """Put one question to Tushare, page by page; see `Source.ask`."""
        token = secret(self.token, "TUSHARE_TOKEN", self.name)
        api = need("tushare", extra="market", what="the source tushare").pro_api(token, timeout=self.seconds)
        read = _READERS.get(request.table, _minutes)
        return answer(self.name, partial(read, api, request), seconds=20 * self.seconds, judge=partial(_judge, token))


def _judge(token: str, trouble: BaseException) -> DataError | None:
    if type(trouble) is not Exception:
        return None
    says = str(trouble).replace(token, "***")[:300]
    if not any(word in says for word in BUSY):
        cause = "a wrong token, no right to these data, or a parameter that it does not take"
        return RefusalError("tushare must answer", says, cause=cause)
    busy = TransientError("tushare must answer", says, cause="too many requests")
    busy.after = 60.0
    return busy


def _query(api: Any, interface: str, **parameters: Any) -> "pl.DataFrame":
    """All rows of one interface, as it sends them.

    Raises:
        TransientError: an HTTP error, or the same page again.
    """
    import polars as pl

    pages: list[pl.DataFrame] = []
    while not pages or pages[-1].height == PAGE[interface]:
        offset = len(pages) * PAGE[interface]
        frame = api.query(interface, limit=PAGE[interface], offset=offset, **parameters)
        # An answer without rows still has columns.
        if not len(frame.columns):
            raise TransientError(
                f"tushare must answer {interface}", "an HTTP error", cause="the server is busy or at fault"
            )
        pages.append(taken(frame))
        if len(pages) > 1 and pages[-1].equals(pages[-2]):
            raise TransientError(f"pages of {interface} from tushare must differ", "one page twice")
    return pl.concat(pages, how="vertical_relaxed")


def _between(request: Request, *, early: timedelta = timedelta(0), form: str = "%Y%m%d") -> dict[str, str]:
    """The days asked for, as Tushare wants them, beginning `early`."""
    bounds = {"start_date": request.start and request.start - early, "end_date": request.stop}
    return {name: day.strftime(form) for name, day in bounds.items() if day}


def _times(request: Request) -> dict[str, str]:
    """The days asked for, from midnight to midnight."""
    hours = {"start_date": "00:00:00", "end_date": "23:59:59"}
    return {name: f"{day} {hours[name]}" for name, day in _between(request, form="%Y-%m-%d").items()}


def _bars(api: Any, request: Request) -> "pl.DataFrame":
    return _query(api, "daily", ts_code=request.symbols[0], **_between(request))


def _minutes(api: Any, request: Request) -> "pl.DataFrame":
    import polars as pl

    span = LENGTHS[length(request)]
    frequency = f"{span // timedelta(minutes=1)}min"
    frame = _query(api, "stk_mins", ts_code=request.symbols[0], freq=frequency, **_times(request))
    # Tushare labels a bar by its end.
    return frame.with_columns(start=pl.col("trade_time").cast(pl.String).str.to_datetime() - span)


def _actions(api: Any, request: Request) -> "pl.DataFrame":
    """Splits and dividends that were carried out; Tushare states cash before tax, per old share."""
    import polars as pl

    frame = _query(api, "dividend", ts_code=request.symbols[0]).filter(pl.col("div_proc") == "实施")
    new = 1.0 + pl.col("stk_div").cast(pl.Float64).fill_null(0.0)
    known = end_of_day(pl.coalesce(_day("imp_ann_date"), _day("ex_date")), ZONE)
    frame = frame.with_columns(split=new, dividend=pl.col("cash_div_tax").cast(pl.Float64) / new, known=known)
    return pl.concat(
        frame.filter(there).select("ts_code", "ex_date", "known", kind=pl.lit(kind), value=kind)
        for kind, there in (("split", pl.col("split") != 1.0), ("dividend", pl.col("dividend") > 0.0))
    )


def _items(api: Any, request: Request) -> "pl.DataFrame":
    """Consolidated statements; an item is known once the day of its announcement is over."""
    import polars as pl

    return pl.concat(_statement(api, name, request) for name in UNITS)


def _statement(api: Any, name: str, request: Request) -> "pl.DataFrame":
    import polars as pl

    frame = _query(api, name, ts_code=request.symbols[0])
    known = end_of_day(pl.coalesce(_day("f_ann_date"), _day("ann_date")), ZONE)
    # Of two versions under one announcement only the first is known to be of that day; the amended one is left out.
    frame = frame.with_columns(known=known).sort("update_flag", maintain_order=True)
    frame = frame.unique(["end_date", "known"], keep="first", maintain_order=True)
    items = pl.selectors.exclude(NO_ITEMS)
    long = frame.with_columns(items.cast(pl.Float64, strict=False)).unpivot(
        items, index=["ts_code", "end_date", "known"], variable_name="item"
    )
    return long.drop_nulls("value").with_columns(
        item=pl.col("item").replace_strict(NAMES, default=f"{name}_" + pl.col("item")), unit=pl.lit(UNITS[name])
    )


def _stories(api: Any, request: Request) -> "pl.DataFrame":
    """News of one channel, such as "sina"; without an id of theirs, it is the hash of time and text."""
    import hashlib

    import polars as pl

    (channel,) = request.symbols
    frame = _query(api, "news", src=channel, **_times(request))
    texts = zip(frame["datetime"], frame["content"], strict=True)
    ids = [hashlib.sha256(f"{channel} {time} {text}".encode()).hexdigest()[:32] for time, text in texts]
    return frame.with_columns(
        pl.coalesce("title", "content").alias("title"), pl.Series("id", ids, pl.String), src=pl.lit(channel)
    )


def _calendar(api: Any, request: Request) -> "pl.DataFrame":
    import polars as pl

    frame = _query(api, "trade_cal", exchange=request.symbols[0], **_between(request))
    return frame.with_columns(open=pl.col("is_open").cast(pl.Int64) == 1)


def _shares(api: Any, request: Request) -> "pl.DataFrame":
    """Shares listed, delisted and suspended; each as it is described now, from its listing on."""
    import polars as pl

    one = {"ts_code": request.symbols[0]} if request.symbols else {}
    fields = ",".join(dict.fromkeys(SHARES.values()))
    parts = [_query(api, "stock_basic", list_status=status, fields=fields, **one) for status in "LDP"]
    return pl.concat(parts, how="vertical_relaxed")


def _members(api: Any, request: Request) -> "pl.DataFrame":
    """Who is in an index at each of its monthly snapshots, and who was at the one before and no longer is."""
    import polars as pl

    (index,) = request.symbols
    frame = _query(api, "index_weight", index_code=index, **_between(request, early=SNAPSHOT))
    rows: list[tuple[str, str, str, bool]] = []
    before: set[str] = set()
    for (day,), snapshot in sorted(frame.partition_by("trade_date", as_dict=True).items()):
        now = set(snapshot["con_code"])
        rows += [(str(day), index, code, code in now) for code in sorted(before | now)]
        before = now
    columns = {"trade_date": pl.String, "index_code": pl.String, "con_code": pl.String, "member": pl.Boolean}
    return pl.DataFrame(rows, columns, orient="row").with_columns(known=end_of_day(_day("trade_date"), ZONE))


def _rates(api: Any, request: Request) -> "pl.DataFrame":
    """The middle of bid and ask at the close of a pair such as "USDCNH.FXCM"."""
    import polars as pl

    (pair,) = request.symbols
    mid = (pl.col("bid_close") + pl.col("ask_close")) / 2
    frame = _query(api, "fx_daily", ts_code=pair, **_between(request))
    return frame.with_columns(mid=mid, base=pl.lit(pair[:3]), quote=pl.lit(pair[3:6]))


def _day(column: str) -> "pl.Expr":
    import polars as pl

    return pl.col(column).cast(pl.String).str.to_date("%Y%m%d", strict=False)


_READERS: "Mapping[str, Callable[[Any, Request], pl.DataFrame]]" = {
    "bars_1d": _bars, "corporate_actions": _actions, "fundamentals": _items, "news": _stories, "calendar": _calendar,
    "instruments": _shares, "membership": _members, "currencies": _rates,
}  # fmt: skip
