"""Yahoo Finance, through yfinance.

Yahoo's prices, volumes and dividends are in today's shares: every split rewrites the past. A store of what was traded cannot
follow that, so they are turned back by the splits that Yahoo lists up to today. With R the product of their ratios (new
shares per old) after day t,

    price_t = R price'_t        volume_t = volume'_t / R        dividend_t = R dividend'_t

Reported items come without their release and as restated since: they are known from their retrieval on, not before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fiduciary.core.errors import DataError
from fiduciary.core.extras import need
from fiduciary.data.sources.cache import Licence, Request
from fiduciary.data.sources.clients import answer, bar_offers, length, over, taken
from fiduciary.data.sources.fetch import RefusalError, TransientError
from fiduciary.data.sources.source import Offer, Source
from fiduciary.data.tables import CORPORATE_ACTIONS, CURRENCIES, FUNDAMENTALS, NEWS

if TYPE_CHECKING:
    import polars as pl

BARS = {
    "event_time": "Date", "symbol": "symbol", "open": "Open", "high": "High", "low": "Low", "close": "Close",
    "volume": "Volume",
}  # fmt: skip
ACTIONS = {"event_time": "Date", "symbol": "symbol", "kind": "kind", "value": "value", "currency": "currency"}
ITEMS = {"event_time": "asOfDate", "symbol": "symbol", "item": "item", "value": "value"}
STORIES = {
    "event_time": "pubDate", "id": "id", "symbol": "symbol", "headline": "title", "body": "summary", "url": "url",
    "author": "provider",
}  # fmt: skip
RATES = {"event_time": "Date", "base": "base", "quote": "quote", "rate": "Close"}
STATEMENTS = {"income": "get_income_stmt", "balance": "get_balance_sheet", "cash": "get_cash_flow"}
NAMES = {
    "TotalAssets": "total_assets", "StockholdersEquity": "book_equity", "CurrentAssets": "current_assets",
    "CurrentLiabilities": "current_liabilities", "LongTermDebt": "long_term_debt", "OrdinarySharesNumber": "shares",
}  # fmt: skip
"""Items whose meaning the factor library shares; the others are called statement_Item."""


@dataclass(frozen=True)
class Yahoo(Source):
    """Bars, splits and dividends, quarterly statements, recent news, and exchange rates ("EURUSD"), by Yahoo's symbols.

    Attributes:
        seconds: how long one answer may take.
    """

    name: ClassVar[str] = "yahoo"
    rate: ClassVar[float] = 1.0
    licence: ClassVar[Licence] = Licence("Yahoo's terms of service (legal.yahoo.com): for personal use")
    offers: ClassVar[tuple[Offer, ...]] = (
        *bar_offers(("1d", "1h", "30m", "15m", "5m", "1m"), BARS),
        Offer(CORPORATE_ACTIONS, ACTIONS, empty=True),
        Offer(FUNDAMENTALS, ITEMS),
        Offer(NEWS, STORIES, empty=True),
        Offer(CURRENCIES, RATES, asked=""),
    )

    seconds: float = 60.0

    def ask(self, request: Request) -> "pl.DataFrame":
        """Put one question to Yahoo; see `Source.ask`."""
        yf = need("yfinance", extra="market", what="the source yahoo")
        return answer(self.name, partial(_ask, yf, request), seconds=self.seconds, judge=partial(_judge, yf, request))


def _ask(yf: Any, request: Request) -> "pl.DataFrame":
    (name,) = request.symbols
    # The library holds answers about past days for ever, broken ones too.
    yf.data.YfData.cache_get.cache_clear()
    ticker = yf.Ticker(f"{name}=X" if request.table == "currencies" else name)
    with _outspoken(yf):
        match request.table:
            case "bars_1d":
                return _days(ticker, request.start)
            case "currencies":
                return _with(_days(ticker, request.start), base=name[:3], quote=name[3:])
            case "corporate_actions":
                return _actions(ticker, request.start)
            case "fundamentals":
                return _with(_items(ticker), symbol=name)
            case "news":
                return _with(_stories(ticker, name), symbol=name)
        return _intraday(ticker, request)


@contextmanager
def _outspoken(yf: Any) -> Iterator[None]:
    """Let the library raise what it would otherwise log before it returns an empty frame."""
    before, yf.config.debug.hide_exceptions = yf.config.debug.hide_exceptions, False
    try:
        yield
    finally:
        yf.config.debug.hide_exceptions = before


def _judge(yf: Any, request: Request, trouble: BaseException) -> DataError | None:
    kinds = yf.exceptions
    if isinstance(trouble, kinds.YFRateLimitError):
        return TransientError("yahoo must answer", "HTTP 429", cause="too many requests")
    told = isinstance(trouble, kinds.YFPricesMissingError) and trouble.yahoo_reason
    if told or isinstance(trouble, kinds.YFTzMissingError):
        remedy = "check the symbol, the dates and the length of the bars"
        return RefusalError(f"{request} must exist", str(trouble)[:300], remedy=remedy)
    return None


def _days(ticker: Any, start: date | None) -> "pl.DataFrame":
    """Days that are over, with their splits and dividends, as traded; `later` is R of the module's equation."""
    import polars as pl

    # Up to today, whatever was asked for: the splits since then are needed.
    days = {"start": start.isoformat()} if start else {"period": "max"}
    frame = ticker.history(**days, auto_adjust=False).rename_axis("Date").reset_index()
    frame["Date"] = [time.date() for time in frame["Date"]]
    ratio = pl.col("Stock Splits").replace(0.0, 1.0)
    about = ticker.history_metadata
    whole = taken(frame).with_columns(later=ratio.cum_prod(reverse=True) / ratio, symbol=pl.lit(about["symbol"]))
    return over(_turned_back(whole), "Date", every="1d", zone=about["exchangeTimezoneName"])


def _turned_back(frame: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    money = pl.col("Open", "High", "Low", "Close", "Dividends") * pl.col("later")
    return frame.with_columns(money, pl.col("Volume") / pl.col("later"))


def _intraday(ticker: Any, request: Request) -> "pl.DataFrame":
    import polars as pl

    # A day of UTC may reach into the exchange's next day.
    stop = {"end": (request.stop + timedelta(days=2)).isoformat()} if request.stop else {}
    days = {"start": request.start.isoformat(), **stop} if request.start else {"period": "max"}
    frame = ticker.history(**days, interval=length(request), auto_adjust=False).rename_axis("Date").reset_index()
    frame["day"] = [time.date() for time in frame["Date"]]
    frame["Date"] = frame["Date"].dt.tz_convert("UTC").dt.tz_localize(None)
    symbol = pl.lit(ticker.history_metadata["symbol"])
    later = _days(ticker, request.start).select("later", day="Date")
    joined = taken(frame).join(later, on="day", how="left").with_columns(pl.col("later").fill_null(1.0), symbol=symbol)
    return over(_turned_back(joined), "Date", every=length(request), zone="UTC")


def _actions(ticker: Any, start: date | None) -> "pl.DataFrame":
    import polars as pl

    days = _days(ticker, start)
    found = [
        days.filter(pl.col(theirs) > 0.0).select("Date", "symbol", kind=pl.lit(kind), value=theirs)
        for kind, theirs in (("dividend", "Dividends"), ("split", "Stock Splits"))
    ]
    return _with(pl.concat(found), currency=ticker.history_metadata["currency"])


def _items(ticker: Any) -> "pl.DataFrame":
    """Quarters of the three statements, flows of that quarter alone."""
    import polars as pl

    rows = [
        (when.date(), NAMES.get(item, f"{statement}_{item}"), float(value))
        for statement, method in STATEMENTS.items()
        for item, line in getattr(ticker, method)(freq="quarterly").iterrows()
        for when, value in line.dropna().items()
    ]
    return pl.DataFrame(rows, ["asOfDate", "item", "value"], orient="row")


def _stories(ticker: Any, symbol: str) -> "pl.DataFrame":
    """The latest news that name the symbol; one story of several symbols is one row for each."""
    import polars as pl

    rows = [
        (f"{story['id']}:{symbol}", datetime.fromisoformat(story["pubDate"]), story["title"], story["summary"],
         (story["canonicalUrl"] or {}).get("url"), (story["provider"] or {}).get("displayName"))
        for story in (entry["content"] for entry in ticker.get_news(count=100, tab="all"))
    ]  # fmt: skip
    return pl.DataFrame(rows, ["id", "pubDate", "title", "summary", "url", "provider"], orient="row")


def _with(frame: "pl.DataFrame", **constants: str) -> "pl.DataFrame":
    import polars as pl

    return frame.with_columns(pl.lit(value).alias(name) for name, value in constants.items())
