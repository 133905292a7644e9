"""Statements: what a company earned and spent in its last four quarters, as it was known at every time.

    rows = history.log("fundamentals").drop("batch", "source")
    year = trailing_year(rows, flows="year to date", items=FLOWS["tushare"])
    rows = pl.concat([rows, year], how="diagonal")

Sums are made from the log when they are needed. A store that holds them adds only what is new, but where an old version of a
statement is loaded late, the sum that it changes is news of that day to the store.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, get_args

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.tables import FUNDAMENTALS, check_rows

if TYPE_CHECKING:
    import polars as pl

Flows = Literal["quarter", "year to date"]

FLOWS = {
    "yahoo": {
        "income_NetIncome": "net_income", "income_TotalRevenue": "revenue", "income_CostOfRevenue": "cost_of_revenue",
        "income_GrossProfit": "gross_profit", "cash_OperatingCashFlow": "operating_cash_flow",
    },
    "tushare": {
        "income_n_income_attr_p": "net_income", "income_revenue": "revenue", "income_oper_cost": "cost_of_revenue",
        "cashflow_n_cashflow_act": "operating_cash_flow",
    },
    "akshare": {
        "income_PARENT_NETPROFIT": "net_income", "income_OPERATE_INCOME": "revenue", "income_OPERATE_COST": "cost_of_revenue",
    },
}  # fmt: skip
"""{source: {its item: ours}}: flows that the factor library reads; income is that of the shareholders of the parent."""
SO_FAR, YEAR = " since the start of the year", " over the last year"
"""In the unit of a flow to date, and of its trailing year."""
NEAR, EXACTLY = timedelta(days=10), timedelta(0)
"""How far a period may end from where the calendar has it: years of 52 weeks have 364 days or 371."""


def trailing_year(
    rows: "pl.DataFrame", *, flows: Flows, items: Mapping[str, str], year_end: int = 12
) -> "pl.DataFrame":
    """Sums of flows over the year up to each period's end, from those versions of the statements that were known.

    With x_p what is stated for the period that ends at p, p - m the period that ended m calendar months before, and e the
    months since the fiscal year began,

        quarter:        year_p = x_p + x_{p-3} + x_{p-6} + x_{p-9}
        year to date:   year_p = x_p + x_{p-e} - x_{p-12},        year_p = x_p at the end of the fiscal year

    At every known time of a part the latest versions of all parts are summed again, and a sum that differs from the one
    before is a new row. A sum that lacks a part is no row: a calendar of unequal quarters (12, 12, 12 and 16 weeks) has none
    from quarters, the first fiscal year of flows to date one at its end only. p - m is matched to the nearest end that is
    known by then and at most 10 days off, of two as near the one stated last, on one day the later.

    Args:
        rows: of table `fundamentals` with their `known_time`, all versions.
        flows: what the vendor states: each quarter alone (Yahoo) or the fiscal year so far (Tushare, AKShare).
        items: {item of the statement: item of the sum}; one that a company does not report gives no rows.
        year_end: month, 1 to 12, in which fiscal years end (10 days into the next counts as the month); matters to flows to
            date only. Companies whose years end in another month take a call of their own.

    Returns:
        Rows of the same table, known when the last of their parts was, sorted by `known_time`, symbol, item and period.

    Raises:
        ConfigError: no such flows or month, none of the items occurs, or two are to become one.
        DataError: a row is not as its table says or does not say when it was known, or an item of a company has two units.
    """
    import polars as pl

    if flows not in get_args(Flows) or year_end not in range(1, 13):
        raise ConfigError(
            "flows must be those of a 'quarter' or 'year to date', and years end in a month, 1 to 12",
            f"{flows!r}, {year_end}",
        )
    # The latest version of every part, beside each version of any.
    value = pl.col("value") * pl.col("sign")
    latest = [pl.when(pl.col("part") == k).then(value).forward_fill().over("period").alias(str(k)) for k in range(4)]
    held = pl.col("0", "1", "2", "3")
    return (
        _stated(_versions(rows, items), flows, year_end)
        .with_columns(latest)
        .unique(["period", "known_time"], keep="last", maintain_order=True)
        .filter(pl.sum_horizontal(held.is_not_null()) == pl.col("parts"))
        .with_columns(pl.col("unit").str.replace(SO_FAR, YEAR, literal=True), value=pl.sum_horizontal(held))
        .filter(pl.col("value").ne_missing(pl.col("value").shift().over("period")))
        .sort("known_time", "symbol", "item", "event_time")
        .select("event_time", "symbol", "item", "value", "unit", "known_time")
    )


def _versions(rows: "pl.DataFrame", items: Mapping[str, str]) -> "pl.DataFrame":
    """What was stated of the items, under the names of their sums."""
    import polars as pl

    good, refused = check_rows(rows, FUNDAMENTALS)
    if len(refused) or "known_time" not in good.columns:
        fact = f"{len(refused)} refused: {refused['reason'][0]}" if len(refused) else "no column `known_time`"
        raise DataError("statements must be sound and say when they were known", fact)
    if len(set(items.values())) < len(items):
        raise ConfigError("`items` must give every item a name of its own", str(dict(items)))
    own = good.filter(pl.col("item").is_in(list(items))).with_columns(pl.col("item").replace(items))
    if own.is_empty():
        raise ConfigError("`items` must be among those of the statements", f"none of {', '.join(items)}")
    mixed = own.group_by("symbol", "item").agg(pl.col("unit").unique()).filter(pl.col("unit").list.len() > 1)
    if len(mixed):
        symbol, item, units = mixed.sort("symbol", "item").row(0)
        raise DataError(
            "flows that are summed must be in one unit", f"{item} of {symbol} in {units}",
            cause="the company changed the currency of its reports", remedy="convert them, or leave it out",
        )  # fmt: skip
    return own


def _stated(versions: "pl.DataFrame", flows: Flows, year_end: int) -> "pl.DataFrame":
    """Versions of the parts of each period, in the order in which they came to stand for them."""
    import polars as pl

    month = pl.col("end").dt.truncate("1mo").alias("month")
    ends = versions.select("symbol", "item", "value", "known_time", end="event_time").with_columns(month)
    periods = versions.select("symbol", "item", "unit", "event_time").unique().with_row_index("period")
    return (
        periods.join(_parts(periods.select("event_time").unique(), flows, year_end), on="event_time")
        .join(ends, on=["symbol", "item", "month"])
        .with_columns(off=(pl.col("end") - pl.col("at")).abs())
        .filter(pl.col("off") <= pl.when(pl.col("back") == 0).then(EXACTLY).otherwise(NEAR))
        .sort("known_time", "end")
        .filter(pl.col("off") == pl.col("off").cum_min().over(pl.col("period") * 4 + pl.col("part")))
    )


def _parts(ends: "pl.DataFrame", flows: Flows, year_end: int) -> "pl.DataFrame":
    """What is summed for a period by its end: where each `part` ends (`at`), its sign, and months to look for it in."""
    import polars as pl

    at, back = pl.col("at"), pl.col("back")
    since = ((pl.col("event_time") - NEAR).dt.month().cast(pl.Int64) - year_end) % 12
    to_date = pl.when(since == 0).then(pl.concat_list(0)).otherwise(pl.concat_list(0, since, 12))
    return (
        ends.with_columns(back=pl.lit([0, 3, 6, 9]) if flows == "quarter" else to_date)
        .with_columns(part=pl.int_ranges(back.list.len()), parts=back.list.len())
        .explode("back", "part")
        .with_columns(at=pl.col("event_time").dt.offset_by(pl.format("-{}mo", back)))
        .with_columns(
            sign=pl.when(back == 12).then(-1.0).otherwise(1.0),
            month=pl.concat_list((at - NEAR).dt.truncate("1mo"), (at + NEAR).dt.truncate("1mo")).list.unique(),
        )
        .explode("month")
    )
