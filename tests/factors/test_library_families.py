"""Momentum, risk, liquidity, fundamentals, calendar, macro and customers against plain loops; joins as of a date."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_market import FACTORS, market, panel

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.factors import tabulate
from fiduciary.factors.library import LIBRARY
from fiduciary.factors.library.fields import vwap, with_calendar, with_fields, with_fundamentals, with_series, with_vwap
from real_data import SHARED

# --- momentum, risk, liquidity ---------------------------------------------------------------------------------------


def beta_of(r, m):
    return np.cov(r, m)[0, 1] / m.var(ddof=1)


def expected_now(bars, n):
    """Values of symbol n at the last bar, each written out by hand."""
    o, h, c, v = (bars[name] for name in ("open", "high", "close", "volume"))
    returns = c[1:] / c[:-1] - 1
    m, r, c, v, o, h = returns.mean(axis=1), returns[:, n], c[:, n], v[:, n], o[:, n], h[:, n]
    year, days = slice(-252, None), np.arange(126)
    line = np.polyfit(days, np.log(c[-126:]), 1)
    fitted = np.polyval(line, days)
    residual = np.array(
        [r[t] - beta_of(r[t - 251 : t + 1], m[t - 251 : t + 1]) * m[t] for t in range(len(r) - 252, len(r) - 21)]
    )
    formation = r[-252:-21]
    still = np.diff(np.log(c[-65:]))
    return {
        "momentum_12_1": c[-22] / c[-253] - 1, "momentum_6_1": c[-22] / c[-127] - 1, "momentum_12_7": c[-127] / c[-253] - 1,
        "reversal_month": 1 - c[-1] / c[-22], "reversal_week": 1 - c[-1] / c[-6], "reversal_long": 1 - c[-253] / c[-757],
        "high_52w": c[-1] / h[-252:].max(), "max_return": r[-21:].max(),
        "trend_quality": 252 * line[0] * np.corrcoef(fitted, np.log(c[-126:]))[0, 1] ** 2,
        "momentum_residual": residual[-231:].mean() / residual[-231:].std(ddof=1),
        "continuity": np.sign(c[-22] / c[-253] - 1) * ((formation > 0).mean() - (formation < 0).mean()),
        "overnight": np.log(o[-21:] / c[-22:-1]).sum(), "intraday": np.log(c[-21:] / o[-21:]).sum(),
        "seasonality_1": c[-232] / c[-253] - 1,
        "seasonality_2_5": np.mean([c[-1 - 252 * k + 21] / c[-1 - 252 * k] - 1 for k in (2, 3, 4, 5)]),
        "beta": beta_of(r[year], m[year]), "beta_down": beta_of(np.minimum(r[year], 0), np.minimum(m[year], 0)),
        "idiosyncratic": r[year].std(ddof=1) * np.sqrt(1 - np.corrcoef(r[year], m[year])[0, 1] ** 2),
        "illiquidity": 1e6 * np.mean(np.abs(r[-21:]) / (c[-21:] * v[-21:])),
        "dollar_volume": np.log(np.mean(c[-21:] * v[-21:])),
        "volume_trend": v[-5:].mean() / v[-63:].mean(), "zero_returns": (r[-63:] == 0).mean(),
        "turnover": (v / bars["shares"][:, n])[-21:].mean(),
        "roll_spread": 2 * np.sqrt(max(-np.cov(still[1:], still[:-1])[0, 1], 0)),
    }  # fmt: skip


def test_no_released_rows_are_told():
    with pytest.raises(DataError, match="released rows to join"):
        with_fundamentals(flat(4, 1), reports(("S0", "x", 0, 1, 1.0)).clear())


def test_prices_and_volume_by_hand():
    bars = market(1, 1300, 5, fields=("shares",))
    factors = [
        f for name in ("momentum", "risk", "liquidity") for f in LIBRARY[name] if f.name not in ("skewness", "kurtosis")
    ]
    table = tabulate(bars, factors, threads=1)
    for n in range(5):
        by_hand = expected_now(bars, n)
        assert set(by_hand) == set(table.names)
        for name, value in by_hand.items():
            assert table[name][-1, n] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_a_moment_of_the_year_against_scipy():
    from scipy import stats

    bars = market(2, 400, 2, fields=())
    r = np.diff(bars["close"], axis=0) / bars["close"][:-1]
    table = tabulate(bars, LIBRARY["risk"], threads=1)
    np.testing.assert_allclose(table["skewness"][-1], stats.skew(r[-252:], bias=False), rtol=1e-9)
    np.testing.assert_allclose(table["kurtosis"][-1], stats.kurtosis(r[-252:], bias=False), rtol=1e-9)


def test_a_market_of_one_has_beta_one():
    table = tabulate(market(2, 300, 1, fields=()), [FACTORS["beta"], FACTORS["idiosyncratic"]], threads=1)
    assert table["beta"][-1, 0] == pytest.approx(1)
    assert table["idiosyncratic"][-1, 0] == pytest.approx(0, abs=1e-9)


# --- what was known --------------------------------------------------------------------------------------------------

FIRST = datetime(2000, 1, 3, tzinfo=UTC)


def day(k, hour=0):
    return FIRST + timedelta(days=k, hours=hour)


def reports(*rows, name="item"):
    """(symbol, item, day of the period's end, day of release, value)."""
    columns = zip(*rows, strict=True)
    symbol, item, ended, released, value = columns
    frame = {
        name: item,
        "event_time": [day(k) for k in ended],
        "known_time": [day(k) for k in released],
        "value": value,
    }
    return pl.DataFrame(frame | ({"symbol": symbol} if name == "item" else {}))


def flat(length, symbols):
    return panel({"close": np.ones((length, symbols))})


def test_a_report_counts_from_its_release_and_a_late_restatement_of_an_old_period_never():
    frame = reports(
        ("S0", "x", -90, 2, 1.0), ("S0", "x", -30, 4, 2.0), ("S0", "x", -90, 6, 9.0), ("S0", "x", -30, 8, 3.0)
    )
    known = with_fundamentals(flat(10, 1), frame, ages=True)
    assert known.mask[:, 0].tolist() == [False] * 2 + [True] * 8
    assert known["x"][2:, 0].tolist() == [1, 1, 2, 2, 2, 2, 3, 3]
    assert known["x_age"][2:, 0].tolist() == [0, 1, 0, 1, 2, 3, 0, 1]


def test_a_release_during_the_day_counts_from_the_next_unless_the_close_is_said():
    frame = reports(("S0", "x", -30, 1, 1.0)).with_columns(pl.col("known_time") + pl.duration(hours=12))
    assert with_fundamentals(flat(4, 1), frame).mask[:, 0].tolist() == [False, False, True, True]
    assert with_fundamentals(flat(4, 1), frame, until=timedelta(hours=16)).mask[:, 0].tolist() == [
        False,
        True,
        True,
        True,
    ]


def test_symbols_do_not_mix_and_bars_that_know_nothing_leave():
    frame = reports(("S0", "x", -9, -1, 1.0), ("S1", "x", -9, 2, 5.0), ("S1", "y", -9, 0, 6.0), ("S0", "y", -9, 1, 7.0))
    known = with_fundamentals(flat(4, 2), frame)
    assert known.fields == ("close", "x", "y")
    assert known.mask.tolist() == [[False, False], [True, False], [True, True], [True, True]]
    assert (known["x"][-1].tolist(), known["y"][-1].tolist()) == ([1, 5], [7, 6])
    assert with_fundamentals(flat(4, 2), frame, items=["x"]).fields == ("close", "x")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-20, 10), st.integers(0, 12), st.integers(1, 9)), min_size=1, max_size=8),
    st.integers(0, 9),
)
def test_no_value_was_known_later(rows, present):
    """Equal to a loop over what had been released, and unmoved by all that is released after the present."""
    unique = {(ended, ended + 1 + lag): float(value) for ended, lag, value in rows}
    everything = [("S0", "x", ended, released, value) for (ended, released), value in unique.items()]
    past = [row for row in everything if row[3] <= present]
    bars = flat(10, 1)
    if not past:
        with pytest.raises(DataError):
            with_fundamentals(bars.between(None, str(bars.dates[present])), reports(*everything))
        return
    known = with_fundamentals(bars, reports(*everything))["x"][present, 0]
    assert known == with_fundamentals(bars, reports(*past))["x"][present, 0]
    newest = max(row[2] for row in past)
    assert known == max((row[3], row[4]) for row in past if row[2] == newest)[1]


def test_series_are_the_same_for_all_symbols():
    frame = reports(("", "cpi", -30, 1, 100.0), ("", "vix", -1, 0, 20.0), name="series")
    known = with_series(flat(3, 2), frame)
    assert known.mask.all(axis=1).tolist() == [False, True, True]
    assert known["cpi"][-1].tolist() == [100, 100]


def test_wrong_rows_are_refused():
    frame = reports(("S0", "x", -30, 1, 1.0))
    with pytest.raises(ConfigError, match="a released item must be one of x, got 'z'"):
        with_fundamentals(flat(4, 1), frame, items=["z"])
    with pytest.raises(
        DataError, match="sound and say when they were known, got 1 refused, the first for: value is not finite"
    ):
        with_fundamentals(flat(4, 1), frame.with_columns(pl.lit(float("inf")).alias("value")))
    with pytest.raises(DataError, match="no column `known_time`"):
        with_fundamentals(flat(4, 1), frame.drop("known_time"))
    with pytest.raises(DataError, match="an added field must be known at some bar"):
        with_fundamentals(flat(1, 1), frame)
    with pytest.raises(DataError, match="fields must be distinct"):
        with_fields(flat(2, 1), {"close": np.ones(1)})


def test_vwap():
    values = {"high": 12.0, "low": 9.0, "close": 9.0, "volume": 100.0, "amount": 1100.0}
    bars = panel(
        {name: np.full((2, 1), value) for name, value in values.items()} | {"volume": np.array([[100.0], [0.0]])}
    )
    assert with_vwap(bars)["vwap"][:, 0].tolist() == [11, 10]
    assert vwap({name: np.array([value]) for name, value in values.items() if name != "amount"}).tolist() == [10]


# --- value and quality -----------------------------------------------------------------------------------------------

STATEMENT = {
    "net_income": (5.0, 8.0), "revenue": (100.0, 120.0), "cost_of_revenue": (60.0, 66.0), "operating_cash_flow": (6.0, 10.0),
    "total_assets": (200.0, 210.0), "book_equity": (80.0, 90.0), "current_assets": (50.0, 60.0),
    "current_liabilities": (40.0, 40.0), "long_term_debt": (50.0, 48.0), "shares": (10.0, 10.0),
}  # fmt: skip
"""A year ago, and now."""


def company(**changes):
    statement = {name: (then, changes.get(name, now)) for name, (then, now) in STATEMENT.items()}
    values = {
        name: np.concatenate([np.full((252, 1), then), np.full((10, 1), now)])
        for name, (then, now) in statement.items()
    }
    return panel({"close": np.full((262, 1), 20.0)} | values)


def test_value_and_quality_by_hand():
    table = tabulate(company(), LIBRARY["fundamentals"], threads=1)
    by_hand = {
        "earnings_yield": 8 / 200, "book_to_price": 90 / 200, "sales_to_price": 120 / 200, "cash_flow_to_price": 10 / 200,
        "size": np.log(200), "return_on_equity": 8 / 90, "gross_profitability": 54 / 210, "accruals": -2 / 210,
        "asset_growth": 0.05, "share_issuance": 0, "piotroski": 9,
    }  # fmt: skip
    assert set(by_hand) == set(table.names)
    assert {name: table[name][-1, 0] for name in by_hand} == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("changes", "signs"),
    [
        ({"net_income": -1.0}, {"income", "return"}), ({"operating_cash_flow": -1.0}, {"cash", "accruals"}),
        ({"net_income": 5.1}, {"return"}), ({"operating_cash_flow": 7.0}, {"accruals"}),
        ({"long_term_debt": 60.0}, {"leverage"}),
        ({"current_assets": 45.0}, {"liquidity"}), ({"shares": 11.0}, {"issue"}), ({"cost_of_revenue": 80.0}, {"margin"}),
        ({"revenue": 104.0, "cost_of_revenue": 60.0}, {"turnover"}),
    ],
)  # fmt: skip
def test_each_sign_of_piotroski_counts_one(changes, signs):
    assert tabulate(company(**changes), [FACTORS["piotroski"]], threads=1).values[0, -1, 0] == 9 - len(signs)


# --- calendar and macro ----------------------------------------------------------------------------------------------


def sessions_of_2024():
    holidays = np.array(["2024-01-01", "2024-01-15", "2024-05-27", "2024-07-04"], "datetime64[D]")
    days = np.arange(np.datetime64("2023-12-20"), np.datetime64("2024-12-31"))
    return days[np.is_busday(days, holidays=holidays)]


def trading(sessions, stop):
    dates = sessions[(sessions >= np.datetime64("2024-01-01")) & (sessions <= np.datetime64(stop))]
    template = panel({"close": np.ones((len(dates), 1))})
    return type(template)(dates, template.symbols, template.fields, template.values.copy(), template.mask.copy())


def test_the_calendar_by_hand():
    bars = with_calendar(trading(sessions_of_2024(), "2024-07-31"), sessions_of_2024())
    table = tabulate(bars, LIBRARY["calendar"], threads=1)

    def on(date):
        row = int(np.flatnonzero(bars.dates == np.datetime64(date))[0])
        return {name: table[name][row, 0] for name in table.names if table[name][row, 0]}

    assert on("2024-07-03") == {
        "day_of_week": 2, "month": 7, "turn_of_month": 1, "sessions_left": 19, "pre_holiday": 1,
    }  # fmt: skip
    assert on("2024-05-31") == {"friday": 1, "day_of_week": 4, "month": 5, "turn_of_month": 1}
    assert on("2024-01-12") == {"friday": 1, "day_of_week": 4, "month": 1, "january": 1, "winter": 1, "sessions_left": 12,
                                "pre_holiday": 1}  # fmt: skip
    assert on("2024-05-13") == {"monday": 1, "month": 5, "sessions_left": 13}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 140))
def test_the_calendar_knows_nothing_that_was_not_published(rows):
    """A shorter panel says the same of its dates."""
    whole = trading(sessions_of_2024(), "2024-07-31")
    short = whole.between(None, str(whole.dates[rows - 1]))
    expected = with_calendar(whole, sessions_of_2024()).values[:rows]
    np.testing.assert_array_equal(with_calendar(short, sessions_of_2024()).values, expected)


def test_without_sessions_every_weekday_is_one():
    bars = with_calendar(trading(sessions_of_2024(), "2024-01-12"))
    assert bars["session_of_month"][:, 0].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert not bars["pre_holiday"].any()


def test_sessions_that_do_not_fit_are_refused():
    bars = trading(sessions_of_2024(), "2024-01-12")
    sessions = sessions_of_2024()
    with pytest.raises(DataError, match="they run from 2024-01-02 to 2024-12-30"):
        with_calendar(bars, sessions[sessions >= bars.dates[0]])
    with pytest.raises(DataError, match="they run from 2023-12-20 to 2024-01-31"):
        with_calendar(bars, sessions[sessions < np.datetime64("2024-02-01")])
    with pytest.raises(DataError, match="2024-01-03 is missing"):
        with_calendar(bars, sessions[sessions != np.datetime64("2024-01-03")])


def test_macro_by_hand():
    bars = market(3, 300, 2, fields=sorted({field for f in LIBRARY["macro"] for field in f.needs}))
    x = {field: bars[field][:, 1] for field in bars.fields}
    spread = x["yield_baa"] - x["yield_aaa"]
    inflation = x["cpi"][-1] / x["cpi"][-253] - 1
    by_hand = {
        "term_spread": x["yield_10y"][-1] - x["yield_3m"][-1], "credit_spread": spread[-1],
        "credit_spread_change": spread[-1] - spread[-22], "inflation": inflation,
        "real_rate": x["yield_3m"][-1] - 100 * inflation, "vix_change": np.log(x["vix"][-1] / x["vix"][-22]),
        "unemployment_change": x["unemployment"][-1] - x["unemployment"][-253],
    }  # fmt: skip
    table = tabulate(bars, LIBRARY["macro"], threads=1)
    assert {name: table[name][-1, 1] for name in table.names} == pytest.approx(by_hand)


# --- customers -------------------------------------------------------------------------------------------------------


def account(n, field, bars):
    return bars[field][-6:, n]


def test_customers_by_hand():
    """Seven months of two customers in two cities; each value of the last month written out."""
    values = {
        "limit": np.full((7, 2), [1000.0, 500.0]),
        "balance": np.array([[0, 100], [200, 100], [0, 200], [100, 300], [300, 400], [500, 450], [700, 400.0]]),
        "payment": np.array([[0, 50], [0, 0], [200, 10], [0, 20], [10, 0], [50, 0], [100, 100.0]]),
        "purchases": np.array([[0, 0], [200, 9], [0, 0], [100, 0], [0, 0], [0, 0], [0, 0.0]]),
        "months_behind": np.array([[0, 0], [0, 1], [0, 0], [1, 0], [0, 0], [2, 0], [0, 3.0]]),
    }
    bars = with_fields(panel(values), {"age": np.array([30.0, 60.0]), "city": np.array([1, 1])})
    table = tabulate(bars, LIBRARY["customers"], threads=1)
    months = np.arange(6)
    for n in range(2):
        limit = bars["limit"][0, n]
        b, p, late, bought = (account(n, field, bars) for field in ("balance", "payment", "months_behind", "purchases"))
        repaid = [paid / owed if owed > 0 else 1 for owed, paid in zip(b[:-1], p[1:], strict=True)]
        by_hand = {
            "utilisation": b[-1] / limit, "utilisation_mean_6": b.mean() / limit, "utilisation_max_6": b.max() / limit,
            "utilisation_trend_6": np.polyfit(months, b / limit, 1)[0], "balance_mean_6": b.mean(), "repaid": repaid[-1],
            "repaid_mean_5": np.mean(repaid), "payment_trend_6": np.polyfit(months, p / limit, 1)[0],
            "payment_spread_6": np.std(p / limit, ddof=1), "charges_mean_5": np.mean(np.diff(b) + p[1:]) / limit,
            "purchases_mean_6": bought.mean() / limit, "since_purchase_6": [3, 5][n], "since_payment_6": 0,
            "late_months_6": (late > 0).sum(), "late_worst_6": late.max(), "late_trend_6": np.polyfit(months, late, 1)[0],
            "age": [30, 60][n], "utilisation_city": b[-1] / limit - (0.7 + 0.8) / 2,
        }  # fmt: skip
        assert {name: table[name][-1, n] for name in table.names} == pytest.approx(by_hand)


def test_what_never_happened_is_as_long_ago_as_is_seen():
    ones = np.ones((6, 1))
    bars = panel({"limit": ones, "balance": ones, "payment": ones * 0, "purchases": ones * 0})
    table = tabulate(bars, [FACTORS["since_purchase_6"], FACTORS["since_payment_6"]], threads=1)
    assert table.values[:, -1, 0].tolist() == [6, 6]


TAIWAN = SHARED / "credit" / "taiwan_default_dev.parquet"


@pytest.mark.skipif(not TAIWAN.exists(), reason="the Taiwan default data are not here")
def test_six_months_of_real_customers():
    """Bills and payments of April to September 2005; 1 is the latest month. Who uses more and pays late defaults more."""
    frame = pl.read_parquet(TAIWAN)

    def months(name):
        return frame.select(f"{name}{k}" for k in range(6, 0, -1)).to_numpy().T.astype(float)

    values = {
        "balance": months("BILL_AMT"),
        "payment": months("PAY_AMT"),
        "months_behind": np.maximum(months("PAY_"), 0),
    }
    values["limit"] = np.broadcast_to(frame["LIMIT_BAL"].to_numpy(), values["balance"].shape)
    bars = with_fields(
        panel(values, first="2005-04-01"), {"age": frame["AGE"].to_numpy(), "city": frame["EDUCATION"].to_numpy()}
    )
    factors = [f for f in LIBRARY["customers"] if "purchases" not in f.needs]
    table = tabulate(bars, factors, threads=1)
    assert table.values.shape == (16, 6, len(frame))
    assert np.isfinite(table.values[:, -1]).all()
    first = [np.isfinite(table.values[k]).any(axis=1).argmax() + 1 for k in range(len(factors))]
    assert first == [f.lookback for f in factors]
    default = frame["default"].to_numpy().astype(float)
    link = {name: np.corrcoef(table[name][-1], default)[0, 1] for name in table.names}
    assert link["late_worst_6"] > 0.3
    assert link["late_months_6"] > 0.3
    assert link["utilisation_mean_6"] > 0.05
    assert table["utilisation_trend_6"][-1, 7] == pytest.approx(
        np.polyfit(range(6), (values["balance"] / values["limit"])[:, 7], 1)[0]
    )
