"""The historical store: nothing is shown before it was known, nothing is lost, nothing is added twice."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import killed_historian
from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.history import History
from fiduciary.data.history import files as history_files
from fiduciary.data.history import log as history_log
from fiduciary.data.tables import BARS_1D, BARS_1M, FUNDAMENTALS, Column, Table, parsed, written
from history_twin import DAY, LEVELS, NOW, START, Row, Twin, frame, held


def tree(folder: Path) -> Mapping[str, str]:
    """{file: hash of its bytes} of a folder."""
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def data_files(folder: Path, table: str) -> list[Path]:
    return sorted((folder / table).glob("*.parquet"))


@pytest.fixture
def store(tmp_path) -> History:
    return History(tmp_path / "store")


# --- the law: nothing before it was known ----------------------------------------------------------------------------


row = st.builds(Row, st.integers(0, 5), st.sampled_from("ABC"), st.integers(1, 3).map(float), st.integers(0, 9))
batch = st.lists(row, min_size=1, max_size=6, unique_by=lambda r: (r[0], r[1], r[3]))


@settings(max_examples=12)
@given(st.lists(st.one_of(batch, st.just("compact")), min_size=1, max_size=6), st.integers(1, 4))
def test_a_store_says_what_was_known_then_in_rows_and_panels(steps, rows_per_file):
    twin = Twin()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_files, "ROWS", rows_per_file)
        history = History(folder)
        for step in [[Row(0, "A", 1.0, 0)], *steps]:
            if step == "compact":
                before = history.log("levels")
                history.compact("levels")
                assert_frame_equal(history.log("levels"), before)
            else:
                history.append(LEVELS, frame(step), source="test")
                twin.append(step)
        assert len(history.log("levels")) == len(twin.versions)
        for day in (0, 3, 6, 9, None):
            as_of = None if day is None else START + day * DAY
            rows, expected = history.read("levels", as_of=as_of), twin.read(NOW * 2 if day is None else day)
            assert held(rows) == expected
            assert rows["known_time"].max() <= (as_of or datetime.now(UTC))
            assert rows.equals(rows.sort("event_time", "symbol"))
            panel = history.panel("levels", as_of=as_of)
            grid = {
                (t, n): panel.values[i, j, 0] for i, t in enumerate(panel.dates) for j, n in enumerate(panel.symbols)
            }
            assert {key: level for key, level in grid.items() if not np.isnan(level)} == {
                (np.datetime64(START.replace(tzinfo=None) + day * DAY, "D"), symbol): level
                for (day, symbol), level in expected.items()
            }


def test_a_backfill_is_known_from_today_unless_a_pull_assumes_otherwise(store):
    store.append(LEVELS, frame([(0, "A", 1.0)]), source="today")
    with pytest.raises(ConfigError, match="known from the moment they were appended"):
        store.panel("levels", as_of="2025")
    assert len(store.read("levels", as_of="2025")) == 0 and len(store.read("levels")) == 1
    store.append(LEVELS, frame([(1, "A", 2.0)]), source="assumed", known=datetime(2024, 1, 3))
    assert held(store.read("levels", as_of="2025")) == {(1, "A"): 2.0}


def test_a_correction_that_claims_the_time_of_what_it_corrects_is_known_from_now(store):
    store.append(LEVELS, frame([(0, "A", 1.0, 1), (1, "A", 1.0, 2)]), source="first")
    again = store.append(LEVELS, frame([(0, "A", 1.0, 1), (1, "A", 1.5, 2)]), source="revised")
    assert again[1:5] == (1, 1, 1, 0)
    assert held(store.read("levels", as_of="2025")) == {(0, "A"): 1.0, (1, "A"): 1.0}
    assert held(store.read("levels")) == {(0, "A"): 1.0, (1, "A"): 1.5}
    assert store.append(LEVELS, frame([(1, "A", 1.5, 2)]), source="revised")[1:5] == (0, 1, 0, 0)


@settings(max_examples=10)
@given(st.lists(row, max_size=8, unique_by=lambda r: (r[0], r[1], r[3])), st.randoms(use_true_random=False))
def test_versions_count_in_the_order_of_knowledge_whatever_order_they_came_in(rows, random):
    truth = {
        day: {(r.day, r.symbol): r.level for r in sorted(rows, key=lambda r: r.known) if r.known <= day}
        for day in range(10)
    }
    with tempfile.TemporaryDirectory() as folder:
        history = History(folder)
        history.append(LEVELS, frame([(99, "Z", 1.0, 99)]), source="x")
        for one in random.sample([*rows, *rows], 2 * len(rows)):
            history.append(LEVELS, frame([one]), source="x")
        assert len(history.log("levels")) == len(rows) + 1
        for day, expected in truth.items():
            assert held(history.read("levels", as_of=START + day * DAY)) == expected


def test_a_version_that_comes_late_does_not_beat_a_newer_one(store):
    for level, known in ((1.0, 1), (1.0, 3), (2.0, 2)):
        assert store.append(LEVELS, frame([(0, "A", level)]), source="x", known=START + known * DAY).rows == 1
    levels = [held(store.read("levels", as_of=START + day * DAY))[0, "A"] for day in (1, 2, 4)]
    assert levels == [1.0, 2.0, 1.0]
    again = store.append(LEVELS, frame([(0, "A", 1.0, 1), (0, "A", 2.0, 2), (0, "A", 1.0, 3)]), source="x")
    assert again[1:5] == (0, 3, 0, 0)
    assert store.append(LEVELS, frame([(0, "A", 1.0)]), source="x").repeated == 1, "it says what is known now"


def test_without_skipping_the_later_append_counts_and_every_row_stays(store):
    for level in (1.0, 1.0, 2.0):
        assert store.append(LEVELS, frame([(0, "A", level, 1)]), source="x", skip_known=False).rows == 1
    assert len(store.log("levels")) == 3 and held(store.read("levels", as_of="2025")) == {(0, "A"): 2.0}
    np.testing.assert_array_equal(store.panel("levels", as_of="2025").values, [[[2.0]]])


def test_a_condition_on_a_value_is_one_on_the_latest_version(store):
    store.append(LEVELS, frame([(0, "A", 1.0, 1), (0, "A", 2.0, 2), (0, "B", 1.0, 1)]), source="x")
    assert held(store.read("levels", where={"level": 1.0})) == {(0, "B"): 1.0}
    assert held(store.read("levels", where={"symbol": ["A", "Z"], "level": [1.0, 2.0]})) == {(0, "A"): 2.0}
    assert len(store.read("levels", where={"symbol": []})) == 0
    assert store.read("levels", columns=["level"], where={"symbol": "B"}).rows() == [(1.0,)]
    assert held(store.read("levels", where={"symbol": ["B", None], "note": None})) == {(0, "B"): 1.0}
    assert (
        len(store.read("levels", where={"event_time": "2024-01-01", "symbol": ["A"] + [str(k) for k in range(70_000)]}))
        == 1
    )


@pytest.mark.parametrize(
    "where", [{"symbol": 5}, {"symbol": ["A", 5]}, {"symbol": "\0"}, {"level": "1"}, {"level": True}, {"event_time": 5}]
)
def test_a_value_that_a_column_cannot_hold_is_named(store, where):
    filled(store)
    with pytest.raises(ConfigError, match=rf"wanted of {next(iter(where))!r} must be of its kind"):
        store.read("levels", where=where)


@pytest.mark.parametrize(
    ("start", "stop", "days"),
    [
        ("2024-01-02", "2024-01-03", [1, 2]),
        (date(2024, 1, 2), date(2024, 1, 3), [1, 2]),
        (START + DAY, START + 2 * DAY, [1]),
        ("2024", "2024", [0, 1, 2]),
        ("2023", "2023-12", []),
        ("2024-01-02T00:00", None, [1, 2]),
        (None, datetime(2024, 1, 2), [0]),
        (None, "2024-01", [0, 1, 2]),
        ("0001", date.max, [0, 1, 2]),
    ],
)
def test_periods_in_words_are_whole_and_points_in_time_are_points(store, start, stop, days):
    store.append(LEVELS, frame((day, "A", 1.0, day) for day in range(3)), source="x")
    found = store.read("levels", start=start, stop=stop)
    assert [(t - START).days for t in found["event_time"]] == days


def test_times_with_zones_are_converted():
    zoned = datetime.fromisoformat("2024-03-01T10:30:00+08:00")
    assert history_files.ends(zoned) == (datetime(2024, 3, 1, 2, 30, tzinfo=UTC),) * 2
    assert history_files.ends("2024-02")[1] == datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    with pytest.raises(ConfigError, match="YYYY-MM-DD"):
        history_files.ends("yesterday")


# --- the door --------------------------------------------------------------------------------------------------------


def test_refused_rows_are_kept_apart_with_the_reason_and_the_others_go_in(store):
    bad = frame([(0, "A", 1.0, 1), (1, "A", float("inf"), 2), (2, None, 3.0, 3)])
    done = store.append(LEVELS, bad, source="vendor", once="piece 7")
    assert (done.rows, done.refused) == (1, 2)
    apart = store.quarantined("levels")
    assert apart["reason"].to_list() == ["level is not finite", "symbol is missing"]
    assert apart["level"].to_list() == ["inf", "3.0"] and set(apart["source"]) == {"vendor"}
    assert (datetime.now(UTC) - apart["received"].max()) < timedelta(minutes=1)
    assert store.tables() == ("levels",)
    store.append(LEVELS, bad, source="vendor", once="piece 7")
    assert len(store.quarantined("levels")) == 2
    store.compact("levels")
    assert len(store.quarantined("levels")) == 2


def test_a_table_without_refused_rows_has_an_empty_quarantine(store):
    store.append(LEVELS, frame([(0, "A", 1.0)]), source="x")
    assert store.quarantined("levels").columns == [
        "event_time", "symbol", "level", "note", "known_time", "source", "reason", "received"
    ]  # fmt: skip


def test_bad_columns_stop_before_anything_is_made(store):
    with pytest.raises(DataError, match="'level'"):
        store.append(LEVELS, frame([(0, "A", 1.0)]).rename({"level": "levl"}), source="x")
    with pytest.raises(ConfigError, match="did you mean 'bars_1d'"):
        store.append("bars_1dd", frame([(0, "A", 1.0)]), source="x")
    with pytest.raises(ConfigError, match="'batch'"):
        store.append(replace(LEVELS, columns=(*LEVELS.columns, Column("batch"))), frame([(0, "A", 1.0)]), source="x")
    assert not Path(store.url).exists() and store.tables() == ()


def test_a_schema_stays_and_may_only_get_optional_columns(store):
    store.append(LEVELS, frame([(0, "A", 1.0)]), source="x")
    assert store.schema("levels") == LEVELS
    wider = replace(LEVELS, columns=(*LEVELS.columns, Column("depth", "int", optional=True)))
    store.append(wider, frame([(1, "A", 2.0)]).with_columns(depth=3), source="x")
    assert store.schema("levels") == wider
    assert store.read("levels")["depth"].to_list() == [None, 3]
    store.append(LEVELS, frame([(2, "A", 2.0)]), source="an older program")
    store.append("levels", frame([(3, "A", 2.0)]), source="by name")
    assert store.read("levels")["depth"].to_list() == [None, 3, None, None]
    store.compact("levels")
    assert store.read("levels")["depth"].to_list() == [None, 3, None, None]
    full = replace(LEVELS, columns=(*LEVELS.columns, Column("spread")))
    other = replace(LEVELS, columns=(LEVELS.columns[0], Column("level", "int"), LEVELS.columns[2]), adjustment="splits")
    for table, fault in ((full, "column spread"), (other, "adjustment, column level")):
        with pytest.raises(DataError, match=f"must keep its schema.*{fault}"):
            store.append(table, frame([(1, "A", 2.0)]), source="x")
    assert store.schema("levels") == wider and len(store.log("levels")) == 4


@pytest.mark.parametrize("table", [BARS_1M, FUNDAMENTALS, replace(LEVELS, rules={"no": "level > 0"}, fresh=DAY)])
def test_a_schema_comes_back_as_it_was(table):
    assert history_log.agreed(table, table) == table
    assert parsed(written(table)) == table


def test_keys_of_every_kind_are_told_apart(store):
    kinds = {"a": "text", "b": "int", "c": "float", "d": "bool", "e": "time"}
    table = Table("keyed", (*(Column(name, kind) for name, kind in kinds.items()), Column("x")), tuple(kinds))
    base = {"event_time": START, "a": "é\"'", "b": 1, "c": 0.5, "d": True, "e": START, "x": 1.0}
    others = {"a": "", "b": 2, "c": 0.25, "d": False, "e": START + DAY}
    rows = [base, *(base | {name: value, "x": 2.0} for name, value in others.items())]
    for part in (rows[:3], rows[2:]):
        store.append(table, pl.DataFrame(part), source="x")
    assert len(store.log("keyed")) == len(store.read("keyed")) == 6
    for name, value in others.items():
        assert store.read("keyed", where={name: value})["x"].to_list() == [2.0]


# --- writers ---------------------------------------------------------------------------------------------------------


def test_an_append_with_a_name_happens_once(store):
    first = store.append(LEVELS, frame([(0, "A", 1.0, 1)]), source="x", once="a", note={"licence": "CC0"})
    again = store.append(LEVELS, frame([(0, "A", 9.0, 2)]), source="x", once="a")
    assert (first.rows, again.rows, again.repeated, again.version) == (1, 0, 1, first.version)
    assert held(store.read("levels")) == {(0, "A"): 1.0}
    told = store.commits("levels").row(0, named=True)
    assert (told["once"], told["rows"], json.loads(told["note"])) == ("a", 1, {"licence": "CC0"})
    nothing = store.append(LEVELS, frame([(0, "A", 1.0, 1)]), source="x")
    assert nothing.version == first.version, "an append that adds nothing makes no commit"


def test_many_writers_at_once_lose_and_double_nothing(store):
    def write(k):
        day = k % 6
        rows = frame([(day, "A", float(k), 1), (day, "B", np.inf, 1)])
        return store.append(LEVELS, rows, source=str(k), once=f"append {day}")

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(write, sorted([*range(6)] * 3)))
    assert sum(commit.rows for commit in done) == len(store.log("levels")) == len(store.quarantined("levels")) == 6


def test_writers_at_once_see_each_other(store):
    """Ten contradictions of each of four writers under one past moment, beside a row that all of them bring."""
    store.append(LEVELS, frame([(9, "Z", 1.0, 9)]), source="x")

    def write(k):
        return store.append(LEVELS, frame([(0, "A", float(k), 1), (k % 10, "B", 1.0, 1)]), source=str(k))

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(write, range(40)))
    log = store.log("levels").filter(pl.col("symbol") != "Z")
    assert sum(commit.rows for commit in done) == len(log) == 50
    assert sum(commit.repeated for commit in done) == 30 and sum(commit.restamped for commit in done) == 39
    assert (log.filter(pl.col("known_time") == START + DAY).group_by("event_time", "symbol").len()["len"] == 1).all()


def test_of_the_same_news_of_many_writers_at_once_one_is_kept(store):
    store.append(LEVELS, frame([(9, "Z", 1.0, 9)]), source="x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: store.append(LEVELS, frame([(k % 2, "A", 1.0)]), source=str(k)), range(12)))
        list(pool.map(lambda k: store.append(LEVELS.named(f"of_{k}"), frame([(0, "A", 1.0)]), source="x"), range(4)))
    assert len(store.log("levels")) == 3 and len(store.tables()) == 5


def test_writers_that_widen_a_table_at_once_all_get_in(store):
    store.append(LEVELS, frame([(0, "A", 1.0)]), source="x")
    wider = replace(LEVELS, columns=(*LEVELS.columns, Column("depth", "int", optional=True)))

    def write(k):
        return store.append(wider if k % 2 else LEVELS, frame([(k + 1, "A", 1.0)]), source="x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    assert len(store.log("levels")) == 9 and store.schema("levels") == wider


def test_a_killed_writer_leaves_whole_appends_and_goes_on_where_it_stood(tmp_path):
    history, batches = History(tmp_path / "store"), 9
    command = [sys.executable, killed_historian.__file__, str(history.url), "0", str(batches)]
    for stop in (1, 4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert any(line.strip() == str(stop) for line in process.stdout)
            process.kill()
        assert killed_historian.faults(history, stop + 1) == (0, 0)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert killed_historian.faults(history, batches) == (0, 0)
    expected = {(k, symbol): level for k in range(batches) for k, symbol, level in killed_historian.batch(k)}
    assert held(history.read("levels")) == {key: level for key, level in expected.items() if level < np.inf}


# --- damage ----------------------------------------------------------------------------------------------------------


def filled(store: History) -> Path:
    for day in range(3):
        store.append(LEVELS, frame((day, symbol, 1.0, day) for symbol in "AB"), source="x")
    return Path(store.url) / "levels"


@pytest.mark.parametrize("damage", ["a bit", "the end", "all", "gone"])
def test_a_damaged_file_is_named_and_left_as_it_was(store, damage):
    filled(store)
    path = data_files(Path(store.url), "levels")[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    changed = {"a bit": bytes(data), "the end": bytes(data[:-9]), "all": b"", "gone": None}[damage]
    path.unlink() if changed is None else path.write_bytes(changed)
    before = tree(Path(store.url))
    for use in (store.read, store.panel, store.log, store.compact):
        with pytest.raises(DataError, match=path.name):
            use("levels")
    with pytest.raises(DataError, match=path.name):
        store.append(LEVELS, frame((day, "A", 2.0, 5) for day in range(3)), source="x")
    assert tree(Path(store.url)) == before


def test_a_full_disk_is_named_and_leaves_nothing_behind(store, monkeypatch):
    store.append(LEVELS, frame([(0, "A", 1.0, 0)]), source="x")
    before = tree(Path(store.url))

    def full(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="No space left"):
        patch.setattr(Path, "write_bytes", full)
        store.append(LEVELS, frame([(1, "A", 2.0, 1)]), source="x")
    assert tree(Path(store.url)) == before


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="must lie where it can be written"):
        History(tmp_path / "file" / "store").append(LEVELS, frame([(0, "A", 1.0, 0)]), source="x")


@pytest.mark.parametrize("text", ["", "{", '{"add": 1}\n{', "\x00\x01"])
def test_a_damaged_log_is_named_and_left_as_it_was(store, text):
    path = filled(store) / "_delta_log" / f"{2:020}.json"
    path.write_text(text)
    before = tree(Path(store.url))
    for use in (store.read, store.panel, store.compact, store.quarantined):
        with pytest.raises(DataError, match=path.name):
            use("levels")
    with pytest.raises(DataError, match=path.name):
        store.append(LEVELS, frame([(9, "A", 2.0)]), source="x")
    assert tree(Path(store.url)) == before


def test_a_table_of_another_program_is_refused(store):
    from deltalake import write_deltalake

    write_deltalake(str(Path(store.url) / "levels"), frame([(0, "A", 1.0)]))
    with pytest.raises(DataError, match="another program"):
        store.read("levels")
    folder = filled(History(Path(store.url) / "b"))
    rows = History(folder.parent).log("levels")
    write_deltalake(str(folder), rows, mode="append")
    with pytest.raises(DataError, match="as it was written"):
        History(folder.parent).read("levels")


def test_unknown_names_name_the_nearest(store):
    with pytest.raises(ConfigError, match="append to it first"):
        store.read("levels")
    filled(store)
    with pytest.raises(ConfigError, match="did you mean 'levels'"):
        store.read("level")
    with pytest.raises(ConfigError, match="did you mean 'symbol'"):
        store.read("levels", where={"simbol": "A"})
    with pytest.raises(ConfigError, match="did you mean 'level'"):
        store.panel("levels", fields=["levl"])
    with pytest.raises(ConfigError, match=r"every symbol must have a row.*C"):
        store.panel("levels", symbols=["A", "C"])


# --- compaction ------------------------------------------------------------------------------------------------------


def test_compaction_makes_few_sorted_files_of_many_and_vacuum_clears_what_is_left(store):
    folder = filled(store)
    store.append(LEVELS, frame([(0, "A", 2.0, 9), (2, "B", 3.0, 9)]), source="correction")
    before = store.log("levels")
    done = store.compact("levels")
    assert (done.before, done.after) == (4, 1)
    assert_frame_equal(store.log("levels"), before)
    assert store.compact("levels") == (done.version, 1, 1), "one file is as compact as it gets"
    (folder / "orphan-of-a-killed-writer.parquet").write_bytes(b"half")
    assert store.vacuum("levels") == ()
    assert len(store.vacuum("levels", older=timedelta(0))) == 5 and len(data_files(folder.parent, "levels")) == 1
    assert_frame_equal(store.log("levels"), before)


def test_of_two_compactions_at_once_one_stands_aside(store, monkeypatch):
    filled(store)
    before, real = store.log("levels"), history_files.Files.write

    def meanwhile(self, rows, *, news=True):
        monkeypatch.setattr(history_files.Files, "write", real)
        store.append(LEVELS, frame([(8, "A", 8.0, 8)]), source="a writer in between")
        store.compact("levels")
        return real(self, rows, news=news)

    monkeypatch.setattr(history_files.Files, "write", meanwhile)
    with pytest.raises(DataError, match="another one was faster"):
        store.compact("levels")
    assert len(store.log("levels")) == len(before) + 1


# --- panels ----------------------------------------------------------------------------------------------------------


def bars(table, times, symbols, seed=0, **columns):
    """Sound random bars of every symbol at every time."""
    rng = np.random.default_rng(seed)
    time, symbol = np.repeat(times, len(symbols)), list(symbols) * len(times)
    price = rng.uniform(1, 2, (4, len(time)))
    price.sort(axis=0)
    low, opened, close, high = price
    return pl.DataFrame(
        {"event_time": time, "symbol": symbol, "open": opened, "high": high, "low": low, "close": close,
         "volume": rng.uniform(0, 9, len(time))} | columns
    )  # fmt: skip


def test_days_are_days_and_minutes_are_times(store):
    days = np.arange("2024-01-01", "2024-01-04", dtype="datetime64[D]").astype("datetime64[us]")
    store.append(BARS_1D, bars(BARS_1D, days, "BA"), source="x")
    daily = store.panel("bars_1d")
    assert daily.dates.dtype == "datetime64[D]" and daily.symbols == ("A", "B")
    assert daily.fields == ("open", "high", "low", "close", "volume"), "the amount may be empty"
    minutes = np.datetime64("2024-01-01T09:30", "us") + np.arange(90) * np.timedelta64(1, "m")
    store.append(BARS_1M, bars(BARS_1M, minutes, "AB"), source="x")
    panel = store.panel("bars_1m", symbols=["B"], fields=["volume", "close"])
    assert panel.dates.dtype == "datetime64[us]" and panel.values.shape == (90, 1, 2)
    assert len(panel.between("2024-01-01T10:30", None).dates) == 30
    expected = store.read("bars_1m", where={"symbol": "B"})
    np.testing.assert_array_equal(panel.values[:, 0], expected["volume", "close"].to_numpy())


def test_a_panel_equals_the_rows_over_many_files_with_gaps(store, monkeypatch):
    monkeypatch.setattr(history_files, "ROWS", 50)
    days = np.arange("2023-01-01", "2023-03-01", dtype="datetime64[D]").astype("datetime64[us]")
    every = bars(BARS_1D, days, "ABCDE")
    for k in range(4):
        store.append(BARS_1D, every.sample(fraction=0.5, seed=k), source="x", known=datetime(2024, 1, k + 1))
        revised = every.sample(fraction=0.1, seed=k).with_columns(pl.col("volume") + k)
        store.append(BARS_1D, revised, source="x", known=datetime(2024, 1, k + 1, 12))
    for as_of in ("2024-01-01", "2024-01-02T12:00", "2024-01-03", None):
        rows, panel = store.read("bars_1d", as_of=as_of), store.panel("bars_1d", as_of=as_of)
        assert panel.mask.sum() == len(rows)
        t = np.searchsorted(
            panel.dates, rows["event_time"].dt.replace_time_zone(None).to_numpy().astype("datetime64[D]")
        )
        n = np.array([panel.symbols.index(symbol) for symbol in rows["symbol"]])
        np.testing.assert_array_equal(panel.values[t, n], rows.select(panel.fields).to_numpy())


def test_a_panel_refuses_empty_cells_and_other_keys(store):
    days = np.array(["2024-01-01", "2024-01-02"], "datetime64[us]")
    store.append(BARS_1D, bars(BARS_1D, days, "A", amount=[1.0, None]), source="x")
    with pytest.raises(DataError, match="nan in amount of A on 2024-01-02"):
        store.panel("bars_1d", fields=["amount"])
    item = {"event_time": [START], "symbol": ["A"], "item": ["sales"], "value": [1.0]}
    store.append(FUNDAMENTALS, pl.DataFrame(item), source="x")
    with pytest.raises(ConfigError, match="key symbol"):
        store.panel("fundamentals")


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 5))
def test_files_are_cut_between_times(times, rows):
    times.sort()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_files, "ROWS", rows)
        cuts = list(history_files.pieces(pl.Series(times, dtype=pl.Int64)))
    assert [t for cut in cuts for t in times[cut]] == times
    parts = [times[cut] for cut in cuts]
    assert all(a[-1] < b[0] for a, b in pairwise(parts))
    assert all(len(part) <= rows or len(set(part)) == 1 for part in parts)


span = st.tuples(st.integers(0, 6), st.integers(0, 3)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(st.tuples(span, span, span), min_size=1, max_size=8))
def test_files_that_may_share_a_key_stand_on_levels_in_order_of_knowledge(boxes):
    names = ("event_time", "symbol", "known_time")
    ranges = {
        f"{end}.{name}": [box[k][e] for box in boxes]
        for k, name in enumerate(names)
        for e, end in enumerate(("min", "max"))
    }
    level, doubt = history_files.levels(pl.DataFrame(ranges), names[:2])
    meets = lambda a, b: a[0] <= b[1] and b[0] <= a[1]  # noqa: E731
    doubts = []
    for i, (event, symbol, known) in enumerate(boxes):
        for j in range(i):
            if meets(event, boxes[j][0]) and meets(symbol, boxes[j][1]):
                doubts.append(meets(known, boxes[j][2]))
                assert level[i] != level[j]
                assert doubts[-1] or (level[i] < level[j]) == (known < boxes[j][2])
    assert doubt == any(doubts)


# --- elsewhere -------------------------------------------------------------------------------------------------------


def test_an_object_store_keeps_the_same_law():
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        import urllib.request

        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
        options = {
            "aws_endpoint_url": url, "aws_access_key_id": "x", "aws_secret_access_key": "x", "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }  # fmt: skip
        store = History("s3://bucket/store", options)
        assert "secret" not in repr(store) and store.tables() == ()
        store.append(LEVELS, frame([(0, "A", 1.0, 1), (0, "B", float("inf"), 1)]), source="x", once="a")

        def write(k):
            return store.append(LEVELS, frame([(k % 3, "A", 2.0, 5)]), source="x", once=f"b {k % 3}").rows

        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(write, range(6))) == 3
        assert held(store.read("levels", as_of=START + DAY)) == {(0, "A"): 1.0}
        assert store.compact("levels").after == 1
        assert held(store.read("levels")) == {(day, "A"): 2.0 for day in range(3)}
        np.testing.assert_array_equal(store.panel("levels").values.ravel(), [2.0] * 3)
        assert store.tables() == ("levels",) and len(store.quarantined("levels")) == 1
    finally:
        server.stop()


def test_the_module_is_cheap_to_import():
    code = "import sys, fiduciary.data.history; print({'polars', 'deltalake', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
