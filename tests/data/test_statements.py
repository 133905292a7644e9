"""Trailing years: what was known of four quarters, against loops over dates; from vendors' statements to factors."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate

import numpy as np
import polars as pl
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data import Panel
from fiduciary.data.history import History
from fiduciary.data.pull import Plan, pull
from fiduciary.data.sources import Patience
from fiduciary.data.sources.tushare import Tushare
from fiduciary.data.sources.yahoo import Yahoo
from fiduciary.data.statements import FLOWS, trailing_year
from fiduciary.data.tables import FUNDAMENTALS, check_rows
from fiduciary.factors import tabulate
from fiduciary.factors.library import LIBRARY
from fiduciary.factors.library.fields import with_fundamentals
from vendor_wire import TUSHARE, as_json

pytest_plugins = ("vendor_wire",)

QUARTER, TO_DATE = "quarter", "year to date"
ITEMS = {"stated": "sum"}


def statements(*rows, symbol="AAA", item="stated", unit=None):
    """(end of the period, days until it was known, value)."""
    return pl.DataFrame(
        [(symbol, item, ended, ended + timedelta(days=days), float(value), unit) for ended, days, value in rows],
        schema={
            "symbol": pl.String, "item": pl.String, "event_time": pl.Date, "known_time": pl.Date, "value": pl.Float64,
            "unit": pl.String,
        },
        orient="row",
    )  # fmt: skip


def sums(frame, flows, **how):
    """(end of the period, day it was known, value) of every trailing year."""
    days = pl.col("event_time", "known_time").dt.date()
    return trailing_year(frame, flows=flows, items=ITEMS, **how).select(days, "value").select(
        "event_time", "known_time", "value"
    ).rows()  # fmt: skip


def quarter_ends(first, count, month=3):
    """`count` ends of quarters, the first in that month."""
    months = [divmod(month - 1 + 3 * k, 12) for k in range(count)]
    return [date(first + years, m + 1, monthrange(first + years, m + 1)[1]) for years, m in months]


# --- laws ------------------------------------------------------------------------------------------------------------


def slowly(rows, flows, year_end):
    """Every day on which something was stated, every period again from what was known by then."""
    last, found = {}, []
    for today in sorted({known for _, known, _ in rows}):
        past = [row for row in rows if row[1] <= today]

        def stated(at, days, past=past):
            near = [row for row in past if abs(row[0] - at).days <= days]
            return max(near, key=lambda row: (-abs(row[0] - at).days, row[1], row[0]))[2] if near else None

        for ended in sorted({row[0] for row in past}):
            since = ((ended - timedelta(days=10)).month - year_end) % 12
            back = [0, 3, 6, 9] if flows == QUARTER else [0, since, 12] if since else [0]
            parts = [stated(ended - relativedelta(months=months), 10 if months else 0) for months in back]
            if None not in parts:
                year = parts[0] + parts[1] - parts[2] if len(parts) == 3 else sum(parts)
                if last.get(ended) != year:
                    found.append((ended, today, year))
                last[ended] = year
    return found


JITTER = st.sampled_from([0, 0, 0, 0, -11, -10, -3, 3, 7, 10, 11])
STATED = st.tuples(JITTER, st.integers(0, 400), st.integers(-9, 9))


@st.composite
def histories(draw):
    """Two years of a company whose fiscal year may end in any month: gaps, restatements, ends that move, in any order."""
    month = draw(st.integers(1, 12))
    ends = quarter_ends(2022, 8, month)
    base = [(end, *draw(STATED)) for end in ends if draw(st.integers(0, 9))]
    more = [(draw(st.sampled_from(ends)), *draw(STATED)) for _ in range(draw(st.integers(0, 6)))]
    rows = [(end + timedelta(days=off), days, value) for end, off, days, value in base + more]
    unique = {(end, end + timedelta(days=days + 11)): value for end, days, value in rows}
    return [(*key, float(value)) for key, value in unique.items()], (
        month + draw(st.sampled_from([0, 3, 6, 9])) - 1
    ) % 12 + 1


def as_frame(rows):
    return statements(*((ended, (known - ended).days, value) for ended, known, value in rows))


@settings(max_examples=150, deadline=None)
@given(histories(), st.sampled_from([QUARTER, TO_DATE]))
def test_every_sum_is_what_a_loop_over_the_days_makes_of_what_was_known(history, flows):
    rows, year_end = history
    if rows:
        assert sums(as_frame(rows), flows, year_end=year_end) == slowly(rows, flows, year_end)


@settings(max_examples=100, deadline=None)
@given(histories(), st.sampled_from([QUARTER, TO_DATE]), st.integers(0, 23))
def test_what_is_stated_later_changes_no_earlier_row(history, flows, k):
    rows, year_end = history
    if rows:
        today = sorted(known for _, known, _ in rows)[k % len(rows)]
        past = sums(as_frame([row for row in rows if row[1] <= today]), flows, year_end=year_end)
        assert past == [row for row in sums(as_frame(rows), flows, year_end=year_end) if row[1] <= today]


@pytest.mark.parametrize("month", range(1, 13))
def test_quarters_and_flows_to_date_of_one_company_have_the_same_years(month):
    """First quarter of the fiscal year in any month; whole numbers, so that sums are exact."""
    values = [5, -3, 0, 8, 13, -21, 4, 6, 7, 1, -2, 9]
    ends = quarter_ends(2021, 12, month)
    so_far = [value for year in (0, 4, 8) for value in accumulate(values[year : year + 4])]
    quarters, to_date = (statements(*((e, 30, v) for e, v in zip(ends, x, strict=True))) for x in (values, so_far))
    expected = [(end, end + timedelta(days=30), sum(values[k - 3 : k + 1])) for k, end in enumerate(ends) if k >= 3]
    assert sums(quarters, QUARTER) == expected
    assert sums(to_date, TO_DATE, year_end=ends[3].month) == expected


# --- by hand ---------------------------------------------------------------------------------------------------------

MARCH, JUNE, SEPTEMBER, DECEMBER, NEXT = quarter_ends(2023, 5)


def test_a_restatement_of_any_quarter_is_a_new_row_of_every_year_that_it_is_part_of():
    frame = statements(
        (MARCH, 30, 1), (JUNE, 30, 2), (SEPTEMBER, 30, 3), (DECEMBER, 60, 4), (NEXT, 30, 5), (JUNE, 400, 2.5), (MARCH, 500, 9)
    )  # fmt: skip
    assert sums(frame, QUARTER) == [
        (DECEMBER, date(2024, 2, 29), 10.0),
        (NEXT, date(2024, 4, 30), 14.0),
        (DECEMBER, date(2024, 8, 3), 10.5),
        (NEXT, date(2024, 8, 3), 14.5),
        (DECEMBER, date(2024, 8, 12), 18.5),
    ]


def test_a_year_is_known_when_its_last_part_is_and_one_that_says_the_same_again_is_no_row():
    frame = statements(
        (MARCH, 400, 1), (JUNE, 30, 2), (SEPTEMBER, 30, 3), (DECEMBER, 60, 4), (JUNE, 500, 2), (SEPTEMBER, 700, 4),
        (JUNE, 792, 1),
    )  # fmt: skip
    assert sums(frame, QUARTER) == [(DECEMBER, date(2024, 5, 4), 10.0)]  # the last two cancel on one day
    assert sums(pl.concat([frame, frame]), QUARTER) == sums(frame, QUARTER)


def test_the_nearest_end_counts_and_of_two_as_near_the_one_stated_last():
    before, after = SEPTEMBER - timedelta(days=3), SEPTEMBER + timedelta(days=3)
    stated = [
        (before, date(2023, 11, 1), 3), (after, date(2024, 5, 1), 5), (before, date(2024, 5, 2), 7),
        (before, date(2024, 5, 3), 9), (after, date(2024, 5, 3), 11), (SEPTEMBER, date(2024, 5, 4), 0),
        (after, date(2024, 5, 5), 13),
    ]  # fmt: skip
    rows = ((end, (known - end).days, value) for end, known, value in stated)
    years = sums(statements((MARCH, 30, 1), (JUNE, 30, 2), (DECEMBER, 60, 4), *rows), QUARTER)
    assert [value - 7 for end, _, value in years if end == DECEMBER] == [3, 5, 7, 11, 0]


def test_without_a_quarter_or_the_year_before_there_is_no_year():
    assert sums(statements((MARCH, 30, 1), (JUNE, 30, 2), (DECEMBER, 60, 4), (NEXT, 30, 5)), QUARTER) == []
    to_date = statements((JUNE, 30, 2), (SEPTEMBER, 30, 3), (DECEMBER, 60, 4), (NEXT, 30, 5))
    assert sums(to_date, TO_DATE) == [(DECEMBER, date(2024, 2, 29), 4.0)]


def test_half_years_suffice_to_flows_to_date():
    halves = [date(2022, 6, 30), date(2022, 12, 31), JUNE]
    assert sums(statements(*zip(halves, [60] * 3, [4, 9, -1], strict=True)), TO_DATE)[-1] == (
        JUNE,
        date(2023, 8, 29),
        4.0,
    )


def test_years_of_53_weeks_and_quarters_of_unequal_weeks():
    """Ends on the last Saturday of September; 2023 had 53 weeks, the 14 of its first quarter until 31 December 2022."""
    ends = [date(2022, 9, 24), date(2022, 12, 31), date(2023, 4, 1), date(2023, 7, 1), date(2023, 9, 30)]
    quarters = statements(*zip(ends, [30] * 5, [1, 2, 4, 8, 16], strict=True))
    assert [row[::2] for row in sums(quarters, QUARTER)] == [(ends[3], 15.0), (ends[4], 30.0)]
    to_date = statements(*zip(ends, [30] * 5, [90, 2, 6, 14, 30], strict=True), (date(2021, 12, 25), 30, 7))
    years = [row[::2] for row in sums(to_date, TO_DATE, year_end=9)]
    assert years == [(ends[0], 90.0), (ends[1], 85.0), (ends[4], 30.0)]
    uneven = [date(2022, 11, 20), date(2023, 2, 12), date(2023, 5, 7), date(2023, 9, 3)]  # 12, 12, 12 and 16 weeks
    assert sums(statements(*zip(uneven, [30] * 4, [1, 2, 3, 4], strict=True)), QUARTER) == []


def test_companies_and_items_do_not_mix_and_the_unit_says_what_it_is():
    year = [(end, 30, k) for k, end in enumerate((MARCH, JUNE, SEPTEMBER, DECEMBER))]
    frame = pl.concat(
        [
            statements(*year, unit="CNY since the start of the year"),
            statements(*year[1:], symbol="BBB"),
            statements(*year[:1], symbol="CCC", unit="EUR"),
            statements(*((end, 30, 10 * k) for end, _, k in year), item="other", unit="CNY since the start of the year"),
            statements(*year, item="not asked for"),
        ]
    )  # fmt: skip
    made = trailing_year(frame, flows=QUARTER, items={"stated": "a", "other": "b", "never": "c"})
    assert made.select("symbol", "item", "value", "unit").rows() == [
        ("AAA", "a", 6.0, "CNY over the last year"),
        ("AAA", "b", 60.0, "CNY over the last year"),
    ]
    checked = check_rows(made, FUNDAMENTALS)
    assert checked.good.equals(made.select(checked.good.columns))
    assert checked.refused.is_empty()


def test_wrong_rows_and_wrong_words_are_refused():
    frame = statements((MARCH, 30, 1), (JUNE, 30, 2), unit="CNY")
    with pytest.raises(ConfigError, match=r"flows must be those of a 'quarter' or 'year to date'.*'yearly', 12"):
        sums(frame, "yearly")
    with pytest.raises(ConfigError, match="a month, 1 to 12, got 'quarter', 0"):
        sums(frame, QUARTER, year_end=0)
    with pytest.raises(ConfigError, match="none of revenue"):
        trailing_year(frame, flows=QUARTER, items={"revenue": "revenue"})
    with pytest.raises(ConfigError, match="a name of its own"):
        trailing_year(frame, flows=QUARTER, items={"stated": "sum", "other": "sum"})
    with pytest.raises(DataError, match="no column `known_time`"):
        sums(frame.drop("known_time"), QUARTER)
    with pytest.raises(DataError, match="got 2 refused: two values under one key"):
        sums(pl.concat([frame, statements((JUNE, 30, 3), unit="CNY")]), QUARTER)
    with pytest.raises(DataError, match=r"in one unit, got sum of AAA in \['CNY', 'EUR'\]"):
        sums(pl.concat([frame, statements((DECEMBER, 30, 3), unit="EUR")]), QUARTER)


# --- from a vendor's statements to factors ---------------------------------------------------------------------------

ENDS = quarter_ends(2022, 9)
K = np.arange(9)
PER_QUARTER = {"net_income": 10 + K - 30 * (K == 2), "revenue": 100 + 10 * K, "cost_of_revenue": 60 + 4 * K,
               "operating_cash_flow": 12 + 2 * K}  # fmt: skip
"""Million per quarter; the third has a loss."""
AT_END = {"total_assets": 800 + 10 * K, "book_equity": 300 + 5 * K, "current_assets": 200 + 3 * K,
          "current_liabilities": 150 + K, "long_term_debt": 100 - K, "shares": 50 + 0 * K}  # fmt: skip
PRICE = 20.0
DAYS = np.arange("2023-04-25", "2024-06-15", dtype="datetime64[D]")
DAYS = DAYS[np.is_busday(DAYS)]


def prices(symbol):
    shape = (len(DAYS), 1)
    return Panel(DAYS, (symbol,), ("close",), np.full((*shape, 1), PRICE), np.ones(shape, bool))


def year_to(k):
    """{flow: sum of four quarters}."""
    return {item: float(values[k - 3 : k + 1].sum()) for item, values in PER_QUARTER.items()}


def by_hand(k, **changed):
    """Factors of the library at the end of a quarter but for those that look a year back."""
    f = year_to(k) | {item: float(values[k]) for item, values in AT_END.items()} | changed
    cap = PRICE * f["shares"]
    return {
        "size": np.log(cap),
        "earnings_yield": f["net_income"] / cap, "sales_to_price": f["revenue"] / cap,
        "cash_flow_to_price": f["operating_cash_flow"] / cap, "book_to_price": f["book_equity"] / cap,
        "return_on_equity": f["net_income"] / f["book_equity"],
        "gross_profitability": (f["revenue"] - f["cost_of_revenue"]) / f["total_assets"],
        "accruals": (f["net_income"] - f["operating_cash_flow"]) / f["total_assets"],
    }  # fmt: skip


def factors_of(frame, symbol):
    """The panel with all fields, and its factors on a day."""
    known = with_fundamentals(prices(symbol), frame, items=[*PER_QUARTER, *AT_END])
    table = tabulate(known, LIBRARY["fundamentals"], threads=1)
    return known, lambda day: dict(
        zip(table.names, table.values[:, np.searchsorted(known.dates, np.datetime64(day)), 0], strict=True)
    )


def tushare_answer(theirs, *, to_date, restated=()):
    """Rows as Tushare sends them: {its name: values per quarter}, announced on the 28th of the month after each."""
    rows = []
    for k, end in enumerate(ENDS):
        year = slice(k - k % 4 if to_date else k, k + 1)
        told = {name: float(values[year].sum()) for name, values in theirs.items()}
        rows.append((k, f"{end + timedelta(days=28):%Y%m%d}", told))
    rows += [(k, day, rows[k][2] | told) for k, day, told in restated]
    fields = ["ts_code", "ann_date", "f_ann_date", "end_date", "report_type", "update_flag", *theirs]
    items = [["600999.SH", day, day, f"{ENDS[k]:%Y%m%d}", "1", "0", *told.values()] for k, day, told in rows]
    return as_json({"code": 0, "msg": "", "data": {"fields": fields, "items": items, "has_more": False}})


def test_tushares_flows_to_date_become_factors_on_the_day_of_their_announcement(online, tmp_path):
    income = {"n_income_attr_p": "net_income", "revenue": "revenue", "oper_cost": "cost_of_revenue"}
    balance = {
        "total_assets": "total_assets", "total_hldr_eqy_exc_min_int": "book_equity", "total_cur_assets": "current_assets",
        "total_cur_liab": "current_liabilities", "lt_borr": "long_term_debt", "total_share": "shares",
    }  # fmt: skip
    ours = PER_QUARTER | AT_END
    parts = {"income": income, "balancesheet": balance, "cashflow": {"n_cashflow_act": "operating_cash_flow"}}
    for interface, names in parts.items():
        # The first quarter of 2023 earned 3 less, said in the middle of May 2024.
        restated = [(4, "20240515", {"n_income_attr_p": 11.0})] if interface == "income" else []
        values = {theirs: ours[name] for theirs, name in names.items()}
        answer = tushare_answer(values, to_date=interface != "balancesheet", restated=restated)
        online.say(f"{TUSHARE}/{interface}", answer)
    history = History(str(tmp_path))
    pull(Plan(Tushare(token="t"), "fundamentals", ("600999.SH",), date(2020, 1, 1), known="published"), history)
    year = trailing_year(history.log("fundamentals").drop("batch"), flows=TO_DATE, items=FLOWS["tushare"])
    assert history.append(FUNDAMENTALS, year, source="trailing year").rows == len(year)
    assert history.append(FUNDAMENTALS, year, source="trailing year").rows == 0

    known, on = factors_of(history.log("fundamentals").drop("batch", "source"), "600999.SH")
    # Known at midnight in Shanghai, 16:00 UTC: for the dates after it. What is taken away, so far a year ago, is less by 3.
    last = [max(k for k, end in enumerate(ENDS) if end + timedelta(days=28) < day) for day in known.dates.tolist()]
    corrected = 3.0 * (known.dates > np.datetime64("2024-05-15"))
    assert known["net_income"][:, 0].tolist() == (corrected + [year_to(k)["net_income"] for k in last]).tolist()
    # The first quarter was announced on a Sunday.
    later = by_hand(8, net_income=year_to(8)["net_income"] + 3)
    for day, expected in (
        ("2024-04-26", by_hand(7)), ("2024-04-29", by_hand(8)), ("2024-05-15", by_hand(8)),
        ("2024-05-16", later | {"asset_growth": 880 / 840 - 1, "share_issuance": 0.0, "piotroski": 9.0}),
    ):  # fmt: skip
        assert {name: on(day)[name] for name in expected} == pytest.approx(expected)


YAHOOS = {
    "NetIncome": "net_income", "TotalRevenue": "revenue", "CostOfRevenue": "cost_of_revenue",
    "OperatingCashFlow": "operating_cash_flow", "TotalAssets": "total_assets", "StockholdersEquity": "book_equity",
    "CurrentAssets": "current_assets", "CurrentLiabilities": "current_liabilities", "LongTermDebt": "long_term_debt",
    "OrdinarySharesNumber": "shares",
}  # fmt: skip


def yahoo_answer(quarters):
    """The last quarters of every item, as Yahoo's fundamentals time series."""
    result = []
    for theirs, name in YAHOOS.items():
        kind, values = f"quarterly{theirs}", (PER_QUARTER | AT_END)[name]
        period = {"periodType": "3M", "currencyCode": "USD"}
        stated = [period | {"asOfDate": f"{ENDS[k]}", "reportedValue": {"raw": float(values[k])}} for k in quarters]
        times = [int(datetime(*ENDS[k].timetuple()[:3], tzinfo=UTC).timestamp()) for k in quarters]
        result.append({"meta": {"symbol": ["ACME"], "type": [kind]}, "timestamp": times, kind: stated})
    return as_json({"timeseries": {"result": result, "error": None}})


def test_yahoos_quarters_become_factors_once_they_were_retrieved(online, tmp_path):
    """Yahoo shows five quarters and no releases: three retrievals, each knows its own."""
    history = History(str(tmp_path))
    series = "/query2.finance.yahoo.com/ws/fundamentals-timeseries/v1/finance/timeseries/ACME"
    for last, day in ((6, 10), (7, 20), (8, 30)):
        online.say(series, yahoo_answer(range(last - 4, last + 1)))
        (piece,) = Yahoo().pieces("fundamentals", ["ACME"], start=date(2020, 1, 1), patience=Patience(attempts=1))
        known = datetime(2024, 5, day, 12, tzinfo=UTC)
        history.append(FUNDAMENTALS, piece.frame, source="yahoo", known=known)
    rows = history.log("fundamentals").drop("batch", "source")
    year = trailing_year(rows, flows=QUARTER, items=FLOWS["yahoo"])
    known, on = factors_of(pl.concat([rows, year], how="diagonal"), "ACME")
    # The first retrieval was on a Friday.
    assert known.dates[known.mask[:, 0]][0] == np.datetime64("2024-05-13")
    for k, day in ((6, "2024-05-13"), (6, "2024-05-20"), (7, "2024-05-21"), (7, "2024-05-30"), (8, "2024-05-31")):
        assert {name: on(day)[name] for name in by_hand(k)} == pytest.approx(by_hand(k))
