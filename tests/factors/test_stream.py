"""The incremental twin: equal to the batch, resumable, and no dearer after ten years than after ten bars."""

import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
import talib
from factor_bars import EVERY, FIELDS, market
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.factors import SIM, SIM_RELATIVE, Factor, Field, Formula, Stream, ops, parse, tabulate

ALL = tuple(Formula(text, parse(text)) for text in EVERY)
DEEP = tuple(
    Formula(text, parse(text))
    for text in (
        "ts_corr(cs_rank(log(close - open)), cs_rank(ema(volume, 5)), 6)",
        "ema(fillna(log(close - open), ts_mean(close, 3)), 4)",
        "wilder(log(close - open), 3) - ewm(log(open - close), 3)",
        "ts_mean(isnan(ts_std(log(close - open), 2)), 3)",
        "cs_neutralise(where(close > open, ref(close, 2), log(-1)), industry)",
        "ts_sum(3, 4) + close",
        "2",
    )
)


def row(panel, t):
    return {field: panel.values[t, :, f] for f, field in enumerate(panel.fields)}


# --- equal to the batch ----------------------------------------------------------------------------------------------


@settings(max_examples=4)
@given(seed=st.integers(0, 999), holes=st.sampled_from([0.0, 0.3]))
def test_every_operator_streams_what_it_tabulates(seed, holes):
    bars = market(seed, length=40, holes=holes)
    batch, stream = tabulate(bars, ALL + DEEP).values, Stream(ALL + DEEP, bars.symbols).replay(bars).values
    for formula, expected, got in zip(ALL + DEEP, batch, stream, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=0, err_msg=formula.name)


@pytest.mark.parametrize("symbols", [1, 5])
def test_constant_powers_and_those_of_series_round_as_in_the_batch(symbols):
    """NumPy squares by one way where 2 is a scalar and by another where it is an array."""
    bars = market(2, length=200, symbols=symbols)
    powers = [
        Formula(text, parse(text))
        for text in ("(open / close) ** 2", "(open / close) ** 0.5", "(open / close) ** -1", "close ** cs_rank(open)",
                     "2 ** (close / 9)", "ts_rank((high / low) ** (1 + 1), 4)", "cumsum(1) ** 2", "ema(3, 2) ** ref(2, 1)")
    ]  # fmt: skip
    np.testing.assert_array_equal(Stream(powers, bars.symbols).replay(bars).values, tabulate(bars, powers).values)


def test_symbol_by_symbol_is_the_same_as_all_at_once():
    """Without cross-sections, which run over what is pushed together."""
    bars = market(1, length=30)
    own = [formula for formula in ALL + DEEP if "cs_" not in formula.name]
    one, many = Stream(own, bars.symbols), Stream(own, bars.symbols)
    for t in range(30):
        together = one.push(row(bars, t))
        for n in range(5):
            alone = many.push(row(bars, t), np.arange(5) == n)
            np.testing.assert_array_equal(alone[:, n], together[:, n])
            assert np.isnan(np.delete(alone, n, axis=1)).all()


@pytest.mark.parametrize("factors", [SIM, SIM_RELATIVE], ids=["levels", "ratios"])
@settings(max_examples=4)
@given(seed=st.integers(0, 999))
def test_twins_equal_ta_lib(factors, seed):
    bars = market(seed, length=120, holes=0.1)
    quiet = bars.values.copy()
    quiet[30:70, :2, FIELDS.index("volume")] = np.where(bars.mask[30:70, :2], 0.0, np.nan)
    quiet[40:90, 1, :4] = np.where(bars.mask[40:90, 1:2], 20.0, np.nan)
    bars = replace(bars, values=quiet)
    batch, stream = tabulate(bars, factors).values, Stream(factors, bars.symbols).replay(bars).values
    for factor, expected, got in zip(factors, batch, stream, strict=True):
        # A logarithm of a ratio near one has the digits of the ratio.
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-14, err_msg=factor.name)
        assert factor.twin.lookback == factor.lookback
        assert set(factor.twin.fields) <= set(factor.needs)


def test_a_function_of_bounded_memory_is_called_on_that_many_bars():
    seen = []

    def stochastic(bars):
        seen.append(len(bars["close"]))
        return talib.WILLR(bars["high"], bars["low"], bars["close"], 14)

    bars = market(4, length=60, holes=0.2)
    factor = Factor("willr", 14, stochastic, ("high", "low", "close"), memory=14)
    batch = tabulate(bars, [factor]).values
    seen.clear()
    np.testing.assert_array_equal(Stream([factor], bars.symbols).replay(bars).values, batch)
    assert set(seen) == {14}


# --- state -----------------------------------------------------------------------------------------------------------


def test_a_feed_resumes_where_it_stood():
    bars = market(2, length=50, holes=0.2)
    whole = Stream(ALL + DEEP, bars.symbols).replay(bars).values
    first, second = Stream(ALL + DEEP, bars.symbols), Stream(ALL + DEEP, bars.symbols)
    for t in range(25):
        first.push(row(bars, t), bars.mask[t])
    saved = pickle.loads(pickle.dumps(first.state()))
    first.push(row(bars, 25), bars.mask[25])
    second.restore(saved)
    for t in range(25, 50):
        np.testing.assert_array_equal(second.push(row(bars, t), bars.mask[t]), whole[:, t])


def test_what_is_kept_does_not_grow():
    bars = market(length=40)
    stream = Stream([*ALL, *SIM], bars.symbols)
    sizes = set()
    for t in range(40):
        stream.push(row(bars, t))
        sizes.add(sum(array.nbytes for array in stream.state().values()))
    assert len(sizes) == 1


def test_a_series_is_kept_once_for_all_windows():
    kept = Stream([Formula(f"m{n}", ops.ts_mean(Field("close"), n)) for n in (5, 10, 60)], ["A"]).state()
    assert {name: array.shape for name, array in kept.items()} == {"bars": (1,), "past close": (60, 1)}


def test_ten_factors_of_a_hundred_symbols_take_far_less_than_5_ms():
    bars = market(length=120, symbols=100)
    stream, seconds = Stream(SIM, bars.symbols), []
    for t in range(120):
        started = time.perf_counter()
        stream.push(row(bars, t))
        seconds.append(time.perf_counter() - started)
    assert np.median(seconds) < 0.005


# --- wrong use -------------------------------------------------------------------------------------------------------


def test_wrong_bars_are_refused_and_nothing_is_taken():
    bars = market(length=20)
    formulas = [Formula("m", parse("ts_mean(close, 3) + open")), Formula("e", parse("ema(volume, 3)"))]
    stream, untouched = Stream(formulas, bars.symbols), Stream(formulas, bars.symbols)
    for t in range(10):
        stream.push(row(bars, t))
        untouched.push(row(bars, t))
    good = row(bars, 10)
    wrong = [
        ({**good, "volume": np.full(5, np.inf)}, DataError, "infinity in volume"),
        ({**good, "close": good["close"][:4]}, DataError, "one number per symbol"),
        ({"close": good["close"], "open": good["open"]}, ConfigError, "got 'volume'"),
    ]
    for bad, error, message in wrong:
        with pytest.raises(error, match=message):
            stream.push(bad)
    with pytest.raises(DataError, match="one number per symbol"):
        stream.push(good, [True] * 4)
    np.testing.assert_array_equal(stream.push(good), untouched.push(good))


def test_nobody_has_a_bar():
    stream = Stream(ALL, ["A", "B"])
    before = stream.state()
    assert np.isnan(stream.push({field: [1.0, 1.0] for field in FIELDS}, [False, False])).all()
    for name, array in stream.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_wrong_use():
    with pytest.raises(ConfigError, match="'rsi' must have a `twin` or a bounded `memory`"):
        Stream([replace(SIM[7], twin=None)], ["A"])
    with pytest.raises(ConfigError, match="distinct names"):
        Stream([SIM[0], SIM[0]], ["A"])
    with pytest.raises(ConfigError, match="the stream's symbols"):
        Stream(SIM, ["A"]).replay(market())
    with pytest.raises(DataError, match="a state must be that of"):
        Stream(SIM, ["A"]).restore(Stream(SIM, ["A", "B"]).state())
    with pytest.raises(DataError, match="a state must be that of"):
        Stream(SIM, ["A"]).restore(Stream(SIM[:4], ["A"]).state())
