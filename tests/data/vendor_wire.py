"""The vendors' real client libraries on a wire that ends at the loopback server, where HOST/PATH is called /HOST/PATH."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loopback import Answer, Asked, Loopback

RECORDED = Path(__file__).parent / "recorded_vendors"
YAHOO = "/query2.finance.yahoo.com/v8/finance/chart/ACME"
TUSHARE = "/api.waditu.com/dataapi"
EASTMONEY = "/push2his.eastmoney.com/api/qt/stock/kline/get"
ALPACA = "/data.alpaca.markets"
COINBASE = "/api.exchange.coinbase.com"


def recorded(name: str) -> Answer:
    return Answer((RECORDED / name).read_bytes())


def as_json(value: object) -> Answer:
    return Answer(json.dumps(value).encode())


@pytest.fixture(scope="session")
def _quiet_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where yfinance keeps time zones and cookies."""
    pytest.importorskip("yfinance").set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, _quiet_place: None) -> Iterator[Loopback]:
    """What `requests` and `curl_cffi` ask of any host goes to a loopback server that answers like the vendors."""
    curl = pytest.importorskip("curl_cffi.requests")
    requests = pytest.importorskip("requests")
    with Loopback(vendors) as server:

        def moved(url: str) -> str:
            parts = urlsplit(url)
            if parts.hostname == "127.0.0.1":
                return url
            return f"{server.url}/{parts.hostname}{parts.path}" + (f"?{parts.query}" if parts.query else "")

        send, request = requests.Session.send, curl.Session.request

        def sent(session, prepared, **how):
            prepared.url = moved(prepared.url)
            return send(session, prepared, **how)

        def asked(session, method, url, *args, **how):
            return request(session, method, moved(url), *args, **how)

        monkeypatch.setattr(requests.Session, "send", sent)
        monkeypatch.setattr(curl.Session, "request", asked)
        yield server


@pytest.fixture
def yahoo_chart() -> dict:
    """Yahoo's recorded days: timestamps, quotes, adjusted closes."""
    return json.loads((RECORDED / "yahoo_chart_1d.json").read_bytes())["chart"]["result"][0]


@pytest.fixture
def tushare_rows() -> Callable[[str], list[dict]]:
    """Tushare's recorded rows of one interface."""
    whole = json.loads((RECORDED / "tushare.json").read_bytes())

    def rows(interface: str) -> list[dict]:
        data = whole[interface]["data"]
        return [dict(zip(data["fields"], item, strict=True)) for item in data["items"]]

    return rows


def vendors(asked: Asked) -> Answer:
    """What each vendor would say, from the recorded answers."""
    path, query = asked.path, asked.query
    if path.startswith(TUSHARE):
        return _tushare(path.removeprefix(f"{TUSHARE}/"), asked)
    if path == EASTMONEY:
        return (
            recorded("eastmoney_kline_" + {"101": "1d", "5": "5m"}[query["klt"]] + ".json")
            if "beg" in query
            else recorded("eastmoney_kline_fx.json")
        )
    if path.startswith("/query2.finance.yahoo.com/v8/finance/chart/"):
        return recorded(f"yahoo_chart_{'fx' if 'EURUSD' in path else query['interval']}.json")
    if path == f"{ALPACA}/v2/stocks/bars":
        pages = json.loads((RECORDED / f"alpaca_bars{'' if query['timeframe'] == '1Day' else '_1h'}.json").read_bytes())
        return as_json(pages[1 if "page_token" in query else 0])
    if path == f"{COINBASE}/products/BTC-USD/candles":
        return _candles(query)
    return recorded(FIXED[path]) if path in FIXED else Answer(status=404)


FIXED = {
    "/query1.finance.yahoo.com/v1/test/getcrumb": "yahoo_crumb.txt",
    "/query2.finance.yahoo.com/ws/fundamentals-timeseries/v1/finance/timeseries/ACME": "yahoo_timeseries.json",
    "/finance.yahoo.com/xhr/ncp": "yahoo_news.json",
    "/datacenter-web.eastmoney.com/api/data/v1/get": "eastmoney_bonus.json",
    "/search-api-web.eastmoney.com/search/jsonp": "eastmoney_news.js",
    "/emweb.securities.eastmoney.com/PC_HSF10/NewFinanceAnalysis/Index": "eastmoney_company.html",
    "/emweb.securities.eastmoney.com/PC_HSF10/NewFinanceAnalysis/lrbDateAjaxNew": "eastmoney_report_dates.json",
    "/emweb.securities.eastmoney.com/PC_HSF10/NewFinanceAnalysis/zcfzbDateAjaxNew": "eastmoney_report_dates.json",
    "/emweb.securities.eastmoney.com/PC_HSF10/NewFinanceAnalysis/lrbAjaxNew": "eastmoney_income.json",
    "/emweb.securities.eastmoney.com/PC_HSF10/NewFinanceAnalysis/zcfzbAjaxNew": "eastmoney_balance.json",
    f"{ALPACA}/v1/corporate-actions": "alpaca_corporate_actions.json",
    f"{ALPACA}/v1beta1/news": "alpaca_news.json",
    "/paper-api.alpaca.markets/v2/assets": "alpaca_assets.json",
    "/paper-api.alpaca.markets/v2/calendar": "alpaca_calendar.json",
    f"{COINBASE}/products": "coinbase_products.json",
    f"{COINBASE}/currencies": "coinbase_currencies.json",
}


def _tushare(interface: str, asked: Asked) -> Answer:
    """The days, share and page asked for, as the server picks them."""
    whole = json.loads((RECORDED / "tushare.json").read_bytes())[interface]
    wanted = json.loads(asked.body)["params"]
    fields = whole["data"]["fields"]
    rows = [dict(zip(fields, item, strict=True)) for item in whole["data"]["items"]]
    day = {"daily": "trade_date", "trade_cal": "cal_date", "index_weight": "trade_date", "fx_daily": "trade_date"}.get(
        interface
    )
    if day:
        rows = [row for row in rows if wanted.get("start_date", "0") <= row[day] <= wanted.get("end_date", "9")]
    rows = [row for row in rows if row.get("list_status", "") == wanted.get("list_status", "")]
    rows = rows[wanted["offset"] : wanted["offset"] + wanted["limit"]]
    whole["data"]["items"] = [[row[name] for name in fields] for row in rows]
    return as_json(whole)


def _candles(query: dict[str, str]) -> Answer:
    """Those between the bounds, the newest first, as the exchange sends them."""
    rows = json.loads((RECORDED / "coinbase_candles.json").read_bytes())
    first, last = (datetime.fromisoformat(query[name]).timestamp() for name in ("start", "end"))
    return as_json([row for row in rows if first <= row[0] <= last])
