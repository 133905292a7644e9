"""Crypto exchanges through ccxt: pages, gaps, requests of a size, and bars that are over."""

from datetime import UTC, date, datetime, timedelta

import pytest

from fiduciary.core.errors import ConfigError
from fiduciary.data.sources import Patience, RefusalError, TransientError, ccxt
from fiduciary.data.sources.cache import Request
from fiduciary.data.sources.ccxt import Ccxt
from loopback import Answer
from vendor_wire import COINBASE, as_json

pytest_plugins = ("vendor_wire",)

START, STOP = date(2024, 6, 1), date(2024, 6, 7)
CANDLES = f"{COINBASE}/products/BTC-USD/candles"
FAST = {"rateLimit": 1}


def pieces(source, *names, start=START, stop=STOP, table="bars_1d"):
    return list(source.pieces(table, names or ("BTC/USD",), start=start, stop=stop, patience=Patience(attempts=1)))


def days(found):
    return [day for piece in found for day in piece.frame["event_time"].dt.day().to_list()]


@pytest.mark.parametrize("page", [2, 3, 300])
def test_all_pages_are_read(page, online):
    assert days(pieces(Ccxt("coinbaseexchange", page, FAST))) == [1, 2, 3, 4, 5, 6, 7]


def test_an_empty_page_is_a_gap_and_not_the_end(online):
    recorded = online.answer

    def closed(asked):
        answer = recorded(asked)
        if asked.path != CANDLES:
            return answer
        first = datetime.fromisoformat(asked.query["start"]).day
        return as_json([]) if first in (3, 4) else answer

    online.answer = closed
    assert days(pieces(Ccxt("coinbaseexchange", 2, FAST))) == [1, 2, 5, 6, 7]


def test_a_long_time_is_several_requests_without_gap_or_overlap(monkeypatch):
    monkeypatch.setattr(ccxt, "PAGES", 2)
    requests = Ccxt("coinbaseexchange", page=5).requests("bars_1d", ["BTC/USD"], start=START, stop=date(2024, 7, 15))
    covered = [
        request.start + timedelta(days=day)
        for request in requests
        for day in range((request.stop - request.start).days + 1)
    ]
    assert covered == [START + timedelta(days=day) for day in range(45)]
    assert max((request.stop - request.start).days for request in requests) == 9


def test_the_last_request_stays_open():
    today = datetime.now(UTC).date()
    requests = Ccxt().requests("bars_1d", ["BTC/USDT"], start=today)
    assert [(request.start, request.stop) for request in requests] == [(today, None)]


def test_bars_need_a_first_day():
    with pytest.raises(ConfigError, match="first day"):
        Ccxt().requests("bars_1d", ["BTC/USDT"])


def test_a_bar_that_is_still_traded_is_left_out(online):
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    stamps = [int((today - timedelta(days=ago)).timestamp()) for ago in (0, 1)]
    online.say(CANDLES, as_json([[stamp, 9, 12, 10, 11, 5] for stamp in stamps]))
    found = pieces(Ccxt("coinbaseexchange", options=FAST), start=today.date() - timedelta(days=1), stop=None)
    assert days(found) == [(today - timedelta(days=1)).day]


def test_an_exchange_that_ccxt_does_not_know_is_named():
    with pytest.raises(ConfigError, match="did you mean 'kraken'"):
        pieces(Ccxt("kraken1"))


def test_a_market_that_is_not_there_is_not_asked_for_again(online):
    (found,) = pieces(Ccxt("coinbaseexchange", options=FAST), "BTX/USD")
    assert isinstance(found.problem, RefusalError)
    assert found.attempts == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_exchange_may_be_another_time(status, online):
    online.say(CANDLES, Answer(b'{"message": "slow"}', status=status))
    (found,) = pieces(Ccxt("coinbaseexchange", options=FAST))
    assert isinstance(found.problem, TransientError)


def test_markets_are_instruments(online):
    (found,) = Ccxt("coinbaseexchange").pieces("instruments", start=START, stop=STOP)
    assert found.frame.select("symbol", "exchange", "currency", "kind").rows() == [
        ("BTC/USD", "coinbaseexchange", "USD", "spot")
    ]


def test_a_refusal_shows_no_key():
    library = pytest.importorskip("ccxt")
    request = Request("ccxt", "bars_1d", ("BTC/USDT",))
    problem = ccxt._judge(request, library.AuthenticationError("GET https://host/x?apiKey=abc123&symbol=BTC 401"))
    assert isinstance(problem, RefusalError) and "abc123" not in str(problem)
