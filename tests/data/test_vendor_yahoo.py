"""Yahoo Finance through yfinance: days up to today turned back to what was traded, and what Yahoo cannot tell."""

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from fiduciary.core.errors import ConfigError
from fiduciary.data.history import History
from fiduciary.data.pull import Plan, pull
from fiduciary.data.sources import Patience, RefusalError, TransientError
from fiduciary.data.sources.yahoo import Yahoo
from loopback import PAGE, Answer
from vendor_wire import YAHOO, as_json, recorded

pytest_plugins = ("vendor_wire",)

START, STOP = date(2024, 6, 3), date(2024, 6, 12)
ONCE = Patience(attempts=1)


def piece(table, *names, start=START, stop=STOP):
    (found,) = Yahoo().pieces(table, names, start=start, stop=stop, patience=ONCE)
    return found


def test_days_before_a_split_are_in_the_shares_of_their_day(online, yahoo_chart):
    close = piece("bars_1d", "ACME").frame["close"].to_list()
    adjusted = yahoo_chart["indicators"]["quote"][0]["close"]
    assert close == [price * (4.0 if day < 5 else 1.0) for day, price in enumerate(adjusted)]


def test_days_before_a_split_that_was_not_asked_about_are_turned_back_too(online):
    frame = piece("bars_1d", "ACME", stop=date(2024, 6, 7)).frame
    assert frame["close"].to_list() == [202.0, 204.0, 203.0, 206.0, 208.0]
    asked = [request.query for request in online.seen if "period2" in request.query]
    # Up to now, to see the splits since.
    assert int(asked[-1]["period2"]) > datetime.now(UTC).timestamp() - 100


def test_hours_are_turned_back_by_the_days(online):
    frame = piece("bars_1h", "ACME").frame
    assert frame["close"].to_list() == [206.0, 208.0]
    assert frame["volume"].to_list() == [600.0, 900.0]
    assert frame["event_time"].to_list() == [datetime(2024, 6, 7, hour, 30, tzinfo=UTC) for hour in (13, 14)]


def test_a_day_that_is_not_over_is_no_bar(online, yahoo_chart):
    moved = json.loads(recorded("yahoo_chart_1d.json").body)
    (result,) = moved["chart"]["result"]
    # The library itself leaves out a bar at or after the end asked for, which is now.
    ago = int(datetime.now(UTC).timestamp()) - 600 - result["timestamp"][-1]
    result["timestamp"] = [time + ago for time in result["timestamp"]]
    result["events"] = {}
    online.say(YAHOO, as_json(moved))
    days = piece("bars_1d", "ACME", start=date.today() - timedelta(days=30), stop=None).frame["event_time"].dt.date()
    assert len(days) == len(result["timestamp"]) - 1
    assert days.max() < datetime.now(ZoneInfo("America/New_York")).date()


def test_splits_and_dividends_are_per_share_of_their_day(online):
    rows = piece("corporate_actions", "ACME").frame.sort("event_time").select("kind", "value", "currency").rows()
    assert rows == [("dividend", 2.0, "USD"), ("split", 4.0, "USD")]


def test_statements_say_nothing_of_their_release_so_they_are_never_published(online):
    frame = piece("fundamentals", "ACME", start=date(2020, 1, 1), stop=None).frame
    assert "known_time" not in frame.columns
    assert set(frame["item"]) == {"income_TotalRevenue", "income_NetIncome", "total_assets"}
    with pytest.raises(ConfigError, match="does not tell when a value was released"):
        Plan(Yahoo(), table="fundamentals", symbols=("ACME",), known="published")


def test_news_are_timed_text(online):
    (story,) = piece("news", "ACME", start=date(2024, 5, 1)).frame.to_dicts()
    assert story["event_time"] == datetime(2024, 5, 20, 20, 5, tzinfo=UTC)
    assert story["headline"] == "ACME splits its stock four for one"
    assert story["symbol"] == "ACME"


def test_no_news_are_an_answer(online):
    online.say("/finance.yahoo.com/xhr/ncp", as_json({"data": {"tickerStream": {"stream": []}}}))
    assert piece("news", "ACME").frame.is_empty()


def test_a_pair_is_a_rate(online):
    frame = piece("currencies", "EURUSD").frame
    assert frame.select("base", "quote", "rate").rows() == [("EUR", "USD", 1.0901), ("EUR", "USD", 1.088)]


def test_an_unknown_symbol_is_not_asked_for_again(online):
    known = {"range": "1d"}

    def unknown(asked):
        if "finance/chart/NONE" not in asked.path:
            return Answer(status=404)
        first = asked.query.items() >= known.items()
        return (
            recorded("yahoo_chart_1d.json") if first else Answer(recorded("yahoo_chart_unknown.json").body, status=404)
        )

    online.answer = unknown
    (found,) = Yahoo().pieces("bars_1d", ["NONE"], start=START, patience=Patience(attempts=4, first=0.001))
    assert isinstance(found.problem, RefusalError)
    assert found.attempts == 1
    assert "No data found" in str(found.problem)


def test_another_symbols_days_are_refused(online):
    answer = json.loads(recorded("yahoo_chart_1d.json").body)
    answer["chart"]["result"][0]["meta"]["symbol"] = "OTHR"
    online.say(YAHOO, as_json(answer))
    assert isinstance(piece("bars_1d", "ACME").problem, TransientError)


def test_an_empty_chart_is_no_answer(online):
    online.say(YAHOO, as_json({"chart": {"result": [], "error": None}}))
    assert isinstance(piece("bars_1d", "ACME").problem, TransientError)


def test_a_broken_answer_about_past_days_is_not_kept(online):
    online.say(YAHOO, PAGE)
    days = {"start": date(2024, 6, 5), "stop": date(2024, 6, 8)}  # of no other test, whose answer might be held
    assert isinstance(piece("bars_1h", "ACME", **days).problem, TransientError)
    del online.said[YAHOO]
    assert piece("bars_1h", "ACME", **days).frame.height == 2


def test_the_librarys_own_settings_stay_as_they_were(online):
    import yfinance

    before = yfinance.config.debug.hide_exceptions
    piece("bars_1d", "ACME")
    assert yfinance.config.debug.hide_exceptions == before


def test_a_later_split_rewrites_yahoos_past_and_nothing_of_what_is_held(online, tmp_path):
    history = History(str(tmp_path))
    plan = Plan(Yahoo(), "bars_1d", ("ACME",), START, STOP)
    pull(plan, history)
    answer = json.loads(recorded("yahoo_chart_1d.json").body)
    (result,) = answer["chart"]["result"]
    (quote,) = result["indicators"]["quote"]
    for name, values in quote.items():
        quote[name] = [value * 2 if name == "volume" else value / 2 for value in values] + [26.0]
    result["indicators"]["adjclose"][0]["adjclose"].append(26.0)
    later = result["timestamp"][-1] + 30 * 86_400
    result["timestamp"].append(later)
    result["events"]["splits"][str(later)] = {"date": later, "numerator": 2.0, "denominator": 1.0, "splitRatio": "2:1"}
    result["events"]["dividends"] = {
        time: {**paid, "amount": paid["amount"] / 2} for time, paid in result["events"]["dividends"].items()
    }
    online.say(YAHOO, as_json(answer))
    (outcome,) = pull(plan, history).outcomes
    assert (outcome.same, outcome.corrections, outcome.new) == (8, 0, 0)
    assert piece("corporate_actions", "ACME").frame.filter(kind="dividend")["value"].to_list() == [2.0]


def test_shares_of_several_splits_compound(online):
    answer = json.loads(recorded("yahoo_chart_1d.json").body)
    (result,) = answer["chart"]["result"]
    reverse = result["timestamp"][6]
    result["events"]["splits"][str(reverse)] = {
        "date": reverse,
        "numerator": 1.0,
        "denominator": 2.0,
        "splitRatio": "1:2",
    }
    online.say(YAHOO, as_json(answer))
    price = pl.Series(result["indicators"]["quote"][0]["close"])
    ratio = pl.Series([2.0] * 5 + [0.5] + [1.0] * 2)
    assert piece("bars_1d", "ACME").frame["close"].to_list() == (price * ratio).to_list()
