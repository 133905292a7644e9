"""Tushare through tushare: units, announcements, versions, pages, members, and what its server says."""

import json
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from fiduciary.data.history import History
from fiduciary.data.pull import Plan, pull
from fiduciary.data.reference import Reference
from fiduciary.data.sources import Patience, RefusalError, TransientError, tushare
from fiduciary.data.sources.tushare import Tushare
from loopback import Answer
from vendor_wire import TUSHARE, as_json

pytest_plugins = ("vendor_wire",)

TOKEN = "do-not-tell-5f2c"
SHARE = "600999.SH"
START, STOP = date(2024, 6, 3), date(2024, 6, 7)
ONCE = Patience(attempts=1)


def source() -> Tushare:
    return Tushare(token=TOKEN)


def piece(table, *names, start=START, stop=STOP):
    (found,) = source().pieces(table, names, start=start, stop=stop, patience=ONCE)
    return found


def test_lots_become_shares_and_thousands_become_yuan(online, tushare_rows):
    frame = piece("bars_1d", SHARE).frame
    theirs = tushare_rows("daily")
    assert frame["volume"].to_list() == [row["vol"] * 100 for row in theirs]
    assert frame["amount"].to_list() == [row["amount"] * 1000 for row in theirs]


def test_minutes_are_labelled_by_their_start_and_counted_in_shares(online):
    frame = piece("bars_1m", SHARE).frame.sort("event_time")
    assert frame["event_time"].to_list() == [datetime(2024, 6, 3, 1, minute, tzinfo=UTC) for minute in (29, 30)]
    assert frame["volume"].to_list() == [500.0, 3000.0]


def test_only_what_was_carried_out_counts_and_is_known_once_announced(online):
    frame = piece("corporate_actions", SHARE, start=date(2020, 1, 1), stop=date(2024, 12, 31)).frame
    assert sorted(frame.select("kind", "value").rows()) == [("dividend", 0.3), ("dividend", 0.5 / 1.2), ("split", 1.2)]
    known = frame.filter(kind="split")["known_time"].item()
    assert known == datetime(2024, 5, 30, 16, tzinfo=UTC)  # midnight in Shanghai


def test_statements_are_known_by_announcement_version_by_version(online):
    frame = piece("fundamentals", SHARE, start=date(2020, 1, 1)).frame
    eps = frame.filter(item="income_basic_eps").sort("event_time", "known_time")
    assert eps.select(pl.col("event_time").dt.date(), pl.col("known_time").dt.date(), "value").rows() == [
        (date(2023, 12, 31), date(2024, 3, 30), 1.2),  # an amendment under the same announcement is left out
        (date(2024, 3, 31), date(2024, 4, 27), 0.31),
        (date(2024, 3, 31), date(2024, 8, 29), 0.30),
    ]
    assert {"total_assets", "book_equity"} <= set(frame["item"])


def test_published_statements_are_read_as_of_their_announcement(online, tmp_path):
    history = History(str(tmp_path))
    pull(Plan(source(), "fundamentals", (SHARE,), date(2020, 1, 1), STOP, known="published"), history)
    where = {"item": "income_basic_eps"}
    for day, value in ((date(2024, 4, 27), None), (date(2024, 4, 28), 0.31), (date(2024, 8, 30), 0.30)):
        as_of = datetime(day.year, day.month, day.day, tzinfo=UTC)
        rows = history.read("fundamentals", as_of=as_of, where=where, start=date(2024, 1, 1))
        assert rows["value"].to_list() == ([] if value is None else [value])


def test_news_times_are_shanghais(online):
    frame = piece("news", "sina").frame
    assert frame["event_time"].to_list() == [datetime(2024, 6, 3, hour, tzinfo=UTC) for hour in (2, 1)]
    assert frame["headline"].to_list() == ["甲乙丙分红", "市场开盘前快讯"]
    assert frame["id"].n_unique() == 2
    assert frame["id"].equals(piece("news", "sina").frame["id"])


def test_shares_that_are_gone_are_among_the_instruments(online):
    frame = piece("instruments").frame
    assert frame.select("symbol", "delisted").rows() == [(SHARE, None), ("600998.SH", "20200630")]


def test_members_are_those_of_the_latest_snapshot(online, tushare_rows, tmp_path):
    history = History(str(tmp_path))
    pull(Plan(source(), "membership", ("000300.SH",), date(2024, 5, 1), date(2024, 7, 31), known="published"), history)
    weights = tushare_rows("index_weight")
    reference = Reference(history)
    for day in (date(2024, 5, 31), date(2024, 6, 15), date(2024, 6, 28), date(2024, 7, 30)):
        latest = max(row["trade_date"] for row in weights if row["trade_date"] <= f"{day:%Y%m%d}")
        expected = sorted(row["con_code"] for row in weights if row["trade_date"] == latest)
        assert list(reference.universe("000300.SH", on=day)) == expected


def test_who_left_since_the_snapshot_before_the_first_day_is_out(online):
    frame = piece("membership", "000300.SH", start=date(2024, 6, 15), stop=date(2024, 7, 1)).frame
    assert frame.filter(~pl.col("member"))["symbol"].to_list() == ["600998.SH"]


def test_a_rate_is_the_middle_of_bid_and_ask(online):
    frame = piece("currencies", "USDCNH.FXCM").frame
    np.testing.assert_allclose(frame["rate"], [7.261, 7.251])
    assert set(frame.select("base", "quote").rows()) == {("USD", "CNH")}


def test_all_pages_are_read(online, monkeypatch):
    whole = piece("bars_1d", SHARE).frame
    monkeypatch.setitem(tushare.PAGE, "daily", 2)
    before = len(online.seen)
    assert piece("bars_1d", SHARE).frame.equals(whole)
    assert len(online.seen) - before == 3


def test_a_page_that_comes_twice_is_no_answer(online, monkeypatch, tushare_rows):
    monkeypatch.setitem(tushare.PAGE, "daily", 5)
    rows = tushare_rows("daily")
    answer = {"code": 0, "msg": "", "data": {"fields": list(rows[0]), "items": [list(row.values()) for row in rows]}}
    online.say(f"{TUSHARE}/daily", as_json(answer))
    assert "one page twice" in str(piece("bars_1d", SHARE).problem)


@pytest.mark.parametrize("status", [403, 429, 500, 502])
def test_an_http_error_is_not_a_share_without_dividends(status, online):
    online.say(f"{TUSHARE}/dividend", Answer(b"{}", status=status))
    found = piece("corporate_actions", SHARE)
    assert isinstance(found.problem, TransientError)
    assert "an HTTP error" in str(found.problem)


def says(words: str) -> Answer:
    return Answer(json.dumps({"code": 40203, "msg": words, "data": None}).encode())


def test_too_many_requests_are_asked_again_after_a_minute(online):
    online.say(f"{TUSHARE}/daily", says("抱歉，您每分钟最多访问该接口500次"))
    (found,) = source().pieces("bars_1d", [SHARE], start=START, patience=Patience(attempts=5, longest=1.0))
    assert isinstance(found.problem, TransientError)
    assert (found.attempts, found.problem.after) == (1, 60.0)


def test_a_refusal_is_told_without_the_token(online):
    online.say(f"{TUSHARE}/daily", says(f"您的token不对，请确认。{TOKEN}"))
    (found,) = source().pieces("bars_1d", [SHARE], start=START, patience=Patience(attempts=5, first=0.001))
    assert isinstance(found.problem, RefusalError)
    assert found.attempts == 1
    assert TOKEN not in str(found.problem)
    assert "您的token不对" in str(found.problem)


def test_days_without_trade_are_no_answer_but_a_share_without_dividends_is(online):
    empty = {
        "code": 0,
        "msg": "",
        "data": {"fields": ["ts_code", "div_proc", "stk_div", "cash_div_tax", "ex_date", "imp_ann_date"], "items": []},
    }
    online.say(f"{TUSHARE}/dividend", as_json(empty))
    assert piece("corporate_actions", SHARE).frame.is_empty()
    assert isinstance(piece("bars_1d", SHARE, start=date(2020, 1, 1), stop=date(2020, 1, 2)).problem, TransientError)
