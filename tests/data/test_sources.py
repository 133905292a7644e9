"""Adapters of files, databases, archives, macro series and posts: what they translate, and what they refuse."""

import json
import sqlite3
import zipfile
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.core.extras import need
from fiduciary.data.sources import (
    SOURCES,
    Files,
    Fred,
    Kaggle,
    Licence,
    Offer,
    Patience,
    Posts,
    Request,
    Source,
    Sql,
    TransientError,
    offering,
)
from fiduciary.data.sources.mapped import EVERY
from fiduciary.data.sources.source import apart, translated
from fiduciary.data.tables import BARS_1D, MACRO, NEWS, check_rows
from loopback import DROPPED, PAGE, Answer, Loopback

RECORDED = Path(__file__).parent / "recorded"
QUICK = Patience(attempts=3, first=0.001, longest=0.01)
CSV = "date,open,high,low,close,vol\n2024-01-02,10,11,9,10.5,1000\n2024-01-03,10.5,11,10,10.4,1200\n"
BARS = {"volume": "vol"}


def only(pieces):
    """The frame of the one piece."""
    (piece,) = pieces
    assert piece.problem is None, piece.problem
    return piece.frame


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def door(frame, table=BARS_1D):
    """Good rows of what a source gave."""
    checked = check_rows(frame, table)
    assert checked.refused.is_empty(), checked.refused
    return checked.good


# --- what every source keeps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SOURCES.values(), ids=SOURCES)
def test_every_source_says_its_name_and_maps_onto_tables(kind):
    own = {"path": Path("x.csv"), "url": "x", "query": "q"}
    source = kind(**{name: own[name] for name in own if name in kind.__dataclass_fields__})
    assert source.name == kind.__name__.lower() and source.licence.text and source.rate >= 0
    for offer in source.offers:
        columns = {column.name: column for column in offer.table.columns}
        needed = {name for name, column in columns.items() if not column.optional}
        assert needed <= set(offer.columns) <= {*columns, "event_time", "known_time"} and "event_time" in offer.columns
        assert set(offer.scale) <= set(columns) and (not offer.asked or offer.asked in columns)


def test_a_table_that_is_not_offered_names_the_sources_that_have_it():
    with pytest.raises(ConfigError, match=r"offered by .*tushare") as caught:
        Fred().fundamentals(["AAPL"])
    assert "macro" in str(caught.value)
    assert offering("macro") == ("fred",)
    with pytest.raises(ConfigError, match="did you mean 'macro'"):
        Fred().pieces("marco", ["GDP"])


def test_names_must_be_given_where_the_source_does_not_know_all():
    with pytest.raises(ConfigError, match="no name"):
        Fred().macro([])


def test_a_missing_library_names_its_extra():
    with pytest.raises(ConfigError, match=r'pip install "fiduciary\[market\]"'):
        need("no_such_client.rest", extra="market", what="this source")


class Answering(Source):
    """A source that says what it is told to."""

    name, licence, offers = "answering", Licence("for tests"), ()

    def __init__(self, frame, **changes):
        self.frame, self.offers = frame, (Offer(MACRO, {"event_time": "day", "series": "id", "value": "v"}, **changes),)

    def ask(self, request):
        return self.frame


ASKED = Request("answering", "macro", ("A",), date(2020, 1, 2), date(2020, 1, 3))


def test_another_symbols_rows_an_empty_answer_and_a_page_are_no_answer():
    right = pl.DataFrame({"day": ["2020-01-02"], "id": ["A"], "v": [1.0]})
    assert Answering(right, asked="series").rows(ASKED).height == 1
    for wrong, words in (
        (right.with_columns(id=pl.lit("B")), "rows of B"),
        (right.clear(), "empty answer"),
        (pl.DataFrame({"html": ["<body>"]}), "none of the name 'day'"),
        (pl.DataFrame(), "empty answer"),
        (right.with_columns(day=pl.lit("2019-12-31")), "empty answer"),
    ):
        with pytest.raises(TransientError, match=words):
            Answering(wrong, asked="series").rows(ASKED)
    assert Answering(right.clear(), asked="series", empty=True).rows(ASKED).is_empty()


def test_days_that_were_not_asked_for_are_left_out_and_rows_without_a_day_kept_for_the_door():
    days = ["2020-01-01", "2020-01-02T23:59:00", "20200103", "2020-01-04", "soon"]
    rows = Answering(pl.DataFrame({"day": days, "id": ["A"] * 5, "v": [1.0] * 5}), asked="series").rows(ASKED)
    checked = check_rows(rows, MACRO)
    assert checked.good["event_time"].to_list() == [utc(2020, 1, 2, 23, 59), utc(2020, 1, 3)]
    assert checked.refused.select("event_time", "reason").rows() == [("soon", "event_time is no time")]


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (20240102, utc(2024, 1, 2)), (1704153600, "1704153600"), (19724, "19724"), (20240102.0, "20240102.0"),
        ("2024-13-02", "2024-13-02"), ("02/01/2024", "02/01/2024"), ("2024-01-02 09:30-05:00", utc(2024, 1, 2, 14, 30)),
        ("2024-03-10 02:30", "2024-03-10 02:30 America/New_York"), (" ", None), (None, None), (True, "true"),
    ],
)  # fmt: skip
def test_what_is_no_time_comes_as_it_was_and_passes_no_door(cell, kept):
    """A number is a day YYYYMMDD, as in `readers`, or nothing; it never counts from 1970."""
    frame = pl.DataFrame({"day": [cell], "id": ["A"], "v": [1.0]})
    rows = translated(frame, Answering(frame, zone="America/New_York").offers[0], "s")
    assert rows["event_time"].to_list() == [kept]
    assert check_rows(rows, MACRO).good.height == isinstance(kept, datetime)
    sound, strange = apart(rows)
    assert (sound.height, strange.height) == ((0, 1) if isinstance(kept, str) else (1, 0))
    assert isinstance(sound.schema["event_time"], pl.Datetime)


def test_units_are_scaled_as_declared():
    frame = pl.DataFrame({"day": ["2020-01-02"] * 2, "id": ["A", "A"], "v": ["3", "x"]})
    rows = translated(frame, Answering(frame, scale={"value": 100.0}).offers[0], "s")
    assert rows["value"].to_list() == [300.0, None]


moments = st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)).map(lambda t: t.replace(fold=0))
zones = st.sampled_from(["UTC", "America/New_York", "Asia/Shanghai", "Europe/London", "Asia/Kolkata"])
forms = st.sampled_from(
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y%m%d", "naive", "zoned", "Z"]
)


@settings(deadline=None)
@example(datetime(2024, 3, 10, 2, 30), "America/New_York", "naive")
@example(datetime(2024, 11, 3, 1, 30), "America/New_York", "%Y-%m-%d %H:%M")
@given(moments, zones, forms)
def test_times_mean_what_the_standard_library_says(moment, zone, form):
    """Days are midnights UTC; a time of day is of the declared zone; an hour that no clock shows is no time."""
    place = ZoneInfo(zone)
    cell: object = moment
    if form == "zoned":
        cell = moment.replace(tzinfo=UTC).astimezone(place).isoformat(timespec="microseconds")
        expected = moment.replace(tzinfo=UTC)
    elif form == "Z":
        cell, expected = moment.isoformat() + "Z", moment.replace(tzinfo=UTC)
    else:
        if form != "naive":
            cell = moment.strftime(form)
            moment = datetime.strptime(cell, form)
        day = form in ("%Y-%m-%d", "%Y%m%d")
        local = moment.replace(tzinfo=UTC if day else place)
        shown = local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) == moment
        expected = local.astimezone(UTC) if shown else None
    frame = pl.DataFrame({"day": [cell], "id": ["A"], "v": [1.0]})
    rows = check_rows(translated(frame, Answering(frame, zone=zone).offers[0], "s"), MACRO)
    assert rows.good["event_time"].to_list() == ([expected] if expected else [])


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "AAA.csv").write_text(CSV)
    (tmp_path / "BBB.csv").write_text(CSV.replace("10", "20").replace("11", "22"))
    pl.read_csv(tmp_path / "AAA.csv", try_parse_dates=True).write_parquet(tmp_path / "CCC.parquet")
    (tmp_path / "notes.txt").write_text("no data")
    return tmp_path


def test_a_folder_holds_one_file_per_symbol(folder):
    pieces = list(Files(folder, columns=BARS).bars([]))
    assert [piece.request.symbols for piece in pieces] == [("AAA",), ("BBB",), ("CCC",)]
    rows = door(pl.concat([door(piece.frame) for piece in pieces]))
    assert rows["symbol"].unique(maintain_order=True).to_list() == ["AAA", "BBB", "CCC"]
    assert rows["close"].to_list() == [10.5, 10.4, 20.5, 20.4, 10.5, 10.4] and rows["amount"].null_count() == 6
    assert rows["event_time"][0] == utc(2024, 1, 2)


def test_a_folder_is_listed_once_however_many_files_it_holds(folder, monkeypatch):
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterdir(path))
    assert all(piece.frame is not None for piece in Files(folder, columns=BARS).bars([]))
    assert listed == [folder]


def test_symbols_and_days_are_chosen_and_an_unknown_symbol_stops_before_any_work(folder):
    source = Files(folder, columns=BARS)
    rows = only(source.bars(["BBB"], start=date(2024, 1, 3)))
    assert rows["close"].to_list() == ["20.4"] and rows["symbol"].to_list() == ["BBB"]
    with pytest.raises(ConfigError, match="did you mean 'BBB'"):
        source.bars(["BBX"])


def test_a_long_file_may_be_any_table(tmp_path):
    path = tmp_path / "gdp.csv"
    path.write_text("quarter,id,value,released\n2020-01-01,GDP,1.5,2020-04-29\n2020-01-01,CPI,2.5,2020-02-13\n")
    source = Files(path, columns={"event_time": "quarter", "series": "id", "known_time": "released"})
    rows = door(only(source.macro(["GDP"])), MACRO)
    assert rows.select("series", "value").rows() == [("GDP", 1.5)] and rows["known_time"][0] == utc(2020, 4, 29)


def test_times_of_day_are_of_the_declared_zone(tmp_path):
    path = tmp_path / "minutes.csv"
    path.write_text(
        "date,symbol,open,high,low,close,volume\n2024-07-01 09:30,A,1,1,1,1,5\n2024-01-02 09:30,A,1,1,1,1,5\n"
    )
    rows = only(Files(path, zone="America/New_York").bars([], every="1m"))
    assert rows["event_time"].to_list() == [utc(2024, 7, 1, 13, 30), utc(2024, 1, 2, 14, 30)]


def test_bad_cells_reach_the_door_as_they_came(folder):
    (folder / "AAA.csv").write_text(CSV + "2024-01-04,ten,11,9,10,5\nyesterday,10,11,9,10,5\n2024-01-05,10,9,11,10,5\n")
    checked = check_rows(only(Files(folder, columns=BARS).bars(["AAA"])), BARS_1D)
    assert checked.good.height == 2
    assert checked.refused["reason"].to_list() == ["open is no float", "event_time is no time", "crossed prices"]
    assert checked.refused["open"][0] == "ten"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("AAA.csv", b"", "empty, cut short"),
        ("AAA.csv", b"date,open,high,low,close\n2024-01-02,1,1,1,1\n", "must have a column 'vol'"),
        ("CCC.parquet", b"PAR1", "empty, cut short"),
    ],
)
def test_a_broken_file_is_named_left_as_it_was_and_the_rest_goes_through(folder, name, content, words):
    (folder / name).write_bytes(content)
    pieces = {piece.request.symbols[0] + ".": piece for piece in Files(folder, columns=BARS).bars([])}
    broken = next(piece for stem, piece in pieces.items() if name.startswith(stem))
    assert broken.frame is None and words in str(broken.problem) and name in str(broken.problem)
    assert (folder / name).read_bytes() == content and broken.attempts == 1
    assert sum(piece.frame is not None for piece in pieces.values()) == 2


def test_wrong_settings_are_refused_before_any_work(folder, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'volume'"):
        Files(folder, columns={"volumes": "vol"}).bars([])
    with pytest.raises(ConfigError, match="existing file"):
        Files(tmp_path / "none.csv").bars([])
    (folder / "AAA.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match="one file per symbol"):
        Files(folder).bars([])


# --- SQL -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "prices.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE bars (date TEXT, symbol TEXT, open REAL, high REAL, low REAL, close REAL, vol INT)"
        )
        rows = [("2024-01-02", symbol, 10, 11, 9, close, 100) for symbol, close in (("AAA", 10.5), ("BBB", 10.25))]
        connection.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return path


@pytest.mark.parametrize("url", ["{}", "sqlite:///{}", "$PRICES"])
def test_a_database_is_read_by_path_by_url_and_by_environment(database, url, monkeypatch):
    if url.startswith("sqlite:"):
        pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("PRICES", str(database))
    source = Sql(url.format(database), "bars", columns=BARS)
    assert door(only(source.bars([])))["close"].to_list() == [10.5, 10.25]
    query = Sql(url.format(database), "SELECT * FROM bars WHERE close < 10.4", columns=BARS)
    assert door(only(query.bars(["BBB", "AAA"])))["symbol"].to_list() == ["BBB"]
    assert str(database) not in str(next(source.bars([])).request) + source.place + repr(source)


def test_a_database_is_never_written(database):
    before = database.read_bytes()
    (piece,) = Sql(str(database), "DELETE FROM bars WHERE 1 = 1", columns=BARS).bars([])
    assert "DELETE" in str(piece.problem) and database.read_bytes() == before
    connection, error = Sql(str(database), "bars")._connect()
    with closing(connection), pytest.raises(error, match="readonly"):
        connection.execute("DELETE FROM bars")


def test_databases_that_are_not_there(database, tmp_path, monkeypatch):
    monkeypatch.delenv("PRICES", raising=False)
    with pytest.raises(ConfigError, match=r"set \$PRICES"):
        Sql("$PRICES", "bars").bars([])
    with pytest.raises(ConfigError, match="existing file"):
        list(Sql(str(tmp_path / "none.sqlite"), "bars").bars([]))
    assert not (tmp_path / "none.sqlite").exists()
    (piece,) = Sql(str(database), "prices").bars([])
    assert "no such table" in str(piece.problem)
    pytest.importorskip("sqlalchemy")
    (piece,) = Sql("nodriver://me:s3cret@host/db", "bars").bars([])
    assert piece.frame is None and "s3cret" not in str(piece)


# --- archives --------------------------------------------------------------------------------------------------------


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_an_archive_of_one_file_per_symbol(tmp_path):
    members = {"stocks/AAA_data.csv": CSV, "stocks/BBB_data.csv": CSV, "readme.txt": "hi", "etfs/CCC_data.csv": CSV}
    source = Kaggle(
        zipped(tmp_path / "d.zip", **members), "stocks/*.csv", per_symbol=True, suffix="_data", columns=BARS
    )
    assert [piece.request.symbols for piece in source.bars([])] == [("AAA",), ("BBB",)]
    rows = door(only(source.bars(["BBB"])))
    assert rows["symbol"].unique().to_list() == ["BBB"] and rows["volume"].to_list() == [1000.0, 1200.0]
    with pytest.raises(ConfigError, match="did you mean 'BBB'"):
        source.bars(["BBBB"])


def test_an_archive_in_long_form(tmp_path):
    long = "date,symbol,open,high,low,close,vol\n2024-01-02,{},1,1,1,1,5\n"
    path = zipped(tmp_path / "d.zip", **{"a.csv": long.format("AAA"), "b.csv": long.format("BBB")})
    assert door(only(Kaggle(path, columns=BARS).bars([])))["symbol"].to_list() == ["AAA", "BBB"]
    assert door(only(Kaggle(path, columns=BARS).bars(["BBB"])))["symbol"].to_list() == ["BBB"]


def test_broken_archives_are_named_and_left_as_they_were(tmp_path):
    path = zipped(tmp_path / "d.zip", **{"a.csv": CSV, "b.csv": ""})
    pieces = {piece.request.symbols: piece for piece in Kaggle(path, per_symbol=True, columns=BARS).bars([])}
    assert pieces[("a",)].frame is not None and f"{path}/b.csv" in str(pieces[("b",)].problem)
    with pytest.raises(ConfigError, match=r"did you mean 'a.csv'"):
        Kaggle(path, "aa.csv").bars([])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cut short"):
        Kaggle(path).bars([])
    assert path.read_bytes() == data[: len(data) // 2]
    with pytest.raises(ConfigError, match="existing file"):
        Kaggle(tmp_path / "none.zip").bars([])


# --- macro series ----------------------------------------------------------------------------------------------------

PATH = "/series/observations"
GDP = Answer((RECORDED / "fred_observations.json").read_bytes())


@pytest.fixture(autouse=True)
def _at_any_rate(monkeypatch):
    monkeypatch.setattr(Fred, "rate", 0.0)


def fred(server, **settings):
    return Fred(server.url, "s3cret", **settings)


def test_vintages_of_a_series_are_known_from_the_day_after_their_release():
    with Loopback() as server:
        server.say(PATH, GDP)
        rows = door(only(fred(server).macro(["GDPC1"], start=date(2020, 1, 1), stop=date(2020, 12, 31))), MACRO)
        query = server.seen[0].query
    assert rows.select("event_time", "known_time", "value").rows() == [
        (utc(2020, 1, 1), utc(2020, 4, 30), 21537.9),
        (utc(2020, 1, 1), utc(2020, 5, 29), 21534.9),
        (utc(2020, 4, 1), utc(2020, 7, 31), 19408.8),
        (utc(2020, 7, 1), utc(2020, 10, 30), 21157.1),
    ]
    assert rows["series"].unique().to_list() == ["GDPC1"] and rows["unit"].unique().to_list() == ["lin"]
    assert query["series_id"] == "GDPC1" and query["observation_start"] == "2020-01-01" and query["api_key"] == "s3cret"
    assert (query["realtime_start"], query["realtime_end"]) == ("1776-07-04", "9999-12-31")


def observations(*values, count=None, offset=0):
    rows = [
        {
            "realtime_start": "2020-02-01",
            "realtime_end": "9999-12-31",
            "date": f"2020-01-{offset + n + 1:02d}",
            "value": str(v),
        }
        for n, v in enumerate(values)
    ]
    return Answer(json.dumps({"count": count or len(rows), "units": "lin", "observations": rows}).encode())


def test_pages_are_joined_and_the_latest_vintage_alone_tells_no_release():
    with Loopback() as server:
        server.say(PATH, observations(1, 2, count=3), observations(3, count=3, offset=2))
        rows = only(fred(server, page=2, vintages=False).macro(["X"]))
        assert [asked.query["offset"] for asked in server.seen] == ["0", "2"]
        assert "realtime_start" not in server.seen[0].query
    assert rows["value"].to_list() == ["1", "2", "3"] and rows["known_time"].null_count() == 3


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (observations(1, count=2), "1 of 2 rows"),
        (Answer(b'{"error_message": "busy"}'), "a page without"),
        (Answer(b"[]"), "a page without"),
        (PAGE, "must answer in JSON"),
        (DROPPED, "must answer"),
        (Answer(status=429), "HTTP 429"),
    ],
    ids=["fewer rows than promised", "an error in JSON", "a list", "a page", "dropped", "429"],
)
def test_wrong_answers_are_asked_again_then_reported(trouble, words):
    with Loopback() as server:
        server.say(PATH, trouble)
        (piece,) = fred(server).macro(["X"], patience=QUICK)
        assert piece.frame is None and words in str(piece.problem) and piece.attempts == 3
        assert "s3cret" not in str(piece.problem)
        server.say(PATH, trouble, observations(1))
        assert only(fred(server).macro(["X"], patience=QUICK))["value"].to_list() == ["1"]


def test_a_missing_token_names_its_variable(monkeypatch):
    monkeypatch.delenv("FRED_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"\$FRED_API_KEY"):
        list(Fred("http://127.0.0.1:9").macro(["GDP"]))


# --- posts -----------------------------------------------------------------------------------------------------------


def test_feeds_are_timed_text():
    rss = door(only(Posts(RECORDED / "feed_rss.xml").news()), NEWS)
    assert rss["event_time"].to_list() == [utc(2020, 1, 29, 19), utc(2020, 1, 30, 8, 30)]
    assert rss["id"].to_list() == ["wire-1", "https://example.org/2"] and rss["author"].to_list() == ["A. Writer", None]
    assert rss["headline"][1] == "Without a guid & author"
    atom = door(only(Posts(RECORDED / "feed_atom.xml").news()), NEWS)
    assert atom.select("event_time", "id", "headline", "body", "url", "author").row(0) == (
        utc(2020, 3, 2, 8, 15), "tag:example.org,2020:1", "Factory reopens", "After the flood.", "https://example.org/a",
        "B. Writer",
    )  # fmt: skip


def test_json_lines_are_mapped(tmp_path):
    path = tmp_path / "posts.jsonl"
    posts = [
        {"id": 1, "at": "2024-01-02T10:00:00Z", "text": "up", "tag": "AAA", "extra": {"likes": 3}},
        {"id": "b", "at": "2024-01-02T11:00:00+01:00", "text": "down"},
    ]
    path.write_text("\n".join(map(json.dumps, posts)) + "\n\n")
    source = Posts(path, columns={"event_time": "at", "headline": "text", "symbol": "tag"})
    rows = door(only(source.news()), NEWS)
    assert rows.select("event_time", "id", "symbol", "headline").rows() == [
        (utc(2024, 1, 2, 10), "1", "AAA", "up"), (utc(2024, 1, 2, 10), "b", None, "down"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.jsonl", '{"id": "a"}\n{"id": ', "line 2"),
        ("p.jsonl", "[1]\n", "line 1"),
        ("p.xml", "<rss><channel>", "cut short or no feed"),
        ("p.jsonl", '{"id": "a", "date": "2024-01-02"}\n', "must have a column 'headline'"),
    ],
)
def test_broken_posts_are_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    (piece,) = Posts(tmp_path / name).news()
    assert piece.frame is None and words in str(piece.problem) and str(tmp_path / name) in str(piece.problem)


def test_posts_of_another_kind_are_refused(tmp_path):
    (tmp_path / "p.txt").write_text("hello")
    with pytest.raises(ConfigError, match=r"\.jsonl"):
        Posts(tmp_path / "p.txt").news()


def test_mapped_sources_offer_every_table():
    assert {offer.table.name for offer in Files(Path("x.csv")).offers} == set(EVERY)
