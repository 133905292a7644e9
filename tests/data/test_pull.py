"""Pulls into a history: what counts as known when, corrections, partial results, and a kill in the middle."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError
from fiduciary.data.history import History
from fiduciary.data.intake import Knowledge, compared, dated
from fiduciary.data.pull import Means, Plan, pull, update
from fiduciary.data.sources import Files, Fred, Patience
from fiduciary.data.tables import BARS_1D, MACRO, bars
from loopback import DROPPED, PAGE, Answer, Loopback

QUICK = Means(patience=Patience(attempts=3, first=0.001, longest=0.01))
HEADER = "date,open,high,low,close,volume\n"
NOW = datetime(2024, 6, 1, tzinfo=UTC)


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def write(folder, symbol, *closes, first=date(2024, 1, 2)):
    rows = [f"{first + timedelta(days=n)},10,12,9,{close},1000" for n, close in enumerate(closes)]
    (folder / f"{symbol}.csv").write_text(HEADER + "\n".join(rows) + "\n")


@pytest.fixture
def place(tmp_path):
    """A folder of prices, a plan over it, and an empty history."""
    folder = tmp_path / "prices"
    folder.mkdir()
    write(folder, "AAA", 10.5, 10.4, 10.3)
    write(folder, "BBB", 11.5, 11.4, 11.3)
    return folder, Plan(Files(folder)), History(tmp_path / "history")


@pytest.fixture(autouse=True)
def _at_any_rate(monkeypatch):
    monkeypatch.setattr(Fred, "rate", 0.0)


def counts(pulled):
    return {each.symbol: (each.new, each.corrections, each.same, each.refused) for each in pulled.outcomes}


# --- files to history ------------------------------------------------------------------------------------------------


def test_a_pull_brings_every_row_and_a_second_one_nothing_new(place):
    _, plan, history = place
    began = datetime.now(UTC)
    assert counts(pull(plan, history)) == {"AAA": (3, 0, 0, 0), "BBB": (3, 0, 0, 0)}
    rows = history.read("bars_1d")
    assert rows.height == 6 and rows["source"].unique().to_list() == ["files"]
    assert rows["known_time"].min() >= began
    assert history.read("bars_1d", as_of=began - timedelta(seconds=1)).is_empty()
    assert counts(pull(plan, history)) == {"AAA": (0, 0, 3, 0), "BBB": (0, 0, 3, 0)}
    assert history.log("bars_1d").height == 6


def test_a_correction_is_known_when_it_was_retrieved_and_the_old_value_stays_for_its_time(place):
    folder, plan, history = place
    pull(plan, history)
    between = datetime.now(UTC)
    write(folder, "AAA", 10.5, 10.45, 10.3, 10.2)
    assert counts(pull(plan, history)) == {"AAA": (1, 1, 2, 0), "BBB": (0, 0, 3, 0)}
    own = {"symbol": "AAA"}
    assert history.read("bars_1d", where=own)["close"].to_list() == [10.5, 10.45, 10.3, 10.2]
    assert history.read("bars_1d", where=own, as_of=between)["close"].to_list() == [10.5, 10.4, 10.3]


def test_a_correction_under_another_assumption_is_known_when_it_was_retrieved_too(place):
    folder, plan, history = place
    pull(replace(plan, known="published", exchange="XNYS"), history)
    between = datetime.now(UTC)
    write(folder, "AAA", 10.5, 10.45, 10.3)
    pull(
        replace(plan, known="published"), history
    )  # without the exchange a bar counts as known at midnight, not at the close
    own = {"symbol": "AAA"}
    assert history.read("bars_1d", where=own)["close"].to_list() == [10.5, 10.45, 10.3]
    assert history.read("bars_1d", where=own, as_of=between)["close"].to_list() == [10.5, 10.4, 10.3]


def test_a_value_that_returns_to_what_it_was_is_a_correction_too(place):
    folder, plan, history = place
    for close in (10.4, 10.45, 10.4):
        write(folder, "AAA", 10.5, close, 10.3)
        pull(plan, history)
        assert history.read("bars_1d", where={"symbol": "AAA"})["close"].to_list() == [10.5, close, 10.3]


def test_refused_rows_go_to_quarantine_and_the_others_in(place):
    folder, plan, history = place
    (folder / "AAA.csv").write_text(
        HEADER + "2024-01-02,10,12,9,11,5\n2024-01-03,10,9,12,11,5\n2024-01-04,ten,12,9,11,5\n"
    )
    assert counts(pull(plan, history)) == {"AAA": (1, 0, 0, 2), "BBB": (3, 0, 0, 0)}
    pull(plan, history)
    kept = history.quarantined("bars_1d")
    assert sorted(kept["reason"]) == ["crossed prices", "open is no float"] and "ten" in kept["open"].to_list()


def test_a_refused_row_does_not_come_back_as_text(tmp_path):
    """20100104 is no time as a number, and would be one as the text that the quarantine keeps of it."""
    path, history = tmp_path / "listings.parquet", History(tmp_path / "history")
    pl.DataFrame({"date": [utc(2020, 1, 1)], "symbol": ["A"], "listed": [20100104]}).write_parquet(path)
    for _ in range(2):
        (done,) = pull(Plan(Files(path), "instruments", symbols=("A",)), history).outcomes
        assert done.refused == 1
    assert history.log("instruments").is_empty()
    assert history.quarantined("instruments").select("listed", "reason", "source").rows() == [
        ("20100104", "listed is no time", "files")
    ]


@pytest.mark.parametrize("known", ["retrieved", "published"])
def test_what_is_held_already_is_not_added_again(place, known):
    _, plan, history = place
    for _ in range(3):
        pull(replace(plan, known=known), history)
        assert len(history.log("bars_1d")) == 6


@pytest.mark.parametrize("known", ["retrieved", "published"])
def test_what_is_no_time_is_refused_as_it_came(place, known):
    folder, plan, history = place
    lines = ("2024-01-02", "2024-13-02", "02/01/2024", "2024-03-31 02:30")
    (folder / "AAA.csv").write_text(HEADER + "".join(f"{day},10,12,9,11,5\n" for day in lines))
    berlin = replace(plan, source=replace(plan.source, zone="Europe/Berlin"), known=known)
    assert counts(pull(berlin, history)) == {"AAA": (1, 0, 0, 3), "BBB": (3, 0, 0, 0)}
    told = history.quarantined("bars_1d").select("event_time", "reason").rows()
    raw = (*lines[1:3], "2024-03-31 02:30 Europe/Berlin")
    assert sorted(told) == sorted((cell, "event_time is no time") for cell in raw)


def test_numbers_are_days_or_refused(place):
    folder, plan, history = place
    frame = pl.read_csv(folder / "AAA.csv")
    frame.with_columns(date=pl.Series([20240102, 20240103, 1704326400])).write_parquet(folder / "AAA.parquet")
    (folder / "AAA.csv").unlink()
    assert counts(pull(plan, history))["AAA"] == (2, 0, 0, 1)
    assert history.read("bars_1d", where={"symbol": "AAA"})["event_time"].to_list() == [
        utc(2024, 1, 2),
        utc(2024, 1, 3),
    ]


def test_daily_bars_are_no_bars_of_minutes(place):
    _, plan, history = place
    pulled = pull(replace(plan, table="bars_5m", known="published"), history)
    assert all("midnight UTC" in each.problem for each in pulled.failed) and len(pulled.failed) == 2
    assert history.tables() == ()


@pytest.mark.parametrize("wrong", [{"delay_minutes": -1.0}, {"start": date(2024, 1, 3), "stop": date(2024, 1, 2)}])
def test_a_plan_that_cannot_be_is_refused(place, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(place[1], **wrong)


def test_an_update_of_what_is_not_held_is_refused(place):
    _, plan, history = place
    with pytest.raises(ConfigError, match="no table"):
        update(plan, history)
    pull(plan, history)
    with pytest.raises(ConfigError, match="did you mean 'bars_1d'"):
        update(replace(plan, into="bar_1d"), history)
    assert history.tables() == ("bars_1d",)


def test_days_before_an_exchange_fail_alone(place):
    folder, plan, history = place
    (folder / "AAA.csv").write_text(HEADER + "1900-01-02,10,12,9,10.5,1000\n")
    first, second = pull(replace(plan, known="published", exchange="XSHG"), history).outcomes
    assert first.symbol == "AAA" and "calendar of XSHG" in first.problem and second.new == 3


def test_a_broken_file_fails_alone(place):
    folder, plan, history = place
    (folder / "AAA.csv").write_bytes(b"")
    pulled = pull(plan, history)
    assert counts(pulled)["BBB"] == (3, 0, 0, 0)
    assert [each.symbol for each in pulled.failed] == ["AAA"] and "AAA.csv" in pulled.failed[0].problem


def test_a_symbol_that_a_long_file_does_not_hold_is_told(place, tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("symbol," + HEADER + "AAA,2024-01-02,10,12,9,11,5\n")
    pulled = pull(Plan(Files(path), symbols=("AAA", "ZZZ")), place[2])
    assert [(each.symbol, each.new, bool(each.problem)) for each in pulled.outcomes] == [
        ("AAA", 1, False),
        ("ZZZ", 0, True),
    ]


def test_the_commit_says_the_licence_the_adjustment_and_the_assumption(place):
    _, plan, history = place
    pull(replace(plan, known="published", exchange="XNYS"), history)
    note = json.loads(history.commits("bars_1d")["note"][0])
    assert note["licence"] == "as the owner of the data says" and note["redistribution"] == "False"
    assert note["adjustment"] == "as traded" and "close of XNYS" in note["known"]


def test_adjusted_prices_stand_beside_raw_ones(place):
    folder, plan, history = place
    pull(plan, history)
    adjusted = Plan(Files(folder, adjustment="splits"))
    assert pull(adjusted, history).table == "bars_1d_files"
    assert (
        history.schema("bars_1d_files").adjustment == "splits" and history.schema("bars_1d").adjustment == "as traded"
    )
    assert Plan(Files(folder, adjustment="splits"), into="other").target.name == "other"


def test_an_update_asks_from_the_last_event_with_an_overlap(place, monkeypatch):
    folder, plan, history = place
    pull(plan, history)
    write(folder, "AAA", 9.5, 10.4, 10.31, 10.2)
    write(folder, "CCC", 10.0)
    asked = []
    monkeypatch.setattr(Files, "ask", lambda self, request, ask=Files.ask: asked.append(request) or ask(self, request))
    assert counts(update(replace(plan, symbols=("AAA", "CCC"), overlap_days=1), history)) == {
        "AAA": (1, 1, 1, 0), "CCC": (1, 0, 0, 0),
    }  # fmt: skip
    assert {each.symbols: each.start for each in asked} == {("AAA",): date(2024, 1, 3), ("CCC",): None}
    assert set(counts(update(plan, history))) == {"AAA", "BBB", "CCC"}  # without symbols: what is held


# --- when rows count as known ----------------------------------------------------------------------------------------


def bar_rows(*times, close=10.0):
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return pl.DataFrame({"event_time": list(times)}).with_columns(
        pl.lit("A").alias("symbol"), pl.lit(1.0).alias("volume"), *(pl.lit(v).alias(k) for k, v in prices.items())
    )


def known(frame, knowledge, table=BARS_1D, retrieved=NOW):
    return dated(frame, table, name=table.name, retrieved=retrieved, knowledge=knowledge).good["known_time"].to_list()


def test_a_row_of_the_future_keeps_no_update_away(place):
    folder, plan, history = place
    write(folder, "CCC", 9.0, first=date(2062, 1, 2))
    pull(replace(plan, stop=date(2062, 12, 31)), history)
    write(folder, "AAA", 10.5, 10.4, 10.3, 10.2)
    write(folder, "CCC", 9.0)
    pulled = counts(update(replace(plan, symbols=("AAA", "CCC")), history))
    assert pulled == {"AAA": (1, 0, 3, 0), "CCC": (1, 0, 0, 0)}


def test_published_bars_are_known_a_delay_after_the_close():
    days = bar_rows(utc(2024, 1, 2), utc(2024, 7 - 4, 11), utc(2024, 1, 1))
    after = timedelta(minutes=15)
    closes = [
        utc(2024, 1, 2, 21),
        utc(2024, 3, 11, 20),
        utc(2024, 1, 2),
    ]  # winter, summer time, a holiday: the midnight after
    assert known(days, Knowledge("published", "XNYS")) == [close + after for close in closes]
    midnights = [utc(2024, 1, 3), utc(2024, 3, 12), utc(2024, 1, 2)]
    assert known(days, Knowledge("published")) == [midnight + after for midnight in midnights]
    minute = bar_rows(utc(2024, 1, 2, 14, 30))
    assert known(minute, Knowledge("published", delay=timedelta(0)), bars("5m")) == [utc(2024, 1, 2, 14, 35)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.datetimes(datetime(2024, 1, 1), datetime(2024, 12, 1)), min_size=1, max_size=5, unique=True),
    st.datetimes(datetime(2024, 1, 1), datetime(2025, 1, 1)), st.sampled_from(["retrieved", "published"]),
)  # fmt: skip
def test_nothing_counts_as_known_after_its_retrieval(times, retrieved, how):
    rows = bar_rows(*(t.replace(tzinfo=UTC) for t in times))
    moment = retrieved.replace(tzinfo=UTC)
    dates = known(rows, Knowledge(how), retrieved=moment)
    assert len(dates) == len(times) and max(dates) <= moment
    if how == "retrieved":
        assert set(dates) == {moment}


def macro_rows(*vintages):
    names = ["event_time", "known_time", "value"]
    return pl.DataFrame(vintages, schema=names, orient="row").with_columns(series=pl.lit("G"))


Q1 = utc(2020, 1, 1)


def test_of_several_vintages_the_latest_was_retrieved_and_all_were_published():
    rows = macro_rows((Q1, utc(2020, 5, 29), 2.0), (Q1, utc(2020, 4, 30), 1.0))
    latest = dated(rows, MACRO, name="macro", retrieved=NOW, knowledge=Knowledge()).good
    assert latest.select("known_time", "value").rows() == [(NOW, 2.0)]
    assert known(rows, Knowledge("published"), MACRO) == [utc(2020, 5, 29), utc(2020, 4, 30)]


def test_published_needs_releases():
    with pytest.raises(ConfigError, match="must be 'retrieved'"):
        Plan(Files(Path("x.csv")), table="fundamentals", known="published")


def test_an_answer_older_than_what_is_held_corrects_nothing():
    held = bar_rows(utc(2024, 1, 2), close=10.0).with_columns(known_time=utc(2024, 3, 1))
    for retrieved, state, use in ((utc(2024, 2, 1), "same", False), (utc(2024, 4, 1), "correction", True)):
        good = dated(
            bar_rows(utc(2024, 1, 2), close=9.5), BARS_1D, name="bars_1d", retrieved=retrieved, knowledge=Knowledge()
        )
        assert compared(good.good, held, BARS_1D).select("state", "use").rows() == [(state, use)]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=4), min_size=1, max_size=4))
def test_after_any_sequence_of_pulls_the_newest_vintage_is_what_is_held(tmp_path_factory, archives):
    """Each archive is the vendor's list of vintages at one time: it may grow, shrink and rewrite itself."""
    held = None
    for n, values in enumerate(archives):
        retrieved = NOW + timedelta(days=n)
        rows = macro_rows(*((Q1, utc(2020, 1 + v, 1), value) for v, value in enumerate(values, start=1)))
        good = dated(rows, MACRO, name="macro", retrieved=retrieved, knowledge=Knowledge("published")).good
        useful = compared(good, held, MACRO, releases=True).filter("use").drop("state", "use")
        both = useful if held is None else pl.concat([held, useful.select(held.columns)])
        held = both.sort("known_time", maintain_order=True).unique("event_time", keep="last")
        assert held["value"].to_list() == [values[-1]]


# --- over HTTP -------------------------------------------------------------------------------------------------------


def observations(symbol, values=(1.0, 2.0)):
    rows = [
        {
            "realtime_start": f"2020-0{n + 2}-15",
            "realtime_end": "9999-12-31",
            "date": f"2020-0{n + 1}-01",
            "value": str(v),
        }
        for n, v in enumerate(values)
    ]
    return Answer(json.dumps({"count": len(rows), "units": symbol, "observations": rows}).encode())


def macro_plan(server, *symbols, **changes):
    return Plan(
        Fred(server.url, "s3cret"), "macro", symbols, stop=date(2024, 1, 31), **{"known": "published"} | changes
    )


def test_releases_are_as_of_and_a_revision_counts_as_a_correction(tmp_path):
    history, revised = History(tmp_path / "history"), [
        {"realtime_start": day, "realtime_end": "9999-12-31", "date": "2020-01-01", "value": value}
        for day, value in (("2020-02-15", "1"), ("2020-03-15", "1.5"))
    ]  # fmt: skip
    with Loopback(lambda asked: observations("GDP")) as server:
        assert counts(pull(macro_plan(server, "GDP"), history, QUICK)) == {"GDP": (2, 0, 0, 0)}
        server.answer = lambda asked: Answer(json.dumps({"count": 2, "units": "GDP", "observations": revised}).encode())
        assert counts(update(macro_plan(server, "GDP"), history, QUICK)) == {"GDP": (0, 1, 1, 0)}
    january = {"stop": "2020-01"}
    assert history.read("macro", as_of="2020-02-15", **january).is_empty()
    assert history.read("macro", as_of="2020-02-16", **january)["value"].to_list() == [1.0]
    assert history.read("macro", as_of="2020-03-16", **january)["value"].to_list() == [1.5]


def test_symbols_fail_alone_and_the_same_pull_again_asks_for_those_only(tmp_path):
    history, means = History(tmp_path / "history"), QUICK._replace(cache=tmp_path / "pieces")
    sick = {"C": DROPPED, "F": PAGE}
    symbols = "ABCDEFGH"

    def answer(asked):
        return sick.get(asked.query["series_id"]) or observations(asked.query["series_id"])

    with Loopback(answer) as server:
        pulled = pull(macro_plan(server, *symbols), history, means)
        assert [each.symbol for each in pulled.failed] == ["C", "F"] and pulled.asked == 6 + 2 * 3
        assert history.read("macro")["series"].n_unique() == 6
        sick.clear()
        server.seen.clear()
        again = pull(macro_plan(server, *symbols), history, means)
    assert [asked.query["series_id"] for asked in server.seen] == ["C", "F"] and not again.failed and again.asked == 2
    assert history.log("macro").height == 16 and history.read("macro")["series"].n_unique() == 8
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


KILLED = """
import sys
from datetime import date
from fiduciary.data.history import History
from fiduciary.data.pull import Means, Plan, pull
from fiduciary.data.sources import Fred, Patience
Fred.rate = 0.0
url, folder, *symbols = sys.argv[1:]
plan = Plan(Fred(url, "s3cret"), "macro", tuple(symbols), stop=date(2024, 1, 31), known="published")
from pathlib import Path
pull(plan, History(folder + "/history"), Means(Path(folder) / "pieces", Patience(first=0.001)))
"""


@pytest.mark.parametrize("after", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_a_killed_pull_continues_and_asks_nothing_twice(tmp_path, after):
    """Killed in the first batch, before any commit, and in the second, after one."""
    symbols = [f"S{n:03d}" for n in range(70)]

    def answer(asked):
        return observations(asked.query["series_id"])._replace(late=0.3 if len(server.seen) == after else 0.0)

    with Loopback(answer) as server:
        command = [sys.executable, "-c", KILLED, server.url, str(tmp_path), *symbols]
        process = subprocess.Popen(command)
        while len(server.seen) < after and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        before = [asked.query["series_id"] for asked in server.seen]
        kept = len(list((tmp_path / "pieces").rglob("*.json")))
        assert kept == after - 1 == len(before) - 1
        subprocess.run(command, check=True, timeout=60)
        asked = [asked.query["series_id"] for asked in server.seen]
    assert asked == symbols[:after] + symbols[after - 1 :]  # only the one without an answer is asked again
    rows = History(tmp_path / "history").log("macro")
    assert rows.height == 140 and rows["series"].n_unique() == 70
