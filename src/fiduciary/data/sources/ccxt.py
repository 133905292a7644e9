"""Crypto exchanges, through ccxt: markets that never close, so a day is a day of UTC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.core.extras import need
from fiduciary.data.sources.cache import Licence, Request
from fiduciary.data.sources.clients import LENGTHS, answer, bar_offers, length, over
from fiduciary.data.sources.fetch import RefusalError, TransientError, scrubbed
from fiduciary.data.sources.source import Offer, Source
from fiduciary.data.tables import INSTRUMENTS

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("time", "open", "high", "low", "close", "volume")
BARS = {"event_time": "time", "symbol": "symbol"} | {name: name for name in COLUMNS[1:]}
MARKETS = {
    "event_time": "today", "symbol": "symbol", "name": "id", "exchange": "exchange", "currency": "quote", "kind": "type",
}  # fmt: skip
PAGES = 20
"""Pages of bars in one request: so much is asked for again after a fault."""


@dataclass(frozen=True)
class Ccxt(Source):
    """Public bars and markets of one exchange, by ccxt's symbols ("BTC/USDT"); no key is needed.

    Attributes:
        exchange: ccxt's id of it.
        page: bars per page; not more than the exchange gives at once.
        options: further settings of the ccxt exchange, without secrets.
        seconds: of silence.
    """

    name: ClassVar[str] = "ccxt"
    licence: ClassVar[Licence] = Licence("the exchange's terms: mostly free to use, not to be passed on")
    offers: ClassVar[tuple[Offer, ...]] = (
        *bar_offers(("1d", "4h", "1h", "30m", "15m", "5m", "1m"), BARS, empty=True),
        Offer(INSTRUMENTS, MARKETS, whole=True),
    )

    exchange: str = "binance"
    page: int = 300
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 30.0

    @property
    def place(self) -> str:
        """The exchange."""
        return self.exchange

    def requests(
        self, table: str, names: Sequence[str], *, start: date | None = None, stop: date | None = None
    ) -> tuple[Request, ...]:
        """Questions of `PAGES` pages of bars each.

        Raises:
            ConfigError: bars without a first day: exchanges do not say when theirs begin.
        """
        whole = super().requests(table, names)
        if table == INSTRUMENTS.name:
            return whole
        if start is None:
            raise ConfigError("bars of a crypto exchange must have a first day", "none", remedy="give `start`")
        span = max(1, PAGES * self.page * LENGTHS[table.removeprefix("bars_")] // timedelta(days=1))
        last = stop or datetime.now(UTC).date()
        firsts = [start + timedelta(days=day) for day in range(0, (last - start).days + 1, span)]
        return tuple(
            replace(request, start=first, stop=stop if first is firsts[-1] else first + timedelta(days=span - 1))
            for request in whole
            for first in firsts
        )

    def ask(self, request: Request) -> "pl.DataFrame":
        """Put one question to the exchange, page by page; see `Source.ask`."""
        read = _markets if request.table == INSTRUMENTS.name else partial(_bars, page=self.page)
        return answer(
            self.name,
            partial(read, self._client, request),
            seconds=(PAGES + 2) * self.seconds,
            judge=partial(_judge, request),
        )

    @cached_property
    def _client(self) -> Any:
        ccxt = need("ccxt", extra="market", what="the source ccxt")
        if self.exchange not in ccxt.exchanges:
            near = nearest(self.exchange, ccxt.exchanges)
            raise ConfigError(
                "an exchange must be one that ccxt knows",
                repr(self.exchange),
                remedy=f"did you mean {near!r}?" if near else "",
            )
        settings = {"timeout": self.seconds * 1000, "enableLastJsonResponse": True, **self.options}
        return getattr(ccxt, self.exchange)(settings)


def _judge(request: Request, trouble: BaseException) -> DataError | None:
    import ccxt

    if isinstance(trouble, (ccxt.BadRequest, ccxt.AuthenticationError, ccxt.NotSupported)):
        fact = scrubbed(f"{type(trouble).__name__}: {trouble}")[:300]
        return RefusalError(f"{request} must exist", fact, remedy="check the symbol and the length of the bars")
    return None


def _bars(exchange: Any, request: Request, *, page: int) -> "pl.DataFrame":
    import polars as pl

    frame = pl.DataFrame(_candles(exchange, request, page), dict.fromkeys(COLUMNS, pl.Float64), orient="row")
    frame = frame.with_columns(pl.from_epoch(pl.col("time").cast(pl.Int64), "ms"), symbol=pl.lit(request.symbols[0]))
    return over(frame, "time", every=length(request), zone="UTC")


def _candles(exchange: Any, request: Request, page: int) -> list[list[float]]:
    """Page by page to the end of the last day; an empty page is a gap, not the end."""
    assert request.start is not None
    every, candles = length(request), []
    step = LENGTHS[every] // timedelta(milliseconds=1)
    since, stop = _milliseconds(request.start), _milliseconds(request.stop or datetime.now(UTC).date()) + 86_400_000
    while since < stop:
        found = exchange.fetch_ohlcv(request.symbols[0], every, since, page)
        if exchange.last_json_response is None:
            # The library takes a page that is no data for one without bars.
            raise TransientError(f"{exchange.id} must answer in JSON", "something else", cause="a page of a proxy")
        fresh = [candle for candle in found if candle[0] >= since]
        candles += fresh
        since = int(fresh[-1][0]) + step if fresh else since + page * step
    return candles


def _milliseconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp() * 1000)


def _markets(exchange: Any, request: Request) -> "pl.DataFrame":
    """The markets, as they are described today."""
    import polars as pl

    markets = exchange.load_markets()
    about = [exchange.market(name) for name in request.symbols or markets]
    frame = pl.DataFrame([{name: market[name] for name in ("symbol", "id", "quote", "type")} for market in about])
    return frame.with_columns(exchange=pl.lit(exchange.id), today=pl.lit(datetime.now(UTC).date()))
