"""Laws of every shipped factor, and equality with plain loops that share no code with TA-Lib."""

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, ContractError
from fiduciary.data import BARS, Panel
from fiduciary.factors import SIM, SIM_RELATIVE, Factor, compute

ALL = SIM + SIM_RELATIVE
SETS = pytest.mark.parametrize("factors", [SIM, SIM_RELATIVE], ids=["levels", "ratios"])
EACH = pytest.mark.parametrize("factor", ALL, ids=[factor.name for factor in ALL])


def market(seed, length=60, symbols=2, holes=0.2, level=50.0):
    """A random panel with suspensions (absent bars) and bars of volume 0."""
    rng = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(rng.normal(0, 0.03, (length, symbols)), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, close.shape))
    high = np.maximum(opened, close) * (1 + rng.uniform(0, 0.02, close.shape))
    low = np.minimum(opened, close) * (1 - rng.uniform(0, 0.02, close.shape))
    volume = rng.integers(0, 10_000, close.shape) * (rng.random(close.shape) > 0.1)
    mask = rng.random(close.shape) >= holes
    values = np.stack([opened, high, low, close, volume], axis=-1)
    return panel(values, mask)


def panel(values, mask):
    dates = np.datetime64("2020-01-01") + np.arange(len(values)).astype("timedelta64[D]")
    names = tuple(f"S{n}" for n in range(values.shape[1]))
    return Panel(dates, names, BARS, np.where(mask[..., None], values, np.nan), mask)


def only_symbol(seed, length=60):
    """{field: [M]} of one symbol without holes."""
    bars = market(seed, length, symbols=1, holes=0.0)
    return {field: bars[field][:, 0] for field in BARS}


# --- laws ------------------------------------------------------------------------------------------------------------


def assert_future_blind(factors, seed, t):
    """Everything after bar t, suspensions included, is drawn again; nothing up to t may move."""
    true, other = market(seed), market(seed + 1000, level=3.0)
    values, mask = (np.concatenate([getattr(true, a)[: t + 1], getattr(other, a)[t + 1 :]]) for a in ("values", "mask"))
    before, after = compute(true, factors), compute(panel(values, mask), factors)
    np.testing.assert_array_equal(before.values[: t + 1], after.values[: t + 1])
    np.testing.assert_array_equal(before.mask[: t + 1], after.mask[: t + 1])


@SETS
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), t=st.integers(0, 58))
def test_no_value_moves_when_later_bars_change(factors, seed, t):
    assert_future_blind(factors, seed, t)


def test_the_law_catches_a_factor_that_looks_ahead():
    tomorrow = Factor("tomorrow", 1, lambda bars: np.append(bars["close"][1:], 0.0))
    z_score = Factor("z", 1, lambda bars: bars["close"] - bars["close"].mean())
    for factor in (tomorrow, z_score):
        with pytest.raises(AssertionError):
            assert_future_blind([factor], seed=0, t=30)


@EACH
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_look_back_is_exact(factor, seed):
    out = factor.compute(only_symbol(seed))
    assert np.isnan(out[: factor.lookback - 1]).all()
    assert np.isfinite(out[factor.lookback - 1 :]).all()


@EACH
def test_masked_until_the_look_back_is_filled(factor):
    for length in (1, factor.lookback - 1, factor.lookback, factor.lookback + 3):
        if length:
            out = compute(market(5, length, symbols=1, holes=0.0), [factor])
            assert out.mask[:, 0].tolist() == [k >= factor.lookback - 1 for k in range(length)]


@SETS
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_suspensions_are_skipped_and_symbols_never_meet(factors, seed):
    true = market(seed)
    out = compute(true, factors)
    assert (out.fields, out.symbols) == (tuple(f.name for f in factors), true.symbols)
    np.testing.assert_array_equal(out.dates, true.dates)
    for n in range(2):
        rows = true.mask[:, n]
        alone = compute(panel(true.values[rows, n : n + 1], np.ones((rows.sum(), 1), bool)), factors)
        np.testing.assert_array_equal(out.values[rows, n], alone.values[:, 0])
        np.testing.assert_array_equal(out.mask[rows, n], alone.mask[:, 0])
        assert not out.mask[~rows, n].any()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), price=st.floats(0.001, 1000), volume=st.floats(0.001, 1000))
def test_ratios_have_no_units(seed, price, volume):
    true = market(seed)
    scaled = panel(true.values * [price, price, price, price, volume], true.mask)
    np.testing.assert_allclose(compute(scaled, SIM_RELATIVE).values, compute(true, SIM_RELATIVE).values, atol=1e-9)


def test_no_volume_at_all_is_no_signal():
    bars = only_symbol(3)
    volume = next(factor for factor in SIM_RELATIVE if factor.name == "log_volume")
    assert (volume.compute({"volume": np.zeros(60)})[20:] == 0).all()
    quiet = np.concatenate([bars["volume"] * 1e9 + 1 / 3, np.zeros(30)])
    out = volume.compute({"volume": quiet})
    assert (out[-10:] == 0).all()
    assert out[-21] == pytest.approx(math.log(0.01))


def test_factors_reach_worker_processes():
    bars = only_symbol(1)
    for factor in pickle.loads(pickle.dumps(ALL)):
        assert len(factor.compute(bars)) == 60


# --- an independent implementation -----------------------------------------------------------------------------------


def mean(x, t, n):
    return sum(x[t - n + 1 : t + 1]) / n if t >= n - 1 else math.nan


def ema(x, n=12):
    out = [math.nan] * len(x)
    out[n - 1] = sum(x[:n]) / n
    for t in range(n, len(x)):
        out[t] = out[t - 1] + 2 / (n + 1) * (x[t] - out[t - 1])
    return out


def wilder_rsi(x, n=14):
    """Wilder (1978), New Concepts in Technical Trading Systems: smoothed mean gain over mean gain plus mean loss."""
    moves = [b - a for a, b in pairwise(x)]
    gain, loss = sum(max(m, 0) for m in moves[:n]) / n, sum(max(-m, 0) for m in moves[:n]) / n
    out = [math.nan] * n + [100 * gain / (gain + loss)]
    for m in moves[n:]:
        gain, loss = (gain * (n - 1) + max(m, 0)) / n, (loss * (n - 1) + max(-m, 0)) / n
        out.append(100 * gain / (gain + loss))
    return out


def expected(bars):
    o, h, low, c, v = ([float(x) for x in bars[name]] for name in BARS)
    times = range(len(c))

    def ago(x, n):
        return [math.nan] * n + x[:-n]

    def log_ratio(a, b):
        return [math.log(x / y) for x, y in zip(a, b, strict=True)]

    ma10, ma21 = ([mean(c, t, n) for t in times] for n in (10, 21))
    usual = [mean(v, t, 21) for t in times]
    return {
        "open": o, "high": h, "low": low, "close": c, "volume": v, "ma10": ma10, "ma21": ma21,
        "rsi": wilder_rsi(c), "mom": [a - b for a, b in zip(c, ago(c, 10), strict=True)], "ema": ema(c),
        "log_open": log_ratio(o, ago(c, 1)), "log_high": log_ratio(h, c), "log_low": log_ratio(low, c),
        "log_close": log_ratio(c, ago(c, 1)), "log_ma10": log_ratio(c, ma10), "log_ma21": log_ratio(c, ma21),
        "log_volume": [u if math.isnan(u) else math.log(max(x / u, 0.01)) for x, u in zip(v, usual, strict=True)],
        "rsi_centred": [x / 100 - 0.5 for x in wilder_rsi(c)], "log_mom": log_ratio(c, ago(c, 10)),
        "log_ema": log_ratio(c, ema(c)),
    }  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), length=st.integers(25, 400))
def test_equal_to_plain_loops(seed, length):
    bars = only_symbol(seed, length)
    plain = expected(bars)
    assert set(plain) == {factor.name for factor in ALL}
    for factor in ALL:
        np.testing.assert_allclose(factor.compute(bars), plain[factor.name], rtol=1e-9, atol=1e-9, err_msg=factor.name)


# --- wrong use -------------------------------------------------------------------------------------------------------


def test_wrong_use():
    bars = market(0)
    close = Factor("close", 1, lambda b: b["close"], ("close",))
    with pytest.raises(ConfigError, match="distinct names"):
        compute(bars, [close, close])
    with pytest.raises(ConfigError, match="distinct names"):
        compute(bars, [])
    with pytest.raises(ConfigError, match="at least 1 bar"):
        Factor("none", 0, lambda b: b["close"])
    with pytest.raises(ConfigError, match="a field that a factor needs must be one of close, got 'open'"):
        compute(compute(bars, [close]), SIM)


def test_a_factor_that_breaks_its_contract_is_named():
    bars = market(0, holes=0.0)
    with pytest.raises(ContractError, match="'short' must return one value per bar"):
        compute(bars, [Factor("short", 1, lambda b: b["close"][1:])])
    ten = SIM[5].compute
    with pytest.raises(ContractError, match="'ma' must be finite from its bar 9 on, got nan of S0 on 2020-01-09"):
        compute(bars, [Factor("ma", 9, ten)])
