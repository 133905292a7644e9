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


def closes(*values):
    dates = [START + timedelta(days=k) for k in range(len(values))]
    return pl.DataFrame({"date": dates, "symbol": ["A"] * len(values), "close": [float(v) for v in values]})


@pytest.mark.parametrize("ratio", [0.71, 0.75, 1 / 1.3, 1 / 1.2, 0.9, 1.28, 1.3])
def test_moves_within_the_limit_pass(ratio):
    assert check(closes(10, 10 * ratio)) == []


@pytest.mark.parametrize("ratio", [0.001, 0.45, 0.53, 0.69, 1.32, 1.4, 2.2, 1000])
def test_other_moves_are_large_jumps_and_no_splits(ratio):
    fault = only(closes(10, 10 * ratio))
    assert (fault.kind, fault.severity, fault.date, fault.count) == ("large jump", "warning", day(1), 1)
    assert fault.fact == f"close 10 -> {10 * ratio:g}, {ratio:g}-fold"
    assert "check the source" in fault.remedy and "real move needs nothing" in fault.remedy


def test_a_typing_error_jumps_twice():
    fault = only(closes(10, 10.1, 1.41, 10.2, 10.3))
    assert (fault.kind, fault.date, fault.count) == ("large jump", day(2), 2)


def test_each_jump_is_reported_once():
    faults = check(closes(10, 5, 2.3, 2.3, 4.6))
    assert [(f.kind, f.date, f.count) for f in faults] == [("split-like jump", day(1), 2), ("large jump", day(2), 1)]
    at_open = closes(10, 5.6).with_columns(open=pl.Series([10.0, 5.0]))
    assert only(at_open).kind == "split-like jump"


def every(days, symbol="A", seed=0):
    """Sound bars on these days after START only."""
    return sound(seed, max(days) + 1, symbol)[list(days)]


def weeks(*ks):
    return [7 * k for k in ks]


def test_a_hole_in_a_single_symbol_is_found():
    fault = only(every([*range(10), *range(30, 40), *range(100, 110)]))
    assert (fault.kind, fault.severity, fault.symbol, fault.count) == ("hole", "warning", "A", 2)
    assert fault.date == day(30), "dated by the bar that ends the first hole: sooner nobody could know"
    assert f"61 days after {day(39)}" in fault.fact


def test_a_hole_that_all_share_is_found_for_each():
    days = [*range(10), *range(60, 70)]
    faults = check(pl.concat([every(days), every(days, "B", 1)]))
    assert [(f.kind, f.symbol, f.date) for f in faults] == [("hole", "A", day(60)), ("hole", "B", day(60))]


def test_what_others_traded_is_a_gap_and_no_hole():
    fault = only(pl.concat([every(range(70)), every([*range(10), *range(60, 70)], "B", 1)]))
    assert (fault.kind, fault.symbol, fault.count) == ("gap", "B", 50)


def test_a_shared_hole_with_ragged_edges_is_not_lost():
    ragged = [every([*range(10), *range(60, 72)]), every([*range(12), *range(62, 72)], "B", 1)]
    faults = check(pl.concat(ragged))
    assert {(f.kind, f.symbol, f.count) for f in faults} == {
        (kind, symbol, count) for symbol in "AB" for kind, count in (("gap", 2), ("hole", 1))
    }
    assert all(f"49 days after {day(11)}" in f.fact for f in faults if f.kind == "hole")


@pytest.mark.parametrize("days", [
    [*range(10), *range(23, 30)],  # 14 days from bar to bar: a long holiday
    weeks(0, 1, 2, 3, 4, 9, 10),  # 35 days, five steps
    weeks(0, 10),
    [3],
])  # fmt: skip
def test_holidays_and_slow_calendars_have_no_hole(days):
    assert check(every(days)) == []


@pytest.mark.parametrize(("days", "length"), [
    ([*range(10), *range(24, 30)], 15),
    (weeks(0, 1, 2, 3, 4, 10, 11), 42),
])  # fmt: skip
def test_a_hole_begins_beyond_both_limits(days, length):
    assert f"no symbol has a bar for {length} days" in only(every(days)).fact


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
