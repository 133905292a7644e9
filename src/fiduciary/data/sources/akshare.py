"""AKShare: Chinese shares from the public pages of Eastmoney, through akshare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fiduciary.core.extras import need
from fiduciary.data.sources.cache import Licence, Request
from fiduciary.data.sources.clients import LENGTHS, answer, bar_offers, end_of_day, length, over, taken
from fiduciary.data.sources.source import Offer, Source
from fiduciary.data.tables import CORPORATE_ACTIONS, CURRENCIES, FUNDAMENTALS, NEWS

if TYPE_CHECKING:
    import polars as pl

ZONE = "Asia/Shanghai"
BARS = {
    "event_time": "日期", "symbol": "symbol", "open": "开盘", "high": "最高", "low": "最低", "close": "收盘",
    "volume": "成交量", "amount": "成交额",
}  # fmt: skip
ACTIONS = {"event_time": "除权除息日", "symbol": "symbol", "kind": "kind", "value": "value", "known_time": "known"}
ITEMS = {
    "event_time": "REPORT_DATE", "symbol": "SECURITY_CODE", "item": "item", "value": "value", "unit": "unit",
    "known_time": "known",
}  # fmt: skip
STORIES = {
    "event_time": "发布时间", "id": "id", "symbol": "symbol", "headline": "新闻标题", "body": "新闻内容", "url": "新闻链接",
    "author": "文章来源",
}  # fmt: skip
RATES = {"event_time": "日期", "base": "base", "quote": "quote", "rate": "最新价"}
LOTS = {"volume": 100.0}

STATEMENTS = {
    "income": ("stock_profit_sheet_by_report_em", "since the start of the year"),
    "balance": ("stock_balance_sheet_by_report_em", "at the end of the period"),
}
NAMES = {
    "TOTAL_ASSETS": "total_assets", "TOTAL_PARENT_EQUITY": "book_equity", "TOTAL_CURRENT_ASSETS": "current_assets",
    "TOTAL_CURRENT_LIAB": "current_liabilities", "LONG_LOAN": "long_term_debt",
}  # fmt: skip
"""Items whose meaning the factor library shares; the others are called statement_ITEM."""
MARKETS = {"6": "SH", "9": "SH", "0": "SZ", "2": "SZ", "3": "SZ"}
"""First digit of a share -> where it is listed; all others are Beijing's."""


@dataclass(frozen=True)
class Akshare(Source):
    """Chinese shares by their six digits ("600000"), and pairs such as "USDCNH".

    Attributes:
        seconds: how long one answer may take.
    """

    name: ClassVar[str] = "akshare"
    rate: ClassVar[float] = 1.0
    licence: ClassVar[Licence] = Licence(
        "public pages of Eastmoney, by AKShare's terms (akshare.akfamily.xyz): for research"
    )
    offers: ClassVar[tuple[Offer, ...]] = (
        *bar_offers(("1d",), BARS, scale=LOTS),
        *bar_offers(("1h", "30m", "15m", "5m", "1m"), {**BARS, "event_time": "start"}, scale=LOTS, zone=ZONE),
        Offer(CORPORATE_ACTIONS, ACTIONS, empty=True),
        Offer(FUNDAMENTALS, ITEMS),
        Offer(NEWS, STORIES, empty=True, zone=ZONE),
        Offer(CURRENCIES, RATES, asked=""),
    )

    seconds: float = 120.0

    def ask(self, request: Request) -> "pl.DataFrame":
        """Put one question to the pages; see `Source.ask`."""
        import polars as pl

        read = partial(_READERS.get(request.table, _minutes), need("akshare", extra="market", what="AKShare"), request)
        frame: pl.DataFrame = answer(self.name, read, seconds=self.seconds)
        return frame.with_columns(symbol=pl.lit(request.symbols[0]))


def _bars(ak: Any, request: Request) -> "pl.DataFrame":
    bounds = {"start_date": request.start, "end_date": request.stop}
    days = {name: f"{day:%Y%m%d}" for name, day in bounds.items() if day}
    frame = taken(ak.stock_zh_a_hist(symbol=request.symbols[0], period="daily", adjust="", **days))
    return over(frame, "日期", every="1d", zone=ZONE) if frame.width else frame


def _minutes(ak: Any, request: Request) -> "pl.DataFrame":
    """The latest bars only: of minutes, five days."""
    import polars as pl

    every = length(request)
    minutes = str(LENGTHS[every] // timedelta(minutes=1))
    frame = taken(ak.stock_zh_a_hist_min_em(symbol=request.symbols[0], period=minutes, adjust=""))
    # Eastmoney labels a bar by its end.
    frame = frame.with_columns(start=pl.col("时间").str.to_datetime() - LENGTHS[every])
    return over(frame, "start", every=every, zone=ZONE)


def _actions(ak: Any, request: Request) -> "pl.DataFrame":
    """Splits and dividends that were carried out; Eastmoney states both per ten old shares, cash before tax."""
    import polars as pl

    frame = taken(ak.stock_fhps_detail_em(symbol=request.symbols[0])).filter(pl.col("方案进度") == "实施分配")
    columns = ("送转股份-送转总比例", "现金分红-现金分红比例")
    shares, cash = (pl.col(name).cast(pl.Float64).fill_null(0.0) / 10.0 for name in columns)
    known = end_of_day(pl.col("最新公告日期"), ZONE)
    frame = frame.with_columns(split=1.0 + shares, dividend=cash / (1.0 + shares), known=known)
    return pl.concat(
        frame.filter(there).select("除权除息日", "known", kind=pl.lit(kind), value=kind)
        for kind, there in (("split", pl.col("split") != 1.0), ("dividend", pl.col("dividend") > 0.0))
    )


def _items(ak: Any, request: Request) -> "pl.DataFrame":
    """Statements; an item is known once the day is over on which Eastmoney last changed it."""
    import polars as pl

    return pl.concat(_statement(ak, request.symbols[0], name) for name in STATEMENTS)


def _statement(ak: Any, symbol: str, name: str) -> "pl.DataFrame":
    import polars as pl

    function, period = STATEMENTS[name]
    frame = taken(getattr(ak, function)(symbol=f"{MARKETS.get(symbol[0], 'BJ')}{symbol}"))
    # Restated items take the place of the first ones, under the day of the first notice.
    stated = pl.max_horizontal(pl.col("NOTICE_DATE", "UPDATE_DATE").str.slice(0, 10).str.to_date())
    frame = frame.with_columns(known=end_of_day(stated, ZONE), unit=pl.col("CURRENCY").fill_null("CNY") + f" {period}")
    items = pl.selectors.numeric() - pl.selectors.ends_with("_YOY")
    long = frame.with_columns(items.cast(pl.Float64)).unpivot(
        items, index=["REPORT_DATE", "SECURITY_CODE", "known", "unit"], variable_name="item"
    )
    return long.drop_nulls("value").with_columns(
        item=pl.col("item").replace_strict(NAMES, default=f"{name}_" + pl.col("item"))
    )


def _stories(ak: Any, request: Request) -> "pl.DataFrame":
    """The latest news that name the share; the id is the last part of the address."""
    import polars as pl

    (symbol,) = request.symbols
    identity = pl.col("新闻链接").str.extract(r"/([^/]+)\.html$") + f":{symbol}"
    return taken(ak.stock_news_em(symbol=symbol)).with_columns(id=identity)


def _rates(ak: Any, request: Request) -> "pl.DataFrame":
    import polars as pl

    (pair,) = request.symbols
    frame = over(taken(ak.forex_hist_em(symbol=pair)), "日期", every="1d", zone=ZONE)
    return frame.with_columns(base=pl.lit(pair[:3]), quote=pl.lit(pair[3:]))


_READERS: "Mapping[str, Callable[[Any, Request], pl.DataFrame]]" = {
    "bars_1d": _bars, "corporate_actions": _actions, "fundamentals": _items, "news": _stories, "currencies": _rates,
}  # fmt: skip
