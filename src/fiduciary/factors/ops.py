"""The operators: functions of expressions, each with its formula. The same names are the words of the text language.

x, y: expressions or numbers. n: a window in bars, an integer >= 1; x_t is the present, x_{t-1} the symbol's bar before.

Unknown (NaN) is contagious: an operator through time is unknown while any of its n values is, and before its look-back is
filled; so is everything that a division by zero, a logarithm of zero or less, or an overflow would make infinite. An
operator through time runs along the symbol's own bars, dates without one are skipped. A cross-section (`cs_`) runs over the
symbols whose value is known on that date.

Operators that are short for others expand when they are written: `delta(close, 5)` is `close - ref(close, 5)`.
"""

from numbers import Real

from fiduciary.core.errors import ConfigError
from fiduciary.factors.expression import Expr, Operand, apply, lift

LONGEST = 10**9
"""Bars of the longest window: more than any history has."""


def _bars(n: float, least: int = 1) -> float:
    if isinstance(n, bool) or not isinstance(n, Real) or n % 1 or not least <= n <= LONGEST:
        sign = isinstance(n, Real) and (n > LONGEST) - (n < 0)
        cause = {-1: "the future is not known", 1: "no history is so long"}.get(sign, "")
        raise ConfigError(f"a window must be a whole number of bars, at least {least}", str(n), cause=cause)
    return int(n)


def _rolling(op: str, *args: Operand, n: float, least: int = 1) -> Expr:
    return apply(op, *args, params=(_bars(n, least),))


# --- one bar ---------------------------------------------------------------------------------------------------------


def absolute(x: Operand) -> Expr:
    """|x|; `abs` in text, and Python's own `abs`."""
    return apply("abs", x)


def log(x: Operand) -> Expr:
    """ln x; unknown for x <= 0."""
    return apply("log", x)


def exp(x: Operand) -> Expr:
    """e^x."""
    return apply("exp", x)


def sqrt(x: Operand) -> Expr:
    """Square root; unknown for x < 0."""
    return apply("sqrt", x)


def sign(x: Operand) -> Expr:
    """-1, 0 or 1."""
    return apply("sign", x)


def power(x: Operand, y: Operand) -> Expr:
    """x^y, the same as `x ** y`; unknown where it is not real."""
    return apply("pow", x, y)


def signed_power(x: Operand, y: Operand) -> Expr:
    """sign(x) |x|^y (SignedPower of the 101 alphas)."""
    return sign(x) * absolute(x) ** y


def minimum(x: Operand, y: Operand) -> Expr:
    """The lesser of two series (Qlib's Less)."""
    return apply("minimum", x, y)


def maximum(x: Operand, y: Operand) -> Expr:
    """The greater of two series (Qlib's Greater)."""
    return apply("maximum", x, y)


def clip(x: Operand, low: Operand, high: Operand) -> Expr:
    """x, not below `low` and not above `high`: minimum(maximum(x, low), high)."""
    return minimum(maximum(x, low), high)


def eq(x: Operand, y: Operand) -> Expr:
    """1 where x equals y, else 0; `==` in text. Every comparison is unknown where a side is."""
    return apply("eq", x, y)


def ne(x: Operand, y: Operand) -> Expr:
    """1 where x differs from y, else 0; `!=` in text."""
    return apply("ne", x, y)


def where(condition: Operand, x: Operand, y: Operand) -> Expr:
    """x where the condition is not 0, else y; unknown where the condition or the chosen one is, or a look-back is open."""
    return apply("where", condition, x, y)


def isnan(x: Operand) -> Expr:
    """1 where x is unknown, else 0; itself unknown until the look-back of x is filled."""
    return apply("isnan", x)


def fillna(x: Operand, y: Operand) -> Expr:
    """x, and y where x is unknown after its look-back."""
    return apply("fillna", x, y)


# --- shifts and windows ----------------------------------------------------------------------------------------------


def ref(x: Operand, n: float) -> Expr:
    """x_{t-n}. There is no negative n: the future is not known."""
    return _rolling("ref", x, n=n)


def delta(x: Operand, n: float) -> Expr:
    """x_t - x_{t-n}."""
    return lift(x) - ref(x, n)


def ts_sum(x: Operand, n: float) -> Expr:
    """sum of the last n values."""
    return _rolling("ts_sum", x, n=n)


def ts_mean(x: Operand, n: float) -> Expr:
    """ts_sum / n."""
    return _rolling("ts_mean", x, n=n)


def ts_count(x: Operand, n: float) -> Expr:
    """How many of the last n values are not 0: ts_sum(x != 0, n)."""
    return ts_sum(ne(x, 0), n)


def ts_product(x: Operand, n: float) -> Expr:
    """Product of the last n values."""
    return _rolling("ts_product", x, n=n)


def ts_var(x: Operand, n: float) -> Expr:
    """Sample variance, sum (x - mean)^2 / (n - 1); n >= 2."""
    return _rolling("ts_var", x, n=n, least=2)


def ts_std(x: Operand, n: float) -> Expr:
    """Square root of `ts_var`."""
    return _rolling("ts_std", x, n=n, least=2)


def ts_skew(x: Operand, n: float) -> Expr:
    """Sample skewness, m3 / m2^1.5 sqrt(n (n - 1)) / (n - 2); n >= 3. Unknown in a constant window."""
    return _rolling("ts_skew", x, n=n, least=3)


def ts_kurt(x: Operand, n: float) -> Expr:
    """Sample excess kurtosis, (n - 1) / ((n - 2) (n - 3)) ((n + 1) m4 / m2^2 - 3 (n - 1)); n >= 4."""
    return _rolling("ts_kurt", x, n=n, least=4)


def ts_mad(x: Operand, n: float) -> Expr:
    """Mean absolute deviation from the mean of the window."""
    return _rolling("ts_mad", x, n=n)


def ts_min(x: Operand, n: float) -> Expr:
    """The least of the last n values."""
    return _rolling("ts_min", x, n=n)


def ts_max(x: Operand, n: float) -> Expr:
    """The greatest of the last n values."""
    return _rolling("ts_max", x, n=n)


def ts_argmin(x: Operand, n: float) -> Expr:
    """Place of the least of the last n values, 1 the oldest and n the present; of equals, the oldest."""
    return _rolling("ts_argmin", x, n=n)


def ts_argmax(x: Operand, n: float) -> Expr:
    """Place of the greatest of the last n values, 1 the oldest and n the present; of equals, the oldest."""
    return _rolling("ts_argmax", x, n=n)


def ts_rank(x: Operand, n: float) -> Expr:
    """Rank of x_t among the last n values over n, in (0, 1]; equals share their average rank."""
    return _rolling("ts_rank", x, n=n)


def ts_quantile(x: Operand, n: float, q: float) -> Expr:
    """The q-quantile of the last n values, linear between order statistics at (n - 1) q; 0 <= q <= 1."""
    if not isinstance(q, int | float) or not 0 <= q <= 1:
        raise ConfigError("`q` must be a number between 0 and 1", str(q))
    return apply("ts_quantile", x, params=(_bars(n), float(q)))


def ts_med(x: Operand, n: float) -> Expr:
    """Median: ts_quantile(x, n, 0.5)."""
    return ts_quantile(x, n, 0.5)


def ts_cov(x: Operand, y: Operand, n: float) -> Expr:
    """Sample covariance, sum (x - mean x)(y - mean y) / (n - 1); n >= 2."""
    return _rolling("ts_cov", x, y, n=n, least=2)


def ts_corr(x: Operand, y: Operand, n: float) -> Expr:
    """Pearson's correlation; n >= 2. Unknown where either is constant over the window."""
    return _rolling("ts_corr", x, y, n=n, least=2)


def ts_slope(x: Operand, n: float) -> Expr:
    """Slope of the least-squares line of the last n values on time, per bar; n >= 2."""
    return _rolling("ts_slope", x, n=n, least=2)


def ts_resid(x: Operand, n: float) -> Expr:
    """x_t less the least-squares line of the last n values at t; n >= 2."""
    return _rolling("ts_resid", x, n=n, least=2)


def ts_rsquare(x: Operand, n: float) -> Expr:
    """Share of the window's variance that the line explains, in [0, 1]; n >= 2. Unknown in a constant window."""
    return _rolling("ts_rsquare", x, n=n, least=2)


def wma(x: Operand, n: float) -> Expr:
    """Linearly weighted mean, weights n for the present down to 1 (decay_linear of the 101 alphas)."""
    return _rolling("wma", x, n=n)


# --- recursions ------------------------------------------------------------------------------------------------------


def ema(x: Operand, n: float) -> Expr:
    """y_t = y_{t-1} + 2 / (n + 1) (x_t - y_{t-1}), begun by the mean of the first n known values (TA-Lib's EMA).

    A recursion passes over bars where x is unknown: unknown there, and unmoved by them.
    """
    return _rolling("ema", x, n=n)


def wilder(x: Operand, n: float) -> Expr:
    """y_t = y_{t-1} + (x_t - y_{t-1}) / n, begun by the mean of the first n known values (Wilder 1978)."""
    return _rolling("wilder", x, n=n)


def ewm(x: Operand, n: float) -> Expr:
    """sum a^k x_{t-k} / sum a^k over all known values, a = 1 - 2 / (n + 1); known from the n-th on (Qlib's EMA)."""
    return _rolling("ewm", x, n=n)


def cumsum(x: Operand) -> Expr:
    """Sum of all known values so far."""
    return apply("cumsum", x)


# --- cross-sections --------------------------------------------------------------------------------------------------


def cs_rank(x: Operand) -> Expr:
    """Rank among the symbols of that date over their number, in (0, 1]; equals share their average rank."""
    return apply("cs_rank", x)


def cs_zscore(x: Operand) -> Expr:
    """(x - mean) / sample standard deviation over the symbols of that date."""
    return apply("cs_zscore", x)


def cs_demean(x: Operand) -> Expr:
    """x less its mean over the symbols of that date."""
    return apply("cs_demean", x)


def cs_scale(x: Operand, a: Operand = 1.0) -> Expr:
    """a x / sum |x| over the symbols of that date (scale of the 101 alphas)."""
    scaled = apply("cs_scale", x)
    return scaled if a == 1.0 else a * scaled


def cs_neutralise(x: Operand, group: Operand) -> Expr:
    """x less its mean over the symbols of that date with the same `group` (a number); unknown where the group is."""
    return apply("cs_neutralise", x, group)


OPERATORS = {
    function.__name__: function
    for function in (
        log, exp, sqrt, sign, power, signed_power, minimum, maximum, clip, eq, ne, where, isnan, fillna,
        ref, delta, ts_sum, ts_mean, ts_count, ts_product, ts_var, ts_std, ts_skew, ts_kurt, ts_mad, ts_min, ts_max,
        ts_argmin, ts_argmax, ts_rank, ts_quantile, ts_med, ts_cov, ts_corr, ts_slope, ts_resid, ts_rsquare, wma,
        ema, wilder, ewm, cumsum, cs_rank, cs_zscore, cs_demean, cs_scale, cs_neutralise,
    )
} | {"abs": absolute}  # fmt: skip
"""The words of the text language."""
