"""Closed days move into the history exactly once, wherever the move dies."""

import random
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import killed_rollover
from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.history import History
from fiduciary.data.live import connect, digest
from fiduciary.data.rollover import both, rollover
from fiduciary.data.tables import BARS_1M, Column, Table

DAY = datetime(2024, 1, 2, tzinfo=UTC)
NOTES = Table("notes", (Column("who", "text"), Column("x", optional=True)), ("who",))
VERSIONS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from("ab"),
        st.sampled_from([1.0, 2.0, None]),
        st.integers(0, 5),
    ),
    max_size=12,
)
NAMES = iter(range(10**9))


def notes(*rows: tuple[int, int, str, float | None, int]) -> pl.DataFrame:
    """Rows (day, hour, who, x, hour at which it was known)."""
    found = [
        {"event_time": DAY + timedelta(days=d, hours=h), "who": who, "x": x, "known_time": DAY + timedelta(hours=k)}
        for d, h, who, x, k in rows
    ]
    time = pl.Datetime("us", "UTC")
    return pl.DataFrame(found, {"event_time": time, "who": pl.String, "x": pl.Float64, "known_time": time})


def assert_same(left: pl.DataFrame, right: pl.DataFrame) -> None:
    assert_frame_equal(left.select(right.columns), right)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=VERSIONS, late=VERSIONS)
def test_both_stores_answer_as_one_did(url, tmp_path, first, late):
    """Law: a roll-over, and another after late rows, change no answer; the twin never rolls over."""
    table, twin = NOTES.named(f"notes_{next(NAMES)}"), NOTES.named(f"twin_{next(NAMES)}")
    history = History(tmp_path / "history")
    with connect(url) as live:
        # Half an hour apart: what claims the very moment of a row that has moved is a case of its own.
        for rows, delay in ((first, 0), (late, 30)):
            frame = notes(*rows).with_columns(pl.col("known_time") + pl.duration(minutes=delay))
            for name in (table, twin):
                live.append(name, frame, source="test")
            moved = rollover(live, history, before=date(2024, 1, 4), tables=[table.name])
            assert {day.day for day in moved} <= {date(2024, 1, 2), date(2024, 1, 3)}
            assert all(day >= date(2024, 1, 4) for day in live.dates(table.name))
            for hours in (-1, 0, 0.5, 1, 2.5, None):
                as_of = None if hours is None else DAY + timedelta(hours=hours)
                assert_same(both(live, history, table.name, as_of=as_of), live.read(twin.name, as_of=as_of))
        if table.name in history.tables():
            log = pl.concat([live.log(table.name), history.log(table.name).drop("batch")])
            assert not log.select("event_time", "who", "known_time").is_duplicated().any()


def test_day_moves_with_its_versions_counts_and_hash(url, tmp_path):
    history = History(tmp_path / "history")
    with connect(url) as live:
        live.append(NOTES, notes((0, 1, "a", 1.0, 1), (0, 1, "a", 2.0, 3), (1, 0, "a", 5.0, 1)), source="test")
        day, after = live.days("notes")
        (moved,) = rollover(live, history, before=after.day)
        assert moved == ("notes", day.day, 1, 2, 0, day.sha256)
        assert digest(history.log("notes").drop("batch")) == day.sha256
        assert live.days("notes") == (after,)
        assert rollover(live, history, before=after.day) == ()


def test_late_rows_are_the_next_generation_and_repeats_are_not_doubled(url, tmp_path):
    history = History(tmp_path / "history")
    with connect(url) as live:
        live.append(NOTES, notes((0, 1, "a", 1.0, 1)), source="test")
        rollover(live, history, before=date(2024, 1, 3))
        live.append(NOTES, notes((0, 1, "a", 1.0, 1), (0, 2, "late", 2.0, 2)), source="test")
        assert both(live, history, "notes")["who"].to_list() == ["a", "late"]
        (moved,) = rollover(live, history, before=date(2024, 1, 3))
        assert (moved.generation, moved.rows, moved.repeated) == (2, 2, 1)
        assert history.log("notes")["who"].to_list() == ["a", "late"]


def test_version_of_either_store_that_was_known_last_counts(url, tmp_path):
    history = History(tmp_path / "history")
    with connect(url) as live:
        history.append(NOTES, notes((0, 1, "a", 1.0, 1), (0, 2, "a", 9.0, 5)), source="vendor")
        live.append(NOTES, notes((0, 1, "a", 2.0, 2), (0, 2, "a", 3.0, 3)), source="feed")
        assert both(live, history, "notes")["x"].to_list() == [2.0, 9.0]
        assert both(live, history, "notes", as_of=DAY + timedelta(hours=3))["x"].to_list() == [2.0, 3.0]
        assert both(live, history, "notes", where={"x": [1.0, 3.0]}).is_empty()
        assert both(live, history, "notes", where={"x": 9.0, "who": "a"})["source"].to_list() == ["vendor"]
        with pytest.raises(ConfigError, match=r"'note'.*did you mean 'notes'"):
            both(live, history, "note")


def test_two_real_time_stores_roll_into_one_history(tmp_path):
    history = History(tmp_path / "history")
    for name in ("one", "two"):
        with connect(tmp_path / f"{name}.db") as live:
            live.append(NOTES, notes((0, 1, name, 1.0, 1)), source=name)
            rollover(live, history, before=date(2024, 1, 3))
    assert history.read("notes")["who"].to_list() == ["one", "two"]


def test_late_correction_that_claims_an_old_known_time_is_known_from_its_move_on(url, tmp_path):
    history = History(tmp_path / "history")
    with connect(url) as live:
        for x in (1.0, 2.0):
            live.append(NOTES, notes((0, 1, "a", x, 1)), source="feed")
            assert both(live, history, "notes")["x"].to_list() == [1.0]
            rollover(live, history, before=date(2024, 1, 3))
        assert history.read("notes", as_of=DAY + timedelta(hours=1))["x"].to_list() == [1.0]
        assert history.read("notes")["x"].to_list() == [2.0]


def test_day_stays_where_the_history_does_not_take_it(url, tmp_path, monkeypatch):
    history = History(tmp_path / "history")
    append = History.append

    def half(self, table, frame, **options):
        return append(self, table, frame.head(1), **options)

    with connect(url) as live:
        live.append(NOTES, notes((0, 1, "a", 1.0, 1), (0, 1, "b", 1.0, 1)), source="feed")
        monkeypatch.setattr(History, "append", half)
        for _ in range(2):
            with pytest.raises(
                DataError, match=r"'notes' on 2024-01-02.*1 of 2 rows missing.*stays in the real-time store"
            ):
                rollover(live, history, before=date(2024, 1, 3))
            assert len(live.read("notes")) == 2


def test_days_that_are_not_over_do_not_move(tmp_path):
    with connect(tmp_path / "live.db") as live, pytest.raises(ConfigError, match="only days that are over"):
        rollover(live, History(tmp_path / "history"), before=datetime.now(UTC).date() + timedelta(days=1))


@pytest.mark.parametrize("step", ["append", "log", "release"])
def test_move_that_dies_between_two_steps_is_taken_up(url, tmp_path, monkeypatch, step):
    """Before the append, after it, and after the check; late rows come in between."""
    history = History(tmp_path / "history")

    def die(*_, **__):
        raise KeyboardInterrupt

    with connect(url) as live:
        live.append(NOTES, notes((0, 1, "a", 1.0, 1)), source="test")
        with monkeypatch.context() as broken:
            broken.setattr(type(live) if step == "release" else History, step, die)
            with pytest.raises(KeyboardInterrupt):
                rollover(live, history, before=date(2024, 1, 3))
        live.append(NOTES, notes((0, 2, "late", 2.0, 2)), source="test")
        assert both(live, history, "notes")["who"].to_list() == ["a", "late"]
        assert [day.rows for day in rollover(live, history, before=date(2024, 1, 3))] == [1]
        assert [day.generation for day in rollover(live, history, before=date(2024, 1, 3))] == [2]
        assert history.log("notes")["who"].to_list() == ["a", "late"]
        assert live.log("notes").is_empty()


def test_killed_at_a_random_moment_it_neither_loses_nor_doubles(url, tmp_path):
    days = 3
    with connect(url) as live:
        live.append(BARS_1M, killed_rollover.bars(days), source="test")
    command = [sys.executable, killed_rollover.__file__, url, str(tmp_path / "history")]
    mover = subprocess.Popen(command, stdout=subprocess.PIPE)
    mover.stdout.readline()
    time.sleep(random.uniform(0, 0.2))
    mover.kill()
    mover.communicate()
    with connect(url) as live:
        history = History(tmp_path / "history")
        rollover(live, history, before=date(2024, 1, 2) + timedelta(days=days))
        assert live.log("bars_1m").is_empty()
        assert killed_rollover.faults(live, history, days) == (0, 0)
