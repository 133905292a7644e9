"""The library of factors: families of formulas and factors, and the fields that some of them need.

    alpha158, alpha360   feature sets of Qlib                      alpha158.py     need vwap: `with_vwap`
    alpha101             the 101 formulaic alphas                  alpha101.py     need vwap; some industry, one cap
    indicators, candles  TA-Lib                                    indicators.py
    volatility           from open, high, low and close            volatility.py   realised: `realised_variance`
    momentum             past returns                              momentum.py
    risk, liquidity      beta, spread, Amihud                      risk.py         turnover: shares
    fundamentals         value and quality                         fundamentals.py `with_fundamentals`
    calendar, macro      dates and the economy                     calendar.py     `with_calendar`, `with_series`
    customers            credit: months of an account              customers.py

Families are built when `LIBRARY` is first asked for.
"""

from functools import cache

from fiduciary.factors.factor import Factor
from fiduciary.factors.formula import Formula

Family = tuple[Factor | Formula, ...]

LIBRARY: dict[str, Family]
"""{name: factors}; built on first use."""


def __getattr__(name: str) -> dict[str, Family]:
    if name == "LIBRARY":
        return _library()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _library() -> dict[str, Family]:
    from fiduciary.factors.library.alpha101 import ALPHA101
    from fiduciary.factors.library.alpha158 import ALPHA158, ALPHA360
    from fiduciary.factors.library.calendar import CALENDAR, MACRO
    from fiduciary.factors.library.customers import CUSTOMERS
    from fiduciary.factors.library.fundamentals import FUNDAMENTALS
    from fiduciary.factors.library.indicators import CANDLES, INDICATORS
    from fiduciary.factors.library.momentum import MOMENTUM
    from fiduciary.factors.library.risk import LIQUIDITY, RISK
    from fiduciary.factors.library.volatility import VOLATILITY

    return {
        "alpha158": ALPHA158, "alpha360": ALPHA360, "alpha101": ALPHA101, "indicators": INDICATORS, "candles": CANDLES,
        "volatility": VOLATILITY, "momentum": MOMENTUM, "risk": RISK, "liquidity": LIQUIDITY,
        "fundamentals": FUNDAMENTALS, "calendar": CALENDAR, "macro": MACRO, "customers": CUSTOMERS,
    }  # fmt: skip
