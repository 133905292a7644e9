"""Alpaca, through alpaca-py: US shares as traded, splits and dividends, news, assets, market days."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from fiduciary.core.errors import DataError
from fiduciary.core.extras import need
from fiduciary.data.sources.cache import Licence, Request
from fiduciary.data.sources.clients import answer, bar_offers, length, over
from fiduciary.data.sources.http import demand_ok
from fiduciary.data.sources.source import CALENDAR, Offer, Source, secret
from fiduciary.data.tables import CORPORATE_ACTIONS, INSTRUMENTS, NEWS

if TYPE_CHECKING:
    import polars as pl

ZONE = "America/New_York"
BARS = {"event_time": "t", "symbol": "symbol", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
ACTIONS = {"event_time": "ex_date", "symbol": "symbol", "kind": "kind", "value": "value"}
STORIES = {
    "event_time": "created_at", "id": "id", "symbol": "symbol", "headline": "headline", "body": "summary", "url": "url",
    "author": "author",
}  # fmt: skip
ASSETS = {"event_time": "today", "symbol": "symbol", "name": "name", "exchange": "exchange", "kind": "class"}
DAYS = {"event_time": "date", "exchange": "exchange", "open": "open"}
EARLIEST = date(2016, 1, 1)
"""Alpaca's bars begin here, its news a year before."""


def _ratio(action: Mapping[str, Any]) -> float:
    return float(action["new_rate"] / action["old_rate"])


KINDS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], float]]] = {
    "forward_splits": ("split", _ratio),
    "reverse_splits": ("split", _ratio),
    "stock_dividends": ("split", lambda action: 1.0 + action["rate"]),
    "cash_dividends": ("dividend", lambda action: float(action["rate"])),
}
"""Alpaca's kinds of actions that scale prices: our kind, and new shares per old or cash per share."""


class _Clients(NamedTuple):
    bars: Any
    actions: Any
    news: Any
    trading: Any


@dataclass(frozen=True)
class Alpaca(Source):
    """US shares by their symbols, and the market days of "XNYS".

    Attributes:
        key, secret_key: of the account; default: $APCA_API_KEY_ID and $APCA_API_SECRET_KEY.
        feed: "sip" (all US exchanges) or "iex" (one of them); "" = the best that the account has.
        url: another base URL, such as a broker's sandbox; "" = Alpaca's.
        seconds: how long one answer may take.
    """

    name: ClassVar[str] = "alpaca"
    rate: ClassVar[float] = 3.0
    licence: ClassVar[Licence] = Licence(
        "Alpaca's market data agreement (alpaca.markets/disclosures): for the account's own use"
    )
    offers: ClassVar[tuple[Offer, ...]] = (
        *bar_offers(("1d", "1h", "30m", "15m", "5m", "1m"), BARS),
        Offer(CORPORATE_ACTIONS, ACTIONS, empty=True),
        Offer(NEWS, STORIES, empty=True),
        Offer(INSTRUMENTS, ASSETS, whole=True),
        Offer(CALENDAR, DAYS, asked="exchange"),
    )

    key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    feed: str = ""
    url: str = ""
    seconds: float = 120.0

    @property
    def place(self) -> str:
        """The feed and the base URL."""
        return f"{self.feed} {self.url}".strip()

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """One question per name; instruments are described as they are now, whatever the days."""
        days = {} if table == INSTRUMENTS.name else {"start": start, "stop": stop}
        return super().requests(table, names, **days)

    def ask(self, request: Request) -> "pl.DataFrame":
        """Put one question to Alpaca; see `Source.ask`."""
        clients = self._clients(
            secret(self.key, "APCA_API_KEY_ID", self.name), secret(self.secret_key, "APCA_API_SECRET_KEY", self.name)
        )
        read = _READERS.get(request.table, partial(_bars, feed=self.feed))
        return answer(self.name, partial(read, clients, request), seconds=self.seconds, judge=_judge)

    def _clients(self, key: str, secret_key: str) -> _Clients:
        kinds = (
            _of("data.historical.stock").StockHistoricalDataClient,
            _of("data.historical.corporate_actions").CorporateActionsClient,
            _of("data.historical.news").NewsClient,
            _of("trading.client").TradingClient,
        )
        return _Clients(*(kind(key, secret_key, raw_data=True, url_override=self.url or None) for kind in kinds))


def _of(module: str) -> Any:
    """A part of the library."""
    return need(f"alpaca.{module}", extra="market", what="the source alpaca")


def _judge(trouble: BaseException) -> DataError | None:
    """What an HTTP status of Alpaca means."""
    if isinstance(trouble, _of("common.exceptions").APIError):
        reply = trouble.response
        try:
            demand_ok(reply.status_code, str(urlsplit(reply.url).hostname), reply.headers.get("Retry-After", ""))
        except DataError as meaning:
            return meaning
    return None


def _moments(request: Request) -> dict[str, datetime]:
    """The days asked for, in UTC, both included."""
    start = datetime.combine(request.start or EARLIEST, time(), UTC)
    return {"start": start} | ({"end": datetime.combine(request.stop, time.max, UTC)} if request.stop else {})


def _bars(clients: _Clients, request: Request, *, feed: str) -> "pl.DataFrame":
    import polars as pl

    every = length(request)
    frames = _of("data.timeframe")
    unit = {"m": frames.TimeFrameUnit.Minute, "h": frames.TimeFrameUnit.Hour, "d": frames.TimeFrameUnit.Day}[every[-1]]
    question = _of("data.requests").StockBarsRequest(
        symbol_or_symbols=request.symbols[0], timeframe=frames.TimeFrame(int(every[:-1]), unit), adjustment="raw",
        feed=feed or None, **_moments(request),
    )  # fmt: skip
    rows = [{"symbol": name} | bar for name, bars in clients.bars.get_stock_bars(question).items() for bar in bars]
    if not rows:
        return pl.DataFrame()
    frame = pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("t").str.to_datetime(time_zone="UTC"))
    if every == "1d":
        # A day begins at midnight in New York, which is of the same date in UTC.
        return over(frame.with_columns(pl.col("t").dt.date()), "t", every=every, zone=ZONE)
    return over(frame.with_columns(pl.col("t").dt.replace_time_zone(None)), "t", every=every, zone="UTC")


def _actions(clients: _Clients, request: Request) -> "pl.DataFrame":
    """Splits, stock and cash dividends; mergers, spin-offs and the like are not among our actions."""
    import polars as pl

    question = _of("data.requests").CorporateActionsRequest(
        symbols=list(request.symbols), types=[kind.removesuffix("s") for kind in KINDS],
        start=request.start or EARLIEST, end=request.stop or datetime.now(UTC).date(),
    )  # fmt: skip
    answered = clients.actions.get_corporate_actions(question)
    rows = [
        (action["ex_date"], action["symbol"], kind, value(action))
        for theirs, (kind, value) in KINDS.items()
        for action in answered.get(theirs, ())
    ]
    return pl.DataFrame(rows, ["ex_date", "symbol", "kind", "value"], orient="row")


def _stories(clients: _Clients, request: Request) -> "pl.DataFrame":
    """News that name the symbol; one story of several symbols is one row for each."""
    import polars as pl

    (symbol,) = request.symbols
    question = _of("data.requests").NewsRequest(symbols=symbol, **_moments(request))
    stories = clients.news.get_news(question)["news"]
    columns = ("created_at", "headline", "summary", "url", "author")
    rows = [(f"{story['id']}:{symbol}", symbol, *(story[name] for name in columns)) for story in stories]
    return pl.DataFrame(rows, ["id", "symbol", *columns], orient="row")


def _assets(clients: _Clients, request: Request) -> "pl.DataFrame":
    """The assets, as they are described today."""
    import polars as pl

    assets = [clients.trading.get_asset(name) for name in request.symbols] or clients.trading.get_all_assets()
    columns = ("symbol", "name", "exchange", "class")
    frame = pl.DataFrame([{name: asset[name] for name in columns} for asset in assets])
    return frame.with_columns(today=pl.lit(datetime.now(UTC).date()))


def _calendar(clients: _Clients, request: Request) -> "pl.DataFrame":
    """Days on which the market opens; Alpaca leaves the others out."""
    import polars as pl

    question = _of("trading.requests").GetCalendarRequest(start=request.start, end=request.stop)
    days = clients.trading.get_calendar(question)
    frame = pl.DataFrame({"date": [day["date"] for day in days]})
    return frame.with_columns(exchange=pl.lit(request.symbols[0]), open=pl.lit(True))


_READERS: "Mapping[str, Callable[[_Clients, Request], pl.DataFrame]]" = {
    "corporate_actions": _actions, "news": _stories, "instruments": _assets, "calendar": _calendar,
}  # fmt: skip
