"""Anomalies: each planted one is found where it is, clean and honest data are called nothing, and suspects are kept."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.data import Panel, sample
from fiduciary.data.history import History
from fiduciary.data.quality import SUSPECTS, inspect, quarantine, trusted
from fiduciary.data.quality.snapshots import MANY, meaning
from fiduciary.data.reference import sessions
from fiduciary.data.tables import BARS_1D, BARS_1M, FUNDAMENTALS, check_rows
from real_data import SHARED

PRICES = ("open", "high", "low", "close")
BARS = 250


@lru_cache
def hours():
    return sessions("XNYS", date(2018, 1, 1), date(2018, 12, 31))


def days(seed=0, symbol="A"):
    """A year of clean bars: moves of about 1 %, volume of about a million, known at the close."""
    rng = np.random.default_rng(seed)
    x = np.log(100) + np.cumsum(rng.normal(0, 0.01, BARS))
    opened = np.append(x[0], x[:-1]) + rng.normal(0, 0.003, BARS)
    reach = np.abs(rng.normal(0, 0.004, (2, BARS)))
    bars = (opened, np.maximum(opened, x) + reach[0], np.minimum(opened, x) - reach[1], x)
    return pl.DataFrame({
        "event_time": hours()["session"][:BARS], "symbol": [symbol] * BARS,
        **{name: np.exp(price) for name, price in zip(PRICES, bars, strict=True)},
        "volume": np.round(1e6 * np.exp(rng.normal(0, 0.3, BARS))), "known_time": hours()["close"][:BARS],
    }).with_columns(pl.col("event_time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))  # fmt: skip


def minutes(seed=0, week=(date(2018, 3, 7), date(2018, 3, 14))):
    """Minute bars around a change to summer time (2018-03-11)."""
    rng = np.random.default_rng(seed)
    own = hours().filter(pl.col("session").is_between(*week)).select(pl.col("open", "close").dt.replace_time_zone(None))
    times = np.concatenate([np.arange(first, last, np.timedelta64(1, "m")) for first, last in own.to_numpy()])
    x = 50 * np.exp(np.cumsum(rng.normal(0, 5e-4, len(times))))
    frame = pl.DataFrame(
        {"event_time": times, "symbol": ["A"] * len(x), **dict.fromkeys(PRICES, x), "volume": [1e4] * len(x)}
    )
    return frame.with_columns(pl.col("event_time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))


def times(frame, rows):
    return frame["event_time"].dt.replace_time_zone(None).to_numpy()[rows].astype("datetime64[us]")


def put(frame, rows, factor, names=PRICES):
    where = pl.Series(np.isin(np.arange(len(frame)), rows))
    return frame.with_columns(pl.when(where).then(pl.col(name) * factor).otherwise(pl.col(name)) for name in names)


def only(found):
    assert len(found) == 1, [str(anomaly.fault) for anomaly in found]
    return found[0]


def planted(frame, **how):
    return only(inspect(frame, exchange="XNYS", **how))


def says(anomaly, kind, severity, frame, rows):
    """The anomaly is of this kind and names exactly these rows."""
    fault = anomaly.fault
    assert (fault.kind, fault.severity, fault.symbol, fault.count) == (kind, severity, "A", len(rows)), str(fault)
    assert fault.date == str(times(frame, rows)[0].astype("datetime64[D]"))
    assert np.array_equal(anomaly.times, times(frame, rows))
    assert fault.remedy


# --- nothing ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_clean_data_are_called_nothing(seed):
    two = pl.concat([days(seed), days(seed + 20_000, "B")]).sort("event_time", "symbol")
    assert inspect(two, exchange="XNYS") == []
    assert inspect(minutes(seed), BARS_1M, exchange="XNYS") == []
    assert inspect(two[:0], exchange="XNYS") == []


def test_the_samples_hold_what_history_did_and_no_error():
    found = inspect(sample("us-stocks"), exchange="XNYS")
    assert {(a.fault.kind, a.fault.symbol, a.fault.date) for a in found} == {
        ("large jump", "AAPL", "2000-09-29"),  # a profit warning: -52 %
        ("outlier", "AAPL", "2010-05-06"),  # the flash crash
        ("outlier", "MSFT", "2004-11-22"),
        ("late start", "GOOG", "2004-08-19"),
    }
    assert all(a.fault.severity == "warning" for a in found)
    assert inspect(sample("sp500"), exchange="XNYS") == []


# --- one symbol's days -----------------------------------------------------------------------------------------------

places = st.integers(80, 160)


@settings(deadline=None, max_examples=25)
@given(places, st.integers(1, 8), st.sampled_from([10.0, 100.0, 0.1, 0.01]), st.integers(0, 99))
def test_a_decimal_point_slips_and_comes_back(row, length, factor, seed):
    rows = np.arange(row, row + length)
    says(planted(put(days(seed), rows, factor)), "decimal shift", "error", days(), rows)


@settings(deadline=None, max_examples=15)
@given(places, st.sampled_from([100.0, 0.01]), st.booleans(), st.integers(0, 99))
def test_pence_for_pounds_names_the_shorter_side(row, factor, first, seed):
    rows = np.arange(row) if first else np.arange(row, BARS)
    shorter = np.arange(row) if row < BARS / 2 else np.arange(row, BARS)
    says(planted(put(days(seed), rows, factor)), "price unit", "error", days(), shorter)


def test_pence_for_a_while():
    rows = np.arange(90, 140)
    says(planted(put(days(), rows, 100.0)), "price unit", "error", days(), rows)


@settings(deadline=None, max_examples=15)
@given(places, st.sampled_from([1.5, 2, 3, 10, 0.1]), st.integers(0, 99))
def test_a_split_is_not_a_change_of_unit(row, ratio, seed):
    late = np.arange(row, BARS)
    frame = put(put(days(seed), late, 1 / ratio), late, ratio, ("volume",))
    says(planted(frame), "unadjusted split", "warning", frame, [row])


@settings(deadline=None, max_examples=15)
@given(places, st.sampled_from([0.6, 0.8, 1.3, 1.6]), st.integers(0, 99))
def test_a_wrong_tick_comes_back(row, factor, seed):
    says(planted(put(days(seed), [row], factor)), "outlier", "warning", days(), [row])


@pytest.mark.parametrize(("name", "factor"), [("high", 1.3), ("low", 0.7)])
def test_a_wrong_high_or_low(name, factor):
    anomaly = planted(put(days(), [100], factor, (name,)))
    says(anomaly, "outlier", "warning", days(), [100])


def test_a_move_that_stays_is_a_large_jump_beyond_thirty_percent_and_nothing_below():
    assert inspect(put(days(), np.arange(120, BARS), 0.75)) == []
    says(planted(put(days(), np.arange(120, BARS), 0.38)), "large jump", "warning", days(), [120])


def test_a_crisis_excuses_what_a_calm_year_would_not():
    """The same two-day swing of 15 %: an outlier among moves of 1 %, nothing among moves of 6 %."""
    calm, wild = days(), days()
    noise = np.exp(np.cumsum(np.where(np.arange(BARS) > 60, np.random.default_rng(1).normal(0, 0.06, BARS), 0)))
    wild = wild.with_columns(pl.col(name) * noise for name in PRICES)
    kinds = [{a.fault.kind for a in inspect(put(frame, [150], 1.15))} for frame in (calm, wild)]
    assert kinds == [{"outlier"}, set()]


def test_closes_that_stand_still_while_shares_are_traded():
    where = pl.Series(np.isin(np.arange(BARS), range(100, 105)))
    still = days()["close"][99]
    held = days().with_columns(pl.when(where).then(still).otherwise(pl.col(name)).alias(name) for name in PRICES)
    says(planted(held), "stale price", "warning", held, np.arange(100, 105))
    halted = put(held, np.arange(100, 105), 0.0, ("volume",))
    anomaly = planted(halted)
    assert (anomaly.fault.kind, anomaly.fault.count, len(anomaly.times)) == ("suspended day", 5, 0)
    dead = days().with_columns(pl.lit(7.0).alias(name) for name in PRICES)
    says(planted(dead), "stale price", "warning", dead, np.arange(1, BARS))
    # A share of three cents does not move on most days: nothing is unusual in that.
    penny = days().with_columns(pl.Series(name, np.round(days()[name] / 3000, 2)) for name in PRICES)
    assert [a.fault.kind for a in inspect(penny) if a.fault.kind == "stale price"] == []


@settings(deadline=None, max_examples=15)
@given(places, st.sampled_from([100.0, 0.01, 1000.0]), st.integers(0, 99))
def test_volume_in_lots_on_one_side(row, factor, seed):
    shorter = np.arange(row) if row < BARS / 2 else np.arange(row, BARS)
    says(planted(put(days(seed), np.arange(row, BARS), factor, ("volume",))), "volume unit", "error", days(), shorter)


def test_volume_in_lots_against_the_amount():
    true = days().with_columns(amount=pl.col("close") * pl.col("volume"))
    assert inspect(true, exchange="XNYS") == []
    rows = np.arange(BARS)
    says(planted(put(true, rows, 0.01, ("volume",))), "volume unit", "error", true, rows)
    # Adjusted prices agree with no unit: nothing can be said.
    assert inspect(put(true, rows, np.linspace(0.001, 1, BARS), ("amount",))) == []


# --- dates and clocks ------------------------------------------------------------------------------------------------


def test_gaps_are_judged_by_the_exchange():
    holed = pl.concat([days()[:100], days()[103:]])
    assert inspect(holed) == []  # alone, nobody knows
    anomaly = planted(holed)
    assert (anomaly.fault.kind, anomaly.fault.count, len(anomaly.times)) == ("gap", 3, 0)
    assert anomaly.fault.date == str(days()["event_time"][100].date())


@pytest.mark.parametrize("shift", [timedelta(days=-1), timedelta(days=1), timedelta(hours=16), timedelta(hours=-5)])
def test_days_with_the_label_of_another_zone(shift):
    slipped = days().with_columns(pl.col("event_time", "known_time") + shift + timedelta(days=1))
    slipped = slipped.with_columns(pl.col("event_time") - timedelta(days=1))
    found = [a for a in inspect(slipped, exchange="XNYS") if a.fault.severity == "error"]
    assert only(found).fault.kind == "time-zone slip"


def test_one_day_on_which_the_exchange_was_closed():
    extra = days()[[3]].with_columns(pl.col("event_time", "known_time") + timedelta(days=1))  # 2018-01-06, a Saturday
    frame = pl.concat([days()[:4], extra, days()[4:]])
    says(planted(frame), "off session", "warning", frame, [4])


@pytest.mark.parametrize("shift", [-5, -4, 1, 3, 8])
def test_minutes_of_another_clock(shift):
    slipped = minutes().with_columns(pl.col("event_time") + timedelta(hours=shift))
    anomaly = only(inspect(slipped, BARS_1M, exchange="XNYS"))
    says(anomaly, "time-zone slip", "error", slipped, np.arange(len(slipped)))
    assert f"{-shift:+d} h" in anomaly.fault.fact


def test_days_in_a_table_of_minutes():
    told = [anomaly.fault for anomaly in inspect(days(), BARS_1M) if anomaly.fault.kind == "daily bars"]
    assert [(fault.severity, fault.symbol, fault.count) for fault in told] == [("error", "bars_1m", len(days()))]
    assert not any(anomaly.fault.kind == "daily bars" for anomaly in [*inspect(days()), *inspect(minutes(), BARS_1M)])


def test_minutes_without_summer_time():
    local = pl.col("event_time").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None)
    frozen = minutes().with_columns((local + timedelta(hours=5)).dt.replace_time_zone("UTC"))
    anomaly = only(inspect(frozen, BARS_1M, exchange="XNYS"))
    summer = np.flatnonzero(minutes()["event_time"].dt.date() > date(2018, 3, 11))
    says(anomaly, "time-zone slip", "error", frozen, summer)
    assert "-1 h" in anomaly.fault.fact


def test_bars_of_a_weekend_alone():
    """No session at all in their days: still an answer."""
    saturday = days()[[3]].with_columns(pl.col("event_time", "known_time") + timedelta(days=1))
    says(planted(saturday), "off session", "warning", saturday, [0])
    shifted = minutes().with_columns(pl.col("event_time") + timedelta(days=3))
    weekend = shifted.filter(pl.col("event_time").dt.date().is_between(date(2018, 3, 10), date(2018, 3, 11)))
    says(only(inspect(weekend, BARS_1M, exchange="XNYS")), "off session", "warning", weekend, np.arange(len(weekend)))


def test_a_single_session_that_slipped_into_the_day_before():
    one = minutes(week=(date(2018, 3, 7), date(2018, 3, 7)))
    slipped = one.with_columns(pl.col("event_time") - timedelta(hours=13))  # into the sixth and the seventh
    early = slipped.filter(pl.col("event_time").dt.day() == slipped["event_time"][0].day)
    says(only(inspect(early, BARS_1M, exchange="XNYS")), "time-zone slip", "error", early, np.arange(len(early)))


def test_a_bar_before_hours_is_off_session():
    early = minutes()[[0]].with_columns(pl.col("event_time") - timedelta(minutes=50))
    frame = pl.concat([early, minutes()])
    says(only(inspect(frame, BARS_1M, exchange="XNYS")), "off session", "warning", frame, [0])


def test_bars_known_before_they_ended():
    rows = np.arange(10, 20)
    where = pl.Series(np.isin(np.arange(BARS), rows))
    ahead = days().with_columns(
        known_time=pl.when(where).then(pl.col("known_time") - timedelta(minutes=1)).otherwise("known_time")
    )
    says(planted(ahead), "known too soon", "error", ahead, rows)
    # Without a calendar only the label itself is too soon.
    assert inspect(ahead) == []
    own = days().with_columns(known_time="event_time")
    assert only(inspect(own)).fault.count == BARS


def test_a_table_that_was_not_updated():
    now = days()["event_time"][-1] + timedelta(days=9)
    anomaly = planted(days(), now=now)
    assert (anomaly.fault.kind, anomaly.fault.symbol) == ("stale table", "bars_1d")
    assert inspect(days(), exchange="XNYS", now=now - timedelta(days=3)) == []


# --- several symbols -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "kept"), [(1.0, 1.0), (0.25, 1.0), (1.0, 0.9)])
def test_one_share_under_two_names(factor, kept):
    twin = put(days(), np.arange(BARS), factor).with_columns(symbol=pl.lit("B"))
    twin = twin.filter(pl.Series(np.random.default_rng(0).random(BARS) < kept))
    both = pl.concat([days(), twin, days(1, "C")]).sort("event_time", "symbol")
    anomaly = only([a for a in inspect(both) if a.fault.severity == "error"])
    assert (anomaly.fault.kind, anomaly.fault.symbol, anomaly.fault.count) == ("same series", "B", len(twin))
    assert "moves as A does" in anomaly.fault.fact


# --- late snapshots --------------------------------------------------------------------------------------------------


def fundamentals(panel, symbol):
    """Honest items of each date, in long form: the 52-week extremes, a market value and a yield."""
    n = panel.symbols.index(symbol)
    own = panel.mask[:, n]
    dates, low, high, close = panel.dates[own], *(panel[name][own, n] for name in ("low", "high", "close"))
    first = np.searchsorted(dates, dates - np.timedelta64(365, "D"), side="right")
    columns = {
        "52_week_low": [low[a : t + 1].min() for t, a in enumerate(first)],
        "fiftyTwoWeekHigh": [high[a : t + 1].max() for t, a in enumerate(first)],
        "Market Cap": np.round(close * 1e3), "dividend_yield": np.round(100 / close, 2), "employees": np.full(len(close), 7.0),
    }  # fmt: skip
    moments = pl.Series("event_time", dates.astype("datetime64[us]")).dt.replace_time_zone("UTC")
    wide = pl.DataFrame([moments, *(pl.Series(name, column) for name, column in columns.items())])
    return wide.unpivot(list(columns), index="event_time", variable_name="item").with_columns(symbol=pl.lit(symbol))


def copied(honest):
    """The last reading of every item under all dates."""
    return honest.with_columns(value=pl.col("value").sort_by("event_time").last().over("symbol", "item"))


def test_a_late_snapshot_on_early_dates_is_found_and_the_honest_one_is_not():
    panel = sample("us-stocks").between("2007", "2009")
    honest = pl.concat([fundamentals(panel, symbol) for symbol in panel.symbols])
    assert inspect(honest, FUNDAMENTALS, bars=panel) == []
    found = inspect(copied(honest), FUNDAMENTALS, bars=panel)
    assert {a.fault.kind for a in found} == {"snapshot copied"}
    assert {(a.fault.symbol, a.item) for a in found} == {
        (symbol, item) for symbol in panel.symbols for item in honest["item"].unique() if item != "employees"
    }
    assert all(a.fault.severity == "error" for a in found)


def test_the_leak_of_stockbench():
    """In January the low that came on 8 April, with four months of bars only: what the cards record of its cache."""
    panel = sample("us-stocks", symbols=["IBM"]).between("2002-01", "2002-07")
    worst = int(np.argmin(panel["low"][:, 0]))
    late = fundamentals(panel, "IBM").filter(pl.col("item") == "52_week_low")
    late = late.with_columns(value=pl.lit(panel["low"][worst, 0]))[:60]
    anomaly = only(inspect(late, FUNDAMENTALS, bars=panel))
    assert anomaly.fault.kind == "snapshot copied"
    assert anomaly.fault.fact.endswith(f"which the price first reached on {panel.dates[worst]}")
    assert anomaly.fault.severity == "warning"  # the year before is not in these bars
    before = sample("us-stocks", symbols=["IBM"]).between("2000-06", "2002-07")
    assert only(inspect(late, FUNDAMENTALS, bars=before)).fault.severity == "error"


def test_a_column_of_the_bars_is_judged_like_an_item():
    panel = sample("us-stocks", symbols=["MSFT"]).between("2007", "2009")
    low = fundamentals(panel, "MSFT").filter(pl.col("item") == "52_week_low")["value"].to_numpy()
    for column, kinds in ((low, []), (np.full_like(low, low[-1]), ["snapshot copied"])):
        values = np.concatenate((panel.values, column[:, None, None]), axis=-1)
        wide = replace(panel, fields=(*panel.fields, "low_52w"), values=values)
        assert list(dict.fromkeys(a.fault.kind for a in inspect(wide, exchange="XNYS"))) == kinds


def test_readings_refreshed_each_quarter_are_old_but_no_snapshot():
    panel = sample("us-stocks", symbols=["IBM"]).between("2007", "2009")
    honest = fundamentals(panel, "IBM").filter(pl.col("item") == "Market Cap")
    quarterly = honest.with_columns(value=pl.col("value").gather(np.arange(len(honest)) // (MANY - 2) * (MANY - 2)))
    assert inspect(quarterly, FUNDAMENTALS, bars=panel) == []


def test_knowledge_that_was_assumed():
    panel = sample("us-stocks", symbols=["IBM"]).between("2012", "2012")
    one = fundamentals(panel, "IBM").with_columns(known_time="event_time", batch=pl.lit(1))
    anomaly = only(inspect(one, FUNDAMENTALS))
    assert (anomaly.fault.kind, anomaly.fault.severity, anomaly.fault.symbol) == (
        "knowledge assumed",
        "warning",
        "fundamentals",
    )
    daily = one.with_columns(batch=pl.col("event_time").rank("dense"))
    assert inspect(daily, FUNDAMENTALS) == []
    assert inspect(one.with_columns(pl.col("known_time") + timedelta(days=30)), FUNDAMENTALS) == []


def test_names_of_items_have_a_meaning_however_they_are_spelled():
    assert {meaning(name) for name in ("52_week_low", "fiftyTwoWeekLow", "low_52w", "52-Week Low")} == {"low"}
    assert [meaning(name) for name in ("pe_ttm", "marketCap", "52WeekHigh", "low", "revenue")] == [
        "moves", "moves", "high", None, None
    ]  # fmt: skip


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_suspects_are_held_back_from_now_on_and_can_be_let_go(tmp_path):
    history = History(tmp_path / "store")
    bad = put(days(), [100, 101], 100.0).with_columns(source=pl.lit("vendor"))
    history.append(BARS_1D, bad, source="vendor")
    before = datetime.now(UTC)
    assert len(trusted(history, "bars_1d")) == BARS
    found = inspect(history.read("bars_1d"), exchange="XNYS")
    assert quarantine(history, "bars_1d", found) == 2
    rows = trusted(history, "bars_1d")
    assert len(rows) == BARS - 2
    assert not set(rows["event_time"]) & set(bad["event_time"][100:102])
    assert rows.columns == history.read("bars_1d").columns
    assert len(history.read("bars_1d")) == BARS  # nothing is gone
    assert len(trusted(history, "bars_1d", as_of=before)) == BARS  # what was trusted then
    assert len(trusted(history, "bars_1d", where={"symbol": "B"})) == 0
    held = history.read(SUSPECTS.name)
    assert held["kind"].to_list() == ["decimal shift"] * 2 and held["of"].to_list() == ["bars_1d"] * 2
    assert quarantine(history, "bars_1d", found, held=False) == 2
    assert trusted(history, "bars_1d").equals(history.read("bars_1d"))
    assert quarantine(history, "bars_1d", []) == 0


def test_suspects_of_items_leave_other_items_alone(tmp_path):
    history = History(tmp_path / "store")
    panel = sample("us-stocks", symbols=["IBM"]).between("2007", "2009")
    late = fundamentals(panel, "IBM").with_columns(
        value=pl.when(pl.col("item") == "Market Cap").then(123456.0).otherwise("value"),
        known_time=pl.lit(datetime(2010, 1, 1, tzinfo=UTC)),
    )
    history.append(FUNDAMENTALS, late, source="vendor")
    found = inspect(history.read("fundamentals"), FUNDAMENTALS, bars=panel)
    assert quarantine(history, "fundamentals", found) == len(panel.dates)
    left = trusted(history, "fundamentals")
    assert set(left["item"]) == set(late["item"]) - {"Market Cap"}
    assert len(left) == len(late) - len(panel.dates)


# --- real data -------------------------------------------------------------------------------------------------------


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name}, which the project may not hold")
    columns = [name for name in (*PRICES, "volume", "amount") if name in pl.read_parquet_schema(path)]
    frame = pl.read_parquet(path).select(pl.col("date").alias("event_time"), pl.col("ticker").alias("symbol"), *columns)
    return check_rows(frame.with_columns(pl.col("symbol").cast(pl.String)), BARS_1D)


@pytest.mark.parametrize("name", [
    "us_equities/dow30_daily_2000_2022.parquet", "us_equities/sp500_other45_daily_2000_2022.parquet",
])  # fmt: skip
def test_real_american_stocks_have_the_flash_crash_and_no_error(name):
    checked = shared(name)
    frame = pl.concat([checked.good, checked.good[:0]])
    found = inspect(frame.sort("event_time", "symbol"), exchange="XNYS")
    assert not [str(a.fault) for a in found if a.fault.severity == "error"]
    assert sum(a.fault.kind == "outlier" and a.fault.date == "2010-05-06" for a in found) >= 2


def test_real_unadjusted_stocks_show_their_splits_and_no_error():
    found = inspect(shared("ashares/ashare_daily_unadjusted_2010_2021.parquet").good, exchange="XSHG")
    assert not [str(a.fault) for a in found if a.fault.severity == "error"]
    assert sum(a.fault.kind == "unadjusted split" for a in found) > 100


def test_real_additively_adjusted_prices_are_stopped_at_the_door():
    good, refused = shared("ashares/dirty_additive_adjusted_sample.parquet")
    assert set(refused["symbol"]) == {"600519", "600887", "600028", "600036"}
    assert refused["reason"].str.contains("is below 1e-12").all()
    assert len(good) + len(refused) == 21_161


def test_a_late_snapshot_of_real_stocks_is_found_on_each_of_them():
    rows = shared("us_equities/dow30_daily_2000_2022.parquet").good.filter(
        pl.col("event_time").dt.year().is_between(2018, 2021)
    )
    full = rows.group_by("symbol").len().filter(pl.col("len") == pl.col("len").max())["symbol"].sort()[:10].to_list()
    days_, tensor = (
        rows["event_time"].unique().sort(),
        rows.filter(pl.col("symbol").is_in(full)).sort("event_time", "symbol"),
    )
    values = tensor.select(*PRICES, "volume").to_numpy().reshape(len(days_), len(full), 5)
    panel = Panel(
        days_.dt.date().to_numpy().astype("datetime64[D]"), tuple(full), (*PRICES, "volume"), values.copy(),
        np.ones(values.shape[:2], bool),
    )  # fmt: skip
    honest = pl.concat([fundamentals(panel, symbol) for symbol in full])
    assert inspect(honest, FUNDAMENTALS, bars=panel) == []
    found = inspect(copied(honest), FUNDAMENTALS, bars=panel)
    assert {a.fault.symbol for a in found if a.item == "Market Cap"} == set(full)
    assert len({a.fault.symbol for a in found if a.item in ("52_week_low", "fiftyTwoWeekHigh")}) == len(full)
