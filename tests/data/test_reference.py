"""Reference data: universes of their time, exchanges' hours, adjustments that keep returns and turnover, rates of the day."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data import Panel, sample
from fiduciary.data.history import History
from fiduciary.data.readers import read
from fiduciary.data.reference import MEMBER, Reference, adjust, adjustment, convert, sessions, standing, within
from fiduciary.data.sample import FOLDER
from fiduciary.data.tables import CORPORATE_ACTIONS, CURRENCIES, MEMBERSHIP

MONDAY = date(2024, 1, 1)


def noon(day):
    return datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(days=day)


def midnight(day):
    return noon(day) - timedelta(hours=12)


class Memory:
    """A bitemporal store in a few lines: tables of rows with `known_time`."""

    def __init__(self, **tables):
        self.tables = {name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in tables.items()}

    def log(self, table):
        return self.tables[table]

    def read(self, table, *, as_of=None, where=None):
        rows = self.tables[table].filter(*(pl.col(name).is_in(wanted) for name, wanted in (where or {}).items()))
        if as_of is not None:
            rows = rows.filter(pl.col("known_time") <= as_of)
        keys = [name for name in ("event_time", "universe", "symbol", "base", "quote") if name in rows.columns]
        return rows.sort("known_time").unique(keys, keep="last", maintain_order=True).sort(keys)


def membership(*rows):
    names = ("symbol", "event_time", "known_time", "member")
    return [{"universe": "U"} | dict(zip(names, row, strict=True)) for row in rows]


CHANGES = Memory(
    membership=membership(
        ("A", midnight(0), midnight(0), True),
        ("A", midnight(5), noon(3), False),  # announced before it happens
        ("B", midnight(2), noon(6), True),  # learned late
        ("C", midnight(1), midnight(1), True),
        ("C", midnight(1), noon(4), False),  # it never was: a correction
    ),
    instruments=[
        {"symbol": "A", "name": "Alpha", "event_time": midnight(0), "known_time": midnight(0)},
        {"symbol": "A", "name": "Omega", "event_time": midnight(4), "known_time": midnight(1)},
        {"symbol": "B", "name": "Beta", "event_time": midnight(9), "known_time": midnight(0)},
    ],
)
DATES = np.arange("2024-01-01", "2024-01-09", dtype="datetime64[D]")


# --- universes -------------------------------------------------------------------------------------------------------


def on(row):
    return "".join(str(int(cell)) for cell in row)


def test_members_by_what_is_known_now_at_a_time_and_on_each_date():
    reference = Reference(CHANGES)
    members = partial(reference.members, "U", DATES, ["A", "B", "C", "D"])
    assert [on(row) for row in members().T] == ["11111000", "00111111", "00000000", "00000000"]
    assert [on(row) for row in members(as_of=noon(1)).T] == ["11111111", "00000000", "01111111", "00000000"]
    # On each date: A's leaving was announced in time, B counts from the day after it was learned, C until corrected.
    assert [on(row) for row in members(then=True).T] == ["11111000", "00000001", "01111000", "00000000"]
    with pytest.raises(ConfigError, match="leave one out"):
        members(as_of=noon(1), then=True)


def test_a_universe_on_a_day():
    reference = Reference(CHANGES)
    assert reference.universe("U", on=date(2024, 1, 4)) == ("A", "B")
    assert reference.universe("U", on=date(2024, 1, 4), as_of=noon(1)) == ("A", "C")
    assert reference.universe("U", on=date(2024, 1, 4), as_of=noon(6) - timedelta(seconds=1)) == ("A",)
    with pytest.raises(ConfigError, match=r"there are U.*'V'"):
        reference.universe("V", on=MONDAY)


def test_instruments_hold_from_their_day():
    reference = Reference(CHANGES)
    assert reference.instruments(on=date(2024, 1, 3)).select("symbol", "name").rows() == [("A", "Alpha")]
    assert reference.instruments(on=date(2024, 1, 5))["name"].to_list() == ["Omega"]
    assert reference.instruments(on=date(2024, 1, 5), as_of=midnight(0))["name"].to_list() == ["Alpha"]
    assert reference.instruments(on=date(2024, 1, 10))["name"].to_list() == ["Omega", "Beta"]


events = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(-2, 8), st.integers(-2, 9), st.integers(0, 23), st.floats(0, 9)),
    min_size=1, max_size=12, unique_by=lambda row: row[:4],
)  # fmt: skip


@settings(deadline=None)
@given(events, st.booleans())
def test_what_stands_is_never_an_event_to_come_nor_known_later(given_events, then):
    rows = pl.DataFrame([
        {"symbol": s, "event_time": midnight(e), "known_time": midnight(k) + timedelta(hours=h), "value": v}
        for s, e, k, h, v in given_events
    ])  # fmt: skip
    got = standing(rows, DATES, ["A", "B"], value="value", then=then)
    for t in range(len(DATES)):
        for n, symbol in enumerate("AB"):
            seen = [r for r in rows.rows(named=True) if r["symbol"] == symbol and r["event_time"] <= midnight(t)]
            if then:
                seen = [r for r in seen if r["known_time"] <= midnight(t)]
            last = max(seen, key=lambda r: (r["event_time"], r["known_time"]), default={"value": np.nan})
            assert got[t, n] == last["value"] or (np.isnan(got[t, n]) and np.isnan(last["value"]))


def test_of_two_versions_of_one_moment_the_one_that_came_later_stands():
    rows = pl.DataFrame(
        {"symbol": "A", "event_time": midnight(0), "known_time": midnight(0), "value": np.arange(5_000.0)}
    )
    assert standing(rows, DATES, ["A"], value="value")[-1, 0] == 4_999


def test_within_keeps_every_bar_and_marks_members():
    panel = sample("us-stocks", symbols=["AAPL", "GOOG", "IBM"])
    member = np.ones(panel.mask.shape, bool)
    member[:, 2] = False
    member[1000:, 0] = False
    marked = within(panel, member)
    assert marked.symbols == ("AAPL", "GOOG")
    assert marked.fields == (*panel.fields, MEMBER)
    assert np.array_equal(marked["close"], panel["close"][:, :2], equal_nan=True)
    assert np.nansum(marked[MEMBER], axis=0).tolist() == [1000, panel.mask[:, 1].sum()]
    # GOOG is listed in 2004: a member without a bar has no flag either.
    assert np.array_equal(np.isnan(marked[MEMBER]), ~marked.mask)
    for wrong in (member[:-1], np.zeros_like(member)):
        with pytest.raises(ConfigError, match="True on some bar"):
            within(panel, wrong)


# --- exchanges -------------------------------------------------------------------------------------------------------


def test_sessions_know_holidays_early_closes_and_breaks():
    week = sessions("XNYS", date(2024, 11, 25), date(2024, 12, 1))
    assert week["session"].dt.day().to_list() == [25, 26, 27, 29]  # Thanksgiving is the 28th
    assert week["early"].to_list() == [False, False, False, True]
    assert week["close"].dt.hour().to_list() == [21, 21, 21, 18]
    assert week["break_start"].null_count() == 4
    assert sessions("NYSE", date(2024, 7, 5), date(2024, 7, 5))["open"].to_list() == [
        datetime(2024, 7, 5, 13, 30, tzinfo=UTC)
    ]
    golden = sessions("XSHG", date(2024, 9, 30), date(2024, 10, 8))
    assert golden["session"].to_list() == [date(2024, 9, 30), date(2024, 10, 8)]
    assert golden["break_start"].dt.time().to_list() == [datetime(2024, 1, 1, 3, 30).time()] * 2


def test_sessions_end_where_knowledge_ends():
    assert sessions("XSHG", date(2026, 12, 31), date(2026, 12, 31)).height == 1
    with pytest.raises(ConfigError, match=r"XSHG must reach from 2026 to 2027.*only recorded to the year 2026"):
        sessions("XSHG", date(2026, 12, 1), date(2027, 1, 4))
    with pytest.raises(ConfigError, match="did you mean 'XNYS'"):
        sessions("XNYC", MONDAY, MONDAY)
    with pytest.raises(ConfigError, match="must not lie before"):
        sessions("XNYS", MONDAY, date(2023, 1, 1))


def test_the_sample_trades_on_sessions_of_new_york_only():
    panel = sample("sp500")
    own = sessions("XNYS", panel.dates[0].item(), panel.dates[-1].item())["session"]
    assert own.to_list() == panel.dates.tolist()


# --- shares ----------------------------------------------------------------------------------------------------------


def actions(*rows):
    names = ("symbol", "kind", "event_time", "value")
    return pl.DataFrame(
        [{"currency": None} | dict(zip(names, row, strict=True)) for row in rows],
        schema_overrides={"value": pl.Float64, "currency": pl.String},
    )  # fmt: skip


def closes(*values, currency="USD"):
    close = np.array(values, float)[:, None]
    bars = np.stack([close, close * 0 + 100.0, close * 100.0], axis=-1)
    dates = np.datetime64(MONDAY) + np.arange(len(values))
    return Panel(dates, ("A",), ("close", "volume", "amount"), bars, np.isfinite(close), currency=currency)


def test_a_split_and_a_dividend_in_closed_form():
    panel = closes(100, 102, 51, 50, 49)
    made = actions(("A", "split", midnight(2), 2), ("A", "dividend", midnight(3), 1.02))
    split = adjustment(panel, made, policy="splits")[:, 0]
    assert split.tolist() == [0.5, 0.5, 1, 1, 1]
    total = adjustment(panel, made, policy="total return")[:, 0]
    assert total == pytest.approx([0.49, 0.49, 0.98, 1, 1])
    first = adjustment(panel, made, policy="total return", anchor="first")[:, 0]
    assert first == pytest.approx(total / 0.49)
    adjusted = adjust(panel, made, policy="total return")
    assert adjusted["close"][:, 0] == pytest.approx([49, 49.98, 49.98, 50, 49])
    assert adjusted["volume"][:2, 0] == pytest.approx(100 / 0.49)
    assert np.array_equal(adjusted["amount"], panel["amount"])
    assert adjust(panel, made, policy="as traded") is panel


def test_a_split_and_a_dividend_of_one_day_and_dividends_over_a_suspension():
    """The dividend is per share that trades on the ex date; two of them leave C - D1 - D2 of C."""
    both = actions(("A", "dividend", midnight(1), 5), ("A", "split", midnight(1), 2))
    assert adjustment(closes(100, 45), both, policy="total return")[0, 0] == pytest.approx(0.5 * 45 / 50)
    panel = closes(100, np.nan, np.nan, 94)
    two = actions(("A", "dividend", midnight(1), 4), ("A", "dividend", midnight(2), 6))
    assert adjustment(panel, two, policy="total return")[[0, 3], 0] == pytest.approx([0.9, 1])


paid = st.lists(
    st.tuples(st.integers(-1, 11), st.sampled_from(["split", "dividend"]), st.floats(0.2, 4.0)),
    max_size=5, unique_by=lambda row: row[:2],
)  # fmt: skip


@settings(deadline=None)
@given(paid, st.integers(0, 2**32 - 1))
def test_a_holder_who_reinvests_earns_the_adjusted_return(given_paid, seed):
    """Independent: splits multiply the shares, dividends buy more of them at the last close less the dividend."""
    price = 50 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.1, 10)))
    shares, units, worth, split_worth = 1.0, 1.0, [], []
    for t in range(10):
        before = price[max(t - 1, 0)]
        for _, kind, value in sorted(
            (row for row in given_paid if row[0] == t and t), key=lambda row: row[1], reverse=True
        ):
            if kind == "split":
                shares, units, before = shares * value, units * value, before / value
            else:
                shares *= before / (before - value)
        worth.append(shares * price[t])
        split_worth.append(units * price[t])
    panel = closes(*price)
    made = actions(*(("A", kind, midnight(t), value) for t, kind, value in given_paid), ("B", "split", midnight(1), 9))
    for policy, expected in (("total return", worth), ("splits", split_worth)):
        last = adjust(panel, made, policy=policy)
        assert last["close"][:, 0] == pytest.approx(np.array(expected) / expected[-1] * price[-1], rel=1e-9)
        assert last["close"] * last["volume"] == pytest.approx(panel["amount"])
        assert np.array_equal(last["amount"], panel["amount"])
        first = adjust(panel, made, policy=policy, anchor="first")
        assert first["close"][:, 0] == pytest.approx(np.array(expected) / expected[0] * price[0], rel=1e-9)


def test_prices_anchored_first_do_not_move_when_more_becomes_known():
    panel, early = closes(100, 102, 51, 50, 49), actions(("A", "split", midnight(2), 2))
    late = pl.concat([early, actions(("A", "dividend", midnight(4), 1.5))])
    one, two = (adjust(panel, made, policy="total return", anchor="first")["close"][:4] for made in (early, late))
    assert np.array_equal(one, two)


def test_actions_that_repeat_the_vendors_factors_give_the_vendors_prices():
    """Each move of adj_close / close as a dividend (or a reverse split): prices and volume as the file reader adjusts them."""
    vendor, raw = sample("us-stocks"), read(FOLDER / "us-stocks.csv.gz")
    frame = pl.read_csv(FOLDER / "us-stocks.csv.gz", try_parse_dates=True)
    made = []
    for (symbol,), own in frame.partition_by("symbol", as_dict=True).items():
        ratio, close = (own["adj_close"] / own["close"]).to_numpy(), own["close"].to_numpy()
        step = ratio[:-1] / ratio[1:]
        for t in np.flatnonzero(step != 1):
            kind, value = ("dividend", close[t] * (1 - step[t])) if step[t] < 1 else ("split", 1 / step[t])
            made.append((symbol, kind, datetime.combine(own["date"][int(t) + 1], datetime.min.time(), UTC), value))
    ours = adjust(raw, actions(*made), policy="total return")
    assert ours.symbols == vendor.symbols
    assert np.allclose(ours.values, vendor.values, rtol=1e-9, equal_nan=True)


def test_actions_are_only_those_known_then():
    store = Memory(corporate_actions=[
        {"symbol": "A", "kind": "split", "value": 2.0, "currency": None, "event_time": midnight(2), "known_time": noon(1)},
        {"symbol": "A", "kind": "split", "value": 3.0, "currency": None, "event_time": midnight(2), "known_time": noon(5)},
    ])  # fmt: skip
    reference, panel = Reference(store), closes(100, 102, 51, 50, 49)
    factors = [
        adjustment(panel, reference.actions(["A"], as_of=when), policy="splits")[0, 0]
        for when in (noon(1), noon(5), None)
    ]
    assert factors == pytest.approx([1 / 2, 1 / 3, 1 / 3])
    assert len(reference.actions(as_of=noon(0))) == len(reference.actions(["B"])) == 0
    with pytest.raises(DataError, match=r"one per key.*two values under one key"):
        adjust(panel, store.log("corporate_actions"), policy="splits")


@pytest.mark.parametrize(("made", "message"), [
    ([("A", "dividend", midnight(1), 100.0)], "100  of A on 2024-01-02 at 100"),
    ([("A", "gift", midnight(1), 1.0)], "unknown kind"),
    ([("A", "split", midnight(1), 0.0)], "empty split"),
])  # fmt: skip
def test_impossible_actions_are_refused(made, message):
    with pytest.raises(DataError, match=message):
        adjust(closes(100, 90), actions(*made), policy="total return")


def test_other_arguments_are_refused():
    with pytest.raises(DataError, match=r"in the panel's currency, USD.*CNY"):
        adjust(
            closes(9, 9),
            actions(("A", "dividend", midnight(1), 1)).with_columns(currency=pl.lit("CNY")),
            policy="total return",
        )
    for wrong in ({"policy": "none"}, {"policy": "splits", "anchor": "middle"}):
        with pytest.raises(ConfigError, match="anchored 'first' or 'last'"):
            adjust(closes(9, 9), actions(), **wrong)


# --- money -----------------------------------------------------------------------------------------------------------


def rates(*rows):
    names = ("base", "quote", "event_time", "rate")
    return pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows])


PAIRS = rates(
    ("EUR", "USD", midnight(-1), 1.25), ("EUR", "USD", midnight(2), 1.2), ("EUR", "CNY", midnight(-3), 7.5),
    ("EUR", "CNY", midnight(9), 99.0),
)  # fmt: skip


def test_money_is_converted_at_the_rate_of_the_day():
    panel = closes(100, 102, 51, 50, currency="EUR")
    dollars = convert(panel, PAIRS, to="USD")
    assert dollars.currency == "USD"
    assert dollars["close"][:, 0] == pytest.approx([125, 127.5, 61.2, 60])
    assert dollars["amount"] == pytest.approx(dollars["close"] * 100)
    assert np.array_equal(dollars["volume"], panel["volume"])
    back = convert(dollars, PAIRS, to="EUR")
    assert back.values == pytest.approx(panel.values)
    assert convert(dollars, PAIRS, to="CNY").values == pytest.approx(convert(panel, PAIRS, to="CNY").values)
    assert convert(panel, PAIRS, to="EUR") is panel


def test_bars_within_the_day_are_converted_at_a_rate_of_a_day_that_was_over():
    days = closes(1, 1, 1, 1, currency="EUR")
    minutes = replace(days, dates=days.dates.astype("datetime64[us]") + np.timedelta64(10, "h"))
    assert convert(days, PAIRS, to="USD")["close"][:, 0] == pytest.approx([1.25, 1.25, 1.2, 1.2])
    assert convert(minutes, PAIRS, to="USD")["close"][:, 0] == pytest.approx([1.25, 1.25, 1.25, 1.2])


def test_a_missing_or_old_rate_is_refused():
    with pytest.raises(DataError, match=r"from USD to JPY.*EUR/CNY, EUR/USD"):
        convert(closes(1), PAIRS, to="JPY")
    late = replace(closes(1), dates=np.array(["2024-01-10"], "datetime64[D]"))
    with pytest.raises(DataError, match="EUR/USD at most 7 days old, got none for 2024-01-11"):
        convert(replace(late, dates=late.dates + 1), PAIRS, to="EUR")
    assert convert(late, PAIRS, to="EUR")["close"][0, 0] == pytest.approx(1 / 1.2)
    early = replace(late, dates=late.dates - 30)
    with pytest.raises(DataError, match="none for 2023-12-11"):
        convert(early, PAIRS, to="EUR")


# --- in a store ------------------------------------------------------------------------------------------------------


def test_the_same_from_a_store_on_disk(tmp_path):
    history = History(tmp_path / "store")
    history.append(MEMBERSHIP, CHANGES.log("membership"), source="test")
    history.append(CORPORATE_ACTIONS, actions(("A", "split", midnight(2), 2)), source="test", known=noon(1))
    history.append(CORPORATE_ACTIONS, actions(("A", "split", midnight(2), 4)), source="test", known=noon(5))
    history.append(CURRENCIES, PAIRS, source="test")
    stored, memory = Reference(history), Reference(CHANGES)
    for how in ({}, {"as_of": noon(1)}, {"as_of": noon(4)}, {"then": True}):
        expected, got = (each.members("U", DATES, ["A", "B", "C"], **how) for each in (memory, stored))
        assert np.array_equal(expected, got), how
    assert stored.universe("U", on=date(2024, 1, 4)) == memory.universe("U", on=date(2024, 1, 4))
    panel = closes(100, 102, 51, 50)
    first, last = (
        adjustment(panel, stored.actions(["A"], as_of=when), policy="splits")[0, 0] for when in (noon(1), None)
    )
    assert (first, last) == (0.5, 0.25)
    euros = convert(panel, stored.rates(), to="EUR")
    assert euros["close"][0, 0] == pytest.approx(80)
