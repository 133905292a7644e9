"""Laws that hold for every vendor, on the real client libraries against a loopback server; no live call."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from fiduciary.core.errors import ConfigError
from fiduciary.data.history import History
from fiduciary.data.panel import Panel
from fiduciary.data.pull import Plan, pull
from fiduciary.data.reference import adjust, adjustment
from fiduciary.data.sources import Patience, RefusalError, Source, TransientError
from fiduciary.data.sources.akshare import Akshare
from fiduciary.data.sources.alpaca import Alpaca
from fiduciary.data.sources.ccxt import Ccxt
from fiduciary.data.sources.clients import LENGTHS, answer, end_of_day, over, taken
from fiduciary.data.sources.tushare import Tushare
from fiduciary.data.sources.yahoo import Yahoo
from fiduciary.data.tables import check_rows
from loopback import BUSY, DROPPED, PAGE, Answer
from vendor_wire import ALPACA, COINBASE, EASTMONEY, TUSHARE, YAHOO

pytest_plugins = ("vendor_wire",)

TOKEN = "do-not-tell-5f2c"
START, STOP = date(2024, 6, 3), date(2024, 6, 12)
LONG_AGO = date(2010, 1, 1)
SOON = Patience(attempts=3, first=0.001, longest=0.01)


class Vendor(NamedTuple):
    """A source, a symbol of it, and the path that serves its daily bars."""

    source: Source
    symbol: str
    path: str
    library: str


VENDORS = {
    "yahoo": Vendor(Yahoo(), "ACME", YAHOO, "yfinance"),
    "tushare": Vendor(Tushare(token=TOKEN), "600999.SH", f"{TUSHARE}/daily", "tushare"),
    "akshare": Vendor(Akshare(), "600999", EASTMONEY, "akshare"),
    "alpaca": Vendor(Alpaca(key=TOKEN, secret_key=TOKEN), "ACME", f"{ALPACA}/v2/stocks/bars", "alpaca"),
    "ccxt": Vendor(Ccxt("coinbaseexchange"), "BTC/USD", f"{COINBASE}/products/BTC-USD/candles", "ccxt"),
}
SERVED = {
    "yahoo": ("bars_1d", "bars_1h"), "tushare": ("bars_1d", "bars_1m"), "akshare": ("bars_1d", "bars_5m"),
    "alpaca": ("bars_1d", "bars_1h"), "ccxt": ("bars_1d",),
}  # fmt: skip
"""Lengths of bars with a recorded answer."""
EVERY = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)


@pytest.fixture(scope="module", autouse=True)
def _no_answer_is_left():
    """Answers that were given up end before another module begins."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("answer of"):
            thread.join()


def asked_for(vendor: Vendor, table: str) -> tuple[str, ...]:
    names = {
        "currencies": {"yahoo": "EURUSD", "tushare": "USDCNH.FXCM", "akshare": "USDCNH"},
        "calendar": {"tushare": "SSE", "alpaca": "XNYS"}, "membership": {"tushare": "000300.SH"}, "news": {"tushare": "sina"},
    }  # fmt: skip
    return () if table == "instruments" else (names.get(table, {}).get(vendor.source.name, vendor.symbol),)


def rows(source: Source, table: str, *names: str, start: date = START, stop: date = STOP) -> pl.DataFrame:
    frames = []
    for piece in source.pieces(table, names, start=start, stop=stop, patience=SOON):
        assert piece.problem is None, piece.problem
        assert piece.frame is not None
        frames.append(piece.frame)
    return pl.concat(frames)


@EVERY
def test_every_table_that_is_offered_passes_its_door(vendor, online):
    tables = [offer.table.name for offer in vendor.source.offers]
    for table in (name for name in tables if not name.startswith("bars_") or name in SERVED[vendor.source.name]):
        start = START if table.startswith("bars_") else LONG_AGO
        frame = rows(vendor.source, table, *asked_for(vendor, table), start=start, stop=date(2024, 12, 31))
        checked = check_rows(frame, vendor.source.offer(table).table)
        assert checked.good.height == frame.height > 0, (table, checked.refused)


@EVERY
def test_days_are_labelled_by_their_session_at_midnight_utc(vendor, online):
    frame = rows(vendor.source, "bars_1d", vendor.symbol)
    assert (frame["event_time"] == frame["event_time"].dt.truncate("1d")).all()
    assert frame["event_time"].dt.date().min() == START


@pytest.mark.parametrize(
    ("name", "table"), [("tushare", "bars_1d"), ("tushare", "bars_1m"), ("akshare", "bars_1d"), ("akshare", "bars_5m")]
)
def test_units_agree_because_money_over_shares_is_a_price_of_the_bar(name, table, online):
    frame = rows(VENDORS[name].source, table, VENDORS[name].symbol)
    mean = frame["amount"] / frame["volume"]
    assert ((frame["low"] <= mean) & (mean <= frame["high"])).all()


FAULTS = {
    "dropped": DROPPED, "page": PAGE, "cut": Answer(b'{"code": 0, "data": {"fiel', cut=20), "empty": Answer(b""),
    "unavailable": BUSY, "too many": Answer(b'{"message": "slow down"}', status=429), "other": Answer(b'{"a": 1}'),
}  # fmt: skip


@EVERY
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_wrong_answer_is_no_answer_and_the_next_one_is_taken(vendor, fault, online, monkeypatch):
    monkeypatch.setattr("alpaca.common.rest.DEFAULT_RETRY_WAIT_SECONDS", 0)
    online.say(vendor.path, fault)
    (piece,) = vendor.source.pieces("bars_1d", [vendor.symbol], start=START, stop=STOP, patience=Patience(attempts=1))
    assert piece.frame is None
    assert isinstance(piece.problem, TransientError)
    assert TOKEN not in str(piece.problem)
    del online.said[vendor.path]
    assert rows(vendor.source, "bars_1d", vendor.symbol).height >= 5


@EVERY
def test_a_late_answer_is_given_up(vendor, online):
    quick = replace(vendor.source, seconds=0.05)
    online.say(vendor.path, Answer(late=1.5))
    before = time.monotonic()
    (piece,) = quick.pieces("bars_1d", [vendor.symbol], start=START, stop=STOP, patience=Patience(attempts=1))
    assert isinstance(piece.problem, TransientError)
    assert time.monotonic() - before < 1.4


@EVERY
def test_without_its_library_a_source_names_the_extra(vendor, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == vendor.library]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, vendor.library, None)
    fresh = replace(vendor.source)
    with pytest.raises(ConfigError, match=r'pip install "fiduciary\[market\]"'):
        list(fresh.pieces("bars_1d", [vendor.symbol], start=START))


@pytest.mark.parametrize(
    ("source", "variable"),
    [(Tushare(), "TUSHARE_TOKEN"), (Alpaca(), "APCA_API_KEY_ID"), (Alpaca(key="k"), "APCA_API_SECRET_KEY")],
)
def test_without_a_token_the_error_names_the_variable(source, variable, monkeypatch):
    for name in ("TUSHARE_TOKEN", "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=variable):
        list(source.pieces("bars_1d", ["A"], start=START))


@pytest.mark.parametrize("name", ["tushare", "alpaca"])
def test_a_token_goes_to_the_vendor_and_nowhere_else(name, online):
    vendor = VENDORS[name]
    rows(vendor.source, "bars_1d", vendor.symbol)
    (request,) = vendor.source.requests("bars_1d", [vendor.symbol], start=START)
    assert TOKEN not in repr(vendor.source) + repr(request) + vendor.source.place
    assert all(TOKEN not in asked.path + str(asked.query) for asked in online.seen)
    assert any(TOKEN in asked.body.decode() + str(asked.headers) for asked in online.seen)


# --- a corporate action adjusts bars to the vendor's own adjusted close ----------------------------------------------


def panel(frame: pl.DataFrame, currency: str) -> Panel:
    frame = frame.sort("event_time")
    fields = ("open", "high", "low", "close", "volume")
    dates = frame["event_time"].dt.date().to_numpy().astype("datetime64[D]")
    values = frame.select(fields).to_numpy()[:, None, :]
    return Panel(
        dates,
        (frame["symbol"][0],),
        fields,
        np.ascontiguousarray(values),
        np.ones((len(dates), 1), bool),
        currency=currency,
    )


def actions(frame: pl.DataFrame) -> pl.DataFrame:
    return frame if "currency" in frame.columns else frame.with_columns(currency=pl.lit(None, pl.String))


@pytest.mark.parametrize("name", ["yahoo", "alpaca"])
def test_bars_and_actions_of_either_vendor_give_yahoos_adjusted_close(name, online, yahoo_chart):
    vendor = VENDORS[name]
    bars = panel(rows(vendor.source, "bars_1d", vendor.symbol), "USD")
    done = actions(rows(vendor.source, "corporate_actions", vendor.symbol, start=LONG_AGO))
    adjusted = adjust(bars, done, policy="total return")
    np.testing.assert_allclose(
        adjusted["close"][:, 0], yahoo_chart["indicators"]["adjclose"][0]["adjclose"], rtol=1e-12
    )
    split = adjust(bars, done, policy="splits")
    quote = yahoo_chart["indicators"]["quote"][0]
    for field in ("open", "high", "low", "close", "volume"):
        np.testing.assert_allclose(split[field][:, 0], quote[field], rtol=1e-12)


@pytest.mark.parametrize("name", ["tushare", "akshare"])
def test_bars_and_actions_of_either_vendor_give_tushares_adjustment_factor(name, online, tushare_rows):
    vendor = VENDORS[name]
    bars = panel(rows(vendor.source, "bars_1d", vendor.symbol), "CNY")
    factor = adjustment(
        bars, actions(rows(vendor.source, "corporate_actions", vendor.symbol)), policy="total return", anchor="first"
    )
    theirs = [row["adj_factor"] for row in sorted(tushare_rows("adj_factor"), key=lambda row: row["trade_date"])]
    np.testing.assert_allclose(factor[:, 0], theirs, rtol=1e-12)


def test_vendors_of_one_share_agree_row_by_row_in_one_table(online, tmp_path):
    history = History(str(tmp_path))
    outcomes = [
        pull(Plan(VENDORS[name].source, "bars_1d", ("ACME",), START, STOP), history).outcomes
        for name in ("alpaca", "yahoo")
    ]
    assert [(one.new, one.same, one.corrections) for (one,) in outcomes] == [(8, 0, 0), (0, 8, 0)]


# --- what the adapters share -----------------------------------------------------------------------------------------


def raises(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def test_an_answer_is_what_the_library_returns_or_one_kind_of_trouble():
    assert answer("v", lambda: 7, seconds=5) == 7
    with pytest.raises(TransientError, match=r"KeyError \('chart'\)"):
        answer("v", raises(KeyError("chart")), seconds=5)
    with pytest.raises(TransientError, match=r"nothing within 0\.01 s"):
        answer("v", lambda: threading.Event().wait(0.5), seconds=0.01)
    with pytest.raises(ConfigError, match="rule"):
        answer("v", raises(ConfigError("rule", "fact")), seconds=5)
    with pytest.raises(RefusalError, match="no such"):
        answer("v", raises(ValueError()), seconds=5, judge=lambda trouble: RefusalError("no such", "x"))


def test_a_secret_in_a_librarys_words_is_blotted_out():
    with pytest.raises(TransientError) as caught:
        answer("v", raises(OSError(f"GET http://v/?api_key={TOKEN}&x=1")), seconds=5)
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_pandas_frame_keeps_its_kinds_and_its_gaps():
    pandas = pytest.importorskip("pandas")
    frame = taken(
        pandas.DataFrame({"f": [1.5, float("nan")], "t": ["x", None], "d": [date(2024, 1, 1), pandas.NaT], "i": [1, 2]})
    )
    assert frame.to_dict(as_series=False) == {
        "f": [1.5, None],
        "t": ["x", None],
        "d": [date(2024, 1, 1), None],
        "i": [1, 2],
    }
    assert frame.schema["i"] == pl.Int64
    assert taken(pandas.DataFrame()).shape == (0, 0)


def test_a_day_ends_at_its_zones_midnight_also_when_clocks_change():
    days = pl.DataFrame({"day": [date(2024, 3, 9), date(2024, 3, 10), date(2024, 11, 3)]})
    ends = days.select(end_of_day(pl.col("day"), "America/New_York"))["day"].to_list()
    expected = [(2024, 3, 10, 5), (2024, 3, 11, 4), (2024, 11, 4, 5)]
    assert ends == [datetime(*moment, tzinfo=UTC) for moment in expected]


@pytest.mark.parametrize("every", LENGTHS)
def test_a_bar_counts_from_its_end_on(every):
    now = datetime.now(UTC).replace(tzinfo=None)
    starts = [now - 2 * LENGTHS[every], now - 1.01 * LENGTHS[every], now - 0.9 * LENGTHS[every], now]
    assert over(pl.DataFrame({"t": starts}), "t", every=every, zone="UTC")["t"].to_list() == starts[:2]
