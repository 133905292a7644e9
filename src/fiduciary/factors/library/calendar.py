"""The calendar and the economy as factors: the same for all symbols of a date.

The first read the fields that `with_calendar` adds, the others those that `with_series` joins as of their release: yield_10y,
yield_3m, yield_aaa, yield_baa, unemployment in percent, cpi and vix as levels. A year is 252 bars, a month 21.
"""

from fiduciary.factors.library.define import formulas

CALENDAR = formulas(
    {
        "monday": ("day_of_week == 0", "French, J. Fin. Econ. 8, 1980"),
        "friday": ("day_of_week == 4", "French 1980"),
        "day_of_week": ("day_of_week", "0 Monday to 6 Sunday"),
        "month": ("month", "1 to 12"),
        "january": ("month == 1", "Rozeff and Kinney, J. Fin. Econ. 3, 1976"),
        "winter": ("(month >= 11) | (month <= 4)", "Bouman and Jacobsen, Am. Econ. Review 92, 2002: November to April"),
        "turn_of_month": (
            "(sessions_left == 0) | (session_of_month <= 3)",
            "Lakonishok and Smidt, Rev. Fin. Studies 1, 1988: the last session of a month and the first three",
        ),
        "sessions_left": ("sessions_left", "sessions to the end of the month"),
        "pre_holiday": ("pre_holiday", "Ariel, J. Finance 45, 1990"),
    }
)
"""9 formulas; conditions are 1 or 0."""

MACRO = formulas(
    {
        "term_spread": ("yield_10y - yield_3m", "Estrella and Hardouvelis, J. Finance 46, 1991; percentage points"),
        "credit_spread": ("yield_baa - yield_aaa", "Fama and French, J. Fin. Econ. 25, 1989; percentage points"),
        "credit_spread_change": ("DEFAULT - ref(DEFAULT, 21)", "over a month; percentage points"),
        "inflation": ("cpi / ref(cpi, 252) - 1", "over a year, as released"),
        "real_rate": ("yield_3m - 100 * (cpi / ref(cpi, 252) - 1)", "percentage points"),
        "unemployment_change": ("unemployment - ref(unemployment, 252)", "over a year, as released; percentage points"),
        "vix_change": ("log(vix / ref(vix, 21))", "log change over a month"),
    },
    {"DEFAULT": "yield_baa - yield_aaa"},
)
"""7 formulas."""
