"""Every fault kind on small frames, by law: sound bars have none, one planted offence is found where it was planted."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.data import check
from longform import START, put, sound


def day(row):
    return str(START + timedelta(days=row))


def only(frame):
    faults = check(frame)
    assert len(faults) == 1, [str(fault) for fault in faults]
    return faults[0]


@given(st.integers(0, 1000), st.integers(1, 30))
def test_sound_bars_have_no_fault(seed, length):
    assert check(sound(seed, length)) == []


@given(st.integers(0, 7), st.sampled_from(["open", "high", "low", "close"]), st.sampled_from([0.0, -3.0]))
def test_non_positive_price(row, field, value):
    fault = only(put(sound(), row, **{field: value}))
    assert (fault.kind, fault.severity, fault.symbol, fault.date) == ("non-positive price", "error", "A", day(row))
    assert f"{field} {value:g}" in fault.fact


@given(st.integers(0, 7), st.sampled_from(["open", "close", "volume"]), st.sampled_from([np.nan, np.inf, None]))
def test_non_finite_value(row, field, value):
    fault = only(put(sound(), row, **{field: value}))
    assert (fault.kind, fault.severity, fault.date) == ("non-finite value", "error", day(row))
    assert field in fault.fact


@given(st.integers(0, 7), st.sampled_from(["open", "close"]), st.sampled_from([0.95, 1.05]))
def test_crossed_prices(row, field, factor):
    frame = sound()
    edge = frame["low" if factor < 1 else "high"][row]
    fault = only(put(frame, row, **{field: edge * factor}))
    assert (fault.kind, fault.severity, fault.date) == ("crossed prices", "error", day(row))


def test_rounding_is_not_crossing():
    frame = sound()
    assert check(put(frame, 3, close=frame["high"][3] * (1 + 5e-7))) == []
    assert only(put(frame, 3, close=frame["high"][3] * (1 + 2e-6))).kind == "crossed prices"


def test_swapped_columns_are_counted():
    fault = only(sound().rename({"low": "high", "high": "low"}))
    assert (fault.kind, fault.count, fault.date) == ("crossed prices", 8, day(0))
    assert "(and 7 more)" in str(fault)


@given(st.integers(0, 7), st.floats(-1e9, -1e-3))
def test_negative_volume(row, volume):
    fault = only(put(sound(), row, volume=volume))
    assert (fault.kind, fault.severity, fault.date) == ("negative volume", "error", day(row))


@given(st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_duplicates_are_counted_wherever_they_stand(rows):
    frame = sound()
    faults = check(pl.concat([frame, *(frame[row] for row in sorted(rows))]))
    twin = next(fault for fault in faults if fault.kind == "duplicate bar")
    assert (twin.severity, twin.count, twin.date) == ("error", len(rows), day(min(rows)))


@given(st.permutations(range(8)))
def test_unsorted_dates_are_found_in_exactly_the_unsorted_files(order):
    kinds = [fault.kind for fault in check(sound()[list(order)])]
    assert ("unsorted dates" in kinds) == (list(order) != list(range(8)))


@given(st.permutations(["A"] * 4 + ["B"] * 4))
def test_symbols_may_be_interleaved(order):
    parts = {symbol: iter(sound(length=4, symbol=symbol).rows()) for symbol in "AB"}
    frame = pl.DataFrame([next(parts[symbol]) for symbol in order], schema=sound().schema, orient="row")
    assert check(frame) == []


def test_gap_tells_count_and_longest():
    holed = sound(1, 8, "B")[[0, 2, 3, 6, 7]]
    fault = only(pl.concat([sound(), holed]))
    assert (fault.kind, fault.severity, fault.symbol, fault.date, fault.count) == ("gap", "warning", "B", day(1), 3)
    assert f"longest gap 2 dates from {day(4)}" in fault.fact


def test_late_start_and_early_end():
    faults = check(pl.concat([sound(), sound(1, 3, "B", start=2)]))
    assert [(f.kind, f.severity, f.symbol, f.date) for f in faults] == [
        ("late start", "warning", "B", day(2)),
        ("early end", "warning", "B", day(4)),
    ]


def test_suspended_days():
    fault = only(put(put(sound(), 2, volume=0.0), 5, volume=0.0))
    assert (fault.kind, fault.severity, fault.date, fault.count) == ("suspended day", "warning", day(2), 2)


SPLITS = [
    (0.5, "1/2"),
    (2 / 3, "2/3"),
    (0.1, "1/10"),
    (1 / 7, "1/7"),
    (2.0, "2"),
    (1.5, "3/2"),
    (10.0, "10"),
    (100.0, "100"),
]


@given(st.sampled_from(SPLITS), st.integers(1, 7), st.floats(-0.009, 0.009))
def test_split_like_jump(split, row, drift):
    (ratio, name), frame = split, sound()
    late = pl.int_range(8) >= row
    before = frame["close"][row - 1]
    scale = before * ratio * (1 + drift) / frame["open"][row]
    prices = [
        pl.when(late).then(pl.col(c) * scale).otherwise(pl.col(c)).alias(c) for c in ("open", "high", "low", "close")
    ]
    fault = only(frame.with_columns(prices))
    assert (fault.kind, fault.severity, fault.date, fault.count) == ("split-like jump", "warning", day(row), 1)
    assert fault.fact.endswith(f"nearly {name}")


@pytest.mark.parametrize("ratio", [0.45, 0.53, 0.75, 0.9, 1.28, 1.4, 2.2])
def test_other_moves_are_no_splits(ratio):
    frame = pl.DataFrame({"date": [START, START + timedelta(1)], "symbol": ["A", "A"], "close": [10.0, 10 * ratio]})
    assert check(frame) == []


def test_fields_that_are_absent_are_not_judged():
    assert check(sound().select("date", "symbol", "close")) == []
    assert only(put(sound().select("date", "symbol", "low", "close"), 2, close=9.5)).kind == "crossed prices"


def test_every_fault_names_a_remedy():
    frame = put(put(put(sound(), 1, volume=-1.0), 2, low=99.0), 3, close=None)
    faults = check(pl.concat([frame, frame[[0]]]))
    assert {fault.kind for fault in faults} >= {
        "negative volume",
        "crossed prices",
        "non-finite value",
        "duplicate bar",
    }
    assert all(fault.remedy and fault.date and fault.symbol == "A" for fault in faults)
