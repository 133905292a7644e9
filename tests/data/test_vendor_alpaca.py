"""Alpaca through alpaca-py: as traded, session dates in every season, actions, and what an HTTP status means."""

import json
from datetime import UTC, date, datetime

import pytest

from fiduciary.data.sources import Patience, RefusalError, TransientError
from fiduciary.data.sources.alpaca import Alpaca
from loopback import Answer
from vendor_wire import ALPACA, as_json

pytest_plugins = ("vendor_wire",)

SOURCE = Alpaca(key="k", secret_key="s", feed="iex")
START, STOP = date(2024, 6, 3), date(2024, 6, 12)
BARS = f"{ALPACA}/v2/stocks/bars"


def piece(table, *names, start=START, stop=STOP, source=SOURCE, patience=Patience(attempts=1)):  # noqa: B008
    (found,) = source.pieces(table, names, start=start, stop=stop, patience=patience)
    return found


def bar(time, **other):
    return {"t": time, "o": 10, "h": 12, "l": 9, "c": 11, "v": 100, "n": 3, "vw": 10.5} | other


def test_prices_are_asked_for_as_traded_and_all_pages_are_read(online):
    assert piece("bars_1d", "ACME").frame.height == 8
    queries = [asked.query for asked in online.seen]
    assert [query.get("page_token") for query in queries] == [None, "QUNNRXxE"]
    assert {(query["adjustment"], query["feed"], query["timeframe"]) for query in queries} == {("raw", "iex", "1Day")}


def test_a_day_is_new_yorks_in_summer_and_in_winter(online):
    days = [bar("2024-03-08T05:00:00Z"), bar("2024-03-11T04:00:00Z")]
    online.say(BARS, as_json({"bars": {"ACME": days}, "next_page_token": None}))
    frame = piece("bars_1d", "ACME", start=date(2024, 3, 1)).frame
    assert frame["event_time"].dt.date().to_list() == [date(2024, 3, 8), date(2024, 3, 11)]


def test_a_bar_that_is_still_traded_is_left_out(online):
    now = datetime.now(UTC)
    old = bar("2024-06-03T13:00:00Z")
    online.say(BARS, as_json({"bars": {"ACME": [old, bar(f"{now:%Y-%m-%dT%H:%M:00Z}")]}, "next_page_token": None}))
    assert piece("bars_1h", "ACME", stop=None).frame.height == 1


def test_actions_that_scale_prices_are_new_shares_per_old_or_cash(online):
    frame = piece("corporate_actions", "ACME", start=date(2010, 1, 1)).frame.sort("event_time")
    assert frame.select("kind", "value").rows() == [("split", 0.1), ("split", 1.05), ("dividend", 2.0), ("split", 4.0)]
    assert online.seen[-1].query["types"] == "forward_split,reverse_split,stock_dividend,cash_dividend"


def test_no_bars_are_no_answer_but_no_actions_and_no_news_are(online):
    online.say(BARS, as_json({"bars": {}, "next_page_token": None}))
    online.say(f"{ALPACA}/v1/corporate-actions", as_json({"corporate_actions": {}, "next_page_token": None}))
    online.say(f"{ALPACA}/v1beta1/news", as_json({"news": [], "next_page_token": None}))
    assert isinstance(piece("bars_1d", "ACME").problem, TransientError)
    assert piece("corporate_actions", "ACME").frame.is_empty()
    assert piece("news", "ACME").frame.is_empty()


def test_a_story_is_one_row_for_the_symbol_asked_about(online):
    (story,) = piece("news", "OTHR", start=date(2024, 5, 1)).frame.to_dicts()
    assert (story["id"], story["symbol"]) == ("24843171:OTHR", "OTHR")


def test_another_symbols_bars_are_refused(online):
    online.say(BARS, as_json({"bars": {"OTHR": [bar("2024-06-03T04:00:00Z")]}, "next_page_token": None}))
    assert isinstance(piece("bars_1d", "ACME").problem, TransientError)


def test_assets_are_described_today_whatever_the_days(online):
    (asset,) = piece("instruments").frame.to_dicts()
    assert asset["event_time"].date() == datetime.now(UTC).date()
    assert (asset["symbol"], asset["exchange"]) == ("ACME", "NASDAQ")


def test_the_calendar_names_open_days(online):
    frame = piece("calendar", "XNYS").frame
    assert frame["event_time"].dt.date().to_list() == [date(2024, 6, 3), date(2024, 6, 4)]
    assert frame["open"].all()


@pytest.mark.parametrize(
    ("status", "kind"), [(401, RefusalError), (403, RefusalError), (422, RefusalError), (500, TransientError)]
)
def test_a_status_is_a_refusal_or_may_be_another_time(status, kind, online):
    online.say(BARS, Answer(json.dumps({"message": "no"}).encode(), status=status))
    assert isinstance(piece("bars_1d", "ACME").problem, kind)


def test_retry_after_is_heard(online, monkeypatch):
    monkeypatch.setattr("alpaca.common.rest.DEFAULT_RETRY_WAIT_SECONDS", 0)
    online.say(BARS, Answer(b'{"message": "slow"}', status=429, headers=(("Retry-After", "17"),)))
    assert piece("bars_1d", "ACME").problem.after == 17.0


def test_another_base_url_is_asked_and_is_part_of_the_request(online):
    source = Alpaca(key="k", secret_key="s", url=f"{online.url}/data.alpaca.markets")
    assert piece("bars_1d", "ACME", source=source).frame.height == 8
    (ours,), (theirs,) = (each.requests("bars_1d", ["ACME"]) for each in (source, SOURCE))
    assert ours.key != theirs.key
