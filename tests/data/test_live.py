"""The real-time store: the same laws for SQLite and PostgreSQL."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import killed_writer
from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.live import connect, digest
from fiduciary.data.tables import BARS_1M, TICKS, Column, Table

DAY = datetime(2024, 1, 2, tzinfo=UTC)
NOTES = Table("notes", (Column("who", "text"), Column("x", optional=True)), ("who",))
EVERYTHING = Table(
    "everything",
    (Column("key", "text"), Column("f", optional=True), Column("i", "int", optional=True),
     Column("t", "text", optional=True), Column("b", "bool", optional=True), Column("at", "time", optional=True)),
    ("key",),
)  # fmt: skip


def notes(*rows: tuple[int, str, float | None], known: list[int] | None = None) -> pl.DataFrame:
    """Rows (second of the day, who, x), perhaps with seconds at which they were known."""
    frame = pl.DataFrame(
        [{"event_time": DAY + timedelta(seconds=t), "who": who, "x": x} for t, who, x in rows],
        {"event_time": pl.Datetime("us", "UTC"), "who": pl.String, "x": pl.Float64},
    )
    if known is None:
        return frame
    return frame.with_columns(known_time=pl.Series([DAY + timedelta(seconds=k) for k in known], dtype=frame.dtypes[0]))


def told(frame: pl.DataFrame) -> list[tuple[int, str, float | None]]:
    """(second, who, x) of every row."""
    return [((t - DAY).seconds, who, x) for t, who, x in frame.select("event_time", "who", "x").rows()]


# --- what is kept ----------------------------------------------------------------------------------------------------

ROWS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.sampled_from([1.0, 2.0, None])), max_size=6)
BATCHES = st.lists(st.tuples(ROWS, st.lists(st.integers(0, 9), min_size=6, max_size=6)), max_size=5)
NAMES = iter(range(10**9))
NOW = 1_000


class Twin:
    """The store in the plainest Python: a list of versions, one row at a time. Seconds from `NOW` on stand for the present."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, str, int, float | None]] = []
        self.refused: set[tuple[int, str, int, float | None]] = set()

    def before(self, row):
        versions = [old for old in self.kept if old[:2] == row[:2] and old[2] <= row[2]]
        return max(versions, key=lambda old: old[2], default=None)

    def append(self, rows, known):
        offered = sorted({(t, who, k, x) for (t, who, x), k in zip(rows, known, strict=False)}, key=lambda row: row[2])
        crossed = {row for row in offered if any(row[:3] == other[:3] and row != other for other in offered)}
        self.refused |= crossed
        corrections = []
        for row in (row for row in offered if row not in crossed):
            before = self.before(row)
            if before is None or before[2] < row[2]:
                self.kept.append(row)
            elif before[3] != row[3]:
                corrections.append(row)
        for t, who, _, x in corrections:
            row = (t, who, NOW + len(self.kept), x)
            if self.before(row)[3] != x:
                self.kept.append(row)

    def read(self, as_of):
        known = {old[:2]: old for old in sorted(self.kept, key=lambda row: row[2]) if old[2] <= as_of}
        return [(t, who, x) for t, who, _, x in sorted(known.values(), key=lambda row: row[:2])]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_store_keeps_what_a_plain_list_would(url, batches):
    twin, table = Twin(), NOTES.named(f"notes_{next(NAMES)}")
    with connect(url) as live:
        live.append(table, notes(), source="test")
        for rows, known in batches:
            live.append(table, notes(*rows, known=known[: len(rows)]), source="test")
            twin.append(rows, known)
        for as_of in range(-1, 10):
            assert told(live.read(table.name, as_of=DAY + timedelta(seconds=as_of))) == twin.read(as_of)
        assert told(live.read(table.name)) == twin.read(2 * NOW)
        log = live.log(table.name)
        known = [min(int((k - DAY).total_seconds()), NOW) for k in log["known_time"]]
        kept = sorted(twin.kept, key=lambda row: row[:3])
        assert list(zip(told(log), known, strict=True)) == [((t, who, x), min(k, NOW)) for t, who, k, x in kept]
        assert len(live.quarantined(table.name)) == len(twin.refused)


def test_append_counts_and_repeats_add_nothing(url):
    with connect(url) as live:
        rows = notes((1, "a", 1.0), (2, "a", 2.0), (2, "a", 2.0))
        assert live.append(NOTES, rows, source="one") == (2, 1, 0)
        assert live.append(NOTES, rows, source="another") == (0, 3, 0)
        assert live.append(NOTES, notes((1, "a", 1.5)), source="one") == (1, 0, 0)
        assert told(live.read("notes")) == [(1, "a", 1.5), (2, "a", 2.0)]
        assert told(live.log("notes")) == [(1, "a", 1.0), (1, "a", 1.5), (2, "a", 2.0)]
        assert live.log("notes")["source"].to_list() == ["one"] * 3


def test_batch_sent_again_after_a_correction_does_not_undo_it(url):
    with connect(url) as live:
        first, known = notes((1, "a", 1.0)), DAY + timedelta(hours=1)
        live.append(NOTES, first, source="test", known=known)
        live.append(NOTES, notes((1, "a", 2.0)), source="test", known=known + timedelta(seconds=1))
        assert live.append(NOTES, first, source="test", known=known) == (0, 1, 0)
        assert told(live.read("notes")) == [(1, "a", 2.0)]


def test_version_that_comes_late_does_not_beat_a_newer_one(url):
    with connect(url) as live:
        rows = [notes((1, "a", x), known=[known]) for x, known in ((1.0, 1), (1.0, 3), (2.0, 2))]
        assert [live.append(NOTES, row, source="test").new for row in rows] == [1, 1, 1]
        at = [told(live.read("notes", as_of=DAY + timedelta(seconds=s)))[0][2] for s in (1, 2, 4)]
        assert at == [1.0, 2.0, 1.0]
        assert live.append(NOTES, pl.concat(rows), source="test") == (0, 3, 0)
        assert live.append(NOTES, notes((1, "a", 1.0)), source="test") == (0, 1, 0)


@pytest.mark.parametrize(
    "where", [{"who": 5}, {"who": ["a", 5]}, {"who": "\0"}, {"x": "1"}, {"x": True}, {"event_time": 5}]
)
def test_value_that_a_column_cannot_hold_is_named(url, where):
    with connect(url) as live:
        live.append(NOTES, notes((1, "a", 1.0)), source="test")
        with pytest.raises(ConfigError, match=rf"wanted of {next(iter(where))!r} must be of its kind"):
            live.read("notes", where=where)


def test_text_that_a_database_cannot_hold_is_refused(url):
    with connect(url) as live:
        bad = notes((1, "a\0", 1.0), (2, "a" * 1001, 1.0), (3, "é" * 1000, 1.0))
        assert live.append(NOTES, bad, source="test") == (1, 0, 2)
        assert sorted(live.quarantined("notes")["reason"]) == [
            "who holds a NUL character", "who is longer than 1000 characters"
        ]  # fmt: skip


def test_late_rows_are_put_in_place_and_the_future_is_not_read(url):
    with connect(url) as live:
        live.append(NOTES, notes((9, "a", 9.0)), source="test", known=DAY)
        live.append(NOTES, notes((3, "b", 3.0), (3, "a", 3.0)), source="test", known=DAY + timedelta(hours=1))
        assert told(live.read("notes")) == [(3, "a", 3.0), (3, "b", 3.0), (9, "a", 9.0)]
        assert told(live.read("notes", as_of=DAY)) == [(9, "a", 9.0)]
        ahead = datetime.now(UTC) + timedelta(days=1)
        live.append(NOTES, notes((9, "a", 10.0)), source="test", known=ahead)
        assert told(live.read("notes"))[-1] == (9, "a", 9.0)
        assert told(live.read("notes", as_of=ahead))[-1] == (9, "a", 10.0)


def test_read_selects_span_and_values_after_choosing_the_version(url):
    with connect(url) as live:
        live.append(NOTES, notes((1, "a", 1.0), (2, "b", 2.0), (3, "c", None)), source="test")
        live.append(NOTES, notes((1, "a", 7.0)), source="test")
        second = [DAY + timedelta(seconds=s) for s in range(5)]
        assert told(live.read("notes", start=second[2], stop=second[3])) == [(2, "b", 2.0)]
        assert told(live.read("notes", where={"who": ["a", "c"]})) == [(1, "a", 7.0), (3, "c", None)]
        assert told(live.read("notes", where={"event_time": second[2], "who": "b"})) == [(2, "b", 2.0)]
        assert told(live.read("notes", where={"x": 1.0})) == []  # no longer so
        assert told(live.read("notes", where={"who": []})) == []
        assert told(live.read("notes", where={"who": ["a", None], "event_time": "2024"})) == []
        assert told(live.read("notes", where={"x": [7, None]})) == [(1, "a", 7.0), (3, "c", None)]
        assert told(live.read("notes", where={"who": ["b", *map(str, range(70_000))]})) == [(2, "b", 2.0)]
        with pytest.raises(ConfigError, match=r"'whom'.*did you mean 'who'"):
            live.read("notes", where={"whom": "a"})
        with pytest.raises(ConfigError, match=r"'note'.*did you mean 'notes'"):
            live.read("note")


def test_every_kind_of_value_comes_back_as_it_was(url):
    at = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    rows = pl.DataFrame(
        {
            "event_time": [DAY, DAY, DAY, DAY],
            "key": ["a", "b", "", "c"],
            "f": [0.1 + 0.2, -1e308, 5e-324, None],
            "i": [2**63 - 1, -(2**63), 0, None],
            "t": ["", "\\.\n\"quoted\", tab\there", "高 🙂", None],
            "b": [True, False, True, None],
            "at": [at, DAY, at, None],
        }
    )  # fmt: skip
    with connect(url) as live:
        assert live.append(EVERYTHING, rows, source="test").new == 4
        assert live.append(EVERYTHING, rows, source="test").repeated == 4
        assert_frame_equal(live.read("everything").drop("known_time", "source"), rows.sort("key"))
        assert live.append(EVERYTHING, rows.with_columns(t=pl.lit("new")), source="test").new == 4
        assert live.read("everything")["t"].to_list() == ["new"] * 4


def test_refused_rows_are_kept_apart_once_with_the_reason(url):
    with connect(url) as live:
        bad = killed_writer.batch(0).with_columns(volume=pl.when(pl.col("symbol") == "S00").then(-1.0).otherwise(1.0))
        assert live.append(BARS_1M, bad, source="vendor") == (19, 0, 1)
        assert live.append(BARS_1M, bad, source="vendor").refused == 1
        kept = live.quarantined("bars_1m")
        assert "volume" in kept["reason"].item()
        assert kept["source"].item() == "vendor"
        assert '"symbol":"S00"' in kept["row"].item()


def test_correction_that_claims_an_old_known_time_is_known_from_now(url):
    with connect(url) as live:
        live.append(NOTES, notes((1, "a", 1.0)), source="test", known=DAY)
        assert live.append(NOTES, notes((1, "a", 2.0), (2, "a", 2.0)), source="test", known=DAY) == (2, 0, 0)
        assert live.append(NOTES, notes((1, "a", 2.0)), source="test", known=DAY) == (0, 1, 0)
        assert told(live.read("notes", as_of=DAY)) == [(1, "a", 1.0), (2, "a", 2.0)]
        assert told(live.read("notes")) == [(1, "a", 2.0), (2, "a", 2.0)]


def test_own_column_called_sequence_does_not_meet_the_cursor(url):
    tick = pl.DataFrame({"event_time": [DAY], "symbol": ["A"], "sequence": [77], "price": [1.0], "size": [1.0]})
    with connect(url) as live:
        live.append(TICKS, tick, source="test")
        rows, after = live.follow("ticks")
        assert (rows["sequence"].to_list(), after) == ([77], 1)


# --- readers ---------------------------------------------------------------------------------------------------------


def test_follow_hands_out_rows_in_order_of_arrival(url):
    with connect(url) as live, connect(url) as reader:
        live.append(NOTES, notes((9, "a", 1.0)), source="test")
        live.append(NOTES, notes((1, "a", 2.0), (2, "a", 3.0)), source="test")
        rows, after = reader.follow("notes", limit=2)
        assert told(rows) == [(9, "a", 1.0), (1, "a", 2.0)]
        rows, after = reader.follow("notes", after)
        assert told(rows) == [(2, "a", 3.0)]
        assert reader.follow("notes", after).after == after


def test_waiting_reader_wakes_when_another_connection_writes(url):
    with connect(url) as live, connect(url) as reader:
        live.append(NOTES, notes(), source="test")
        assert reader.follow("notes", wait_s=0.05).after == 0
        writer = threading.Timer(0.2, lambda: _append(url, notes((1, "a", 1.0))))
        writer.start()
        started = time.monotonic()
        assert told(reader.follow("notes", wait_s=20.0).rows) == [(1, "a", 1.0)]
        assert time.monotonic() - started < 10
        writer.join()


def _append(url: str, frame: pl.DataFrame) -> None:
    with connect(url) as live:
        live.append(NOTES, frame, source="another connection")


def test_follow_skips_nothing_while_many_write(url):
    writers, each = 4, 25

    def write(w: int) -> None:
        with connect(url) as live:
            for k in range(each):
                live.append(NOTES, notes(*((k, f"{w}-{n}", float(k)) for n in range(3))), source=str(w))

    _append(url, notes())
    threads = [threading.Thread(target=write, args=(w,)) for w in range(writers)]
    for thread in threads:
        thread.start()
    seen, after, until = [], 0, time.monotonic() + 60
    with connect(url) as reader:
        while len(seen) < writers * each * 3 and time.monotonic() < until:
            rows, after = reader.follow("notes", after, limit=7, wait_s=1.0)
            seen += told(rows)
        assert sorted(seen) == told(reader.log("notes"))
    for thread in threads:
        thread.join()


def test_rows_show_in_the_order_of_their_numbers(url, monkeypatch):
    """The classical trap: a slow writer has taken its numbers, a fast one takes later ones and is done first."""
    numbered, go = threading.Event(), threading.Event()
    with connect(url) as live:
        live.append(NOTES, notes(), source="test")
        before = type(live._engine).write

    def slowly(engine, name, work):
        def pause(cursor):
            result = work(cursor)
            numbered.set()
            assert go.wait(30)
            return result

        return before(engine, name, pause if name == "notes" and threading.current_thread() is slow else work)

    monkeypatch.setattr(type(live._engine), "write", slowly)
    slow = threading.Thread(target=_append, args=(url, notes((1, "slow", 1.0))))
    fast = threading.Thread(target=_append, args=(url, notes((2, "fast", 2.0))))
    slow.start()
    assert numbered.wait(30)
    fast.start()
    with connect(url) as reader:
        rows, after = reader.follow("notes", wait_s=0.3)
        assert rows.is_empty()
        go.set()
        fast.join()
        slow.join()
        assert told(reader.follow("notes", after).rows) == [(1, "slow", 1.0), (2, "fast", 2.0)]


def test_days_count_and_hash_all_versions(url):
    with connect(url) as live:
        live.append(NOTES, notes((0, "a", 1.0), (86_399, "a", 2.0)), source="test")
        live.append(NOTES, notes((0, "a", 5.0)), source="test")
        old = notes((0, "a", 1.0)).with_columns(pl.col("event_time") - pl.duration(days=19_724, microseconds=1))
        live.append(NOTES, old, source="test")
        before, day = live.days("notes")
        assert (before.day, before.rows) == (date(1969, 12, 31), 1)
        assert (day.day, day.rows, day.sha256) == (DAY.date(), 3, digest(live.log("notes", start=DAY)))
        assert digest(live.log("notes", start=DAY).head(2)) != day.sha256


# --- moving out ------------------------------------------------------------------------------------------------------


def test_claim_is_the_same_until_it_is_released(url):
    with connect(url) as live:
        live.append(NOTES, notes((1, "a", 1.0)), source="test")
        claim = live.claim("notes", DAY.date())
        live.append(NOTES, notes((2, "late", 2.0)), source="test")
        assert live.claim("notes", DAY.date())[1:4] == claim[1:4] == (DAY.date(), 1, claim.last_row)
        live.release(claim)
        live.release(claim)
        assert told(live.log("notes")) == [(2, "late", 2.0)]
        late = live.claim("notes", DAY.date())
        assert (late.generation, told(late.rows)) == (2, [(2, "late", 2.0)])
        live.release(late)
        assert live.claim("notes", DAY.date()) is None


def test_reader_is_told_of_rows_that_moved_unseen(url):
    with connect(url) as live:
        live.append(NOTES, notes((1, "a", 1.0)), source="test")
        after = live.follow("notes").after
        live.append(NOTES, notes((2, "a", 1.0)), source="test")
        live.release(live.claim("notes", DAY.date()))
        with pytest.raises(DataError, match="must keep up with the roll-over"):
            live.follow("notes", after)
        assert live.follow("notes", after + 1).after == after + 1
        assert live.follow("notes").rows.is_empty()


# --- the door of the store -------------------------------------------------------------------------------------------


def test_tables_and_schemas_are_remembered_and_others_refused(url):
    with connect(url) as live:
        live.append("bars_1m", killed_writer.batch(0), source="test")
        live.append(NOTES, notes(), source="test")
    with connect(url) as live:
        assert live.tables() == ("bars_1m", "notes")
        assert live.schema("bars_1m") == BARS_1M
        other = Table("notes", (Column("who", "text"), Column("x", "int", optional=True)), ("who",))
        with pytest.raises(DataError, match=r"must keep its schema.*got other column x"):
            live.append(other, notes((1, "a", 1.0)).with_columns(x=1), source="test")
        assert live.log("notes").is_empty()


def test_optional_columns_may_be_added_while_others_write(url):
    wide = Table("notes", (*NOTES.columns, Column("mood", "text", optional=True)), ("who",))
    with connect(url) as live, connect(url) as other:
        live.append(NOTES, notes((1, "a", 1.0)), source="test")
        other.append(NOTES, notes((2, "a", 1.0)), source="test")
        assert live.append(wide, notes((1, "a", 1.0)).with_columns(mood=pl.lit("glad")), source="test").new == 1
        assert other.append(NOTES, notes((1, "a", 1.0), (3, "a", 1.0)), source="test") == (1, 1, 0)
        assert live.append(NOTES, notes((4, "a", 1.0)), source="test").new == 1
        assert live.read("notes")["mood"].to_list() == ["glad", None, None, None]
        assert live.schema("notes") == wide


def test_names_too_long_for_a_database_are_refused(url):
    with connect(url) as live, pytest.raises(ConfigError, match="at most 50 letters"):
        live.append(NOTES.named("n" * 51), notes(), source="test")


def test_stores_are_made_by_many_at_once(url):
    errors, gate = [], threading.Barrier(4)

    def make() -> None:
        gate.wait()
        try:
            _append(url, notes((1, "a", 1.0)))
        except DataError as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with connect(url) as live:
        assert told(live.log("notes")) == [(1, "a", 1.0)]


def test_newer_format_is_refused_and_left(tmp_path):
    path = tmp_path / "live.db"
    connect(path).close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute('UPDATE "store.format" SET "version" = 2')
    with pytest.raises(DataError, match=r"format 2.*newer version"):
        connect(path)


@pytest.mark.parametrize("content", [b"event_time,symbol\n" * 300, b"SQLite format 3\x00" + bytes(5000)])
def test_damaged_file_is_named_and_left_as_it_was(tmp_path, content):
    path = tmp_path / "live.db"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"live\.db"):
        connect(path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["live.db"]


def test_damage_inside_a_file_is_named_and_left(tmp_path):
    path = tmp_path / "live.db"
    with connect(path) as live:
        live.append(BARS_1M, pl.concat(killed_writer.batch(k) for k in range(40)), source="test")
    whole = bytearray(path.read_bytes())
    whole[8192:] = b"\xff" * (len(whole) - 8192)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"live\.db.*left as it is"), connect(path) as live:
        live.read("bars_1m")
    assert path.read_bytes() == whole


def test_database_of_another_program_is_refused_and_left(tmp_path):
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE orders (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(DataError, match="empty place, got tables orders"):
        connect(path)
    assert path.read_bytes() == before


def test_file_held_by_another_writer_is_named(tmp_path):
    path = tmp_path / "live.db"
    _append(str(path), notes())
    with closing(sqlite3.connect(path)) as other, connect(path, patience_s=0.05) as live:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match="another process held it for too long"):
            live.append(NOTES, notes((1, "a", 1.0)), source="test")
        assert live.read("notes").is_empty()  # readers do not wait


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite3:///x"])
def test_unknown_url_is_refused(url):
    with pytest.raises(ConfigError, match="must be a path, sqlite:///path or postgresql"):
        connect(url)


def test_path_url_and_path_are_one_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _append("sqlite:///live.db", notes((1, "a", 1.0)))
    for url in ("live.db", Path("live.db"), f"sqlite:///{tmp_path}/live.db"):
        with connect(url) as live:
            assert told(live.read("notes")) == [(1, "a", 1.0)]
    with pytest.raises(DataError, match="folder that exists"):
        connect(tmp_path / "nowhere" / "live.db")


def test_unreachable_server_is_named_without_the_password():
    pytest.importorskip("psycopg")
    with pytest.raises(DataError, match="in reach and writable") as refused:
        connect("postgresql://me:secret@127.0.0.1:1/trades")
    assert "127.0.0.1:1/trades" in str(refused.value)
    assert "secret" not in str(refused.value)
    with pytest.raises(DataError, match="unexpected spaces") as refused:
        connect("postgresql://me:my secret@127.0.0.1:1/trades")
    assert "secret" not in str(refused.value)


def test_missing_client_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"fiduciary\[server\]"):
        connect("postgresql://host/db")


# --- deaths ----------------------------------------------------------------------------------------------------------


def _writer(url: str, first: int) -> subprocess.Popen[str]:
    command = [sys.executable, killed_writer.__file__, url, str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_writer_killed_at_a_random_moment_loses_and_doubles_nothing(url):
    acknowledged = 0
    for _ in range(2):
        writer = _writer(url, acknowledged)
        writer.stdout.readline()
        time.sleep(random.uniform(0, 0.2))
        writer.send_signal(signal.SIGKILL)
        acknowledged = max(int(line) for line in writer.communicate()[0].split() or [acknowledged + 1])
        with connect(url) as live:
            assert killed_writer.faults(live.log("bars_1m"), acknowledged) == (0, 0)


@pytest.mark.slow
def test_server_restarted_while_a_client_writes_and_another_waits(postgres):
    url, acknowledged, found = postgres.fresh(), [], []
    _append(url, notes())

    def write() -> None:
        with connect(url) as live:
            for k in range(150):
                live.append(BARS_1M, killed_writer.batch(k), source="test")
                acknowledged.append(k)

    def wait() -> None:
        with connect(url) as live:
            found.append(live.follow("notes", wait_s=30.0))

    threads = [threading.Thread(target=work) for work in (write, wait)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 20 and threads[0].is_alive():
        time.sleep(0.01)
    postgres.restart()
    _append(url, notes((1, "a", 1.0)))
    for thread in threads:
        thread.join()
    assert told(found[0].rows) == [(1, "a", 1.0)]
    with connect(url) as live:
        assert killed_writer.faults(live.log("bars_1m"), 150) == (0, 0)
        assert live.log("bars_1m")["event_time"].n_unique() == 150


def test_server_that_stays_away_is_given_up(postgres):
    with connect(postgres.fresh(), patience_s=0.3) as live:
        live.append(NOTES, notes(), source="test")
        postgres.control("stop", "-m", "immediate")
        try:
            with pytest.raises(DataError, match="in reach and writable"):
                live.read("notes")
        finally:
            postgres.control("start", "-o", f"-k {postgres.folder} -h ''")
        assert live.read("notes").is_empty()
