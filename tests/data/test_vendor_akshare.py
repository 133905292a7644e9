"""AKShare through akshare: units, labels, actions per ten shares, and items that were overwritten."""

from datetime import UTC, date, datetime

import pytest

from fiduciary.data.sources import NoRowsError, Patience, TransientError
from fiduciary.data.sources.akshare import Akshare
from loopback import PAGE
from vendor_wire import EASTMONEY, as_json, recorded

pytest_plugins = ("vendor_wire",)

SHARE = "600999"
START, STOP = date(2024, 6, 3), date(2024, 6, 7)


def piece(table, *names, start=START, stop=STOP):
    (found,) = Akshare().pieces(table, names, start=start, stop=stop, patience=Patience(attempts=1))
    return found


def test_prices_are_asked_for_as_traded_and_lots_become_shares(online):
    frame = piece("bars_1d", SHARE).frame
    assert online.seen[-1].query["fqt"] == "0"
    assert frame["volume"].to_list() == [100_000.0, 120_000.0, 110_000.0, 150_000.0, 130_000.0]
    assert frame["amount"].to_list()[0] == 1_220_000.0


def test_minutes_are_labelled_by_their_start(online):
    frame = piece("bars_5m", SHARE).frame
    assert frame["event_time"].to_list() == [datetime(2024, 6, 3, 1, minute, tzinfo=UTC) for minute in (30, 35)]


def test_actions_are_per_share_and_only_those_carried_out(online):
    frame = piece("corporate_actions", SHARE, start=date(2020, 1, 1), stop=date(2024, 12, 31)).frame
    assert frame.select("kind", "value").rows() == [("split", 1.2), ("dividend", 0.5 / 1.2)]
    assert set(frame["known_time"]) == {datetime(2024, 5, 30, 16, tzinfo=UTC)}


def test_an_item_that_was_overwritten_is_known_from_then_on(online):
    frame = piece("fundamentals", SHARE, start=date(2020, 1, 1)).frame
    known = dict(frame.select("item", "known_time").rows())
    assert known["income_BASIC_EPS"] == datetime(2024, 4, 27, 16, tzinfo=UTC)
    assert known["total_assets"] == datetime(2024, 8, 29, 16, tzinfo=UTC)
    assert not any(item.endswith("_YOY") for item in known)


def test_news_have_shanghais_time_and_an_id(online):
    (story,) = piece("news", SHARE).frame.to_dicts()
    assert story["event_time"] == datetime(2024, 6, 3, 2, tzinfo=UTC)
    assert story["id"] == "202406030000000001:600999"


def test_a_share_without_bars_is_no_answer(online):
    online.say(EASTMONEY, recorded("eastmoney_empty.json"))
    assert isinstance(piece("bars_1d", SHARE).problem, NoRowsError)


@pytest.mark.parametrize("answer", [PAGE, as_json({"result": None, "success": False, "code": 9201})])
def test_no_page_of_actions_is_no_answer(answer, online):
    online.say("/datacenter-web.eastmoney.com/api/data/v1/get", answer)
    assert isinstance(piece("corporate_actions", SHARE).problem, TransientError)
