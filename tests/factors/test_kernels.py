"""Every operator against an independent implementation: pandas, NumPy and plain loops, with unknown values among them."""

import math
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import talib
from factor_bars import FIELDS, WINDOWED, market, panel
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fiduciary.factors import Formula, parse
from fiduciary.factors.cross_sections import CROSS as KERNEL_OF
from fiduciary.factors.kernels import FAMILIES, Sliding, rolled
from fiduciary.factors.kernels import WINDOWED as KERNELS


def computed(text, **series):
    """[M] values of one expression over the series of one symbol, which may hold unknown values."""
    bars = market(length=len(next(iter(series.values()))), symbols=1)
    # A panel's bars are finite: an unknown value is what a logarithm of a negative number leaves.
    values = bars.values.copy()
    for name, column in series.items():
        values[:, 0, FIELDS.index({"x": "close", "y": "open"}[name])] = np.where(np.isnan(column), -1e300, column)
    known = {name: f"where({field} < -1e299, log(-1), {field})" for name, field in (("x", "close"), ("y", "open"))}
    return Formula("f", parse(re.sub(r"\b[xy]\b", lambda name: known[name[0]], text)))(panel(values))[:, 0]


def rolling(function):
    """What `function` makes of each full window [n]; NaN where a value of it is unknown."""

    def every(x, n, *more):
        out = np.full(len(x), np.nan)
        for t in range(n - 1, len(x)):
            windows = [series[t - n + 1 : t + 1] for series in (x, *more)]
            if not any(np.isnan(window).any() for window in windows):
                out[t] = function(*windows)
        return out

    return every


def line(window):
    return np.polyfit(np.arange(len(window)), window, 1)


def pandas_rolling(name, **options):
    return lambda x, n: getattr(pd.Series(x).rolling(n), name)(**options).to_numpy()


ORACLES = {
    "ts_sum(x, {n})": rolling(math.fsum),
    "ts_mean(x, {n})": rolling(np.mean),
    "ts_product(x, {n})": rolling(np.prod),
    "ts_var(x, {n})": rolling(lambda w: np.var(w, ddof=1)),
    "ts_std(x, {n})": rolling(lambda w: np.std(w, ddof=1)),
    "ts_mad(x, {n})": rolling(lambda w: np.abs(w - w.mean()).mean()),
    "ts_min(x, {n})": rolling(np.min),
    "ts_max(x, {n})": rolling(np.max),
    "ts_argmin(x, {n})": rolling(lambda w: w.argmin() + 1),
    "ts_argmax(x, {n})": rolling(lambda w: w.argmax() + 1),
    "ts_rank(x, {n})": rolling(lambda w: pd.Series(w).rank(pct=True).iloc[-1]),
    "ts_quantile(x, {n}, 0.8)": rolling(lambda w: np.quantile(w, 0.8)),
    "ts_quantile(x, {n}, 0)": rolling(np.min),
    "ts_quantile(x, {n}, 1)": rolling(np.max),
    "ts_med(x, {n})": rolling(np.median),
    "ts_count(x > 1, {n})": rolling(lambda w: (w > 1).sum()),
    "ts_slope(x, {n})": rolling(lambda w: line(w)[0]),
    "ts_resid(x, {n})": rolling(lambda w: w[-1] - np.polyval(line(w), len(w) - 1)),
    "wma(x, {n})": rolling(lambda w: np.average(w, weights=np.arange(1, len(w) + 1))),
    "ts_skew(x, {n})": rolling(lambda w: pd.Series(w).skew()),
    "ts_kurt(x, {n})": rolling(lambda w: pd.Series(w).kurt()),
    "ref(x, {n})": lambda x, n: pd.Series(x).shift(n).to_numpy(),
    "delta(x, {n})": lambda x, n: pd.Series(x).diff(n).to_numpy(),
}


def correlation(v, w):
    # A constant has no correlation; NumPy's rounding may see one.
    return np.nan if np.ptp(v) == 0 or np.ptp(w) == 0 else np.corrcoef(v, w)[0, 1]


PAIRS = {
    "ts_cov(x, y, {n})": rolling(lambda v, w: np.cov(v, w)[0, 1]),
    "ts_corr(x, y, {n})": rolling(correlation),
    "ts_rsquare(x, {n})": lambda x, n, _y: rolling(lambda w: correlation(w, np.arange(n)) ** 2)(x, n),
}
SERIES = arrays(np.float64, 40, elements=st.integers(-40, 40).map(lambda k: k / 8) | st.just(np.nan))


@pytest.mark.parametrize("text", ORACLES)
@settings(max_examples=15)
@given(x=SERIES, n=st.integers(4, 45))
def test_a_window_equals_its_definition(text, x, n):
    np.testing.assert_allclose(computed(text.format(n=n), x=x), ORACLES[text](x, n), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", PAIRS)
@settings(max_examples=15)
@given(x=SERIES, y=SERIES, n=st.integers(2, 45))
def test_two_series_equal_their_definition(text, x, y, n):
    np.testing.assert_allclose(computed(text.format(n=n), x=x, y=y), PAIRS[text](x, n, y), rtol=1e-9, atol=1e-9)


def test_every_windowed_operator_has_a_definition_here():
    tested = {text.split("(")[0] for text in (*ORACLES, *PAIRS)}
    assert set(KERNELS) | {"ref", "delta", "ts_count", "ts_med"} == tested
    assert tested | {"ema", "wilder", "ewm"} == set(WINDOWED)
    assert set(KERNELS.values()) == set(FAMILIES)


# --- recursions ------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(seed=st.integers(0, 99), n=st.integers(2, 30))
def test_averages_equal_ta_lib(seed, n):
    x = market(seed, length=200, symbols=1)["close"][:, 0]
    np.testing.assert_allclose(computed(f"ema(x, {n})", x=x), talib.EMA(x, n), rtol=1e-14)
    gain = np.maximum(np.diff(x), 0)
    up, down = (computed(f"wilder(maximum({move}, 0), {n})", x=x) for move in ("delta(x, 1)", "-delta(x, 1)"))
    assert up[n] == pytest.approx(gain[:n].mean())
    np.testing.assert_allclose(100 * up / (up + down), talib.RSI(x, n), rtol=1e-12)


@settings(max_examples=15)
@given(x=SERIES, n=st.integers(1, 20))
def test_a_recursion_passes_over_unknown_values(x, n):
    known = x[~np.isnan(x)]
    for op in ("ema", "wilder", "ewm", "cumsum"):
        text = f"{op}(x)" if op == "cumsum" else f"{op}(x, {n})"
        out = computed(text, x=x)
        assert np.isnan(out[np.isnan(x)]).all()
        if len(known):
            np.testing.assert_array_equal(out[~np.isnan(x)], computed(text, x=known))
            oracle = {
                "ewm": pd.Series(known).ewm(span=n, min_periods=n).mean(), "cumsum": pd.Series(known).cumsum(),
                "ema": loop(known, n, 2 / (n + 1)), "wilder": loop(known, n, 1 / n),
            }[op]  # fmt: skip
            np.testing.assert_allclose(out[~np.isnan(x)], oracle, rtol=1e-9, atol=1e-12)


def loop(x, n, gain):
    out = [math.nan] * (n - 1) + [sum(x[:n]) / n]
    for value in x[n:]:
        out.append(out[-1] * (1 - gain) + gain * value)
    return out[: len(x)]


# --- one bar and cross-sections --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
def test_a_comparison_with_the_unknown_is_unknown(sign):
    x, y = np.array([1.0, 2.0, np.nan, 2.0, np.nan]), np.array([2.0, 2.0, 1.0, np.nan, np.nan])
    expected = [float(eval(f"{a} {sign} {b}")) for a, b in ((1, 2), (2, 2))] + [np.nan] * 3
    np.testing.assert_array_equal(computed(f"x {sign} y", x=x, y=y), expected)


def test_logic_choice_and_the_unknown():
    x, y = np.array([0.0, 0.0, 3.0, np.nan, 0.0]), np.array([0.0, 2.0, 1.0, 1.0, np.nan])
    np.testing.assert_array_equal(computed("x & y", x=x, y=y), [0, 0, 1, np.nan, np.nan])
    np.testing.assert_array_equal(computed("x | y", x=x, y=y), [0, 1, 1, np.nan, np.nan])
    np.testing.assert_array_equal(computed("~x", x=x), [1, 1, 0, np.nan, 1])
    np.testing.assert_array_equal(computed("where(x, y, 7)", x=x, y=y), [7, 7, 1, np.nan, 7])
    np.testing.assert_array_equal(computed("fillna(x, y) + isnan(y)", x=x, y=y), [0, 0, 3, 1, 1])
    np.testing.assert_array_equal(computed("x ** 0 + 1 ** x", x=x), [2, 2, 2, np.nan, 2])
    np.testing.assert_array_equal(computed("signed_power(x - 1, 2)", x=x), [-1, -1, 4, np.nan, -1])
    np.testing.assert_array_equal(computed("clip(x, 1, 2)", x=x), [1, 1, 2, np.nan, 1])
    np.testing.assert_array_equal(computed("sqrt(-x)", x=x), [0, 0, np.nan, np.nan, 0])


CROSS = {
    "cs_rank(close)": lambda x, _g: x.rank(axis=1, pct=True),
    "cs_demean(close)": lambda x, _g: x.sub(x.mean(axis=1), axis=0),
    "cs_zscore(close)": lambda x, _g: x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1), axis=0),
    "cs_scale(close, 3)": lambda x, _g: 3 * x.div(x.abs().sum(axis=1), axis=0),
    "cs_neutralise(close, industry)": lambda x, g: x - x.T.groupby(g).transform("mean").T,
}


@pytest.mark.parametrize("text", CROSS)
@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_cross_sections_equal_pandas(text, seed):
    bars = market(seed, length=12, symbols=9, holes=0.3)
    frame, group = pd.DataFrame(np.round(bars["close"])), np.arange(9) % 2
    values = bars.values.copy()
    values[..., FIELDS.index("close")] = frame
    bars = type(bars)(bars.dates, bars.symbols, bars.fields, values, bars.mask)
    theirs = CROSS[text](frame, group).to_numpy(copy=True)
    if "zscore" in text:
        theirs[(frame.max(axis=1) == frame.min(axis=1)).to_numpy()] = np.nan
    np.testing.assert_allclose(Formula("f", parse(text))(bars), theirs, rtol=1e-12, atol=1e-12)


# --- accuracy --------------------------------------------------------------------------------------------------------


def test_a_group_for_every_symbol_and_date_takes_no_memory():
    """A price instead of a code: every symbol is its own group."""
    x, group = np.random.default_rng(0).random((2, 3000, 10))
    tracemalloc.start()
    found = KERNEL_OF["cs_neutralise"](x, group)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not found.any()
    assert peak < 100 * x.nbytes


def test_windows_do_not_drift():
    """A running sum that has met 1e16 never recovers; a window that has left it behind must be exact again."""
    x = np.concatenate([[1.0, 2.0, 1e16, 3.0], np.full(50, 0.1), np.arange(50.0)])
    for text, oracle in (("ts_sum(x, 20)", np.sum), ("ts_std(x, 20)", lambda w: np.std(w, ddof=1))):
        np.testing.assert_allclose(computed(text, x=x)[24:], rolling(oracle)(x, 20)[24:], rtol=1e-12, atol=1e-12)
    assert (computed("ts_std(x, 20)", x=x)[24:54] == 0).all()
    assert np.isnan(computed("ts_rsquare(x, 20)", x=x)[24:54]).all()
    assert np.isnan(computed("ts_corr(x, y, 7)", x=x, y=np.arange(104.0))[10:54]).all()


def test_a_spread_on_a_high_level_keeps_the_digits_that_the_data_have():
    """A number near 1e9 is known to 1e-7, and so is a spread of 1 around it; a difference of squares would have none."""
    x = 1e9 + np.random.default_rng(0).normal(size=200)
    np.testing.assert_allclose(computed("ts_std(x, 60)", x=x), rolling(lambda w: np.std(w, ddof=1))(x, 60), rtol=1e-7)
    exact = rolling(lambda w: line(w - 1e9)[0])(x, 60)
    np.testing.assert_allclose(computed("ts_slope(x, 60)", x=x), exact, rtol=1e-7, atol=1e-8)


def test_a_line_is_its_own_regression():
    x = 3.0 + 0.25 * np.arange(50)
    assert computed("ts_slope(x, 10)", x=x)[9:] == pytest.approx(0.25, rel=1e-12)
    assert computed("ts_rsquare(x, 10)", x=x)[9:] == pytest.approx(1.0, rel=1e-12)
    assert computed("ts_resid(x, 10)", x=x)[9:] == pytest.approx(0.0, abs=1e-12)
    assert computed("ts_corr(x, -x, 10)", x=x)[9:] == pytest.approx(-1.0, rel=1e-12)


def test_long_windows_rank_beyond_a_byte():
    x = np.arange(400.0)
    assert (computed("ts_rank(x, 300)", x=x)[299:] == 1).all()
    assert computed("ts_rank(x, 300)", x=-x)[299:] == pytest.approx(1 / 300)


@given(n=st.integers(1, 300))
@settings(max_examples=30)
def test_merged_windows_cover_every_bar_once(n):
    x = np.eye(n)
    assert Sliding((x,), lambda a, b, _n, _m: (a[0] + b[0],))[n][0].tolist() == [[1.0] * n]


def test_a_window_is_computed_alike_with_and_without_others():
    x = np.random.default_rng(0).normal(size=(100, 3))
    together = rolled("spread", [x], [("ts_std", (float(n),)) for n in range(2, 40)])
    for n, values in zip(range(2, 40), together, strict=True):
        np.testing.assert_array_equal(values, rolled("spread", [x], [("ts_std", (float(n),))])[0])
