"""Schemas: every row is either sound or refused with a reason, none is lost, and sound rows pass again unchanged."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.tables import (
    BARS_1D,
    CORPORATE_ACTIONS,
    FUNDAMENTALS,
    MEMBERSHIP,
    TABLES,
    TICKS,
    Column,
    Table,
    bars,
    check_rows,
    stale,
)  # fmt: skip

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
PRICES = ("open", "high", "low", "close")


def bar(**cells):
    row = {
        "event_time": "2024-01-02",
        "symbol": "A",
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 5.0,
    }
    return row | cells


def frame(*rows):
    return pl.DataFrame(rows, infer_schema_length=None)


def reason(table=BARS_1D, **cells):
    checked = check_rows(frame(bar(**cells)), table)
    assert len(checked.good) + len(checked.refused) == 1
    return "" if len(checked.good) else checked.refused["reason"][0]


# --- laws ------------------------------------------------------------------------------------------------------------

price = st.one_of(st.sampled_from([9.0, 10.0, 11.0]), st.sampled_from([0.0, -1.0, np.nan, np.inf, None]))
rows = st.lists(
    st.fixed_dictionaries({
        "event_time": st.sampled_from([NOON, NOON + timedelta(days=1), None]),
        "symbol": st.sampled_from(["A", "B", None]),
        **dict.fromkeys(PRICES, price),
        "volume": st.sampled_from([0.0, 5.0, -5.0, None]),
        "amount": st.sampled_from([None, 50.0, -1.0]),
        "known_time": st.sampled_from([NOON + timedelta(days=2), NOON + timedelta(days=3)]),
        "source": st.sampled_from(["one", "two"]),
    }),
    max_size=12,
)  # fmt: skip
NAMES = ["event_time", *(column.name for column in BARS_1D.columns), "known_time", "source"]
SCHEMA = {
    name: pl.Datetime("us", "UTC") if name.endswith("time") else pl.String if name in ("symbol", "source") else pl.Float64
    for name in NAMES
}  # fmt: skip


def is_sound(row):
    """The rules of a daily bar once more, in plain Python."""
    numbers = [row[name] for name in PRICES]
    return (
        None not in (row["event_time"], row["symbol"], row["volume"], *numbers)
        and all(np.isfinite(x) and x > 0 for x in numbers)
        and row["volume"] >= 0
        and (row["amount"] is None or row["amount"] >= 0)
        and row["low"] == min(numbers)
        and row["high"] == max(numbers)
    )


@settings(max_examples=150, deadline=None)
@given(rows)
def test_every_row_is_sound_or_refused_and_none_is_lost(given_rows):
    given_frame = pl.DataFrame(given_rows, schema=SCHEMA)
    good, refused = check_rows(given_frame, BARS_1D)
    seen = {tuple(str(row[name]) for name in NAMES): row for row in given_rows}
    sound = {cells: row for cells, row in seen.items() if is_sound(row)}
    by_key = {}
    for row in sound.values():
        by_key.setdefault((row["event_time"], row["symbol"], row["known_time"]), []).append(row)
    expected = {
        tuple(str(row[name]) for name in NAMES) for twins in by_key.values() if len(twins) == 1 for row in twins
    }
    assert {tuple(str(cell) for cell in row) for row in good.select(NAMES).rows()} == expected
    assert len(good) + len(refused) == len(seen)
    assert refused["reason"].str.len_chars().min() or not len(refused)
    for name, text in zip(refused["reason"], refused["source"], strict=True):
        assert name == "two values under one key" or text in ("one", "two")
    again = check_rows(good, BARS_1D)
    assert_frame_equal(again.good, good)
    assert not len(again.refused)


@given(st.permutations(range(8)), st.sampled_from(list(TABLES)))
def test_order_is_kept_and_every_shipped_table_takes_its_own_rows(order, name):
    table = TABLES[name]
    cells = {"float": [1.0] * 8, "int": [1] * 8, "text": ["split"] * 8, "bool": [True] * 8, "time": [NOON] * 8}
    made = {column.name: cells[column.kind] for column in table.columns}
    made["event_time"] = [NOON + timedelta(days=day) for day in order]
    checked = check_rows(pl.DataFrame(made), table)
    assert checked.good["event_time"].to_list() == made["event_time"]
    assert not len(checked.refused)
    assert checked.refused.columns == [*checked.good.columns, "reason"]


# --- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cells", "expected"), [
    ({}, ""),
    ({"close": "11.0"}, ""),
    ({"close": "eleven"}, "close is no float"),
    ({"close": True}, "close is no float"),
    ({"close": [11.0]}, "close is no float"),
    ({"close": None}, "close is missing"),
    ({"close": float("nan")}, "close is not finite; crossed prices"),
    ({"volume": float("inf")}, "volume is not finite"),
    ({"volume": -1}, "volume is below 0"),
    ({"low": -1.0}, "low is below 1e-12"),
    ({"high": 10.5}, "crossed prices"),
    ({"symbol": None}, "symbol is missing"),
    ({"event_time": "soon"}, "event_time is no time"),
    ({"event_time": 20240102}, "event_time is no time"),
    ({"event_time": 1.7e9}, "event_time is no time"),
    ({"amount": None}, ""),
    ({"amount": -3.0}, "amount is below 0"),
])  # fmt: skip
def test_one_cell_at_a_time(cells, expected):
    assert reason(**cells) == expected


def test_a_fraction_is_no_integer_and_a_word_no_truth():
    tick = {"event_time": NOON, "symbol": "A", "price": 1.0, "size": 1.0}
    for value, refused in (
        (1, False),
        (2.0, False),
        ("3", False),
        (1.5, True),
        ("x", True),
        (True, True),
        (2**70, True),
    ):
        checked = check_rows(frame(tick | {"sequence": value}), TICKS)
        assert len(checked.refused) == refused, value
    member = {"event_time": NOON, "universe": "U", "symbol": "A"}
    for value, expected in ((True, [True]), (0, [False]), ("True", [True]), ("0", [False]), (2, []), ("yes", [])):
        assert check_rows(frame(member | {"member": value}), MEMBERSHIP).good["member"].to_list() == expected, value


def test_python_objects_of_mixed_types_are_judged_cell_by_cell():
    closes = pl.Series("close", [11.0, "11.5", None, "much", {"a": 1}], dtype=pl.Object)
    made = frame(*(bar(symbol=name) for name in "ABCDE")).with_columns(closes)
    checked = check_rows(made, BARS_1D)
    assert checked.good["close"].to_list() == [11.0, 11.5]
    assert checked.refused["reason"].to_list() == ["close is missing", "close is no float", "close is no float"]
    assert checked.refused["close"].to_list() == [None, "much", "{'a': 1}"]


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(("moment", "utc"), [
    (datetime(2024, 1, 2, 9, 30, tzinfo=NEW_YORK), "2024-01-02 14:30:00+00:00"),
    (datetime(2024, 7, 2, 9, 30, tzinfo=NEW_YORK), "2024-07-02 13:30:00+00:00"),
    (datetime(2024, 1, 2, 9, 30), "2024-01-02 09:30:00+00:00"),
    (datetime(2024, 1, 2).date(), "2024-01-02 00:00:00+00:00"),
    ("20240102", "2024-01-02 00:00:00+00:00"),
    ("2024-01-02", "2024-01-02 00:00:00+00:00"),
    ("2024-01-02 09:30", "2024-01-02 09:30:00+00:00"),
    ("2024-01-02T09:30:00.25", "2024-01-02 09:30:00.250000+00:00"),
    ("2024-01-02T09:30Z", "2024-01-02 09:30:00+00:00"),
    ("2024-01-02T09:30:00+08:00", "2024-01-02 01:30:00+00:00"),
    (" 2024-01-02 09:30:00-0500", "2024-01-02 14:30:00+00:00"),
])  # fmt: skip
def test_times_are_utc(moment, utc):
    (taken,) = check_rows(frame(bar(event_time=moment)), BARS_1D).good["event_time"]
    assert str(taken) == utc


def test_times_of_all_units_and_zones_meet():
    zones = [None, "UTC", "Asia/Shanghai", "America/New_York"]
    for unit in ("ms", "us", "ns"):
        for zone in zones:
            moment = pl.Series("event_time", [datetime(2024, 3, 10, 12)]).dt.cast_time_unit(unit)
            moment = moment.dt.replace_time_zone("UTC")
            moment = moment.dt.replace_time_zone(None) if zone is None else moment.dt.convert_time_zone(zone)
            good = check_rows(frame(bar()).with_columns(moment), BARS_1D).good
            assert good["event_time"].to_list() == [datetime(2024, 3, 10, 12, tzinfo=UTC)]
            assert good.schema["event_time"] == pl.Datetime("us", "UTC")


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_repetition_is_kept_once_and_a_contradiction_not_at_all():
    once = bar(known_time=NOON, source="one")
    later, other = once | {"known_time": NOON + timedelta(days=1), "close": 10.5}, once | {"symbol": "B"}
    checked = check_rows(frame(once, once, later, other, other | {"close": 10.0}), BARS_1D)
    assert checked.good.select("symbol", "close").rows() == [("A", 11.0), ("A", 10.5)]
    assert checked.refused["reason"].to_list() == ["two values under one key"] * 2
    assert checked.refused["close"].to_list() == ["11.0", "10.0"]


def test_rows_that_cannot_be_read_are_all_kept_as_they_came():
    checked = check_rows(frame(bar(close="ten"), bar(close="eleven"), bar(close="ten")), BARS_1D)
    assert checked.refused["close"].to_list() == ["ten", "eleven"]


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_are_named_and_never_their_content():
    secret = {"event_time": "2024-01-02", "symbol": "Jane Roe, 1 Elm Street", "open": "4000-1234-5678-9010"}
    with pytest.raises(DataError, match=r"'high'.*rename 'hihg'") as missing:
        check_rows(frame(bar(**secret)).rename({"high": "hihg"}), BARS_1D)
    with pytest.raises(DataError, match=r"did you mean 'amount'") as unknown:
        check_rows(frame(bar(amuont=1.0, **secret)), BARS_1D)
    told = str(missing.value) + str(unknown.value) + reason(**secret)
    assert told.endswith("open is no float")
    assert not any(value in told for value in secret.values())


def test_bad_schemas_are_refused():
    for columns, keys in (
        ((Column("Close"),), ()), ((Column("close"), Column("close")), ()), ((Column("source"),), ()),
        ((Column("close"),), ("symbol",)), ((Column("symbol", "text", optional=True),), ("symbol",)),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Table("mine", columns, keys)
    assert bars("5m").name == "bars_5m"
    assert BARS_1D.named("bars_1d_yahoo", adjustment="splits").fields == BARS_1D.fields


def test_rules_between_columns_need_what_they_speak_of():
    split = {"event_time": NOON, "symbol": "A", "kind": "split", "value": 0.0}
    assert check_rows(frame(split), CORPORATE_ACTIONS).refused["reason"].to_list() == ["empty split"]
    assert check_rows(frame(split | {"kind": "gift"}), CORPORATE_ACTIONS).refused["reason"].to_list() == [
        "unknown kind"
    ]
    report = {"event_time": NOON, "symbol": "A", "item": "eps", "value": 1.0}
    early = report | {"known_time": NOON - timedelta(days=1), "source": "x"}
    assert check_rows(frame(early), FUNDAMENTALS).refused["reason"].to_list() == ["known before it ended"]
    assert len(check_rows(frame(report), FUNDAMENTALS).good) == 1


# --- freshness -------------------------------------------------------------------------------------------------------


def test_a_table_is_stale_when_its_newest_event_is_too_old():
    assert stale(BARS_1D, NOON, now=NOON + timedelta(days=7)) is None
    fault = stale(BARS_1D, NOON, now=NOON + timedelta(days=7, hours=12))
    assert (fault.kind, fault.severity, fault.symbol, fault.date) == ("stale table", "warning", "bars_1d", "2024-01-02")
    assert fault.fact == "the newest event is 7.5 days old, 7 are allowed"
    assert stale(FUNDAMENTALS, NOON, now=NOON + timedelta(days=7000)) is None
    assert stale(BARS_1D, NOON, now=NOON.astimezone(timezone(timedelta(hours=8)))) is None


def test_text_that_a_database_cannot_hold_is_refused():
    rows = [bar(symbol=text) for text in ("A\0", "A" * 1_001, "é" * 1_000)]
    checked = check_rows(pl.DataFrame(rows), BARS_1D)
    assert checked.refused["reason"].to_list() == [
        "symbol holds a NUL character", "symbol is longer than 1000 characters"
    ]  # fmt: skip
    assert checked.good["symbol"].to_list() == ["é" * 1_000]
    long = {"event_time": NOON, "id": "a", "headline": "h" * 5_000, "source": "a\0"}
    assert check_rows(pl.DataFrame([long]), TABLES["news"]).refused["reason"].to_list() == [
        "source holds a NUL character"
    ]
