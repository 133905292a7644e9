"""Customers of a lender or a bank on the same machinery: a panel whose symbols are customers and whose dates are months.

Fields of a month: limit, balance (owed at its end), payment (paid in it), months_behind (0 where on time), purchases, all but
months_behind in one currency. Fields that never change, as `with_fields(panel, {"age": ages})` adds them: age in years,
city as a number. Amounts are taken over the limit, so that they compare between customers; the window is six months.
"""

from fiduciary.factors.library.define import formulas

CUSTOMERS = formulas(
    {
        "utilisation": ("balance / limit", "share of the limit in use"),
        "utilisation_mean_6": ("ts_mean(balance / limit, 6)", "its mean over six months"),
        "utilisation_max_6": ("ts_max(balance / limit, 6)", "its greatest value in six months"),
        "utilisation_trend_6": ("ts_slope(balance / limit, 6)", "its slope, per month"),
        "utilisation_city": ("cs_neutralise(balance / limit, city)", "less the mean of the customers of the same city"),
        "balance_mean_6": ("ts_mean(balance, 6)", "mean balance, in currency"),
        "repaid": ("where(OWED > 0, payment / OWED, 1)", "share of last month's balance that was paid; 1 where none was owed"),
        "repaid_mean_5": ("ts_mean(where(OWED > 0, payment / OWED, 1), 5)", "its mean over five months"),
        "payment_trend_6": ("ts_slope(payment / limit, 6)", "slope of payments over the limit, per month"),
        "payment_spread_6": ("ts_std(payment / limit, 6)", "standard deviation of payments over the limit"),
        "charges_mean_5": ("ts_mean(balance - OWED + payment, 5) / limit", "new charges and interest over the limit, mean"),
        "purchases_mean_6": ("ts_mean(purchases, 6) / limit", "mean purchases over the limit"),
        "since_purchase_6": ("N - ts_max(where(purchases > 0, N, N - 6), 6)", "months since a purchase, 6 where none is seen"),
        "since_payment_6": ("N - ts_max(where(payment > 0, N, N - 6), 6)", "months since a payment, 6 where none is seen"),
        "late_months_6": ("ts_count(months_behind > 0, 6)", "months behind within six"),
        "late_worst_6": ("ts_max(months_behind, 6)", "most months behind within six"),
        "late_trend_6": ("ts_slope(months_behind, 6)", "slope of the months behind, per month"),
        "age": ("age", "years"),
    },
    {"OWED": "ref(balance, 1)", "N": "cumsum(balance == balance)"},
)  # fmt: skip
"""18 formulas; ratios without units unless said."""
