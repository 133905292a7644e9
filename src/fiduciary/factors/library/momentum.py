"""Momentum, reversal and seasonality of prices: ratios without units; a year is 252 bars, a month 21."""

from fiduciary.factors.library.define import formulas

WORDS = {
    "R": "close / ref(close, 1) - 1",
    "M": "R - cs_demean(R)",
    "BETA": "ts_cov(R, M, 252) / ts_var(M, 252)",
    "YEAR": "ref(close, 21) / ref(close, 252) - 1",
}
"""Return, mean return of the panel's symbols on the date, slope of the one on the other over a year, return 12-1."""

DEFINITIONS = {
    "momentum_12_1": ("YEAR", "Jegadeesh and Titman, J. Finance 48, 1993: the year's return without its last month"),
    "momentum_6_1": ("ref(close, 21) / ref(close, 126) - 1", "Jegadeesh and Titman 1993: half a year without its last month"),
    "momentum_12_7": ("ref(close, 126) / ref(close, 252) - 1", "Novy-Marx, J. Fin. Econ. 103, 2012: its first half"),
    "reversal_month": ("1 - close / ref(close, 21)", "Jegadeesh, J. Finance 45, 1990: less the month's return"),
    "reversal_week": ("1 - close / ref(close, 5)", "Lehmann, Q. J. Economics 105, 1990: less the week's return"),
    "reversal_long": ("1 - ref(close, 252) / ref(close, 756)", "De Bondt and Thaler, J. Finance 40, 1985: less years 2 and 3"),
    "high_52w": ("close / ts_max(high, 252)", "George and Hwang, J. Finance 59, 2004: nearness to the year's high, in (0, 1]"),
    "trend_quality": (
        "252 * ts_slope(log(close), 126) * ts_rsquare(log(close), 126)",
        "slope of the log price over half a year, per year, times the share of variance that the line explains",
    ),
    "momentum_residual": (
        "ts_mean(ref(R - BETA * M, 21), 231) / ts_std(ref(R - BETA * M, 21), 231)",
        "Blitz, Huij and Martens, J. Emp. Finance 18, 2011, with one factor, the panel's mean, and each day's own beta",
    ),
    "max_return": ("ts_max(R, 21)", "Bali, Cakici and Whitelaw, J. Fin. Econ. 99, 2011: the month's greatest daily return"),
    "continuity": (
        "sign(YEAR) * (ts_mean(ref(R, 21) > 0, 231) - ts_mean(ref(R, 21) < 0, 231))",
        "Da, Gurun and Warachka, Rev. Fin. Studies 27, 2014: less the information discreteness, in [-1, 1]",
    ),
    "overnight": ("ts_sum(log(open / ref(close, 1)), 21)", "Lou, Polk and Skouras, J. Fin. Econ. 134, 2019: nights"),
    "intraday": ("ts_sum(log(close / open), 21)", "Lou, Polk and Skouras 2019: days of a month"),
    "seasonality_1": (
        "ref(close, 231) / ref(close, 252) - 1", "Heston and Sadka, J. Fin. Econ. 87, 2008: the coming month, a year ago",
    ),
    "seasonality_2_5": (
        "(" + " + ".join(f"ref(close, {252 * year - 21}) / ref(close, {252 * year})" for year in (2, 3, 4, 5)) + ") / 4 - 1",
        "Heston and Sadka 2008: the coming month, mean of two to five years ago",
    ),
}  # fmt: skip

MOMENTUM = formulas(DEFINITIONS, WORDS)
"""15 formulas over open, high and close."""
