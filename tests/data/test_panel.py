"""The panel: read-only, cut by date and symbol without a look ahead, identified by its digest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data import Fault, Panel, span
from fiduciary.data.panel import position

DATES = np.array(["2009-12-31", "2010-01-04", "2010-02-01", "2011-01-03"], dtype="datetime64[D]")


def build(**changes):
    mask = np.array([[True, False], [True, False], [True, True], [False, True]])
    values = np.where(mask[..., None], np.arange(8, dtype=float).reshape(4, 2, 1) + 1, np.nan)
    parts = {"dates": DATES.copy(), "symbols": ("A", "B"), "fields": ("close",), "values": values, "mask": mask}
    return Panel(**(parts | changes))


def test_read_only():
    panel = build()
    for array in (panel.dates, panel.values, panel.mask, panel["close"], panel.between("2010", None).values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]


def test_asof_shows_neither_later_bars_nor_later_symbols_nor_later_faults():
    faults = tuple(Fault("gap", "warning", "A", date, "", "") for date in ("2010-01-04", "2010-02-01"))
    past = build(faults=faults).asof("2010-01")
    assert past.symbols == ("A",)
    assert list(past.dates) == list(DATES[:2])
    assert past.faults == faults[:1]


@pytest.mark.parametrize(
    ("start", "stop", "kept"),
    [
        ("2010", "2010", slice(1, 3)),
        ("2010-02", None, slice(2, 4)),
        (None, "2009", slice(0, 1)),
        ("2010-01-04", "2010-01-04", slice(1, 2)),
        (None, None, slice(0, 4)),
    ],
)
def test_between_takes_years_months_and_days(start, stop, kept):
    assert list(build().between(start, stop).dates) == list(DATES[kept])


def test_nothing_between_names_what_there_is():
    with pytest.raises(ConfigError, match=r"2009-12-31 to 2011-01-03.*load more history"):
        build().between("2012", None)


@pytest.mark.parametrize("text", ["today", "now", "2010-1-4", "2010-13", "2010-01-04T10", "", "NaT", "2010-02-30"])
def test_only_days_months_and_years_are_dates(text):
    with pytest.raises(ConfigError, match="YYYY-MM-DD"):
        build().between(text, None)


def test_select_orders_symbols_and_drops_dates_without_bars():
    both, one = build().select(["B", "A"]), build().select(["B"])
    assert both.symbols == ("B", "A")
    np.testing.assert_array_equal(both["close"][:, 0], build()["close"][:, 1])
    assert list(one.dates) == list(DATES[2:])


def test_unknown_names_name_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'close'"):
        build()["clos"]
    with pytest.raises(ConfigError, match="a symbol must be one of A, B, got 'C'"):
        build().select(["C"])


def test_digest_identifies_data_and_nothing_else():
    panel = build()
    # A golden number: records of earlier runs must still find their data.
    assert panel.digest() == "089f4b0527396ae252d1e2bfda2a66af6fabaf843e77cfcd915928a6adc468a6"
    assert panel.digest() == build(source="elsewhere", dates=DATES.astype("datetime64[s]")).digest()
    others = [build(symbols=("A", "C")), build(currency="CNY"), panel.between("2010", None), panel.select(["B", "A"])]
    assert len({panel.digest(), *(other.digest() for other in others)}) == 5


@given(st.integers(0, 3), st.sampled_from([1e-12, 1.0, -1.0]))
def test_digest_sees_every_value(row, change):
    values = build().values.copy()
    values[row] += change
    assert build(values=values).digest() != build().digest()


MINUTES = np.datetime64("2024-03-01T10:28:30", "us") + np.array([0, 60, 120, 86_400]) * np.timedelta64(1, "s")


@pytest.mark.parametrize(
    ("start", "stop", "kept"),
    [
        ("2024-03-01T10:29", None, slice(1, 4)),
        (None, "2024-03-01T10:29", slice(0, 2)),
        (None, "2024-03-01T10:29:29", slice(0, 1)),
        ("2024-03-01T10:29:30", "2024-03-01T10:29:30", slice(1, 2)),
        ("2024-03", "2024-03-01", slice(0, 3)),
        ("2024-03-02", "2024", slice(3, 4)),
    ],
)
def test_bars_within_the_day_are_cut_by_minutes_and_seconds_too(start, stop, kept):
    panel = build(dates=MINUTES.copy())
    assert list(panel.between(start, stop).dates) == list(MINUTES[kept])
    assert panel.asof("2024-03-01T10:28").symbols == ("A",)
    with pytest.raises(ConfigError, match="YYYY-MM-DDTHH:MM"):
        panel.between("2024-03-01T10", None)


def test_digest_tells_times_of_a_day_apart():
    late = MINUTES + np.timedelta64(1, "us")
    digests = {
        build(dates=dates).digest() for dates in (MINUTES.copy(), late, MINUTES.astype("datetime64[D]") + np.arange(4))
    }
    assert len(digests) == 3
    assert build(dates=MINUTES.astype("datetime64[s]")).digest() == build(dates=MINUTES.copy()).digest()


@given(st.integers(0, 299), st.integers(0, 99), st.integers(0, 4), st.sampled_from([np.nan, np.inf, -np.inf, 1.0]))
def test_one_wrong_cell_in_many_blocks_is_found(t, n, f, cell):
    rng = np.random.default_rng(t)
    mask = rng.random((300, 100)) < 0.9
    mask[[7, 8]] = [[True], [False]]
    values = np.where(mask[..., None], rng.random((300, 100, 5)), np.nan)
    axes = {"dates": np.datetime64("2000-01-01") + np.arange(300), "symbols": tuple(map(str, range(100)))}
    fields = ("open", "high", "low", "close", "volume")
    build(**axes, fields=fields, mask=mask, values=values.copy())
    values[t, n, f] = cell
    if mask[t, n] == np.isfinite(cell) and not np.isinf(cell):
        build(**axes, fields=fields, mask=mask, values=values)
    else:
        where = f"{cell} in {fields[f]} of {n} on {axes['dates'][t]}" if mask[t, n] else "NaN where there is no bar"
        with pytest.raises(DataError, match=where):
            build(**axes, fields=fields, mask=mask, values=values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": ("A",)}, "must be .T, N, F."),
        ({"dates": DATES[[0, 2, 1, 3]]}, "strictly increase"),
        ({"dates": DATES[[0, 1, 1, 3]]}, "strictly increase"),
        ({"values": np.full((4, 2, 1), np.nan)}, "nan in close of A on 2009-12-31"),
        ({"values": np.ones((4, 2, 1))}, "NaN where there is no bar"),
        ({"symbols": ("A", "A")}, "symbols must be distinct"),
    ],
)
def test_a_broken_panel_is_never_built(changes, message):
    with pytest.raises(DataError, match=message):
        build(**changes)


@given(st.lists(st.integers(0, 400), min_size=1, unique=True), st.integers(0, 400), st.integers(0, 400))
def test_span_equals_plain_comparison(days, a, b):
    dates = np.datetime64("2010-06-01") + np.sort(days).astype("timedelta64[D]")
    start, stop = (str(np.datetime64("2010-06-01") + np.timedelta64(d, "D")) for d in sorted((a, b)))
    inside = dates[(dates >= np.datetime64(start)) & (dates <= np.datetime64(stop))]
    if len(inside):
        assert list(dates[span(dates, start, stop)]) == list(inside)
    else:
        with pytest.raises(ConfigError):
            span(dates, start, stop)


def test_an_error_does_not_list_hundreds_of_names():
    with pytest.raises(ConfigError, match=r"one of s0, .*, s39, and 761 more, got 'indx': did you mean 'index'"):
        position("indx", [*(f"s{n}" for n in range(800)), "index"], "symbol")
