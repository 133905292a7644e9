"""Value and quality of a company, from what its reports said by the date.

Fields that `with_fundamentals` joins as of their release: net_income, revenue, cost_of_revenue, operating_cash_flow (sums of
the last four quarters), total_assets, book_equity, current_assets, current_liabilities, long_term_debt (at the end of the
period), all in the currency of the prices, and shares. A year ago is 252 bars ago, as it was known then.
"""

from fiduciary.factors.library.define import formulas

WORDS = {
    "CAP": "close * shares",
    "ROA": "net_income / total_assets",
    "MARGIN": "(revenue - cost_of_revenue) / revenue",
    "CURRENT": "current_assets / current_liabilities",
    "LEVERAGE": "long_term_debt / total_assets",
    "TURNS": "revenue / total_assets",
}

FUNDAMENTALS = formulas(
    {
        "earnings_yield": ("net_income / CAP", "Basu, J. Finance 32, 1977: earnings over market capitalisation, per year"),
        "book_to_price": ("book_equity / CAP", "Fama and French, J. Finance 47, 1992: book over market equity"),
        "sales_to_price": ("revenue / CAP", "revenue over market capitalisation, per year"),
        "cash_flow_to_price": ("operating_cash_flow / CAP", "Lakonishok, Shleifer and Vishny, J. Finance 49, 1994"),
        "size": ("log(CAP)", "Banz, J. Fin. Econ. 9, 1981: log of market capitalisation"),
        "return_on_equity": ("net_income / book_equity", "earnings over book equity, per year; not for negative equity"),
        "gross_profitability": ("(revenue - cost_of_revenue) / total_assets", "Novy-Marx, J. Fin. Econ. 108, 2013"),
        "accruals": ("(net_income - operating_cash_flow) / total_assets", "Sloan, Accounting Review 71, 1996, from cash flow"),
        "asset_growth": ("total_assets / ref(total_assets, 252) - 1", "Cooper, Gulen and Schill, J. Finance 63, 2008"),
        "share_issuance": ("shares / ref(shares, 252) - 1", "Pontiff and Woodgate, J. Finance 63, 2008"),
        "piotroski": (
            "(net_income > 0) + (operating_cash_flow > 0) + (ROA > ref(ROA, 252)) + (operating_cash_flow > net_income)"
            " + (LEVERAGE < ref(LEVERAGE, 252)) + (CURRENT > ref(CURRENT, 252)) + (shares <= ref(shares, 252))"
            " + (MARGIN > ref(MARGIN, 252)) + (TURNS > ref(TURNS, 252))",
            "Piotroski, J. Accounting Research 38, 2000: nine signs of strength, 0 to 9, over assets at the end of the period",
        ),
    },
    WORDS,
)  # fmt: skip
"""11 formulas; ratios without units but for `size` and `piotroski`."""
